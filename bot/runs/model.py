"""A run as data: its plan, its steps, its escalations. Pure; what happens to it is decided in ``decide.py``."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from bot.handler import Danger, Observation, Preview, Target
from bot.incoming import Actor, Place
from bot.runbooks.model import Runbook

RunStatus = Literal["running", "waiting", "done", "failed", "cancelled"]
StepStatus = Literal["pending", "running", "waiting", "approval", "done", "failed", "skipped"]
Outcome = Literal["met", "not met", "cannot tell"]
Severity = Literal["low", "medium", "high", "critical"]


class Plan(BaseModel):
    """What was asked for, frozen when the run starts: an edited runbook never touches a running run."""

    model_config = ConfigDict(frozen=True)
    run_id: str  # a ULID: sortable by time
    command: str  # as it was typed
    runbook: Runbook
    target: Target
    actor: Actor
    place: Place
    reason: str = ""
    inputs: dict[str, str] = {}
    changes: bool = True  # False: it only reads, and so takes no lock
    dangers: tuple[Danger | None, ...]  # of each step; None: a manual step
    started_at: datetime
    deadline: datetime | None = None  # of the whole run
    severity: Severity = "high"
    contacts: tuple[str, ...] = ()  # keys of [people], the chain as it was at the start
    repeat: timedelta = timedelta(minutes=20)  # between two pages of one escalation
    verified: str = ""  # of its document when the run started: "verified 3 days ago", "has 2 drifts, …"
    approvers: tuple[str, ...] = ()  # who could approve, for the card; empty: nobody but the one who asked
    drill: bool = False  # a rehearsal: it works on a simulation, whatever its target is called
    faults: tuple[str, ...] = ()  # of the simulation

    @property
    def person(self) -> str:
        """Who asked, as the surface knows them: ``slack:U0ALICE``."""
        return str(self.actor)


class StepState(BaseModel):
    """One step of a run. Times are absolute: a restart of the bot does not stretch them."""

    status: StepStatus = "pending"
    attempt: int = 0  # grows with every try, so that no try is taken for another one
    undecided: bool = False  # a person has to say whether the step's condition holds
    started_at: datetime | None = None
    deadline: datetime | None = None
    warned: bool = False  # 80 % of the budget was spent
    overdue: bool = False  # the budget ran out, a page went out
    finished_at: datetime | None = None
    outcome: Outcome | None = None
    summary: str = ""  # what was done, or what is asked of a person
    observed: str = ""  # beside the expectation
    evidence: str = ""
    language: str = ""
    sources: tuple[Observation, ...] = ()
    facts: tuple[Observation, ...] = ()  # what this step saw and a later one mentions; nothing else is kept
    preview: Preview | None = None
    digest: str = ""  # of the preview: what an approval is bound to
    approved_by: str = ""
    decided_by: str = ""  # who pressed Done, Failed or Skip


class Escalation(BaseModel):
    """A page that repeats until somebody acknowledges it."""

    number: int
    reason: str
    step: str = ""
    opened_at: datetime
    pages: int = 0
    next_page_at: datetime | None = None
    acknowledged_by: str = ""
    acknowledged_at: datetime | None = None

    @property
    def open(self) -> bool:
        return self.acknowledged_at is None


class Work(BaseModel):
    """What the engine does for a run. ``prepare``: condition, preview; ``perform``: the action, the expectation."""

    model_config = ConfigDict(frozen=True)
    kind: Literal["prepare", "perform"]
    step: int
    attempt: int


class Progress(BaseModel):
    """What a step that is at work waits for. Lives in memory only: the next look makes it anew."""

    model_config = ConfigDict(frozen=True)
    work: Work
    waiting_for: str
    until: datetime
    observed: str = ""


class RunState(BaseModel):
    """The whole run. The card, the thread and the pages are functions of this."""

    plan: Plan
    version: int = 0
    status: RunStatus = "running"
    current: int = 0  # index of the step that is at work
    steps: tuple[StepState, ...]
    escalations: tuple[Escalation, ...] = ()
    overdue: bool = False  # the run's own budget ran out
    finished_at: datetime | None = None
    ended_by: str = ""  # who cancelled or failed it
    busy: Work | None = None  # what is being done right now
    cancelling: str = ""  # who asked to cancel while a step was at work
    given: dict[str, str] = {}  # values that a step needed and a person told, by placeholder

    @property
    def closed(self) -> bool:
        """No step will run any more; an escalation may still wait for its acknowledgement."""
        return self.status in ("done", "failed", "cancelled")

    @property
    def page(self) -> Escalation | None:
        """The escalation that waits for its acknowledgement; there is one at most."""
        return next((escalation for escalation in self.escalations if escalation.open), None)


class Post(BaseModel):
    """Something to say in the run's thread, once. It holds what it is about, as it was at that moment."""

    model_config = ConfigDict(frozen=True)
    kind: Literal["step", "preview", "approval", "question", "warning", "page", "acknowledged", "note", "end"]
    index: int = 0  # of the step
    step: StepState | None = None
    escalation: Escalation | None = None
    text: str = ""
    actor: str = ""


class Begin(BaseModel):
    kind: Literal["begin"] = "begin"
    at: datetime


class Tick(BaseModel):
    """A deadline passed."""

    kind: Literal["tick"] = "tick"
    at: datetime


class Prepared(BaseModel):
    """The condition was looked at and the preview made; nothing was changed yet."""

    kind: Literal["prepared"] = "prepared"
    at: datetime
    work: Work
    condition: Literal["none", "holds", "does not hold", "cannot tell"] = "none"
    observed: str = ""
    preview: Preview | None = None
    digest: str = ""
    problem: str = ""  # why it could not be prepared
    missing: bool = False  # the problem is a value that a person has to tell: asked, not paged


class Finished(BaseModel):
    """The action ended, its expectation was compared. ``changed``: the plan is no longer the one approved."""

    kind: Literal["finished"] = "finished"
    at: datetime
    work: Work
    status: Literal["done", "refused", "failed", "uncertain", "manual", "changed"]
    summary: str
    outcome: Outcome | None = None  # None: nothing was expected
    observed: str = ""
    evidence: str = ""
    language: str = ""
    sources: tuple[Observation, ...] = ()
    facts: tuple[Observation, ...] = ()
    preview: Preview | None = None
    digest: str = ""


Verb = Literal["cancel", "retry", "done", "fail", "skip", "proceed", "ack", "approve", "deny"]


class Press(BaseModel):
    """A person did something to the run, by a button or by a command."""

    kind: Literal["press"] = "press"
    at: datetime
    verb: Verb
    actor: str  # slack:U0ALICE
    is_requester: bool = False  # the same person who asked for the run, on whatever surface
    typed: str = ""  # the target's name, typed for an approval
    digest: str = ""  # of the preview that was looked at
    reason: str = ""
    given: dict[str, str] = {}  # values for placeholders, with a retry


Event = Annotated[Begin | Tick | Prepared | Finished | Press, Field(discriminator="kind")]
