"""Commands as they are typed, and what the bot answers to those it cannot read."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from time import perf_counter
from typing import Annotated, Any

import pytest
from cyclopts import Parameter
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.clock import ManualClock
from bot.commands.grammar import HelpWanted, Invocation, defects, in_thread, parse, parse_mention, thread_line
from bot.commands.pointer import CommandError, IncompleteCommandError
from bot.commands.registry import Answer, CommandContext, CommandGroup, Reply
from bot.commands.signature import usage
from bot.errors import UserError
from bot.handler import Danger
from bot.incoming import Actor, Place
from bot.messages import plain_text
from tests.commands.products import GROUPS, runs, somas, supervisor

RUN = "01KAQ7Z9X2T4M8RSV6WJ3B5C0D"


def understood(text: str) -> tuple[str, dict[str, Any]]:
    parsed = parse(text, GROUPS)
    assert isinstance(parsed, Invocation), parsed
    return f"{parsed.group.root} {parsed.command.verb}", dict(parsed.arguments)


def refused(text: str) -> CommandError:
    with pytest.raises(CommandError) as caught:
        parse(text, GROUPS)
    return caught.value


@pytest.mark.parametrize(
    ("typed", "arguments"),
    [
        ("/somas restart project-42", {}),
        ('/somas restart project-42 --from verify --reason "two words"', {"from_": "verify", "reason": "two words"}),
        ("/somas restart project-42 —from verify –reason “two words”", {"from_": "verify", "reason": "two words"}),
        ("/somas restart project-42 --from=verify --reason=‘two words’", {"from_": "verify", "reason": "two words"}),
        ("/Somas RESTART project-42 --FROM verify --Dry_Run", {"from_": "verify", "dry_run": True}),
        ("/somas restart --full project-42", {"full": True}),
        ("/somas restart project-42 --checkpoint", {"checkpoint": "last"}),
        ("/somas restart project-42 --checkpoint --dry-run", {"checkpoint": "last", "dry_run": True}),
        ("/somas restart project-42 --checkpoint 7f3a", {"checkpoint": "7f3a"}),
        ("/somas restart project-42 --checkpoint=7f3a", {"checkpoint": "7f3a"}),
        ("/somas restart --checkpoint project-42", {"checkpoint": "last"}),
        ("/somas restart project-42 --reason don't", {"reason": "don't"}),
        ("/somas restart project-42 --reason '-x is not an option'", {"reason": "-x is not an option"}),
        ('/somas restart project-42 --reason "--help"', {"reason": "--help"}),
        ("/somas restart project‑42", {}),
        ("/somas\u00a0restart\u200b project-42\u2069", {}),
        ("somas restart project-42", {}),
        ("/somas restart -- project-42", {}),
    ],
)
def test_one_restart_typed_in_many_ways(typed: str, arguments: dict[str, Any]) -> None:
    assert understood(typed) == ("somas restart", {"project": "project-42"} | arguments)


def test_behind_two_dashes_nothing_is_an_option() -> None:
    assert understood("/somas status -- --help") == ("somas status", {"project": "--help"})


def test_types_and_any_number_of_words() -> None:
    assert understood("/somas log project-42 20") == ("somas log", {"project": "project-42", "count": 20})
    assert understood("/somas purge a b c") == ("somas purge", {"projects": ("a", "b", "c")})


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            "/somas restrat project-42",
            """\
/somas has no verb "restrat". Did you mean restart?
/somas restrat project-42
       ^^^^^^^
[/somas restart project-42] [/somas help restart]""",
        ),
        (
            "/somas quarantine worker-3",
            """\
/somas has no verb "quarantine". It is a verb of /supervisor.
/somas quarantine worker-3
       ^^^^^^^^^^
[/supervisor quarantine worker-3] [/somas help]""",
        ),
        (
            "/soams status",
            """\
There is no command "/soams". Did you mean /somas?
/soams status
^^^^^^
[/somas status] [/help]""",
        ),
        (
            "status",
            """\
There is no command "/status". "status" is a verb of /somas and /supervisor.
status
^^^^^^
[/somas status] [/supervisor status] [/help]""",
        ),
        (
            "/xyzzy",
            """\
