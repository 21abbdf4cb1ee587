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
import signal
import socket
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import aiohttp

from bot.app import installed_products
from bot.clock import SystemClock
from bot.commands.generated import SCOPES, SHORTCUT, SHORTCUT_NAME
from bot.commands.signature import usage
from bot.demo.folder import DemoFolder
from bot.demo.slack import Hint, LocalSlack, SlashCommand
from bot.demo.somas_projects import generate
from bot.demo.somas_runner import SimulatedRunner
from bot.errors import SettingsError
from bot.runs.commands import runs
from bot.words import duration

PEOPLE = {
    "alice": ("U0ALICE", "Alice", "on call"),
    "bob": ("U0BOB", "Bob", "second operator"),
    "scotlaclair": ("U0SCOT", "Scot LaClair", "is paged"),
}
RUNNER = "U0RUNNER"
FOREIGN_SETTINGS = ("OPSBOT_", "SLACK_", "GITHUB_")  # of the real bot of whoever tries the demo
PATIENCE = 10.0  # seconds that a process has for its end

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
restart_budget = "PT{restart_seconds}S"
[supervisor.targets.payments]
socket = "{folder}/payments.sock"
bind_mode = "replace_stale"
log = "{folder}/payments.log"
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
[reports.hourly]
product = "somas"
channel = "C0OPS"
cron = "0 * * * *"
escalate = false
"""


class World:
    """Everything that the demo starts. ``restart_seconds``: how long a restart may take until @scotlaclair is paged."""

    def __init__(self, folder: Path, port: int, say: Callable[[str], None], *, restart_seconds: int = 60) -> None:
        """``say`` tells the terminal what happens."""
        self._say = say
        self.folder = folder.absolute()
        self.port = port
        self.restart_seconds = restart_seconds
        self._clock = SystemClock()
        self._secret = secrets.token_hex(16)
        self._token = f"xoxb-demo-{secrets.token_hex(8)}"
        self._tasks: list[asyncio.Task[None]] = []
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._stopping = False
        self._stack = contextlib.AsyncExitStack()
        self._port_problem = ""
        self.bot_port = 0

    async def serve(self) -> None:
        """Until SIGINT (Ctrl-C) or SIGTERM, at whatever moment it comes; then nothing of it is left running.

        Raises ``SettingsError`` when something cannot be started, with what to do.
        """
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
        starting = asyncio.create_task(self.start(), name="demo start")
        stopping = asyncio.create_task(stopped.wait(), name="demo signal")
        try:
            await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                await starting
                self._say(self.welcome())
                await stopping
            self._say("\nStopping…")
        finally:
            for task in (starting, stopping):
                task.cancel()
            await asyncio.gather(starting, stopping, return_exceptions=True)
            await self.stop()

    async def start(self) -> None:
        """Bring it all up. Raises ``SettingsError``; call ``stop`` then, too."""
        self._marker = self._stack.enter_context(DemoFolder(self.folder))
        await self._start_slack()
        self._stack.push_async_callback(self.slack.stop)
        await asyncio.to_thread(generate, self.folder / "somas", self._clock.now())
        self.bot_port = _free_port()
        self._stack.push_async_callback(self._end_processes)
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
            CONFIGURATION.format(
                port=self.bot_port,
                folder=self.folder,
                api_url=self.slack.api_url,
                restart_seconds=self.restart_seconds,
            )
        )
        self._keep("opsbot", "-m", "bot", "run", "--config", str(configuration), "--log", "WARNING")
        await self._ready()
        runner = SimulatedRunner(
            self.folder / "somas", self._clock, lambda text: self.slack.say(RUNNER, "C0SOMAS", text)
        )
        self._tasks.append(asyncio.create_task(runner.watch(), name="demo simulated pipeline"))

    async def stop(self) -> None:
        """End everything that was started; may be called whenever."""
        await self._stack.aclose()

    async def _end_processes(self) -> None:
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        for process in self._processes.values():
            try:
                async with asyncio.timeout(PATIENCE):
                    await process.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    def welcome(self) -> str:
        """What the terminal says when it is ready."""
        bot = self._processes["opsbot"]
        taken = f"  (port {self.port}: {self._port_problem})" if self._port_problem else ""
        return f"""
  opsbot demo: a simulation of Slack, everything behind it is the real bot.

    Open    {self.slack.page_url}{taken}

  Type there, as Alice:

    /supervisor runbook P1-002 worker-3  a whole runbook, with a step that Bob has to approve
    /supervisor quarantine worker-3      stop a child that is in a crash loop
    /somas restart project-23            restart a failed project; a simulated pipeline takes it, it ends well
    /somas restart project-42            nobody takes this one: the time runs out, and @scotlaclair is paged
    /somas status                        what is wrong with sixteen projects

  Bob and Scot are one click away. The bot is process {bot.pid}: kill -9 it in the middle of a run.
  Everything is kept in {self.folder}
  Stop with Ctrl-C.
