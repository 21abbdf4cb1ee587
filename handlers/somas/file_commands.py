"""``/somas validate``, ``backups``, ``backup``, ``restore``, ``reconstruct``, ``repair``: the files of a project."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from bot.commands.nearest import nearest
from bot.commands.registry import Answer, CommandContext, Existing, Reply, StartRun
from bot.errors import UserError
from bot.handler import Danger, Target
from handlers.somas.backups import Copy, archives, copies
from handlers.somas.change import Order
from handlers.somas.commands import commands, document_of
from handlers.somas.decode import brief
from handlers.somas.file_actions import repairing
from handlers.somas.file_views import Kept, backups_message, report_message, reports_message
from handlers.somas.handler import Somas
from handlers.somas.one_step import one_step
from handlers.somas.projects import Project, project_argument
from handlers.somas.reconstruct import reconstruct as reconstruction
from handlers.somas.reconstruct import restore as restoration
from handlers.somas.restart import NO_TIME
from handlers.somas.validate import Report
from handlers.somas.validate import validate as look_at

ProjectName = Annotated[str, Existing("project", normalise=project_argument)]


@commands.command(danger=Danger.READ, examples=("/somas validate", "/somas validate project-81"))
async def validate(
    context: CommandContext,
    project: Annotated[str | None, Existing("project", normalise=project_argument)] = None,
) -> Reply:
    """Check the files of a project, each for itself and together, with the line of what is wrong.

    Upstream has schemas and loads them nowhere; no real file fits them. The bot's own are made from real files.

    Parameters
    ----------
    project
        A project such as project-81; the number alone is enough. Without it: all of them.
    """
    handler: Somas = context.handler
    now = context.clock.now()
    if project is not None:
        found = await handler.project(project)
        report = await handler.services.run_blocking(look_at, found, now)
        return Answer(report_message(report, found, now))

    def look() -> list[Report]:
        return list(handler.checked.reports(handler.scan.names(), handler.config(), now, context.progress))

    return Answer(reports_message(await handler.services.run_blocking(look), now, str(handler.root)))


@commands.command(danger=Danger.READ, examples=("/somas backups project-103",))
async def backups(context: CommandContext, project: ProjectName) -> Reply:
    """List every copy of a project's files, whether it is usable, and what restoring it would lose.

    Parameters
    ----------
    project
        A project such as project-103; the number alone is enough.
    """
    handler: Somas = context.handler
    found = await handler.project(project)
    kept = await handler.services.run_blocking(_kept, handler, found)
    return Answer(await handler.services.run_blocking(backups_message, found, kept, context.clock.now()))


@commands.command(danger=Danger.CHANGE, examples=('/somas backup project-42 --reason "before the upgrade"',))
async def backup(context: CommandContext, project: ProjectName, *, reason: str = "") -> Reply:
    """Copy the three files of a project, under its locks, so that they fit together.

    Parameters
    ----------
    project
        A project such as project-42; the number alone is enough.
    reason
        Why, for the log.
    """
    return one_step(
        project,
        "backup",
        "Copy the project's files",
        "somas.backup",
        "",
        danger="change",
        reason=reason,
    )


@commands.command(
    danger=Danger.CHANGE,
    examples=("/somas repair project-57", '/somas repair project-88 --record --reason "status set by hand"'),
)
async def repair(context: CommandContext, project: ProjectName, *, record: bool = False, reason: str = "") -> Reply:
    """Mend what needs no decision: a dead letter list that is no object, wrong numbers, cut and glued log lines.

    state.json is never replaced by this: see `/somas reconstruct` and `/somas restore`.

    Parameters
    ----------
    project
        A project such as project-57; the number alone is enough.
    record
        Tell the log what state.json says and it does not know: after a change by hand, or when the log is gone.
    reason
        Why, for the log.
    """
    handler: Somas = context.handler
    found = await handler.project(project)
    order = Order(found.id, "repair", str(context.actor), reason, "")
    await handler.services.run_blocking(repairing(order, record=record), found, NO_TIME)
    return one_step(
        project,
        "repair",
        "Repair the project's files",
        "somas.repair",
        "dead_letters.malformed == false",
        danger="change",
        reason=reason,
        inputs={"record": "true"} if record else {},
    )


@commands.command(
    danger=Danger.DESTRUCTIVE,
    examples=("/somas reconstruct project-81 --dry-run", "/somas reconstruct project-81"),
)
async def reconstruct(context: CommandContext, project: ProjectName, *, reason: str = "") -> Reply:
    """Rebuild state.json from the log, field by field.

    Parameters
    ----------
    project
        A project such as project-81; the number alone is enough.
    reason
        Why, for the log.
    """
    handler: Somas = context.handler
    found = await handler.project(project)
    order = Order(found.id, "reconstruct", str(context.actor), reason, "")
    await handler.services.run_blocking(reconstruction, found, order, NO_TIME)
    return StartRun(
        runbook=document_of(context, "reconstruct-state"),
        target=Target(product="somas", kind="project", name=found.id),
        reason=reason,
    )


@commands.command(
    danger=Danger.DESTRUCTIVE,
    examples=(
        "/somas restore project-103 state.json.backup.20260101",
        "/somas restore 103 last --reason 'verify was lost'",
    ),
)
async def restore(context: CommandContext, project: ProjectName, backup: str, *, reason: str = "") -> Reply:
    """Put a copy in the place of the present file; what would be lost is shown first.

    Copies of state.json and of dead_letters.json can be restored, and what was purged. The log is never set back.

    Parameters
    ----------
    project
        A project such as project-103; the number alone is enough.
    backup
        A name as `/somas backups` shows it, its end, or last for the usable state that is the newest by its own time.
    reason
        Why, for the log.
    """
    handler: Somas = context.handler
    now = context.clock.now()
    found = await handler.project(project)
    kept = await handler.services.run_blocking(_kept, handler, found)
    name = _chosen(found, kept.copies, backup)
    order = Order(found.id, "restore", str(context.actor), reason, "")
    await handler.services.run_blocking(restoration, found, name, order, NO_TIME, now)
    document = document_of(context, "recover-from-backup")
    return StartRun(
        runbook=document,
        target=Target(product="somas", kind="project", name=found.id),
        reason=reason,
        inputs={"backup": name},
    )


def _kept(handler: Somas, project: Project) -> Kept:
    lives = [str(path.relative_to(handler.root)) for path in archives(handler.root, project.id)]
    return Kept(copies(project.directory, project.id), lives)


def _chosen(project: Project, everything: Sequence[Copy], typed: str) -> str:
    """The one copy that is meant. Raises ``UserError`` with those that are there."""
    usable = [copy for copy in everything if copy.kind == "state.json" and not copy.problem]
    if not everything:
        raise UserError(
            f"{project.id} has no copies. The log may give the state back: /somas reconstruct {project.id} --dry-run.",
            suggestions=(f"/somas reconstruct {project.id} --dry-run",),
        )
    if typed.lower() == "last":
        if not usable:
            raise UserError(f"No copy of {project.id} holds a usable state: /somas backups {project.id} says why.")
        return usable[0].name
    names = [copy.name for copy in everything]
    matching = [name for name in names if name == typed] or [name for name in names if name.endswith(f".{typed}")]
    if len(matching) == 1:
        return matching[0]
    close = matching or nearest(typed, names) or names[:3]
    raise UserError(
        f"{project.id} has no copy {brief(typed, 60)!r}. Is it one of these: {', '.join(close[:5])}?",
        suggestions=(*(f"/somas restore {project.id} {name}" for name in close[:2]), f"/somas backups {project.id}"),
    )
