"""``/somas actions list``, ``/somas breaker status``, ``/somas agent coder``: the answers, from what was read. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from bot.breakers import Breaker, Limits
from bot.messages import (
    Block,
    Bullets,
    Button,
    Buttons,
    Code,
    CodeBlock,
    Fields,
    Heading,
    Link,
    Message,
    Note,
    Paragraph,
    Table,
    line,
)
from bot.words import counted, duration
from handlers.somas import issue_breaker as label
from handlers.somas.agents import KEYS, SHOWN, Agent, Did, did_line
from handlers.somas.decode import brief, mapping, scalar, text
from handlers.somas.emergency import Stop
from handlers.somas.issue_breaker import LabelBreaker
from handlers.somas.workflow_runs import Verdict, WorkflowRun

MOST_LIMITS = 30  # rows of limits.yml; SOMAS's own has six
ALWAYS_RED = (
    "A red run of somas-pipeline.yml proves nothing by itself: one of its jobs always runs and always fails. "
    "actions show names the job and the step."
)
NOT_UPSTREAM = (
    "Upstream has no breaker for a service and no states closed, open, half-open: reset() and trip() of the runbook do "
    "not exist. The breakers below are this bot's own and guard only its own calls."
)


def runs_message(runs: Sequence[WorkflowRun], now: datetime, where: str, *, ended_too: bool) -> Message:
    """The list of runs, newest first. ``where``: ``in acme/somas``; without ``ended_too`` none of them has ended."""
    if not runs:
        said = f"There is no workflow run {where}." if ended_too else f"No workflow run is under way {where}."
        return Message(said, (Paragraph(line(said)),))
    rows = tuple(
        (
            str(run.id),
            run.file,
            run.state,
            brief(run.branch, 40),
            duration(now - run.created_at) if run.created_at else "",
            brief(run.title, 50),
        )
        for run in runs
    )
    going = sum(not run.ended for run in runs)
    said = f"{counted(going, 'workflow run')} {'is' if going == 1 else 'are'} under way {where}"
    if ended_too:
        said = f"The newest {counted(len(runs), 'workflow run')} {where}; {going} under way"
    first = next((run for run in runs if not run.ended), runs[0])
    return Message(
        said,
        (
            Paragraph(line(f"{said}.")),
            Table(("Run", "Workflow", "State", "Branch", "Age", "Title"), rows),
            Note(line(ALWAYS_RED)),
            Buttons((Button(f"Show {first.id}", f"/somas actions show {first.id}"),)),
        ),
    )


def run_message(run: WorkflowRun, verdict: Verdict, now: datetime) -> Message:
    """One run with its jobs."""
    said = f"{verdict.said[:1].upper()}{verdict.said[1:]}."
    fields = [
        ("State", line(run.state)),
        ("Branch", line(run.branch or "none")),
        ("Started by", line(f"{run.event}, {run.actor}" if run.actor else run.event)),
        ("Age", line(duration(now - run.created_at) if run.created_at else "unknown")),
    ]
    blocks: list[Block] = [Paragraph(line(said)), Fields(tuple(fields))]
    if run.title:
        blocks.append(Paragraph(line(brief(run.title, 200))))
    if verdict.lines:
        blocks.append(CodeBlock("\n".join(verdict.lines), title="Jobs"))
    if run.url:
        blocks.append(Paragraph(line(Link("Open it on GitHub", run.url))))
    if not run.ended:
        blocks.append(
            Buttons(
                (
                    Button("Watch it", f"/somas actions watch {run.id}"),
                    Button("Cancel it", f"/somas actions cancel {run.id}", "danger"),
                )
            )
        )
    colour = {"succeeded": "good", "failed": "bad", "cancelled": "warning", "running": "running"}[verdict.outcome]
    return Message(said, tuple(blocks), colour)  # type: ignore[arg-type]  # the four colours are of Message


def label_message(
    project: str, found: LabelBreaker | str, label_name: str, now: datetime, states: Sequence[str]
) -> Message:
    """The breaker of one project: what is set, since when, why, and what it does not do.

    ``found`` as text: why GitHub does not tell. ``states``: the breakers that stand open in state.json.
    """
    in_state = ("Open in state.json", line(", ".join(brief(name, 40) for name in states) or "none"))
    what = Bullets((line(label.STOPS), line(label.STOPS_NOT), line(label.RESTARTS_NOTHING)))
    if isinstance(found, str):
        said = f"{project}: whether the label {label_name} is set cannot be told"
        return Message(said, (Paragraph(line(f"{said}: {found}")), Fields((in_state,)), what), "warning")
    since = f" for {duration(now - found.since)}" if found.since else ""
    said = f"{project}: the label {label_name} is {'on' if found.is_set else 'not on'} issue #{found.issue}"
    said += since if found.is_set else ""
    counts = found.counts
    rows: list[tuple[str, Any]] = [
        ("Reason of the last marker", line(found.reason or "no marker on the issue")),
        ("Agent requests", line(f"{counts.invocations} of {label.MOST_INVOCATIONS}")),
        ("Comments that count as stages", line(f"{counts.stages} of {label.MOST_STAGES}")),
        ("Comments in the last hour", line(f"{counts.last_hour} of {label.MOST_AN_HOUR}, which nothing enforces")),
    ]
    if states:
        rows.append(in_state)
    blocks: list[Block] = [Paragraph(line(f"{said}.")), Fields(tuple(rows))]
    if why := counts.trips_again:
        blocks.append(Paragraph(line(f"The next start trips it at once: {why}. A reset does not reset the counts.")))
    blocks.append(what)
    verb = "reset" if found.is_set else "trip"
    blocks.append(Buttons((Button(f"{verb.capitalize()} it", f"/somas breaker {verb} {project}"),)))
    return Message(said, tuple(blocks), "bad" if found.is_set else "good")


def all_breakers_message(
    held: Sequence[Mapping[str, Any]] | str,
    label_name: str,
    stop: Stop | None,
    breakers: Sequence[Breaker],
    limits: Limits,
    now: datetime,
) -> Message:
    """Every issue with the label, and the bot's own breakers. ``held`` as text: why the issues could not be read."""
    blocks: list[Block] = []
    if stop:
        at = f" since {stop.at:%Y-%m-%d %H:%M} UTC" if stop.at else ""
        blocks.append(Paragraph(line(f"EVERYTHING IS STOPPED{at} by {stop.by}: {stop.reason}. /somas resume-all.")))
    if isinstance(held, str):
        said = f"Which issues have the label {label_name} cannot be told"
        blocks.append(Paragraph(line(f"{said}: {held}")))
    elif held:
        said = f"{counted(len(held), 'open issue')} with the label {label_name}"
        items = tuple(line(f"#{issue.get('number')}: {brief(text(issue.get('title')), 80)}") for issue in held[:20])
        blocks += [Paragraph(line(f"{said}:")), Bullets(items)]
    else:
        said = f"No open issue has the label {label_name}"
        blocks.append(Paragraph(line(f"{said}.")))
    blocks += [Paragraph(line(NOT_UPSTREAM)), own_table(breakers, now), Note(line(limits_text(limits)))]
    bad = stop is not None or bool(held) or any(breaker.state != "closed" for breaker in breakers)
    return Message(said, tuple(blocks), "warning" if bad else "good")