"""

    def _hints(self) -> list[Hint]:
        """What the page offers to a first-time visitor."""
        budget = duration(timedelta(seconds=self.restart_seconds))
        return [
            Hint("/supervisor quarantine worker-3", "Stop a child that crashes again and again. Takes a second."),
            Hint("/somas restart project-23", "Restart a failed project. A simulated pipeline takes it: it ends well."),
            Hint(
                "/somas restart project-42",
                f"Nobody takes this one. After {budget} its time is over and Scot is paged: "
                "become Scot, read the thread, acknowledge.",
            ),
            Hint(
                "/supervisor runbook P1-002 worker-3",
                "A whole runbook on the child that crashes: the bot finds the reason in the log, Bob approves.",
            ),
            Hint("/somas status", "What is wrong with sixteen projects, the worst first."),
            Hint("/somas report", "Which thresholds are crossed, with a picture. On the hour it comes by itself."),
            Hint("/somas restart project-4", "A slip of the finger: the bot says what there is."),
        ]

    # -- parts

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
                self.slack.bot_is_coming = True
                await self.slack.start()
                break
            except OSError as error:
                self._port_problem = os.strerror(error.errno or 0).lower()
                if port == 0:
                    raise SettingsError(f"No page can be served on 127.0.0.1: {error.strerror}") from error
        for name, (identity, real_name, title) in PEOPLE.items():
            self.slack.add_person(identity, name, real_name=real_name, title=title)
        self.slack.add_person(RUNNER, "simulated-pipeline", is_bot=True)
        members = [identity for identity, _, _ in PEOPLE.values()] + ["U0OPSBOT"]
        self.slack.add_channel("C0OPS", "ops", members=members)
        self.slack.add_channel("C0SOMAS", "somas", members=[*members, RUNNER])
        self.slack.hints = self._hints()
        self.slack.shortcuts = {SHORTCUT: SHORTCUT_NAME}
        groups = [*(product.commands for product in installed_products()), runs]
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
        environment = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN_SETTINGS)}
        environment |= {"SLACK_BOT_TOKEN": self._token, "SLACK_SIGNING_SECRET": self._secret}
        for proxy in ("http_proxy", "https_proxy", "all_proxy"):  # everything is on this machine
            environment.pop(proxy, None)
            environment.pop(proxy.upper(), None)
        again = False
        with (self.folder / f"{name}.log").open("ab") as log:
            while not self._stopping:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *arguments,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    cwd=self.folder,
                    start_new_session=True,  # Ctrl-C is for the demo; it ends its processes itself
                    pass_fds=(self._marker.held,),  # as long as one of them lives, the folder is in use
                )
                self._processes[name] = process
                self._marker.note({"demo": os.getpid()} | {key: one.pid for key, one in self._processes.items()})
                back = asyncio.create_task(self._say_when_back(process)) if name == "opsbot" and again else None
                try:
                    code = await process.wait()
                finally:
                    if back:
                        back.cancel()
                self._say(f"  {name} (process {process.pid}) {_ended(code)}; it is started again.")
                again = True
                await asyncio.sleep(0.5)

    async def _say_when_back(self, bot: asyncio.subprocess.Process) -> None:
        try:
            await self._ready()
        except SettingsError as error:
            self._say(f"  {error}")
        else:
            self._say(f"  The bot is back: process {bot.pid}.")

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


def _ended(code: int) -> str:
    """``was killed by SIGKILL``, ``ended with code 1``."""
    if code >= 0:
        return f"ended with code {code}"
    with contextlib.suppress(ValueError):
        return f"was killed by {signal.Signals(-code).name}"
    return f"was killed by signal {-code}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
