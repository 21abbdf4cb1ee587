"""``/supervisor report``: restarts, exhausted limits, quarantined and stale children, the link and the control loop.

The supervisor's own runbook has thresholds for none of these, so the limits are the bot's and say so; the restart limit
is the child's own, as the process tells it. A process that does not answer is critical, and changes nothing that is
known of its children.
"""

from __future__ import annotations

import asyncio
from datetime import datetime

from bot.handler import Target
from bot.reports.model import Level, Measured, Metric, Reading, ReportSource
from bot.words import counted
from handlers.supervisor import children
from handlers.supervisor.children import Child
from handlers.supervisor.facts import Need
from handlers.supervisor.handler import SupervisorHandler
from handlers.supervisor.transport import Probe

RESTARTS_PERCENT = (50.0, 99.9)  # of the child's restart limit; 100 % is exhausted
LOOP_SECONDS = (0.1, 1.0)
NEEDS: frozenset[Need] = frozenset({"state", "probe"})

METRICS = (
    Metric(name="link", title="Link", limits="critical when the process does not answer"),
    Metric(
        name="loop-latency",
        title="Control loop",
        unit="ms",
        limits="100 / 1000 ms a round trip of state (opsbot's)",
        warning=LOOP_SECONDS[0] * 1000,
        critical=LOOP_SECONDS[1] * 1000,
    ),
    Metric(
        name="restarts",
        title="Restarts",
        unit="%",
        limits="over half of the child's restart limit / all of it (opsbot's)",
        warning=RESTARTS_PERCENT[0],
        critical=100.0,
    ),
    Metric(name="stale", title="Stale child", limits="failing / called running without an attempt (opsbot's)"),
    Metric(name="quarantined", title="Quarantined", limits="any", beside=True),
)


async def measure(handler: SupervisorHandler, now: datetime) -> Reading:
    """All processes, asked at the same time; one that hangs delays no other."""
    found = await asyncio.gather(*(_process(handler, name) for name in handler.clients))
    measured = tuple(each for part, _ in found for each in part)
    silent = tuple(text for _, text in found if text)
    running = sum(each.metric == "stale" and each.level == "ok" for each in measured)
    return Reading(
        at=now,
        measured=measured,
        subjects=frozenset(each.subject for each in measured),
        facts=(
            ("Processes", f"{len(found) - len(silent)} of {len(found)} answer"),
            ("Children", f"{running} without trouble"),
        ),
        source=f"{counted(len(found), 'process', 'processes')} asked directly",
        unread=silent,
        whole=not silent,
    )


async def _process(handler: SupervisorHandler, name: str) -> tuple[list[Measured], str]:
    """Its levels, and why it could not be read. Looks again while a child may be dead or only between two attempts."""
    seen = await handler.look(Target(product="supervisor", kind="target", name=name), NEEDS)
    probe = seen.probe or Probe(None, None)
    trouble = (seen.problem or probe.hello_error).removeprefix(f"{name}: ")
    found = [_link(name, probe, trouble), _loop(name, probe)]
    if seen.state is None or trouble:
        return found, f"{name}: {trouble}"
    failing = seen.failing
    for child in children.children(seen.state):
        found += _child(name, child, failing.get(child.id, ""))
    return found, ""


def _link(name: str, probe: Probe, trouble: str) -> Measured:
    hello = f"hello in {probe.hello * 1000:.1f} ms" if probe.hello is not None else ""
    return Measured(
        metric="link",
        subject=name,
        level="critical" if trouble else "ok",
        shown=trouble or hello or "answers",
        remedy=f"/supervisor diagnose {name}" if trouble else "",
        remedy_title="Diagnose",
    )


def _loop(name: str, probe: Probe) -> Measured:
    seconds = probe.state
    if seconds is None:
        return Measured(metric="loop-latency", subject=name, level=None, shown="unknown", source=probe.state_error)
    level: Level = "critical" if seconds > LOOP_SECONDS[1] else "warning" if seconds > LOOP_SECONDS[0] else "ok"
    return Measured(
        metric="loop-latency",
        subject=name,
        level=level,
        value=round(seconds * 1000, 1),
        shown=f"{seconds * 1000:.1f} ms",
        source="one round trip of state; the process counts no iterations",
        remedy=f"/supervisor diagnose {name}",  # P1-004 works on a child, and which one it is nobody knows yet
        remedy_title="Diagnose",
    )


def _child(process: str, child: Child, failing: str) -> list[Measured]:
    record = child.record
    subject = f"{process}/{child.id}"
    if record is None or child.ghost:
        return []
    quarantined = record.operation == "quarantined"
    found = [
        Measured(
            metric="quarantined",
            subject=subject,
            level="warning" if quarantined else "ok",
            shown=children.condition(child),
        )
    ]
    remedy = f"/runs start P1-002 {child.id} --scope {process}"
    limit = record.restart_limit
    if 0 < limit.limit < children.UNLIMITED:
        percent = 100 * limit.used / limit.limit
        exhausted = limit.exhausted or percent >= 100
        level: Level = "critical" if exhausted else "warning" if percent > RESTARTS_PERCENT[0] else "ok"
        found.append(
            Measured(
                metric="restarts",
                subject=subject,
                level=level,
                value=round(percent, 1),
                shown=children.restart_limit(record),
                remedy=remedy,
                remedy_title="P1-002",
            )
        )
    dead = record.operation == "active" and record.attempt is None
    # Without an attempt and without evidence it may be between two attempts: that is unknown, and no recovery.
    stale: Level | None = "critical" if failing and dead else "warning" if failing else None if dead else "ok"
    found.append(
        Measured(
            metric="stale",
            subject=subject,
            level=stale,
            shown=failing or children.condition(child),
            remedy=remedy,
            remedy_title="P1-002",
        )
    )
    return found


REPORT = ReportSource(metrics=METRICS, measure=measure)
