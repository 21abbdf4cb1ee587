"""Deliveries that GitHub lost are asked for again: a few times, not for ever, and the bot says when it may not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import SecretStr

from bot.clock import ManualClock
from bot.demo.github import LocalGitHub
from bot.surfaces.github.client import GitHubSurface
from bot.surfaces.github.redelivery import ATTEMPTS, Attempt, Redelivery, due_again
from bot.surfaces.github.webhook import GitHubWebhook
from tests.surfaces.conftest import Threads, settings_for
from tests.surfaces.test_github_client import PRIVATE, PUBLIC, app_surface, passing
from tests.surfaces.test_github_webhook import Inbox, run_blocking

SECRET = "s3cret"


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
async def address(inbox: Inbox, clock: ManualClock) -> AsyncIterator[str]:
    """Where the bot's webhook listens."""
    webhook = GitHubWebhook(
        secret=SECRET,
        repository="acme/somas",
        roots=["somas", "runs"],
        accept=inbox.accept,
        accept_event=inbox.accept_event,
        clock=clock,
        run_blocking=run_blocking,
    )
    app = web.Application()
    app.router.add_post("/github/webhook", webhook.handle)
    async with TestServer(app) as server:
        yield str(server.make_url("/github/webhook"))


@pytest.fixture
async def hooked(github: LocalGitHub, address: str) -> LocalGitHub:
    """A GitHub that delivers to the bot's webhook, and minds the minute that deliveries take to settle."""
    github.add_hook(address, SECRET, ("issue_comment", "issues", "workflow_run"))
    await github.settled()
    return github


def redelivery_of(surface: GitHubSurface, clock: ManualClock, began: str = "2026-11-22T11:00:00Z") -> Redelivery:
    async def load() -> str:
        return began

    return Redelivery(surface, clock=clock, began=load)


async def test_what_was_lost_comes_again_and_runs_once(
    hooked: LocalGitHub, surface: GitHubSurface, inbox: Inbox, clock: ManualClock
) -> None:
    redelivery = redelivery_of(surface, clock)
    hooked.deliveries.drop = 1
    hooked.comment("alice", 42, "/somas status")
    hooked.comment("alice", 42, "/somas failed")
    await hooked.settled()
    assert inbox.texts == ["/somas failed"]
    assert await redelivery.look() == 0, "it may still be on its way"
    await clock.advance(61)
    assert await redelivery.look() == 1
    await hooked.settled()
    assert inbox.texts == ["/somas failed", "/somas status"]
    await clock.advance(600)
    assert await redelivery.look() == 0
    assert await redelivery.notices() == []


async def test_it_gives_up_after_a_few_attempts(
    hooked: LocalGitHub, surface: GitHubSurface, inbox: Inbox, clock: ManualClock
) -> None:
    redelivery = redelivery_of(surface, clock)
    inbox.broken = True
    hooked.comment("alice", 42, "/somas status")
    asked = []
    for _ in range(30):
        await hooked.settled()
        await clock.advance(300)
        asked.append(await redelivery.look())
    assert sum(asked) == ATTEMPTS - 1
    assert asked[0] == 1


async def test_what_happened_before_the_bot_began_stays_away(
    hooked: LocalGitHub, surface: GitHubSurface, clock: ManualClock
) -> None:
    hooked.deliveries.drop = 1
    hooked.comment("alice", 42, "/somas status")
    await clock.advance(600)
    began = (clock.now() - timedelta(seconds=10)).isoformat()
    assert await redelivery_of(surface, clock, began).look() == 0
    assert await redelivery_of(surface, clock, "").look() == 0


async def test_a_missing_permission_is_named(github: LocalGitHub, clock: ManualClock, threads: Threads) -> None:
    token = github.token_of("opsbot", {"issues": "write", "metadata": "read"})
    surface = GitHubSurface(settings_for(github, token=SecretStr(token)), clock=clock, run_blocking=threads)
    redelivery = redelivery_of(surface, clock)
    assert await redelivery.look() == 0
    [notice] = await redelivery.notices()
    assert "Lost deliveries of GitHub cannot be asked for again" in notice
    assert "Webhooks: Read and write" in notice
    assert "admin:repo_hook" in notice
    await surface.close()


