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
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog
from dbos import DBOS, DBOSConfig, Serializer, SetWorkflowID
from sqlalchemy.ext.asyncio import AsyncConnection
from ulid import ULID

from bot import store as tables
from bot.audit import AuditLog
from bot.clock import Clock, Signal, first_of
from bot.incoming import Place
from bot.runs.decide import Decision, decide, next_due
from bot.runs.durations import Durations
from bot.runs.escalation_rows import store_escalations
from bot.runs.mailbox import Letter, Mailbox
from bot.runs.model import Begin, Event, Finished, Post, Prepared, Press, RunState, Tick, Work
from bot.runs.paging import Paging
from bot.runs.perform import Performer
from bot.runs.trail import ignored, trail
from bot.runs.usual import learned
from bot.store import Store, dumps

log = structlog.get_logger("opsbot.runs")

T = TypeVar("T")

ENGINE_VERSION = "engine-2"  # of what a stint's arguments mean (engine.md, section 8)
MOST_DEATHS = 5  # of the process in one stint; then the engine gives it up
MOST_CONTINUATIONS = 5  # quick ones, of a run that was given up
SWEEP_EVERY = 5.0  # seconds
LONG_PAUSE = 300.0  # seconds
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


@dataclass(frozen=True, slots=True)
class Said:
    """One thing to say, drawn for one surface, ready for the outbox."""

    key: str
    kind: str  # thread, page
    place: Place
    body: Mapping[str, Any]
    escalation: int = 0


Speaker = Callable[[RunState, Post, int, Mapping[str, str]], list[Said]]
"""Draws one post of a run for every place where it has to be said.

``int`` is its number within the version; the mapping has the link to the run's card by surface.
"""


