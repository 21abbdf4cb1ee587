"""The composition root: settings in, a running bot out. The only module that knows everybody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy.engine import make_url

from bot import store as tables
from bot.access import Access
from bot.breakers import Breakers, Limits
from bot.clock import Clock, Signal, SystemClock
from bot.connections import Connections
from bot.delivery import Delivery
from bot.demo.rehearsal import Rehearsals
from bot.dispatch import Dispatcher
from bot.errors import SettingsError, Unavailable
from bot.forms import FormDesk
from bot.handler import Product
from bot.homes import Homes
from bot.housekeeping import Housekeeper
from bot.inbox import Inbox
from bot.incoming import Incoming, Place
from bot.leader import Leadership
from bot.loop_lag import LoopLag
from bot.metrics import Metrics
from bot.names import Names
from bot.page_delivery import PageDelivery
from bot.reactions import Reactions
from bot.redaction import Redactor, install, secrets_of
from bot.reports.alarms import Alarms
from bot.reports.commands import report_desks
from bot.reports.news import Notifier
from bot.reports.runner import Report, ReportRunner
from bot.repository_events import RepositoryEvents
from bot.runbooks.folders import RunbookFolders
from bot.runbooks.library import read_documents
from bot.runbooks.verify import Verified
from bot.runs.clause_work import ClauseWork
from bot.runs.commands import RunDesk
from bot.runs.engine import RunEngine
from bot.runs.freeze import frozen
from bot.runs.model import Plan
from bot.runs.perform import Connected, Performer
from bot.runs.queue import QueueKeeper
from bot.runs.speak import Speaker
from bot.runs.start import RunStarter
from bot.runs.verified import Verifier
from bot.runs.watchdog import Watchdog
from bot.settings import SECRETS, Settings
from bot.store import InstanceLock, Store
from bot.surfaces.port import HasIssues, Surface
from bot.web import application, serve

log = structlog.get_logger("opsbot")

T = TypeVar("T")
NAMES_OF_SECRETS = {f"{part}.{key}": name for part, keys in SECRETS.items() for key, name in keys.items()}


def installed_products() -> list[Product]:
    """Every product that is installed, by name."""
    found = sorted(entry_points(group="opsbot.handlers"), key=lambda entry: entry.name)
    return [entry.load() for entry in found]


def _password(url: str) -> dict[str, str]:
    password = make_url(url).password
    return {"database.url": str(password)} if password else {}


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
        redactor = Redactor(secrets_of(settings, NAMES_OF_SECRETS) | _password(settings.database.url))
        install(redactor)
        if redactor.too_short:
            log.warning("too short to be kept out of messages: use longer secrets", secrets=redactor.too_short)
        self.store = Store(settings.database.url)
        self.inbox = Inbox(self.store)
        self.repository_events = RepositoryEvents(self.store)
        self.metrics = Metrics(self.store)
        self.names = Names(settings.people)
        self.access = Access(
            settings.access.admins, settings.access.operators, settings.access.viewers, settings.people
        )
        self.port = settings.server.port
        limits = settings.breakers
        self.breakers = Breakers(self.clock, Limits(limits.failures, limits.seconds, limits.trials))
        self._poll = engine_poll_seconds
        self._threads = ThreadPoolExecutor(max_workers=16, thread_name_prefix="opsbot")
        self._stack = AsyncExitStack()
        self._connections = Connections(
            settings,
            self.products,
            self._stack,
            store=self.store,
            clock=self.clock,
            access=self.access,
            names=self.names,
            breakers=self.breakers,
            repository_events=self.repository_events,
            accept=self.accept,
            run_blocking=self.run_blocking,
        )
        self._checks, self._tasks = self._connections.checks, self._connections.tasks
        self._checks.append(("the database", self._store_problems))
        self._connections.notices.append(("the freeze", self._frozen))
        self.reactions: Reactions | None = None
        self._standby = ""  # why this bot only waits
        self._listening = False
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Set when another bot may lead: why. Whatever this one still does could be done twice, so it has to exit."""

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
            for name, each in (await self._connections.products()).items():
                self._checks.append((name, each.handler.problems))
            for name, surface in (await self._connections.surfaces(listen=False)).items():
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
            connected = await self._connections.products()
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
        self._stack.callback(self.inbox.close)
        if not self.store.path:
            await self._lead()
        await self.store.open()
        connected = await self._connections.products()
        folders = RunbookFolders(
            [connected[name].product for name in connected], self.settings.runbooks.paths, self.run_blocking
        )
        await folders.library()
        surfaces = await self._connections.surfaces()
        rehearsals = Rehearsals(self.products, self.clock, self.run_blocking)
        self._stack.push_async_callback(rehearsals.close)
        performer = Performer(
            self.store, self.clock, connected, rehearsals, self.repository_events if self.settings.github else None
        )
        slack = self.settings.slack
        escalation = Place(surface="slack", channel=slack.channel) if slack else None
        github = surfaces.get("github")
        issues = github if isinstance(github, HasIssues) else None
        starter = RunStarter(self.store, self.clock, self.settings, self.access, connected, issues)
        speaker = Speaker(surfaces, starter.places, escalation, self.names, label=self._attention_label)
        engine = RunEngine(self.store, self.clock, performer, speaker, paging=starter.paging)
        desk = RunDesk(
            engine,
            self.clock,
            self.access,
            self.names,
            folders=folders,
            connected=connected,
            surfaces=surfaces,
            channel=escalation,
        )
        reports = self._reports(connected, surfaces, engine, starter)
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
            reports=report_desks(reports, connected, self.clock, self.names),
            roles=self._connections.roles,
        )
        receiver = self._connections.receiver
        if receiver is not None:
            receiver.modals.desk = FormDesk(dispatcher)
            homes = Homes(desk, dispatcher.groups, receiver.publish_home, self.clock)
            receiver.homes = homes
            homes.start()
            self._stack.push_async_callback(homes.stop)
        pages = PageDelivery(
            self.store, self.clock, surfaces, speaker, self._page_places(escalation), self._unreachable
        )
        delivery = Delivery(
            self.store,
            self.clock,
            surfaces,
            engine.changed,
            self.names,
            pages=pages,
            fallback=escalation,
            progress=performer.progress,
            around=desk.around,
        )
        self.reactions = Reactions(self.store, self.clock, surfaces)
        clause_work = ClauseWork(self.store, self.clock, engine, performer, surfaces)
        watchdog = Watchdog(
            self.store,
            self.clock,
            speaker,
            self.settings.watchdog,
            place=escalation,
            others=pages.others,
            wake=engine.changed.set,
        )
        lag = LoopLag()
        self._tasks.append(asyncio.create_task(lag.run(), name="opsbot loop lag"))
        self.metrics.stall.set_function(lag.longest)
        self.metrics.alarms.set_function(lambda: len(watchdog.alarms))
        self.metrics.heartbeats.set_function(lambda: watchdog.heartbeats)
        self.metrics.looked_at.set_function(lambda: watchdog.looked_at.timestamp() if watchdog.looked_at else 0)
        admission = dispatcher.admission
        keeper = QueueKeeper(
            self.store,
            self.clock,
            ended=engine.ended,
            arrived=self.inbox.arrived,
            changed=engine.changed,
            take_over=admission.take_over,
            tell=admission.tell_end,
        )
        await engine.launch(self._poll)
        self._stack.push_async_callback(engine.stop)
        dispatcher.start()
        self._stack.push_async_callback(dispatcher.stop)
        keeper.start()
        self._stack.push_async_callback(keeper.stop)
        delivery.start()
        self._stack.push_async_callback(delivery.stop)
        self.reactions.start()
        self._stack.push_async_callback(self.reactions.stop)
        clause_work.start()
        self._stack.push_async_callback(clause_work.stop)
        watchdog.start()
        self._stack.push_async_callback(watchdog.stop)
        notifiers = self._notifiers(connected, surfaces, engine.changed)
        self._tasks += [asyncio.create_task(each.run(), name=f"opsbot news {each.name}") for each in notifiers]
        self._checks += [(f"the notifications {each.name}", each.problems) for each in notifiers]
        reports.start()
        self._stack.push_async_callback(reports.stop)
        house = Housekeeper(
            self.store, self.clock, self.settings, engine, reports, self.repository_events, self.products
        )
        house.start()
        self._stack.callback(house.stop)
        self._checks += [("the runs", engine.problems), ("the outbox", delivery.problems)]
        self._checks += [("the escalations", watchdog.problems), ("the clauses", clause_work.problems)]
        self._checks.append(("the reports", reports.problems))
        self._checks.append(("the runbooks", folders.problems))
        self._checks += [(name, each.handler.problems) for name, each in connected.items()]
        self._checks += [(name, surface.problems) for name, surface in surfaces.items()]
        self.engine, self.dispatcher, self.delivery, self.watchdog = engine, dispatcher, delivery, watchdog
        await house.tell_audit()
        await self._listen()

    def _page_places(self, escalation: Place | None) -> dict[str, Place]:
        """Where each surface takes pages that another one did not take; on GitHub an issue, opened when none is set."""
        places = {"slack": escalation} if escalation else {}
        if self.settings.github:
            issue = self.settings.escalation.issue
            repository = self.settings.github.repository
            places["github"] = Place(surface="github", channel=repository, thread=str(issue) if issue else "")
        return places

    def _unreachable(self, surface: str) -> str:
        """Why nothing is sent to a surface at the moment: its breaker is open. Empty when it is asked."""
        breaker = self.breakers.find(surface)
        if breaker is None or breaker.state != "open":
            return ""
        return f"the bot's breaker for {breaker.service} is open: {breaker.why}"

    def _attention_label(self, plan: Plan) -> str:
        """What an issue is labelled with while somebody is paged there; empty: nothing."""
        label = self.settings.escalation.label
        product = self.products.get(plan.target.product)
        return product.attention_label if label is None and product else label or ""

    async def _lead(self) -> None:
        """Lead the bots of this database; as long as another one does, stand by for it."""
        leadership = Leadership(self.store)
        self._stack.push_async_callback(leadership.close)
        if not await leadership.take():
            self._standby = "another opsbot holds the lock"
            await self._listen()
            await leadership.wait(self._stand_by)
            self._stand_by("it takes over just now")
            log.warning("this opsbot leads now")
        self._tasks.append(asyncio.create_task(self._keep_leading(leadership), name="opsbot leadership"))

    def _stand_by(self, why: str) -> None:
        self._standby = why

    async def _keep_leading(self, leadership: Leadership) -> None:
        self.lost.set_result(await leadership.keep())

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
            if self.reactions:
                self.reactions.news.set()
        return new

    # -- the rest

    async def _listen(self) -> None:
        """Answer over HTTP; a bot that stood by does so already."""
        if self._listening:
            self._standby = ""
            return
        app = application(
            self.metrics,
            self._checks,
            routes=self._connections.routes,
            standby=lambda: self._standby,
            notices=self._connections.notices,
        )
        try:
            runner, self.port = await serve(app, self.settings.server.host, self.settings.server.port)
        except OSError as error:
            raise SettingsError(
                f"server.port: {self.settings.server.host}:{self.settings.server.port} cannot be used: "
                f"{error.strerror or error}. Example: port = 8081"
            ) from error
        self._stack.push_async_callback(runner.cleanup)
        self._listening = True
        log.info("opsbot listens", host=self.settings.server.host, port=self.port)

    def _reports(
        self,
        connected: Mapping[str, Connected],
        surfaces: Mapping[str, Surface],
        engine: RunEngine,
        starter: RunStarter,
    ) -> ReportRunner:
        github = self.settings.github
        repository = github.repository if github else ""
        scheduled = [
            Report(name, each, connected[each.product], repository) for name, each in self.settings.reports.items()
        ]
        keep = timedelta(days=self.settings.history.keep_days)
        alarm = Alarms(self.store, self.clock, starter, self.settings)
        return ReportRunner(
            self.store,
            self.clock,
            scheduled,
            surfaces,
            engine.changed,
            self.names,
            alarm.raise_alarm,
            keep,
            partial(alarm.close_ended, engine.press),
        )

    def _notifiers(
        self, connected: Mapping[str, Connected], surfaces: Mapping[str, Surface], changed: Signal
    ) -> list[Notifier]:
        github = self.settings.github
        notifiers = []
        for name, each in self.settings.notifications.items():
            product = connected[each.product].product
            if product.news is None:
                raise SettingsError(f"notifications.{name}.product: {each.product} tells no news")
            if strange := [event for event in each.events if event not in product.news.events]:
                known = ", ".join(product.news.events)
                raise SettingsError(f"notifications.{name}.events: there is no {strange[0]!r}. Events: {known}")
            place = Place(surface="slack", channel=each.channel)
            if each.issue and github:
                place = Place(surface="github", channel=github.repository, thread=str(each.issue))
            notifiers.append(
                Notifier(
                    name,
                    product.title,
                    product.news,
                    connected[each.product].handler,
                    place,
                    each.events,
                    each.seconds,
                    store=self.store,
                    clock=self.clock,
                    surfaces=surfaces,
                    changed=changed,
                    repository=self.repository_events if github else None,
                )
            )
        return notifiers

    async def _frozen(self) -> list[str]:
        cold = await frozen(self.store)
        if cold is None:
            return []
        who, since = self.names(cold.actor), f"{cold.since:%Y-%m-%d %H:%M} UTC"
        return [f"New changing runs are frozen by {who} since {since}: {cold.reason}"]

    async def _store_problems(self) -> list[str]:
        problem = await self.store.problem()
        return [problem] if problem else []
