"""``/somas restart project-42``: what a restart changes in the files, as a plan, before anything is written. Pure.

The effect, under the locks and with backups, is in ``restart_files.py``.
"""

from __future__ import annotations

import copy
import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from bot.errors import UserError
from handlers.somas.decode import brief, clean, dumps, items, mapping, stamp, text, whole
from handlers.somas.metrics import measure, resume_stage, retries_of
from handlers.somas.projects import Project
from handlers.somas.rebuild import fresh_dead_letters, fresh_state, number_of
from handlers.somas.stages import STAGES, current_name
from handlers.somas.state import State, StateFile, judge_state
from handlers.somas.summary import suggested_stage

Mode = Literal["stage", "full"]
NO_TIME = "<time of the change>"  # a preview's digest must not depend on the clock


@dataclass(frozen=True, slots=True)
class Change:
    """What is written: the new state (without its new ``updated_at``), the top-level keys that differ, the notes."""

    before: Mapping[str, Any]
    state: dict[str, Any]
    updates: dict[str, Any]
    stage: str
    reset: dict[str, str]  # later stages that go back to pending, with the status they had
    retry: int  # which retry of the stage this is, by the state's own counter


@dataclass(frozen=True, slots=True)
class Choice:
    """Where a restart begins and why there, in words for people."""

    mode: Mode
    stage: str
    why: str
    warnings: tuple[str, ...] = ()


def plan(state: Mapping[str, Any], stage: str) -> Change:
    """Section 6.1 of a restart at ``stage``, one of the eleven. ``state`` must be valid; it is not modified."""
    new = copy.deepcopy(dict(state))
    stages: dict[str, Any] = new["stages"]
    record: dict[str, Any] = stages.setdefault(stage, {"status": "pending", "retry_count": 0})
    old_records = [r for name, r in stages.items() if name != stage and current_name(name) == stage]
    started = any(r.get("started_at") is not None for r in (record, *old_records))
    record["status"] = "retrying"
    record["retry_count"] = whole(record.get("retry_count")) + (1 if started else 0)
    for key in ("error", "completed_at", "duration_seconds", "artifacts"):
        record.pop(key, None)
    reset: dict[str, str] = {}
    for name in stages:
        later = current_name(name)
        if later in STAGES and STAGES.index(later) > STAGES.index(stage) and stages[name]["status"] != "pending":
            reset[name] = stages[name]["status"]
            stages[name]["status"] = "pending"
    new["current_stage"] = stage
    new["status"] = "retrying"
    new["recovery_info"] = {**mapping(new.get("recovery_info")), "resume_from_stage": stage}
    metrics = mapping(new.get("metrics"))
    new["metrics"] = {**metrics, "retry_count": whole(metrics.get("retry_count")) + 1}
    updates = {key: value for key, value in new.items() if state.get(key) != value}
    return Change(state, new, updates, stage, reset, record["retry_count"])


def restart_events(
    change: Change, project_id: str, at: str, ids: tuple[str, str], actor: str, reason: str, operation_id: str
) -> list[dict[str, Any]]:
    """The two log entries of a restart. The first is replayed by a rebuild: it holds the written keys, no more."""
    before = change.before
    return [
        {
            "id": ids[0],
            "timestamp": at,
            "project_id": project_id,
            "event_type": "state_updated",
            "from_state": {"status": before["status"], "stage": before["current_stage"]},
            "to_state": {"status": "retrying", "stage": change.stage},
            "metadata": change.updates,
            "actor": actor_entry(actor),
        },
        retrying_event(
            project_id, at, ids[1], change.stage, actor, {"reason": reason, "reset": change.reset}, operation_id
        ),
    ]


def full_events(
    fresh: Mapping[str, Any],
    title: str,
    project_id: str,
    at: str,
    ids: tuple[str, str],
    actor: str,
    reason: str,
    operation_id: str,
    archive: str,
) -> list[dict[str, Any]]:
    """The two log entries of a full restart: a new life of the project, and who wanted it."""
    return [
        {
            "id": ids[0],
            "timestamp": at,
            "project_id": project_id,
            "event_type": "project_initialized",
            "metadata": {"issue_number": fresh["issue_number"], "title": title, "branch": fresh["branch"]},
            "labels": {"current": fresh["labels"]["github"]},
            "actor": actor_entry(actor),
        },
        retrying_event(
            project_id,
            at,
            ids[1],
            STAGES[0],
            actor,
            {"reason": reason, "mode": "full", "archive": archive},
            operation_id,
        ),
    ]


def retrying_event(
    project_id: str, at: str, id_: str, stage: str, actor: str, metadata: dict[str, Any], operation_id: str
) -> dict[str, Any]:
    kept = {key: value for key, value in metadata.items() if value}
    return {
        "id": id_,
        "timestamp": at,
        "project_id": project_id,
        "event_type": "stage_retrying",
        "stage": stage,
        "metadata": {**kept, "operation_id": operation_id},
        "actor": actor_entry(actor),
    }


