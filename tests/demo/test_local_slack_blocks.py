"""What the local Slack refuses in blocks, each with the nearest thing that it takes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slack_sdk.models.blocks import Block
from slack_sdk.models.views import View

from bot.demo.slack import mrkdwn as markup
from bot.demo.slack.block_rules import check_attachments, check_blocks, check_metadata, check_view
from bot.demo.slack.content import read_content
from bot.demo.slack.workspace import Refused
from tests.demo.local_slack_app import actions, button, modal, mrkdwn, plain, section, text_input

CONFIRM = {"title": plain("Sure?"), "text": plain("x" * 300), "confirm": plain("Yes"), "deny": plain("No")}


def rich(*elements: dict[str, Any]) -> dict[str, Any]:
    return {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": list(elements)}]}


def table(*rows: list[str], **more: Any) -> dict[str, Any]:
    return {"type": "table", "rows": [[{"type": "raw_text", "text": cell} for cell in row] for row in rows], **more}


def options(count: int) -> list[dict[str, Any]]:
    return [{"text": plain(f"Option {number}"), "value": str(number)} for number in range(count)]


def select(count: int) -> dict[str, Any]:
    return {"type": "static_select", "action_id": "a", "placeholder": plain("Choose"), "options": options(count)}


REFUSED: list[tuple[str, list[dict[str, Any]], list[dict[str, Any]], str]] = [
    ("51 blocks", [{"type": "divider"}] * 50, [{"type": "divider"}] * 51, "no more than 50 items"),
    ("section of 3001", [section("x" * 3000)], [section("x" * 3001)], "less than 3001"),
    ("empty section", [section("x")], [section("")], "more than 0"),
    ("section without content", [section("x")], [{"type": "section"}], "must have text or fields"),
    (
        "header of 151",
        [{"type": "header", "text": plain("x" * 150)}],
        [{"type": "header", "text": plain("x" * 151)}],
        "less than 151",
    ),
    (
        "mrkdwn header",
        [{"type": "header", "text": plain("x")}],
        [{"type": "header", "text": mrkdwn("x")}],
        "must be plain_text",
    ),
    ("mrkdwn button", [actions(button("Go", "go"))], [actions({**button("Go", "go"), "text": mrkdwn("Go")})], "plain"),
    (
        "11 fields",
        [{"type": "section", "fields": [mrkdwn("x")] * 10}],
        [{"type": "section", "fields": [mrkdwn("x")] * 11}],
        "no more than 10",
    ),
    (
        "field of 2001",
        [{"type": "section", "fields": [mrkdwn("x" * 2000)]}],
        [{"type": "section", "fields": [mrkdwn("x" * 2001)]}],
        "less than 2001",
    ),
    (
        "11 context elements",
        [{"type": "context", "elements": [mrkdwn("x")] * 10}],
        [{"type": "context", "elements": [mrkdwn("x")] * 11}],
        "no more than 10",
    ),
    (
        "26 buttons",
        [actions(*(button("x", str(n)) for n in range(25)))],
        [actions(*(button("x", str(n)) for n in range(26)))],
        "no more than 25",
    ),
    ("no buttons", [actions(button("x", "a"))], [actions()], "must not be empty"),
    (
        "the same action_id",
        [actions(button("x", "a"), button("y", "b"))],
        [actions(button("x", "a"), button("y", "a"))],
        "already exists",
    ),
    (
        "the same block_id",
        [section("x", block_id="a"), section("y", block_id="b")],
        [section("x", block_id="a"), section("y", block_id="a")],
        "already exists",
    ),
    ("button of 76", [actions(button("x" * 75, "a"))], [actions(button("x" * 76, "a"))], "less than 76"),
    (
        "value of 2001",
        [actions(button("x", "a", value="v" * 2000))],
        [actions(button("x", "a", value="v" * 2001))],
        "less than 2001",
    ),
    (
        "no action_id",
        [actions(button("x", "a"))],
        [actions({"type": "button", "text": plain("x")})],
        "missing required",
    ),
    ("long action_id", [actions(button("x", "a" * 255))], [actions(button("x", "a" * 256))], "less than 256"),
    (
        "unknown style",
        [actions(button("x", "a", style="danger"))],
        [actions(button("x", "a", style="red"))],
        "unsupported value",
    ),
    (
        "a script as a link",
        [actions(button("x", "a", url="https://example.org"))],
        [actions(button("x", "a", url="javascript:alert(1)"))],
        "http or https",
    ),
    (
        "confirm text of 301",
        [actions(button("x", "a", confirm=CONFIRM))],
        [actions(button("x", "a", confirm=CONFIRM | {"text": plain("x" * 301)}))],
        "less than 301",
    ),
    (
        "confirm without deny",
        [actions(button("x", "a", confirm=CONFIRM))],
        [actions(button("x", "a", confirm={k: v for k, v in CONFIRM.items() if k != "deny"}))],
        "missing required field: deny",
    ),
    ("a property that does not exist", [section("x")], [section("x", colour="red")], "unknown property: colour"),
    ("null as a value", [section("x")], [section("x", block_id=None)], "must be a string"),
    ("a block that does not exist", [section("x")], [{"type": "sektion"}], "unsupported type"),
    ("an input in a message", [section("x")], [text_input("Name", "name")], "unsupported type"),
    ("101 options", [actions(select(100))], [actions(select(101))], "no more than 100"),
    (
        "an option value of 151",
        [actions(select(1))],
        [actions({**select(1), "options": [{"text": plain("x"), "value": "v" * 151}]})],
        "less than 151",
    ),
    (
        "an image without alt_text",
        [{"type": "image", "image_url": "https://example.org/a.png", "alt_text": "a"}],
        [{"type": "image", "image_url": "https://example.org/a.png"}],
        "alt_text",
    ),
    (
        "empty rich text",
        [rich({"type": "text", "text": "x"})],
        [rich({"type": "text", "text": ""})],
        "more than 0 characters",
    ),
    (
        "a style that does not exist",
        [rich({"type": "text", "text": "x", "style": {"bold": True}})],
        [rich({"type": "text", "text": "x", "style": {"loud": True}})],
        "unknown property: loud",
    ),
    (
        "two tables",
        [table(["a", "b"])],
        [table(["a", "b"]), table(["c", "d"])],
        "only_one_table_allowed",
    ),
    ("21 columns", [table(["x"] * 20)], [table(["x"] * 21)], "no more than 20"),
    ("101 rows", [table(*[["x"]] * 100)], [table(*[["x"]] * 101)], "no more than 100"),
    ("rows of different width", [table(["a"], ["b"])], [table(["a"], ["b", "c"])], "same number of cells"),
    ("an empty cell", [table(["-"])], [table([""])], "more than 0"),
    ("a table of 10,001", [table(*[["x" * 100]] * 100)], [table(*[["x" * 101]] * 100)], "10000 characters"),
    ("an unescaped file name", [section("&lt;!channel&gt; done")], [section("<!chanel> done")], "unescaped '<'"),
    ("an unescaped ampersand", [section("a &amp; b")], [section("a & b")], "unescaped '&'"),
    ("an unescaped arrow", [section("&gt; quote\n> quote\na -&gt; b")], [section("a -> b")], "unescaped '>'"),
    ("half of a character", [section("\N{ROCKET}")], [section("\ud83d")], "surrogate"),
]


@pytest.mark.parametrize(("taken", "refused", "reason"), [case[1:] for case in REFUSED], ids=[c[0] for c in REFUSED])
def test_a_block_list_is_refused_for_the_right_reason(
    taken: list[dict[str, Any]], refused: list[dict[str, Any]], reason: str
) -> None:
    assert check_blocks(taken) == []
    problems = check_blocks(refused)
    assert any(reason in problem for problem in problems), problems
    assert all("[json-pointer:/blocks" in problem for problem in problems)


@pytest.mark.parametrize("taken", [case[1] for case in REFUSED], ids=[c[0] for c in REFUSED])
def test_what_the_local_slack_takes_the_models_of_slack_sdk_take_too(taken: list[dict[str, Any]]) -> None:
    for block in taken:
        parsed = Block.parse(block)
        assert parsed is not None
        parsed.validate_json()


BIG = section("x" * 2640)
MODAL_CASES = [
    ("title of 25", modal(section("x"), title=plain("x" * 24)), modal(section("x"), title=plain("x" * 25)), "25"),
    (
        "metadata of 3001",
        modal(section("x"), private_metadata="x" * 3000),
        modal(section("x"), private_metadata="x" * 3001),
        "3001",
    ),
    ("101 blocks", modal(*[{"type": "divider"}] * 100), modal(*[{"type": "divider"}] * 101), "no more than 100"),
    ("no blocks", modal(section("x")), modal(), "must not be empty"),
    ("a mrkdwn title", modal(section("x")), modal(section("x"), title=mrkdwn("x")), "must be plain_text"),
    ("an unknown property", modal(section("x")), modal(section("x"), size="big"), "unknown property: size"),
    (
        "inputs without submit",
        modal(text_input("Name", "name")),
        {k: v for k, v in modal(text_input("Name", "name")).items() if k != "submit"},
        "must have submit",
    ),
    ("a table in a modal", modal(section("x")), modal(table(["x"])), "unsupported type"),
]


@pytest.mark.parametrize(("taken", "refused", "reason"), [c[1:] for c in MODAL_CASES], ids=[c[0] for c in MODAL_CASES])
def test_a_modal_is_refused_for_the_right_reason(taken: dict[str, Any], refused: dict[str, Any], reason: str) -> None:
    assert check_view(taken) == []
    View(**taken).validate_json()
    assert any(reason in problem for problem in check_view(refused)), check_view(refused)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ({}, "no_text"),
        ({"text": "", "blocks": []}, "no_text"),
        ({"text": "x" * 40_001}, "msg_too_long"),
        ({"text": "a <b> c"}, "invalid_text_markup"),
        ({"text": "x", "blocks": "[{"}, "invalid_blocks_format"),
        ({"text": "x", "blocks": "{}"}, "invalid_blocks_format"),
        ({"text": "x", "blocks": [{"type": "header"}]}, "invalid_blocks"),
        ({"blocks": [section("x")]}, "missing_fallback_text"),
        ({"attachments": [{"color": "good", "blocks": [section("x")]}]}, "missing_fallback_text"),
        ({"text": "x", "blocks": [BIG] * 5 + [section("y")]}, "msg_blocks_too_long"),
        ({"text": "x", "blocks": [BIG] * 3, "attachments": [{"blocks": [BIG] * 3}]}, "msg_blocks_too_long"),
        (
            {"text": "x", "blocks": [section("x")] * 30, "attachments": [{"blocks": [section("x")] * 21}]},
            "invalid_blocks",
        ),
        ({"text": "x", "attachments": [{"color": "purple", "text": "x"}]}, "invalid_attachments"),
        ({"text": "x", "metadata": {"event_type": "run"}}, "invalid_metadata_format"),
        ({"text": "x", "metadata": {"event_type": "Run!", "event_payload": {}}}, "invalid_metadata_format"),
        ({"text": "x", "metadata": {"event_type": "run", "event_payload": {"x": "y" * 9000}}}, "metadata_too_large"),
    ],
)
def test_a_message_is_refused_by_name(content: dict[str, Any], error: str) -> None:
    with pytest.raises(Refused) as refused:
        read_content(content)
    assert refused.value.error == error


@pytest.mark.parametrize(
    "content",
    [
        {"text": "x" * 40_000},
        {"text": "fallback", "blocks": [BIG] * 5},  # exactly 13,200 characters
        {"text": "x", "blocks": [section("x")] * 30, "attachments": [{"blocks": [section("x")] * 20}]},
        {"attachments": [{"color": "#2eb67d", "fallback": "done", "blocks": [section("x")]}]},
        {"text": "x", "metadata": {"event_type": "opsbot_run", "event_payload": {"run": "01JD3"}}},
    ],
)
def test_a_message_at_the_limit_is_taken(content: dict[str, Any]) -> None:
    read_content(content)


def test_attachments_and_metadata_have_their_own_rules() -> None:
    assert check_attachments([{"color": "danger", "text": "x"}]) == []
    assert "either blocks or text" in check_attachments([{"color": "danger"}])[0]
    assert "unknown property: title" in check_attachments([{"text": "x", "title": "old"}])[0]
    assert check_metadata({"event_type": "run", "event_payload": {}}) == ""
    assert check_metadata({"event_type": "run", "event_payload": []}) == "invalid_metadata_format"


PEOPLE, ROOMS = {"alice": "U0ALICE", "scot.l": "U0SCOT"}, {"ops": "C0OPS"}


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("ack @alice", "ack <@U0ALICE|alice>"),
        ("ack @alice.", "ack <@U0ALICE|alice>."),
        ("ask @scot.l in #ops", "ask <@U0SCOT|scot.l> in <#C0OPS|ops>"),
        ("mail alice@alice or @nobody", "mail alice@alice or @nobody"),
        ("see https://example.org/?a=1&b=2.", "see <https://example.org/?a=1&amp;b=2>."),
        ('--reason "a < b & c"', '--reason "a &lt; b &amp; c"'),
        ("hi <@U0ALICE>", "hi <@U0ALICE>"),
        ("<!channel>", "&lt;!channel&gt;"),
    ],
)
def test_what_is_typed_reaches_the_app_escaped(text: str, sent: str) -> None:
    assert markup.typed(text, PEOPLE, ROOMS, with_names=True) == sent


@given(st.text(max_size=200))
def test_anything_typed_becomes_valid_markup_and_reads_the_same(text: str) -> None:
    sent = markup.typed(text, {}, {}, with_names=True)
    assert markup.mistakes(sent) == []
    if "<" not in text:
        assert markup.readable(sent, {}) == text


@given(st.text(max_size=200))
def test_escaped_text_is_always_valid_and_reads_the_same(text: str) -> None:
    assert markup.mistakes(markup.escape(text)) == []
    assert markup.readable(markup.escape(text), {}) == text


@pytest.mark.parametrize(
    "form",
    [
        "<@U0SCOT>",
        "<#C0OPS|ops>",
        "<!here>",
        "<!subteam^S0ONCALL>",
        "<!date^1795000000^{date_short} {time}|yesterday>",
        "<https://example.org|the graph>",
        "<mailto:ops@example.org|mail>",
    ],
)
def test_the_documented_forms_are_understood(form: str) -> None:
    assert markup.mistakes(f"see {form}.") == []


@pytest.mark.parametrize("form", ["<@scot>", "<!all>", "<javascript:x|y>", "<b>", "<!date^now^{time}|x>", "a < b"])
def test_other_forms_are_refused(form: str) -> None:
    assert markup.mistakes(form) != []


def test_dates_read_in_utc() -> None:
    written = "<!date^1795000000^{date_num} {time_secs}|x>"
    assert markup.readable(written, {}) == "2026-11-18 11:06:40"
