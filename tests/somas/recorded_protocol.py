"""How SOMAS's own StateManager writes, recorded: which file under which lock, in which order, with which left-overs.

It stands in for the real one where that cannot be fetched (``upstream_writer.py``); where it can,
``test_beside_upstream.py`` holds the two against each other. Only what other writers can notice is here: the locks are
taken one file at a time, the temporary names are fixed, and the log is written after the state's lock was given back.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

PATIENCE = 30  # seconds


class StateManager:
    """The calls of the real one that change a project that exists, with its parameters."""

    def __init__(self, projects_dir: Path, config_path: Path | None = None) -> None:
        self.projects_dir = Path(projects_dir)
        self.max_checkpoints = 20

    def start_stage(self, project_id: str, stage: str, agent: str) -> None:
        at = _now()
        with self._state(project_id) as state:
            state["stages"].setdefault(stage, {}).update(status="in_progress", started_at=at, agent=agent)
            state.update(current_stage=stage, status="in_progress", updated_at=at)
            state["metrics"]["agent_invocations"] += 1
        self.log_transition(project_id, "stage_started", stage=stage, agent=agent, metadata={"started_at": at})

    def complete_stage(
        self, project_id: str, stage: str, artifacts: list[str] | None = None, create_checkpoint: bool = True
    ) -> None:
        at = _now()
        with self._state(project_id) as state:
            record = state["stages"][stage]
            begun = record.get("started_at")
            lasted = (_instant(at) - _instant(begun)).total_seconds() if begun else 0
            record.update(status="completed", completed_at=at, duration_seconds=lasted, artifacts=artifacts or [])
            state["metrics"]["stage_durations"][stage] = lasted
            state["metrics"]["artifacts_generated"] += len(artifacts or [])
            state["updated_at"] = at
        checkpoint = self.create_checkpoint(project_id, stage, artifacts=artifacts) if create_checkpoint else None
        self.log_transition(
            project_id,
            "stage_completed",
            stage=stage,
            metadata={"completed_at": at, "duration_seconds": lasted},
            artifacts=[{"path": path, "action": "created"} for path in artifacts or []],
            checkpoint_id=checkpoint,
        )

    def fail_stage(
        self, project_id: str, stage: str, agent: str, error: dict[str, Any], create_dead_letter: bool = True
    ) -> None:
        with self._state(project_id) as state:
            record = state["stages"][stage]
            tries = record.get("retry_count", 0)
            record.update(status="failed", error=error.get("message", "Unknown error"), retry_count=tries)
            state.update(status="failed", updated_at=_now())
        letter = self.add_dead_letter(project_id, stage, agent, error) if create_dead_letter else None
        self.log_transition(project_id, "stage_failed", stage=stage, agent=agent, error=_error(error, letter))

    def create_checkpoint(
        self, project_id: str, stage: str, status: str = "success", artifacts: list[str] | None = None
    ) -> str:
        made = {
            "id": f"chk-{uuid.uuid4().hex[:8]}",
            "stage": stage,
            "timestamp": _now(),
            "status": status,
            "artifacts": artifacts or [],
            "metadata": {},
        }
        with self._state(project_id) as state:
            state["checkpoints"] = [*state["checkpoints"], made][-self.max_checkpoints :]
            if status == "success":
                state["recovery_info"]["last_successful_checkpoint"] = made["id"]
            state["updated_at"] = made["timestamp"]
        id_ = str(made["id"])
        self.log_transition(project_id, "checkpoint_created", stage=stage, checkpoint_id=id_, metadata=made)
        return id_

    def add_dead_letter(self, project_id: str, stage: str, agent: str, error: dict[str, Any]) -> str:
        path = self._folder(project_id) / "dead_letters.json"
        id_ = str(uuid.uuid4())
        with self._lock(project_id, "state.json"), self._lock(project_id, "dead_letters.json"):
            letters = json.loads(path.read_text())
            state = json.loads((self._folder(project_id) / "state.json").read_text())
            snapshot = {key: state[key] for key in ("current_stage", "status", "metrics")}
            letters["entries"].append(
                {
                    "id": id_,
                    "timestamp": _now(),
                    "stage": stage,
                    "agent": agent,
                    "attempt_number": 1,
                    "error": error,
                    "context": {"state_snapshot": snapshot},
                    "request": {},
                    "trace": [],
                    "labels": state["labels"],
                    "recovery_attempted": False,
                    "replay_count": 0,
                }
            )
            numbers = letters["statistics"]
            numbers["total_entries"] += 1
            numbers["unrecovered"] += 1
            for counts, name in ((numbers["by_stage"], stage), (numbers["by_agent"], agent)):
                counts[name] = counts.get(name, 0) + 1
            self._replace(path, letters)
            state["metrics"]["dead_letters"] = numbers["total_entries"]
            self._replace(self._folder(project_id) / "state.json", state)
        self.log_transition(project_id, "error_recorded", stage=stage, agent=agent, error=_error(error, id_))
        return id_

    def update_state(self, project_id: str, updates: dict[str, Any], log_transition: bool = True) -> None:
        with self._state(project_id) as state:
            before = {"status": state["status"], "stage": state["current_stage"]}
            state.update(updates)
            state["updated_at"] = _now()
            after = {"status": state["status"], "stage": state["current_stage"]}
        if log_transition:
            self.log_transition(project_id, "state_updated", from_state=before, to_state=after, metadata=updates)

    def log_transition(self, project_id: str, event_type: str, **fields: Any) -> None:
        entry = {"id": str(uuid.uuid4()), "timestamp": _now(), "project_id": project_id, "event_type": event_type}
        entry |= {name: value for name, value in fields.items() if value}
        with (
            self._lock(project_id, "transitions.jsonl"),
            (self._folder(project_id) / "transitions.jsonl").open("a") as log,
        ):
            json.dump(entry, log)
            log.write("\n")

    # Files and locks.

    def _folder(self, project_id: str) -> Path:
        return self.projects_dir / project_id

    def _lock(self, project_id: str, name: str) -> FileLock:
        return FileLock(f"{self._folder(project_id) / name}.lock", timeout=PATIENCE)

    @contextmanager
    def _state(self, project_id: str) -> Iterator[dict[str, Any]]:
        path = self._folder(project_id) / "state.json"
        with self._lock(project_id, "state.json"):
            state: dict[str, Any] = json.loads(path.read_text())
            yield state
            self._replace(path, state)

    @staticmethod
    def _replace(path: Path, value: Any) -> None:
        temporary = path.with_suffix(".tmp")
        with temporary.open("w") as file:
            json.dump(value, file, indent=2)
        temporary.replace(path)


def _error(error: dict[str, Any], letter: str | None) -> dict[str, Any]:
    return {"type": error.get("type", "unknown"), "message": error.get("message", ""), "dead_letter_id": letter}


def _now() -> str:
    return datetime.now(UTC).replace(tzinfo=None).isoformat() + "Z"


def _instant(stamp: str) -> datetime:
    return datetime.fromisoformat(stamp)
