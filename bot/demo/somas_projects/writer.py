"""Writes a project's three files as SOMAS's own state manager does, call by call, on a clock that is given to it.

Modelled on the documented behaviour: what each call changes and which events it logs, in which order. Nothing of
upstream is needed to run it.
"""

from __future__ import annotations

import contextlib
import json
import random
import uuid
from collections.abc import Iterator, Sequence
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from filelock import FileLock

STAGES = (
    "intake",
    "specify",
    "plan",
    "decompose",
    "implement",
    "verify",
    "integrate",
    "harden",
    "release",
    "operate",
    "analyze",
)


class ProjectWriter:
    """One project under ``root``. ``now`` may be set forward at any time; each call ticks it by some microseconds.

    Calls change memory only; ``save`` writes the files. For a project that others may write too, use ``held``.
    """

    def __init__(
        self, root: Path, project_id: str, now: datetime, rng: random.Random | None = None, max_checkpoints: int = 20
    ) -> None:
        self.directory = root / ".somas" / "projects" / project_id
        self.project_id = project_id
        self.now = now
        self.rng = rng or random.Random(project_id)  # noqa: S311 ids of a demo, no secrets
        self.max_checkpoints = max_checkpoints
        self.state: dict[str, Any] = {}
        self.letters: dict[str, Any] = {}
        self.lines: list[str] = []
        self._saved = 0  # lines that are in the file already

    @classmethod
    @contextlib.contextmanager
    def held(cls, root: Path, project_id: str, now: datetime) -> Iterator[ProjectWriter]:
        """Change an existing project beside other writers, under SOMAS's locks; saved at the end."""
        writer = cls(root, project_id, now, random.Random(now.isoformat()))  # noqa: S311
        with contextlib.ExitStack() as stack:
            for name in ("state.json", "dead_letters.json", "transitions.jsonl"):
                stack.enter_context(FileLock(writer.directory / f"{name}.lock", timeout=30))
            writer.state = json.loads((writer.directory / "state.json").read_text())
            writer.letters = json.loads((writer.directory / "dead_letters.json").read_text())
            yield writer
            writer._replace()
            with (writer.directory / "transitions.jsonl").open("a") as log:
                log.write("".join(writer.lines))

    # The calls of the state manager.

    def initialize_project(
        self, issue_number: int, title: str, labels: Sequence[str] = ("somas-project", "somas:dev"), branch: str = ""
    ) -> None:
        """A new life: state and dead letters begin anew, the log goes on."""
        at = self._tick()
        self.state = {
            "project_id": self.project_id,
            "version": "1.0.0",
            "created_at": at,
            "updated_at": at,
            "issue_number": issue_number,
            "branch": branch or f"somas/{self.project_id}",
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
        self.letters = {
            "project_id": self.project_id,
            "version": "1.0.0",
            "entries": [],
            "statistics": {"total_entries": 0, "by_stage": {}, "by_agent": {}, "recovered": 0, "unrecovered": 0},
        }
        self.log_transition(
            "project_initialized",
            metadata={"issue_number": issue_number, "title": title, "branch": self.state["branch"]},
            labels={"current": list(labels)},
        )

    def start_stage(self, stage: str, agent: str = "agent") -> None:
        """An unknown name adds a record, as upstream does."""
        at = self._tick()
        record = self.state["stages"].setdefault(stage, {})
        record.update(status="in_progress", started_at=at, agent=agent)
        self.state["current_stage"] = stage
        self.state["status"] = "in_progress"
        self.state["updated_at"] = at
        self.state["metrics"]["agent_invocations"] += 1
        self.log_transition("stage_started", stage=stage, agent=agent, metadata={"started_at": at})

    def complete_stage(self, stage: str, artifacts: Sequence[str] = (), checkpoint: bool = True) -> None:
        """Changes neither the project's status nor its current stage. Raises ``KeyError`` for an unknown stage."""
        record = self.state["stages"][stage]
        at = self._tick()
        started = record.get("started_at")
        duration = (_instant(at) - _instant(started)).total_seconds() if started else 0
        record.update(status="completed", completed_at=at, duration_seconds=duration, artifacts=list(artifacts))
        metrics = self.state["metrics"]
        metrics["stage_durations"][stage] = duration
        metrics["artifacts_generated"] += len(artifacts)
        self.state["updated_at"] = at
        id_ = self.create_checkpoint(stage, artifacts=artifacts) if checkpoint else None
        self.log_transition(
            "stage_completed",
            stage=stage,
            metadata={"completed_at": at, "duration_seconds": duration},
            artifacts=[{"path": path, "action": "created"} for path in artifacts],
            checkpoint_id=id_,
        )

    def fail_stage(self, stage: str, error: dict[str, Any], agent: str = "", dead_letter: bool = True) -> None:
        """``error`` usually has type and message. Raises ``KeyError`` for an unknown stage."""
        record = self.state["stages"][stage]
        record.update(status="failed", error=error.get("message", "Unknown error"))
        record["retry_count"] = record.get("retry_count", 0)
        self.state["status"] = "failed"
        self.state["updated_at"] = self._tick()
        who = agent or record.get("agent") or ""
        id_ = self.add_dead_letter(stage, error, who) if dead_letter else None
        self.log_transition("stage_failed", stage=stage, agent=who, error=_error(error, id_))

    def create_checkpoint(
        self, stage: str, status: str = "success", artifacts: Sequence[str] = (), metadata: dict[str, Any] | None = None
    ) -> str:
        id_ = f"chk-{self.rng.getrandbits(32):08x}"
        checkpoint = {
            "id": id_,
            "stage": stage,
            "timestamp": self._tick(),
            "status": status,
            "artifacts": list(artifacts),
            "metadata": metadata or {},
        }
        self.state["checkpoints"] = [*self.state["checkpoints"], checkpoint][-self.max_checkpoints :]
        if status == "success":
            self.state["recovery_info"]["last_successful_checkpoint"] = id_
        self.state["updated_at"] = checkpoint["timestamp"]
        self.log_transition("checkpoint_created", stage=stage, metadata=deepcopy(checkpoint), checkpoint_id=id_)
        return id_

    def add_dead_letter(
        self, stage: str, error: dict[str, Any], agent: str = "", context: dict[str, Any] | None = None
    ) -> str:
        """Does not touch updated_at: upstream does not either."""
        id_ = self._uuid()
        snapshot = {key: deepcopy(self.state[key]) for key in ("current_stage", "status", "metrics")}
        self.letters["entries"].append(
            {
                "id": id_,
                "timestamp": self._tick(),
                "stage": stage,
                "agent": agent,
                "attempt_number": 1,
                "error": dict(error),
                "context": {**(context or {}), "state_snapshot": snapshot},
                "request": {},
                "trace": [],
                "labels": deepcopy(self.state["labels"]),
                "recovery_attempted": False,
                "replay_count": 0,
            }
        )
        statistics = self.letters["statistics"]
        statistics["total_entries"] += 1
        statistics["unrecovered"] += 1
        for key, name in (("by_stage", stage), ("by_agent", agent)):
            statistics[key][name] = statistics[key].get(name, 0) + 1
        self.state["metrics"]["dead_letters"] = statistics["total_entries"]
        self.log_transition("error_recorded", stage=stage, agent=agent, error=_error(error, id_))
        return id_

    def update_state(self, log_transition: bool = True, **updates: Any) -> None:
        """Shallow, by top-level key. Without ``log_transition`` no rebuild can know of it."""
        before = {"status": self.state["status"], "stage": self.state["current_stage"]}
        self.state.update(deepcopy(updates))
        self.state["updated_at"] = self._tick()
        if log_transition:
            after = {"status": self.state["status"], "stage": self.state["current_stage"]}
            self.log_transition("state_updated", from_state=before, to_state=after, metadata=deepcopy(updates))

    def run_task(self, stage: str, agent: str, task: str, provider: str, output: str) -> None:
        """The upstream runner: it logs agent events, with old stage names, and never advances the state."""
        self.log_transition(
            "agent_invoked",
            stage=stage,
            agent=agent,
            metadata={"task_name": task, "task_description": task, "provider": provider},
        )
        self.log_transition(
            "agent_completed",
            stage=stage,
            agent=agent,
            metadata={"task_name": task, "output_path": output},
            artifacts=[{"path": output, "action": "created"}],
            metrics={"duration_seconds": 0.001 + self.rng.random() / 100},
        )

    def log_transition(self, event_type: str, **fields: Any) -> None:
        """One line; fields that are empty are left out."""
        event: dict[str, Any] = {
            "id": self._uuid(),
            "timestamp": self._tick(),
            "project_id": self.project_id,
            "event_type": event_type,
        }
        order = ("stage", "agent", "from_state", "to_state", "metadata", "labels", "artifacts", "metrics", "error")
        for key in (*order, "actor", "checkpoint_id"):
            if fields.get(key):
                event[key] = fields[key]
        self.lines.append(json.dumps(event) + "\n")

    # Files and time.

    def texts(self) -> dict[str, str]:
        """The three files as ``save`` would write them into an empty folder."""
        return {
            "state.json": json.dumps(self.state, indent=2),
            "dead_letters.json": json.dumps(self.letters, indent=2),
            "transitions.jsonl": "".join(self.lines),
        }

    def save(self) -> None:
        """Write all three files. Only for a project that nobody else writes."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._replace()
        with (self.directory / "transitions.jsonl").open("a") as log:
            log.write("".join(self.lines[self._saved :]))
        self._saved = len(self.lines)

    def _replace(self) -> None:
        for name, value in (("state", self.state), ("dead_letters", self.letters)):
            temporary = self.directory / f"{name}.tmp"
            temporary.write_text(json.dumps(value, indent=2))
            temporary.replace(self.directory / f"{name}.json")

    def _tick(self) -> str:
        self.now += timedelta(microseconds=self.rng.randint(300, 3000))
        return _stamp(self.now)

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def _instant(stamp: str) -> datetime:
    return datetime.fromisoformat(stamp)


def _error(error: dict[str, Any], dead_letter_id: str | None) -> dict[str, Any]:
    return {"type": error.get("type"), "message": error.get("message"), "dead_letter_id": dead_letter_id}