There is no command "/xyzzy". There are /somas, /supervisor and /runs.
/xyzzy
^^^^^^
[/help]""",
        ),
        (
            "/somas restart project-42 --form verify",
            """\
/somas restart has no option "--form". Did you mean --from?
/somas restart project-42 --form verify
                          ^^^^^^
[/somas restart project-42 --from verify] [/somas help restart]""",
        ),
        (
            "/somas restart project-42 --from verfy",
            """\
--from must be intake, specification, build, verify or deploy, not "verfy". Did you mean verify?
/somas restart project-42 --from verfy
                                 ^^^^^
[/somas restart project-42 --from verify] [/somas help restart]""",
        ),
        (
            "/somas restart project-42 --from=verfy --dry-run",
            """\
--from must be intake, specification, build, verify or deploy, not "verfy". Did you mean verify?
/somas restart project-42 --from=verfy --dry-run
                          ^^^^^^^^^^^^
[/somas restart project-42 --from=verify --dry-run] [/somas help restart]""",
        ),
        (
            "/somas restart project-42 --from",
            """\
--from needs a value: --from STAGE.
/somas restart project-42 --from
                          ^^^^^^
[/somas help restart]""",
        ),
        (
            "/somas restart project-42 --reason two words here --dry-run",
            """\
/somas restart cannot place "words". Put the text in quotes: --reason "two words here"
/somas restart project-42 --reason two words here --dry-run
                                       ^^^^^
[/somas restart project-42 --reason "two words here" --dry-run] [/somas help restart]""",
        ),
        (
            "/somas restart project-42 project-43",
            """\
"project-43" is one too many for /somas restart. It takes <project>.
/somas restart project-42 project-43
                          ^^^^^^^^^^
[/somas restart project-42] [/somas help restart]""",
        ),
        (
            "/somas failed project-42",
            """\
"project-42" is one too many for /somas failed. It takes no arguments.
/somas failed project-42
              ^^^^^^^^^^
[/somas failed] [/somas help failed]""",
        ),
        (
            "/somas log project-42 many",
            """\
count must be a whole number, not "many".
/somas log project-42 many
                      ^^^^
[/somas help log]""",
        ),
        (
            "/somas restart project-42 --full=maybe",
            """\
--full takes no value.
/somas restart project-42 --full=maybe
                          ^^^^^^^^^^^^
[/somas restart project-42 --full] [/somas help restart]""",
        ),
        (
            "/somas restart project-42 --reason a --reason b",
            """\
--reason is given twice.
/somas restart project-42 --reason a --reason b
                                     ^^^^^^^^
[/somas restart project-42 --reason a] [/somas help restart]""",
        ),
        (
            "/somas restart project-42 --checkpoint 7 --full",
            """\
Use either --checkpoint or --full, not both.
/somas restart project-42 --checkpoint 7 --full
                                         ^^^^^^
[/somas restart project-42 --checkpoint 7] [/somas restart project-42 --full]""",
        ),
        (
            "/somas restart project-42 --reason “two words",
            """\
This quote is never closed: add the closing quote at its end.
/somas restart project-42 --reason “two words
                                   ^""",
        ),
        (
            "/somas help restrt",
            """\
/somas has no verb "restrt". Did you mean restart?
/somas help restrt
            ^^^^^^
