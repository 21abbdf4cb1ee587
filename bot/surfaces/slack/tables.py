"""``project-42  failed  3d``: a table where Slack has only text.

A table that fits a phone is aligned in a preformatted block. A wider one would wrap into noise there, so each of its
rows becomes a list item instead: the first cell, then ``column value`` for the others. Pure.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from bot.messages import Bold, Line, Table, Text
from bot.surfaces.printable import cut, one_line

WIDTH = 46  # characters of a preformatted line on a small phone, and in the thread pane of a laptop
CELL = 200
ROWS = 60


def width(text: str) -> int:
    """Columns that ``text`` takes: wide East Asian characters take two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def lay_out(table: Table, limit: int) -> str | list[Line]:
    """Aligned text of at most ``limit`` characters, or list items when the table is too wide for that."""
    count = max([len(table.columns), *(len(row) for row in table.rows)])
    columns = _row(table.columns, count)
    shown = table.rows[:ROWS]
    rows = [_row(row, count) for row in shown]
    if not count:
        return ""
    widths = [max(width(cell) for cell in cells) for cells in zip(columns, *rows, strict=True)]
    total = sum(widths) + 2 * (count - 1)
    if total <= WIDTH:
        return _aligned(table, columns, rows, widths, limit)
    return _items(columns, rows, len(table.rows) - len(rows))


def _row(cells: Sequence[str], count: int) -> list[str]:
    return [cut(one_line(cell), CELL) for cell in cells] + [""] * (count - len(cells))


def _aligned(table: Table, columns: list[str], rows: list[list[str]], widths: list[int], limit: int) -> str:
    right = [name in table.numeric for name in table.columns] + [False] * (len(columns) - len(table.columns))
    heading = [columns] if any(columns) else []
    lines: list[str] = []
    used = 0
    for number, cells in enumerate([*heading, *rows]):
        line = "  ".join(
            " " * (wide - width(cell)) + cell if to_right else cell + " " * (wide - width(cell))
            for cell, wide, to_right in zip(cells, widths, right, strict=True)
        ).rstrip()
        used += len(line) + 1
        if used > limit - 20:
            missing = len(table.rows) - (number - len(heading))
            return "\n".join([*lines, f"… {missing} more rows"])
        lines.append(line)
    if (missing := len(table.rows) - len(rows)) > 0:
        lines.append(f"… {missing} more rows")
    return "\n".join(lines) if any(line.strip() for line in lines) else ""


def _items(columns: list[str], rows: list[list[str]], missing: int) -> list[Line]:
    items: list[Line] = []
    for cells in rows:
        first, *others = cells
        rest = [f"{name} {cell}".strip() for name, cell in zip(columns[1:], others, strict=True) if cell]
        items.append((Bold(first or "–"), Text(" · " + " · ".join(rest) if rest else "")))
    if missing > 0:
        items.append((Text(f"… {missing} more rows"),))
    return items or [(Text(" · ".join(name for name in columns if name)),)]
