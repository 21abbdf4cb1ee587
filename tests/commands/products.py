"""Two small products with the shapes of the real ones, for the tests of the grammar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from bot.commands.registry import (
    Answer,
    CommandContext,
    CommandGroup,
    Existing,
    Implied,
    Metavar,
    OneOf,
    Reply,
)
from bot.errors import UserError
from bot.handler import Danger, Handler, Product, ProductSettings, Services
from bot.messages import message

if TYPE_CHECKING:
    # A name that exists for type checkers only, as authors of handlers have them: the grammar must not need it.
    from bot.commands.registry import CommandContext as OnlyForTheTypeChecker

Stage = Literal["intake", "specification", "build", "verify", "deploy"]


def project_id(typed: str) -> str:
    """``42`` and ``#42`` are ``project-42``."""
    number = typed.removeprefix("#")
    if "/" in typed:
        raise UserError(f'"{typed}" cannot be a project: an id has no slash. Example: project-42.')
    return f"project-{number}" if number.isascii() and number.isdigit() else typed


def said(**arguments: Any) -> Reply:
    return Answer(message(repr(arguments)))


somas = CommandGroup("somas", "The SOMAS pipeline: its projects and their stages.")


@somas.command(danger=Danger.READ, examples=("/somas status", "/somas status project-42"))
async def status(
    context: OnlyForTheTypeChecker, project: Annotated[str | None, Existing("project", project_id)] = None
) -> Reply:
    """Where a project stands, or all of them."""
    return said(project=project)


@somas.command(danger=Danger.READ, examples=("/somas failed",))
async def failed(context: CommandContext) -> Reply:
    """The projects that failed, and why."""
    return said()


@somas.command(
    danger=Danger.CHANGE,
    examples=("/somas restart project-42", '/somas restart project-42 --from verify --reason "flaky runner"'),
)
async def restart(
    context: CommandContext,
    project: Annotated[str, Existing("project", project_id)],
    *,
    from_: Annotated[Stage | None, OneOf("start"), Metavar("STAGE")] = None,
    checkpoint: Annotated[str | None, OneOf("start"), Implied("last"), Metavar("ID")] = None,
    full: Annotated[bool, OneOf("start")] = False,
    reason: str = "",
    dry_run: bool = False,
) -> Reply:
    """Start a project again, from a stage, a checkpoint or the beginning.

    The stage that is running is not stopped.

    Parameters
    ----------
    project:
        The project, as `project-42` or only `42`.
    from_:
        The stage to start from.
    checkpoint:
        A checkpoint's id; alone, the last one.
    full:
        Archive the project and begin again.
    reason:
        Why, for the log.
    dry_run:
        Show what would be done and do nothing.
    """
    return said(project=project, from_=from_, checkpoint=checkpoint, full=full, reason=reason, dry_run=dry_run)


@somas.command(danger=Danger.READ, examples=("/somas log project-42 20",))
async def log(
    context: CommandContext, project: Annotated[str, Existing("project", project_id)], count: int = 10
) -> Reply:
    """The last lines of a project's log."""
    return said(project=project, count=count)


@somas.command(danger=Danger.DESTRUCTIVE, level="admin", examples=("/somas purge project-42 project-7",))
async def purge(context: CommandContext, *projects: Annotated[str, Existing("project", project_id)]) -> Reply:
    """Archive the dead letters of projects."""
    return said(projects=projects)


supervisor = CommandGroup("supervisor", "The supervised processes and their children.")


@supervisor.command(verb="status", danger=Danger.READ, examples=("/supervisor status payments",))
async def supervisor_status(context: CommandContext, target: Annotated[str | None, Existing("target")] = None) -> Reply:
    """The children of a process and their state."""
    return said(target=target)


@supervisor.command(danger=Danger.CHANGE, examples=("/supervisor quarantine worker-3 --target payments",))
async def quarantine(
    context: CommandContext,
    child: Annotated[str, Existing("child")],
    *,
    target: Annotated[str | None, Existing("target")] = None,
    reason: str = "",
    dry_run: bool = False,
) -> Reply:
    """Take a child out of service; it is not started again."""
    return said(child=child, target=target, reason=reason, dry_run=dry_run)


runs = CommandGroup("runs", "Runs of runbooks: what they do, what they wait for.")


@runs.command(verb="list", danger=Danger.READ, examples=("/runs list",))
async def list_runs(context: CommandContext) -> Reply:
    """The runs that are not finished."""
    return said()


@runs.command(danger=Danger.CHANGE, examples=("/runs ack 01KAQ7Z9X2T4M8RSV6WJ3B5C0D",))
async def ack(context: CommandContext, run: str) -> Reply:
    """Say that you have seen a page; it stops repeating."""
    return said(run=run)


@runs.command(danger=Danger.CHANGE, examples=('/runs fail 01KAQ7Z9X2T4M8RSV6WJ3B5C0D "no such host"',))
async def fail(context: CommandContext, run: str, reason: str = "") -> Reply:
    """Say that the step a run waits for did not work."""
    return said(run=run, reason=reason)


GROUPS = {group.root: group for group in (somas, supervisor, runs)}


async def _never_connected(settings: Any, services: Services) -> Handler:
    raise AssertionError("these products are only spoken about")


SOMAS = Product(
    name="somas",
    title="SOMAS",
    summary="The SOMAS pipeline",
    settings=ProductSettings,
    setup='[somas]\nroot = "/srv/somas"',
    commands=somas,
    connect=_never_connected,
)
SUPERVISOR = Product(
    name="supervisor",
    title="rust-supervisor",
    summary="Supervised processes",
    settings=ProductSettings,
    setup='[supervisor.targets.payments]\nsocket = "/run/rust-supervisor/payments.sock"',
    commands=supervisor,
    connect=_never_connected,
)
