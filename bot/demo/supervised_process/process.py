"""A process that supervises children and is driven through its socket: the control loop, and what it answers."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bot.demo.supervised_process.child import MANAGED_STATE, Behaviour, Child, ChildSpec, Fuses
from bot.demo.supervised_process.faults import Faults
from bot.demo.supervised_process.ipc import BindMode, ClosedByFaultError, IpcServer, Limits
from bot.demo.supervised_process.requests import COMMANDS, Order, RefusalError, Request, parse_order
from bot.demo.supervised_process.tree import Tree

FACTORIES: dict[str, Behaviour] = {
    "steady": "steady",
    "crash_loop": "crash_loop",
    "slow_to_stop": "slow_to_stop",
    "ignores_cancellation": "ignores_cancellation",
}


def payment_children(*, crash_after: float = 3.0, stop_takes: float = 1.5) -> tuple[ChildSpec, ...]:
    """The children of the demonstration: two steady, one in a crash loop, one slow to stop, one that ignores a stop."""
    return (
        ChildSpec("worker-1"),
        ChildSpec("worker-2"),
        ChildSpec("worker-3", "crash_loop", crash_after=crash_after),
        ChildSpec("ledger-writer", "slow_to_stop", stop_takes=stop_takes, criticality="critical"),
        ChildSpec("fraud-scorer", "ignores_cancellation", criticality="standard"),
    )


@dataclass(frozen=True, slots=True)
class ProcessConfig:
    """How the process is started. Times are seconds; ``mode`` is of the socket file."""

    socket: Path
    name: str = "payments"
    children: tuple[ChildSpec, ...] = field(default_factory=payment_children)
    graceful_timeout: float = 5.0
    abort_wait: float = 1.0
    command_timeout: float = 30.0
    bind_mode: BindMode = "create_new"
    mode: int = 0o600
    registration: bool = True
    security: bool = True
    allowed_uids: frozenset[int] = field(default_factory=lambda: frozenset({os.getuid()}))
    limits: Limits = field(default_factory=Limits)


Work = Callable[[], Awaitable[Any]]


class SupervisedProcess:
    """Runs inside the caller's event loop, or as a process of its own: ``python -m bot.demo.supervised_process``.

    ``start`` raises ``BindError`` when the socket cannot be served.
    """

    def __init__(self, config: ProcessConfig, faults: Faults | None = None) -> None:
        self.config = config
        self.faults = faults or Faults()
        self.executed: list[str] = []  # commands in the order in which the control loop executed them
        self.requests = 0  # requests that reached the dispatcher
        self._log_lines: list[str] = []
        self.log_to_stderr = False
        self.log_file: Path | None = None  # appended to, as a service manager does with what a process prints
        self._started_at_ns = 0
        self._state_generation = 1
        self._mailbox: asyncio.Queue[tuple[Work, asyncio.Future[Any] | None]] = asyncio.Queue()
        self._loop_task: asyncio.Task[None] | None = None
        self.tree = Tree(
            config.children,
            graceful_timeout=config.graceful_timeout,
            abort_wait=config.abort_wait,
            fuses=Fuses(),
            on_exit=self._post_exit,
            on_respawn=self._post_respawn,
            log=self._log,
        )
        self.server = IpcServer(
            config.socket,
            self._dispatch,
            target_id=config.name,
            faults=self.faults,
            security=config.security,
            allowed_uids=config.allowed_uids,
            bind_mode=config.bind_mode,
            mode=config.mode,
            limits=config.limits,
        )

    async def start(self) -> None:
        await self.server.start()
        self._started_at_ns = time.time_ns()
        self.tree.start()
        self._loop_task = asyncio.create_task(self._control_loop(), name="control loop")

    async def stop(self) -> None:
        await self.server.stop()
        if self._loop_task is not None:
            self._loop_task.cancel()
            await asyncio.gather(self._loop_task, return_exceptions=True)
        await self.tree.stop()

    async def __aenter__(self) -> SupervisedProcess:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    def _log(self, text: str) -> None:
        self._log_lines = [*self._log_lines[-199:], text]
        if self.log_to_stderr:
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()
        if self.log_file is not None:
            with self.log_file.open("a", encoding="utf-8") as file:
                file.write(f"{text}\n")

    # --- control loop ---------------------------------------------------------------------------------------------

    async def _control_loop(self) -> None:
        """One message after the other: commands, state requests, ends of attempts."""
        while True:
            work, answer = await self._mailbox.get()
            await self.faults.hold("hang-control-loop")
            await asyncio.sleep(self.tree.drag())
            try:
                result = await work()
            except Exception as error:  # the loop outlives whatever a message does
                if answer is not None and not answer.done():
                    answer.set_exception(error)
                else:
                    self._log(f"control loop: {error!r}")
            else:
                if answer is not None and not answer.done():
                    answer.set_result(result)

    async def _ask(self, work: Work) -> Any:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._mailbox.put_nowait((work, answer))
        return await answer

    def _post_exit(self, child: Child, attempt: int, reason: str | None) -> None:
        async def work() -> None:
            self.tree.child_exited(child, attempt, reason)

        self._mailbox.put_nowait((work, None))

    def _post_respawn(self, child: Child) -> None:
        async def work() -> None:
            self.tree.respawn(child)

        self._mailbox.put_nowait((work, None))

    # --- requests -------------------------------------------------------------------------------------------------

    async def _dispatch(self, request: Request) -> dict[str, Any]:
        self.requests += 1
        if request.method == "hello":
            return self._hello()
        if request.method == "state":
            if self.faults.on("control-loop-gone"):
                raise RefusalError("current_state_failed", "state", "the control loop is gone", retryable=True)
            state = await self._ask(self._state)
            return {"type": "state", "target_id": self.config.name, "state": state}
        if not request.writes:
            if request.params.get("session_established") is not True or not self.config.security:
                raise RefusalError("session_required", "subscription", "no session")
            topic = request.method.split(".")[0]
            return {"type": "subscription", "target_id": self.config.name, "subscription": topic}
        order = parse_order(request.params, self.config.name)
        if self.faults.take("close-before-command"):
            raise ClosedByFaultError
        if self.faults.take("hang-on-command"):
            self.faults.switch_on("hang-control-loop")
        result = await self._command(order)
        if self.faults.on("exit-after-command"):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.faults.take("close-after-command"):
            raise ClosedByFaultError
        return {"type": "command_result", "target_id": self.config.name, "result": result}

    def _hello(self) -> dict[str, Any]:
        if not self.config.registration:
            raise RefusalError("validation_failed", "registration", "dynamic registration is not enabled")
        return {
            "type": "hello",
            "protocol_version": "dashboard-ipc.v1",
            "registration": {
                "target_id": self.config.name,
                "display_name": self.config.name.capitalize(),
                "ipc_path": str(self.config.socket),
                "lease_seconds": 30,
                "supported_commands": [{"name": name, "idempotent": False, "timeout_seconds": 30} for name in COMMANDS],
            },
        }

    async def _command(self, order: Order) -> dict[str, Any]:
        answer: dict[str, Any] = {
            "command_id": order.command_id,
            "target_id": self.config.name,
            "accepted": True,
            "status": "completed",
            "error": None,
            "state_delta": None,
        }
        try:
            if self.faults.on("control-loop-gone"):
                raise RefusalError("command_failed", "command_dispatch", "the control loop is gone", retryable=True)
            answer["state_delta"] = await asyncio.wait_for(
                self._ask(lambda: self._execute(order)), self.config.command_timeout
            )
        except TimeoutError:
            raise RefusalError(
                "command_timeout", "command_dispatch", "the control loop did not answer", retryable=True
            ) from None
        except ValueError as error:
            refused = RefusalError("command_failed", "command_dispatch", str(error), retryable=True)
            answer.update(accepted=False, status="failed", error=refused.body(self.config.name))
        except RefusalError as refusal:
            answer.update(accepted=False, status="failed", error=refusal.body(self.config.name))
        answer["completed_at_unix_nanos"] = str(time.time_ns())
        return answer

    async def _execute(self, order: Order) -> dict[str, Any]:
        """In the control loop. Raises ``RefusalError`` for what is answered with ``accepted: false``."""
        self.tree.look_at_deadlines()
        self._state_generation += 1
        self.executed.append(f"{order.command} {order.child_path or ''}".strip())
        self._log(f"command {order.command} {order.child_path or ''} by {order.requested_by}: {order.reason}")
        if order.command == "shutdown_tree":
            return {"type": "shutdown", "result": await self.tree.shutdown_tree(order.requested_by, order.reason)}
        if order.command == "add_child":
            self.tree.add_child(_manifest(order))
            return {"type": "child_added", "child_manifest": order.child_manifest}
        child_id = order.child_id
        if child_id is None:
            raise RefusalError("command_failed", "command_dispatch", "child_path is missing", retryable=True)
        match order.command:
            case "pause_child":
                outcome = self.tree.stop_child(child_id, "paused")
            case "quarantine_child":
                outcome = self.tree.stop_child(child_id, "quarantined")
            case "remove_child":
                outcome = self.tree.stop_child(child_id, "removed")
            case "resume_child":
                outcome = self.tree.resume_child(child_id)
            case _:
                outcome = self.tree.restart_child(child_id)
        return {"type": "child_control", "outcome": outcome}

    async def _state(self) -> dict[str, Any]:
        self.tree.look_at_deadlines()
        records = self.tree.records()
        down = "running" if self.tree.shutdown is None else "completed"
        specs = list(self.tree.declared.values())
        root = _node("/", None, "/", "root supervisor", "root_supervisor", "critical", "root")
        children = [
            _node(f"/{spec.id}", spec.id, f"/{spec.id}", spec.id, "child_task", spec.criticality, "declared")
            for spec in specs
        ]
        return {
            "target": {
                "target_id": self.config.name,
                "display_name": self.config.name.capitalize(),
                "registration_state": "active",
                "connection_state": "registered",
            },
            "topology": {
                "root": root,
                "nodes": [root, *children],
                "edges": [
                    {
                        "edge_id": f"parent:/->/{spec.id}",
                        "source_path": "/",
                        "target_path": f"/{spec.id}",
                        "kind": "parent_child",
                        "order": order,
                    }
                    for order, spec in enumerate(specs)
                ],
                "declaration_order": ["/", *(f"/{spec.id}" for spec in specs)],
            },
            "runtime_state": [_row(record, down) for record in records],
            "child_runtime_records": records,
            "recent_events": [],
            "recent_logs": [],
            "dropped_event_count": 0,
            "dropped_log_count": 0,
            "config_version": "opsbot-demo",
            "generated_at_unix_nanos": str(self._started_at_ns),
            "state_generation": self._state_generation,
        }


def _manifest(order: Order) -> ChildSpec:
    """The child that a manifest describes. Raises ``ValueError`` for one that cannot be started."""
    try:
        manifest = yaml.safe_load(order.child_manifest or "")
    except yaml.YAMLError as error:
        raise ValueError(f"the manifest is not YAML: {error}") from None
    match manifest:
        case {"name": str(name), "factory_key": str(key)} if key in FACTORIES:
            return ChildSpec(name, FACTORIES[key])
        case {"name": str(), "factory_key": key}:
            raise ValueError(f"no factory for factory_key {key}")
        case _:
            raise ValueError("the manifest needs a name and a factory_key")


def _node(
    node_id: str, child_id: str | None, path: str, name: str, kind: str, criticality: str, summary: str
) -> dict[str, Any]:
    return {
        "node_id": node_id,
        "child_id": child_id,
        "path": path,
        "name": name,
        "kind": kind,
        "tags": [],
        "criticality": criticality,
        "state_summary": summary,
        "diagnostics": {},
    }


def _row(record: dict[str, Any], shutdown_state: str) -> dict[str, Any]:
    """The summary of a child. ``lifecycle_state`` follows what was asked for, not whether an attempt runs."""
    limit = record["restart_limit"]
    return {
        "child_path": record["child_path"],
        "lifecycle_state": MANAGED_STATE[record["operation"]],
        "health": "stale" if record["liveness"]["heartbeat_stale"] else "healthy",
        "readiness": record["liveness"]["readiness"],
        "generation": record["generation"] or 0,
        "child_start_count": record["attempt"] or 0,
        "restart_count": limit["used"],
        "last_failure": record["failure"]["reason"] if record["failure"] else None,
        "last_policy_decision": f"restart_limit_remaining={limit['remaining']}",
        "shutdown_state": shutdown_state,
    }