def own_table(breakers: Sequence[Breaker], now: datetime) -> Block:
    """The bot's own breakers, one row each."""
    if not breakers:
        return Paragraph(line("This bot has asked no service yet."))
    rows = []
    for breaker in breakers:
        again = breaker.tries_again_at
        state = breaker.state + (f", tries again in {duration(again - now)}" if again else "")
        rows.append((breaker.service, state, str(breaker.failures), brief(breaker.why, 80)))
    return Table(("Service", "State", "Failures in a row", "Last event"), tuple(rows))


def limits_text(limits: Limits) -> str:
    return (
        f"Opens after {limits.failures} failures in a row, for {limits.seconds:g} s; then {limits.trials} calls must "
        "work. While it is open nothing is lost: messages wait in the outbox, steps wait and say so."
    )


def events_message(title: str, rows: Sequence[tuple[datetime | None, str, str]], missing: str = "") -> Message:
    """What happened to breakers, newest first: when, what, who or why. ``missing``: why a source does not tell."""
    rest = (Paragraph(line(missing)),) if missing else ()
    if not rows:
        said = f"{title}: nothing is known." if missing else f"{title}: nothing has happened yet."
        return Message(said, (Paragraph(line(said)), *rest))
    shown = tuple(
        (f"{at:%Y-%m-%d %H:%M} UTC" if at else "unknown", what, brief(who, 120)) for at, what, who in rows[:30]
    )
    return Message(title, (Paragraph(line(f"{title}:")), Table(("When", "What", "Who or why"), shown), *rest))


