"""``/somas restart project-42 --from verify --reason "two words"``: text in, the command and its arguments out.

Pure. Cyclopts binds the words to the signature of the one command that was named; this module finds that command, says
in one sentence what is wrong (with a caret under the spot) and offers whole corrected commands. No text makes it raise
anything but ``UserError``.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from cyclopts.exceptions import CycloptsError, MissingArgumentError

from bot.commands import lexer
from bot.commands.explain import (
    did_you_mean,
    explain,
    fault,
    line_of,
    listed,
    option_at,
    said,
    unknown_second,
    value_at,
    with_value,
    without,
)
from bot.commands.lexer import Word
from bot.commands.nearest import nearest
from bot.commands.pointer import CommandError, IncompleteCommandError
from bot.commands.registry import Command, CommandContext, CommandGroup, Reply, Standing
from bot.commands.signature import Argument, Syntax, syntax
from bot.commands.verbs import family, find_verb, has_head, heads, near_heads, with_verb
from bot.errors import UserError

LONGEST = 8000  # characters of one command; Slack itself sends less
_SUGGESTIONS = 3
_RUN_ID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", re.IGNORECASE)  # a ULID

_ANY_NAME = "x"  # stands for a name that is not known yet

Groups = Mapping[str, CommandGroup]


@dataclass(frozen=True, slots=True)
class Invocation:
    """A command that was understood. ``arguments`` holds what was given, by the name of the function's parameter."""

    command: Command
    group: CommandGroup
    arguments: Mapping[str, Any]
    words: tuple[Word, ...] = field(default=(), repr=False, compare=False)
    typed: str = field(default="", repr=False, compare=False)

    @property
    def line(self) -> str:
        """The whole command, one way of writing it: ``/somas restart project-42 --reason "two words"``."""
        return line_of(self.words)

    @property
    def standing(self) -> Standing:
        """The options that the command has without saying so; ``dry_run`` also where it says so."""
        given = self.arguments
        return Standing(bool(given.get("dry_run")), bool(given.get("queue")), str(given.get("take_over") or "").strip())

    @property
    def plain_line(self) -> str:
        """The line without what says how to deal with a target on which somebody works already."""
        words = self.words
        for argument in syntax(self.command).arguments:
            if argument.standing and argument.name != "dry_run" and self.arguments.get(argument.name):
                words = lexer.split(without(words, argument))
        return line_of(words)

    async def call(self, context: CommandContext) -> Reply:
        """Run the command's function."""
        positional: list[Any] = [context]
        known = syntax(self.command)
        standing = {argument.name for argument in known.arguments if argument.standing}
        by_name = {name: value for name, value in self.arguments.items() if name not in standing}
        for name, kind in known.kinds.items():
            if kind is inspect.Parameter.VAR_POSITIONAL:
                positional.extend(by_name.pop(name, ()))
            elif kind is not inspect.Parameter.KEYWORD_ONLY:
                if name not in by_name:
                    break  # what follows is given by name
                positional.append(by_name.pop(name))
        return await self.command.function(*positional, **by_name)


@dataclass(frozen=True, slots=True)
class HelpWanted:
    """Help was asked for: about everything, about a root, about one verb, or about a product that is not configured."""

    group: CommandGroup | None = None
    verb: str | None = None
    unconfigured: str = ""
    family: str = ""  # of the group's two-word verbs those that begin with it


Parsed = Invocation | HelpWanted


def parse(text: str, groups: Groups, unconfigured: Collection[str] = ()) -> Parsed:
    """Understand one command.

    ``groups`` are the root commands by root (``{"somas": ...}``), ``unconfigured`` the roots of installed products that
    have no section in the configuration. Raises ``CommandError`` whose suggestions are commands that parse.
    """
    try:
        return _parse(text, groups, unconfigured)
    except CommandError as error:
        possible = [line for line in dict.fromkeys(error.suggestions) if _parses(line, groups, unconfigured)]
        error.suggestions = tuple(possible[:_SUGGESTIONS])
        raise


def missing(text: str, groups: Groups, unconfigured: Collection[str] = ()) -> IncompleteCommandError | None:
    """What a command lacks that is right so far; None for every other text. Looks for nothing else to suggest."""
    try:
        _parse(text, groups, unconfigured)
    except IncompleteCommandError as error:
        return error
    except UserError:
        return None
    return None


def parse_mention(text: str, groups: Groups, unconfigured: Collection[str] = ()) -> Parsed:
    """What follows ``@opsbot``: ``somas status``, or ``quarantine worker-3`` where one root alone has that verb."""
    return parse(mention_line(text, groups, unconfigured), groups, unconfigured)


def in_thread(text: str, run_id: str, groups: Groups, unconfigured: Collection[str] = ()) -> Parsed:
    """What follows ``@opsbot`` in the thread of a run: ``ack`` is ``/runs ack <run>``."""
    return parse(thread_line(text, run_id, groups, unconfigured), groups, unconfigured)


