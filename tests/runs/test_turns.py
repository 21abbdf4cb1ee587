"""Whose turn it is, whatever happens in whatever order: one run per target, nobody overtaken, nobody forgotten."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from bot import store as tables
from bot.clock import ManualClock, Signal
from bot.incoming import Actor, Incoming
from bot.runs import queue
from bot.runs.freeze import Frozen, frozen, set_frozen, still_frozen
from bot.runs.locks import take
from bot.runs.model import Plan, RunState
from bot.store import Store
from tests.runs.plans import MANUAL, NOON, plan, row

TARGETS = ("worker-1", "worker-2")
Op = tuple[str, str, str]  # what, on which target, by whom


@dataclass
class Town:
    """The database and those who use it, without the engine: a run is a lock that somebody has to give back."""

    store: Store
    clock: ManualClock = field(default_factory=ManualClock)
    running: dict[str, str] = field(default_factory=dict)  # target -> run
    started: list[tuple[str, int]] = field(default_factory=list)  # target, place in the queue (0: it did not wait)
    cancelled: list[str] = field(default_factory=list)
    asked: int = 0

    def keeper(self) -> queue.QueueKeeper:
        async def take_over(run_id: str, _incoming: Incoming, _key: str) -> None:
            self.cancelled.append(run_id)

        async def tell(_connection: object, _state: RunState, _incoming: Incoming) -> None: ...

        news = Signal()
        return queue.QueueKeeper(
            self.store, self.clock, ended=news, arrived=news, changed=news, take_over=take_over, tell=tell
        )

    def plan_of(self, target: str, who: str) -> tuple[Plan, Incoming]:
        self.asked += 1
        made = plan(row("Do it", MANUAL))
        actor = Actor(surface="slack", id=who)
        run_id = f"01JD{self.asked:022}"
        where = made.target.model_copy(update={"name": target})
        made = made.model_copy(update={"run_id": run_id, "target": where, "actor": actor})
        text = f"/runs start it {target} --reason {self.asked}"
        key = f"slack:{self.asked}"
        return made, Incoming(key=key, actor=actor, place=made.place, text=text, received_at=NOON)

    async def start(self, target: str, who: str, *, entry: int = 0, how: str = "", die: bool = False) -> None:
        """As the dispatcher does it: one transaction; ``die``: the process is killed before it is committed."""
        made, incoming = self.plan_of(target, who)
        try:
            async with self.store.write() as connection:
                way = await still_frozen(self.store, connection) or await take(self.store, connection, made, entry)
                if way is None:
                    assert target not in self.running, "two runs on one target"
                elif entry:
                    await queue.put_back(connection, entry)
                elif how == "take over" and not isinstance(way, Frozen):
                    await queue.enqueue(
                        self.store, connection, made, incoming, incoming.text, cancels=way.run_id or "01JD"
                    )
                elif how:
                    await queue.enqueue(self.store, connection, made, incoming, incoming.text)
                if die:
                    raise KeyboardInterrupt
                if entry:
                    await connection.execute(
                        tables.inbox.update()
                        .where(tables.inbox.c.key.startswith(f"queued:{entry}:"))
                        .values(handled=True)
                    )
        except KeyboardInterrupt:
            return
        if way is None:
            self.running[target] = made.run_id
            self.started.append((target, entry))

    async def handle_inbox(self, *, die: bool = False) -> None:
        rows = await self.store.rows(sa.select(tables.inbox).where(~tables.inbox.c.handled))
        for each in rows:
            incoming = Incoming.model_validate_json(each.incoming)
            entry = queue.entry_of(incoming)
            target = next(name for name in TARGETS if name in incoming.text)
            await self.start(target, incoming.actor.id, entry=entry, die=die)

    async def end(self, target: str) -> None:
        run_id = self.running.pop(target, "")
        async with self.store.write() as connection:
            await connection.execute(tables.locks.delete().where(tables.locks.c.run_id == run_id))

    async def line(self, target: str) -> list[sa.Row[tuple[object, ...]]]:
        rows = await self.store.rows(sa.select(tables.queue).order_by(tables.queue.c.turn, tables.queue.c.number))
        return [each for each in rows if str(each.target).endswith(target)]

    async def does(self, op: Op) -> None:
        what, target, who = op
        cold = await frozen(self.store)
        before = len(self.started)
        match what:
            case "ask" | "queue" | "take over":
                waiting = await self.line(target)
                await self.start(target, who, how="" if what == "ask" else what)
                assert not (waiting and self.started[before:]), "somebody who waits was overtaken"
            case "end":
                await self.end(target)
            case "freeze" | "thaw":
                async with self.store.write() as connection:
                    await set_frozen(self.store, connection, Frozen(who, "why", NOON) if what == "freeze" else None)
            case "leave":
                for each in (await self.line(target))[-1:]:
                    async with self.store.write() as connection:
                        await queue.leave(connection, int(str(each.number)))
            case "sweep":
                await self.keeper().sweep()
            case "handle" | "killed":
                firsts = {name: [each.number for each in await self.line(name)][:1] for name in TARGETS}
                await self.handle_inbox(die=what == "killed")
                for target, entry in self.started[before:]:
                    assert [entry] == firsts[target], "not the first of the line"
        assert not (cold and self.started[before:]), "something was started although it is frozen"


async def history(store: Store, ops: list[Op]) -> None:
    town = Town(store)
    await store.open()
    for op in ops:
        await town.does(op)
    # In the end everybody who waits has their turn, once.
    waiting = [each.number for name in TARGETS for each in await town.line(name)]
    await town.does(("thaw", TARGETS[0], "U0BOB"))
    for _ in range(len(waiting) + 1):
        for name in TARGETS:
            await town.end(name)
        await town.does(("sweep", "", ""))
        await town.does(("handle", "", ""))
    assert [await town.line(name) for name in TARGETS] == [[], []]
    numbers = [entry for _, entry in town.started if entry]
    assert len(numbers) == len(set(numbers)), "a queued command was started twice"
    assert set(waiting) <= set(numbers)


WHAT = (
    "ask",
    "queue",
    "queue",
    "queue",
    "take over",
    "end",
    "end",
    "freeze",
    "thaw",
    "leave",
    "sweep",
    "sweep",
    "handle",
)
ops = st.tuples(
    st.sampled_from((*WHAT, "handle", "killed")), st.sampled_from(TARGETS), st.sampled_from(("U0ALICE", "U0BOB"))
)


@settings(max_examples=30, deadline=None)
@given(st.lists(ops, max_size=18))
def test_one_at_a_time_in_order_and_nobody_forgotten(moves: list[Op]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _with_store(Path(folder), lambda store: history(store, moves))


def test_two_who_come_at_the_same_moment(tmp_path: Path) -> None:
    """Twenty at once on one free target: one has it, the others stand in line, each with a place of their own."""

    async def rush(store: Store) -> None:
        town = Town(store)
        await store.open()
        await asyncio.gather(*(town.start("worker-1", f"U{number}", how="queue") for number in range(20)))
        assert [entry for _, entry in town.started] == [0]
        assert len(await town.line("worker-1")) == 19

    _with_store(tmp_path, rush)


def _with_store(folder: Path, work: Callable[[Store], Awaitable[None]]) -> None:
    async def run() -> None:
        store = Store(f"sqlite:///{folder / 'opsbot.db'}")
        try:
            await work(store)
        finally:
            await store.close()

    asyncio.run(run())
