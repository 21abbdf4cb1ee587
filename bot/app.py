"""The composition root: settings in, a running bot out. The only module that knows everybody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from bot import store as tables
from bot.access import Access
from bot.clock import Clock, SystemClock
from bot.delivery import Delivery
from bot.demo.rehearsal import Rehearsals
from bot.dispatch import Dispatcher
from bot.errors import SettingsError, Unavailable
from bot.handler import Product, Services
from bot.inbox import Inbox
from bot.incoming import Incoming, Place
from bot.metrics import Metrics
from bot.names import Names
from bot.runbooks.folders import RunbookFolders
from bot.runbooks.library import read_documents
from bot.runbooks.verify import Verified
from bot.runs.commands import RunDesk
from bot.runs.engine import RunEngine
from bot.runs.perform import Connected, Performer
from bot.runs.speak import Speaker
from bot.runs.start import RunStarter
from bot.runs.verified import Verifier
from bot.settings import Settings
from bot.store import DatabaseLock, InstanceLock, Store
from bot.surfaces.port import Surface
from bot.web import Handle, Problems, application, serve

log = structlog.get_logger("opsbot")

T = TypeVar("T")
KEEP_HANDLED = timedelta(days=30)  # commands and messages; runs stay


def installed_products() -> list[Product]:
    """Every product that is installed, by name."""
    found = sorted(entry_points(group="opsbot.handlers"), key=lambda entry: entry.name)
    return [entry.load() for entry in found]


class Bot:
    """A running bot. ``start`` raises ``SettingsError`` when it cannot run as it is configured."""

    def __init__(
        self,
        settings: Settings,
        products: Iterable[Product],
        *,
        clock: Clock | None = None,
        engine_poll_seconds: float = 0.2,
    ) -> None:
        self.settings = settings
        self.products = {product.name: product for product in products}
        self.clock = clock or SystemClock()
        self.store = Store(settings.database.url)
        self.inbox = Inbox(self.store)
        self.metrics = Metrics(self.store)
        self.names = Names(settings.people)
        self.access = Access(
            settings.access.admins, settings.access.operators, settings.access.viewers, settings.people
        )
        self.port = settings.server.port
        self._poll = engine_poll_seconds
        self._threads = ThreadPoolExecutor(max_workers=16, thread_name_prefix="opsbot")
        self._stack = AsyncExitStack()
        self._checks: list[tuple[str, Problems]] = [("the database", self._store_problems)]
        self._routes: dict[str, Handle] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def run_blocking(self, function: Callable[..., T], /, *args: Any) -> T:
        """In our own threads: the engine uses those of the loop."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(function, *args))

    # -- life

    async def start(self) -> None:
        """Open the database, connect the products, take up what was left, then listen."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def examine(self) -> list[tuple[str, list[str]]]:
        """Connect to everything without running anything: what is wrong, part by part (``opsbot doctor``)."""
        try:
            self._stack.push_async_callback(self.store.close)
            await self.store.open()
            for name, each in (await self._connect()).items():
                self._checks.append((name, each.handler.problems))
            for name, surface in (await self._surfaces(listen=False)).items():
                self._checks.append((name, surface.problems))
            return [(name, await check()) for name, check in self._checks]
        finally:
            await self.stop()

    async def verify(self, files: Sequence[Path] = ()) -> list[Verified]:
        """Compare documents with the products, without running anything (``opsbot runbook verify``).

        Without ``files``: every runbook that the bot knows. Raises ``UserError`` for a file that cannot be read.
        """
        try:
            self._stack.push_async_callback(self.store.close)
            await self.store.open()
            connected = await self._connect()
            folders = RunbookFolders(
                [connected[name].product for name in connected], self.settings.runbooks.paths, self.run_blocking
            )
            verifier = Verifier(self.store, self.clock, folders, connected)
            return await (verifier.files(read_documents(files)) if files else verifier.library())
        finally:
            await self.stop()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _start(self) -> None:
        if self.store.path:
            lock = InstanceLock(self.store.path)
            lock.take()
            self._stack.callback(lock.release)
        self._stack.push_async_callback(self.store.close)
        if not self.store.path:
            session = DatabaseLock(self.store)
            await session.take()
            self._stack.push_async_callback(session.release)
        await self.store.open()
        connected = await self._connect()
        folders = RunbookFolders(
            [connected[name].product for name in connected], self.settings.runbooks.paths, self.run_blocking
        )
        await folders.library()
        surfaces = await self._surfaces()
        rehearsals = Rehearsals(self.products, self.clock, self.run_blocking)
        self._stack.push_async_callback(rehearsals.close)
        performer = Performer(self.store, self.clock, connected, rehearsals)
        slack = self.settings.slack
        escalation = Place(surface="slack", channel=slack.channel) if slack else None
        starter = RunStarter(self.store, self.clock, self.settings, self.access, connected)
        speaker = Speaker(surfaces, starter.places, escalation, self.names)
        engine = RunEngine(self.store, self.clock, performer, speaker)
        desk = RunDesk(engine, self.clock, self.access, self.names, folders=folders, connected=connected)
        dispatcher = Dispatcher(
            inbox=self.inbox,
            clock=self.clock,
            access=self.access,
            products=self.products,
            connected=connected,
            folders=folders,
            desk=desk,
            engine=engine,
            starter=starter,
            performer=performer,
            surfaces=surfaces,
        )
        delivery = Delivery(
            self.store,
            self.clock,
            surfaces,
            engine.changed,
            self.names,
            fallback=escalation,
            progress=performer.progress,
        )
        await engine.launch(self._poll)
        self._stack.push_async_callback(engine.stop)
        dispatcher.start()
        self._stack.push_async_callback(dispatcher.stop)
        delivery.start()
        self._stack.push_async_callback(delivery.stop)
        self._housekeeping()
        self._checks += [("the runs", engine.problems), ("the outbox", delivery.problems)]
        self._checks.append(("the runbooks", folders.problems))
        self._checks += [(name, each.handler.problems) for name, each in connected.items()]
        self._checks += [(name, surface.problems) for name, surface in surfaces.items()]
        self.engine, self.dispatcher, self.delivery = engine, dispatcher, delivery
        await self._listen()

    async def _connect(self) -> dict[str, Connected]:
        github_get = None
        if self.settings.github is not None:
            from bot.surfaces.github.connection import Connection
            from bot.surfaces.github.reading import reader

            connection = Connection(self.settings.github)
            self._stack.callback(connection.close)
            github_get = reader(connection, self.settings.github.repository)
        services = Services(self.clock, self.run_blocking, self.settings.github, github_get)
        connected = {}
        for name, section in self.settings.products.items():
            product = self.products[name]
            handler = await product.connect(section, services)
            self._stack.push_async_callback(handler.close)
            connected[name] = Connected(product, handler)
        return connected

    # -- surfaces

    async def accept(self, incoming: Incoming) -> bool:
        """The durable front: everything that reaches the bot goes through here.

        Raises ``Unavailable`` when it cannot be stored; the text is the database's reason.
        """
        try:
            new = await self.inbox.accept(incoming)
        except sa.exc.SQLAlchemyError as error:
            raise Unavailable(tables.reason(error)) from error
        if new:
            self.metrics.accepted.labels(incoming.actor.surface).inc()
        return new

    async def _surfaces(self, *, listen: bool = True) -> dict[str, Surface]:
        surfaces: dict[str, Surface] = {}
        if self.settings.slack:
            surfaces["slack"] = await self._slack(listen)
        if self.settings.github:
            surfaces["github"] = await self._github(listen)
        return surfaces

    async def _slack(self, listen: bool) -> Surface:
        from bot.surfaces.slack.app import SlackReceiver
        from bot.surfaces.slack.client import SlackSurface
        from bot.surfaces.slack.port import SlackPort
        from bot.surfaces.slack.socket import SlackSocket

        settings = self.settings.slack
        if settings is None:
            raise SettingsError("slack: is not configured")
        surface = SlackSurface(settings.bot_token.get_secret_value(), self.clock, api_url=settings.api_url)
        await surface.start()
        self._stack.push_async_callback(surface.close)
        receiver = SlackReceiver(
            signing_secret=settings.signing_secret.get_secret_value(),
            surface=surface,
            accept=self.accept,
            clock=self.clock,
            people=self.names.slack,
        )
        self._stack.push_async_callback(receiver.close)
        if not listen:
            self._checks.append(("Slack's channel", partial(surface.channel_problems, settings.channel)))
            if settings.mode == "socket":
                token = settings.app_token.get_secret_value()
                self._checks.append(("Slack's socket", partial(surface.connection_problems, token)))
        elif settings.mode == "socket":
            socket = SlackSocket(receiver, surface, settings.app_token.get_secret_value())
            await socket.start()
            self._stack.push_async_callback(socket.close)
            self._checks.append(("Slack's socket", socket.problems))
        else:
            self._routes["slack"] = receiver.handle
        return SlackPort(surface, self.names.slack)

    async def _github(self, listen: bool) -> Surface:
        from bot.surfaces.github.client import GitHubSurface
        from bot.surfaces.github.poller import CommentPoller
        from bot.surfaces.github.port import GitHubPort
        from bot.surfaces.github.webhook import GitHubWebhook

        settings = self.settings.github
        if settings is None:
            raise SettingsError("github: is not configured")
        surface = GitHubSurface(settings, clock=self.clock, run_blocking=self.run_blocking)
        self._stack.push_async_callback(surface.close)
        if not listen:
            return GitHubPort(surface, self.names.github, settings.api_url)
        roots = ("runs", *self.products)
        if settings.webhook_secret.get_secret_value():
            webhook = GitHubWebhook(
                secret=settings.webhook_secret.get_secret_value(),
                repository=settings.repository,
                roots=roots,
                accept=self.accept,
                clock=self.clock,
                own_login=lambda: surface.own_login,
            )
            self._routes["github"] = webhook.handle
        poller = CommentPoller(
            surface,
            roots=roots,
            accept=self.accept,
            load=partial(self._load_cursor, "github comments"),
            save=partial(self._save_cursor, "github comments"),
            clock=self.clock,
            seconds=settings.poll_seconds,
        )
        self._tasks.append(asyncio.create_task(poller.run(), name="opsbot github poller"))
        return GitHubPort(surface, self.names.github, settings.api_url)

    async def _load_cursor(self, name: str) -> str:
        rows = await self.store.rows(sa.select(tables.cursors.c.value).where(tables.cursors.c.name == name))
        return rows[0].value if rows else ""

    async def _save_cursor(self, name: str, value: str) -> None:
        async with self.store.write() as connection:
            await connection.execute(self.store.insert_new(tables.cursors).values(name=name, value=value))
            await connection.execute(tables.cursors.update().where(tables.cursors.c.name == name).values(value=value))

    # -- the rest

    async def _listen(self) -> None:
        app = application(self.metrics, self._checks, routes=self._routes)
        try:
            runner, self.port = await serve(app, self.settings.server.host, self.settings.server.port)
        except OSError as error:
            raise SettingsError(
                f"server.port: {self.settings.server.host}:{self.settings.server.port} cannot be used: "
                f"{error.strerror or error}. Example: port = 8081"
            ) from error
        self._stack.push_async_callback(runner.cleanup)
        log.info("opsbot listens", host=self.settings.server.host, port=self.port)

    def _housekeeping(self) -> None:
        scheduler = AsyncIOScheduler(timezone="UTC")
        scheduler.add_job(self._forget_old, "cron", hour=4, minute=17, misfire_grace_time=3600, coalesce=True)
        scheduler.start()
        self._stack.callback(scheduler.shutdown, wait=False)

    async def _forget_old(self) -> None:
        """Delete what was handled long ago; what is still waiting stays, however old."""
        before = self.clock.now() - KEEP_HANDLED
        async with self.store.write() as connection:
            await connection.execute(
                tables.inbox.delete().where(tables.inbox.c.handled, tables.inbox.c.received_at < before)
            )
            await connection.execute(
                tables.outbox.delete().where(tables.outbox.c.status != "waiting", tables.outbox.c.created_at < before)
            )

    async def _store_problems(self) -> list[str]:
        problem = await self.store.problem()
        return [problem] if problem else []
