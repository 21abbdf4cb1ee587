"""A bot that dies between the dispatch and its answer: what it finds out afterwards, over the local GitHub."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.breakers import Breaker
from bot.clock import ManualClock
from bot.demo.github import LocalGitHub
from bot.errors import NotNow
from bot.handler import ActionContext, Services
from bot.settings import GitHubSettings
from bot.surfaces.github.calls import RepositoryCalls
from bot.surfaces.github.connection import Connection
from bot.surfaces.github.limiter import WriteLimiter
from handlers.somas import Somas, SomasSettings
from handlers.somas.dispatch import check_dispatch, dispatch
from handlers.somas.github import patiently
from tests.somas.conftest import NOW, acting, run_blocking
from tests.somas.local_repository import add_workflows, give_rights

PIPELINE = "somas-pipeline.yml"


class Desk:
    """A connected handler, its GitHub and its clock."""

    def __init__(self, github: LocalGitHub, clock: ManualClock, root: Path) -> None:
        settings = GitHubSettings(api_url=github.api_url, repository=github.repository, token=SecretStr(github.token))
        self.connection = Connection(settings, Breaker("GitHub", clock))
        api = RepositoryCalls(settings, self.connection, WriteLimiter(clock), clock=clock, run_blocking=run_blocking)
        self.github, self.clock = github, clock
        self.handler = Somas(SomasSettings(root=root), Services(clock, run_blocking, settings, github_api=api))

    def context(self) -> ActionContext:
        return acting(self.handler, "project-42", stage="verify")

    async def intend(self, newest: int) -> None:
        """What the bot remembers before it sends."""
        intent = {"workflow": PIPELINE, "ref": "main", "newest": newest, "at": "2026-11-22T12:00:00Z"}
        await self.handler.memory.remember("dispatch op-1", json.dumps(intent))


@pytest.fixture
async def desk(root: Path) -> AsyncIterator[Desk]:
    clock = ManualClock(NOW)
    async with LocalGitHub(clock=clock) as github:
        give_rights(github)
        github.issue("Webhook relay", number=42)
        add_workflows(github)
        made = Desk(github, clock, root)
        yield made
        made.connection.close()


def dispatched(github: LocalGitHub) -> Any:
    run = github.start_run(PIPELINE, by="opsbot")
    run.event = "workflow_dispatch"
    return run


async def test_what_was_never_intended_never_happened(desk: Desk) -> None:
    assert await check_dispatch(desk.handler, desk.context()) is None


async def test_the_one_new_run_is_ours_and_is_followed(desk: Desk) -> None:
    old = dispatched(desk.github)
    await desk.intend(old.id)
    run = dispatched(desk.github)
    found = await check_dispatch(desk.handler, desk.context())
    assert found is not None and found.status == "done"
    assert {fact.name: fact.value for fact in found.observations}["workflow_run.id"] == run.id
    followed = await desk.handler.followed("project-42")
    assert followed is not None and followed.id == run.id


async def test_two_new_runs_are_left_to_a_person(desk: Desk) -> None:
    await desk.intend(0)
    dispatched(desk.github), dispatched(desk.github)
    found = await check_dispatch(desk.handler, desk.context())
    assert found is not None and found.status == "uncertain"
    assert "nobody can tell which is ours" in found.summary


async def test_a_minute_later_without_a_run_it_was_never_sent(desk: Desk) -> None:
    await desk.intend(0)
    await desk.clock.advance(61)
    assert await check_dispatch(desk.handler, desk.context()) is None


async def test_an_older_github_that_tells_no_id_is_searched(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """GitHub Enterprise Server answers 204 without details: the new run is found in the list."""
    github = desk.handler.on_github()
    send = github.dispatch

    async def without_details(*arguments: Any) -> int:
        await send(*arguments)
        return 0

    monkeypatch.setattr(github, "dispatch", without_details)
    dispatched(desk.github)
    result = await dispatch(desk.handler, desk.context())
    newest = desk.github.runs(PIPELINE)[-1]
    assert {fact.name: fact.value for fact in result.observations}["workflow_run.id"] == newest.id


async def test_patience_ends_with_the_steps_time_and_never_with_a_change_in_doubt(desk: Desk) -> None:
    tries: list[int] = []

    async def busy() -> None:
        tries.append(1)
        raise NotNow("GitHub asks to wait", 30.0)

    deadline = replace(desk.context(), deadline=desk.clock.now())
    with pytest.raises(NotNow):
        await patiently(deadline, busy)

    async def in_doubt() -> None:
        tries.append(1)
        raise NotNow("no answer", 1.0, maybe_done=True)

    with pytest.raises(NotNow):
        await patiently(desk.context(), in_doubt)
    assert len(tries) == 2
