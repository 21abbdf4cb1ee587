"""How soon a slash command is acknowledged: opsbot (after the durable write), bolt in two ways, bare aiohttp.

``make bench`` prints two tables, measured in one interleaved run: compare the ratios. Nothing but opsbot stores
anything before it answers. "opsbot's front" is its web application, receiver, inbox and database file without what
comes after the acknowledgement, so that its CPU is that of an acknowledgement; "opsbot, all of it" is ``opsbot run``,
whose CPU includes what the commands then do. CPU is user and system time of the whole process, in nanoseconds by the
kernel's clock of that process.

``--rounds 6 --requests 300 --only "opsbot's front"``; ``--front PORT FOLDER`` is the server of that contender.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import hmac
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

SECRET = "benchmark"
CONNECTIONS = (1, 16, 64)
RATE = 200  # a second, arrivals at random instants: latency counts from the instant, not from when somebody was free
SECONDS = 2.0  # of that, a round
REFERENCE, STORING, STOCK = "aiohttp and HMAC", "aiohttp, HMAC, one row", "bolt as it comes"
FRONT, WHOLE = "opsbot's front", "opsbot, all of it"

SERVERS = {
    REFERENCE: """
import hashlib, hmac, sys
from aiohttp import web
async def handle(request):
    body = await request.read()
    base = b"v0:" + request.headers["X-Slack-Request-Timestamp"].encode() + b":" + body
    good = "v0=" + hmac.new(b"benchmark", base, hashlib.sha256).hexdigest()
    return web.Response(status=200 if hmac.compare_digest(good, request.headers["X-Slack-Signature"]) else 401)
app = web.Application()
app.router.add_post("/slack/events", handle)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
""",
    STORING: """
import asyncio, hashlib, hmac, queue, sqlite3, sys, threading
from aiohttp import web
database = sqlite3.connect(sys.argv[2] + "/row.db", isolation_level=None, check_same_thread=False)
database.execute("PRAGMA journal_mode = WAL")
database.execute("PRAGMA synchronous = FULL")
database.execute("CREATE TABLE inbox (number INTEGER PRIMARY KEY, key TEXT UNIQUE, body BLOB)")
work, gathered, busy = queue.SimpleQueue(), [], False
def hand_over():
    global gathered, busy
    busy = bool(gathered)
    if busy:
        batch, gathered = gathered, []
        work.put((asyncio.get_running_loop(), batch))
def tell(batch):
    hand_over()
    for _, _, stored in batch:
        stored.set_result(None)
def write():
    while True:
        loop, batch = work.get()
        rows = ", ".join(["(?, ?)"] * len(batch))
        values = [value for key, body, _ in batch for value in (key, body)]
        database.execute(f"INSERT INTO inbox (key, body) VALUES {rows} ON CONFLICT DO NOTHING", values)
        loop.call_soon_threadsafe(tell, batch)
