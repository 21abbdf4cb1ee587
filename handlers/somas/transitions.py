"""``transitions.jsonl``, the log that tells what really happened: bad lines are counted, glued events are recovered.

Lines end with ``\\n`` only. A crash in the middle of an append leaves a cut line, and upstream's next append is glued
to it; the events after the cut are found again by the text that every event begins with.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from handlers.somas.decode import instant, loads, mapping, text
from handlers.somas.stages import current_name
from handlers.somas.state import Condition, read_bytes

# Of upstream's schema; it writes the first ten itself.
EVENT_TYPES = (
    "project_initialized",
    "stage_started",
    "stage_completed",
    "stage_failed",
    "checkpoint_created",
    "error_recorded",
    "state_updated",
    "agent_invoked",
    "agent_completed",
    "agent_failed",
    "stage_retrying",
    "label_added",
    "label_removed",
    "artifact_created",
    "recovery_attempted",
    "recovery_completed",
    "pipeline_paused",
    "pipeline_resumed",
    "pipeline_completed",
    "pipeline_failed",
    "pipeline_cancelled",
)
_START = '{"id": "'
MOST_GLUED = 1000  # events of one line: a crash glues two, and every try may read the line to its end
_decoder = json.JSONDecoder()


@dataclass(frozen=True)
class Event:
    """One transition. ``raw`` is the object as it was written."""

    raw: Mapping[str, Any]

    @property
    def type(self) -> str:
        return text(self.raw.get("event_type"))

    @property
    def at(self) -> datetime | None:
        return instant(self.raw.get("timestamp"))

    @property
    def stage(self) -> str:
        """The stage under its name of today; empty for events of no stage."""
        return current_name(text(self.raw.get("stage")))

    @property
    def metadata(self) -> dict[str, Any]:
        return mapping(self.raw.get("metadata"))

    @property
    def message(self) -> str:
        return text(mapping(self.raw.get("error")).get("message"))


@dataclass(frozen=True)
class Log:
    """The whole log in file order. ``recovered`` of the ``bad_lines`` gave at least one event back."""

    condition: Condition
    problem: str = ""
    events: tuple[Event, ...] = ()
    bad_lines: int = 0
    recovered: int = 0
    cut: bool = False  # the last line has no newline: an append must begin with one

    def epoch(self) -> Sequence[Event]:
        """The events of the project's present life: from the last project_initialized on, all when there is none."""
        for index in range(len(self.events) - 1, -1, -1):
            if self.events[index].type == "project_initialized":
                return self.events[index:]
        return self.events

    @property
    def title(self) -> str:
        """The project's title; it stands nowhere but in the log."""
        first = next(iter(self.epoch()), None)
        return text(first.metadata.get("title")) if first else ""


def decode_log(data: bytes) -> Log:
    """Bytes of a transitions.jsonl. Never raises."""
    events: list[Event] = []
    bad = recovered = 0
    for part in data.split(b"\n"):
        if not part.strip():
            continue
        try:
            whole_line = loads(part)
        except ValueError:
            whole_line = None
        if isinstance(whole_line, dict) and text(whole_line.get("event_type")):
            events.append(Event(whole_line))
            continue
        bad += 1
        found = [event for _, _, event in glued(part.decode("utf-8", "replace"))]
        recovered += bool(found)
        events.extend(found)
    return Log("ok", "", tuple(events), bad, recovered, cut=bool(data) and not data.endswith(b"\n"))


def read_log(directory: Path) -> Log:
    """The project's transitions.jsonl. Never raises."""
    data = read_bytes(directory / "transitions.jsonl", follow=False)
    if data is None:
        return Log("missing", "is missing")
    return Log("damaged", data) if isinstance(data, str) else decode_log(data)


def encode_event(event: Mapping[str, Any]) -> str:
    """One line as upstream writes it, with its newline."""
    return json.dumps(event) + "\n"


def glued(line: str) -> Iterator[tuple[int, int, Event]]:
    """The events that stand in a broken line, each with where it begins and ends."""
    start = line.find(_START)
    tries = 0
    while start >= 0 and tries < MOST_GLUED:
        tries += 1
        after = start + 1
        try:
            found, after = _decoder.raw_decode(line, start)
        except (ValueError, RecursionError):
            pass
        else:
            if isinstance(found, dict) and text(found.get("event_type")):
                yield start, after, Event(found)
            else:  # an inner object (a checkpoint has an id too): what follows may still be an event
                after = start + 1
        start = line.find(_START, after)
