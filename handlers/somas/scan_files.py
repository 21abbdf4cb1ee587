"""One look at a file of a project: what is in it, and by what to tell later whether it has changed.

Of a log that grew only what was appended is read. Blocking; takes no lock. What is no file as SOMAS writes it (a link,
a pipe, too large, not to be read) is ``Irregular``: the exact reader (``projects.py``) knows what to say of it.
"""

from __future__ import annotations

import os
from stat import S_ISREG

import msgspec

from handlers.somas.scan_decode import add_lines
from handlers.somas.state import LARGEST_FILE
from handlers.somas.tally import Tally

CHUNK = 128 * 1024  # bytes of a log that are decoded at a time: more would not stay in the processor's cache
SMALL = 1024 * 1024  # bytes of a log that costs nothing to be read again
FINGERPRINT = 256  # bytes before the place where the reading stopped: still there when the log was only appended to

Signature = tuple[int, int, int]  # inode, size, time of change in nanoseconds
MISSING: Signature = (0, 0, 0)
CHANGED: Signature = (-1, -1, -1)  # never equal to a file's: read it again
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


class Irregular(Exception):
    """Not a file as SOMAS writes it."""


class LogRead(msgspec.Struct, gc=False):
    """How far a log has been read, and what was counted: ``counts`` of complete lines, ``told`` of all there is."""

    counts: Tally
    told: Tally  # the same one, unless the last line is not complete
    offset: int = 0
    tail: bytes = b""  # the last bytes before ``offset``
    inode: int = 0
    size: int = 0
    fresh: int = 0  # bytes that this look has read


def signature(folder: int, path: str) -> Signature:
    """Of a file below ``folder``, a descriptor."""
    try:
        found = os.stat(path, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return MISSING
    except OSError:
        return CHANGED
    return found.st_ino, found.st_size, found.st_mtime_ns


def read_file(folder: int, path: str, before: Signature = CHANGED) -> tuple[bytes | None, Signature]:
    """A whole file below ``folder``; no bytes when it is missing, or as it was ``before``. Raises ``Irregular``."""
    try:
        descriptor = os.open(path, _FLAGS, dir_fd=folder)
    except (FileNotFoundError, NotADirectoryError):
        return None, MISSING
    except OSError:
        raise Irregular from None
    try:
        found = os.fstat(descriptor)
        size = found.st_size
        seen = (found.st_ino, size, found.st_mtime_ns)
        if seen == before:
            return None, seen
        if not S_ISREG(found.st_mode) or size > LARGEST_FILE:
            raise Irregular
        data = os.read(descriptor, size)
        return data, seen if len(data) == size else CHANGED  # it is being written in place
    except OSError:
        raise Irregular from None
    finally:
        os.close(descriptor)


def read_log(
    folder: int, path: str, before: Signature = CHANGED, known: LogRead | None = None, since: str = ""
) -> tuple[LogRead | None, Signature]:
    """What a log below ``folder`` says; None when it is missing, ``known`` itself when it is as it was ``before``.

    Reading goes on where ``known`` stopped, when the log was only appended to; ``known`` stays as it is. ``since``, a
    date: outcomes that are older are not remembered one by one. Raises ``Irregular``.
    """
    try:
        descriptor = os.open(path, _FLAGS, dir_fd=folder)
    except (FileNotFoundError, NotADirectoryError):
        return None, MISSING
    except OSError:
        raise Irregular from None
    try:
        found = os.fstat(descriptor)
        seen = (found.st_ino, found.st_size, found.st_mtime_ns)
        if known is not None and seen == before:
            return known, seen
        if not S_ISREG(found.st_mode):
            raise Irregular
        return count_log(descriptor, found, known, since), seen
    except OSError:
        raise Irregular from None
    finally:
        os.close(descriptor)


def count_log(descriptor: int, found: os.stat_result, known: LogRead | None = None, since: str = "") -> LogRead:
    """Count what was appended to an open log; all of it, when more has changed than that."""
    size, offset, tail, rest = found.st_size, 0, b"", b""
    if known is not None and known.inode == found.st_ino and _still_there(descriptor, known, size):
        counts, offset, tail = known.counts.copy(), known.offset, known.tail
    else:
        counts = Tally(since)
    position = begin = offset
    while position < size and (data := os.pread(descriptor, min(size - position, CHUNK), position)):
        position += len(data)
        data = rest + data if rest else data
        end = data.rfind(b"\n") + 1
        rest = data[end:]
        if end:
            add_lines(counts, data[:end] if rest else data)
            offset += end
            tail = data[end - FINGERPRINT : end] if end >= FINGERPRINT else (tail + data[:end])[-FINGERPRINT:]
    told = counts
    if rest:  # what is cut may be completed by the next append
        told = counts.copy()
        add_lines(told, rest)
    return LogRead(counts, told, offset, tail, found.st_ino, size, position - begin)


def _still_there(descriptor: int, known: LogRead, size: int) -> bool:
    """Whether the log was only appended to. A small one that did not grow is read again: that costs nothing."""
    if size < known.size or (size == known.size and size <= SMALL):
        return False
    return os.pread(descriptor, len(known.tail), known.offset - len(known.tail)) == known.tail
