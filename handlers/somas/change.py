"""A change of a project's files: copies first, then all the files or none of them, then the log; once per operation.

Before the first file is replaced, what is about to happen is written down beside them
(``.opsbot.<operation>.change.json``), together with the new files. Whoever holds the project's locks next and finds
that note knows that its writer is dead, and finishes the change or forgets it: nothing was replaced yet, or everything
that is needed to go on is there. When somebody else has changed a file meanwhile, it is left to ``/somas repair``.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from bot.errors import UserError
from handlers.somas.backups import save
from handlers.somas.config import read_config
from handlers.somas.decode import brief, items, loads, mapping, stamp, text
from handlers.somas.locks import (
    LOCK_SECONDS,
    WriteFailed,
    all_or_nothing,
    append,
    locked,
    replace,
    stage,
    sync_directory,
)
from handlers.somas.projects import (
    DATA_FILES,
    Project,
    exists,
    no_such_project,
    project_directory,
    read_project,
)
from handlers.somas.restart import actor_entry
from handlers.somas.state import read_bytes
from handlers.somas.transitions import encode_event

LOG = "transitions.jsonl"
NOTES = ".opsbot.*.change.json"
Outcome = Literal["ended", "forgotten", "finished", "disputed"]


@dataclass(frozen=True, slots=True)
class Order:
    """Who wants what done to which project. ``operation_id`` is the same when the same attempt is repeated."""

    project_id: str
    what: str  # purge, restore, repair: one word, for the note and the log
    actor: str
    reason: str
    operation_id: str

    @property
    def mark(self) -> str:
        """The operation in eight hex digits, for file names."""
        return hashlib.sha256(self.operation_id.encode("utf-8", "replace")).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be written. ``files``: the new content by name; those that exist are copied first.

    ``events`` are appended to the log, without id, time, project and actor. ``remove`` are left-overs that are deleted
    when all is done, ``copy`` files that are copied although they stay as they are. ``intent`` is ``summary`` before it
    happened, for previews: it holds no time.
    """

    summary: str
    files: Mapping[str, bytes] = field(default_factory=dict)
    events: Sequence[Mapping[str, Any]] = ()
    evidence: str = ""
    language: str = ""
    remove: Sequence[str] = ()
    copy: Sequence[str] = ()
    intent: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """What is on the disk now. ``happened``: by this call, by an earlier one, or nobody can tell."""

    happened: Literal["now", "before", "uncertain"]
    summary: str
    saved: tuple[str, ...] = ()  # the copies that were made, by name
    evidence: str = ""
    language: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """A change that was begun and whose writer died. ``before`` and ``after`` are SHA-256 by file; None: no file."""

    path: Path
    operation_id: str
    what: str
    actor: str
    at: str
    summary: str
    before: Mapping[str, str | None]
    after: Mapping[str, str]
    staged: Mapping[str, str]  # by file: the name of the new content
    lines: str
    remove: tuple[str, ...]


Planner = Callable[[Project, str], Change]
"""The project as it is under the locks, and the time of the change as SOMAS writes it. Raises ``UserError``."""


def write(
    root: Path,
    order: Order,
    plan: Planner,
    now: datetime,
    *,
    lock_seconds: float = LOCK_SECONDS,
    cancelled: Callable[[], bool] = lambda: False,
    settle_disputed: bool = False,
) -> Written:
    """Do it, once per operation id. Blocking: waits up to ``lock_seconds`` for the locks, then takes milliseconds.

    Raises ``UserError`` when it must not be done, ``Unavailable`` when the locks cannot be had and ``WriteFailed`` when
    the disk refuses; in each case the files are as they were.
    """
    directory = project_directory(root, order.project_id)
    if not exists(directory):  # before a lock file is made where no project is
        raise no_such_project(order.project_id)
    config = read_config(root)
    with locked(directory, lock_seconds, cancelled):
        try:
            settled = settle(directory, order.project_id)
            project = read_project(root, order.project_id, config)
            if found := logged(project, order.operation_id):
                return _before(order, found)
            disputed = [note for note, outcome in settled if outcome == "disputed"]
            if disputed and not settle_disputed:
                return _disputed(order, disputed[0])
            change = plan(project, stamp(now))
            saved = save(
                project, [*(name for name in DATA_FILES if name in change.files), *change.copy], now, order.mark
            )
            _commit(project, order, change, now)
            for note in disputed:
                _forget(note)
        except OSError as error:
            raise WriteFailed(
                f"{order.project_id} cannot be written: {error.strerror or error}. state.json, dead_letters.json and "
                "transitions.jsonl are as they were. Free some space or repair the disk, then try again."
            ) from None
    return Written("now", change.summary, tuple(path.name for path in saved), change.evidence, change.language)


