"""From an accepted command to its effect: parse, authorize, answer or start a run.

A command is handled when its effect is stored: the answer is in the outbox, or the run is in the database with the lock
of its target, in the same transaction that marks the command as handled.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Protocol

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import reactions
from bot import store as tables
from bot.access import Access
from bot.clock import Clock
from bot.commands import grammar, help
from bot.commands.existing import WhyMissing, check_existing
from bot.commands.pointer import IncompleteCommandError
from bot.commands.registry import Answer, Change, CommandContext, CommandGroup, Reply, Standing, StartRun
from bot.errors import UserError
from bot.handler import Danger, ExplainsMissing, KnowsIssues, Product
from bot.heard import Heard
from bot.inbox import LONGEST_WAIT_FOR_CALM, MOST_OF_ONE, Inbox
from bot.incoming import Actor, Incoming, Place
from bot.messages import Message, message
from bot.outbox import said_row
from bot.progress import Progress
from bot.redaction import redacted
from bot.reports.commands import ReportDesk
from bot.runbooks.folders import RunbookFolders
from bot.runs import queue
from bot.runs.admission import QUEUED, Admission
from bot.runs.commands import RunDesk, runs
from bot.runs.engine import RunEngine
from bot.runs.model import Plan
from bot.runs.on_issue import with_run
from bot.runs.perform import Connected, Performer
from bot.runs.start import RunStarter
from bot.runs.trail import started
from bot.surfaces.port import Surface

log = structlog.get_logger("opsbot.commands")

LONGEST_WAIT_FOR_ANSWERS = 30.0  # seconds; of somebody who has asked for twenty things at once

LOOKS_FOR_A_CARD, BETWEEN_LOOKS = 40, 0.05  # seconds

Store = Callable[[AsyncConnection], Awaitable[Answer | None]]
"""The part of an effect that happens in the transaction in which its command is marked as handled."""


class Roles(Protocol):
    """Knows the role that an actor has in GitHub's repository at this moment."""

    async def __call__(self, actor: Actor) -> Actor:
        """The actor with their role, without one for an error."""
        ...

    @property
    def trouble(self) -> str:
        """Why a role could not be told; empty when it could."""
        ...


