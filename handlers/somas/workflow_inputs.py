"""What a workflow takes: the inputs that its file declares, held against those that are about to be sent. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from handlers.somas.config import decoded
from handlers.somas.decode import brief, items, mapping, text


@dataclass(frozen=True, slots=True)
class Input:
    name: str
    required: bool
    kind: str  # string, choice, boolean, number, environment
    options: tuple[str, ...]  # of a choice
    default: str


def declared_inputs(document: str) -> dict[str, Input] | None:
    """The inputs of ``workflow_dispatch``; None when the file has no such trigger. Raises ``ValueError``: no YAML."""
    try:
        loaded = decoded(document)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(str(getattr(error, "problem", "") or type(error).__name__)) from None
    # YAML 1.1 reads the bare key "on" as true.
    triggers = loaded.get("on", loaded.get(True)) if isinstance(loaded, dict) else None
    if isinstance(triggers, str | list):
        return {} if "workflow_dispatch" in ([triggers] if isinstance(triggers, str) else triggers) else None
    if not isinstance(triggers, dict) or "workflow_dispatch" not in triggers:
        return None
    inputs = mapping(mapping(triggers["workflow_dispatch"]).get("inputs"))
    return {str(name): _input(str(name), mapping(spec)) for name, spec in inputs.items()}


def complaints(declared: Mapping[str, Input] | None, given: Mapping[str, str], file: str) -> list[str]:
    """Why GitHub would refuse these inputs (422), a sentence each; empty when it would take them."""
    if declared is None:
        return [f"{file} cannot be started by hand: it has no trigger workflow_dispatch"]
    found = []
    known = ", ".join(declared) or "none at all"
    found += [f"{file} has no input {brief(name, 60)}; it has {known}" for name in given if name not in declared]
    for name, spec in declared.items():
        value = given.get(name, spec.default)
        if value == "" and spec.required:
            found.append(f"{file} needs the input {name}")
        elif value and spec.kind == "choice" and value not in spec.options:
            found.append(f"the input {name} of {file} takes {', '.join(spec.options)}, not {brief(value, 60)}")
        elif value and spec.kind == "boolean" and value not in ("true", "false"):
            found.append(f"the input {name} of {file} takes true or false, not {brief(value, 60)}")
    return found


def _input(name: str, spec: Mapping[str, Any]) -> Input:
    default = spec.get("default")
    if isinstance(default, bool):
        default = str(default).lower()
    return Input(
        name=name,
        required=spec.get("required") is True,
        kind=text(spec.get("type")) or "string",
        options=tuple(str(option) for option in items(spec.get("options"))),
        default="" if default is None else str(default),
    )
