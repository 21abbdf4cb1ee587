"""Deliveries that GitHub could not bring: the bot asks for them again, because GitHub never does so by itself.

The deliveries of the webhook are listed now and then; what failed with every attempt is redelivered, a few times and
with growing pauses. GitHub keeps deliveries for three days.
Source: docs.github.com, "Handling failed webhook deliveries".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

import msgspec
import structlog

from bot.clock import Clock
from bot.surfaces.delivery import TryLater, Undeliverable
from bot.surfaces.github.client import GitHubSurface
from bot.surfaces.github.webhook import EVENTS

EVERY = 300.0  # seconds
KEPT = timedelta(days=3)  # by GitHub
SETTLED = timedelta(minutes=1)  # younger ones may still be on their way
ATTEMPTS = 4  # the first one included
FIRST_PAUSE = timedelta(minutes=2)  # between two attempts; doubled each time
MOST_AT_ONCE = 20
MOST_PAGES = 20  # of 100 deliveries, in one look
OURS = "/github/webhook"  # how the address of the bot's webhook ends
POINTLESS = frozenset({400, 413, 415})  # what the bot answered to these it would answer again

_log = structlog.get_logger(__name__)


class _Config(msgspec.Struct):
    url: str = ""


class Hook(msgspec.Struct):
    """A webhook of the repository as GitHub lists it."""

    id: int
    active: bool = True
    events: tuple[str, ...] = ()
    config: _Config = msgspec.field(default_factory=_Config)


class Attempt(msgspec.Struct):
    """One attempt to deliver; ``guid`` is the same for every attempt of one event. ``status_code`` 0: on its way."""

    id: int
    guid: str
    delivered_at: datetime
    status_code: int
    event: str

    @property
    def arrived(self) -> bool:
        return 200 <= self.status_code < 300


def due_again(attempts: list[Attempt], now: datetime, not_before: datetime) -> list[Attempt]:
    """Of each event that never arrived its newest attempt, where it is time for another one; oldest event first."""
    by_event: dict[str, list[Attempt]] = {}
    for attempt in sorted(attempts, key=lambda each: (each.delivered_at, each.id)):
        by_event.setdefault(attempt.guid, []).append(attempt)
    due = []
    for tries in by_event.values():
        first, last = tries[0], tries[-1]
        if last.event not in EVENTS or first.delivered_at < not_before or len(tries) >= ATTEMPTS:
            continue
        if any(each.arrived for each in tries) or last.status_code in POINTLESS:
            continue
        pause = SETTLED if len(tries) == 1 else FIRST_PAUSE * 2 ** (len(tries) - 2)
        if now - last.delivered_at >= pause:
            due.append(last)
    return due


class Redelivery:
    """Calls for what was lost. ``began``: when the bot began to listen, ISO 8601, empty when it has not yet."""

    def __init__(
        self, surface: GitHubSurface, *, clock: Clock, began: Callable[[], Awaitable[str]], seconds: float = EVERY
    ) -> None:
        self._surface = surface
        self._clock = clock
        self._began = began
        self._seconds = seconds
        self._notices: list[str] = []

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            pause = self._seconds
            try:
                await self.look()
            except TryLater as error:
                pause = max(error.after, self._seconds)
            except Exception:
                _log.exception("github.redelivery.failed")
            await self._clock.sleep(pause)

    async def notices(self) -> list[str]:
        """Why nothing can be asked for again, and what the webhook does not send; empty when all is well."""
        return self._notices

    async def look(self) -> int:
        """Ask for what is due; how many deliveries that were. Raises ``TryLater``."""
        began = await self._began()
        if not began:
            return 0
        try:
            places = await self._places()
            asked = 0
            for path in places:
                asked += await self._of(path, datetime.fromisoformat(began))
        except Undeliverable as error:
            self._tell([_not_permitted(error, is_app=self._surface.is_app)])
            return 0
        return asked

    async def _places(self) -> list[str]:
        """Where the deliveries of the bot's webhooks are listed."""
        if self._surface.is_app:  # an app has one webhook for all of its installations
            self._tell([])
            return ["/app/hook/deliveries"]
        repository = self._surface.repository
        reply = await self._surface.call(
            "GET", f"/repos/{repository}/hooks", f"the webhooks of {repository}", {"per_page": "100"}
        )
        hooks = msgspec.convert(reply.data, list[Hook])
        ours = [hook for hook in hooks if hook.active and urlsplit(hook.config.url).path.endswith(OURS)]
        told = [f"No active webhook of {repository} ends with {OURS}: add one, or unset GITHUB_WEBHOOK_SECRET."]
        if ours:
            sent = {event for hook in ours for event in hook.events}
            silent = [event for event in EVENTS if event not in sent and "*" not in sent]
            told = [f"The webhook of {repository} does not send {', '.join(silent)}; tick it there."] if silent else []
        self._tell(told)
        return [f"/repos/{repository}/hooks/{hook.id}/deliveries" for hook in ours]

    async def _of(self, path: str, began: datetime) -> int:
        now = self._clock.now()
        not_before = max(began, now - KEPT)
        due = due_again(await self._attempts(path, not_before), now, not_before)[:MOST_AT_ONCE]
        for attempt in due:
            where = f"delivery {attempt.guid}"
            await self._surface.call("POST", f"{path}/{attempt.id}/attempts", where)
            _log.info("github.redelivery.asked", delivery=attempt.guid, event_name=attempt.event)
        return len(due)

    async def _attempts(self, path: str, not_before: datetime) -> list[Attempt]:
        found: list[Attempt] = []
        parameters: Mapping[str, str] | None = {"per_page": "100"}
        for _ in range(MOST_PAGES):
            reply = await self._surface.call("GET", path, "the deliveries of the webhook", parameters)
            page = msgspec.convert(reply.data, list[Attempt])
            found += page
            parameters = _next(reply.headers.get("link", ""))
            if not page or page[-1].delivered_at < not_before or parameters is None:
                break
        return found

    def _tell(self, notices: list[str]) -> None:
        if notices != self._notices and notices:
            _log.warning("github.redelivery.notice", notices=notices)
        self._notices = notices


def _next(link: str) -> Mapping[str, str] | None:
    """The parameters of ``rel="next"`` of a Link header; the deliveries have a cursor there instead of a page."""
    for part in link.split(","):
        if 'rel="next"' in part:
            return dict(parse_qsl(urlsplit(part[part.find("<") + 1 : part.find(">")]).query))
    return None


def _not_permitted(error: Undeliverable, *, is_app: bool) -> str:
    needs = (
        "The deliveries are read with the app's own key: compare GITHUB_APP_ID and GITHUB_PRIVATE_KEY."
        if is_app
        else "The token needs the permission Webhooks: Read and write (a classic one: admin:repo_hook)."
    )
    return (
        f"Lost deliveries of GitHub cannot be asked for again: {error.reason}. {needs} Until then lost commands are "
        "found by the poller; lost labels and workflow runs are seen when the bot looks the next time."
    )
