"""A run as data: its plan, its steps, its escalations. Pure; what happens to it is decided in ``decide.py``."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from bot.handler import Danger, Observation, Preview, Target
from bot.incoming import Actor, Place
from bot.runbooks.model import Runbook, Step
from bot.runs.paging import Attachment, Fired, Paging
from bot.runs.paging import Escalation as Escalation
from bot.runs.paging import Severity as Severity

RunStatus = Literal["running", "waiting", "done", "failed", "cancelled"]
StepStatus = Literal["pending", "running", "waiting", "approval", "done", "failed", "skipped"]
Outcome = Literal["met", "not met", "cannot tell"]


class Usual(BaseModel):
    """How long a step took in the past: half of the times at most ``p50``, 95 of 100 times at most ``p95``."""

    model_config = ConfigDict(frozen=True)
    p50: timedelta
    p95: timedelta
    count: int


class StepState(BaseModel):
    """One step of a run. Times are absolute: a restart of the bot does not stretch them."""

    status: StepStatus = "pending"
    attempt: int = 0  # grows with every try, so that no try is taken for another one
    undecided: bool = False  # a person has to say whether the step's condition holds
    started_at: datetime | None = None
    deadline: datetime | None = None
    warn_at: datetime | None = None  # when 80 % of what was left are spent, after the deadline was moved
    warned: bool = False  # 80 % of the budget was spent
    overdue: bool = False  # the budget ran out, a page went out
    acted_at: datetime | None = None  # when its action was begun: what people took before is not its own time
    slow: bool = False  # it takes longer than 95 of 100 times before
    finished_at: datetime | None = None
    outcome: Outcome | None = None
    tried: bool = False  # its action was begun in one of its tries
    uncertain: bool = False  # nobody can tell whether its action happened: only a person leads on from here
    summary: str = ""  # what was done, or what is asked of a person
    observed: str = ""  # beside the expectation
    evidence: str = ""
    language: str = ""
    sources: tuple[Observation, ...] = ()
    facts: tuple[Observation, ...] = ()  # what this step saw and a later one mentions; nothing else is kept
    preview: Preview | None = None
    digest: str = ""  # of the preview: what an approval is bound to
    approve_by: datetime | None = None  # when the approval that is asked for lapses
    approved_by: str = ""
    decided_by: str = ""  # who pressed Done, Failed or Skip
    from_run: str = ""  # the earlier run that did this step; this one only repeats what came after it


class Ancestor(BaseModel):
    """The run that this one repeats from a chosen step: what it had done before that step is taken over."""

    model_config = ConfigDict(frozen=True)
    run_id: str
    steps: tuple[StepState, ...] = ()  # those before the chosen one, as they ended, without their evidence
    given: dict[str, str] = {}  # values that a person told it
    failures: dict[str, int] = {}  # how many tries of each step have failed so far


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
    paging: Paging = Paging()  # whom and how often, as it was at the start; events bring what holds by then
    verified: str = ""  # of its document when the run started: "verified 3 days ago", "has 2 drifts, …"
    approvers: tuple[str, ...] = ()  # who could approve, for the card; empty: nobody but the one who asked
    deciders: tuple[str, ...] = ()  # who may answer what the run asks: operators and admins, for the card
    approval_timeout: timedelta = timedelta(minutes=15)  # how long an approval may be given; then it lapses
    ancestor: Ancestor | None = None  # of a retry
    usual: tuple[Usual | None, ...] = ()  # of each step, as its history was when the run started
    drill: bool = False  # a rehearsal: it works on a simulation, whatever its target is called
    faults: tuple[str, ...] = ()  # of the simulation
    issue: Place | None = None  # of its target, where there is one: it is shown there, wherever it was asked for
    paged_on: Place | None = None  # the issue on which it is paged: its target's, else the configured one
    alarm: str = ""  # why somebody is paged as soon as the run begins

    @property
    def person(self) -> str:
        """Who asked, as the surface knows them: ``slack:U0ALICE``."""
        return str(self.actor)


class Work(BaseModel):
    """What the engine does for a run. ``prepare``: condition, preview; ``perform``: the action, the expectation."""

    model_config = ConfigDict(frozen=True)
    kind: Literal["prepare", "perform"]
    step: int
    attempt: int
    begun_at: datetime | None = None  # None in a run of an older opsbot


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
    failures: dict[str, int] = {}  # how many tries of a step have failed, by its number, over all attempts of the run
    fired: tuple[Fired, ...] = ()  # clauses of the runbook that have come true
    warned: bool = False  # 80 % of the run's own budget was spent
    overdue: bool = False  # the run's own budget ran out
    extended_until: datetime | None = None  # the run's deadline, when somebody has moved it
    warn_at: datetime | None = None  # then: when 80 % of what was left are spent
    finished_at: datetime | None = None
    ended_by: str = ""  # who cancelled or failed it
    busy: Work | None = None  # what is being done right now
    cancelling: str = ""  # who asked to cancel while a step was at work
    cancel_reason: str = ""
    out_of_time: Literal["", "continue", "stop"] = ""  # what to do as soon as the work that is late has stopped
    given: dict[str, str] = {}  # values that a step needed and a person told, by placeholder
    given_by: dict[str, Actor] = {}  # who told each of them to this run
    unfilled: dict[int, Step] = {}  # rows as they were before the run filled in what it knew, by index
    owner: str = ""  # a name of [people] to whom the run was handed over; empty: who asked for it

    @property
    def closed(self) -> bool:
        """No step will run any more; an escalation may still wait for its acknowledgement."""
        return self.status in ("done", "failed", "cancelled")

    @property
    def over(self) -> bool:
        """Closed, acknowledged, and nothing is being fetched or filed for it any more: its workflow may end."""
        return self.closed and self.page is None and not any(fired.pending for fired in self.fired)

    @property
    def deadline(self) -> datetime | None:
        """Of the whole run, as it is now."""
        return self.extended_until or self.plan.deadline

    @property
    def stopping(self) -> bool:
        """The work that is going on was asked to stop early."""
        return self.busy is not None and bool(self.cancelling or self.out_of_time)

    @property
    def page(self) -> Escalation | None:
        """The escalation that waits for its acknowledgement; there is one at most."""
        return next((escalation for escalation in self.escalations if escalation.open), None)


class Quoted(BaseModel):
    """What somebody wrote elsewhere, kept as evidence. ``text`` may be cut; ``link`` leads to the whole."""

    model_config = ConfigDict(frozen=True)
    author: str = ""  # slack:U0ALICE
    at: datetime | None = None
    link: str = ""
    text: str = ""


class Post(BaseModel):
    """Something to say in the run's thread, once. It holds what it is about, as it was at that moment."""

    model_config = ConfigDict(frozen=True)
    kind: Literal[
        "step",
        "preview",
        "approval",
        "question",
        "warning",
        "slow",
        "run warning",
        "page",
        "acknowledged",
        "attached",
        "note",
        "end",
    ]
    index: int = 0  # of the step
    step: StepState | None = None
    escalation: Escalation | None = None
    text: str = ""
    until: datetime | None = None  # of a note: the time that it gives
    reason: str = ""  # of a note
    actor: str = ""
    notify: str = ""  # a name of [people] who is mentioned
    fired: Fired | None = None  # with attached
    quoted: Quoted | None = None  # with a note


