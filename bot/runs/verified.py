"""``/runs verify P1-002``, and a card's small print: ``verified 3 days ago``, ``has 2 drifts, verified 3 days ago``.

What came of a verification is kept by runbook, with a digest of what the document said: one that was changed since is
not verified any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from pydantic import TypeAdapter

from bot import store as tables
from bot.clock import Clock
from bot.commands.nearest import nearest
from bot.errors import UserError
from bot.messages import Block, Bold, Lines, Message, Note, Paragraph, Table, line
from bot.runbooks.folders import RunbookFolders
from bot.runbooks.library import RunbookLibrary
from bot.runbooks.model import Runbook
from bot.runbooks.verify import Finding, Subject, Verified, digest, product_of, subject_of, verify
from bot.runs.perform import Connected
from bot.store import Store
from bot.words import counted, duration

AT_ONCE = 4  # documents that are verified side by side
LINES_SHOWN = 25
_FINDINGS = TypeAdapter(tuple[Finding, ...])


@dataclass(frozen=True, slots=True)
class Result:
    """One runbook and what was found about it. ``document`` is its file."""

    runbook: str
    document: str
    findings: tuple[Finding, ...]

    @property
    def drifts(self) -> int:
        return sum(finding.level == "drift" for finding in self.findings)


class Verifier:
    """Verifies documents against the products that are connected, and remembers what came of it."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        folders: RunbookFolders,
        connected: Mapping[str, Connected],
    ) -> None:
        self.store = store
        self.clock = clock
        self.folders = folders
        self.connected = connected

    async def library(self, runbook: str = "") -> list[Verified]:
        """The documents that the bot knows, or the one of this runbook. Raises ``UserError`` for an unknown one."""
        known = await self.folders.library()
        if runbook and runbook.strip().lower() not in known.runbooks:
            near = nearest(runbook, [book.id for book in known.runbooks.values()])
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            shown = " ".join(runbook.split())[:60]
            raise UserError(
                f'There is no runbook "{shown}".{hint}', suggestions=tuple(f"/runs verify {each}" for each in near)
            )
        wanted = {known.runbooks[runbook.strip().lower()].source} if runbook else None
        return await self._verify([one for one in subjects(known) if wanted is None or one.source in wanted])

    async def files(self, texts: Mapping[str, str]) -> list[Verified]:
        """Documents by the name of their file, whether the bot knows them or not."""
        known = {one.source: one for one in subjects(await self.folders.library())}
        return await self._verify([known.get(name) or subject_of(text, name) for name, text in texts.items()])

    async def _verify(self, documents: Sequence[Subject]) -> list[Verified]:
        turn = asyncio.Semaphore(AT_ONCE)

        async def one(subject: Subject) -> Verified:
            product = product_of(subject, [each.product for each in self.connected.values()])
            connected = self.connected.get(product)
            async with turn:
                if connected is None:
                    return await verify(subject, None, None, self.clock)
                return await verify(subject, connected.product, connected.handler, self.clock)

        verified = list(await asyncio.gather(*map(one, documents)))
        await self._remember(verified)
        return verified

    async def _remember(self, verified: Sequence[Verified]) -> None:
        """Only runbooks that can be started are kept: those of the library."""
        known = await self.folders.library()
        table = tables.verifications
        async with self.store.write() as connection:
            for one in verified:
                for result in results(one):
                    book = known.runbooks.get(result.runbook.lower())
                    if book is None or book.source != one.subject.source:
                        continue
                    values = {
                        "digest": digest(book),
                        "verified_at": one.at,
                        "drifts": result.drifts,
                        "findings": _FINDINGS.dump_json(result.findings).decode(),
                    }
                    await connection.execute(self.store.insert_new(table).values(runbook=book.id.lower(), **values))
                    await connection.execute(table.update().where(table.c.runbook == book.id.lower()).values(**values))

    async def small_print(self, book: Runbook) -> str:
        """``verified 3 days ago``; empty for what is no document of the library and for what was never verified."""
        known = (await self.folders.library()).runbooks.get(book.id.lower())
        if known is None or not book.source or known.source != book.source:
            return ""
        table = tables.verifications
        rows = await self.store.rows(sa.select(table).where(table.c.runbook == book.id.lower()))
        if not rows:
            return ""
        if rows[0].digest != digest(known):
            return "changed since it was verified"
        try:
            unknown = any(finding.level != "drift" for finding in _FINDINGS.validate_json(rows[0].findings))
        except ValueError:  # written by another version: that must not keep a run from starting
            return ""
        return phrase(rows[0].drifts, unknown, rows[0].verified_at, self.clock.now())


