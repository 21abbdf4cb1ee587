"""From the path of a socket to a connection with somebody known at its other end, or to the reason why not.

Every way in which a Unix socket can fail has its own text: a missing path, a stale file, a regular file, a listener
that does not accept, one that belongs to somebody else. Blocking calls here are those that return at once (``lstat``,
``connect`` on a non-blocking Unix socket, ``/proc``).
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from bot.errors import Unavailable
from handlers.supervisor.lines import PIECE, LineReader
from handlers.supervisor.settings import SupervisorTarget

Cause = Literal[
    "missing",
    "permission",
    "stale",
    "regular file",
    "symlink",
    "owner",
    "backlog",
    "silent",
    "closed",
    "protocol",
    "rate limit",
    "refused generation",
    "other",
]


class LinkError(Unavailable):
    """The supervised process was not reached or did not answer. ``sent``: a command may have arrived nevertheless.

    Not ``asked``: the request was kept back, so that it says nothing about the process.
    """

    def __init__(self, target: str, cause: Cause, text: str, *, sent: bool = False, asked: bool = True) -> None:
        super().__init__(f"{target}: {text}")
        self.target = target
        self.cause = cause
        self.sent = sent
        self.asked = asked


@dataclass(frozen=True, slots=True)
class Listener:
    """The process at the other end, as the kernel knows it: who called ``listen``. ``started_at`` from /proc."""

    pid: int
    uid: int
    started_at: datetime | None


@dataclass(slots=True)
class Connection:
    """An open connection. After any error in the middle of an answer it is closed, never used further."""

    reader: LineReader
    writer: asyncio.StreamWriter
    listener: Listener
    used_at: float  # of the event loop's clock
    answered: int = 0

    def close(self) -> None:
        self.writer.transport.abort()  # not close(), which would wait for a peer that does not read


async def connect(name: str, target: SupervisorTarget) -> Connection:
    """Open a connection within ``connect_timeout``. Raises ``LinkError``."""
    loop = asyncio.get_running_loop()
    check_path(name, target)
    give_up_at = loop.time() + target.connect_timeout
    while (opened := _open(name, target)) is None:
        if loop.time() >= give_up_at:
            raise LinkError(
                name,
                "backlog",
                f"a process listens at {target.socket} but has taken no connection for {target.connect_timeout:g} s: "
                "its runtime is starved or stopped. Look at its CPU and at a core of it before restarting it.",
            )
        await asyncio.sleep(0.05)
    try:
        listener = _listener(opened)
        if listener.uid not in expected_owners(target):
            raise LinkError(
                name,
                "owner",
                f"pid {listener.pid} of uid {listener.uid} listens at {target.socket}, not {_expected(target)}. "
                "Nothing was sent. Find out who it is, or correct uid in the configuration.",
            )
        reader, writer = await asyncio.open_unix_connection(sock=opened, limit=PIECE)
    except BaseException:
        opened.close()
        raise
    return Connection(LineReader(reader), writer, listener, used_at=loop.time())


def expected_owners(target: SupervisorTarget) -> frozenset[int]:
    """The users that may own the socket and listen on it: the configured one, else root and the bot's own."""
    return frozenset({0, os.geteuid()}) if target.uid is None else frozenset({target.uid})


def _expected(target: SupervisorTarget) -> str:
    if target.uid is not None:
        return f"uid {target.uid} as configured"
    return f"root or the bot's own uid {os.geteuid()} (set uid when it is right)"


def socket_path(target: SupervisorTarget) -> Path:
    """The configured socket; only targets that have one are asked for it."""
    if target.socket is None:
        raise AssertionError("a target without a socket is reached through its relay")
    return target.socket


def check_path(name: str, target: SupervisorTarget) -> os.stat_result:
    """What the file itself tells before anything is connected. Raises ``LinkError``."""
    path = socket_path(target)
    try:
        found = path.lstat()
    except FileNotFoundError:
        raise LinkError(
            name,
            "missing",
            f"there is no socket at {path}. The process is not running, or serves another path: compare dashboard.path "
            "of its configuration with socket here.",
        ) from None
    except PermissionError:
        raise LinkError(name, "permission", _no_permission(path)) from None
    except OSError as error:
        raise LinkError(name, "other", f"{path} cannot be looked at: {error.strerror}.") from None
    if stat.S_ISLNK(found.st_mode):
        raise LinkError(
            name,
            "symlink",
            f"{path} is a symbolic link, which could lead to anybody's socket. Configure the path it leads to.",
        )
    if not stat.S_ISSOCK(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a regular file"
        raise LinkError(
            name,
            "regular file",
            f"{path} is {kind}, not a socket. The process cannot bind there: move it away and restart the process.",
        )
    if found.st_uid not in expected_owners(target):
        raise LinkError(
            name,
            "owner",
            f"{path} belongs to uid {found.st_uid}, not to {_expected(target)}. Nothing was sent.",
        )
    return found


def _open(name: str, target: SupervisorTarget) -> socket.socket | None:
    """A connected socket; None when the listener's queue is full.

    Not left to asyncio, which takes the EAGAIN of a full queue for a connection under way.
    """
    opened = socket.socket(socket.AF_UNIX)
    opened.setblocking(False)
    try:
        opened.connect(str(target.socket))
    except BlockingIOError:
        opened.close()
        return None
    except OSError as error:
        opened.close()
        raise _refused(name, socket_path(target), error) from None
    return opened


def _refused(name: str, path: Path, error: OSError) -> LinkError:
    match error:
        case ConnectionRefusedError():
            return LinkError(
                name,
                "stale",
                f"nobody listens at {path}: the process is gone and has left its socket file. With bind_mode "
                "create_new (the default) it will refuse to start again until that file is removed.",
            )
        case PermissionError():
            return LinkError(name, "permission", _no_permission(path))
        case FileNotFoundError():
            return LinkError(name, "missing", f"the socket at {path} has just gone. The process is stopping.")
        case _:
            return LinkError(name, "other", f"cannot connect to {path}: {error.strerror or error}.")


def _no_permission(path: Path) -> str:
    return (
        f"uid {os.geteuid()} may not connect to {path}. The bot needs search permission on its folders and write "
        "permission on the socket: run it as the same user, or set dashboard.permissions and a common group."
    )


def _listener(opened: socket.socket) -> Listener:
    pid, uid, _ = struct.unpack("3i", opened.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return Listener(pid, uid, process_started_at(pid))


def process_started_at(pid: int) -> datetime | None:
    """When the process began, from /proc; None when it is gone or hidden (another container)."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2]
        ticks = int(after_name.split()[19])  # field 22, starttime
        booted = next(
            int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime ")
        )
    except (OSError, ValueError, IndexError, StopIteration):
        return None
    return datetime.fromtimestamp(booted + ticks / os.sysconf("SC_CLK_TCK"), UTC)