class Dispatcher:
    """Handles what the inbox has accepted, in order for each person, side by side for different ones."""

    def __init__(
        self,
        *,
        inbox: Inbox,
        clock: Clock,
        access: Access,
        products: Mapping[str, Product],  # all, configured or not
        connected: Mapping[str, Connected],
        folders: RunbookFolders,
        desk: RunDesk,
        engine: RunEngine,
        starter: RunStarter,
        performer: Performer,
        surfaces: Mapping[str, Surface],
        reports: Mapping[str, ReportDesk],
        roles: Roles | None = None,
    ) -> None:
        self.inbox = inbox
        self.clock = clock
        self.access = access
        self.products = products
        self.connected = connected
        self.folders = folders
        self.desk = desk
        self.engine = engine
        self.starter = starter
        self.performer = performer
        self.surfaces = surfaces
        self.audit = engine.audit
        self.admission = Admission(engine, starter, performer, desk, access, surfaces)
        self.reports = reports
        self.roles = roles
        self.groups: dict[str, CommandGroup] = {
            "runs": runs,
            **{name: product.commands for name, product in products.items() if name in connected},
        }
        self.unconfigured = tuple(name for name in products if name not in connected)
        self._task: asyncio.Task[None] | None = None
        self._people: dict[str, asyncio.Task[None]] = {}

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="opsbot commands")

    async def stop(self) -> None:
        tasks = [task for task in (self._task, *self._people.values()) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                self._people = {person: task for person, task in self._people.items() if not task.done()}
                by_person: dict[str, list[Incoming]] = {}
                for incoming in await self.inbox.unhandled(besides=tuple(self._people)):
                    by_person.setdefault(str(incoming.actor), []).append(incoming)
                for person, commands in by_person.items():
                    self._people[person] = asyncio.create_task(self._handle_all(commands), name=f"opsbot {person}")
            except (sa.exc.SQLAlchemyError, OSError) as error:
                log.error("the inbox cannot be read", reason=tables.reason(error))
            except Exception:
                log.exception("the inbox cannot be read")
            await self.inbox.arrived.wait(2.0)
            await self.inbox.calm()  # a burst is read once, when it is over

    async def _handle_all(self, commands: list[Incoming]) -> None:
        if not await self._deal_with(commands):
            return  # tried again, but not at once and for ever
        if len(commands) == MOST_OF_ONE:
            await self._said(commands)
        self.inbox.arrived.set()  # there may be more of this person's

    async def _said(self, commands: list[Incoming]) -> None:
        """A flood is answered piece by piece: a channel takes one message a second, and others ask there too."""
        outbox, until = tables.outbox, asyncio.get_running_loop().time() + LONGEST_WAIT_FOR_ANSWERS
        answers = [f"answer:{incoming.key}" for incoming in commands]
        waiting = sa.select(outbox.c.key).where(outbox.c.key.in_(answers), outbox.c.status == "waiting").limit(1)
        with contextlib.suppress(sa.exc.SQLAlchemyError, OSError):
            while asyncio.get_running_loop().time() < until:
                if not await self.engine.store.rows(waiting):
                    return
                await asyncio.sleep(0.2)

    async def _deal_with(self, commands: list[Incoming]) -> bool:
        for incoming in commands:
            waited = (self.clock.now() - incoming.received_at).total_seconds()
            await self.inbox.calm(LONGEST_WAIT_FOR_CALM - waited)
            try:
                if await self.inbox.is_waiting(incoming.key):  # it was read before an earlier task dealt with it
                    await self.handle(incoming)
            except (sa.exc.SQLAlchemyError, OSError) as error:
                log.error("a command has to wait", key=incoming.key, reason=tables.reason(error))
                return False  # it stays in the inbox
            except Exception:
                log.exception("a command cannot be handled", key=incoming.key)
                return False
        return True

    async def handle(self, incoming: Incoming) -> None:
        """Do what was asked, and store what came of it."""
        if self.roles is not None and self.access.asks_for_roles:
            incoming = incoming.model_copy(update={"actor": await self.roles(incoming.actor)})
        heard = Heard(incoming)
        reply: Answer | None
        store: Store | None = None
        progress = Progress(self.clock, self.surfaces.get(incoming.place.surface), incoming.place, incoming.key)
        try:
            async with progress:
                asked, invocation = await self._reply(incoming, heard, progress)
            reply, store = await self._effect(asked, invocation, incoming, heard)
        except UserError as error:
            heard.refused(error.message)
            log.info("a command was refused", id=incoming.reference, key=incoming.key, reason=error.message)
            reply = Answer(help.error_message(error, incoming.reference, self._form_of(error, incoming)), private=True)
        except (sa.exc.SQLAlchemyError, OSError):
            raise
        except Exception:
            number = incoming.reference
            log.exception("a command failed unexpectedly", id=number, text=incoming.text)
            heard.outcome, heard.why = "failed", f"the log has it under {number}"
            reply = Answer(
                message(f"Something went wrong inside opsbot, and nothing was started. The log has it under {number}."),
                private=True,
            )
        entry = queue.entry_of(incoming)

        async def settle(connection: AsyncConnection, reply: Answer | None) -> None:
            if reply is not None:
                await self._say(
                    connection, incoming, replace(reply, private=reply.private and not entry), progress.remote_id
                )
            if entry:
                await queue.drop(connection, entry)
            await self._handled(connection, incoming)
            await reactions.became(connection, incoming, heard.outcome, heard.run_id)
            await self.audit.add(connection, f"command:{incoming.key}", [heard.entry(self.clock.now())])

        if store is None:
            await self.engine.store.transaction(partial(settle, reply=reply))
        else:  # a product's own part may wait for whatever it likes
            async with self.engine.store.write() as connection:
                await settle(connection, await store(connection))
        self.engine.changed.set()

    def _form_of(self, error: UserError, incoming: Incoming) -> str:
        """The command whose form asks for what is missing, where there are forms and for who may give it."""
        if not isinstance(error, IncompleteCommandError) or incoming.place.surface != "slack":
            return ""
        command = self.groups[error.root].commands[error.verb]
        return error.typed.strip() if self.access.allows(incoming.actor, command.level) else ""

    # -- understanding

    async def _reply(
        self, incoming: Incoming, heard: Heard, progress: Progress | None = None
    ) -> tuple[Reply, grammar.Invocation | None]:
        """What the command asks for, and the command itself when it was understood and is allowed."""
        text = await self._in_issue(await self._whole_command(incoming), incoming.place)
        parsed = grammar.parse(text, self.groups, self.unconfigured)
        heard.understood(parsed)
        if isinstance(parsed, grammar.HelpWanted):
            shown = help.help_message(parsed, self.groups, list(self.products.values()), self.access.who)
            return Answer(shown, private=True), None
        level = parsed.command.level
        if not self.access.allows(incoming.actor, level):
            heard.refused(f"needs {level}")
            trouble = self.roles.trouble if self.roles else ""
            log.info("a command was refused", id=incoming.reference, key=incoming.key, reason=heard.why)
            told = self.access.refusal(incoming.actor, level, parsed.line, trouble)
            return Answer(
                replace(told, blocks=(*told.blocks, help.number_note(incoming.reference))), private=True
            ), None
        heard.without_secrets()
        connected = self.connected.get(parsed.group.root)
        handler = connected.handler if connected else self.desk
        parsed = await check_existing(parsed, handler.inventory, _why_missing(handler))
        heard.understood(parsed)
        context = CommandContext(
            actor=incoming.actor,
            place=incoming.place,
            clock=self.clock,
            handler=handler,
            runbooks=(await self.folders.library()).for_product(parsed.group.root),
            incoming=incoming,
            reports=self.reports.get(parsed.group.root),
            progress=progress,
        )
        return await parsed.call(context), parsed

    async def judge(self, incoming: Incoming) -> Message | None:
        """What would be refused of this command, as an answer or as a ``UserError``; None for what can be done.

        Nothing is done: a changing command only looks and says what it asks for, one that reads is not called.
        """
        text = await self._whole_command(incoming)
        parsed = grammar.parse(text, self.groups, self.unconfigured)
        if isinstance(parsed, grammar.Invocation) and parsed.command.danger is Danger.READ:
            connected = self.connected.get(parsed.group.root)
            if self.access.allows(incoming.actor, parsed.command.level):
                handler = connected.handler if connected else self.desk
                await check_existing(parsed, handler.inventory, _why_missing(handler))
                return None
        asked, _ = await self._reply(incoming, Heard(incoming))
        refused = isinstance(asked, Answer) and asked.private and isinstance(parsed, grammar.Invocation)
        return asked.message if refused and isinstance(asked, Answer) else None

    async def _whole_command(self, incoming: Incoming) -> str:
        """The command with its root: in a run's thread ``@opsbot ack`` means that run."""
        address, _, said = incoming.text.partition(" ")  # "/runs" or "@opsbot" before it
        place = incoming.place
        if place.surface == "github" and place.thread and said and address in ("/runs", "@opsbot"):
            return await with_run(self.engine.store, place, said, self.groups, self.unconfigured)
        if incoming.text.startswith("/"):
            return incoming.text
        run_id = await self.run_of_thread(incoming.place)
        if run_id:
            return grammar.thread_line(said, run_id, self.groups, self.unconfigured)
        return grammar.mention_line(said, self.groups, self.unconfigured)

    async def _in_issue(self, text: str, place: Place) -> str:
        """In the issue of a project ``/somas restart`` means that project: the command with its name."""
        if place.surface != "github" or not place.thread.isdecimal():
            return text
        wanted = grammar.unnamed(text, self.groups)
        connected = self.connected.get(wanted.root) if wanted else None
        if wanted is None or connected is None or not isinstance(connected.handler, KnowsIssues):
            return text
        name = await connected.handler.name_for_issue(wanted.kind, int(place.thread))
        return wanted.line(name) if name else text

    async def run_of_thread(self, place: Place) -> str:
        """The run whose card, or whose page, the thread hangs on; empty when it is another thread.

        Somebody may answer a card before Slack has told us its id: then that is waited for, for two seconds at most.
        """
        if not place.thread:
            return ""
        for _ in range(LOOKS_FOR_A_CARD):
            if run_id := await self._known_run_of_thread(place):
                return run_id
            if not await self._posting_in(place):
                return await self._known_run_of_thread(place)
            await asyncio.sleep(BETWEEN_LOOKS)
        return ""

    async def _known_run_of_thread(self, place: Place) -> str:
        cards, outbox = tables.cards, tables.outbox
        rows = await self.engine.store.rows(
            sa.select(cards.c.run_id)
            .where(
                cards.c.surface == place.surface,
                cards.c.channel == place.channel,
                sa.or_(cards.c.remote_id == place.thread, cards.c.thread == place.thread),
            )
            .order_by(cards.c.run_id.desc())
            .limit(1)
        ) or await self.engine.store.rows(
            sa.select(outbox.c.run_id)
            .where(
                outbox.c.kind == "page",
                outbox.c.surface == place.surface,
                outbox.c.channel == place.channel,
                outbox.c.remote_id == place.thread,
            )
            .limit(1)
        )
        return str(rows[0].run_id) if rows else ""

    async def _posting_in(self, place: Place) -> bool:
        """Whether a card or a page is on its way into this channel, and its id not known yet."""
        for table in (tables.cards, tables.outbox):
            under_way = sa.select(table.c.run_id).where(
                table.c.surface == place.surface,
                table.c.channel == place.channel,
                table.c.remote_id == "",
                table.c.attempts > 0,
                table.c.problem == "",
            )
            if table is tables.outbox:
                under_way = under_way.where(table.c.kind == "page", table.c.status == "waiting")
            if await self.engine.store.rows(under_way.limit(1)):
                return True
        return False

    # -- effects

    async def _effect(
        self, asked: Reply, invocation: grammar.Invocation | None, incoming: Incoming, heard: Heard
    ) -> tuple[Answer | None, Store | None]:
        """Do what is asked for, or only show it: what to answer, and what else is stored together with the answer."""
        standing = invocation.standing if invocation else Standing()
        match asked:
            case StartRun() if standing.dry_run or asked.dry_run:
                heard.outcome = "dry_run"
                return await self.admission.dry_run(asked, incoming), None
            case StartRun():
                return await self._start(asked, incoming, heard, invocation), None
            case Change() if standing.dry_run:
                heard.outcome = "dry_run"
                return Answer(asked.shows, private=True), None
            case Change():
                heard.outcome = "sent" if asked.send else "done"
                if asked.send:
                    await asked.send()
                return None, asked.store
            case Answer():
                return asked, None
        if standing.dry_run:  # a command does nothing itself: it says what it asks for
            raise RuntimeError("a changing command neither asked for anything nor answered")
        return None, None

    async def _start(
        self, request: StartRun, incoming: Incoming, heard: Heard, invocation: grammar.Invocation | None
    ) -> Answer | None:
        """Store the run together with the mark that its command is handled, then begin it."""

        async def handled(connection: AsyncConnection, plan: Plan) -> None:
            await self._handled(connection, incoming)
            heard.outcome, heard.run_id = "started", plan.run_id
            await reactions.became(connection, incoming, "started", plan.run_id)
            told = [heard.entry(self.clock.now()), started(plan, incoming.key)]
            await self.audit.add(connection, f"command:{incoming.key}", told)

        command = invocation.plain_line if invocation else incoming.text
        standing = invocation.standing if invocation else Standing()
        answer, why = await self.admission.start(request, incoming, command, standing, handled)
        if why == QUEUED:
            heard.outcome = "queued"
        elif why:
            heard.refused(why)
        return answer

    async def _say(self, connection: AsyncConnection, incoming: Incoming, answer: Answer, progress: str) -> None:
        """``progress``: the message that showed it; a public answer takes its place."""
        surface = self.surfaces.get(incoming.place.surface)
        if surface is None:
            return
        address = {"response_url": incoming.response_url, "user": incoming.actor.id, "replaces": progress}
        row = said_row(
            f"answer:{incoming.key}",
            "private" if answer.private else "answer",
            incoming.place,
            surface.draw(redacted(answer.message)),
            address,
        )
        await connection.execute(self.engine.store.insert_new(tables.outbox).values(created_at=self.clock.now(), **row))

    async def _handled(self, connection: AsyncConnection, incoming: Incoming) -> None:
        await connection.execute(tables.inbox.update().where(tables.inbox.c.key == incoming.key).values(handled=True))


def _why_missing(handler: object) -> WhyMissing | None:
    return handler.why_missing if isinstance(handler, ExplainsMissing) else None
