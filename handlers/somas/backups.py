"""``/somas backups project-103``: every copy of a project's files, what it is worth, and making one.

Upstream writes no backup, ever. This bot makes one before each change: ``state.json.backup.<time>.<operation>``, the
same for the other two files, and ``state.json.backup`` for those who look for that name.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from handlers.somas.decode import instant
from handlers.somas.locks import replace
from handlers.somas.projects import ARCHIVE, Backup, Project, projects_folder
from handlers.somas.state import DeadLetterFile, decode_dead_letters, decode_state, read_bytes
from handlers.somas.transitions import decode_log

Kind = Literal["state.json", "dead_letters.json", "transitions.jsonl", "purged letters"]
PURGED = "dead_letters.archive"
_NAME = re.compile(
    r"(?:(state\.json|dead_letters\.json|transitions\.jsonl)\.backup|dead_letters\.archive)[\w.\-]*", re.ASCII
)
MOST = 200  # copies of one project that are looked at, the newest


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy: what it is of, when the file was written, and in one phrase what it holds (``problem``: why not).

    ``taken`` is when the state in it was the present one. A file's own time says less: a checkout, an rsync or a ``cp``
    of an old backup makes it new.
    """

    name: str
    kind: Kind
    written: datetime
    size: int
    holds: str = ""
    problem: str = ""
    taken: datetime | None = None

    @property
    def at(self) -> datetime:
        return self.taken or self.written


def compact_time(at: datetime) -> str:
    """``20261122T120000Z``: for file names."""
    return at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def backup_name(name: str, at: datetime, mark: str) -> str:
    return f"{name}.backup.{compact_time(at)}.{mark}"


def is_copy(name: str) -> bool:
    """Whether this can be the name of a copy: nothing that leads out of the folder can."""
    return _NAME.fullmatch(name) is not None


def kind_of(name: str) -> Kind:
    found = _NAME.fullmatch(name)
    if found is None:
        raise ValueError(f"{name} is no copy")
    return "purged letters" if found[1] is None else found[1]  # type: ignore[return-value]  # one of the three


def save(project: Project, names: Iterable[str], at: datetime, mark: str) -> list[Path]:
    """Copy these files of the project, under its locks; those that are missing are left out. Raises ``OSError``."""
    made: list[Path] = []
    try:
        for name in names:
            data = read_bytes(project.directory / name, follow=False)
            if not isinstance(data, bytes):
                continue
            copy = project.directory / backup_name(name, at, mark)
            if not copy.exists():
                replace(copy, data)
                made.append(copy)
            if name == "state.json" and project.file.condition == "ok":
                keep_older_backup(project)
                replace(project.directory / "state.json.backup", data)
    except OSError:
        for copy in made:
            with contextlib.suppress(OSError):
                copy.unlink(missing_ok=True)
        raise
    return made


def keep_older_backup(project: Project) -> None:
    """The plain state.json.backup may be somebody's only copy: give it a dated name too before it is written over."""
    plain = project.directory / "state.json.backup"
    data = read_bytes(plain, follow=False)
    dated = [
        read_bytes(project.directory / backup.name, follow=False)
        for backup in project.backups
        if backup.name != plain.name
    ]
    if not isinstance(data, bytes) or data in dated:
        return
    at = compact_time(datetime.fromtimestamp(plain.stat().st_mtime, UTC))
    digest = hashlib.sha256(data).hexdigest()[:8]
    with contextlib.suppress(FileExistsError):
        os.link(plain, plain.with_name(f"{plain.name}.{at}.{digest}"))


def copies(directory: Path, project_id: str) -> list[Copy]:
    """Every copy in the project's folder, the one that holds the newest first. Blocking. Never raises."""
    found: list[tuple[float, Path]] = []
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if is_copy(entry.name) and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(OSError):
                    found.append((entry.stat().st_mtime, Path(entry.path)))
    found.sort(key=lambda pair: (pair[0], pair[1].name), reverse=True)
    read = [_copy(path, at, project_id) for at, path in found[:MOST]]
    return sorted(read, key=lambda copy: copy.at, reverse=True)  # of those that hold the same the last one written


def archives(root: Path, project_id: str) -> list[Path]:
    """The folders of earlier lives: what full restarts have put aside, and what people have by the runbook's ``mv``."""
    folder = projects_folder(root)
    found = [*folder.glob(f"{ARCHIVE}/{project_id}.*"), *folder.glob(f"{project_id}.backup.*")]
    return sorted(path for path in found if path.is_dir())


def as_backup(directory: Path, name: str, project_id: str) -> Backup | None:
    """A copy of state.json, read; None when there is none of this name."""
    data = read_bytes(directory / name, follow=False)
    return Backup(name, decode_state(data, project_id)) if isinstance(data, bytes) else None


def letters_of(directory: Path, name: str, project_id: str) -> DeadLetterFile | None:
    """A copy or an archive of dead letters, read; None when there is none of this name."""
    data = read_bytes(directory / name, follow=False)
    return decode_dead_letters(data, project_id) if isinstance(data, bytes) else None


def _copy(path: Path, at: float, project_id: str) -> Copy:
    kind = kind_of(path.name)
    written = datetime.fromtimestamp(at, UTC)
    data = read_bytes(path, follow=False)
    if not isinstance(data, bytes):
        return Copy(path.name, kind, written, 0, problem=data or "is missing")
    size = len(data)
    if kind == "state.json":
        file = decode_state(data, project_id)
        if file.state is None:
            return Copy(path.name, kind, written, size, problem=file.problem)
        taken = instant(file.state.raw.get("updated_at"))
        return Copy(path.name, kind, written, size, f"{file.state.status} at {file.state.current_stage}", taken=taken)
    if kind == "transitions.jsonl":
        log = decode_log(data)
        broken = f", {log.bad_lines} broken lines" if log.bad_lines else ""
        return Copy(path.name, kind, written, size, f"{len(log.events)} events{broken}")
    letters = decode_dead_letters(data, project_id)
    if letters.condition != "ok":
        return Copy(path.name, kind, written, size, problem=letters.problem)
    return Copy(path.name, kind, written, size, f"{len(letters.entries)} dead letters, {letters.open} open")