class Begin(BaseModel):
    kind: Literal["begin"] = "begin"
    at: datetime
    paging: Paging | None = None  # of the moment; without it the plan's


class Tick(BaseModel):
    """A deadline passed."""

    kind: Literal["tick"] = "tick"
    at: datetime
    paging: Paging | None = None


class Prepared(BaseModel):
    """The condition was looked at and the preview made; nothing was changed yet."""

    kind: Literal["prepared"] = "prepared"
    at: datetime
    paging: Paging | None = None
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
    paging: Paging | None = None
    work: Work
    status: Literal["done", "refused", "failed", "uncertain", "manual", "page", "changed"]
    summary: str
    outcome: Outcome | None = None  # None: nothing was expected
    observed: str = ""
    evidence: str = ""
    language: str = ""
    sources: tuple[Observation, ...] = ()
    facts: tuple[Observation, ...] = ()
    preview: Preview | None = None
    digest: str = ""


Verb = Literal[
    "cancel",
    "retry",
    "done",
    "fail",
    "skip",
    "proceed",
    "ack",
    "approve",
    "deny",
    "extend",
    "assign",
    "take over",
    "note",
]


class Press(BaseModel):
    """A person did something to the run, by a button or by a command."""

    kind: Literal["press"] = "press"
    at: datetime
    paging: Paging | None = None
    verb: Verb
    actor: str  # slack:U0ALICE
    is_requester: bool = False  # the same person who asked for what the step does, on whatever surface
    typed: str = ""  # the target's name, typed for an approval
    digest: str = ""  # of the preview that was looked at
    step: str = ""  # number of the step that was looked at: an old button answers no new question
    reason: str = ""
    given: dict[str, str] = {}  # values for placeholders, with a retry
    given_by: Actor | None = None  # with given
    span: timedelta | None = None  # by how much a deadline is moved, with extend
    to: str = ""  # a name of [people], with assign
    notify: str = ""  # a name of [people]: whose run is taken over, or to whom it is handed
    quoted: Quoted | None = None  # with note: a message that is attached


class Gathered(BaseModel):
    """What a clause of the runbook attaches was read, and the issue that it asks for was filed."""

    kind: Literal["gathered"] = "gathered"
    at: datetime
    paging: Paging | None = None
    clause: int
    attachments: tuple[Attachment, ...] = ()
    issue: str = ""  # its address
    problem: str = ""  # why there is none
    pending: bool = False  # the issue could not be filed yet and is tried again


Event = Annotated[Begin | Tick | Prepared | Finished | Press | Gathered, Field(discriminator="kind")]
