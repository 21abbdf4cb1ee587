"""``/somas repair project-57``: what can be put right without deciding anything, in one locked change. Pure.

A bare list in dead_letters.json becomes the object that it must be, numbers follow the entries, cut and glued lines of
the log come apart, what dead writers left is cleared away. state.json is replaced by nobody here: that is
``reconstruct`` and ``restore``, which show what they replace. With ``record`` the log is told what state.json says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bot.errors import UserError
from bot.words import counted
from handlers.somas.backups import compact_time
from handlers.somas.broken_log import examine, mended
from handlers.somas.change import LOG, Change, Note, Order, event, updated
from handlers.somas.dead_letters import LETTERS, recount, shaped
from handlers.somas.decode import brief, dumps, instant, items, loads, mapping, text
from handlers.somas.differences import file_diff
from handlers.somas.projects import Project
from handlers.somas.rebuild import LETTERS_LEFT, rebuild
from handlers.somas.transitions import decode_log
from handlers.somas.validate import way_back

REJECTED = "transitions.rejected"


def repair(
    project: Project,
    log: bytes | None,
    order: Order,
    at: str,
    *,
    record: bool = False,
    left_over: Sequence[str] = (),
    cut: Sequence[Note] = (),
) -> Change:
    """Everything that can be put right. ``log``: the bytes of the log; ``cut``: changes that nobody can finish.

    Raises ``UserError`` when there is nothing to do, and says what else may help.
    """
    fixed: list[str] = []
    files: dict[str, bytes] = {}
    new_log = _mend_log(project, log, order, at, files, fixed)
    entries = _mend_letters(project, files, fixed)
    events: list[Mapping[str, Any]] = []
    state = project.file.state
    after: Mapping[str, Any] = state.raw if state else {}
    if state and entries is not None and (found := recount(project, len(entries), at)):
        files["state.json"], entry = found
        events.append(entry)
        after = mapping(loads(found[0]))
        fixed.append(f"state.json: metrics.dead_letters is {len(entries)}, as many as there are")
    if record:
        events = _record(project, new_log, after, events, fixed)
    if left_over:
        fixed.append(f"{counted(len(left_over), 'file')} that killed writers left: {', '.join(left_over[:5])}")
    fixed += [f"the {brief(note.what, 40)} of {brief(note.at, 40)} that was cut: what is there stays" for note in cut]
    if not fixed:
        raise _nothing(project, record=record)
    told: dict[str, Any] = {"action": "repair", "fixed": fixed}
    if entries is not None:
        told[LETTERS_LEFT] = len(entries)
    events.append(event("recovery_completed", order, told))
    diffs = [file_diff(name, _now(project, name, log), data, context=1) for name, data in files.items()]
    still = "" if state else f" state.json still {project.file.problem}: /somas reconstruct {project.id}."
    return Change(
        f"{project.id} repaired: {'; '.join(fixed)}.{still}",
        files,
        events,
        "\n".join([*(f"# {each}" for each in fixed), *diffs]),
        "diff",
        tuple(left_over),
        intent=f"Repair {project.id}; each file is copied before it is changed.{still}",
    )


def _mend_log(
    project: Project, log: bytes | None, order: Order, at: str, files: dict[str, bytes], fixed: list[str]
) -> bytes:
    if log is None:
        return b""
    lines = examine(log)
    if not lines.broken and not lines.open_end:
        return log
    new, rest = mended(log)
    if rest:
        moment = instant(at)
        name = f"{REJECTED}.{compact_time(moment) if moment else at}.{order.mark}.txt"
        files[name] = f"{rest}\n".encode("utf-8", "replace")
    files[LOG] = new
    fixed += [
        f"{LOG} line {broken.number}: it {broken.said}; what is no event goes to a file of its own"
        for broken in lines.broken[:10]
    ]
    if len(lines.broken) > 10:
        fixed.append(f"{len(lines.broken) - 10} more broken lines of {LOG}")
    if lines.open_end and not lines.broken:
        fixed.append(f"{LOG}: the last line ends with a newline")
    return new


def _mend_letters(project: Project, files: dict[str, bytes], fixed: list[str]) -> list[Any] | None:
    """The entries that the file has then."""
    file = project.letters
    if file.condition == "ok" and not file.malformed:
        raw = mapping(loads(file.data))
        entries = items(raw.get("entries"))
        after = shaped(project.id, raw, entries)
        if after != raw:
            fixed.append(f"{LETTERS}: the numbers are those of its {counted(len(entries), 'entry', 'entries')}")
    elif file.malformed:
        entries = [dict(letter.raw) for letter in file.entries if letter.raw]
        after = shaped(project.id, {}, entries)
        fixed.append(f"{LETTERS}: the bare list becomes an object with its {counted(len(entries), 'entry', 'entries')}")
    else:
        known = letters_of_log(project)
        if known is None:
            return None
        entries = known
        after = shaped(project.id, {}, entries)
        came = f"{counted(len(entries), 'entry', 'entries')} from the log, without context, request and trace"
        fixed.append(f"{LETTERS} {file.problem}: made anew with {came}")
    data = dumps(after).encode("ascii")
    if file.condition != "ok" or file.malformed or after != mapping(loads(file.data)):
        files[LETTERS] = data
    return entries


def letters_of_log(project: Project) -> list[Any] | None:
    """What the log knows of the letters of the present life: id, stage, agent, type, message. None without a log."""
    if project.log.condition != "ok" or not project.log.events:
        return None
    entries: list[Any] = []
    for found in project.log.epoch():
        if LETTERS_LEFT in found.metadata:
            entries = []  # a purge or a repair: what was before it is settled
        if found.type != "error_recorded":
            continue
        error = mapping(found.raw.get("error"))
        entries.append(
            {
                "id": text(error.get("dead_letter_id")),
                "timestamp": text(found.raw.get("timestamp")),
                "stage": text(found.raw.get("stage")),
                "agent": text(found.raw.get("agent")),
                "attempt_number": 1,
                # An empty text stands for none: the log cannot tell one from the other, and none is what happens.
                "error": {key: text(error[key]) for key in ("type", "message") if text(error.get(key))},
                "context": {},
                "request": {},
                "trace": [],
                "labels": {},
                "recovery_attempted": False,
                "replay_count": 0,
                "notes": "rebuilt from transitions.jsonl: context, request and trace are lost",
            }
        )
    return entries


def _record(
    project: Project,
    log: bytes,
    after: Mapping[str, Any],
    events: list[Mapping[str, Any]],
    fixed: list[str],
) -> list[Mapping[str, Any]]:
    """The log is told what state.json says and it does not know: after a change by hand, or without a log."""
    state = project.file.state
    if state is None:
        raise UserError(
            f"{project.id}: state.json {project.file.problem}, so there is nothing that the log could be told. "
            f"/somas reconstruct {project.id} goes the other way.",
            suggestions=(f"/somas reconstruct {project.id}",),
        )
    rebuilt = rebuild(project.id, decode_log(log).events, project.letters.by_id(), project.config.max_checkpoints)
    known = rebuilt or {}
    late = {"updated_at", "created_at"} if known.get("created_at") else {"updated_at"}
    keys = [key for key, value in after.items() if key not in late and known.get(key, ...) != value]
    if not keys:
        return events
    if rebuilt is None:
        fixed.append(f"{LOG}: begins again with the state as it is; what happened before is not known any more")
    else:
        fixed.append(f"{LOG}: is told what state.json says of {', '.join(brief(key, 40) for key in keys)}")
    return [updated(state.raw, after, keys)]


def _now(project: Project, name: str, log: bytes | None) -> bytes | None:
    present = {"state.json": project.file.data, LETTERS: project.letters.data, LOG: log}
    return present.get(name) or None


def _nothing(project: Project, *, record: bool) -> UserError:
    """There is nothing that needs no decision; what is damaged all the same has a command of its own."""
    said, offered = f"{project.id}: there is nothing to repair.", f"/somas validate {project.id}"
    if project.file.condition != "ok":
        said += f" state.json {project.file.problem}: {way_back(project)} gets it back."
        offered = f"{way_back(project)} --dry-run"
    elif project.log.condition == "missing" and not record:
        said += f" {LOG} is missing: /somas repair {project.id} --record begins it anew with the state as it is."
        offered = f"/somas repair {project.id} --record"
    return UserError(said, suggestions=(offered,))
