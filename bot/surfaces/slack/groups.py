"""``[access] operators = ["slack-group:S0ONCALL"]``: who is in a user group of Slack.

Asked once a minute, one call for all groups, so that no command waits for Slack. When Slack cannot be asked the last
answer is good for ten minutes more; after that nobody is in any group: what cannot be known is denied, and /readyz says
so. https://docs.slack.dev/reference/methods/usergroups.list
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from bot.clock import Clock
from bot.surfaces.delivery import TryLater, Undeliverable

log = structlog.get_logger("opsbot.slack")

ASK_EVERY = timedelta(minutes=1)
GOOD_FOR = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Group:
    """``handle`` without its ``@``; ``members`` are user ids."""

    handle: str
    members: frozenset[str] = field(default=frozenset())


class Asked(Protocol):
    async def user_groups(self) -> dict[str, Group]:
        """Every group of the workspace by id. Raises TryLater, Undeliverable."""


class UserGroups:
    """The groups that the configuration names; ``run`` keeps them fresh."""

    def __init__(self, slack: Asked, clock: Clock, wanted: Collection[str]) -> None:
        self._slack = slack
        self._clock = clock
        self._wanted = tuple(wanted)
        self._known: dict[str, Group] = {}
        self._asked_at: datetime | None = None
        self._trouble = "they were not asked for yet"

    def members(self, group: str) -> frozenset[str]:
        """The ids of those who are in the group; nobody when that is not known, or was known too long ago."""
        if self._asked_at is None or self._clock.now() - self._asked_at > GOOD_FOR:
            return frozenset()
        return self._known[group].members if group in self._known else frozenset()

    def name(self, group: str) -> str:
        """``@oncall``; the id as long as nobody has told the handle."""
        return f"@{self._known[group].handle}" if group in self._known else group

    async def refresh(self) -> None:
        """Ask Slack; what goes wrong is kept for ``problems``."""
        try:
            found = await self._slack.user_groups()
        except (TryLater, Undeliverable) as error:
            self._trouble = str(error)
            log.warning("slack.groups_not_read", reason=self._trouble)
            return
        self._known = {group: found[group] for group in self._wanted if group in found}
        self._asked_at, self._trouble = self._clock.now(), ""

    async def run(self) -> None:
        while True:
            await self._clock.sleep(ASK_EVERY.total_seconds())
            await self.refresh()

    async def problems(self) -> list[str]:
        """For /readyz and ``opsbot doctor``."""
        if self._trouble:
            known = self._asked_at is not None and self._clock.now() - self._asked_at <= GOOD_FOR
            until = "for some minutes the last answer counts" if known else "so nobody has rights by one"
            return [f"Slack: the user groups of [access] cannot be read, {until}: {self._trouble}"]
        missing = [group for group in self._wanted if group not in self._known]
        return [f"access: Slack has no user group {group}, or it is disabled." for group in missing]
