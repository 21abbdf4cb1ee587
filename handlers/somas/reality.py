"""What is really there, for ``opsbot runbook verify``: SOMAS's projects, configuration and repository. Blocking."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import yaml

from bot.errors import Unavailable
from handlers.somas.config import decoded, read_config
from handlers.somas.decode import mapping
from handlers.somas.handler import Somas
from handlers.somas.projects import Project, list_projects, project_directory, read_all
from handlers.somas.repository import Repository, checkout_of, read_checkout, read_github
from handlers.somas.state import read_bytes

CONFIG = ".somas/config.yml"


@dataclass(frozen=True)
class Reality:
    """Everything that was read for one document. ``unknown``: why there is no ``repository``."""

    projects: Sequence[Project]
    config: Mapping[str, Any] | None
    repository: Repository | None
    unknown: str
    files: Callable[[str], Sequence[tuple[str, bytes]]]  # by name below a project: project-42/state.json, its bytes


@dataclass
class _Read:
    """What was read of one SOMAS and when, so that thirty documents in a row do not read it thirty times."""

    lock: Lock = field(default_factory=Lock)
    projects: tuple[datetime, Sequence[Project]] | None = None
    repository: tuple[datetime, Repository] | None = None


_READ: WeakKeyDictionary[Somas, _Read] = WeakKeyDictionary()
_FRESH_FILES, _FRESH_GITHUB = timedelta(seconds=5), timedelta(seconds=60)


def read_reality(handler: Somas, with_repository: bool) -> Reality:
    """Read everything now. Raises ``Unavailable`` when the projects cannot be read; a repository may be missing."""
    repository, unknown = None, "there is no checkout (repository_path in [somas]) and GitHub is not configured"
    read = _READ.setdefault(handler, _Read())
    with read.lock:
        projects = _projects(handler, read)
        try:
            repository = _repository(handler, read) if with_repository else None
        except Unavailable as error:
            unknown = error.message
    return Reality(projects, _config(handler.root), repository, unknown, _files(handler.root, projects))


def _projects(handler: Somas, read: _Read) -> Sequence[Project]:
    now = handler.services.clock.now()
    if read.projects is None or now - read.projects[0] >= _FRESH_FILES:
        found = read_all(handler.root, read_config(handler.root))
        if not found:
            list_projects(handler.root)  # raises when the folder is what cannot be read
        read.projects = (now, found)
    return read.projects[1]


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
