"""``/supervisor tree``, ``targets``, ``child``, ``events``, ``health``, ``diagnose``: what people see of them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from bot.handler import Observation, Provenance
from bot.messages import (
    Block,
    Button,
    Buttons,
    CodeBlock,
    Fields,
    Heading,
    Message,
    Note,
    Paragraph,
    Table,
    line,
)
from bot.words import counted, duration
from handlers.supervisor import children, status
from handlers.supervisor.changes import LABEL, Change
from handlers.supervisor.children import Child
from handlers.supervisor.diagnosis import Symptom
from handlers.supervisor.facts import Seen
from handlers.supervisor.protocol import State

if TYPE_CHECKING:
    from handlers.supervisor.handler import SupervisorHandler

Colour = Literal["good", "warning", "bad"]

MOST_TARGETS = 60
MOST_DRAWN = 150
MOST_BUTTONS = 5
WIDTH = 110


def targets(handler: SupervisorHandler, now: datetime) -> Message:
    """Every configured process: address, last look, what the bot may run there."""
    rows = []
    for name, client in sorted(handler.clients.items()):
        history = handler.poller.watched[name].history
        if history.looked_at is None:
            seen = "not looked at yet"
        elif history.problem:
            seen = history.problem
        else:
            seen = status.headline(history.state) if history.state else "-"
        ago = f", {duration(now - history.looked_at)} ago" if history.looked_at else ""
        rows.append((name, client.target.address, f"{seen}{ago}", ", ".join(client.target.commands) or "nothing"))
    blocks: list[Block] = [
        Table(("Process", "Reached at", "Last look", "May be run on its host"), tuple(rows[:MOST_TARGETS]))
    ]
    if len(rows) > MOST_TARGETS:
        blocks.append(Note(line(f"{len(rows) - MOST_TARGETS} further processes are not shown.")))
    through = [name for name, client in handler.clients.items() if client.untold]
    if through:
        blocks.append(
            Note(
                line(
                    f"Through a relay: {', '.join(through)}. It tells neither why a command failed nor what it "
                    "changed, and cannot add a child."
                )
            )
        )
    return Message(counted(len(rows), "supervised process", "supervised processes"), tuple(blocks))


def tree(name: str, seen: Seen) -> Message:
    """The tree as text. Children that no declaration names hang below the root, marked."""
    state = seen.state
    if state is None:
        return Message(f"{name}: not reached", (Heading(name), Paragraph(line(seen.problem))), "bad")
    head = status.headline(state, seen.failing)
    return Message(
        f"{name}: {head}",
        (
            Heading(f"{name}: {head}"),
            CodeBlock(drawn(name, state, seen.failing)),
            Note(line("Shape as declared at the start, state as it is now; adding and removing changes no shape.")),
        ),
        "warning" if seen.failing else "good",
    )


def drawn(name: str, state: State, failing: Mapping[str, str]) -> str:
    """``├─ worker-1  running, attempt 1``; a supervisor below a supervisor is a branch of its own."""
    found = children.children(state)
    by_path = {child.path: child for child in found}
    parent: dict[str, str] = {}
    needs: dict[str, list[str]] = {}
    for edge in state.topology.edges:
        if edge.kind == "dependency":
            needs.setdefault(edge.source_path, []).append(edge.target_path.rpartition("/")[2])
        else:
            parent.setdefault(edge.target_path, edge.source_path)
    root = Tree(Text(name))
    branches: dict[str, Tree] = {}
    width = max((len(children.shown(child.id)) for child in found), default=0)

    def branch(child: Child, above: frozenset[str]) -> Tree:
        if child.path not in branches:
            over = by_path.get(parent.get(child.path, ""))
            # A loop in what the process says must not become a loop here.
            under = branch(over, above | {child.path}) if over and over.path not in above | {child.path} else root
            branches[child.path] = under.add(Text(_leaf(child, width, failing, needs.get(child.path, []))))
        return branches[child.path]

    for child in found[:MOST_DRAWN]:
        branch(child, frozenset())
    if len(found) > MOST_DRAWN:
        root.add(Text(f"and {len(found) - MOST_DRAWN} more"))
    out = io.StringIO()
    Console(file=out, width=WIDTH, color_system=None, legacy_windows=False).print(root)
    return "\n".join(text.rstrip() for text in out.getvalue().splitlines())


def _leaf(child: Child, width: int, failing: Mapping[str, str], needs: Sequence[str]) -> str:
    mark = "✗" if child.id in failing or child.ignores_stop else "✓" if child.running else "‖" if child.record else "-"
    text = f"{mark} {children.shown(child.id).ljust(width)}  {children.summary(child)}"
    if child.criticality and child.criticality not in ("standard", "optional"):
        text += f", {child.criticality.replace('_', ' ')}"
    if needs:
        text += f", needs {', '.join(needs)}"
    if not child.declared and not child.ghost:
        text += ", not declared"
    return text


def child(process: str, name: str, seen: Seen, lately: Sequence[Change], runbooks: frozenset[str]) -> Message:
    """One child: what its record says, what has changed, what applies now."""
    found = seen.child
    if found is None or seen.state is None:
        return Message(f"{name}: not there", (Paragraph(line(seen.problem or f"There is no child {name}.")),), "bad")
    record = found.record
    why = seen.failing.get(name, "")
    fields: list[tuple[str, str]] = [("State", children.condition(found))]
    if why:
        fields.append(("Fails", why))
    if record is not None:
        fields += [
            ("Asked for", record.operation),
            ("Attempt", "none runs" if record.attempt is None else str(record.attempt)),
            ("Failures", children.restart_limit(record)),
            ("Last stop", record.stop_state or "-"),
            ("Readiness", record.liveness.readiness or "-"),
        ]
        if record.generation_fence_phase != "open":
            fields.append(("Restart", record.generation_fence_phase.replace("_", " ")))
        if record.failure is not None:
            fields.append(("Control failure", record.failure.reason or record.failure.phase))
    if found.criticality:
        fields.append(("Criticality", found.criticality))
    declared = "declared" if found.declared else "not declared: added later, or a ghost of a mistyped name"
    blocks: list[Block] = [
        Heading(f"{name} of {process}: {children.condition(found)}"),
        Fields(tuple((label, line(value)) for label, value in fields)),
        Note(line(f"{declared}. Why a task failed is not in the state, only in the log of the process.")),
    ]
    if lately:
        blocks += [CodeBlock("\n".join(_change(one) for one in list(lately)[-10:])), Note(line(LABEL))]
    buttons = _what_applies(process, found, bool(why), runbooks)
    if buttons:
        blocks.append(Buttons(tuple(buttons[:MOST_BUTTONS])))
    colour: Colour = "bad" if why or found.ignores_stop else "good" if found.running else "warning"
    return Message(f"{name} of {process}: {children.condition(found)}", tuple(blocks), colour)


def _what_applies(process: str, found: Child, failing: bool, runbooks: frozenset[str]) -> list[Button]:
    where = f"{found.id} --target {process}"
    record = found.record
    buttons = []
    if failing and "P1-002" in runbooks:
        buttons.append(Button(f"Run P1-002 on {found.id}", f"/supervisor runbook P1-002 {where}", "primary"))
    if record is None or record.operation == "removed":
        return [*buttons, Button("Restart", f"/supervisor restart {where}")]
    if record.operation in ("paused", "quarantined"):
        buttons += [
            Button("Restart", f"/supervisor restart {where}"),
            Button("Resume", f"/supervisor resume {where}"),
            Button("Remove", f"/supervisor remove {where}", "danger"),
        ]
    else:
        buttons += [
            Button("Restart", f"/supervisor restart {where}"),
            Button("Quarantine", f"/supervisor quarantine {where}"),
            Button("Watch", f"/supervisor watch {where}"),
        ]
    return buttons


def events(handler: SupervisorHandler, names: Sequence[str], child_id: str | None, last: int, now: datetime) -> Message:
    """The newest changes, with the look before the one that saw them."""
    found: list[tuple[str, Change]] = []
    looks = 0
    for name in names:
        history = handler.poller.watched[name].history
        looks += history.looks
        found += [(name, one) for one in history.changes if child_id is None or one.child in ("", child_id)]
    found = sorted(found, key=lambda pair: pair[1].at)[-last:]
    pause = handler.poller.seconds
    blocks: list[Block] = []
    if found:
        many = len(names) > 1
        blocks.append(CodeBlock("\n".join(_change(one, name if many else "") for name, one in found)))
    else:
        what = f" of {child_id}" if child_id else ""
        told = f"Nothing{what} has changed in {counted(looks, 'look')} since the bot started."
        blocks.append(Paragraph(line(told if looks else "Nothing was looked at yet.")))
    how = f"Looked at every {pause:g} s" if pause > 0 else "poll_seconds is 0, so the bot does not look by itself"
    blocks.append(Note(line(f"{LABEL} {how}; the times are the bot's, UTC.")))
    return Message(counted(len(found), "change"), tuple(blocks))


def _change(one: Change, process: str = "") -> str:
    gap = (one.at - one.since).total_seconds()
    since = f" (since {one.since:%H:%M:%S})" if gap >= 2 else ""
    who = ": ".join(children.shown(part) for part in (process, one.child) if part)
    return f"{one.at:%H:%M:%S}{since}  {f'{who}: ' if who else ''}{one.text}"


PROVENANCE = {
    Provenance.EXACT: "exact",
    Provenance.RENAMED: "renamed",
    Provenance.DERIVED: "derived",
    Provenance.INPUT: "given",
    Provenance.UNAVAILABLE: "unknown",
}


def health(name: str, seen: Seen, observed: Sequence[Observation]) -> Message:
    """Every fact with how it is known."""
    known = {fact.name: fact for fact in observed}
    rows = tuple(
        (
            fact.name,
            "unknown" if fact.value is None else json.dumps(fact.value, ensure_ascii=False).strip('"'),
            f"{PROVENANCE[fact.provenance]}: {fact.source}",
        )
        for fact in observed
    )
    value = known["health.status"].value
    colours: dict[str, Colour] = {"ready": "good", "degraded": "warning"}
    blocks: list[Block] = [Heading(f"{name}: {value}"), Table(("Fact", "Value", "How it is known"), rows)]
    if seen.through_relay:
        blocks.append(Note(line("Asked through its relay, which tells less than the socket.")))
    blocks.append(Note(line("The process has no health request: this is what its answers show.")))
    return Message(f"{name}: {value}", tuple(blocks), colours.get(str(value), "bad"))


def diagnosis(found: Mapping[str, Sequence[Symptom]], runbooks: frozenset[str]) -> Message:
    """What is wrong where, and the procedure for it as a button."""
    blocks: list[Block] = []
    buttons: list[Button] = []
    troubled = {name: symptoms for name, symptoms in found.items() if symptoms}
    for name, symptoms in troubled.items():
        blocks.append(Heading(name))
        lines = dict.fromkeys((symptom.runbook, symptom.says.rstrip(".")) for symptom in symptoms)
        blocks += [Paragraph(line(f"{runbook}: {says}." if runbook else f"{says}.")) for runbook, says in lines]
        for symptom in symptoms:
            if symptom.runbook not in runbooks or (symptom.runbook in ("P1-002", "P1-004") and not symptom.child):
                continue
            subject = f" {symptom.child}" if symptom.child else ""
            label = f"Run {symptom.runbook} on {symptom.child or name}"
            command = f"/supervisor runbook {symptom.runbook}{subject} --target {name}"
            buttons.append(Button(label, command, "default" if buttons else "primary"))
    well = [name for name in found if name not in troubled]
    if well:
        told = ", ".join(well[:20]) + (f" and {len(well) - 20} more" if len(well) > 20 else "")
        blocks.append(Paragraph(line(f"Nothing is wrong that the bot can see: {told}.")))
    if buttons:
        blocks.append(Buttons(tuple(buttons[:MOST_BUTTONS])))
    if not troubled:
        return Message("Nothing is wrong that the bot can see", tuple(blocks), "good")
    first = next(iter(troubled.items()))
    worst = first[1][0]
    summary = ", ".join(part for part in (worst.runbook, worst.says[:120]) if part)
    return Message(f"{first[0]}: {summary}", tuple(blocks), "bad")
