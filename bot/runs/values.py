"""``handle.add_child(manifest={step2.manifest})``: the placeholders of a row, filled from what the run itself knows.

``{name}`` is an input, the target, or a fact that an earlier step of this run has seen, the newest one;
``{step1.name}`` is what step 1 saw. Only the run's own state is used, so that a replay fills in the same values. What
is missing stays as it is, and is asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping

from bot.handler import Observation, Provenance, Target
from bot.runbooks import expectations
from bot.runbooks.binding import PLACEHOLDER, placeholders
from bot.runbooks.model import Runbook, Step
from bot.runs.model import RunState
from bot.surfaces.printable import printable

LONGEST_VALUE = 500  # characters of a fact that is put into an argument
LARGEST_FACT = 4096  # bytes of a fact that a later condition looks at

_STEP = re.compile(r"step(?P<step>\w+)\.(?P<fact>.+)")
_PLAIN = re.compile(r"-?[0-9]+(\.[0-9]+)?\s?[A-Za-z%]*|[A-Za-z_][\w-]*(\[\])?(\.[A-Za-z_][\w-]*(\[\])?)*")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?|true|false")

Lookup = Callable[[str], str | None]


def of_start(inputs: Mapping[str, str], target: Target) -> dict[str, str]:
    """What is known before the first step."""
    return {"target": target.name, target.kind: target.name, **{k: v for k, v in inputs.items() if v != ""}}


def fill_text(text: str, values: Mapping[str, str]) -> str:
    """A name without a value stays as it is."""
    return PLACEHOLDER.sub(lambda found: values.get(found[1]) or found[0], text)


def fill_at_start(row: Step, values: Mapping[str, str]) -> Step:
    """What people read, and what is compared, with the inputs; arguments are filled when the step's turn comes."""
    return row.model_copy(
        update={
            "text": fill_text(row.text, values),
            "expectation": _fill_compared(row.expectation, values.get, _word),
            "condition": _fill_compared(row.condition, values.get, _word) if row.condition else row.condition,
        }
    )


def fill_row(state: RunState, index: int) -> Step:
    """The row with everything that the run knows now."""
    row = state.plan.runbook.steps[index]
    if not any("{" in text for text in (row.text, row.expectation, row.condition or "", *row.arguments.values())):
        return row
    start = of_start(state.plan.inputs, state.plan.target)
    seen = _seen(state, index)
    told = state.given

    def known(name: str) -> str | None:
        return told.get(name) or start.get(name) or seen.get(name)

    def literal(value: str, name: str) -> str | None:
        return _word(value, name) if name in start and name not in told else _literal(value)

    return row.model_copy(
        update={
            "text": PLACEHOLDER.sub(lambda found: known(found[1]) or found[0], row.text),
            "arguments": {
                name: PLACEHOLDER.sub(lambda found: known(found[1]) or found[0], value)
                for name, value in row.arguments.items()
            },
            "expectation": _fill_compared(row.expectation, known, literal),
            "condition": _fill_compared(row.condition, known, literal) if row.condition else row.condition,
        }
    )


def missing(row: Step, start: Mapping[str, str]) -> tuple[str, ...]:
    """The placeholders of a row that nothing could fill and that decide what is done or compared."""
    compared = (row.condition or "", row.expectation, *row.arguments.values())
    return tuple(dict.fromkeys(name for text in compared for name in placeholders(text) if name not in start))


def question(names: Iterable[str], number: str, run_id: str) -> str:
    """What is asked of a person when values are missing."""
    listed = ", ".join(names)
    options = " ".join(f"--input {name}=…" for name in names)
    return (
        f"Step {number} needs {listed}, and no earlier step of this run has seen it. "
        f"Tell it with /runs retry {run_id} {options}, or do the step by hand."
    )


def mentioned(book: Runbook, index: int, phrases: Mapping[str, str]) -> tuple[frozenset[str], frozenset[str]]:
    """The facts that rows behind ``index`` may want of this step; and those that they want of no other."""
    key = step_key(book.steps[index])
    any_step: set[str] = set()
    this_step: set[str] = set()
    for row in book.steps[index + 1 :]:
        for text in (row.text, row.expectation, row.condition or "", *row.arguments.values()):
            for name in placeholders(text):
                found = _STEP.fullmatch(name)
                if found is None:
                    any_step.add(name)
                elif found["step"] == key:
                    this_step.add(found["fact"])
        if row.condition:
            any_step |= expectations.names(expectations.parse(row.condition, phrases))
    return frozenset(any_step | this_step), frozenset(this_step)


def kept(facts: Iterable[Observation], names: frozenset[str]) -> tuple[Observation, ...]:
    """Those of the facts that are wanted later, known, and small enough for the state; of each the last."""
    found = {
        fact.name: fact
        for fact in facts
        if fact.name in names
        and fact.provenance is not Provenance.UNAVAILABLE
        and fact.value is not None
        and len(json.dumps(fact.value, default=str)) <= LARGEST_FACT
    }
    return tuple(found.values())


def earlier_facts(state: RunState, index: int) -> dict[str, Observation]:
    """What earlier steps have seen, the newest of each, saying so."""
    return {
        fact.name: fact.model_copy(update={"source": f"seen by step {row.number}: {fact.source}".rstrip(": ")})
        for row, step in zip(state.plan.runbook.steps[:index], state.steps[:index], strict=True)
        for fact in step.facts
    }


def step_key(row: Step) -> str:
    """``2a`` -> ``2a``, ``1.1`` -> ``1_1``: the number as it stands in ``{step2a.name}``."""
    return re.sub(r"\W", "_", row.number)


def _seen(state: RunState, index: int) -> dict[str, str]:
    values: dict[str, str] = {}
    for row, step in zip(state.plan.runbook.steps[:index], state.steps[:index], strict=True):
        for fact in step.facts:
            text = _as_text(fact.value)
            if text is not None:
                values[fact.name] = values[f"step{step_key(row)}.{fact.name}"] = text
    return values


def _as_text(value: object) -> str | None:
    """A single value as it is written; None for lists and objects, of which nobody can tell what is meant."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case str() if value.strip() and len(value) <= LONGEST_VALUE and "{" not in value:
            return " ".join(printable(value).split())
        case _:
            return None


def _fill_compared(text: str, known: Lookup, literal: Callable[[str, str], str | None]) -> str:
    """Values become literals, so that no value can change what is compared; one that cannot be is left out."""

    def one(found: re.Match[str]) -> str:
        value = known(found[1])
        if value is None:
            return found[0]
        if _in_quotes(text, found.start()):
            return found[0] if any(mark in value for mark in "\"'\\") else value
        return literal(value, found[1]) or found[0]

    return PLACEHOLDER.sub(one, text)


def _in_quotes(text: str, position: int) -> bool:
    return text.count('"', 0, position) % 2 == 1


def _word(value: str, _: str) -> str | None:
    """An input may be a number with its unit or a name; anything else is a text."""
    return value if _PLAIN.fullmatch(value) else _literal(value)


def _literal(value: str) -> str | None:
    if _NUMBER.fullmatch(value):
        return value
    return None if any(mark in value for mark in '"\\') else f'"{value}"'
