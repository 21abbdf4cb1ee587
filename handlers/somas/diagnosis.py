"""``/somas diagnose project-42``: the runbook's five diagnoses, each *found*, *not found* or *cannot tell*. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from bot.words import counted
from handlers.somas.decode import brief
from handlers.somas.metrics import Metrics
from handlers.somas.phrases import ago, hours_text
from handlers.somas.projects import Project
from handlers.somas.stages import current_name
from handlers.somas.summary import Summary
from handlers.somas.validate import Report

GATED = ("specify", "plan", "decompose", "implement", "verify")  # the stages for which config.yml has quality_gates
ANSWERS = ("agent_completed", "agent_failed")
SILENT_AFTER = timedelta(hours=1)  # an agent that was invoked answers within minutes; no file says how long it may take
# Kinds of errors that come from the other end of an agent's connection, as upstream's providers call them.
OF_A_PROVIDER = ("RateLimitError", "APIConnectionError", "APITimeoutError", "AuthenticationError", "APIError")


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One of the five. ``found`` None: nobody can tell. ``command`` does what helps; ``label`` is on its button."""

    name: str
    found: bool | None
    said: str
    command: str = ""
    label: str = ""


def diagnose(
    project: Project, summary: Summary, metrics: Metrics, report: Report, agents: Collection[str], now: datetime
) -> list[Diagnosis]:
    """All five, what was found first; in the runbook's order otherwise. ``agents``: those that have a file."""
    found = [
        _stuck(project, metrics),
        _agent(project, summary, agents, now),
        _corrupt(project, report),
        _gate(project, summary, metrics),
        _letters(project, metrics),
    ]
    # A state that nobody can read comes before all: every other answer is built on it.
    urgency = {"State corruption": 0, "Stuck": 1, "Quality gates": 2, "Dead letters": 3, "Agent": 4}
    return sorted(found, key=lambda each: (not each.found, urgency[each.name] if each.found else 0))


def _stuck(project: Project, metrics: Metrics) -> Diagnosis:
    state = project.state
    if state is None:
        return Diagnosis("Stuck", None, "nothing says where the project is")
    if metrics.stuck:
        age, limit = (span.total_seconds() / 3600 for span in (metrics.stuck.age, metrics.stuck.timeout))
        said = f"{metrics.stuck.stage} runs for {hours_text(age)}; its timeout_hours is {hours_text(limit)}"
        return Diagnosis("Stuck", True, said, f"/runs start stuck-stage {project.id}", "Unstick it")
    if metrics.never_started:
        said = f"initialised {hours_text(metrics.duration.value or 0)} ago, and no stage has begun"
        return Diagnosis("Stuck", True, said, f"/somas restart {project.id} --dry-run", "Preview a start")
    waits = " (it waits for a person)" if state.status in ("waiting", "paused") else ""
    return Diagnosis("Stuck", False, f"no stage is over its time{waits}")


def _agent(project: Project, summary: Summary, agents: Collection[str], now: datetime) -> Diagnosis:
    """Invoked and never answered, its file is not there, or its provider does not take its calls."""
    state = project.state
    if project.log.condition != "ok" and state is None:
        return Diagnosis("Agent", None, "neither state nor log can be read")
    record = state.stage(current_name(state.current_stage)) if state and not state.finished else None
    agent = record.agent if record else ""
    open_calls: dict[str, datetime | None] = {}
    for event in project.log.epoch():
        name = str(event.raw.get("agent") or "")
        if event.type == "agent_invoked":
            open_calls[name] = event.at
        elif event.type in ANSWERS:
            open_calls.pop(name, None)
    silent = [(name, at) for name, at in open_calls.items() if at is not None and now - at > SILENT_AFTER]
    if silent:
        name, at = max(silent, key=lambda pair: pair[1])
        said = f"{brief(name, 40) or 'an agent'} was invoked {ago(at, now)} and has not answered"
        return _silent(project, said, name, agents)
    last = [letter for letter in project.letters.entries if letter.open and letter.error_type in OF_A_PROVIDER]
    recent = [letter for letter in last if letter.at and now - letter.at < timedelta(hours=24)]
    if recent:
        kinds = Counter(letter.error_type for letter in recent)
        name = recent[-1].agent
        said = f"{brief(name, 40)}: {', '.join(f'{n} {kind}' for kind, n in kinds.most_common(3))} in the last 24 h"
        return _silent(project, said, name, agents)
    if agent and agents and agent not in agents and record and record.status in ("in_progress", "failed", "retrying"):
        return Diagnosis("Agent", True, f"{brief(agent, 40)} of {record.name} has no file in .somas/agents")
    asked = summary.tally.agents_done
    known = f"; {counted(asked, 'answer')} in the log" if asked else ""
    return Diagnosis("Agent", False, f"no call of an agent is open{known}")


