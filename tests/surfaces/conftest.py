"""Fixtures of the surfaces' tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydantic import SecretStr

from bot.clock import ManualClock
from bot.demo.github import LocalGitHub
from bot.settings import GitHubSettings
from bot.surfaces.github.client import GitHubSurface
from tests.surfaces.github_openapi import complaints


class Threads:
    """The bot's bounded thread pool."""

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(4)

    async def __call__(self, function: Callable[..., Any], /, *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self.pool, function, *args)


@pytest.fixture
def threads() -> Iterator[Threads]:
    threads = Threads()
    yield threads
    threads.pool.shutdown(wait=True)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def github(clock: ManualClock) -> AsyncIterator[LocalGitHub]:
    """A local GitHub with issue 42; every exchange is judged, and no comment of the bot may stay unread."""
    async with LocalGitHub(clock=clock) as local:
        local.issue("Project 42 is stuck", number=42, by="alice")
        yield local
        await local.settled()
    assert [problem for exchange in local.exchanges for problem in complaints(exchange)] == []
    assert local.unread() == []


def settings_for(github: LocalGitHub, **changes: Any) -> GitHubSettings:
    values: dict[str, Any] = {"token": SecretStr(github.token), "webhook_secret": SecretStr("s3cret")} | changes
    return GitHubSettings(api_url=github.api_url, repository=github.repository, **values)


@pytest.fixture
async def surface(github: LocalGitHub, clock: ManualClock, threads: Threads) -> AsyncIterator[GitHubSurface]:
    surface = GitHubSurface(settings_for(github), clock=clock, run_blocking=threads)
    yield surface
    await surface.close()
