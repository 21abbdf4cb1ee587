"""What a person reads in Slack, and that nothing anybody wrote can be more than text there."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bot.commands.lexer import split
from bot.demo.slack.block_rules import check_view
from bot.messages import (
    Block,
    Bold,
    Bullets,
    Button,
    Buttons,
    Code,
    CodeBlock,
    Dialog,
    Divider,
    Fields,
    Folded,
    Heading,
    Input,
    Italic,
    Lines,
    Link,
    Mention,
    Message,
    Note,
    Paragraph,
    Picture,
    Table,
    Text,
    When,
    line,
    message,
)
from bot.surfaces.printable import one_line, printable
from bot.surfaces.slack.blocks import COLOURS, draw, draw_modal
from bot.surfaces.slack.dialog import Where, composed_from, pack_where, read_button, read_where
from tests.surfaces.slack_judge import judge, nodes, shown

PEOPLE = {"scotlaclair": "U0SCOT", "alice": "U0ALICE", "broken": "<!channel>"}
NOON = datetime(2026, 11, 22, 12, 30, tzinfo=UTC)
BROADCASTS = ("<!channel>", "<!here>", "<!everyone>", "<@U0SCOT>", "<https://evil.example|docs>", "*bold*", "```")


# ---- arbitrary messages ----------------------------------------------------------------------------------------------

nasty = st.one_of(
    st.text(max_size=40),
    st.text(alphabet="*_~`<>&|!@#\x00\x1b\u202e\u2066\ud800\udfff\ufeff\r\n\t a", max_size=40),
    st.sampled_from(BROADCASTS),
    st.builds(lambda text, times: text * times, st.text(min_size=1, max_size=5), st.sampled_from([1, 30, 700, 4000])),
)
spans = st.one_of(
    nasty.map(Text),
    nasty.map(Bold),
    nasty.map(Italic),
    nasty.map(Code),
    st.builds(Link, nasty, st.one_of(nasty, st.sampled_from(["https://a.example/x?y=1&z=<", "javascript:alert(1)"]))),
    st.sampled_from([*PEOPLE, "nobody", "<!here>"]).map(Mention),
    st.builds(When, st.datetimes(timezones=st.sampled_from([UTC])), st.sampled_from(["time", "date_time"])),
    st.builds(When, st.datetimes(), st.just("time")),
)
lines = st.lists(spans, max_size=14).map(tuple)
tables = st.builds(
    Table,
    st.lists(nasty, max_size=6).map(tuple),
    st.lists(st.lists(nasty, max_size=7).map(tuple), max_size=70).map(tuple),
    st.sets(nasty, max_size=2).map(frozenset),
)
passive: st.SearchStrategy[Block] = st.one_of(
    st.builds(Heading, nasty),
    st.builds(Paragraph, lines),
    st.builds(Bullets, st.lists(lines, max_size=12).map(tuple)),
    st.builds(Lines, st.lists(lines, max_size=12).map(tuple)),
    st.builds(Fields, st.lists(st.tuples(nasty, lines), max_size=12).map(tuple)),
    tables,
    st.builds(CodeBlock, nasty, nasty, nasty),
    st.builds(
        CodeBlock,
        nasty,
        title=nasty,
        file=st.just("step-1.txt"),
        in_sight=st.sampled_from([10, 700, 2_500]),
        keep=st.sampled_from(["beginning", "end"]),
    ),
    st.builds(Note, lines),
    st.just(Divider()),
)
inputs = st.builds(Input, st.text("abcdef-", min_size=1, max_size=9), nasty, nasty, nasty, st.booleans(), st.booleans())
dialogs = st.builds(
    Dialog, nasty, nasty, st.lists(passive, max_size=4).map(tuple), st.lists(inputs, max_size=5).map(tuple)
)
buttons = st.builds(
    Button,
    nasty,
    st.one_of(nasty, st.just("/runs ack 01JABC")),
    st.sampled_from(["default", "primary", "danger"]),
    st.one_of(st.none(), dialogs),
)
blocks = st.one_of(passive, st.builds(Buttons, st.lists(buttons, max_size=30).map(tuple)))
folded = st.builds(Folded, nasty, st.lists(passive, max_size=4).map(tuple))
pictures = st.builds(Picture, st.just(b"PNG"), nasty)
blocks = st.one_of(blocks, folded, pictures)
messages = st.builds(Message, nasty, st.lists(blocks, max_size=60).map(tuple), st.sampled_from(["none", *COLOURS]))


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(messages, st.one_of(st.none(), nasty))
def test_any_message_can_be_posted(one: Message, run: str | None) -> None:
    judge(draw(one, PEOPLE, run=run), PEOPLE.values())


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(dialogs)
def test_any_dialog_can_be_opened_and_survives_its_button(dialog: Dialog) -> None:
    view = draw_modal(dialog, pack_where(Where("/runs cancel 01J", "C0OPS", "1.2")), PEOPLE)
    assert check_view(view) == []
    drawn = draw(Message("m", (Buttons((Button("Go", "/runs cancel 01J", dialog=dialog),)),)), PEOPLE)
    judge(drawn, PEOPLE.values())
    pressed = [node["value"] for block in drawn.blocks for node in nodes(block) if node.get("type") == "button"]
    for value in pressed:  # a form whose fields do not fit has no button
        command, back = read_button(value)
        assert command == "/runs cancel 01J"
        assert back is not None
        assert [field.option for field in back.inputs] == [field.option for field in dialog.inputs]
        draw_modal(back, "{}", PEOPLE)


@given(st.text())
def test_printable_text_is_stable_and_can_be_encoded(text: str) -> None:
    once = printable(text)
    assert printable(once) == once
    once.encode("utf-8")


def test_ordinary_text_is_not_touched() -> None:
    for text in ("naïve café", "日本語\n\ttab", "👩‍🚒 ok", "a_b*c~d`e", ""):
        assert printable(text) == text
    assert printable("\x1b[31mred\x1b[0m") == "␛[31mred␛[0m"
    assert printable("gpj.\u202eexe") == "gpj.\\u202eexe"
    assert printable("a\ud800b\r\nc") == "a\ufffdb\nc"


# ---- what it looks like ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hostile", BROADCASTS)
def test_hostile_text_stays_text(hostile: str) -> None:
    drawn = draw(
        Message(
            hostile, (Paragraph(line(hostile)), Note(line("from ", hostile, When(NOON))), CodeBlock(hostile)), "bad"
        ),
        PEOPLE,
    )
    judge(drawn, PEOPLE.values())
    assert drawn.text.startswith(hostile.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
    assert not [node for block in shown(drawn) for node in nodes(block) if node.get("type") in ("user", "link")]
    assert [node["text"] for node in nodes(drawn.blocks) if node.get("type") == "text"] == [hostile]


def test_a_page_mentions_the_person_above_the_stripe_and_in_the_notification() -> None:
    page = Message(
        "P1: no answer for 10 minutes",
        (
            Heading("Out of time: quarantine worker-3"),
            Paragraph(line(Mention("scotlaclair"), " the budget of step 2 ran out at ", When(NOON))),
            CodeBlock('{"state": "failed"}', "json", "Last seen"),
            Buttons((Button("Acknowledge", "/runs ack 01JABC", "primary"),)),
        ),
        "bad",
    )
    drawn = draw(page, PEOPLE, run="01JABC")
    judge(drawn, PEOPLE.values())
    assert [block["type"] for block in drawn.blocks] == ["header", "rich_text"]
    assert {"type": "user", "user_id": "U0SCOT"} in list(nodes(drawn.blocks))
    assert drawn.text.startswith("P1: no answer for 10 minutes\n")
    assert drawn.text.endswith(" <@U0SCOT>")
    (stripe,) = drawn.attachments
    assert stripe["color"] == "#e01e5a"
    button = stripe["blocks"][-1]["elements"][0]
    assert (button["value"], button["style"]) == ("/runs ack 01JABC", "primary")
    assert stripe["blocks"][-1]["block_id"] == "run:01JABC:1"
    assert {
        "type": "date",
        "timestamp": 1795350600,
        "format": "{time}",
        "fallback": "12:30 UTC",
    } in list(nodes(drawn.blocks))


def test_buttons_are_not_hidden_behind_a_long_attachment() -> None:
    long = Message(
        "m", (Heading("h"), CodeBlock("x" * 2_000), Buttons((Button("Retry", "/runs retry 1"),))), colour="warning"
    )
    drawn = draw(long, {})
    assert [[block["type"] for block in one["blocks"]] for one in drawn.attachments] == [["rich_text"], ["actions"]]


def test_a_long_log_is_cut_and_says_so() -> None:
    drawn = draw(message(CodeBlock("x" * 10_000)), {})
    judge(drawn, PEOPLE.values())
    (text,) = [node["text"] for node in nodes(drawn.blocks) if node.get("type") == "text"]
    assert text.endswith("\n… cut, 7100 characters")


def test_a_message_that_is_too_long_keeps_its_beginning_and_its_buttons() -> None:
    parts: list[Block] = [Heading("Everything")]
    parts += [CodeBlock(f"{number} " + "x" * 900) for number in range(70)]
    parts.append(Buttons((Button("Cancel", "/runs cancel 1", "danger"),)))
    drawn = draw(Message("m", tuple(parts)), {})
    judge(drawn, PEOPLE.values())
    assert drawn.blocks[0]["type"] == "header"
    assert drawn.blocks[-1]["type"] == "actions"
    assert drawn.blocks[-2]["elements"][0]["text"].startswith("… ")
    assert "more parts did not fit" in drawn.blocks[-2]["elements"][0]["text"]


def test_a_narrow_table_is_aligned() -> None:
    table = Table(
        ("project", "status", "age"), (("project-42", "failed", "3d"), ("日本", "ok", "12d")), frozenset({"age"})
    )
    drawn = draw(message(table), {})
    judge(drawn, PEOPLE.values())
    (text,) = [node["text"] for node in nodes(drawn.blocks) if node.get("type") == "text"]
    assert text == "project     status  age\nproject-42  failed   3d\n日本        ok      12d"


def test_a_wide_table_becomes_a_list() -> None:
    table = Table(
        ("project", "status", "what happened"), (("project-42", "failed", "the disk of the runner was full again"),)
    )
    drawn = draw(message(table), {})
    judge(drawn, PEOPLE.values())
    texts = [node["text"] for node in nodes(drawn.blocks) if node.get("type") == "text"]
    assert texts == ["project-42", " · status failed · what happened the disk of the runner was full again"]


def test_only_http_can_be_followed() -> None:
    drawn = draw(
        message(Paragraph(line(Link("run", "https://x.example/1"), " ", Link("click", "javascript:alert(1)")))), {}
    )
    judge(drawn, PEOPLE.values())
    assert [node["url"] for node in nodes(drawn.blocks) if node.get("type") == "link"] == ["https://x.example/1"]
    assert "click" in json.dumps(drawn.blocks)


def test_small_print_keeps_names_and_formats_nothing_of_its_own() -> None:
    spans = line(
        "> child_runtime_records *not bold* `x` · due ", When(NOON), " · run ", Code("01J_A"), " ", Bold("late")
    )
    drawn = draw(message(Note(spans)), {})
    judge(drawn, PEOPLE.values())
    assert drawn.blocks[0]["elements"] == [
        {
            "type": "mrkdwn",
            "text": "› child_runtime_records ∗not bold∗ ˋxˋ · due <!date^1795350600^{time}|12:30 UTC>"
            " · run `01J_A` *late*",
            "verbatim": True,
        }
    ]
    drawn = draw(message(Note(line("took 3 s · *_~` <!channel>"))), {})
    judge(drawn, PEOPLE.values())
    assert drawn.blocks[0]["elements"] == [{"type": "plain_text", "text": "took 3 s · *_~` <!channel>", "emoji": False}]


def test_lines_stand_under_one_another() -> None:
    drawn = draw(message(Lines((line("✓  1. Query"), line("▶  2. ", Bold("Quarantine"))))), {})
    judge(drawn, PEOPLE.values())
    texts = [node["text"] for node in nodes(drawn.blocks) if node.get("type") == "text"]
    assert "".join(texts) == "✓  1. Query\n▶  2. Quarantine"


def test_three_buttons_are_in_sight_and_the_others_behind_dots() -> None:
    five = tuple(Button(name, f"/runs {name.lower()} 01JABC") for name in ("Ack", "Retry", "Done", "Skip", "Cancel"))
    drawn = draw(message(Buttons(five)), {})
    judge(drawn, PEOPLE.values())
    (row,) = [block for block in drawn.blocks if block["type"] == "actions"]
    assert [element["type"] for element in row["elements"]] == ["button", "button", "button", "overflow"]
    assert [option["text"]["text"] for option in row["elements"][-1]["options"]] == ["Skip", "Cancel"]


def test_a_command_that_no_button_can_hold_is_shown_instead() -> None:
    drawn = draw(message(Buttons((Button("Restart", "/somas restart " + "x" * 2_000),))), {})
    judge(drawn, PEOPLE.values())
    assert "Restart: type " in json.dumps(drawn.blocks)
    assert "actions" not in json.dumps(drawn.blocks)


# ---- forms -----------------------------------------------------------------------------------------------------------


def entered(**values: str | None) -> dict[str, Any]:
    return {
        f"{number}:{option}": {"value": {"type": "plain_text_input", "value": value}}
        for number, (option, value) in enumerate(values.items())
    }


def test_what_was_entered_becomes_options() -> None:
    values = entered(reason="disk was full; don’t ask", target=None, stage="verify")
    command = composed_from("/somas restart project-42", values).line
    assert command == '/somas restart project-42 --reason "disk was full; don’t ask" --stage verify'


def test_an_entered_dash_is_not_an_option() -> None:
    assert composed_from("/x y", entered(reason="--force now")).line == '/x y --reason="--force now"'
    assert composed_from("/x y", entered(reason="a\nb  c")).line == '/x y --reason "a b c"'


@given(st.one_of(st.text(max_size=60), st.text(alphabet="\"'“”‘’«»\\-—– =a<>&", max_size=20)))
@example("don’t “do” that")
@example("— dash \\")
def test_the_grammar_reads_back_what_was_entered(value: str) -> None:
    words = [word.value for word in split(composed_from("/x", entered(reason=value)).line)]
    meant = one_line(value)
    assert words in (["/x", "--reason", meant], ["/x", f"--reason={meant}"], ["/x"])
    assert (words == ["/x"]) == (not meant)


def test_a_form_says_where_it_came_from() -> None:
    where = Where('/runs cancel "01J"', "C0OPS", "1795350600.000100")
    assert read_where(pack_where(where)) == where
    for junk in ("", "{}", "[1,2,3]", '["a","b"]', "[" * 5_000):
        with pytest.raises(ValueError, match="another version"):
            read_where(junk)
        with pytest.raises(ValueError, match="another version"):
            read_button("[" + junk)
