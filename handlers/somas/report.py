"""``/somas report``: the thresholds of all projects, as section 7 of what is known about SOMAS defines them.

The runbook's table and ``.somas/config.yml`` disagree (24 / 72 h against 168 h for a pipeline's duration), so each of
both is a metric of its own with its source in its limits. Levels compare strictly; what cannot be known has no level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from heapq import nlargest

from bot.errors import NotNow, UserError
from bot.reports.model import Level, Measured, Metric, Reading, ReportSource
from bot.words import counted, duration
from handlers.somas.attention import Asked, hours_waited
from handlers.somas.config import Config
from handlers.somas.handler import Somas
from handlers.somas.metrics import (
    DEAD_LETTERS,
    DURATION_HOURS,
    RETRIES,
    WAIT_HOURS,
    Fleet,
    Measure,
    Metrics,
    level_of,
)
from handlers.somas.phrases import hours_text, rate_text
from handlers.somas.rebuild import number_of
from handlers.somas.summary import Summary
from handlers.somas.tally import HUMAN_WAIT

TABLE = "runbook"
CONFIG = "config.yml"
FLEET = "all projects"
HOUR = timedelta(hours=1)
NEAREST = 8
CRITICAL = {
    "duration": DURATION_HOURS[1],
    "retries": RETRIES[1],
    "dead-letters": DEAD_LETTERS[1],
    "human-wait": WAIT_HOURS[1],
}

METRICS = (
    Metric(
        name="duration",
        title="Pipeline duration",
        short="duration",
        unit="h",
        limits=f"24 / 72 h ({TABLE})",
        warning=DURATION_HOURS[0],
        critical=DURATION_HOURS[1],
    ),
    Metric(
        name="retries",
        title="Stage retries",
        short="retries",
        limits=f"2 / 3 ({TABLE})",
        warning=RETRIES[0],
        critical=RETRIES[1],
    ),
    Metric(
        name="dead-letters",
        title="Dead letters",
        short="dead letters",
        limits=f"5 / 10 ({TABLE})",
        warning=DEAD_LETTERS[0],
        critical=DEAD_LETTERS[1],
    ),
    Metric(
        name="human-wait",
        title="Human wait",
        short="human wait",
        unit="h",
        limits=f"24 / 48 h ({TABLE})",
        warning=WAIT_HOURS[0],
        critical=WAIT_HOURS[1],
    ),
    Metric(name="duration-alert", title="Duration alert", limits=f"168 h unless changed ({CONFIG})", beside=True),
    Metric(name="human-wait-alert", title="Wait alert", limits=f"48 h unless changed ({CONFIG})", beside=True),
    Metric(name="error-rate-alert", title="Error rate alert", limits=f"20 % unless changed ({CONFIG})", beside=True),
    Metric(name="stuck", title="Stuck stage", limits=f"the stage's timeout_hours ({CONFIG})", beside=True),
    Metric(name="files", title="Damaged files", limits="any", beside=True),
)


def reading(
    fleet: Fleet,
    config: Config,
    now: datetime,
    root: str,
    asked: Mapping[int, Asked] | None = None,
    unread: tuple[str, ...] = (),
) -> Reading:
    """Every level of every project, and of the fleet. Pure.

    ``asked``: the issues with a label that asks for a person; the longer of that and the wait in the state counts.
    """
    measured: list[Measured] = []
    near: list[tuple[float, str, str, Measure]] = []
    for project, metrics in fleet.projects:
        state = project.state
        waited = None
        if asked and not (state and state.finished):
            issue = (state.issue_number if state else 0) or number_of(project.id)
            waited = hours_waited(asked, issue, now)
        measured += _project(project, metrics, config, waited)
        if state and not state.finished:
            near += _near(project.id, metrics)
    for _, metric, name, measure in nlargest(NEAREST, near, key=lambda each: each[0]):
        measured.append(_measured(metric, name, measure))
    measured += _fleet(fleet, config)
    facts = [
        ("Projects", _by_level(fleet)),
        ("Dead letters", f"{fleet.open_dead_letters} open of {fleet.total_dead_letters}"),
        ("Error rate, last 24 h", rate_text(fleet.last_day)),
        ("Error rate, all time", rate_text(fleet.all_time)),
    ]
    if not config.alerts:
        facts.append(("Alerts", f"switched off: monitoring.alerts.enabled is false in {CONFIG}"))
    return Reading(
        at=now,
        measured=tuple(measured),
        subjects=frozenset(project.id for project, _ in fleet.projects),
        facts=tuple(facts),
        source=f"{counted(len(fleet.projects), 'project')} in {root}/.somas/projects",
        unread=(*config.problems, *unread),
    )


def _by_level(fleet: Fleet) -> str:
    unknown = fleet.count(None)
    said = f"{fleet.count('critical')} critical, {fleet.count('warning')} warning, {fleet.count('ok')} ok"
    return f"{said}, {unknown} unknown" if unknown else said


def _project(
    project: Summary, metrics: Metrics, config: Config, waited: tuple[float, str] | None
) -> Iterator[Measured]:
    """What is not ok of one project, and what cannot be known."""
    name, state = project.id, project.state
    for metric, measure in _of_table(metrics):
        if metric == "human-wait":
            if waited is not None and (measure.value is None or measure.value < waited[0]):
                if (level := level_of(waited[0], WAIT_HOURS)) != "ok":
                    yield _labelled(name, level, *waited)
                continue
            if measure.value is None and state is not None and state.status not in HUMAN_WAIT:
                continue  # nobody is waited for: that is known, and fine
        if measure.level != "ok":
            yield _measured(metric, name, measure)
    if config.alerts:
        for metric, begins in _ALERTS:
            if crossed := [alert for alert in metrics.alerts if alert.startswith(begins)]:
                yield Measured(metric=metric, subject=name, level="warning", shown="; ".join(crossed))
            elif metrics.level is None:
                yield Measured(metric=metric, subject=name, level=None, shown="unknown")
    if stuck := metrics.stuck:
        over = duration(stuck.over) if stuck.over < HOUR else hours_text(stuck.over / HOUR)
        shown = f"{stuck.stage} is {over} over its {hours_text(stuck.timeout / HOUR)}"
        yield _warning("stuck", name, shown, f"/runs start stuck-stage {name}", "Stuck stage")
    elif metrics.never_started:
        yield _warning("stuck", name, "never started", f"/somas restart {name} --dry-run", "Restart")
    elif state is None:
        yield Measured(metric="stuck", subject=name, level=None, shown="unknown")
    if project.damage:
        remedy = f"/runs start state-corrupt {name}" if project.file.condition != "ok" else ""
        yield _warning("files", name, "; ".join(project.damage)[:200], remedy, "Corrupt state")


def _of_table(metrics: Metrics) -> tuple[tuple[str, Measure], ...]:
    return (
        ("duration", metrics.duration),
        ("retries", metrics.retries),
        ("dead-letters", metrics.dead_letters),
        ("human-wait", metrics.wait),
    )


def _near(name: str, metrics: Metrics) -> Iterator[tuple[float, str, str, Measure]]:
    """What is within its limits, with its share of the critical one: the nearest ones are worth a picture."""
    for metric, measure in _of_table(metrics):
        if measure.level == "ok" and measure.value:
            yield measure.value / CRITICAL[metric], metric, name, measure


_ALERTS = (
    ("duration-alert", "pipeline duration"),
    ("human-wait-alert", "human wait"),
    ("error-rate-alert", "error rate"),
)


def _fleet(fleet: Fleet, config: Config) -> list[Measured]:
    limit = config.error_rate_alert
    if not config.alerts or not limit:
        return []
    percent = fleet.last_day.percent
    level: Level | None = None if percent is None else "warning" if percent > limit else "ok"
    return [
        Measured(
            metric="error-rate-alert",
            subject=FLEET,
            level=level,
            value=percent,
            shown=f"{rate_text(fleet.last_day)} in the last 24 h",
        )
    ]


def _labelled(name: str, level: Level, hours: float, label: str) -> Measured:
    """A wait that only the label on the project's issue tells, or that it tells to be longer than the state does."""
    return Measured(
        metric="human-wait",
        subject=name,
        level=level,
        value=hours,
        shown=f"{hours_text(hours)}, label {label}",
        source=f"the label {label} on its issue",
        remedy=f"/somas status {name}",
        remedy_title="Look at",
    )


