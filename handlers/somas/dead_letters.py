"""``/somas dlq list project-57``: choosing dead letters, and what marking, replaying and purging make of them. Pure.

``dead_letters.json`` is an object and stays one: a bare list (what the runbook's ``echo "[]"`` leaves) makes upstream's
next failure crash half-recorded. Nothing upstream recovers, replays or purges a letter; all of it is the bot's.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bot.commands.nearest import nearest
from bot.errors import UserError
from handlers.somas.backups import PURGED
from handlers.somas.change import Change, Order, event, updated
from handlers.somas.decode import brief, dumps, items, loads, mapping, text, whole
from handlers.somas.phrases import letters_text
from handlers.somas.projects import Project
from handlers.somas.rebuild import LETTERS_LEFT, fresh_dead_letters
from handlers.somas.stages import STAGES, current_name
from handlers.somas.state import DeadLetter

Result = Literal["success", "failure", "skipped", "pending"]
RESULTS: tuple[Result, ...] = ("success", "failure", "skipped")
LETTERS = "dead_letters.json"
_ID = re.compile(r"[\w-]{1,64}", re.ASCII)
_IDS_IN_LOG = 100  # of a purge; the archive has them all


@dataclass(frozen=True, slots=True)
class Numbered:
    """A letter and its place in the file, counted from 1."""

    number: int
    letter: DeadLetter

    @property
    def id(self) -> str:
        """Its id, when it is one that can be typed; else empty."""
        found = text(self.letter.raw.get("id"))
        return found if _ID.fullmatch(found) else ""

    @property
    def short(self) -> str:
        """What people type: the first eight characters of the id, or the number."""
        return self.id[:8] or f"#{self.number}"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters a command is about. ``until`` is a time stamp: letters that came later are left alone."""

    ids: tuple[str, ...] = ()
    stage: str = ""
    agent: str = ""
    recovered: bool = False
    all: bool = False
    until: str = ""

    def of(self, letters: Iterable[Numbered]) -> list[Numbered]:
        chosen = []
        for each in letters:
            letter = each.letter
            if self.ids and each.id not in self.ids:
                continue
            if self.stage and current_name(letter.stage) != self.stage:
                continue
            if self.agent and letter.agent != self.agent:
                continue
            if self.recovered and letter.open:
                continue
            if self.until and text(letter.raw.get("timestamp")) > self.until:
                continue
            chosen.append(each)
        return chosen

    @property
    def inputs(self) -> dict[str, str]:
        """As the inputs of a run; ``from_inputs`` reads them again."""
        return {
            "letters": " ".join(self.ids),
            "letters_stage": self.stage,
            "letters_agent": self.agent,
            "letters_recovered": "true" if self.recovered else "",
            "letters_all": "true" if self.all else "",
            "letters_until": self.until,
        }

    @classmethod
    def from_inputs(cls, inputs: Mapping[str, str]) -> Selection:
        """Raises ``UserError`` for inputs that choose nothing: a purge of everything has to be said."""
        found = cls(
            ids=tuple(inputs.get("letters", "").split()),
            stage=inputs.get("letters_stage", ""),
            agent=inputs.get("letters_agent", ""),
            recovered=inputs.get("letters_recovered") == "true",
            all=inputs.get("letters_all") == "true",
            until=inputs.get("letters_until", ""),
        )
        if not (found.ids or found.stage or found.agent or found.recovered or found.all):
            raise UserError("Say which dead letters: their ids, --recovered, --stage, --agent or --all.")
        return found


def numbered(project: Project) -> list[Numbered]:
    """All letters of a file that can be read, in its order."""
    return [Numbered(place, letter) for place, letter in enumerate(project.letters.entries, 1)]


def find(project: Project, typed: str) -> Numbered:
    """The letter that a person means: an id or its beginning, ``#3``, ``last``. Raises ``UserError`` with near ones."""
    letters = numbered(project)
    wanted = typed.strip().lower()
    if not letters:
        raise UserError(f"{project.id} has no dead letters.", suggestions=(f"/somas dlq count {project.id}",))
    if wanted == "last":
        return letters[-1]
    if re.fullmatch(r"#[0-9]{1,9}", wanted, re.ASCII):
        place = int(wanted[1:])
        if 1 <= place <= len(letters):
            return letters[place - 1]
        raise UserError(f"{project.id} has {len(letters)} dead letters; there is no {wanted}.")
    found = [each for each in letters if each.id and each.id.lower().startswith(wanted)] if len(wanted) >= 4 else []
    exact = [each for each in found if each.id.lower() == wanted]
    if len(found) == 1 or len(exact) == 1:
        return (exact or found)[0]
    if found:
        some = ", ".join(each.id[:13] for each in found[:5])
        raise UserError(
            f"{len(found)} dead letters of {project.id} begin with {brief(wanted, 40)}: {some}. Type more of it."
        )
    close = nearest(wanted[:8], [each.short for each in letters])
    hint = f" Did you mean {' or '.join(close)}?" if close else f" The last one is {letters[-1].short}."
    raise UserError(
        f"{project.id} has no dead letter {brief(typed, 40)!r}.{hint}",
        suggestions=(f"/somas dlq list {project.id}",),
    )


