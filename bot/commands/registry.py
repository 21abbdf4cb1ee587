"""``/somas restart project-42 --from verify``: root, verb, arguments.

One definition of a command serves Slack, GitHub, help, suggestions, the command page and ``manifest.yml``: a function
with a typed signature, registered in its product's ``CommandGroup``. The first parameter is the ``CommandContext``; the
others are what the person types (positional, or ``--option`` after ``*``). The docstring is the help.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from bot.clock import Clock
from bot.handler import Danger, Target
from bot.incoming import Actor, Incoming, Place
from bot.messages import Message
from bot.runbooks.model import Runbook
from bot.runs.model import Ancestor


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command says. Private: only to the one who asked (help, refusals); otherwise where it was asked."""

    message: Message
    private: bool = False


@dataclass(frozen=True, slots=True)
class StartRun:
    """What a changing command or a runbook command asks for: a run of ``runbook`` on ``target``.

    ``changes`` is False for a runbook that only reads: it takes no lock. With ``dry_run`` the bot shows each step's
    preview and does nothing. ``budget`` is the run's; None means the sum of the steps' budgets. With ``drill`` the run
    works on a simulation of the product in which ``faults`` go wrong, and touches nothing real.
    """

    runbook: Runbook
    target: Target
    reason: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    dry_run: bool = False
    changes: bool = True
    budget: timedelta | None = None
    drill: bool = False
    faults: tuple[str, ...] = ()
    ancestor: Ancestor | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """What a changing command asks for that starts no run. The command itself only looks; the bot then does it.

    ``shows`` is all that happens with ``--dry-run``. Else ``send`` is called, which may be called again after a crash;
    then ``store``, in the transaction in which the command is marked as handled: that happens once. Its argument is
    the connection; what it returns is answered.
    """

    shows: Message
    send: Callable[[], Awaitable[None]] | None = None
    store: Callable[[Any], Awaitable[Answer | None]] | None = None


Reply = Answer | StartRun | Change | None
"""None: there is nothing to say, the run's thread shows what happened."""


@dataclass(frozen=True, slots=True)
class CommandContext:
    """Who asks, from where, and what the command may use. ``handler`` is the product's connected ``Handler``."""

    actor: Actor
    place: Place
    clock: Clock
    handler: Any
    runbooks: Mapping[str, Runbook]  # by id, of this product
    reports: Any = None  # bot.reports.commands.ReportDesk, of a product that is measured
    incoming: Incoming | None = None  # as it was received
    # Tells how many of how many are done, from any thread; shown when the command takes longer than a second.
    progress: Callable[[int, int], None] | None = None

    @property
    def key(self) -> str:
        """Of the incoming: makes what the command does happen once."""
        return self.incoming.key if self.incoming else ""


@dataclass(frozen=True, slots=True)
class Standing:
    """The options that a changing command has without saying so.

    ``--dry-run`` has every one. Those that start runs have two more for a target on which somebody works already.
    """

    dry_run: bool = False
    queue: bool = False
    take_over: str = ""  # the target's name, typed


@dataclass(frozen=True, slots=True)
class Existing:
    """Marks a parameter as the name of something that exists: ``Annotated[str, Existing("project")]``.

    An unknown name is answered with the nearest ones of ``Handler.inventory(kind)`` before the command runs.
    ``normalise`` is applied first (``42`` -> ``project-42``); it raises ``UserError`` for what can never be a name; its
    suggestions may be names, too.
    """

    kind: str
    normalise: Callable[[str], str] | None = None


@dataclass(frozen=True, slots=True)
class Offered:
    """Marks a parameter for which a form offers the names of a kind; what they stand for is judged by the command."""

    kind: str


@dataclass(frozen=True, slots=True)
class Implied:
    """Marks an option that may stand without its value: ``--checkpoint`` alone means ``--checkpoint last``."""

    value: str


@dataclass(frozen=True, slots=True)
class OneOf:
    """Marks options that exclude each other: ``Annotated[str | None, OneOf("start")]`` on each of them."""

    group: str


@dataclass(frozen=True, slots=True)
class Metavar:
    """What stands for the value in the usage line: ``Metavar("STAGE")`` gives ``--from STAGE``."""

    name: str


Level = Literal["viewer", "operator", "admin"]
CommandFunction = Callable[..., Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Command:
    """One verb of a root."""

    verb: str
    function: CommandFunction
    danger: Danger
    level: Level
    examples: tuple[str, ...]  # whole commands: "/somas restart project-42 --from verify"
    starts_run: bool = False  # it asks for a run, which locks a target

    @property
    def help(self) -> str:
        """The first line of the docstring."""
        return (self.function.__doc__ or "").strip().split("\n", 1)[0]


class CommandGroup:
    """The verbs of one root command."""

    def __init__(self, root: str, summary: str) -> None:
        self.root = root
        self.summary = summary
        self.commands: dict[str, Command] = {}

    def include(self, others: CommandGroup) -> None:
        """Have the verbs of a part of this group too, behind its own."""
        for verb, command in others.commands.items():
            if verb in self.commands:
                raise ValueError(f"/{self.root} {verb} is defined twice")
            self.commands[verb] = command

    def command(
        self,
        *,
        danger: Danger,
        examples: tuple[str, ...],
        verb: str | None = None,
        level: Level | None = None,
        starts_run: bool = True,
    ) -> Callable[[CommandFunction], CommandFunction]:
        """Register a function as a verb. Without ``level``: viewer for what reads, operator for what changes.

        ``starts_run``: a changing verb asks for a run on a target, unless it says that it does not.
        """

        def register(function: CommandFunction) -> CommandFunction:
            name = verb or function.__name__.replace("_", "-")
            if name in self.commands:
                raise ValueError(f"/{self.root} {name} is defined twice")
            if not examples or not function.__doc__:
                raise ValueError(f"/{self.root} {name} needs a docstring and at least one example")
            needed = level or ("viewer" if danger is Danger.READ else "operator")
            starts = starts_run and danger is not Danger.READ
            self.commands[name] = Command(name, function, danger, needed, examples, starts)
            return function

        return register
