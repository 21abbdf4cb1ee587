"""What is wrong with a typed command, and where::

/somas has no verb "restrat". Did you mean restart?
/somas restrat project-42
       ^^^^^^^
"""

from __future__ import annotations

import unicodedata

from bot.errors import UserError

_WIDTH = 72  # columns of the typed line that are shown around the spot


class CommandError(UserError):
    """A command that cannot be understood.

    ``sentence`` says what is wrong and what to do; ``pointer`` is the typed line with a line of carets under the spot
    (two lines for a fixed-width font; empty when there is no spot); ``message`` is both. ``start`` and ``end`` are
    offsets into ``typed``; ``end == len(typed) + 1`` points behind the last character, where something is missing.
    """

    def __init__(
        self, sentence: str, *, typed: str = "", start: int = 0, end: int = 0, suggestions: tuple[str, ...] = ()
    ) -> None:
        self.sentence = sentence
        self.typed = typed
        self.start = start
        self.end = end
        self.pointer = point(typed, start, end) if typed.strip() else ""
        super().__init__(f"{sentence}\n{self.pointer}" if self.pointer else sentence, suggestions=suggestions)


class IncompleteCommandError(CommandError):
    """A command without a required argument: ``/<root> <verb>`` needs ``parameter``; a surface may ask for it."""

    def __init__(
        self,
        sentence: str,
        *,
        root: str = "",
        verb: str = "",
        parameter: str = "",
        typed: str = "",
        start: int = 0,
        end: int = 0,
        suggestions: tuple[str, ...] = (),
    ) -> None:
        super().__init__(sentence, typed=typed, start=start, end=end, suggestions=suggestions)
        self.root = root
        self.verb = verb
        self.parameter = parameter


def point(typed: str, start: int, end: int) -> str:
    """The typed text on one line and carets under ``typed[start:end]``, cut to what fits on a phone held sideways."""
    cells = [_cell(character) for character in typed]
    begin, stop = 0, len(cells)
    if stop > _WIDTH:
        begin = max(0, min(start - _WIDTH // 3, stop - _WIDTH))
        stop = begin + _WIDTH
    shown = "".join(cells[begin:stop]).rstrip()
    left = "…" if begin else ""
    right = "…" if stop < len(cells) else ""
    before = sum(_columns(cell) for cell in cells[begin:start]) + len(left)
    under = sum(_columns(cell) for cell in cells[start : min(end, stop)]) + max(0, end - len(typed))
    return f"{left}{shown}{right}\n{' ' * before}{'^' * max(1, under)}"


def _cell(character: str) -> str:
    """What one character of the typed text shows as: never a line break, never something that moves the cursor."""
    if character.isspace():
        return " "
    kind = unicodedata.category(character)
    if kind in ("Cf", "Mn", "Me"):  # invisible, or drawn over its neighbour
        return "" if kind == "Cf" else character
    return "\N{REPLACEMENT CHARACTER}" if kind in ("Cc", "Cs", "Co", "Cn") else character


def _columns(cell: str) -> int:
    if not cell or unicodedata.combining(cell) or unicodedata.category(cell) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(cell) in ("W", "F") else 1
