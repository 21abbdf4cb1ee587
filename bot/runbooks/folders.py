"""A runbook is saved, and the next ``/runs start`` runs it: the folders are looked at whenever they are used.

A look is one ``stat`` per file, in a thread; only a change is read. A file that cannot be read as a runbook keeps the
version that was read before, and says so. Runs that have begun carry their own copy and see nothing of this.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import structlog

from bot.handler import BlockingRunner, Product
from bot.runbooks.library import RunbookLibrary, markdown_files
from bot.runbooks.problems import Problem

log = structlog.get_logger("opsbot.runbooks")

PATIENCE = 2.0  # seconds; a folder that hangs (a network disk) must not keep anybody from acknowledging a page

Stamp = tuple[int, int, int, int]  # inode, size in bytes, times of change in nanoseconds


class RunbookFolders:
    """The runbooks of the products and of ``[runbooks] paths``, as they are now."""

    def __init__(self, products: Sequence[Product], paths: Sequence[Path], run_blocking: BlockingRunner) -> None:
        self._products = tuple(products)
        self._paths = tuple(paths)
        self._run_blocking = run_blocking
        self._looking: asyncio.Future[RunbookLibrary] | None = None
        self._stamps: dict[Path, Stamp] | None = None
        self._library: RunbookLibrary | None = None
        self._said: frozenset[str] = frozenset()

    async def library(self) -> RunbookLibrary:
        """What is on the disk now; the same object as long as nothing has changed.

        When the folders do not answer in time it is what was read before.
        """
        under_way = self._looking
        if under_way is not None and not under_way.done():
            await asyncio.wait({under_way}, timeout=PATIENCE)
        if self._looking is under_way and (under_way is None or under_way.done()):
            self._looking = asyncio.ensure_future(self._run_blocking(self._look))
        look = self._looking  # begun after this was asked, or it hangs
        assert look is not None
        if look is not under_way:
            await asyncio.wait({look}, timeout=PATIENCE)
        if look.done() or self._library is None:
            return await asyncio.shield(look)
        log.warning("the runbook folders do not answer; what was read before is used")
        return self._library

    async def problems(self) -> list[str]:
        """What cannot be read, one sentence each, and whether an earlier version is used for it."""
        library = await self.library()
        hanging = ["The runbook folders do not answer"] if self._looking and not self._looking.done() else []
        return hanging + _sentences(library)

    def _look(self) -> RunbookLibrary:
        stamps = self._all_stamps()
        if self._library is not None and stamps == self._stamps:
            return self._library
        before, self._stamps = self._stamps, stamps  # taken before the files are read: a change meanwhile is seen next
        self._library = RunbookLibrary(self._products, self._paths, self._library)
        if before is not None:
            either = stamps.keys() | before.keys()
            changed = sorted(str(file) for file in either if stamps.get(file) != before.get(file))
            log.info("runbooks were read again", files=changed)
        told = frozenset(_sentences(self._library))
        for sentence in sorted(told - self._said):
            log.error("a runbook is left out or old", problem=sentence)
        self._said = told
        return self._library

    def _all_stamps(self) -> dict[Path, Stamp]:
        folders = [product.runbooks for product in self._products if product.runbooks is not None]
        stamps: dict[Path, Stamp] = {}
        for folder in (*folders, *self._paths):
            try:
                files = markdown_files(folder)
            except OSError:
                continue  # the library tells it
            for file in files:
                try:
                    now = file.stat()
                except OSError:
                    continue
                stamps[file] = (now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)
        return stamps


def _sentences(library: RunbookLibrary) -> list[str]:
    kept: dict[str, list[str]] = {}
    for runbook in library.runbooks.values():
        if runbook.stale:
            kept.setdefault(runbook.source, []).append(runbook.id)
    return [_sentence(problem, kept.get(problem.source, [])) for problem in library.problems]


def _sentence(problem: Problem, kept: list[str]) -> str:
    where = f"{problem.source}:{problem.line}" if problem.line else problem.source
    used = f"; {' and '.join(kept)} goes on as it was read before" if kept else ""
    return f"Runbook {where}: {problem.message}{used}"
