"""What ``/somas dlq`` says: how many dead letters there are, the last ones, and one of them whole. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from bot.messages import (
    Block,
    Bold,
    Bullets,
    Button,
    Buttons,
    Code,
    CodeBlock,
    Dialog,
    Fields,
    Heading,
    Input,
    Line,
    Message,
    Note,
    Paragraph,
    Table,
    When,
    line,
)
from bot.words import counted
from handlers.somas.dead_letters import Numbered, numbered
from handlers.somas.decode import brief, clean, dumps, mapping, text, whole
from handlers.somas.metrics import measure
from handlers.somas.phrases import ago, letters_text
from handlers.somas.projects import Project
from handlers.somas.stages import current_name
from handlers.somas.state import DeadLetter

ROWS = 25
LONGEST_VALUE = 2000  # characters of a text in a letter; a traceback has less
SHOWN = 2500  # characters of a whole letter in one message


def count_message(projects: Sequence[Project], now: datetime, one: bool) -> Message:
    """How many letters there are, the most first; which are alarming. ``jq length`` would say 4 for each."""
    counts = [(project, measure(project, now).dead_letters) for project in projects]
    some = [(project, found) for project, found in counts if one or found.value or project.letters.problem]
    some.sort(key=lambda pair: pair[1].value or 0, reverse=True)
    total = int(sum(found.value or 0 for _, found in counts))
    where = projects[0].id if one else counted(sum(bool(found.value) for _, found in counts), "project")
    headline = f"{counted(total, 'open dead letter')} in {where}"
    rows = tuple(
        (
            project.id,
            f"{found.value:g}" if found.value is not None else "?",
            str(len(project.letters.entries)) if project.letters.condition == "ok" else "?",
            found.level or "unknown",
        )
        for project, found in some[:ROWS]
    )
    blocks: list[Block] = [Heading(headline)]
    if rows:
        blocks.append(Table(("Project", "Open", "All", "Level"), rows, frozenset({"Open", "All"})))
    bullets = [_kinds(project) for project, _ in some[:ROWS] if project.letters.entries or project.letters.problem]
    if bullets:
        blocks.append(Bullets(tuple(bullets)))
    if len(some) > ROWS:
        blocks.append(Note(line(f"and {len(some) - ROWS} more projects.")))
    blocks.append(
        Note(line("Warning over 5, critical over 10. Entries of dead_letters.json, ", When(now, "date_time"), "."))
    )
    if one and projects[0].letters.entries:
        blocks.append(Buttons((Button("List them", f"/somas dlq list {projects[0].id}"),)))
    elif one and projects[0].letters.problem:
        blocks.append(Buttons((Button("Repair", f"/somas repair {projects[0].id}"),)))
    levels = {found.level for _, found in counts}
    return Message(
        headline,
        tuple(blocks),
        "bad" if "critical" in levels else "warning" if "warning" in levels or total else "good",
    )


def letters_message(project: Project, chosen: Sequence[Numbered], last: int, now: datetime) -> Message:
    """The last of the chosen letters, the newest first."""
    total, still = len(project.letters.entries), project.letters.open
    headline = f"{project.id}: {counted(total, 'dead letter')}, {still} open"
    blocks: list[Block] = [Heading(headline)]
    if project.letters.problem:
        blocks.append(Paragraph(line(Bold("dead_letters.json "), f"{brief(project.letters.problem, 200)}.")))
    shown = list(reversed(chosen[-last:]))
    if total and not chosen:
        of_them = letters_text([each.letter for each in numbered(project)])
        blocks.append(Paragraph(line(f"None of them is of the kind that you asked for. They are {of_them}.")))
    elif len(chosen) != total:
        are = "is" if len(chosen) == 1 else "are"
        blocks.append(Paragraph(line(f"{len(chosen)} of them {are} of the kind that you asked for.")))
    if shown:
        blocks.append(Bullets(tuple(_letter(each, now) for each in shown)))
    if len(chosen) > len(shown):
        more = f"/somas dlq list {project.id} --last {min(25, len(chosen))}"
        blocks.append(Note(line(f"{len(chosen) - len(shown)} older ones: ", Code(more))))
    kinds = letters_text([each.letter for each in chosen if each.letter.open])
    if kinds:
        blocks.append(Note(line(f"Open: {kinds}.")))
    blocks.append(_source(project, now))
    if shown:
        blocks.append(Buttons((Button("Show the last one", f"/somas dlq show {project.id} {shown[0].short}"),)))
    elif project.letters.problem:
        blocks.append(Buttons((Button("Repair", f"/somas repair {project.id}"),)))
    return Message(headline, tuple(blocks), "warning" if still or project.letters.problem else "good")


def letter_message(project: Project, each: Numbered, now: datetime) -> Message:
    """One letter: what failed, where, what became of it, and everything that was kept of it."""
    letter = each.letter
    headline = f"{project.id}: dead letter {each.short}, {_result(letter)}"
    raw = letter.raw
    seen = mapping(mapping(raw.get("context")).get("state_snapshot"))
    fields: list[tuple[str, Line]] = [
        ("Failed", line(_when(letter, now))),
        ("Stage", line(brief(letter.stage, 40) or "none", _old_name(letter))),
        ("Agent", line(brief(letter.agent, 60) or "none")),
        ("Error", line(brief(letter.error_type, 80) or "without a type")),
        ("Replays", line(f"{whole(raw.get('replay_count'))}, {_result(letter)}")),
        ("Id", line(Code(each.id or f"none that can be typed; it is number {each.number}"))),
    ]
    if text(seen.get("status")):
        then = f"{brief(text(seen['status']), 40)} at {brief(text(seen.get('current_stage')), 40)}"
        fields.append(("The project was", line(then)))
    blocks: list[Block] = [Heading(headline), Fields(tuple(fields))]
    if letter.message:
        blocks.append(CodeBlock(_cut(letter.message, LONGEST_VALUE), title="Message"))
    if text(raw.get("notes")):
        blocks.append(CodeBlock(_cut(text(raw["notes"]), LONGEST_VALUE), title="Notes"))
    rest = {key: raw[key] for key in ("error", "context", "request", "trace", "labels") if raw.get(key)}
    blocks.append(CodeBlock(_cut(dumps(rest), SHOWN), "json", "What was kept"))
    blocks.append(
        Note(line("Nothing can send it again: a replay starts its stage again. It is closed by marking it as success."))
    )
    blocks.append(_source(project, now))
    if each.id and letter.open:
        ask = Dialog("Mark as recovered", "Mark", inputs=(Input("reason", "What recovered it"),))
        buttons = [Button("Mark as recovered…", f"/somas dlq mark {project.id} {each.id} --as success", dialog=ask)]
        if current_name(letter.stage) in project.config.timeouts:
            why = Dialog("Replay", "Replay", inputs=(Input("reason", "Why", optional=True),))
            buttons.insert(
                0,
                Button(
                    f"Restart {current_name(letter.stage)}…",
                    f"/somas dlq replay {project.id} {each.id}",
                    "primary",
                    why,
                ),
            )
        blocks.append(Buttons(tuple(buttons)))
    return Message(headline, tuple(blocks), "warning" if letter.open else "good")


def _letter(each: Numbered, now: datetime) -> Line:
    letter = each.letter
    where = f"{brief(current_name(letter.stage), 30) or 'no stage'}"
    who = f" by {brief(letter.agent, 30)}" if letter.agent else ""
    said = brief(f"{letter.error_type}: {letter.message}" if letter.error_type else letter.message, 160)
    state = "" if letter.open and not letter.raw.get("recovery_attempted") else f" ({_result(letter)})"
    return line(Bold(each.short), f", {_when(letter, now)}, {where}{who}{state}: ", Code(said or "without a text"))


def _result(letter: DeadLetter) -> str:
    if letter.raw.get("recovery_attempted") is not True:
        return "open"
    result = brief(text(letter.raw.get("recovery_result")), 20) or "tried"
    return {"success": "recovered", "failure": "open, recovery failed", "skipped": "open, skipped"}.get(
        result, f"open, {result}"
    )


def _when(letter: DeadLetter, now: datetime) -> str:
    return f"{letter.at:%Y-%m-%d %H:%M} UTC, {ago(letter.at, now)}" if letter.at else "at an unknown time"


def _old_name(letter: DeadLetter) -> str:
    name = current_name(letter.stage)
    return f", now called {name}" if name != letter.stage else ""


def _kinds(project: Project) -> Line:
    if project.letters.problem:
        return line(Bold(project.id), f": dead_letters.json {brief(project.letters.problem, 160)}")
    stages = Counter(brief(current_name(letter.stage), 30) or "no stage" for letter in project.letters.entries)
    agents = Counter(brief(letter.agent, 30) or "no agent" for letter in project.letters.entries)
    return line(Bold(project.id), f": {_listed(stages)}; {_listed(agents)}")


def _listed(counts: Counter[str]) -> str:
    named = ", ".join(f"{count} {name}" for name, count in counts.most_common(4))
    return named + (f" and {len(counts) - 4} more" if len(counts) > 4 else "")


def _cut(value: str, limit: int) -> str:
    shown = clean(value[: limit + 1])
    return shown if len(value) <= limit else f"{shown[:limit]}\n… {len(value) - limit} characters more"


def _source(project: Project, now: datetime) -> Note:
    return Note(line(f"Read from dead_letters.json in {project.directory}, ", When(now, "date_time"), "."))
