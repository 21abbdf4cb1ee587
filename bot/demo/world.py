"""``opsbot demo``: a local Slack in the browser, a supervised process, SOMAS projects, and the real bot between them.

The bot is its own process, started as in production (``opsbot run --config …``) and started again when it dies: kill it
in the middle of a run and watch the run go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import aiohttp

from bot.app import installed_products
from bot.clock import SystemClock
from bot.commands.generated import SCOPES
from bot.commands.signature import usage
from bot.demo.slack import LocalSlack, SlashCommand
from bot.demo.somas_projects import generate
from bot.errors import SettingsError
from bot.runs.commands import runs

MARKER = ".opsbot-demo"
LONGEST_SOCKET_PATH = 107
PEOPLE = {"alice": ("U0ALICE", "Alice"), "bob": ("U0BOB", "Bob"), "scotlaclair": ("U0SCOT", "Scot LaClair")}

CONFIGURATION = """\
# Made by `opsbot demo`; the bot reads it as it would in production.
[server]
port = {port}
[database]
url = "sqlite:///{folder}/opsbot.db"
[slack]
api_url = "{api_url}"
channel = "C0OPS"
[somas]
root = "{folder}/somas"
restart_budget = "PT1M"
[supervisor.targets.payments]
socket = "{folder}/payments.sock"
[escalation]
contact = "scotlaclair"
repeat = {{ low = "PT1M", medium = "PT1M", high = "PT1M", critical = "PT30S" }}
[people.scotlaclair]
slack = "U0SCOT"
[people.alice]
slack = "U0ALICE"
[people.bob]
slack = "U0BOB"
[access]
admins = ["slack:U0SCOT"]
operators = ["slack:U0ALICE", "slack:U0BOB"]
viewers = ["*"]
"""


class World:
    """Everything that the demo starts."""

    def __init__(self, folder: Path, port: int, say: Callable[[str], None]) -> None:
        """``say`` tells the terminal what happens after the start."""
        self._say = say
        self.folder = folder.absolute()
        self.port = port
        self._clock = SystemClock()
        self._secret = secrets.token_hex(16)
        self._token = f"xoxb-demo-{secrets.token_hex(8)}"
        self._tasks: list[asyncio.Task[None]] = []
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._stopping = False
        self.bot_port = 0

    async def start(self) -> None:
        """Bring it all up. Raises ``SettingsError`` when something cannot be started, with what to do."""
        self._empty_folder()
        await self._start_slack()
        await asyncio.get_running_loop().run_in_executor(None, generate, self.folder / "somas", self._clock.now())
        self.bot_port = _free_port()
        self._keep(
            "payments",
            "-m",
            "bot.demo.supervised_process",
            "--socket",
            f"{self.folder}/payments.sock",
            "--name",
            "payments",
            "--bind-mode",
            "replace_stale",
        )
        configuration = self.folder / "opsbot.toml"
        configuration.write_text(
            CONFIGURATION.format(port=self.bot_port, folder=self.folder, api_url=self.slack.api_url)
        )
        self._keep("opsbot", "-m", "bot", "run", "--config", str(configuration), "--log", "WARNING")
        try:
            await self._ready()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        self._stopping = True
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        for process in self._processes.values():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await process.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.slack.stop()

    def welcome(self) -> str:
        """What the terminal says when it is ready."""
        bot = self._processes["opsbot"]
        return f"""
  opsbot demo: a simulation of Slack, everything behind it is the real bot.

    Open    {self.slack.page_url}

  Type there, as Alice:

    /supervisor quarantine worker-3      stop a child that is in a crash loop
    /somas restart project-42            restart a failed pipeline; nobody answers, so the time runs out
    /supervisor runbook P1-002 worker-3  the whole runbook, with a step that Bob has to approve
    /somas status

  Bob and Scot are one click away. The bot is process {bot.pid}: kill -9 it in the middle of a run.
  Everything is kept in {self.folder}
  Stop with Ctrl-C.
"""

    # -- parts

    def _empty_folder(self) -> None:
        if len(f"{self.folder}/payments.sock") > LONGEST_SOCKET_PATH:
            raise SettingsError(
                f"{self.folder} is too long for a Unix socket in it ({LONGEST_SOCKET_PATH} characters). "
                "Give a shorter one: opsbot demo --folder /tmp/opsbot-demo"
            )
        try:
            if self.folder.exists():
                if any(self.folder.iterdir()) and not (self.folder / MARKER).exists():
                    raise SettingsError(
                        f"{self.folder} holds other files; the demo empties its folder. "
                        "Give another one: opsbot demo --folder DIR"
                    )
                shutil.rmtree(self.folder)
            self.folder.mkdir(parents=True, mode=0o700)
            (self.folder / MARKER).touch()
        except OSError as error:
            raise SettingsError(f"{self.folder} cannot be used: {error.strerror}. Give another --folder") from error

    async def _start_slack(self) -> None:
        for port in (self.port, 0):
            self.slack = LocalSlack(
                signing_secret=self._secret,
                bot_token=self._token,
                clock=self._clock,
                port=port,
                rate_limits=True,
                scopes=SCOPES,
            )
            try:
                await self.slack.start()
                break
            except OSError:
                if port == 0:
                    raise
        for identity, real_name in PEOPLE.values():
            name = next(key for key, value in PEOPLE.items() if value[0] == identity)
            self.slack.add_person(identity, name, real_name=real_name)
        members = [identity for identity, _ in PEOPLE.values()] + ["U0OPSBOT"]
        self.slack.add_channel("C0OPS", "ops", members=members)
        self.slack.add_channel("C0SOMAS", "somas", members=members)
        groups = [runs, *(product.commands for product in installed_products())]
        self.slack.commands = [
            SlashCommand(
                f"/{group.root} {verb}", usage(group.root, command).partition(f"{verb}")[2].strip(), command.help
            )
            for group in groups
            for verb, command in group.commands.items()
        ]

    def _keep(self, name: str, *arguments: str) -> None:
        self._tasks.append(asyncio.create_task(self._keep_running(name, arguments), name=f"demo {name}"))

    async def _keep_running(self, name: str, arguments: tuple[str, ...]) -> None:
        """Start the process, and again when it dies, as a service manager would."""
        environment = {
            **os.environ,
            "SLACK_BOT_TOKEN": self._token,
            "SLACK_SIGNING_SECRET": self._secret,
        }
        with (self.folder / f"{name}.log").open("ab") as log:
            while not self._stopping:
                process = await asyncio.create_subprocess_exec(
                    sys.executable, *arguments, stdout=log, stderr=log, env=environment, cwd=self.folder
                )
                self._processes[name] = process
                code = await process.wait()
                if self._stopping:
                    return
                if name == "opsbot":
                    self._say(f"  The bot ended ({code}); it is started again.")
                await asyncio.sleep(0.5)

    async def _ready(self) -> None:
        """Wait until the bot says that it can reach everything."""
        url = f"http://127.0.0.1:{self.bot_port}"
        problems: list[str] = ["it does not listen yet"]
        try:
            async with asyncio.timeout(60), aiohttp.ClientSession() as session:
                while problems:
                    with contextlib.suppress(aiohttp.ClientError, json.JSONDecodeError):
                        async with session.get(f"{url}/readyz") as answer:
                            problems = (await answer.json())["problems"]
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise SettingsError(
                f"The bot of the demo did not get ready: {'; '.join(problems)}. Its log: {self.folder}/opsbot.log"
            ) from None
        self.slack.deliver_to(f"{url}/slack/events")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
