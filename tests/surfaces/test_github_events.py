"""What reaches ``POST /github/webhook`` beside comments: opened issues, labels, ended workflow runs; and junk."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.clock import ManualClock
from bot.incoming import Place
from bot.surfaces.github.payloads import Reader, Text, User
from tests.surfaces.test_github_webhook import EXAMPLES, Client, Inbox, deliver, event, serve

PERSON = {"id": 1, "login": "alice", "type": "User"}


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
async def client(inbox: Inbox, clock: ManualClock) -> AsyncIterator[Client]:
    client = await serve(inbox, clock, "acme/somas")
    yield client
    await client.close()


def issue(action: str = "opened", body: str | None = "/somas status", **changes: Any) -> dict[str, Any]:
    return {
        "action": action,
        "issue": {"number": 42, "title": "The gate is red", "body": body, "user": PERSON, "html_url": "https://x/42"},
        "repository": {"full_name": "acme/somas"},
        "sender": PERSON,
    } | changes


def workflow_run(action: str = "completed", **changes: Any) -> dict[str, Any]:
    run: dict[str, Any] = {
        "id": 77,
        "name": "SOMAS pipeline",
        "display_title": "project-42",
        "conclusion": "failure",
        "head_branch": "somas/project-42",
        "html_url": "https://x/77",
        "updated_at": "2026-11-22T11:59:00Z",
    }
    return {
        "action": action,
        "workflow_run": run | changes,
        "repository": {"full_name": "acme/somas"},
        "sender": PERSON,
    }


async def test_an_opened_issue_can_hold_a_command(client: Client, inbox: Inbox) -> None:
    payload = issue(body="It stands since noon.\n\n/somas status\n\n> /somas failed")
    assert await deliver(client, payload, **{"X-GitHub-Event": "issues"}) == (202, "accepted 2")  # and the news
    [command] = inbox.stored.values()
    assert (command.text, command.actor.id, command.issue_body) == ("/somas status", "1", True)
    assert command.place == Place(surface="github", channel="acme/somas", thread="42")
    assert command.key.startswith("github:acme/somas#issue-42:0:")
    [news] = inbox.events.values()
    assert (news.kind, news.issue, news.title) == ("issue_opened", 42, "The gate is red")


async def test_an_edit_of_an_issue_runs_only_what_is_new_in_it(client: Client, inbox: Inbox) -> None:
    edited = issue("edited", "/somas status\n/somas failed", changes={"body": {"from": "/somas status"}})
    assert await deliver(client, edited, **{"X-GitHub-Event": "issues"}) == (202, "accepted 1")
    assert inbox.texts == ["/somas failed"]
    assert inbox.events == {}
    title = issue("edited", changes={"title": {"from": "x"}})
    headers = {"X-GitHub-Event": "issues", "X-GitHub-Delivery": "title"}
    assert await deliver(client, title, **headers) == (200, "ignored")


@pytest.mark.parametrize(("action", "kind"), [("labeled", "label_added"), ("unlabeled", "label_removed")])
async def test_labels_are_stored_once(client: Client, inbox: Inbox, action: str, kind: str) -> None:
    payload = issue(action, "/somas status", label={"name": "somas:circuit-breaker"})
    assert (await deliver(client, payload, **{"X-GitHub-Event": "issues"}))[0] == 202
    assert await deliver(client, payload, **{"X-GitHub-Event": "issues"}) == (200, "already handled")
    [news] = inbox.events.values()
    assert (news.kind, news.label, news.by, news.issue) == (kind, "somas:circuit-breaker", "alice", 42)
    assert inbox.stored == {}, "a label makes no command of the issue's text"


async def test_an_ended_workflow_run_is_stored(client: Client, inbox: Inbox) -> None:
    assert (await deliver(client, workflow_run(), **{"X-GitHub-Event": "workflow_run"}))[0] == 202
    [news] = inbox.events.values()
    assert (news.run, news.workflow, news.conclusion, news.branch) == (
        77,
        "SOMAS pipeline",
        "failure",
        "somas/project-42",
    )


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("issues", issue("closed")),
        ("issues", issue("assigned")),
        ("issues", issue(repository={"full_name": "acme/other"})),
        ("issues", issue("labeled", label=None)),
        ("workflow_run", workflow_run("requested")),
        ("workflow_run", workflow_run("in_progress")),
        ("workflow_run", workflow_run() | {"repository": {"full_name": "acme/other"}}),
    ],
)
async def test_nothing_is_stored_for(client: Client, inbox: Inbox, name: str, payload: dict[str, Any]) -> None:
    assert await deliver(client, payload, **{"X-GitHub-Event": name}) == (200, "ignored")
    assert (inbox.stored, inbox.events) == ({}, {})


async def test_the_issues_of_bots_are_news_and_no_commands(client: Client, inbox: Inbox) -> None:
    payload = issue(sender={"id": 2, "login": "renovate[bot]", "type": "Bot"})
    assert await deliver(client, payload, **{"X-GitHub-Event": "issues"}) == (202, "accepted 1")
    assert inbox.stored == {}


async def test_news_that_cannot_be_stored_are_not_acknowledged(client: Client, inbox: Inbox) -> None:
    inbox.broken = True
    assert (await deliver(client, workflow_run(), **{"X-GitHub-Event": "workflow_run"}))[0] == 503
    inbox.broken = False
    assert (await deliver(client, workflow_run(), **{"X-GitHub-Event": "workflow_run"}))[0] == 202


@pytest.mark.parametrize("name", ["issues", "workflow_run"])
async def test_github_s_own_examples_are_understood(inbox: Inbox, clock: ManualClock, name: str) -> None:
    for number, example in enumerate(EXAMPLES.get(name, ())):
        client = await serve(inbox, clock, example["repository"]["full_name"])
        try:
            headers = {"X-GitHub-Event": name, "X-GitHub-Delivery": f"example-{number}"}
            status, text = await deliver(client, example, **headers)
            assert status in (200, 202), text
        finally:
            await client.close()


# Junk: whatever carries a right signature comes from GitHub, and still must not break anything.

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


async def test_no_body_is_a_500(client: Client) -> None:
    bodies: list[bytes] = [
        b"[" * 60_000,
        b'{"action":' * 60_000,
        b'{"action": "opened", "issue": 7}',
        b"\x00",
        b"\xef\xbb\xbf{}",
    ]

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.sampled_from([event(), issue(), workflow_run()]),
        st.lists(st.sampled_from(["action", "issue", "comment", "repository", "sender", "workflow_run", "label"])),
        JSON,
    )
    def collect(good: dict[str, Any], keys: list[str], value: Any) -> None:
        bodies.append(json.dumps(good | dict.fromkeys(keys, value)).encode())

    collect()
    seen = set()
    for number, body in enumerate(bodies):
        for name in ("issue_comment", "issues", "workflow_run"):
            headers = {"X-GitHub-Event": name, "X-GitHub-Delivery": f"junk-{number}-{name}"}
            status, _ = await deliver(client, body, **headers)
            seen.add(status)
    assert seen <= {200, 202, 400}
    assert 400 in seen


@pytest.mark.parametrize("delivery", ["a b", "x" * 101, "é" * 5, "'; drop table"])
async def test_an_id_that_github_never_sends(client: Client, delivery: str) -> None:
    assert (await deliver(client, event(), **{"X-GitHub-Delivery": delivery}))[0] == 400


async def test_the_largest_comment_does_not_hold_up_the_bot(client: Client, inbox: Inbox) -> None:
    """A table that takes 0.8 s to read as Markdown: others are served meanwhile."""
    table = "/somas status\n\n" + "|a" * 300 + "\n" + "|-" * 300 + "\n" + "|\n" * 30_000
    delivering = asyncio.ensure_future(deliver(client, event(table)))
    served = 0
    while not delivering.done():
        assert (await deliver(client, event("Thanks!"), **{"X-GitHub-Delivery": f"thanks-{served}"}))[0] == 200
        served += 1
    assert (await delivering)[0] == 202
    assert inbox.texts == ["/somas status"]
    assert served >= 5, "the event loop stood still"


async def test_of_many_long_comments_one_at_a_time_is_read_and_a_short_one_goes_first() -> None:
    reading, most, read = 0, 0, list[str]()
    go_on = asyncio.Event()

    async def run_blocking(function: Callable[..., Any], body: str, *rest: Any) -> Any:
        nonlocal reading, most
        reading += 1
        most = max(most, reading)
        await go_on.wait()
        reading -= 1
        return function(body, *rest)

    reader = Reader(("somas",), "opsbot", run_blocking)

    async def hears(comment: int, body: str) -> None:
        text = Text("acme/somas", 42, comment, User(1, "alice"), body)
        read.extend(command.text for command in await reader.commands(text, ManualClock().now()))

    long = [asyncio.ensure_future(hears(number, f"/somas status {number}\n\n" + "[" * 5000)) for number in range(3)]
    await asyncio.sleep(0)
    await hears(9, "/somas failed")
    assert read == ["/somas failed"]
    go_on.set()
    await asyncio.gather(*long)
    assert (most, len(read)) == (1, 4)


async def test_a_long_text_that_begins_no_line_with_an_address_is_not_parsed(client: Client, inbox: Inbox) -> None:
    started = time.process_time()
    status, text = await deliver(client, event("see /somas status\n\n" + "![" * 30_000))
    assert (status, text) == (200, "no command")
    assert time.process_time() - started < 0.3  # parsing it takes a second
