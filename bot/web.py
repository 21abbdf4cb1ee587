"""``/healthz``, ``/readyz``, ``/metrics``, ``POST /slack/events``, ``POST /github/webhook``: one aiohttp application.

``/healthz`` says that the process is alive; ``/readyz`` whether it can store what it is told and reach what it needs,
and if not, what is wrong; ``/metrics`` counts for Prometheus.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from bot.metrics import Metrics

log = structlog.get_logger("opsbot.web")

LARGEST_BODY = 1024 * 1024  # bytes
READY_TIMEOUT = 5.0  # seconds for all checks together

PATHS = {"slack": "/slack/events", "github": "/github/webhook"}

Problems = Callable[[], Awaitable[list[str]]]
Handle = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(
    metrics: Metrics, checks: Sequence[tuple[str, Problems]], *, routes: Mapping[str, Handle]
) -> web.Application:
    """The bot's HTTP side. ``checks`` are named, so that a check that hangs can be named too.

    ``routes``: what handles ``slack`` and ``github``; a surface that is not configured has no address.
    """

    async def alive(_: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def ready(_: web.Request) -> web.Response:
        problems = await _all_problems(checks)
        status = "ready" if not problems else "not ready"
        return web.json_response({"status": status, "problems": problems}, status=200 if not problems else 503)

    async def counts(_: web.Request) -> web.Response:
        await metrics.refresh()
        return web.Response(body=generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application(client_max_size=LARGEST_BODY)
    app.router.add_get("/healthz", alive)
    app.router.add_get("/readyz", ready)
    app.router.add_get("/metrics", counts)
    for name, path in PATHS.items():
        if name in routes:
            app.router.add_post(path, routes[name])
    return app


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
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    try:
        await site.start()
    except OSError:
        await runner.cleanup()
        raise
    address = runner.addresses[0]
    return runner, int(address[1])
