"""What a delivery of GitHub costs: opsbot beside aiohttp that only checks the signature, gidgethub and Probot.

``make bench`` prints one table, measured in one interleaved run on one core: compare the ratios. The delivery is an
``issue_comment`` of 25 KB without a command, what a busy repository sends most; *repeated* is one that was handled
before, *uninteresting* an event that nobody listens to. A command is stored on the disk before it is answered; what the
least of that costs is shown by aiohttp that also commits one row. What opsbot is asked is the whole bot, as ``opsbot
run`` starts it. gidgethub and Probot are installed into a temporary
folder from PyPI and npm; who cannot be installed is left out, and that is said.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

SECRET = "benchmark"
ROUNDS = 6
REQUESTS = 1500  # a round, a contender and a number of connections
COMMANDS = 200
CONNECTIONS = (1, 16)
HMAC_ONLY, AND_A_ROW = "aiohttp and HMAC only", "aiohttp, HMAC and one SQLite row"
ORDINARY, REPEATED, UNINTERESTING = "", ", repeated", ", uninteresting"

AIOHTTP = """
import hashlib, hmac, sys
from aiohttp import web
async def handle(request):
    body = await request.read()
    good = "sha256=" + hmac.digest(b"benchmark", body, "sha256").hex()
    right = hmac.compare_digest(good, request.headers["X-Hub-Signature-256"])
    return web.Response(status=202 if right else 401)
app = web.Application(client_max_size=2**21)
app.router.add_post("/github/webhook", handle)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
"""

AIOHTTP_AND_A_ROW = """
import hashlib, hmac, sqlite3, sys
from aiohttp import web
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE inbox (id TEXT, body BLOB)")
async def handle(request):
    body = await request.read()
    good = "sha256=" + hmac.digest(b"benchmark", body, "sha256").hex()
    if not hmac.compare_digest(good, request.headers["X-Hub-Signature-256"]):
        return web.Response(status=401)
    database.execute("INSERT INTO inbox VALUES (?, ?)", (request.headers["X-GitHub-Delivery"], body[:500]))
    return web.Response(status=202)
app = web.Application(client_max_size=2**21)
app.router.add_post("/github/webhook", handle)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[2]), print=None, access_log=None)
"""

GIDGETHUB = """
import sys
from aiohttp import web
from gidgethub import routing, sansio
router = routing.Router()
@router.register("issue_comment", action="created")
async def created(event):
    event.data["comment"]["body"]
async def handle(request):
    event = sansio.Event.from_http(request.headers, await request.read(), secret="benchmark")
    await router.dispatch(event)
    return web.Response(status=202)
app = web.Application(client_max_size=2**21)
app.router.add_post("/github/webhook", handle)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
"""

PROBOT = """
import { createServer } from "node:http";
import { Probot, createNodeMiddleware } from "probot";
const probot = new Probot({
  appId: 1, privateKey: process.env.PRIVATE_KEY, secret: "benchmark", logLevel: "fatal",
});
const app = (app) => { app.on("issue_comment.created", async (context) => { context.payload.comment.body; }); };
const middleware = await createNodeMiddleware(app, { probot, webhooksPath: "/github/webhook" });
createServer((request, response) => middleware(request, response, () => response.writeHead(404).end()))
  .listen(Number(process.argv[2]), "127.0.0.1");
"""

CONFIGURATION = """
[server]
port = {port}
[database]
url = "sqlite:///{folder}/opsbot.db"
[github]
repository = "acme/somas"
api_url = "{api_url}"
poll_seconds = 3600
[escalation]
contact = "scotlaclair"
[people.scotlaclair]
github = "scotlaclair"
[access]
viewers = ["github:alice"]
"""


@dataclass
class Contender:
    """A server process and what was measured of it; the names of the figures say of which kind of delivery."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    per_second: dict[str, list[float]] = field(default_factory=dict)
    times: dict[str, list[float]] = field(default_factory=dict)  # ms, one delivery at a time
    cpu: dict[str, list[float]] = field(default_factory=dict)  # µs

    def cpu_seconds(self) -> float:
        """User and system time of the process with all its threads, exact to the nanosecond (Linux)."""
        return time.clock_gettime((~self.process.pid << 3) | 2)


def payload(comment: int = 7, text: str = "") -> bytes:
    """A comment event of about 25 KB, of the size and the order of fields that GitHub's have."""
    prose = "The gate has been red since the last deployment, and nobody knows why. " * 60
    links = {f"{name}_url": f"https://api.github.com/repos/acme/somas/{name}{{/sha}}" for name in map(str, range(110))}
    user: dict[str, Any] = {"login": "alice", "id": 1, "type": "User", "site_admin": False} | dict(
        list(links.items())[:14]
    )
    document = {
        "action": "created",
        "issue": {"number": 42, "title": "Project 42 is stuck", "user": user, "labels": [], "body": prose} | links,
        "comment": {
            "id": comment,
            "node_id": "IC_x",
            "user": user,
            "created_at": "2026-11-22T12:00:00Z",
            "updated_at": "2026-11-22T12:00:00Z",
            "author_association": "MEMBER",
            "body": text or f"I have looked at the log.\n\n{prose}",
        },
        "repository": {"id": 1, "full_name": "acme/somas", "owner": user} | links,
        "organization": user,
        "sender": user,
        "installation": {"id": 1, "node_id": "x"},
    }
    return json.dumps(document).encode()


