"""``opsbot demo --folder DIR``: the one folder in which a demo keeps everything, emptied at its start.

It is emptied only when it is a demo's own, and never under a demo that still runs in it: a lock on its marker file is
held by the demo and by every process that it starts, so that it ends with the last of them, however they end.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from bot.errors import SettingsError

MARKER = ".opsbot-demo"
LONGEST_SOCKET_PATH = 107  # bytes
SOCKET = "payments.sock"
ANOTHER = "Give another one: opsbot demo --folder DIR"


class DemoFolder:
    """The folder, empty and held. Raises ``SettingsError`` on entering, with what to do.

    ``held`` is the file descriptor of the lock; a process that inherits it holds the folder too.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.held = -1

    def __enter__(self) -> DemoFolder:
        self._judge_name()
        try:
            self.path.mkdir(parents=True, mode=0o700, exist_ok=True)
            marker = self.path / MARKER
            if not marker.exists() and any(self.path.iterdir()):
                raise SettingsError(f"{self.path} holds other files, and the demo empties its folder. {ANOTHER}")
            self.held = os.open(marker, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                self._lock()
                self._empty()
            except BaseException:
                os.close(self.held)
                raise
        except OSError as error:
            raise SettingsError(f"{self.path} cannot be used: {error.strerror}. {ANOTHER}") from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self.held)

    def note(self, processes: Mapping[str, int]) -> None:
        """Who holds it, for the one who meets the lock: name -> process id."""
        os.ftruncate(self.held, 0)
        os.pwrite(self.held, "".join(f"{name} {pid}\n" for name, pid in processes.items()).encode(), 0)

    def _judge_name(self) -> None:
        if len(os.fsencode(self.path / SOCKET)) > LONGEST_SOCKET_PATH:
            raise SettingsError(
                f"{self.path} is too long: the path of a Unix socket in it has {LONGEST_SOCKET_PATH} bytes at most. "
                "Give a shorter one: opsbot demo --folder /tmp/opsbot-demo"
            )
        if found := re.search(r'[\x00-\x1f"\\?]', str(self.path)):
            raise SettingsError(f"{self.path} cannot be used: {found[0]!r} cannot stand in a setting. {ANOTHER}")

    def _lock(self) -> None:
        try:
            fcntl.flock(self.held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingsError(self._in_use()) from None

    def _in_use(self) -> str:
        noted = dict(re.findall(r"^(\w+) (\d+)$", (self.path / MARKER).read_text(), re.MULTILINE))
        living = {name: pid for name, pid in noted.items() if _lives(int(pid))}
        if "demo" in living or not living:
            who = f" (process {living['demo']})" if living else ""
            return f"Another demo{who} runs in {self.path}. End it with Ctrl-C, or give another folder: --folder DIR"
        left = " and ".join(f"{name} (process {pid})" for name, pid in living.items())
        return (
            f"{left} of an earlier demo still run in {self.path}. End them, kill {' '.join(living.values())}, "
            "or give another folder: --folder DIR"
        )

    def _empty(self) -> None:
        for entry in self.path.iterdir():
            if entry.name == MARKER:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
