"""``There is no project "project-4". Did you mean project-42?``: the names in a command against what exists."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from bot.commands.grammar import Invocation, rewritten
from bot.commands.nearest import nearest
from bot.commands.pointer import CommandError
from bot.commands.registry import Command, Existing
from bot.commands.signature import Argument, syntax
from bot.errors import Unavailable, UserError

Inventory = Callable[[str], Awaitable[Sequence[str]]]
WhyMissing = Callable[[str, str], Awaitable[str]]

_FEW = 10  # so many names are listed when nothing is near
_PLURALS = {"child": "children", "process": "processes", "person": "people"}


def existing_parameters(command: Command) -> dict[str, Existing]:
    """The parameters that name something that exists, by the name of the function's parameter."""
    return {each.name: each.existing for each in syntax(command).arguments if each.existing is not None}


def normalised(invocation: Invocation) -> Invocation:
    """The invocation with ``Existing.normalise`` applied (``42`` -> ``project-42``). Pure; raises ``CommandError``."""
    arguments = dict(invocation.arguments)
    for argument in syntax(invocation.command).arguments:
        if argument.existing is None or argument.existing.normalise is None:
            continue
        normalise = argument.existing.normalise
        given = arguments.get(argument.name)
        if isinstance(given, str):
            arguments[argument.name] = _one(invocation, argument, given, normalise)
        elif isinstance(given, list | tuple):
            arguments[argument.name] = type(given)(_one(invocation, argument, each, normalise) for each in given)
    return replace(invocation, arguments=arguments)


async def check_existing(
    invocation: Invocation, inventory: Inventory, why_missing: WhyMissing | None = None
) -> Invocation:
    """The normalised invocation, when every name in it exists.

    ``inventory`` is ``Handler.inventory``; it is asked once per kind. ``why_missing`` is that of ``ExplainsMissing``;
    it is asked about a name that does not exist. Raises ``CommandError`` for an unknown name, with
    the nearest existing ones as whole commands. ``Unavailable`` from the inventory goes to the caller, who may go on
    with ``normalised(invocation)`` instead.
    """
    clean = normalised(invocation)
    known: dict[str, Sequence[str]] = {}
    for argument in syntax(invocation.command).arguments:
        if argument.existing is None:
            continue
        kind = argument.existing.kind
        typed, meant = (_values(each.arguments.get(argument.name)) for each in (invocation, clean))
        for as_typed, name in zip(typed, meant, strict=True):
            if kind not in known:
                known[kind] = await inventory(kind)
            if name not in known[kind]:
                why = await why_missing(kind, name) if why_missing else ""
                _unknown(clean, argument, kind, as_typed, name, known[kind], why)
    return clean


def _values(given: Any) -> list[str]:
    if isinstance(given, str):
        return [given]
    return [str(each) for each in given] if isinstance(given, list | tuple) else []


def _one(invocation: Invocation, argument: Argument, given: str, normalise: Callable[[str], str]) -> str:
    try:
        return normalise(given)
    except (CommandError, Unavailable):
        raise
    except UserError as error:
        word, _ = rewritten(invocation, argument, given, given)
        lines = tuple(
            each if each.startswith("/") else rewritten(invocation, argument, given, each)[1]
            for each in error.suggestions
        )
        raise CommandError(
            error.message, typed=invocation.typed, start=word.start, end=word.end, suggestions=lines
        ) from error


def _unknown(
    invocation: Invocation, argument: Argument, kind: str, typed: str, name: str, known: Sequence[str], why: str
) -> None:
    close = nearest(name, known) or nearest(typed, known)
    shown = name if len(name) <= 60 else name[:60] + "…"
    sentence = f'There is no {kind} "{" ".join(shown.split())}".' + (f" {why}" if why else "")
    plural = _PLURALS.get(kind, f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s")
    if close:
        sentence += f" Did you mean {_or(close)}?"
    elif not known:
        sentence += f" There are no {plural} at all."
    elif len(known) <= _FEW:
        sentence += f" The {plural}: {', '.join(known)}." if len(known) > 1 else f" The only one is {known[0]}."
    word, _ = rewritten(invocation, argument, typed, typed)
    lines = tuple(rewritten(invocation, argument, typed, other)[1] for other in close)
    raise CommandError(sentence, typed=invocation.typed, start=word.start, end=word.end, suggestions=lines)


def _or(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