_numbers = itertools.count()


def request(body: bytes, event: str = "issue_comment", delivery: str = "") -> bytes:
    """The HTTP request as it goes over the wire."""
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    delivery = delivery or f"0b989ba4-242f-11e5-81e1-{next(_numbers):012x}"
    head = (
        "POST /github/webhook HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "User-Agent: GitHub-Hookshot/044aadd\r\nAccept: */*\r\n"
        f"X-GitHub-Event: {event}\r\nX-GitHub-Delivery: {delivery}\r\nX-GitHub-Hook-ID: 1\r\n"
        f"X-Hub-Signature-256: sha256={signature}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def connection(port: int, work: list[bytes], times: list[float]) -> None:
    """Send what is left of ``work`` over one connection, one after the other."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while work:
            started = time.perf_counter()
            writer.write(work.pop())
            head = await reader.readuntil(b"\r\n\r\n")
            if head[9:10] != b"2":
                raise SystemExit(f"answered {head!r}")
            lowered = head.lower()
            if b"content-length: " in lowered:
                await reader.readexactly(int(lowered.partition(b"content-length: ")[2].partition(b"\r")[0]))
            elif b"transfer-encoding: chunked" in lowered:
                while (await reader.readline()) != b"0\r\n":
                    pass
                await reader.readline()
            times.append((time.perf_counter() - started) * 1000)
    finally:
        writer.close()


async def load(contender: Contender, kind: str, work: list[bytes], connections: int) -> None:
    times: list[float] = []
    before, started, count = contender.cpu_seconds(), time.perf_counter(), len(work)
    await asyncio.gather(*(connection(contender.port, work, times) for _ in range(connections)))
    contender.cpu.setdefault(kind, []).append((contender.cpu_seconds() - before) / count * 1e6)
    if connections == 1:
        contender.times.setdefault(kind, []).extend(times)
    else:
        contender.per_second.setdefault(kind, []).append(count / (time.perf_counter() - started))


def requests_of(kind: str, bodies: list[bytes]) -> list[bytes]:
    if kind == REPEATED:
        return [request(bodies[0], delivery="repeated")] * REQUESTS
    if kind == UNINTERESTING:
        return [request(bodies[0], event="check_run")] * REQUESTS
    return [request(bodies[number % len(bodies)]) for number in range(REQUESTS)]


def peers(folder: Path) -> dict[str, tuple[list[str], dict[str, str]]]:
    """The commands of those that can be installed, by name, without the port."""
    found: dict[str, tuple[list[str], dict[str, str]]] = {
        HMAC_ONLY: ([sys.executable, "-c", AIOHTTP], {}),
        AND_A_ROW: ([sys.executable, "-c", AIOHTTP_AND_A_ROW, str(folder / "rows.db")], {}),
    }
    python = folder / "python"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        "--target",
        str(python),
        "gidgethub",
    ]
    if subprocess.run(install, check=False).returncode == 0:
        found["gidgethub on aiohttp"] = ([sys.executable, "-c", GIDGETHUB], {"PYTHONPATH": str(python)})
    else:
        print("SKIPPED: gidgethub could not be installed from PyPI", file=sys.stderr)
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm and node:
        install = [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), "probot@14"]
        if subprocess.run(install, check=False, stdout=subprocess.DEVNULL).returncode == 0:
            (folder / "probot.mjs").write_text(PROBOT)
            environment = {"PRIVATE_KEY": private_key(), "NODE_ENV": "production", "LOG_LEVEL": "fatal"}
            found["Probot 14"] = ([node, str(folder / "probot.mjs")], environment)
        else:
            print("SKIPPED: Probot could not be installed from npm", file=sys.stderr)
    else:
        print("SKIPPED: Probot needs node and npm, which are not here", file=sys.stderr)
    return found


def private_key() -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def start(folder: Path, api_url: str, token: str) -> list[Contender]:
    from tests.ports import free_port

    contenders = []
    for name, (command, environment) in peers(folder).items():
        port = free_port()
        process = subprocess.Popen([*command, str(port)], env={**os.environ, **environment})
        contenders.append(Contender(name, port, process))
    port = free_port()
    (folder / "opsbot.toml").write_text(CONFIGURATION.format(port=port, folder=folder, api_url=api_url))
    environment = {**os.environ, "GITHUB_TOKEN": token, "GITHUB_WEBHOOK_SECRET": SECRET}
    command = [sys.executable, "-m", "bot", "run", "--config", str(folder / "opsbot.toml"), "--log", "WARNING"]
    with (folder / "log").open("wb") as log:
        bot = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    contenders.append(Contender("opsbot", port, bot))
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:  # the servers on one core, what asks them on another
        for contender in contenders:
            os.sched_setaffinity(contender.process.pid, {cores[0]})
        os.sched_setaffinity(0, {cores[1]})
    return contenders


async def until_up(contender: Contender) -> None:
    for _ in range(300):
        try:
            await connection(contender.port, [request(payload())], [])
            return
        except (OSError, asyncio.IncompleteReadError):
            await asyncio.sleep(0.1)
    raise SystemExit(f"{contender.name} does not come up")


async def measure(contenders: list[Contender]) -> None:
    bodies = [payload(number) for number in range(64)]
    turns = [(contender, ORDINARY) for contender in contenders]
    turns += [(each, kind) for each in (contenders[0], contenders[-1]) for kind in (REPEATED, UNINTERESTING)]
    for contender, kind in turns:
        await until_up(contender)
        await load(contender, kind, requests_of(kind, bodies), 16)  # warm
    for contender in contenders:
        contender.cpu.clear()
        contender.per_second.clear()
    for turn in range(ROUNDS):
        for connections in CONNECTIONS:
            shift = turn % len(turns)
            for contender, kind in turns[shift:] + turns[:shift]:
                work = requests_of(kind, bodies)
                await load(contender, kind, work[:500] if connections == 1 else work, connections)


async def store_commands(contender: Contender) -> list[float]:
    """Milliseconds until a command is on the disk and answered, 16 at once."""
    work = [request(payload(1_000_000 + number, f"/somas status project-{number}")) for number in range(COMMANDS)]
    times: list[float] = []
    await asyncio.gather(*(connection(contender.port, work, times) for _ in range(16)))
    return times


def show(contenders: list[Contender], stored: dict[str, list[float]]) -> None:
    """Each kind of delivery beside the same kind of the reference: bytes that come again are warmer than new ones."""
    reference = {kind: statistics.median(cpu) for kind, cpu in contenders[0].cpu.items()}
    table = Table(title=f"A delivery of 25 KB, {ROUNDS} rounds")
    for column in ("", "CPU µs", "CPU / HMAC only", "per second, 16 at once", "p50 ms", "p99 ms"):
        table.add_column(column, justify="right" if column else "left")
    figures: dict[str, float] = {}
    for contender in contenders:
        for kind, cpu in contender.cpu.items():
            figures[contender.name + kind] = statistics.median(cpu)
            times = contender.times[kind]
            table.add_row(
                contender.name + kind,
                f"{statistics.median(cpu):.0f}",
                f"{statistics.median(cpu) / reference[kind]:.2f}",
                f"{statistics.median(contender.per_second[kind]):.0f}",
                f"{statistics.median(times):.2f}",
                f"{statistics.quantiles(times, n=100)[98]:.1f}",
            )
    console = Console(width=120)
    console.print(table)
    console.print(f"{COMMANDS} commands, each on the disk before its 202, 16 at once:")
    for name, times in stored.items():
        p99 = statistics.quantiles(times, n=100)[98]
        console.print(f"  {name}: p50 {statistics.median(times):.1f} ms, p99 {p99:.1f} ms")
    for kind, most in ((ORDINARY, 1.2), (REPEATED, 1.05), (UNINTERESTING, 1.05)):
        name, ratio = f"opsbot{kind}", figures[f"opsbot{kind}"] / reference[kind]
        console.print(
            f"{'met' if ratio <= most else 'NOT MET'}: CPU of {name} is {ratio:.2f} of HMAC only, at most {most}"
        )
    if "Probot 14" in figures:
        # By CPU: all run on one core, and who asks them in Python is slower than any of them.
        ratio = figures["Probot 14"] / figures["opsbot"]
        console.print(f"{'met' if ratio >= 2 else 'NOT MET'}: {ratio:.2f} times Probot's deliveries a core, at least 2")


async def main() -> None:
    from bot.clock import SystemClock
    from bot.demo.github import LocalGitHub

    async with LocalGitHub("acme/somas", clock=SystemClock()) as github:
        github.issue("Project 42 is stuck", number=42)
        with tempfile.TemporaryDirectory(prefix="opsbot-") as name:
            contenders = start(Path(name), github.api_url, github.token)
            try:
                await measure(contenders)
                stored = {
                    each.name: await store_commands(each) for each in contenders if each.name in (AND_A_ROW, "opsbot")
                }
            finally:
                for contender in contenders:
                    contender.process.kill()
    show(contenders, stored)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    asyncio.run(main())
