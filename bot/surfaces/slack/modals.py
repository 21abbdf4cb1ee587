"""What opens over the conversation: the form of a button, of a command that lacks something, of the shortcut.

``Modals`` opens them, feeds their menus and turns what was sent into a command; a form is judged before it is accepted,
so that whoever filled it in reads what is wrong while it is still open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import structlog
from sqlalchemy.exc import SQLAlchemyError

from bot.clock import Clock
from bot.errors import UserError
from bot.incoming import Actor, Incoming, Place, reference
from bot.messages import Dialog
from bot.surfaces.delivery import TryLater, Undeliverable
from bot.surfaces.printable import cut, one_line
from bot.surfaces.slack import forms, payloads, shortcut
from bot.surfaces.slack.blocks import draw_modal, plain
from bot.surfaces.slack.client import SlackSurface
from bot.surfaces.slack.dialog import Where, pack_where
from bot.surfaces.slack.elements import Json

if TYPE_CHECKING:
    from bot.commands.asking import Composed
    from bot.forms import FormDesk, Offer

log = structlog.get_logger("opsbot.slack")

JUDGE_SECONDS = 1.2  # what takes longer to judge is accepted, and judged then
LOOK_SECONDS = 1.0
ERROR_SIZE = 300

Body = Mapping[str, Any]


class Tell(Protocol):
    """Says it to one person."""

    async def __call__(self, channel: str, user: str, response_url: str, said: str) -> None: ...


class Modals:
    """``people`` is for mentions; ``say`` runs what nobody waits for; ``tell`` says it to one person."""

    def __init__(
        self,
        surface: SlackSurface,
        clock: Clock,
        people: Mapping[str, str],
        *,
        say: Callable[[Coroutine[Any, Any, None]], None],
        tell: Tell,
    ) -> None:
        self._surface = surface
        self._clock = clock
        self._people = people
        self._names = {user: name for name, user in people.items()}
        self._say = say
        self._tell = tell
        self.desk: FormDesk | None = None  # without it a command that lacks something is answered with what it lacks

    async def open(self, incoming: Incoming, dialog: Dialog) -> None:
        """The form of a button; nothing is stored until it is sent."""
        place = incoming.place
        where = pack_where(Where(incoming.text, place.channel, place.thread))
        await self._show(incoming, draw_modal(dialog, where, self._people), "Press the button again, or type")

    def opens_form(self, incoming: Incoming) -> bool:
        """Whether a command lacks something and its form is opened instead; nothing is stored until that is sent."""
        form = self.desk.form_for(incoming.actor, incoming.text) if self.desk and incoming.trigger_id else None
        if form is None:
            return False
        place = incoming.place
        view = forms.form_view(form, place.channel, place.thread)
        self._say(self._show(incoming, view, "Try again, or type it with all that it needs"))
        return True

    async def _show(self, incoming: Incoming, view: Json, otherwise: str) -> None:
        """Open a modal within the three seconds for which the trigger is good."""
        try:
            await self._surface.open_view(incoming.trigger_id, view)
        except (TryLater, Undeliverable) as error:
            short = reference(incoming.key)
            log.warning("slack.no_form", id=short, reason=str(error))
            said = f"The form did not open ({error}). {otherwise}: {incoming.text} (id {short})"
            await self._tell(incoming.place.channel, incoming.actor.id, incoming.response_url, said)

    async def open_note(self, said: shortcut.Said, user: str, trigger_id: str, url: str) -> None:
        """The shortcut's form, with the run filled in when the message stands in its thread."""
        place = Place(surface="slack", channel=said.channel, thread=said.thread)
        link, run = await asyncio.gather(self._link(said), self._run_of(place))
        author = self._names.get(said.author.partition(":")[2], said.author.partition(":")[2])
        view = shortcut.note_view(replace(said, link=link), run, author)
        try:
            await self._surface.open_view(trigger_id, view)
        except (TryLater, Undeliverable) as error:
            log.warning("slack.no_form", reason=str(error))
            await self._tell(said.channel, user, url, f"The form did not open ({error}). Try the shortcut again.")

    async def _link(self, said: shortcut.Said) -> str:
        """The message's address; as Slack builds it when the bot is not in that channel."""
        try:
            return await asyncio.wait_for(self._surface.permalink(said.channel, said.ts), LOOK_SECONDS)
        except (TryLater, Undeliverable, TimeoutError):
            return said.link

    async def _run_of(self, place: Place) -> Offer | None:
        if self.desk is None:
            return None
        try:
            return await asyncio.wait_for(self.desk.run_of(place), LOOK_SECONDS)
        except (TimeoutError, SQLAlchemyError, OSError) as error:
            log.warning("slack.no_run_of_thread", reason=reason_of(error))
            return None

    def filled_in(self, body: Body) -> tuple[Incoming, Composed | None]:
        """A sent form as a command. Raises ValueError, UserError for a form that is not ours or not any more."""
        view, now = body["view"], self._clock.now()
        match payloads.get(view, "callback_id"):
            case forms.CALLBACK_ID if self.desk is not None:
                asked = forms.read_asked(payloads.get(view, "private_metadata"))
                composed = self.desk.compose(asked.root, asked.verb, forms.entered(view))
                place = Place(surface="slack", channel=asked.channel, thread=asked.thread)
                return payloads.filled_in(body, composed.line, place, now), composed
            case shortcut.CALLBACK_ID:
                line, said = shortcut.note_command(view)
                place = Place(surface="slack", channel=said.channel, thread=said.thread)
                return payloads.filled_in(body, line, place, now), None
        return payloads.from_view(body, now)

    async def judged(self, incoming: Incoming, composed: Composed | None) -> tuple[str, str]:
        """What is wrong with a command before it is accepted, and with which field; empty when it can be accepted."""
        if self.desk is None:
            return "", ""
        try:
            wrong = await asyncio.wait_for(self.desk.wrong(incoming, composed), JUDGE_SECONDS)
        except TimeoutError:
            return "", ""
        except (SQLAlchemyError, OSError) as error:
            log.warning("slack.not_judged", key=incoming.key, reason=reason_of(error))
            return "", ""  # whether it can be stored shows now
        if wrong is None:
            return "", ""
        short = reference(incoming.key)
        log.info("slack.form_refused", id=short, key=incoming.key, actor=str(incoming.actor), reason=wrong.why)
        return f"{cut(one_line(wrong.why), ERROR_SIZE)} (id {short})", wrong.field

    async def offers(self, body: Body) -> Sequence[Offer]:
        view = body.get("view")
        if self.desk is None or not isinstance(view, Mapping):
            return []
        actor = Actor(surface="slack", id=payloads.get(body, "user", "id"))
        name = payloads.get(body, "block_id").removeprefix(forms.ARGUMENT)
        typed = cut(payloads.get(body, "value"), 200)
        root, verb = "runs", "note"
        if payloads.get(view, "callback_id") == forms.CALLBACK_ID:
            asked = forms.read_asked(payloads.get(view, "private_metadata"))
            root, verb = asked.root, asked.verb
        entered = {field: values[0] for field, values in forms.entered(view).items()}
        return await self.desk.offers(actor, root, verb, name, typed, entered)


def in_form(body: Body, said: str, field: str = "") -> Json:
    """The answer to a sent form: beside the field, so that what was entered stays; without fields it is the message."""
    if block := forms.block_of(body["view"], field):
        return {"response_action": "errors", "errors": {block: said}}
    message = {
        "type": "modal",
        "callback_id": "opsbot_message",
        "title": {"type": "plain_text", "text": "opsbot", "emoji": False},
        "close": {"type": "plain_text", "text": "Close", "emoji": False},
        "blocks": plain(said).blocks,
    }
    return {"response_action": "update", "view": message}


def reason_of(error: BaseException) -> str:
    """What people read of an error: its own words if they were written for people, else its first line.

    Only the first: SQLAlchemy's next ones hold the statement and its parameters.
    """
    if isinstance(error, UserError):
        return one_line(error.message)
    first = str(error).strip().partition("\n")[0]
    return cut(one_line(first), 200) or type(error).__name__
