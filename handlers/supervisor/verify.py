"""``opsbot runbook verify``: the sockets, process names and promises of a document beside the processes that answer.

Facts and actions are verified for every product alike; here stands what only this one knows. What a process does not
tell over its socket is recorded from its source, and is told as such.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from bot.errors import UserError
from bot.handler import Target, Verification
from bot.runbooks.claims import Claim
from bot.runbooks.expectations import Within, names, parse, walk
from bot.runbooks.verify import Finding
from handlers.supervisor import children
from handlers.supervisor.handler import SupervisorHandler
from handlers.supervisor.link import LinkError
from handlers.supervisor.protocol import State
from handlers.supervisor.transport import Rejected

RECORDED = "recorded at rust-supervisor 3f92078"
HEARTBEAT = timedelta(seconds=15)  # registration_heartbeat_interval_seconds of the example configuration
COMM_LENGTH = 15  # characters of a process name that the kernel keeps
LINKS = frozenset({"dashboard_link", "health.dashboard_link"})


@dataclass(frozen=True, slots=True)
class Process:
    """One configured process as it answers now. ``comm`` and ``command_line`` are empty when /proc does not tell."""

    name: str
    socket: str
    announced: str = ""  # ipc_path of hello
    pid: int = 0
    comm: str = ""
    command_line: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Promise:
    """A sentence that is not true of any process built on rust-supervisor."""

    pattern: re.Pattern[str]
    there: str
    change: str


def _promise(pattern: str, there: str, change: str) -> Promise:
    return Promise(re.compile(pattern, re.IGNORECASE), there, change)


PROMISES = (
    _promise(
        r"\bquarantined automatically\b",
        "the supervisor never quarantines by itself: a child without restarts left stays dead and is labelled active",
        "quarantine it with handle.quarantine_child()",
    ),
    _promise(
        r"\bauto-restarts? (?:the )?relay\b|\bwait for auto-restart\b",
        "the supervisor neither starts nor restarts the relay",
        "restart it with its service manager",
    ),
    _promise(
        r"\bchildren (?:become|are) orphaned\b|\bchildren reconnected\b",
        "children are tasks of the process: they end with it and start afresh, nothing reconnects",
        "compare the start of the process before and after",
    ),
    _promise(
        r"\b(?:BlockForever|IgnoreCancel)\b",
        "these are names of tasks in a test, no state of a child has them",
        "look at stop_state, which says failed once a stop was tried",
    ),
    _promise(
        r"\bfield_path\s*=",
        "errors on the socket have no field_path",
        "look at the start-up text in the log of the process",
    ),
    _promise(
        r"\bcore dump file present in /tmp",
        "the kernel's core_pattern says where a core goes, and a panic that unwinds leaves none",
        "read /proc/sys/kernel/core_pattern",
    ),
)


async def targets(handler: SupervisorHandler, kind: str) -> list[Target]:
    """A child of each process, one with a running attempt if there is one; or the processes."""
    if kind == "target":
        return [Target(product="supervisor", kind="target", name=name) for name in sorted(handler.clients)]
    if kind not in ("", "child"):
        return []
    states = await handler.states()
    found, failures = [], []
    for name, state in states.items():
        if not isinstance(state, State):
            failures.append(state)
            continue
        there = sorted(children.children(state), key=lambda child: (not child.running, child.record is None))
        found += [Target(product="supervisor", kind="child", name=child.id, scope=name) for child in there[:1]]
    if not found and failures:
        raise failures[0]
    return found


async def check(handler: SupervisorHandler, claims: Sequence[Claim]) -> list[Finding]:
    """What is there for each claim that is about processes; reads hello, state and /proc."""
    processes = [await _process(handler, name) for name in sorted(handler.clients)]
    return judge(claims, processes)


VERIFICATION = Verification(targets=targets, check=check)


def judge(claims: Sequence[Claim], processes: Sequence[Process]) -> list[Finding]:
    """Every claim beside the processes. Pure."""
    found: list[Finding] = []
    for claim in claims:
        match claim.kind:
            case "path" if claim.name.endswith(".sock"):
                found += _socket(claim, processes)
            case "command":
                found += _command(claim, processes)
            case "expectation":
                found += _too_soon(claim)
            case "text":
                found += _untrue(claim)
            case _:
                pass
    return found


async def _process(handler: SupervisorHandler, name: str) -> Process:
    client = handler.clients[name]
    socket = client.target.address
    announced = problem = ""
    try:
        hello = await client.hello()
        announced = hello.registration.ipc_path if hello.registration else ""
    except Rejected:
        pass  # registration is off, which says nothing about the process
    except (LinkError, UserError) as error:
        problem = error.message
    listener = client.listener
    if problem or listener is None:
        return Process(name, socket, problem=problem or "nobody listens")
    return Process(name, socket, announced, listener.pid, _proc(listener.pid, "comm"), _proc(listener.pid, "cmdline"))


def _proc(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace").replace("\0", " ").strip()
    except OSError:
        return ""


def _socket(claim: Claim, processes: Sequence[Process]) -> Iterator[Finding]:
    known = {path for process in processes for path in (process.socket, process.announced) if path}
    if claim.name not in known:
        there = f"no configured process serves it; the sockets are {', '.join(sorted(known)[:4])}"
        yield Finding(line=claim.line, says=f"`{claim.text}`", there=there, change="take the path of the configuration")


def _command(claim: Claim, processes: Sequence[Process]) -> Iterator[Finding]:
    says = f"`{claim.text}`"
    if claim.name in ("pgrep", "pkill"):
        wanted = next((word for word in reversed(claim.words) if not word.startswith("-")), "")
        if wanted == "relay":
            there = "the process of the relay is called rust-supervisor, so it is never found"
            yield Finding(
                line=claim.line, says=says, there=there, change="connect to its port instead", recorded=RECORDED
            )
        elif "-x" in claim.words and wanted == "supervisor":
            seen = [process for process in processes if process.comm]
            if any(process.comm == wanted[:COMM_LENGTH] for process in seen):
                return
            if seen:
                there = f"nothing is called so: {', '.join(f'{p.name} is pid {p.pid}, {p.comm}' for p in seen[:3])}"
                yield Finding(line=claim.line, says=says, there=there, change="ask its socket: handle.health()")
            else:
                why = processes[0].problem if processes else "none is there"
                there = f"which name the process has cannot be told: {why}"
                yield Finding(line=claim.line, says=says, there=there, level="cannot tell")
    elif claim.name == "cargo" and "supervisor_quickstart" in claim.words:
        there = "the example supervisor_quickstart ends at once and serves no socket"
        running = [process for process in processes if process.comm]
        if any("supervisor_quickstart" in process.command_line for process in running):
            return
        if running:
            there += f"; the program of {running[0].name} is {running[0].comm}"
        change = "start the process as it was deployed"
        yield Finding(line=claim.line, says=says, there=there, change=change, recorded=RECORDED)


def _too_soon(claim: Claim) -> Iterator[Finding]:
    """A link that has less time to come back than the process takes to register again."""
    if "relay" not in claim.details["action"].lower():
        return
    for node in walk(parse(claim.text)):
        if isinstance(node, Within) and node.duration < HEARTBEAT and names(node.tree) & LINKS:
            limit, beat = node.duration.total_seconds(), HEARTBEAT.total_seconds()
            there = f"the process registers at a relay every {beat:g} s, so {limit:g} s are too short"
            yield Finding(
                line=claim.line,
                says=f'"{claim.text}"',
                there=there,
                change=f"allow 20 s, or more than registration_heartbeat_interval_seconds if it is not {beat:g}",
                recorded=f"{RECORDED}, example configuration",
            )


def _untrue(claim: Claim) -> Iterator[Finding]:
    for promise in PROMISES:
        if found := promise.pattern.search(claim.text):
            says = f'"{found[0]}"'
            yield Finding(line=claim.line, says=says, there=promise.there, change=promise.change, recorded=RECORDED)
