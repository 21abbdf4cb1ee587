"""The restart as it is written: backup first, then the state, then the log, under the locks, once per operation.

Every restart has an operation id. It is logged with the restart and is part of the backup's name, so that after a crash
anybody can tell whether the restart happened, certainly did not, or was cut in the middle; a restart that was cut
after the state was written is finished, never repeated.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from handlers.somas.backups import compact_time, keep_older_backup
from handlers.somas.change import settle_or_refuse
from handlers.somas.config import read_config
from handlers.somas.decode import loads, stamp, text
from handlers.somas.locks import LOCK_SECONDS, WriteFailed, all_or_nothing, append, locked, replace, sync_directory
from handlers.somas.projects import (
    ARCHIVE,
    DATA_FILES,
    Project,
    exists,
    no_such_project,
    project_directory,
    read_project,
)
from handlers.somas.restart import (
    Mode,
    choose,
    compact,
    diff,
    encoded,
    fresh_start,
    full_events,
    is_fresh,
    plan,
    restart_events,
    same_but_for_time,
    stamped,
    usable,
)
from handlers.somas.state import read_bytes, read_dead_letters, read_state
from handlers.somas.transitions import Event, encode_event


@dataclass(frozen=True, slots=True)
class Order:
    """A restart that was decided: where, who, why. ``operation_id`` is the same when the same attempt is repeated."""

    project_id: str
    mode: Mode
    stage: str
    actor: str
    reason: str
    operation_id: str
    override: bool = False

    @property
    def mark(self) -> str:
        """The operation in eight hex digits, for file names."""
        return hashlib.sha256(self.operation_id.encode("utf-8", "replace")).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class Written:
    """What is on the disk now. ``happened``: by this call, by an earlier one, or nobody can tell."""

    happened: Literal["now", "before", "uncertain"]
    summary: str
    saved: str = ""  # the backup or the archive, relative to the root
    evidence: str = ""


def write_restart(
    root: Path,
    order: Order,
    now: datetime,
    *,
    lock_seconds: float = LOCK_SECONDS,
    cancelled: Callable[[], bool] = lambda: False,
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
        settle_or_refuse(directory, order.project_id)
        project = read_project(root, order.project_id, config)
        earlier = find_earlier(root, project, order)
        if earlier == "uncertain":
            return _uncertain(root, project, order)
        if earlier == "done":
            return _before(root, project, order)
        try:
            if order.mode == "full":
                return _write_full(root, project, order, now, resume=earlier == "half")
            return _write_stage(root, project, order, now, resume=earlier == "half")
        except (OSError, shutil.Error) as error:
            # copytree collects what went wrong as (from, to, why)
            said = error.args[0][0][2] if isinstance(error, shutil.Error) else error.strerror
            raise WriteFailed(
                f"{order.project_id} cannot be written: {said}. state.json, dead_letters.json and transitions.jsonl "
                "are as they were. Free some space or repair the disk, then run the restart again."
            ) from None


def look(root: Path, order: Order, now: datetime, *, lock_seconds: float = LOCK_SECONDS) -> Written | None:
    """After a crash: what became of this restart. None: it certainly did not change anything that counts.

    A restart whose state was written and whose log entry is missing is finished here: the change did happen, and
    without its entry a rebuild would undo it.
    """
    directory = project_directory(root, order.project_id)
    if not exists(directory):
        return None
    config = read_config(root)
    with locked(directory, lock_seconds):
        project = read_project(root, order.project_id, config)
        match find_earlier(root, project, order):
            case "none":
                return None
            case "done":
                return _before(root, project, order)
            case "uncertain":
                return _uncertain(root, project, order)
            case "half":
                try:
                    write = _write_full if order.mode == "full" else _write_stage
                    return write(root, project, order, now, resume=True)
                except OSError:
                    return _uncertain(root, project, order)


def find_earlier(root: Path, project: Project, order: Order) -> Literal["none", "done", "half", "uncertain"]:
    """``half``: the state is the one that this restart writes, and the log does not know it."""
    if logged(project, order):
        return "done"
    if order.mode == "full":
        archive = _archive_of(root, order)
        if archive is None:
            return "none"
        if read_bytes(archive / "state.json") == read_bytes(project.directory / "state.json"):
            return "none"
        return "half" if is_fresh(project.file) else "uncertain"
    backup = _backup_of(project, order)
    if backup is None:
        return "none"
    saved = read_bytes(backup)
    if saved == project.file.data:
        return "none"
    try:
        expected = plan(usable(loads(saved), project.id), order.stage) if isinstance(saved, bytes) else None
    except ValueError:
        expected = None
    state = project.file.state
    if state and expected and same_but_for_time(state.raw, expected.state):
        return "half"
    return "uncertain"


def logged(project: Project, order: Order) -> Event | None:
    """The entry of this very operation in the log."""
    for event in reversed(project.log.events):
        if event.type == "stage_retrying" and event.metadata.get("operation_id") == order.operation_id:
            return event
    return None


def _write_stage(root: Path, project: Project, order: Order, now: datetime, *, resume: bool) -> Written:
    log = project.directory / "transitions.jsonl"
    if resume:
        backup = _backup_of(project, order)
        assert backup is not None and project.file.state is not None
        saved = read_bytes(backup)
        change = plan(usable(loads(saved if isinstance(saved, bytes) else b""), project.id), order.stage)
        at = text(project.file.state.raw.get("updated_at")) or stamp(now)
        append(
            log, _lines(restart_events(change, project.id, at, _ids(), order.actor, order.reason, order.operation_id))
        )
        return Written(
            "before",
            _said(order, backup.name),
            _relative(root, backup),
            diff(change.before, change.state, "state.json"),
        )
    choose(project, now, stage=order.stage, override=order.override)
    assert project.file.state is not None
    change = plan(project.file.state.raw, order.stage)
    state = project.directory / "state.json"
    backup = project.directory / f"state.json.backup.{compact_time(now)}.{order.mark}"
    events = restart_events(change, project.id, stamp(now), _ids(), order.actor, order.reason, order.operation_id)
    keep_older_backup(project)
    try:
        replace(backup, project.file.data)
        replace(project.directory / "state.json.backup", project.file.data)
    except OSError:
        with contextlib.suppress(OSError):
            backup.unlink(missing_ok=True)
        raise
    with all_or_nothing(state):
        replace(state, encoded(stamped(change.state, now)))
        append(log, _lines(events))
    return Written(
        "now", _said(order, backup.name), _relative(root, backup), diff(change.before, change.state, "state.json")
    )


def _write_full(root: Path, project: Project, order: Order, now: datetime, *, resume: bool) -> Written:
    choose(project, now, full=True, override=order.override)
    archive = _archive_of(root, order) or _archive(root, project, order, now)
    before = project if not resume else _archived(archive, project)
    fresh, letters, title = fresh_start(before, stamp(now))
    events = full_events(
        fresh,
        title,
        project.id,
        stamp(now),
        _ids(),
        order.actor,
        order.reason,
        order.operation_id,
        _relative(root, archive),
    )
    state, dead = project.directory / "state.json", project.directory / "dead_letters.json"
    with all_or_nothing(state, dead):
        replace(state, encoded(fresh))
        replace(dead, encoded(letters))
        append(project.directory / "transitions.jsonl", _lines(events))
    return Written(
        "before" if resume else "now",
        _said(order, _relative(root, archive)),
        _relative(root, archive),
        diff(before.file.data, fresh, "state.json"),
    )


def _archived(archive: Path, project: Project) -> Project:
    """The project as it is in its archive; the log goes on in the project's folder."""
    return Project(
        project.id,
        archive,
        read_state(archive, project.id),
        read_dead_letters(archive, project.id),
        project.log,
        project.config,
    )


