"""The buttons under a run: only what applies now, most likely first. Pressing one is typing its command."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from bot.messages import Block, Button, CodeBlock, Dialog, Input, Paragraph, line
from bot.runs.decide import allowed
from bot.runs.model import RunState
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
    "cancel": "Cancel run",
}
STYLES: dict[str, Literal["primary", "danger"]] = {
    "ack": "primary",
    "done": "primary",
    "approve": "danger",
    "fail": "danger",
}


def buttons_of(state: RunState) -> tuple[Button, ...]:
    """Only those that apply now, most likely first."""
    return tuple(button_of(state, verb) for verb in allowed(state))


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
    return Button(LABELS[verb], command, STYLES.get(verb, "default"), dialog)