class MovedOn(Exception):
    """The stored run is not the one that was decided about: another process has worked on it."""


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
        self.speaker = speaker
        self.mailbox = Mailbox(store, clock)
        self.audit = AuditLog(store, clock)
        self.durations = Durations(store)
        self.changed = Signal()  # something to deliver
        self.ended = Signal()  # a target may be free
        self.clause_fired = Signal()  # something to fetch or to file
        self.paging = paging  # who is on call now: every event takes it along
        self._time_changed = Signal()
        self._next_look: datetime | None = None  # of the timekeeper
        self._executor = executor  # the same for every process on a database: it continues what the last one left
        self._stints: dict[str, _Stint] = {}
        self._suspects: set[str] = set()  # runs that the last look found unattended
        self._pausing: dict[str, float] = {}  # until when, on the loop's clock
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
        for work in (self._keep_time, self._sweep):
            self._tasks.add(asyncio.create_task(work(), name=f"opsbot {work.__name__}"))

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
        await self._wake(run_id)

    async def send(self, run_id: str, event: Event, key: str) -> None:
        """Store an event in the run's mailbox and have it read; the same key is taken once."""
        await self.mailbox.put(run_id, event, key)
        try:
            await self._wake(run_id)
        except Exception:  # it is stored, so the sweep has it read as soon as that is possible
            log.exception("an event is read later", run=run_id)

    async def press(self, run_id: str, press: Press, key: str) -> None:
        await self.send(run_id, press, key)

    async def state(self, run_id: str) -> RunState | None:
        rows = await self.store.rows(sa.select(tables.runs.c.state).where(tables.runs.c.id == run_id))
        return RunState.model_validate_json(rows[0].state) if rows else None

    # -- stints

    async def _wake(self, run_id: str) -> None:
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
                    letters.extend(await self._lasting(lambda: self.mailbox.unread(run_id)))
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
        state = await self._lasting(lambda: self.state(run_id))
        if state is None:
            raise LookupError(f"no run {run_id} is stored")
        return state

    async def _lasting(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do it as soon as the database can; a run that gave up for a full disk would hang."""
        pause = 0.5
        while True:
            try:
                return await work()
            except (sa.exc.SQLAlchemyError, OSError) as error:
                log.error("a run has to wait for the database", reason=tables.reason(error))
            await asyncio.sleep(pause)
            pause = min(30.0, pause * 2)

    # -- storing

    async def _save(self, before: RunState, event: Event, decision: Decision, letter: Letter | None) -> None:
        """Store the state and everything that is to be said about it, together. Raises ``MovedOn``."""
        after = decision.state
        store = partial(self._stored, before, event, decision, letter)
        await self._lasting(lambda: self.store.transaction(store))
        if after.version == before.version:
            return
        if after.closed:
            self.performer.forget(after.plan.run_id)
            self.ended.set()
        self.changed.set()
        self.clause_fired.set()
        due = next_due(after)
        if due and (self._next_look is None or due < self._next_look):
            self._time_changed.set()

    async def _stored(
        self,
        before: RunState,
        event: Event,
        decision: Decision,
        letter: Letter | None,
        connection: AsyncConnection,
    ) -> None:
        after, run_id, now = decision.state, decision.state.plan.run_id, self.clock.now()
        if letter:
            read = tables.events.update().where(tables.events.c.number == letter.number)
            await connection.execute(read.values(read=True))
        if after.version == before.version:
            if letter:
                await self.audit.add(connection, f"letter:{letter.number}", ignored(before, event))
            return
        stored = await connection.execute(
            tables.runs.update()
            .where(tables.runs.c.id == run_id, tables.runs.c.version == before.version)
            .values(
                version=after.version,
                open=not after.over,
                status=after.status,
                next_due=next_due(after),
                state=after.model_dump_json(),
                continuation=0,
            )
        )
        if stored.rowcount != 1:
            raise MovedOn
        if said := await self._said(connection, after, decision.posts):
            await connection.execute(self.store.insert_new(tables.outbox), said)
        await store_escalations(connection, self.store, after, now)
        if after.closed:
            await connection.execute(tables.locks.delete().where(tables.locks.c.run_id == run_id))
        await self.durations.add(connection, run_id, tuple(learned(before, after)), now)
        await self.audit.add(connection, f"run:{run_id}:{after.version}", trail(before, event, after))

    async def _said(
        self, connection: AsyncConnection, state: RunState, posts: tuple[Post, ...]
    ) -> list[dict[str, Any]]:
        """Every post, drawn for every place where it is said."""
        if not posts:
            return []
        cards = tables.cards
        found = await connection.execute(
            sa.select(cards.c.surface, cards.c.link).where(cards.c.run_id == state.plan.run_id)
        )
        links = {row.surface: row.link for row in found}
        return [
            self._row(state, each)
            for number, post in enumerate(posts)
            for each in self.speaker(state, post, number, links)
        ]

    def _row(self, state: RunState, said: Said) -> dict[str, Any]:
        return {
            "key": said.key,
            "kind": said.kind,
            "surface": said.place.surface,
            "channel": said.place.channel,
            "thread": said.place.thread if said.kind in ("page", "label") else "",
            "run_id": state.plan.run_id,
            "escalation": said.escalation,
            "body": dumps(said.body),
            "created_at": self.clock.now(),
        }

    # -- time

    async def _keep_time(self) -> None:
        """Have every run looked at when one of its deadlines has passed."""
        while True:
            try:
                wait = await self._wake_due()
            except (sa.exc.SQLAlchemyError, OSError) as error:
                log.error("deadlines cannot be read", reason=tables.reason(error))
                wait = 5.0
            except Exception:  # whatever it is, the deadlines of all runs hang on this loop
                log.exception("deadlines cannot be kept")
                wait = 5.0
            await self._until_time_or_change(wait)

    async def _wake_due(self) -> float:
        """Wake what is due; seconds until the next deadline."""
        now, self._next_look = self.clock.now(), None
        rows = await self.store.rows(
            sa.select(tables.runs.c.id, tables.runs.c.next_due)
            .where(tables.runs.c.open, tables.runs.c.next_due.is_not(None))
            .order_by(tables.runs.c.next_due)
            .limit(500)
        )
        for row in rows:
            if row.next_due > now:
                self._next_look = row.next_due
                return float((row.next_due - now).total_seconds())
            await self._wake(row.id)
        return 60.0 if not rows else 1.0

    async def _until_time_or_change(self, seconds: float) -> None:
        """Until the clock has moved on by ``seconds`` or a run changed; looks again every few real seconds."""
        await first_of(self.clock.sleep(max(0.05, seconds)), self._time_changed.wait(5.0))

    # -- what a crash or a full disk left behind

    async def _sweep(self) -> None:
        """Take up runs that want something and that nobody works on: the last net below the engine's own."""
        pause = 0.0  # what the last process left is taken up soon; the engine itself is quicker where it knows of it
        while True:
            await asyncio.sleep(pause)
            pause = min(SWEEP_EVERY, 1.0 + 2 * pause)
            try:
                await self._sweep_once()
            except (sa.exc.SQLAlchemyError, OSError) as error:
                log.error("open runs cannot be read", reason=tables.reason(error))
            except Exception:
                log.exception("open runs cannot be continued")

    async def _sweep_once(self) -> None:
        """Take up what two looks have found unattended: at the first, the engine may be just about to."""
        for run_id in [run_id for run_id, stint in self._stints.items() if stint.task is None]:
            if run_id in self._suspects:
                self._stints.pop(run_id)  # the engine was asked to begin it and has not
        unread = sa.select(tables.events.c.run_id).where(sa.not_(tables.events.c.read))
        rows = await self.store.rows(
            sa.select(tables.runs.c.id, tables.runs.c.continuation)
            .where(
                tables.runs.c.open,
                sa.or_(
                    tables.runs.c.status == "running",
                    tables.runs.c.next_due <= self.clock.now(),
                    tables.runs.c.id.in_(unread),
                ),
            )
            .limit(1000)
        )
        unattended = {row.id: row.continuation for row in rows if not self._is_attended(row.id)}
        for run_id in unattended.keys() & self._suspects:
            number = unattended[run_id]
            if number >= MOST_CONTINUATIONS and not self._is_time_to_continue(run_id):
                continue
            log.warning("nobody works on a run; it is taken up from its stored state", run=run_id)
            async with self.store.write() as connection:
                await connection.execute(
                    tables.runs.update().where(tables.runs.c.id == run_id).values(continuation=number + 1)
                )
            await self._wake(run_id)
        self._suspects = set(unattended)

    def _is_attended(self, run_id: str) -> bool:
        stint = self._stints.get(run_id)
        return stint is not None and stint.task is not None

    def _is_time_to_continue(self, run_id: str) -> bool:
        """A run that does not get on however often it is taken up is continued only now and then."""
        now = asyncio.get_running_loop().time()
        if run_id not in self._pausing:
            log.error("a run was given up too often; it pauses", run=run_id, seconds=LONG_PAUSE)
        if now < self._pausing.setdefault(run_id, now + LONG_PAUSE):
            return False
        del self._pausing[run_id]
        return True

    async def problems(self) -> list[str]:
        """Runs that nobody works for at the moment."""
        return [f"Run {run_id} was given up by the engine again and again, and pauses" for run_id in self._pausing]

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
