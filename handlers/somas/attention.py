"""``needs-human-review`` on an issue since yesterday: who waits for a person, as GitHub's labels tell it.

Upstream writes no status while a person is waited for; a label on the project's issue is all there is. Since when it is
there stands in the issue's events. What was found is remembered for as long as the issue is not changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from handlers.somas.decode import instant, mapping, text, whole
from handlers.somas.github import SomasGitHub

# Those of upstream's labels that ask for a person.
LABELS = (
    "needs-human-review",
    "quality:review-needed",
    "somas:ready-for-review",
    "somas:manual",
    "somas:circuit-breaker",
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A label that asks for a person, and since when it is on the issue."""

    label: str
    since: datetime


class Attention:
    """Asks GitHub which issues wait for a person."""

    def __init__(self, github: SomasGitHub) -> None:
        self._github = github
        self._known: dict[tuple[int, str], Asked | None] = {}  # by issue and the time of its last change

    async def by_issue(self) -> dict[int, Asked]:
        """By the number of the issue, the label that has been there longest. Raises ``Refused``, ``NotNow``."""
        found: dict[int, Asked] = {}
        seen: set[tuple[int, str]] = set()
        for label in LABELS:
            for issue in await self._github.open_issues(label):
                number = whole(issue.get("number"))
                key = (number, text(issue.get("updated_at")))
                if number in found or "pull_request" in issue:
                    continue
                seen.add(key)
                if key not in self._known:
                    self._known[key] = oldest(await self._github.issue_events(number))
                asked = self._known[key]
                if asked is not None:
                    found[number] = asked
        self._known = {key: value for key, value in self._known.items() if key in seen}
        return found


def oldest(events: list[dict[str, Any]]) -> Asked | None:
    """Of the labels that are there now and ask for a person, the one that came first. Pure."""
    present: dict[str, datetime] = {}
    for event in events:
        name = text(mapping(event.get("label")).get("name"))
        at = instant(event.get("created_at"))
        if name not in LABELS or at is None:
            continue
        if event.get("event") == "labeled":
            present.setdefault(name, at)
        elif event.get("event") == "unlabeled":
            present.pop(name, None)
    if not present:
        return None
    label = min(present, key=lambda name: present[name])
    return Asked(label, present[label])


def hours_waited(asked: Mapping[int, Asked], issue: int, now: datetime) -> tuple[float, str] | None:
    """For how long, in hours, and which label; None when nobody is asked for."""
    found = asked.get(issue)
    return (max(0.0, (now - found.since).total_seconds() / 3600), found.label) if found else None
