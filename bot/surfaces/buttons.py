"""The buttons under a run: only what applies now, most likely first. Pressing one is typing its command."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from bot.messages import Block, Button, CodeBlock, Dialog, Input, Paragraph, line
from bot.runs.model import RunState
from bot.runs.presses import allowed, runs_short
from bot.surfaces.step_text import EVIDENCE_IN_THREAD, excerpt

LABELS = {
    "ack": "Acknowledge",
    "approve": "Approve…",
    "deny": "Deny",
    "proceed": "Needed: go on",
    "retry": "Retry",
    "done": "Done",
    "fail": "Failed",
    "skip": "Skip",
    "extend": "More time…",
    "cancel": "Cancel run",
}
ANSWERS = frozenset({"proceed", "retry", "done", "fail", "skip"})  # to what is asked about one step
STYLES: dict[str, Literal["primary", "danger"]] = {
    "ack": "primary",
    "done": "primary",
    "approve": "danger",
    "fail": "danger",
}


def buttons_of(state: RunState) -> tuple[Button, ...]:
    """Only those that apply now, most likely first. More time is offered when it runs short."""
    verbs = allowed(state)
    if runs_short(state):
        verbs = (*(verb for verb in verbs if verb != "cancel"), "extend", *(verb for verb in verbs if verb == "cancel"))
    return tuple(button_of(state, verb) for verb in verbs)


def draft_button(state: RunState) -> tuple[Button, ...]:
    """For a run that has ended and for which somebody was called: there is something to write down."""
    if not state.closed or not state.escalations or state.plan.drill:
        return ()
    return (Button("Draft the post-incident issue", f"/runs incident {state.plan.run_id}"),)


def one_primary(buttons: tuple[Button, ...]) -> tuple[Button, ...]:
    """Only the first is made prominent: two green buttons side by side ask to be mistaken for one another."""
    first = next((button for button in buttons if button.style == "primary"), None)
    return tuple(
        replace(button, style="default") if button.style == "primary" and button is not first else button
        for button in buttons
    )


def button_of(state: RunState, verb: str) -> Button:
    run = state.plan.run_id
    command = f"/runs {verb} {run}"
    if verb in ANSWERS and not state.closed:
        command += f" --step {state.plan.runbook.steps[state.current].number}"
    dialog = None
    if verb == "approve":
        step = state.steps[state.current]
        command += f" --digest {step.digest}"
        target = state.plan.target.name
        preview = step.preview
        about: tuple[Block, ...] = (Paragraph(line(preview.summary if preview else "")),)
        if preview and preview.detail:
            about += (CodeBlock(excerpt(preview.detail, EVIDENCE_IN_THREAD), preview.language),)
        dialog = Dialog(
            title="DRILL: approve the step" if state.plan.drill else "Approve this step",
            submit="Approve",
            blocks=about,
            inputs=(Input(option="confirm", label=f"Type {target} to approve", placeholder=target),),
        )
    if verb == "extend":
        dialog = Dialog(
            title="More time",
            submit="Extend",
            inputs=(Input(option="by", label="How much more", initial="10m"), Input(option="reason", label="Why")),
        )
    return Button(LABELS[verb], command, STYLES.get(verb, "default"), dialog)