threading.Thread(target=write, daemon=True).start()
async def handle(request):
    global busy
    body = await request.read()
    signature = request.headers["X-Slack-Signature"]
    base = b"v0:" + request.headers["X-Slack-Request-Timestamp"].encode() + b":" + body
    good = "v0=" + hmac.new(b"benchmark", base, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(good, signature):
        return web.Response(status=401)
    loop = asyncio.get_running_loop()
    stored = loop.create_future()
    gathered.append((signature, body, stored))
    if not busy:
        busy = True
        loop.call_soon(hand_over)
    await stored
    return web.Response()
app = web.Application()
app.router.add_post("/slack/events", handle)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
""",
    "bolt, processes first": """
import logging, sys
from aiohttp import web
from slack_bolt.async_app import AsyncApp
from slack_bolt.adapter.aiohttp import to_bolt_request, to_aiohttp_response
from slack_bolt.authorization import AuthorizeResult
async def authorize(**_):
    return AuthorizeResult(enterprise_id=None, team_id="T0OPS", bot_user_id="U0", bot_id="B0", bot_token="x")
bolt = AsyncApp(signing_secret="benchmark", authorize=authorize, process_before_response=PBR)
@bolt.command("/somas")
async def somas(ack):
    await ack()
async def handle(request):
    return await to_aiohttp_response(await bolt.async_dispatch(await to_bolt_request(request)))
logging.disable(logging.WARNING)
app = web.Application()
app.router.add_post("/slack/events", handle)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
""",
}
SERVERS[STOCK] = SERVERS["bolt, processes first"].replace("PBR", "False")
SERVERS["bolt, processes first"] = SERVERS["bolt, processes first"].replace("PBR", "True")

CONFIGURATION = """
[server]
port = {port}
[database]
url = "sqlite:///{folder}/opsbot.db"
[slack]
channel = "C0OPS"
api_url = "{api_url}"
[escalation]
contact = "scotlaclair"
[people.scotlaclair]
slack = "U0SCOT"
[access]
viewers = ["*"]
"""


@dataclass
class Contender:
    """A server process and what was measured of it, by load: seconds per request, CPU seconds per request."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    times: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)

    def cpu_seconds(self) -> float:
        """Of all its threads, also of those that have ended: the clock that clock_getcpuclockid(3) names."""
        return time.clock_gettime((~self.process.pid << 3) | 2)


def request() -> bytes:
    """A slash command as Slack sends it, with a trigger of its own: each one is new to opsbot."""
    body = urlencode(
        {
            "token": "x", "team_id": "T0OPS", "team_domain": "ops", "channel_id": "C0OPS", "channel_name": "ops",
            "user_id": f"U0USER{random.randrange(20)}", "user_name": "alice", "command": "/somas", "text": "status",
            "api_app_id": "A0OPS", "is_enterprise_install": "false",
            "response_url": "https://hooks.slack.com/commands/T0OPS/1/x", "trigger_id": uuid.uuid4().hex,
        }
    ).encode()  # fmt: skip
    timestamp = str(int(time.time()))
    signature = hmac.new(SECRET.encode(), f"v0:{timestamp}:".encode() + body, hashlib.sha256).hexdigest()
    head = (
        "POST /slack/events HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: Slackbot 1.0\r\nAccept: */*\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n"
        f"X-Slack-Request-Timestamp: {timestamp}\r\nX-Slack-Signature: v0={signature}\r\n\r\n"
    )
    return head.encode() + body


class Line(asyncio.Protocol):
    """One connection, one request at a time; a client that costs little, since it shares the machine."""

    def __init__(self) -> None:
        self._got = b""
        self._answer: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, end, body = self._got.partition(b"\r\n\r\n")
        if end and self._answer and not self._answer.done():
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
            if len(body) >= length:
                self._got = b""
                self._answer.set_result(head)

    def connection_lost(self, exception: Exception | None) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_exception(exception or ConnectionError("the server hung up"))

    async def ask(self, whole: bytes) -> None:
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(whole)
        head = await self._answer
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"answered {head[:40]!r}")

    def close(self) -> None:
        self._transport.close()


async def lines(port: int, number: int) -> list[Line]:
    loop = asyncio.get_running_loop()
    return [(await loop.create_connection(Line, "127.0.0.1", port))[1] for _ in range(number)]


async def closed_loop(contender: Contender, connections: int, requests: int) -> None:
    """So many connections, each of which asks again as soon as it was answered."""
    work = [request() for _ in range(requests)]
    open_lines = await lines(contender.port, connections)
    times = contender.times.setdefault(f"{connections}", [])
    before = contender.cpu_seconds()

    async def ask(line: Line) -> None:
        while work:
            whole = work.pop()
            started = time.perf_counter()
            await line.ask(whole)
            times.append(time.perf_counter() - started)

    await asyncio.gather(*(ask(line) for line in open_lines))
    contender.cpu.setdefault(f"{connections}", []).append((contender.cpu_seconds() - before) / requests)
    for line in open_lines:
        line.close()


async def open_loop(contender: Contender, seed: int) -> None:
    """Arrivals at random instants, ``RATE`` a second, whether or not the earlier ones were answered."""
    arrivals, instant = random.Random(seed), 0.0
    instants = []
    while (instant := instant + arrivals.expovariate(RATE)) < SECONDS:
        instants.append(instant)
    work = [request() for _ in instants]
    free = await lines(contender.port, 64)
    times = contender.times.setdefault("rate", [])
    before = contender.cpu_seconds()
    started = time.perf_counter() + 0.05

    async def ask(whole: bytes, at: float) -> None:
        line = free.pop() if free else (await lines(contender.port, 1))[0]
        await line.ask(whole)
        times.append(time.perf_counter() - started - at)
        free.append(line)

    asking = []
    for whole, at in zip(work, instants, strict=True):
        if (pause := started + at - time.perf_counter()) > 0:
            await asyncio.sleep(pause)
        asking.append(asyncio.create_task(ask(whole, at)))
    await asyncio.gather(*asking)
    contender.cpu.setdefault("rate", []).append((contender.cpu_seconds() - before) / len(work))
    for line in free:
        line.close()


def start(folder: Path, api_url: str, wanted: Callable[[str], bool]) -> list[Contender]:
    from tests.ports import free_port

    contenders = []
    for name, source in SERVERS.items():
        if wanted(name):
            port = free_port()
            command = [sys.executable, "-c", source, str(port), str(folder)]
            contenders.append(Contender(name, port, subprocess.Popen(command)))
    if wanted(FRONT):
        port = free_port()
        command = [sys.executable, __file__, "--front", str(port), str(folder), api_url]
        contenders.append(Contender(FRONT, port, subprocess.Popen(command)))
    if wanted(WHOLE):
        port = free_port()
        (folder / "opsbot.toml").write_text(CONFIGURATION.format(port=port, folder=folder, api_url=api_url))
        environment = {**os.environ, "SLACK_BOT_TOKEN": "x", "SLACK_SIGNING_SECRET": SECRET}
        command = [sys.executable, "-m", "bot", "run", "--config", str(folder / "opsbot.toml"), "--log", "WARNING"]
        with (folder / "log").open("wb") as log:
            contenders.append(
                Contender(WHOLE, port, subprocess.Popen(command, env=environment, stdout=log, stderr=log))
            )
    return contenders


