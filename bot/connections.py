"""What the bot talks to: the products, Slack and GitHub, connected as the settings say.

``Connections`` opens them for ``bot/app.py``; what it opens closes with the bot's exit stack.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import sqlalchemy as sa

from bot import store as tables
from bot.access import Access
from bot.breakers import Breakers
from bot.clock import Clock
from bot.dispatch import Roles
from bot.errors import SettingsError
from bot.handler import Product, Services
from bot.incoming import Incoming
from bot.memory import StoredMemory
from bot.names import Names
from bot.repository_events import RepositoryEvents
from bot.runs.perform import Connected
from bot.settings import Settings
from bot.store import Store
from bot.surfaces.port import Surface
from bot.web import Handle, Problems

if TYPE_CHECKING:  # importing bolt takes a moment, and a bot without Slack does without it
    from bot.surfaces.slack.app import SlackReceiver
    from bot.surfaces.slack.client import SlackSurface

T = TypeVar("T")
GITHUB_THREADS = 4


class RunBlocking(Protocol):
    """Runs a function in a thread."""

    async def __call__(self, function: Callable[..., T], /, *args: Any) -> T: ...


class Connections:
    """Opens each of them once.

    What they ask of the bot: ``checks`` (what ``/readyz`` asks), ``notices``, ``routes`` (of the web server, by name)
    and ``tasks`` that run until it stops. ``receiver`` is there when Slack is, ``roles`` when GitHub is.
    """

    def __init__(
        self,
        settings: Settings,
        products: Mapping[str, Product],
        stack: AsyncExitStack,
        *,
        store: Store,
        clock: Clock,
        access: Access,
        names: Names,
        breakers: Breakers,
        repository_events: RepositoryEvents,
        accept: Callable[[Incoming], Awaitable[bool]],
        run_blocking: RunBlocking,
    ) -> None:
        self._settings = settings
        self._installed = products
        self._stack = stack
        self._store = store
        self._clock = clock
        self._access = access
        self._names = names
        self._breakers = breakers
        self._repository_events = repository_events
        self._accept = accept
        self._run_blocking = run_blocking
        self._line: tuple[Any, Any] | None = None  # GitHub's connection and its pace, shared by everybody
        self.checks: list[tuple[str, Problems]] = []
        self.notices: list[tuple[str, Problems]] = []
        self.routes: dict[str, Handle] = {}
        self.tasks: list[asyncio.Task[None]] = []
        self.receiver: SlackReceiver | None = None
        self.roles: Roles | None = None

    async def products(self) -> dict[str, Connected]:
        github_get = github_api = None
        if self._settings.github is not None:
            from bot.surfaces.github.calls import RepositoryCalls
            from bot.surfaces.github.reading import reader

            connection, writes = self._github_line()
            github_get = reader(connection, self._settings.github.repository)
            github_api = RepositoryCalls(
                self._settings.github, connection, writes, clock=self._clock, run_blocking=self._run_blocking
            )
        connected = {}
        for name, section in self._settings.products.items():
            product = self._installed[name]
            services = Services(
                self._clock,
                self._run_blocking,
                self._settings.github,
                github_get,
                github_api,
                StoredMemory(self._store, name),
                self._breakers,
                self._names,
                self._repository_events if self._settings.github else None,
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

            if self._settings.github is None:
                raise SettingsError("github: is not configured")
            connection = Connection(self._settings.github, self._breakers.of(SERVICE))
            self._stack.callback(connection.close)
            self._line = connection, WriteLimiter(self._clock)
        return self._line

    async def surfaces(self, *, listen: bool = True) -> dict[str, Surface]:
        surfaces: dict[str, Surface] = {}
        if self._settings.slack:
            surfaces["slack"] = await self._slack(listen)
        if self._settings.github:
            surfaces["github"] = await self._github(listen)
        return surfaces

    async def _slack(self, listen: bool) -> Surface:
        from bot.surfaces.slack.app import SlackReceiver
        from bot.surfaces.slack.client import SERVICE, SlackSurface
        from bot.surfaces.slack.port import SlackPort
        from bot.surfaces.slack.socket import SlackSocket

        settings = self._settings.slack
        if settings is None:
            raise SettingsError("slack: is not configured")
        surface = SlackSurface(
            settings.bot_token.get_secret_value(),
            self._clock,
            api_url=settings.api_url,
            breaker=self._breakers.of(SERVICE),
        )
        await surface.start()
        self._stack.push_async_callback(surface.close)
        await self._user_groups(surface)
        receiver = SlackReceiver(
            signing_secret=settings.signing_secret.get_secret_value(),
            surface=surface,
            accept=self._accept,
            clock=self._clock,
            people=self._names.slack,
        )
        self._stack.push_async_callback(receiver.close)
        if not listen:
            self.checks.append(("Slack's channel", partial(surface.channel_problems, settings.channel)))
            if settings.mode == "socket":
                token = settings.app_token.get_secret_value()
                self.checks.append(("Slack's socket", partial(surface.connection_problems, token)))
        elif settings.mode == "socket":
            socket = SlackSocket(receiver, surface, settings.app_token.get_secret_value())
            await socket.start()
            self._stack.push_async_callback(socket.close)
            self.checks.append(("Slack's socket", socket.problems))
        else:
            self.routes["slack"] = receiver.handle
        self.receiver = receiver
        home = self._settings.github.home if self._settings.github else ""
        return SlackPort(surface, self._names.slack, home)

    async def _user_groups(self, surface: SlackSurface) -> None:
        from bot.surfaces.slack.groups import UserGroups

        if wanted := self._access.named_groups:
            groups = UserGroups(surface, self._clock, wanted)
            await groups.refresh()
            self._access.groups = groups
            self.checks.append(("Slack's user groups", groups.problems))
            self.tasks.append(asyncio.create_task(groups.run(), name="opsbot user groups"))

    async def _github(self, listen: bool) -> Surface:
        from bot.surfaces.github.client import GitHubSurface
        from bot.surfaces.github.poller import BEGAN, CommentPoller
        from bot.surfaces.github.port import GitHubPort
        from bot.surfaces.github.redelivery import Redelivery
        from bot.surfaces.github.roles import RepositoryRoles
        from bot.surfaces.github.webhook import GitHubWebhook

        settings = self._settings.github
        if settings is None:
            raise SettingsError("github: is not configured")
        # Threads of its own: a GitHub that hangs holds up what waits for GitHub, and nothing else.
        threads = ThreadPoolExecutor(max_workers=GITHUB_THREADS, thread_name_prefix="opsbot-github")
        self._stack.callback(threads.shutdown, wait=False, cancel_futures=True)

        async def run_blocking(function: Callable[..., T], /, *args: Any) -> T:
            return await asyncio.get_running_loop().run_in_executor(threads, partial(function, *args))

        connection, writes = self._github_line()
        surface = GitHubSurface(
            settings, clock=self._clock, run_blocking=run_blocking, connection=connection, writes=writes
        )
        self._stack.push_async_callback(surface.close)
        self.roles = RepositoryRoles(surface)
        if not listen:
            return GitHubPort(surface, self._names.github, settings)
        roots = ("runs", *self._installed)
        if settings.webhook_secret.get_secret_value():
            webhook = GitHubWebhook(
                secret=settings.webhook_secret.get_secret_value(),
                repository=settings.repository,
                roots=roots,
                accept=self._accept,
                accept_event=self._repository_events.add,
                clock=self._clock,
                run_blocking=run_blocking,
                own_login=lambda: surface.own_login,
            )
            self.routes["github"] = webhook.handle
        poller = CommentPoller(
            surface,
            roots=roots,
            accept=self._accept,
            load=self._load_cursor,
            save=self._save_cursor,
            clock=self._clock,
            run_blocking=run_blocking,
            seconds=settings.poll_seconds,
        )
        self.tasks.append(asyncio.create_task(poller.run(), name="opsbot github poller"))
        if "github" in self.routes:
            redelivery = Redelivery(surface, clock=self._clock, began=partial(self._load_cursor, BEGAN))
            self.tasks.append(asyncio.create_task(redelivery.run(), name="opsbot github redelivery"))
            self.notices.append(("GitHub's deliveries", redelivery.notices))
        return GitHubPort(surface, self._names.github, settings)

    async def _load_cursor(self, name: str) -> str:
        rows = await self._store.rows(sa.select(tables.cursors.c.value).where(tables.cursors.c.name == name))
        return rows[0].value if rows else ""

    async def _save_cursor(self, name: str, value: str) -> None:
        async with self._store.write() as connection:
            await connection.execute(self._store.insert_new(tables.cursors).values(name=name, value=value))
            await connection.execute(tables.cursors.update().where(tables.cursors.c.name == name).values(value=value))
