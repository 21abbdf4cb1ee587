"""``verify is 18 h over its 12 h``: one project's troubles, in the few words that fit a phone. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from bot.words import counted, duration
from handlers.somas.decode import brief, text
from handlers.somas.metrics import Measure, Metrics, Rate, running_age, stuck
from handlers.somas.projects import Backup, Project
from handlers.somas.stages import STAGES, current_name
from handlers.somas.state import DeadLetter
from handlers.somas.summary import Summary, summarise

A_MOMENT = timedelta(minutes=6)  # less than that is no tenth of an hour


def hours_text(value: float) -> str:
    """``0.5 h``, ``30 h``, ``4.2 days``: hours up to a hundred, because the thresholds are in hours."""
    if value < 100:
        return f"{value:.1f}".removesuffix(".0") + " h"
    return f"{value / 24:.1f}".removesuffix(".0") + " days"


def ago(at: datetime | None, now: datetime) -> str:
    if at is None:
        return "at an unknown time"
    if now - at < A_MOMENT:
        return f"{duration(now - at)} ago"
    return f"{hours_text((now - at).total_seconds() / 3600)} ago"


def rate_text(rate: Rate | None) -> str:
    """``44.44 % (4 of 9)``; what cannot be known is not a number."""
    if rate is None:
        return "unknown: there is no log"
    if rate.percent is None:
        return "none: nothing has failed or finished yet (0 of 0)"
    percent = f"{rate.percent:.2f}".removesuffix(".00")
    return f"{percent} % ({rate.failed} of {rate.total})"


def marked(measure: Measure) -> str:
    """``, warning``, ``, uncertain``: what stands behind a number."""
    said = ""
    if measure.level in ("warning", "critical"):
        said += f", {measure.level}"
    if measure.mark != "exact":
        said += f" ({measure.mark}: {measure.source})"
    return said


def status_text(project: Project) -> str:
    """``in progress``; a status that was never set is told as such."""
    state = project.state
    if state is None:
        return "unknown"
    said = brief(state.effective_status, 40).replace("_", " ")
    return f"{said} (every stage is; the status was never set)" if state.finished == "inferred" else said


def stage_text(project: Project, now: datetime) -> str:
    """``verify, running 30 h of 12 h``."""
    state = project.state
    if state is None:
        return "unknown"
    name = current_name(state.current_stage)
    shown = brief(name, 40) + (f" ({brief(state.current_stage, 40)})" if name != state.current_stage else "")
    record = state.stage(name)
    if record is None:
        return f"{shown}, which state.json does not know"
    age = running_age(record, now)
    if age is not None:
        timeout = project.config.timeout(name)
        of = f" of {hours_text(timeout.total_seconds() / 3600)}" if timeout else ""
        return f"{shown}, running {hours_text(age.total_seconds() / 3600)}{of}"
    return f"{shown}, {brief(record.status, 40).replace('_', ' ')}"


def troubles(project: Summary, metrics: Metrics) -> list[str]:
    """What is wrong with a project, the worst first; empty when nothing is."""
    state = project.state
    said: list[str] = []
    if state is None:
        said.append("cannot be read and cannot be rebuilt")
    elif state.status == "failed":
        said.append(f"failed at {brief(current_name(state.current_stage), 40)}")
    if metrics.stuck:
        over, limit = (span.total_seconds() / 3600 for span in (metrics.stuck.over, metrics.stuck.timeout))
        said.append(f"stuck: {metrics.stuck.stage} is {hours_text(over)} over its {hours_text(limit)}")
    if metrics.wait.level in ("warning", "critical"):
        said.append(f"waits for a person for {hours_text(metrics.wait.value or 0)}")
    if metrics.dead_letters.level in ("warning", "critical"):
        said.append(f"{metrics.dead_letters.value:g} dead letters")
    if metrics.retries.level in ("warning", "critical"):
        said.append(f"{metrics.retries_stage} tried again {metrics.retries.value:g} times")
    if metrics.duration.level in ("warning", "critical"):
        said.append(f"runs for {hours_text(metrics.duration.value or 0)}")
    if metrics.never_started:
        said.append("never started")
    if project.never_advanced:
        said.append("state never advanced")
    said.extend(_damage(project))
    return said


def _damage(project: Summary) -> list[str]:
    """Short: the whole sentence stands in the project's own status."""
    said = []
    if project.file.condition != "ok":
        how = "missing" if project.file.condition == "missing" else "corrupt"
        said.append(f"state {how}" + (", rebuilt from the log" if project.state else ""))
    if project.letters.condition != "ok" or project.letters.malformed:
        said.append("dead_letters.json " + ("missing" if project.letters.condition == "missing" else "damaged"))
    if project.log.condition != "ok":
        said.append("log missing" if project.log.condition == "missing" else "log unreadable")
    elif project.tally.bad_lines:
        said.append(f"log has {counted(project.tally.bad_lines, 'broken line')}")
    elif not project.tally.events:
        said.append("log empty")
    return said


def letters_text(letters: Sequence[DeadLetter]) -> str:
    """``8 RateLimitError, 4 APIConnectionError, all in implement by coder``."""
    if not letters:
        return ""
    types = Counter(brief(letter.error_type, 40) or "without a type" for letter in letters)
    said = ", ".join(f"{count} {name}" for name, count in types.most_common(4))
    if len(types) > 4:
        said += f", {counted(len(types) - 4, 'other type')}"
    stages = {brief(current_name(letter.stage), 40) for letter in letters}
    agents = {brief(letter.agent, 40) for letter in letters}
    if len(stages) == 1:
        where = f"in {stages.pop() or 'no stage'}"
        return f"{said}; all {where} by {agents.pop()}" if len(agents) == 1 else f"{said}; all {where}"
    return f"{said}; in {', '.join(sorted(stages, key=_order)[:6])}"


def backup_text(project: Project, backup: Backup, now: datetime) -> str:
    """``in progress at plan, taken 2026-01-01 09:00 UTC; restoring it loses plan, decompose``."""
    state = backup.file.state
    if state is None:
        return f"not usable: {backup.file.problem}"
    taken = backup.updated_at
    when = f"{taken:%Y-%m-%d %H:%M} UTC" if taken else "at an unknown time"
    said = f"{brief(state.status, 40).replace('_', ' ')} at {brief(state.current_stage, 40)}, taken {when}"
    if taken:
        newer = [event for event in project.log.epoch() if event.stage and event.at and event.at > taken]
        # An event is logged some milliseconds after its state was written: what the backup knows is not lost.
        lost = {
            event.stage
            for event in newer
            if event.type in ("stage_completed", "stage_failed")
            or (
                event.type == "stage_started"
                and text(event.metadata.get("started_at")) > text(state.raw.get("updated_at"))
            )
        }
        if lost:
            said += f"; restoring it loses {', '.join(sorted(lost, key=_order))}"
    then = stuck(summarise(replace(project, file=backup.file)), project.config, now)
    if then:
        age, limit = (span.total_seconds() / 3600 for span in (then.age, then.timeout))
        said += f"; {then.stage} would be {hours_text(age)} old, over its {hours_text(limit)}, so stuck at once"
    return said


def _order(stage: str) -> tuple[int, str]:
    return (STAGES.index(stage), "") if stage in STAGES else (len(STAGES), stage)
