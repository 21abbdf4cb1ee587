"""``async with RealProcess(ProcessConfig(socket)) as process``: the published crate, running.

Takes the simulation's configuration and starts the Rust program with it, so that a test can run on either.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot.demo.supervised_process import ProcessConfig
from tests.real_supervisor import build

READY_SECONDS = 20.0


def program(which: str = "supervised") -> Path:
    """The built program. Skips the test without it; under ``CI=true`` that is a failure."""
    try:
        return build.supervised() if which == "supervised" else build.relay()
    except build.NotBuiltError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"the real rust-supervisor is not built: {error}")
        pytest.skip(f"{build.NOT_TESTED}, because {error}")


def configuration(config: ProcessConfig, **dashboard: Any) -> dict[str, Any]:
    """The crate's configuration that means the same; ``dashboard`` changes that section.

    The restart policy is as generous as the crate lets it be: what still stops a crash loop is hard-coded in it.
    """
    many = 10_000
    section: dict[str, Any] = {
        "enabled": True,
        "target_id": config.name,
        "path": str(config.socket),
        "permissions": f"{config.mode:04o}",
        "bind_mode": config.bind_mode,
        "security_config": {"authorization": {"allowed_uids": sorted(config.allowed_uids)}},
    }
    if config.registration:
        section["registration"] = {
            "enabled": True,
            # Nobody listens there: without a relay the registration is tried again and again, and hello works.
            "relay_registration_path": str(config.socket.with_suffix(".registration")),
            "display_name": config.name.capitalize(),
            "lease_seconds": 30,
        }
    return {
        "supervisor": {"strategy": "OneForOne"},
        "policy": {
            "child_restart_limit": many,
            "supervisor_failure_limit": many,
            "meltdown": {
                "child_max_restarts": many,
                "group_max_failures": many,
                "supervisor_max_failures": many,
            },
            "failure_window": {"threshold": many, "max_count": many},
            "restart_budget": {"max_burst": many, "recovery_rate_per_sec": 100.0},
        },
        "shutdown": {
            "graceful_timeout_ms": round(config.graceful_timeout * 1000),
            "abort_wait_ms": round(config.abort_wait * 1000),
        },
        "children": [
            {
                "name": child.id,
                "factory_key": child.behaviour,
                "criticality": "critical" if child.criticality == "critical" else "optional",
            }
            for child in config.children
        ],
        "dashboard": {**section, **dashboard},
    }


class RealProcess:
    """The program, running. ``start`` raises ``RuntimeError`` with what the program said when it does not get ready."""

    def __init__(self, config: ProcessConfig, **dashboard: Any) -> None:
        self.config = config
        self.program = program()
        self.faults = config.socket.with_suffix(".faults")
        self.file = config.socket.with_suffix(".yaml")
        self.file.write_text(yaml.safe_dump(configuration(config, **dashboard), sort_keys=False))
        self.faults.mkdir(exist_ok=True)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def command(self) -> list[str]:
        """What somebody types to start it; also what a bot is configured to restart it with."""
        children = self.config.children
        crash_after = [child.crash_after for child in children if child.behaviour == "crash_loop"]
        stop_takes = [child.stop_takes for child in children if child.behaviour == "slow_to_stop"]
        arguments = [str(self.program), "--config", str(self.file), "--faults", str(self.faults)]
        arguments += ["--crash-period", str(crash_after[0])] if crash_after else []
        return arguments + (["--stop-takes", str(stop_takes[0])] if stop_takes else [])

    @property
    def process(self) -> asyncio.subprocess.Process:
        assert self._process is not None
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self.command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        assert self._process.stdout is not None
        ready = await asyncio.wait_for(self._process.stdout.readline(), READY_SECONDS)
        if not ready.startswith(b"ready "):
            _, said = await self._process.communicate()
            raise RuntimeError(said.decode(errors="replace").strip())

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def kill(self) -> None:
        """As the kernel's memory killer would: the socket file stays."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.communicate()

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL for one that does not go."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
                self.process.terminate()
            try:
                await asyncio.wait_for(self.process.wait(), 10)
            except TimeoutError:
                self.process.kill()
        await self.process.communicate()

    async def __aenter__(self) -> RealProcess:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()
