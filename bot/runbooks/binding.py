"""``handle.quarantine_child(child={target})``: the code span of an Action cell and the action that it names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from bot.errors import UserError
from bot.handler import Action, Product

_IDENTIFIER = r"[A-Za-z_][A-Za-z0-9_-]*"
# What may follow the brackets is the field that a reader should look at: handle.health().control_loop_iterations
_CALL = re.compile(rf"(?P<name>{_IDENTIFIER}(?:\.{_IDENTIFIER})*)\((?P<arguments>.*)\)(?:\.{_IDENTIFIER})*", re.DOTALL)
_ARGUMENT = re.compile(
    rf"""\s*(?P<name>{_IDENTIFIER})\s*=\s*(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<plain>[^,"'()]*?))\s*(?:,|$)"""
)
# {stage}, {children.failed}, {step1.child.attempt}
PLACEHOLDER = re.compile(r"\{([A-Za-z_][\w-]*(?:\[\])?(?:\.[A-Za-z_][\w-]*(?:\[\])?)*)\}")


@dataclass(frozen=True, slots=True)
class Call:
    """``name`` without the brackets; the arguments as written, placeholders and all."""

    name: str
    arguments: Mapping[str, str]


def parse_call(code: str) -> Call | None:
    """The call in a code span; None when it is something else (``pgrep -x supervisor``).

    Raises ``ValueError`` with a sentence when it is a call whose arguments cannot be read.
    """
    found = _CALL.fullmatch(code.strip())
    if found is None:
        return None
    arguments: dict[str, str] = {}
    rest = found["arguments"].strip()
    position = 0
    while position < len(rest):
        argument = _ARGUMENT.match(rest, position)
        if argument is None:
            raise ValueError(
                f'the arguments of {found["name"]}() cannot be read from "{rest[position:].strip()[:40]}" on; '
                f"write them as name=value, separated by commas"
            )
        value = next(part for part in (argument["double"], argument["single"], argument["plain"]) if part is not None)
        if argument["name"] in arguments:
            raise ValueError(f"the argument {argument['name']} of {found['name']}() is given twice")
        arguments[argument["name"]] = value
        position = argument.end()
    return Call(found["name"], arguments)


def placeholders(text: str) -> tuple[str, ...]:
    """The names in ``{…}``, in order."""
    return tuple(PLACEHOLDER.findall(text))


def fill(arguments: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
    """The arguments with their ``{placeholders}`` filled. Raises ``UserError`` when a value is missing."""
    missing = sorted({name for text in arguments.values() for name in placeholders(text) if not values.get(name)})
    if missing:
        wanted = " and ".join(missing)
        raise UserError(f"The runbook needs {wanted}; give it with " + " ".join(f"--input {n}=…" for n in missing))
    return {name: PLACEHOLDER.sub(lambda found: values[found[1]], text) for name, text in arguments.items()}


def find_action(product: Product, name: str) -> Action | None:
    """The product's action of that name or alias, with or without the brackets."""
    wanted = name.removesuffix("()")
    for action in product.actions:
        if wanted in {known.removesuffix("()") for known in (action.name, *action.aliases)}:
            return action
    return None
