"""Whatever happens to an escalation: one page in a period, none after the acknowledgement, the chain in its order."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from bot.runbooks.clauses import parse_when
from bot.runbooks.model import Clause
from bot.runs.decide import Decision, decide, new_run, next_due
from bot.runs.model import Begin, Escalation, Event, Finished, Press, RunState, Tick
from bot.runs.paging import Contact, Paging
from bot.runs.speak import pages_missed
from bot.runs.watchdog import EVERY, GRACE, OpenPage, judge
from tests.runs.plans import MANUAL, NOON, READ, plan, row

PEOPLE = tuple(Contact(name=name) for name in ("ann", "ben", "cem", "dora", "eli"))
L2 = Clause.model_validate({"said": "step 1 fails twice", **parse_when("step 1 fails twice"), "page": "L2"})


@st.composite
def pagings(draw: st.DrawFn) -> Paging:
    chain = draw(st.permutations(PEOPLE))[: draw(st.integers(1, 4))]
    repeat = timedelta(minutes=draw(st.sampled_from((1, 5, 20))))
    return Paging(
        chain=tuple(chain),
        levels={"L2": tuple(draw(st.permutations(PEOPLE))[:2])},
        repeat={"high": repeat},
        response={"high": repeat * 3},
    )


@dataclass(frozen=True, slots=True)
class Move:
    """``due``: time goes on to the next deadline, and some seconds more. The others happen at once."""

    kind: str  # due, early, again, ack, tries (what is at work fails, or is retried), done, restart, settings
    seconds: int = 0
    paging: Paging | None = None


MOVES = st.lists(
    st.one_of(
        st.builds(Move, st.just("due"), st.sampled_from((0, 0, 0, 1, 40, 5000))),
        st.builds(Move, st.sampled_from(("early", "again")), st.integers(0, 59)),
        st.builds(Move, st.sampled_from(("tries", "tries", "tries", "tries", "ack", "ack", "done", "restart"))),
        st.builds(Move, st.just("settings"), st.just(0), pagings()),
    ),
    max_size=40,
)


@dataclass
class Night:
    """A run, who is on call, and every page that went out."""

    state: RunState
    paging: Paging
    now: datetime = NOON
    pages: list[tuple[datetime, Escalation]] = field(default_factory=list)
    seen: list[Event] = field(default_factory=list)

    def take(self, event: Event) -> Decision:
        event = event.model_copy(update={"paging": self.paging})
        decision = decide(self.state, event)
        self.state = decision.state
        self.seen.append(event)
        self.pages += [
            (event.at, post.escalation) for post in decision.posts if post.kind == "page" and post.escalation
        ]
        return decision

    def do(self, move: Move) -> None:
        match move.kind:
            case "due":
                due = next_due(self.state)
                self.now = max(self.now, due or self.now) + timedelta(seconds=move.seconds)
                self.take(Tick(at=self.now))
            case "early":
                self.now += timedelta(seconds=move.seconds)
                self.take(Tick(at=self.now))
            case "again" if self.seen:
                self.take(self.seen[-1].model_copy(update={"at": self.now}))
            case "tries" if self.state.busy:
                self.take(Finished(at=self.now, work=self.state.busy, status="failed", summary="no"))
            case "tries":
                self.take(Press.model_validate({"at": self.now, "verb": "retry", "actor": "slack:U0BOB"}))
            case "ack" | "done":
                self.take(Press.model_validate({"at": self.now, "verb": move.kind, "actor": "slack:U0BOB"}))
            case "restart":
                self.state = RunState.model_validate_json(self.state.model_dump_json())
            case "settings" if move.paging:
                self.paging = move.paging


def night(paging: Paging) -> Night:
    of = plan(row("try", READ, minutes=10), row("wait", MANUAL, minutes=10), minutes=60, clauses=(L2,))
    night = Night(new_run(of.model_copy(update={"paging": paging})), paging)
    night.take(Begin(at=NOON))
    return night


@settings(max_examples=300, deadline=None)
@given(pagings(), MOVES)
def test_once_in_each_period_never_after_the_acknowledgement_in_the_order_of_the_chain(
    paging: Paging, moves: list[Move]
) -> None:
    played = night(paging)
    for move in moves:
        before = played.state.page
        count = len(played.pages)
        played.do(move)
        assert len(played.pages) - count <= 1, "two bells at once"
        if before and move.kind in ("due", "early") and before.next_page_at and played.now >= before.next_page_at:
            assert len(played.pages) > count, "a page was due and did not go out"
    by_number: dict[int, list[tuple[datetime, Escalation]]] = {}
    for at, page in played.pages:
        by_number.setdefault(page.number, []).append((at, page))
    for number, pages in by_number.items():
        final = next(each for each in played.state.escalations if each.number == number)
        assert [page.pages for _, page in pages] == list(range(1, len(pages) + 1)), "a page was lost or doubled"
        for at, page in pages:
            assert final.acknowledged_at is None or at <= final.acknowledged_at, "paged after the acknowledgement"
            assert page.next_page_at == at + page.repeat == at + final.repeat, (
                "its times were changed while it was open"
            )
            assert len(set(page.chain)) == len(page.chain), "somebody is called twice"
        for (earlier, first), (later, second) in pairwise(pages):
            assert second.contacts[: first.notified] == first.contacts, "who was called once is called again"
            assert second.added == tuple(each.name for each in second.contacts[first.notified :])
            same = (first.step, first.level, first.unknown) == (second.step, second.level, second.unknown)
            if same:
                assert later - earlier >= first.repeat, "it came again too early"
                assert second.chain == first.chain, "the chain was changed while the page was open"
                assert second.notified == min(len(first.chain), first.notified + 1)


@settings(max_examples=200, deadline=None)
@given(pagings(), st.lists(st.integers(0, 45), min_size=1, max_size=30), st.integers(0, 20))
def test_the_watchdog_is_quiet_as_long_as_pages_go_out_and_barks_when_they_stop(
    paging: Paging, delays: list[int], works: int
) -> None:
    """``delays``: how late each tick is. After ``works`` of them nobody sends any more: the run's workflow is dead."""
    played = night(paging)
    played.now = NOON + timedelta(minutes=10)
    played.take(Tick(at=played.now))
    for late in delays[:works]:
        due = next_due(played.state)
        assert due is not None
        looks = due + timedelta(seconds=late) - timedelta(seconds=1)
        assert judge([_seen(played.state)], [], looks) == []
        played.now = due + timedelta(seconds=late)
        played.take(Tick(at=played.now))
        assert judge([_seen(played.state)], [], played.now) == []
    page = played.state.page
    assert page is not None and page.next_page_at is not None
    dead = page.next_page_at + GRACE + timedelta(seconds=EVERY)
    (alarm,) = judge([_seen(played.state)], [], dead)
    assert alarm.kind == "late"
    missed = pages_missed(page, page.next_page_at + page.repeat * 2)
    assert missed.pages == page.pages + 3
    assert missed.notified == min(len(page.chain), page.notified + 3)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 3600), st.integers(0, 3600), st.one_of(st.none(), st.integers(0, 3600)))
def test_a_page_that_reached_nobody_is_an_alarm_however_often_it_is_tried(
    now: int, paged: int, sent: int | None
) -> None:
    at = NOON + timedelta(seconds=paged)
    page = OpenPage(
        "R",
        1,
        "P1-002",
        at,
        at,
        at + timedelta(hours=2),
        None if sent is None else NOON + timedelta(seconds=sent),
        "gone",
    )
    alarms = judge([page], [], NOON + timedelta(seconds=now))
    reached = sent is not None and sent >= paged
    assert [alarm.kind for alarm in alarms] == (["undelivered"] if not reached and now - paged > 240 else [])


def _seen(state: RunState) -> OpenPage:
    """As the tables show it when every page was delivered at once."""
    page = state.page
    assert page is not None
    return OpenPage("R", page.number, "P1-002", page.opened_at, page.paged_at, page.next_page_at, page.paged_at)
