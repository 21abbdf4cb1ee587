"""The picture in a report: uploaded first, then named in an ``image`` block of the message.

Slack needs some seconds until an uploaded picture may stand in a block, and refuses the whole message until then; after
``PATIENCE`` the message goes out without it. The same picture is uploaded once.
https://docs.slack.dev/reference/block-kit/composition-objects/slack-file-object
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import aiohttp
import structlog

from bot.clock import Clock
from bot.surfaces.delivery import TryLater
from bot.surfaces.slack.blocks import FILE, SlackMessage
from bot.surfaces.slack.elements import Json

log = structlog.get_logger("opsbot.slack")

PATIENCE = timedelta(seconds=60)
MOST_REMEMBERED = 50


@dataclass(frozen=True, slots=True)
class _Uploaded:
    id: str
    at: datetime


Call = Callable[..., Awaitable[Mapping[str, Any]]]


class Files:
    """Uploads. ``call`` is one request to the Web API, which raises TryLater or Undeliverable."""

    def __init__(self, clock: Clock, call: Call) -> None:
        self._clock = clock
        self._call = call
        self._known: dict[str, _Uploaded] = {}

    async def upload(self, drawn: SlackMessage, client: Any, session: aiohttp.ClientSession) -> SlackMessage:
        """The message with the ids of its pictures. Raises TryLater, Undeliverable."""
        ids: dict[str, str] = {}
        for number, file in enumerate(drawn.files):
            digest = _digest(file)
            if digest not in self._known:
                uploaded = await self._upload(file, client, session)
                self._known[digest] = _Uploaded(uploaded, self._clock.now())
                while len(self._known) > MOST_REMEMBERED:
                    self._known.pop(next(iter(self._known)))
            ids[f"{FILE}{number}"] = self._known[digest].id
        return _mapped(drawn, lambda image: {**image, "slack_file": {"id": ids[image["slack_file"]["id"]]}})

    def may_be_processing(self, drawn: SlackMessage) -> bool:
        """Whether a picture of the message was uploaded so recently that Slack may not have looked at it yet."""
        recent = self._clock.now() - PATIENCE
        found = [self._known.get(_digest(file)) for file in drawn.files]
        return any(each is not None and each.at > recent for each in found)

    async def _upload(self, file: Json, client: Any, session: aiohttp.ClientSession) -> str:
        content = base64.b64decode(file["content"])
        asked = await self._call(
            client.files_getUploadURLExternal, filename=file["name"], length=len(content), alt_txt=file["alt"][:1000]
        )
        try:
            async with session.post(asked["upload_url"], data=content, allow_redirects=False) as answer:
                if answer.status != 200:
                    raise TryLater(5.0, f"a picture could not be uploaded: Slack answered {answer.status}")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise TryLater(5.0, f"a picture could not be uploaded: {type(error).__name__}") from error
        await self._call(client.files_completeUploadExternal, files=[{"id": asked["file_id"], "title": file["name"]}])
        return str(asked["file_id"])


def without_files(drawn: SlackMessage) -> SlackMessage:
    """The message without its pictures."""
    return replace(_mapped(drawn, lambda _: None), files=[])


def _digest(file: Json) -> str:
    return hashlib.sha256(file["content"].encode()).hexdigest()


def _mapped(drawn: SlackMessage, change: Callable[[Json], Json | None]) -> SlackMessage:
    def images(blocks: list[Json]) -> list[Json]:
        changed = [change(block) if "slack_file" in block else block for block in blocks]
        return [block for block in changed if block is not None]

    attachments = [
        {**each, "blocks": images(each["blocks"])} if "blocks" in each else each for each in drawn.attachments
    ]
    kept = [each for each in attachments if each.get("blocks", True)]
    return replace(drawn, blocks=images(drawn.blocks), attachments=kept)
