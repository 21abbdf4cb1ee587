"""Runs on the durable engine, DBOS: the only module that knows it (engine.md says why it, and what was measured).

One workflow per run. Its loop is small: take an event, ``decide``, save the new state together with everything there is
to say about it, begin or abort work, wait for the next event. Events come from the run's one mailbox (clicks,
deadlines) and from the work of its steps. Saving and performing are steps of the engine, checkpointed; whatever the
process did when it was killed is continued from there, with the deadlines of the original start.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
import structlog
from dbos import DBOS, DBOSConfig, Serializer, SetWorkflowID
from dbos import error as dbos_errors
from pydantic import TypeAdapter

from bot import store as tables
from bot.clock import Clock, Signal, first_of
from bot.incoming import Place
from bot.runs.decide import Decision, decide, next_due
from bot.runs.model import Begin, Event, Finished, Post, Prepared, Press, RunState, Tick, Work
from bot.runs.perform import Performer
from bot.store import Store, dumps

log = structlog.get_logger("opsbot.runs")

ENGINE_VERSION = "engine-1"  # a change of the workflow's steps needs another one (engine.md, section 8)
MAILBOX = "events"
FOREVER = 3650 * 86400.0
MOST_CONTINUATIONS = 5  # quick ones
SWEEP_EVERY = 5.0  # seconds
LONG_PAUSE = 300.0  # seconds

_events: TypeAdapter[Event] = TypeAdapter(Event)
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


class RunEngine:
    """Starts runs, takes what people press, keeps time."""

    def __init__(
        self, store: Store, clock: Clock, performer: Performer, speaker: Speaker, *, executor: str = "opsbot"
    ) -> None:
        self.store = store
        self.clock = clock
        self.performer = performer
        self.speaker = speaker
        self.changed = Signal()  # something to deliver
        self._time_changed = Signal()
        self._executor = executor
        self._aborts: dict[str, asyncio.Event] = {}
        self.working: set[str] = set()  # ids of the workflows that this process works on
        self._orphans: set[str] = set()
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
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        # What is cut off here goes on at the next start; its tracebacks would only frighten.
        logging.getLogger("dbos").setLevel(logging.CRITICAL)
        DBOS.destroy(workflow_completion_timeout_sec=0)

    # -- what people do

    async def start(self, run_id: str) -> None:
        """Begin the workflow of a stored run; doing it twice does nothing."""
        number = await self._continuation(run_id)
        with SetWorkflowID(_workflow_id(run_id, number)):
            await DBOS.start_workflow_async(run_workflow, run_id)

    async def send(self, run_id: str, event: Event, key: str) -> None:
        """Put an event into the run's mailbox; the same key is taken once."""
        number = await self._continuation(run_id)
        await DBOS.send_async(
            _workflow_id(run_id, number), event.model_dump(mode="json"), MAILBOX, idempotency_key=f"{run_id}:{key}"
        )

    async def press(self, run_id: str, press: Press, key: str) -> None:
        try:
            await self.send(run_id, press, key)
        except dbos_errors.DBOSNonExistentWorkflowError:  # stored, but not begun: the disk was full just then
            await self.start(run_id)
            await self.send(run_id, press, key)

    async def state(self, run_id: str) -> RunState | None:
        rows = await self.store.rows(sa.select(tables.runs.c.state).where(tables.runs.c.id == run_id))
        return RunState.model_validate_json(rows[0].state) if rows else None

    async def _continuation(self, run_id: str) -> int:
        rows = await self.store.rows(sa.select(tables.runs.c.continuation).where(tables.runs.c.id == run_id))
        return rows[0].continuation if rows else 0

    # -- for the workflow

    async def save(self, state: RunState, posts: tuple[Post, ...]) -> None:
        """Store the state and everything that is to be said about it, together. Never gives up, never raises.

        A workflow that fails for a full disk would be over for good; one that waits goes on when there is room.
        """
        pause = 0.5
        while True:
            try:
                await self._save(state, posts)
                break
            except (sa.exc.SQLAlchemyError, OSError) as error:
                log.error("the state of a run cannot be stored", run=state.plan.run_id, reason=tables.reason(error))
                await asyncio.sleep(pause)
                pause = min(30.0, pause * 2)
        if state.closed:
            self.performer.forget(state.plan.run_id)
        self.changed.set()
        self._time_changed.set()

    async def _save(self, state: RunState, posts: tuple[Post, ...]) -> None:
        run_id = state.plan.run_id
        is_open = not (state.closed and state.page is None)
        async with self.store.write() as connection:
            await connection.execute(
                tables.runs.update()
                .where(tables.runs.c.id == run_id, tables.runs.c.version <= state.version)
                .values(
                    version=state.version,
                    open=is_open,
                    status=state.status,
                    next_due=next_due(state),
                    state=state.model_dump_json(),
                )
            )
            cards = await connection.execute(
                sa.select(tables.cards.c.surface, tables.cards.c.link).where(tables.cards.c.run_id == run_id)
            )
            links = {row.surface: row.link for row in cards}
            for number, post in enumerate(posts):
                for said in self.speaker(state, post, number, links):
                    await connection.execute(
                        self.store.insert_new(tables.outbox).values(
                            key=said.key,
                            kind=said.kind,
                            surface=said.place.surface,
                            channel=said.place.channel,
                            thread=said.place.thread if said.kind == "page" else "",
                            run_id=run_id,
                            escalation=said.escalation,
                            body=dumps(said.body),
                            created_at=self.clock.now(),
                        )
                    )
            if state.closed:
                await connection.execute(tables.locks.delete().where(tables.locks.c.run_id == run_id))

    async def perform(self, state: RunState, work: Work) -> Prepared | Finished:
        abort = self._aborts.setdefault(state.plan.run_id, asyncio.Event())
        if work.kind == "prepare":
            return await self.performer.prepare(state, work, abort)
        return await self.performer.perform(state, work, abort)

    def abort(self, run_id: str) -> None:
        self._aborts.setdefault(run_id, asyncio.Event()).set()

    def forget(self, run_id: str) -> None:
        self._aborts.pop(run_id, None)
        self.performer.forget(run_id)

    # -- time

    async def _keep_time(self) -> None:
        """Tell every run when one of its deadlines has passed."""
        while True:
            try:
                wait = await self._send_ticks()
            except (sa.exc.SQLAlchemyError, OSError) as error:
                log.error("deadlines cannot be read", reason=tables.reason(error))
                wait = 5.0
            except Exception:  # whatever it is, the deadlines of all runs hang on this loop
                log.exception("deadlines cannot be kept")
                wait = 5.0
            await self._until_time_or_change(wait)

    async def _send_ticks(self) -> float:
        """Send what is due; seconds until the next deadline."""
        now = self.clock.now()
        rows = await self.store.rows(
            sa.select(tables.runs.c.id, tables.runs.c.next_due, tables.runs.c.version)
            .where(tables.runs.c.open, tables.runs.c.next_due.is_not(None))
            .order_by(tables.runs.c.next_due)
            .limit(500)
        )
        for row in rows:
            if row.next_due > now:
                return float((row.next_due - now).total_seconds())
            with contextlib.suppress(dbos_errors.DBOSNonExistentWorkflowError):  # its workflow is just being started
                await self.send(row.id, Tick(at=now), f"tick:{row.version}:{row.next_due.isoformat()}")
        return 60.0 if not rows else 1.0

    async def _until_time_or_change(self, seconds: float) -> None:
        """Until the clock has moved on by ``seconds`` or a run changed; looks again every few real seconds."""
        await first_of(self.clock.sleep(max(0.05, seconds)), self._time_changed.wait(5.0))

    # -- what a crash or a full disk left behind

    async def _sweep(self) -> None:
        """Start what was stored and never started, and continue what the engine gave up."""
        while True:
            try:
                await self._sweep_once()
            except (sa.exc.SQLAlchemyError, OSError) as error:
                log.error("open runs cannot be read", reason=tables.reason(error))
            except Exception:
                log.exception("open runs cannot be continued")
            await asyncio.sleep(SWEEP_EVERY)

    async def _sweep_once(self) -> None:
        rows = await self.store.rows(
            sa.select(tables.runs.c.id, tables.runs.c.continuation).where(tables.runs.c.open).limit(1000)
        )
        for row in rows:
            status = await DBOS.get_workflow_status_async(_workflow_id(row.id, row.continuation))
            if status is None:
                await self.start(row.id)
            elif status.status == "PENDING":
                await self._adopt(status.workflow_id)
            elif status.status in ("ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"):
                if row.continuation >= MOST_CONTINUATIONS and not self._is_time_to_continue(row.id):
                    continue
                log.warning("the engine gave up a run; it is continued from its stored state", run=row.id)
                async with self.store.write() as connection:
                    await connection.execute(
                        tables.runs.update().where(tables.runs.c.id == row.id).values(continuation=row.continuation + 1)
                    )
                await self.start(row.id)

    def _is_time_to_continue(self, run_id: str) -> bool:
        """A run that is given up again and again is continued only now and then; the cause may pass."""
        now = asyncio.get_running_loop().time()
        if run_id not in self._pausing:
            log.error("the engine gave up a run too often; it pauses", run=run_id, seconds=LONG_PAUSE)
        if now < self._pausing.setdefault(run_id, now + LONG_PAUSE):
            return False
        del self._pausing[run_id]
        return True

    async def _adopt(self, workflow_id: str) -> None:
        """Resume a workflow that ended without the engine being able to write that down: the disk was full.

        Only when two looks have found nobody at work on it: the first may have come just before it began.
        """
        if workflow_id in self.working:
            self._orphans.discard(workflow_id)
        elif workflow_id not in self._orphans:
            self._orphans.add(workflow_id)
        else:
            self._orphans.discard(workflow_id)
            log.warning("nobody works on a run; it is resumed", workflow=workflow_id)
            await DBOS.resume_workflow_async(workflow_id)

    async def problems(self) -> list[str]:
        """Runs that nobody works for at the moment."""
        return [f"Run {run_id} was given up by the engine again and again, and pauses" for run_id in self._pausing]


