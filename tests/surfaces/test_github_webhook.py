"""Deliveries of GitHub at ``POST /github/webhook``: what is believed, what is stored, what is answered."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from bot.clock import ManualClock
from bot.demo.github import LocalGitHub
from bot.incoming import Actor, Incoming, Place
from bot.repository_events import RepositoryEvent
from bot.surfaces.github.webhook import MAX_BODY, GitHubWebhook

SECRET = "s3cret"
ROOTS = ["somas", "supervisor", "runs"]
EXAMPLES: dict[str, Any] = json.loads(
    Path(__file__).with_name("github_webhook_examples.json").read_text(encoding="utf-8")
)


async def run_blocking(function: Callable[..., Any], /, *arguments: Any) -> Any:
    return await asyncio.to_thread(function, *arguments)


class Inbox:
    """Stores commands by their key, as the bot's store does; fails when told to."""

    def __init__(self) -> None:
        self.stored: dict[str, Incoming] = {}
        self.events: dict[str, RepositoryEvent] = {}
        self.offered = 0
        self.broken = False

    async def accept_event(self, event: RepositoryEvent) -> bool:
        if self.broken:
            raise OSError("disk full")
        new = event.key not in self.events
        self.events.setdefault(event.key, event)
        return new

    async def accept(self, incoming: Incoming) -> bool:
        if self.broken:
            raise OSError("disk full")
        self.offered += 1
        new = incoming.key not in self.stored
        self.stored.setdefault(incoming.key, incoming)
        return new

    @property
    def texts(self) -> list[str]:
        return [incoming.text for incoming in self.stored.values()]


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


Client = TestClient[web.Request, web.Application]


async def serve(inbox: Inbox, clock: ManualClock, repository: str) -> Client:
    webhook = GitHubWebhook(
        secret=SECRET,
        repository=repository,
        roots=ROOTS,
        accept=inbox.accept,
        accept_event=inbox.accept_event,
        clock=clock,
        run_blocking=run_blocking,
        own_login=lambda: "opsbot",
    )
    app = web.Application()
    app.router.add_post("/github/webhook", webhook.handle)
    client: Client = TestClient(TestServer(app))
    await client.start_server()
    return client


@pytest.fixture
async def client(inbox: Inbox, clock: ManualClock) -> AsyncIterator[Client]:
    client = await serve(inbox, clock, "acme/somas")
    yield client
    await client.close()


def event(body: str = "/somas status", **changes: Any) -> dict[str, Any]:
    return {
        "action": "created",
        "issue": {"number": 42},
        "comment": {"id": 7, "body": body, "user": {"id": 1, "login": "alice", "type": "User"}},
        "repository": {"full_name": "acme/somas"},
        "sender": {"id": 1, "login": "alice", "type": "User"},
    } | changes


def signed(payload: object, **headers: str) -> dict[str, Any]:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    return {
        "data": body,
        "headers": {
            "Content-Type": "application/json",
            "X-GitHub-Event": "issue_comment",
            "X-GitHub-Delivery": "0b989ba4-242f-11e5-81e1-c7b6966d2516",
            "X-Hub-Signature-256": f"sha256={digest}",
        }
        | headers,
    }


async def deliver(client: Client, payload: object, **headers: str) -> tuple[int, str]:
    async with client.post("/github/webhook", **signed(payload, **headers)) as response:
        return response.status, (await response.text()).strip()


async def test_a_command_is_stored_before_it_is_acknowledged(client: Client, inbox: Inbox, clock: ManualClock) -> None:
    assert await deliver(client, event("Stuck again.\n\n/somas restart project-42\n/somas status")) == (
        202,
        "accepted 2",
    )
    first, second = inbox.stored.values()
    assert first == Incoming(
        key=first.key,
        actor=Actor(surface="github", id="1", login="alice"),
        place=Place(surface="github", channel="acme/somas", thread="42"),
        text="/somas restart project-42",
        received_at=clock.now(),
        comment_id=7,
    )
    assert first.key.startswith("github:acme/somas#7:0:")
    assert second.text == "/somas status"


async def test_a_redelivery_is_not_even_parsed(client: Client, inbox: Inbox) -> None:
    assert await deliver(client, event()) == (202, "accepted 1")
    assert await deliver(client, event()) == (200, "already handled")
    assert inbox.offered == 1


async def test_the_same_comment_in_another_delivery_has_the_same_key(client: Client, inbox: Inbox) -> None:
    await deliver(client, event())
    assert await deliver(client, event(), **{"X-GitHub-Delivery": "another"}) == (202, "accepted 1")
    assert (inbox.offered, len(inbox.stored)) == (2, 1)


async def test_what_cannot_be_stored_is_not_acknowledged_and_may_come_again(client: Client, inbox: Inbox) -> None:
    inbox.broken = True
    assert await deliver(client, event()) == (503, "cannot store commands now")
    inbox.broken = False
    assert await deliver(client, event()) == (202, "accepted 1")


