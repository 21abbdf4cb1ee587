"""The home tab as a view for ``views.publish``.

Its ``private_metadata`` holds the conversation between the bot and the person: what they press is answered there.
Shape and limits: https://docs.slack.dev/reference/views/home-tab-views. Pure.
"""

from __future__ import annotations

from bot.messages import Message
from bot.surfaces.slack.blocks import MODAL_BLOCKS
from bot.surfaces.slack.elements import Drawing, Json, context, plain_object

TEXT = 600  # characters of one text: many entries fit on a screen


def home_view(message: Message, channel: str) -> Json:
    """At most 100 blocks; the rest is told."""
    drawn = Drawing({}, None, TEXT).all(message.blocks)
    if len(drawn) > MODAL_BLOCKS:
        drawn = [*drawn[: MODAL_BLOCKS - 1], context(plain_object("There is more: type /runs list"))]
    return {"type": "home", "private_metadata": channel, "blocks": drawn}
