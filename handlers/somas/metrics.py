"""How long, how often, how bad: the numbers of one project and of the fleet. Pure; ``now`` is an argument.

A number says how far it can be trusted: ``exact``, ``uncertain`` (a source is missing) or ``estimated`` (taken from
another source). Levels compare strictly (> 24 h, not >=); what cannot be known has no level and is never "ok".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from handlers.somas.decode import mapping, text
from handlers.somas.projects import Project
from handlers.somas.stages import STAGES, current_name, next_stage
from handlers.somas.state import StageRecord, State
from handlers.somas.transitions import Event

Level = Literal["ok", "warning", "critical"]
Mark = Literal["exact", "uncertain", "estimated"]
HUMAN_WAIT = ("waiting", "paused")

# Warning and critical, from the runbook's table; all strict.
DURATION_HOURS = (24.0, 72.0)
RETRIES = (2, 3)
DEAD_LETTERS = (5, 10)
WAIT_HOURS = (24.0, 48.0)


@dataclass(frozen=True, slots=True)
class Measure:
    """A number, its level and how far it can be trusted; ``value`` None: it cannot be known or does not apply."""

    value: float | None
    level: Level | None = None
    mark: Mark = "exact"
    source: str = ""

    def __post_init__(self) -> None:
        assert self.value is not None or self.level is None


@dataclass(frozen=True, slots=True)
class Rate:
    """``failed`` of ``total`` outcomes."""

    failed: int
    total: int

    @property
    def percent(self) -> float | None:
        return 100 * self.failed / self.total if self.total else None

    def __add__(self, other: Rate) -> Rate:
        return Rate(self.failed + other.failed, self.total + other.total)


@dataclass(frozen=True, slots=True)
class Stuck:
    """A stage that runs for longer than its timeout."""

    stage: str
    age: timedelta
    timeout: timedelta

    @property
    def over(self) -> timedelta:
        return self.age - self.timeout


@dataclass(frozen=True, slots=True)
class Metrics:
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
    state = project.state
    finished = bool(state and state.finished)
    epoch = project.log.epoch()
    duration = _duration(project, now)
    retries, stage = _retries(project)
    letters = _dead_letters(project)
    wait = _wait(project, now)
    rate = error_rate(epoch) if project.log.condition == "ok" and project.log.events else None
    levels: list[Level] = [m.level for m in (duration, retries, letters, wait) if m.level is not None]
    return Metrics(
        duration=duration,
        retries=retries,
        retries_stage=stage,
        dead_letters=letters,
        dead_letters_total=len(project.letters.entries),
        wait=wait,
        error_rate=rate,
        last_day=error_rate(_since(project.log.events, now - timedelta(hours=24))),
        restart_stage=suggested_stage(state) if state else "",
        stuck=stuck(project, now),
        never_started=never_started(project, now),
        alerts=_alerts(project, duration, wait, None if finished else rate),
        level=_highest(levels) if state else None,
    )


def _highest(levels: Sequence[Level]) -> Level | None:
    return next((level for level in ("critical", "warning", "ok") if level in levels), None)


def level_of(value: float, limits: tuple[float, float]) -> Level:
    return "critical" if value > limits[1] else "warning" if value > limits[0] else "ok"


def hours(span: timedelta) -> float:
    """Hours; a clock that went backwards gives 0."""
    return max(0.0, span.total_seconds() / 3600)


def _duration(project: Project, now: datetime) -> Measure:
    state = project.state
    if state is None or state.created_at is None:
        return Measure(None, source="created_at is unknown")
    mark: Mark = "exact" if project.file.state else "estimated"
    if not state.finished:
        value = hours(now - state.created_at)
        since = "created_at" if project.file.state else "the first log entry, some milliseconds after created_at,"
        return Measure(value, level_of(value, DURATION_HOURS), mark, f"{since} to now")
    end, source = _end(project, state)
    if end is None:
        return Measure(None, source="no time of the end")
    return Measure(hours(end - state.created_at), "ok", mark, source)  # what is finished never alerts


def _end(project: Project, state: State) -> tuple[datetime | None, str]:
    found: datetime | None = None
    before = ""
    for event in project.log.epoch():
        if event.type == "state_updated" and (status := _updated_status(event)):
            if status == state.status and status != before and status in ("completed", "cancelled"):
                found = event.at or found
            before = status
        elif event.type in ("stage_started", "stage_failed"):
            before = ""
    if found:
        return found, "the update that set the final status"
    if state.finished != "cancelled":
        ends = [record.completed_at for record in state.stages.values() if record.completed_at]
        if ends:
            return max(ends), "the last stage's completed_at"
    return state.updated_at, "updated_at"


def _updated_status(event: Event) -> str:
    """The project's status after a state_updated."""
    return text(mapping(event.raw.get("to_state")).get("status")) or text(event.metadata.get("status"))


def log_retries(epoch: Sequence[Event]) -> dict[str, int]:
    """Repeated starts per stage: a start whose stage had last started or failed. After a completion it is rework."""
    latest: dict[str, str] = {}
    counts: dict[str, int] = {}
    for event in epoch:
        if event.type not in ("stage_started", "stage_failed", "stage_completed"):
            continue
        if event.type == "stage_started" and latest.get(event.stage) in ("stage_started", "stage_failed"):
            counts[event.stage] = counts.get(event.stage, 0) + 1
        latest[event.stage] = event.type
    return counts


