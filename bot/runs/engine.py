"""Runs on the durable engine, DBOS: the only module that knows it (docs/runs.md says what it promises).

The truth about a run is its row. Whatever happens to a run, a click, a deadline, the end of a step, is decided by the
pure ``decide`` and stored in one transaction: the new state, what there is to say about it, the mark that the click was
read, the end of the lock. Nothing of it is recorded a second time.

What the engine does is to see that somebody works on a run. A *stint* is one of its workflows: it takes in everything
that has come, performs steps, and ends when the run has to wait for a person or for a time, so that a run that waits
costs a row and no more. The next event begins the next stint. The engine continues a stint whose process died, and
gives up one that takes the process with it again and again.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
from collections import deque
from collections.abc import Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog
from dbos import DBOS, DBOSConfig, Serializer, SetWorkflowID
from ulid import ULID

from bot.clock import Clock, Signal
from bot.runs.decide import Decision, decide, next_due
from bot.runs.mailbox import Letter, Mailbox
from bot.runs.model import Begin, Event, Finished, Prepared, Press, RunState, Tick, Work
from bot.runs.paging import Paging
from bot.runs.perform import Performer
from bot.runs.record import MovedOn, Record, Speaker, lasting
from bot.runs.sweep import Sweep
from bot.runs.timekeeper import Timekeeper
from bot.store import Store

log = structlog.get_logger("opsbot.runs")

ENGINE_VERSION = "engine-2"  # of what a stint's arguments mean (engine.md, section 8)
MOST_DEATHS = 5  # of the process in one stint; then the engine gives it up
STOP_GRACE = 5.0  # seconds that an action under way may take to end when the bot is stopped

_engine: RunEngine | None = None  # the engine of this process; the workflow function has to be a module's


class JsonSerializer(Serializer):
    """Readable rows, and no code in them."""

    def serialize(self, data: Any) -> str:
        if isinstance(data, BaseException):
            data = {"error": type(data).__name__, "text": str(data)}
        return json.dumps(data)

    def deserialize(self, serialized_data: str) -> Any:
        return json.loads(serialized_data)

    def name(self) -> str:
        return "opsbot_json"


@dataclass(slots=True)
class _Stint:
    """Who works on a run in this process. There is one at most for each run."""

    mail: bool = True  # there may be something to read, or a deadline has passed
    moved: asyncio.Event = field(default_factory=asyncio.Event)  # mail has come, or the work has ended
    abort: asyncio.Event = field(default_factory=asyncio.Event)  # for the work that is going on
    task: asyncio.Task[None] | None = None  # None: the engine has not begun it yet

    def wake(self) -> None:
        self.mail = True
        self.moved.set()


class RunEngine:
    """Starts runs, takes what people press, keeps time."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        performer: Performer,
        speaker: Speaker,
        *,
        executor: str = "opsbot",
        paging: Paging | None = None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.performer = performer
        self.mailbox = Mailbox(store, clock)
        self.record = Record(store, clock, speaker)
        self.audit = self.record.audit
        self.durations = self.record.durations
        self.timekeeper = Timekeeper(store, clock, self.wake)
        self.sweep = Sweep(store, clock, self)
        self.changed = Signal()  # something to deliver
        self.ended = Signal()  # a target may be free
        self.clause_fired = Signal()  # something to fetch or to file
        self.paging = paging  # who is on call now: every event takes it along
        self._executor = executor  # the same for every process on a database: it continues what the last one left
        self._stints: dict[str, _Stint] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # -- life

    async def launch(self, poll_seconds: float = 0.2) -> None:
        """Start the engine; runs that an earlier process left are continued."""
        global _engine
        _engine = self
        config: DBOSConfig = {
            "name": "opsbot",
            "system_database_url": self.store.engine_url,
            "application_version": ENGINE_VERSION,
            "executor_id": self._executor,
            "max_executor_threads": 16,
            "sys_db_pool_size": 8,
            "notification_listener_polling_interval_sec": poll_seconds,
            "serializer": JsonSerializer(),
            "console_log_level": "ERROR",
        }
        DBOS(config=config)
        DBOS.launch()
        for name, work in (("timekeeper", self.timekeeper.keep()), ("sweep", self.sweep.keep())):
            self._tasks.add(asyncio.create_task(work, name=f"opsbot {name}"))

    async def stop(self) -> None:
        """Actions under way get a moment to end. What is cut off then goes on at the next start, as after a crash."""
        await self.performer.journal.close(STOP_GRACE)
        logging.getLogger("dbos").setLevel(logging.CRITICAL)  # tracebacks of what is cut off would only frighten
        stints = [stint.task for stint in self._stints.values() if stint.task]
        for task in (*self._tasks, *stints):
            task.cancel()
        await asyncio.gather(*self._tasks, *stints, return_exceptions=True)
        self._tasks.clear()
        DBOS.destroy(workflow_completion_timeout_sec=0)

    # -- what people do

    async def start(self, run_id: str) -> None:
        """Begin to work on a stored run; doing it twice does nothing."""
        await self.wake(run_id)

    async def send(self, run_id: str, event: Event, key: str) -> None:
        """Store an event in the run's mailbox and have it read; the same key is taken once."""
        await self.mailbox.put(run_id, event, key)
        try:
            await self.wake(run_id)
        except Exception:  # it is stored, so the sweep has it read as soon as that is possible
            log.exception("an event is read later", run=run_id)

    async def press(self, run_id: str, press: Press, key: str) -> None:
        await self.send(run_id, press, key)

    async def state(self, run_id: str) -> RunState | None:
        return await self.record.state(run_id)

    # -- stints

    async def wake(self, run_id: str) -> None:
        """Have somebody look at the run: the stint that is at work, or a new one."""
        if stint := self._stints.get(run_id):
            stint.wake()
            return
        self._stints[run_id] = _Stint()
        try:
            with SetWorkflowID(f"{run_id}.{ULID()}"):
                await DBOS.start_workflow_async(run_workflow, run_id)
        except BaseException:
            if (stint := self._stints.get(run_id)) and stint.task is None:
                del self._stints[run_id]
            raise

    async def stint(self, run_id: str) -> None:
        """Work on a run until it waits; a second stint of the same run leaves the work to the first."""
        stint = self._stints.setdefault(run_id, _Stint())
        if stint.task is not None:
            stint.wake()
            return
        # In a context of its own: what it starts is not a part of this workflow.
        work = self._stint(run_id, stint)
        stint.task = asyncio.create_task(work, name=f"opsbot {run_id}", context=contextvars.Context())
        await stint.task

    async def _stint(self, run_id: str, stint: _Stint) -> None:
        work: asyncio.Task[Prepared | Finished] | None = None
        try:
            state = await self._loaded(run_id)
            letters: deque[Letter] = deque()
            ticked = -1  # the version that time has nothing to change about
            while True:
                event: Event
                letter: Letter | None = None
                if state.version == 0:
                    event = Begin(at=state.plan.started_at)
                elif work and work.done():  # what was done counts before what was asked meanwhile
                    event, work = work.result(), None
                elif letters:
                    letter = letters.popleft()
                    event = letter.event
                elif stint.mail:
                    stint.mail = False
                    letters.extend(await lasting(lambda: self.mailbox.unread(run_id)))
                    continue
                elif state.version != ticked and _is_due(state, self.clock.now()):
                    event, ticked = Tick(at=self.clock.now()), state.version
                elif work is None and state.busy:
                    stint.abort = asyncio.Event()
                    if state.stopping:
                        stint.abort.set()
                    work = asyncio.create_task(self.perform(state, state.busy, stint.abort))
                    work.add_done_callback(lambda _: stint.moved.set())
                    continue
                elif work:
                    await stint.moved.wait()
                    stint.moved.clear()
                    continue
                else:
                    return
                event = event.model_copy(update={"paging": self.paging})
                decision = decide(state, event)
                if letter or decision.state.version != state.version:
                    await self._save(state, event, decision, letter)
                state = decision.state
                if decision.abort:
                    stint.abort.set()
        except MovedOn:
            log.error("another process works on this run too; it is left alone", run=run_id)
            stint.abort.set()
        finally:
            # Nothing is awaited between the last look at the mail and this: whoever comes later finds nobody at work.
            self._stints.pop(run_id, None)
            if work:
                work.cancel()

    async def perform(self, state: RunState, work: Work, abort: asyncio.Event) -> Prepared | Finished:
        if work.kind == "prepare":
            return await self.performer.prepare(state, work, abort)
        return await self.performer.perform(state, work, abort)

    async def _loaded(self, run_id: str) -> RunState:
        state = await lasting(lambda: self.state(run_id))
        if state is None:
            raise LookupError(f"no run {run_id} is stored")
        return state

    async def _save(self, before: RunState, event: Event, decision: Decision, letter: Letter | None) -> None:
        """Store what was decided, and tell those who have something to do about it. Raises ``MovedOn``."""
        after = decision.state
        await self.record.save(before, event, decision, letter)
        if after.version == before.version:
            return
        if after.closed:
            self.performer.forget(after.plan.run_id)
            self.ended.set()
        self.changed.set()
        self.clause_fired.set()
        self.timekeeper.note(next_due(after))

    # -- who is looked after

    def is_attended(self, run_id: str) -> bool:
        stint = self._stints.get(run_id)
        return stint is not None and stint.task is not None

    def give_up(self, run_ids: Set[str]) -> None:
        for run_id in [run_id for run_id, stint in self._stints.items() if stint.task is None]:
            if run_id in run_ids:
                self._stints.pop(run_id)

    async def problems(self) -> list[str]:
        """Runs that nobody works for at the moment."""
        return await self.sweep.problems()

    async def forget_old(self, before: datetime) -> None:
        """Delete what the engine remembers of stints that ended before, and the events that were read."""
        await self.mailbox.forget(before)
        while ended := await DBOS.list_workflows_async(
            end_time=before.isoformat(), status=["SUCCESS", "ERROR", "CANCELLED"], limit=500,
            load_input=False, load_output=False,
        ):  # fmt: skip
            await DBOS.delete_workflows_async([each.workflow_id for each in ended])


def _is_due(state: RunState, now: datetime) -> bool:
    due = next_due(state)
    return due is not None and due <= now


def _current() -> RunEngine:
    if _engine is None:
        raise RuntimeError("the engine is not launched")
    return _engine


@DBOS.workflow(name="opsbot.run", max_recovery_attempts=MOST_DEATHS)
async def run_workflow(run_id: str) -> None:
    """One stint. Whatever it does is in the run's row, so it may be begun again at any point."""
    await _current().stint(run_id)
