"""``/somas log project-42 --failures --limit 20``: the end of a log, read from its end, however long the log is.

Blocking; takes no lock. A million lines cost no more than twenty when the last twenty are wanted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from handlers.somas.decode import mapping, text
from handlers.somas.stages import OLD_NAMES, current_name
from handlers.somas.state import Condition
from handlers.somas.tally import FAILURES
from handlers.somas.transitions import Event, decode_log

BLOCK = 64 * 1024
LONGEST_LINE = 8 * 1024 * 1024  # bytes; what is longer is no event of SOMAS


@dataclass(frozen=True, slots=True)
class Query:
    """Which events are wanted; empty: all. ``stage`` is one of today's names and finds the old ones, too."""

    stage: str = ""
    type: str = ""
    failures: bool = False
    agent: str = ""

    @property
    def said(self) -> str:
        """`` that failed at verify``: behind "the last 20 events"."""
        parts = [" that failed" if self.failures else "", f" of the type {self.type}" if self.type else ""]
        return "".join(parts) + (f" at {self.stage}" if self.stage else "")

    def may_match(self, line: bytes) -> bool:
        """Whether a line is worth decoding. The words that are looked for are never escaped in JSON."""
        if self.failures and not any(each.encode() in line for each in FAILURES):
            return False
        if self.type and self.type.encode() not in line:
            return False
        if self.agent and self.agent.encode() not in line:
            return False
        return not self.stage or any(name.encode() in line for name in names_of(self.stage))

    def matches(self, event: Event) -> bool:
        if self.failures and event.type not in FAILURES:
            return False
        if self.type and event.type != self.type:
            return False
        if self.agent and event.raw.get("agent") != self.agent:
            return False
        if not self.stage:
            return True
        after = text(mapping(event.raw.get("to_state")).get("stage"))
        return event.stage == self.stage or (not event.stage and current_name(after) == self.stage)


def names_of(stage: str) -> tuple[str, ...]:
    """A stage's name of today and its old one."""
    return (stage, *(old for old, new in OLD_NAMES.items() if new == stage))


@dataclass(frozen=True, slots=True)
class Tail:
    """The last events that were wanted, the newest first; ``bad_lines`` of the lines that were looked at."""

    condition: Condition
    problem: str = ""
    events: tuple[Event, ...] = ()
    bad_lines: int = 0
    size: int = 0  # bytes of the whole log


def last_events(directory: Path, limit: int, query: Query | None = None) -> Tail:
    """The last ``limit`` events of a project's transitions.jsonl. Never raises."""
    query = query or Query()
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(directory / "transitions.jsonl", flags)
    except FileNotFoundError:
        return Tail("missing", "is missing")
    except OSError as error:
        return Tail("damaged", f"cannot be read: {error.strerror}")
    try:
        found = os.fstat(descriptor)
        if not S_ISREG(found.st_mode):
            return Tail("damaged", "is not a regular file")
        return _read(descriptor, found.st_size, limit, query)
    except OSError as error:
        return Tail("damaged", f"cannot be read: {error.strerror}")
    finally:
        os.close(descriptor)


def _read(descriptor: int, size: int, limit: int, query: Query) -> Tail:
    events: list[Event] = []
    bad = 0
    for line in lines_backwards(descriptor, size):
        if not query.may_match(line):
            continue
        log = decode_log(line)
        bad += log.bad_lines
        events += [event for event in reversed(log.events) if query.matches(event)]
        if len(events) >= limit:
            break
    return Tail("ok", "", tuple(events[:limit]), bad, size)


def lines_backwards(descriptor: int, size: int) -> Iterator[bytes]:
    """The lines of a file, the last one first; one that is too long comes cut."""
    parts: list[bytes] = []  # of the line whose beginning is not read yet, the last part first
    length = 0
    position = size
    while position > 0:
        step = min(BLOCK, position)
        position -= step
        lines = os.pread(descriptor, step, position).split(b"\n")
        if len(lines) > 1:
            yield b"".join([lines[-1], *reversed(parts)])
            yield from reversed(lines[1:-1])
            parts, length = [], 0
        if length < LONGEST_LINE:
            parts.append(lines[0])
            length += len(lines[0])
    if parts:
        yield b"".join(reversed(parts))
