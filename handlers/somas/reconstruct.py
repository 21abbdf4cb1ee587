"""``/somas reconstruct 81`` and ``/somas restore 103 state.json.backup``: another state in the place of this one. Pure.

The log remains the truth: whatever is put into state.json is logged as a ``state_updated`` with all that was written,
so that the next rebuild leads to it. What the log knew is not taken out of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from bot.errors import UserError
from bot.words import counted
from handlers.somas.agreement import disagreements
from handlers.somas.backups import as_backup, kind_of, letters_of
from handlers.somas.change import Change, Order, event, updated
from handlers.somas.dead_letters import LETTERS, recount, shaped
from handlers.somas.decode import brief, dumps, instant, loads, mapping, text
from handlers.somas.differences import file_diff, told
from handlers.somas.phrases import backup_text
from handlers.somas.projects import Project
from handlers.somas.rebuild import LETTERS_LEFT

_CREATED = re.compile(rb'"created_at":\s*"([^"\\]{10,40})"')
_SAME_SECONDS = 60  # the log knows created_at some milliseconds late; with a contended lock up to 30 s


def reconstruct(project: Project, order: Order, at: str) -> Change:
    """state.json as the log leads to it. Raises ``UserError`` when the log leads nowhere, or to what is there."""
    rebuilt = project.rebuilt
    if rebuilt is None:
        raise UserError(_nowhere(project))
    state = project.file.state
    if state is not None and not disagreements(state.raw, rebuilt.raw):
        raise UserError(
            f"{project.id}: state.json says what the log says; there is nothing to reconstruct.",
            suggestions=(f"/somas validate {project.id}",),
        )
    new = _with_count(project, {**rebuilt.raw, "created_at": created_at(project, rebuilt.raw), "updated_at": at})
    log = project.log
    lost = log.bad_lines - log.recovered
    mind = f" Mind: {counted(lost, 'line')} of the log cannot be read; what they said is lost." if lost else ""
    if state is not None:
        mind += " Mind: state.json can be read; what it says and the log does not know is replaced."
    came = f"{counted(len(log.events), 'event')} of transitions.jsonl"
    return _replaced(project, new, order, at, "reconstruct", f"rebuilt from {came}", came, mind)


def restore(project: Project, name: str, order: Order, at: str, now: datetime) -> Change:
    """A copy in the place of what is there now. Raises ``UserError`` when it is none, or not usable."""
    match kind_of(name):
        case "state.json":
            return _restore_state(project, name, order, at, now)
        case "transitions.jsonl":
            raise UserError(
                f"{name} is a copy of the log. The log is never set back: what happened after the copy would be lost "
                f"for good. Broken lines are mended with /somas repair {project.id}."
            )
        case _:
            return _restore_letters(project, name, order, at)


def _restore_state(project: Project, name: str, order: Order, at: str, now: datetime) -> Change:
    backup = as_backup(project.directory, name, project.id)
    if backup is None:
        raise UserError(f"{project.id} has no {name}.", suggestions=(f"/somas backups {project.id}",))
    if backup.file.state is None:
        raise UserError(
            f"{name} cannot be restored: it {backup.file.problem}.", suggestions=(f"/somas backups {project.id}",)
        )
    present = project.state.raw if project.state else {}
    # A key that came later, such as circuit_breakers, is not the backup's to take away; the log knows it, too.
    kept = {key: value for key, value in present.items() if key not in backup.file.state.raw}
    new = _with_count(project, {**backup.file.state.raw, **kept, "updated_at": at})
    if project.file.state and {**new, "updated_at": 0} == {**project.file.state.raw, "updated_at": 0}:
        raise UserError(f"{project.id}: state.json is what {name} is; there is nothing to restore.")
    mind = f" It is {backup_text(project, backup, now)}."
    if kept:
        mind += f" Kept, because the backup does not know it: {', '.join(brief(key, 40) for key in kept)}."
    return _replaced(project, new, order, at, "restore", f"restored from {name}", name, mind)


def _restore_letters(project: Project, name: str, order: Order, at: str) -> Change:
    """A copy of dead_letters.json replaces it; an archive of a purge is put back among the letters that are there."""
    found = letters_of(project.directory, name, project.id)
    if found is None:
        raise UserError(f"{project.id} has no {name}.", suggestions=(f"/somas backups {project.id}",))
    if found.condition != "ok":
        raise UserError(f"{name} cannot be restored: it {found.problem}.")
    raw = mapping(loads(found.data)) if not found.malformed else {}
    entries: list[Any] = [dict(letter.raw) for letter in found.entries]
    purged = kind_of(name) == "purged letters"
    if purged:
        present = [dict(letter.raw) for letter in project.letters.entries]
        there = {text(entry.get("id")) for entry in present}
        entries = [entry for entry in entries if text(entry.get("id")) not in there] + present
        entries.sort(key=lambda entry: text(mapping(entry).get("timestamp")))
        raw = mapping(loads(project.letters.data)) if project.letters.condition == "ok" else {}
    after = dumps(shaped(project.id, {key: value for key, value in raw.items() if key != "archived"}, entries))
    data = after.encode("ascii")
    if data == project.letters.data:
        raise UserError(f"{project.id}: dead_letters.json is what {name} gives; there is nothing to restore.")
    files = {LETTERS: data}
    events: list[Mapping[str, Any]] = []
    if found_count := recount(project, len(entries), at):
        files["state.json"] = found_count[0]
        events.append(found_count[1])
    events.append(event("recovery_completed", order, {"action": "restore", "from": name, LETTERS_LEFT: len(entries)}))
    count = counted(len(entries), "dead letter")
    how = "get back what was purged to" if purged else "are replaced by those of"
    return Change(
        f"{project.id} has the {count} of {name}.",
        files,
        events,
        file_diff(LETTERS, project.letters.data or None, data),
        "diff",
        intent=f"The {counted(len(project.letters.entries), 'dead letter')} of {project.id} {how} {name}: {count} "
        "then.",
    )


def created_at(project: Project, rebuilt: Mapping[str, Any]) -> str:
    """The very instant, when the file that is there still tells it: a cut file has it on one of its first lines."""
    known = text(rebuilt.get("created_at"))
    if not known and project.log.events:
        known = text(project.log.events[0].raw.get("timestamp"))
    found = _CREATED.search(project.file.data[:4096])
    told_there = found[1].decode("ascii", "replace") if found else ""
    exact, late = instant(told_there), instant(known)
    near = exact and late and abs((late - exact).total_seconds()) <= _SAME_SECONDS
    return told_there if near else known


def _with_count(project: Project, state: dict[str, Any]) -> dict[str, Any]:
    """``metrics.dead_letters`` is as many as dead_letters.json has now, whatever it was then."""
    if project.letters.condition != "ok":
        return state
    return {**state, "metrics": {**mapping(state.get("metrics")), "dead_letters": len(project.letters.entries)}}


def _replaced(
    project: Project, new: dict[str, Any], order: Order, at: str, action: str, done: str, source: str, mind: str
) -> Change:
    before = project.file.state.raw if project.file.state else None
    data = dumps(new).encode("ascii")
    said = told(before, new)
    words = "\n".join(f"# {each}" for each in said)
    shown = {**new, "updated_at": "<time of the change>"}
    diff = file_diff("state.json", project.file.data or None, dumps(shown).encode("ascii"))
    was = "" if before is not None else f" At present it {project.file.problem}."
    return Change(
        f"state.json of {project.id} was {done}: {brief(text(new.get('status')), 40).replace('_', ' ')} at "
        f"{brief(text(new.get('current_stage')), 40)}.",
        {"state.json": data},
        (
            updated(before, new, [key for key in new if key != "updated_at"]),
            event("recovery_completed", order, {"action": action, "from": source}),
        ),
        f"{words}\n{diff}" if words else diff,
        "diff",
        intent=f"state.json of {project.id} will be {done}.{was}{mind} The present file is kept as a copy, and the "
        "log gets the whole new state.",
    )


def _nowhere(project: Project) -> str:
    why = f"{project.id}: the log leads to no state (transitions.jsonl {project.log.problem or 'holds no event'})."
    usable = [backup.name for backup in project.backups if backup.file.state]
    if usable:
        return f"{why} A valid backup is there: /somas restore {project.id} {usable[-1]}."
    snapshot = newest_snapshot(project)
    if snapshot:
        why += f" The newest dead letter saw it {snapshot}, which is no whole state."
    return f"{why} No backup is usable either: /somas restart {project.id} --full archives everything and starts over."


def newest_snapshot(project: Project) -> str:
    """``in_progress at implement``, as the newest dead letter knows it; empty when none does."""
    for letter in reversed(project.letters.entries):
        seen = mapping(mapping(letter.raw.get("context")).get("state_snapshot"))
        if text(seen.get("status")):
            return f"{brief(text(seen['status']), 40)} at {brief(text(seen.get('current_stage')), 40) or 'no stage'}"
    return ""


def backup_change(project: Project, order: Order, names: Sequence[str]) -> Change:
    """Copies of the files as they are, and an entry that says who wanted them and why."""
    there = [name for name in names if (project.directory / name).exists()]
    if not there:
        raise UserError(f"{project.id} has none of its three files.")
    listed = ", ".join(there)
    return Change(
        f"{project.id}: {listed} were copied.",
        events=(event("recovery_completed", order, {"action": "backup", "files": there}),),
        copy=there,
        intent=f"Copy {listed} of {project.id} beside the originals, with the time in the name. Nothing else changes.",
    )
