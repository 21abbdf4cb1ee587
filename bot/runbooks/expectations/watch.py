"""``… within 30s``, ``… after 5s``, ``… for 2min``: expectations that take time, as a pure stepping machine.

The caller looks (reads the facts) and feeds what it saw; the watch answers with a ``Verdict`` or when to look next.
There is no clock in here. What has no span of time in it is judged at the first look, once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from bot.runbooks.durations import format_duration
from bot.runbooks.expectations.evaluate import NOTHING_EXPECTED, Facts, Verdict, combine, evaluate
from bot.runbooks.expectations.tree import (
    After,
    And,
    Expectation,
    For,
    NoExpectation,
    Noted,
    Or,
    Tree,
    Within,
    is_temporal,
)

DEFAULT_POLL = timedelta(seconds=1)
_SHORTEST_POLL = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Not decided yet: look again at ``next_look_at``; it is decided by ``until`` at the latest (for a countdown)."""

    next_look_at: datetime
    until: datetime
    verdict_so_far: Verdict


def begin(
    tree: Expectation,
    started_at: datetime,
    budget_ends: datetime | None = None,
    poll: timedelta = DEFAULT_POLL,
) -> Watch:
    """Start to watch. Spans count from ``started_at`` (timezone-aware).

    ``budget_ends`` is the end of all waiting: what was to hold ``within`` a longer time and does not hold by then is
    ``not met``; what was not yet looked at (``after``) or holds, but not for long enough yet (``for``), is ``cannot
    tell``. Pass None to let the spans run out whatever the budget says.
    """
    return Watch(tree, started_at, budget_ends, max(poll, _SHORTEST_POLL))


class Watch:
    """One expectation being watched. The same looks lead to the same answers, so a replay ends as the first run did."""

    def __init__(self, tree: Expectation, started_at: datetime, budget_ends: datetime | None, poll: timedelta) -> None:
        self.tree = tree
        self._budget_ends = budget_ends
        self._decided: Verdict | None = NOTHING_EXPECTED if isinstance(tree, NoExpectation) else None
        self._monitor = (
            None if isinstance(tree, NoExpectation) else _monitor(tree, _Frame(started_at, budget_ends, poll))
        )

    def feed(self, now: datetime, observations: Facts) -> Waiting | Verdict:
        """What is known after this look. Once decided, the verdict stays."""
        if self._decided is not None or self._monitor is None:
            return self._decided or NOTHING_EXPECTED
        answer = self._monitor.feed(now, observations)
        if isinstance(answer, Verdict):
            self._decided = answer
            return answer
        if self._budget_ends is not None:
            if now >= self._budget_ends:
                why = "the time budget ended before it could be decided"
                self._decided = _cannot_tell(answer.verdict_so_far, why)
                return self._decided
            return Waiting(
                min(answer.next_look_at, self._budget_ends),
                min(answer.until, self._budget_ends),
                answer.verdict_so_far,
            )
        return answer


class _Monitor(Protocol):
    def feed(self, now: datetime, facts: Facts) -> Waiting | Verdict: ...


@dataclass(frozen=True, slots=True)
class _Frame:
    """From when a tree is looked at, until when at most, and how often."""

    start: datetime
    limit: datetime | None
    poll: timedelta

    def end(self, duration: timedelta) -> datetime:
        end = self.start + duration
        return end if self.limit is None else min(end, self.limit)


def _monitor(tree: Tree, frame: _Frame) -> _Monitor:
    if not is_temporal(tree):
        return _Once(tree)
    match tree:
        case And(parts) | Or(parts):
            return _Joined(type(tree), [_monitor(part, frame) for part in parts])
        case Noted(inner, _):
            return _monitor(inner, frame)
        case Within(inner, duration):
            return _Within(inner, duration, frame)
        case After(inner, duration):
            return _After(inner, duration, frame)
        case For(inner, duration):
            return _For(inner, duration, frame)
        case _:
            return _Once(tree)


class _Once:
    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def feed(self, now: datetime, facts: Facts) -> Waiting | Verdict:
        return evaluate(self._tree, facts)


class _Joined:
    """And/or: each part is decided in its own time; the whole as soon as one part decides it."""

    def __init__(self, kind: type[And] | type[Or], parts: list[_Monitor]) -> None:
        self._kind = kind
        self._parts = parts
        self._decided: dict[int, Verdict] = {}

    def feed(self, now: datetime, facts: Facts) -> Waiting | Verdict:
        waiting: dict[int, Waiting] = {}
        for index, part in enumerate(self._parts):
            if index not in self._decided:
                answer = part.feed(now, facts)
                if isinstance(answer, Verdict):
                    self._decided[index] = answer
                else:
                    waiting[index] = answer
        undecided = {index: _cannot_tell(answer.verdict_so_far, "") for index, answer in waiting.items()}
        so_far = combine(self._kind, (self._decided.get(i) or undecided[i] for i in range(len(self._parts))))
        if not waiting or so_far.outcome == ("not met" if self._kind is And else "met"):
            return so_far
        return Waiting(
            min(answer.next_look_at for answer in waiting.values()),
            max(answer.until for answer in waiting.values()),
            so_far,
        )


