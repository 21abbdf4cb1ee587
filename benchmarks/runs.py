"""What a run costs beside the bare engine: a step, a run that waits for a person, 200 runs at once.

``make bench`` prints one table. Every measurement is a process of its own; ours and the bare engine's take turns, so
compare the ratios, not the milliseconds. ``--quick`` takes one turn instead of five.

*A step of ours* is everything that makes it one: decided, performed, its result, the new state and the drawn Slack
message stored, on the same kind of database; posting it is not in it. ``reads`` performs an action that only reads,
``changes`` shows a preview and journals its intent first. *The engine's* is one checkpointed step that does nothing.
*Waiting* is a run each in front of a manual step, without and with the libraries of the whole bot.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

STEPS = 20  # of a run
Figures = dict[str, float]


# -- the bare engine


def _bare_engine(folder: Path) -> Any:
    import sqlite3

    from dbos import DBOS, DBOSConfig

    with sqlite3.connect(folder / "engine.db") as database:  # as ours has it
        database.execute("PRAGMA journal_mode = WAL")
    config: DBOSConfig = {
        "name": "bare",
        "system_database_url": f"sqlite:///{folder}/engine.db",
        "application_version": "1",
        "max_executor_threads": 16,
        "console_log_level": "ERROR",
    }
    DBOS(config=config)
    DBOS.launch()
    return DBOS


async def engine_steps(folder: Path, runs: int, at_once: int) -> Figures:
    from dbos import DBOS

    @DBOS.step(name="nothing")
    async def nothing() -> None:
        return None

    @DBOS.workflow(name="steps")
    async def steps() -> None:
        for _ in range(STEPS):
            await nothing()

    engine = _bare_engine(folder)

    async def one() -> None:
        await (await engine.start_workflow_async(steps)).get_result()

    await one()
    return await _measured(one, runs, at_once)


async def engine_waiting(folder: Path, runs: int, at_once: int) -> Figures:
    from dbos import DBOS

    @DBOS.workflow(name="waits")
    async def waits() -> None:
        await DBOS.recv_async("person", timeout_seconds=86400)

    engine = _bare_engine(folder)

    async def one() -> None:
        await engine.start_workflow_async(waits)

    return await _waiting(one, runs, at_once)


# -- ours


class _Nothing:
    """A product whose actions do nothing."""

    async def inventory(self, kind: str) -> list[str]:
        return ["shelf-1"]

    async def observe(self, names: frozenset[str], target: Any, inputs: Mapping[str, str]) -> list[Any]:
        return []

    async def problems(self) -> list[str]:
        return []

    async def close(self) -> None:
        return None


class _Slack:
    """Draws as the real one does, and posts nothing."""

    name = "slack"

    def draw(self, message: Any) -> Any:
        from bot.surfaces.slack.blocks import draw

        return asdict(draw(message, {}))


class _Ours:
    """The engine of runs with everything below it, without surfaces that post."""

    def __init__(self, folder: Path, seconds: float = 0.0) -> None:
        from bot.clock import SystemClock
        from bot.commands.registry import CommandGroup
        from bot.handler import Action, ActionResult, Danger, Preview, Product, ProductSettings
        from bot.incoming import Place
        from bot.runs.engine import RunEngine
        from bot.runs.perform import Connected, Performer
        from bot.runs.speak import Speaker
        from bot.store import Store

        async def nothing(handler: Any, context: Any) -> ActionResult:
            if seconds:
                await asyncio.sleep(seconds)
            return ActionResult(status="done", summary="Nothing was done")

        async def shown(handler: Any, context: Any) -> Preview:
            return Preview(summary="does nothing")

        self.clock = SystemClock()
        self.store = Store(f"sqlite:///{folder}/opsbot.db")
        actions = (
            Action(name="reads", help="reads nothing", danger=Danger.READ, perform=nothing),
            Action(name="changes", help="changes nothing", danger=Danger.CHANGE, perform=nothing, preview=shown),
        )
        product = Product(
            name="shelf", title="Shelf", summary="", settings=ProductSettings, setup="", actions=actions,
            commands=CommandGroup("shelf", "Shelf"), connect=None,  # type: ignore[arg-type]  # nobody connects it
        )  # fmt: skip
        performer = Performer(self.store, self.clock, {"shelf": Connected(product, _Nothing())})
        here = Place(surface="slack", channel="C0OPS")
        slack: Any = _Slack()
        speaker = Speaker({"slack": slack}, lambda plan: [plan.place], here, lambda person: person)
        self.engine = RunEngine(self.store, self.clock, performer, speaker)
        self._left: dict[str, asyncio.Event] = {}

    async def open(self) -> None:
        await self.store.open()
        await self.engine.launch()

    async def start(self, action: str | None, steps: int = STEPS, budget: float = 60) -> str:
        """Store a run and begin it; its id."""
        from ulid import ULID

        from bot import store as tables
        from bot.handler import Danger, Target
        from bot.incoming import Actor, Place
        from bot.runbooks.model import Runbook, Step
        from bot.runs.decide import new_run, next_due
        from bot.runs.model import Plan

        run_id, now = str(ULID()), datetime.now(UTC)
        rows = tuple(
            Step(number=str(n + 1), text=f"Look at shelf {n}", action=action, budget=timedelta(seconds=budget))
            for n in range(steps)
        )
        danger = {"reads": Danger.READ, "changes": Danger.CHANGE, None: None}[action]
        plan = Plan(
            run_id=run_id,
            command="/shelf look",
            runbook=Runbook(id="shelf", title="Look at every shelf", product="shelf", steps=rows),
            target=Target(product="shelf", kind="shelf", name=f"shelf-{run_id}"),
            actor=Actor(surface="slack", id="U0ALICE"),
            place=Place(surface="slack", channel="C0OPS"),
            dangers=(danger,) * steps,
            started_at=now,
            deadline=now + timedelta(seconds=budget * steps),
        )
        state = new_run(plan)
        async with self.store.write() as connection:
            await connection.execute(
                tables.runs.insert().values(
                    id=run_id, key=run_id, version=0, open=True, status=state.status, next_due=next_due(state),
                    state=state.model_dump_json(), started_at=now,
                )
            )  # fmt: skip
        await self.engine.start(run_id)
        return run_id

    async def until(self, run_id: str, status: str) -> None:
        import sqlalchemy as sa

        from bot import store as tables

        query = sa.select(tables.runs.c.status).where(tables.runs.c.id == run_id)
        while (await self.store.rows(query))[0].status != status:
            await asyncio.sleep(0.02)


async def our_steps(folder: Path, runs: int, at_once: int, action: str = "reads") -> Figures:
    ours = _Ours(folder)
    await ours.open()

    async def one() -> None:
        await ours.until(await ours.start(action), "done")

    await one()
    return await _measured(one, runs, at_once)


async def our_changing_steps(folder: Path, runs: int, at_once: int) -> Figures:
    return await our_steps(folder, runs, at_once, "changes")


async def whole_waiting(folder: Path, runs: int, at_once: int) -> Figures:
    """With the libraries of the whole bot loaded, which need their memory with one run too."""
    import bot.app
    import bot.surfaces.slack.app  # noqa: F401

    return await our_waiting(folder, runs, at_once)


async def our_waiting(folder: Path, runs: int, at_once: int) -> Figures:
    ours = _Ours(folder)
    await ours.open()

    async def one() -> None:
        await ours.start(None, steps=3, budget=3600)

    return await _waiting(one, runs, at_once)


async def our_crowd(folder: Path, runs: int, at_once: int) -> Figures:
    """All at once: steps of 50 ms, budgets of 10 s; how many budgets were missed."""
    import sqlalchemy as sa

    from bot import store as tables
    from bot.loop_lag import collect_seldom

    ours = _Ours(folder, seconds=0.05)
    await ours.open()
    await ours.until(await ours.start("changes", steps=1), "done")  # what is imported and compiled once
    collect_seldom()  # as `opsbot run` does
    lag = asyncio.create_task(_lag())
    began = time.perf_counter()
    ids = await asyncio.gather(*(ours.start("changes", steps=5, budget=10) for _ in range(runs)))
    open_runs = sa.select(sa.func.count()).where(tables.runs.c.status != "done")
    while (await ours.store.rows(open_runs))[0][0]:
        await asyncio.sleep(0.1)
    took = time.perf_counter() - began
    states = [await ours.engine.state(each) for each in ids]
    late = sum(step.overdue or step.warned for state in states if state for step in state.steps)
    lags = await _stopped(lag)
    return {"seconds": took, "budgets missed": late, "lag p99 ms": _p99(lags), "longest stall ms": max(lags)}


# -- measuring


async def _measured(one: Callable[[], Awaitable[None]], runs: int, at_once: int) -> Figures:
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(runs // at_once):
        await asyncio.gather(*(one() for _ in range(at_once)))
    steps = runs * STEPS
    return {"ms": (time.perf_counter() - wall) / steps * 1000, "cpu ms": (time.process_time() - cpu) / steps * 1000}


async def _waiting(one: Callable[[], Awaitable[None]], runs: int, at_once: int) -> Figures:
    lag = asyncio.create_task(_lag())
    began = time.perf_counter()
    for _ in range(runs // at_once):
        await asyncio.gather(*(one() for _ in range(at_once)))
    took = time.perf_counter() - began
    await asyncio.sleep(3)
    starting = await _stopped(lag)
    lag, cpu = asyncio.create_task(_lag()), time.process_time()
    await asyncio.sleep(10)
    idle = time.process_time() - cpu
    return {
        "starts a second": runs / took,
        "RSS MB": _rss(),
        "lag p99 ms": _p99(await _stopped(lag)),
        "lag p99 ms, starting": _p99(starting),
        "idle CPU %": idle * 10,
    }


async def _lag() -> list[float]:
    """How late the loop is, every 5 ms, until it is cancelled; milliseconds."""
    found: list[float] = []
    try:
        while True:
            asked = time.perf_counter()
            await asyncio.sleep(0.005)
            found.append((time.perf_counter() - asked - 0.005) * 1000)
    except asyncio.CancelledError:
        return found


async def _stopped(task: asyncio.Task[list[float]]) -> list[float]:
    task.cancel()
    return await task


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


def _rss() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


CONTENDERS: dict[str, tuple[Callable[..., Awaitable[Figures]], int, int]] = {
    "engine: a step": (engine_steps, 20, 1),
    "ours: a step that reads": (our_steps, 20, 1),
    "ours: a step that changes": (our_changing_steps, 20, 1),
    "engine: 1,000 wait": (engine_waiting, 1000, 50),
    "ours: 1,000 wait": (our_waiting, 1000, 50),
    "ours, the whole bot: 1,000 wait": (whole_waiting, 1000, 50),
    "ours: 200 at once": (our_crowd, 200, 200),
}


def _child(name: str) -> None:
    measure, runs, at_once = CONTENDERS[name]
    with tempfile.TemporaryDirectory(prefix="opsbot-") as folder:
        figures = asyncio.run(_only(measure(Path(folder), runs, at_once)))
        print(json.dumps(figures), flush=True)
        os._exit(0)  # the engine's threads need not be waited for


async def _only(work: Awaitable[Figures]) -> Figures:
    return await work


def main(rounds: int, only: str = "") -> None:
    found: dict[str, list[Figures]] = {name: [] for name in CONTENDERS if only in name}
    for _ in range(rounds):
        for name in found:
            done = subprocess.run([sys.executable, __file__, "--child", name], stdout=subprocess.PIPE, check=True)
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
    medians = {
        name: {key: statistics.median(each[key] for each in measured) for key in measured[0]}
        for name, measured in found.items()
    }
    _show(medians)


def _show(medians: Mapping[str, Figures]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=120)
    for measured in ("step", "wait", "at once"):
        rows = {name: figures for name, figures in medians.items() if measured in name}
        if not rows:
            continue
        reference = next((figures for name, figures in rows.items() if name.startswith("engine")), None)
        table = Table("", *next(iter(rows.values())))
        for name, figures in rows.items():
            base = {} if figures is reference or reference is None else reference
            cells = [
                f"{value:.1f} ({value / base[key]:.2f}x)" if base.get(key) else f"{value:.1f}"
                for key, value in figures.items()
            ]
            table.add_row(name, *cells)
        console.print(table)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    if "--child" in sys.argv:
        _child(sys.argv[sys.argv.index("--child") + 1])
    else:
        main(1 if "--quick" in sys.argv else 5, sys.argv[sys.argv.index("--only") + 1] if "--only" in sys.argv else "")
