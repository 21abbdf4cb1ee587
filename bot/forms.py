"""``/somas restart`` without its project: what a form asks, what its menus offer, and what is wrong with its answers.

Nothing is stored for a form: it can be drawn and read by any replica, also after a restart. What is sent with it is
judged before it is accepted, so that a wrong name is told beside its field and nothing that was entered is lost; then
it is a command like every other one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
import structlog

from bot import store as tables
from bot.commands import asking
from bot.commands.asking import Composed, Entered, Form
from bot.commands.nearest import nearest
from bot.dispatch import Dispatcher
from bot.errors import Unavailable, UserError
from bot.handler import Danger
from bot.incoming import Actor, Incoming, Place
from bot.messages import plain_text
from bot.redaction import installed
from bot.reports.commands import ReportDesk
from bot.runs.model import RunState
from bot.surfaces.step_text import number_of, title_of

log = structlog.get_logger("opsbot.forms")

MOST_OFFERED = 100
RUNS_OFFERED = 200
SEEN_SECONDS = 2.5  # a menu is read anew while somebody types, letter by letter
ALL = "* (all of them)"
ANYTHING = "anything"  # the kind of what may be a name of any kind, and of none


@dataclass(frozen=True, slots=True)
class Offer:
    """One line of a menu; ``about`` is a second, smaller line."""

    value: str
    label: str
    about: str = ""


@dataclass(frozen=True, slots=True)
class Wrong:
    """Why what was entered is not done. ``field`` is the argument that it is about; empty: all of it."""

    why: str
    field: str = ""


class FormDesk:
    """Knows the commands, the inventories, and who may."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._seen: dict[tuple[str, str], tuple[float, Sequence[str]]] = {}

    # -- which form

    def form_for(self, actor: Actor, text: str) -> Form | None:
        """The form that a command lacks, for somebody who may give that command; None for every other text."""
        if not text.startswith("/"):
            return None
        form = asking.form_for(text, self._dispatcher.groups)
        if form is None or not self._dispatcher.access.allows(actor, form.command.level):
            return None  # what is wrong, or who may, is told in the answer
        return form

    def at_home(self, incoming: Incoming) -> Incoming:
        """A button of the home tab: what changes something happens in the channel, where everybody sees it."""
        channel = self._dispatcher.desk.channel
        root, _, rest = incoming.text.removeprefix("/").partition(" ")
        group = self._dispatcher.groups.get(root)
        command = group.commands.get(rest.partition(" ")[0]) if group else None
        if channel is None or command is None or command.danger is Danger.READ:
            return incoming
        return incoming.model_copy(update={"place": channel})

    def form_named(self, root: str, verb: str) -> Form:
        """Raises ``UserError`` for a command that is not there any more."""
        group = self._dispatcher.groups.get(root)
        command = group.commands.get(verb) if group else None
        if group is None or command is None:
            raise UserError(f"There is no command /{root} {verb} any more. Type /{root} help.")
        return asking.form_of(group, command)

    def compose(self, root: str, verb: str, entered: Entered) -> Composed:
        """The command that was filled in. Raises ``UserError`` for one that is not there any more."""
        form = self.form_named(root, verb)
        return asking.compose(form.group, form.command, entered)

    # -- what is wrong

    async def wrong(self, incoming: Incoming, composed: Composed | None = None) -> Wrong | None:
        """What would be refused of this command; None when it can be accepted. Nothing is done.

        One that was accepted before is not judged again: by now it may have happened.
        """
        if await self._known(incoming.key):
            return None
        clean = incoming.model_copy(update={"text": installed().command(incoming.text)})
        try:
            refused = await self._dispatcher.judge(clean)
        except UserError as error:
            about = composed.field_of(error) if composed else ""
            sentence = getattr(error, "sentence", error.message)
            return Wrong(sentence, about)
        return Wrong(" ".join(plain_text(refused.blocks).split("\n"))) if refused else None

    async def _known(self, key: str) -> bool:
        inbox = tables.inbox
        store = self._dispatcher.engine.store
        return bool(await store.rows(sa.select(inbox.c.number).where(inbox.c.key == key)))

    # -- what the menus offer

    async def offers(
        self, actor: Actor, root: str, verb: str, name: str, typed: str, entered: Mapping[str, str] | None = None
    ) -> list[Offer]:
        """What fits what was typed into the menu of an argument, at most 100; nothing for who may not ask.

        ``entered`` is what the other menus of the form say. A product that does not answer offers what was typed:
        when the form is sent, the person learns what is wrong.
        """
        form = self.form_named(root, verb)
        field = next((each for each in form.fields if each.name == name), None)
        if field is None or not field.offered or not self._dispatcher.access.allows(actor, form.command.level):
            return []
        try:
            offers = await self._offers(root, verb, field.offered, entered or {})
        except Unavailable as error:
            log.warning("a menu could not be read", command=form.name, field=name, reason=error.message)
            return _as_typed(typed)
        found = fitting(offers, typed)
        return found or (_as_typed(typed) if field.offered == ANYTHING else [])

    async def _offers(self, root: str, verb: str, kind: str, entered: Mapping[str, str]) -> list[Offer]:
        dispatcher = self._dispatcher
        if kind == "run" and verb in ("approve", "deny"):
            return [offer_of(each) for each in await self._to_approve()]
        if kind == "run":
            return await self.runs(only_open=verb not in ("show", "retry", "incident"))
        if kind == "approval":
            chosen = entered.get("run", "")
            return [self._approval(each) for each in await self._to_approve() if chosen in ("", each.plan.run_id)]
        if root in dispatcher.reports and kind.endswith(("metric", "subject")):
            return await _of_reports(dispatcher.reports[root], kind)
        if kind == "runbook":
            books = await dispatcher.folders.library()
            mine = books.runbooks.values() if root == "runs" else books.for_product(root).values()
            return [Offer(each.id, f"{each.id}: {each.title}") for each in mine]
        if kind == "person":
            return [Offer(each, each) for each in dispatcher.access.people]
        if kind == ANYTHING:
            names: list[str] = []
            for product, wanted in await self._kinds(entered.get("runbook", "")):
                names += await self._inventory(product, wanted)
            return [Offer(each, each) for each in dict.fromkeys(names)]
        return [Offer(each, each) for each in await self._inventory(root, kind)]

    async def _kinds(self, runbook: str) -> list[tuple[str, str]]:
        """Product and kind of what the runbook works on; of what any works on as long as none is chosen."""
        books = list((await self._dispatcher.folders.library()).runbooks.values())
        chosen = [each for each in books if each.id.casefold() == runbook.casefold()] or books
        kinds = dict.fromkeys((each.product, each.target_kind) for each in chosen)
        return [(product, kind) for product, kind in kinds if product in self._dispatcher.connected]

    async def _inventory(self, root: str, kind: str) -> Sequence[str]:
        """The names of a kind, read at most once in a few seconds."""
        dispatcher = self._dispatcher
        now = asyncio.get_running_loop().time()
        at, names = self._seen.get((root, kind), (0.0, ()))
        if now - at < SEEN_SECONDS:
            return names
        connected = dispatcher.connected.get(root)
        handler = connected.handler if connected else dispatcher.desk
        names = await handler.inventory(kind)
        self._seen[root, kind] = (now, names)
        return names

    async def runs(self, *, only_open: bool) -> list[Offer]:
        """The newest first, the open ones before those that have ended."""
        states = await self._dispatcher.desk.states(only_open=only_open, limit=RUNS_OFFERED)
        return [offer_of(each) for each in sorted(states, key=lambda state: state.closed)]

    async def _to_approve(self) -> list[RunState]:
        states = await self._dispatcher.desk.states(only_open=True, limit=RUNS_OFFERED)
        return [each for each in states if each.steps[each.current].status == "approval"]

    def _approval(self, state: RunState) -> Offer:
        """``worker-1: Remove worker-1, asked for by alice`` with the plan's digest."""
        step = state.steps[state.current]
        asked = f"{title_of(state.plan)}, asked for by {self._dispatcher.desk.name(state.plan.person)}"
        return Offer(step.digest, f"{state.plan.target.name}: {asked}", f"{step.digest}: step {number_of(state)}")

    async def run_of(self, place: Place) -> Offer | None:
        """The open run in whose thread this is."""
        run_id = await self._dispatcher.run_of_thread(place)
        state = await self._dispatcher.engine.state(run_id) if run_id else None
        return offer_of(state) if state is not None and not state.closed else None


