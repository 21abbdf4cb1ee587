"""``/somas breaker status|trip|reset|events|config``: the label on an issue, and the bot's own breakers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Annotated, Any

import yaml

from bot.breakers import Breaker, Limits
from bot.commands.registry import Answer, Change, CommandContext, Existing, Metavar, OneOf, Reply, StartRun
from bot.errors import Unavailable, UserError
from bot.handler import Danger, Target
from bot.messages import Bold, Paragraph, line, message
from handlers.somas.commands import commands, document_of
from handlers.somas.config import decoded, read_config
from handlers.somas.decode import clean, mapping
from handlers.somas.emergency import STOPPED, stop_of
from handlers.somas.handler import Somas
from handlers.somas.issue_breaker import RESTARTS_NOTHING, LabelBreaker, read_breaker
from handlers.somas.messages_github import (
    all_breakers_message,
    config_message,
    events_message,
    label_message,
)
from handlers.somas.projects import project_argument
from handlers.somas.state import read_bytes

Project = Annotated[str | None, Existing("project", normalise=project_argument), OneOf("breaker")]
Service = Annotated[str, Metavar("NAME"), OneOf("breaker")]


@commands.command(
    verb="breaker status",
    danger=Danger.READ,
    examples=("/somas breaker status", "/somas breaker status project-42"),
)
async def breaker_status(
    context: CommandContext,
    project: Annotated[str | None, Existing("project", normalise=project_argument)] = None,
) -> Reply:
    """Show which circuit breakers are set: the label of one project or of all, and the bot's own ones.

    Parameters
    ----------
    project
        One project: since when, why, what upstream counts, what the label stops. Without it: all of them.
    """
    handler: Somas = context.handler
    now = context.clock.now()
    label = await handler.breaker_label()
    if project is not None:
        found = await _of_issue(handler, project)
        state = (await handler.project(project)).state
        return Answer(label_message(project, found, label, now, state.open_breakers if state else ()))
    try:
        held: list[dict[str, Any]] | str = await handler.on_github().issues_with(label)
    except UserError as error:
        held = error.message
    stop = stop_of(await handler.memory.recall(STOPPED))
    return Answer(all_breakers_message(held, label, stop, _own(handler), _limits(handler), now))


@commands.command(
    verb="breaker trip",
    danger=Danger.CHANGE,
    examples=('/somas breaker trip project-42 --reason "it opens the same issue again and again"',),
)
async def breaker_trip(
    context: CommandContext,
    project: Project = None,
    *,
    service: Service = "",
    reason: str = "",
) -> Reply:
    """Set the circuit breaker: the label on a project's issue, and its runs cancelled; or one of the bot's own.

    The label stops new starts from events of the issue in four workflows, and nothing else. For everything at once
    there is ``/somas stop-all``.

    Parameters
    ----------
    project
        The project whose issue gets the label.
    service
        Instead of a project: one of the bot's own breakers, GitHub or Slack; it tries again by itself after its time.
    reason
        Why; it is written onto the issue.
    """
    if service:
        breaker = _find(context.handler, service)
        why = f"opened by {_name(context)}" + (f": {reason}" if reason else "")
        return _own_change(
            lambda: breaker.trip(why),
            f"open the bot's breaker for {breaker.service} for {breaker.limits.seconds:g} s",
            f"The bot's breaker for {breaker.service} is open: nothing is sent there for "
            f"{breaker.limits.seconds:g} s, then it tries again by itself. Messages and steps wait.",
        )
    return _of_project(context, "breaker-trip", project, reason)


@commands.command(
    verb="breaker reset",
    danger=Danger.CHANGE,
    examples=(
        '/somas breaker reset project-42 --reason "the limit was raised"',
        "/somas breaker reset --service GitHub",
    ),
)
async def breaker_reset(
    context: CommandContext,
    project: Project = None,
    *,
    service: Service = "",
    reason: str = "",
) -> Reply:
    """Take the label away, or close one of the bot's own breakers. Neither starts anything again.

    With ``--dry-run`` it says whether the next start would set the label again.

    Parameters
    ----------
    project
        The project whose issue has the label.
    service
        Instead of a project: one of the bot's own breakers, GitHub or Slack.
    reason
        What was mended; it is written onto the issue.
    """
    if service:
        breaker = _find(context.handler, service)
        why = f"closed by {_name(context)}" + (f": {reason}" if reason else "")
        return _own_change(
            lambda: breaker.reset(why),
            f"close the bot's breaker for {breaker.service}",
            f"The bot's breaker for {breaker.service} is closed: calls go out again.",
        )
    run = _of_project(context, "breaker-reset", project, reason)
    handler: Somas = context.handler
    with suppress(Unavailable):  # the run waits until GitHub answers
        if not await handler.held(run.target.name):
            raise UserError(
                f"The circuit breaker of {run.target.name} is not set: its issue does not have the label "
                f"{await handler.breaker_label()}. {RESTARTS_NOTHING}",
                suggestions=(f"/somas breaker status {run.target.name}",),
            )
    return run


@commands.command(
    verb="breaker events", danger=Danger.READ, examples=("/somas breaker events", "/somas breaker events project-42")
)
async def breaker_events(
    context: CommandContext,
    project: Annotated[str | None, Existing("project", normalise=project_argument)] = None,
) -> Reply:
    """Show what happened to breakers: label, markers and the log of a project, or the bot's own breakers.

    Parameters
    ----------
    project
        One project. Without it: the bot's own breakers since it was started.
    """
    handler: Somas = context.handler
    if project is None:
        rows = [
            (change.at, f"{breaker.service}: {change.state}", change.why)
            for breaker in _own(handler)
            for change in breaker.changes
        ]
        rows.sort(key=lambda row: row[0], reverse=True)
        return Answer(events_message("The bot's own breakers", rows))
    found = await _of_issue(handler, project)
    log = (await handler.project(project)).log
    told = [] if isinstance(found, str) else [(each.at, each.what, each.by) for each in found.history]
    told += [
        (event.at, "circuit_breakers in state.json changed", "transitions.jsonl")
        for event in log.events
        if event.type == "state_updated" and "circuit_breakers" in event.metadata
    ]
    told.sort(key=lambda row: row[0].timestamp() if row[0] else 0.0, reverse=True)
    missing = f"Its label and its markers cannot be told: {found}" if isinstance(found, str) else ""
    return Answer(events_message(f"Circuit breaker of {project}", told, missing))


@commands.command(verb="breaker config", danger=Danger.READ, examples=("/somas breaker config",))
async def breaker_config(context: CommandContext) -> Reply:
    """Show what is configured about circuit breakers, and what nobody reads."""
    handler: Somas = context.handler

    def read() -> tuple[dict[str, Any], dict[str, Any], list[str]]:
        problems = list(read_config(handler.root).problems)
        return _yaml(handler, ".somas/config/limits.yml"), _yaml(handler, ".somas/config.yml"), problems

    limits, config, problems = await handler.services.run_blocking(read)
    return Answer(config_message(limits, config, problems, _limits(handler)))


async def _of_issue(handler: Somas, project: str) -> LabelBreaker | str:
    """The breaker of a project's issue; as text why GitHub does not tell, because its files tell something, too."""
    label = await handler.breaker_label()
    try:
        return await read_breaker(
            handler.on_github(), await handler.issue_number(project), label, handler.services.clock.now()
        )
    except UserError as error:
        return error.message


