"""What somebody reads whose run cannot start now: who works on the target, what they may do about it, what is frozen.

Pure functions; every button is a command that can be typed as well.
"""

from __future__ import annotations

from datetime import datetime

from bot.messages import Bold, Button, Buttons, Code, Dialog, Input, Mention, Message, Note, Paragraph, When, line
from bot.runs.freeze import Frozen
from bot.runs.locks import Held
from bot.runs.model import Plan, RunState
from bot.surfaces.step_text import Name, sentence, short, title_of
from bot.words import counted, duration


def held_message(plan: Plan, held: Held, command: str, now: datetime, name: Name) -> Message:
    """Who works on the target, since when and why; wait, be told, or take over."""
    target, owner = plan.target.name, name(held.owner)
    age = line("since ", When(held.since), f", {duration(now - held.since)} ago")
    if held.run_id:
        head = line(Bold(f"{owner} already works on {target}"), f": {short(held.reason, 300)} (")
    else:
        head = line(Bold(f"{owner} is the next to work on {target}"), f": {short(held.reason, 300)} (")
    others = f" {counted(held.waiting, 'command')} queued for it already." if held.waiting else ""
    buttons = [Button("Queue", f"{command} --queue")]
    if held.run_id:
        buttons.append(Button("Watch", f"/runs watch {held.run_id}"))
        buttons.append(
            Button(
                "Take over…",
                command,
                "danger",
                Dialog(
                    title="Take over",
                    submit="Take over",
                    blocks=(
                        Paragraph(
                            line(f"The run of {owner} is cancelled: {short(held.reason, 300)}. {owner} is told.")
                        ),
                        Paragraph(line("Then yours starts. What theirs has done stays done.")),
                    ),
                    inputs=(Input(option="take-over", label=f"Type {target} to take over", placeholder=target),),
                ),
            )
        )
        buttons.append(Button("Show that run", f"/runs show {held.run_id}"))
    blocks = (
        Paragraph((*head, *age, *line(f"). One changing run at a time.{others}"))),
        *((Note(line(f"run {held.run_id}")),) if held.run_id else ()),
        Buttons(tuple(buttons)),
    )
    return Message(f"{owner} already works on {target}", blocks, "warning")


def frozen_message(frozen: Frozen, command: str, now: datetime, name: Name) -> Message:
    """Who has frozen changing runs, since when and why; the command can wait until it is thawed."""
    head = f"Nothing was started: {name(frozen.actor)} has frozen new changing runs"
    since = line(": ", short(frozen.reason, 600), " (since ", When(frozen.since, "date_time"))
    said = Paragraph((*line(Bold(head)), *since, *line(f", {duration(now - frozen.since)} ago).")))
    hint = line("Reading goes on. Who may change things may end it with ", Code("/runs thaw"), ".")
    return Message(head, (said, Note(hint), Buttons((Button("Queue", f"{command} --queue"),))), "warning")


def queued_message(plan: Plan, command: str, number: int, before: int, why: str) -> Message:
    """The place in the line, what has to happen first, how to leave."""
    ahead = f"{counted(before, 'command')} before it" if before else "it is the next"
    head = f"Queued as number {number}: {title_of(plan)}"
    said = line(Bold(head), f". It starts by itself as soon as {why}; {ahead}.")
    leave = Buttons((Button("Leave the queue", f"/runs leave {number}"),))
    return Message(head, (Paragraph(said), Note(line(Code(command))), leave))


def taken_over_message(plan: Plan, number: int, held: Held, name: Name) -> Message:
    """The owner's run is being cancelled; this one comes next."""
    head = f"{plan.target.name} is taken over from {name(held.owner)}"
    said = line(Bold(head), f". Run {held.run_id} is being cancelled; yours starts as soon as it has ended.")
    leave = Buttons((Button("Do not start mine", f"/runs leave {number}"),))
    return Message(head, (Paragraph(said), leave))


def waits_message(name_of_waiter: str, command: str, number: int) -> Message:
    """For the thread of the run that is waited for. Nobody is notified: it changes nothing for the run."""
    said = f"{name_of_waiter} waits for this run to end"
    return Message(said, (Paragraph(line(Bold(said), f" (number {number}): ", Code(command))),))


def ended_message(state: RunState, person: str | None, who: str) -> Message:
    """For somebody who watched the run."""
    title = title_of(state.plan)
    took = duration((state.finished_at or state.plan.started_at) - state.plan.started_at)
    words = f"{title} has ended: {state.status} after {took}. {state.plan.target.name} is free."
    to = (Mention(person),) if person else line(who)
    show = Buttons((Button("Show that run", f"/runs show {state.plan.run_id}"),))
    return Message(f"{who}: {words}", (Paragraph((*to, *line(f" {words}"))), show))


def announced(frozen: Frozen | None, actor: str, name: Name, was: Frozen | None = None) -> Message:
    """For the channel: new changing runs are frozen, or they are allowed again."""
    if frozen:
        head = f"{name(actor)} has frozen new changing runs"
        rest = line(f": {sentence(short(frozen.reason, 600))} Runs that have begun go on; reading goes on; ")
        end = line("queued ones wait. ", Code("/runs thaw"), " ends it.")
        return Message(head, (Paragraph((*line(Bold(head)), *rest, *end)),), "warning")
    head = f"{name(actor)} has ended the freeze of changing runs"
    rest = line(f" ({short(was.reason, 300)})" if was else "", ". What is queued starts now.")
    return Message(head, (Paragraph((*line(Bold(head)), *rest)),), "good")


def repeated_message(who: str, run_id: str, step: str) -> Message:
    """For the thread of a run that is repeated by another one."""
    said = f"{who} repeats this run from step {step}"
    return Message(
        said, (Paragraph(line(Bold(said), f" as run {run_id}.")), Buttons((Button("Show it", f"/runs show {run_id}"),)))
    )
