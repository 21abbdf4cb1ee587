"""``wss://…``: the local Slack in Socket Mode. Each envelope goes through one connection and waits there to be
acknowledged; when that connection breaks first, it goes through another one.

https://docs.slack.dev/apis/events-api/using-socket-mode
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import WSMsgType, web

from bot.demo.slack.faults import Faults
from bot.demo.slack.workspace import Json

MOST_CONNECTIONS = 10
SECONDS_TO_LEAVE = 3.0
INTERACTIVE = {"block_actions", "view_submission", "view_closed", "block_suggestion", "message_action", "shortcut"}


@dataclass(eq=False)
class Connection:
    """One connection of the bot; ``waiting``: envelopes that it has not acknowledged, by id."""

    stream: web.WebSocketResponse
    transport: asyncio.Transport | None
    waiting: dict[str, asyncio.Future[bytes]] = field(default_factory=dict)
    leaving: bool = False


class Sockets:
    """The connections of one app. ``token`` is its app-level token."""

    def __init__(self, *, token: str, app_id: str, base_url: Callable[[], str], faults: Callable[[], Faults]) -> None:
        self.connections: list[Connection] = []
        self.opened = 0
        self._token = token
        self._app_id = app_id
        self._base_url = base_url
        self._faults = faults
        self._tickets: set[str] = set()
        self._came = asyncio.Event()

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/api/apps.connections.open", self._open), web.get("/link/{ticket}", self._link)]

    async def _open(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {self._token}":
            return web.json_response({"ok": False, "error": "invalid_auth"})
        fault = self._faults().take("apps.connections.open")
        if fault is not None and fault.kind == "ratelimited":
            headers = {"Retry-After": str(fault.retry_after)}
            return web.json_response({"ok": False, "error": "ratelimited"}, status=429, headers=headers)
        if fault is not None:
            return web.json_response({"ok": False, "error": fault.error or "internal_error"})
        ticket = secrets.token_urlsafe(8)
        self._tickets.add(ticket)
        return web.json_response({"ok": True, "url": f"ws{self._base_url().removeprefix('http')}/link/{ticket}"})

    async def _link(self, request: web.Request) -> web.StreamResponse:
        ticket = request.match_info["ticket"]
        if ticket not in self._tickets or len(self.connections) >= MOST_CONNECTIONS:
            return web.Response(status=404, text="this address was used, or never given out")
        self._tickets.discard(ticket)
        stream = web.WebSocketResponse()
        await stream.prepare(request)
        connection = Connection(stream, request.transport)
        self.connections.append(connection)
        self.opened += 1
        self._came.set()
        hello = {"type": "hello", "num_connections": len(self.connections), "connection_info": {"app_id": self._app_id}}
        try:
            await stream.send_json(hello)
            async for frame in stream:
                if frame.type is WSMsgType.TEXT:
                    self._acknowledged(connection, frame.data)
        finally:
            self._gone(connection)
            for waiting in connection.waiting.values():
                if not waiting.done():
                    waiting.set_exception(ConnectionError("the connection broke"))
        return stream

    def _gone(self, connection: Connection) -> None:
        if connection in self.connections:
            self.connections.remove(connection)

    def _acknowledged(self, connection: Connection, text: str) -> None:
        answer = json.loads(text)
        waiting = connection.waiting.get(answer.get("envelope_id"))
        if waiting is not None and not waiting.done():
            payload = answer.get("payload")
            waiting.set_result(b"" if payload is None else json.dumps(payload).encode())

    async def send(self, kind: str, body: bytes, content_type: str, *, retry: int = 0) -> bytes:
        """One envelope; what the bot acknowledged it with. Raises ``ConnectionError`` when there is no connection."""
        envelope = _envelope(kind, body, content_type, retry)
        while True:
            taking = [one for one in self.connections if not one.leaving] or self.connections
            if not taking:
                raise ConnectionError("no connection is open")
            connection = random.choice(taking)  # noqa: S311 - as Slack says it does
            waiting: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            connection.waiting[envelope["envelope_id"]] = waiting
            try:
                await connection.stream.send_json(envelope)
                return await waiting
            except ConnectionError:
                await asyncio.sleep(0.01)  # the same envelope, through another one
            finally:
                connection.waiting.pop(envelope["envelope_id"], None)

    # -- what Slack does with connections

    async def refresh(self, *, reason: str = "refresh_requested") -> None:
        """Says to every connection that it is going to be closed, and some moments later closes it."""
        leaving = tuple(self.connections)
        for connection in leaving:
            connection.leaving = True
            await connection.stream.send_json({"type": "disconnect", "reason": reason})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SECONDS_TO_LEAVE):
                while sum(not one.leaving for one in self.connections) < len(leaving):
                    self._came.clear()
                    await self._came.wait()
        for connection in leaving:
            if connection.waiting:
                await asyncio.wait(tuple(connection.waiting.values()), timeout=3)
            await connection.stream.close()

    def drop(self, number: int = 0) -> None:
        """Cuts a connection as a broken cable does."""
        connection = self.connections[number]
        self._gone(connection)
        if connection.transport is not None:
            connection.transport.abort()

    async def close(self) -> None:
        for connection in tuple(self.connections):
            with contextlib.suppress(ConnectionError):
                await connection.stream.close()


def _envelope(kind: str, body: bytes, content_type: str, retry: int) -> Json:
    payload: Any
    if content_type == "application/json":
        payload = json.loads(body)
    else:
        payload = dict(parse_qsl(body.decode(), keep_blank_values=True))
        if "payload" in payload:
            payload = json.loads(payload["payload"])
    shape = "slash_commands" if kind == "slash" else "interactive" if kind in INTERACTIVE else "events_api"
    envelope: Json = {"type": shape, "envelope_id": secrets.token_hex(16), "payload": payload}
    envelope["accepts_response_payload"] = shape != "events_api"
    if shape == "events_api":
        envelope |= {"retry_attempt": retry, "retry_reason": "timeout" if retry else ""}
    return envelope
