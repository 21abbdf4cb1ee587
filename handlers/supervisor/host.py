"""``[supervisor.targets.payments.commands]``: what the bot may run on its host, and how it is run.

Nothing else is ever run. A command is a list of arguments, never a line for a shell; a placeholder in it is filled by a
value that the bot has found itself and checked by its type. A command gets no secret of the bot, no input, a session of
its own and a time limit; what it prints is kept up to a limit, the end of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bot.clock import first_of
from bot.errors import UserError
from handlers.supervisor.settings import COMMANDS, SupervisorTarget

KEPT_OUTPUT = 256 * 1024  # bytes, the last ones
PIECE = 64 * 1024
TERM_SECONDS = 1.0  # between the request to end and the end
DRAIN_SECONDS = 0.3  # for output after the end; what a daemon holds open is not waited for
PASSED_ON = ("PATH", "HOME", "USER", "TZ", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")
CHILD_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}")
MOST_LINES = 1000
_PLACEHOLDER = re.compile(r"\{([a-z]+)\}")

Fact = int | str | Path


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that was run. ``exit_code`` is None when it was killed by the bot, negative when by another signal."""

    name: str
    argv: tuple[str, ...]
    exit_code: int | None
    output: str
    why: str = ""  # why it was killed, or could not be started

    @property
    def worked(self) -> bool:
        return self.exit_code == 0

    @property
    def told(self) -> str:
        """``systemctl start payments ended with 1``."""
        line = shlex.join(self.argv)
        if self.why:
            return f"{line} {self.why}"
        if self.exit_code is not None and self.exit_code < 0:
            return f"{line} was ended by {signal_name(-self.exit_code)}"
        return f"{line} ended with {self.exit_code}"


@dataclass(frozen=True, slots=True)
class Host:
    """The commands of one target."""

    name: str
    target: SupervisorTarget

    def has(self, command: str) -> bool:
        return command in self.target.commands

    def line(self, command: str, **facts: Fact) -> str:
        """What would be run, for people; a placeholder without a value stays."""
        return shlex.join(self.argv(command, facts, strict=False))

    def argv(self, command: str, facts: Mapping[str, Fact], *, strict: bool = True) -> tuple[str, ...]:
        """The arguments with their placeholders filled. Raises ``UserError`` for a value that is missing or odd."""
        known: dict[str, str] = {"target": self.name}
        if self.target.socket:
            known["socket"] = str(self.target.socket)
        known |= {name: checked(name, value) for name, value in facts.items()}
        filled = []
        for word in self.target.commands[command]:
            unknown = [name for name in _PLACEHOLDER.findall(word) if name not in known]
            if unknown and strict:
                raise UserError(f"{self.name}: commands.{command} needs {{{unknown[0]}}}, which is not known now.")
            filled.append(_PLACEHOLDER.sub(lambda found: known.get(found[1], found[0]), word))
        return tuple(filled)

    async def run(
        self, command: str, *, seconds: float | None = None, abort: asyncio.Event | None = None, **facts: Fact
    ) -> Ran:
        """Run a configured command. Raises ``UserError`` when it is not configured or a placeholder has no value."""
        if not self.has(command):
            raise UserError(missing(self.name, command))
        argv = self.argv(command, facts)
        return await run(command, argv, seconds or self.target.command_seconds, abort or asyncio.Event())


def missing(target: str, command: str) -> str:
    """How to allow a command that is not there."""
    return (
        f"{target}: the bot may not do this, because commands.{command} is not configured: what {COMMANDS[command]}. "
        f"Add it under [supervisor.targets.{target}.commands]."
    )


def checked(name: str, value: Fact) -> str:
    """The value of a placeholder as one argument. Raises ``UserError`` for one that is not of its kind."""
    match name, value:
        case "pid", int() if value > 1:
            return str(value)
        case "lines", int() if 0 < value <= MOST_LINES:
            return str(value)
        case "child", str() if CHILD_NAME.fullmatch(value):
            return value
        case "core" | "socket", Path() if value.is_absolute() and "\0" not in str(value):
            return str(value)
        case _:
            raise UserError(f"{str(value)[:60]!r} is not put into a command as {{{name}}}.")


async def run(name: str, argv: Sequence[str], seconds: float, abort: asyncio.Event) -> Ran:
    """Run a program to its end, at most ``seconds``, then end it and everything that it started."""
    environment = {key: os.environ[key] for key in PASSED_ON if key in os.environ} | {"LC_ALL": "C.UTF-8"}
    # A pipe of our own: asyncio's would keep wait() until everybody has closed it, daemons included.
    reading, writing = os.pipe()
    output = os.fdopen(reading, "rb", buffering=0)
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=writing,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            env=environment,
            cwd="/",
        )
    except OSError as error:
        output.close()
        return Ran(name, tuple(argv), None, "", f"cannot be run: {error.strerror or error}")
    except BaseException:
        output.close()
        raise
    finally:
        os.close(writing)
    kept = bytearray()
    stream = asyncio.StreamReader(limit=PIECE)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stream), output
    )
    collecting = asyncio.create_task(_collect(stream, kept))
    why = ""
    try:
        async with asyncio.timeout(seconds):
            await first_of(process.wait(), abort.wait())
        if process.returncode is None:
            why = "was ended, because the run was cancelled"
    except TimeoutError:
        why = f"was ended after {seconds:g} s"
    finally:
        if process.returncode is None:
            await _end(process)
        await first_of(asyncio.shield(collecting), asyncio.sleep(DRAIN_SECONDS))
        collecting.cancel()
        await asyncio.gather(collecting, return_exceptions=True)
        transport.close()
    return Ran(
        name, tuple(argv), None if why else process.returncode, bytes(kept).decode("utf-8", "replace").rstrip("\n"), why
    )


async def _collect(stream: asyncio.StreamReader, kept: bytearray) -> None:
    while piece := await stream.read(PIECE):
        kept += piece
        if len(kept) > KEPT_OUTPUT:
            del kept[: len(kept) - KEPT_OUTPUT]


async def _end(process: asyncio.subprocess.Process) -> None:
    """The program and its whole group: first asked, then killed."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(TERM_SECONDS):
            await process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
