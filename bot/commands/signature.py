"""``/somas restart <project> [--from STAGE | --checkpoint [ID] | --full]``: what a command's signature says.

A command is an ordinary typed function. Cyclopts reads its signature and its docstring (numpy, Google or Sphinx style);
this module adds the bot's own marks (``Existing``, ``Implied``, ``OneOf``, ``Metavar``) and keeps the result, so that a
parse touches one command however many there are.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from typing import Annotated, Any

from cyclopts import App, Parameter

from bot.commands.registry import Command, Existing, Implied, Metavar, Offered, OneOf
from bot.handler import Danger

_VALUES = {int: "N", float: "NUMBER", str: "TEXT", timedelta: "DURATION"}


@dataclass(frozen=True, slots=True)
class Argument:
    """One thing that the person types. ``name`` is the function's parameter, ``spelled`` ``project`` or ``--from``."""

    name: str
    spelled: str
    names: tuple[str, ...]  # every accepted option name, the positional ones included
    positional: bool
    variadic: bool  # *names: any number of words
    flag: bool
    required: bool
    help: str
    choices: tuple[str, ...]
    type: Any  # without Optional and Annotated
    existing: Existing | None
    implied: Implied | None
    one_of: str
    metavar: str
    standing: bool = False  # every command of its kind has it; no command says so itself
    offered: str = ""  # the kind of names that a form offers for it

    @property
    def placeholder(self) -> str:
        """``<project>``, ``[project]``, ``--from STAGE``, ``--checkpoint [ID]``, ``--full``."""
        if self.positional:
            shown = f"{self.metavar}..." if self.variadic else self.metavar
            return f"<{shown}>" if self.required else f"[{shown}]"
        if self.flag:
            return self.spelled
        return f"{self.spelled} [{self.metavar}]" if self.implied else f"{self.spelled} {self.metavar}"


@dataclass(frozen=True, slots=True)
class Syntax:
    """What a command accepts. ``app`` is the Cyclopts application of this one command."""

    app: App
    arguments: tuple[Argument, ...]
    options: Mapping[str, Argument]  # by every accepted option name, lower case
    kinds: Mapping[str, inspect._ParameterKind]

    def option(self, name: str) -> Argument | None:
        """The option of that name; upper and lower case, ``_`` and ``-`` are the same."""
        return self.options.get(name.casefold().replace("_", "-"))

    @property
    def option_names(self) -> tuple[str, ...]:
        return tuple(argument.spelled for argument in self.arguments if not argument.positional)

    def named(self, name: str) -> Argument | None:
        return next((argument for argument in self.arguments if argument.name == name), None)


@lru_cache(maxsize=1024)
def syntax(command: Command) -> Syntax:
    """The command's syntax; built once. Raises ``TypeError`` (the author's error) for a function without a context."""
    shown = _without_context(command)
    app = App(
        help_flags=[],
        version_flags=[],
        result_action="return_value",
        default_parameter=Parameter(negative=()),
    )
    app.default(shown)
    parameters = shown.__signature__.parameters
    arguments = []
    for found in app.assemble_argument_collection(parse_docstring=True):
        if len(found.field_info.names) != 1 or found.field_info.names[0] not in parameters:
            continue  # a field of a structured parameter; its parent stands for it
        parameter = parameters[found.field_info.names[0]]
        argument = _argument(parameter, found.names, found.parameter.help, found.get_choices(), found.required)
        own = parameter.name in inspect.signature(command.function).parameters
        arguments.append(argument if own else replace(argument, standing=True))
    options = {name.casefold(): argument for argument in arguments for name in argument.names}
    kinds = {name: parameter.kind for name, parameter in parameters.items()}
    return Syntax(app, tuple(arguments), options, kinds)


def usage(root: str, command: Command) -> str:
    """``/somas restart <project> [--from STAGE | --full] [--dry-run]``."""
    parts = [f"/{root} {command.verb}"]
    shown: set[str] = set()
    arguments = [each for each in syntax(command).arguments if not each.standing or each.name == "dry_run"]
    for argument in arguments:
        if argument.positional:
            parts.append(argument.placeholder)
        elif argument.one_of:
            if argument.one_of not in shown:
                shown.add(argument.one_of)
                together = [other.placeholder for other in arguments if other.one_of == argument.one_of]
                parts.append(f"[{' | '.join(together)}]")
        else:
            parts.append(argument.placeholder if argument.required else f"[{argument.placeholder}]")
    return " ".join(parts)


