"""``--from must be build or verify, not "verfy". Did you mean verify?``: what is wrong with a command's arguments."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta

from cyclopts.exceptions import (
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from bot.commands.lexer import Word, quote, spell
from bot.commands.nearest import nearest
from bot.commands.pointer import CommandError, IncompleteCommandError
from bot.commands.registry import Command, CommandGroup
from bot.commands.signature import Argument, Syntax, usage

_KINDS = {
    int: "a whole number",
    float: "a number",
    bool: "yes or no",
    timedelta: "a duration such as 30s, 10m or 4h",
}


def explain(
    error: CycloptsError,
    text: str,
    words: Sequence[Word],
    group: CommandGroup,
    command: Command,
    known: Syntax,
) -> CommandError:
    """What Cyclopts found wrong, as a ``CommandError``."""
    name = f"/{group.root} {command.verb}"
    about = f"/{group.root} help {command.verb}"
    argument = _named(error, known)
    match error:
        case UnknownOptionError():
            typed = (error.token.keyword or error.token.value).partition("=")[0]
            at = next((i for i in range(2, len(words)) if words[i].value.partition("=")[0] == typed), len(words) - 1)
            close = nearest(typed, known.option_names, 2)
            asked = did_you_mean(close, known.option_names) or " It takes no options."
            value = words[at].value.partition("=")[2]
            ends = f"={quote(value)}" if value else ""
            lines = tuple(line_of(words, {at: f"{option}{ends}"}) for option in close)
            return fault(f"{name} has no option {said(typed)}.{asked}", text, words[at], (*lines, about))
        case MissingArgumentError() if argument is not None and (error.keyword or not argument.positional):
            if not error.keyword:
                return _incomplete(f"{name} needs {argument.placeholder}.", text, group, command, argument, about)
            at = option_at(words, argument)
            return fault(f"{argument.spelled} needs a value: {argument.placeholder}.", text, words[at], (about,))
        case MissingArgumentError() if argument is not None:
            described = f" ({argument.help.replace('`', '').rstrip('.')})" if argument.help else ""
            sentence = f"{name} needs {argument.placeholder}{described}. Usage: {usage(group.root, command)}"
            return _incomplete(sentence, text, group, command, argument, about)
        case CoercionError() if argument is not None:
            return _wrong_value(error, argument, text, words, about)
        case RepeatArgumentError():
            option = known.option(error.token.keyword or "")
            at = option_at(words, option) if option else len(words) - 1
            fewer = (without(words, option),) if option else ()
            spelled = option.spelled if option else error.token.keyword
            return fault(f"{spelled} is given twice.", text, words[at], (*fewer, about))
        case UnusedCliTokensError():
            return _too_many(error.unused_tokens or [], text, words, name, known, about)
        case _:
            error.verbose = False
            return fault(str(error) or f"{name} cannot be read.", text, words[-1], (about,))


def _named(error: CycloptsError, known: Syntax) -> Argument | None:
    names = error.argument.field_info.names if error.argument is not None else ()
    return known.named(names[0]) if names else None


def _incomplete(
    sentence: str, text: str, group: CommandGroup, command: Command, argument: Argument, about: str
) -> CommandError:
    typed = text.rstrip() + " "
    return IncompleteCommandError(
        sentence,
        root=group.root,
        verb=command.verb,
        parameter=argument.name,
        typed=typed,
        start=len(typed),
        end=len(typed) + 1,
        suggestions=(about,),
    )


def _wrong_value(
    error: CoercionError, argument: Argument, text: str, words: Sequence[Word], about: str
) -> CommandError:
    value = error.token.value if error.token is not None else ""
    at = value_at(words, argument, value)
    name = argument.spelled
    if argument.flag:
        return fault(f"{name} takes no value.", text, words[at], (line_of(words, {at: argument.spelled}), about))
    if argument.choices:
        close = nearest(value, argument.choices, 2)
        asked = f" Did you mean {listed(close, 'or')}?" if close else ""
        sentence = f"{name} must be {listed(argument.choices, 'or')}, not {said(value)}.{asked}"
        lines = tuple(line_of(words, {at: with_value(words[at], value, choice)}) for choice in close)
        return fault(sentence, text, words[at], (*lines, about))
    wanted = _KINDS.get(argument.type, f"a {getattr(argument.type, '__name__', 'different value')}")
    return fault(f"{name} must be {wanted}, not {said(value)}.", text, words[at], (about,))


def _too_many(
    unused: Sequence[str], text: str, words: Sequence[Word], name: str, known: Syntax, about: str
) -> CommandError:
    """Most often an option's text without quotes: ``--reason two words``."""
    at = next((i for i in range(2, len(words)) if unused and words[i].value == unused[0]), len(words) - 1)
    start = at
    while start > 2 and not words[start].is_option:
        start -= 1
    option = known.option(words[start].value) if words[start].is_option else None
    if option is not None and option.type is str and not option.choices and start < at - 1:
        end = at
        while end + 1 < len(words) and not words[end + 1].is_option:
            end += 1
        together = quote(" ".join(word.value for word in words[start + 1 : end + 1]))
        left_out = dict.fromkeys(range(start + 2, end + 1), "")
        line = line_of(words, {start + 1: together, **left_out})
        unknown = said(words[at].value)
        sentence = f"{name} cannot place {unknown}. Put the text in quotes: {option.spelled} {together}"
        return fault(sentence, text, words[at], (line, about))
    wanted = [argument.placeholder for argument in known.arguments if argument.positional]
    takes = listed(wanted) if wanted else "only options" if known.options else "no arguments"
    fewer = line_of(words, {index: "" for index in range(at, len(words)) if not words[index].is_option})
    return fault(
        f"{said(words[at].value)} is one too many for {name}. It takes {takes}.", text, words[at], (fewer, about)
    )