def _workflow_id(run_id: str, continuation: int) -> str:
    return run_id if continuation == 0 else f"{run_id}.{continuation}"


def _current() -> RunEngine:
    if _engine is None:
        raise RuntimeError("the engine is not launched")
    return _engine


@DBOS.step(name="opsbot.load")
async def _load(run_id: str) -> str:
    state = await _current().state(run_id)
    if state is None:
        raise LookupError(f"no run {run_id} is stored")
    return state.model_dump_json()


@DBOS.step(name="opsbot.save")
async def _save(state: RunState, posts: tuple[Post, ...]) -> int:
    await _current().save(state, posts)
    return state.version


@DBOS.step(name="opsbot.perform")
async def _perform(state: RunState, work: Work) -> dict[str, Any]:
    event = await _current().perform(state, work)
    return event.model_dump(mode="json")


@DBOS.workflow(name="opsbot.run", max_recovery_attempts=50)
async def run_workflow(run_id: str) -> str:
    """One run, from the state that was stored for it until it is closed and its page is acknowledged.

    Branches only on what is checkpointed: the loaded state, the results of steps, the mailbox, who won a wait.
    """
    workflow_id = DBOS.workflow_id or run_id
    _current().working.add(workflow_id)
    try:
        return await _run(run_id)
    finally:
        _current().working.discard(workflow_id)