def config_message(
    limits_file: Mapping[str, Any], config_file: Mapping[str, Any], problems: Sequence[str], own: Limits
) -> Message:
    """What is configured, by whom it is read, and what is not there although the runbook says so."""
    limits = mapping(limits_file.get("limits"))
    rows = [
        (
            f"limits.{scalar(name)}",
            scalar(value),
            "read by nobody but tests" if name != "max_retry_attempts" else "read by this bot",
        )
        for name, value in islice(limits.items(), MOST_LIMITS)
    ]
    escalation = mapping(limits_file.get("escalation"))
    rows.append(("escalation.label", text(escalation.get("label")) or "absent", "the label; this bot goes by it"))
    absent = "circuit_breaker" not in mapping(config_file.get("error_handling"))
    where = ".somas/config.yml"
    said = (
        f"error_handling.circuit_breaker is {'absent from' if absent else 'in'} {where}; nothing upstream reads "
        "it either way. The workflows have 20 agent requests and 30 stage comments written into them."
    )
    return Message(
        "Circuit breaker configuration",
        (
            Paragraph(line(said)),
            *(Paragraph(line(f"{problem}.")) for problem in problems),
            Table((".somas/config/limits.yml", "Value", "Effect"), tuple(rows)),
            Paragraph(line(f"This bot's own breakers ([breakers] in opsbot.toml): {limits_text(own)}")),
        ),
    )


def agent_message(
    agent: Agent,
    did: Sequence[Did],
    runs: Sequence[WorkflowRun] | str,
    secrets: Sequence[str] | str,
    now: datetime,
) -> Message:
    """An agent's file, what it did last, and what could keep it silent. Texts: why something could not be read."""
    fields: list[tuple[str, Any]] = [
        ("File", line(agent.problem or f".somas/agents/{agent.name}.yml is in order")),
        ("Provider", line(agent.provider or "none in agents.agent_configs of config.yml")),
        ("Fallback", line(", ".join(agent.fallbacks) or "none")),
    ]
    if isinstance(secrets, str):
        fields.append(("Keys", line(secrets)))
    else:
        shown = [f"{name} {'is set' if name in secrets else 'is MISSING'}" for name in KEYS]
        fields.append(("Keys (names only)", line("; ".join(shown))))
    blocks: list[Block] = [Heading(f"Agent {agent.name}"), Fields(tuple(fields))]
    last = "\n".join(did_line(each, now) for each in did) or "no event of this agent in any project's log"
    blocks.append(CodeBlock(last, title="Last events"))
    if isinstance(runs, str):
        blocks.append(Paragraph(line(runs)))
    else:
        listed = "\n".join(f"{run.id} {run.state}, {run.event}: {brief(run.title, 60)}" for run in runs)
        blocks.append(CodeBlock(listed or "none", title="Last runs of somas-orchestrator.yml"))
    blocks.append(
        Paragraph(
            line(
                "There is no workflow somas-agent.yml. A person's comment starts no agent: its author has to be the "
                "Copilot app, and it counts toward the circuit breaker all the same. The orchestrator can be started "
                "by hand: ",
                Code("gh workflow run somas-orchestrator.yml -f issue_number=N -f action=assign-copilot"),
            )
        )
    )
    if agent.document:
        lines = agent.document.split("\n")
        rest = f"\n… {len(lines) - SHOWN} more lines" if len(lines) > SHOWN else ""
        blocks.append(CodeBlock("\n".join(lines[:SHOWN]) + rest, "yaml", f".somas/agents/{agent.name}.yml"))
    said = f"Agent {agent.name}: " + (agent.problem or f"provider {agent.provider or 'not configured'}")
    return Message(said, tuple(blocks), "bad" if agent.problem else "none")
