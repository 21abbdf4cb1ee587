"""What ``/somas log`` and ``/somas activity`` say: events as lines, the newest first. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bot.messages import Block, Bold, Bullets, Code, Heading, Line, Message, Note, Span, Text, When, line
from bot.words import counted
from handlers.somas.decode import brief, mapping, text
from handlers.somas.stages import current_name
from handlers.somas.tail import Query, Tail
from handlers.somas.tally import FAILURES
from handlers.somas.transitions import Event


@dataclass(frozen=True, slots=True)
class Logged:
    """An event, and of which project."""

    project: str
    event: Event


def log_message(project_id: str, found: Tail, query: Query, limit: int, now: datetime) -> Message:
    """The last events of one project."""
    file = f".somas/projects/{project_id}/transitions.jsonl"
    if found.condition != "ok":
        said = f"{project_id}: the log {found.problem}"
        return Message(said, (Heading(said), _read(file, now)), "warning")
    count = len(found.events)
    headline = f"{project_id}: {_headline(count, limit, query)}"
    blocks: list[Block] = [Heading(headline)]
    if count:
        blocks.append(Bullets(tuple(event_line(event, now) for event in found.events)))
    if found.bad_lines:
        blocks.append(
            Note(
                line(
                    f"{counted(found.bad_lines, 'broken line')} among them; the whole parts are shown. Mend it with ",
                    Code(f"/somas repair {project_id}"),
                )
            )
        )
    blocks.append(_read(file, now, f"{found.size / 1e6:.1f} MB" if found.size >= 100_000 else f"{found.size} bytes"))
    bad = any(event.type in FAILURES for event in found.events[:1])
    return Message(headline, tuple(blocks), "bad" if bad else "warning" if found.bad_lines else "none")


def activity_message(found: Sequence[Logged], limit: int, projects: int, now: datetime) -> Message:
    """The last events of all projects together."""
    headline = f"{_headline(len(found), limit, Query())} of {counted(projects, 'project')}"
    blocks: list[Block] = [Heading(headline)]
    if found:
        blocks.append(Bullets(tuple((Bold(each.project), Text(": "), *event_line(each.event, now)) for each in found)))
    blocks.append(_read("transitions.jsonl of each project", now, "by the events' own times"))
    return Message(headline, tuple(blocks))


def event_line(event: Event, now: datetime) -> Line:
    """``11-22 11:00 UTC, stage_failed at verify by tester: Coverage is 71.4 %``."""
    at = event.at
    form = f"{at:%m-%d %H:%M} UTC" if at and abs((now - at).days) < 300 else f"{at:%Y-%m-%d} UTC" if at else "no time"
    said: list[str | Span] = [f"{form}, ", Bold(brief(event.type, 40))]
    written = text(event.raw.get("stage"))
    if written:
        name = current_name(written)
        said.append(f" at {brief(name, 40)}" + (f" (logged as {brief(written, 40)})" if name != written else ""))
    if agent := text(event.raw.get("agent")) or text(mapping(event.raw.get("actor")).get("name")):
        said.append(f" by {brief(agent, 60)}")
    before, after = (mapping(event.raw.get(key)) for key in ("from_state", "to_state"))
    if after:
        said.append(f": {_state(before)} → {_state(after)}")
    if event.message:
        said += [": ", Code(brief(event.message, 160))]
    elif reason := text(event.metadata.get("reason")):
        said += [": ", Code(brief(reason, 160))]
    elif title := text(event.metadata.get("title")) or text(event.metadata.get("task_name")):
        said += [": ", Code(brief(title, 100))]
    return line(*said)


def _state(state: dict[str, object]) -> str:
    return " at ".join(brief(text(state.get(key)), 30) for key in ("status", "stage") if text(state.get(key))) or "?"


def _headline(count: int, limit: int, query: Query) -> str:
    if not count:
        return f"no event{query.said}"
    last = f"the last {counted(count, 'event')}" if count == limit else f"all {counted(count, 'event')}"
    return last + query.said


def _read(file: str, now: datetime, how: str = "") -> Note:
    return Note(line(f"Read from {file}" + (f", {how}" if how else "") + ", ", When(now, "date_time"), "."))
