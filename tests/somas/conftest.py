"""A SOMAS root for each test: the sample data set (read-only), a writable copy of it, or freshly made projects."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest

from bot.clock import ManualClock
from bot.commands.registry import CommandContext
from bot.demo.somas_projects import generate
from bot.handler import ActionContext, Services, Target
from bot.incoming import Actor, Place
from bot.runbooks.document import parse_document
from handlers.somas import Somas, SomasSettings, product

T = TypeVar("T")
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)  # the sample's fixed time
SAMPLE = Path(__file__).parents[3] / "shared" / "upstream" / "somas-sample"


@pytest.fixture(scope="session")
def sample() -> Path:
    """The sample data set beside the project, never written to."""
    return sample_folder()


def sample_folder() -> Path:
    """The same for a test that copies it; skips, or under CI fails, where it is not there."""
    if not SAMPLE.is_dir():
        message = f"the SOMAS sample data set is not there: {SAMPLE.name} is expected beside the project"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return SAMPLE


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Freshly made projects of every kind, which a test may change."""
    target = tmp_path / "somas"
    generate(target, NOW)
    return target


async def run_blocking(function: Callable[..., T], /, *arguments: Any) -> T:
    return await asyncio.to_thread(function, *arguments)


def connected(root: Path, now: datetime = NOW, **settings: Any) -> Somas:
    return Somas(SomasSettings(root=root, **settings), Services(ManualClock(now), run_blocking))


def asking(handler: Somas) -> CommandContext:
    """A command's context, with the runbooks of the product."""
    folder = product.runbooks
    assert folder is not None
    runbooks = {
        runbook.id: runbook
        for file in sorted(folder.glob("*.md"))
        for runbook in parse_document(file.read_text(), file.name, "somas")
    }
    actor = Actor(surface="slack", id="U0ALICE")
    return CommandContext(actor, Place(surface="slack", channel="C0OPS"), handler.services.clock, handler, runbooks)


def acting(handler: Somas, project: str, operation: str = "op-1", **inputs: str) -> ActionContext:
    return ActionContext(
        target=Target(product="somas", kind="project", name=project),
        arguments={},
        inputs=inputs,
        actor="slack:U0ALICE",
        reason="the flaky test is fixed",
        run_id="01RUN",
        operation_id=operation,
        clock=handler.services.clock,
        deadline=None,
    )


@dataclass(frozen=True)
class Files:
    """All files of a project at one moment, to see that nothing changed."""

    contents: dict[str, bytes]

    @classmethod
    def of(cls, directory: Path) -> Files:
        return cls(
            {
                str(path.relative_to(directory)): path.read_bytes()
                for path in sorted(directory.rglob("*"))
                if path.is_file() and not path.name.endswith(".lock")
            }
        )
