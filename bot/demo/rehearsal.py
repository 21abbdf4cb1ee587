"""``/runs start P1-002 worker-3 --drill --fault ignores-cancellation``: a product to rehearse on, made for one run.

Every drill has a simulation of its own, in this process and in a temporary folder, and a second handler that is
connected to that and to nothing else. Both go when the run ends. They do not survive a restart of the bot: the drill
then goes on with a new simulation in its first state, and says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from bot.clock import Clock
from bot.commands.nearest import nearest
from bot.demo.somas_projects import PROJECTS, ProjectWriter, generate
from bot.demo.somas_runner import SimulatedRunner
from bot.demo.supervised_process import (
    FAULTS,
    BindError,
    ChildSpec,
    Faults,
    ProcessConfig,
    SupervisedProcess,
    payment_children,
)
from bot.demo.supervised_process.child import Behaviour
from bot.errors import UserError
from bot.handler import BlockingRunner, Product, Services, Target
from bot.runbooks.model import Runbook
from bot.runs.model import Plan
from bot.runs.perform import Connected

log = structlog.get_logger("opsbot.drills")

CRASH_AFTER = 0.5  # seconds; a rehearsal should not wait long for a child to count as looping
GRACEFUL_TIMEOUT = 2.0  # seconds, nor for one that does not stop
BEHAVIOURS: Mapping[str, Behaviour] = {
    "crash-loop": "crash_loop",
    "ignores-cancellation": "ignores_cancellation",
    "slow-to-stop": "slow_to_stop",
}
OF_THE_CHILD = {
    "crash-loop": "the child dies again and again",
    "ignores-cancellation": "the child does not stop when it is told to",
    "slow-to-stop": "the child takes its time to stop",
}
OF_THE_PROCESS = {name: what for name, what in FAULTS.items() if name != "exit-after-command"}  # that one kills us
COMES_BACK_AFTER = 120.0  # seconds
NOT_RUNNING = {"not-running": "nothing listens at the socket for two minutes, then the process is there"}
OF_SOMAS = {
    "never-answers": "nothing takes the restarted project",
    "fails-again": "the restarted stage runs and fails again",
    "cut-state": "state.json is cut in the middle",
}


@dataclass
class Stage:
    """What a simulation is built with and into."""

    folder: Path
    target: Target
    faults: frozenset[str]
    clock: Clock
    run_blocking: BlockingRunner
    stack: AsyncExitStack  # closes what was started


@dataclass(frozen=True, slots=True)
class Simulated:
    """How a product is simulated. ``start`` returns its section of the configuration."""

    faults: Mapping[str, str]
    target: Callable[[str, str], Target]  # kind and name, which may be empty
    start: Callable[[Stage], Awaitable[dict[str, Any]]]


def _supervised(kind: str, name: str) -> Target:
    if kind == "child":
        return Target(product="supervisor", kind="child", name=name or "worker-3", scope="payments")
    return Target(product="supervisor", kind=kind or "target", name=name or "payments")


async def _start_process(stage: Stage) -> dict[str, Any]:
    is_child = stage.target.kind == "child"
    name = stage.target.scope if is_child else stage.target.name
    children = {spec.id: spec for spec in payment_children(crash_after=CRASH_AFTER)}
    subject = stage.target.name if is_child else "worker-3"
    if subject != "worker-3":  # nothing else goes wrong than what is rehearsed
        children["worker-3"] = ChildSpec("worker-3")
    behaviour = next((BEHAVIOURS[fault] for fault in BEHAVIOURS if fault in stage.faults), None)
    if behaviour or subject not in children:
        children[subject] = ChildSpec(subject, behaviour or "steady", crash_after=CRASH_AFTER)
    process = SupervisedProcess(
        ProcessConfig(
            socket=stage.folder / "process.sock",
            name=name,
            children=tuple(children.values()),
            graceful_timeout=GRACEFUL_TIMEOUT,
        ),
        Faults(active=set(stage.faults & OF_THE_PROCESS.keys())),
    )
    process.log_file = stage.folder / "process.log"
    process.log_file.touch()
    if NOT_RUNNING.keys() & stage.faults:
        starting = asyncio.create_task(_start_later(process, stage), name="simulated process of a drill")
        stage.stack.push_async_callback(_cancelled, starting)
    else:
        await process.start()
        stage.stack.push_async_callback(process.stop)
    target = {"socket": stage.folder / "process.sock", "log": process.log_file}
    return {"targets": {name: target}, "poll_seconds": 0}


async def _start_later(process: SupervisedProcess, stage: Stage) -> None:
    await stage.clock.sleep(COMES_BACK_AFTER)
    await process.start()
    stage.stack.push_async_callback(process.stop)


def _project(kind: str, name: str) -> Target:
    number = name.removeprefix("#").removeprefix("project-")
    if name and (not number.isascii() or not number.isdigit() or number.startswith("0")):
        raise UserError(f'"{name[:60]}" cannot be a project. A project is called project-<number>, like project-42.')
    return Target(product="somas", kind=kind or "project", name=f"project-{number}" if name else "project-42")


FAILS_AGAIN = {"type": "ValidationError", "message": "It failed again, because the drill wants that"}


async def _start_somas(stage: Stage) -> dict[str, Any]:
    root, project = stage.folder / "somas", stage.target.name
    now = stage.clock.now()

    def write() -> None:
        generate(root, now)
        if project not in PROJECTS:
            writer = ProjectWriter(root, project, now)
            PROJECTS["project-42"][0](writer, now)
            writer.save()
        if "cut-state" in stage.faults:
            state = root / ".somas" / "projects" / project / "state.json"
            state.write_bytes(state.read_bytes()[:1337])

    async def say(_: str) -> None:
        """The drill's own thread tells what happens."""

    await stage.run_blocking(write)
    if "never-answers" not in stage.faults:
        error = FAILS_AGAIN if "fails-again" in stage.faults else None
        runner = SimulatedRunner(root, stage.clock, say, projects=(project,), error=error)
        watching = asyncio.create_task(runner.watch(), name="simulated pipeline of a drill")
        stage.stack.push_async_callback(_cancelled, watching)
    return {"root": root}


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


