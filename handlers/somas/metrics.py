"""How long, how often, how bad: the numbers of one project and of the fleet. Pure; ``now`` is an argument.

A number says how far it can be trusted: ``exact``, ``uncertain`` (a source is missing) or ``estimated`` (taken from
another source). Levels compare strictly (> 24 h, not >=); what cannot be known has no level and is never "ok".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from handlers.somas.config import Config
from handlers.somas.decode import text
from handlers.somas.projects import Project
from handlers.somas.stages import current_name, next_stage
from handlers.somas.state import StageRecord
from handlers.somas.summary import Summary, summarise
from handlers.somas.tally import HUMAN_WAIT

Level = Literal["ok", "warning", "critical"]
Mark = Literal["exact", "uncertain", "estimated"]

# Warning and critical, from the runbook's table; all strict.
DURATION_HOURS = (24.0, 72.0)
RETRIES = (2, 3)
DEAD_LETTERS = (5, 10)
WAIT_HOURS = (24.0, 48.0)


class Measure(msgspec.Struct, frozen=True, gc=False):
    """A number, its level and how far it can be trusted; ``value`` None: it cannot be known or does not apply."""

    value: float | None
    level: Level | None = None
    mark: Mark = "exact"
    source: str = ""

    def __post_init__(self) -> None:
        assert self.value is not None or self.level is None


class Rate(msgspec.Struct, frozen=True, gc=False):
    """``failed`` of ``total`` outcomes."""

    failed: int
    total: int

    @property
    def percent(self) -> float | None:
        return 100 * self.failed / self.total if self.total else None

    def __add__(self, other: Rate) -> Rate:
        return Rate(self.failed + other.failed, self.total + other.total)


class Stuck(msgspec.Struct, frozen=True, gc=False):
    """A stage that runs for longer than its timeout."""

    stage: str
    age: timedelta
    timeout: timedelta

    @property
    def over(self) -> timedelta:
        return self.age - self.timeout


class Metrics(msgspec.Struct, frozen=True, gc=False):
    """Section 7.1 to 7.7 of one project; durations and waits in hours."""

    duration: Measure
    retries: Measure
    retries_stage: str  # where the highest count is; empty when it is 0
    dead_letters: Measure  # open ones
    dead_letters_total: int
    wait: Measure
    error_rate: Rate | None  # None: there is no log
    last_day: Rate
    restart_stage: str  # empty: nothing to restart
    stuck: Stuck | None
    never_started: bool
    alerts: tuple[str, ...]  # crossings of the configuration's own thresholds
    level: Level | None  # the highest of the first four; None when nothing can be known


def measure(project: Project, now: datetime) -> Metrics:
    """Everything that can be counted of a project at ``now``."""
    return weigh(summarise(project), project.config, now)


def weigh(project: Summary, config: Config, now: datetime) -> Metrics:
    """Everything that can be counted of a project at ``now``."""
    state = project.state
    counts = project.tally
    duration = _duration(project, now)
    retries, stage = _retries(project)
    letters = _dead_letters(project)
    wait = _wait(project, now)
    known = project.log.condition == "ok" and counts.events > 0
    rate = Rate(counts.failed, counts.outcomes) if known else None
    levels: list[Level] = [m.level for m in (duration, retries, letters, wait) if m.level is not None]
    return Metrics(
        duration=duration,
        retries=retries,
        retries_stage=stage,
        dead_letters=letters,
        dead_letters_total=max(project.letters_total, int(letters.value or 0)),  # estimated: what the log counts
        wait=wait,
        error_rate=rate,
        last_day=Rate(*counts.outcomes_since(now - timedelta(hours=24))) if counts.recent else Rate(0, 0),
        restart_stage=state.restart_stage if state else "",
        stuck=stuck(project, config, now),
        never_started=never_started(project, config, now),
        alerts=_alerts(project, config, duration, wait, None if state and state.finished else rate),
        level=_highest(levels) if state else None,
    )


def _highest(levels: Sequence[Level]) -> Level | None:
    return next((level for level in ("critical", "warning", "ok") if level in levels), None)


def level_of(value: float, limits: tuple[float, float]) -> Level:
    return "critical" if value > limits[1] else "warning" if value > limits[0] else "ok"


def hours(span: timedelta) -> float:
    """Hours; a clock that went backwards gives 0."""
    return max(0.0, span.total_seconds() / 3600)


def _duration(project: Summary, now: datetime) -> Measure:
    state = project.state
    if state is None or state.created_at is None:
        return Measure(None, source="created_at is unknown")
    mark: Mark = "exact" if project.file.condition == "ok" else "estimated"
    if not state.finished:
        value = hours(now - state.created_at)
        since = "created_at" if mark == "exact" else "the first log entry, some milliseconds after created_at,"
        return Measure(value, level_of(value, DURATION_HOURS), mark, f"{since} to now")
    end, source = _end(project)
    if end is None:
        return Measure(None, source="no time of the end")
    return Measure(hours(end - state.created_at), "ok", mark, source)  # what is finished never alerts


def _end(project: Summary) -> tuple[datetime | None, str]:
    state = project.state
    assert state is not None
    if found := project.tally.ends.get(state.status):
        return found, "the update that set the final status"
    if state.finished != "cancelled" and state.last_completed:
        return state.last_completed, "the last stage's completed_at"
    return state.updated_at, "updated_at"


def retries_of(project: Project, stage: str) -> int:
    """How often a stage was tried again: the higher of the state's field and what the log shows."""
    record = project.state.stage(stage) if project.state else None
    return max(record.retry_count if record else 0, project.tally.retries.get(current_name(stage), 0))


