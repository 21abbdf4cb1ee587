"""``/somas escalate project-42 critical "…"`` and ``/somas incident project-42 --resolution "…"``.

An escalation is a page that repeats until somebody acknowledges it, as often as the severity wants. An incident is
written down where the next person looks: the project's issue, its log, and an issue for everything that is left to do.
"""

from __future__ import annotations

import uuid
from pathlib import Path

from bot.errors import UserError
from bot.handler import Action, ActionContext, ActionResult, Danger, Observation, Preview
from bot.messages import Block, Bullets, CodeBlock, Heading, Message, Paragraph, line
from bot.words import counted
from handlers.somas.config import read_config
from handlers.somas.decode import brief, clean, stamp, text
from handlers.somas.github import patiently
from handlers.somas.handler import Somas
from handlers.somas.issue_breaker import drawn, operation_mark, say_once
from handlers.somas.locks import append, locked
from handlers.somas.phrases import stage_text, status_text
from handlers.somas.projects import exists, no_such_project, project_directory, read_project
from handlers.somas.restart import actor_entry
from handlers.somas.summary import summarise
from handlers.somas.transitions import encode_event

# What the runbook's escalation path asks of each severity.
RESPONSE = {
    "low": ("24 hours", "watch it, write a ticket"),
    "medium": ("4 hours", "investigate, try what the runbooks offer"),
    "high": ("1 hour", "act by hand, tell the team"),
    "critical": ("15 minutes", "stop the pipelines with /somas stop-all, tell the owner"),
}
IN_THE_LOG = "GitHub is not configured. The next step writes the resolution to transitions.jsonl."
EVENT = "recovery_completed"  # of the schema's own words the one that tells of an end; upstream writes none


async def escalate(handler: Somas, context: ActionContext) -> ActionResult:
    """Page now; what is known of the project goes along."""
    severity = context.inputs.get("severity", "high")
    answer_within, wanted = RESPONSE.get(severity, RESPONSE["high"])
    now = context.clock.now()
    project = await handler.project(context.target.name)
    error, when = summarise(project).last_failure
    known = [
        f"status: {status_text(project)}",
        f"stage: {stage_text(project, now)}",
        f"last error: {brief(error, 300) or 'none'}" + (f" ({when:%Y-%m-%d %H:%M} UTC)" if when else ""),
        f"dead letters: {len(project.letters.entries)}",
        f"wanted at {severity}: an answer within {answer_within}; {wanted}",
    ]
    if handler.github is not None:
        known.append(f"issue: {handler.github.api.web_url}/issues/{await handler.issue_number(project.id)}")
    return ActionResult(
        status="page",
        summary=f"{severity}: {brief(context.reason, 300)} (answer within {answer_within})",
        evidence="\n".join(known),
    )


def incident_message(context: ActionContext, by: str) -> Message:
    """What stands on the issue."""
    given = context.inputs
    blocks: list[Block] = [
        Heading(f"Incident: {brief(_title(context), 120)}"),
        Paragraph(line(f"Resolution: {brief(given.get('resolution', ''), 2000)}")),
    ]
    if (cause := given.get("cause", "-")) not in ("", "-"):
        blocks.append(Paragraph(line(f"Cause: {brief(cause, 2000)}")))
    blocks.append(Paragraph(line(f"Written by {clean(by)} at {context.clock.now():%Y-%m-%d %H:%M} UTC.")))
    if wanted := follow_ups(context):
        blocks.append(Paragraph(line("To do:")))
        blocks.append(Bullets(tuple(line(each) for each in wanted)))
    return Message("incident", tuple(blocks))


def _title(context: ActionContext) -> str:
    """What it is called; a dash was given for nothing."""
    title = context.inputs.get("title", "-")
    return context.target.name if title in ("", "-") else title


def follow_ups(context: ActionContext) -> list[str]:
    return [each.strip() for each in context.inputs.get("follow_ups", "").split("\n") if each.strip() not in ("", "-")]


async def preview_document(handler: Somas, context: ActionContext) -> Preview:
    github = handler.github
    if github is None:
        return Preview(summary=f"No issue will say it: {IN_THE_LOG}")
    issue = await handler.issue_number(context.target.name)
    there = await patiently(context, lambda: github.issue(issue))
    where = f"Comment on issue #{issue}" if there else f"Issue #{issue} is not there: open a new issue"
    return Preview(
        summary=f"{where} of {github.repository} with the account of the incident.",
        detail=drawn(github.api, incident_message(context, handler.services.name(context.actor))),
        language="markdown",
    )


async def document(handler: Somas, context: ActionContext) -> ActionResult:
    """On the project's issue, or on a new one where there is none; once. Without GitHub the log has to do."""
    github = handler.github
    if github is None:
        return ActionResult(status="done", summary=f"No issue says it: {IN_THE_LOG}")
    issue = await handler.issue_number(context.target.name)
    said = incident_message(context, handler.services.name(context.actor))
    if await patiently(context, lambda: github.issue(issue)):
        url = await say_once(github, context, issue, said)
    else:
        title = f"Incident: {brief(_title(context), 120)}"
        url = await _issue_once(handler, context, title, said, "incident")
    observed = Observation(name="incident.url", value=url, source="GitHub")
    return ActionResult(status="done", summary=f"The incident is written down: {url}", observations=(observed,))


