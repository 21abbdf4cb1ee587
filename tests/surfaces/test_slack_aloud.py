"""What somebody hears who is on call and does not see: the text of a message, said by a screen reader, state first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from bot.commands.registry import CommandGroup
from bot.demo.slack.mrkdwn import readable
from bot.messages import Code, CodeBlock, Lines, Message, Paragraph, Table, Text, When, line, message
from bot.reports.model import Measured, Memory, Metric, Reading
from bot.reports.text import report_message
from bot.runs.decide import new_run
from bot.surfaces import card
from bot.surfaces.home import Crossed, Situation, Viewer, home
from bot.surfaces.page import page_message
from bot.surfaces.slack.blocks import draw
from bot.surfaces.slack.home import home_view
from tests.runs.plans import NOON, plan
from tests.runs.plans import row as step
from tests.runs.test_card import SLACK, crash_loop, name
from tests.surfaces.slack_judge import can_be_heard, nodes


def heard(one: Message) -> str:
    """What is said, in the words of somebody in UTC."""
    text = draw(one, SLACK).text
    can_be_heard(text)
    return readable(text, {"U0SCOT": "scotlaclair"})


def test_a_card_says_first_how_it_is() -> None:
    played = crash_loop().finished("done", "met").prepared(shows="quarantine worker-3")
    assert heard(card.card(played.state, NOON + timedelta(minutes=1.25), name)).split("\n") == [
        "Step 2 of 4: running. P1-002 Child task crash loop: worker-3",
        "Step 2 of 4: running, 45 s left of 2 min, until 12:02",
        "Done: 1. Read the state, met, less than 1 s",
        "Running: 2. Quarantine the child",
        "Not begun: 3. Remove it",
        "Not begun: 4. Tell the customer",
        "Waits for Child is Quarantined",
        "Asked for by alice at 12:00: /supervisor runbook P1-002 worker-3, whole run until 12:30, "
        "run 01JD0000000000000000000000",
    ]


def test_a_page_says_who_is_needed_and_why_and_calls_them() -> None:
    played = crash_loop().finished("done", "not met", "Nothing failed", observed="children.failed = 0")
    state = played.state
    assert state.page is not None
    said = heard(page_message(state, state.page, in_thread=False, name=name)).split("\n")
    assert said[0].startswith("scotlaclair: P1-002 Child task crash loop: worker-3 needs you. ")
    assert "Expected: children.failed > 0" in said and "Seen: children.failed = 0" in said
    assert said[-1].endswith(" scotlaclair"), "the mention comes last, so that it is not read out before the news"


def test_a_report_says_what_is_wrong_row_by_row() -> None:
    metric = Metric(name="dead-letters", title="Dead letters", limits="5 / 10")
    reading = Reading(
        at=NOON,
        measured=(Measured(metric="dead-letters", subject="project-57", level="critical", shown="12"),),
        subjects=frozenset({"project-57"}),
        source="the state files",
    )
    said = heard(report_message("SOMAS", (metric,), reading, (), Memory(), {})).split("\n")
    assert said[0] == "SOMAS: 1 critical"
    assert "project-57, dead letters, Now 12, Since new" in said
    assert any(each.startswith("Measured at ") for each in said)


def test_what_was_said_is_not_said_again_and_what_is_drawn_is_left_out() -> None:
    drawn = message(
        Paragraph(line("Restart project-42")),
        Paragraph(line("Restart project-42")),
        Lines((line("✓  1. Look — met"), line("✗  2. Try"), line("–  3. Wait"), line("?  4. Ask"))),
        Table(("project", "state", "age"), (("project-42", "failed", "3d"), ("project-7", "", "1d"))),
        CodeBlock("┌──┐\n│ x│"),
        Paragraph(line("▰▰▱ 5 min left · warning → critical ", Code("a_b"))),
    )
    assert heard(drawn).split("\n") == [
        "Restart project-42",
        "Done: 1. Look, met",
        "Failed: 2. Try",
        "Skipped: 3. Wait",
        "Waits: 4. Ask",
        "project-42, state failed, age 3d",
        "project-7, age 1d",
        "5 min left, warning to critical a_b",
    ]


@settings(max_examples=60)
@given(st.text(max_size=4000), st.lists(st.text(max_size=2000), max_size=8))
def test_what_is_heard_ends_somewhere_and_begins_with_the_summary(summary: str, lines: list[str]) -> None:
    spans = tuple((Text(each), When(NOON)) for each in lines)
    text = draw(Message(summary, (Lines(spans),)), {}).text
    assert 0 < len(text) <= 3_100
    assert text.count("<") == text.count("<!date^") == text.count(">"), "no date is cut in two"


def test_every_time_on_the_home_tab_is_in_the_reader_s_zone() -> None:
    state = new_run(plan(step("Look at it", minutes=5)))
    begun = state.model_copy(update={"started_at": NOON})
    done = state.model_copy(update={"status": "done", "finished_at": NOON})
    situation = Situation(
        open=[begun],
        crossed=[Crossed("somas", "dead-letters", "project-57", "critical", "12", datetime(2026, 11, 22, tzinfo=UTC))],
        groups=(CommandGroup("somas", "Projects"),),
        links={},
        name=name,
    )
    viewer = Viewer("alice", lambda level: True, lambda state: True, lambda state: True, [done])
    view = home_view(home(situation, viewer), "D0ALICE")
    dates = [node for node in nodes(view["blocks"]) if node.get("type") == "date"]
    assert {date["fallback"] for date in dates} == {"2026-11-22 00:00 UTC", "2026-11-22 12:00 UTC"}
    texts = [node["text"] for node in nodes(view["blocks"]) if isinstance(node.get("text"), str)]
    assert not [text for text in texts if "UTC" in text and "<!date^" not in text]
