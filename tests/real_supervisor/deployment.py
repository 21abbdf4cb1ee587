"""A process as it is deployed: started by a command that the bot is configured with, logging to a file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import sys
from pathlib import Path

from bot.demo.supervised_process import ProcessConfig
from tests.real_supervisor.process import READY_SECONDS, RealProcess


class Deployment:
    """``kind`` says which program: ``real`` or ``simulated``. What a service manager does, a script does here."""

    def __init__(self, kind: str, config: ProcessConfig) -> None:
        self.kind = kind
        self.config = config
        self.folder = config.socket.parent
        self.log = self.folder / f"{config.name}.log"
        self.faults = config.socket.with_suffix(".faults")
        self.faults.mkdir(exist_ok=True)
        self.started = self.folder / f"{config.name}.started"  # a line for every start
        command = RealProcess(config).command if kind == "real" else simulated(config, self.faults)
        self.script = self.folder / f"start-{config.name}"
        self._write(f"exec setsid --fork {shlex.join(command)} >>{self.log} 2>&1 </dev/null")

    def _write(self, line: str) -> None:
        self.script.write_text(f"#!/bin/sh\necho start >>{self.started}\n{line}\n")
        self.script.chmod(0o755)

    def breaks(self) -> None:
        """From now on it cannot be started any more."""
        self._write(f"echo cannot open shared object file >>{self.log}; exit 127")

    @property
    def settings(self) -> str:
        """The section of opsbot.toml."""
        return (
            f'[supervisor.targets.{self.config.name}]\nsocket = "{self.config.socket}"\nlog = "{self.log}"\n'
            f'bind_mode = "{self.config.bind_mode}"\nrequest_timeout = 0.2\ncommand_timeout = 2.0\nstop_timeout = 5.0\n'
            f"start_timeout = 10.0\nmax_backoff = 0.3\n"
            f'[supervisor.targets.{self.config.name}.commands]\nstart = ["{self.script}"]\n'
            f'restart = ["{self.script}"]\n'
        )

    @property
    def starts(self) -> int:
        return len(self.started.read_text().splitlines()) if self.started.exists() else 0

    @property
    def pids(self) -> list[int]:
        """Of every process that got ready, oldest first."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [int(line.split("pid=")[1].split()[0]) for line in lines if line.startswith("ready pid=")]

    async def start(self) -> int:
        """As the operator did once; the pid."""
        before = len(self.pids)
        process = await asyncio.create_subprocess_exec(str(self.script))
        await process.wait()
        async with asyncio.timeout(READY_SECONDS):
            while len(self.pids) == before:
                await asyncio.sleep(0.02)
        return self.pids[-1]

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pids[-1], number)

    @property
    def _starvation(self) -> Path:
        return self.faults / ("block" if self.kind == "real" else "hang-everything")

    def starve(self) -> None:
        """Nothing of it moves, and the kernel still takes connections for it."""
        self._starvation.touch()

    def recover(self) -> None:
        self._starvation.unlink()

    async def kill(self) -> None:
        """Gone without a word: the socket file stays."""
        self.send(signal.SIGKILL)
        await self.gone(self.pids[-1])

    async def gone(self, pid: int) -> None:
        async with asyncio.timeout(10):
            while alive(pid):
                await asyncio.sleep(0.02)

    async def __aenter__(self) -> Deployment:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    """Whether it runs; one that has ended and whom nobody has waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")


def simulated(config: ProcessConfig, faults: Path) -> list[str]:
    """The command line of the simulation that means the same; its children are its own five."""
    crashing = next(child for child in config.children if child.behaviour == "crash_loop")
    slow = next(child for child in config.children if child.behaviour == "slow_to_stop")
    options = {
        "--socket": config.socket,
        "--name": config.name,
        "--crash-period": crashing.crash_after,
        "--stop-takes": slow.stop_takes,
        "--graceful-timeout": config.graceful_timeout,
        "--abort-wait": config.abort_wait,
        "--bind-mode": config.bind_mode,
        "--faults": faults,
    }
    words = [str(word) for option in options.items() for word in option]
    return ["env", f"PYTHONPATH={Path.cwd()}", sys.executable, "-m", "bot.demo.supervised_process", *words]
