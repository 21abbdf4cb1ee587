"""The socket's file: is it there, whose is it, does anybody listen, does it keep a new process from starting.

``bind_mode = "create_new"``, the default of the crate, refuses any path that exists. A process that was killed leaves
its file behind, so whoever starts it again automatically fails, until somebody removes the file.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from bot.errors import UserError
from handlers.supervisor.link import expected_owners, socket_path
from handlers.supervisor.settings import SupervisorTarget


@dataclass(frozen=True, slots=True)
class SocketFile:
    """What stands at the path. ``listening`` is None where nobody could be asked (no permission, a full queue)."""

    path: Path
    kind: str  # socket, missing, symbolic link, regular file, folder, other, hidden
    uid: int = -1
    mode: int = 0
    inode: tuple[int, int] = (0, 0)
    listening: bool | None = None
    problem: str = ""  # what is wrong with it, one sentence without a full stop
    blocks_start: bool = False  # a new process of this configuration could not bind

    @property
    def stale(self) -> bool:
        return self.kind == "socket" and self.listening is False

    @property
    def text(self) -> str:
        if self.kind in ("missing", "hidden"):
            return f"{self.path}: {self.problem}"
        listens = {True: "somebody listens", False: "nobody listens", None: "whether anybody listens cannot be told"}
        about = f"{self.path}: {self.kind}, mode {self.mode:04o}, owner uid {self.uid}"
        about += f", {listens[self.listening]}" if self.kind == "socket" else ""
        return f"{about}. {self.problem[:1].upper()}{self.problem[1:]}" if self.problem else about


def examine(target: SupervisorTarget) -> SocketFile:
    """Look at the path and connect once; nothing is sent. Takes no time worth mentioning."""
    path = socket_path(target)
    try:
        found = path.lstat()
    except FileNotFoundError:
        return SocketFile(path, "missing", problem="nothing stands there: no process of this path runs")
    except OSError as error:
        return SocketFile(path, "hidden", problem=f"it cannot be looked at ({error.strerror})")
    mode, inode = stat.S_IMODE(found.st_mode), (found.st_dev, found.st_ino)
    create_new = target.bind_mode == "create_new"
    if not stat.S_ISSOCK(found.st_mode):
        kind = (
            "symbolic link"
            if stat.S_ISLNK(found.st_mode)
            else "folder"
            if stat.S_ISDIR(found.st_mode)
            else "regular file"
            if stat.S_ISREG(found.st_mode)
            else "other"
        )
        problem = "no process can bind there: move it away"
        return SocketFile(path, kind, found.st_uid, mode, inode, problem=problem, blocks_start=True)
    listening = _listens(path)
    if found.st_uid not in expected_owners(target):
        problem = "it belongs to somebody else than expected: two processes with one path, or a wrong uid"
    elif listening is False:
        problem = "the process is gone and has left it"
        problem += "; with bind_mode create_new it cannot start again until it is removed" if create_new else ""
    elif mode & stat.S_IWOTH:
        problem = "everybody on this host may command the process: set dashboard.permissions to 0600 or 0660"
    else:
        problem = ""
    blocks = listening is False and create_new
    return SocketFile(path, "socket", found.st_uid, mode, inode, listening, problem, blocks)


def _listens(path: Path) -> bool | None:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except OSError:
            return None
    return True


def remove_stale(target: SupervisorTarget) -> str:
    """Remove the file of a socket that nobody listens at; what was done. Raises ``UserError`` and leaves it.

    It is first moved aside and asked again there, so that a process that binds in this very moment keeps its socket.
    """
    found = examine(target)
    if found.kind == "missing":
        return f"{found.path} is not there any more"
    if found.kind != "socket":
        raise UserError(f"{found.path} is a {found.kind}, not a socket: it is left as it is. Move it away yourself.")
    if found.uid not in expected_owners(target):
        raise UserError(f"{found.path} belongs to uid {found.uid}: it is left as it is.")
    if found.listening is not False:
        raise UserError(f"{found.path} is left as it is: somebody listens, or it cannot be told that nobody does.")
    aside = found.path.with_name(f".{found.path.name[:60]}.{secrets.token_hex(4)}")
    try:
        found.path.rename(aside)
        moved = aside.lstat()
        if (moved.st_dev, moved.st_ino) != found.inode or _listens(aside) is not False:
            with contextlib.suppress(OSError):
                os.link(aside, found.path, follow_symlinks=False)
                aside.unlink()
            raise UserError(f"{found.path} has changed while it was looked at: it is left as it is. Look again.")
        aside.unlink()
    except OSError as error:
        raise UserError(f"{found.path} cannot be removed: {error.strerror}.") from None
    return f"{found.path} is removed; nobody listened at it"
