"""``/healthz``, ``/readyz``, ``/metrics``: what a supervisor, a load balancer and Prometheus are told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import sqlalchemy as sa
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from bot import web as bot_web
from bot.metrics import Metrics
from bot.store import Store

Checks = list[tuple[str, Callable[[], Awaitable[list[str]]]]]


async def fine() -> list[str]:
    return []


class Site:
    """A running site with a database of its own."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.metrics = Metrics(store)
        self.checks: Checks = []
        self.routes: dict[str, bot_web.Handle] = {}
        self.address = ""

    async def get(self, path: str, method: str = "GET", data: bytes | None = None) -> tuple[int, str, str]:
        """Status, content type and body."""
        async with aiohttp.ClientSession() as session:
            if not self.address:
                self.runner, port = await bot_web.serve(
                    bot_web.application(self.metrics, self.checks, routes=self.routes), "127.0.0.1", 0
                )
                self.address = f"http://127.0.0.1:{port}"
            async with session.request(method, self.address + path, data=data) as answer:
                return answer.status, answer.content_type, await answer.text()

    async def get_json(self, path: str) -> tuple[int, Any]:
        status, kind, body = await self.get(path)
        assert kind == "application/json"
        return status, json.loads(body)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    store = Store(f"sqlite:///{tmp_path}/opsbot.db")
    await store.open()
    site = Site(store)
    yield site
    if site.address:
        await site.runner.cleanup()
    await store.close()


async def test_alive_is_alive_whatever_else_is_wrong(site: Site) -> None:
    async def broken() -> list[str]:
        return ["Slack: auth.test failed"]

    site.checks = [("slack", broken)]
    await site.store.close()
    assert await site.get_json("/healthz") == (200, {"status": "alive"})


async def test_ready_when_every_check_is_content(site: Site) -> None:
    site.checks = [("the database", fine), ("slack", fine)]
    assert await site.get_json("/readyz") == (200, {"status": "ready", "problems": []})


async def test_not_ready_says_what_is_wrong(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that hangs or that has a bug is named, and hides none of the others."""
    monkeypatch.setattr(bot_web, "READY_TIMEOUT", 0.1)

    async def two() -> list[str]:
        return ["No room is left.", "The socket is gone."]

    async def hangs() -> list[str]:
        await asyncio.sleep(60)
        return []

    async def has_a_bug() -> list[str]:
        raise ZeroDivisionError

    site.checks = [("a", two), ("supervisor", hangs), ("somas", has_a_bug), ("d", fine)]
    assert await site.get_json("/readyz") == (
        503,
        {
            "status": "not ready",
            "problems": [
                "No room is left.",
                "The socket is gone.",
                "The check of supervisor did not answer within 0 s",
                "The check of somas failed: ZeroDivisionError",
            ],
        },
    )


async def test_however_many_ask_the_systems_behind_are_asked_once(site: Site) -> None:
    asked, answer = 0, asyncio.Event()

    async def slow() -> list[str]:
        nonlocal asked
        asked += 1
        await answer.wait()
        return []

    site.checks = [("slow", slow)]
    await site.get("/healthz")
    asking = [asyncio.create_task(site.get("/readyz")) for _ in range(10)]
    async with asyncio.timeout(5):
        while not asked:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    answer.set()
    assert {status for status, _, _ in await asyncio.gather(*asking)} == {200}
    assert asked <= 2


async def test_metrics_can_be_read_by_prometheus(site: Site) -> None:
    site.metrics.accepted.labels("slack").inc()
    status, kind, body = await site.get("/metrics")
    assert (status, kind) == (200, "text/plain")
    found = {sample.name: sample.value for family in text_string_to_metric_families(body) for sample in family.samples}
    assert found["opsbot_commands_accepted_total"] == 1
    assert found["opsbot_inbox_waiting"] == found["opsbot_outbox_waiting"] == found["opsbot_runs_open"] == 0


async def test_metrics_are_told_as_far_as_they_are_known_without_a_database(site: Site) -> None:
    site.metrics.accepted.labels("slack").inc()
    async with site.store.write() as connection:
        await connection.execute(sa.text("DROP TABLE opsbot_inbox"))
    status, _, body = await site.get("/metrics")
    assert status == 200
    assert 'opsbot_commands_accepted_total{surface="slack"} 1.0' in body


async def test_a_body_over_one_mebibyte_is_refused(site: Site) -> None:
    async def read(request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))

    site.routes = {"slack": read}
    assert (await site.get("/slack/events", "POST", b"x" * 2_000_000))[0] == 413
    assert (await site.get("/slack/events", "POST", b"x" * 1_000_000))[::2] == (200, "1000000")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/healthz/../../etc/passwd", 404),
        ("GET", "/slack/events", 404),  # Slack is not configured here
        ("POST", "/slack/events", 404),
        ("POST", "/github/webhook", 404),
        ("POST", "/healthz", 405),
    ],
)
async def test_there_is_nothing_else(site: Site, method: str, path: str, status: int) -> None:
    assert (await site.get(path, method))[0] == status


async def test_a_port_that_is_taken_is_left_alone(site: Site) -> None:
    await site.get("/healthz")
    port = int(site.address.rpartition(":")[2])
    with pytest.raises(OSError, match="address already in use"):
        await bot_web.serve(bot_web.application(site.metrics, [], routes={}), "127.0.0.1", port)
    assert (await site.get("/healthz"))[0] == 200
