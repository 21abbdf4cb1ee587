"""From an accepted command to its effect: parse, authorize, answer or start a run.

A command is handled when its effect is stored: the answer is in the outbox, or the run is in the database with the lock
of its target, in the same transaction that marks the command as handled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection
from ulid import ULID

from bot import store as tables
from bot.access import Access
from bot.clock import Clock
from bot.commands import grammar, help
from bot.commands.existing import check_existing
from bot.commands.registry import Answer, CommandContext, CommandGroup, StartRun
from bot.delivery import said_row
from bot.errors import UserError
from bot.handler import Danger, Product
from bot.inbox import Inbox
from bot.incoming import Incoming
from bot.messages import Block, Button, Buttons, CodeBlock, Divider, Heading, Message, Note, Paragraph, line, message
from bot.runbooks.folders import RunbookFolders
from bot.runs.commands import RunDesk, runs
from bot.runs.engine import RunEngine
from bot.runs.perform import Connected, Performer
from bot.runs.start import RunStarter
from bot.surfaces.port import Surface
from bot.surfaces.step_text import EVIDENCE_IN_THREAD, excerpt, plain_step
from bot.words import duration

log = structlog.get_logger("opsbot.commands")


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

    async def _handle_all(self, commands: list[Incoming]) -> None:
        for incoming in commands:
            try:
                if await self.inbox.is_waiting(incoming.key):  # it was read before an earlier task dealt with it
                    await self.handle(incoming)
            except (sa.exc.SQLAlchemyError, OSError) as error:
                log.error("a command has to wait", key=incoming.key, reason=tables.reason(error))
                return  # it stays in the inbox
            except Exception:
                log.exception("a command cannot be handled", key=incoming.key)
                return  # tried again, but not at once and for ever
        self.inbox.arrived.set()  # there may be more of this person's

    async def handle(self, incoming: Incoming) -> None:
        """Do what was asked, and store what came of it."""
        try:
            reply = await self._reply(incoming)
            if isinstance(reply, StartRun):
                reply = await (self._dry_run if reply.dry_run else self._start)(reply, incoming)
        except UserError as error:
            reply = Answer(help.error_message(error), private=True)
        except (sa.exc.SQLAlchemyError, OSError):
            raise
        except Exception:
            number = str(ULID())[-8:]
            log.exception("a command failed unexpectedly", id=number, text=incoming.text)
            reply = Answer(
                message(f"Something went wrong inside opsbot, and nothing was started. The log has it under {number}."),
                private=True,
            )
        async with self.engine.store.write() as connection:
            if reply is not None:
                await self._say(connection, incoming, reply)
            await self._handled(connection, incoming)
        self.engine.changed.set()

    # -- understanding

    async def _reply(self, incoming: Incoming) -> Answer | StartRun | None:
        text = await self._whole_command(incoming)
        parsed = grammar.parse(text, self.groups, self.unconfigured)
        if isinstance(parsed, grammar.HelpWanted):
            shown = help.help_message(parsed, self.groups, list(self.products.values()))
            return Answer(shown, private=True)
        level = parsed.command.level
        if not self.access.allows(incoming.actor, level):
            return Answer(self.access.refusal(incoming.actor, level, parsed.line), private=True)
        connected = self.connected.get(parsed.group.root)
        handler = connected.handler if connected else self.desk
        parsed = await check_existing(parsed, handler.inventory)
        context = CommandContext(
            actor=incoming.actor,
            place=incoming.place,
            clock=self.clock,
            handler=handler,
            runbooks=(await self.folders.library()).for_product(parsed.group.root),
            key=incoming.key,
        )
        return await parsed.call(context)

    async def _whole_command(self, incoming: Incoming) -> str:
        """The command with its root: in a run's thread ``@opsbot ack`` means that run."""
        if incoming.text.startswith("/"):
            return incoming.text
        said = incoming.text.partition(" ")[2]  # after "@opsbot"
        run_id = await self._run_of_thread(incoming)
        if run_id:
            return grammar.thread_line(said, run_id, self.groups, self.unconfigured)
        return grammar.mention_line(said, self.groups, self.unconfigured)

    async def _run_of_thread(self, incoming: Incoming) -> str:
        """The run whose card, or whose page, the thread hangs on; empty when it is another thread."""
        place = incoming.place
        if not place.thread:
            return ""
        cards = tables.cards
        rows = await self.engine.store.rows(
            sa.select(cards.c.run_id)
            .where(
                cards.c.surface == place.surface,
                cards.c.channel == place.channel,
                sa.or_(cards.c.remote_id == place.thread, cards.c.thread == place.thread),
            )
            .order_by(cards.c.run_id.desc())
            .limit(1)
        )
        if not rows:
            outbox = tables.outbox
            rows = await self.engine.store.rows(
                sa.select(outbox.c.run_id)
                .where(
                    outbox.c.kind == "page",
                    outbox.c.surface == place.surface,
                    outbox.c.channel == place.channel,
                    outbox.c.remote_id == place.thread,
                )
                .limit(1)
            )
        return rows[0].run_id if rows else ""

    # -- effects

    async def _start(self, request: StartRun, incoming: Incoming) -> Answer | None:
        """Store the run together with the mark that its command is handled, then begin it."""
        try:
            verified = await self.desk.verifier.small_print(request.runbook)
            plan = self.starter.plan(request, incoming, verified)
        except UserError as error:
            return Answer(help.error_message(error), private=True)
        async with self.engine.store.write() as connection:
            held = await self.starter.store_run(connection, plan, incoming)
            if held is not None:
                return Answer(
                    message(
                        f"{self.desk.name(held.owner)} already works on {plan.target.name}: {held.reason} "
                        f"(since {held.since_text}). One changing run at a time.",
                        Note(line(f"run {held.run_id}")),
                        Buttons((Button("Show that run", f"/runs show {held.run_id}"),)),
                    ),
                    private=True,
                )
            await self._handled(connection, incoming)
        try:
            await self.engine.start(plan.run_id)
        except Exception:  # it is stored, so the engine's sweep begins it as soon as that is possible
            log.exception("a run begins later", run=plan.run_id)
        self.engine.changed.set()
        return None

    async def _dry_run(self, request: StartRun, incoming: Incoming) -> Answer:
        """What every step would do. Nothing is done, nothing is locked, nobody is told but the one who asked."""
        try:
            plan = self.starter.plan(request, incoming)
            blocks: list[Block] = [
                Heading(f"Dry run: {plan.runbook.title}"),
                Paragraph(line("Nothing was done. This is what would be done now:")),
            ]
            for row, danger in zip(plan.runbook.steps, plan.dangers, strict=True):
                blocks.append(Divider())
                kind = "by a person" if danger is None else danger.value
                budget = f", {duration(row.budget)}" if row.budget else ""
                blocks.append(Paragraph(line(f"{row.number}. {plain_step(row)} ({kind}{budget})")))
                if row.expectation:
                    blocks.append(Note(line(f"Expected: {row.expectation}")))
                if danger in (Danger.CHANGE, Danger.DESTRUCTIVE):
                    preview = await self.performer.dry_run(plan, row)
                    if preview:
                        blocks.append(Paragraph(line(preview.summary)))
                        if preview.detail:
                            blocks.append(CodeBlock(excerpt(preview.detail, EVIDENCE_IN_THREAD), preview.language))
        except UserError as error:
            return Answer(help.error_message(error), private=True)
        return Answer(Message(f"Dry run: {plan.runbook.title}", tuple(blocks)), private=True)

    async def _say(self, connection: AsyncConnection, incoming: Incoming, answer: Answer) -> None:
        surface = self.surfaces.get(incoming.place.surface)
        if surface is None:
            return
        address = {"response_url": incoming.response_url, "user": incoming.actor.id}
        row = said_row(
            f"answer:{incoming.key}",
            "private" if answer.private else "answer",
            incoming.place,
            surface.draw(answer.message),
            address,
        )
        await connection.execute(self.engine.store.insert_new(tables.outbox).values(created_at=self.clock.now(), **row))

    async def _handled(self, connection: AsyncConnection, incoming: Incoming) -> None:
        await connection.execute(tables.inbox.update().where(tables.inbox.c.key == incoming.key).values(handled=True))
