"""``- when: step 4 fails twice`` under ``escalation:`` in the front matter: the escalation clause as the bot does it.

```yaml
escalation:
- when: step 4 or 5 fails twice
  page: L2
  attach: [step 2, handle.journal(), health.status]
- when: step 2 is not done in 10min
  issue: {title: "{target} crashes", labels: [bug]}
```

The paragraph ``**Escalation**: …`` stays what people read; each clause here says when it comes true and what is done.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

from bot.runbooks.binding import parse_call
from bot.runbooks.durations import parse_duration
from bot.runbooks.model import Clause, IssueTemplate, Step

FORMS = (
    "step 4 fails",
    "step 4 or 5 fails twice",
    "step 2 is not done in 10min",
    'step 1 shows "text"',
    "the run starts",
    "the run fails",
    "the run is over its budget",
    "nobody answers",
)
_STEPS = r"steps?\s+(?P<steps>\S+(?:\s*(?:,|\bor\b|\band\b)\s*\S+)*?)"
_TIMES = {"once": 1, "twice": 2}
_FAILS = re.compile(rf"{_STEPS}\s+fails?(?:\s+(?P<times>once|twice|[0-9]+\s+times))?", re.IGNORECASE)
_NOT_DONE = re.compile(rf"{_STEPS}\s+(?:is|are)\s+not\s+done\s+(?:with)?in\s+(?P<within>.+)", re.IGNORECASE)
_SHOWS = re.compile(rf"{_STEPS}\s+shows?\s+(?P<quote>[\"'])(?P<text>.+)(?P=quote)", re.IGNORECASE)
_PLAIN = {
    "the run starts": "starts",
    "the run fails": "run fails",
    "the run is over its budget": "over budget",
    "nobody answers": "nobody answers",
}
_STEP = re.compile(r"step\s+(\S+)", re.IGNORECASE)
_FACT = re.compile(r"[A-Za-z_][\w-]*(?:\[\])?(?:\.[A-Za-z_][\w-]*(?:\[\])?)*")


def parse_when(text: str) -> dict[str, Any]:
    """The fields of a ``Clause`` that say when it comes true. Raises ``ValueError`` with what can be written."""
    said = " ".join(text.split()).rstrip(".")
    if kind := _PLAIN.get(said.lower()):
        return {"kind": kind}
    if found := _FAILS.fullmatch(said):
        count = (found["times"] or "once").lower()
        return {"kind": "fails", "steps": _numbers(found), "times": _TIMES.get(count) or max(1, int(count.split()[0]))}
    if found := _NOT_DONE.fullmatch(said):
        return {"kind": "not done", "steps": _numbers(found), "within": parse_duration(found["within"])}
    if found := _SHOWS.fullmatch(said):
        return {"kind": "shows", "steps": _numbers(found), "text": found["text"]}
    raise ValueError(f'"{said[:80]}" is nothing that the bot can see; write ' + ", or ".join(FORMS))


def _numbers(found: re.Match[str]) -> tuple[str, ...]:
    return tuple(number for number in re.split(r"\s*,\s*|\s+(?:or|and)\s+|\s+", found["steps"]) if number)


def _when(text: str) -> str:
    parse_when(text)
    return " ".join(text.split())


def _one_line(text: str) -> str:
    return " ".join(text.split())


Said = Annotated[str, AfterValidator(_one_line)]


class IssueKeys(BaseModel):
    """The issue that is filed; its body is what the page says and what is attached."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    title: Said
    labels: list[Said] = []


class ClauseKeys(BaseModel):
    """One entry under ``escalation``."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    when: Annotated[str, AfterValidator(_when)]
    page: Said = ""
    tell: Said = ""
    attach: list[Said] = []
    issue: IssueKeys | None = None

    @model_validator(mode="after")
    def _does_something(self) -> ClauseKeys:
        if not (self.page or self.tell or self.attach or self.issue):
            raise ValueError("says when, but not what is done; add page, tell, attach or issue")
        return self

    def clause(self) -> Clause:
        issue = self.issue
        return Clause(
            said=self.when,
            page=self.page,
            tell=self.tell,
            attach=tuple(self.attach),
            issue=IssueTemplate(title=issue.title, labels=tuple(issue.labels)) if issue else None,
            **parse_when(self.when),
        )


def attached_step(text: str) -> str | None:
    """``step 3`` -> ``3``; None for an action or a fact."""
    found = _STEP.fullmatch(text)
    return found[1] if found else None


def wrong_in(clause: Clause, steps: tuple[Step, ...]) -> Iterator[str]:
    """What cannot be right in a clause, whatever the product has: steps that do not exist, unreadable attachments."""
    numbers = [step.number for step in steps]
    named = (*clause.steps, *(number for text in clause.attach if (number := attached_step(text))))
    for number in dict.fromkeys(named):
        if number not in numbers:
            yield f"there is no step {number}; there are {', '.join(numbers)}"
    for text in clause.attach:
        if attached_step(text):
            continue
        try:
            call = parse_call(text)
        except ValueError as error:
            yield str(error)
            continue
        if call is None and not _FACT.fullmatch(text):
            yield f'"{text}" cannot be attached; write step 3, an action that reads, handle.health(), or a fact\'s name'
