"""``/somas help restart``: what people read when they ask what the bot can do, and when a command was wrong.

Pure: everything comes from the signatures, docstrings and examples of the commands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from inspect import cleandoc

from bot.commands.explain import listed
from bot.commands.grammar import HelpWanted
from bot.commands.pointer import CommandError
from bot.commands.registry import Command, CommandGroup, Level
from bot.commands.signature import Argument, syntax, usage
from bot.errors import UserError
from bot.handler import Danger, Product
from bot.messages import (
    Block,
    Bold,
    Bullets,
    Button,
    Buttons,
    Code,
    CodeBlock,
    Fields,
    Heading,
    Line,
    Message,
    Note,
    Paragraph,
    Text,
    line,
    message,
)

_SECTIONS = re.compile(r"^\s*(Parameters\n\s*-+|Args:|Arguments:|:param |Returns|Raises)", re.MULTILINE)
_EVERYBODY = {"*": "everybody", "slack:*": "everybody on Slack", "github:*": "everybody on GitHub"}
_WHAT_IT_DOES = {
    Danger.READ: "These only look",
    Danger.CHANGE: "These change something; --dry-run shows what, and does nothing",
    Danger.DESTRUCTIVE: "These destroy something, and need a second person",
}
_MOST_NAMES = 12
_LABEL = 75  # characters, Slack's limit for the text of a button


Who = Callable[[Level], Sequence[str]]
"""The people who have at least that level, by name; as ``Access.who``."""


def help_message(
    wanted: HelpWanted,
    groups: Mapping[str, CommandGroup],
    products: Sequence[Product] = (),
    who: Who | None = None,
) -> Message:
    """The answer to a ``HelpWanted``. ``products`` are all installed ones, also those that are not configured."""
    if wanted.unconfigured:
        product = next((each for each in products if each.name.casefold() == wanted.unconfigured.casefold()), None)
        if product is not None:
            return not_configured(product)
    if wanted.group is None:
        return general_help(groups, products)
    if wanted.verb is None:
        return overview(wanted.group, wanted.family)
    return verb_help(wanted.group, wanted.group.commands[wanted.verb], who)


def general_help(groups: Mapping[str, CommandGroup], products: Sequence[Product] = ()) -> Message:
    """What the bot does and which root commands there are."""
    missing = [product for product in products if product.name not in groups]
    roots = tuple(line(Code(f"/{root}"), f": {group.summary}") for root, group in groups.items())
    blocks: list[Block | str] = [
        "I run the runbooks of the people on call, step by step, and page somebody when the time runs out.",
        Bullets(roots),
    ]
    if missing:
        blocks.append("Installed, but not configured:")
        blocks.append(Bullets(tuple(line(Code(f"/{each.name}"), f": {each.title}") for each in missing)))
    blocks.append(
        Note(
            line(
                "Type ",
                Code("/<command> help"),
                " for its verbs. In the thread of a run, mention me with a verb alone, as ",
                Code("@opsbot ack"),
                ".",
            )
        )
    )
    return message(*blocks, summary="What opsbot can do")


def overview(group: CommandGroup, family: str = "") -> Message:
    """The verbs of a root, one line each, by what they do to the world. ``family``: only those that begin so."""
    chosen = [
        command
        for command in group.commands.values()
        if not family or command.verb.partition(" ")[0].casefold() == family
    ]
    blocks: list[Block] = [Heading(f"/{group.root} {family}".rstrip()), Paragraph(prose(group.summary))]
    for danger, title in _WHAT_IT_DOES.items():
        verbs = [command for command in chosen if command.danger is danger]
        if verbs:
            blocks.append(Paragraph(line(Bold(title))))
            rows = (line(Code(_short(group.root, each)), ": ", *prose(each.help)) for each in verbs)
            blocks.append(Bullets(tuple(rows)))
    blocks.append(Note(line("Type ", Code(f"/{group.root} help <verb>"), " for options and examples.")))
    return message(*blocks, summary=f"The verbs of /{group.root} {family}".rstrip())


def verb_help(group: CommandGroup, command: Command, who: Who | None = None) -> Message:
    """Usage, arguments, options, examples, danger and who may."""
    arguments = [each for each in syntax(command).arguments if not each.standing]
    blocks: list[Block | str] = [
        Heading(f"/{group.root} {command.verb}"),
        Paragraph(prose(command.help)),
        *(Paragraph(prose(part)) for part in description(command)),
        CodeBlock(usage(group.root, command), title="Usage"),
    ]
    for title, positional in (("Arguments", True), ("Options", False)):
        shown = [argument for argument in arguments if argument.positional is positional]
        if shown:
            blocks += [Paragraph(line(title)), Bullets(tuple(argument_line(each) for each in shown))]
    blocks += [
        Paragraph(line("Examples" if len(command.examples) > 1 else "Example")),
        Bullets(tuple(line(Code(example)) for example in command.examples)),
        Fields((("Danger", line(danger_words(command.danger))), ("Who may", line(_who_may(command.level, who))))),
    ]
    if told := standing_words(command):
        blocks.append(Note(prose(told)))
    return message(*blocks, summary=f"How to use /{group.root} {command.verb}")


def not_configured(product: Product) -> Message:
    """Why an installed product has no commands, and what to add."""
    return message(
        Paragraph(
            line(
                f"{product.title} is not configured, so ",
                Code(f"/{product.name}"),
                " has no commands here. Add this to opsbot.toml with your own values, and start the bot again:",
            )
        ),
        CodeBlock(product.setup, language="toml", title="opsbot.toml"),
    )


def error_message(error: UserError, number: str = "", fill_in: str = "") -> Message:
    """What a ``UserError`` says: the sentence, the typed line with a caret, and the suggestions as buttons.

    ``number`` is under what the log has it; ``fill_in`` is a command that lacks something: pressing it asks for that.
    """
    blocks: list[Block] = []
    sentence = error.sentence if isinstance(error, CommandError) else error.message
    blocks.append(Paragraph(line(sentence)))
    if isinstance(error, CommandError) and error.pointer:
        blocks.append(CodeBlock(error.pointer))
    buttons = tuple(Button(_label(each), each) for each in error.suggestions)
    if fill_in:
        buttons = (Button("Fill it in…", fill_in, "primary"), *buttons)
    if buttons:
        blocks.append(Buttons(buttons))
    if number:
        blocks.append(number_note(number))
    return Message(summary=sentence.split("\n", 1)[0], blocks=tuple(blocks), colour="warning")


def number_note(number: str) -> Note:
    """The short id under which the log has what was refused."""
    return Note(line(f"id {number}"))


def prose(text: str) -> Line:
    """Docstring text as a line: what stands between backticks becomes ``Code``."""
    parts = re.split(r"(`{1,2})(.+?)\1", text)
    spans = [Code(part) if index % 3 == 2 else Text(part) for index, part in enumerate(parts) if index % 3 != 1]
    return tuple(span for span in spans if span.value)


def description(command: Command) -> tuple[str, ...]:
    """The paragraphs of the docstring between its first line and its list of parameters."""
    whole = cleandoc(command.function.__doc__ or "").split("\n", 1)
    text = whole[1] if len(whole) > 1 else ""
    section = _SECTIONS.search(text)
    text = text[: section.start()] if section else text
    return tuple(" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip())


def argument_line(argument: Argument) -> Line:
    """``<project>: the project``; what is not told by its author is told by its type."""
    said = argument.help or _told_by_type(argument)
    more: list[str] = []
    if argument.choices and not all(choice in argument.placeholder.split("|") for choice in argument.choices):
        more.append(f"One of {', '.join(argument.choices)}.")
    if argument.implied and not argument.help:
        more.append(f"Alone: {argument.implied.value}.")
    if said and not said.endswith((".", "?", "!")):
        said += "."
    told = " ".join(part for part in (said, *more) if part)
    return line(Code(argument.placeholder), *((": ", *prose(told)) if told else ()))


def _told_by_type(argument: Argument) -> str:
    if argument.existing is not None:
        return f"The name of a {argument.existing.kind}."
    return {int: "A whole number.", float: "A number.", timedelta: "For example 30s, 10m or 4h."}.get(argument.type, "")


def danger_words(danger: Danger) -> str:
    """What the danger level means for the one who types."""
    match danger:
        case Danger.READ:
            return "reads only"
        case Danger.CHANGE:
            return "changes something: shows what it will do, and does it"
        case Danger.DESTRUCTIVE:
            return "destructive: shows the exact effect, wants the target typed and a second person's approval"


def level_words(level: Level) -> str:
    """Who may use a command of that level."""
    return {"viewer": "viewers, operators and admins", "operator": "operators and admins", "admin": "admins"}[level]


def _who_may(level: Level, who: Who | None) -> str:
    """``operators and admins: alice, bob and scotlaclair``."""
    if who is None:
        return level_words(level)
    names = [_EVERYBODY.get(each, each) for each in who(level)]
    shown = names[:_MOST_NAMES] + ([f"{len(names) - _MOST_NAMES} more"] if len(names) > _MOST_NAMES else [])
    return f"{level_words(level)}: {listed(shown)}" if names else f"{level_words(level)}; there are none yet"


def standing_words(command: Command) -> str:
    """The options that every command of its kind has."""
    every = "Every command that changes something takes ``--dry-run``: it shows what would be done, and does nothing."
    busy = "``--queue`` waits for a target on which somebody works, ``--take-over TARGET`` cancels what they do there."
    if command.danger is Danger.READ:
        return ""
    return f"{every} {busy}" if command.starts_run else every


def _short(root: str, command: Command) -> str:
    """The verb and its arguments, without the options."""
    positional = [argument.placeholder for argument in syntax(command).arguments if argument.positional]
    return " ".join([f"/{root} {command.verb}", *positional])


def _label(command: str) -> str:
    shown = " ".join(command.split())
    return shown if len(shown) <= _LABEL else shown[: _LABEL - 1] + "…"
