"""``state.json`` and ``dead_letters.json`` as they really are: read tolerantly, judged honestly.

A file is *ok*, *missing* or *damaged*; damaged says in one sentence why. Unknown keys are kept in ``raw`` and survive
every change. Upstream's schemas are not used: no real file is valid by them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from stat import S_ISREG
from typing import Any, Literal, Protocol, TypeVar

from handlers.somas.decode import brief, instant, items, loads, mapping, text, whole
from handlers.somas.stages import STAGES, current_name

_STAGES = frozenset(STAGES)
_DONE = ("completed", "skipped")
Condition = Literal["ok", "missing", "damaged"]
Finish = Literal["", "completed", "cancelled", "inferred"]
LARGEST_FILE = 32 * 1024 * 1024  # bytes; a state file has 4 kB, a log of a year a few MB; JSON may take 20 times that


@dataclass(frozen=True)
class StageRecord:
    """One entry of ``stages``. Records are updated in place upstream: only ``status`` tells the status."""

    name: str
    raw: Mapping[str, Any]

    @property
    def status(self) -> str:
        return text(self.raw.get("status"))

    @property
    def started_at(self) -> datetime | None:
        return instant(self.raw.get("started_at"))

    @property
    def completed_at(self) -> datetime | None:
        return instant(self.raw.get("completed_at"))

    @property
    def retry_count(self) -> int:
        return whole(self.raw.get("retry_count"))

    @property
    def agent(self) -> str:
        return text(self.raw.get("agent"))

    @property
    def error(self) -> str:
        return text(self.raw.get("error"))


class StageLike(Protocol):
    """What is judged of a stage's record, however it was decoded."""

    @property
    def status(self) -> str: ...
    @property
    def started_at(self) -> datetime | None: ...
    @property
    def completed_at(self) -> datetime | None: ...
    @property
    def retry_count(self) -> int: ...
    @property
    def error(self) -> str: ...


Record = TypeVar("Record", bound=StageLike, covariant=True)


class Pipeline(Protocol[Record]):
    """A state as far as it is judged: the whole one below, or the few fields that the scan decodes."""

    @property
    def status(self) -> str: ...
    @property
    def current_stage(self) -> str: ...
    @property
    def stages(self) -> Mapping[str, Record]: ...

    def stage(self, name: str) -> Record | None:
        """The record of one of the eleven; a record under the old name counts when the new one is pending."""
        found = self.stages.get(name)
        if found is not None and found.status != "pending":
            return found
        if self.stages.keys() <= _STAGES:  # no old name
            return found
        old = next((r for key, r in self.stages.items() if key != name and current_name(key) == name), None)
        return old if old is not None and old.status != "pending" else found or old

    @property
    def first_unfinished(self) -> str:
        """The first of the eleven that is neither completed nor skipped; empty when there is none."""
        stages = self.stages
        for name in STAGES:
            record = stages.get(name)
            if record is None or record.status not in _DONE:
                record = self.stage(name)
                if record is None or record.status not in _DONE:
                    return name
        return ""

    @property
    def finished(self) -> Finish:
        """``inferred``: all eleven are completed or skipped, though nobody set the project's status."""
        return finish_of(self.status, self.first_unfinished)

    @property
    def effective_status(self) -> str:
        """The status that a person should go by."""
        return "completed" if self.finished == "inferred" else self.status


def finish_of(status: str, first_unfinished: str) -> Finish:
    """Whether and how a project of this status has ended."""
    if status == "completed":
        return "completed"
    if status == "cancelled":
        return "cancelled"
    return "" if status == "failed" or first_unfinished else "inferred"


@dataclass(frozen=True)
class Checkpoint:
    id: str
    stage: str
    status: str
    at: datetime | None


