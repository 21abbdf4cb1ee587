"""What is a command in a GitHub comment, and what only looks like one."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.surfaces.github.comments import FoundCommand, commands_in, may_hold_commands, new_commands

ROOTS = ["somas", "supervisor", "runs"]


def texts(body: str) -> list[str]:
    return [command.text for command in commands_in(body, ROOTS)]


def test_several_commands_in_order_with_their_lines() -> None:
    body = (
        "The build is stuck.\n\n/somas restart project-42 --reason flaky\n/somas status\n\n@opsbot status project-42\n"
    )
    assert commands_in(body, ROOTS) == [
        FoundCommand("/somas restart project-42 --reason flaky", 3),
        FoundCommand("/somas status", 4),
        FoundCommand("@opsbot status project-42", 6),
    ]


TRIGGERS = {
    "/somas": ["/somas"],
    "  /somas status  ": ["/somas status"],
    "/Somas status": ["/somas status"],
    "@OpsBot: status": ["@opsbot status"],
    "@opsbot[bot] help": ["@opsbot help"],
    "/somas status\r\n/runs list\r\n": ["/somas status", "/runs list"],
    "please\n/somas status": ["/somas status"],
    "two breaks  \n/somas a\\\n/somas b": ["/somas a", "/somas b"],
    "/somas restart `project-42`": ["/somas restart project-42"],
    "/somas restart project\\_42": ["/somas restart project_42"],
    "/somas restart p --reason *not* _em_": ["/somas restart p --reason *not* _em_"],
    '/somas restart p --reason "say \\"hi\\""': ['/somas restart p --reason "say \\"hi\\""'],
    "/somas restart p <!-- --full -->": ["/somas restart p"],
    "> a quote\n\n/somas status": ["/somas status"],
    "<details>\n\nlog\n\n</details>\n\n/somas status": ["/somas status"],
    "see[^1]\n\n[^1]: a note\n\n/somas status": ["/somas status"],
    "<code>\n\n/somas a\n\n</code>\n\n/somas b": ["/somas b"],
    "/somas sta\u200btus": ["/somas status"],  # copied from an answer of ours
    "/somas unknown-verb": ["/somas unknown-verb"],
}

MUST_NOT_TRIGGER = [
    "",
    "somas status",
    "we could try /somas restart project-42",
    "see /somas",
    "/somasx status",
    "/somas-status",
    "/somas/status",
    "/other status",
    "@opsbotic status",
    "@opsbot-dev status",
    "mail opsbot@opsbot status",
    "thanks @opsbot",
    "`/somas status`",
    "``/somas status``",
    "text `\n/somas status\n`",
    "```\n/somas status\n```",
    "```sh\n/somas status",
    "~~~\n/somas status\n~~~",
    "    /somas status",
    "\t/somas status",
    "> /somas status",
    "> quoted\n/somas status",  # still part of the quote, as GitHub draws it
    "> > /somas status",
    "- /somas status",
    "- [ ] /somas status",
    "1. /somas status",
    "- item\n/somas status",  # still part of the item
    "- item\n\n  /somas status",
    "# /somas status",
    "/somas status\n===",
    "/somas status\n---",
    "| a |\n|---|\n| /somas status |",
    "[/somas status](https://example.invalid)",
    "[text\n/somas status](https://example.invalid)",
    "![/somas status](https://example.invalid/x.png)",
    "[x]: https://example.invalid\n'\n/somas status\n'",
    "**/somas status**",
    "_/somas status_",
    "~~/somas status~~",
    "\\/somas status",
    "&#47;somas status",
    "<!-- /somas status -->",
    "<!--\n/somas status\n-->",
    "<!--\n\n/somas status\n\n-->",
    "text <!--\n/somas status\n-->",
    "<!-- opened\n\n/somas status",
    "<div><!--\n\n/somas status\n\n-->",
    "<pre>\n/somas status\n</pre>",
    "<code>/somas status</code>",
    "<code>\n\n/somas status\n\n</code>",
    "<blockquote>\n\n/somas status\n\n</blockquote>",
    "text <a href='x'>\n/somas status\n</a>",
    "<b></b>/somas status",
    "<div>\n/somas status\n</div>",
    "\\@opsbot status",
    "@\u200bopsbot status",
    "\ufeff/somas status",
    "Reply with: `/somas status`",
    "<details><summary>\n/somas status\n</summary></details>",
    "| /somas status |",
    "<kbd>\n\n/somas status\n\n</kbd>",
    "<https://example.invalid>/somas status",
    "+ /somas status",
    "1) /somas status",
    "~~~text\n/somas status\n~~~",
    "````\n```\n/somas status\n```\n````",
    "[ref]: /somas status",
    "text\u2028/somas status",
    "/ somas status",
    "//somas status",
    "\u200b/somas status",
    "@opsbot[bot]x status",
    "@ opsbot status",
    "!\n[x](/somas status)",
    "<details>\n<summary>more</summary>\n\n/somas status\n\n</details>",  # folded away: a log that was pasted
    "see[^1]\n\n[^1]: a note\n/somas status",  # still part of the footnote
    "[^gone]: nobody sees a footnote\r\n/somas status",
    "see[^1]\n\n[^1]:\n    a note\n\n    /somas status",
]


@pytest.mark.parametrize("body", TRIGGERS)
def test_triggers(body: str) -> None:
    assert texts(body) == TRIGGERS[body]


@pytest.mark.parametrize("body", MUST_NOT_TRIGGER)
def test_must_not_trigger(body: str) -> None:
    assert texts(body) == []


@pytest.mark.parametrize("wrap", ["```\n{}\n```", "> {}", "    {}", "# {}", "- {}", "<!--\n{}\n-->", "`{}`", "[{}](x)"])
@given(
    rest=st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r\n`<>[]()-!\\\u2028\u2029"), max_size=30)
)
def test_no_argument_gets_a_command_out_of_its_wrapping(wrap: str, rest: str) -> None:
    assert texts(wrap.format(f"/somas status {rest}")) == []


@given(st.text(alphabet=st.sampled_from("/somas @opbt`<>!-[]()*_#|\n\r\t \\&;~'\"=x1."), max_size=200))
def test_any_comment_gives_one_line_commands_that_begin_with_their_address(body: str) -> None:
    found = commands_in(body, ROOTS)
    assert [command.line for command in found] == sorted(command.line for command in found)
    for command in found:
        assert "\n" not in command.text
        assert command.text.split(" ")[0] in ("/somas", "/supervisor", "/runs", "@opsbot")
        assert 1 <= command.line <= body.replace("\r\n", "\n").replace("\r", "\n").count("\n") + 1


@given(st.lists(st.from_regex(r"/somas [a-z]{1,8}( [a-z0-9-]{1,8})?", fullmatch=True), max_size=5))
def test_plain_commands_between_prose_are_all_found(commands: list[str]) -> None:
    body = "Hello.\n\n" + "\n\nand then\n".join(commands) + "\n\nThanks!"
    assert texts(body) == (commands if commands else [])


@pytest.mark.parametrize(
    "hostile",
    ["[" * 60_000, "![[" * 20_000, "<a " * 20_000, "a\n" * 30_000, "> " * 30_000, "`a" * 30_000, "&" * 60_000],
)
def test_the_largest_comment_is_read_in_time(hostile: str) -> None:
    started = time.thread_time()
    commands_in(hostile + "\n\n/somas status", ROOTS)
    assert time.thread_time() - started < 5  # 0.6 s as measured; GitHub waits ten


def identities(body: str, before: str | None = None) -> list[tuple[str, str]]:
    return [(identity, command.text) for identity, command in new_commands(body, before, ROOTS)]


def test_an_edit_runs_only_what_is_new_in_it() -> None:
    assert [text for _, text in identities("/somas status\n/somas failed", "/somas status")] == ["/somas failed"]
    assert identities("please!\n\n/somas status", "/somas status") == []
    assert [text for _, text in identities("/somas status", "`/somas status`")] == ["/somas status"]
    assert [text for _, text in identities("/somas status\n/somas status", "/somas status")] == ["/somas status"]


def test_the_identity_of_a_command_does_not_move_with_its_line() -> None:
    assert identities("/somas failed\n\n/somas status")[1] == identities("/somas status")[0]
    first, second = identities("/somas status\n/somas status")
    assert first != second


@given(st.permutations(["/somas a", "/somas b", "/somas b", "/runs list", "prose"]))
def test_an_edit_that_only_reorders_runs_nothing(lines: list[str]) -> None:
    before = "/somas a\n/somas b\n/somas b\n/runs list\nprose"
    assert identities("\n".join(lines), before) == []
    assert set(identities("\n".join(lines))) == set(identities(before))


@given(st.text(alphabet=st.sampled_from("/somasruni @opbt`<>!-[]()*_#|\n\r\t \u2003\x0b&;~'\"=x1."), max_size=120))
def test_the_quick_look_misses_no_command(body: str) -> None:
    if commands_in(body + "\n\n/runs list", ROOTS)[:-1]:
        assert may_hold_commands(body, ROOTS)


@pytest.mark.parametrize("body", TRIGGERS)
def test_the_quick_look_lets_every_command_through(body: str) -> None:
    assert may_hold_commands(body, ROOTS)


@pytest.mark.parametrize(
    "hostile", ["\n" * 65_000, "\r\n" * 32_000, " " * 65_000, "\n/som" * 13_000, "@opsbotx" * 8_000]
)
def test_the_quick_look_is_quick(hostile: str) -> None:
    started = time.thread_time()
    may_hold_commands(hostile + " see /somas", ROOTS)
    assert time.thread_time() - started < 0.2