def look(root: Path, order: Order, *, lock_seconds: float = LOCK_SECONDS) -> Written | None:
    """After a crash: what became of this change. None: it certainly did not happen.

    One that was cut after its first file was replaced is finished here.
    """
    directory = project_directory(root, order.project_id)
    if not exists(directory):
        return None
    with locked(directory, lock_seconds):
        outcomes = {note.operation_id: (note, outcome) for note, outcome in settle(directory, order.project_id)}
        project = read_project(root, order.project_id, read_config(root))
        if found := logged(project, order.operation_id):
            return _before(order, found)
        note, outcome = outcomes.get(order.operation_id, (None, "forgotten"))
        return _disputed(order, note) if note is not None and outcome == "disputed" else None


def event(event_type: str, order: Order, metadata: Mapping[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """A log entry that tells what the bot did, by whose order and why; empty fields are left out as upstream does."""
    told = {**(metadata or {}), "reason": order.reason, "operation_id": order.operation_id}
    kept = {key: value for key, value in told.items() if value not in ("", None)}
    return {"event_type": event_type, **{k: v for k, v in fields.items() if v}, "metadata": kept}


def updated(before: Mapping[str, Any] | None, after: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """``state_updated`` as upstream logs it: metadata is exactly the top-level keys that were written."""
    entry: dict[str, Any] = {"event_type": "state_updated"}
    if before is not None:
        entry["from_state"] = {"status": before.get("status"), "stage": before.get("current_stage")}
    entry["to_state"] = {"status": after.get("status"), "stage": after.get("current_stage")}
    entry["metadata"] = {key: after[key] for key in keys}
    return entry


def logged(project: Project, operation_id: str) -> Mapping[str, Any] | None:
    """The entry of this very operation in the log."""
    for found in reversed(project.log.events):
        if found.metadata.get("operation_id") == operation_id:
            return found.raw
    return None


def interrupted(directory: Path) -> list[Note]:
    """Changes that were begun and not ended. Only whoever holds the project's locks knows that they never will be."""
    notes = []
    for path in sorted(directory.glob(NOTES)):
        data = read_bytes(path, follow=False)
        with contextlib.suppress(ValueError):
            raw = mapping(loads(data)) if isinstance(data, bytes) else {}
            notes.append(_note(path, raw))
    return notes


def settle(directory: Path, project_id: str) -> list[tuple[Note, Outcome]]:
    """Finish or forget what dead writers left. Call it under the project's locks. Raises ``OSError``."""
    settled = []
    for note in interrupted(directory):
        outcome = outcome_of(directory, note)
        if outcome == "finished":
            _finish(directory, note)
        if outcome != "disputed":
            _forget(note)
        settled.append((note, outcome))
    return settled


def settle_or_refuse(directory: Path, project_id: str) -> None:
    """``settle`` for other changes. Raises ``UserError`` when there is one that only a repair can settle."""
    for note, outcome in settle(directory, project_id):
        if outcome == "disputed":
            raise _refused(project_id, note)


def outcome_of(directory: Path, note: Note) -> Outcome:
    """What can be done about a change that was cut.

    The log has its entry: it ended. Nothing was replaced: forget it. All files are either the old or the new ones:
    finish it. Anything else: somebody has written since, and only the part that is there can be told.
    """
    log = read_bytes(directory / LOG, follow=False)
    if note.operation_id and isinstance(log, bytes) and json.dumps(note.operation_id).encode("ascii") in log:
        return "ended"
    now = {name: _digest(directory / name) for name in note.after}
    replaced = [name for name, digest in now.items() if digest == note.after[name] != note.before.get(name)]
    if not replaced:
        return "forgotten"
    for name, digest in now.items():
        missing = digest == note.before.get(name) and not (directory / note.staged.get(name, "?")).is_file()
        if name not in replaced and (missing or digest != note.before.get(name)):
            return "disputed"
    return "finished"


def _finish(directory: Path, note: Note) -> None:
    for name, staged in note.staged.items():
        source = directory / staged
        if source.is_file() and _digest(source) == note.after[name]:
            source.replace(directory / name)
    sync_directory(directory)
    append(directory / LOG, note.lines)


def _forget(note: Note) -> None:
    for name in (*note.staged.values(), *note.remove):
        with contextlib.suppress(OSError):  # left-overs: what cannot be deleted stops no change
            (note.path.parent / name).unlink(missing_ok=True)
    note.path.unlink(missing_ok=True)


def _commit(project: Project, order: Order, change: Change, now: datetime) -> None:
    directory, at = project.directory, stamp(now)
    who = actor_entry(order.actor)
    lines = "".join(
        encode_event({"id": str(uuid.uuid4()), "timestamp": at, "project_id": project.id, **entry, "actor": who})
        for entry in change.events
    )
    files = {name: data for name, data in change.files.items() if read_bytes(directory / name, follow=False) != data}
    staged: dict[str, Path] = {}
    note = directory / f".opsbot.{order.mark}.change.json"
    try:
        for name, data in files.items():
            staged[name] = stage(directory / name, data)
        written = {
            "operation_id": order.operation_id,
            "what": order.what,
            "actor": order.actor,
            "at": at,
            "summary": change.summary,
            "before": {name: _digest(directory / name) for name in files},
            "after": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
            "staged": {name: path.name for name, path in staged.items()},
            "lines": base64.b64encode(lines.encode("ascii")).decode("ascii"),
            "remove": list(change.remove),
        }
        if len(files) + bool(lines) > 1:  # a single replacement needs no note: it happened or it did not
            replace(note, json.dumps(written).encode("ascii"))
        with all_or_nothing(*(directory / name for name in files)):
            for name, path in staged.items():
                path.replace(directory / name)
            sync_directory(directory)
            if lines:
                append(directory / LOG, lines)
    except OSError:
        for path in (*staged.values(), note):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        raise
    for path in (note, *(directory / name for name in change.remove)):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _in_folder(name: str) -> bool:
    """Whether it names a file of the project's folder. A note may have been written by somebody else."""
    return name not in ("", "..") and Path(name).name == name and "\0" not in name


def _note(path: Path, raw: Mapping[str, Any]) -> Note:
    def by_name(key: str) -> dict[str, Any]:
        return {name: value for name, value in mapping(raw.get(key)).items() if _in_folder(name)}

    try:
        lines = base64.b64decode(text(raw.get("lines")), validate=True).decode("ascii")
    except ValueError:
        lines = ""
    after = {name: text(value) for name, value in by_name("after").items()}
    staged = {name: text(value) for name, value in by_name("staged").items() if name in after}
    return Note(
        path=path,
        operation_id=text(raw.get("operation_id")),
        what=text(raw.get("what")),
        actor=text(raw.get("actor")),
        at=text(raw.get("at")),
        summary=text(raw.get("summary")),
        before={name: value if isinstance(value, str) else None for name, value in by_name("before").items()},
        after=after,
        staged={name: source for name, source in staged.items() if _in_folder(source)},
        lines=lines,
        remove=tuple(name for name in map(text, items(raw.get("remove"))) if _in_folder(name)),
    )


def _digest(path: Path) -> str | None:
    data = read_bytes(path, follow=False)
    return hashlib.sha256(data).hexdigest() if isinstance(data, bytes) else None


def _before(order: Order, found: Mapping[str, Any]) -> Written:
    at = text(found.get("timestamp"))
    return Written("before", f"{order.project_id}: it was done at {at}.", evidence=json.dumps(found), language="json")


def _disputed(order: Order, note: Note) -> Written:
    if note.operation_id != order.operation_id:
        raise _refused(order.project_id, note)
    return Written(
        "uncertain",
        f"The {order.what} of {order.project_id} was cut in the middle, and something else has written since. "
        f"/somas validate {order.project_id} shows what is there, /somas repair {order.project_id} settles it.",
    )


def _refused(project_id: str, note: Note) -> UserError:
    return UserError(
        f"{project_id}: an earlier change ({brief(note.what, 40)} by {brief(note.actor, 60)}, {brief(note.at, 40)}) "
        "was cut in the middle, and something else has written since. Look at it first: "
        f"/somas validate {project_id}, then /somas repair {project_id}.",
        suggestions=(f"/somas validate {project_id}", f"/somas repair {project_id}"),
    )
