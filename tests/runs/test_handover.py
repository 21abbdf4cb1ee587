"""``/runs handover`` and the draft of ``/runs incident``, from any state: nothing is lost, everything fits."""

from __future__ import annotations

import json
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from bot.messages import Table, plain_text
from bot.runs.handover import MOST, Situation, Undelivered, Waiting, handover
from bot.runs.incident import FOLLOW_UPS, draft, with_boxes
from bot.runs.model import RunState, Tick
from bot.runs.trail import started, trail
from bot.surfaces.github.markdown import MAX_LENGTH
from bot.surfaces.github.markdown import draw as draw_markdown
from bot.surfaces.slack.blocks import draw as draw_slack
from tests.runs.plans import CHANGE, MANUAL, NOON, READ, Played, row, run
from tests.runs.wander import states


def of(*played: Played, **more: object) -> Situation:
    now = NOON + timedelta(minutes=30)
    return Situation(now=now, since=now - timedelta(hours=12), open=[each.state for each in played], **more)  # type: ignore[arg-type]  # its other fields


def shown(situation: Situation) -> list[str]:
    return plain_text(handover(situation, str).blocks).split("\n")


def renamed(played: Played, name: str, severity: str = "high") -> Played:
    target = played.state.plan.target.model_copy(update={"name": name})
    new = played.state.plan.model_copy(update={"target": target, "severity": severity})
    played.state = played.state.model_copy(update={"plan": new})
    return played


def test_the_most_urgent_comes_first() -> None:
    low = renamed(run(row("do it", CHANGE)), "low-one", "low")
    critical = renamed(run(row("do it", CHANGE)), "critical-one", "critical")
    for each in (low, critical):
        each.prepared(problem="it cannot be reached")
    waiting = renamed(run(row("call them", MANUAL, minutes=40)), "waiting-one")
    running = renamed(run(row("look", READ, minutes=35)), "running-one")
    lines = shown(of(running, low, waiting, critical))
    places = [
        next(n for n, said in enumerate(lines) if name in said)
        for name in ("critical-one", "low-one", "waiting-one", "running-one")
    ]
    assert places == sorted(places), lines
    assert "10 min left, until 12:40 UTC" in lines[places[2]]
    assert "to do it" in lines[places[2]]


def test_what_was_acknowledged_says_by_whom() -> None:
    played = run(row("do it", CHANGE))
    played.prepared(problem="it cannot be reached")
    played.now = NOON + timedelta(minutes=20)
    played.press("ack", "U0BOB")
    assert any("slack:U0BOB acknowledged 10 min ago" in said for said in shown(of(played)))


def test_what_did_not_arrive_and_who_stands_in_line() -> None:
    lines = shown(
        of(
            undelivered=[Undelivered("A page of run 01J to slack C0OPS", "channel_not_found")],
            queued=[Waiting(7, "payments/child/worker-3", "slack:U0BOB", "/supervisor restart worker-3", NOON)],
            frozen=("slack:U0ALICE", "release", NOON),
        )
    )
    assert lines[1] == "New changing runs are frozen by slack:U0ALICE since 30 min: release"
    assert "- A page of run 01J to slack C0OPS: channel_not_found" in lines
    assert "- payments/child/worker-3: slack:U0BOB with /supervisor restart worker-3, since 30 min (number 7)" in lines


def test_a_long_list_says_how_much_is_missing() -> None:
    many = [renamed(run(row("call them", MANUAL)), f"worker-{number}") for number in range(MOST + 5)]
    lines = shown(of(*many))
    assert "- and 5 more: /runs list --all" in lines
    assert f"Waits for a person ({MOST + 5})" in lines


@settings(max_examples=25, deadline=None)
@given(st.lists(states(), max_size=9), st.lists(states(), max_size=4))
def test_every_open_run_is_on_the_screen_and_the_screen_fits(open_: list[RunState], ended: list[RunState]) -> None:
    really = [state for state in open_ if not (state.closed and state.page is None)]
    now = NOON + timedelta(hours=3)
    situation = Situation(now=now, since=NOON, open=really, ended=[state for state in ended if state.closed])
    said = handover(situation, str)
    text = plain_text(said.blocks)
    if really:
        counted = sum(int(part.split(")")[0]) for part in text.split(" (")[1:] if part.split(")")[0].isdecimal())
        assert counted >= len(really)
    else:
        assert "Nothing is going on" in text
    drawn = draw_slack(said, {})
    assert len(json.dumps(drawn.blocks)) < 40_000
    assert len(draw_markdown(said, {})) <= MAX_LENGTH


@settings(max_examples=40, deadline=None)
@given(states())
def test_any_run_can_be_drafted(state: RunState) -> None:
    made = draft(state, [], str)
    markdown = with_boxes(draw_markdown(made.body, {}))
    assert len(markdown) <= MAX_LENGTH + 200
    assert markdown.count("- [ ] ") == len(FOLLOW_UPS)
    assert len(made.title) <= 240
    assert "\n" not in made.title


def test_the_draft_tells_the_whole_story() -> None:
    played = Played(run(row("do it", CHANGE, minutes=5, expect="children.running == 3")).state)
    told = [started(played.state.plan, "slack:1")]

    def and_told(before: RunState) -> None:

        event = Tick(at=played.now)
        told.extend(trail(before, event, played.state))

    before = played.state
    played.prepared(shows="restart worker-3")
    and_told(before)
    before = played.state
    played.at(6)
    and_told(before)
    before = played.state
    played.finished("done", "met", observed="children.running = 3")
    and_told(before)
    entries = [{"kind": e.kind, "at": e.at.isoformat(), "actor": e.actor, "detail": dict(e.detail)} for e in told]
    text = plain_text(draft(played.state, entries, str).body.blocks)
    for wanted in (
        "slack:U0ALICE asked for it: /supervisor runbook P1-002 worker-3",
        "12:00:00  step 1 begins: handle.act",
        "12:06:00  step 1 has used up its budget",
        "12:06:00  page 1 is opened: step 1 has used up its 5 min",
        "12:06:00  the run is done",
    ):
        assert wanted in text
    table = next(block for block in draft(played.state, entries, str).body.blocks if isinstance(block, Table))
    assert table.rows[0][2:7] == (
        "children.running == 3",
        "children.running = 3",
        "done, met, over its budget",
        "6 min",
        "5 min",
    )
