"""The composition root: settings in, a running bot out. The only module that knows everybody."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from sqlalchemy.engine import make_url
from ulid import ULID

from bot import __version__, reactions
from bot import store as tables
from bot.access import Access
from bot.audit import AuditLog
from bot.breakers import Breakers, Limits
from bot.chain import Entry
from bot.clock import Clock, Signal, SystemClock
from bot.delivery import Delivery
from bot.demo.rehearsal import Rehearsals
from bot.dispatch import Dispatcher, Roles
from bot.errors import SettingsError, Unavailable
from bot.forms import FormDesk
from bot.handler import Product, Services
from bot.homes import Homes
from bot.inbox import Inbox
from bot.incoming import Incoming, Place
from bot.leader import Leadership
from bot.memory import StoredMemory
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
from bot.store import InstanceLock, Store, dumps
from bot.surfaces.port import HasIssues, Surface
from bot.web import Handle, Problems, application, serve

if TYPE_CHECKING:  # importing bolt takes a moment, and a bot without Slack does without it
    from bot.surfaces.slack.app import SlackReceiver
    from bot.surfaces.slack.client import SlackSurface

log = structlog.get_logger("opsbot")

T = TypeVar("T")
NAMES_OF_SECRETS = {f"{part}.{key}": name for part, keys in SECRETS.items() for key, name in keys.items()}
GITHUB_THREADS = 4
KEEP_HANDLED = timedelta(days=30)  # commands and messages; runs stay


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
        self._line: tuple[Any, Any] | None = None  # its connection and its pace, shared by everybody
        self._poll = engine_poll_seconds
        self._threads = ThreadPoolExecutor(max_workers=16, thread_name_prefix="opsbot")
        self._stack = AsyncExitStack()
        self._checks: list[tuple[str, Problems]] = [("the database", self._store_problems)]
        self._roles: Roles | None = None
        self._notices: list[tuple[str, Problems]] = [("the freeze", self._frozen)]
        self._routes: dict[str, Handle] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.reactions: Reactions | None = None
        self._standby = ""  # why this bot only waits
        self._listening = False
        self._receiver: SlackReceiver | None = None
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
        self._stack.callback(self.inbox.close)
        if not self.store.path:
            await self._lead()
        await self.store.open()
        connected = await self._connect()
        folders = RunbookFolders(
            [connected[name].product for name in connected], self.settings.runbooks.paths, self.run_blocking
        )
        await folders.library()
        surfaces = await self._surfaces()
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
            roles=self._roles,
        )
        if self._receiver is not None:
            self._receiver.forms = FormDesk(dispatcher)
            homes = Homes(desk, dispatcher.groups, self._receiver.publish_home, self.clock)
            self._receiver.homes = homes
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
        self._housekeeping(reports)
        self._checks += [("the runs", engine.problems), ("the outbox", delivery.problems)]
        self._checks += [("the escalations", watchdog.problems), ("the clauses", clause_work.problems)]
        self._checks.append(("the reports", reports.problems))
        self._checks.append(("the runbooks", folders.problems))
        self._checks += [(name, each.handler.problems) for name, each in connected.items()]
        self._checks += [(name, surface.problems) for name, surface in surfaces.items()]
        self.engine, self.dispatcher, self.delivery, self.watchdog = engine, dispatcher, delivery, watchdog
        await self._tell_audit(engine.audit)
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

    async def _connect(self) -> dict[str, Connected]:
        github_get = github_api = None
        if self.settings.github is not None:
            from bot.surfaces.github.calls import RepositoryCalls
            from bot.surfaces.github.reading import reader

            connection, writes = self._github_line()
            github_get = reader(connection, self.settings.github.repository)
            github_api = RepositoryCalls(
                self.settings.github, connection, writes, clock=self.clock, run_blocking=self.run_blocking
            )
        connected = {}
        for name, section in self.settings.products.items():
            product = self.products[name]
            services = Services(
                self.clock,
                self.run_blocking,
                self.settings.github,
                github_get,
                github_api,
                StoredMemory(self.store, name),
                self.breakers,
                self.names,
                self.repository_events if self.settings.github else None,
            )
            handler = await product.connect(section, services)
            self._stack.push_async_callback(handler.close)
            connected[name] = Connected(product, handler)
        return connected

    def _github_line(self) -> tuple[Any, Any]:
        """One connection and one pace for all that goes to GitHub: it counts the writes of a token together."""
        if self._line is None:
            from bot.surfaces.github.connection import SERVICE, Connection
            from bot.surfaces.github.limiter import WriteLimiter

            if self.settings.github is None:
                raise SettingsError("github: is not configured")
            connection = Connection(self.settings.github, self.breakers.of(SERVICE))
            self._stack.callback(connection.close)
            self._line = connection, WriteLimiter(self.clock)
        return self._line

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

    async def _surfaces(self, *, listen: bool = True) -> dict[str, Surface]:
        surfaces: dict[str, Surface] = {}
        if self.settings.slack:
            surfaces["slack"] = await self._slack(listen)
        if self.settings.github:
            surfaces["github"] = await self._github(listen)
        return surfaces

    async def _slack(self, listen: bool) -> Surface:
        from bot.surfaces.slack.app import SlackReceiver
        from bot.surfaces.slack.client import SERVICE, SlackSurface
        from bot.surfaces.slack.port import SlackPort
        from bot.surfaces.slack.socket import SlackSocket

        settings = self.settings.slack
        if settings is None:
            raise SettingsError("slack: is not configured")
        surface = SlackSurface(
            settings.bot_token.get_secret_value(),
            self.clock,
            api_url=settings.api_url,
            breaker=self.breakers.of(SERVICE),
        )
        await surface.start()
        self._stack.push_async_callback(surface.close)
        await self._user_groups(surface)
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
        self._receiver = receiver
        return SlackPort(surface, self.names.slack)

    async def _user_groups(self, surface: SlackSurface) -> None:
        from bot.surfaces.slack.groups import UserGroups

        if wanted := self.access.named_groups:
            groups = UserGroups(surface, self.clock, wanted)
            await groups.refresh()
            self.access.groups = groups
            self._checks.append(("Slack's user groups", groups.problems))
            self._tasks.append(asyncio.create_task(groups.run(), name="opsbot user groups"))

    async def _github(self, listen: bool) -> Surface:
        from bot.surfaces.github.client import GitHubSurface
        from bot.surfaces.github.poller import BEGAN, CommentPoller
        from bot.surfaces.github.port import GitHubPort
        from bot.surfaces.github.redelivery import Redelivery
        from bot.surfaces.github.roles import RepositoryRoles
        from bot.surfaces.github.webhook import GitHubWebhook

        settings = self.settings.github
        if settings is None:
            raise SettingsError("github: is not configured")
        # Threads of its own: a GitHub that hangs holds up what waits for GitHub, and nothing else.
        threads = ThreadPoolExecutor(max_workers=GITHUB_THREADS, thread_name_prefix="opsbot-github")
        self._stack.callback(threads.shutdown, wait=False, cancel_futures=True)

        async def run_blocking(function: Callable[..., T], /, *args: Any) -> T:
            return await asyncio.get_running_loop().run_in_executor(threads, partial(function, *args))

        connection, writes = self._github_line()
        surface = GitHubSurface(
            settings, clock=self.clock, run_blocking=run_blocking, connection=connection, writes=writes
        )
        self._stack.push_async_callback(surface.close)
        self._roles = RepositoryRoles(surface)
        if not listen:
            return GitHubPort(surface, self.names.github, settings.api_url)
        roots = ("runs", *self.products)
        if settings.webhook_secret.get_secret_value():
            webhook = GitHubWebhook(
                secret=settings.webhook_secret.get_secret_value(),
                repository=settings.repository,
                roots=roots,
                accept=self.accept,
                accept_event=self.repository_events.add,
                clock=self.clock,
                run_blocking=run_blocking,
                own_login=lambda: surface.own_login,
            )
            self._routes["github"] = webhook.handle
        poller = CommentPoller(
            surface,
            roots=roots,
            accept=self.accept,
            load=self._load_cursor,
            save=self._save_cursor,
            clock=self.clock,
            run_blocking=run_blocking,
            seconds=settings.poll_seconds,
        )
        self._tasks.append(asyncio.create_task(poller.run(), name="opsbot github poller"))
        if "github" in self._routes:
            redelivery = Redelivery(surface, clock=self.clock, began=partial(self._load_cursor, BEGAN))
            self._tasks.append(asyncio.create_task(redelivery.run(), name="opsbot github redelivery"))
            self._notices.append(("GitHub's deliveries", redelivery.notices))
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
        """Answer over HTTP; a bot that stood by does so already."""
        if self._listening:
            self._standby = ""
            return
        app = application(
            self.metrics,
            self._checks,
            routes=self._routes,
            standby=lambda: self._standby,
            notices=self._notices,
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

    def _housekeeping(self, reports: ReportRunner) -> None:
        scheduler = AsyncIOScheduler(timezone="UTC")
        scheduler.add_job(reports.forget_old, "cron", hour=4, minute=27, misfire_grace_time=3600, coalesce=True)
        scheduler.add_job(self._forget_old, "cron", hour=4, minute=17, misfire_grace_time=3600, coalesce=True)
        scheduler.start()
        self._stack.callback(scheduler.shutdown, wait=False)

    async def _tell_audit(self, audit: AuditLog) -> None:
        """With which settings the bot works from now on; a head in the log of today proves the entries before it."""
        told = self.settings.model_dump(mode="json")
        configuration = hashlib.sha256(dumps(told).encode()).hexdigest()
        access = told["access"] | {"people": told["people"]}
        detail = {"version": __version__, "settings_sha256": configuration, "products": sorted(self.products), **access}
        await audit.note(f"bot:{ULID()}", Entry("bot.started", self.clock.now(), detail=detail))
        log.info("audit log", head=str(await audit.head()))

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
            await reactions.forget(connection, before)
        await self.repository_events.forget(before)
        await self.engine.forget_old(before)
        if self.settings.audit.keep_days:
            await self.engine.audit.prune(self.clock.now() - timedelta(days=self.settings.audit.keep_days))
        log.info("audit log", head=str(await self.engine.audit.head()))

    async def _frozen(self) -> list[str]:
        cold = await frozen(self.store)
        if cold is None:
            return []
        who, since = self.names(cold.actor), f"{cold.since:%Y-%m-%d %H:%M} UTC"
        return [f"New changing runs are frozen by {who} since {since}: {cold.reason}"]

    async def _store_problems(self) -> list[str]:
        problem = await self.store.problem()
        return [problem] if problem else []
