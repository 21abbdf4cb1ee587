"""``project-42``: which names are projects, which exist, and everything that can be read of one."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Literal

from bot.errors import Unavailable, UserError
from handlers.somas.config import Config
from handlers.somas.decode import clean
from handlers.somas.rebuild import number_of, rebuild
from handlers.somas.state import (
    DeadLetterFile,
    State,
    StateFile,
    decode_state,
    read_bytes,
    read_dead_letters,
    read_state,
)
from handlers.somas.tally import Tally, tally
from handlers.somas.transitions import Log, read_log

# fullmatch, ASCII only: upstream's own pattern lets a trailing newline, foreign digits and leading zeros through.
_PROJECT = re.compile(r"project-[1-9][0-9]{0,17}", re.ASCII)
_NUMBER = re.compile(r"#?([1-9][0-9]{0,17})", re.ASCII)
DATA_FILES = ("state.json", "dead_letters.json", "transitions.jsonl")
ARCHIVE = ".archive"  # below projects/: the dot keeps it out of every */state.json


def is_project(name: str) -> bool:
    return _PROJECT.fullmatch(name) is not None


def project_argument(text: str) -> str:
    """What a person typed as a project: ``project-42``, ``42`` or ``#42``. Raises ``UserError`` for anything else."""
    typed = text.strip(" ")
    if is_project(typed):
        return typed
    if number := _NUMBER.fullmatch(typed):
        return f"project-{number[1]}"
    shown = clean(typed[:60]).encode("unicode_escape").decode("ascii")
    raise UserError(
        f"{shown!r} cannot be a project. A project is called project-<number>, without leading zeros, like project-42; "
        "the number alone is enough."
    )


def projects_folder(root: Path) -> Path:
    return root / ".somas" / "projects"


def project_directory(root: Path, project_id: str) -> Path:
    """The folder of a project whose name was checked; checked again, because paths are made of it."""
    if not is_project(project_id):
        raise UserError(f"{clean(project_id[:60])!r} cannot be a project.")
    return projects_folder(root) / project_id


def list_projects(root: Path) -> list[str]:
    """Every project with at least one of its three files, by number; no archive, not the system project.

    Raises ``Unavailable`` when the folder cannot be read.
    """
    folder = projects_folder(root)
    return sorted((name for name in project_names(root) if exists(folder / name)), key=number_of)


def project_names(root: Path) -> list[str]:
    """What is called like a project, in no order. Raises ``Unavailable`` when the folder cannot be read."""
    folder = projects_folder(root)
    try:
        return [name for name in os.listdir(folder) if is_project(name)]  # noqa: PTH208 ten thousand Paths cost more
    except OSError as error:
        raise _cannot_be_read(folder, error) from None


def open_folder(folder: Path) -> int:
    """A descriptor of the projects' folder. Raises ``Unavailable``."""
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _cannot_be_read(folder, error) from None


def _cannot_be_read(folder: Path, error: OSError) -> Unavailable:
    return Unavailable(
        f"SOMAS: {folder} cannot be read ({error.strerror}). Check that the disk is mounted and that the bot's "
        "user may read it; the folder is set by root in the section [somas]."
    )


def exists(directory: Path) -> bool:
    """A folder without any of the three files is no project: upstream leaves such after a mistyped id."""
    for name in DATA_FILES:
        try:
            if (directory / name).exists():
                return True
        except OSError:  # it is there and cannot be looked into: let the reading say so
            return True
    return False


def no_such_project(project_id: str) -> UserError:
    return UserError(
        f"No such project: {project_id} has no local state. SOMAS keeps state only on the disk where it runs; an issue "
        "or a workflow run of this number may exist on GitHub all the same. /somas status lists the projects here.",
        suggestions=("/somas status",),
    )


@dataclass(frozen=True)
class Backup:
    """A ``state.json.backup*`` beside the state."""

    name: str
    file: StateFile

    @property
    def updated_at(self) -> datetime | None:
        return self.file.state.updated_at if self.file.state else None


Source = Literal["state.json", "rebuilt from transitions.jsonl", "unknown"]


@dataclass(frozen=True)
class Project:
    """One project as it stands on the disk at one moment."""

    id: str
    directory: Path
    file: StateFile
    letters: DeadLetterFile
    log: Log
    config: Config
    backups: tuple[Backup, ...] = ()
    counts: Tally | None = None  # of a log that is too large to be read whole: the scan counts it line by line

    @cached_property
    def tally(self) -> Tally:
        """What is counted in the log."""
        return self.counts or tally(self.log.events, self.log.bad_lines)

    @cached_property
    def rebuilt(self) -> State | None:
        raw = rebuild(self.id, self.log.events, self.letters.by_id(), self.config.max_checkpoints)
        return State(raw) if raw is not None else None

    @cached_property
    def state(self) -> State | None:
        """state.json when it is valid, else what the log leads to, else nothing."""
        return self.file.state or self.rebuilt

    @property
    def source(self) -> Source:
        if self.file.state:
            return "state.json"
        return "rebuilt from transitions.jsonl" if self.state else "unknown"

    @property
    def never_advanced(self) -> bool:
        """Agents finished according to the log, and state.json never moved: what upstream's own runner leaves."""
        if not self.state or self.state.status != "initializing":
            return False
        return any(event.type == "agent_completed" for event in self.log.epoch())

    @property
    def damage(self) -> list[str]:
        """What is wrong with the files, one phrase each: ``state.json is empty``."""
        found = []
        if self.file.condition != "ok":
            found.append(f"state.json {self.file.problem}")
        if self.letters.condition != "ok" or self.letters.malformed:
            found.append(f"dead_letters.json {self.letters.problem}")
        if self.log.condition != "ok":
            found.append(f"transitions.jsonl {self.log.problem}")
        elif self.log.bad_lines:
            lines = "1 broken line" if self.log.bad_lines == 1 else f"{self.log.bad_lines} broken lines"
            found.append(f"transitions.jsonl has {lines}")
        elif not self.log.events:
            found.append("transitions.jsonl is empty")
        return found


def read_project(root: Path, project_id: str, config: Config) -> Project:
    """Everything of one project. Blocking; takes no lock. Raises ``UserError`` when there is no such project."""
    directory = project_directory(root, project_id)
    if not exists(directory):
        raise no_such_project(project_id)
    return Project(
        id=project_id,
        directory=directory,
        file=read_state(directory, project_id),
        letters=read_dead_letters(directory, project_id),
        log=read_log(directory),
        config=config,
        backups=tuple(_backups(directory, project_id)),
    )


def read_all(root: Path, config: Config) -> list[Project]:
    """Every project, by number. Blocking. A project that disappears meanwhile is left out."""
    found = []
    for name in list_projects(root):
        try:
            found.append(read_project(root, name, config))
        except UserError:
            continue
    return found


def _backups(directory: Path, project_id: str) -> list[Backup]:
    """All of them: the runbook's ``*.backup`` misses the dated ones."""
    try:
        names = sorted(entry.name for entry in directory.iterdir() if entry.name.startswith("state.json.backup"))
    except OSError:
        return []
    backups = []
    for name in names[-50:]:
        data = read_bytes(directory / name)
        file = decode_state(data, project_id) if isinstance(data, bytes) else StateFile("damaged", data or "is missing")
        backups.append(Backup(name, file))
    return backups