def offer_of(state: RunState) -> Offer:
    """``Restart project-42, running`` with its id and its step below."""
    step = "" if state.closed else f"step {number_of(state)} of {len(state.steps)}, "
    return Offer(state.plan.run_id, f"{title_of(state.plan)} ({state.status})", f"{step}run {state.plan.run_id}")


def fitting(offers: Sequence[Offer], typed: str) -> list[Offer]:
    """What begins with what was typed, then what contains it, else what looks like it; at most 100."""
    wanted = typed.strip().casefold()
    if not wanted:
        return list(offers[:MOST_OFFERED])
    texts = [(each, f"{each.value} {each.label}".casefold()) for each in offers]
    begins = [each for each, text in texts if text.startswith(wanted)]
    contains = [each for each, text in texts if wanted in text and not text.startswith(wanted)]
    if begins or contains:
        return [*begins, *contains][:MOST_OFFERED]
    by_value = {each.value: each for each in offers}
    return [by_value[each] for each in nearest(typed, by_value, 5)]


async def _of_reports(desk: ReportDesk, kind: str) -> list[Offer]:
    """What can be silenced, or is: metrics, and what is measured."""
    if kind.startswith("silenced "):
        now = await desk.runner.silences(desk.product)
        names = [each.metric if kind == "silenced metric" else each.subject for each in now]
        return [Offer(each, ALL if each == "*" else each) for each in dict.fromkeys(names)]
    known = [each.name for each in desk.measured.source.metrics] if kind == "metric" else await desk.subjects()
    return [*(Offer(each, each) for each in known), Offer("*", ALL)]


def _as_typed(typed: str) -> list[Offer]:
    return [Offer(typed.strip(), typed.strip())] if typed.strip() else []
