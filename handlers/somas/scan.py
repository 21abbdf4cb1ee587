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

import msgspec

from bot.errors import UserError
from handlers.somas.config import Config
from handlers.somas.projects import (
    DATA_FILES,
    exists,
    is_project,
    open_folder,
    project_names,
    projects_folder,
    read_project,
)
from handlers.somas.read_ahead import SAMPLE, Disk, ReadAhead
from handlers.somas.rebuild import number_of
from handlers.somas.scan_decode import OK, summarise_letters, summarise_state_file
from handlers.somas.scan_files import CHANGED, MISSING, Irregular, LogRead, Signature, read_file, read_log, signature
from handlers.somas.summary import FileSummary, StateSummary, Summary, summarise
from handlers.somas.tally import Tally
from handlers.somas.watch import Watch

LOOK_AT_ALL_EVERY = 60.0  # seconds; what inotify tells is believed for so long
REMEMBERED = timedelta(hours=72)  # outcomes one by one; the report counts those of the last 24 hours
UNSETTLED = (
    100_000_000  # nanoseconds: a file that was changed so short ago may change again within one tick of its time
)
PROGRESS_EVERY = 0.2  # seconds

Progress = Callable[[int, int], None]
Wanted = Callable[[StateSummary], bool]
_GONE = FileSummary("missing", "is missing")