SIMULATIONS: Mapping[str, Simulated] = {
    "supervisor": Simulated({**OF_THE_CHILD, **OF_THE_PROCESS, **NOT_RUNNING}, _supervised, _start_process),
    "somas": Simulated(OF_SOMAS, _project, _start_somas),
}


@dataclass
class _Drill:
    connected: Connected
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)


class Rehearsals:
    """The simulations of the drills that are going on: ``bot.runs.perform.Simulations``."""

    def __init__(
        self,
        products: Mapping[str, Product],
        clock: Clock,
        run_blocking: BlockingRunner,
        simulations: Mapping[str, Simulated] = SIMULATIONS,
    ) -> None:
        self._products = products
        self._clock = clock
        self._run_blocking = run_blocking
        self._simulations = simulations
        self._drills: dict[str, _Drill] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def target(self, book: Runbook, name: str) -> Target:
        """What the drill works on, as the simulation has it. Raises ``UserError``."""
        if not book.product:
            return Target(product="runbook", kind=book.target_kind or "runbook", name=name or book.id)
        return self._simulated(book.product).target(book.target_kind, name)

    def faults(self, product: str, names: Sequence[str]) -> tuple[str, ...]:
        """The names as the simulation has them. Raises ``UserError`` with what there is."""
        if not names:
            return ()
        if not product:
            raise UserError("A runbook without a product has no simulation, so nothing in it can be made to fail.")
        known = self._simulated(product).faults
        found = []
        for name in names:
            wanted = name.strip().lower().replace("_", "-")
            if wanted not in known:
                close = nearest(wanted, known)
                hint = f" Did you mean {' or '.join(close)}?" if close else ""
                listed = "; ".join(f"{each}: {what}" for each, what in known.items())
                raise UserError(f'The simulation has no fault "{name[:60]}".{hint} There are {listed}.')
            found.append(wanted)
        return tuple(dict.fromkeys(found))

    async def connected(self, plan: Plan) -> tuple[Connected | None, bool]:
        """The simulated product of this drill; started now when it is not there. Raises ``UserError``."""
        if plan.target.product not in self._products:
            return None, False
        drill = self._drills.get(plan.run_id)
        if drill is not None:
            return drill.connected, False
        drill = await self._start(plan)
        self._drills[plan.run_id] = drill
        return drill.connected, True

    def end(self, run_id: str) -> None:
        """Stop the run's simulation; it does not have to be waited for."""
        drill = self._drills.pop(run_id, None)
        if drill is not None:
            task = asyncio.create_task(self._close(run_id, drill), name=f"end of drill {run_id}")
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        for run_id in list(self._drills):
            self.end(run_id)
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _simulated(self, product: str) -> Simulated:
        simulated = self._simulations.get(product)
        if simulated is None:
            raise UserError(f"There is no simulation of {product}, so its runbooks cannot be rehearsed. Try --dry-run.")
        return simulated

    async def _start(self, plan: Plan) -> _Drill:
        product = self._products[plan.target.product]
        simulated = self._simulated(product.name)
        stack = AsyncExitStack()
        try:
            folder = Path(await self._run_blocking(lambda: tempfile.mkdtemp(prefix="opsbot-drill-")))
            stack.push_async_callback(self._run_blocking, _remove, folder)
            stage = Stage(folder, plan.target, frozenset(plan.faults), self._clock, self._run_blocking, stack)
            section = product.settings.model_validate(await simulated.start(stage))
            # Without GitHub and with nothing of the real configuration: what it cannot reach it cannot change.
            handler = await product.connect(section, Services(clock=self._clock, run_blocking=self._run_blocking))
            stack.push_async_callback(handler.close)
        except (OSError, BindError) as error:
            await stack.aclose()
            raise UserError(f"The simulation of {product.title} cannot be started: {error}") from error
        except BaseException:
            await stack.aclose()
            raise
        return _Drill(Connected(product, handler), stack)

    async def _close(self, run_id: str, drill: _Drill) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            try:
                await drill.stack.aclose()
            except Exception:
                log.exception("a simulation cannot be stopped", run=run_id)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
