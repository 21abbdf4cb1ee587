"""``/supervisor status payments``: what people see of a supervised process. Pure: from what was seen to a message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from bot.messages import (
    Block,
    Button,
    Buttons,
    Fields,
    Heading,
    Line,
    Message,
    Note,
    Paragraph,
    Table,
    line,
)
from bot.words import counted, duration
from handlers.supervisor import children, facts
from handlers.supervisor.children import Child
from handlers.supervisor.facts import Seen
from handlers.supervisor.protocol import State

MOST_ROWS = 30
MOST_DETAILED = 3  # so many processes are shown whole; more of them as one line each
MOST_BUTTONS = 4

COLUMNS = ("Child", "State", "Attempt", "Failures", "Last stop")


def headline(state: State, failing: Mapping[str, str] | None = None) -> str:
    """``4 of 5 children run; worker-3 has no attempt``. A child in a crash loop does not count as one that runs.

    ``failing`` are the children that fail, with how that is known; without it only this one state speaks.
    """
    failing = failing or {}
    found = children.children(state)
    expected = [child for child in found if not child.removed]
    well = {child.id for child in expected if child.running and child.id not in failing}
    if children.is_down(state):
        return (
            f"the tree was shut down, only a new process starts its {counted(len(expected), 'child', 'children')} again"
        )
    text = f"{len(well)} of {counted(len(expected), 'child', 'children')} run"
    other = [
        f"{children.shown(child.id)} fails: {failing[child.id]}"
        if child.running or child.id in failing
        else f"{children.shown(child.id)} is {children.condition(child)}"
        for child in expected
        if child.id not in well
    ]
    if other:
        text += "; " + "; ".join(other[:3]) + (f"; and {len(other) - 3} more" if len(other) > 3 else "")
    return text


def as_text(state: State) -> str:
    """The children as an aligned table of plain text, for the evidence of a step."""
    rows = [COLUMNS, *(_row(child) for child in children.children(state))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def probe_line(seen: Seen) -> str:
    """``hello in 1.2 ms, state in 2.0 ms``: which of the two hangs tells what is wrong."""
    probe = seen.probe
    if probe is None:
        return "not probed"
    if probe.hello is None and probe.state is None:
        return f"no answer: {probe.state_error}".rstrip(".")
    hello = f"hello in {probe.hello * 1000:.1f} ms" if probe.hello is not None else "hello not answered"
    if probe.state is None:
        return f"{hello}, state not answered: the control loop is stalled"
    return f"{hello}, state in {probe.state * 1000:.1f} ms (the control loop answers)"


def status_message(
    seen: Mapping[str, Seen], sockets: Mapping[str, str], runbooks: frozenset[str] = frozenset()
) -> Message:
    """The status of these processes. ``runbooks`` are the ids that a button may offer."""
    blocks: list[Block] = []
    if len(seen) > MOST_DETAILED:
        rows = tuple(
            (name, _link(one), headline(one.state, one.failing) if one.state else one.problem)
            for name, one in seen.items()
        )
        blocks.append(Table(("Process", "Link", "Children"), rows))
        blocks.append(Note(line("/supervisor status <target> shows one of them whole.")))
    else:
        for name, one in seen.items():
            blocks += _details(name, one, sockets.get(name, ""))
    buttons = _buttons(seen, runbooks)
    if buttons:
        blocks.append(Buttons(buttons))
    summary = "; ".join(
        f"{name}: {headline(one.state, one.failing) if one.state else 'not reached'}"
        for name, one in list(seen.items())[:5]
    )
    return Message(summary=summary, blocks=tuple(blocks), colour=_colour(seen))


def _colour(seen: Mapping[str, Seen]) -> Literal["good", "warning", "bad"]:
    if any(one.state is None for one in seen.values()):
        return "bad"
    return "warning" if any(_trouble(one) for one in seen.values()) else "good"


def _details(name: str, seen: Seen, socket: str) -> list[Block]:
    if seen.state is None:
        return [
            Heading(name),
            Paragraph(line(f"{_sentence(_link(seen))}. {_sentence(seen.problem.removeprefix(f'{name}: '))}")),
            Note(line(f"Socket {socket}")),
        ]
    since, how = facts.uptime(seen.state, seen.listener)
    up: Line = line(f"{duration(seen.now - since)} ({how})") if since else line("unknown")
    shown = children.children(seen.state)
    rows = shown
    if len(shown) > MOST_ROWS:
        rows = tuple(child for child in shown if not child.running)[:MOST_ROWS]
    pid = f"pid {seen.listener.pid} of uid {seen.listener.uid}" if seen.listener else "pid unknown"
    blocks: list[Block] = [
        Heading(f"{name}: {headline(seen.state, seen.failing)}"),
        Fields(
            (
                ("Link", line(f"{_link(seen)}, {pid}")),
                ("Up", up),
                ("Answers", line(probe_line(seen))),
                ("Protocol", line(f"dashboard-ipc.v1, generation {children.generation(seen.state)}")),
            )
        ),
        Table(COLUMNS, tuple(_row(child) for child in rows), frozenset({"Attempt"})),
    ]
    blocks += [Note(line(f"{child_id}: {why}.")) for child_id, why in list(seen.failing.items())[:5]]
    if len(rows) < len(shown):
        blocks.append(Note(line(f"{counted(len(shown) - len(rows), 'further child', 'further children')} not shown.")))
    ghosts = [child.id for child in shown if child.ghost]
    if ghosts:
        blocks.append(
            Note(line(f"Ghost records, left by commands for names that do not exist: {', '.join(ghosts[:5])}."))
        )
    return blocks


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _link(seen: Seen) -> str:
    probe = seen.probe
    if probe is None or (probe.hello is None and probe.state is None):
        return "not reached"
    if probe.state is None:
        return "stalled"
    return "connected" if seen.state is not None else "connected, not driven"


def _row(child: Child) -> tuple[str, ...]:
    record = child.record
    if record is None:
        return children.shown(child.id), children.condition(child), "-", "-", "-"
    attempt = "-" if record.attempt is None else str(record.attempt)
    return (
        children.shown(child.id),
        children.condition(child),
        attempt,
        children.restart_limit(record),
        record.stop_state or "-",
    )


def _trouble(seen: Seen) -> list[str]:
    """Children that somebody should look at: failing, or not obeying."""
    if seen.state is None:
        return []
    failing = seen.failing
    return [child.id for child in children.children(seen.state) if child.id in failing or child.ignores_stop]


def _buttons(seen: Mapping[str, Seen], runbooks: frozenset[str]) -> tuple[Button, ...]:
    """For the children in trouble, what applies to them now."""
    found: list[Button] = []
    for name, one in seen.items():
        for child_id in _trouble(one):
            child = children.find(one.state, child_id) if one.state else None
            if child is None or child.record is None or child.record.operation != "active":
                continue
            if "P1-002" in runbooks:
                found.append(
                    Button(
                        f"Run P1-002 on {child_id}", f"/supervisor runbook P1-002 {child_id} --target {name}", "primary"
                    )
                )
            found.append(Button(f"Quarantine {child_id}", f"/supervisor quarantine {child_id} --target {name}"))
    return tuple(found[:MOST_BUTTONS])