def _yaml(handler: Somas, name: str) -> dict[str, Any]:
    data = read_bytes(handler.root / name, 1_000_000)
    try:
        return mapping(decoded(data)) if isinstance(data, bytes) else {}
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}


def _name(context: CommandContext) -> str:
    handler: Somas = context.handler
    return clean(handler.services.name(str(context.actor)))


def _own(handler: Somas) -> Sequence[Breaker]:
    breakers = handler.services.breakers
    return breakers.all() if breakers else ()


def _limits(handler: Somas) -> Limits:
    breakers = handler.services.breakers
    return breakers.limits if breakers else Limits()


def _find(handler: Somas, service: str) -> Breaker:
    breakers = handler.services.breakers
    found = breakers.find(service) if breakers else None
    if found is None:
        known = ", ".join(breaker.service for breaker in _own(handler)) or "none yet"
        raise UserError(
            f"The bot has no breaker for {service[:60]!r}. Its own: {known}. Upstream has none for any "
            "service, ai_api least of all."
        )
    return found


def _own_change(change: Callable[[], None], would: str, said: str) -> Change:
    """A breaker of the bot lives in the process: to open or close it is no run, and after a crash it is closed."""

    async def send() -> None:
        change()

    async def answer(connection: object) -> Answer:
        return Answer(message(said))

    return Change(message(Paragraph(line(Bold("Nothing was done."), f" It would {would}."))), send=send, store=answer)


def _of_project(context: CommandContext, runbook: str, project: str | None, reason: str) -> StartRun:
    if project is None:
        verb = runbook.removeprefix("breaker-")
        raise UserError(
            f"Say which: /somas breaker {verb} <project>, or --service NAME for one of the bot's own. Everything at "
            "once is /somas stop-all.",
        )
    handler: Somas = context.handler
    handler.on_github()
    return StartRun(
        runbook=document_of(context, runbook),
        target=Target(product="somas", kind="project", name=project),
        reason=reason,
    )
