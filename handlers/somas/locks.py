"""The lock protocol of SOMAS and writing that leaves either the old file or the new one, whatever happens.

Upstream locks each data file with ``FileLock(<file>.lock)`` and waits 30 s. The bot takes all three in one order, in
one thread, for milliseconds: never across a network call, a confirmation or a sleep. Locks work on one host only. A
``.lock`` file that lies about says nothing: only the kernel knows whether it is held.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from bot.errors import Unavailable
from handlers.somas.projects import DATA_FILES

LOCK_SECONDS = 30.0


class WriteFailed(Exception):
    """The disk refused; the text says what is there now."""


@contextlib.contextmanager
def locked(
    directory: Path, seconds: float = LOCK_SECONDS, cancelled: Callable[[], bool] = lambda: False
) -> Iterator[None]:
    """Hold the locks of state, dead letters and log, in this order. Blocking: call it in a worker thread.

    Raises ``Unavailable`` when another process keeps one of them for longer than ``seconds`` (all three together), when
    ``cancelled`` says so, when the folder is a symbolic link, or when the lock files cannot be written. Nothing was
    changed then.
    """
    if directory.is_symlink():  # it is read, but whoever writes in the folder does not aim the bot at another one
        raise Unavailable(f"{directory} is a symbolic link, which is not followed for writing. Nothing was changed.")
    until = time.monotonic() + seconds
    with contextlib.ExitStack() as stack:
        for name in DATA_FILES:
            # A soft lock would not keep upstream out, so none is fallen back to.
            lock = FileLock(directory / f"{name}.lock", fallback_to_soft=False)
            try:
                lock.acquire(timeout=max(0.0, until - time.monotonic()), cancel_check=cancelled)
            except Timeout:
                if cancelled():
                    raise Unavailable("Cancelled while waiting for the project's lock. Nothing was changed.") from None
                raise Unavailable(
                    f"Another process has held {directory.name}/{name}.lock for {seconds:g} s. Nothing was changed. "
                    "SOMAS holds it for milliseconds: look for a process that hangs (lsof shows it), then try again."
                ) from None
            except OSError as error:
                raise Unavailable(
                    f"{directory} cannot be written ({error.strerror}). Nothing was changed. "
                    "The bot's user needs write access to the project's folder."
                ) from None
            stack.callback(lock.release)
        yield


def replace(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path`` in one instant, keeping the file's mode. Raises ``OSError``: the old file is intact.

    The temporary name is our own: upstream's fixed one (``state.tmp``) belongs to upstream.
    """
    temporary = stage(path, data)
    try:
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(path.parent)


def stage(path: Path, data: bytes) -> Path:
    """Write ``data`` beside ``path``, with its mode, safe on the disk: the file that a rename then puts in its place.

    Raises ``OSError``; nothing is left behind then.
    """
    mode, owner = 0o644, None
    with contextlib.suppress(FileNotFoundError):
        found = path.stat()
        mode, owner = found.st_mode & 0o7777, (found.st_uid, found.st_gid)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".opsbot.tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)  # mkstemp's 0600 would lock every other user out
            if owner and owner != (os.geteuid(), os.getegid()):
                with contextlib.suppress(PermissionError):
                    os.fchown(file.fileno(), *owner)
            os.fsync(file.fileno())
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
    return Path(temporary)


def append(path: Path, text: str) -> None:
    """Add whole lines at the end, or nothing at all. Raises ``OSError``; the log is then as long as before.

    A symbolic link is refused: whoever writes in the project's folder could aim the bot at any file of its own.
    After a cut last line a newline comes first, so that nothing is glued to it.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        size = os.fstat(handle).st_size
        cut = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
        data = (("\n" if cut else "") + text).encode("ascii")
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(handle, data[written:], size + written)
            os.fsync(handle)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(handle, size)
            raise
    finally:
        os.close(handle)


def sync_directory(directory: Path) -> None:
    """Make a rename survive a power cut; some file systems cannot, which is no reason to fail."""
    with contextlib.suppress(OSError):
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def all_or_nothing(*paths: Path) -> Iterator[None]:
    """Replace several files together: when the body raises ``OSError``, each is again what it was.

    The old files are kept by a second name, so that putting them back needs no space on a full disk. A process that is
    killed in between leaves that name behind; ``restart_files`` finds out what happened.
    """
    kept: dict[Path, Path | None] = {}
    try:
        for path in paths:
            second = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}.kept.opsbot.tmp")
            try:
                os.link(path, second, follow_symlinks=False)
                kept[path] = second
            except FileNotFoundError:
                kept[path] = None
        try:
            yield
        except OSError:
            for path, old in kept.items():
                if old is None:
                    path.unlink(missing_ok=True)
                else:
                    old.replace(path)
            raise
    finally:
        for name in filter(None, kept.values()):
            with contextlib.suppress(OSError):
                name.unlink(missing_ok=True)