@dataclass(frozen=True)
class State(Pipeline[StageRecord]):
    """A valid state, from the file or rebuilt from the log. ``raw`` is the whole object."""

    raw: Mapping[str, Any]

    @property
    def project_id(self) -> str:
        return text(self.raw.get("project_id"))

    @property
    def status(self) -> str:
        return text(self.raw.get("status"))

    @property
    def current_stage(self) -> str:
        return text(self.raw.get("current_stage"))

    @property
    def created_at(self) -> datetime | None:
        return instant(self.raw.get("created_at"))

    @property
    def updated_at(self) -> datetime | None:
        return instant(self.raw.get("updated_at"))

    @property
    def issue_number(self) -> int:
        return whole(self.raw.get("issue_number"))

    @property
    def branch(self) -> str:
        return text(self.raw.get("branch"))

    @cached_property
    def stages(self) -> dict[str, StageRecord]:
        return {name: StageRecord(name, record) for name, record in mapping(self.raw.get("stages")).items()}

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """Newest last; entries that are no objects are left out."""
        return [
            Checkpoint(
                text(entry.get("id")),
                text(entry.get("stage")),
                text(entry.get("status")),
                instant(entry.get("timestamp")),
            )
            for entry in items(self.raw.get("checkpoints"))
            if isinstance(entry, dict)
        ]

    @property
    def last_checkpoint(self) -> str:
        """Id of the last successful checkpoint; empty when there is none. It may name one that was pruned."""
        return text(mapping(self.raw.get("recovery_info")).get("last_successful_checkpoint"))

    @property
    def labels(self) -> list[str]:
        """GitHub labels as they were when the project was initialised; upstream never syncs them."""
        return [label for label in items(mapping(self.raw.get("labels")).get("github")) if isinstance(label, str)]

    @property
    def custom_labels(self) -> dict[str, Any]:
        return mapping(mapping(self.raw.get("labels")).get("custom"))

    @property
    def open_breakers(self) -> list[str]:
        """Names in ``circuit_breakers`` whose state is not closed. Upstream writes none; the bot and people may."""
        return [
            name
            for name, entry in mapping(self.raw.get("circuit_breakers")).items()
            if (text(entry) or text(mapping(entry).get("state"))).lower() not in ("", "closed")
        ]


@dataclass(frozen=True)
class StateFile:
    """state.json as it was found. ``data`` are the very bytes, for backups and diffs."""

    condition: Condition
    problem: str = ""
    state: State | None = None
    data: bytes = b""


@dataclass(frozen=True)
class DeadLetter:
    raw: Mapping[str, Any]

    @property
    def stage(self) -> str:
        return text(self.raw.get("stage"))

    @property
    def agent(self) -> str:
        return text(self.raw.get("agent"))

    @property
    def error_type(self) -> str:
        return text(mapping(self.raw.get("error")).get("type"))

    @property
    def message(self) -> str:
        return text(mapping(self.raw.get("error")).get("message"))

    @property
    def at(self) -> datetime | None:
        return instant(self.raw.get("timestamp"))

    @property
    def open(self) -> bool:
        """Not successfully recovered: upstream's own rule."""
        return not (self.raw.get("recovery_attempted") is True and self.raw.get("recovery_result") == "success")


@dataclass(frozen=True)
class DeadLetterFile:
    """dead_letters.json as it was found. A bare list is what the runbook's purge leaves: read, but ``malformed``."""

    condition: Condition
    problem: str = ""
    entries: tuple[DeadLetter, ...] = ()
    malformed: bool = False
    data: bytes = field(default=b"", repr=False)

    @property
    def open(self) -> int:
        return sum(entry.open for entry in self.entries)

    def by_id(self) -> dict[str, DeadLetter]:
        return {text(entry.raw.get("id")): entry for entry in self.entries}


def judge_state(raw: Any, project_id: str) -> str:
    """What keeps this object from being the state of ``project_id``; empty when nothing does."""
    if not isinstance(raw, dict):
        return f"holds {_kind(raw)}, not an object"
    missing = [key for key in ("project_id", "status", "current_stage", "stages") if key not in raw]
    if missing:
        return f"misses {', '.join(missing)}"
    # By hand: a typed decoder refuses lone surrogates, and a name or a text that holds one damages nothing.
    for key in ("project_id", "status", "current_stage"):
        if not isinstance(raw[key], str):
            return f"has a field of the wrong type: {key} is {_kind(raw[key])}, not text"
    if not isinstance(raw["stages"], dict):
        return f"has a field of the wrong type: stages is {_kind(raw['stages'])}, not an object"
    for name, record in raw["stages"].items():
        if not isinstance(record, dict) or not isinstance(record.get("status"), str):
            return f"has a field of the wrong type: the stage {brief(name, 40)} has no status"
    if raw["project_id"] != project_id:
        return f"belongs to {brief(raw['project_id'], 60)!r}, not to {project_id}"
    return ""


