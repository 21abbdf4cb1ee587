"""``opsbot audit verify`` and ``opsbot audit export``: is the log what it was, and the log as JSON Lines.

An export holds for every entry what is needed to prove the chain; of entries that the filters left out, their digest
alone. So a part of the log can be given away, and whoever gets it can check that it is a part of the whole.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

import sqlalchemy as sa

from bot.audit import AuditLog
from bot.chain import PRUNED, Chain, Head, Linked, digest_of, instant, recanonical
from bot.clock import SystemClock
from bot.errors import UserError
from bot.store import Store, reason
from bot.words import counted

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries an export holds in full."""

    since: datetime | None = None
    until: datetime | None = None
    run: str = ""
    actor: str = ""  # slack:U0ALICE

    def takes(self, body: dict[str, Any]) -> bool:
        at = datetime.fromisoformat(body["at"])
        if body["kind"] == PRUNED:  # proves where the chain begins
            return True
        in_time = (not self.since or at >= self.since) and (not self.until or at < self.until)
        return in_time and self.run.upper() in ("", body["run"]) and self.actor in ("", body["actor"])


def parse_head(text: str) -> Head:
    """``57:9f86d0…`` as the bot's log and an export have it. Raises ``UserError``."""
    number, colon, written = text.partition(":")
    if not (colon and number.isdecimal() and len(written) == 64 and set(written) <= set("0123456789abcdef")):
        raise UserError(f'--head takes a number and a hash, as the log shows them: 57:9f86d0…; "{text[:80]}" is none.')
    return Head(int(number), written)


async def verify_database(store: Store, known: Iterable[Head]) -> tuple[int, str]:
    """Exit code (0: unbroken, 1: broken) and what to say. Raises ``UserError`` when it cannot be read."""
    log = AuditLog(store, SystemClock())
    known = tuple(known)
    chain = Chain(known)
    try:
        head, last = await log.ends()
        async for entry in _until(log.chain(), max(head.number, last)):  # the bot may go on while we read
            if problem := chain.add(entry):
                return 1, _broken(chain, problem)
    except (sa.exc.SQLAlchemyError, OSError) as error:
        raise UserError(f"The audit log in {store.where} cannot be read: {reason(error)}") from error
    problem = chain.end(head)
    return (1, _broken(chain, problem)) if problem else (0, _sound(chain, len(known)))


def verify_file(path: Path, known: Iterable[Head]) -> tuple[int, str]:
    """The same for an export."""
    known = tuple(known)
    try:
        with path.open(encoding="utf-8") as lines:
            return _verify_lines(lines, path, known)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _verify_lines(lines: TextIO, path: Path, known: tuple[Head, ...]) -> tuple[int, str]:
    chain, head, total = Chain(known), None, 0
    for number, line in enumerate(lines, start=1):
        try:
            read = json.loads(line)
            if number == 1:
                if read["opsbot_audit"] != FORMAT:
                    raise UserError(f"{path} was written by another version of opsbot.")
                head = Head(int(read["head"]["number"]), str(read["head"]["hash"]))
                continue
            entry = _read(read)
        except (ValueError, KeyError, TypeError) as error:
            if number == 1:
                raise UserError(f"{path} is no export of opsbot: its first line does not say so.") from error
            return 1, _broken(chain, f"line {number} is no entry ({type(error).__name__}: {error})")
        total += entry.body is not None
        if problem := chain.add(entry):
            return 1, _broken(chain, f"{problem} (line {number})")
    if head is None:
        raise UserError(f"{path} is empty.")
    if problem := chain.end(head):
        return 1, _broken(chain, problem)
    return 0, f"{_sound(chain, len(known))}\n{counted(total, 'entry', 'entries')} in full, of the others the digest."


def _read(line: dict[str, Any]) -> Linked:
    body = recanonical(line["entry"]) if "entry" in line else None
    return Linked(int(line["number"]), str(line["previous"]), str(line["hash"]), body, str(line.get("digest", "")))


def _broken(chain: Chain, problem: str) -> str:
    good = f"Unbroken up to entry {chain.last.number}. " if chain.last else ""
    return f"✗ The audit log is broken: {problem}.\n{good}Nothing behind that place can be relied on."


def _sound(chain: Chain, known: int) -> str:
    if chain.first is None or chain.last is None:
        return "✓ The audit log is empty."
    said = [f"✓ {counted(chain.count, 'entry', 'entries')}, unbroken: {chain.first.number} to {chain.last.number}."]
    if chain.pruned:
        said.append(
            f"Entries {chain.pruned['from']} to {chain.pruned['through']} were deleted by retention; the log says so."
        )
    if chain.unproved:
        numbers = ", ".join(map(str, chain.unproved))
        said.append(f"Deleted by retention, so not compared: the heads of {numbers}.")
    if known - len(chain.unproved):
        said.append(f"{counted(known - len(chain.unproved), 'head')} that you gave was met.")
    else:
        said.append(
            "This alone does not show whether all of it was written anew: give a --head that you noted earlier."
        )
    return "\n".join([*said, f"head {Head(chain.last.number, chain.last.hash)}"])


async def export(store: Store, wanted: Wanted, out: TextIO, at: datetime) -> int:
    """Write the log as JSON Lines; how many entries are in it in full. Raises ``UserError`` when it cannot be read."""
    log = AuditLog(store, SystemClock())
    try:
        head = await log.head()
        filters = {
            "since": instant(wanted.since) if wanted.since else "",
            "until": instant(wanted.until) if wanted.until else "",
            "run": wanted.run,
            "actor": wanted.actor,
        }
        first = {"opsbot_audit": FORMAT, "at": instant(at), "filters": filters}
        out.write(json.dumps({**first, "head": {"number": head.number, "hash": head.hash}}) + "\n")
        full = 0
        async for entry in _until(log.chain(), head.number):
            written = json.dumps(_written(entry, wanted))
            full += '"entry"' in written
            out.write(written + "\n")
        return full
    except (sa.exc.SQLAlchemyError, OSError) as error:
        raise UserError(f"The audit log in {store.where} cannot be exported: {reason(error)}") from error


def _written(entry: Linked, wanted: Wanted) -> dict[str, Any]:
    chained = {"number": entry.number, "previous": entry.previous, "hash": entry.hash}
    body = json.loads(entry.body or "{}")
    if wanted.takes(body):
        return {**chained, "entry": body}
    return {**chained, "digest": digest_of(entry.body or "")}


async def _until(chain: AsyncIterator[Linked], number: int) -> AsyncIterator[Linked]:
    async for entry in chain:
        if entry.number > number:
            return
        yield entry
