"""``/somas agent coder``: an agent's file, its provider, what it did last, and why it may be silent."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from bot.errors import UserError
from handlers.somas.config import decoded
from handlers.somas.decode import brief, items, mapping, text
from handlers.somas.projects import project_directory
from handlers.somas.state import read_bytes
from handlers.somas.tail import Query, last_events
from handlers.somas.transitions import Event

FOLDER = Path(".somas/agents")
KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "SOMAS_PAT")  # secrets that upstream's workflows use
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,59}", re.ASCII)
_LARGEST = 1_000_000
SHOWN = 60  # lines of the file
LOOKED_AT = 1000  # projects, those with the latest events: an agent that did nothing there has been silent for long


@dataclass(frozen=True, slots=True)
class Agent:
    """``problem`` says why the file cannot be used; ``settings`` is agents.agent_configs.<name> of config.yml."""

    name: str
    document: str
    problem: str
    settings: dict[str, Any]
    fallbacks: tuple[str, ...]

    @property
    def provider(self) -> str:
        return text(self.settings.get("provider"))


@dataclass(frozen=True, slots=True)
class Did:
    """One event of an agent, in whose log."""

    project: str
    event: Event


def agent_names(root: Path, checkout: Path | None = None) -> list[str]:
    """Those that have a file, and those of agents.agent_configs in config.yml."""
    configured = {text(name) for name in _configs(_config(root))}
    return sorted({*agent_files(root, checkout), *(name for name in configured if _NAME.fullmatch(name))})


def agent_files(root: Path, checkout: Path | None = None) -> list[str]:
    """Those that have a file; the shared base is none."""
    try:
        return sorted(each.stem for each in _folder(root, checkout).glob("*.y*ml") if _NAME.fullmatch(each.stem))
    except OSError:
        return []


def _folder(root: Path, checkout: Path | None) -> Path:
    """Where the agents' files are. The disk on which SOMAS keeps its state need not hold its repository, too."""
    if checkout is not None and not (root / FOLDER).is_dir():
        return checkout / FOLDER
    return root / FOLDER


def _config(root: Path) -> dict[str, Any]:
    data = read_bytes(root / ".somas/config.yml", _LARGEST)
    try:
        return mapping(decoded(data)) if isinstance(data, bytes) else {}
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}


def _configs(config: dict[str, Any]) -> dict[str, Any]:
    return mapping(mapping(config.get("agents")).get("agent_configs"))


def agent_argument(typed: str) -> str:
    """What a person typed as an agent. Raises ``UserError`` for what can never be one, a path above all."""
    name = typed.strip().lower().removesuffix(".yml")
    if not _NAME.fullmatch(name):
        raise UserError(f"{brief(typed, 60)!r} cannot be an agent. An agent is called by its file: coder, tester.")
    return name


def read_agent(root: Path, name: str, checkout: Path | None = None) -> Agent:
    """The file of one of ``agent_names``, judged; and what config.yml says about it."""
    folder = _folder(root, checkout)
    data = _inside(folder.parents[1], FOLDER / f"{name}.yml")
    problem, document = "", ""
    if data is None:
        problem = f"{FOLDER}/{name}.yml is missing"
        if not folder.is_dir():
            problem = (
                f"{FOLDER} is not in {root}, so its file cannot be looked at: set repository_path in the section "
                "[somas] to a checkout of SOMAS's repository"
            )
    elif isinstance(data, str):
        problem = f"{FOLDER}/{name}.yml {data}"
    else:
        document = data.decode("utf-8", "replace")
        try:
            loaded = decoded(data)
            problem = "" if isinstance(loaded, dict) else f"{FOLDER}/{name}.yml is not a mapping"
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            mark = getattr(error, "problem_mark", None)
            at = f" in line {mark.line + 1}" if mark else ""
            problem = f"{FOLDER}/{name}.yml is not YAML{at}: {getattr(error, 'problem', '') or type(error).__name__}"
    known = _config(root)
    settings = mapping(_configs(known).get(name))
    fallback = mapping(mapping(known.get("error_handling")).get("fallback_agents")).get(name)
    names = [fallback] if isinstance(fallback, str) else [each for each in items(fallback) if isinstance(each, str)]
    return Agent(name, document, problem, settings, tuple(names))


def _inside(root: Path, name: Path) -> bytes | str | None:
    """``read_bytes`` for a file that is shown as it is: it comes with the repository, and links can come with it."""
    if not Path(os.path.realpath(root / name)).is_relative_to(os.path.realpath(root)):
        return "is a link that leads out of SOMAS's folder, which is not followed"
    return read_bytes(root / name, _LARGEST)


def what_it_did(root: Path, projects: Iterable[tuple[datetime, str]], name: str, most: int = 10) -> list[Did]:
    """Its last events over all projects, newest first. Each log is read from its end; blocking.

    ``projects``: each with the time of its last event. The one with the latest is read first, and none any more as soon
    as ``most`` events are known that are later than all of its.
    """
    found: list[Did] = []
    for last, project in sorted(projects, reverse=True)[:LOOKED_AT]:
        if len(found) == most and _at(found[-1]) >= last.timestamp():
            break
        events = last_events(project_directory(root, project), most, Query(agent=name)).events
        found = sorted([*found, *(Did(project, event) for event in events)], key=_at, reverse=True)[:most]
    return found


def _at(did: Did) -> float:
    return did.event.at.timestamp() if did.event.at else 0.0


def did_line(did: Did, now: datetime) -> str:
    """``project-42 agent_failed at verify, 2026-11-22 11:00 UTC: Coverage is 71.4 %``."""
    event = did.event
    at = f"{event.at:%Y-%m-%d %H:%M} UTC" if event.at else "at an unknown time"
    error = f": {brief(event.message, 120)}" if event.message else ""
    return f"{did.project} {brief(event.type, 40)} at {brief(event.stage, 40) or 'no stage'}, {at}{error}"
