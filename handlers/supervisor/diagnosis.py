"""``/supervisor diagnose``: from what is seen of a process to the procedure that is for it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from handlers.supervisor import children
from handlers.supervisor.children import Child
from handlers.supervisor.facts import Need, Seen, observe
from handlers.supervisor.protocol import State

NEEDS: frozenset[Need] = frozenset({"state", "probe", "pgrep", "socket", "relay"})
MOST_CHILDREN = 3
SLOW_SECONDS = 0.1  # a round trip of state; P1-004 calls fewer than 10 answers a second starvation


@dataclass(frozen=True, slots=True)
class Symptom:
    """``says`` is what was seen; ``runbook`` is for it (none: empty), on ``child`` when it works on one."""

    runbook: str
    says: str
    child: str = ""


def diagnose(name: str, seen: Seen, last: State | None) -> list[Symptom]:
    """What is wrong, the worst first; empty when nothing is. ``last`` is an earlier state, for when there is none."""
    if seen.state is None:
        return _unanswered(name, seen, last)
    if children.is_down(seen.state):
        return [Symptom("", "the tree was shut down; only a restart of the process starts its children again")]
    failing = list(seen.failing.items())[:MOST_CHILDREN]
    found = [Symptom("P1-002", f"{child_id}: {why}", child_id) for child_id, why in failing]
    stubborn = [child for child in children.children(seen.state) if child.ignores_stop]
    found += [
        Symptom("P1-004", f"{child.id} ignores cancellation and runs on", child.id)
        for child in stubborn[:MOST_CHILDREN]
        if child.id not in seen.failing
    ]
    if seen.probe is not None and (seconds := seen.probe.state or 0) > SLOW_SECONDS and not seen.through_relay:
        says = f"slow: one round trip of state took {seconds * 1000:.0f} ms, and hello "
        says += "was not answered" if seen.probe.hello is None else f"{seen.probe.hello * 1000:.0f} ms"
        suspected = [child for child in suspects(seen.state) if child.id not in seen.failing]
        found += [Symptom("P1-004", says, child.id) for child in suspected[:1]]
    if seen.relay is not None and seen.relay.status == "down":
        found.append(Symptom("P1-003", f"the process answers, its relay does not: {seen.relay.told}"))
    return found


def _unanswered(name: str, seen: Seen, last: State | None) -> list[Symptom]:
    probe = seen.probe
    told = seen.problem.removeprefix(f"{name}: ").rstrip(".")
    if probe is not None and (probe.refused or probe.state is not None):
        return [Symptom("", f"it answers, and cannot be driven: {told}")]
    if probe is not None and (probe.hello is not None or probe.listener is not None) and not seen.through_relay:
        if probe.hello is not None:
            says = "hello is answered and state is not, so the control loop is stalled"
        else:
            says = "connected, and nothing is answered: the process hangs or its runtime is starved"
        if probe.gone:
            says += f": {told}"
        return [Symptom("P1-004", says, child.id) for child in suspects(last)[:MOST_CHILDREN]] or [
            Symptom("P1-004", says)
        ]
    running = observe(frozenset({"process.running"}), seen, {})[0]
    if running.value is False and not (seen.socket is not None and seen.socket.listening is None and _there(seen)):
        return [Symptom("P1-001", f"the process does not run: {told}")]
    return [Symptom("P1-003", f"the process may run, but its link is down: {told}")]


def _there(seen: Seen) -> bool:
    return seen.socket is not None and seen.socket.kind in ("socket", "hidden")


def suspects(state: State | None) -> list[Child]:
    """Children that may block, most likely first: those that ignored a stop, then by how little they are missed."""
    if state is None:
        return []
    weight = {"best_effort": 0, "optional": 0, "standard": 1, "critical": 2}
    known = [child for child in children.children(state) if not child.removed and not child.ghost]
    return sorted(known, key=lambda child: (not child.ignores_stop, weight.get(child.criticality, 1)))
