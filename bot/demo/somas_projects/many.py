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

_FRAMES = (
    ("runner", "run_task", "result = await self.execute(task, provider, timeout=limits.stage_timeout)"),
    ("core/executor", "execute", "return await asyncio.wait_for(provider.complete(prompt), timeout)"),
    ("providers/base", "complete", "response = await self._post(self.endpoint, payload, retries=self.max_retries)"),
    ("providers/http", "_post", "raise self._error_of(response) from last"),
)


def generate_many(root: Path, count: int, now: datetime, seed: int = 7) -> None:
    """Write ``count`` projects, project-1 and on, none of them damaged: what a year of SOMAS leaves.

    A third is through, most were given up on the way; some run since yesterday, have failed or wait for a person. A
    state.json has 3 to 9 kB, a project 25 log entries and 2 dead letters on average, each with a traceback.
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
    through = rng.random() < 0.3
    stages = len(STAGES) if through else rng.choice((1, 2, 3, 4, 5, 6, 7, 8))
    given_up = not through and rng.random() < 0.85
    age = rng.uniform(30, 8000) if through or given_up else rng.uniform(14, 30)
    writer = ProjectWriter(root, name, now - timedelta(hours=age), rng)
    writer.initialize_project(900_000_000 + number, f"Project {number}")
    ends_badly = not through and rng.random() < 0.05
    for stage in STAGES[:stages]:
        writer.now += timedelta(hours=rng.uniform(0.05, 0.4))
        writer.start_stage(stage, AGENTS[stage])
        for _ in range(rng.choice((0, 0, 0, 0, 0, 0, 1, 2))):
            writer.now += timedelta(hours=rng.uniform(0.05, 0.4))
            writer.fail_stage(stage, _error(rng, writer.now, stage))
            writer.start_stage(stage, AGENTS[stage])
        writer.now += timedelta(hours=rng.uniform(0.05, 0.7))
        if ends_badly and stage == STAGES[stages - 1]:
            writer.fail_stage(stage, _error(rng, writer.now, stage))
            return _files(name, writer)
        writer.complete_stage(stage, [ARTIFACTS[stage]])
    if given_up:
        writer.update_state(status="cancelled")
    elif not through and rng.random() < 0.1:
        writer.update_state(status="waiting")
    elif not through:
        writer.start_stage(STAGES[stages], AGENTS[STAGES[stages]])
    return _files(name, writer)


def _error(rng: random.Random, at: datetime, stage: str) -> dict[str, str]:
    """As the runner gives it on."""
    kind, message = rng.choice(_ERRORS)
    frames = "".join(
        f'  File "/opt/somas/somas/{place}.py", line {rng.randint(20, 900)}, in {function}\n    {code}\n'
        for place, function, code in _FRAMES
    )
    trace = f"Traceback (most recent call last):\n{frames}{kind}: {message}\n"
    return {"type": kind, "message": message, "traceback": trace, "timestamp": at.isoformat(), "task": f"run_{stage}"}


def _files(name: str, writer: ProjectWriter) -> tuple[bytes, dict[str, bytes]]:
    return name.encode(), {key: value.encode() for key, value in writer.texts().items()}
