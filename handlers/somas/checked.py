"""``/somas validate`` of all projects: what was whole and has not changed since is not read again.

To validate a project takes some milliseconds, of ten thousand half a minute. Only projects without any finding are
remembered, by the stats of their files, and none that changed within the last minutes: what a killed writer leaves is
told only when it is a minute old.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from bot.errors import UserError
from handlers.somas.config import Config
from handlers.somas.projects import DATA_FILES, project_directory, read_project
from handlers.somas.validate import Report, validate

SETTLED = timedelta(minutes=2)  # a folder in which nothing has happened for so long
Signature = tuple[tuple[int, int, int, int], ...]


class Checked:
    """What is known of one SOMAS. Worker threads may share it: what two of them do at once is only done twice."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._config: Config | None = None
        self._whole: dict[str, Signature] = {}

    def reports(
        self, names: Sequence[str], config: Config, now: datetime, progress: Callable[[int, int], None] | None = None
    ) -> Iterator[Report]:
        """One report for each project that is there, in this order. Blocking."""
        if config is not self._config:  # how many checkpoints are kept decides what the log leads to
            self._config, self._whole = config, {}
        for done, name in enumerate(names):
            before = self._signature(name)
            if before and self._whole.get(name) == before:
                yield Report(name, ())
            elif (report := self._read(name, config, now)) is not None:
                self._whole.pop(name, None)
                if before and not report.findings and max(each[2] for each in before) < _nanoseconds(now - SETTLED):
                    self._whole[name] = before
                yield report
            if progress:
                progress(done, len(names))

    def _read(self, name: str, config: Config, now: datetime) -> Report | None:
        try:
            return validate(read_project(self._root, name, config), now)
        except UserError:  # it has gone meanwhile
            return None

    def _signature(self, name: str) -> Signature:
        """Of the folder and its three files; empty when one of them is not there."""
        folder = project_directory(self._root, name)
        try:
            found = [os.lstat(path) for path in (folder, *(folder / file for file in DATA_FILES))]
        except OSError:
            return ()
        return tuple((each.st_ino, each.st_size, each.st_mtime_ns, each.st_ctime_ns) for each in found)


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp() * 1_000_000_000)
