"""What products say, made fit to be stored and shown: no secrets, no half surrogates, only what JSON has."""

from __future__ import annotations

import math
from typing import Any

from bot.handler import ActionResult, Observation
from bot.redaction import installed
from bot.surfaces.printable import printable

EVIDENCE_LIMIT = 64 * 1024  # characters


def clean(text: str) -> str:
    """Storable and printable: no secrets, no half surrogates, no control characters."""
    return installed().clipped(text, EVIDENCE_LIMIT, printable)


def clean_result(result: ActionResult) -> ActionResult:
    return result.model_copy(
        update={
            "summary": clean(result.summary),
            "evidence": clean(result.evidence),
            "observations": tuple(clean_fact(fact) for fact in result.observations),
        }
    )


def clean_fact(fact: Observation) -> Observation:
    return fact.model_copy(update={"value": clean_value(fact.value), "source": clean(fact.source)})


def clean_value(value: Any) -> Any:
    match value:
        case str():
            return clean(value)
        case dict():
            return {clean(str(key)): clean_value(inner) for key, inner in value.items()}
        case list() | tuple():
            return [clean_value(inner) for inner in value]
        case bool() | int() | None:
            return value
        case float() if math.isfinite(value):
            return value
        case _:  # what JSON does not have
            return clean(str(value))
