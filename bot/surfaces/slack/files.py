"""The picture in a report, and the whole of a long output: uploaded first, then named in the message.

A picture stands in an ``image`` block. Slack needs some seconds until it may, and refuses the whole message until then;
after ``PATIENCE`` the message goes out without it. A text is linked in small print below its end: a message of the bot
that links to a file of its own shares it with the channel (a Slack engineer in slackapi/java-slack-sdk issue 1475), and
unlike a file that is shared by itself, the message can be found again by its key. A text that cannot be uploaded holds
nothing up: the message says so. What is the same is uploaded once.
https://docs.slack.dev/reference/block-kit/composition-objects/slack-file-object
https://docs.slack.dev/reference/methods/files.completeUploadExternal
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
from bot.surfaces.delivery import TryLater, Undeliverable
from bot.surfaces.printable import cut, one_line
from bot.surfaces.slack.blocks import FILE, SlackMessage
from bot.surfaces.slack.elements import Json, escape, literal

log = structlog.get_logger("opsbot.slack")

PATIENCE = timedelta(seconds=60)
MOST_REMEMBERED = 50
WAIT_FOR_TEXT = 30.0  # seconds of a rate limit; for longer the text's message is not held up
REASON_SIZE = 300


@dataclass(frozen=True, slots=True)
class _Uploaded:
    id: str
    at: datetime
    link: str = ""


Call = Callable[..., Awaitable[Mapping[str, Any]]]


class Files:
    """Uploads. ``call`` is one request to the Web API, which raises TryLater or Undeliverable."""

    def __init__(self, clock: Clock, call: Call) -> None:
        self._clock = clock
        self._call = call
        self._known: dict[str, _Uploaded] = {}

    async def upload(self, drawn: SlackMessage, client: Any, session: aiohttp.ClientSession) -> SlackMessage:
        """The message with the ids of its pictures and the links of its texts. Raises TryLater, Undeliverable."""
        changed: dict[str, Callable[[Json], Json]] = {}
        for number, file in enumerate(drawn.files):
            name = f"{FILE}{number}"
            if "text" not in file:
                changed[name] = _as_picture((await self._uploaded(file, client, session)).id)
                continue
            try:
                uploaded = await self._uploaded(file, client, session)
                if not uploaded.link:
                    raise Undeliverable("Slack told no address for it")
                changed[name] = _as_note(f"{file['about']}: <{escape(uploaded.link)}|{literal(file['name'])}>")
            except (TryLater, Undeliverable) as error:
                if isinstance(error, TryLater) and error.reason == "ratelimited" and error.after <= WAIT_FOR_TEXT:
                    raise
                log.warning("slack.no_file", name=file["name"], reason=str(error))
                changed[name] = _as_note(_missing(file, str(error)))
        return _mapped(drawn, lambda name, block: changed[name](block))

    def may_be_processing(self, drawn: SlackMessage) -> bool:
        """Whether a picture of the message was uploaded so recently that Slack may not have looked at it yet."""
        recent = self._clock.now() - PATIENCE
        found = [self._known.get(_digest(file)) for file in drawn.files if "text" not in file]
        return any(each is not None and each.at > recent for each in found)

    async def _uploaded(self, file: Json, client: Any, session: aiohttp.ClientSession) -> _Uploaded:
        digest = _digest(file)
        if digest not in self._known:
            self._known[digest] = await self._upload(file, client, session)
            while len(self._known) > MOST_REMEMBERED:
                self._known.pop(next(iter(self._known)))
        return self._known[digest]

    async def _upload(self, file: Json, client: Any, session: aiohttp.ClientSession) -> _Uploaded:
        content = _content(file)
        asked = await self._call(
            client.files_getUploadURLExternal, filename=file["name"], length=len(content), alt_txt=file["alt"][:1000]
        )
        try:
            async with session.post(asked["upload_url"], data=content, allow_redirects=False) as answer:
                if answer.status != 200:
                    raise TryLater(5.0, f"a file could not be uploaded: Slack answered {answer.status}")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise TryLater(5.0, f"a file could not be uploaded: {type(error).__name__}") from error
        wanted = [{"id": asked["file_id"], "title": file["name"]}]
        answered = await self._call(client.files_completeUploadExternal, files=wanted)
        known: Mapping[str, Any] = next(iter(answered.get("files") or ()), {})
        return _Uploaded(str(asked["file_id"]), self._clock.now(), str(known.get("permalink") or ""))


def without_files(drawn: SlackMessage, why: str) -> SlackMessage:
    """The message without its pictures; where a text is missing it says why."""

    def left(name: str, block: Json) -> Json | None:
        file = drawn.files[int(name.removeprefix(FILE))]
        return _as_note(_missing(file, why))(block) if "text" in file else None

    return replace(_mapped(drawn, left), files=[]) if drawn.files else drawn


def _content(file: Json) -> bytes:
    return str(file["text"]).encode() if "text" in file else base64.b64decode(file["content"])


def _digest(file: Json) -> str:
    return hashlib.sha256(f"{file['name']}\n{file.get('text') or file.get('content')}".encode()).hexdigest()


def _missing(file: Json, why: str) -> str:
    reason = literal(cut(one_line(why), REASON_SIZE)).rstrip(".")
    return f"{file['about']}, could not be attached as {literal(file['name'])}: {reason}."


def _as_picture(id: str) -> Callable[[Json], Json]:
    return lambda block: {**block, "slack_file": {"id": id}}


def _as_note(text: str) -> Callable[[Json], Json]:
    return lambda block: {**block, "elements": [{"type": "mrkdwn", "text": text, "verbatim": True}]}


def _mapped(drawn: SlackMessage, change: Callable[[str, Json], Json | None]) -> SlackMessage:
    """The message with the blocks changed that stand for a file."""

    def files(blocks: list[Json]) -> list[Json]:
        changed = [change(name, block) if (name := _file_of(block)) else block for block in blocks]
        return [block for block in changed if block is not None]

    attachments = [
        {**each, "blocks": files(each["blocks"])} if "blocks" in each else each for each in drawn.attachments
    ]
    kept = [each for each in attachments if each.get("blocks", True)]
    return replace(drawn, blocks=files(drawn.blocks), attachments=kept)


def _file_of(block: Json) -> str:
    name = block["slack_file"]["id"] if "slack_file" in block else block.get("block_id", "")
    return name if name.startswith(FILE) else ""
