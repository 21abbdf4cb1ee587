"""``http://127.0.0.1:PORT/``: the local workspace in a browser, and what the page asks of the server.

The page shows hostile text (file names, log lines, issue comments) and stands in for people's hands, so it is guarded
like a real one: loopback only, the ``Host`` header is checked (DNS rebinding), changes need the page's own ``Origin``,
scripts and styles come from here only, and text reaches the document as text nodes.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from bot.demo.slack.payloads import api_message, api_view
from bot.demo.slack.workspace import Json, LocalMessage, LocalView, Refused

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware

    from bot.demo.slack.local import LocalSlack

STATIC = Path(__file__).parent / "static"
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_GUARD = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
STARTING = "opsbot is still starting. What you typed is delivered as soon as it is up."
STARTING_SECONDS = 20.0
_BACKLOG = 1000  # events that a page may lag behind before it is told to load everything anew


@dataclass(frozen=True, slots=True)
class SlashCommand:
    """A line of the page's completion: ``SlashCommand("/somas restart", "<project> [--dry-run]", "Restart ...")``."""

    command: str
    usage: str = ""
    help: str = ""


@dataclass(frozen=True, slots=True)
class Hint:
    """Something that a first-time visitor may try: clicking it puts ``text`` into the input box."""

    text: str
    help: str


