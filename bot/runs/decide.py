"""What happens to a run: ``decide(state, event)`` is the whole state machine, without I/O and without a clock.

Every event carries the instant at which it happened, so that the engine can replay a run after a crash and come to the
same state. A run is ``running`` while the engine works for it, ``waiting`` while a person has to decide, and closed
when it is ``done``, ``failed`` or ``cancelled``. An escalation outlives its run until somebody acknowledges it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from bot.handler import Danger
from bot.runbooks.model import Step
from bot.runs.model import (
    Begin,
    Escalation,
    Event,
    Finished,
    Plan,
    Post,
    Prepared,
    Press,
    RunState,
    StepState,
    Tick,
    Work,
)
from bot.runs.values import fill_row, missing, of_start
from bot.words import duration

WARN_AT = 0.8  # of a budget


@dataclass(frozen=True, slots=True)
class Decision:
    """The new state; ``start`` is work to begin, ``abort`` asks the work that is going on to stop early."""

    state: RunState
    start: Work | None = None
    abort: bool = False
    posts: tuple[Post, ...] = ()


def new_run(plan: Plan) -> RunState:
    """The state before anything happened."""
    return RunState(plan=plan, steps=tuple(StepState() for _ in plan.runbook.steps))


def next_due(state: RunState) -> datetime | None:
    """When the run wants to be looked at again if nothing else happens; None when it waits for no time."""
    dues: list[datetime] = []
    if not state.closed:
        step = state.steps[state.current]
        if step.deadline and step.started_at:
            if not step.warned:
                dues.append(_warn_time(step.started_at, step.deadline))
            if not step.overdue:
                dues.append(step.deadline)
        if state.plan.deadline and not state.overdue:
            dues.append(state.plan.deadline)
    if state.page and state.page.next_page_at:
        dues.append(state.page.next_page_at)
    return min(dues, default=None)


def refusal(state: RunState, press: Press) -> str | None:
    """Why ``press`` is not possible now, for the person who pressed; or None. ``decide`` ignores what is refused."""
    if press.verb == "ack":
        return None if state.page else "There is no open page to acknowledge."
    if state.closed:
        return f"This run has ended ({state.status}). Start it again with: {state.plan.command}"
    step = state.steps[state.current]
    number = state.plan.runbook.steps[state.current].number
    if press.verb == "cancel":
        return f"{state.cancelling} has already cancelled this run." if state.cancelling else None
    if press.verb in ("approve", "deny"):
        if step.status != "approval":
            return "Nothing waits for an approval."
        if press.verb == "deny":
            return None
        if not press.digest:
            return "Say which plan you have read: --digest and the twelve characters that stand below it."
        if press.digest != step.digest:
            return "The plan has changed since you looked at it. Read the new one, then approve that."
        if press.is_requester and state.plan.approvers:
            return f"You asked for this run, so somebody else has to approve it: {', '.join(state.plan.approvers)}."
        if press.typed != state.plan.target.name:
            return f"Type the target's name, {state.plan.target.name}, to approve."
        return None
    if press.verb == "proceed":
        if step.status == "waiting" and step.undecided:
            return None
        return f"Step {number} does not wait for its condition to be decided."
    if step.status != "waiting":
        return f"Step {number} is {_in_words(step)}; {press.verb} is for a step that waits for a decision."
    if step.undecided and press.verb in ("retry", "done"):
        return f"Nobody has said yet whether step {number} is needed: answer with proceed, skip or fail."
    if press.verb == "retry" and state.plan.dangers[state.current] is None and not press.given:
        return f"Step {number} is done by a person: answer with done, fail or skip."
    if press.given:
        wanted = unknown_values(state)
        if strange := [name for name in press.given if name not in wanted]:
            asked = f"it needs {', '.join(wanted)}" if wanted else "it needs no value"
            return f"Step {number} does not ask for {', '.join(strange)}: {asked}."
    return None


def unknown_values(state: RunState) -> tuple[str, ...]:
    """The placeholders of the present step that nothing has filled."""
    plan = state.plan
    return missing(plan.runbook.steps[state.current], of_start(plan.inputs, plan.target))


def allowed(state: RunState) -> tuple[str, ...]:
    """The verbs that make sense now, most likely first."""
    step = state.steps[state.current]
    verbs: list[str] = []
    if state.page:
        verbs.append("ack")
    if state.closed:
        return tuple(verbs)
    match step.status:
        case "approval":
            verbs += ["approve", "deny"]
        case "waiting" if step.undecided:
            verbs += ["proceed", "skip", "fail"]
        case "waiting" if state.plan.dangers[state.current] is None:
            verbs += ["done", "fail", "skip"]
        case "waiting":
            verbs += ["retry", "done", "fail", "skip"]
    return tuple(verbs) if state.cancelling else (*verbs, "cancel")


def decide(state: RunState, event: Event) -> Decision:
    """One event, one new state. What does not fit the state (a late click, a second delivery) changes nothing."""
    machine = _Machine(state, event.at)
    match event:
        case Begin():
            if state.version == 0:
                machine.start_step(0)
        case Tick():
            if state.version > 0:  # before it has begun there is nothing to be late
                machine.time_passed()
        case Prepared():
            if state.busy == event.work:
                machine.prepared(event)
        case Finished():
            if state.busy == event.work:
                machine.finished(event)
        case Press():
            if refusal(state, event) is None:
                machine.pressed(event)
    return machine.decision()


class _Machine:
    """Collects the changes that one event makes."""

    def __init__(self, state: RunState, at: datetime) -> None:
        self.state = state
        self.at = at
        self.start: Work | None = None
        self.abort = False
        self.posts: list[Post] = []
        self._changed = False

    def decision(self) -> Decision:
        state = self.state
        if self._changed or self.posts:
            state = state.model_copy(update={"version": state.version + 1})
        return Decision(state, self.start, self.abort, tuple(self.posts))

    # -- small moves

    def _set(self, **changes: object) -> None:
        self._changed = True
        self.state = self.state.model_copy(update=changes)

    def _step(self, **changes: object) -> StepState:
        index = self.state.current
        step = self.state.steps[index].model_copy(update=changes)
        self._set(steps=(*self.state.steps[:index], step, *self.state.steps[index + 1 :]))
        return step

    def _say(self, kind: str, *, escalation: Escalation | None = None, text: str = "", actor: str = "") -> None:
        index = self.state.current
        self.posts.append(
            Post.model_validate(
                {
                    "kind": kind,
                    "index": index,
                    "step": self.state.steps[index],
                    "escalation": escalation,
                    "text": text,
                    "actor": actor,
                }
            )
        )

    def _work(self, kind: str, attempt: int) -> None:
        self.start = Work.model_validate({"kind": kind, "step": self.state.current, "attempt": attempt})
        self._set(busy=self.start, status="running")

    @property
    def _number(self) -> str:
        return self.state.plan.runbook.steps[self.state.current].number

    # -- steps

    def start_step(self, index: int) -> None:
        if index >= len(self.state.steps):
            self._end("done")
            return
        row = self._fill(index)
        self._set(current=index, status="running", busy=None)
        self._step(
            status="running",
            attempt=0,
            started_at=self.at,
            deadline=self.at + row.budget if row.budget else None,
        )
        self._prepare_or_act()

    def _fill(self, index: int) -> Step:
        """Put into the row what the run knows by now, so that everybody reads, does and compares the same."""
        plan = self.state.plan
        book = plan.runbook
        row = fill_row(self.state, index)
        if row != book.steps[index]:
            steps = (*book.steps[:index], row, *book.steps[index + 1 :])
            self._set(plan=plan.model_copy(update={"runbook": book.model_copy(update={"steps": steps})}))
        return row

    def _prepare_or_act(self) -> None:
        """Look before anything is changed, and whether the step is needed at all; else act at once."""
        index = self.state.current
        changes = self.state.plan.dangers[index] in (Danger.CHANGE, Danger.DESTRUCTIVE)
        if changes or self.state.plan.runbook.steps[index].condition:
            self._work("prepare", self.state.steps[index].attempt + 1)
        else:
            self._act()

    def _act(self) -> None:
        """Perform the step's action, or ask the person whose step it is."""
        attempt = self.state.steps[self.state.current].attempt + 1
        if self.state.plan.dangers[self.state.current] is None:
            self._wait("Do this, then say how it went.", attempt=attempt)
        else:
            self._step(status="running", attempt=attempt)
            self._work("perform", attempt)

    def prepared(self, event: Prepared) -> None:
        self._set(busy=None)
        if self._cancelled():
            return
        self._step(preview=event.preview, digest=event.digest, observed=event.observed)
        if event.problem:
            self._wait(event.problem, attempt=event.work.attempt)
            if not event.missing:
                self._escalate(f"step {self._number} could not be started: {event.problem}")
        elif event.condition == "does not hold":
            self._step(status="skipped", finished_at=self.at, summary="Not needed")
            self._say("step")
            self.start_step(self.state.current + 1)
        elif event.condition == "cannot tell":
            self._step(undecided=True)
            self._wait(f"Nobody but you can tell whether this step is needed. {event.observed}")
        else:
            self._go_ahead()

    def _go_ahead(self) -> None:
        """The step is needed: show what it will do and do it, or ask for the approval first."""
        if self.state.plan.dangers[self.state.current] is Danger.DESTRUCTIVE:
            self._ask_approval()
            return
        if self.state.steps[self.state.current].preview:
            self._say("preview")
        self._act()

    def _ask_approval(self) -> None:
        self._step(status="approval", approved_by="")
        self._set(status="waiting")
        self._say("approval")

    def finished(self, event: Finished) -> None:
        self._set(busy=None)
        self._step(
            summary=event.summary,
            outcome=event.outcome,
            observed=event.observed,
            evidence=event.evidence,
            language=event.language,
            sources=event.sources,
            facts=event.facts,
        )
        worked = event.status == "done" and event.outcome in ("met", None)
        if self.state.cancelling:  # what was done stays done, and is told
            self._step(status="done" if worked else "failed", finished_at=self.at)
            self._say("step")
            self._cancelled()
            return
        if event.status == "changed":
            self._step(preview=event.preview, digest=event.digest, outcome=None)
            self._ask_approval()
        elif worked:
            self._step(status="done", finished_at=self.at)
            self._say("step")
            self.start_step(self.state.current + 1)
        elif event.status == "manual" or (event.status == "done" and event.outcome == "cannot tell"):
            self._wait(event.summary)
        else:
            self._wait(event.summary)
            self._escalate(f"step {self._number}: {self._trouble(event)}")

    @staticmethod
    def _trouble(event: Finished) -> str:
        if event.status == "done":
            return f"the expectation was not met: {event.observed or event.summary}"
        if event.status == "uncertain":
            return f"nobody can tell whether it happened: {event.summary}"
        return event.summary

    def _wait(self, summary: str, *, attempt: int | None = None) -> None:
        changes: dict[str, object] = {"status": "waiting", "summary": summary}
        if attempt is not None:
            changes["attempt"] = attempt
        self._step(**changes)
        self._set(status="waiting")
        self._say("question")

    # -- people

    def pressed(self, press: Press) -> None:
        match press.verb:
            case "ack":
                self._acknowledge(press)
            case "cancel":
                self._set(cancelling=press.actor)
                if self.state.busy:
                    self.abort = True
                    self._say(
                        "note",
                        text=f"asked to cancel{_because(press)}; the step that is at work is being stopped",
                        actor=press.actor,
                    )
                else:
                    self._cancelled(press.reason)
            case "retry":
                self._set(given={**self.state.given, **press.given})
                row = self._fill(self.state.current)
                told = "".join(f", {name} is {value}" for name, value in press.given.items())
                self._say("note", text=f"retries step {self._number}{told}", actor=press.actor)
                self._step(
                    status="running",
                    started_at=self.at,
                    deadline=self.at + row.budget if row.budget else None,
                    warned=False,
                    overdue=False,
                    outcome=None,
                    decided_by="",
                )
                self._prepare_or_act()
            case "proceed":
                self._say("note", text=f"says that step {self._number} is needed", actor=press.actor)
                self._step(undecided=False)
                self._go_ahead()
            case "approve":
                self._step(approved_by=press.actor)
                self._say("note", text=f"approved step {self._number}", actor=press.actor)
                self._act()
            case "deny":
                self._step(status="failed", finished_at=self.at, decided_by=press.actor, summary="Approval was denied")
                self._say("note", text=f"denied step {self._number}{_because(press)}", actor=press.actor)
                self._end("failed", by=press.actor)
            case "done":
                self._step(status="done", finished_at=self.at, decided_by=press.actor)
                self._say("step", actor=press.actor)
                self.start_step(self.state.current + 1)
            case "skip":
                self._step(status="skipped", finished_at=self.at, decided_by=press.actor)
                self._say("step", actor=press.actor)
                self.start_step(self.state.current + 1)
            case "fail":
                self._step(status="failed", finished_at=self.at, decided_by=press.actor)
                self._end("failed", by=press.actor, reason=press.reason)

    def _cancelled(self, reason: str = "") -> bool:
        """End the run if somebody cancelled it meanwhile."""
        if not self.state.cancelling:
            return False
        if self.state.steps[self.state.current].status != "done":
            self._step(status="failed", finished_at=self.at)
        self._end("cancelled", by=self.state.cancelling, reason=reason)
        return True

    def _end(self, status: str, *, by: str = "", reason: str = "") -> None:
        self._set(status=status, finished_at=self.at, ended_by=by, busy=None)
        self._say("end", actor=by, text=reason)

    # -- time

    def time_passed(self) -> None:
        if not self.state.closed:
            self._step_time()
            deadline = self.state.plan.deadline
            if deadline and self.at >= deadline and not self.state.overdue:
                self._set(overdue=True)
                spent = duration(deadline - self.state.plan.started_at)
                self._escalate(f"the run has used up its {spent}")
        page = self.state.page
        if page and page.next_page_at and self.at >= page.next_page_at:
            self._page(page)

    def _step_time(self) -> None:
        step = self.state.steps[self.state.current]
        if not step.deadline or not step.started_at:
            return
        if self.at >= step.deadline and not step.overdue:
            self._step(overdue=True, warned=True)
            budget = duration(step.deadline - step.started_at)
            self._escalate(f"step {self._number} has used up its {budget}: {self._asked()}")
        elif self.at >= _warn_time(step.started_at, step.deadline) and not step.warned:
            self._step(warned=True)
            self._say("warning")

    def _asked(self) -> str:
        step = self.state.steps[self.state.current]
        match step.status:
            case "approval":
                return "nobody has approved it"
            case "waiting":
                return "it waits for somebody to decide"
            case _:
                return "it is still at work"

    # -- escalation

    def _escalate(self, reason: str) -> None:
        """Page now. An open page about the same step takes the new reason along: one bell, not two."""
        page = self.state.page
        if page and page.step == self._number:
            self._replace(page, reason=f"{page.reason}; and {reason}"[:1000])
            return
        if page is None:
            page = Escalation(
                number=len(self.state.escalations) + 1, reason=reason, step=self._number, opened_at=self.at
            )
            self._set(escalations=(*self.state.escalations, page))
        else:
            page = self._replace(page, reason=f"{reason}; before that, {page.reason}"[:1000], step=self._number)
        self._page(page)

    def _page(self, page: Escalation) -> None:
        page = self._replace(page, pages=page.pages + 1, next_page_at=self.at + self.state.plan.repeat)
        self._say("page", escalation=page)

    def _acknowledge(self, press: Press) -> None:
        page = self.state.page
        if page:
            page = self._replace(page, acknowledged_by=press.actor, acknowledged_at=self.at, next_page_at=None)
            self._say("acknowledged", escalation=page, actor=press.actor)

    def _replace(self, page: Escalation, **changes: object) -> Escalation:
        page = page.model_copy(update=changes)
        others = (old for old in self.state.escalations if old.number != page.number)
        self._set(escalations=tuple(sorted((*others, page), key=lambda escalation: escalation.number)))
        return page


def _warn_time(started: datetime, deadline: datetime) -> datetime:
    return started + timedelta(seconds=(deadline - started).total_seconds() * WARN_AT)


def _because(press: Press) -> str:
    return f" ({press.reason})" if press.reason else ""


def _in_words(step: StepState) -> str:
    return {"running": "still at work", "approval": "waiting for an approval"}.get(step.status, step.status)
