"""``/somas validate project-81``: what is wrong with a project's files, on which line, and what mends it.

Three questions: is each file what SOMAS writes (``schemas/``, made from real files: upstream's own schemas fit none)?
do the three agree with each other? has a writer died in the middle of something?
"""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from handlers.somas.agreement import together
from handlers.somas.broken_log import Lines, examine
from handlers.somas.change import interrupted, outcome_of
from handlers.somas.dead_letters import statistics
from handlers.somas.decode import brief, instant, items, loads, mapping, text
from handlers.somas.finding import MOST, Finding, Severity, at, line_in, lines_in, most, quoted, short
from handlers.somas.projects import DATA_FILES, Project
from handlers.somas.stages import OLD_NAMES, STAGES
from handlers.somas.state import read_bytes

STATE, LETTERS, LOG = DATA_FILES
MOST_ENTRIES = 5000  # dead letters whose fields are looked at one by one
EVENT_TYPES = frozenset(
    {
        "project_initialized", "stage_started", "stage_completed", "stage_failed", "stage_retrying",
        "checkpoint_created", "agent_invoked", "agent_completed", "agent_failed", "label_added", "label_removed",
        "artifact_created", "error_recorded", "recovery_attempted", "recovery_completed", "state_updated",
        "pipeline_paused", "pipeline_resumed", "pipeline_completed", "pipeline_failed", "pipeline_cancelled",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Report:
    """All findings of a project, errors first."""

    project_id: str
    findings: tuple[Finding, ...]

    def count(self, severity: Severity) -> int:
        return sum(each.severity == severity for each in self.findings)

    @property
    def valid(self) -> bool:
        """No error: SOMAS and the bot can both work with the files."""
        return not self.count("error")

    @property
    def fixes(self) -> tuple[str, ...]:
        """The commands that mend something, each once, in the order in which they should be given."""
        found = {each.fix for each in self.findings if each.fix}
        return tuple(sorted(found, key=lambda fix: (0 if " repair " in f"{fix} " else 1, fix)))


def validate(project: Project, now: datetime) -> Report:
    """Look at everything. Blocking: reads the files again. Takes no lock, never raises."""
    log = read_bytes(project.directory / LOG, follow=False)
    lines = examine(log) if isinstance(log, bytes) else None
    findings = [
        *most(_state(project, now)),
        *most(_letters(project)),
        *most(_log(project, lines, log if isinstance(log, bytes) else b"")),
        *most(together(project, now)),
        *most(_left_over(project, now)),
    ]
    order = {"error": 0, "warning": 1, "note": 2}
    return Report(project.id, tuple(sorted(findings, key=lambda each: order[each.severity])))


# -- each file for itself


def way_back(project: Project) -> str:
    """The command that gets a state back which cannot be read: from the log, from a copy, or from the beginning."""
    if project.rebuilt:
        return f"/somas reconstruct {project.id}"
    if any(backup.file.state for backup in project.backups):
        return f"/somas restore {project.id} last"
    return f"/somas restart {project.id} --full"


def _state(project: Project, now: datetime) -> Iterator[Finding]:
    file = project.file
    if file.condition == "missing":
        yield Finding("error", STATE, "is missing", fix=way_back(project))
        return
    if file.condition == "damaged":
        yield _unreadable(STATE, file.data, file.problem, way_back(project))
        if not file.data:
            return
        try:
            raw = loads(file.data)
        except ValueError:
            return
    else:
        assert file.state is not None
        raw = file.state.raw
    yield from _by_schema(STATE, "state", raw, file.data)
    yield from _twice(STATE, file.data)
    state = file.state
    if state is None:
        return
    if state.current_stage not in STAGES:
        how = (
            f"an old name of {OLD_NAMES[state.current_stage]}"
            if state.current_stage in OLD_NAMES
            else "none of the eleven"
        )
        yield at(STATE, file.data, ("current_stage",), "note", f"current_stage {quoted(state.current_stage)} is {how}")
    if state.current_stage not in state.stages:
        yield at(STATE, file.data, ("current_stage",), "warning", "current_stage is not among the stages")
    for missing in (name for name in STAGES if name not in state.stages):
        yield at(STATE, file.data, ("stages",), "warning", f"stages has no {missing}")
    if state.created_at and state.updated_at and state.updated_at < state.created_at:
        yield at(STATE, file.data, ("updated_at",), "warning", "updated_at is before created_at")
    if state.updated_at and state.updated_at > now + timedelta(minutes=5):
        yield at(
            STATE, file.data, ("updated_at",), "warning", "updated_at is in the future: check the machines' clocks"
        )
    last = state.last_checkpoint
    if last and last not in {checkpoint.id for checkpoint in state.checkpoints}:
        path = ("recovery_info", "last_successful_checkpoint")
        yield at(
            STATE,
            file.data,
            path,
            "note",
            f"the last successful checkpoint {quoted(last)} was pruned from checkpoints",
        )


def _letters(project: Project) -> Iterator[Finding]:
    file = project.letters
    repair = f"/somas repair {project.id}"
    if file.condition == "missing":
        yield Finding("warning", LETTERS, "is missing; upstream's next failure makes it anew", fix=repair)
        return
    if file.condition == "damaged":
        yield _unreadable(LETTERS, file.data, file.problem, repair)
        return
    if file.malformed:
        yield Finding("error", LETTERS, file.problem, 1, repair)
        return
    raw = mapping(loads(file.data))
    entries = items(raw.get("entries"))
    looked_at = {**raw, "entries": entries[:MOST_ENTRIES]}
    yield from (replace(each, fix="") for each in _by_schema(LETTERS, "dead_letters", looked_at, file.data))
    if len(entries) > MOST_ENTRIES:
        yield Finding(
            "note", LETTERS, f"has {len(entries)} entries; the first {MOST_ENTRIES} were looked at one by one"
        )
    yield from _twice(LETTERS, file.data)
    counted, said = statistics(entries), mapping(raw.get("statistics"))
    for key, value in counted.items():
        if key in said and said[key] != value:
            shown = "" if isinstance(value, dict) else f": it says {short(said[key])}, there are {value}"
            problem = f"statistics.{key} does not fit the entries{shown}"
            yield at(LETTERS, file.data, ("statistics", key), "warning", problem, repair)
    ids = Counter(text(mapping(entry).get("id")) for entry in entries)
    for id_, count in ids.items():
        if id_ and count > 1:
            yield Finding("warning", LETTERS, f"{count} entries have the id {quoted(id_)}")


def _log(project: Project, lines: Lines | None, data: bytes) -> Iterator[Finding]:
    repair = f"/somas repair {project.id}"
    if lines is None:
        record = f"/somas repair {project.id} --record" if project.file.state else ""
        problem = f"{project.log.problem}: retries and the error rate cannot be known, and the state cannot be rebuilt"
        yield Finding("error", LOG, problem, fix=record)
        return
    for broken in lines.broken:
        yield Finding("error", LOG, broken.said, broken.number, repair, brief(broken.rest, 200))
    if lines.open_end and not (lines.broken and lines.broken[-1].number == data.count(b"\n") + 1):
        problem = "the last line has no newline: upstream's next entry would be glued to it"
        yield Finding("error", LOG, problem, data.count(b"\n") + 1, repair)
    if not lines.good:
        yield Finding("error", LOG, "holds no event", fix=repair if lines.broken else "")
    elif not any(event["event_type"] == "project_initialized" for _, event in lines.good):
        yield Finding("note", LOG, "does not begin with project_initialized: created_at and the title are not known")
    seen: dict[str, int] = {}
    for number, event in lines.good:
        yield from _event(project, number, event, seen)


def _event(project: Project, number: int, event: Mapping[str, Any], seen: dict[str, int]) -> Iterator[Finding]:
    missing = [key for key in ("id", "timestamp", "project_id") if not text(event.get(key))]
    if missing:
        yield Finding("warning", LOG, f"the event misses {', '.join(missing)}", number)
    owner = text(event.get("project_id"))
    if owner and owner != project.id:
        yield Finding("warning", LOG, f"the event belongs to {quoted(owner)}", number)
    if event["event_type"] not in EVENT_TYPES:
        yield Finding("note", LOG, f"the event type {quoted(event['event_type'])} is none that SOMAS knows", number)
    if event.get("timestamp") and instant(event["timestamp"]) is None:
        yield Finding("warning", LOG, f"the timestamp {short(event['timestamp'])} is no time", number)
    id_ = text(event.get("id"))
    if id_ and id_ in seen:
        yield Finding("warning", LOG, f"the event has the same id as line {seen[id_]}", number)
    seen.setdefault(id_, number)


# -- what dead writers leave


def _left_over(project: Project, now: datetime) -> Iterator[Finding]:
    repair = f"/somas repair {project.id}"
    staged: set[str] = set()
    for note in interrupted(project.directory):
        staged |= {note.path.name, *note.staged.values()}
        outcome = outcome_of(project.directory, note)
        what = f"{brief(note.what, 40) or 'a change'} by {brief(note.actor, 60)} at {brief(note.at, 40)}"
        said = {
            "ended": "happened; only its note was left",
            "forgotten": "was cut before anything was replaced; nothing is lost",
            "finished": "was cut in the middle and can be finished",
            "disputed": "was cut in the middle, and something else has written since",
        }[outcome]
        severity: Severity = "error" if outcome in ("finished", "disputed") else "warning"
        yield Finding(severity, note.path.name, f"the {what} {said}", fix=repair)
    for name in left_over(project.directory, now - timedelta(minutes=1)):
        if name not in staged:
            yield Finding("note", name, "was left by a writer that was killed", fix=repair)


def left_over(directory: Path, older_than: datetime | None = None) -> list[str]:
    """Temporary files of writers that are gone: of the bot, and upstream's own.

    Under the project's locks nobody can be at work on one; without them only those of a minute ago are sure to be dead.
    """
    found = []
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            ours = entry.name.startswith(".") and entry.name.endswith(".opsbot.tmp")
            if not ours and entry.name not in ("state.tmp", "dead_letters.tmp"):
                continue
            with contextlib.suppress(OSError):
                written = entry.stat(follow_symlinks=False).st_mtime
                if entry.is_file(follow_symlinks=False) and (not older_than or written < older_than.timestamp()):
                    found.append(entry.name)
    return sorted(found)


# -- one finding


@cache
def _schema(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((Path(__file__).parent / "schemas" / f"{name}.schema.json").read_text()))


def _by_schema(file: str, schema: str, raw: Any, data: bytes) -> Iterator[Finding]:
    errors: list[ValidationError] = []
    for error in _schema(schema).iter_errors(raw):
        errors.append(error)
        if len(errors) > MOST:
            break
    places = lines_in(data, (tuple(error.absolute_path) for error in errors))
    incomplete: set[tuple[str | int, ...]] = set()
    for error in errors:
        path = tuple(error.absolute_path)
        if error.validator == "required" and path in incomplete:
            continue  # one error for each key, and the first has named them all
        incomplete |= {path} if error.validator == "required" else set()
        # A word that SOMAS does not know stops nothing; a field of the wrong kind may crash its next call.
        severity: Severity = "warning" if error.validator in ("enum", "pattern", "minimum") else "error"
        line = places.get(path, 0)
        yield Finding(severity, file, _schema_problem(error, path), line, shown=line_in(data, line))


def _schema_problem(error: ValidationError, path: Sequence[str | int]) -> str:
    name = ".".join(brief(str(part), 40) for part in path) or "it"
    match error.validator:
        case "required":
            instance = mapping(error.instance)
            wanted = error.validator_value if isinstance(error.validator_value, list) else []
            return f"{name} misses {', '.join(key for key in wanted if key not in instance)}"
        case "type":
            value = error.validator_value
            kinds = " or ".join(value) if isinstance(value, list) else str(value)
            return f"{name} is {short(error.instance)}; it must be of the type {kinds}"
        case "enum":
            values = error.validator_value if isinstance(error.validator_value, list) else []
            known = ", ".join(str(value) for value in values if value is not None)
            return f"{name} is {short(error.instance)}; SOMAS knows {known}"
        case "pattern":
            return f"{name} is {short(error.instance)}, which is no time"
        case _:
            return f"{name} is {short(error.instance)}, which cannot be"


def _unreadable(file: str, data: bytes, problem: str, fix: str) -> Finding:
    line = 0
    try:
        json.loads(data.decode("utf-8") or "null")
    except json.JSONDecodeError as error:
        line = error.lineno
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
    except RecursionError:
        pass
    return Finding("error", file, problem, line, fix, line_in(data, line))


def _twice(file: str, data: bytes) -> Iterator[Finding]:
    """A key that stands twice in one object: JSON takes the last, the person who wrote it meant both."""
    twice: Counter[str] = Counter()

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        twice.update(key for key, count in Counter(key for key, _ in found).items() if count > 1)
        return dict(found)

    with contextlib.suppress(ValueError, RecursionError):
        json.loads(data, object_pairs_hook=pairs)
    for key in twice:
        yield Finding("warning", file, f"the key {quoted(key)} stands twice in one object; only the last one counts")
