"""``/somas status`` of ten thousand projects: each file is read once, then only what has changed since.

What was read is remembered by inode, size and time of change; of a log that grew only the new lines are read. Changes
are told by inotify (``watch.py``) or found by looking at every file's stat. Whatever the fast decoder does not take
goes through the exact reader, so the result is the same as reading every project whole.

Blocking, and safe to be called from several threads: one scans, the others wait and find the work done.
"""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from stat import S_ISREG

import msgspec

from bot.errors import UserError
from handlers.somas.config import Config
from handlers.somas.projects import DATA_FILES, exists, is_project, project_names, projects_folder, read_project
from handlers.somas.rebuild import number_of
from handlers.somas.scan_decode import OK, add_lines, summarise_letters, summarise_state_file
from handlers.somas.state import LARGEST_FILE
from handlers.somas.summary import FileSummary, StateSummary, Summary, summarise
from handlers.somas.tally import Tally
from handlers.somas.watch import Watch

LOOK_AT_ALL_EVERY = 60.0  # seconds; what inotify tells is believed for so long
REMEMBERED = timedelta(hours=72)  # outcomes one by one; the report counts those of the last 24 hours
UNSETTLED = (
    100_000_000  # nanoseconds: a file that was changed so short ago may change again within one tick of its time
)
CHUNK = 1024 * 1024  # bytes of a log that are decoded at a time
FINGERPRINT = 256  # bytes before the place where the reading stopped: still there when the log was only appended to
PROGRESS_EVERY = 0.2  # seconds

Progress = Callable[[int, int], None]
Signature = tuple[int, int, int]  # inode, size, time of change in nanoseconds
MISSING: Signature = (0, 0, 0)
CHANGED: Signature = (-1, -1, -1)  # never equal to a file's: read it again
_GONE = FileSummary("missing", "is missing")
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


class _Irregular(Exception):
    """Not a file as SOMAS writes it (a link, a pipe, too large, not to be read): the exact reader knows what to say."""


class _LogRead(msgspec.Struct, gc=False):
    """How far a log has been read."""

    counts: Tally  # of the lines that are complete
    offset: int = 0
    tail: bytes = b""  # the last bytes before ``offset``
    inode: int = 0
    size: int = 0


class _Known(msgspec.Struct, gc=False):
    """What is remembered of one project."""

    signatures: list[Signature]
    state_file: FileSummary = OK
    state: StateSummary | None = None
    letters: tuple[FileSummary, int, int] = (OK, 0, 0)
    log_file: FileSummary = OK
    log: _LogRead | None = None
    counts: Tally | None = None  # with the last line, also when it is not complete
    summary: Summary | None = None


