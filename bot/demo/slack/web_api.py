"""``POST /api/chat.postMessage``: the HTTP side of the Web API, of ``response_url`` and of file uploads."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Callable
from typing import Any

from aiohttp import web

from bot.demo.slack.content import read_content
from bot.demo.slack.faults import Fault, Faults, RateLimits
from bot.demo.slack.method_table import METHODS, Method
from bot.demo.slack.methods import Methods, flag
from bot.demo.slack.workspace import (
    RESPONSE_URL_USES,
    Json,
    LocalMessage,
    Refused,
    ResponsePass,
    Workspace,
)

_REPLY_ARGUMENTS = {
    "text",
    "blocks",
    "attachments",
    "metadata",
    "response_type",
    "replace_original",
    "delete_original",
    "thread_ts",
    "unfurl_links",
    "unfurl_media",
    "mrkdwn",
}
_LIMITED = {"chat.postMessage", "chat.postEphemeral", "chat.update"}
_IMAGES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}


class WebApi:
    """Answers the bot's requests. ``scopes`` None means: the token may do everything."""

    def __init__(
        self,
        space: Workspace,
        *,
        token: str,
        base_url: Callable[[], str],
        scopes: frozenset[str] | None = None,
    ) -> None:
        self.space = space
        self.methods = Methods(space, base_url)
        self.faults = Faults()
        self.rate_limits: RateLimits | None = None
        self.scopes = scopes
        self.calls: list[tuple[str, Json]] = []  # every call that was let in: method, arguments
        self._token = token

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/{method}", self._call),
            web.post("/api/{method}", self._call),
            web.post("/response/{token}", self._respond),
            web.post("/upload/{file}/{key}", self._upload),
            web.get("/files/{file}", self._download),
        ]

    # -- methods -------------------------------------------------------------------------------------------------------

    async def _call(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["method"]
        try:
            if name not in METHODS:
                raise Refused("unknown_method", req_method=name)
            method = METHODS[name]
            arguments, is_json = await self._arguments(request)
            self._authorize(request, arguments, method, is_json=is_json)
            fault = self.faults.take(name)
            if fault is not None and fault.kind not in ("lost_answer", "late_answer"):
                return _faulty(fault)
            if self.rate_limits is not None and name in _LIMITED:
                channel = str(arguments.get("channel"))
                if wait := self.rate_limits.seconds_to_wait(name, channel, self.space.now()):
                    return _too_many(wait)
            _check_arguments(method, arguments, is_json=is_json)
            self.calls.append((name, arguments))
            answer = {"ok": True, **method.run(self.methods, arguments)}
        except Refused as refused:
            return _refusal(refused)
        if fault is not None and fault.released is not None:
            await fault.released.wait()
        elif fault is not None:
            return await _cut(request)
        headers = {"x-oauth-scopes": ",".join(sorted(self.scopes or ())), "Cache-Control": "no-store"}
        return web.json_response(answer, headers=headers)

    async def _arguments(self, request: web.Request) -> tuple[Json, bool]:
        arguments: Json = dict(request.query)
        if request.method == "GET":
            return arguments, False
        if request.content_type == "application/json":
            try:
                body = json.loads(await request.read() or b"{}")
            except ValueError:
                raise Refused("invalid_json") from None
            if not isinstance(body, dict):
                raise Refused("json_not_object")
            return arguments | body, True
        if request.content_type not in {
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "application/octet-stream",  # what aiohttp says for an empty body
        }:
            raise Refused("invalid_post_type", "[ERROR] use application/json or application/x-www-form-urlencoded")
        form = await request.post()
        return arguments | {name: value for name, value in form.items() if isinstance(value, str)}, False

    def _authorize(self, request: web.Request, arguments: Json, method: Method, *, is_json: bool) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        given = arguments.pop("token", None)
        if scheme.lower() != "bearer" or not token:
            token = "" if is_json else str(given or "")  # Slack ignores a token inside a JSON body
        if not token:
            raise Refused("not_authed")
        if not hmac.compare_digest(token.strip().encode(), self._token.encode()):
            raise Refused("invalid_auth")
        if arguments.pop("team_id", self.space.team_id) != self.space.team_id:  # the SDK adds it to every call
            raise Refused("team_not_found")
        if method.scope and self.scopes is not None and method.scope not in self.scopes:
            raise Refused("missing_scope", needed=method.scope, provided=",".join(sorted(self.scopes)))

    # -- response_url --------------------------------------------------------------------------------------------------

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        allowed = self.space.passes.get(request.match_info["token"])
        fault = self.faults.take("response_url")
        if fault is not None and fault.kind != "lost_answer":
            return _faulty(fault)
        try:
            if allowed is None:
                raise Refused("invalid_token")
            if self.space.now() > allowed.expires:
                raise Refused("expired_url")
            if allowed.uses >= RESPONSE_URL_USES:
                raise Refused("used_url")
            allowed.uses += 1
            body = json.loads(await request.read())
            if request.content_type != "application/json" or not isinstance(body, dict):
                raise Refused("invalid_payload", "[ERROR] send a JSON object as application/json")
            self.reply(allowed, body)
        except ValueError:
            return _refusal(Refused("invalid_payload", "[ERROR] the body is not JSON"), status=400)
        except Refused as refused:
            gone = refused.error in {"expired_url", "used_url", "invalid_token"}
            return _refusal(refused, status=404 if gone else 400)
        if fault is not None:
            return await _cut(request)
        return web.Response(text="ok")

    def reply(self, allowed: ResponsePass, body: Json) -> LocalMessage | None:
        """What a ``response_url`` post, or the immediate answer to a slash command, does."""
        if unknown := sorted(body.keys() - _REPLY_ARGUMENTS):
            raise Refused("invalid_arguments", *(f"[ERROR] unknown argument: {name}" for name in unknown))
        if body.get("response_type") not in (None, "ephemeral", "in_channel"):
            raise Refused("invalid_arguments", "[ERROR] response_type must be ephemeral or in_channel")
        replace, delete = flag(body.get("replace_original")), flag(body.get("delete_original"))
        original = allowed.original
        if (replace or delete) and (original is None or not self._is_there(original)):
            raise Refused("no_original_message", "[ERROR] this response_url belongs to no message")
        if delete and original is not None:
            self.space.remove(original)
            return None
        content = read_content(body)
        if replace and original is not None:
            content.put_into(original)
            original.updates += 1
            original.seen = False
            self.space.touched(original)
            return original
        message = self.methods.new_message(allowed.channel)
        content.put_into(message)
        message.thread_ts = str(body["thread_ts"]) if body.get("thread_ts") else allowed.thread_ts
        if body.get("response_type") != "in_channel":
            message.only_for = allowed.user
        return self.space.post(message)

    def _is_there(self, message: LocalMessage) -> bool:
        return self.space.find(message.channel, message.ts, message.only_for) is message

    # -- files ---------------------------------------------------------------------------------------------------------

    async def _upload(self, request: web.Request) -> web.Response:
        file = self.space.files.get(request.match_info["file"])
        if file is None or self.methods.upload_keys.get(file.id) != request.match_info["key"]:
            return web.Response(status=404, text="no such upload")
        content: Any = None
        if request.content_type == "multipart/form-data":
            fields = [value for value in (await request.post()).values() if isinstance(value, web.FileField)]
            content = fields[0].file.read() if len(fields) == 1 else None
        else:
            content = await request.read()
        if content is None or len(content) != file.length:
            return web.Response(status=400, text=f"expected one file of {file.length} bytes")
        file.content = content
        return web.Response(text=f"OK - {file.length}")

    async def _download(self, request: web.Request) -> web.Response:
        """A file for the page: pictures as pictures, everything else as text that no browser interprets."""
        file = self.space.files.get(request.match_info["file"])
        if file is None or file.content is None or file.completed_at is None:
            return web.Response(status=404, text="no such file")
        kinds = (kind for magic, kind in _IMAGES.items() if file.content.startswith(magic))
        headers = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox; default-src 'none'"}
        return web.Response(body=file.content, content_type=next(kinds, "text/plain"), headers=headers)


def _check_arguments(method: Method, arguments: Json, *, is_json: bool) -> None:
    if is_json and not method.json:
        raise Refused("invalid_arguments", "[ERROR] this method takes a form or a query, not JSON")
    problems = [
        f"[ERROR] missing required field: {name}" for name in method.required if arguments.get(name) in (None, "")
    ]
    known = {*method.required, *method.optional}
    problems += [f"[ERROR] unknown argument: {name}" for name in sorted(arguments.keys() - known)]
    if problems:
        raise Refused("invalid_arguments", *problems)


def _refusal(refused: Refused, status: int = 200) -> web.Response:
    answer: Json = {"ok": False, "error": refused.error, **refused.extra}
    if refused.messages:
        answer["response_metadata"] = {"messages": refused.messages}
        answer["errors"] = refused.messages
    return web.json_response(answer, status=status)


def _too_many(retry_after: int) -> web.Response:
    answer = {"ok": False, "error": "ratelimited"}
    return web.json_response(answer, status=429, headers={"Retry-After": str(retry_after)})


def _faulty(fault: Fault) -> web.Response:
    if fault.kind == "ratelimited":
        return _too_many(fault.retry_after)
    if fault.kind == "server_error":
        page = "<!DOCTYPE html><title>Server Error</title>"
        return web.Response(status=fault.status, text=page, content_type="text/html")
    return _refusal(Refused(fault.error))


async def _cut(request: web.Request) -> web.StreamResponse:
    """Breaks the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    await asyncio.sleep(0)
    return web.Response(status=500)