class Page:
    """The routes of the page. Live changes are server-sent events."""

    def __init__(self, slack: LocalSlack) -> None:
        self._slack = slack
        self._streams: set[asyncio.Queue[Json | None]] = set()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self._index),
            web.get("/archives/{channel}/{message}", self._index),  # permalinks
            web.get("/static/{name}", self._static),
            web.get("/page/state", self._state),
            web.get("/page/stream", self._stream),
            web.post("/page/enter", self._enter),
            web.post("/page/press", self._press),
            web.post("/page/submit", self._submit),
            web.post("/page/close", self._close),
            web.post("/page/suggest", self._suggest),
            web.post("/page/shortcut", self._shortcut),
            web.post("/page/home", self._home),
            web.post("/page/press-home", self._press_home),
        ]

    def close(self) -> None:
        for queue in self._streams:
            queue.put_nowait(None)

    @property
    def middlewares(self) -> list[Middleware]:
        return [self._only_this_machine(), self._when_the_bot_is_up()]

    def _when_the_bot_is_up(self) -> Middleware:
        """What somebody does while the bot is still starting is told to it as soon as it is up."""
        slack = self._slack

        @web.middleware
        async def wait(request: web.Request, handler: Handler) -> web.StreamResponse:
            if not request.path.startswith("/page/") or request.method != "POST" or await slack.bot_is_up(0):
                return await handler(request)
            if request.path == "/page/enter":
                body = await self._body(request)
                if (user := body.get("user")) in slack.space.people and body.get("channel") in slack.space.channels:
                    slack.space.slackbot(user, body["channel"], STARTING)
            if not await slack.bot_is_up(STARTING_SECONDS):
                return _told(RuntimeError("opsbot is still starting: try again in a moment."))
            return await handler(request)

        return wait

    def _only_this_machine(self) -> Middleware:
        """Refuses requests that a foreign page could have caused."""
        slack = self._slack

        @web.middleware
        async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
            names = {f"{name}:{slack.port}" for name in ("127.0.0.1", "localhost", "[::1]")}
            if request.host not in names:
                return web.Response(status=421, text="This workspace answers to 127.0.0.1 only.\n")
            if request.path.startswith("/page/") and request.method == "POST":
                if request.headers.get("Origin") != f"http://{request.host}":
                    return web.Response(status=403, text="Only the page itself may do this.\n")
                if request.content_type != "application/json":
                    return web.Response(status=415, text="Send JSON.\n")
            return await handler(request)

        return check

    # -- files ---------------------------------------------------------------------------------------------------------

    async def _index(self, _: web.Request) -> web.Response:
        return self._file("index.html")

    async def _static(self, request: web.Request) -> web.Response:
        return self._file(request.match_info["name"])

    def _file(self, name: str) -> web.Response:
        known = {path.name: path for path in STATIC.iterdir() if path.suffix in _TYPES}
        if name not in known:
            return web.Response(status=404, text="not found", headers=_GUARD)
        return web.Response(
            body=known[name].read_bytes(), content_type=_TYPES[known[name].suffix], charset="utf-8", headers=_GUARD
        )

    # -- what the page shows -------------------------------------------------------------------------------------------

    def _message(self, message: LocalMessage) -> Json:
        written = api_message(self._slack.space, message)
        return written | {
            "channel": message.channel,
            "only_for": message.only_for,
            "broadcast": message.broadcast,
            "in_thread": message.in_thread,
        }

    def _view(self, view: LocalView) -> Json:
        return api_view(self._slack.space, view) | {"errors": view.errors}

    def _views(self, user: str) -> list[Json]:
        return [self._view(view) for view in self._slack.space.views.get(user, [])]

    async def _state(self, _: web.Request) -> web.Response:
        space = self._slack.space
        answer: Json = {
            "team": space.team_domain,
            "bot": space.bot_user_id,
            "people": [asdict(person) for person in space.people.values()],
            "channels": [asdict(channel) for channel in space.channels.values()],
            "groups": [asdict(group) for group in space.groups.values()],
            "hints": [asdict(hint) for hint in self._slack.hints],
            "commands": [asdict(command) for command in self._slack.commands],
            "messages": [self._message(one) for one in space.all_messages()],
            "views": {user: self._views(user) for user in space.views},
            "shortcuts": self._slack.shortcuts,
            "homes": {user: self._view(view) for user, view in space.homes.items()},
        }
        return web.json_response(answer, headers=_GUARD)

    def _event(self, event: Json) -> Json | None:
        match event["type"]:
            case "message":
                message: LocalMessage = event["message"]
                written = {"type": "message", "message": self._message(message)}
                root = self._slack.space.find(message.channel, message.thread_ts or "")
                if message.in_thread and root is not None:
                    written["root"] = self._message(root)  # its reply count has changed
                return written
            case "deleted":
                return {"type": "deleted", "channel": event["message"].channel, "ts": event["message"].ts}
            case "views":
                return {"type": "views", "user": event["user"], "views": self._views(event["user"])}
            case "home":
                return {
                    "type": "home",
                    "user": event["user"],
                    "view": self._view(self._slack.space.homes[event["user"]]),
                }
            case "reload":
                return {"type": "reload"}
        return None

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=_GUARD | {"Content-Type": "text/event-stream"})
        await response.prepare(request)
        queue: asyncio.Queue[Json | None] = asyncio.Queue()

        def tell(event: Json) -> None:
            written = self._event(event)
            if written is not None and queue.qsize() < _BACKLOG:
                queue.put_nowait(written)
            elif written is not None:
                queue.put_nowait(None)  # too slow: it connects again and loads everything

        stop = self._slack.space.listen(tell)
        self._streams.add(queue)
        try:
            await response.write(b"retry: 500\nevent: ready\ndata: {}\n\n")
            while True:
                try:
                    event = await asyncio.wait_for(queue.get(), timeout=15)
                except TimeoutError:
                    await response.write(b": still here\n\n")
                    continue
                if event is None:
                    break
                await response.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        except ConnectionError:
            pass  # the page was closed
        finally:
            stop()
            self._streams.discard(queue)
        return response

    # -- what people do on it ------------------------------------------------------------------------------------------

    async def _body(self, request: web.Request) -> Json:
        try:
            body = await request.json()
        except ValueError:
            raise web.HTTPBadRequest(text="not JSON") from None
        if not isinstance(body, dict):
            raise web.HTTPBadRequest(text="not an object")
        return body

    async def _enter(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        try:
            await self._slack.enter(body["user"], body["channel"], body["text"], body.get("thread_ts"))
        except (LookupError, ValueError, RuntimeError, Refused) as problem:
            return _told(problem)
        return web.json_response({"ok": True}, headers=_GUARD)

    async def _press(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        try:
            delivery = await self._slack.press(
                body["user"],
                body["channel"],
                body["ts"],
                action_id=body["action_id"],
                block_id=body["block_id"],
                option=body.get("option"),
            )
        except (LookupError, RuntimeError) as problem:
            return _told(problem)
        return web.json_response({"ok": delivery.ok, "error": delivery.failure}, headers=_GUARD)

    async def _submit(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        try:
            answer = await self._slack.submit(body["user"], body["view_id"], body["values"])
        except (LookupError, RuntimeError, Refused) as problem:
            return _told(problem)
        return web.json_response({"ok": answer.ok, "errors": dict(answer.errors)}, headers=_GUARD)

    async def _suggest(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        try:
            options = await self._slack.suggest(body["user"], body["view_id"], body["block_id"], body["value"])
        except (LookupError, RuntimeError, Refused) as problem:
            return _told(problem)
        return web.json_response({"ok": True, "options": options}, headers=_GUARD)

    async def _shortcut(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        try:
            delivery = await self._slack.use_shortcut(body["user"], body["channel"], body["ts"], body["callback_id"])
        except (LookupError, RuntimeError) as problem:
            return _told(problem)
        return web.json_response({"ok": delivery.ok, "error": delivery.failure}, headers=_GUARD)

    async def _home(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        try:
            await self._slack.open_home(body["user"])
        except (LookupError, RuntimeError) as problem:
            return _told(problem)
        return web.json_response({"ok": True}, headers=_GUARD)

    async def _press_home(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        try:
            delivery = await self._slack.press_home(
                body["user"], action_id=body["action_id"], block_id=body["block_id"], option=body.get("option")
            )
        except (LookupError, RuntimeError) as problem:
            return _told(problem)
        return web.json_response({"ok": delivery.ok, "error": delivery.failure}, headers=_GUARD)

    async def _close(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        try:
            await self._slack.close_view(body["user"], body["view_id"])
        except (LookupError, RuntimeError) as problem:
            return _told(problem)
        return web.json_response({"ok": True}, headers=_GUARD)


def _told(problem: Exception) -> web.Response:
    return web.json_response({"ok": False, "error": str(problem)}, status=400, headers=_GUARD)
