"""What a comment on GitHub costs: opsbot's client beside bare aiohttp and PyGithub as it comes.

``make bench`` prints one table, measured in one interleaved run against a GitHub of 20 lines in another process:
compare the ratios. opsbot's own limiter (one write at a time, a second apart) is measured by itself: with it, comments
wait, and no thread does. Its clock runs ahead for the rest, so that the figures are those of the work.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

ROUNDS = 6
COMMENTS = 200  # a round and a contender
BODY = "### Restart project-42\n\n" + "| 3 | Watch until the stage runs | running |\n" * 40

SERVER = """
import itertools, json, sys
from aiohttp import web
numbers = itertools.count(1)
async def comment(request):
    data = json.loads(await request.read())
    return web.json_response({"id": next(numbers), "body": data["body"], "user": {"login": "opsbot"}}, status=201)
async def repository(request):
    url = f"http://{request.host}/repos/acme/somas"
    return web.json_response({"id": 1, "full_name": "acme/somas", "url": url})
async def issue(request):
    url = f"http://{request.host}/repos/acme/somas/issues/42"
    return web.json_response({"id": 2, "number": 42, "url": url})
app = web.Application()
app.router.add_post("/repos/acme/somas/issues/42/comments", comment)
app.router.add_get("/repos/acme/somas", repository)
app.router.add_get("/repos/acme/somas/issues/42", issue)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
"""

Post = Callable[[], Awaitable[Any]]


class Ahead:
    """A clock on which every wait is over at once."""

    def __init__(self) -> None:
        self._now = datetime.now(UTC)

    def now(self) -> datetime:
        self._now += timedelta(hours=2)  # the windows of the limiter are always empty
        return self._now

    async def sleep(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        await asyncio.sleep(0)


class Threads:
    """A bounded pool, as the bot gives one to its client."""

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(4)

    async def __call__(self, function: Callable[..., Any], /, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self.pool, function, *arguments)


def surface_of(url: str, clock: Any, threads: Threads) -> Any:
    from bot.settings import GitHubSettings
    from bot.surfaces.github.client import GitHubSurface

    settings = GitHubSettings(api_url=url, repository="acme/somas", token=SecretStr("x"))
    return GitHubSurface(settings, clock=clock, run_blocking=threads)


def contenders(url: str, session: aiohttp.ClientSession, threads: Threads) -> dict[str, Post]:
    from github import Auth, Github

    async def bare() -> None:
        payload = json.dumps({"body": BODY}).encode()
        headers = {"Authorization": "Bearer x", "Content-Type": "application/json"}
        async with session.post(f"{url}/repos/acme/somas/issues/42/comments", data=payload, headers=headers) as answer:
            assert (await answer.json())["id"]

    surface = surface_of(url, Ahead(), threads)

    async def ours() -> None:
        await surface.post("acme/somas", 42, BODY, "opsbot:run=01J")

    pygithub = Github(auth=Auth.Token("x"), base_url=url, seconds_between_requests=0, seconds_between_writes=0)

    async def theirs() -> None:
        await threads(lambda: pygithub.get_repo("acme/somas").get_issue(42).create_comment(BODY))

    return {"aiohttp": bare, "opsbot": ours, "PyGithub, not throttled": theirs}


async def measure(post: Post, at_once: int, count: int = COMMENTS) -> tuple[float, float]:
    """Microseconds and CPU microseconds of this process for one comment."""
    left = iter(range(count))

    async def worker() -> None:
        for _ in left:
            await post()

    started, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(worker() for _ in range(at_once)))
    return (time.perf_counter() - started) / count * 1e6, (time.process_time() - cpu) / count * 1e6


async def throttled(url: str) -> tuple[float, float]:
    """Three comments with the real limiter: seconds, and how many of them a thread was busy."""
    from bot.clock import SystemClock

    threads = Threads()
    spent = 0.0  # seconds of threads
    lock = threading.Lock()

    async def counted(function: Callable[..., Any], /, *arguments: Any) -> Any:
        def work() -> Any:
            nonlocal spent
            began = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                with lock:
                    spent += time.perf_counter() - began

        return await threads(work)

    surface = surface_of(url, SystemClock(), counted)  # type: ignore[arg-type]  # the same call
    started = time.perf_counter()
    posting = [asyncio.ensure_future(surface.post("acme/somas", 42, BODY, f"opsbot:run={n}")) for n in range(3)]
    await asyncio.gather(*posting)
    await surface.close()
    return time.perf_counter() - started, spent


async def main() -> None:
    from tests.ports import free_port

    port = free_port()
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(port)])
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(server.pid, {cores[0]})
        os.sched_setaffinity(0, {cores[1]})
    threads = Threads()
    figures: dict[tuple[str, int], list[tuple[float, float]]] = {}
    try:
        async with aiohttp.ClientSession() as session:
            await until_up(session, url)
            them = contenders(url, session, threads)
            for post in them.values():
                await measure(post, 1, 20)  # warm
            for turn in range(ROUNDS):
                names = list(them)
                for name in names[turn % 3 :] + names[: turn % 3]:
                    for at_once in (1, 8):
                        figures.setdefault((name, at_once), []).append(await measure(them[name], at_once))
        seconds, spent = await throttled(url)
    finally:
        server.kill()
        threads.pool.shutdown()
    show(figures, seconds, spent)


async def until_up(session: aiohttp.ClientSession, url: str) -> None:
    for _ in range(200):
        try:
            async with session.get(f"{url}/repos/acme/somas"):
                return
        except aiohttp.ClientError:
            await asyncio.sleep(0.05)
    raise SystemExit("the server does not come up")


def show(figures: dict[tuple[str, int], list[tuple[float, float]]], seconds: float, spent: float) -> None:
    table = Table(title=f"A comment on GitHub, {ROUNDS} rounds of {COMMENTS}")
    for column in ("", "µs, one at a time", "µs, 8 at once", "CPU µs, one", "CPU µs, 8", "CPU / aiohttp, 8"):
        table.add_column(column, justify="right" if column else "left")
    middle = {key: [statistics.median(each) for each in zip(*found, strict=True)] for key, found in figures.items()}
    for name in dict.fromkeys(name for name, _ in figures):
        (one, cpu_one), (eight, cpu_eight) = middle[name, 1], middle[name, 8]
        ratio = cpu_eight / middle["aiohttp", 8][1]
        table.add_row(name, f"{one:.0f}", f"{eight:.0f}", f"{cpu_one:.0f}", f"{cpu_eight:.0f}", f"{ratio:.1f}")
    console = Console(width=110)
    console.print(table)
    ratio = middle["opsbot", 8][1] / middle["aiohttp", 8][1]
    console.print(f"{'met' if ratio <= 6 else 'NOT MET'}: CPU of a comment is {ratio:.1f} of aiohttp's, at most 6 (D3)")
    console.print(
        f"Three comments at once with the real limiter: {seconds:.1f} s, of which threads were busy {spent:.3f} s"
    )


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    asyncio.run(main())
