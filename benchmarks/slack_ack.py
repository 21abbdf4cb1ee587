"""How soon a slash command is acknowledged: opsbot (after the durable write), bolt in two ways, bare aiohttp.

``make bench`` prints one table, measured in one interleaved run: compare the ratios. Nothing but opsbot stores anything
before it answers, and opsbot's CPU includes what the commands then do.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
from rich.console import Console
from rich.table import Table

SECRET = "benchmark"
ROUNDS = 6
REQUESTS = 150  # a round, a contender and a number of connections
CONNECTIONS = (1, 16)

SERVERS = {
    "aiohttp and HMAC": """
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
SERVERS["bolt as it comes"] = SERVERS["bolt, processes first"].replace("PBR", "False")
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
    """A server process and what was measured of it: milliseconds by number of connections, CPU microseconds."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    times: dict[int, list[float]] = field(default_factory=dict)
    cpu: list[float] = field(default_factory=list)

    def cpu_seconds(self) -> float:
        ticks = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")


def request() -> tuple[bytes, dict[str, str]]:
    """A slash command as Slack sends it, with a trigger of its own: each one is new to opsbot."""
    body = urlencode(
        {
            "token": "x", "team_id": "T0OPS", "team_domain": "ops", "channel_id": "C0OPS", "channel_name": "ops",
            "user_id": "U0ALICE", "user_name": "alice", "command": "/somas", "text": "status", "api_app_id": "A0OPS",
            "is_enterprise_install": "false", "response_url": "https://hooks.slack.com/commands/T0OPS/1/x",
            "trigger_id": uuid.uuid4().hex,
        }
    ).encode()  # fmt: skip
    timestamp = str(int(time.time()))
    signature = hmac.new(SECRET.encode(), f"v0:{timestamp}:".encode() + body, hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Slack-Request-Timestamp": timestamp,
        "X-Slack-Signature": f"v0={signature}",
    }
    return body, headers


async def load(session: aiohttp.ClientSession, contender: Contender, connections: int) -> None:
    url = f"http://127.0.0.1:{contender.port}/slack/events"
    work = [request() for _ in range(REQUESTS)]
    before = contender.cpu_seconds()

    async def one() -> None:
        while work:
            body, headers = work.pop()
            started = time.perf_counter()
            async with session.post(url, data=body, headers=headers) as answer:
                await answer.read()
                if answer.status != 200:
                    raise SystemExit(f"{contender.name} answered {answer.status}")
            contender.times.setdefault(connections, []).append((time.perf_counter() - started) * 1000)

    await asyncio.gather(*(one() for _ in range(connections)))
    contender.cpu.append((contender.cpu_seconds() - before) / REQUESTS * 1e6)


async def main() -> None:
    from bot.clock import SystemClock
    from bot.demo.slack import LocalSlack

    slack = LocalSlack(signing_secret=SECRET, bot_token="x", clock=SystemClock())
    await slack.start()
    slack.add_person("U0ALICE", "alice")
    slack.add_channel("C0OPS", "ops", members=["U0ALICE", "U0OPSBOT"])
    with tempfile.TemporaryDirectory(prefix="opsbot-") as name:
        contenders = start(Path(name), slack.api_url)
        try:
            await measure(contenders)
        finally:
            for contender in contenders:
                contender.process.kill()
            await slack.stop()
    show(contenders)


def start(folder: Path, api_url: str) -> list[Contender]:
    from tests.ports import free_port

    contenders = []
    for name, source in SERVERS.items():
        port = free_port()
        contenders.append(Contender(name, port, subprocess.Popen([sys.executable, "-c", source, str(port)])))
    port = free_port()
    (folder / "opsbot.toml").write_text(CONFIGURATION.format(port=port, folder=folder, api_url=api_url))
    environment = {**os.environ, "SLACK_BOT_TOKEN": "x", "SLACK_SIGNING_SECRET": SECRET}
    command = [sys.executable, "-m", "bot", "run", "--config", str(folder / "opsbot.toml"), "--log", "WARNING"]
    with (folder / "log").open("wb") as log:
        bot = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    contenders.append(Contender("opsbot, stored first", port, bot))
    return contenders


async def measure(contenders: list[Contender]) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        for contender in contenders:
            await until_up(session, contender)
            await load(session, contender, 1)  # warm
            contender.times.clear()
            contender.cpu.clear()
        for turn in range(ROUNDS):
            for connections in CONNECTIONS:
                for contender in contenders[turn % 4 :] + contenders[: turn % 4]:
                    await load(session, contender, connections)
                    await asyncio.sleep(1.0)  # what opsbot has accepted is dealt with outside of the measurement


async def until_up(session: aiohttp.ClientSession, contender: Contender) -> None:
    body, headers = request()
    for _ in range(200):
        try:
            async with session.post(
                f"http://127.0.0.1:{contender.port}/slack/events", data=body, headers=headers
            ) as answer:
                await answer.read()
                return
        except aiohttp.ClientError:
            await asyncio.sleep(0.1)
    raise SystemExit(f"{contender.name} does not come up")


def show(contenders: list[Contender]) -> None:
    reference = contenders[0]
    table = Table(title=f"Acknowledging a slash command, {ROUNDS} rounds of {REQUESTS}")
    for column in ("", *(f"p50 ms, {n} at once" for n in CONNECTIONS), *(f"p99 ms, {n} at once" for n in CONNECTIONS)):
        table.add_column(column, justify="left" if not column else "right")
    table.add_column("CPU µs", justify="right")
    table.add_column("CPU / aiohttp", justify="right")
    for contender in contenders:
        cpu, base = statistics.median(contender.cpu), statistics.median(reference.cpu)
        table.add_row(
            contender.name,
            *(f"{statistics.median(contender.times[n]):.2f}" for n in CONNECTIONS),
            *(f"{statistics.quantiles(contender.times[n], n=100)[98]:.1f}" for n in CONNECTIONS),
            f"{cpu:.0f}",
            f"{cpu / base:.2f}",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    asyncio.run(main())
