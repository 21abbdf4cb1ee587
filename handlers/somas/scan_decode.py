"""The few fields of SOMAS's files that lists and numbers need, decoded by type: three to ten times as fast as whole.

Strict on purpose: whatever is not exactly as SOMAS writes it (a number where a text belongs, a lone surrogate, a cut
line) raises, and the caller lets the tolerant exact reader look at it. What is accepted here means the same there.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec

from handlers.somas.decode import instant
from handlers.somas.state import Pipeline, decode_dead_letters, decode_state
from handlers.somas.summary import FileSummary, StateSummary, summarise_state
from handlers.somas.tally import Entry, Tally, entry_of
from handlers.somas.transitions import decode_log

OK = FileSummary("ok")


class _Stage(msgspec.Struct, gc=False):
    status: str
    retry_count: int = 0
    started: str | None = msgspec.field(default=None, name="started_at")
    completed: str | None = msgspec.field(default=None, name="completed_at")
    message: str | None = msgspec.field(default=None, name="error")

    @property
    def started_at(self) -> datetime | None:
        return instant(self.started)

    @property
    def completed_at(self) -> datetime | None:
        return instant(self.completed)

    @property
    def error(self) -> str:
        return self.message or ""


class _State(msgspec.Struct, gc=False):
    project_id: str
    status: str
    current_stage: str
    stages: dict[str, _Stage]
    created_at: str | None = None
    updated_at: str | None = None
    issue_number: Any = None

    stage = Pipeline.stage
    first_unfinished = Pipeline.first_unfinished
    finished = Pipeline.finished
    effective_status = Pipeline.effective_status


class _Letter(msgspec.Struct, gc=False):
    recovery_attempted: bool = False
    recovery_result: str | None = None


class _Letters(msgspec.Struct, gc=False):
    entries: list[_Letter]
    project_id: str = ""


_state = msgspec.json.Decoder(_State)
_letters = msgspec.json.Decoder(_Letters)
_entry = msgspec.json.Decoder(Entry)


def _strict(data: bytes) -> bytes:
    """The decoder does not look at the encoding of what it skips. SOMAS writes ASCII, so this is nearly free."""
    if not data.isascii():
        data.decode("utf-8")
    return data


def summarise_state_file(data: bytes, project_id: str) -> tuple[FileSummary, StateSummary | None]:
    """What a state.json says; without a state the log has to be asked."""
    try:
        state = _state.decode(_strict(data))
        if state.project_id == project_id:
            return OK, summarise_state(state, instant(state.created_at), instant(state.updated_at))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass
    exact = decode_state(data, project_id)
    if exact.state is None:
        return FileSummary(exact.condition, exact.problem), None
    return OK, summarise_state(exact.state, exact.state.created_at, exact.state.updated_at)


def summarise_letters(data: bytes, project_id: str) -> tuple[FileSummary, int, int]:
    """What a dead_letters.json says; how many entries are open, and how many there are."""
    try:
        letters = _letters.decode(_strict(data))
        if letters.project_id == project_id:
            still_open = total = len(letters.entries)
            for each in letters.entries:
                if each.recovery_attempted and each.recovery_result == "success":
                    still_open -= 1
            return OK, still_open, total
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass
    exact = decode_dead_letters(data, project_id)
    return FileSummary(exact.condition, exact.problem, exact.malformed), exact.open, len(exact.entries)


def add_lines(counts: Tally, data: bytes) -> None:
    """Add whole lines of a transitions.jsonl to the counts."""
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    try:  # nearly always every line is as SOMAS writes it
        if data.isascii():
            counts.add(list(map(_entry.decode, lines)))
            return
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass
    counts.add(list(_tolerant(counts, lines)))


def _tolerant(counts: Tally, lines: list[bytes]) -> Iterator[Entry]:
    for line in lines:
        if not line:
            continue
        try:
            yield _entry.decode(_strict(line))
        except (msgspec.MsgspecError, ValueError, RecursionError):
            exact = decode_log(line)
            counts.bad_lines += exact.bad_lines
            yield from map(entry_of, exact.events)