async def _run(run_id: str) -> str:
    state = RunState.model_validate_json(await _load(run_id))
    mail = _mail()
    work: asyncio.Task[dict[str, Any]] | None = None
    try:
        if state.version == 0:
            decision = decide(state, Begin(at=state.plan.started_at))
        else:  # an earlier workflow of this run was given up by the engine
            decision = Decision(state, start=state.busy, abort=bool(state.cancelling and state.busy))
        while True:
            if decision.state.version != state.version:
                await _save(decision.state, decision.posts)
            state = decision.state
            if decision.start:
                work = asyncio.create_task(_perform(state, decision.start))
            if decision.abort:
                _current().abort(run_id)
            if state.closed and state.page is None:
                return state.status
            waiting: list[Awaitable[Any]] = [mail, work] if work else [mail]
            done, _ = await DBOS.asyncio_wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if work and work in done:  # first: what was done counts before what was asked meanwhile
                event = _events.validate_python(work.result())
                work = None
            else:
                message = mail.result()
                mail = _mail()
                if message is None:
                    continue
                event = _events.validate_python(message)
            decision = decide(state, event)
    finally:
        _current().forget(run_id)
        mail.cancel()
        with contextlib.suppress(BaseException):
            await mail


def _mail() -> asyncio.Task[Any]:
    return asyncio.create_task(DBOS.recv_async(MAILBOX, timeout_seconds=FOREVER))