def fault(sentence: str, text: str, word: Word, suggestions: tuple[str, ...] = ()) -> CommandError:
    """A ``CommandError`` that points at one word of ``text``."""
    return CommandError(sentence, typed=text, start=word.start, end=word.end, suggestions=suggestions)


def said(value: str) -> str:
    """A typed value inside a sentence: quoted, short, on one line."""
    shown = " ".join(value.split())
    return f'"{shown[:60]}…"' if len(shown) > 61 else f'"{shown}"'


def listed(names: Collection[str], last: str = "and") -> str:
    every = list(names)
    return every[0] if len(every) == 1 else f"{', '.join(every[:-1])} {last} {every[-1]}" if every else "none"


def did_you_mean(close: Sequence[str], every: Collection[str]) -> str:
    if close:
        return f" Did you mean {listed(close, 'or')}?"
    return f" It has {listed(every)}." if 0 < len(every) <= 20 else ""


def line_of(words: Sequence[Word], replaced: Mapping[int, str] | None = None, slash: bool = True) -> str:
    """The words as one command; ``replaced`` gives other text for some, already spelled ("" leaves the word out)."""
    spelled = [(replaced or {}).get(index, spell(word)) for index, word in enumerate(words)]
    line = " ".join(part for part in spelled if part)
    return line if not slash or line.startswith("/") else f"/{line}"


def without(words: Sequence[Word], option: Argument) -> str:
    """The command without the last mention of the option, and without its value."""
    at = option_at(words, option)
    left_out = {at: ""}
    takes_next = not option.flag and "=" not in words[at].value and at + 1 < len(words) and not words[at + 1].is_option
    if takes_next:
        left_out[at + 1] = ""
    return line_of(words, left_out)


def option_at(words: Sequence[Word], option: Argument) -> int:
    """The index of the last word that names the option; the last word when none does."""
    for index in range(len(words) - 1, 1, -1):
        if _names(words[index], option):
            return index
    return len(words) - 1


def value_at(words: Sequence[Word], argument: Argument, value: str) -> int:
    """The index of the word that holds a value of this argument."""
    for index in range(len(words) - 1, 1, -1):
        _, equals, joined = words[index].value.partition("=")
        if equals and joined == value and _names(words[index], argument):
            return index
        if words[index].value == value and (argument.positional or words[index - 1].is_option):
            return index
    return len(words) - 1


def with_value(word: Word, old: str, new: str) -> str:
    return f"{word.value[: -len(old) - 1]}={quote(new)}" if word.is_option and word.value != old else quote(new)


def unknown_second(text: str, words: Sequence[Word], group: CommandGroup, seconds: Mapping[str, str]) -> CommandError:
    """``/somas dlq lst``: the family is known, the word behind it is not."""
    close = nearest(words[2].value, seconds)
    head = words[1].value.casefold()
    lines = [line_of(words, {2: second}) for second in close]
    return fault(
        f"/{group.root} {head} has no {said(words[2].value)}.{did_you_mean(close, seconds)}",
        text,
        words[2],
        (*lines, f"/{group.root} help {head}"),
    )


def _names(word: Word, option: Argument) -> bool:
    return word.is_option and word.value.partition("=")[0].casefold().replace("_", "-") in option.names