[/somas help restart] [/somas help]""",
        ),
    ],
)
def test_what_cannot_be_read_is_pointed_at(typed: str, said: str) -> None:
    error = refused(typed)
    buttons = " ".join(f"[{each}]" for each in error.suggestions)
    assert "\n".join(part for part in (error.message, buttons) if part) == said


def test_a_command_without_its_argument_says_which_and_how() -> None:
    error = refused("/somas restart ")
    assert isinstance(error, IncompleteCommandError)
    assert (error.root, error.verb, error.parameter) == ("somas", "restart", "project")
    assert error.message == (
        "/somas restart needs <project> (The project, as project-42 or only 42). Usage: /somas restart <project>"
        " [--from STAGE | --checkpoint [ID] | --full] [--reason TEXT] [--dry-run]\n"
        "/somas restart\n"
        "               ^"
    )


def test_two_mistakes_at_once_offer_no_command_that_would_fail() -> None:
    assert refused("/somas restrat project-42 --form verify").suggestions == ("/somas help restart",)


@pytest.mark.parametrize(
    ("typed", "group", "verb"),
    [
        ("", None, None),
        ("   ", None, None),
        ("help", None, None),
        ("/help", None, None),
        ("--help", None, None),
        ("/somas", somas, None),
        ("/somas help", somas, None),
        ("/somas ?", somas, None),
        ("/SOMAS Help Restart", somas, "restart"),
        ("/somas restart --help", somas, "restart"),
        ("/somas restart —help", somas, "restart"),
        ("/somas restart help", somas, "restart"),
        ("/somas restart project-42 --from verify -h", somas, "restart"),
        ("help somas", somas, None),
        ("help somas restart", somas, "restart"),
        ("help quarantine", supervisor, "quarantine"),
    ],
)
def test_help_at_every_level(typed: str, group: CommandGroup | None, verb: str | None) -> None:
    assert parse(typed, GROUPS) == HelpWanted(group, verb)


def test_help_on_a_verb_that_two_roots_have_asks_which() -> None:
    error = refused("help status")
    assert error.sentence == "Which one: /somas help status or /supervisor help status?"
    assert error.suggestions == ("/somas help status", "/supervisor help status")


def test_a_product_that_is_not_configured_is_help_and_not_an_unknown_command() -> None:
    only_runs = {"runs": runs}
    assert parse("/somas status", only_runs, ["somas"]) == HelpWanted(unconfigured="somas")
    assert parse("help SOMAS", only_runs, ["somas"]) == HelpWanted(unconfigured="somas")
    assert parse_mention("somas restart x", only_runs, ["somas"]) == HelpWanted(unconfigured="somas")


@pytest.mark.parametrize(
    ("mentioned", "slash"),
    [
        ("somas restart project-42 --from verify", "/somas restart project-42 --from verify"),
        ("/somas restart project-42", "/somas restart project-42"),
        ("quarantine worker-3 --reason “it loops”", '/supervisor quarantine worker-3 --reason "it loops"'),
        ("Restart project-42", "/somas restart project-42"),
        ("runs list", "/runs list"),
        ("help restart", "/somas help restart"),
        ("", "/help"),
    ],
)
def test_a_mention_is_the_slash_command(mentioned: str, slash: str) -> None:
    assert parse_mention(mentioned, GROUPS) == parse(slash, GROUPS)


def test_a_verb_of_two_roots_is_asked_back_with_the_commands_that_fit() -> None:
    with pytest.raises(CommandError) as caught:
        parse_mention("status worker-3", GROUPS)
    assert caught.value.message == "Which one: /somas status or /supervisor status?\nstatus worker-3\n^^^^^^"
    assert caught.value.suggestions == ("/somas status worker-3", "/supervisor status worker-3")


@pytest.mark.parametrize(
    ("mentioned", "slash"),
    [
        ("ack", f"/runs ack {RUN}"),
        ("ACK", f"/runs ack {RUN}"),
        ('fail "no such host"', f'/runs fail {RUN} "no such host"'),
        (f"ack {RUN}", f"/runs ack {RUN}"),
        ("ack 01KAQ7Z9X2T4M8RSV6WJ3B5C99", "/runs ack 01KAQ7Z9X2T4M8RSV6WJ3B5C99"),
        ("list", "/runs list"),
        ("runs list", "/runs list"),
        ("somas status project-42", "/somas status project-42"),
        ("quarantine worker-3", "/supervisor quarantine worker-3"),
        ("help", "/runs help"),
        ("", "/runs help"),
        ("ack help", "/runs help ack"),
        ("help restart", "/somas help restart"),
    ],
)
def test_in_the_thread_of_a_run_the_run_need_not_be_named(mentioned: str, slash: str) -> None:
    assert in_thread(mentioned, RUN, GROUPS) == parse(slash, GROUPS)


def test_the_line_of_a_thread_command_is_what_is_stored() -> None:
    assert thread_line("fail “no such host”", RUN, GROUPS) == f"/runs fail {RUN} “no such host”"


async def test_an_invocation_calls_the_function_with_its_context() -> None:
    context = CommandContext(
        actor=Actor(surface="slack", id="U0ALICE"),
        place=Place(surface="slack", channel="C0OPS"),
        clock=ManualClock(datetime(2026, 11, 22, tzinfo=UTC)),
        handler=None,
        runbooks={},
    )

    async def answer(text: str) -> str:
        parsed = parse(text, GROUPS)
        assert isinstance(parsed, Invocation)
        reply = await parsed.call(context)
        assert isinstance(reply, Answer)
        return plain_text(reply.message.blocks)

    assert await answer("/somas log --count 5 project-42") == "{'project': 'project-42', 'count': 5}"
    assert await answer("/somas purge a b") == "{'projects': ('a', 'b')}"
    assert await answer("/somas status") == "{'project': None}"
    assert await answer("/somas restart p --full") == (
        "{'project': 'p', 'from_': None, 'checkpoint': None, 'full': True, 'reason': '', 'dry_run': False}"
    )


def test_the_examples_of_every_command_parse_to_that_command() -> None:
    assert defects(GROUPS) == []


def test_an_example_that_does_not_work_is_a_defect() -> None:
    broken = CommandGroup("broken", "Broken.")

    @broken.command(danger=Danger.READ, examples=("/broken show", "/broken show --al", "/broken", "/other show"))
    async def show(context: CommandContext, *, every: bool = False) -> Reply:
        """Show it."""
        raise NotImplementedError

    said = "\n".join(defects({"broken": broken}))
    assert "example /broken show --al is wrong: /broken show has no option" in said
    assert "example /broken is another command" in said
    assert "example /other show is wrong" in said
    assert said.count("the example") == 3


def test_usage_comes_from_the_signature() -> None:
    assert usage("somas", somas.commands["restart"]) == (
        "/somas restart <project> [--from STAGE | --checkpoint [ID] | --full] [--reason TEXT] [--dry-run]"
    )
    assert usage("supervisor", supervisor.commands["quarantine"]) == (
        "/supervisor quarantine <child> [--target TARGET] [--reason TEXT] [--dry-run]"
    )
    assert usage("somas", somas.commands["purge"]) == "/somas purge [projects...] [--dry-run]"


def test_an_error_survives_being_stored() -> None:
    for text in ("/somas restrat project-42", "/somas restart"):
        error = refused(text)
        again = pickle.loads(pickle.dumps(error))
        assert (again.message, again.pointer, again.suggestions) == (error.message, error.pointer, error.suggestions)
        assert str(again) == str(error)


def test_a_mention_with_a_typing_error_gets_the_verb_of_the_root_that_has_it() -> None:
    with pytest.raises(CommandError) as caught:
        parse_mention("quarantin worker-3", GROUPS)
    assert caught.value.sentence == 'There is no command "/quarantin". Did you mean /supervisor quarantine?'
    assert caught.value.suggestions == ("/supervisor quarantine worker-3", "/help")


def test_durations_enumerations_and_options_named_by_cyclopts() -> None:
    class Metric(StrEnum):
        DEAD_LETTERS = "dead-letters"
        RETRIES = "retries"

    group = CommandGroup("reports", "Reports.")

    async def silence(
        context: CommandContext,
        metric: Metric,
        span: timedelta,
        *,
        until: Annotated[str, Parameter(name=["--until", "-u"], help="When it ends.")] = "",
    ) -> Reply:
        """Say nothing about a metric."""
        raise NotImplementedError

    # Names of this test are not global, so the annotations that use them stand resolved, as without the future import.
    silence.__annotations__ |= {"metric": Metric, "until": Annotated[str, Parameter(name=["--until", "-u"])]}
    group.command(danger=Danger.READ, examples=("/reports silence retries 4h -u noon",))(silence)
    groups = {"reports": group}
    assert defects(groups) == []
    assert (
        usage("reports", group.commands["silence"]) == "/reports silence <dead-letters|retries> <span> [--until TEXT]"
    )
    parsed = parse("/reports silence dead-letters 10m", groups)
    assert isinstance(parsed, Invocation)
    assert parsed.arguments == {"metric": Metric.DEAD_LETTERS, "span": timedelta(minutes=10)}
    for text, sentence in (
        ("dead-letter 4h", 'metric must be dead-letters or retries, not "dead-letter". Did you mean dead-letters?'),
        ("retries soon", 'span must be a duration such as 30s, 10m or 4h, not "soon".'),
    ):
        with pytest.raises(CommandError) as caught:
            parse(f"/reports silence {text}", groups)
        assert caught.value.sentence == sentence


def test_a_list_in_the_arguments_is_not_shared_between_two_commands() -> None:
    group = CommandGroup("lists", "Lists.")

    @group.command(danger=Danger.READ, examples=("/lists show --only a",))
    async def show(context: CommandContext, *, only: list[str] | None = None) -> Reply:
        """Show it."""
        raise NotImplementedError

    def only() -> list[str]:
        parsed = parse("/lists show --only a", {"lists": group})
        assert isinstance(parsed, Invocation)
        value: list[str] = parsed.arguments["only"]
        return value

    only().append("b")
    assert only() == ["a"]


def test_text_that_is_too_long_is_refused_and_what_is_not_is_quick() -> None:
    assert "8000 is the most" in refused("/somas status " + "x" * 8000).message
    worst = [
        "/somas purge " + "a " * 3980,
        "/somas restart " + "--form=x " * 880,
        "/somas restart p --reason " + "x " * 3980,
        "/somas status " + '"“' * 3900,
        "/somas " + "r" * 7900,
        "/runs fail x " + "'" * 7900,
        "/somas restart " + "--checkpoint " * 600,
    ]
    for text in worst:
        started = perf_counter()
        try:
            parse(text, GROUPS)
        except UserError as error:
            assert len(error.pointer if isinstance(error, CommandError) else "") < 400
        assert perf_counter() - started < 2, text[:60]


def test_the_number_of_commands_does_not_matter() -> None:
    """A parse builds one command, not all of them: a command whose signature is broken is not even looked at."""
    group = CommandGroup("many", "Many.")

    async def broken(context: CommandContext, wrong: NoSuchType) -> Reply:  # type: ignore[name-defined]  # noqa: F821 - on purpose
        """Cannot be built."""
        raise NotImplementedError

    async def fine(context: CommandContext) -> Reply:
        """Can be."""
        raise NotImplementedError

    group.command(danger=Danger.READ, examples=("x",), verb="broken")(broken)
    group.command(danger=Danger.READ, examples=("x",), verb="fine")(fine)
    assert isinstance(parse("/many fine", {"many": group}), Invocation)
    with pytest.raises(NameError):
        parse("/many broken", {"many": group})


PIECES = st.sampled_from(
    [
        *("/somas", "somas", "/supervisor", "/runs", "restart", "status", "log", "purge", "quarantine", "ack", "help"),
        *(
            "project-42",
            "--from",
            "--from=",
            "verify",
            "verfy",
            "--checkpoint",
            "--full",
            "--full=no",
            "--reason",
            "-5",
        ),
        *(
            "--dry-run",
            "--no-full",
            "--target",
            "--",
            "-",
            "---",
            "-x",
            "—from",
            "–",
            "“a b”",
            '"',
            "'",
            "’",
            "=",
            "--=",
        ),
        *("--reason=“x y”", "@/etc/passwd", "$HOME", "{}", "[1]", "\u200b", "\u00a0", "\ud800", "\x00", "9" * 400),
        *("--project", "--projects", "--count", "--count=x", "--from.x", "--reason[0]", "-h", "--help", "*", "\\"),
    ]
)
TYPED = st.one_of(
    st.text(max_size=60),
    st.lists(st.one_of(PIECES, st.text(max_size=8)), max_size=9).map(" ".join),
    st.lists(PIECES, max_size=6).map("".join),
    st.tuples(PIECES, st.lists(PIECES, max_size=8)).map(lambda pair: "/somas restart " + " ".join(pair[1])),
)


@given(TYPED)
@settings(max_examples=600, deadline=None)
def test_no_text_makes_the_grammar_fail_in_another_way(text: str) -> None:
    readers: list[Callable[[], object]] = [
        lambda: parse(text, GROUPS, ["sentry"]),
        lambda: parse_mention(text, GROUPS),
        lambda: in_thread(text, RUN, GROUPS),
    ]
    for read in readers:
        try:
            read()
        except UserError as error:
            assert error.message.strip()
            assert len(error.suggestions) <= 3
            for suggestion in error.suggestions:
                parse(suggestion, GROUPS, ["sentry"])  # what is offered can be run as it stands


@given(TYPED)
@settings(max_examples=400, deadline=None)
def test_the_line_of_a_command_means_the_same_command(text: str) -> None:
    try:
        parsed = parse(text, GROUPS)
    except UserError:
        return
    if isinstance(parsed, Invocation):
        assert parse(parsed.line, GROUPS) == parsed
        assert parse_mention(parsed.line.removeprefix("/"), GROUPS) == parsed


@given(
    project=st.text(st.characters(exclude_categories=["Cf", "Zs"]), min_size=1),
    reason=st.text(st.characters(exclude_categories=["Cf", "Zs"])),
    stage=st.sampled_from(["intake", "verify", "deploy"]),
    dry_run=st.booleans(),
    order=st.permutations(range(3)),
)
@settings(deadline=None)
def test_arguments_arrive_as_they_were_quoted(
    project: str, reason: str, stage: str, dry_run: bool, order: list[int]
) -> None:
    def quoted(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    if project.startswith("-"):
        project = "p" + project
    parts = [quoted(project), f"--reason {quoted(reason)}", f"--from {stage}"]
    typed = " ".join(["/somas restart", *(parts[index] for index in order), *(["--dry-run"] if dry_run else [])])
    expected: dict[str, Any] = {"project": project, "reason": reason, "from_": stage}
    assert understood(typed) == ("somas restart", expected | ({"dry_run": True} if dry_run else {}))


# -- verbs of two words


async def _nothing(context: CommandContext) -> None:
    """Do nothing."""


def two_words() -> dict[str, CommandGroup]:
    group = CommandGroup("somas", "The pipeline")
    for verb in ("status", "dlq list", "dlq purge"):
        group.command(danger=Danger.READ, examples=(f"/somas {verb}",), verb=verb)(_nothing)
    return {"somas": group}


@pytest.mark.parametrize("typed", ["/somas dlq list", "/SOMAS DLQ List", "@opsbot dlq list", "@opsbot somas dlq list"])
def test_a_verb_may_be_two_words(typed: str) -> None:
    groups = two_words()
    mentioned = typed.removeprefix("@opsbot ")
    parsed = parse(typed, groups) if mentioned == typed else parse_mention(mentioned, groups)
    assert isinstance(parsed, Invocation)
    assert (parsed.command.verb, parsed.line) == ("dlq list", "/somas dlq list")


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ("/somas dlq", ("", "dlq")),
        ("/somas dlq help", ("", "dlq")),
        ("/somas help dlq", ("", "dlq")),
        ("help dlq", ("", "dlq")),
        ("/somas dlq list --help", ("dlq list", "")),
        ("/somas help dlq list", ("dlq list", "")),
        ("help somas dlq purge", ("dlq purge", "")),
    ],
)
def test_help_for_a_family_and_for_one_of_it(typed: str, wanted: tuple[str, str]) -> None:
    parsed = parse(typed, two_words())
    assert isinstance(parsed, HelpWanted)
    assert (parsed.verb or "", parsed.family) == wanted


@pytest.mark.parametrize(
    ("typed", "said", "suggested"),
    [
        ("/somas dlq lst", '/somas dlq has no "lst". Did you mean list?', "/somas dlq list"),
        ("/somas dql list", '/somas has no verb "dql". Did you mean dlq?', "/somas dlq list"),
        ("/somas dlq project-42", '/somas dlq has no "project-42". It has list and purge.', "/somas help dlq"),
        ('/somas "dlq list"', '/somas has no verb "dlq list"', "/somas dlq"),
        ("/dlq list", 'There is no command "/dlq". "dlq" is a verb of /somas.', "/somas dlq list"),
    ],
)
def test_half_of_a_two_word_verb_is_wrong(typed: str, said: str, suggested: str) -> None:
    with pytest.raises(CommandError) as wrong:
        parse(typed, two_words())
    assert wrong.value.sentence.startswith(said)
    assert wrong.value.suggestions[0].startswith(suggested)
