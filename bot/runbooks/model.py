"""A runbook as data: what a Markdown document or a changing command compiles to."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict

OnOverdue = Literal["ask", "continue", "stop"]
"""What follows the page when a budget has run out: nothing but the question, the next step, or the end of the run."""


class Step(BaseModel):
    """One row of a runbook's table.

    Without ``action`` it is a manual step: a person does what ``text`` says and presses Done or Failed.
    ``expectation`` is the Expected Metrics cell as written; ``bot.runbooks.expectations`` tells what it compiles to.
    """

    model_config = ConfigDict(frozen=True)
    number: str
    text: str  # the Action cell as people read it, Markdown
    action: str | None = None  # name of a handler's action: handle.remove_child
    arguments: dict[str, str] = {}
    condition: str | None = None  # the text between "If" and the comma
    expectation: str = ""
    budget: timedelta | None = None
    on_overdue: OnOverdue = "ask"  # when its budget runs out
    line: int = 0  # in the document, for messages; 0 when the step was not read from one


class IssueTemplate(BaseModel):
    """The issue that a clause files; ``{target}`` and inputs are filled into its title."""

    model_config = ConfigDict(frozen=True)
    title: str
    labels: tuple[str, ...] = ()


class Clause(BaseModel):
    """One clause of the escalation: when it comes true, and what is done then (``bot/runbooks/clauses.py``)."""

    model_config = ConfigDict(frozen=True)
    said: str  # as it was written: step 4 or 5 fails twice
    kind: Literal["fails", "not done", "shows", "starts", "run fails", "over budget", "nobody answers"]
    steps: tuple[str, ...] = ()
    times: int = 1
    within: timedelta | None = None  # since the start of the run
    text: str = ""
    page: str = ""  # a level of [escalation.levels], or a name of its chain
    tell: str = ""  # what the next person has to know or do
    attach: tuple[str, ...] = ()  # step 3, handle.journal(), health.status
    issue: IssueTemplate | None = None


class Runbook(BaseModel):
    """A document: title, symptoms, the table of steps, an escalation clause."""

    model_config = ConfigDict(frozen=True)
    id: str  # P1-002
    title: str
    product: str = ""  # the handler whose actions and facts it uses; empty: manual steps only
    target_kind: str = ""  # child, project
    symptoms: str = ""
    steps: tuple[Step, ...]
    escalation: str = ""
    total: timedelta | None = None  # the stated total
    sla: timedelta | None = None  # in brackets behind the total
    on_overdue: OnOverdue = "ask"  # when the total or the SLA runs out
    severity: str = "high"  # low, medium, high, critical
    inputs: dict[str, str] = {}  # name -> default ("" when it must be given)
    source: str = ""  # file, for messages
    danger: Literal["", "read", "change", "destructive"] = ""  # the most that its steps do, as the document says
    command: str = ""  # the command that starts it, for the documentation
    clauses: tuple[Clause, ...] = ()  # of the escalation, as the bot does them
    line: int = 0  # of the heading
    faults: tuple[str, ...] = ()  # what is made to go wrong when it is rehearsed
    stale: str = ""  # why the file as it is now cannot be used: this is the version that was read before
