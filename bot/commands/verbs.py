"""``/somas dlq list``: a verb is one word, or two of which the first names a family (``dlq``). Pure."""

from __future__ import annotations

from collections.abc import Sequence

from bot.commands.lexer import Word
from bot.commands.nearest import nearest
from bot.commands.registry import CommandGroup


def find_verb(group: CommandGroup, typed: str) -> str | None:
    """The verb as it is registered; upper and lower case, ``_`` and ``-`` are the same."""
    folded = typed.casefold().replace("_", "-")
    return next((verb for verb in group.commands if verb.casefold() == folded), None)


def with_verb(words: Sequence[Word], group: CommandGroup, at: int) -> tuple[Word, ...]:
    """The words, with those that are a verb from ``at`` on as one word in its own spelling; as they are without one."""
    for length in (2, 1):
        part = words[at : at + length]
        if len(part) < length or any(word.quoted for word in part):
            continue
        verb = find_verb(group, " ".join(word.value for word in part))
        if verb is not None:
            return (*words[:at], Word(verb, part[0].start, part[-1].end, verb=True), *words[at + length :])
    return tuple(words)


def heads(group: CommandGroup) -> tuple[str, ...]:
    """The first words of all verbs, each once: ``status``, ``dlq``."""
    return tuple(dict.fromkeys(verb.partition(" ")[0] for verb in group.commands))


def has_head(group: CommandGroup, typed: str) -> bool:
    folded = typed.casefold().replace("_", "-")
    return any(head.casefold() == folded for head in heads(group))


def family(group: CommandGroup, typed: str) -> dict[str, str]:
    """The two-word verbs that begin with this word, by their second word; empty when it begins none."""
    folded = typed.casefold().replace("_", "-")
    pairs = (verb.partition(" ") for verb in group.commands)
    return {second: f"{first} {second}" for first, space, second in pairs if space and first.casefold() == folded}


def near_heads(group: CommandGroup, typed: Sequence[Word]) -> list[str]:
    """The families of the two-word verbs that are near these two words: three letters alone are near to nothing."""
    both = " ".join(word.value for word in typed)
    return list(dict.fromkeys(verb.partition(" ")[0] for verb in nearest(both, group.commands) if " " in verb))