def mention_line(text: str, groups: Groups, unconfigured: Collection[str] = ()) -> str:
    """The slash form of a mention's text. Raises ``CommandError`` for a verb that several roots have."""
    words = _split(text)
    if not words or words[0].asks_for_help or _root(words[0]) in {*_roots(groups), *_folded(unconfigured)}:
        return text.strip() if not words or words[0].asks_for_help else _slashed(text, words)
    owners = [root for root, group in _roots(groups).items() if has_head(group, words[0].value)]
    rest = text[words[0].start :].strip()
    if len(owners) == 1:
        return f"/{owners[0]} {rest}"
    first = words[0]
    if owners:
        options = tuple(f"/{root} {line_of(words, slash=False)}" for root in owners)
        shown = " or ".join(f"/{root} {first.value}" for root in owners)
        fitting = tuple(line for line in options if _parses(line, groups, unconfigured))
        raise CommandError(
            f"Which one: {shown}?", typed=text, start=first.start, end=first.end, suggestions=fitting[:_SUGGESTIONS]
        )
    return _slashed(text, words)


def thread_line(text: str, run_id: str, groups: Groups, unconfigured: Collection[str] = ()) -> str:
    """The slash form of a mention's text in the thread of run ``run_id``."""
    runs = _roots(groups).get("runs")
    words = _split(text)
    if runs is None:
        return mention_line(text, groups, unconfigured)
    if not words or (words[0].asks_for_help and len(words) == 1):
        return "/runs help"
    verb = find_verb(runs, words[0].value)
    if verb is None or words[0].quoted or _root(words[0]) in _roots(groups):
        return mention_line(text, groups, unconfigured)
    rest = text[words[0].end :].strip()
    names_run = len(words) > 1 and (words[1].value == run_id or _RUN_ID.fullmatch(words[1].value) is not None)
    asks_help = len(words) > 1 and (words[1].asks_for_help or words[-1].value == "--help")
    first = next((each for each in syntax(runs.commands[verb]).arguments if each.positional), None)
    takes_run = first is not None and _is_run(first)
    given = f"{run_id} " if takes_run and not names_run and not asks_help else ""
    return f"/runs {verb} {given}{rest}".rstrip()


@dataclass(frozen=True, slots=True)
class Unnamed:
    """A command that leaves out what it works on: the name of a ``kind`` fits between ``before`` and ``after``."""

    root: str
    kind: str
    before: str
    after: str

    def line(self, name: str) -> str:
        """The command with the name."""
        return f"{self.before} {lexer.quote(name)}{self.after}"


def unnamed(text: str, groups: Groups) -> Unnamed | None:
    """What a command leaves out when its first argument is an existing thing that a place can stand for.

    None for a command that names it, for one that names nothing, and for one that a name would not make valid.
    """
    try:
        words = _split(text)
    except UserError:
        return None
    group = _roots(groups).get(_root(words[0])) if len(words) > 1 else None
    if group is None:
        return None
    words = with_verb(words, group, 1)
    if not words[1].verb:
        return None
    verb = words[1].value
    first = next((each for each in syntax(group.commands[verb]).arguments if each.positional), None)
    if first is None or first.existing is None or first.variadic:
        return None
    with suppress(UserError):
        parsed = _parse(text, groups, ())
        if not isinstance(parsed, Invocation) or parsed.arguments.get(first.name) is not None:
            return None
    wanted = Unnamed(group.root, first.existing.kind, text[: words[1].end], text[words[1].end :])
    try:
        given = _parse(wanted.line(_ANY_NAME), groups, ())
    except UserError:
        return None
    named = isinstance(given, Invocation) and given.arguments.get(first.name) == _ANY_NAME
    return wanted if named else None


def defects(groups: Groups) -> list[str]:
    """What is wrong with the definitions themselves: an example that does not parse to its own command."""
    found = []
    for root, group in groups.items():
        for command in group.commands.values():
            for example in command.examples:
                try:
                    parsed = parse(example, groups)
                except UserError as error:
                    found.append(f"/{root} {command.verb}: the example {example} is wrong: {error.message}")
                    continue
                if not isinstance(parsed, Invocation) or parsed.command is not command:
                    found.append(f"/{root} {command.verb}: the example {example} is another command")
    return found


# What follows is one pass over the words: root, verb, arguments.


