"""``project-42: failed at verify``: what lists and numbers need of one project, and no more. Pure.

A summary is made from a whole ``Project`` (exact, for one) or by the scan of all (``scan.py``), which must give the
same. It knows no ``now``: what depends on the time is weighed in ``metrics.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from bot.words import counted
from handlers.somas.decode import instant, whole
from handlers.somas.projects import Project
from handlers.somas.stages import STAGES, current_name
from handlers.somas.state import Condition, Finish, Pipeline, StageLike, finish_of
from handlers.somas.tally import Tally


class FileSummary(msgspec.Struct, frozen=True, gc=False):
    """One of the three files: *ok*, *missing* or *damaged*, and why. ``problem`` of an ok one: the list of a purge."""

    condition: Condition
    problem: str = ""
    malformed: bool = False


class StateSummary(msgspec.Struct, frozen=True, gc=False):
    """The state, from state.json or from the log."""

    status: str
    current_stage: str  # as it is written
    created_at: datetime | None
    updated_at: datetime | None
    finished: Finish
    restart_stage: str  # where a bare restart begins; empty for a finished project
    running: tuple[tuple[str, datetime], ...]  # stages in progress, and since when
    retries: Mapping[str, int]  # retry_count by stage, where it is above 0
    last_completed: datetime | None
    error: str  # of the failed stage
    issue_number: int = 0  # 0: it is the project's own number

    @property
    def effective_status(self) -> str:
        """The status that a person should go by."""
        return "completed" if self.finished == "inferred" else self.status


class Summary(msgspec.Struct, frozen=True, gc=False):
    """One project."""

    id: str
    file: FileSummary  # state.json
    letters: FileSummary
    log: FileSummary
    state: StateSummary | None  # rebuilt from the log when ``file`` is not ok
    letters_open: int
    letters_total: int
    tally: Tally

    @property
    def never_advanced(self) -> bool:
        """Agents finished according to the log, and state.json never moved: what upstream's own runner leaves."""
        return self.state is not None and self.state.status == "initializing" and self.tally.agents_done > 0

    @property
    def last_failure(self) -> tuple[str, datetime | None]:
        """Text and time of what went wrong last: the failed stage's error, else the last failure in the log."""
        at = instant(self.tally.failed_at)
        if self.state is not None and self.state.error:
            return self.state.error, at or self.state.updated_at
        return (self.tally.failure, at) if self.tally.failure is not None else ("", None)

    @property
    def last_event_at(self) -> datetime | None:
        return instant(self.tally.last_at)

    @property
    def damage(self) -> list[str]:
        """What is wrong with the files, one phrase each: ``state.json is empty``."""
        found = []
        if self.file.condition != "ok":
            found.append(f"state.json {self.file.problem}")
        if self.letters.condition != "ok" or self.letters.malformed:
            found.append(f"dead_letters.json {self.letters.problem}")
        if self.log.condition != "ok":
            found.append(f"transitions.jsonl {self.log.problem}")
        elif self.tally.bad_lines:
            found.append(f"transitions.jsonl has {counted(self.tally.bad_lines, 'broken line')}")
        elif not self.tally.events:
            found.append("transitions.jsonl is empty")
        return found


def summarise(project: Project) -> Summary:
    """The summary of a project that was read whole."""
    return Summary(
        id=project.id,
        file=FileSummary(project.file.condition, project.file.problem),
        letters=FileSummary(project.letters.condition, project.letters.problem, project.letters.malformed),
        log=FileSummary("ok") if project.counts else FileSummary(project.log.condition, project.log.problem),
        state=summarise_state(project.state, project.state.created_at, project.state.updated_at)
        if project.state
        else None,
        letters_open=project.letters.open,
        letters_total=len(project.letters.entries),
        tally=project.tally,
    )


def summarise_state(
    state: Pipeline[StageLike], created_at: datetime | None, updated_at: datetime | None
) -> StateSummary:
    running: list[tuple[str, datetime]] = []
    retries: dict[str, int] = {}
    failed: StageLike | None = None
    stages, left = state.stages, ""
    for name, record in stages.items():
        status = record.status
        if status != "completed":
            if status == "in_progress":
                if started := record.started_at:
                    running.append((current_name(name), started))
            elif status == "failed":
                failed = record
            if not left and status != "skipped":
                left = name
        if record.retry_count > 0:
            now_called = current_name(name)
            retries[now_called] = max(retries.get(now_called, 0), record.retry_count)
    first_left = left if tuple(stages) == STAGES else state.first_unfinished
    finished = finish_of(state.status, first_left)
    if failed is not None:  # the current stage's error before that of the last one
        current = state.stage(current_name(state.current_stage))
        failed = current if current is not None and current.status == "failed" else failed
    return StateSummary(
        status=state.status,
        current_stage=state.current_stage,
        created_at=created_at,
        updated_at=updated_at,
        finished=finished,
        restart_stage="" if finished else _restart_stage(state, first_left),
        running=tuple(running),
        retries=retries,
        # Nobody asks for it before the end.
        last_completed=max(filter(None, (each.completed_at for each in state.stages.values())), default=None)
        if finished
        else None,
        error=failed.error if failed is not None else "",
        issue_number=whole(getattr(state, "issue_number", 0)),
    )


def suggested_stage(state: Pipeline[StageLike]) -> str:
    """Where a bare restart should begin; empty for a finished project."""
    return "" if state.finished else _restart_stage(state, state.first_unfinished)


def _restart_stage(state: Pipeline[StageLike], first_left: str) -> str:
    current = current_name(state.current_stage)
    record = state.stage(current)
    if record and current in STAGES and record.status in ("failed", "in_progress", "retrying"):
        return current
    return first_left