@pytest.mark.parametrize(
    "signature", ["", "sha256=", "sha1=abc", "sha256=" + "0" * 64, "sha256=" + "é" * 64, "sha256=" + "0" * 63, "junk"]
)
async def test_a_wrong_signature_is_refused(client: Client, inbox: Inbox, signature: str) -> None:
    status, text = await deliver(client, event(), **{"X-Hub-Signature-256": signature})
    assert status == 401
    assert "GITHUB_WEBHOOK_SECRET" in text
    assert inbox.offered == 0


async def test_a_missing_signature_is_refused(client: Client) -> None:
    request = signed(event())
    del request["headers"]["X-Hub-Signature-256"]
    async with client.post("/github/webhook", **request) as response:
        assert response.status == 401


async def test_one_changed_byte_breaks_the_signature(client: Client) -> None:
    request = signed(event("/somas status"))
    request["data"] = request["data"].replace(b"status", b"failed")
    async with client.post("/github/webhook", **request) as response:
        assert response.status == 401


@pytest.mark.parametrize("header", ["X-GitHub-Event", "X-GitHub-Delivery"])
async def test_a_delivery_without_its_headers_is_none(client: Client, header: str) -> None:
    assert await deliver(client, event(), **{header: ""}) == (400, "X-GitHub-Event and X-GitHub-Delivery are needed")


async def test_a_body_that_is_too_large_is_not_read(client: Client, inbox: Inbox) -> None:
    payload = event("/somas status " + "x" * (2 * 1024 * 1024))
    assert (await deliver(client, payload))[0] == 413

    async def endless() -> AsyncIterator[bytes]:
        sent = 0
        while sent <= MAX_BODY:
            sent += 65536
            yield b"x" * 65536

    try:
        async with client.post("/github/webhook", data=endless()) as response:
            assert response.status == 413
    except aiohttp.ClientConnectionError:
        pass  # the server has hung up: as good
    assert inbox.offered == 0


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"x"', b"null", b"\xff\xfe", b"{}", json.dumps(event(issue=None)).encode(), b"[" * 100_000],
)
async def test_broken_json_is_a_clear_400(client: Client, body: bytes) -> None:
    status, text = await deliver(client, body)
    assert status == 400
    assert text.startswith("not an issue_comment event")


async def test_a_form_is_told_what_to_set(client: Client) -> None:
    status, text = await deliver(client, b"payload=%7B%7D", **{"Content-Type": "application/x-www-form-urlencoded"})
    assert (status, text) == (415, "set the webhook's content type to application/json")


@pytest.mark.parametrize("name", ["push", "check_run", "issue", "something_new"])
async def test_other_events_are_ignored_without_a_look_inside(client: Client, name: str) -> None:
    assert await deliver(client, b"this is not JSON", **{"X-GitHub-Event": name}) == (200, "ignored")


async def test_a_ping_is_answered(client: Client) -> None:
    [ping] = EXAMPLES["ping"]
    assert await deliver(client, ping, **{"X-GitHub-Event": "ping"}) == (200, "pong")


IGNORED: dict[str, dict[str, Any]] = {
    "deleted": event(action="deleted"),
    "unknown action": event(action="pinned"),
    "another repository": event(repository={"full_name": "acme/other"}),
    "an app": event(sender={"id": 2, "login": "renovate[bot]", "type": "Bot"}),
    "ourselves": event(sender={"id": 3, "login": "OpsBot", "type": "User"}),
    "our own comment, edited by a person": event("/somas status\n\n<!-- opsbot:run=01J -->"),
    "the empty edit before created": event(action="edited", changes={}),
    "an edit of something else": event(action="edited", changes={"title": {"from": "x"}}),
    "an edit that leaves the command alone": event(action="edited", changes={"body": {"from": "/somas status\n\nhi"}}),
    "an empty comment": event(comment={"id": 7, "body": None, "user": None}),
    "no command": event("all is well"),
    "words of another person": event(sender={"id": 9, "login": "bob", "type": "User"}),
}


@pytest.mark.parametrize("why", IGNORED)
async def test_nothing_is_stored_for(client: Client, inbox: Inbox, why: str) -> None:
    status, _ = await deliver(client, IGNORED[why])
    assert status == 200
    assert inbox.offered == 0


async def test_an_edit_runs_what_is_new_in_the_name_of_who_edited(client: Client, inbox: Inbox) -> None:
    payload = event(
        "/somas status\n/somas failed",
        action="edited",
        changes={"body": {"from": "/somas status"}},
        sender={"id": 9, "login": "mallory", "type": "User"},
    )
    assert await deliver(client, payload) == (202, "accepted 1")
    [incoming] = inbox.stored.values()
    assert (incoming.text, incoming.actor.id) == ("/somas failed", "9")


