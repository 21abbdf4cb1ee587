"""``status is "paused", the log says "failed"``: where the three files of a project contradict each other. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from bot.words import counted
from handlers.somas.decode import brief, items, mapping, text
from handlers.somas.finding import Finding, at, quoted, short
from handlers.somas.projects import DATA_FILES, Project
from handlers.somas.rebuild import LETTERS_LEFT

STATE, LETTERS, LOG = DATA_FILES


def together(project: Project, now: datetime) -> Iterator[Finding]:
    """State against log, state against dead letters, dead letters against log."""
    state, rebuilt = project.file.state, project.rebuilt
    if state is not None and rebuilt is not None:
        different = disagreements(state.raw, rebuilt.raw)
        if different:
            young = state.updated_at and timedelta() <= now - state.updated_at < timedelta(seconds=5)
            why = " It was written just now, and its entry may be on its way: look again." if young else ""
            lost = " The log has lines that cannot be read." if project.log.bad_lines > project.log.recovered else ""
            listed = "; ".join(different[:6]) + (f"; and {len(different) - 6} more" if len(different) > 6 else "")
            problem = f"does not say what the log leads to: {listed}.{lost}{why}"
            yield Finding("warning", STATE, problem, fix=f"/somas reconstruct {project.id}")
    if project.letters.condition != "ok":
        return
    entries = [letter.raw for letter in project.letters.entries]
    if state is not None:
        said = mapping(state.raw.get("metrics")).get("dead_letters")
        if said != len(entries):
            problem = f"metrics.dead_letters is {short(said)}, and dead_letters.json has {len(entries)}"
            fix = f"/somas repair {project.id}"
            yield at(STATE, project.file.data, ("metrics", "dead_letters"), "warning", problem, fix)
    if project.log.condition == "ok" and project.log.events:
        yield from _letters_and_log(project, entries)


def _letters_and_log(project: Project, entries: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Entries that the log does not know were half recorded; failures without an entry were cleared by hand."""
    known = {text(entry.get("id")) for entry in entries}
    logged: set[str] = set()
    since: list[str] = []
    settled = ""  # when the bot purged or repaired last: what is older was looked at then
    for event in project.log.events:
        if event.type == "project_initialized":
            since = []
        elif event.type == "error_recorded":
            id_ = text(mapping(event.raw.get("error")).get("dead_letter_id"))
            logged.add(id_)
            since.append(id_)
        elif LETTERS_LEFT in event.metadata:
            since = []
            settled = text(event.raw.get("timestamp"))
    unlogged = [
        id_
        for entry in entries
        if (id_ := text(entry.get("id"))) and id_ not in logged and text(entry.get("timestamp")) > settled
    ]
    if unlogged:
        some = ", ".join(quoted(id_[:13]) for id_ in unlogged[:3])
        yield Finding(
            "warning", LETTERS, f"{counted(len(unlogged), 'entry', 'entries')} that the log does not know: {some}"
        )
    gone = [id_ for id_ in since if id_ not in known]
    if gone:
        yield Finding(
            "warning",
            LETTERS,
            f"{counted(len(gone), 'failure')} of the log without an entry: the file was cleared by hand, or a failure "
            "was half recorded",
            fix=f"/somas repair {project.id}",
        )


def disagreements(state: Mapping[str, Any], rebuilt: Mapping[str, Any]) -> list[str]:
    """Where state.json and the log differ, one phrase each; not created_at and updated_at, which the log knows late."""
    found = []
    for key in dict.fromkeys([*state, *rebuilt]):
        here, there = state.get(key), rebuilt.get(key)
        if key in ("created_at", "updated_at") or here == there:
            continue
        if key == "stages":
            found += _stages_differ(mapping(here), mapping(there))
        elif isinstance(here, dict) and isinstance(there, dict):
            parts = [part for part in dict.fromkeys([*here, *there]) if here.get(part) != there.get(part)]
            if parts == ["dead_letters"] and key == "metrics":
                continue  # told with dead_letters.json
            found += [f"{key}.{brief(part, 40)} {_against(here.get(part), there.get(part))}" for part in parts]
        elif key == "checkpoints":
            found.append(f"checkpoints: {len(items(here))} in the file, {len(items(there))} by the log")
        else:
            found.append(f"{brief(key, 40)} {_against(here, there)}")
    return found


def _stages_differ(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    found = []
    for name in dict.fromkeys([*here, *there]):
        one, other = mapping(here.get(name)), mapping(there.get(name))
        for key in dict.fromkeys([*one, *other]):
            if one.get(key) == other.get(key):
                continue
            if key == "error" and one.get(key) == "" and other.get(key) == "Unknown error":
                continue  # an empty message without a dead letter: the log cannot tell it from none
            found.append(f"{brief(name, 40)}.{brief(key, 40)} {_against(one.get(key), other.get(key))}")
    return found


def _against(here: Any, there: Any) -> str:
    return f"is {short(here)}, the log says {short(there)}"
