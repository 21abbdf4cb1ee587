"""Plans and events for the tests of runs: ``run(step("restart", CHANGE, minutes=5))``, ``play(state, …)``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from bot.handler import Danger, Preview, Target
from bot.incoming import Actor, Place
from bot.runbooks.model import Clause, OnOverdue, Runbook, Step
from bot.runs.decide import Decision, decide, new_run
from bot.runs.model import Begin, Event, Finished, Outcome, Plan, Post, Prepared, Press, RunState, Tick, Verb, Work
from bot.runs.paging import Contact, Paging

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
READ, CHANGE, DESTRUCTIVE, MANUAL = Danger.READ, Danger.CHANGE, Danger.DESTRUCTIVE, None
CHAIN = (Contact(name="scotlaclair", slack="U0SCOT", github="scotlaclair"),)
RUN_ID = "01JD0000000000000000000000"


@dataclass(frozen=True, slots=True)
class Row:
    """One step of a plan: the row of the table and how dangerous its action is."""

    danger: Danger | None
    step: Step


def row(
    text: str,
    danger: Danger | None = READ,
    *,
    minutes: float = 0,
    expect: str = "",
    condition: str | None = None,
    on_overdue: OnOverdue = "ask",
) -> Row:
    budget = timedelta(minutes=minutes) if minutes else None
    action = None if danger is None else "handle.act"
    return Row(
        danger,
        Step(
            number="1",
            text=text,
            action=action,
            expectation=expect,
            condition=condition,
            budget=budget,
            on_overdue=on_overdue,
        ),
    )


def plan(
    *rows: Row,
    minutes: float = 0,
    approvers: Sequence[str] = ("bob",),
    repeat: timedelta = timedelta(minutes=20),
    chain: tuple[Contact, ...] = CHAIN,
    clauses: tuple[Clause, ...] = (),
    on_overdue: OnOverdue = "ask",
    approval_minutes: float = 15,
) -> Plan:
    """A plan of these steps; ``minutes`` is the budget of the whole run."""
    steps = tuple(each.step.model_copy(update={"number": str(number)}) for number, each in enumerate(rows, start=1))
    return Plan(
        run_id=RUN_ID,
        command="/supervisor runbook P1-002 worker-3",
        runbook=Runbook(
            id="P1-002", title="Child task crash loop", product="supervisor", steps=steps, clauses=clauses
        ).model_copy(update={"on_overdue": on_overdue}),
        target=Target(product="supervisor", kind="child", name="worker-3", scope="payments"),
        actor=Actor(surface="slack", id="U0ALICE"),
        place=Place(surface="slack", channel="C0OPS"),
        dangers=tuple(each.danger for each in rows),
        started_at=NOON,
        deadline=NOON + timedelta(minutes=minutes) if minutes else None,
        paging=Paging(
            chain=chain, response={"high": repeat * 3}, repeat={"high": repeat}, levels={"L2": (Contact(name="dora"),)}
        ),
        approvers=tuple(approvers),
        approval_timeout=timedelta(minutes=approval_minutes),
    )


@dataclass
class Played:
    """A run as a test plays it: its clock stands where the test put it."""

    state: RunState
    now: datetime = NOON
    posts: list[Post] = field(default_factory=list)
    started: list[Work] = field(default_factory=list)
    aborted: bool = False

    def take(self, event: Event) -> Decision:
        decision = decide(self.state, event)
        self.state = decision.state
        self.posts += decision.posts
        if decision.start:
            self.started.append(decision.start)
        self.aborted = self.aborted or decision.abort
        return decision

    def restart(self) -> Event:
        """Killed in the middle of its work: the state comes back from the disk, the work is looked up, not repeated.

        What is known of it is what ``perform.py`` makes of the journal: nothing was changed by a preparation, and
        whether an action happened nobody can tell.
        """
        self.state = RunState.model_validate_json(self.state.model_dump_json())
        work = self.state.busy
        assert work is not None
        if work.kind == "prepare":
            return Prepared(at=self.now, work=work, preview=Preview(summary="as before"), digest="cccccccccccc")
        return Finished(at=self.now, work=work, status="uncertain", summary="The bot was stopped in the middle of it")

    @property
    def said(self) -> list[str]:
        """The kinds of the thread's messages."""
        return [post.kind for post in self.posts]

    def at(self, minutes: float) -> Played:
        """So many minutes after the start, told to the run."""
        self.now = NOON + timedelta(minutes=minutes)
        self.take(Tick(at=self.now))
        return self

    def prepared(
        self, *, condition: str = "none", shows: str = "", digest: str = "", problem: str = "", observed: str = ""
    ) -> Played:
        assert self.state.busy is not None and self.state.busy.kind == "prepare", self.state.busy
        self.take(
            Prepared.model_validate(
                {
                    "at": self.now,
                    "work": self.state.busy,
                    "condition": condition,
                    "preview": Preview(summary=shows) if shows else None,
                    "digest": digest,
                    "problem": problem,
                    "observed": observed,
                }
            )
        )
        return self

    def finished(
        self,
        status: str = "done",
        outcome: Outcome | None = None,
        summary: str = "It is done",
        *,
        observed: str = "",
        shows: str = "",
        digest: str = "",
    ) -> Played:
        assert self.state.busy is not None and self.state.busy.kind == "perform", self.state.busy
        self.take(
            Finished.model_validate(
                {
                    "at": self.now,
                    "work": self.state.busy,
                    "status": status,
                    "summary": summary,
                    "outcome": outcome,
                    "observed": observed,
                    "preview": Preview(summary=shows) if shows else None,
                    "digest": digest,
                }
            )
        )
        return self

    def press(self, verb: Verb, who: str = "bob", **more: object) -> Played:
        self.take(
            Press.model_validate(
                {"at": self.now, "verb": verb, "actor": f"slack:{who}", "is_requester": who == "alice", **more}
            )
        )
        return self


def run(*rows: Row, minutes: float = 0, approvers: Sequence[str] = ("bob",)) -> Played:
    """A run of these steps that has begun at noon."""
    played = Played(new_run(plan(*rows, minutes=minutes, approvers=approvers)))
    played.take(Begin(at=NOON))
    return played
