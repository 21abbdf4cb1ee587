"""``opsbot audit verify``: ``entries 12 to 14 were removed``. The chain of entries, and where it is broken. Pure.

Each entry holds the hash of the one before it, so that one that is changed, removed, put in or moved breaks the chain
there. The chain alone proves nothing against somebody who computes all of it anew; the *head* (the last entry's number
and hash), noted anywhere else, does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

GENESIS = "0" * 64
PRUNED = "audit.pruned"


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that happened. ``kind`` is a noun and what became of it: ``command.refused``, ``step.done``."""

    kind: str
    at: datetime
    actor: str = ""  # slack:U0ALICE; empty: the bot itself
    run_id: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)  # anything JSON has


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the chain. Written as ``57:9f86d0…``; whoever has an old one can prove what came before it."""

    number: int
    hash: str

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}"


@dataclass(frozen=True, slots=True)
class Linked:
    """An entry as it stands in the chain. Without ``body`` only its digest is known: it was left out of an export."""

    number: int
    previous: str
    hash: str
    body: str | None
    digest: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)  # what the database says beside the body


def canonical(number: int, entry: Entry) -> str:
    """The text that is hashed: JSON with sorted keys, no spaces, ASCII alone."""
    body = {
        "number": number,
        "kind": entry.kind,
        "at": instant(entry.at),
        "actor": entry.actor,
        "run": entry.run_id,
        "detail": entry.detail,
    }
    return recanonical(body)


def recanonical(body: Mapping[str, Any]) -> str:
    """The same for an entry that was read from an export."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def digest_of(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()


def hash_of(previous: str, number: int, digest: str) -> str:
    """Over the digest of the body, so that an export can leave a body out and still prove the chain."""
    return hashlib.sha256(f"{previous}\n{number}\n{digest}".encode()).hexdigest()


def link(head: Head, entries: Iterable[Entry]) -> list[Linked]:
    """The entries as they continue the chain."""
    linked = []
    for entry in entries:
        number = head.number + 1
        body = canonical(number, entry)
        digest = digest_of(body)
        linked.append(Linked(number, head.hash, hash_of(head.hash, number, digest), body, digest))
        head = Head(number, linked[-1].hash)
    return linked


class Chain:
    """Walks a chain and finds the first place where it is broken.

    ``known`` are heads that were noted elsewhere: each must be met on the way, or lie before what retention deleted.
    """

    def __init__(self, known: Iterable[Head] = ()) -> None:
        self.count = 0
        self.first: Linked | None = None
        self.last: Linked | None = None
        self._known: dict[int, set[str]] = {}
        for head in known:
            self._known.setdefault(head.number, set()).add(head.hash)
        self._before_last = ""
        self._start_is_proved = False
        self.pruned: Mapping[str, Any] = {}

    def add(self, entry: Linked) -> str:
        """Why the chain is broken at this entry; empty when it is not."""
        problem = self._continues(entry) or self._is_itself(entry)
        if problem:
            return problem
        known = self._known.pop(entry.number, {entry.hash})
        if known != {entry.hash}:
            return f"entry {entry.number} is not the one that was noted: the chain was written anew, from it or before"
        self._learn(entry)
        if self.first is None:
            self.first = entry
        self._before_last = entry.previous
        self.last = entry
        self.count += 1
        return ""

    def _continues(self, entry: Linked) -> str:
        if self.last is None:
            if entry.number == 1 and entry.previous != GENESIS:
                return "entry 1 is not the beginning: something stood before it"
            return ""
        expected = self.last.number + 1
        if entry.number > expected:
            gone = f"entry {expected}" if entry.number == expected + 1 else f"entries {expected} to {entry.number - 1}"
            return f"{gone} {'was' if entry.number == expected + 1 else 'were'} removed"
        if entry.number < expected:
            return f"entry {entry.number} stands behind entry {self.last.number}: it was moved, or put in"
        if entry.previous != self.last.hash:
            if entry.previous == self._before_last:
                return f"entry {self.last.number} was put in: entry {entry.number} does not know it"
            return f"entry {entry.number} does not continue entry {self.last.number}: one of them was replaced"
        return ""

    def _is_itself(self, entry: Linked) -> str:
        digest = entry.digest if entry.body is None else digest_of(entry.body)
        if hash_of(entry.previous, entry.number, digest) != entry.hash:
            return f"entry {entry.number} was changed: it does not match its hash"
        if entry.body is None:
            return ""
        body = json.loads(entry.body)
        if body["number"] != entry.number:
            return f"entry {entry.number} was moved: it was written as entry {body['number']}"
        for name, value in entry.columns.items():
            if body[name] != value:
                return f"entry {entry.number} was changed: its column {name} says {value!r}, the entry {body[name]!r}"
        return ""

    def _learn(self, entry: Linked) -> None:
        """The latest record of what retention deleted proves where the chain begins now."""
        if entry.body is None or f'"kind":"{PRUNED}"' not in entry.body:
            return
        body = json.loads(entry.body)
        start = self.first or entry
        detail = body["detail"]
        if body["kind"] == PRUNED and detail["through"] == start.number - 1 and detail["hash"] == start.previous:
            self._start_is_proved = True
            self.pruned = detail

    def end(self, head: Head | None) -> str:
        """What only the end shows; ``head`` is the end as the database, or the export, says it."""
        if self.first is not None and self.first.number > 1 and not self._start_is_proved:
            return f"entries 1 to {self.first.number - 1} are missing, and no record says that retention deleted them"
        last = Head(self.last.number, self.last.hash) if self.last else Head(0, GENESIS)
        for known in ([head] if head else []) + [
            Head(number, next(iter(all_))) for number, all_ in self._known.items()
        ]:
            if known.number > last.number:
                first, final = last.number + 1, known.number
                return f"the end was cut off: entr{'y' if first == final else 'ies'} {first}" + (
                    " is missing" if first == final else f" to {final} are missing"
                )
        if head and head.number < last.number:
            return f"entry {head.number + 1} was put in behind the end, which is entry {head.number}"
        if head and head != last:
            return f"entry {last.number} is not the end that was written down: it was replaced"
        return ""

    @property
    def unproved(self) -> list[int]:
        """Numbers of known heads that retention has deleted meanwhile: nothing can be said about them any more."""
        return sorted(self._known)
