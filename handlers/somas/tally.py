"""``verify tried again 3 times``: what is counted in a log, event by event. The events themselves are not kept.

A tally can go on where it stopped: what is appended to a log is added, and nothing is read twice. It knows nothing of
files; the exact reader (``transitions.py``) and the fast one (``scan.py``) feed the same one.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from itertools import islice

import msgspec

from handlers.somas.decode import instant, mapping, text
from handlers.somas.stages import OLD_NAMES
from handlers.somas.transitions import Event

HUMAN_WAIT = ("waiting", "paused")
FAILURES = ("stage_failed", "agent_failed")
_FINAL = ("completed", "cancelled")

# In an order that makes groups of them: those of a stage, then the outcomes, two of which are of a stage.
_STAGE_STARTED, _STAGE_COMPLETED, _STAGE_FAILED, _AGENT_COMPLETED, _AGENT_FAILED = range(5)
_ERROR_RECORDED, _STATE_UPDATED, _INITIALIZED, _NOTHING = range(5, 9)
_KINDS = {
    "stage_started": _STAGE_STARTED,
    "stage_completed": _STAGE_COMPLETED,
    "stage_failed": _STAGE_FAILED,
    "agent_completed": _AGENT_COMPLETED,
    "agent_failed": _AGENT_FAILED,
    "error_recorded": _ERROR_RECORDED,
    "state_updated": _STATE_UPDATED,
    "project_initialized": _INITIALIZED,
}


class Status(msgspec.Struct, gc=False):
    status: str | None = None


class Error(msgspec.Struct, gc=False):
    message: str | None = None


class Entry(msgspec.Struct, gc=False):
    """What is counted of one event; named as it stands in the log, so that it can be decoded by type."""

    event_type: str
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
    latest: dict[str, int] = {}  # the last start, failure or completion of each stage
    before: str = ""  # the status that the last update set; empty after a start or a failure

    def _new_life(self) -> None:
        self.failed = self.outcomes = self.recorded = self.agents_done = 0
        self.failure = self.failed_at = self.wait_began = None
        self.retries, self.ends, self.latest = {}, {}, {}
        self.waiting, self.before = False, ""

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
            latest=self.latest.copy(),
        )

    def add(self, entries: Iterable[Entry]) -> None:
        """Further events, in file order. One loop for all: a log may have a million of them."""
        since, kinds, names = self.since, _KINDS.get, OLD_NAMES.get
        retries, latest = self.retries, self.latest
        if len(self.recent) != self.remembered:  # a copy has gone on with the list that both share
            self.recent = self.recent[: self.remembered]
        entry: Entry | None = None
        count = 0
        for entry in entries:
            count += 1
            kind = kinds(entry.event_type, _NOTHING)
            if kind <= _STAGE_FAILED:  # of a stage
                stage = entry.stage or ""
                stage = names(stage, stage)
                if kind == _STAGE_STARTED:
                    if latest.get(stage, _STAGE_COMPLETED) != _STAGE_COMPLETED:
                        retries[stage] = retries.get(stage, 0) + 1
                    self.waiting = False
                    self.before = ""
                latest[stage] = kind
            if _STAGE_COMPLETED <= kind <= _AGENT_FAILED:  # an outcome
                self.outcomes += 1
                failed = kind in (_STAGE_FAILED, _AGENT_FAILED)
                if failed:
                    self.failed += 1
                    self.failure = (entry.error.message if entry.error else None) or ""
                    self.failed_at = entry.timestamp
                    if kind == _STAGE_FAILED:
                        self.waiting = False
                        self.before = ""
                elif kind == _AGENT_COMPLETED:
                    self.agents_done += 1
                at = entry.timestamp
                if at is not None and at[:10] >= since and (found := instant(at)):
                    self.recent.append((found, failed))
            elif kind == _ERROR_RECORDED:
                self.recorded += 1
            elif kind == _STATE_UPDATED:
                self._updated(entry)
            elif kind == _INITIALIZED:
                self._new_life()
                retries, latest = self.retries, self.latest
        self.events += count
        self.remembered = len(self.recent)
        if entry is not None:
            self.last_at = entry.timestamp

    def _updated(self, entry: Entry) -> None:
        after, updates = entry.to_state, entry.metadata
        status = (after.status if after else None) or (updates.status if updates else None)
        if not status:
            return
        if status in HUMAN_WAIT and not self.waiting:
            self.wait_began = instant(entry.timestamp)
        self.waiting = status in HUMAN_WAIT
        if status in _FINAL and status != self.before and (found := instant(entry.timestamp)):
            self.ends[status] = found
        self.before = status

    def outcomes_since(self, start: datetime) -> tuple[int, int]:
        """How many outcomes at ``start`` or later failed, and how many there were. Of the whole log."""
        found = [failed for at, failed in islice(self.recent, self.remembered) if at >= start]
        return sum(found), len(found)


def entry_of(event: Event) -> Entry:
    """An event that was decoded whole."""
    raw = event.raw
    after, updates, error = (mapping(raw.get(key)) for key in ("to_state", "metadata", "error"))
    at = raw.get("timestamp")
    return Entry(
        event_type=event.type,
        timestamp=at if isinstance(at, str) else None,
        stage=text(raw.get("stage")),
        to_state=Status(text(after.get("status"))),
        metadata=Status(text(updates.get("status"))),
        error=Error(text(error.get("message"))),
    )


def tally(events: Iterable[Event], bad_lines: int = 0) -> Tally:
    """Everything that is counted of these events."""
    made = Tally()
    made.add(map(entry_of, events))
    made.bad_lines = bad_lines
    return made
