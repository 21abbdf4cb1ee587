"""Who is paged, how soon and how often, and what came of it: data. What happens with it is in ``escalation.py``.

Response times are those of the SOMAS runbook: low 24 h, medium 4 h, high 1 h, critical 15 min. A page is repeated every
third of that, so that three have gone out when the time is over, and each repetition adds the next of the chain.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict

from bot.settings import EscalationSettings, Person

Severity = Literal["low", "medium", "high", "critical"]
SEVERITIES: tuple[Severity, ...] = ("low", "medium", "high", "critical")


class Contact(BaseModel):
    """A person with the ids by which each surface mentions them, as the settings had them when the page was opened."""

    model_config = ConfigDict(frozen=True)
    name: str  # key of [people]
    slack: str = ""  # U0SCOT
    github: str = ""  # a login


class Paging(BaseModel):
    """``[escalation]`` and ``[people]`` as they are at one moment. Events carry it; an escalation keeps its part."""

    model_config = ConfigDict(frozen=True)
    chain: tuple[Contact, ...] = ()
    levels: dict[str, tuple[Contact, ...]] = {}  # L2, as the clauses of runbooks call them
    tell: dict[Severity, str] = {}  # what is to be done, by severity
    response: dict[Severity, timedelta] = {}
    repeat: dict[Severity, timedelta] = {}


class Escalation(BaseModel):
    """A page that repeats until somebody acknowledges it. Its chain and its times are frozen when it is opened."""

    number: int
    reason: str
    step: str = ""
    opened_at: datetime
    pages: int = 0
    paged_at: datetime | None = None  # the newest page
    next_page_at: datetime | None = None
    respond_by: datetime | None = None
    repeat: timedelta = timedelta(minutes=20)
    chain: tuple[Contact, ...] = ()
    notified: int = 0  # so many of the chain are named by the newest page
    added: tuple[str, ...] = ()  # whom the newest page names for the first time, when it is not the first page
    tell: str = ""  # what the configuration says about this severity
    level: str = ""  # the level that a clause of the runbook called
    unknown: str = ""  # one that it wanted to call and that nobody stands for
    acknowledged_by: str = ""
    acknowledged_at: datetime | None = None

    @property
    def open(self) -> bool:
        return self.acknowledged_at is None

    @property
    def contacts(self) -> tuple[Contact, ...]:
        """Who has been called so far."""
        return self.chain[: self.notified]


class Attachment(BaseModel):
    """What a clause wanted to have with the page: a step's output, a journal, a fact. ``problem``: it is not there."""

    model_config = ConfigDict(frozen=True)
    title: str
    text: str = ""
    language: str = ""
    problem: str = ""


class Fired(BaseModel):
    """A clause of the runbook that has come true, once in a run."""

    model_config = ConfigDict(frozen=True)
    clause: int  # index in the runbook's clauses
    at: datetime
    because: str
    pending: bool = False  # what it attaches and files is still being fetched
    attachments: tuple[Attachment, ...] = ()
    issue: str = ""  # address of the issue that was filed
    problem: str = ""  # why none was


def paging_of(escalation: EscalationSettings, people: Mapping[str, Person]) -> Paging:
    """The settings as an event carries them."""

    def contact(name: str) -> Contact:
        person = people.get(name)
        return Contact(name=name, slack=person.slack if person else "", github=person.github if person else "")

    return Paging(
        chain=tuple(map(contact, escalation.in_order)),
        levels={level: tuple(map(contact, names)) for level, names in escalation.levels.items()},
        tell={severity: text for severity in SEVERITIES if (text := getattr(escalation.tell, severity))},
        response={severity: getattr(escalation.response, severity) for severity in SEVERITIES},
        repeat={severity: escalation.repeat_of(severity) for severity in SEVERITIES},
    )