def actor_entry(actor: str) -> dict[str, str]:
    """``github:alice`` as the log names people: type, name and, where there is one, the GitHub user."""
    surface, _, name = actor.partition(":")
    entry = {"type": "human" if name else "system", "name": actor or "opsbot"}
    return {**entry, "github_user": name} if surface == "github" and name else entry


def fresh_start(project: Project, at: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    """state.json, dead_letters.json and the title of a new life, from what is known of the old one."""
    old = project.state.raw if project.state else {}
    labels = [label for label in items(mapping(old.get("labels")).get("github")) if isinstance(label, str)]
    state = fresh_state(
        project.id,
        at,
        whole(old.get("issue_number")) or number_of(project.id),
        text(old.get("branch")) or f"somas/{project.id}",
        labels,
    )
    return state, fresh_dead_letters(project.id), project.log.title


def is_fresh(file: StateFile) -> bool:
    """Whether this is a state that was just initialised."""
    state = file.state
    return bool(
        state
        and state.status == "initializing"
        and not state.checkpoints
        and all(record.status == "pending" and record.started_at is None for record in state.stages.values())
    )


def same_but_for_time(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return {**one, "updated_at": None} == {**other, "updated_at": None}


def choose(
    project: Project,
    now: datetime,
    *,
    stage: str = "",
    checkpoint: str = "",
    full: bool = False,
    override: bool = False,
) -> Choice:
    """Where this restart begins. Raises ``UserError``, with what to do instead, when there must be none.

    ``stage`` is one of the eleven or empty; ``checkpoint`` an id, ``last`` or empty. ``override`` restarts a finished
    project and one whose breaker is set.
    """
    if sum((bool(stage), bool(checkpoint), full)) > 1:
        raise UserError("Give one of --from, --checkpoint and --full, not several.")
    refuse_blocked(project, override=override)
    state = project.state
    if full:
        return Choice("full", STAGES[0], "a new start from the first stage", _warnings(project, STAGES[0], full=True))
    _refuse_unusable(project)
    assert state is not None
    if state.finished and not override:
        how = "every stage is completed" if state.finished == "inferred" else f"its status is {state.finished}"
        raise UserError(
            f"{project.id} is finished ({how}); there is nothing to restart. To run it again from the beginning: "
            f"/somas restart {project.id} --full. To repeat one stage all the same, add --override to --from.",
            suggestions=(f"/somas status {project.id}",),
        )
    if checkpoint:
        begin, why = _from_checkpoint(project, state, checkpoint)
    elif stage:
        begin, why = stage, "as asked"
    else:
        begin = suggested_stage(state)
        if not begin:  # finished, and overridden without a stage
            raise UserError(f"{project.id} is finished. Say where to begin: --from STAGE, or --full.")
        record = state.stage(begin)
        why = (
            f"it is {record.status}" if record and record.status != "pending" else "the first one that is not completed"
        )
    return Choice("stage", begin, why, _warnings(project, begin))


def refuse_blocked(project: Project, *, override: bool) -> None:
    """Raises ``UserError`` while the pipeline is switched off or a breaker is set."""
    config = project.config
    if not config.pipeline_enabled:
        raise UserError(
            "pipeline.enabled is false in .somas/config.yml, so this bot restarts nothing. Upstream does not read that "
            "key; set it to true when work may go on."
        )
    state = project.state
    if state is None or override:
        return
    if config.breaker_label in state.labels:
        raise UserError(
            f"The circuit breaker of {project.id} is set: state.json has the label {config.breaker_label} (a copy from "
            "when the project was initialised; the issue may differ). Find out why it tripped and remove the label, or "
            "add --override when you know that it is out of date."
        )
    if state.open_breakers:
        names = ", ".join(brief(name, 40) for name in state.open_breakers[:5])
        raise UserError(
            f"The circuit breaker of {project.id} is not closed for: {names} (circuit_breakers in state.json). "
            "Find out why it tripped and close it, or add --override."
        )


def _refuse_unusable(project: Project) -> None:
    if project.file.condition == "ok":
        return
    known = ""
    if project.rebuilt:
        known = (
            f" transitions.jsonl is readable ({len(project.log.events)} events) and ends in "
            f"{brief(project.rebuilt.status, 40)} at {brief(project.rebuilt.current_stage, 40)}, so the state "
            f"can be rebuilt: /somas reconstruct {project.id}."
        )
    kept = [backup.name for backup in project.backups if backup.file.state]
    if kept:
        known += f" A valid backup is there: /somas restore {project.id} {kept[-1]}."
    raise UserError(
        f"{project.id}: state.json {project.file.problem}. A restart at a stage needs a state that can be read.{known} "
        f"Repair or restore state.json, or start over with /somas restart {project.id} --full, which archives "
        "everything first.",
        suggestions=(
            *((f"/somas reconstruct {project.id} --dry-run",) if project.rebuilt else ()),
            f"/somas restart {project.id} --full --dry-run",
        ),
    )


def _from_checkpoint(project: Project, state: State, wanted: str) -> tuple[str, str]:
    last = wanted == "last"
    id_ = state.last_checkpoint if last else wanted
    suggested = suggested_stage(state) or STAGES[0]
    if last and not id_:
        raise UserError(
            f"{project.id} has no successful checkpoint yet. Restart at a stage instead: --from {suggested}.",
            suggestions=(f"/somas restart {project.id} --from {suggested}",),
        )
    shown = brief(id_, 40)
    stage, after = resume_stage(project, id_)
    if not stage:
        known = [checkpoint.id for checkpoint in state.checkpoints if checkpoint.status == "success"]
        kept = f"It has: {', '.join(brief(name, 40) for name in known[-8:])}." if known else "It has none."
        gone = "was pruned and is not in the log either" if last else "is not a checkpoint of this project"
        raise UserError(f"{project.id}: {shown} {gone}. {kept} Or restart at a stage: --from {suggested}.")
    found = next((checkpoint for checkpoint in state.checkpoints if checkpoint.id == id_), None)
    if found is not None and found.status != "success":
        raise UserError(f"{project.id}: checkpoint {shown} has the status {brief(found.status, 40)}, not success.")
    if after not in STAGES:
        raise UserError(
            f"{project.id}: checkpoint {shown} was taken at {brief(stage, 40)}; none comes after it. Use --from STAGE."
        )
    pruned = "" if found else " (pruned from state.json, found in the log)"
    return after, f"checkpoint {shown}{pruned} was taken at {stage}, so the next stage is {after}"


def _warnings(project: Project, stage: str, *, full: bool = False) -> tuple[str, ...]:
    found = []
    limit = project.config.max_retry_attempts
    tries = retries_of(project, stage) + 1
    record = project.state.stage(stage) if project.state else None
    if not full and record and record.started_at and tries > limit:
        found.append(f"this is retry {tries} of {stage}; limits.yml allows {limit} (max_retry_attempts)")
    if project.state:
        running = [r.name for r in project.state.stages.values() if r.status == "in_progress"]
        if running:
            found.append(f"{', '.join(brief(name, 40) for name in running)} is in progress; a restart stops no work")
    if project.log.condition != "ok":
        found.append(f"transitions.jsonl {project.log.problem}: retries cannot be counted")
    return tuple(found)


def next_retry(project: Project, stage: str) -> int:
    """Which retry of ``stage`` the next start would be; 0 for a first start."""
    record = project.state.stage(stage) if project.state else None
    return retries_of(project, stage) + 1 if record and record.started_at else 0


def recovery_text(project: Project, now: datetime) -> str:
    """What is known about recovering, instead of upstream's recovery_info, which always says the same."""
    metrics = measure(project, now)
    state = project.state
    if state is None:
        return "Nothing is known: state.json cannot be read and there is no log."
    stage, after = resume_stage(project, state.last_checkpoint) if state.last_checkpoint else ("", "")
    rows = {
        "status": state.effective_status,
        "current stage": state.current_stage,
        "suggested stage": metrics.restart_stage or "none: finished",
        "last checkpoint": f"{state.last_checkpoint} at {stage}, resumes at {after or 'nothing'}" if stage else "none",
        "retries": f"{metrics.retries.value or 0:g} {metrics.retries_stage} ({metrics.retries.source})",
        "limit": f"{project.config.max_retry_attempts} (limits.yml)",
        "dead letters": f"{metrics.dead_letters.value or 0:g} open of {metrics.dead_letters_total}",
        "automatic recovery": "none: upstream retries nothing by itself",
        "read from": project.source,
    }
    return "\n".join(f"{label}: {brief(str(value), 200)}" for label, value in rows.items())


def diff(before: bytes | Mapping[str, Any], after: Mapping[str, Any], name: str) -> str:
    """Unified diff of a file as it is and as it will be."""
    old = before.decode("utf-8", "replace") if isinstance(before, bytes) else dumps(before)
    lines = difflib.unified_diff(
        clean(old).split("\n"), dumps(after).split("\n"), f"{name} now", f"{name} after the restart", lineterm=""
    )
    return "\n".join(lines)


def encoded(state: Mapping[str, Any]) -> bytes:
    """A file's bytes, as upstream writes them."""
    return dumps(state).encode("ascii")


def stamped(state: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """The state with its new ``updated_at``, at its place."""
    return {**state, "updated_at": stamp(now)}


def usable(raw: Any, project_id: str) -> Mapping[str, Any]:
    """``raw`` as a valid state. Raises ``ValueError`` with what is wrong."""
    problem = judge_state(raw, project_id)
    if problem:
        raise ValueError(problem)
    assert isinstance(raw, dict)
    return raw


def compact(value: Any) -> str:
    return json.dumps(value)
