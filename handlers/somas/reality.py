"""What is really there, for ``opsbot runbook verify``: SOMAS's projects, configuration and repository. Blocking."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice, zip_longest
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import yaml

from bot.errors import Unavailable, UserError
from bot.words import counted
from handlers.somas.config import Config, decoded
from handlers.somas.decode import mapping
from handlers.somas.handler import Somas
from handlers.somas.projects import Project, list_projects, project_directory, read_project
from handlers.somas.repository import Repository, checkout_of, read_checkout, read_github
from handlers.somas.state import read_bytes
from handlers.somas.summary import Summary

CONFIG = ".somas/config.yml"
MOST = 300  # projects that are read whole; that a name exists or a filter fits is seen on a few


@dataclass(frozen=True)
class Reality:
    """Everything that was read for one document. ``unknown``: why there is no ``repository``."""

    projects: Sequence[Project]
    config: Mapping[str, Any] | None
    repository: Repository | None
    unknown: str
    files: Callable[[str], Sequence[tuple[str, bytes]]]  # by name below a project: project-42/state.json, its bytes
    of: int = 0  # how many projects there are; of very many only ``projects`` were read

    @property
    def looked_at(self) -> str:
        """``14 projects``, ``300 of 10000 projects``: what a sentence about all of them is about."""
        said = counted(len(self.projects), "project")
        return f"{said[: said.index(' ')]} of {counted(self.of, 'project')}" if self.of > len(self.projects) else said


@dataclass
class _Read:
    """What was read of one SOMAS and when, so that thirty documents in a row do not read it thirty times."""

    lock: Lock = field(default_factory=Lock)
    projects: tuple[datetime, Sequence[Project], int] | None = None
    repository: tuple[datetime, Repository] | None = None


_READ: WeakKeyDictionary[Somas, _Read] = WeakKeyDictionary()
_FRESH_FILES, _FRESH_GITHUB = timedelta(seconds=5), timedelta(seconds=60)


def read_reality(handler: Somas, with_repository: bool) -> Reality:
    """Read everything now. Raises ``Unavailable`` when the projects cannot be read; a repository may be missing."""
    repository, unknown = None, "there is no checkout (repository_path in [somas]) and GitHub is not configured"
    read = _READ.setdefault(handler, _Read())
    with read.lock:
        projects, of = _projects(handler, read)
        try:
            repository = _repository(handler, read) if with_repository else None
        except Unavailable as error:
            unknown = error.message
    return Reality(projects, _config(handler.root), repository, unknown, _files(handler.root, projects), of)


def _projects(handler: Somas, read: _Read) -> tuple[Sequence[Project], int]:
    """Those that are compared with a document, whole, and how many there are."""
    now = handler.services.clock.now()
    if read.projects is None or now - read.projects[0] >= _FRESH_FILES:
        config = handler.config()
        names = list_projects(handler.root)  # raises when the folder cannot be read
        chosen = names if len(names) <= MOST else of_each_kind(handler.scan.all(config, now))
        read.projects = (
            now,
            [project for name in chosen if (project := _whole(handler.root, name, config))],
            len(names),
        )
    return read.projects[1], read.projects[2]


def of_each_kind(projects: Iterable[Summary]) -> list[str]:
    """``MOST`` names, in turn one of each status: together they show every shape that the files have."""
    by_status: dict[str, list[str]] = {}
    for project in projects:
        status = project.state.effective_status if project.state else "unreadable"
        by_status.setdefault(status, []).append(project.id)
    rounds = (name for turn in zip_longest(*by_status.values()) for name in turn if name)
    return list(islice(rounds, MOST))


def _whole(root: Path, name: str, config: Config) -> Project | None:
    try:
        return read_project(root, name, config)
    except UserError:  # it has gone meanwhile
        return None


def _repository(handler: Somas, read: _Read) -> Repository | None:
    folder = checkout_of(handler.root, handler.settings.repository_path)
    if folder is not None:
        return read_checkout(folder)
    get = handler.services.github_get
    if get is None:
        return None
    now = handler.services.clock.now()
    if read.repository is None or now - read.repository[0] >= _FRESH_GITHUB:
        read.repository = (now, read_github(get, handler.repository))
    return read.repository[1]


def _config(root: Path) -> Mapping[str, Any] | None:
    try:
        data = read_bytes(root / CONFIG)
        return mapping(decoded(data)) if isinstance(data, bytes) else None
    except (yaml.YAMLError, ValueError, RecursionError):
        return None


def _files(root: Path, projects: Sequence[Project]) -> Callable[[str], Sequence[tuple[str, bytes]]]:
    def read(name: str) -> Sequence[tuple[str, bytes]]:
        found = []
        for project in projects:
            data = read_bytes(project_directory(root, project.id) / name, follow=False)
            if isinstance(data, bytes):
                found.append((f"{project.id}/{name}", data))
        return found

    return read
