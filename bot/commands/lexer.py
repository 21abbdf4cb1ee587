"""``/somas restart project-42 —reason “two words”``: the words of a command, as phones and chat programs write them.

Typographic quotes count as quotes, the long dash that phones put for ``--`` counts as ``--``, spaces of any kind
separate words, and invisible characters between letters are dropped. A quote opens only at the start of a word or after
the ``=`` of an option, so the apostrophe of ``don't`` is an apostrophe.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from html import unescape

from bot.commands.pointer import CommandError

_DOUBLE = frozenset('"“”„‟«»＂')
_SINGLE = frozenset("'‘’‚‛＇")
_OPENERS = _DOUBLE | _SINGLE
_LONG_DASHES = "‒–—―"
_HYPHENS = str.maketrans(dict.fromkeys("‐‑−﹣－", "-"))
_TYPED_DASHES = re.compile(rf"^(?=-*[{_LONG_DASHES}])[-{_LONG_DASHES}]+(?=[^\W\d_])")
_PLAIN = re.compile(r"[A-Za-z0-9_./:@#+,%=][A-Za-z0-9_./:@#+,%=-]*")
_INVISIBLE = frozenset("\u200b\u2060\ufeff\u00ad")  # zero-width space, word joiner, byte order mark, soft hyphen

HELP_WORDS = frozenset({"help", "--help", "-h", "-?", "?"})


@dataclass(frozen=True, slots=True)
class Word:
    """``value`` is what is meant, ``text[start:end]`` how it was typed. ``quoted``: it is certainly not an option.

    ``verb``: the verb of the command, which may be two words (``dlq list``).
    """

    value: str
    start: int
    end: int
    quoted: bool = False
    verb: bool = False

    @property
    def is_option(self) -> bool:
        """``--from``, ``--from=verify``, ``-f``; not ``-``, ``--`` or ``-5``."""
        return not self.quoted and re.match(r"-{1,2}[^\W\d]|-{3,}", self.value) is not None

    @property
    def asks_for_help(self) -> bool:
        return not self.quoted and self.value.casefold().removeprefix("/") in HELP_WORDS


def split(text: str) -> tuple[Word, ...]:
    """The words of ``text``; raises ``CommandError`` for a quote that is never closed."""
    words: list[Word] = []
    position = 0
    while position < len(text):
        if text[position].isspace() or _is_dropped(text, position):
            position += 1
            continue
        if text[position] in _OPENERS:
            value, end = _quotation(text, position)
            words.append(Word(value, position, end, quoted=True))
        else:
            value, end = _bare(text, position)
            words.append(Word(value, position, end))
        position = end
    return tuple(words)


def quote(value: str) -> str:
    """``value`` as one word that ``split`` reads back as it is."""
    if _PLAIN.fullmatch(value) and value.casefold() not in HELP_WORDS:
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def spell(word: Word) -> str:
    """The word as it is best typed."""
    if word.verb:
        return word.value
    if word.quoted or not word.is_option:
        return quote(word.value) if word.quoted or word.value not in ("-", "--") else word.value
    name, equals, value = word.value.partition("=")
    return f"{name}={quote(value)}" if equals else name


_SLACK_TOKEN = re.compile(r"<([^<>\n]*)>|&(?:lt|gt|amp);")


def unescape_slack(text: str) -> str:
    """What the person typed, from what Slack sends.

    ``<@U123|name>`` becomes ``@U123`` and ``<#C123|name>`` ``#C123`` (ids, never display names). ``<https://x|x>``
    becomes its address, or the bare ``x`` when Slack itself made a link of a name with a dot. ``&lt; &gt; &amp;``
    become ``< > &``.
    Source: Slack's documentation of message formatting.
    """
    return _SLACK_TOKEN.sub(_unescape_one, text)


def _unescape_one(match: re.Match[str]) -> str:
    token = match[1]
    if token is None:
        return unescape(match[0])
    body, _, label = (unescape(part) for part in token.partition("|"))
    if body.startswith(("@", "#")):
        return body
    if body.startswith("!"):
        special, _, argument = body[1:].partition("^")
        return f"@{argument}" if special == "subteam" else label if special == "date" else f"@{special}"
    scheme, colon, rest = body.partition(":")
    if not colon or not scheme.isalpha():
        return unescape(match[0])
    typed_without_scheme = label and rest.removeprefix("//").rstrip("/") == label.rstrip("/")
    return label if typed_without_scheme else body


def _is_dropped(text: str, position: int) -> bool:
    """An invisible character that nobody typed; joiners inside emoji and foreign scripts are kept."""
    character = text[position]
    if character < "\x7f" or unicodedata.category(character) != "Cf":
        return False
    joins = character in "\u200c\u200d" and position > 0 and text[position - 1] > "\x7f"
    return not joins


def _bare(text: str, start: int) -> tuple[str, int]:
    kept: list[str] = []
    position = start
    while position < len(text) and not text[position].isspace():
        if not _is_dropped(text, position):
            kept.append(text[position])
        position += 1
        opens_value = kept[-1:] == ["="] and position < len(text) and text[position] in _OPENERS
        if opens_value and "=" not in kept[:-1]:
            name = _dashes("".join(kept))
            if name.startswith("-"):
                value, end = _quotation(text, position)
                return name + value, end
    return _dashes("".join(kept)), position


def _dashes(word: str) -> str:
    return _TYPED_DASHES.sub("--", word.translate(_HYPHENS))


def _quotation(text: str, start: int) -> tuple[str, int]:
    """The text between the quote at ``start`` and its end, and the offset behind it."""
    double = text[start] in _DOUBLE
    end = _closing_double(text, start) if double else _closing_single(text, start)
    if end is None:
        rest = (
            "add the closing quote at its end."
            if double
            else "add the closing quote at its end. If it is an apostrophe, put the words in double quotes."
        )
        raise CommandError(f"This quote is never closed: {rest}", typed=text, start=start, end=start + 1)
    if end + 1 < len(text) and not text[end + 1].isspace() and not _is_dropped(text, end + 1):
        raise CommandError("Put a space after the closing quote.", typed=text, start=end, end=end + 2)
    inside = text[start + 1 : end]
    if double:
        inside = re.sub(r'\\([\\"“”])', r"\1", inside)
    kept = "".join(character for character in inside if character not in _INVISIBLE)
    return re.sub("[\u00a0\u2007\u202f]", " ", kept), end + 1


def _closing_double(text: str, start: int) -> int | None:
    """A straight quote is closed by a straight one where there is one, so that “ and ” may stand inside it."""
    straight = text[start] == '"'
    fallback: int | None = None
    position = start + 1
    while position < len(text):
        character = text[position]
        if character == "\\":
            position += 2
            continue
        if character in _DOUBLE:
            if (character == '"') == straight:
                return position
            fallback = position if fallback is None else fallback
        position += 1
    return fallback


def _closing_single(text: str, start: int) -> int | None:
    """A single quote ends where a word ends: ``'don't'`` is ``don't``."""
    for position in range(start + 1, len(text)):
        ends_word = position + 1 == len(text) or text[position + 1].isspace() or _is_dropped(text, position + 1)
        if text[position] in _SINGLE and ends_word:
            return position
    return None