def retries_of(project: Project, stage: str) -> int:
    """How often a stage was tried again: the higher of the state's field and what the log shows."""
    record = project.state.stage(stage) if project.state else None
    return max(record.retry_count if record else 0, log_retries(project.log.epoch()).get(current_name(stage), 0))


def _retries(project: Project) -> tuple[Measure, str]:
    state = project.state
    if state is None:
        return Measure(None, source="no state"), ""
    counts = log_retries(project.log.epoch())
    logged = bool(counts)
    for record in state.stages.values():
        name = current_name(record.name)
        counts[name] = max(counts.get(name, 0), record.retry_count)
    stage = max(counts, key=lambda name: counts[name], default="")
    value = counts.get(stage, 0)
    known = project.log.condition == "ok" and bool(project.log.events)
    level: Level = "ok" if state.finished else level_of(value, RETRIES)
    source = "repeated starts in transitions.jsonl" if logged else "retry_count in state.json"
    if known:
        return Measure(value, level, "exact", source), stage if value else ""
    return Measure(value, level, "uncertain", "retry_count in state.json only: no log"), stage if value else ""


def _dead_letters(project: Project) -> Measure:
    letters = project.letters
    known = project.state is not None
    if letters.condition == "ok":
        level = level_of(letters.open, DEAD_LETTERS)
        return Measure(letters.open, level if known else None, "exact", "dead_letters.json")
    if project.log.condition != "ok":
        return Measure(None, source="neither dead_letters.json nor a log")
    count = sum(event.type == "error_recorded" for event in project.log.epoch())
    level = level_of(count, DEAD_LETTERS)
    return Measure(count, level if known else None, "estimated", "error_recorded events in transitions.jsonl")


def _wait(project: Project, now: datetime) -> Measure:
    state = project.state
    if state is None or state.status not in HUMAN_WAIT:
        return Measure(None, source="not waiting for a person")
    start = waiting_since(project.log.epoch())
    mark: Mark = "exact"
    source = "the update that set the status"
    if start is None:
        start, mark, source = state.updated_at, "estimated", "updated_at"
    if start is None:
        return Measure(None, source="no time of the change")
    value = hours(now - start)
    return Measure(value, level_of(value, WAIT_HOURS), mark, source)


def waiting_since(epoch: Iterable[Event]) -> datetime | None:
    """Start of the unbroken run of waiting and paused in which the log ends; None when it ends in none."""
    start: datetime | None = None
    waiting = False
    for event in epoch:
        if event.type in ("stage_started", "stage_failed", "project_initialized"):
            waiting = False
        elif event.type == "state_updated" and (status := _updated_status(event)):
            if status in HUMAN_WAIT and not waiting:
                start = event.at
            waiting = status in HUMAN_WAIT
    return start if waiting else None


def error_rate(events: Iterable[Event]) -> Rate:
    """Failed against finished outcomes. error_recorded is not counted: it doubles each failure."""
    failed = total = 0
    for event in events:
        if event.type in ("stage_failed", "agent_failed"):
            failed += 1
            total += 1
        elif event.type in ("stage_completed", "agent_completed"):
            total += 1
    return Rate(failed, total)


def _since(events: Iterable[Event], start: datetime) -> Iterable[Event]:
    return (event for event in events if (at := event.at) is not None and at >= start)


def suggested_stage(state: State) -> str:
    """Where a bare restart should begin; empty for a finished project."""
    if state.finished:
        return ""
    current = current_name(state.current_stage)
    record = state.stage(current)
    if current in STAGES and record and record.status in ("failed", "in_progress", "retrying"):
        return current
    for name in STAGES:
        found = state.stage(name)
        if found is None or found.status not in ("completed", "skipped"):
            return name
    return ""


def running_age(record: StageRecord, now: datetime) -> timedelta | None:
    """How long a stage has been running; None when it is not."""
    if record.status != "in_progress" or record.started_at is None:
        return None
    return max(timedelta(0), now - record.started_at)


def stuck(project: Project, now: datetime) -> Stuck | None:
    """The stage that is furthest over its timeout. A project that waits for a person is not stuck."""
    state = project.state
    if state is None or state.finished or state.status not in ("in_progress", "retrying"):
        return None
    found = [
        Stuck(current_name(record.name), age, timeout)
        for record in state.stages.values()
        if (age := running_age(record, now)) is not None
        and (timeout := project.config.timeout(record.name)) is not None
        and age > timeout
    ]
    return max(found, key=lambda s: s.over, default=None)


def never_started(project: Project, now: datetime) -> bool:
    """Initialised longer ago than the first stage may take, and no stage has begun."""
    state = project.state
    timeout = project.config.timeout("intake")
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


def _alerts(project: Project, duration: Measure, wait: Measure, rate: Rate | None) -> tuple[str, ...]:
    config = project.config
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

    projects: tuple[tuple[Project, Metrics], ...]
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


def fleet(projects: Iterable[Project], now: datetime) -> Fleet:
    measured = tuple((project, measure(project, now)) for project in projects)
    all_time = last_day = Rate(0, 0)
    for _, metrics in measured:
        all_time += metrics.error_rate or Rate(0, 0)
        last_day += metrics.last_day
    return Fleet(measured, all_time, last_day)