def _retries(project: Summary) -> tuple[Measure, str]:
    """Repeated starts of the log: a start whose stage had last started or failed. After a completion it is rework."""
    state = project.state
    if state is None:
        return Measure(None, source="no state"), ""
    counts = project.tally.retries
    logged = bool(counts)
    if state.retries:
        counts = counts.copy()
        for name, count in state.retries.items():
            counts[name] = max(counts.get(name, 0), count)
    stage = max(counts, key=lambda name: counts[name], default="")
    value = counts.get(stage, 0)
    level: Level = "ok" if state.finished else level_of(value, RETRIES)
    source = "repeated starts in transitions.jsonl" if logged else "retry_count in state.json"
    if project.log.condition == "ok" and project.tally.events:
        return Measure(value, level, "exact", source), stage if value else ""
    return Measure(value, level, "uncertain", "retry_count in state.json only: no log"), stage if value else ""


def _dead_letters(project: Summary) -> Measure:
    known = project.state is not None
    if project.letters.condition == "ok":
        level = level_of(project.letters_open, DEAD_LETTERS)
        return Measure(project.letters_open, level if known else None, "exact", "dead_letters.json")
    if project.log.condition != "ok":
        return Measure(None, source="neither dead_letters.json nor a log")
    count = project.tally.recorded
    level = level_of(count, DEAD_LETTERS)
    return Measure(count, level if known else None, "estimated", "error_recorded events in transitions.jsonl")


def _wait(project: Summary, now: datetime) -> Measure:
    state = project.state
    if state is None or state.status not in HUMAN_WAIT:
        return NOT_WAITING
    start = project.tally.waiting_since
    mark: Mark = "exact"
    source = "the update that set the status"
    if start is None:
        start, mark, source = state.updated_at, "estimated", "updated_at"
    if start is None:
        return Measure(None, source="no time of the change")
    value = hours(now - start)
    return Measure(value, level_of(value, WAIT_HOURS), mark, source)


NOT_WAITING = Measure(None, source="not waiting for a person")


def running_age(record: StageRecord, now: datetime) -> timedelta | None:
    """How long a stage has been running; None when it is not."""
    if record.status != "in_progress" or record.started_at is None:
        return None
    return max(timedelta(0), now - record.started_at)


def stuck(project: Summary, config: Config, now: datetime) -> Stuck | None:
    """The stage that is furthest over its timeout. A project that waits for a person is not stuck."""
    state = project.state
    if state is None or state.finished or state.status not in ("in_progress", "retrying"):
        return None
    found = [
        Stuck(stage, age, timeout)
        for stage, started in state.running
        if (timeout := config.timeout(stage)) is not None and (age := max(timedelta(0), now - started)) > timeout
    ]
    return max(found, key=lambda s: s.over, default=None)


def never_started(project: Summary, config: Config, now: datetime) -> bool:
    """Initialised longer ago than the first stage may take, and no stage has begun."""
    state = project.state
    timeout = config.timeout("intake")
    if state is None or state.status != "initializing" or state.created_at is None or timeout is None:
        return False
    return now - state.created_at > timeout


def resume_stage(project: Project, checkpoint_id: str) -> tuple[str, str]:
    """Stage of a checkpoint and the stage after it (empty when none); ``("", "")`` for an unknown id.

    A checkpoint that rotation removed from state.json is still found in the log.
    """
    state = project.state
    for checkpoint in state.checkpoints if state else ():
        if checkpoint.id == checkpoint_id:
            return current_name(checkpoint.stage), next_stage(checkpoint.stage) or ""
    for event in project.log.epoch():
        if event.type == "checkpoint_created" and text(event.metadata.get("id")) == checkpoint_id:
            stage = text(event.metadata.get("stage")) or event.stage
            return current_name(stage), next_stage(stage) or ""
    return "", ""


def _alerts(project: Summary, config: Config, duration: Measure, wait: Measure, rate: Rate | None) -> tuple[str, ...]:
    if not config.alerts or project.state is None:
        return ()
    found = []
    limit = config.duration_alert
    if not project.state.finished and limit and duration.value is not None and duration.value > limit:
        found.append(f"pipeline duration over {limit:g} h")
    if config.wait_alert and wait.value is not None and wait.value > config.wait_alert:
        found.append(f"human wait over {config.wait_alert:g} h")
    if config.error_rate_alert and rate and rate.percent is not None and rate.percent > config.error_rate_alert:
        found.append(f"error rate over {config.error_rate_alert:g} %")
    return tuple(found)


@dataclass(frozen=True)
class Fleet:
    """All projects at one moment."""

    projects: tuple[tuple[Summary, Metrics], ...]
    all_time: Rate
    last_day: Rate

    @property
    def open_dead_letters(self) -> int:
        return sum(int(metrics.dead_letters.value or 0) for _, metrics in self.projects)

    @property
    def total_dead_letters(self) -> int:
        return sum(metrics.dead_letters_total for _, metrics in self.projects)

    def count(self, level: Level | None) -> int:
        return sum(metrics.level == level for _, metrics in self.projects)


def fleet(projects: Iterable[Summary], config: Config, now: datetime) -> Fleet:
    """The numbers of all projects, and their sums."""
    measured = tuple((project, weigh(project, config, now)) for project in projects)
    failed = total = day_failed = day_total = 0
    for _, metrics in measured:
        if metrics.error_rate:
            failed += metrics.error_rate.failed
            total += metrics.error_rate.total
        day_failed += metrics.last_day.failed
        day_total += metrics.last_day.total
    return Fleet(measured, Rate(failed, total), Rate(day_failed, day_total))