def require_usable(project: Project) -> Mapping[str, Any]:
    """The whole object of dead_letters.json. Raises ``UserError`` when it must be repaired first."""
    file = project.letters
    if file.condition == "ok" and not file.malformed:
        return mapping(loads(file.data))
    raise UserError(
        f"{project.id}: dead_letters.json {file.problem}. Repair it first: /somas repair {project.id}.",
        suggestions=(f"/somas repair {project.id}", f"/somas validate {project.id}"),
    )


def statistics(entries: Iterable[Any]) -> dict[str, Any]:
    """The numbers as upstream counts them."""
    total = recovered = 0
    by_stage: dict[str, int] = {}
    by_agent: dict[str, int] = {}
    for entry in entries:
        total += 1
        for counts, key in ((by_stage, "stage"), (by_agent, "agent")):
            # Upstream counts under the value itself, and JSON writes None as the key "null".
            name = mapping(entry).get(key)
            named = name if isinstance(name, str) else json.dumps(name)
            counts[named] = counts.get(named, 0) + 1
        recovered += not DeadLetter(mapping(entry)).open
    return {
        "total_entries": total,
        "by_stage": by_stage,
        "by_agent": by_agent,
        "recovered": recovered,
        "unrecovered": total - recovered,
    }


def shaped(project_id: str, raw: Mapping[str, Any], entries: Sequence[Any]) -> dict[str, Any]:
    """The object with these entries and their numbers; keys that the bot does not know survive."""
    fresh = fresh_dead_letters(project_id)
    numbers = {**mapping(raw.get("statistics")), **statistics(entries)}
    return {**fresh, **raw, "project_id": project_id, "entries": list(entries), "statistics": numbers}


def mark(project: Project, selection: Selection, result: Result, order: Order, at: str) -> Change:
    """Say of letters that they were recovered (or not, or left), by whom and why. Raises ``UserError``."""
    raw = copy.deepcopy(dict(require_usable(project)))
    chosen = _chosen(project, selection)
    for each in chosen:
        entry = raw["entries"][each.number - 1]
        entry["recovery_attempted"] = True
        entry["recovery_result"] = result
        entry["notes"] = _noted(entry, f"{at}: {result}, marked by {order.actor}: {order.reason}")
    after = shaped(project.id, raw, raw["entries"])
    stages = {each.letter.stage for each in chosen}
    entry = event(
        "recovery_completed",
        order,
        {"action": "mark", "result": result, "dead_letters": [each.id for each in chosen]},
        stage=stages.pop() if len(stages) == 1 else "",
    )
    return Change(
        f"{_counted(chosen)} of {project.id} marked as {result}; {_open(after)} open now.",
        {LETTERS: dumps(after).encode("ascii")},
        (entry,),
        _listed(chosen, " "),
        intent=f"Mark {_counted(chosen)} of {project.id} as {result}, with your name and reason in its notes and in "
        f"the log: {_open(after)} stay open. dead_letters.json is copied first.",
    )


def attempt(project: Project, letter_id: str, order: Order, at: str) -> Change:
    """Before a replay: it is counted, and pending until somebody says how it ended. Raises ``UserError``."""
    raw = copy.deepcopy(dict(require_usable(project)))
    chosen = _chosen(project, Selection(ids=(letter_id,)))
    each = chosen[0]
    replay_stage(each.letter)
    entry = raw["entries"][each.number - 1]
    entry["recovery_attempted"] = True
    entry["recovery_result"] = "pending"
    entry["replay_count"] = whole(entry.get("replay_count")) + 1
    entry["notes"] = _noted(entry, f"{at}: replay {entry['replay_count']} by {order.actor}: {order.reason}")
    after = shaped(project.id, raw, raw["entries"])
    logged = event(
        "recovery_attempted",
        order,
        {"action": "replay", "dead_letters": [each.id], "replay": entry["replay_count"]},
        stage=each.letter.stage,
        agent=each.letter.agent,
    )
    return Change(
        f"Dead letter {each.short} is on replay {entry['replay_count']}; it stays open until it is marked.",
        {LETTERS: dumps(after).encode("ascii")},
        (logged,),
        _listed(chosen, " "),
        intent=f"Count replay {entry['replay_count']} of dead letter {each.short} of {project.id}. Upstream has no "
        "replay: what can be done is to start its stage again, which the next step does.",
    )


def replay_stage(letter: DeadLetter) -> str:
    """The stage that a replay starts again. Raises ``UserError`` for a letter of no stage of the pipeline."""
    stage = current_name(letter.stage)
    if stage not in STAGES:
        raise UserError(
            f"This dead letter is of {brief(letter.stage, 40)!r}, which is none of the eleven stages, so there is "
            "nothing to start again. Mark it, or purge it."
        )
    return stage


