"""A step and a run in words, for cards, threads and pages alike."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from bot.messages import Code, Line, Text
from bot.runbooks.model import Step
from bot.runs.model import Plan, RunState
from bot.words import counted

MARKS = {"done": "✓", "failed": "✗", "skipped": "–", "running": "●", "waiting": "?", "approval": "?", "pending": "○"}
EVIDENCE_IN_THREAD = 2500  # characters; a message of Slack holds about 13,200 in all
BRIEF_STEP = 62  # characters of a step on the card; the whole text is in the thread
DOCUMENT_ID = re.compile(r"[A-Z]+\d+-\d+")  # P1-002: an id that people say; others are names of commands
CALL_AT_END = re.compile(r"[:\s]*`[^`]*`\.?\s*$")

Name = Callable[[str], str]
"""slack:U0ALICE -> Alice, without notifying her."""


def title_of(plan: Plan) -> str:
    book = plan.runbook
    title = book.title if plan.target.name in book.title else f"{book.title}: {plan.target.name}"
    return f"{book.id} {title}" if DOCUMENT_ID.fullmatch(book.id) else title


def plain_step(row: Step) -> str:
    """The Action cell without its Markdown marks and without the call that it binds to."""
    text = CALL_AT_END.sub("", row.text) if row.action else row.text
    return (text or row.text).replace("`", "").replace("**", "").strip().rstrip(".")


def instruction(row: Step) -> Line:
    """What a person should do; what stands between backticks can be copied as it is."""
    parts = re.split(r"`([^`]+)`", row.text.replace("**", "").strip().rstrip("."))
    return tuple(Code(part) if index % 2 else Text(part) for index, part in enumerate(parts) if part)


def brief_step(row: Step) -> str:
    """The first sentence of the step; what comes after it explains. A long one is shown without its condition."""
    first = re.split(r"(?<=\w)[.;] ", plain_step(row), maxsplit=1)[0]
    condition = f"If {row.condition.replace('`', '')}," if row.condition else ""
    if condition and len(first) > BRIEF_STEP and first.startswith(condition):
        rest = first.removeprefix(condition).strip()
        first = rest[:1].upper() + rest[1:]
    if len(first) <= BRIEF_STEP:
        return first
    clause = first[:BRIEF_STEP].rpartition(", ")[0]
    return clause if len(clause) > BRIEF_STEP / 3 else f"{first[:BRIEF_STEP].rpartition(' ')[0]} …"


def expected(row: Step) -> str:
    return short(row.expectation.replace("`", ""), 300)


def number_of(state: RunState) -> str:
    return state.plan.runbook.steps[state.current].number


def sentence(text: str) -> str:
    """``three left`` -> ``Three left.``; a name such as ``acme/somas`` or ``project-42`` keeps its case."""
    if text.partition(" ")[0].rstrip(".,:;!?").replace("'", "").isalpha():
        text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else text + "."


def either(names: Sequence[str]) -> str:
    """``alice``, ``alice or bob``, ``alice, bob or scotlaclair``."""
    return " or ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def short(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def excerpt(text: str, limit: int) -> str:
    """The beginning of a preview, whole lines only, and how much is missing."""
    if len(text) <= limit:
        return text
    kept = text[:limit].rpartition("\n")[0] or text[:limit]
    return f"{kept}\n… and {counted(text[len(kept) :].strip().count(chr(10)) + 1, 'more line')}"


def tail(text: str, limit: int) -> str:
    """The end of an output, which says more than its beginning; whole lines only, and how much is missing."""
    if len(text) <= limit:
        return text
    end = text[-limit:]
    kept = end.partition("\n")[2] or end
    return f"… {counted(text[: len(text) - len(kept)].rstrip().count(chr(10)) + 1, 'line')} before this\n{kept}"


def both_ends(text: str, limit: int) -> str:
    """The first lines, which sum up, in a third of the room, and the last ones, which say how it ended."""
    if len(text) <= limit:
        return text
    first = text[: limit // 3].rpartition("\n")[0]
    return f"{first}\n{tail(text[len(first) + 1 :], limit - len(first))}" if first else tail(text, limit)
