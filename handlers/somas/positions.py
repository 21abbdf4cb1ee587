"""``state.json line 48``: where in a file a value stands, for those who have to look at it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

Path = tuple[str | int, ...]

# Of valid JSON only: strings, brackets, commas, colons; numbers and words between them.
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{},:]|[^\s"\[\]{},:]+')


def lines_of(text: str, paths: Iterable[Path]) -> Mapping[Path, int]:
    """The line (from 1) on which the value at each path begins, in a text that ``json`` can read.

    A path is made of keys and indices: ``("stages", "verify", "status")``. Keys are compared as they are written:
    one with an escape in it is not found; nor is a path that is not there.
    """
    wanted = set(paths)
    found: dict[Path, int] = {}
    stack: list[str | int] = []
    lists: list[bool] = []  # of each open bracket: whether it is a list's
    key = False  # the next string is a key
    line, counted = 1, 0
    for token in _TOKEN.finditer(text):
        if not wanted:
            break
        what = token[0]
        if what == ",":
            if lists and lists[-1]:
                stack[-1] = int(stack[-1]) + 1
            else:
                key = True
            continue
        if what == ":":
            key = False
            continue
        if what in "]}":
            lists.pop()
            stack.pop()
            key = False
            continue
        if key:
            stack[-1] = what[1:-1]
            continue
        here = tuple(stack)
        if here in wanted:
            line += text.count("\n", counted, token.start())
            counted = token.start()
            found[here] = line
            wanted.discard(here)
        if what in "[{":
            lists.append(what == "[")
            stack.append(0 if what == "[" else "")
            key = what == "{"
    return found
