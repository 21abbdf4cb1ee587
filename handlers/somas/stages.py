"""``--from verify``: the eleven stages of the pipeline, and every other name that people and old files use for them."""

from __future__ import annotations

from rapidfuzz import fuzz, process

from bot.errors import UserError

STAGES = (
    "intake",
    "specify",
    "plan",
    "decompose",
    "implement",
    "verify",
    "integrate",
    "harden",
    "release",
    "operate",
    "analyze",
)

# The vocabulary before the rename, by order; the upstream runner still logs these.
OLD_NAMES = {
    "signal": "intake",
    "design": "specify",
    "grid": "plan",
    "line": "decompose",
    "mcp": "implement",
    "pulse": "verify",
    "synapse": "integrate",
    "overload": "harden",
    "velocity": "release",
    "vibe": "operate",
    "whole": "analyze",
}

# Words of the runbook and of limits.yml that are no stage, with the stage that does the work.
LOOSE_NAMES = {
    "validation": "verify",
    "validate": "verify",
    "test": "verify",
    "testing": "verify",
    "tester": "verify",
    "triage": "intake",
    "specifier": "specify",
    "planner": "plan",
    "simulator": "plan",
    "architect": "plan",
    "decomposer": "decompose",
    "implementer": "implement",
    "implementation": "implement",
    "merge": "integrate",
    "security": "harden",
    "deploy": "release",
    "deployment": "release",
    "monitor": "operate",
    "analysis": "analyze",
}


def current_name(name: str) -> str:
    """The stage's name of today: ``pulse`` is ``verify``; anything that is not an old name stays as it is."""
    return OLD_NAMES.get(name, name)


def next_stage(stage: str) -> str | None:
    """The stage after ``stage`` (old names mapped); None after the last one and for what is no stage."""
    name = current_name(stage)
    if name not in STAGES or name == STAGES[-1]:
        return None
    return STAGES[STAGES.index(name) + 1]


def stage_argument(text: str) -> str:
    """What a person typed as a stage, as one of the eleven.

    Old names are mapped. A word of the runbook that is no stage (``validation``) is refused with the stage that is
    meant, because a restart at the wrong place costs hours. Raises ``UserError``.
    """
    name = current_name(text.strip().lower())
    if name in STAGES:
        return name
    if name in LOOSE_NAMES:
        meant = LOOSE_NAMES[name]
        raise UserError(
            f"There is no stage {name}. The stage that does this work is called {meant}: use {meant}.",
            suggestions=(meant,),
        )
    nearest = process.extractOne(name[:40], STAGES, scorer=fuzz.WRatio, score_cutoff=60)
    hint = f"Did you mean {nearest[0]}? " if nearest else ""
    raise UserError(
        f"There is no stage {text.strip()[:40]!r}. {hint}The stages are: {', '.join(STAGES)}.",
        suggestions=(nearest[0],) if nearest else (),
    )
