"""What every request to the local GitHub passes: credentials, permissions, rate limits, injected faults, ETags."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from aiohttp import web

from bot.demo.github.answers import Refusal, etag
from bot.demo.github.state import Credential, World

CREDENTIAL: web.RequestKey[Credential] = web.RequestKey("credential", Credential)

# The permission that a route needs, as GitHub names it in X-Accepted-GitHub-Permissions; the first match counts.
_NEEDS = (
    (r"/repos/[^/]+/[^/]+/(issues|labels)\b", "issues"),
    (r"/repos/[^/]+/[^/]+/actions/permissions\b", "administration"),
    (r"/repos/[^/]+/[^/]+/actions/secrets\b", "secrets"),
    (r"/repos/[^/]+/[^/]+/actions\b", "actions"),
    (r"/repos/[^/]+/[^/]+/pulls\b", "pull_requests"),
    (r"/repos/[^/]+/[^/]+/hooks\b", "repository_hooks"),
    (r"/repos/[^/]+/[^/]+/(contents|commits|git)\b", "contents"),
    (r"/repos/", "metadata"),
)
_SECONDARY = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
WRITES_A_MINUTE = 80
WRITES_AN_HOUR = 500
REQUESTS_AN_HOUR = 5000


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer; ``route`` is the path with GitHub's own parameter names."""

    method: str
    route: str
    path: str
    query: dict[str, str]
    request: Any
    status: int
    response: Any
    headers: dict[str, str]


@dataclass(slots=True)
class Fault:
    """What goes wrong with the next ``times`` requests that match."""

    method: str  # "*": any
    path: str  # a regular expression, searched in the path
    times: int
    status: int
    headers: dict[str, str]
    message: str
    after: bool  # the request is carried out, only its answer is lost


class Gate:
    """The middleware, and the knobs of the tests."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.exchanges: deque[Exchange] = deque(maxlen=2000)
        self.faults: list[Fault] = []
        self._writes: deque[datetime] = deque()
        self._used = 0
        self.limit = REQUESTS_AN_HOUR
        self._reset_at = world.now() + timedelta(hours=1)
        self.writing = 0
        self.most_writing = 0  # writes at the same time, at most: GitHub asks for one
        self.write_times: list[datetime] = []
        self.own_key_routes: frozenset[str] = frozenset()  # where an app signs itself; no token is looked for

    @web.middleware
    async def middleware(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        sent = await request.read()
        writes = request.method not in ("GET", "HEAD") and request.path != "/graphql"
        self.writing += writes
        self.most_writing = max(self.most_writing, self.writing)
        try:
            response = await self._answer(request, handler, writes)
        finally:
            self.writing -= writes
        self._record(request, sent, response)
        return response

    async def _answer(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]], writes: bool
    ) -> web.Response:
        fault = self._fault(request)
        if fault is not None and not fault.after:
            return self._fail(fault, request)
        try:
            self._admit(request, writes)
            answered = await handler(request)
        except Refusal as refusal:
            answered = refusal.response()
        except web.HTTPNotFound:
            answered = Refusal(404, "Not Found").response()
        except web.HTTPMethodNotAllowed:
            answered = Refusal(404, "Not Found").response()
        assert isinstance(answered, web.Response)
        if fault is not None:
            return self._fail(fault, request)
        body = answered.body if isinstance(answered.body, bytes) else b""
        if request.method == "GET" and answered.status == 200:
            tag = etag(body)
            answered.headers["ETag"] = tag
            if request.headers.get("If-None-Match") == tag:
                self._used -= 1  # a 304 does not count against the limit
                answered = web.Response(status=304, headers={"ETag": tag})
        self._rate_headers(answered)
        return answered

    def _admit(self, request: web.Request, writes: bool) -> None:
        resource = request.match_info.route.resource
        if resource is not None and resource.canonical in self.own_key_routes:
            return
        credential = self._credential(request)
        request[CREDENTIAL] = credential
        now = self._world.now()
        if now >= self._reset_at:
            self._used, self._reset_at = 0, now + timedelta(hours=1)
        if self._used >= self.limit:
            raise Refusal(403, f"API rate limit exceeded for user ID {credential.user.id}.")
        self._used += 1
        self._permit(request, credential, writes)
        if writes:
            while self._writes and now - self._writes[0] >= timedelta(hours=1):
                self._writes.popleft()
            in_a_minute = sum(now - at < timedelta(minutes=1) for at in self._writes)
            if in_a_minute >= WRITES_A_MINUTE or len(self._writes) >= WRITES_AN_HOUR:
                raise Refusal(403, _SECONDARY, headers={"Retry-After": "60"})
            self._writes.append(now)
            self.write_times.append(now)

    def _credential(self, request: web.Request) -> Credential:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if not token:
            raise Refusal(401, "Requires authentication")
        credential = self._world.credentials.get(token.strip())
        if scheme.casefold() not in ("token", "bearer") or credential is None:
            raise Refusal(401, "Bad credentials")
        if credential.expires_at is not None and self._world.now() >= credential.expires_at:
            raise Refusal(401, "Bad credentials")
        return credential

    def _permit(self, request: web.Request, credential: Credential, writes: bool) -> None:
        for pattern, name in _NEEDS:
            if re.match(pattern, request.path):
                has = credential.permissions.get(name, "none")
                if has == "none" or (writes and has == "read"):
                    by = "integration" if credential.installation else "personal access token"
                    raise Refusal(
                        403,
                        f"Resource not accessible by {by}",
                        headers={"X-Accepted-GitHub-Permissions": f"{name}={'write' if writes else 'read'}"},
                    )
                return

    def _fault(self, request: web.Request) -> Fault | None:
        for fault in self.faults:
            if fault.times > 0 and fault.method in ("*", request.method) and re.search(fault.path, request.path):
                fault.times -= 1
                return fault
        return None

    def _fail(self, fault: Fault, request: web.Request) -> web.Response:
        if fault.status == 0:  # no answer at all
            if request.transport is not None:
                request.transport.close()
            return web.Response(status=502)
        if fault.status >= 500 and not fault.message:  # a proxy in front of GitHub answers with a page
            return web.Response(
                status=fault.status, text="<html><body>Server Error</body></html>", content_type="text/html"
            )
        return Refusal(fault.status, fault.message or _SECONDARY, headers=fault.headers).response()

    def _rate_headers(self, response: web.Response) -> None:
        response.headers.setdefault("X-GitHub-Media-Type", "github.v3; format=json")
        response.headers.setdefault("X-RateLimit-Limit", str(self.limit))
        response.headers.setdefault("X-RateLimit-Remaining", str(max(self.limit - self._used, 0)))
        response.headers.setdefault("X-RateLimit-Used", str(self._used))
        response.headers.setdefault("X-RateLimit-Resource", "core")
        response.headers.setdefault("X-RateLimit-Reset", str(int(self._reset_at.timestamp())))

    def rate(self) -> dict[str, int]:
        return {
            "limit": self.limit,
            "used": self._used,
            "remaining": max(self.limit - self._used, 0),
            "reset": int(self._reset_at.timestamp()),
        }

    def _record(self, request: web.Request, sent: bytes, response: web.Response) -> None:
        resource = request.match_info.route.resource
        self.exchanges.append(
            Exchange(
                request.method,
                resource.canonical if resource is not None else request.path,
                request.path,
                dict(request.query),
                _json(sent),
                response.status,
                _json(response.body if isinstance(response.body, bytes) else b""),
                dict(response.headers),
            )
        )


def _json(body: bytes) -> Any:
    if not body:
        return None
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")