async def preview_log(handler: Somas, context: ActionContext) -> Preview:
    return Preview(
        summary=f"Add one entry {EVENT} with the resolution to transitions.jsonl of {context.target.name}.",
        detail=encode_event(_entry(context, "<id>", "<time of the change>")).rstrip(),
        language="json",
    )


async def log_resolution(handler: Somas, context: ActionContext) -> ActionResult:
    """One line in the log, under the project's locks, once for each operation."""

    def write() -> bool:
        directory = project_directory(handler.root, context.target.name)
        if not exists(directory):  # before a lock file is made where no project is
            raise no_such_project(context.target.name)
        with locked(directory, handler.settings.lock_seconds, context.abort.is_set):
            if _logged(handler.root, context):
                return False
            entry = _entry(context, str(uuid.uuid4()), stamp(context.clock.now()))
            append(directory / "transitions.jsonl", encode_event(entry))
            return True

    try:
        new = await handler.services.run_blocking(write)
    except OSError as error:
        return ActionResult(
            status="failed", summary=f"transitions.jsonl cannot be written: {error.strerror}. Nothing was changed."
        )
    said = "has the resolution now" if new else "has had the resolution already"
    return ActionResult(status="done", summary=f"transitions.jsonl of {context.target.name} {said}.")


async def check_log(handler: Somas, context: ActionContext) -> ActionResult | None:
    """After a crash: the log itself tells."""
    if await handler.services.run_blocking(_logged, handler.root, context):
        return ActionResult(status="done", summary=f"transitions.jsonl of {context.target.name} has the resolution.")
    return None


async def preview_follow_ups(handler: Somas, context: ActionContext) -> Preview:
    wanted = follow_ups(context)
    if not wanted:
        return Preview(summary="No follow-up was asked for, so no issue is opened.")
    github = handler.github
    if github is None:
        return Preview(summary=f"Ask you to write {counted(len(wanted), 'thing')} down.", detail="\n".join(wanted))
    return Preview(summary=f"Open {counted(len(wanted), 'issue')} in {github.repository}.", detail="\n".join(wanted))


async def create_follow_ups(handler: Somas, context: ActionContext) -> ActionResult:
    """An issue for each; one that an earlier try has opened is not opened again."""
    wanted = follow_ups(context)
    if not wanted:
        return ActionResult(status="done", summary="No follow-up was asked for.")
    if handler.github is None:
        return ActionResult(
            status="manual",
            summary="GitHub is not configured, so no issue can be opened: write down yourself what is left to do, then "
            "press Done.",
            evidence="\n".join(wanted),
        )
    opened = []
    for number, each in enumerate(wanted):
        said = Message("follow-up", (Paragraph(line(f"After the incident of {context.target.name}.")), CodeBlock(each)))
        opened.append(await _issue_once(handler, context, brief(each, 120), said, str(number)))
    return ActionResult(
        status="done",
        summary=f"{counted(len(opened), 'issue')} opened for what is left to do.",
        evidence="\n".join(opened),
    )


async def check_again(handler: Somas, context: ActionContext) -> ActionResult | None:
    """After a crash: what is there is found by its mark, the rest is written."""
    return None


async def _issue_once(handler: Somas, context: ActionContext, title: str, said: Message, part: str) -> str:
    github = handler.on_github()
    mark = operation_mark(f"{context.operation_id}:{part}")
    for issue in await patiently(context, github.recent_issues):
        if mark in text(issue.get("body")):
            return text(issue.get("html_url"))
    body = f"{drawn(github.api, said)}\n\n{mark}"
    _, url = await patiently(context, lambda: github.create_issue(clean(title), body))
    return url


def _entry(context: ActionContext, id_: str, at: str) -> dict[str, object]:
    resolution = clean(context.inputs.get("resolution", ""))[:2000]
    if not resolution:
        raise UserError("An incident needs its resolution: --resolution TEXT.")
    metadata = {"incident": clean(_title(context))[:200], "resolution": resolution}
    if (cause := context.inputs.get("cause", "-")) not in ("", "-"):
        metadata["cause"] = clean(cause)[:2000]
    return {
        "id": id_,
        "timestamp": at,
        "project_id": context.target.name,
        "event_type": EVENT,
        "metadata": {**metadata, "operation_id": context.operation_id},
        "actor": actor_entry(context.actor),
    }


def _logged(root: Path, context: ActionContext) -> bool:
    project = read_project(root, context.target.name, read_config(root))
    return any(
        event.type == EVENT and event.metadata.get("operation_id") == context.operation_id
        for event in project.log.events
    )


ACTIONS: tuple[Action, ...] = (
    Action(name="somas.escalate", danger=Danger.READ, help="Page the contact about a project now", perform=escalate),
    Action(
        name="somas.document_incident",
        danger=Danger.CHANGE,
        help="Write what happened onto the project's issue",
        perform=document,
        preview=preview_document,
        check=check_again,
    ),
    Action(
        name="somas.log_resolution",
        danger=Danger.CHANGE,
        help="Add the resolution of an incident to the project's log",
        perform=log_resolution,
        preview=preview_log,
        check=check_log,
    ),
    Action(
        name="somas.create_follow_ups",
        danger=Danger.CHANGE,
        help="Open an issue for everything that is left to do after an incident",
        perform=create_follow_ups,
        preview=preview_follow_ups,
        check=check_again,
    ),
)