def moved_here(author: int, mover: int) -> dict[str, Any]:
    """What GitHub sends to the repository into which an issue is transferred: it is opened there, by who moved it."""
    [opened] = [each for each in EXAMPLES["issues"] if each["action"] == "opened"][:1]
    person = {"type": "User"}
    moved: dict[str, Any] = opened | {
        "issue": opened["issue"] | {"body": "/somas stop-all", "user": person | {"id": author, "login": "author"}},
        "sender": person | {"id": mover, "login": "mover"},
        "changes": {"old_issue": {"number": 5}, "old_repository": {"full_name": "acme/elsewhere"}},
        "repository": {"full_name": "acme/somas"},
    }
    return moved


async def test_who_moves_an_issue_here_has_not_said_what_is_in_it(client: Client, inbox: Inbox) -> None:
    issues = {"X-GitHub-Event": "issues"}
    assert (await deliver(client, moved_here(author=9, mover=1), **issues)) == (202, "accepted 1")  # that it is new
    assert inbox.texts == []
    again = issues | {"X-GitHub-Delivery": "of-their-own"}
    assert (await deliver(client, moved_here(author=1, mover=1), **again)) == (202, "accepted 2")
    assert inbox.texts == ["/somas stop-all"]


@pytest.mark.parametrize("number", range(len(EXAMPLES["issue_comment"])))
async def test_github_s_own_examples_are_understood(inbox: Inbox, clock: ManualClock, number: int) -> None:
    example = json.loads(json.dumps(EXAMPLES["issue_comment"][number]))
    client = await serve(inbox, clock, "Codertocat/Hello-World")
    try:
        assert (await deliver(client, example))[0] == 200  # "You are totally right!" is no command
        example["comment"]["body"] += "\n\n/somas status"
        status, _ = await deliver(client, example, **{"X-GitHub-Delivery": "second"})
        assert status == (200 if example["action"] == "deleted" else 202)
        assert inbox.texts == ([] if example["action"] == "deleted" else ["/somas status"])
    finally:
        await client.close()


# From here on the deliveries come from the local GitHub.


@pytest.fixture
async def hooked(github: LocalGitHub, client: Client) -> LocalGitHub:
    github.add_hook(str(client.make_url("/github/webhook")), SECRET)
    [ping] = await github.settled()
    assert (ping.status_code, ping.answer) == (200, "pong\n")
    return github


async def test_a_comment_comes_in_and_its_payload_has_what_github_s_has(hooked: LocalGitHub, inbox: Inbox) -> None:
    hooked.comment("alice", 42, "/somas restart project-42")
    delivery = (await hooked.settled())[-1]
    assert (delivery.status_code, inbox.texts) == (202, ["/somas restart project-42"])
    ours, theirs = json.loads(delivery.body), EXAMPLES["issue_comment"][0]
    assert set(theirs["issue"]) - set(ours["issue"]) <= {"draft"}  # of pull requests only
    assert set(theirs["comment"]) <= set(ours["comment"])
    assert set(theirs["sender"]) <= set(ours["sender"])


async def test_doubled_lost_and_redelivered(hooked: LocalGitHub, inbox: Inbox) -> None:
    hooked.deliveries.double = 1
    hooked.comment("alice", 42, "/somas status")
    await hooked.settled()
    hooked.deliveries.drop = 1
    hooked.comment("alice", 42, "/somas failed")
    lost = (await hooked.settled())[-1]
    assert inbox.texts == ["/somas status"]
    again = hooked.deliveries.redeliver(lost)
    await hooked.settled()
    assert again.guid == lost.guid
    assert inbox.texts == ["/somas status", "/somas failed"]
    assert inbox.offered <= 3


async def test_an_edit_before_its_comment(hooked: LocalGitHub, inbox: Inbox) -> None:
    hooked.deliveries.hold()
    comment = hooked.comment("alice", 42, "/somas status")
    hooked.edit("alice", comment, "/somas status\n/somas failed")
    hooked.deliveries.release(backwards=True)
    await hooked.settled()
    assert sorted(inbox.texts) == ["/somas failed", "/somas status"]


async def test_deletes_are_ignored(hooked: LocalGitHub, inbox: Inbox) -> None:
    comment = hooked.comment("alice", 42, "/somas status")
    await hooked.settled()
    hooked.delete("alice", comment)
    assert (await hooked.settled())[-1].answer == "ignored\n"
    assert inbox.offered == 1


def test_a_webhook_needs_a_secret(inbox: Inbox, clock: ManualClock) -> None:
    with pytest.raises(ValueError, match="GITHUB_WEBHOOK_SECRET"):
        GitHubWebhook(
            secret="",
            repository="a/b",
            roots=[],
            accept=inbox.accept,
            accept_event=inbox.accept_event,
            clock=clock,
            run_blocking=run_blocking,
        )