def _parse(text: str, groups: Groups, unconfigured: Collection[str]) -> Parsed:
    words = _split(text)
    roots = _roots(groups)
    if not words:
        return HelpWanted()
    if words[0].asks_for_help:
        return _help(text, words, groups, unconfigured)
    root = _root(words[0])
    group = roots.get(root)
    if group is None:
        if root in _folded(unconfigured):
            return HelpWanted(unconfigured=root)
        raise _unknown_root(text, words, roots)
    words = (Word(f"/{root}", words[0].start, words[0].end), *words[1:])
    if len(words) == 1:
        return HelpWanted(group)
    words = with_verb(words, group, 1)
    if not words[1].verb:
        if words[1].asks_for_help:
            return _help_verb(text, words, group, words[2:4])
        if (seconds := family(group, words[1].value)) and not words[1].quoted:
            if len(words) == 2 or words[2].asks_for_help:
                return HelpWanted(group, family=words[1].value.casefold())
            raise unknown_second(text, words, group, seconds)
        raise _unknown_verb(text, words, group, roots)
    verb = words[1].value
    command = group.commands[verb]
    known = syntax(command)
    if _wants_help(words[2:], known):
        return HelpWanted(group, verb)
    return Invocation(command, group, _bind(text, words, group, command, known), words, text)


def _split(text: str) -> tuple[Word, ...]:
    if len(text) > LONGEST:
        raise CommandError(f"This command has {len(text)} characters; {LONGEST} is the most that is read.")
    return lexer.split(text)


def _roots(groups: Groups) -> dict[str, CommandGroup]:
    return {root.casefold(): group for root, group in groups.items()}


def _folded(names: Collection[str]) -> set[str]:
    return {name.casefold() for name in names}


def _root(word: Word) -> str:
    return "" if word.quoted else word.value.removeprefix("/").casefold()


def _is_run(argument: Argument) -> bool:
    return argument.name in ("run", "run_id") or (argument.existing is not None and argument.existing.kind == "run")


def _slashed(text: str, words: Sequence[Word]) -> str:
    rest = text[words[0].start :].strip()
    return rest if rest.startswith("/") else f"/{rest}"


def _parses(line: str, groups: Groups, unconfigured: Collection[str]) -> bool:
    try:
        _parse(line, groups, unconfigured)
    except UserError:
        return False
    return True


def _help(text: str, words: Sequence[Word], groups: Groups, unconfigured: Collection[str]) -> Parsed:
    """``help``, ``help somas``, ``help somas restart``, ``help restart``."""
    if len(words) == 1 or words[1].asks_for_help:
        return HelpWanted()
    roots = _roots(groups)
    root = _root(words[1])
    if root in roots:
        return _help_verb(text, words, roots[root], words[2:4])
    if root in _folded(unconfigured):
        return HelpWanted(unconfigured=root)
    owners = [group for group in roots.values() if has_head(group, words[1].value)]
    if len(owners) == 1:
        return _help_verb(text, words, owners[0], words[1:3])
    if owners:
        lines = tuple(f"/{group.root} help {words[1].value.casefold()}" for group in owners)
        raise fault(f"Which one: {' or '.join(lines)}?", text, words[1], lines)
    close = nearest(root, roots, 2)
    raise fault(
        f"There is no command {said(words[1].value)}. There are {listed([f'/{each}' for each in roots])}.",
        text,
        words[1],
        (*(f"/{each} help" for each in close), "/help"),
    )


def _help_verb(text: str, words: Sequence[Word], group: CommandGroup, named: Sequence[Word]) -> HelpWanted:
    if not named or named[0].asks_for_help:
        return HelpWanted(group)
    joined = with_verb(named, group, 0)
    if joined[0].verb:
        return HelpWanted(group, joined[0].value)
    if family(group, named[0].value):
        return HelpWanted(group, family=named[0].value.casefold())
    close = nearest(named[0].value, heads(group))
    raise fault(
        f"/{group.root} has no verb {said(named[0].value)}.{did_you_mean(close, heads(group))}",
        text,
        named[0],
        (*(f"/{group.root} help {each}" for each in close), f"/{group.root} help"),
    )


def _wants_help(words: Sequence[Word], known: Syntax) -> bool:
    """``--help`` anywhere but as the value of an option, or ``help`` alone."""
    if len(words) == 1 and words[0].asks_for_help:
        return True
    for word in words:
        if word.value == "--" and not word.quoted:
            return False
        if not word.quoted and word.value.casefold() in ("--help", "-h") and known.option(word.value) is None:
            return True
    return False


def _tokens(words: Sequence[Word], known: Syntax, *, greedy: bool) -> list[str]:
    """The words for Cyclopts: option names in their own spelling, implied values written out.

    ``greedy``: a word behind an option that may stand alone is that option's value.
    """
    tokens: list[str] = []
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if not word.quoted and word.value == "--":
            return [*tokens, "--", *(each.value for each in words[position:])]
        name, equals, value = word.value.partition("=")
        option = known.option(name) if word.is_option else None
        if option is None:
            tokens.append(word.value)
            continue
        canonical = next((each for each in option.names if each.casefold() == name.casefold()), option.spelled)
        following = words[position] if position < len(words) else None
        if option.implied and not (value if equals else greedy and following and not following.is_option):
            tokens.append(f"{canonical}={option.implied.value}")
        elif equals:
            tokens.append(f"{canonical}={value}")
        elif following is not None and following.quoted and following.value.startswith("-") and not option.flag:
            tokens.append(f"{canonical}={following.value}")  # a quoted dash is text, not an option
            position += 1
        else:
            tokens.append(canonical)
    return tokens