async def test_an_app_asks_for_the_deliveries_of_its_own_webhook_with_its_own_key(
    github: LocalGitHub, address: str, inbox: Inbox, clock: ManualClock, threads: Threads
) -> None:
    """It has one webhook, of the app and not of the repository, whose list no installation token may read."""
    app = github.install_app("opsbot-app", PUBLIC, {"metadata": "read", "issues": "write"})
    github.add_app_hook(address, SECRET)
    surface = app_surface(github, clock, threads, app.id, PRIVATE)
    redelivery = redelivery_of(surface, clock)
    github.deliveries.drop = 2
    for command in ("/somas status", "/somas failed", "/somas help"):
        github.comment("alice", 42, command)
    await github.settled()
    assert inbox.texts == ["/somas help"]
    await clock.advance(61)
    assert await passing(clock, redelivery.look()) == 2  # a second apart, as every write
    await github.settled()
    assert inbox.texts == ["/somas help", "/somas status", "/somas failed"]
    await clock.advance(600)
    assert (await redelivery.look(), await redelivery.notices()) == (0, [])
    used = [(each.method, each.route) for each in github.exchanges if "/app/hook" in each.route]
    assert used.count(("POST", "/app/hook/deliveries/{delivery_id}/attempts")) == 2
    assert not [each for each in github.exchanges if each.route.endswith("/access_tokens")]  # only the app's key
    await surface.close()


async def test_an_app_whose_key_is_wrong_says_what_to_compare(
    github: LocalGitHub, clock: ManualClock, threads: Threads
) -> None:
    github.install_app("opsbot-app", PUBLIC)
    surface = app_surface(github, clock, threads, 99, PRIVATE)
    redelivery = redelivery_of(surface, clock)
    assert await redelivery.look() == 0
    [notice] = await redelivery.notices()
    assert "compare GITHUB_APP_ID and GITHUB_PRIVATE_KEY" in notice
    await surface.close()


async def test_a_webhook_that_is_missing_or_does_not_send_enough_is_told(
    github: LocalGitHub, surface: GitHubSurface, clock: ManualClock
) -> None:
    redelivery = redelivery_of(surface, clock)
    await redelivery.look()
    assert await redelivery.notices() == [
        "No active webhook of acme/somas ends with /github/webhook: add one, or unset GITHUB_WEBHOOK_SECRET."
    ]
    github.add_hook("http://127.0.0.1:9/github/webhook", SECRET, ("issue_comment",))
    await redelivery.look()
    assert await redelivery.notices() == [
        "The webhook of acme/somas does not send issues, workflow_run; tick it there."
    ]
    await github.settled()


def attempts(*given: tuple[int, float], guid: str = "a", event: str = "issues") -> list[Attempt]:
    """``(status, minutes ago)``."""
    now = ManualClock().now()
    return [
        Attempt(number, guid, now - timedelta(minutes=minutes), status, event)
        for number, (status, minutes) in enumerate(given)
    ]


@pytest.mark.parametrize(
    ("tries", "due"),
    [
        ([(502, 2)], True),
        ([(502, 0.5)], False),
        ([(0, 2)], True),  # GitHub never said what came of it
        ([(200, 2)], False),
        ([(502, 9), (202, 5)], False),
        ([(202, 9), (502, 5)], False),  # it had arrived, somebody asked for it again
        ([(502, 9), (502, 1)], False),
        ([(502, 9), (502, 3)], True),
        ([(502, 30), (502, 20), (503, 3)], False),  # twice as long the next time
        ([(502, 30), (502, 20), (503, 5)], True),
        ([(502, 60), (502, 50), (502, 40), (502, 30)], False),
        ([(400, 5)], False),
        ([(413, 5)], False),
        ([(401, 5)], True),  # the secret was wrong, perhaps it is right now
        ([(502, 60 * 24 * 4)], False),
    ],
)
def test_when_a_delivery_is_due(tries: list[tuple[int, float]], due: bool) -> None:
    now = ManualClock().now()
    found = due_again(attempts(*tries), now, now - timedelta(days=3))
    assert len(found) == due


def test_other_events_are_left_alone() -> None:
    now = ManualClock().now()
    assert due_again(attempts((502, 5), event="push"), now, now - timedelta(days=3)) == []


async def test_many_deliveries_are_read_page_by_page(
    hooked: LocalGitHub, surface: GitHubSurface, inbox: Inbox, clock: ManualClock
) -> None:
    hooked.deliveries.drop = 1
    hooked.comment("alice", 42, "/somas status")
    for number in range(130):
        hooked.comment("alice", 42, f"prose {number}")
    await hooked.settled()
    await clock.advance(120)
    assert await redelivery_of(surface, clock).look() == 1
    await hooked.settled()
    assert inbox.texts == ["/somas status"]