class _Shown:
    """A stand-in with the signature that people see; Cyclopts wants a callable, it is never called."""

    __signature__: inspect.Signature

    def __init__(self, name: str, signature: inspect.Signature, documentation: str | None) -> None:
        self.__name__ = name
        self.__signature__ = signature
        self.__doc__ = documentation
        self.__annotations__ = {each.name: each.annotation for each in signature.parameters.values()}

    def __call__(self, *arguments: Any, **options: Any) -> None:
        raise AssertionError("only the signature of this is used")


def _without_context(command: Command) -> _Shown:
    """The function as people see it: without the context, with the annotations resolved.

    Cyclopts can leave out a parameter (``Parameter(parse=False)``), but only where the command's author writes that,
    and resolving the context's own annotation would need names that authors import for type checking only.
    """
    function = command.function
    own = inspect.signature(function)
    if not own.parameters:
        raise TypeError(f"{command.verb}: the first parameter of a command is the CommandContext")
    visible = list(own.parameters.values())[1:]

    def holder() -> None: ...

    holder.__annotations__ = {each.name: each.annotation for each in visible if each.annotation is not each.empty}
    scope = getattr(inspect.unwrap(function), "__globals__", {})
    hints = typing.get_type_hints(holder, globalns=scope, include_extras=True)
    resolved = [each.replace(annotation=hints.get(each.name, str)) for each in visible]
    named = {each.name for each in resolved}
    standing = [each for each in _standing(command) if each.name not in named]
    keywords = [each for each in resolved if each.kind is inspect.Parameter.VAR_KEYWORD]
    resolved = [*(each for each in resolved if each not in keywords), *standing, *keywords]
    return _Shown(command.verb, inspect.Signature(resolved), function.__doc__)


def _standing(command: Command) -> list[inspect.Parameter]:
    """The options that a changing command has without saying so; ``registry.Standing`` is what they become."""
    if command.danger is Danger.READ:
        return []
    flags: list[tuple[str, Any, Any]] = [
        ("dry_run", Annotated[bool, Parameter(help="Only show what would be done; nothing is done.")], False)
    ]
    if command.starts_run:
        queue = "When somebody works on the target already: start by itself as soon as they are done."
        over = "When somebody works on the target already: cancel their run, then start. Takes the target's name."
        flags.append(("queue", Annotated[bool, Parameter(help=queue), OneOf("busy target")], False))
        flags.append(("take_over", Annotated[str, Parameter(help=over), OneOf("busy target"), Metavar("TARGET")], ""))
    return [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, annotation, default in flags
    ]


def _argument(
    parameter: inspect.Parameter,
    names: tuple[str, ...],
    description: str | None,
    choices: tuple[str, ...] | None,
    required: bool,
) -> Argument:
    annotation = parameter.annotation
    extras = typing.get_args(annotation)[1:] if typing.get_origin(annotation) is Annotated else ()
    existing = next((extra for extra in extras if isinstance(extra, Existing)), None)
    implied = next((extra for extra in extras if isinstance(extra, Implied)), None)
    offered = next((extra.kind for extra in extras if isinstance(extra, Offered)), existing.kind if existing else "")
    one_of = next((extra.group for extra in extras if isinstance(extra, OneOf)), "")
    metavar = next((extra.name for extra in extras if isinstance(extra, Metavar)), "")
    hint = _bare_type(annotation)
    positional = parameter.kind is not inspect.Parameter.KEYWORD_ONLY
    options = tuple(name for name in names if name.startswith("-"))
    own_name = parameter.name.strip("_").replace("_", "-")
    spelled = own_name if positional else next(iter(options), f"--{own_name}")
    listed = tuple(choices or ())
    if metavar:
        value = metavar
    elif positional:
        value = "|".join(listed) if 0 < len(listed) <= 4 else own_name
    elif existing:
        value = existing.kind.upper()
    elif listed:
        value = "|".join(listed) if len(listed) <= 4 else own_name.upper()
    else:
        value = _VALUES.get(hint, own_name.upper())
    return Argument(
        name=parameter.name,
        spelled=spelled,
        names=options,
        positional=positional,
        variadic=parameter.kind is inspect.Parameter.VAR_POSITIONAL,
        flag=hint is bool and not positional,
        required=required,
        help=" ".join((description or "").split()),
        choices=listed,
        type=hint,
        existing=existing,
        implied=implied,
        one_of=one_of,
        metavar=value,
        offered=offered,
    )


def _bare_type(annotation: Any) -> Any:
    """``Annotated[str | None, ...]`` -> ``str``."""
    if typing.get_origin(annotation) is Annotated:
        return _bare_type(typing.get_args(annotation)[0])
    members = [member for member in typing.get_args(annotation) if member is not type(None)]
    if type(None) in typing.get_args(annotation) and len(members) == 1:
        return _bare_type(members[0])
    return annotation
