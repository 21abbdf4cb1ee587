"""What was appended to a log since the last look, without missing or doubling a line. Blocking; takes no lock.

Where the last look ended is a ``Mark``: the file, the offset, and what stood there. As long as the file is the same and
still holds that, reading goes on behind it. Otherwise the log was rotated, cut or made anew:

- moved away (``transitions.jsonl.1`` with the old inode), or copied and cut (a neighbour that holds what we had read):
  its rest is read first, then the new file from its beginning;
- made anew with the old lines in it (restored, edited): reading goes on behind the last line that was read, which is
  found by its bytes;
- made anew without them: everything in it is new, except lines that are older than the last one that was read.

A line that has no newline yet is left for the next look.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from stat import S_ISREG

from pydantic import BaseModel, ConfigDict

from handlers.somas.transitions import Event, decode_log

MOST_AT_ONCE = 4 * 1024 * 1024  # bytes of one look; the rest is for the next one
MOST_SEARCHED = 32 * 1024 * 1024  # bytes of a file that was made anew
LONGEST_LINE = 1024 * 1024  # bytes that are looked at to find the last line
PRINT = 256  # bytes before the offset that tell the file


class Mark(BaseModel):
    """Where reading goes on. ``line`` is the digest of the last line that was read, ``at`` its time."""

    model_config = ConfigDict(frozen=True)
    inode: int = 0
    offset: int = 0
    before: str = ""  # digest of the bytes before the offset
    line: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class News:
    """Events since the last look, in the order of the log, and where the next look begins."""

    events: tuple[Event, ...]
    mark: Mark
    more: bool = False  # there is more than was read at once


def end_of(path: Path) -> Mark:
    """A mark at the end: what is there already is not news. An empty mark when there is no log."""
    with _opened(path) as file:
        if file is None:
            return Mark()
        start = max(0, file.size - LONGEST_LINE)
        data, _ = file.read(start, LONGEST_LINE)
        return file.mark(start + len(data), data, Mark())


def read_news(path: Path, mark: Mark) -> News:
    """Everything that was appended to the log at ``path`` since ``mark``."""
    with _opened(path) as file:
        if file is not None and file.inode == mark.inode and file.holds(mark):
            return _onwards(file, mark)
    events = list(_rest_of_the_old(path, mark))
    with _opened(path) as file:
        if file is None:
            return News(tuple(events), mark)
        data, more = file.read(0, MOST_SEARCHED)
        start = _behind(data, mark.line)
        if start is not None:
            found: Iterable[Event] = decode_log(data[start:]).events
        elif mark.at is None:
            found = decode_log(data).events
        else:
            found = [event for event in decode_log(data).events if event.at is None or event.at > mark.at]
        events += found
        return News(tuple(events), file.mark(len(data), data, mark), more)


def _onwards(file: _File, mark: Mark) -> News:
    data, more = file.read(mark.offset)
    if not data:
        return News((), mark)
    return News(decode_log(data).events, file.mark(mark.offset + len(data), data, mark), more)


def _rest_of_the_old(path: Path, mark: Mark) -> Iterable[Event]:
    """What was written to the old log after the mark, before it was moved or copied away."""
    if not mark.inode:
        return []
    try:
        neighbours = sorted(
            (each for each in path.parent.iterdir() if each.name.startswith(path.name) and each != path),
            key=lambda each: each.stat().st_mtime_ns,
            reverse=True,
        )
    except OSError:
        return []
    for neighbour in neighbours[:20]:
        with _opened(neighbour) as file:
            # Of a log that was empty then, a copy cannot be told by what stood there: its lines are told by their time.
            if file is not None and (mark.offset or file.inode == mark.inode or mark.at) and file.holds(mark):
                data, _ = file.read(mark.offset, MOST_SEARCHED, whole_lines=False)
                events = decode_log(data).events
                if mark.offset or file.inode == mark.inode:
                    return events
                return [event for event in events if event.at is not None and mark.at and event.at > mark.at]
    return []


def _behind(data: bytes, line: str) -> int | None:
    """The offset behind the last line with this digest; None when there is none."""
    if not line:
        return None
    end = len(data)
    while end > 0:
        start = data.rfind(b"\n", 0, end - 1) + 1
        if _digest(data[start:end]) == line:
            return end
        end = start
    return None


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=12).hexdigest()


class _File:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        status = os.fstat(descriptor)
        self.inode, self.size = status.st_ino, status.st_size

    def read(self, start: int, most: int = MOST_AT_ONCE, *, whole_lines: bool = True) -> tuple[bytes, bool]:
        """Whole lines from ``start``, and whether there is more of them."""
        data = os.pread(self._descriptor, most, start)
        more = start + len(data) < self.size
        if whole_lines:
            end = data.rfind(b"\n") + 1
            if end == 0 and more:  # a line longer than a look: it is damage, and skipped
                end = len(data)
            data = data[:end]
        return data, more

    def holds(self, mark: Mark) -> bool:
        """Whether what stood before the mark stands there still."""
        if self.size < mark.offset:
            return False
        return mark.before == self._before(mark.offset)

    def mark(self, offset: int, data: bytes, before: Mark) -> Mark:
        """A mark at ``offset``, of which ``data`` was read last."""
        lines = [part for part in data.splitlines(keepends=True) if part.strip()]
        events = decode_log(lines[-1]).events if lines else ()
        return Mark(
            inode=self.inode,
            offset=offset,
            before=self._before(offset),
            line=_digest(lines[-1]) if lines else before.line,
            at=(events[-1].at if events else None) or before.at,
        )

    def _before(self, offset: int) -> str:
        start = max(0, offset - PRINT)
        return _digest(os.pread(self._descriptor, offset - start, start)) if offset else ""


class _opened:  # noqa: N801 used like a function
    """The file, or None when there is none that can be read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def __enter__(self) -> _File | None:
        try:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            if S_ISREG(os.fstat(self._descriptor).st_mode):
                return _File(self._descriptor)
        except OSError:
            pass
        return None

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