def _silent(project: Project, said: str, name: str, agents: Collection[str]) -> Diagnosis:
    if name in agents:
        return Diagnosis("Agent", True, said, f"/somas agent {name}", f"Look at {name[:40]}")
    return Diagnosis("Agent", True, said, f"/somas log {project.id} --type agent_invoked", "Show its calls")


def _corrupt(project: Project, report: Report) -> Diagnosis:
    errors = [each for each in report.findings if each.severity == "error"]
    if project.file.condition != "ok":
        said = f"state.json {brief(project.file.problem, 200)}"
        said += "; the log gives it back" if project.rebuilt else "; the log does not give it back"
        return Diagnosis("State corruption", True, said, f"/runs start state-corrupt {project.id}", "Repair the state")
    if errors:
        more = f" and {counted(len(errors) - 1, 'more error')}" if len(errors) > 1 else ""
        said = f"{errors[0].where}: {brief(errors[0].problem, 160)}{more}"
        return Diagnosis("State corruption", True, said, f"/somas validate {project.id}", "Show what is damaged")
    warnings = report.count("warning")
    return Diagnosis(
        "State corruption",
        False,
        "the three files are valid" + (f", {counted(warnings, 'warning')}" if warnings else ""),
    )


def _gate(project: Project, summary: Summary, metrics: Metrics) -> Diagnosis:
    state = project.state
    if state is None:
        return Diagnosis("Quality gates", None, "nothing says what failed")
    stage = current_name(state.current_stage)
    error, _ = summary.last_failure
    if state.status != "failed":
        return Diagnosis("Quality gates", False, "the project has not failed")
    tries = int(metrics.retries.value or 0) if metrics.retries_stage == stage else 0
    kinds = {letter.error_type for letter in project.letters.entries if letter.stage in (stage, state.current_stage)}
    refused = any("validation" in kind.lower() or "gate" in kind.lower() for kind in kinds) or "gate" in error.lower()
    if stage not in GATED:
        return Diagnosis("Quality gates", False, f"{stage} failed, and config.yml has no gate for it")
    if not refused and tries < 2:
        return Diagnosis("Quality gates", False, f"{stage} failed, but not at a gate: {brief(error, 120) or 'no text'}")
    again = f", tried again {counted(tries, 'time')}" if tries else ""
    said = f"{stage} failed{again}: {brief(error, 160) or 'no error text'}"
    return Diagnosis("Quality gates", True, said, f"/runs start quality-gate {project.id}", "Quality gates")


def _letters(project: Project, metrics: Metrics) -> Diagnosis:
    measured = metrics.dead_letters
    if project.letters.malformed:
        return Diagnosis(
            "Dead letters",
            True,
            f"dead_letters.json {project.letters.problem}",
            f"/somas repair {project.id}",
            "Repair",
        )
    if measured.value is None:
        return Diagnosis("Dead letters", None, measured.source)
    said = f"{measured.value:g} open of {metrics.dead_letters_total}"
    said += f" ({measured.mark}: {measured.source})" if measured.mark != "exact" else ""
    if measured.level in ("warning", "critical"):
        said += f", {measured.level}"
        return Diagnosis("Dead letters", True, said, f"/runs start dead-letters {project.id}", "Dead letters")
    return Diagnosis("Dead letters", False, said)