async def front(port: int, folder: Path, api_url: str) -> None:
    """The part of opsbot that acknowledges: the real one, without the dispatcher and the engine behind it."""
    from bot.clock import SystemClock
    from bot.inbox import Inbox
    from bot.logs import configure
    from bot.metrics import Metrics
    from bot.store import Store
    from bot.surfaces.slack.app import SlackReceiver
    from bot.surfaces.slack.client import SlackSurface
    from bot.web import application, serve

    configure("WARNING")
    store = Store(f"sqlite:///{folder}/front.db")
    await store.open()
    surface = SlackSurface("x", SystemClock(), api_url=api_url)
    await surface.start()
    receiver = SlackReceiver(signing_secret=SECRET, surface=surface, accept=Inbox(store).accept, clock=SystemClock())
    await serve(application(Metrics(store), (), routes={"slack": receiver.handle}), "127.0.0.1", port)
    await asyncio.Event().wait()


async def measure(contenders: list[Contender], rounds: int, requests: int) -> None:
    for contender in contenders:
        await until_up(contender)
        await closed_loop(contender, 16, 200)  # warm
        contender.times.clear()
        contender.cpu.clear()
    for turn in range(rounds):
        for load in (*CONNECTIONS, 0):
            order = contenders[:]
            random.Random(turn * 100 + load).shuffle(order)
            for contender in order:
                await (closed_loop(contender, load, requests) if load else open_loop(contender, turn))
                if contender.name == WHOLE:
                    await calm(contender)  # what it has accepted is dealt with before the next one is measured


async def calm(contender: Contender) -> None:
    for _ in range(300):
        before = contender.cpu_seconds()
        await asyncio.sleep(0.2)
        if contender.cpu_seconds() - before < 0.03:
            return


async def until_up(contender: Contender) -> None:
    for _ in range(200):
        try:
            (line,) = await lines(contender.port, 1)
            await line.ask(request())
        except OSError:
            await asyncio.sleep(0.1)
        else:
            line.close()
            return
    raise SystemExit(f"{contender.name} does not come up")


LOADS = {"1": "1 at once", "16": "16 at once", "64": "64 at once", "rate": f"{RATE}/s"}


def show(contenders: list[Contender], rounds: int, requests: int) -> None:
    console = Console(width=150)
    table = Table(title=f"Acknowledging a slash command, {rounds} rounds of {requests}: milliseconds, p50 / p99")
    cost = Table(title="CPU of the server per command: microseconds (and as a multiple of aiohttp's)")
    for each in (table, cost):
        each.add_column("")
        for load in LOADS.values():
            each.add_column(load, justify="right")
    base = next((one for one in contenders if one.name == REFERENCE), contenders[0])
    for one in contenders:
        spread = {load: statistics.quantiles(one.times[load], n=100) for load in LOADS}
        table.add_row(one.name, *(f"{spread[load][49] * 1e3:.2f} / {spread[load][98] * 1e3:.1f}" for load in LOADS))
        cells = []
        for load in LOADS:
            own, reference = statistics.median(one.cpu[load]), statistics.median(base.cpu[load])
            cells.append(f"{own * 1e6:.0f} ({own / reference:.2f})")
        cost.add_row(one.name, *cells)
    console.print(table)
    console.print(cost)


async def main(rounds: int, requests: int, only: list[str]) -> None:
    from bot.clock import SystemClock
    from bot.demo.slack import LocalSlack

    slack = LocalSlack(signing_secret=SECRET, bot_token="x", clock=SystemClock())
    await slack.start()
    slack.add_channel("C0OPS", "ops", members=["U0OPSBOT"])
    with tempfile.TemporaryDirectory(prefix="opsbot-") as name:
        contenders = start(Path(name), slack.api_url, lambda each: not only or each in only)
        try:
            await measure(contenders, rounds, requests)
        finally:
            for contender in contenders:
                contender.process.kill()
                contender.process.wait()
            await slack.stop()
    show(contenders, rounds, requests)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--requests", type=int, default=300, help="a round, a contender and a number of connections")
    parser.add_argument("--only", action="append", default=[], help="a contender; may be repeated")
    parser.add_argument("--front", nargs=3, metavar=("PORT", "FOLDER", "API_URL"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.front:
        asyncio.run(front(int(arguments.front[0]), Path(arguments.front[1]), arguments.front[2]))
    else:
        asyncio.run(main(arguments.rounds, arguments.requests, arguments.only))
