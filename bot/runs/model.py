"""A run as data: its plan, its steps, its escalations. Pure; what happens to it is decided in ``decide.py``."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from bot.handler import Observation, Preview, Target
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
    dry_run: bool = False
    changes: bool = True
    started_at: datetime
    deadline: datetime | None = None  # of the whole run
    severity: Severity = "high"
    contacts: tuple[str, ...] = ()  # keys of [people], the chain as it was at the start
    repeat: timedelta = timedelta(minutes=20)  # between two pages of one escalation
    approvers: tuple[str, ...] = ()  # who could approve, for the card; empty: nobody but the one who asked


class StepState(BaseModel):
    """One step of a run. Times are absolute: a restart of the bot does not stretch them."""

    status: StepStatus = "pending"
    attempt: int = 0
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
    log: tuple[str, ...] = Field(default=(), max_length=500)

    @property
    def closed(self) -> bool:
        """No step will run any more; an escalation may still wait for its acknowledgement."""
        return self.status in ("done", "failed", "cancelled")

    @property
    def page_open(self) -> bool:
        return any(escalation.open for escalation in self.escalations)