def purge(project: Project, selection: Selection, order: Order, at: str) -> Change:
    """Move letters to an archive file; the object keeps its shape, the numbers follow. Raises ``UserError``."""
    raw = require_usable(project)
    chosen = _chosen(project, selection)
    places = {each.number - 1 for each in chosen}
    entries = items(raw.get("entries"))
    left = [entry for place, entry in enumerate(entries) if place not in places]
    moved = [entries[place] for place in sorted(places)]
    after = shaped(project.id, raw, left)
    name = f"{PURGED}.{_file_time(at)}.{order.mark}.json"
    archive = {
        **shaped(project.id, {}, moved),
        "archived": {"at": at, "by": order.actor, "reason": order.reason, "operation_id": order.operation_id},
    }
    files = {name: dumps(archive).encode("ascii"), LETTERS: dumps(after).encode("ascii")}
    events = []
    if counted := recount(project, len(left), at):
        files["state.json"], entry = counted
        events.append(entry)
    told = {"action": "purge", "archive": name, "dead_letters": [each.id for each in chosen if each.id][:_IDS_IN_LOG]}
    events.append(event("recovery_completed", order, {**told, "purged": len(moved), LETTERS_LEFT: len(left)}))
    return Change(
        f"{_counted(chosen)} of {project.id} moved to {name}; {len(left)} left, {_open(after)} of them open.",
        files,
        tuple(events),
        _listed(chosen, "-"),
        "diff",
        intent=f"Move {_counted(chosen)} of {project.id} out of dead_letters.json into a file {PURGED}.<time>.json, "
        f"from which /somas restore gets them back. {len(left)} stay, {_open(after)} of them open. dead_letters.json "
        "keeps its shape; its numbers and metrics.dead_letters follow.",
    )


def recount(project: Project, total: int, at: str) -> tuple[bytes, dict[str, Any]] | None:
    """state.json with ``metrics.dead_letters`` set to ``total``, and its log entry; None when nothing changes."""
    state = project.file.state
    if state is None or mapping(state.raw.get("metrics")).get("dead_letters") == total:
        return None
    new = copy.deepcopy(dict(state.raw))
    new["metrics"] = {**mapping(new.get("metrics")), "dead_letters": total}
    new["updated_at"] = at
    return dumps(new).encode("ascii"), updated(state.raw, new, ["metrics"])


def _chosen(project: Project, selection: Selection) -> list[Numbered]:
    letters = numbered(project)
    chosen = selection.of(letters)
    missing = set(selection.ids) - {each.id for each in letters}
    if missing:
        gone = ", ".join(brief(one, 13) for one in sorted(missing)[:3])
        raise UserError(
            f"{project.id} has no dead letter {gone} any more. /somas dlq list {project.id} shows what is there."
        )
    if not chosen:
        raise _none_of(project, letters, selection)
    return chosen


def _none_of(project: Project, letters: Sequence[Numbered], selection: Selection) -> UserError:
    """None of the letters is of the kind that was asked for: which kinds there are."""
    if not letters:
        return UserError(f"{project.id} has no dead letters; there is nothing to do.")
    said = f"{project.id} has no such dead letters ({len(letters)} in all); there is nothing to do."
    if selection.recovered:
        said += (
            f" None of them is marked as recovered: /somas dlq mark {project.id} <letter> --as success marks one, and "
            "--all takes them as they are."
        )
    elif selection.agent or selection.stage:
        said += f" They are {letters_text([each.letter for each in letters])}."
    return UserError(said, suggestions=(f"/somas dlq list {project.id}",))


def _noted(entry: Mapping[str, Any], note: str) -> str:
    earlier = text(entry.get("notes"))
    return f"{earlier}\n{note}" if earlier else note


def _open(raw: Mapping[str, Any]) -> int:
    return whole(mapping(raw.get("statistics")).get("unrecovered"))


def _counted(chosen: Sequence[Numbered]) -> str:
    return "1 dead letter" if len(chosen) == 1 else f"{len(chosen)} dead letters"


def _listed(chosen: Sequence[Numbered], sign: str) -> str:
    """One line each: ``- 1a2b3c4d 2026-11-22T04:00:00Z verify by tester: ValidationError: 3 tests failed``."""
    return "\n".join(f"{sign} {letter_line(each)}" for each in chosen)


def letter_line(each: Numbered) -> str:
    letter = each.letter
    at = text(letter.raw.get("timestamp"))[:19] or "no time"
    by = f" by {brief(letter.agent, 30)}" if letter.agent else ""
    kind = f"{brief(letter.error_type, 40)}: " if letter.error_type else ""
    return (
        f"{each.short} {brief(at, 19)} {brief(letter.stage, 30) or 'no stage'}{by}: {kind}{brief(letter.message, 120)}"
    )


def _file_time(at: str) -> str:
    """``2026-11-22T12:00:00.5Z`` as ``20261122T120000Z``; a preview's stand-in for a time stays as it is."""
    return re.sub(r"[-:]|\.[0-9]+", "", at) if at[:1].isdigit() else at
