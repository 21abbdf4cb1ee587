"""``journal(lines=50)``: the last lines of a process's log, and what they say about how it or a child ended.

What stands in a log is the application's own wording; the supervisor writes neither ``ShutdownPhase::Completed`` nor a
child's ``TaskExit`` there. So a conclusion always names the line that it was drawn from, and there may be none.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bot.errors import UserError
from bot.handler import BlockingRunner
from handlers.supervisor.host import Host

READ_BYTES = 512 * 1024  # of the end of a log file
LONGEST_LINE = 2000  # characters
LAST_LINES = 20  # that tell how the process ended

_PLANNED = re.compile(
    r"ShutdownPhase::Completed|shut(?:ting)?[ _-]?down|\bSIG(?:TERM|INT)\b|\bDeactivated successfully\b|"
    r"\bStopped\b|\bstopping\b",
    re.IGNORECASE,
)
_CRASH = re.compile(
    r"\bpanick?(?:ed)?\b|\bSIG(?:SEGV|ABRT|KILL|BUS|ILL|FPE)\b|\bcore[ -]dumped?\b|\bsegfault\b|\bout of memory\b|"
    r"\bOOM\b|code=(?:killed|dumped)|status=[1-9]\d*/|\bFailed with result\b|\bfatal\b",
    re.IGNORECASE,
)
_PANIC = re.compile(r"\bpanick?(?:ed)?\b", re.IGNORECASE)
_FAILED = re.compile(r"\b(?:fail(?:ed|ure)?|error|exited with|aborted)\b", re.IGNORECASE)
_PANIC_HEAD = re.compile(r"\bpanicked at [^\s:]+:\d+:\d+:\s*$")
_BACKTRACE = re.compile(r"\bstack backtrace:", re.IGNORECASE)
_FRAME = re.compile(r"^\s*(?:\d+:\s|at\s|note:)")


@dataclass(frozen=True, slots=True)
class LogTail:
    """The last lines, oldest first, and where they are from."""

    lines: tuple[str, ...]
    source: str


@dataclass(frozen=True, slots=True)
class Ending:
    """How the process ended by its log; ``line`` is what says so."""

    kind: Literal["planned", "crash", "unknown"]
    line: str = ""


@dataclass(frozen=True, slots=True)
class ExitReason:
    """How a child ended last by the log: the words of the runbook, ``Panicked`` or ``Failed``."""

    kind: Literal["Panicked", "Failed"]
    reason: str
    line: str


async def read_tail(host: Host, lines: int, run_blocking: BlockingRunner) -> LogTail:
    """The end of the configured log. Raises ``UserError`` when there is none or it cannot be read."""
    path = host.target.log
    if host.has("journal"):
        ran = await host.run("journal", lines=lines)
        if not ran.worked:
            raise UserError(f"{host.name}: the log cannot be read: {ran.told}. {ran.output[-300:]}".rstrip())
        return LogTail(_last(ran.output, lines), host.line("journal", lines=lines))
    if path is not None:
        try:
            text = await run_blocking(_end_of, path)
        except OSError as error:
            raise UserError(f"{host.name}: the log {path} cannot be read: {error.strerror or error}.") from None
        return LogTail(_last(text, lines), str(path))
    raise UserError(
        f'{host.name}: no log is configured. Add log = "/var/log/…" to [supervisor.targets.{host.name}], or a '
        "journal command."
    )


def _end_of(path: Path) -> str:
    """A regular file only: a pipe would keep the thread for ever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError("it is not a regular file")
        start = max(0, found.st_size - READ_BYTES)
        file.seek(start)
        data = file.read(READ_BYTES)
    text = data.decode("utf-8", "replace")
    return text.partition("\n")[2] if start else text


def _last(text: str, lines: int) -> tuple[str, ...]:
    return tuple(line[:LONGEST_LINE] for line in text.splitlines() if line.strip())[-lines:]


def ending(lines: Sequence[str]) -> Ending:
    """What the last lines say; the newest that says anything counts."""
    for line in reversed(lines[-LAST_LINES:]):
        if _CRASH.search(line):
            return Ending("crash", line)
        if _PLANNED.search(line):
            return Ending("planned", line)
    return Ending("unknown")


def exit_reason(lines: Sequence[str], child: str) -> ExitReason | None:
    """The newest line that names the child and says that it panicked or failed; None when no line does."""
    named = re.compile(rf"(?<![\w-]){re.escape(child)}(?![\w-])")
    for index in range(len(lines) - 1, -1, -1):
        line = lines[index]
        if not named.search(line):
            continue
        if _PANIC.search(line):
            told = line
            if _PANIC_HEAD.search(line) and index + 1 < len(lines):  # the message stands below
                told = f"{line} {lines[index + 1].strip()}"
            return ExitReason("Panicked", _reason(told, _PANIC), line)
        if _FAILED.search(line):
            return ExitReason("Failed", _reason(line, _FAILED), line)
    return None


def _reason(line: str, word: re.Pattern[str]) -> str:
    """What stands from the word on: ``failed: invoice 4711 has no currency``."""
    found = word.search(line)
    return line[found.start() :].strip() if found else line


def backtrace(lines: Sequence[str]) -> tuple[str, ...]:
    """The newest backtrace that a panic has printed, with the line above it; empty when there is none."""
    for index in range(len(lines) - 1, -1, -1):
        if _BACKTRACE.search(lines[index]):
            end = index + 1
            while end < len(lines) and _FRAME.match(lines[end]):
                end += 1
            return tuple(lines[max(0, index - 2) : end])
    return ()
