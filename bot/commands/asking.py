"""``/somas restart`` without its project: the form that asks for the rest, and the command that comes out of it.

A form has a field for everything that the command takes, as its signature says, filled with what was typed already.
What is entered becomes the line that a person would have typed; when something in it is wrong, ``Composed`` knows which
field it came from. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, get_origin

from bot.commands import grammar
from bot.commands.grammar import Groups
from bot.commands.lexer import Word, quote, split
from bot.commands.pointer import CommandError, IncompleteCommandError
from bot.commands.registry import Command, CommandGroup
from bot.commands.signature import Argument, Syntax, syntax
from bot.errors import UserError

Kind = Literal["text", "lines", "whole number", "number", "choice", "name", "flag"]
Entered = Mapping[str, Sequence[str]]
"""What was entered, by the name of the argument; a flag that is set has the one value ``true``."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field. ``name`` is the command's parameter, ``offered`` the kind of names of a menu that is read live."""

    name: str
    label: str
    kind: Kind
    required: bool = False
    hint: str = ""
    placeholder: str = ""
    choices: tuple[str, ...] = ()
    offered: str = ""
    initial: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Form:
    """What is asked for before ``/<root> <verb>`` can be done."""

    group: CommandGroup
    command: Command
    fields: tuple[Field, ...]

    @property
    def name(self) -> str:
        return f"/{self.group.root} {self.command.verb}"


@dataclass(frozen=True, slots=True)
class Composed:
    """A whole command, and where in it each value stands: ``(start, end, name)``."""

    line: str
    spans: tuple[tuple[int, int, str], ...]

    def field_of(self, error: UserError) -> str:
        """The argument that an error is about; empty when it is about none of them, or about all."""
        if isinstance(error, IncompleteCommandError):
            return error.parameter
        if isinstance(error, CommandError) and error.typed == self.line:
            for start, end, name in self.spans:
                if start <= error.start < end:
                    return name
        # a command of its own words quotes what it cannot use
        quoted = (name for start, end, name in self.spans if f'"{_bare(self.line[start:end])}"' in error.message)
        return next(quoted, "")


def form_for(text: str, groups: Groups) -> Form | None:
    """The form for a command that lacks something it needs; None for every other text."""
    lacking = grammar.missing(text, groups)
    if lacking is None:
        return None
    group = groups[lacking.root]
    command = group.commands[lacking.verb]
    return form_of(group, command, known_values(split(text)[2:], syntax(command)))


def form_of(group: CommandGroup, command: Command, known: Entered | None = None) -> Form:
    """The form of a command, what it cannot do without first."""
    given = known or {}
    arguments = [each for each in syntax(command).arguments if not each.standing or each.name == "dry_run"]
    arguments.sort(key=lambda each: (not each.required, not each.positional))
    return Form(group, command, tuple(_field(each, tuple(given.get(each.name, ()))) for each in arguments))


def known_values(words: Sequence[Word], known: Syntax) -> dict[str, list[str]]:
    """What the words behind the verb say already, as far as it can be told while something is missing."""
    found: dict[str, list[str]] = {}
    positional = [each for each in known.arguments if each.positional]
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if not word.is_option:
            if positional:
                found.setdefault(positional[0].name, []).append(word.value)
                if not positional[0].variadic:
                    positional.pop(0)
            continue
        name, equals, value = word.value.partition("=")
        option = known.option(name)
        if option is None:
            continue
        if option.flag:
            found[option.name] = ["true"]
            continue
        follows = words[position] if position < len(words) and not words[position].is_option else None
        if not equals and follows is not None:
            value, position = follows.value, position + 1
        elif not equals:
            value = option.implied.value if option.implied else ""
        if value:
            found.setdefault(option.name, []).append(value)
        positional = [each for each in positional if each is not option]
    return found


def compose(group: CommandGroup, command: Command, entered: Entered) -> Composed:
    """The command as a person would type it: ``/somas restart project-42 --from verify --reason "two words"``."""
    parts = [f"/{group.root} {command.verb}"]
    spans: list[tuple[int, int, str]] = []
    in_place = True  # as long as no positional is left out, the next can stand without its name

    def add(argument: Argument, part: str) -> None:
        start = sum(len(each) + 1 for each in parts)
        spans.append((start, start + len(part), argument.name))
        parts.append(part)

    arguments = sorted(syntax(command).arguments, key=lambda each: not each.positional)
    for argument in arguments:
        values = [each for each in entered.get(argument.name, ()) if each.strip()]
        option = argument.names[0] if argument.names else argument.spelled
        if not argument.positional:
            option = argument.spelled
        if not values:
            in_place = in_place and not argument.positional
            continue
        for value in values:
            if argument.flag:
                add(argument, option)
            elif argument.variadic or (argument.positional and in_place and not value.startswith("-")):
                add(argument, quote(value))
            else:
                in_place = in_place and not argument.positional
                joined = value.startswith("-") or argument.implied  # or it might be taken for something else
                add(argument, f"{option}{'=' if joined else ' '}{quote(value)}")
    return Composed(" ".join(parts), tuple(spans))


def _field(argument: Argument, given: tuple[str, ...]) -> Field:
    kind = _kind(argument)
    choices = argument.choices
    if kind == "choice":
        given = tuple(each for each in choices if given and each.casefold() == given[0].casefold())
    if kind in ("whole number", "number"):
        given = tuple(each for each in given if _is_number(each, argument.type))
    if kind == "text" and len(given) > 1:
        given = (" ".join(given),)
    label = argument.spelled.strip("-").replace("-", " ")
    return Field(
        name=argument.name,
        label=label[:1].upper() + label[1:],
        kind=kind,
        required=argument.required,
        hint=argument.help.replace("`", ""),
        placeholder=_placeholder(argument, kind),
        choices=choices,
        offered=argument.offered if kind == "name" else "",
        initial=given,
    )


def _kind(argument: Argument) -> Kind:
    if argument.flag:
        return "flag"
    if get_origin(argument.type) in (list, tuple, set) and not argument.variadic:
        return "lines"
    if argument.offered and not argument.variadic:
        return "name"
    if 0 < len(argument.choices) <= 100:
        return "choice"
    if argument.type in (int, float):
        return "whole number" if argument.type is int else "number"
    return "text"


def _placeholder(argument: Argument, kind: Kind) -> str:
    if argument.type is timedelta:
        return "30s, 10m or 4h"
    if kind == "lines":
        return f"{argument.metavar}, one in a line"
    return ""


def _is_number(text: str, kind: Any) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True


def _bare(word: str) -> str:
    """The value in a part of a line: ``--from "two words"`` -> ``two words``."""
    try:
        words = split(word)
    except CommandError:
        return word
    return words[-1].value.partition("=")[2] or words[-1].value if words else word
