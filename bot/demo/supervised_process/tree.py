"""Children under supervision: asyncio tasks that run, crash, are respawned, stop slowly or not at all.

What is supervised here is real work of this process; only the language differs from the Rust original. The rules are
those that an operator meets there: a stop is a request that a child may ignore, a restart waits for the old attempt,
a child that crashes too often is left without an attempt and still called active, nothing is quarantined by itself,
and the time limit of a stop is looked at only when the next command or state request comes by.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from bot.demo.supervised_process.child import (
    BEAT_SECONDS,
    MANAGED_STATE,
    Child,
    ChildSpec,
    CrashError,
    Fuses,
    Operation,
    fence,
    shutdown_outcome,
    task_exit,
)


class Tree:
    """The children and what may be done with them. Not locked: only the control loop touches it.

    ``on_exit`` and ``on_respawn`` hand an event to the control loop, which calls ``child_exited`` and ``respawn`` back.
    """

    def __init__(
        self,
        specs: tuple[ChildSpec, ...],
        *,
        graceful_timeout: float,
        abort_wait: float,
        fuses: Fuses,
        on_exit: Callable[[Child, int, str | None], None],
        on_respawn: Callable[[Child], None],
        log: Callable[[str], None],
    ) -> None:
        self.declared = {spec.id: spec for spec in specs}  # what the topology shows: it never changes
        self.registry = dict(self.declared)  # and what was added later
        self.children: dict[str, Child] = {}
        self._started: dict[str, int] = {}  # attempts so far, also of children that were removed
        self._fuses = fuses
        self.graceful_timeout = graceful_timeout
        self.abort_wait = abort_wait
        self.shutdown: dict[str, Any] | None = None
        self._on_exit = on_exit
        self._on_respawn = on_respawn
        self._log = log

    def start(self) -> None:
        for spec in self.declared.values():
            child = self.children[spec.id] = Child(spec)
            self._spawn(child)

    async def stop(self) -> None:
        """End every task, politely or not: the process is going away."""
        tasks = []
        for child in self.children.values():
            if child.respawn is not None:
                child.respawn.cancel()
            if child.task is not None and not child.task.done():
                child.task.cancel()
                tasks.append(child.task)
        await asyncio.gather(*tasks, return_exceptions=True)

    def drag(self) -> float:
        """Seconds that the children that run now make each message of the control loop wait."""
        return sum(child.spec.drag for child in self.children.values() if child.task and not child.task.done())

    # --- attempts -------------------------------------------------------------------------------------------------

    def _spawn(self, child: Child) -> None:
        child.started = self._started[child.spec.id] = self._started.get(child.spec.id, 0) + 1
        child.attempt = child.started
        child.generation = child.started - 1
        child.pending = None
        child.abort_requested = False
        child.status = "running"
        child.stop_state = "idle"
        child.phase = "open"
        child.failure = None
        child.stop_before = None
        child.cancelled = asyncio.Event()
        child.last_beat = None
        attempt = child.attempt
        child.task = asyncio.create_task(self._work(child, child.cancelled), name=f"{child.spec.id}#{attempt}")
        child.task.add_done_callback(lambda task: self._ended(child, attempt, task))

    async def _work(self, child: Child, cancelled: asyncio.Event) -> None:
        """The attempt's own loop: it works in beats and looks at its token between them, or does not."""
        spec = child.spec
        crash_at = time.monotonic() + spec.crash_after if spec.behaviour == "crash_loop" else None
        while True:
            child.last_beat = time.time_ns()
            await asyncio.sleep(BEAT_SECONDS)
            if crash_at is not None and time.monotonic() >= crash_at:
                raise CrashError(f"{spec.id}: invoice 4711 has no currency")
            if not cancelled.is_set() or spec.behaviour == "ignores_cancellation":
                continue
            if spec.behaviour == "slow_to_stop":
                await asyncio.sleep(spec.stop_takes)
            return

    def _ended(self, child: Child, attempt: int, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            reason: str | None = "aborted"
        else:
            error = task.exception()
            reason = None if error is None else f"failed: {error}"
        child.exit = task_exit(task)
        self._on_exit(child, attempt, reason)

    def child_exited(self, child: Child, attempt: int, reason: str | None) -> None:
        """The control loop's answer to the end of an attempt: restart, give up, or forget."""
        if child.attempt != attempt:
            return
        asked = child.cancelled.is_set()
        restart_is_due = child.pending is not None
        child.attempt = child.generation = child.status = child.task = child.stop_before = None
        child.stop_state = "no_active_attempt"
        child.last_exit = reason or "stopped"
        self._log(f"child {child.spec.id} attempt {attempt} ended: {child.last_exit}")
        now = time.monotonic()
        child.limit_updated_at = time.time_ns()
        failed = reason is not None and not asked
        if failed and child.operation == "active":
            child.failures.append(now)
        while child.failures and child.failures[0] < now - child.spec.window:
            child.failures.popleft()
        if self.shutdown is not None:
            return
        if restart_is_due:
            self._spawn(child)
            return
        child.phase = "open"
        if child.operation == "removed":
            self.children.pop(child.spec.id, None)
            return
        if child.operation != "active" or asked:
            return
        if failed and self._fuses.blow(now):
            self._log(f"child {child.spec.id} is given up: too many crashes in too short a time")
            return
        if child.exhausted:
            self._log(f"child {child.spec.id} is given up: {child.spec.restart_limit} restarts in the window are used")
            return
        child.respawn = asyncio.get_running_loop().call_later(child.spec.backoff, self._on_respawn, child)

    def respawn(self, child: Child) -> None:
        child.respawn = None
        alive = self.children.get(child.spec.id) is child
        if alive and child.operation == "active" and child.attempt is None and self.shutdown is None:
            self._spawn(child)

    def look_at_deadlines(self) -> None:
        """Stops that took too long. Called when a command or a state request comes by, never by a timer."""
        now = time.monotonic()
        for child in self.children.values():
            if child.attempt is None or child.stop_before is None or now < child.stop_before:
                continue
            if child.phase == "waiting_for_old_stop":
                child.phase = "aborting_old"
                child.abort_requested = True
                if child.task is not None:
                    child.task.cancel()
            elif child.phase == "open" and child.stop_state == "cancel_delivered":
                child.stop_state = "failed"
                child.failure = {
                    "phase": "wait_completion",
                    "reason": "the child did not stop within the graceful timeout",
                    "recoverable": True,
                }

    def _cancel(self, child: Child) -> bool:
        if child.attempt is None or child.cancelled.is_set():
            return False
        child.cancelled.set()
        child.status = "cancelling"
        child.stop_state = "cancel_delivered"
        child.stop_before = time.monotonic() + self.graceful_timeout
        return True

    # --- commands -------------------------------------------------------------------------------------------------

    def stop_child(self, child_id: str, operation: Operation) -> dict[str, Any]:
        """pause, quarantine, remove: cancel the attempt and suppress restarts. An unknown child is accepted."""
        child = self._slot(child_id)
        if child is None:
            return self._outcome_of_stranger(child_id, stop_state="idle")
        before = child.operation
        cancelled_before = before == operation and child.cancelled.is_set()
        child.operation = operation
        if child.respawn is not None:
            child.respawn.cancel()
            child.respawn = None
        if child.attempt is not None:
            delivered = not cancelled_before and self._cancel(child)
            return self._outcome(child, before, delivered, idempotent=cancelled_before)
        child.stop_state = "no_active_attempt"
        if operation == "removed":
            del self.children[child_id]
        return self._outcome(child, before, False, idempotent=before == operation != "removed")

    def resume_child(self, child_id: str) -> dict[str, Any]:
        """Changes the label and starts nothing; an unknown child leaves a ghost record behind."""
        child = self._slot(child_id)
        if child is None:
            child = self.children[child_id] = Child(ChildSpec(child_id), stop_state="no_active_attempt")
        before = child.operation
        child.operation = "active"
        outcome = self._outcome(child, before, False, idempotent=before == "active")
        return {**outcome, "status": child.status or "stopped"}  # the one command that says so

    def restart_child(self, child_id: str) -> dict[str, Any]:
        child = self._slot(child_id)
        if child is None or child_id not in self.registry:
            outcome = self._outcome_of_stranger(child_id, stop_state="no_active_attempt")
            conflict = {"phase": "wait_completion", "reason": "unknown child", "recoverable": False}
            outcome.update(failure=conflict, idempotent=False, generation_fence=fence("rejected", conflict=conflict))
            return outcome
        before = child.operation
        if self.shutdown is not None:
            down = {"phase": "wait_completion", "reason": "the tree is shut down", "recoverable": False}
            child.phase, child.failure = "closed", down
            return self._outcome(child, before, False, restart_fence=fence("blocked_by_shutdown", conflict=down))
        if child.attempt is None:
            if child.respawn is not None:
                child.respawn.cancel()
                child.respawn = None
            child.operation = "active"
            self._spawn(child)
            started = fence("started_immediately", target_generation=child.generation)
            return self._outcome(child, before, False, restart_fence=started)
        generation = child.generation or 0
        old = (generation, child.attempt, generation + 1)
        if child.pending is not None:
            pending = fence("already_pending", *old, abort_requested=child.abort_requested)
            return self._outcome(child, before, False, restart_fence=pending)
        delivered = self._cancel(child)
        child.phase = "waiting_for_old_stop"
        child.pending = {
            "old_generation": generation,
            "old_attempt": child.attempt,
            "target_generation": generation + 1,
        }
        queued = fence("queued_after_stop", *old, cancel_delivered=delivered)
        return self._outcome(child, before, delivered, restart_fence=queued)

    def _slot(self, child_id: str) -> Child | None:
        """The child, also a declared one that was removed: the process still knows what it was declared with."""
        if child_id not in self.children and child_id in self.registry:
            removed = Child(self.registry[child_id], stop_state="no_active_attempt")
            self.children[child_id] = removed
        return self.children.get(child_id)

    def add_child(self, spec: ChildSpec) -> None:
        """Start a child that was not declared. Raises ValueError for an id that is taken."""
        if self.shutdown is not None:
            raise ValueError("the tree is shutting down")
        if spec.id in self.registry:
            raise ValueError(f"child {spec.id} exists already")
        self.registry[spec.id] = spec
        child = self.children[spec.id] = Child(spec)
        self._spawn(child)

    async def shutdown_tree(self, requested_by: str, reason: str) -> dict[str, Any]:
        """Stop everything and keep the process: blocks for the graceful timeout and the abort wait of stragglers."""
        if self.shutdown is not None:
            return {**self.shutdown, "idempotent": True, "report": {**self.shutdown["report"], "idempotent": True}}
        cause = {"requested_by": requested_by, "reason": reason}
        started_at = time.time_ns()
        # From here on the end of an attempt restarts nothing.
        self.shutdown = {}
        told = {child.spec.id: (child.generation, child.attempt) for child in self.children.values()}
        tasks = {child.spec.id: child.task for child in self.children.values() if child.task is not None}
        for child in self.children.values():
            if child.respawn is not None:
                child.respawn.cancel()
            self._cancel(child)
        if tasks:
            await asyncio.wait(tasks.values(), timeout=self.graceful_timeout)
        late = {child_id for child_id, task in tasks.items() if not task.done()}
        for child_id in late:
            tasks[child_id].cancel()
        if late:
            await asyncio.wait([tasks[child_id] for child_id in late], timeout=self.abort_wait)
        outcomes = []
        for child_id in reversed(self.declared):
            present = self.children.get(child_id)
            if child_id in tasks:
                status = "Graceful" if child_id not in late else "Aborted" if tasks[child_id].done() else "AbortFailed"
                exit_ = task_exit(tasks[child_id])
                generation, attempt = told[child_id]
            else:
                status, exit_ = "AlreadyExited", present.exit if present else None
                attempt = self._started.get(child_id, 0)
                generation = max(0, attempt - 1)
            outcomes.append(shutdown_outcome(child_id, generation or 0, attempt or 0, status, exit_))
        report = {
            "cause": cause,
            "started_at_unix_nanos": started_at,
            "completed_at_unix_nanos": time.time_ns(),
            "phase": "Completed",
            "outcomes": outcomes,
            "reconcile": {
                "registry_status": "Cleaned",
                "runtime_handle_status": "Cleaned",
                "journal_status": "Recorded",
                "metrics_status": "Recorded",
                "socket_status": "NotOwned",
                "orphan_slots": [],
                # The crate looks at nothing here and always says so: only the outcomes tell how it went.
                "total_slots_checked": 0,
                "verified_clean": True,
                "warnings": [],
            },
            "idempotent": False,
        }
        self.shutdown = {"phase": "Completed", "cause": cause, "idempotent": False, "report": report}
        return self.shutdown

    # --- what is told ---------------------------------------------------------------------------------------------

    def records(self) -> list[dict[str, Any]]:
        """``child_runtime_records``: declared children in their order, then the others."""
        declared = [self.children[child_id] for child_id in self.registry if child_id in self.children]
        others = [child for child_id, child in self.children.items() if child_id not in self.registry]
        return [
            {
                "child_id": child.spec.id,
                "child_path": child.path,
                "generation": child.generation,
                "attempt": child.attempt,
                "status": child.status,
                "operation": child.operation,
                "managed_child_state": MANAGED_STATE[child.operation],
                "liveness": child.liveness(),
                "restart_limit": child.restart_limit(),
                "stop_state": child.stop_state,
                "failure": child.failure,
                "generation_fence_phase": child.phase,
                "pending_restart": child.pending,
            }
            for child in (*declared, *others)
        ]

    def _outcome(
        self,
        child: Child,
        before: Operation,
        delivered: bool,
        *,
        idempotent: bool = False,
        restart_fence: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        return {
            "child_id": child.spec.id,
            "attempt": child.attempt,
            "generation": child.generation,
            "operation_before": before,
            "operation_after": child.operation,
            "managed_child_state_before": MANAGED_STATE[before],
            "managed_child_state_after": MANAGED_STATE[child.operation],
            "status": child.status,
            "cancel_delivered": delivered,
            "stop_state": child.stop_state,
            "restart_limit": child.restart_limit(),
            "liveness": child.liveness(),
            "idempotent": idempotent,
            "failure": child.failure,
            "generation_fence": restart_fence,
        }

    def _outcome_of_stranger(self, child_id: str, *, stop_state: str) -> dict[str, Any]:
        """Nobody of that name is there, and the command is accepted all the same."""
        stranger = Child(ChildSpec(child_id), stop_state=stop_state)
        return self._outcome(stranger, "active", False, idempotent=True)