@lru_cache(maxsize=2048)
def _bound(command: Command, tokens: tuple[str, ...]) -> Mapping[str, Any]:
    """What Cyclopts makes of the words. Remembered: the same few commands are typed again and again."""
    _, bound, _ = syntax(command).app.parse_args(list(tokens), exit_on_error=False, print_error=False)
    return bound.arguments


def _bind(text: str, words: Sequence[Word], group: CommandGroup, command: Command, known: Syntax) -> Mapping[str, Any]:
    arguments = None
    try:
        arguments = _bound(command, tuple(_tokens(words[2:], known, greedy=True)))
    except CycloptsError as error:
        if isinstance(error, MissingArgumentError):  # perhaps --checkpoint took the project for its value
            with suppress(CycloptsError):
                arguments = _bound(command, tuple(_tokens(words[2:], known, greedy=False)))
        if arguments is None:
            raise explain(error, text, words, group, command, known) from error
    except OverflowError as error:
        longest = max(words[2:], key=lambda word: len(word.value))
        about = f"/{group.root} help {command.verb}"
        raise fault(f"{said(longest.value)} is too large.", text, longest, (about,)) from error
    _exclude(text, words, known, arguments)
    return {name: list(value) if isinstance(value, list) else value for name, value in arguments.items()}


def _exclude(text: str, words: Sequence[Word], known: Syntax, arguments: Mapping[str, Any]) -> None:
    """Options of one ``OneOf`` group exclude each other."""
    first: dict[str, Argument] = {}
    for argument in known.arguments:
        if not argument.one_of or arguments.get(argument.name) in (None, False):
            continue
        other = first.setdefault(argument.one_of, argument)
        if other is not argument:
            at = max(option_at(words, other), option_at(words, argument))
            lines = tuple(without(words, each) for each in (argument, other))
            raise fault(f"Use either {other.spelled} or {argument.spelled}, not both.", text, words[at], lines)


def _unknown_root(text: str, words: Sequence[Word], roots: Mapping[str, CommandGroup]) -> CommandError:
    typed = _root(words[0]) or words[0].value
    typed_verb = typed.replace("_", "-")
    owners = [root for root, group in roots.items() if has_head(group, typed)]
    close = [] if owners else nearest(typed, roots)
    if owners:
        more = f" {said(typed)} is a verb of {listed([f'/{each}' for each in owners])}."
    elif close:
        more = f" Did you mean {listed([f'/{each}' for each in close], 'or')}?"
    elif meant := nearest(typed, [verb for group in roots.values() for verb in heads(group)], 1):
        typed_verb, owners = meant[0], [root for root, group in roots.items() if meant[0] in heads(group)]
        more = f" Did you mean {listed([f'/{root} {meant[0]}' for root in owners], 'or')}?"
    else:
        more = f" There are {listed([f'/{each}' for each in roots])}." if roots else ""
    lines = [f"/{root} {line_of(words, {0: typed_verb}, slash=False)}" for root in owners]
    lines += [line_of(words, {0: f"/{root}"}) for root in close]
    return fault(f"There is no command {said('/' + typed)}.{more}", text, words[0], (*lines, "/help"))


def _unknown_verb(
    text: str, words: Sequence[Word], group: CommandGroup, roots: Mapping[str, CommandGroup]
) -> CommandError:
    typed = words[1].value
    elsewhere = [root for root, other in roots.items() if has_head(other, typed)]
    close = nearest(typed, heads(group)) or near_heads(group, words[1:3])
    if elsewhere:
        asked = f" It is a verb of {listed([f'/{root}' for root in elsewhere], 'and')}."
    else:
        asked = did_you_mean(close, heads(group))
    lines = [line_of(words, {0: f"/{root}"}) for root in elsewhere]
    lines += [line_of(words, {1: verb}) for verb in close]
    lines += [f"/{group.root} help {verb}" for verb in close[:1]] or [f"/{group.root} help"]
    return fault(f"/{group.root} has no verb {said(typed)}.{asked}", text, words[1], tuple(lines))


def rewritten(invocation: Invocation, argument: Argument, typed: str, value: str) -> tuple[Word, str]:
    """The word in which ``typed`` was given for ``argument``, and the whole command with ``value`` in its place."""
    words = invocation.words
    at = value_at(words, argument, typed)
    return words[at], line_of(words, {at: with_value(words[at], typed, value)})
