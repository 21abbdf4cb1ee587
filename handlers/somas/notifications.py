"""``project-42: verify failed: Coverage is 71.4 %``: what the transition log tells, as it happens.

Which events are told stands in ``notify_on``, where upstream has it (``project_management.notifications``) and where
the runbook puts it (``monitoring.notifications``); the bot's own configuration goes before both. The label of the
circuit breaker and failed workflows are heard of from GitHub. Upstream names
``high_risk_task_started`` there too, but nothing ever writes such an event.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from bot.reports.news import NewsItem, NewsSource, Seen
from bot.repository_events import RepositoryEvent
from handlers.somas.appended import Mark, end_of, read_news
from handlers.somas.config import read_config, read_raw
from handlers.somas.decode import brief, items, mapping, text
from handlers.somas.handler import Somas
from handlers.somas.projects import list_projects, project_directory
from handlers.somas.stages import STAGES, current_name
from handlers.somas.tally import HUMAN_WAIT
from handlers.somas.transitions import Event

FAILED = frozenset({"failure", "timed_out", "startup_failure", "action_required"})  # conclusions of a workflow run
LOG = "transitions.jsonl"
OF_LOG = ("stage_completed", "human_gate_opened", "error_occurred", "pipeline_completed")
OF_BREAKER = ("circuit_breaker_set", "circuit_breaker_removed")  # told with those of ``notify_on``: they stop a project
EVENTS = (*OF_LOG, *OF_BREAKER, "workflow_failed")
GITHUB = "github"  # the mark of what GitHub told; no project is called so
_PROJECT = re.compile(r"\bproject-[1-9][0-9]{0,17}\b", re.ASCII)


def told(event: Event) -> str:
    """Which of ``OF_LOG`` an event of the log is; empty for none of them."""
    match event.type:
        case "stage_completed":
            return "pipeline_completed" if event.stage == STAGES[-1] else "stage_completed"
        case "stage_failed" | "agent_failed":
            return "error_occurred"  # error_recorded is the same failure once more
        case "state_updated":
            before, after = (text(mapping(event.raw.get(side)).get("status")) for side in ("from_state", "to_state"))
            after = after or text(event.metadata.get("status"))
            if after in HUMAN_WAIT and before not in HUMAN_WAIT:
                return "human_gate_opened"
            return "pipeline_completed" if after == "completed" and before != "completed" else ""
        case _:
            return ""


def sentence(event: Event) -> str:
    """What happened, in a few words; texts of the log are cut to one line."""
    stage = brief(event.stage, 40)
    match told(event):
        case "stage_completed":
            return f"{stage} is completed"
        case "pipeline_completed":
            return "the pipeline is completed"
        case "human_gate_opened":
            where = text(mapping(event.raw.get("to_state")).get("stage"))
            return f"waits for a person{f' at {brief(current_name(where), 40)}' if where else ''}"
        case "error_occurred":
            who = stage or brief(text(event.raw.get("agent")), 40) or "an agent"
            return f"{who} failed: {brief(event.message, 200) or 'no error text was recorded'}"
    return event.type


def notify_on(config: Mapping[str, object]) -> tuple[str, ...]:
    """The events that ``.somas/config.yml`` wants to be told; all four when it says nothing."""
    for section in ("project_management", "monitoring"):
        found = mapping(mapping(config.get(section)).get("notifications"))
        if found.get("enabled") is False:
            return ()
        if wanted := [each for each in items(found.get("notify_on")) if isinstance(each, str)]:
            return tuple(each for each in wanted if each in OF_LOG)
    return OF_LOG


def look(root: Path, marks: Mapping[str, str], begun: bool, wanted: Sequence[str]) -> Seen:
    """What was appended to every log since ``marks``. The very first look tells nothing of what is there already."""
    found: list[NewsItem] = []
    changed: dict[str, str] = {}
    for project in list_projects(root):
        path = project_directory(root, project) / LOG
        if project in marks or begun:
            mark = Mark.model_validate_json(marks[project]) if project in marks else Mark()
            news = read_news(path, mark)
            after = news.mark
            found += [
                NewsItem(subject=project, event=told(event), text=sentence(event), at=event.at)
                for event in news.events
                if told(event) in wanted
            ]
        else:
            mark, after = None, end_of(path)
        if after != mark:
            changed[project] = after.model_dump_json()
    return Seen(tuple(found), changed)


async def news(handler: Somas, marks: Mapping[str, str], begun: bool, events: Sequence[str]) -> Seen:
    """Raises ``Unavailable`` when the folder cannot be read."""

    def read() -> tuple[Seen, tuple[str, ...], str]:
        by_config = notify_on(_config(handler.root))
        wanted = tuple(events) or ((*by_config, *OF_BREAKER) if by_config else ())
        return look(handler.root, marks, begun, wanted), wanted, read_config(handler.root).breaker_label

    seen, wanted, breaker = await handler.services.run_blocking(read)
    source = handler.services.repository_events
    if source is None:
        return seen
    if GITHUB not in marks:
        return Seen(seen.items, {**seen.marks, GITHUB: str(await source.newest())})
    heard = await source.after(int(marks[GITHUB]))
    found = [await _item(handler, event, breaker) for _, event in heard]
    told_too = tuple(item for item in found if item is not None and item.event in wanted)
    behind = {GITHUB: str(heard[-1][0])} if heard else {}
    return Seen((*seen.items, *told_too), {**seen.marks, **behind})


async def _item(handler: Somas, event: RepositoryEvent, breaker: str) -> NewsItem | None:
    """What an event of the repository means to SOMAS; None when it means nothing."""
    by = brief(event.by, 40) or "somebody"
    match event.kind:
        case "label_added" | "label_removed" if event.label.casefold() == breaker.casefold():
            subject = await handler.name_for_issue("project", event.issue) or f"issue {event.issue}"
            done = "set" if event.kind == "label_added" else "removed"
            text = f"{by} {done} {brief(event.label, 60)} on issue {event.issue}"
            return NewsItem(subject, f"circuit_breaker_{done}", text, event.at)
        case "workflow_ended" if event.conclusion in FAILED:
            named = _PROJECT.search(f"{event.title} {event.branch}")
            subject = named[0] if named else brief(event.branch, 60) or "the repository"
            name = brief(event.workflow, 60) or "a workflow"
            return NewsItem(subject, "workflow_failed", f"{name} ended with {event.conclusion}", event.at)
        case _:
            return None


def _config(root: Path) -> Mapping[str, object]:
    return read_raw(root)[0]


NEWS = NewsSource(events=EVENTS, look=news)
