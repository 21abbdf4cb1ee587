"""Webhooks of the local GitHub: signed, delivered once and, when a test says so, lost, doubled or out of order."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import aiohttp
from aiohttp import web

from bot.demo.github.answers import body_of, not_found, number, page, reply
from bot.demo.github.shapes import JSON, Shapes, iso, node
from bot.demo.github.state import User, World

TIMEOUT = 10.0  # seconds; GitHub gives up then


@dataclass(slots=True)
class Hook:
    id: int
    url: str
    secret: str
    events: tuple[str, ...]
    created_at: datetime
    of_app: bool = False  # the one webhook of the app, for all of its installations


@dataclass(slots=True)
class Delivery:
    """One event for one hook; a redelivery has a new id and the same GUID."""

    id: int
    guid: str
    hook: Hook
    event: str
    action: str | None
    body: bytes
    delivered_at: datetime
    redelivery: bool = False
    status_code: int = 0
    status: str = "pending"
    answer: str = ""
    headers: dict[str, str] = field(default_factory=dict)


class Deliveries:
    """``drop`` and ``double`` count the deliveries that are lost or sent twice next; ``hold`` keeps them back."""

    def __init__(self, world: World, shapes: Shapes) -> None:
        self._world = world
        self._shapes = shapes
        self.hooks: list[Hook] = []
        self.sent: list[Delivery] = []
        self.drop = 0
        self.double = 0
        self.held: list[Delivery] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None

    def add_hook(
        self, url: str, secret: str, events: tuple[str, ...] = ("issue_comment", "issues", "workflow_run")
    ) -> Hook:
        """Register a webhook; like GitHub, it is pinged at once."""
        hook = Hook(self._world.new_id(), url, secret, events, self._world.now())
        self.hooks.append(hook)
        payload = {"zen": "Keep it logically awesome.", "hook_id": hook.id, "hook": self._shape(hook)}
        self._deliver(self._delivery(hook, "ping", None, self._payload(payload, None, self._world.repository.owner)))
        return hook

    def send(self, event: str, action: str, by: User, payload: JSON) -> None:
        """An event happened: every hook that listens to it gets it."""
        body = self._payload(payload, action, by)
        for hook in self.hooks:
            if event not in hook.events:
                continue
            delivery = self._delivery(hook, event, action, body)
            if self.drop > 0:
                self.drop -= 1
                delivery.status, delivery.status_code = "failed to connect to host", 502
                self.sent.append(delivery)
                continue
            times = 1
            if self.double > 0:
                self.double -= 1
                times = 2
            for _ in range(times):
                if self.held is not None:
                    self.held.append(delivery)
                else:
                    self._deliver(delivery)

    def listens(self, event: str) -> bool:
        """Whether anybody wants to hear of it."""
        return any(event in hook.events for hook in self.hooks)

    def hold(self) -> None:
        self.held = []

    def release(self, *, backwards: bool = False) -> None:
        """Send what was held, in this or the opposite order."""
        held, self.held = self.held or [], None
        for delivery in reversed(held) if backwards else held:
            self._deliver(delivery)

    def redeliver(self, delivery: Delivery) -> Delivery:
        """Send again, as the button on GitHub's page does: same GUID, same body."""
        again = Delivery(
            self._world.new_id(),
            delivery.guid,
            delivery.hook,
            delivery.event,
            delivery.action,
            delivery.body,
            self._world.now(),
            redelivery=True,
        )
        self._deliver(again)
        return again

    async def settled(self) -> None:
        """Until nothing is on its way any more."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def routes(self) -> list[web.RouteDef]:
        hook = "/repos/{owner}/{repo}/hooks"
        deliveries = hook + "/{hook_id}/deliveries"
        return [
            web.get(hook, self._list_hooks),
            web.get(deliveries, self._list_deliveries),
            web.post(deliveries + "/{delivery_id}/attempts", self._redeliver),
        ]

    def _payload(self, payload: JSON, action: str | None, by: User) -> bytes:
        document: JSON = {"action": action} if action else {}
        document |= payload
        repository = self._shapes.full_repository(self._world.repository, by)
        document |= {"repository": repository, "sender": self._shapes.user(by)}
        return json.dumps(document, ensure_ascii=False).encode()

    def _delivery(self, hook: Hook, event: str, action: str | None, body: bytes) -> Delivery:
        return Delivery(self._world.new_id(), str(uuid.uuid4()), hook, event, action, body, self._world.now())

    def _deliver(self, delivery: Delivery) -> None:
        self.sent.append(delivery)
        task = asyncio.get_running_loop().create_task(self._post(delivery))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _post(self, delivery: Delivery) -> None:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT))
        hook = delivery.hook
        digest = hmac.new(hook.secret.encode(), delivery.body, hashlib.sha256).hexdigest()
        delivery.headers = {
            "Content-Type": "application/json",
            "User-Agent": "GitHub-Hookshot/local",
            "X-GitHub-Delivery": delivery.guid,
            "X-GitHub-Event": delivery.event,
            "X-GitHub-Hook-ID": str(hook.id),
            "X-GitHub-Hook-Installation-Target-ID": str(self._world.repository.id),
            "X-GitHub-Hook-Installation-Target-Type": "repository",
            "X-Hub-Signature-256": f"sha256={digest}",
        }
        try:
            async with self._session.post(hook.url, data=delivery.body, headers=delivery.headers) as response:
                delivery.status_code, delivery.answer = response.status, await response.text()
                delivery.status = "OK" if response.ok else f"Invalid HTTP Response: {response.status}"
        except (aiohttp.ClientError, TimeoutError) as error:
            delivery.status_code, delivery.status = 502, f"failed to connect to host: {type(error).__name__}"

    def _shape(self, hook: Hook) -> JSON:
        url = f"{self._shapes.repository_url(self._world.repository)}/hooks/{hook.id}"
        return {
            "type": "Repository",
            "id": hook.id,
            "node_id": node("H", hook.id),
            "name": "web",
            "active": True,
            "events": list(hook.events),
            "config": {"content_type": "json", "insecure_ssl": "0", "url": hook.url, "secret": "********"},
            "updated_at": iso(hook.created_at),
            "created_at": iso(hook.created_at),
            "url": url,
            "test_url": f"{url}/test",
            "ping_url": f"{url}/pings",
            "deliveries_url": f"{url}/deliveries",
            "last_response": {"code": None, "status": "unused", "message": None},
        }

    async def _list_hooks(self, request: web.Request) -> web.Response:
        return page(request, [hook for hook in self.hooks if not hook.of_app], self._shape)

    async def _list_deliveries(self, request: web.Request) -> web.Response:
        hook = self._hook(request)
        return self._pages(request, [delivery for delivery in reversed(self.sent) if delivery.hook is hook])

    async def list_of_app(self, request: web.Request) -> web.Response:
        """What the app's webhook was sent."""
        return self._pages(request, [delivery for delivery in reversed(self.sent) if delivery.hook.of_app])

    async def redeliver_of_app(self, request: web.Request) -> web.Response:
        return self._again(request, [delivery for delivery in self.sent if delivery.hook.of_app])

    def _pages(self, request: web.Request, rows: list[Delivery]) -> web.Response:
        """Deliveries have no page numbers: the next page begins behind a cursor."""
        size = min(max(number(request, "per_page", 30), 1), 100)
        start = number(request, "cursor", 0)
        link = ""
        if start + size < len(rows):
            url = request.url.update_query(cursor=str(start + size)).human_repr()
            link = f'<{url}>; rel="next"'
        shown = [self._delivery_shape(row) for row in rows[start : start + size]]
        return reply(shown, headers={"Link": link} if link else None)

    def _delivery_shape(self, delivery: Delivery) -> dict[str, Any]:
        return {
            "id": delivery.id,
            "guid": delivery.guid,
            "delivered_at": iso(delivery.delivered_at),
            "redelivery": delivery.redelivery,
            "duration": 0.03,
            "status": delivery.status,
            "status_code": delivery.status_code,
            "event": delivery.event,
            "action": delivery.action,
            "installation_id": None,
            "repository_id": self._world.repository.id,
            "throttled_at": None,
        }

    async def _redeliver(self, request: web.Request) -> web.Response:
        hook = self._hook(request)
        await body_of(request)
        return self._again(request, [delivery for delivery in self.sent if delivery.hook is hook])

    def _again(self, request: web.Request, deliveries: list[Delivery]) -> web.Response:
        for delivery in deliveries:
            if str(delivery.id) == request.match_info["delivery_id"]:
                self.redeliver(delivery)
                return reply({}, 202)
        raise not_found()

    def _hook(self, request: web.Request) -> Hook:
        for hook in self.hooks:
            if str(hook.id) == request.match_info["hook_id"] and not hook.of_app:
                return hook
        raise not_found()