class _Within:
    """Looks again and again until it holds or the time is over."""

    def __init__(self, tree: Tree, duration: timedelta, frame: _Frame) -> None:
        self._tree, self._frame, self._poll = tree, frame, frame.poll
        self._end = frame.end(duration)
        self._cut = self._end < frame.start + duration
        self._over = "the time budget is over" if self._cut else f"the {format_duration(duration)} are over"
        self._attempt: _Monitor | None = None

    def feed(self, now: datetime, facts: Facts) -> Waiting | Verdict:
        self._attempt = self._attempt or _monitor(self._tree, self._frame)
        answer = self._attempt.feed(now, facts)
        if isinstance(answer, Waiting):
            if now < self._end:
                return Waiting(min(answer.next_look_at, self._end), self._end, answer.verdict_so_far)
            # The inner span ("for 2min") did not come to its end in time.
            outcome = answer.verdict_so_far.outcome
            if outcome == "met":
                outcome = "cannot tell" if self._cut else "not met"
            return _noting(replace(answer.verdict_so_far, outcome=outcome), self._over)
        if answer.outcome == "met":
            # A look falls a little behind its time; much later, it proves nothing about the window.
            if now <= self._end + self._poll:
                return answer
            late = format_duration(max(now - self._end, timedelta(milliseconds=1)))
            return _cannot_tell(answer, f"it holds now, but this look came {late} late: {self._over}")
        if now >= self._end:
            return _noting(answer, self._over)
        self._attempt = None
        return Waiting(min(now + self._poll, self._end), self._end, answer)


class _After:
    """Does not look before its time."""

    def __init__(self, tree: Tree, duration: timedelta, frame: _Frame) -> None:
        self._opens = frame.start + duration
        self._latest = self._opens + _extent(tree)
        self._inner = _monitor(tree, replace(frame, start=self._opens))

    def feed(self, now: datetime, facts: Facts) -> Waiting | Verdict:
        if now < self._opens:
            return Waiting(self._opens, self._latest, Verdict("cannot tell", (), ("it is too early to look",)))
        return self._inner.feed(now, facts)


class _For:
    """Must hold at every look; the span begins at the first look at which it holds."""

    def __init__(self, tree: Tree, duration: timedelta, frame: _Frame) -> None:
        self._duration, self._poll = duration, frame.poll
        self._first = _monitor(tree, frame)
        self._core = _without_spans(tree)
        self._began: datetime | None = None
        self._gap: Verdict | None = None  # a look at which nothing could be told

    def feed(self, now: datetime, facts: Facts) -> Waiting | Verdict:
        if self._began is None:
            answer = self._first.feed(now, facts)
            if isinstance(answer, Waiting):
                return replace(answer, until=answer.until + self._duration)
            self._began = now
        else:
            answer = evaluate(self._core, facts)
        end = self._began + self._duration
        if answer.outcome == "not met":
            held, wanted = format_duration(now - self._began), format_duration(self._duration)
            return _noting(answer, f"it held for {held} of {wanted}") if now > self._began else answer
        if answer.outcome == "cannot tell":
            self._gap = self._gap or answer
        if now >= end:
            if self._gap is not None:
                why = "; ".join(self._gap.details) or "nothing could be read"
                return _cannot_tell(answer, f"not every look could tell: {why}")
            return answer
        so_far = answer if self._gap is None else _cannot_tell(answer, "")
        return Waiting(min(now + self._poll, end), end, so_far)


def _extent(tree: Tree) -> timedelta:
    """How long the decision can take after the first look."""
    match tree:
        case And(parts) | Or(parts):
            return max(map(_extent, parts))
        case Noted(inner, _):
            return _extent(inner)
        case Within(_, duration):
            return duration
        case After(inner, duration) | For(inner, duration):
            return duration + _extent(inner)
        case _:
            return timedelta(0)


def _without_spans(tree: Tree) -> Tree:
    match tree:
        case And(parts):
            return And(tuple(map(_without_spans, parts)))
        case Or(parts):
            return Or(tuple(map(_without_spans, parts)))
        case Noted(inner, _) | Within(inner, _) | After(inner, _) | For(inner, _):
            return _without_spans(inner)
        case _:
            return tree


def _noting(verdict: Verdict, why: str) -> Verdict:
    return replace(verdict, details=(*verdict.details, why) if why else verdict.details)


def _cannot_tell(verdict: Verdict, why: str) -> Verdict:
    return _noting(replace(verdict, outcome="cannot tell"), why)
