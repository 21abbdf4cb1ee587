"""The state of a project replayed from its log, for when state.json is damaged or missing. Pure.

Everything comes back field by field except ``created_at`` (some milliseconds late), ``updated_at`` after a failure or
an update (some milliseconds late) and changes that were never logged.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from handlers.somas.decode import instant, items, mapping, stamp, text, whole
from handlers.somas.stages import STAGES
from handlers.somas.state import DeadLetter, judge_state
from handlers.somas.transitions import Event

LETTERS_LEFT = "dead_letters_total"  # in an event of the bot: how many entries dead_letters.json has now


def fresh_state(project_id: str, at: str, issue_number: int, branch: str, labels: list[Any]) -> dict[str, Any]:
    """state.json as upstream initialises it, keys in its order. ``at`` is a time stamp; empty when it is unknown."""
    return {
        "project_id": project_id,
        "version": "1.0.0",
        "created_at": at,
        "updated_at": at,
        "issue_number": issue_number,
        "branch": branch,
        "current_stage": "intake",
        "status": "initializing",
        "stages": {stage: {"status": "pending", "retry_count": 0} for stage in STAGES},
        "checkpoints": [],
        "labels": {"github": list(labels), "custom": {}},
        "metrics": {
            "total_duration_seconds": 0,
            "stage_durations": {},
            "retry_count": 0,
            "agent_invocations": 0,
            "artifacts_generated": 0,
            "dead_letters": 0,
        },
        "recovery_info": {
            "last_successful_checkpoint": None,
            "can_resume": True,
            "resume_from_stage": "intake",
        },
    }


def fresh_dead_letters(project_id: str) -> dict[str, Any]:
    """dead_letters.json as upstream initialises it."""
    return {
        "project_id": project_id,
        "version": "1.0.0",
        "entries": [],
        "statistics": {"total_entries": 0, "by_stage": {}, "by_agent": {}, "recovered": 0, "unrecovered": 0},
    }


def number_of(project_id: str) -> int:
    """42 of ``project-42``."""
    digits = project_id.removeprefix("project-")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 19 else 0


def rebuild(
    project_id: str, events: Iterable[Event], letters: Mapping[str, DeadLetter], max_checkpoints: int = 20
) -> dict[str, Any] | None:
    """The state that these events lead to; None when there are none or they lead to no usable state.

    ``letters`` by id serve one lookup: the text of a failure that was logged without one.
    """
    replay = _Replay(project_id, letters, max_checkpoints)
    count = 0
    for event in events:
        count += 1
        replay.apply(event)
    if not count or judge_state(replay.state, project_id):
        return None
    return replay.state


class _Replay:
    def __init__(self, project_id: str, letters: Mapping[str, DeadLetter], max_checkpoints: int) -> None:
        self.project_id = project_id
        self.letters = letters
        self.max_checkpoints = max_checkpoints
        self.dead = 0
        self.state = fresh_state(project_id, "", number_of(project_id), f"somas/{project_id}", [])

    def apply(self, event: Event) -> None:
        match event.type:
            case "project_initialized":
                self._initialized(event)
            case "stage_started":
                self._started(event)
            case "checkpoint_created":
                self._checkpoint(event)
            case "stage_completed":
                self._completed(event)
            case "error_recorded":
                self.dead += 1
                self._metrics()["dead_letters"] = self.dead
            case "stage_failed":
                self._failed(event)
            case "state_updated":
                self.state.update(copy.deepcopy(event.metadata))
                self._touched(event)
            case "recovery_completed" if isinstance(total := event.metadata.get(LETTERS_LEFT), int):
                self.dead = total  # a purge or a repair of the bot: upstream counts on from what is left
            case _:
                pass

    def _initialized(self, event: Event) -> None:
        metadata = event.metadata
        self.dead = 0
        self.state = fresh_state(
            self.project_id,
            text(event.raw.get("timestamp")),
            whole(metadata.get("issue_number")) or number_of(self.project_id),
            text(metadata.get("branch")) or f"somas/{self.project_id}",
            items(mapping(event.raw.get("labels")).get("current")),
        )

    def _started(self, event: Event) -> None:
        started = event.metadata.get("started_at") or event.raw.get("timestamp")
        name = text(event.raw.get("stage"))
        record = self._record(event)
        record["status"] = "in_progress"
        record["started_at"] = started
        record["agent"] = event.raw.get("agent")
        self.state["current_stage"] = name
        self.state["status"] = "in_progress"
        self.state["updated_at"] = started
        self._add("agent_invocations", 1)

    def _checkpoint(self, event: Event) -> None:
        checkpoint = copy.deepcopy(event.metadata)
        kept = [*items(self.state.get("checkpoints")), checkpoint]
        self.state["checkpoints"] = kept[-self.max_checkpoints :]
        if checkpoint.get("status") == "success":
            self._object("recovery_info")["last_successful_checkpoint"] = checkpoint.get("id")
        self.state["updated_at"] = checkpoint.get("timestamp") or event.raw.get("timestamp")

    def _completed(self, event: Event) -> None:
        metadata = event.metadata
        record = self._record(event)
        duration = metadata.get("duration_seconds", 0)
        record["status"] = "completed"
        completed = metadata.get("completed_at") or event.raw.get("timestamp")
        if "started_at" not in record and (at := instant(completed)) and isinstance(duration, int | float):
            self._lost_start(record, at, duration)
        record["completed_at"] = completed
        record["duration_seconds"] = duration
        artifacts = [
            text(mapping(artifact).get("path")) or artifact
            for artifact in items(event.raw.get("artifacts"))
            if artifact
        ]
        record["artifacts"] = artifacts
        durations = self._metrics().get("stage_durations")
        if not isinstance(durations, dict):
            durations = self._metrics()["stage_durations"] = {}
        durations[text(event.raw.get("stage"))] = duration
        self._add("artifacts_generated", len(artifacts))
        if not event.raw.get("checkpoint_id"):  # with a checkpoint its event already set the later time
            self.state["updated_at"] = completed

    @staticmethod
    def _lost_start(record: dict[str, Any], completed: datetime, duration: float) -> None:
        """The stage_started is missing from the log; a stage that never started has the duration 0."""
        if 0 < duration < 1e9:
            record["started_at"] = stamp(completed - timedelta(seconds=duration))

    def _failed(self, event: Event) -> None:
        record = self._record(event)
        record["status"] = "failed"
        record["error"] = event.message or self._letter_message(event)
        record.setdefault("retry_count", 0)
        self.state["status"] = "failed"
        self._touched(event)

    def _letter_message(self, event: Event) -> str:
        """An event leaves out an empty text: the letter knows whether it was empty or not given at all."""
        letter = self.letters.get(text(mapping(event.raw.get("error")).get("dead_letter_id")))
        known = letter is not None and "message" in mapping(letter.raw.get("error"))
        return letter.message if letter is not None and known else "Unknown error"

    def _touched(self, event: Event) -> None:
        self.state["updated_at"] = event.raw.get("timestamp")

    def _object(self, key: str) -> dict[str, Any]:
        """A top-level object; an update may have put something else there, which is then replaced."""
        found = self.state.get(key)
        if not isinstance(found, dict):
            found = self.state[key] = {}
        return found

    def _metrics(self) -> dict[str, Any]:
        return self._object("metrics")

    def _add(self, counter: str, count: int) -> None:
        self._metrics()[counter] = whole(self._metrics().get(counter)) + count

    def _record(self, event: Event) -> dict[str, Any]:
        stages = self._object("stages")
        name = text(event.raw.get("stage"))
        if not isinstance(stages.get(name), dict):
            stages[name] = {}
        record = stages[name]
        assert isinstance(record, dict)
        return record
