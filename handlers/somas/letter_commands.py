"""``/somas dlq count|list|show|mark|replay|purge``: the dead letters of a project."""

from __future__ import annotations

from typing import Annotated, Literal

from bot.commands.registry import Answer, CommandContext, Existing, Metavar, OneOf, Reply, StartRun
from bot.errors import UserError
from bot.handler import Danger, Target
from handlers.somas.change import Order
from handlers.somas.commands import commands, restart_runbook
from handlers.somas.dead_letters import Numbered, Selection, find, mark, numbered, purge, replay_stage, require_usable
from handlers.somas.decode import text
from handlers.somas.handler import Somas, dead_letters_before
from handlers.somas.letter_views import count_message, letter_message, letters_message
from handlers.somas.one_step import one_step
from handlers.somas.projects import Project, project_argument
from handlers.somas.restart import NO_TIME
from handlers.somas.stages import stage_argument

ProjectName = Annotated[str, Existing("project", normalise=project_argument)]
StageName = Annotated[str | None, Existing("stage", normalise=stage_argument), Metavar("STAGE")]


@commands.command(danger=Danger.READ, verb="dlq count", examples=("/somas dlq count", "/somas dlq count project-57"))
async def dlq_count(
    context: CommandContext,
    project: Annotated[str | None, Existing("project", normalise=project_argument)] = None,
) -> Reply:
    """Count the dead letters, open and all, by stage and agent.

    Parameters
    ----------
    project
        A project such as project-57; the number alone is enough. Without it: all that have dead letters.
    """
    handler: Somas = context.handler
    now = context.clock.now()
    if project is not None:
        projects = [await handler.project(project)]
    else:
        fleet, _ = await handler.fleet(now, context.progress)
        having = [each.id for each, _ in fleet.projects if each.letters_total or each.letters.problem]
        projects = await handler.projects(having)
    return Answer(await handler.services.run_blocking(count_message, projects, now, project is not None))


@commands.command(
    danger=Danger.READ,
    verb="dlq list",
    examples=("/somas dlq list project-57", "/somas dlq list 42 --last 20 --stage verify --open"),
)
async def dlq_list(
    context: CommandContext,
    project: ProjectName,
    *,
    last: int = 5,
    stage: StageName = None,
    agent: str = "",
    open_: bool = False,
) -> Reply:
    """List the last dead letters of a project, the newest first.

    Parameters
    ----------
    project
        A project such as project-57; the number alone is enough.
    last
        How many; 5 without it, 25 at most.
    stage
        Only those of this stage.
    agent
        Only those of this agent.
    open_
        Only those that were not successfully recovered.
    """
    handler: Somas = context.handler
    if not 1 <= last <= 25:
        raise UserError("--last takes 1 to 25: more is read by nobody in a chat.")
    found = await handler.project(project)
    chosen = Selection(stage=stage or "", agent=agent).of(numbered(found))
    chosen = [each for each in chosen if each.letter.open] if open_ else chosen
    return Answer(letters_message(found, chosen, last, context.clock.now()))


@commands.command(
    danger=Danger.READ,
    verb="dlq show",
    examples=("/somas dlq show project-57 3f2a9c1e", "/somas dlq show 42 last"),
)
async def dlq_show(context: CommandContext, project: ProjectName, letter: str) -> Reply:
    """Show one dead letter: error, context, request and trace.

    Parameters
    ----------
    project
        A project such as project-57; the number alone is enough.
    letter
        Its id or the first characters of it, its number such as #3, or last.
    """
    handler: Somas = context.handler
    found = await handler.project(project)
    return Answer(letter_message(found, find(found, letter), context.clock.now()))


@commands.command(
    danger=Danger.CHANGE,
    verb="dlq mark",
    examples=(
        '/somas dlq mark project-57 3f2a9c1e --as success --reason "rerun by hand, artifact is there"',
        "/somas dlq mark 42 3f2a9c1e 77b01d44 --as skipped --reason duplicate",
    ),
)
async def dlq_mark(
    context: CommandContext,
    project: ProjectName,
    *letters: str,
    as_: Literal["success", "failure", "skipped"],
    reason: str,
) -> Reply:
    """Say of dead letters that they were recovered, or not, or are left; with your name and why.

    Parameters
    ----------
    project
        A project such as project-57; the number alone is enough.
    letters
        Their ids or the first characters of each.
    as_
        success closes a letter; failure and skipped leave it open.
    reason
        Why: it stands in the letter's notes and in the log.
    """
    handler: Somas = context.handler
    found = await handler.project(project)
    chosen = _named(found, letters)
    order = Order(found.id, "mark", str(context.actor), reason, "")
    await handler.services.run_blocking(mark, found, Selection(ids=chosen), as_, order, NO_TIME)
    return one_step(
        found.id,
        "dlq-mark",
        f"Mark dead letters as {as_}",
        "somas.mark_letters",
        "dead_letters.malformed == false",
        danger="change",
        reason=reason,
        inputs={"letters": " ".join(chosen), "result": as_},
    )


