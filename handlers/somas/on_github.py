"""The end of ``/somas status project-42`` and of ``/somas failed``: what GitHub knows and the files do not tell.

Issue, pull request of the branch and newest run of one project; of all, the open issues that are held and how the last
run of the pipeline ended. A GitHub that does not answer holds nothing up: the files have been read, and that is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

from bot.errors import UserError
from bot.messages import Block, Bold, Bullets, Line, Link, Note, Paragraph, Text, line
from bot.words import counted
from handlers.somas.decode import brief, items, mapping, text
from handlers.somas.github import SomasGitHub, listed
from handlers.somas.handler import Somas
from handlers.somas.issue_breaker import runs_of_project
from handlers.somas.projects import Project
from handlers.somas.rebuild import number_of
from handlers.somas.workflow_runs import WorkflowRun, run_line

BLOCKED = "quality:blocked"  # of upstream's labels the one that is nearest to "failed"; somas:failed does not exist
PIPELINE = "somas-pipeline.yml"
PATIENCE = 5.0  # seconds: whoever asks for a project's status wants what the files say


async def of_project(handler: Somas, project: Project, now: datetime) -> tuple[Block, ...]:
    """Links to issue, pull request and newest run of one project; nothing without GitHub."""
    number = (project.state.issue_number if project.state else 0) or number_of(project.id)
    branch = (project.state.branch if project.state else "") or f"somas/{project.id}"

    async def ask(github: SomasGitHub) -> list[Line]:
        issue, pull, runs = await asyncio.gather(
            github.issue(number),
            github.pull_of(branch),
            runs_of_project(handler, github, project.id, ended_too=True),
        )
        rows = [_issue(number, issue)]
        if pull:
            rows.append((Link(f"pull request #{pull.number}", pull.url), Text(f" {pull.state}, {brief(branch, 80)}")))
        else:
            rows.append(line(f"no pull request comes from {brief(branch, 80)}"))
        rows.append(_run(runs[0], now) if runs else line("none of the newest 100 workflow runs is of this project"))
        return rows

    return await _told(handler, ask)


async def of_all(handler: Somas, now: datetime) -> tuple[Block, ...]:
    """Which open issues are held by a label, and how the last run of the pipeline ended; nothing without GitHub."""
    breaker = await handler.breaker_label()

    async def ask(github: SomasGitHub) -> list[Line]:
        blocked, held, runs = await asyncio.gather(
            github.issues_with(BLOCKED), github.issues_with(breaker), github.runs({"per_page": "1"}, PIPELINE)
        )
        rows = []
        for label, issues in ((BLOCKED, blocked), (breaker, held)):
            numbers = listed(f"#{each.get('number')}" for each in issues)
            with_label = f"{counted(len(issues), 'open issue')} with {brief(label, 60)}"
            rows.append(line(f"{with_label}: {numbers}" if issues else f"no open issue with {brief(label, 60)}"))
        rows.append(_run(runs[0], now) if runs else line(f"no run of {PIPELINE}"))
        return rows

    return await _told(handler, ask)


async def _told(handler: Somas, ask: Callable[[SomasGitHub], Awaitable[list[Line]]]) -> tuple[Block, ...]:
    if handler.github is None:
        return ()
    try:
        async with asyncio.timeout(PATIENCE):
            rows = await ask(handler.github)
    except TimeoutError:
        return (Note(line(f"GitHub has not answered within {PATIENCE:g} s; this is from the files alone.")),)
    except UserError as error:
        return (Note(line(f"This is from the files alone. {error.message}")),)
    return Paragraph(line(Bold("On GitHub"))), Bullets(tuple(rows))


def _issue(number: int, issue: object) -> Line:
    found = mapping(issue)
    if not found:
        return line(f"issue #{number} is not there")
    labels = listed(text(mapping(each).get("name")) for each in items(found.get("labels")))
    state = brief(text(found.get("state")), 20)
    return (Link(f"issue #{number}", text(found.get("html_url"))), Text(f" {state}, {labels or 'no label'}"))


def _run(run: WorkflowRun, now: datetime) -> Line:
    return (Text("newest run: "), Link(run_line(run, now), run.url))
