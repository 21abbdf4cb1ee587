"""Ten thousand projects for measurements: real histories, made once each and then written again under other names."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from pathlib import Path

from bot.demo.somas_projects.kinds import AGENTS, ARTIFACTS, configuration
from bot.demo.somas_projects.writer import STAGES, ProjectWriter

DIFFERENT = 200  # histories; the others are copies of them
_ERRORS = (
    ("ValidationError", "3 tests failed in tests/test_relay.py"),
    ("RateLimitError", "the provider answered 429, and again after the third try"),
    ("TimeoutError", "The stage did not finish in time"),
)


def generate_many(root: Path, count: int, now: datetime, seed: int = 7) -> None:
    """Write ``count`` projects, project-1 and on, of up to six days' age, none of them damaged.

    A state.json has 3 to 9 kB, a project 25 log entries and 2 dead letters on average: what a year of SOMAS leaves.
    Raises ``FileExistsError`` when the configuration is there already.
    """
    projects = root / ".somas" / "projects"
    projects.mkdir(parents=True, exist_ok=True)
    configuration(root)
    histories = [_history(root, number, now, seed) for number in range(min(count, DIFFERENT))]
    for number in range(1, count + 1):
        folder = projects / f"project-{number}"
        folder.mkdir()
        old, files = histories[(number - 1) % len(histories)]
        for name, data in files.items():
            (folder / name).write_bytes(data.replace(old, b"project-%d" % number))


def _history(root: Path, number: int, now: datetime, seed: int) -> tuple[bytes, dict[str, bytes]]:
    rng = random.Random(f"{seed}:{number}")  # noqa: S311 a demo, no secrets
    name = f"project-{900_000_000 + number}"
    writer = ProjectWriter(root, name, now - timedelta(hours=rng.uniform(1, 140)), rng)
    writer.initialize_project(900_000_000 + number, f"Project {number}")
    for stage in STAGES[: rng.choice((1, 3, 4, 5, 6, 8, 11, 11))]:
        writer.now += timedelta(hours=rng.uniform(0.05, 1))
        writer.start_stage(stage, AGENTS[stage])
        for _ in range(rng.choice((0, 0, 0, 0, 1, 2))):
            writer.now += timedelta(hours=rng.uniform(0.05, 0.5))
            kind, message = rng.choice(_ERRORS)
            writer.fail_stage(stage, {"type": kind, "message": message})
            if rng.random() < 0.2:
                return _files(name, writer)
            writer.start_stage(stage, AGENTS[stage])
        writer.now += timedelta(hours=rng.uniform(0.05, 1))
        writer.complete_stage(stage, [ARTIFACTS[stage]])
    if rng.random() < 0.1:
        writer.update_state(status="waiting")
    return _files(name, writer)


def _files(name: str, writer: ProjectWriter) -> tuple[bytes, dict[str, bytes]]:
    return name.encode(), {key: value.encode() for key, value in writer.texts().items()}
