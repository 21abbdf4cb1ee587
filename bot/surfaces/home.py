"""The home tab: what waits for me, what runs, who is paged, which thresholds are crossed, what I started last.

Built anew from the state whenever that changes; no line depends on the time of day, so that nothing is drawn again
while nothing happens. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from bot.commands.registry import Command, CommandGroup, Level
from bot.handler import Danger
from bot.messages import (
    Block,
    Bold,
    Bullets,
    Button,
    Buttons,
    Divider,
    Heading,
    Line,
    Link,
    Message,
    Note,
    Paragraph,
    Text,
    When,
    line,
)
from bot.reports.model import Level as Severity
from bot.runs.model import Escalation, RunState
from bot.surfaces.buttons import button_of, buttons_of
from bot.surfaces.step_text import Name, number_of, short, title_of
from bot.words import counted

MOST = 8  # entries of a section
LAST_RUNS = 5
COMMANDS_OF_ONE = 3


@dataclass(frozen=True, slots=True)
class Crossed:
    """A threshold that is crossed: project-57 has been critical since some moment."""

    product: str
    metric: str
    subject: str
    level: Severity
    shown: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Situation:
    """What is so for everybody. ``links`` lead to the cards, by run."""

    open: Sequence[RunState]
    crossed: Sequence[Crossed]
    groups: Sequence[CommandGroup]
    links: Mapping[str, str]
    name: Name
    frozen: str = ""


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks, and what they may do."""

    person: str  # their name under [people]; empty
    allows: Callable[[Level], bool]
    may_approve: Callable[[RunState], bool]
    is_mine: Callable[[RunState], bool]
    last: Sequence[RunState]  # their own runs, the newest first


def home(situation: Situation, viewer: Viewer) -> Message:
    """Everything that this person sees, with the buttons that they may press."""
    if not viewer.allows("viewer"):
        blocked = Paragraph(line("You may not see runs here. Ask an admin to add you to [access] in opsbot.toml."))
        return Message("opsbot", (Heading("opsbot"), blocked))
    waiting = [state for state in situation.open if waits_for(state, viewer)]
    paged = [state for state in situation.open if state.page and state not in waiting]
    running = [state for state in situation.open if not state.closed and state not in waiting and state not in paged]
    blocks: list[Block] = []
    if situation.frozen:
        blocks.append(Paragraph(line(Bold("New changing runs are frozen"), f" by {situation.frozen}.")))
    blocks += _section("Waits for you", [_entry(each, situation, viewer) for each in waiting], "Nothing waits for you.")
    blocks += _section("Open escalations", [_entry(each, situation, viewer) for each in paged], "Nobody else is paged.")
    blocks.append(Heading("Running"))
    blocks += _list([_run_line(each, situation) for each in running], "Nothing else is running.")
    blocks.append(Heading("Thresholds"))
    crossed = sorted(situation.crossed, key=lambda each: (each.level != "critical", each.product, each.subject))
    blocks += _list([_crossed_line(each) for each in crossed], "No threshold is crossed.")
    blocks.append(Heading("Your last runs"))
    blocks += _list([_run_line(each, situation) for each in viewer.last[:LAST_RUNS]], "You have started none yet.")
    blocks += [Divider(), *_commands(situation.groups, viewer)]
    return Message("opsbot", tuple(blocks))


def waits_for(state: RunState, viewer: Viewer) -> bool:
    """Whether this very person is asked: to approve, to decide about their own run, or by a page."""
    if not viewer.allows("operator"):
        return False
    if state.page and any(contact.name == viewer.person for contact in state.page.contacts):
        return True
    if state.closed:
        return False
    if state.steps[state.current].status == "approval":
        return viewer.may_approve(state)
    return state.status == "waiting" and viewer.is_mine(state)


def _section(title: str, entries: Sequence[Sequence[Block]], empty: str) -> list[Block]:
    blocks: list[Block] = [Heading(title)]
    if not entries:
        blocks.append(Paragraph(line(empty)))
    for entry in entries[:MOST]:
        blocks += entry
    return [*blocks, *_rest(len(entries))]


def _list(items: Sequence[Line], empty: str) -> list[Block]:
    if not items:
        return [Paragraph(line(empty))]
    return [Bullets(tuple(items[:MOST])), *_rest(len(items))]


def _rest(count: int) -> list[Block]:
    return [Note(line(f"and {count - MOST} more: /runs list"))] if count > MOST else []


def _entry(state: RunState, situation: Situation, viewer: Viewer) -> list[Block]:
    blocks: list[Block] = [Paragraph(_run_line(state, situation))]
    if state.page:
        blocks.append(Note(_page_line(state.page)))
    if pressable := tuple(button for button in buttons_of(state) if _may_press(button, state, viewer)):
        blocks.append(Buttons(pressable))
    return blocks


def _may_press(button: Button, state: RunState, viewer: Viewer) -> bool:
    if not viewer.allows("operator"):
        return False
    approve = button_of(state, "approve").label if state.steps[state.current].status == "approval" else ""
    return button.label != approve or viewer.may_approve(state)


def _run_line(state: RunState, situation: Situation) -> Line:
    plan = state.plan
    title, url = title_of(plan), situation.links.get(plan.run_id, "")
    drill = "DRILL: " if plan.drill else ""
    spans: Line = (Text(drill), Link(title, url) if url else Bold(title))
    if state.closed:
        spans += line(f": {state.status}")
        return (*spans, *line(", ", When(state.finished_at, "date_time"))) if state.finished_at else spans
    step = state.steps[state.current]
    doing = {"approval": "waits for an approval", "waiting": "waits for a decision"}.get(step.status, "at work")
    spans += line(
        f": step {number_of(state)} of {len(state.steps)} {doing}, asked for by {situation.name(plan.person)}"
    )
    return (*spans, *line(", until ", When(step.deadline))) if step.deadline else spans


def _page_line(page: Escalation) -> Line:
    who = ", ".join(contact.name for contact in page.contacts) or "nobody"
    told = f" is paged ({counted(page.pages, 'time')}): {short(page.reason, 200)}"
    return line(f"{who}{told}, since ", When(page.opened_at))


def _crossed_line(crossed: Crossed) -> Line:
    said = f" {crossed.subject}: {short(crossed.shown, 120)} ({crossed.metric}, {crossed.product}), since "
    return line(Bold(crossed.level), said, When(crossed.since, "date_time"))


def _commands(groups: Sequence[CommandGroup], viewer: Viewer) -> list[Block]:
    """A row for each root: what shows its state, then what starts something. A command that needs more asks for it."""
    blocks: list[Block] = []
    for group in groups:
        common = sorted(group.commands.values(), key=_how_common)[:COMMANDS_OF_ONE]
        buttons = tuple(
            Button(f"/{group.root} {each.verb}", f"/{group.root} {each.verb}")
            for each in common
            if viewer.allows(each.level)
        )
        if buttons:
            blocks.append(Buttons(buttons))
    return blocks


def _how_common(command: Command) -> tuple[bool, bool]:
    """What reads and is called status or list comes first, then what starts runs, in the order of the registry."""
    shows = command.danger is Danger.READ and command.verb in ("status", "list", "handover")
    return not shows, not command.starts_run