def _archive(root: Path, project: Project, order: Order, now: datetime) -> Path:
    """Copy the whole project beside the projects, out of reach of ``*/state.json``; any number of times a day."""
    folder = root / ".somas" / "projects" / ARCHIVE
    folder.mkdir(mode=0o755, exist_ok=True)
    target = folder / f"{project.id}.backup.{compact_time(now)}.{order.mark}"
    unfinished = folder / f".{target.name}.tmp"
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        shutil.copytree(project.directory, unfinished, symlinks=True, ignore=_not_archived)
        for name in DATA_FILES:
            if read_bytes(unfinished / name) != read_bytes(project.directory / name):
                raise OSError(5, f"the copy of {name} differs from the original")
        unfinished.rename(target)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    sync_directory(folder)
    return target


def _not_archived(folder: str, names: list[str]) -> list[str]:
    """Lock files, temporary files, and what cannot be copied (pipes, sockets)."""
    here = Path(folder)
    return [
        name
        for name in names
        if name.endswith((".lock", ".tmp"))
        or not ((here / name).is_symlink() or (here / name).is_file() or (here / name).is_dir())
    ]


def _before(root: Path, project: Project, order: Order) -> Written:
    event = logged(project, order)
    saved = _archive_of(root, order) if order.mode == "full" else _backup_of(project, order)
    where = _relative(root, saved) if saved else ""
    return Written("before", _said(order, where), where, compact(event.raw) if event else "")


def _uncertain(root: Path, project: Project, order: Order) -> Written:
    saved = _archive_of(root, order) if order.mode == "full" else _backup_of(project, order)
    where = _relative(root, saved) if saved else "the backup"
    return Written(
        "uncertain",
        f"The restart of {project.id} was cut in the middle, and state.json is neither what it was nor what the "
        f"restart writes: something else changed it since. Compare it with {where}, then restart "
        "again or leave it.",
        where,
    )


def _said(order: Order, saved: str) -> str:
    if order.mode == "full":
        return (
            f"{order.project_id} starts over at intake with a fresh state.json and no dead letters; the log is kept, "
            f"the old files are in {saved}."
        )
    return f"{order.project_id} is set to retry {order.stage}; the state before is in {saved}."


def _backup_of(project: Project, order: Order) -> Path | None:
    return next(iter(sorted(project.directory.glob(f"state.json.backup.*.{order.mark}"))), None)


def _archive_of(root: Path, order: Order) -> Path | None:
    folder = root / ".somas" / "projects" / ARCHIVE
    return next(iter(sorted(folder.glob(f"{order.project_id}.*.{order.mark}"))), None)


def _lines(events: list[dict[str, object]]) -> str:
    return "".join(encode_event(event) for event in events)


def _ids() -> tuple[str, str]:
    return str(uuid.uuid4()), str(uuid.uuid4())


def _relative(root: Path, path: Path) -> str:
    return str(path.relative_to(root))
