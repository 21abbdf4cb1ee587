"""The heartbeat, and what the watchdog says about itself; what it judges is in test_escalation_properties.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from pydantic import SecretStr, ValidationError

from bot import store as tables
from bot.clock import ManualClock
from bot.runs import watchdog as watchdog_module
from bot.runs.speak import Speaker
from bot.runs.watchdog import Watchdog
from bot.settings import WatchdogSettings
from bot.store import Store
from tests.ports import free_port
from tests.runs.plans import NOON


class Monitor:
    """An address that takes heartbeats, or does not."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.status = 200
        self.hangs = False
        self.address = ""

    async def take(self, request: web.Request) -> web.Response:
        self.asked.append(f"{request.method} {request.path} {await request.text()}".strip())
        if self.hangs:
            await asyncio.sleep(60)
        return web.Response(status=self.status)


@pytest.fixture
async def monitor() -> AsyncIterator[Monitor]:
    monitor = Monitor()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", monitor.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    monitor.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield monitor
    await runner.cleanup()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = Store(f"sqlite:///{tmp_path}/opsbot.db")
    await store.open()
    yield store
    await store.close()


class Running:
    """The time that the process has run."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def dog(store: Store, clock: ManualClock, address: str, running: Running) -> Watchdog:
    settings = WatchdogSettings(
        heartbeat_url=SecretStr(f"{address}/s3cret" if address else ""),
        fail_url=SecretStr(f"{address}/s3cret/fail" if address else ""),
    )
    speaker = Speaker({}, lambda plan: [], None, str)
    return Watchdog(store, clock, speaker, settings, place=None, running=running)


async def open_page(store: Store, *, paged: timedelta, next_page: timedelta) -> None:
    """An escalation in the tables, paged so long after noon and due again so long after noon; nobody got the page."""
    async with store.write() as connection:
        await connection.execute(
            tables.escalations.insert().values(
                run_id="R1",
                number=1,
                title="P1-002",
                severity="high",
                opened_at=NOON,
                pages=1,
                paged_at=NOON + paged,
                next_page_at=NOON + next_page,
            )
        )


async def test_a_heartbeat_every_minute_while_all_is_well(store: Store, monitor: Monitor) -> None:
    clock, running = ManualClock(NOON), Running()
    watchdog = dog(store, clock, monitor.address, running)
    watchdog.start()
    for count in (1, 2, 3):
        async with asyncio.timeout(10):
            while watchdog.heartbeats < count:
                await asyncio.sleep(0.01)
        await clock.advance(60)
    await watchdog.stop()
    assert monitor.asked[:3] == ["GET /s3cret"] * 3
    assert await watchdog.problems() == []


async def test_no_heartbeat_and_a_cry_while_an_escalation_does_not_go_on(store: Store, monitor: Monitor) -> None:
    clock, running = ManualClock(NOON), Running()
    watchdog = dog(store, clock, monitor.address, running)
    await open_page(store, paged=timedelta(0), next_page=timedelta(hours=1))
    await watchdog.look()
    assert monitor.asked == ["GET /s3cret"], "a page that has just gone out is no reason"
    await clock.advance(300)
    await watchdog.look()
    assert monitor.asked == ["GET /s3cret"], "one look is no proof, but it is no reason for a heartbeat either"
    assert await watchdog.problems() == []
    running.seconds += 60
    await watchdog.look()
    (cry,) = monitor.asked[1:]
    assert cry.startswith("POST /s3cret/fail The escalation of run R1 (P1-002) was paged 5 min ago")
    (problem,) = await watchdog.problems()
    assert "the page has reached nobody" in problem
    async with store.write() as connection:
        await connection.execute(tables.escalations.update().values(acknowledged_at=clock.now()))
    await watchdog.look()
    assert monitor.asked[-1] == "GET /s3cret"
    assert await watchdog.problems() == []
    await watchdog.stop()


async def test_a_clock_that_jumps_makes_nobody_late(store: Store, monitor: Monitor) -> None:
    """A machine that slept for an hour: everything is late at the first look, and the run pages before the second."""
    clock, running = ManualClock(NOON), Running()
    watchdog = dog(store, clock, monitor.address, running)
    await open_page(store, paged=timedelta(0), next_page=timedelta(minutes=20))
    await clock.advance(3600)
    for _ in range(3):
        await watchdog.look()
        running.seconds += 5
    assert watchdog.alarms == ()
    async with store.write() as connection:
        await connection.execute(
            tables.escalations.update().values(paged_at=clock.now(), next_page_at=clock.now() + timedelta(minutes=20))
        )
    running.seconds += 60
    await watchdog.look()
    assert watchdog.alarms == ()
    await watchdog.stop()


@pytest.mark.parametrize("how", ["refused", "away", "hangs"])
async def test_a_heartbeat_that_nobody_takes_is_told_without_its_address(
    store: Store,
    monitor: Monitor,
    how: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(watchdog_module, "HEARTBEAT_TIMEOUT", 0.2)
    monitor.status, monitor.hangs = (500 if how == "refused" else 200), how == "hangs"
    address = f"http://127.0.0.1:{free_port()}" if how == "away" else monitor.address
    watchdog = dog(store, ManualClock(NOON), address, Running())
    await watchdog.look()
    (problem,) = await watchdog.problems()
    assert problem.startswith("watchdog.heartbeat_url does not take the heartbeat: ")
    assert "s3cret" not in problem + caplog.text + capsys.readouterr().out + repr(watchdog.settings)
    await watchdog.stop()


async def test_a_watchdog_that_does_not_look_is_told_too(store: Store) -> None:
    running = Running()
    watchdog = dog(store, ManualClock(NOON), "", running)
    await watchdog.look()
    running.seconds += 201
    assert await watchdog.problems() == ["The watchdog has not looked after the escalations for 201 s."]
    await watchdog.stop()


@pytest.mark.parametrize("url", ["hc-ping.com/x", "file:///etc/passwd", "https://"])
def test_a_heartbeat_goes_to_a_web_address(url: str) -> None:
    with pytest.raises(ValidationError, match="must be an address that starts with https://"):
        WatchdogSettings.model_validate({"heartbeat_url": url})
