"""Commands without a webhook, and with one: each runs once, whichever way it comes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bot.clock import ManualClock
from bot.demo.github import LocalGitHub
from bot.incoming import Incoming
from bot.repository_events import RepositoryEvent
from bot.surfaces.delivery import TryLater, Undeliverable
from bot.surfaces.github.client import GitHubSurface
from bot.surfaces.github.poller import CommentPoller
from bot.surfaces.github.webhook import GitHubWebhook

ROOTS = ["somas", "runs"]


async def run_blocking(function: Callable[..., Any], /, *arguments: Any) -> Any:
    return await asyncio.to_thread(function, *arguments)


class Store:
    """What outlives the poller: the accepted commands and the cursor."""

    def __init__(self) -> None:
        self.stored: dict[str, Incoming] = {}
        self.cursors: dict[str, str] = {}
        self.broken = False

    async def accept(self, incoming: Incoming) -> bool:
        if self.broken:
            raise OSError("disk full")
        new = incoming.key not in self.stored
        self.stored.setdefault(incoming.key, incoming)
        return new

    async def load(self, name: str) -> str:
        return self.cursors.get(name, "")

    async def save(self, name: str, cursor: str) -> None:
        assert cursor >= self.cursors.get(name, ""), "the cursor went back"
        self.cursors[name] = cursor

    async def accept_event(self, event: RepositoryEvent) -> bool:
        return True

    @property
    def texts(self) -> list[str]:
        return [incoming.text for incoming in self.stored.values()]


@pytest.fixture
def store() -> Store:
    return Store()


def poller_of(surface: GitHubSurface, store: Store, clock: ManualClock) -> CommentPoller:
    return CommentPoller(
        surface,
        roots=ROOTS,
        accept=store.accept,
        load=store.load,
        save=store.save,
        clock=clock,
        run_blocking=run_blocking,
        seconds=60,
    )


@pytest.fixture
async def poller(surface: GitHubSurface, store: Store, clock: ManualClock) -> CommentPoller:
    """One that has begun: the first poll only sets the cursor."""
    poller = poller_of(surface, store, clock)
    assert await poller.poll() == 0
    await clock.advance(10)
    return poller


async def test_the_first_start_runs_nothing_old(
    github: LocalGitHub, surface: GitHubSurface, store: Store, clock: ManualClock
) -> None:
    github.comment("alice", 42, "/somas restart project-42")
    await clock.advance(3600)
    poller = poller_of(surface, store, clock)
    await poller.poll()
    await clock.advance(10)
    github.comment("alice", 42, "/somas status")
    await poller.poll()
    assert store.texts == ["/somas status"]


async def test_a_comment_becomes_a_command_once(github: LocalGitHub, poller: CommentPoller, store: Store) -> None:
    comment = github.comment("alice", 42, "hello\n\n/somas status\n/runs list")
    assert await poller.poll() == 2
    assert await poller.poll() == 0
    first = next(iter(store.stored.values()))
    assert (first.comment_id, first.actor.id, first.place.thread) == (comment, str(github.user_id("alice")), "42")


async def test_nothing_new_costs_nothing(
    github: LocalGitHub, surface: GitHubSurface, poller: CommentPoller, clock: ManualClock
) -> None:
    github.comment("alice", 42, "hello")
    for _ in range(6):
        await poller.poll()
        await clock.advance(60)
    lists = [exchange.status for exchange in github.exchanges if exchange.route.endswith("/issues/comments")]
    assert lists[-3:] == [304, 304, 304]


async def test_after_a_restart_it_goes_on_where_it_was(
    github: LocalGitHub, surface: GitHubSurface, poller: CommentPoller, store: Store, clock: ManualClock
) -> None:
    github.comment("alice", 42, "/somas status")
    await poller.poll()
    await clock.advance(600)
    github.comment("alice", 42, "/somas failed")  # while the bot was down
    await clock.advance(600)
    assert await poller_of(surface, store, clock).poll() == 1
    assert store.texts == ["/somas status", "/somas failed"]


async def test_what_cannot_be_stored_is_read_again(github: LocalGitHub, poller: CommentPoller, store: Store) -> None:
    github.comment("alice", 42, "/somas status")
    store.broken = True
    with pytest.raises(OSError, match="disk full"):
        await poller.poll()
    store.broken = False
    assert await poller.poll() == 1


async def test_hundreds_of_comments_in_one_second_and_after(
    github: LocalGitHub, poller: CommentPoller, store: Store, clock: ManualClock
) -> None:
    for n in range(250):
        github.comment("alice", 42, f"/somas status project-{n}")
    await clock.advance(30)
    for n in range(250, 390):
        github.comment("alice", 42, f"/somas status project-{n}")
    assert await poller.poll() == 390
    assert store.texts == [f"/somas status project-{n}" for n in range(390)]


async def test_the_webhook_and_the_poller_run_a_command_once(
    github: LocalGitHub, poller: CommentPoller, store: Store, clock: ManualClock
) -> None:
    webhook = GitHubWebhook(
        secret="s3cret",
        repository="acme/somas",
        roots=ROOTS,
        accept=store.accept,
        accept_event=store.accept_event,
        clock=clock,
        run_blocking=run_blocking,
        own_login=lambda: "opsbot",
    )
    app = web.Application()
    app.router.add_post("/github/webhook", webhook.handle)
    async with TestServer(app) as server:
        github.add_hook(str(server.make_url("/github/webhook")), "s3cret")
        comment = github.comment("alice", 42, "/somas status")
        await github.settled()
        assert await poller.poll() == 0
        await clock.advance(10)
        github.edit("alice", comment, "/runs list\n/somas status\n/somas status")
        await github.settled()
        assert await poller.poll() == 0
        await clock.advance(10)
        github.deliveries.drop = 1
        github.edit("alice", comment, "/runs list\n/somas failed")
        await github.settled()
        assert await poller.poll() == 1
        assert store.texts == ["/somas status", "/runs list", "/somas status", "/somas failed"]


async def test_nobody_puts_a_command_into_the_mouth_of_somebody_else(
    github: LocalGitHub, poller: CommentPoller, store: Store, clock: ManualClock
) -> None:
    github.set_role("mallory", "triage")
    comment = github.comment("alice", 42, "the build is red")
    await poller.poll()
    await clock.advance(10)
    github.edit("mallory", comment, "the build is red\n\n/somas restart project-42")
    await clock.advance(10)
    github.edit("alice", comment, "the build is green\n\n/somas restart project-42")
    assert await poller.poll() == 0
    assert store.texts == []


async def test_an_edit_of_one_s_own_counts(github: LocalGitHub, poller: CommentPoller, clock: ManualClock) -> None:
    comment = github.comment("alice", 42, "the build is red")
    await poller.poll()
    await clock.advance(10)
    github.edit("alice", comment, "the build is red\n\n/somas status")
    assert await poller.poll() == 1


async def test_when_the_editors_cannot_be_told_nothing_runs(
    github: LocalGitHub, poller: CommentPoller, clock: ManualClock
) -> None:
    comment = github.comment("alice", 42, "x")
    await clock.advance(10)
    github.edit("alice", comment, "/somas status")
    github.fail(403, method="POST", path="/graphql", message="Resource not accessible by personal access token")
    assert await poller.poll() == 0


async def test_bots_and_the_bot_itself_are_not_heard(
    github: LocalGitHub, surface: GitHubSurface, poller: CommentPoller
) -> None:
    await surface.post("acme/somas", 42, "Try:\n\n/somas status", "opsbot:run=01J")
    github.read(42)
    assert await poller.poll() == 0


async def test_a_refusal_is_for_later(github: LocalGitHub, poller: CommentPoller) -> None:
    github.refuse_for_rate(retry_after=30)
    with pytest.raises(TryLater):
        await poller.poll()


async def test_a_repository_that_is_gone_is_told(github: LocalGitHub, poller: CommentPoller) -> None:
    github.set_role("opsbot", "none")
    with pytest.raises(Undeliverable, match="404 for the comments of acme/somas"):
        await poller.poll()


@pytest.fixture
async def running(poller: CommentPoller) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.ensure_future(poller.run())
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def until(clock: ManualClock, store: Store, texts: list[str]) -> None:
    deadline = time.monotonic() + 20
    while store.texts != texts:
        assert time.monotonic() < deadline, store.texts
        await asyncio.sleep(0.005)
        await clock.advance(5)


async def test_it_goes_on_through_outages(
    github: LocalGitHub, store: Store, clock: ManualClock, running: asyncio.Task[None]
) -> None:
    github.comment("alice", 42, "/somas status")
    await until(clock, store, ["/somas status"])
    github.fail(502, times=4)
    github.refuse_for_rate(retry_after=120)
    store.broken = True
    github.comment("alice", 42, "/somas failed")
    for _ in range(20):
        await asyncio.sleep(0.005)
        await clock.advance(30)
    store.broken = False
    await until(clock, store, ["/somas status", "/somas failed"])
    assert not running.done()


async def test_a_comment_older_than_the_bot_never_runs_however_it_is_edited(
    github: LocalGitHub, surface: GitHubSurface, store: Store, clock: ManualClock
) -> None:
    """Its old command was for somebody else, or for nobody; the list does not say which of its commands are new."""
    comment = github.comment("alice", 42, "/somas restart project-42")
    await clock.advance(3600)
    poller = poller_of(surface, store, clock)
    await poller.poll()
    await clock.advance(10)
    github.edit("alice", comment, "/somas restart project-42\n\nThanks!")
    assert await poller.poll() == 0
    await clock.advance(10)
    assert await poller_of(surface, store, clock).poll() == 0, "nor after a restart"
    github.comment("alice", 42, "/somas status")
    assert await poller.poll() == 1
    assert store.texts == ["/somas status"]


async def test_a_bot_of_an_older_version_listens_since_its_cursor(
    github: LocalGitHub, surface: GitHubSurface, store: Store, clock: ManualClock
) -> None:
    store.cursors["github comments"] = clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    await clock.advance(60)
    github.comment("alice", 42, "/somas status")  # while it was being updated
    await clock.advance(60)
    assert await poller_of(surface, store, clock).poll() == 1


async def test_the_text_of_an_issue_that_no_webhook_brought(
    github: LocalGitHub, surface: GitHubSurface, store: Store, clock: ManualClock
) -> None:
    github.issue("Old", number=7, by="alice", body="/somas restart project-7")
    await clock.advance(60)
    poller = poller_of(surface, store, clock)
    await poller.poll()
    await clock.advance(10)
    github.issue("New", number=8, by="alice", body="Please:\n\n/somas status project-8")
    github.comment("alice", 7, "this moves issue 7 to the end of the list")
    assert await poller.poll() == 1
    assert await poller.poll() == 0
    [command] = store.stored.values()
    assert (command.text, command.place.thread, command.issue_body) == ("/somas status project-8", "8", True)


async def test_nothing_new_costs_nothing_of_issues_too(
    github: LocalGitHub, poller: CommentPoller, clock: ManualClock
) -> None:
    for _ in range(5):
        await poller.poll()
        await clock.advance(60)
    lists = [exchange.status for exchange in github.exchanges if exchange.route.endswith("{repo}/issues")]
    assert lists[-3:] == [304, 304, 304]
