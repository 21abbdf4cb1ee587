"""``verify tried again 3 times``: what is counted in a log, event by event. The events themselves are not kept.

A tally can go on where it stopped: what is appended to a log is added, and nothing is read twice. It knows nothing of
files; the exact reader (``transitions.py``) and the fast one (``scan.py``) feed the same one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import Enum
from itertools import islice

import msgspec

from handlers.somas.decode import instant, mapping, text
from handlers.somas.stages import OLD_NAMES
from handlers.somas.transitions import Event

HUMAN_WAIT = ("waiting", "paused")
FAILURES = ("stage_failed", "agent_failed")
_FINAL = ("completed", "cancelled")


class Kind(Enum):
    """The type of an event, as it stands in the log: a decoder that knows it makes no text of it."""

    STAGE_STARTED = "stage_started"
    STAGE_COMPLETED = "stage_completed"
    STAGE_FAILED = "stage_failed"
    AGENT_COMPLETED = "agent_completed"
    AGENT_FAILED = "agent_failed"
    ERROR_RECORDED = "error_recorded"
    STATE_UPDATED = "state_updated"
    PROJECT_INITIALIZED = "project_initialized"
    # Nothing is counted of these two; they are so many that they should not go through ``_missing_``.
    AGENT_INVOKED = "agent_invoked"
    CHECKPOINT_CREATED = "checkpoint_created"
    OTHER = "anything else"

    @classmethod
    def _missing_(cls, value: object) -> Kind | None:
        return cls.OTHER if isinstance(value, str) and value else None  # an event without a type is none


class Status(msgspec.Struct, gc=False):
    status: str | None = None


class Error(msgspec.Struct, gc=False):
    message: str | None = None


class Entry(msgspec.Struct, gc=False):
    """What is counted of one event; named as it stands in the log, so that it can be decoded by type."""

    event_type: Kind
    timestamp: str | None = None
    stage: str | None = None
    to_state: Status | None = None
    metadata: Status | None = None
    error: Error | None = None


class Tally(msgspec.Struct, gc=False):
    """The counts of one log. Where nothing else is said they are those of the project's present life (its epoch).

    ``since``: a date, YYYY-MM-DD; outcomes that are certainly older are not remembered one by one.
    """

    since: str = ""
    events: int = 0  # of the whole log
    bad_lines: int = 0  # of the whole log
    recent: list[tuple[datetime, bool]] = []  # outcomes of the whole log: when, and whether it failed
    remembered: int = 0  # how many of ``recent`` are this tally's: copies share the list as long as one goes on
    retries: dict[str, int] = {}  # repeated starts by stage: it had last started or failed
    failed: int = 0
    outcomes: int = 0
    recorded: int = 0  # error_recorded
    agents_done: int = 0
    last_at: str | None = None  # timestamp of the last event of all, as it is written
    failure: str | None = None  # message of the last failure
    failed_at: str | None = None  # its timestamp, as it is written
    waiting: bool = False
    wait_began: datetime | None = None
    ends: dict[str, datetime] = {}  # when the project was completed, or cancelled
    unfinished: dict[str, bool] = {}  # by stage: it has last started or failed, not completed
    before: str = ""  # the status that the last update set; empty after a start or a failure

    @property
    def waiting_since(self) -> datetime | None:
        """Start of the unbroken run of waiting and paused in which the log ends; None when it ends in none."""
        return self.wait_began if self.waiting else None

    def copy(self) -> Tally:
        """Another one that goes on from here; this one stays as it is."""
        return msgspec.structs.replace(
            self,
            retries=self.retries.copy(),
            ends=self.ends.copy(),
            unfinished=self.unfinished.copy(),
        )

    def add(self, entries: Sequence[Entry]) -> None:
        """Further events, in file order.

        One loop on local names: a log may have a million events, and ten thousand logs are read at once.
        """
        started, completed, failed, agent_completed, agent_failed, recorded, updated, initialized = _COUNTED
        retries, unfinished, since, name_of = self.retries, self.unfinished, self.since, OLD_NAMES.get
        failures, outcomes, errors, agents_done = self.failed, self.outcomes, self.recorded, self.agents_done
        waiting, before = self.waiting, self.before
        if len(self.recent) != self.remembered:  # a copy has gone on with the list that both share
            self.recent = self.recent[: self.remembered]
        recent = self.recent
        failure: Entry | None = None
        for entry in entries:
            kind = entry.event_type
            if kind is started:
                stage = entry.stage or ""
                again = unfinished.get(stage)
                if again is None:  # seen for the first time, or an old name
                    stage = name_of(stage, stage)
                    again = unfinished.get(stage)
                if again:
                    retries[stage] = retries.get(stage, 0) + 1
                unfinished[stage] = True
                waiting, before = False, ""
            elif kind is completed or kind is agent_completed:
                outcomes += 1
                if kind is completed:
                    stage = entry.stage or ""
                    unfinished[name_of(stage, stage)] = False
                else:
                    agents_done += 1
                at = entry.timestamp
                if at is not None and at >= since and (found := instant(at)):
                    recent.append((found, False))
            elif kind is failed or kind is agent_failed:
                outcomes += 1
                failures += 1
                failure = entry
                if kind is failed:
                    stage = entry.stage or ""
                    unfinished[name_of(stage, stage)] = True
                    waiting, before = False, ""
                at = entry.timestamp
                if at is not None and at >= since and (found := instant(at)):
                    recent.append((found, True))
            elif kind is recorded:
                errors += 1
            elif kind is updated:
                after, updates = entry.to_state, entry.metadata
                status = (after.status if after else None) or (updates.status if updates else None)
                if status:
                    if status in HUMAN_WAIT and not waiting:
                        self.wait_began = instant(entry.timestamp)
                    waiting = status in HUMAN_WAIT
                    if status in _FINAL and status != before and (found := instant(entry.timestamp)):
                        self.ends[status] = found
                    before = status
            elif kind is initialized:  # a new life
                failures = outcomes = errors = agents_done = 0
                self.failure = self.failed_at = self.wait_began = failure = None
                retries, unfinished = {}, {}
                self.ends = {}
                waiting, before = False, ""
        if failure is not None:
            self.failure = (failure.error.message if failure.error else None) or ""
            self.failed_at = failure.timestamp
        if entries:
            self.last_at = entries[-1].timestamp
        self.retries, self.unfinished, self.waiting, self.before = retries, unfinished, waiting, before
        self.failed, self.outcomes, self.recorded, self.agents_done = failures, outcomes, errors, agents_done
        self.events += len(entries)
        self.remembered = len(recent)

    def outcomes_since(self, start: datetime) -> tuple[int, int]:
        """How many outcomes at ``start`` or later failed, and how many there were. Of the whole log."""
        found = [failed for at, failed in islice(self.recent, self.remembered) if at >= start]
        return sum(found), len(found)


_COUNTED = tuple(Kind)[:8]  # without the dots: the loop above is entered ten thousand times


def entry_of(event: Event) -> Entry:
    """An event that was decoded whole."""
    raw = event.raw
    after, updates, error = (mapping(raw.get(key)) for key in ("to_state", "metadata", "error"))
    at = raw.get("timestamp")
    return Entry(
        event_type=Kind(event.type),
        timestamp=at if isinstance(at, str) else None,
        stage=text(raw.get("stage")),
        to_state=Status(text(after.get("status"))),
        metadata=Status(text(updates.get("status"))),
        error=Error(text(error.get("message"))),
    )


def tally(events: Iterable[Event], bad_lines: int = 0) -> Tally:
    """Everything that is counted of these events."""
    made = Tally()
    made.add([*map(entry_of, events)])
    made.bad_lines = bad_lines
    return made