def _warning(metric: str, name: str, shown: str, remedy: str, title: str) -> Measured:
    return Measured(metric=metric, subject=name, level="warning", shown=shown, remedy=remedy, remedy_title=title)


def _measured(metric: str, name: str, measure: Measure) -> Measured:
    command, title = _REMEDIES[metric]
    shown = "unknown" if measure.value is None else _SHOWN[metric](measure.value)
    if measure.mark != "exact" and measure.value is not None:
        shown += f" ({measure.mark})"
    return Measured(
        metric=metric,
        subject=name,
        level=measure.level,
        value=measure.value,
        shown=shown,
        mark=measure.mark,
        source=measure.source,
        remedy=command.format(name),
        remedy_title=title,
    )


_REMEDIES = {
    "duration": ("/somas status {}", "Look at"),
    "retries": ("/runs start quality-gate {}", "Quality gates"),
    "dead-letters": ("/runs start dead-letters {}", "Dead letters"),
    "human-wait": ("/somas status {}", "Look at"),
}
_SHOWN: Mapping[str, Callable[[float], str]] = {
    "duration": hours_text,
    "retries": lambda value: f"{value:g}",
    "dead-letters": lambda value: f"{value:g} open",
    "human-wait": hours_text,
}


async def measure(handler: Somas, now: datetime) -> Reading:
    """Raises ``Unavailable`` when the folder cannot be read."""
    fleet, config = await handler.fleet(now)
    asked: Mapping[int, Asked] = {}
    unread: tuple[str, ...] = ()
    if handler.attention is not None:
        try:
            asked = await handler.attention.by_issue()
        except (UserError, NotNow) as error:
            unread = (f"which issues wait for a person: {error.message}",)
    return await handler.services.run_blocking(reading, fleet, config, now, str(handler.root), asked, unread)


REPORT = ReportSource(metrics=METRICS, measure=measure)