def phrase(drifts: int, unknown: bool, at: datetime, now: datetime) -> str:
    """``verified 3 days ago``, ``has 2 drifts, verified 3 days ago``, ``verified in part 3 days ago``."""
    age = now - at
    ago = "just now" if age.total_seconds() < 60 else f"{duration(age)} ago"
    if age.days:
        ago = f"{counted(age.days, 'day')} ago"
    if drifts:
        return f"has {counted(drifts, 'drift')}, verified {ago}"
    return f"verified in part {ago}" if unknown else f"verified {ago}"


def subjects(library: RunbookLibrary) -> list[Subject]:
    """The library's documents, each with its runbooks and the product that they are bound to."""
    by_source: dict[str, list[Runbook]] = {}
    for book in library.runbooks.values():
        by_source.setdefault(book.source, []).append(book)
    return [
        Subject(source, "\n".join(library.documents[source].lines), books[0].product, tuple(books))
        for source, books in by_source.items()
        if source in library.documents
    ]


def results(verified: Verified) -> list[Result]:
    """What was found, by runbook; a document that holds none is one by the name of its file."""
    books = verified.subject.runbooks
    if not books:
        return [Result(verified.subject.source, verified.subject.source, verified.findings)]
    found = []
    for book in books:
        lines = verified.subject.lines_of(book)
        own = tuple(finding for finding in verified.findings if finding.line in lines)
        found.append(Result(book.id, verified.subject.source, own))
    return found


def answer(verified: Sequence[Verified], runbook: str = "") -> Message:
    """What ``/runs verify`` says: a row per runbook that has findings, then a line for each of them."""
    shown = [result for one in verified for result in results(one)]
    if runbook:
        shown = [result for result in shown if result.runbook.lower() == runbook.strip().lower()]
    drifts = sum(result.drifts for result in shown)
    unknown = sum(len(result.findings) - result.drifts for result in shown)
    said = f"{counted(len(shown), 'runbook')} verified: {counted(drifts, 'drift') if drifts else 'no drift'}"
    said += f", {counted(unknown, 'thing')} nobody could tell" if unknown else ""
    headline = Paragraph(line(Bold(said), "."))
    troubled = sorted((result for result in shown if result.findings), key=lambda result: -result.drifts)
    blocks: list[Block] = [headline]
    if troubled:
        rows = tuple((result.runbook, str(result.drifts or "none"), result.document) for result in troubled)
        blocks.append(Table(("Runbook", "Drifts", "Document"), rows, numeric=frozenset({"Drifts"})))
        said_of = [(result, finding) for result in troubled for finding in result.findings]
        blocks.append(
            Lines(
                tuple(
                    line(Bold(f"{result.runbook} line {finding.line}: "), _said(finding))
                    for result, finding in said_of[:LINES_SHOWN]
                )
            )
        )
        if len(said_of) > LINES_SHOWN:
            blocks.append(Note(line(f"{len(said_of) - LINES_SHOWN} more: opsbot runbook verify shows all of them")))
    clean = [result.runbook for result in shown if not result.findings]
    if clean and len(shown) > 1:
        blocks.append(Note(line(f"As the live systems are: {', '.join(clean)}")))
    return Message(said, tuple(blocks), "warning" if drifts else "none" if unknown else "good")


def _said(finding: Finding) -> str:
    said = finding.sentence()
    return said if finding.level == "drift" else f"cannot tell: {said}"
