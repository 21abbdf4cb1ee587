"""``opsbot demo`` as a process of its own, as a newcomer starts it, for the tests that look at what it shows."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

READY = "Stop with Ctrl-C"
START_SECONDS = 60.0
STOP_SECONDS = 30.0


class DemoProcess:
    """A demo that runs. ``said`` is everything that its terminal shows, both streams."""

    def __init__(self, folder: Path, process: asyncio.subprocess.Process) -> None:
        self.folder = folder
        self.process = process
        self.said = ""
        self._more = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())

    @property
    def url(self) -> str:
        return self._found(r"Open +(http://127\.0\.0\.1:\d+/)")

    @property
    def bot_pid(self) -> int:
        return int(self._found(r"The bot is process (\d+)"))

    @property
    def pids(self) -> dict[str, int]:
        """The demo's own processes, as it notes them in its folder."""
        noted = (self.folder / ".opsbot-demo").read_text().splitlines()
        return {name: int(pid) for name, pid in (line.split() for line in noted)}

    def _found(self, pattern: str) -> str:
        found = re.search(pattern, self.said)
        assert found, f"{pattern} is not in what the demo says:\n{self.said}"
        return found[1]

    async def _read(self) -> None:
        assert self.process.stdout
        while data := await self.process.stdout.read(4096):
            async with self._more:
                self.said += data.decode()
                self._more.notify_all()
        async with self._more:
            self._more.notify_all()

    async def says(self, wanted: str, seconds: float = START_SECONDS) -> None:
        """Wait until the terminal shows ``wanted``."""
        try:
            async with asyncio.timeout(seconds), self._more:
                await self._more.wait_for(lambda: wanted in self.said or self._reader.done())
        except TimeoutError:
            pass
        assert wanted in self.said, f"{wanted!r} was not said:\n{self.said}\n{self.logs()}"

    async def ended(self, seconds: float = STOP_SECONDS) -> int:
        """Its exit code, as soon as there is one."""
        async with asyncio.timeout(seconds):
            code = await self.process.wait()
            await self._reader
        return code

    async def kill_bot(self) -> None:
        """``kill -9``, and wait until the demo says that the bot is back."""
        killed = self.pids["opsbot"]
        os.kill(killed, signal.SIGKILL)
        await self.says(f"opsbot (process {killed}) was killed by SIGKILL; it is started again.")
        await until(lambda: self.pids["opsbot"] != killed, "another bot")
        await self.says(f"The bot is back: process {self.pids['opsbot']}.")

    def logs(self) -> str:
        """What the bot and the supervised process have logged."""
        return "\n".join(f"{path.name}:\n{path.read_text()[-3000:]}" for path in sorted(self.folder.glob("*.log")))


def lives(pid: int) -> bool:
    """Whether the process is there and has not ended; a zombie has."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


async def until(condition: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    """Look again and again until ``condition`` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        await asyncio.sleep(0.02)


async def start(folder: Path, *options: str) -> DemoProcess:
    """Start ``opsbot demo`` in ``folder`` with the page on a free port; a session of its own, as in a terminal."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bot",
        "demo",
        "--folder",
        str(folder),
        *(options if "--port" in options else ("--port", "0", *options)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    return DemoProcess(folder, process)


@asynccontextmanager
async def demo(*options: str) -> AsyncIterator[DemoProcess]:
    """A demo that is ready, and is stopped at the end; its folder is a short path, because of the socket in it."""
    with tempfile.TemporaryDirectory(prefix="opsbot-") as short:
        running = await start(Path(short) / "d", *options)
        try:
            await running.says(READY)
            yield running
        finally:
            if running.process.returncode is None:
                running.process.send_signal(signal.SIGTERM)
            code = await running.ended()
        assert code == 0, running.said
