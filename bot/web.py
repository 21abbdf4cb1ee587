"""``/healthz``, ``/readyz``, ``/metrics``, ``POST /slack/events``, ``POST /github/webhook``: one aiohttp application.

``/healthz`` says that the process is alive; ``/readyz`` whether it can store what it is told and reach what it needs,
and if not, what is wrong; ``/metrics`` counts for Prometheus. A bot that stands by for another one is alive, not ready.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

import sqlalchemy as sa
import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from bot.metrics import Metrics
from bot.store import reason

log = structlog.get_logger("opsbot.web")

LARGEST_BODY = 1024 * 1024  # bytes
READY_TIMEOUT = 5.0  # seconds for all checks together
REQUEST_TIMEOUT = 20.0  # seconds; Slack waits for 3, GitHub for 10
IDLE_TIMEOUT = 75.0  # seconds that a connection may say nothing, also at its start
LINGER_TIMEOUT = 2.0  # seconds for the rest of a body that nobody wants

PATHS = {"slack": "/slack/events", "github": "/github/webhook"}

Problems = Callable[[], Awaitable[list[str]]]
Handle = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(
    metrics: Metrics,
    checks: Sequence[tuple[str, Problems]],
    *,
    routes: Mapping[str, Handle],
    standby: Callable[[], str] = lambda: "",
    notices: Sequence[tuple[str, Problems]] = (),
) -> web.Application:
    """The bot's HTTP side. ``checks`` are named, so that a check that hangs can be named too.

    ``routes``: what handles ``slack`` and ``github``; a surface that is not configured has no address. ``standby``: why
    this bot only waits; as long as it does, it takes nothing, and a load balancer goes on to the one that leads.
    ``notices``: what is no problem and still worth knowing, as that changing runs are frozen.
    """

    async def alive(_: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    looking: list[asyncio.Task[list[str]]] = []

    async def ready(_: web.Request) -> web.Response:
        if reason := standby():
            return web.json_response({"status": "standby", "problems": [f"standby: {reason}"]}, status=503)
        if not looking or looking[0].done():  # however many ask at once, the systems behind are asked once
            looking[:] = [asyncio.create_task(_all_problems(checks), name="opsbot readiness")]
        problems = await asyncio.shield(looking[0])
        status = "ready" if not problems else "not ready"
        told = {"status": status, "problems": problems}
        if known := await _all_problems(notices):
            told["notices"] = known
        return web.json_response(told, status=200 if not problems else 503)

    async def counts(_: web.Request) -> web.Response:
        try:
            await metrics.refresh()
        except (sa.exc.SQLAlchemyError, OSError) as error:  # what was counted in memory is still worth reading
            log.error("the gauges cannot be read", reason=reason(error))
        return web.Response(body=generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def take(name: str, request: web.Request) -> web.StreamResponse:
        if reason := standby():
            return web.Response(status=503, text=f"standby: {reason}\n", headers={"Retry-After": "1"})
        handle = routes.get(name)
        if handle is None:
            raise web.HTTPNotFound
        if request.method != "POST":
            raise web.HTTPMethodNotAllowed(request.method, ["POST"])
        if request.content.is_eof():
            return await handle(request)
        return await _in_time(handle, request)

    app = web.Application(client_max_size=LARGEST_BODY)
    app.router.add_get("/healthz", alive)
    app.router.add_get("/readyz", ready)
    app.router.add_get("/metrics", counts)
    for name, path in PATHS.items():
        app.router.add_route("*", path, partial(take, name))
    return app


async def _in_time(handle: Handle, request: web.Request) -> web.StreamResponse:
    """A body that never ends keeps no connection open: nobody has shown a signature before it was read.

    No middleware, and no timer for a body that has arrived: either costs every delivery a tenth of its time.
    """
    try:
        async with asyncio.timeout(REQUEST_TIMEOUT):
            return await handle(request)
    except TimeoutError:
        return web.Response(status=408, text="the request took too long\n", headers={"Connection": "close"})


async def _all_problems(checks: Sequence[tuple[str, Problems]]) -> list[str]:
    async def run(name: str, check: Problems) -> list[str]:
        try:
            async with asyncio.timeout(READY_TIMEOUT):
                return await check()
        except TimeoutError:
            return [f"The check of {name} did not answer within {READY_TIMEOUT:.0f} s"]
        except Exception as error:
            log.exception("a readiness check failed", check=name)
            return [f"The check of {name} failed: {type(error).__name__}"]

    found = await asyncio.gather(*(run(name, check) for name, check in checks))
    return [problem for problems in found for problem in problems]


async def serve(app: web.Application, host: str, port: int) -> tuple[web.AppRunner, int]:
    """Listen; returns the runner and the port (of use when ``port`` is 0). Raises ``OSError`` when it is taken."""
    runner = web.AppRunner(
        app, access_log=None, handle_signals=False, keepalive_timeout=IDLE_TIMEOUT, lingering_time=LINGER_TIMEOUT
    )
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    try:
        await site.start()
    except OSError:
        await runner.cleanup()
        raise
    address = runner.addresses[0]
    return runner, int(address[1])
