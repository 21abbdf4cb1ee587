"""``/somas escalate``, ``/somas incident``, ``/somas rollback config``: what an incident takes besides mending it."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Annotated, Literal

from bot.commands.registry import CommandContext, Existing, Metavar, Reply, StartRun
from bot.errors import Unavailable, UserError
from bot.handler import Danger, Target
from handlers.somas.commands import commands, document_of, with_budgets
from handlers.somas.handler import Somas
from handlers.somas.projects import project_argument
from handlers.somas.rollback import find_rollback

Project = Annotated[str, Existing("project", normalise=project_argument)]
Severity = Literal["low", "medium", "high", "critical"]
RESPONSE_TIMES = {
    "low": timedelta(hours=24),
    "medium": timedelta(hours=4),
    "high": timedelta(hours=1),
    "critical": timedelta(minutes=15),
}


@commands.command(
    danger=Danger.CHANGE,
    examples=(
        '/somas escalate project-42 critical "it deletes branches"',
        "/somas escalate 42 low 'the gate is too strict'",
    ),
)
async def escalate(context: CommandContext, project: Project, severity: Severity, reason: str) -> Reply:
    """Page the contact about a project now, and again until somebody acknowledges.

    Parameters
    ----------
    project
        The project it is about.
    severity
        How soon an answer is wanted: low 24 hours, medium 4 hours, high 1 hour, critical 15 minutes.
    reason
        What is wrong, in quotes.
    """
    if not reason.strip():
        raise UserError('Say what is wrong: /somas escalate project-42 high "the reason".')
    book = with_budgets(document_of(context, "escalate"), {"somas.escalate": RESPONSE_TIMES[severity]})
    return StartRun(
        runbook=book.model_copy(update={"severity": severity}),
        target=Target(product="somas", kind="project", name=project),
        reason=reason,
        inputs={"severity": severity},
        changes=False,  # it must be possible while somebody works on the project
    )


@commands.command(
    danger=Danger.CHANGE,
    examples=(
        '/somas incident project-42 --resolution "the token was renewed"',
        '/somas incident 42 --resolution "limit raised" --cause "a loop" --follow-up "Alert earlier" --dry-run',
    ),
)
async def incident(
    context: CommandContext,
    project: Project,
    *,
    resolution: str,
    title: str = "",
    cause: str = "",
    follow_up: Annotated[list[str] | None, Metavar("TEXT")] = None,
) -> Reply:
    """Write an incident down: on the project's issue, in its log, and an issue for each thing that is left to do.

    Parameters
    ----------
    project
        The project it was about.
    resolution
        What helped.
    title
        What it was, in a few words.
    cause
        Why it happened.
    follow_up
        Something that is left to do; once for each, every one becomes an issue.
    """
    if not resolution.strip():
        raise UserError("Say what helped: --resolution TEXT.")
    return StartRun(
        runbook=document_of(context, "post-incident"),
        target=Target(product="somas", kind="project", name=project),
        reason=resolution,
        inputs={
            "resolution": resolution,
            "title": title or "-",
            "cause": cause or "-",
            "follow_ups": "\n".join(follow_up or ()) or "-",
        },
    )


@commands.command(
    verb="rollback config",
    danger=Danger.CHANGE,
    examples=("/somas rollback config", "/somas rollback config 4f5a2c91d0 --dry-run"),
)
async def rollback_config(context: CommandContext, commit: str = "last", *, reason: str = "") -> Reply:
    """Bring an earlier ``.somas/config.yml`` back: the difference first, then a pull request.

    Parameters
    ----------
    commit
        The commit whose version comes back; without it the last one that differs from now.
    reason
        Why; it stands in the pull request.
    """
    handler: Somas = context.handler
    github = handler.on_github()
    if not commit.isalnum() or not commit.isascii() or len(commit) > 40:
        raise UserError(f"{commit[:60]!r} is no commit; give its sha, at least seven characters of it.")
    with suppress(Unavailable):  # the run waits until GitHub answers
        await find_rollback(github, "" if commit == "last" else commit)
    return StartRun(
        runbook=document_of(context, "rollback-config"),
        target=Target(product="somas", kind="repository", name=github.repository),
        reason=reason,
        inputs={"commit": commit},
    )
