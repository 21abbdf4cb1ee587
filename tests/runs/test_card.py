"""What people see of a run: its card, its thread and its pages, in every state that a run can reach."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from bot.demo.slack.block_rules import check_view
from bot.messages import Buttons, Dialog, Message, plain_text
from bot.runs.model import Plan, RunState
from bot.runs.presses import allowed, runs_short
from bot.surfaces import card
from bot.surfaces.buttons import LABELS
from bot.surfaces.github import markdown
from bot.surfaces.issue_card import issue_card
from bot.surfaces.page import page_message
from bot.surfaces.slack import blocks
from bot.surfaces.step_text import plain_step
from bot.surfaces.thread import thread_message
from bot.words import duration
from tests.runs.plans import CHANGE, DESTRUCTIVE, MANUAL, NOON, READ, Played, row, run
from tests.runs.wander import Move, journeys, plans, reached
from tests.surfaces.slack_judge import can_be_heard, judge

SLACK, GITHUB = {"scotlaclair": "U0SCOT"}, {"scotlaclair": "scotlaclair"}


def name(actor: str) -> str:
    return {"slack:U0ALICE": "alice", "slack:U0BOB": "bob"}.get(actor, actor.partition(":")[2])


def buttons(message: Message) -> list[str]:
    return [button.label for block in message.blocks if isinstance(block, Buttons) for button in block.items]


def shown(message: Message) -> str:
    """The message as plain text, its buttons in brackets."""
    pressable = " ".join(f"[{label}]" for label in buttons(message))
    return "\n".join(part for part in (plain_text(message.blocks), pressable) if part)


def is_drawn(message: Message) -> None:
    """On both surfaces, as their rules want it."""
    drawn = blocks.draw(message, SLACK)
    judge(drawn, SLACK.values())
    can_be_heard(drawn.text)
    body = markdown.draw(message, GITHUB)
    assert 0 < len(body) <= markdown.MAX_LENGTH
    dialogs = [one.dialog for block in message.blocks if isinstance(block, Buttons) for one in block.items]
    for dialog in dialogs:
        if isinstance(dialog, Dialog):
            assert check_view(blocks.draw_modal(dialog, "{}", SLACK)) == []


@settings(max_examples=200, deadline=None)
@given(plans(), journeys(), st.sampled_from((0, 1, 90, 4000, 90000)))
def test_every_state_can_be_shown_on_both_surfaces(plan: Plan, moves: list[Move], later: int) -> None:
    played = reached(plan, moves)
    state, now = played.state, played.now + timedelta(seconds=later)
    message = card.card(state, now, name)
    is_drawn(message)
    on_issue = issue_card(message, state, name)
    is_drawn(on_issue)
    assert [block for block in on_issue.blocks if block in message.blocks] == list(message.blocks)  # the very same card
    for post in played.posts[-6:]:
        is_drawn(thread_message(state, post, name))
    for page in state.escalations:
        is_drawn(page_message(state, page, in_thread=False, name=name, link="https://example.org/run"))
    _says_what_matters(state, message, plain_text(message.blocks))
    assert card.card(state, now, name) == message  # drawn again it is the same


def _says_what_matters(state: RunState, message: Message, text: str) -> None:
    step = state.steps[state.current]
    number, total = state.current + 1, len(state.steps)
    for each in state.plan.runbook.steps:
        assert plain_step(each) in text
    if state.closed:
        assert {"done": "Done", "failed": "Failed at step", "cancelled": "Cancelled at step"}[state.status] in text
        assert message.colour in ("good", "warning", "bad")
    else:
        assert f"Step {number} of {total}: " in text
        assert "left of" in text or "over its" in text or "no time limit" in text
        if step.deadline and step.started_at:
            assert duration(step.deadline - step.started_at) in text
    if state.page:
        assert "Paged scotlaclair" in text
        assert "Acknowledge" in buttons(message)
    labels = [LABELS[verb] for verb in allowed(state)]
    if runs_short(state):
        labels.insert(labels.index("Cancel run") if "Cancel run" in labels else len(labels), "More time…")
    if state.closed and state.escalations:
        labels.append("Draft the post-incident issue")
    assert buttons(message) == labels[: len(buttons(message))]
    assert bool(labels) == bool(buttons(message))
    if step.status == "approval" and not state.closed:
        assert "Approve…" in buttons(message)
    assert state.plan.run_id in text


# -- five cards, as people read them


def crash_loop() -> Played:
    return run(
        row("Read the state: `handle.current_state()`", READ, minutes=1, expect="children.failed > 0"),
        row("Quarantine the child: `handle.quarantine_child()`", CHANGE, minutes=2, expect="Child is `Quarantined`"),
        row("Remove it: `handle.remove_child()`", DESTRUCTIVE, minutes=5),
        row("Tell the **customer**.", MANUAL, minutes=10),
        minutes=30,
    )


def reads(played: Played, minutes: float, *wanted: str) -> Message:
    """The card so many minutes after the start; its lines and buttons."""
    message = card.card(played.state, NOON + timedelta(minutes=minutes), name)
    lines = shown(message).split("\n")
    for text in wanted:
        assert any(text in line for line in lines), f"{text!r} is not in\n" + "\n".join(lines)
    return message


def test_a_card_at_work() -> None:
    played = crash_loop().finished("done", "met").prepared(shows="quarantine worker-3")
    message = reads(
        played,
        1.25,
        "P1-002 Child task crash loop: worker-3",
        "Step 2 of 4: running",
        "45 s left of 2 min, until 12:02 UTC",
        "✓  1. Read the state — met",
        "  2. Quarantine the child",
        "○  3. Remove it",
        "○  4. Tell the customer",
        "Asked for by alice at 12:00 UTC: /supervisor runbook P1-002 worker-3",
        "[Cancel run]",
    )
    assert message.colour == "running"
    assert message.summary == "Step 2 of 4: running. P1-002 Child task crash loop: worker-3"


def test_a_card_that_asks() -> None:
    played = crash_loop().finished("done", "met").prepared(shows="quarantine worker-3")
    played.finished("done", "not met", "Accepted, and nothing changed", observed="Running")
    message = reads(
        played,
        3,
        "Step 2 of 4: waiting for a decision",
        "1 min over its 2 min",
        "?  2. Quarantine the child — not met",
        "Decide: Accepted, and nothing changed Seen: Running",
        "Paged scotlaclair 1 time, not acknowledged yet. Again at 12:20 UTC.",
    )
    assert message.colour == "bad"
    assert buttons(message)[:3] == ["Acknowledge", "Retry", "Done"]


def waiting_for_approval() -> Played:
    played = crash_loop().finished("done", "met").prepared().finished("done", "met")
    return played.prepared(shows="remove worker-3 from payments", digest="4f5a2c91d07b")


def test_a_card_that_waits_for_a_second_person() -> None:
    played = waiting_for_approval()
    message = reads(
        played,
        1,
        "Step 3 of 4: waiting for approval",
        "4 min left of 5 min, until 12:05 UTC",
        "Needs a second person: Remove worker-3 from payments. Waits for bob, until 12:15 UTC.",
        "[Approve…] [Deny] [Cancel run]",
    )
    approve = next(b for block in message.blocks if isinstance(block, Buttons) for b in block.items)
    assert approve.command == "/runs approve 01JD0000000000000000000000 --digest 4f5a2c91d07b"
    assert approve.dialog is not None
    assert [field.label for field in approve.dialog.inputs] == ["Type worker-3 to approve"]


def test_the_thread_says_exactly_what_is_to_be_approved() -> None:
    played = waiting_for_approval()
    text = shown(thread_message(played.state, played.posts[-1], name))
    assert "Step 3 needs approval: Remove it" in text
    assert "Will do exactly this: remove worker-3 from payments" in text
    assert "Somebody other than the one who asked has to approve: bob" in text


def test_a_page_has_all_that_the_next_person_needs() -> None:
    played = waiting_for_approval().at(5)
    page = played.state.page
    assert page is not None
    message = page_message(played.state, page, in_thread=False, name=name, link="https://example.org/run")
    text = shown(message)
    assert text.startswith("@scotlaclair P1-002 Child task crash loop: worker-3 needs you.")
    assert "Step 3 has used up its 5 min: nobody has approved it." in text
    assert "Step: 3 of 4: Remove it" in text
    assert "Severity: high, to be answered until 13:05 UTC" in text
    assert "To act: a second person approves: bob" in text
    assert "Open the run" in text
    assert "until somebody acknowledges" in text
    assert buttons(message) == ["Acknowledge", "Approve…", "Deny"]
    assert "<@U0SCOT>" in str(blocks.draw(message, SLACK)) or "U0SCOT" in str(blocks.draw(message, SLACK).blocks)
    assert "@scotlaclair" in markdown.draw(message, GITHUB)


def test_a_card_that_is_done_says_what_a_person_said_and_what_took_too_long() -> None:
    played = waiting_for_approval().press("approve", typed="worker-3", digest="4f5a2c91d07b").finished()
    played.at(12).press("ack", "scotlaclair").press("done", "U0ALICE")
    message = reads(
        played,
        500,
        "Done after 12 min. It took longer than its budget.",
        "✓  3. Remove it — done",
        "✓  4. Tell the customer — said by a person, 12 min, over its budget",
        "page acknowledged by scotlaclair",
    )
    assert buttons(message) == ["Draft the post-incident issue"]
    assert message.colour == "warning"


def test_a_cancelled_card_says_who_and_why() -> None:
    played = (
        crash_loop().press("cancel", "U0ALICE", reason="wrong child").finished("failed", summary="Stopped half way")
    )
    message = reads(played, 1, "Cancelled at step 1 of 4 after", "✗  1. Read the state — failed", "ended by alice")
    assert message.colour == "bad"
    thread = [shown(thread_message(played.state, post, name)) for post in played.posts]
    assert thread[0] == "alice asked to cancel (wrong child); the step that is at work is being stopped."
    assert "Stopped half way" in thread[1]
    assert thread[2].startswith("Run cancelled by alice after")


def test_a_run_that_ended_says_why() -> None:
    played = run(row("Call them", MANUAL)).press("fail", "U0BOB", reason="nobody answers")
    text = shown(thread_message(played.state, played.posts[-1], name))
    assert text.split("\n") == [
        "Run ended as failed by bob after less than 1 s: 0 steps done. Reason: nobody answers",
        "Nothing was changed.",
        "Once more from there: @opsbot retry --from 1",
    ]
