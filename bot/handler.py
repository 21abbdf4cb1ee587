"""What a product gives to the bot: commands, actions, facts and runbooks.

A product is found through the entry-point group ``opsbot.handlers``; the entry is a ``Product``. When its section of
the configuration is there, ``connect`` turns it into a ``Handler``. A handler is mostly declarations; the effects are
in the functions of its actions and in ``observe``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, runtime_checkable

from pydantic import BaseModel, ConfigDict

from bot.breakers import Breakers
from bot.clock import Clock
from bot.github_api import GitHubApi

if TYPE_CHECKING:
    from bot.commands.registry import CommandGroup
    from bot.memory import Memory
    from bot.reports.model import ReportSource
    from bot.reports.news import NewsSource
    from bot.repository_events import RepositoryEvents
    from bot.runbooks.claims import Claim
    from bot.runbooks.model import Runbook
    from bot.runbooks.verify import Finding

T = TypeVar("T")


class Danger(StrEnum):
    """How much an action changes. ``destructive`` needs an exact preview, a typed target and a second person."""

    READ = "read"
    CHANGE = "change"
    DESTRUCTIVE = "destructive"


class Provenance(StrEnum):
    """How far a fact can be trusted to be what its name says."""

    EXACT = "exact"  # read under this very name
    RENAMED = "renamed"  # the system has it under another name, told in ``source``
    DERIVED = "derived"  # computed; ``source`` says how
    INPUT = "input"  # given by the person who started the run
    UNAVAILABLE = "unavailable"  # cannot be known; ``source`` says why


class Target(BaseModel):
    """What a run works on: ``Target(product="supervisor", kind="child", name="worker-3", scope="payments")``."""

    model_config = ConfigDict(frozen=True)
    product: str
    kind: str
    name: str
    scope: str = ""  # what the name is unique in: a supervised process, a repository

    @property
    def key(self) -> str:
        """What the lock is taken on."""
        return "/".join(part for part in (self.product, self.scope, self.kind, self.name) if part)


class Observation(BaseModel):
    """A fact: its value (anything JSON has), where it came from and, when there is none, why (``UNAVAILABLE``)."""

    model_config = ConfigDict(frozen=True)
    name: str
    value: Any = None
    provenance: Provenance = Provenance.EXACT
    source: str = ""


class Preview(BaseModel):
    """What an action is about to do, exactly: the IPC JSON, the file's diff, the API call.

    The digest of an approval is made from ``summary`` and ``detail``, so they hold no time and no random id.
    """

    model_config = ConfigDict(frozen=True)
    summary: str
    detail: str = ""
    language: str = ""  # json, diff, yaml
    now: str = ""  # what is there at this moment and may change until it is done; not part of what is approved


class ActionResult(BaseModel):
    """What came of an action.

    ``done``: it happened, and where a post-condition can be read it was read. ``refused``: nothing was changed,
    ``summary`` says why. ``failed``: it was tried and did not work. ``uncertain``: nobody can tell whether it happened.
    ``manual``: this row is for a person; ``summary`` says what they should do. ``page``: the same, and somebody is
    paged now with ``summary``.
    """

    model_config = ConfigDict(frozen=True)
    status: Literal["done", "refused", "failed", "uncertain", "manual", "page"]
    summary: str  # one plain sentence
    evidence: str = ""  # what was seen, verbatim, for the thread; cut to 64 KiB by the engine
    language: str = ""
    observations: tuple[Observation, ...] = ()


class Tell(Protocol):
    """Says on the card what a long action waits for, until when, and what it has seen so far."""

    def __call__(self, waiting_for: str, until: datetime, seen: str = "") -> None: ...


@dataclass(frozen=True, slots=True)
class ActionContext:
    """Everything an action may know. ``operation_id`` is the same when the same attempt is repeated after a crash."""

    target: Target
    arguments: Mapping[str, str]
    inputs: Mapping[str, str]
    actor: str
    reason: str
    run_id: str
    operation_id: str
    clock: Clock
    deadline: datetime | None
    abort: asyncio.Event = field(default_factory=asyncio.Event)  # set when the run is cancelled: stop soon, report
    # For the card while a long action is at work: what it waits for, until when, what it has seen so far.
    tell: Tell = field(default=lambda waiting_for, until, seen="": None)


@dataclass(frozen=True, slots=True)
class Action:
    """Something the product can do. ``name`` is what stands in a runbook's code span: ``handle.remove_child()``.

    ``check`` is asked after a crash in the middle of ``perform``: it returns what the finished action would have
    returned when the action did happen, None when it certainly did not, and an ``uncertain`` result otherwise. An
    action without ``check`` that is not ``read`` is put to a person after a crash. A run with an action of ``level``
    admin is started by admins only, whichever command or runbook names it.
    """

    name: str
    danger: Danger
    help: str
    perform: Callable[[Any, ActionContext], Awaitable[ActionResult]]  # the first argument is the Handler
    preview: Callable[[Any, ActionContext], Awaitable[Preview]] | None = None
    check: Callable[[Any, ActionContext], Awaitable[ActionResult | None]] | None = None
    aliases: tuple[str, ...] = ()
    level: Literal["admin"] | None = None


@dataclass(frozen=True, slots=True)
class FactDefinition:
    """A name that expectations may use, for ``runbook check`` and the documentation."""

    name: str  # ``children.running``, ``child_runtime_records[].restart_count``
    help: str
    provenance: Provenance
    values: Literal["number", "text", "boolean", "list"] = "text"
    possible: tuple[str | int | float | bool, ...] = ()  # all the values it can have, where they are few and known
    of_run: bool = False  # known within a run only, from its inputs or its earlier steps: nobody else can look it up


class Handler(Protocol):
    """A configured product."""

    async def inventory(self, kind: str) -> list[str]:
        """The existing names of a kind (project, child, stage, target), for suggestions and menus."""
        ...

    async def observe(self, names: frozenset[str], target: Target, inputs: Mapping[str, str]) -> list[Observation]:
        """Read these facts now. A name that cannot be read comes back ``UNAVAILABLE``, never with a guess.

        Raises ``Unavailable`` when the product itself cannot be reached.
        """
        ...

    async def problems(self) -> list[str]:
        """What keeps the product from working right now, one sentence each; empty when all is well."""
        ...

    async def close(self) -> None: ...


@runtime_checkable
class ExplainsMissing(Protocol):
    """A handler that knows more of a name that does not exist than that it does not."""

    async def why_missing(self, kind: str, name: str) -> str:
        """One sentence for people, or "" when there is nothing to add. Never raises."""
        ...


@runtime_checkable
class FindsTargets(Protocol):
    """A handler whose names are not all of one kind, or are unique in something only: it tells which target is meant.

    Without it ``/runs start`` takes the name as it was typed, after a look into the inventory.
    """

    async def find_target(self, kind: str, name: str, scope: str) -> Target:
        """The target that ``name`` means; ``scope`` is "" when the person did not say it.

        Raises ``UserError`` for what can never be a name and for one that could mean several targets.
        """
        ...


@runtime_checkable
class CompletesInputs(Protocol):
    """A handler that knows inputs of its runbooks which nobody should have to type: how many dead letters there are."""

    async def complete_inputs(self, runbook: Runbook, target: Target, given: Mapping[str, str]) -> Mapping[str, str]:
        """Further inputs, for ``/runs start``; what was given is never replaced. Raises ``UserError``."""
        ...


@runtime_checkable
class KnowsIssues(Protocol):
    """A handler whose targets have an issue on GitHub: there they need not be named, and their runs are shown there."""

    async def issue_of(self, target: Target) -> int | None:
        """The number of the target's issue; None when it has none or nobody can tell."""
        ...

    async def name_for_issue(self, kind: str, issue: int) -> str | None:
        """The one name of this kind that the issue is about; None when it is about none, or about several."""
        ...


