"""``mode = "socket"``: Slack without a public address.

The bot opens two connections to Slack with the app-level token and gets through them what would come by HTTP; what it
answers is the same too (``SlackReceiver.answer``). Slack sends each envelope through one of them. It is acknowledged
through that same connection when the command in it is stored; one that is not comes again, and is known by its key.

Slack closes every connection after some hours and says so before: the next one is opened first, and the old one is read
until it ends. slack_sdk's own client closes first, and acknowledges through whichever connection it has by then.
https://docs.slack.dev/apis/events-api/using-socket-mode.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import aiohttp
import msgspec
import structlog
from slack_bolt.response import BoltResponse

from bot.surfaces.delivery import TryLater, Undeliverable
from bot.surfaces.printable import one_line

log = structlog.get_logger("opsbot.slack")

CONNECTIONS = 2  # Slack allows ten of an app; during a restart there are those of two bots
PATIENCE = 3.0  # seconds that the start waits for a connection
PING = 10.0  # seconds; a connection that is silent for half as long again is dead
DRAIN = 30.0  # seconds for what is still to come through a connection that was replaced
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 30.0  # seconds between two attempts


class Receiver(Protocol):
    async def answer(self, body: dict[str, Any]) -> BoltResponse: ...


class Opener(Protocol):
    async def connection_url(self, app_token: str) -> str: ...


class SlackSocket:
    """Keeps the connections open. ``start`` once, ``close`` once."""

    def __init__(
        self,
        receiver: Receiver,
        opener: Opener,
        app_token: str,
        *,
        connections: int = CONNECTIONS,
        ping_seconds: float = PING,
    ) -> None:
        self._receiver = receiver
        self._opener = opener
        self._app_token = app_token
        self._connections = connections
        self._ping_seconds = ping_seconds
        self._session: aiohttp.ClientSession | None = None
        self._keepers: list[asyncio.Task[None]] = []
        self._open: set[_Connection] = set()
        self._connected = asyncio.Event()
        self._trouble = "it was not opened yet"

    async def start(self) -> None:
        """Connect. After ``PATIENCE`` the bot starts without it; it is tried for ever, and ``problems`` tells."""
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None, connect=10.0))
        for number in range(self._connections):
            keeper = self._keep_one(self._session)
            self._keepers.append(asyncio.create_task(keeper, name=f"opsbot slack socket {number}"))
        try:
            async with asyncio.timeout(PATIENCE):
                await self._connected.wait()
        except TimeoutError:
            log.warning("slack.socket_down", reason=self._trouble)

    @property
    def connections(self) -> int:
        """How many there are that take envelopes."""
        return sum(one.takes for one in self._open)

    async def problems(self) -> list[str]:
        """For /readyz: one connection is enough."""
        if self.connections:
            return []
        return [f"Slack: there is no Socket Mode connection: {self._trouble.rstrip('.')}. It is tried again."]

    async def close(self) -> None:
        """Take nothing more, acknowledge what is being stored, then hang up."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        await asyncio.gather(*(one.close() for one in tuple(self._open)), return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _keep_one(self, session: aiohttp.ClientSession) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                url = await self._opener.connection_url(self._app_token)
                stream = await session.ws_connect(url, heartbeat=self._ping_seconds, max_msg_size=16 * 1024 * 1024)
            except (TryLater, Undeliverable, aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                self._trouble = str(error) or type(error).__name__
                after = error.after if isinstance(error, TryLater) else 0.0
                log.warning("slack.socket_not_opened", reason=self._trouble)
            else:
                connection = _Connection(stream, self._receiver, self._arrived)
                self._open.add(connection)
                connection.reading.add_done_callback(partial(self._ended, connection))
                await connection.over.wait()
                self._trouble, after = connection.why, 0.0
                log.info("slack.socket_replaced", reason=connection.why)
                if connection.greeted:
                    pause = FIRST_PAUSE
                if connection.replaced:  # Slack asked for it: at once
                    continue
            await asyncio.sleep(max(after, pause * random.uniform(0.5, 1.0)))  # noqa: S311 - not all bots at once
            pause = min(pause * 2, LONGEST_PAUSE)

    def _ended(self, connection: _Connection, _: asyncio.Task[None]) -> None:
        self._open.discard(connection)

    def _arrived(self) -> None:
        self._connected.set()


class _Connection:
    """One connection, read until it ends. ``over`` says that another one is to take its place."""

    def __init__(
        self, stream: aiohttp.ClientWebSocketResponse, receiver: Receiver, greeted: Callable[[], None]
    ) -> None:
        self._stream = stream
        self._receiver = receiver
        self._on_hello = greeted
        self._answering: set[asyncio.Task[None]] = set()
        self.over = asyncio.Event()
        self.why = "the connection broke"
        self.greeted = False
        self.replaced = False
        self.reading = asyncio.create_task(self._read(), name="opsbot slack connection")

    @property
    def takes(self) -> bool:
        return self.greeted and not self.over.is_set()

    async def close(self) -> None:
        self._stop_reading_later(0)
        await asyncio.gather(self.reading, return_exceptions=True)

    async def _read(self) -> None:
        try:
            async for message in self._stream:
                if message.type is aiohttp.WSMsgType.TEXT:
                    self._take(message.data)
        finally:
            self.over.set()
            if self._answering:  # what is stored is still acknowledged
                await asyncio.wait(tuple(self._answering), timeout=PATIENCE)
            await self._stream.close()

    def _stop_reading_later(self, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self.reading.cancel)

    def _take(self, text: str) -> None:
        try:
            envelope = msgspec.json.decode(text)
            kind = envelope["type"]
        except (ValueError, TypeError, KeyError):
            log.warning("slack.socket_nonsense")
            return
        if kind == "hello":
            self.greeted = True
            self._on_hello()
        elif kind == "disconnect":
            reason = one_line(str(envelope.get("reason")))[:40]
            self.why = f"Slack closed it: {reason}"
            self.replaced = reason in ("warning", "refresh_requested")  # else: Socket Mode was switched off
            self.over.set()
            self._stop_reading_later(DRAIN)
        elif isinstance(envelope.get("envelope_id"), str) and isinstance(envelope.get("payload"), dict):
            task = asyncio.create_task(self._answer(envelope["envelope_id"], envelope["payload"]))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

    async def _answer(self, envelope_id: str, payload: dict[str, Any]) -> None:
        try:
            answered = await self._receiver.answer(payload)
        except Exception as error:
            log.error("slack.not_acknowledged", error=type(error).__name__)
            return
        if answered.status != 200:
            log.warning("slack.not_acknowledged", status=answered.status)
            return
        try:
            await self._stream.send_str(msgspec.json.encode(_response(envelope_id, answered)).decode())
        except (ConnectionError, aiohttp.ClientError, RuntimeError) as error:
            log.warning("slack.acknowledgement_lost", reason=type(error).__name__)  # it comes again, and is known


def _response(envelope_id: str, answered: BoltResponse) -> Mapping[str, Any]:
    if not answered.body:
        return {"envelope_id": envelope_id}
    if answered.first_headers().get("content-type", "").startswith("application/json"):
        return {"envelope_id": envelope_id, "payload": msgspec.json.decode(answered.body)}
    return {"envelope_id": envelope_id, "payload": {"text": answered.body}}