class Scan:
    """All projects of one root, remembered between two scans."""

    def __init__(self, root: Path, *, watched: bool = True) -> None:
        self.root = root
        self.folder = projects_folder(root)
        self.watch = Watch(self.folder, DATA_FILES)
        self.files_read = 0  # since the beginning, for those who measure
        self.bytes_read = 0
        self._watched = watched
        self._known: dict[str, _Known] = {}
        self._unsettled: set[str] = set()
        self._looked_at_all = float("-inf")
        self._since = datetime.max.replace(tzinfo=UTC)
        self._order: list[Summary] | None = None
        self._position: dict[str, int] = {}
        self._changed: set[str] = set()  # since ``_order`` was made
        self._lock = threading.Lock()

    def all(self, config: Config, now: datetime, progress: Progress | None = None) -> list[Summary]:
        """Every project as it is now, by number.

        ``progress`` is called with how many of how many are done, five times a second at most. Raises ``Unavailable``
        when the folder cannot be read.
        """
        with self._lock:
            self._remember_since(now)
            names = self._to_look_at()
            self._look(names, config, progress)
            return self._in_order()

    def one(self, name: str, config: Config, now: datetime) -> Summary | None:
        """One project as it is now; None when there is none of this name."""
        with self._lock:
            self._remember_since(now)
            self._look([name], config, None)
            known = self._known.get(name)
            return known.summary if known else None

    @property
    def how(self) -> str:
        """How changes are found, for people."""
        if self.watch.active:
            return "told by inotify, looked for by stat once a minute"
        return f"looked for by stat, because {self.watch.problem}" if self.watch.problem else "looked for by stat"

    def names(self) -> list[str]:
        """Every project's name, by number; cheap. Raises ``Unavailable``."""
        known = self._known
        names = project_names(self.root)
        return sorted((name for name in names if name in known or exists(self.folder / name)), key=number_of)

    def close(self) -> None:
        with self._lock:
            self.watch.stop()

    def _in_order(self) -> list[Summary]:
        """By number; sorted anew only when projects have come or gone. Lists that were given away stay as they are."""
        if self._order is None:
            names = sorted(self._known, key=number_of)
            self._order = [summary for name in names if (summary := self._known[name].summary)]
            self._position = {summary.id: index for index, summary in enumerate(self._order)}
        elif self._changed:
            self._order = self._order.copy()
            for name in self._changed:
                if (summary := self._known[name].summary) is not None:
                    self._order[self._position[name]] = summary
        self._changed = set()
        return self._order

    def _remember_since(self, now: datetime) -> None:
        if now - timedelta(hours=24) < self._since:  # the clock was set back: older outcomes count again
            self._known.clear()
            self._order = None
            self._looked_at_all = float("-inf")
        if not self._known:
            self._since = now - REMEMBERED

    # -- what has to be looked at

    def _to_look_at(self) -> Iterable[str]:
        now = time.monotonic()
        if now - self._looked_at_all < LOOK_AT_ALL_EVERY:
            changed = self.watch.changed()
            if changed is not None:
                new = {name for name in changed if is_project(name)}
                for name in new - self._known.keys():
                    self._watch(name)
                return new | self._unsettled
        names = project_names(self.root)
        if self._watched and self._looked_at_all > 0:  # from the second time on: who looks once need not pay for it
            if self.watch.active:
                for name in set(names) - self._known.keys():
                    self._watch(name)
                self.watch.changed()  # everything is looked at now
            else:
                self.watch.start(names)
        self._looked_at_all = now
        for name in self._known.keys() - set(names):
            del self._known[name]
            self._order = None
        return names

    def _watch(self, name: str) -> None:
        try:
            self.watch.add(name)
        except OSError:
            self.watch.stop()

    def _look(self, names: Iterable[str], config: Config, progress: Progress | None) -> None:
        names = list(names)
        self._unsettled.difference_update(names)
        told = time.monotonic()
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        collecting = gc.isenabled() and not self._known
        if collecting:  # what is read has no cycles, and the collector would look at all of it again and again
            gc.disable()
        try:
            for done, name in enumerate(names):
                self._project(folder, name, config)
                if progress and not done & 63 and time.monotonic() - told > PROGRESS_EVERY:
                    told = time.monotonic()
                    progress(done, len(names))
        finally:
            os.close(folder)
            if collecting:
                gc.enable()

    # -- one project

    def _project(self, folder: int, name: str, config: Config) -> None:
        known = self._known.get(name)
        if known is None:
            known = _Known([CHANGED, CHANGED, CHANGED])
        elif all(
            self._signature(folder, f"{name}/{file}") == known.signatures[index]
            for index, file in enumerate(DATA_FILES)
        ):
            return
        try:
            found = self._read(folder, name, known)
        except _Irregular:
            found = self._exactly(folder, name, known, config)
        else:
            if found and known.state is None:  # the log has to tell the state: read it whole
                found = self._exactly(folder, name, known, config)
        if not found:
            if self._known.pop(name, None) is not None:
                self._order = None
            return
        if name in self._known:
            self._changed.add(name)
        else:
            self._known[name] = known
            self._order = None
        latest = max(known.signatures[0][2], known.signatures[1][2], known.signatures[2][2])
        if time.time_ns() - latest < UNSETTLED:
            self._unsettled.add(name)
            known.signatures = [CHANGED, CHANGED, CHANGED]

    def _signature(self, folder: int, path: str) -> Signature:
        try:
            found = os.stat(path, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return MISSING
        except OSError:
            return CHANGED
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _read(self, folder: int, name: str, known: _Known) -> bool:
        """The files that have changed. False when the project has none."""
        signatures = known.signatures
        state, signature = self._file(folder, f"{name}/state.json", signatures[0])
        if signature != signatures[0]:
            known.state_file, known.state = summarise_state_file(state, name) if state is not None else (_GONE, None)
        letters, letters_signature = self._file(folder, f"{name}/dead_letters.json", signatures[1])
        if letters_signature != signatures[1]:
            known.letters = summarise_letters(letters, name) if letters is not None else (_GONE, 0, 0)
        log_signature = self._log(folder, f"{name}/transitions.jsonl", signatures[2], known)
        known.signatures = [signature, letters_signature, log_signature]
        if known.signatures == [MISSING, MISSING, MISSING]:
            return False
        assert known.counts is not None
        file, still_open, total = known.letters
        known.summary = Summary(
            name, known.state_file, file, known.log_file, known.state, still_open, total, known.counts
        )
        return True

    def _file(self, folder: int, path: str, before: Signature) -> tuple[bytes | None, Signature]:
        """A whole file, unless it is as it was."""
        descriptor = self._open(folder, path)
        if descriptor is None:
            return None, MISSING
        try:
            found = os.fstat(descriptor)
            signature = (found.st_ino, found.st_size, found.st_mtime_ns)
            if signature == before:
                return None, signature
            if not S_ISREG(found.st_mode) or found.st_size > LARGEST_FILE:
                raise _Irregular
            data = os.read(descriptor, found.st_size + 1)
            if len(data) != found.st_size:  # it is being written in place
                signature = CHANGED
            self.files_read += 1
            self.bytes_read += len(data)
            return data, signature
        except OSError:
            raise _Irregular from None
        finally:
            os.close(descriptor)

    def _log(self, folder: int, path: str, before: Signature, known: _Known) -> Signature:
        descriptor = self._open(folder, path)
        if descriptor is None:
            known.log_file, known.log, known.counts = _GONE, None, Tally()
            return MISSING
        try:
            found = os.fstat(descriptor)
            signature = (found.st_ino, found.st_size, found.st_mtime_ns)
            if signature == before:
                return signature
            if not S_ISREG(found.st_mode):
                raise _Irregular
            known.log_file = OK
            known.log, known.counts = self._lines(descriptor, found, known.log)
            self.files_read += 1
            return signature
        except OSError:
            raise _Irregular from None
        finally:
            os.close(descriptor)

    def _lines(self, descriptor: int, found: os.stat_result, before: _LogRead | None) -> tuple[_LogRead, Tally]:
        """Count what was appended; all, when more has changed than that."""
        size = found.st_size
        read = _LogRead(Tally(f"{self._since:%Y-%m-%d}"))
        if before is not None and before.inode == found.st_ino and self._still_there(descriptor, before, size):
            read = _LogRead(before.counts.copy(), before.offset, before.tail)
        read.inode, read.size = found.st_ino, size
        os.lseek(descriptor, read.offset, os.SEEK_SET)
        left, rest = size - read.offset, b""
        while left > 0 and (data := os.read(descriptor, min(left, CHUNK))):
            left -= len(data)
            self.bytes_read += len(data)
            data = rest + data if rest else data
            end = data.rfind(b"\n") + 1
            rest = data[end:]
            if end:
                add_lines(read.counts, data if end == len(data) else data[:end])
                read.offset += end
                read.tail = (read.tail + data[max(0, end - FINGERPRINT) : end])[-FINGERPRINT:]
        if not rest:
            return read, read.counts
        counts = read.counts.copy()  # what is cut may be completed by the next append
        add_lines(counts, rest)
        return read, counts

    @staticmethod
    def _still_there(descriptor: int, before: _LogRead, size: int) -> bool:
        """Whether the log was only appended to. A small one that did not grow is read again: that costs nothing."""
        if size < before.size or (size == before.size and size <= CHUNK):
            return False
        return os.pread(descriptor, len(before.tail), before.offset - len(before.tail)) == before.tail

    def _open(self, folder: int, path: str) -> int | None:
        try:
            return os.open(path, _FLAGS, dir_fd=folder)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError:
            raise _Irregular from None

    def _exactly(self, folder: int, name: str, known: _Known, config: Config) -> bool:
        """By the exact reader. It is read again when any of the files changes."""
        signatures = [self._signature(folder, f"{name}/{file}") for file in DATA_FILES]
        try:
            known.summary = summarise(read_project(self.root, name, config))
        except UserError:
            return False
        known.signatures = signatures
        known.log = None
        known.state = None  # the next reading decides anew
        return True