class BlockingRunner(Protocol):
    """Runs a blocking call in the bot's own bounded thread pool (never the engine's, never the event loop)."""

    async def __call__(self, function: Callable[..., T], /, *args: Any) -> T: ...


@dataclass(frozen=True, slots=True)
class Services:
    """What the bot lends to a handler."""

    clock: Clock
    run_blocking: BlockingRunner
    github: Any = None  # bot.settings.GitHubSettings with its secrets, when GitHub is configured
    # GET on its REST API, when it is configured: path and parameters in, decoded JSON out, None for 404. Blocking, for
    # a worker thread; raises Unavailable.
    github_get: Callable[[str, Mapping[str, str]], Any] | None = None
    github_api: GitHubApi | None = None  # the same repository for asynchronous code, changes included
    memory: Memory | None = None  # what the product remembers across restarts; None in a rehearsal
    breakers: Breakers | None = None  # the bot's own circuit breakers, one for each service
    name: Callable[[str], str] = str  # "slack:U0ALICE" as people know her: "alice"
    repository_events: RepositoryEvents | None = None  # what happened on GitHub, when it is configured


class ProductSettings(BaseModel):
    """Base of a product's section in opsbot.toml: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class Verification:
    """How a product helps ``runbook verify``; both functions only read, and raise ``Unavailable`` when they cannot.

    ``targets``: a few existing targets of a kind to look at, the most telling first; for the kind "" those that most
    of its runbooks work on. ``check``: what is really there for each claim that the product knows about; claims that
    it knows nothing about, and claims that are right, give no finding.
    """

    targets: Callable[[Any, str], Awaitable[Sequence[Target]]]  # the first argument is the Handler
    check: Callable[[Any, Sequence[Claim]], Awaitable[Sequence[Finding]]]


@dataclass(frozen=True, slots=True)
class Product:
    """The entry point ``opsbot.handlers``: what is known of a product before it is configured."""

    name: str  # section of the configuration and root of its commands: [somas], /somas
    title: str  # SOMAS
    summary: str
    settings: type[ProductSettings]
    setup: str  # what to write into opsbot.toml, shown when the product is not configured
    commands: CommandGroup
    connect: Callable[[Any, Services], Awaitable[Handler]]
    runbooks: Path | None = None  # folder of Markdown runbooks
    facts: tuple[FactDefinition, ...] = ()
    actions: tuple[Action, ...] = ()
    phrases: Mapping[str, str] = field(default_factory=dict)  # "Process running" -> 'process.running == true'
    verification: Verification | None = None  # without it: actions and facts alone are verified
    report: ReportSource | None = None  # what is measured for scheduled reports
    news: NewsSource | None = None  # what is told as it happens
    attention_label: str = ""  # on the GitHub issue of a target while somebody is paged for it