@commands.command(
    danger=Danger.CHANGE,
    verb="dlq replay",
    examples=('/somas dlq replay project-57 3f2a9c1e --reason "the API answers again"',),
)
async def dlq_replay(
    context: CommandContext,
    project: ProjectName,
    letter: str,
    *,
    override: bool = False,
    reason: str = "",
) -> Reply:
    """Start the stage of a dead letter again; nothing can send the letter itself again.

    SOMAS has no replay. What can be done: the letter is counted as replayed and pending, its stage is restarted as
    `/somas restart` does, and the run watches until the stage runs. The letter stays open until you mark it.

    Parameters
    ----------
    project
        A project such as project-57; the number alone is enough.
    letter
        Its id or the first characters of it, its number such as #3, or last.
    override
        Restart although the project is finished, its circuit breaker is set or it was retried too often.
    reason
        Why, for the log and for those who come after you.
    """
    handler: Somas = context.handler
    found = await handler.project(project)
    require_usable(found)
    (chosen,) = _named(found, (letter,))
    stage = replay_stage(find(found, letter).letter)
    handler.decide(found, context.clock.now(), stage=stage, override=override)
    await handler.refuse_held(found.id, override=override)
    return StartRun(
        runbook=restart_runbook(context, "dlq-replay", handler.settings),
        target=Target(product="somas", kind="project", name=found.id),
        reason=reason,
        inputs={
            "letters": chosen,
            "stage": stage,
            "mode": "stage",
            "why": f"a replay of dead letter {chosen[:8]}",
            "override": "true" if override else "false",
            "dead_letters_before": dead_letters_before(found),
        },
    )


@commands.command(
    danger=Danger.DESTRUCTIVE,
    verb="dlq purge",
    examples=(
        "/somas dlq purge project-57 --recovered",
        '/somas dlq purge 57 --stage implement --reason "rate limit of last week"',
        "/somas dlq purge 57 3f2a9c1e 77b01d44",
        "/somas dlq purge 57 --all",
    ),
)
async def dlq_purge(
    context: CommandContext,
    project: ProjectName,
    *letters: str,
    recovered: Annotated[bool, OneOf("which")] = False,
    all_: Annotated[bool, OneOf("which")] = False,
    stage: StageName = None,
    agent: str = "",
    reason: str = "",
) -> Reply:
    """Move dead letters to an archive file in the project's folder; the file keeps its shape.

    Letters that come in while you wait for the approval stay. `/somas restore` gets an archive back.

    Parameters
    ----------
    project
        A project such as project-57; the number alone is enough.
    letters
        Their ids or the first characters of each; or choose with the options.
    recovered
        Those that were successfully recovered.
    all_
        All that are there now.
    stage
        Those of this stage.
    agent
        Those of this agent.
    reason
        Why, for the archive and the log.
    """
    handler: Somas = context.handler
    found = await handler.project(project)
    require_usable(found)
    if not (letters or recovered or all_ or stage or agent):
        raise UserError(
            "Say which dead letters: their ids, --recovered, --stage STAGE, --agent NAME or --all.",
            suggestions=(
                f"/somas dlq purge {found.id} --recovered",
                f"/somas dlq purge {found.id} --all",
                f"/somas dlq list {found.id}",
            ),
        )
    newest = max((text(each.letter.raw.get("timestamp")) for each in numbered(found)), default="")
    ids = _named(found, letters) if letters else ()
    selection = Selection(ids, stage or "", agent, recovered, all_, "" if ids else newest)
    order = Order(found.id, "purge", str(context.actor), reason, "")
    await handler.services.run_blocking(purge, found, selection, order, NO_TIME)
    return one_step(
        found.id,
        "dlq-purge",
        "Move dead letters to an archive",
        "somas.purge_letters",
        "dead_letters.malformed == false",
        danger="destructive",
        reason=reason,
        inputs={name: value for name, value in selection.inputs.items() if value},
    )


def _named(project: Project, letters: tuple[str, ...]) -> tuple[str, ...]:
    """The ids of what a person typed. Raises ``UserError`` for what is no letter and for one without an id."""
    if not letters:
        raise UserError(
            f"Say which dead letters: their ids, as /somas dlq list {project.id} shows them.",
            suggestions=(f"/somas dlq list {project.id}",),
        )
    found: list[Numbered] = [find(project, each) for each in letters]
    for each in found:
        if not each.id:
            raise UserError(
                f"Dead letter {each.short} of {project.id} has no id that could be named. It can be purged with --all."
            )
    return tuple(dict.fromkeys(each.id for each in found))
