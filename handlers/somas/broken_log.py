"""Line 118 of ``transitions.jsonl``: cut, glued to the next event, or no event at all; and the log without such lines.

A writer that is killed in the middle of an append leaves a cut line, and upstream's next append is glued to it: then
upstream itself can no longer read the log at all. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from handlers.somas.decode import loads, text
from handlers.somas.transitions import encode_event, glued

Kind = Literal["cut", "glued", "no event"]


@dataclass(frozen=True, slots=True)
class BrokenLine:
    """``number`` counts from 1. ``events`` are those that can be taken out of it, ``rest`` what then is left."""

    number: int
    kind: Kind
    events: tuple[Mapping[str, Any], ...]
    rest: str

    @property
    def said(self) -> str:
        if self.kind == "glued":
            count = len(self.events)
            whole = "1 whole event" if count == 1 else f"{count} whole events"
            return f"is cut, and {whole} {'is' if count == 1 else 'are'} glued to it"
        return "is cut in the middle of an event" if self.kind == "cut" else "is no event"


@dataclass(frozen=True, slots=True)
class Lines:
    """A log, line by line. ``good``: number and object of each line that is an event."""

    good: tuple[tuple[int, Mapping[str, Any]], ...]
    broken: tuple[BrokenLine, ...]
    open_end: bool  # the last line has no newline; upstream's next append would be glued to it


def examine(data: bytes) -> Lines:
    """Bytes of a transitions.jsonl. Never raises."""
    good: list[tuple[int, Mapping[str, Any]]] = []
    broken: list[BrokenLine] = []
    for number, part in enumerate(data.split(b"\n"), 1):
        if not part.strip():
            continue
        try:
            whole = loads(part)
        except ValueError:
            whole = None
        if isinstance(whole, dict) and text(whole.get("event_type")):
            good.append((number, whole))
        else:
            broken.append(_broken(number, part.decode("utf-8", "replace")))
    return Lines(tuple(good), tuple(broken), bool(data) and not data.endswith(b"\n"))


def mended(data: bytes) -> tuple[bytes, str]:
    """The log with one event on each line, and what had to be left out (one fragment a line).

    Lines that are good stay as they are, byte by byte; what is taken out of a broken line is written as upstream does.
    """
    lines = examine(data)
    bad = {each.number: each for each in lines.broken}
    kept: list[bytes] = []
    left_out: list[str] = []
    for number, part in enumerate(data.split(b"\n"), 1):
        each = bad.get(number)
        if each is None:
            if part.strip():
                kept.append(part + b"\n")
            continue
        kept += [encode_event(event).encode("ascii") for event in each.events]
        left_out.append(each.rest)
    return b"".join(kept), "\n".join(left_out)


def _broken(number: int, line: str) -> BrokenLine:
    events = []
    rest, position = [], 0
    for begin, end, event in glued(line):
        rest.append(line[position:begin])
        events.append(event.raw)
        position = end
    rest.append(line[position:])
    fragment = "".join(rest).strip()
    kind: Kind = "glued" if events else "cut" if line.lstrip().startswith("{") else "no event"
    return BrokenLine(number, kind, tuple(events), fragment)