def _kind(value: Any) -> str:
    kinds = {type(None): "null", bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list"}
    return kinds.get(type(value), "an object")


def decode_state(data: bytes, project_id: str) -> StateFile:
    """Bytes of a state.json. Never raises."""
    if not data:
        return StateFile("damaged", "is empty")
    try:
        raw = loads(data)
    except ValueError as error:
        return StateFile("damaged", f"is {error} ({len(data)} bytes)", data=data)
    problem = judge_state(raw, project_id)
    return StateFile("damaged", problem, data=data) if problem else StateFile("ok", state=State(raw), data=data)


def decode_dead_letters(data: bytes, project_id: str) -> DeadLetterFile:
    """Bytes of a dead_letters.json. Never raises."""
    try:
        raw = loads(data)
    except ValueError as error:
        return DeadLetterFile("damaged", f"is {error}", data=data)
    if isinstance(raw, list):
        problem = "is a list; upstream needs an object and its next failure will crash half-recorded"
        return DeadLetterFile("ok", problem, _entries(raw), malformed=True, data=data)
    if not isinstance(raw, dict) or not isinstance(raw.get("entries"), list):
        return DeadLetterFile("damaged", "has no list of entries", data=data)
    owner = raw.get("project_id", project_id)
    if owner != project_id:
        return DeadLetterFile("damaged", f"belongs to {brief(str(owner), 60)!r}, not to {project_id}", data=data)
    return DeadLetterFile("ok", "", _entries(raw["entries"]), data=data)


def read_state(directory: Path, project_id: str) -> StateFile:
    """The project's state.json. Takes no lock: upstream and the bot replace the file atomically. Never raises."""
    data = read_bytes(directory / "state.json", follow=False)
    if data is None:
        return StateFile("missing", "is missing")
    return StateFile("damaged", data) if isinstance(data, str) else decode_state(data, project_id)


def read_dead_letters(directory: Path, project_id: str) -> DeadLetterFile:
    """The project's dead_letters.json. Never raises."""
    data = read_bytes(directory / "dead_letters.json", follow=False)
    if data is None:
        return DeadLetterFile("missing", "is missing")
    return DeadLetterFile("damaged", data) if isinstance(data, str) else decode_dead_letters(data, project_id)


def read_bytes(path: Path, largest: int = LARGEST_FILE, *, follow: bool = True) -> bytes | str | None:
    """A regular file's bytes; None when it is missing; a sentence when it cannot be read (``largest``: bytes).

    Files of a project are read with ``follow`` off: whoever writes in its folder could aim a link at any file that the
    bot may read, and what is read is shown.
    """
    try:
        if not follow and path.is_symlink():
            return "is a symbolic link, which is not followed"
        found = path.stat()
        if not S_ISREG(found.st_mode):  # a pipe would block for ever
            return "is not a regular file"
        if found.st_size > largest:
            return f"is too large to be read ({found.st_size} bytes)"
        with open(path, "rb", opener=_without_waiting if follow else _without_following) as file:
            data = file.read(largest + 1) or b""  # it may have grown, and one of /proc says that it is empty
        return data if len(data) <= largest else f"is too large to be read (more than {largest} bytes)"
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _without_waiting(path: str, flags: int) -> int:
    """Opens also what has meanwhile become a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


def _without_following(path: str, flags: int) -> int:
    """Nor what has meanwhile become a link."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW)


def _entries(raw: list[Any]) -> tuple[DeadLetter, ...]:
    return tuple(DeadLetter(mapping(entry)) for entry in raw)