class _Known(msgspec.Struct, gc=False):
    """What is remembered of one project."""

    state_seen: Signature = CHANGED
    letters_seen: Signature = CHANGED
    log_seen: Signature = CHANGED
    state_file: FileSummary = OK
    state: StateSummary | None = None
    letters: tuple[FileSummary, int, int] = (OK, 0, 0)
    log: LogRead | None = None
    summary: Summary | None = None  # None: only its state was wanted


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
        self._partly: set[str] = set()  # only the state of these is known as it is now
        self._looked_at_all = float("-inf")
        self._since = datetime.max.replace(tzinfo=UTC)
        self._since_day = ""
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
            self._look([*self._to_look_at(), *self._partly], config, progress)
            return self._in_order()

    def some(
        self, wanted: Wanted, config: Config, now: datetime, progress: Progress | None = None
    ) -> tuple[list[Summary], int]:
        """Those whose state is ``wanted`` or cannot be read, by number, and how many projects there are in all.

        Of the others nothing but state.json is read. Otherwise as ``all``.
        """
        with self._lock:
            self._remember_since(now)
            now_wanted = [name for name in self._partly if (state := self._known[name].state) and wanted(state)]
            self._look([*self._to_look_at(), *now_wanted], config, progress, wanted)
            found = [
                known.summary
                for known in self._known.values()
                if known.summary and (known.state is None or wanted(known.state))
            ]
            return sorted(found, key=lambda summary: number_of(summary.id)), len(self._known)

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
            self._partly.clear()
            self._order = None
            self._looked_at_all = float("-inf")
        if not self._known:
            self._since = now - REMEMBERED
            self._since_day = f"{self._since:%Y-%m-%d}"

    # -- what has to be looked at

    def _to_look_at(self) -> Iterable[str]:
        now = time.monotonic()
        if now - self._looked_at_all < LOOK_AT_ALL_EVERY:
            changed = self.watch.changed()
            if changed is not None:
                new = {name for name in changed if is_project(name)}
                self._watch_also(new)
                return new | self._unsettled
        names = project_names(self.root)
        if self._watched and self._looked_at_all > 0:  # from the second time on: who looks once need not pay for it
            if self.watch.active:
                self.watch.changed()  # everything is looked at now
                self._watch_also(names)
            else:
                self.watch.start(names)
        self._looked_at_all = now
        for name in self._known.keys() - set(names):
            self._forget(name)
        return names

    def _watch_also(self, names: Iterable[str]) -> None:
        """Those that are new, or came anew under an old name."""
        try:
            for name in self.watch.unwatched(names):
                self.watch.add(name)
        except OSError:
            self.watch.stop()

    def _forget(self, name: str) -> None:
        if self._known.pop(name, None) is not None:
            self._order = None
        self._partly.discard(name)

    def _look(
        self, names: Iterable[str], config: Config, progress: Progress | None, wanted: Wanted | None = None
    ) -> None:
        looked_at = dict.fromkeys(names)  # each once, in the order of the folder: that of the disk, more or less
        self._unsettled.difference_update(looked_at)
        told = time.monotonic()
        collecting = gc.isenabled() and not self._known
        if collecting:  # what is read has no cycles, and the collector would look at all of it again and again
            gc.disable()
        folder, ahead = -1, None
        try:
            folder = open_folder(self.folder)
            disk = Disk()
            for done, name in enumerate(looked_at):
                self._project(folder, name, config, wanted)
                if done == SAMPLE and disk.was_waited_for:
                    files = DATA_FILES if wanted is None else DATA_FILES[:1]
                    ahead = ReadAhead(folder, list(looked_at)[done:], files)
                if progress and not done & 63 and time.monotonic() - told > PROGRESS_EVERY:
                    told = time.monotonic()
                    progress(done, len(looked_at))
        except BaseException:
            self._looked_at_all = float("-inf")  # what was told of changes is lost with this look
            raise
        finally:
            if ahead is not None:
                ahead.stop()
            if folder >= 0:
                os.close(folder)
            if collecting:
                gc.enable()

    # -- one project

    def _project(self, folder: int, name: str, config: Config, wanted: Wanted | None) -> None:
        known = self._known.get(name)
        if known is None:
            known = _Known()
        elif _unchanged(folder, name, known):
            return
        try:
            found = self._read(folder, name, known, wanted)
            if found and known.state is None:  # the log has to tell the state: read it whole
                found = self._exactly(folder, name, known, config)
        except Irregular:
            found = self._exactly(folder, name, known, config)
        if not found:
            self._forget(name)
            return
        if known.summary is None:
            self._partly.add(name)
        else:
            self._partly.discard(name)
        if name in self._known:
            self._changed.add(name)
        else:
            self._known[name] = known
            self._order = None
        if time.time_ns() - max(known.state_seen[2], known.letters_seen[2], known.log_seen[2]) < UNSETTLED:
            self._unsettled.add(name)
            known.state_seen = known.letters_seen = known.log_seen = CHANGED

    def _read(self, folder: int, name: str, known: _Known, wanted: Wanted | None) -> bool:
        """The files that have changed. False when the project has none."""
        state, seen = read_file(folder, f"{name}/state.json", known.state_seen)
        if state is not None:
            known.state_file, known.state = summarise_state_file(state, name)
            self.files_read += 1
            self.bytes_read += len(state)
        elif seen is MISSING:
            known.state_file, known.state = _GONE, None
        known.state_seen = seen
        if wanted is not None and known.state is not None and not wanted(known.state):
            known.summary = None
            return True
        letters, seen = read_file(folder, f"{name}/dead_letters.json", known.letters_seen)
        if letters is not None:
            known.letters = summarise_letters(letters, name)
            self.files_read += 1
            self.bytes_read += len(letters)
        elif seen is MISSING:
            known.letters = _GONE, 0, 0
        known.letters_seen = seen
        log, seen = read_log(folder, f"{name}/transitions.jsonl", known.log_seen, known.log, self._since_day)
        if log is not None and log is not known.log:
            self.files_read += 1
            self.bytes_read += log.fresh
        known.log, known.log_seen = log, seen
        file, still_open, total = known.letters
        log_file, counts = (OK, log.told) if log is not None else (_GONE, Tally())
        known.summary = Summary(name, known.state_file, file, log_file, known.state, still_open, total, counts)
        return not (known.state_seen is known.letters_seen is known.log_seen is MISSING)

    def _exactly(self, folder: int, name: str, known: _Known, config: Config) -> bool:
        """By the exact reader. It is read again when any of the files changes."""
        known.state_seen, known.letters_seen, known.log_seen = (
            signature(folder, f"{name}/{file}") for file in DATA_FILES
        )
        try:
            known.summary = summarise(read_project(self.root, name, config))
        except UserError:
            return False
        known.log = None
        known.state = None  # the next reading decides anew
        return True


def _unchanged(folder: int, name: str, known: _Known) -> bool:
    """Whether the three files are those that were read. Most are, so nothing is built to compare."""
    try:
        state = os.stat(f"{name}/state.json", dir_fd=folder, follow_symlinks=False)
        letters = os.stat(f"{name}/dead_letters.json", dir_fd=folder, follow_symlinks=False)
        log = os.stat(f"{name}/transitions.jsonl", dir_fd=folder, follow_symlinks=False)
    except OSError:  # it may have been missing before as well
        return all(
            signature(folder, f"{name}/{file}") == seen
            for file, seen in zip(DATA_FILES, (known.state_seen, known.letters_seen, known.log_seen), strict=True)
        )
    inode, size, changed = known.log_seen
    if log.st_mtime_ns != changed or log.st_size != size or log.st_ino != inode:
        return False
    inode, size, changed = known.state_seen
    if state.st_mtime_ns != changed or state.st_size != size or state.st_ino != inode:
        return False
    inode, size, changed = known.letters_seen
    return letters.st_mtime_ns == changed and letters.st_size == size and letters.st_ino == inode
