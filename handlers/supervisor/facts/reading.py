"""``children.running == target_count``: what a fact is, where it comes from, and how a look at a process reads it.

The runbooks name things that the process does not tell (``restart_budget.tokens``, ``TaskExit``) or tells under another
name. A fact here is exact, renamed, derived with its method, or unavailable with the reason; none is a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from bot.handler import FactDefinition, Observation, Provenance, Target
from handlers.supervisor import children
from handlers.supervisor.children import Child, Sample
from handlers.supervisor.host import Ran
from handlers.supervisor.link import Listener
from handlers.supervisor.logs import LogTail
from handlers.supervisor.protocol import CommandResult, State
from handlers.supervisor.socket_file import SocketFile
from handlers.supervisor.transport import Probe

EXACT, RENAMED, DERIVED = Provenance.EXACT, Provenance.RENAMED, Provenance.DERIVED
UNAVAILABLE = Provenance.UNAVAILABLE

Need = Literal["state", "probe", "pgrep", "log", "socket", "relay"]


@dataclass(frozen=True, slots=True)
class RelaySeen:
    """``answers``, ``down`` or ``not configured``, and how that is known."""

    status: str
    told: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What was read for one look. ``problem`` says why there is no state."""

    target: Target
    now: datetime
    samples: tuple[Sample, ...] = ()
    max_backoff: float = 0.0
    listener: Listener | None = None
    probe: Probe | None = None
    command: CommandResult | None = None  # the last one that this bot sent to the child, or the process
    problem: str = ""
    through_relay: bool = False
    pgrep: Ran | None = None
    log: LogTail | None = None
    log_problem: str = ""
    socket: SocketFile | None = None
    relay: RelaySeen | None = None

    @property
    def state(self) -> State | None:
        return self.samples[-1].state if self.samples and not self.problem else None

    @property
    def failing(self) -> dict[str, str]:
        """``children.failing`` of what was seen."""
        return children.failing(self.samples, self.max_backoff)

    @property
    def child(self) -> Child | None:
        """The child that the run works on."""
        if self.target.kind != "child" or self.state is None:
            return None
        return children.find(self.state, self.target.name)

    @property
    def rows(self) -> tuple[Child, ...]:
        """The children that a list of records is about: that of the run, else all; only those with a record."""
        found = children.children(self.state) if self.state else ()
        if self.target.kind == "child":
            found = tuple(child for child in found if child.id == self.target.name)
        return tuple(child for child in found if child.record is not None)


Value = tuple[Any, str]  # what is told and where it comes from


class NotKnownError(Exception):
    """The fact cannot be known now; the text says why."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A definition, how it is read, and what has to be looked at for it."""

    definition: FactDefinition
    read: Callable[[Seen], Value]
    needs: frozenset[Need]


FACTS: dict[str, Fact] = {}


def fact(
    name: str,
    help_: str,
    provenance: Provenance,
    values: Any = "text",
    needs: tuple[Need, ...] = ("state",),
    *,
    possible: tuple[str | int | float | bool, ...] = (),
    of_run: bool = False,
) -> Callable[[Callable[[Seen], Value]], Callable[[Seen], Value]]:
    """Register a fact under its name."""

    def register(read: Callable[[Seen], Value]) -> Callable[[Seen], Value]:
        definition = FactDefinition(name, help_, provenance, values, possible=possible, of_run=of_run)
        FACTS[name] = Fact(definition, read, frozenset(needs))
        return read

    return register


def all_children(seen: Seen) -> tuple[Child, ...]:
    """Facts that need the state are read only when there is one."""
    if seen.state is None:
        raise NotKnownError(seen.problem or "there is no state")
    return children.children(seen.state)


def definitions() -> tuple[FactDefinition, ...]:
    return tuple(one.definition for one in FACTS.values())


def needs(names: frozenset[str]) -> frozenset[Need]:
    """What has to be looked at for these facts."""
    return frozenset(need for name in names if name in FACTS for need in FACTS[name].needs)


def observe(names: frozenset[str], seen: Seen, inputs: Mapping[str, str]) -> list[Observation]:
    """These facts of what was seen, in alphabetical order. An input of the name comes first."""
    return [_observe(name, seen, inputs) for name in sorted(names)]


def _observe(name: str, seen: Seen, inputs: Mapping[str, str]) -> Observation:
    given = inputs.get(name, "")
    if given:
        number = given.strip()
        value = int(number) if number.isascii() and number.isdigit() and len(number) < 19 else given
        return Observation(name=name, value=value, provenance=Provenance.INPUT, source="given with the run")
    known = FACTS.get(name)
    if known is None:
        return _unknown(name, "the supervisor has no fact of this name")
    if known.needs == {"state"} and seen.state is None:
        return _unknown(name, seen.problem or "there is no state")
    try:
        value, source = known.read(seen)
    except NotKnownError as error:
        return _unknown(name, str(error))
    return Observation(name=name, value=value, provenance=known.definition.provenance, source=source)


def _unknown(name: str, why: str) -> Observation:
    return Observation(name=name, provenance=Provenance.UNAVAILABLE, source=why)
