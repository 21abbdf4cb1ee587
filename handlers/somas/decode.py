"""Text and times as they stand in SOMAS files, made safe to hold: nothing here raises on any input.

The files are written by several programs and sometimes by hand; a field may be missing, of another type or hostile.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any


def loads(data: bytes | str) -> Any:
    """JSON, strictly UTF-8. Raises ``ValueError`` with a sentence for whatever is wrong, also for deep nesting."""
    try:
        return json.loads(data if isinstance(data, str) else data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON: it is cut or broken at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise ValueError("nested too deeply to be a file of SOMAS") from None


def dumps(value: Any) -> str:
    """As upstream writes a file: indent 2, ASCII, no final newline. Lone surrogates survive as ``\\uXXXX``."""
    return json.dumps(value, indent=2)


def text(value: Any) -> str:
    """``value`` when it is a string, else an empty one."""
    return value if isinstance(value, str) else ""


def scalar(value: Any) -> str:
    """A number, a word or a truth as people read it; never a list or a mapping, which YAML lets grow without end."""
    if isinstance(value, bool | int | float | str):
        return brief(str(value), 80)
    return "nothing" if value is None else "no single value"


def mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def whole(value: Any) -> int:
    """A count; 0 for what is no sensible one (text, negative, true, 1e400)."""
    if type(value) is int:  # nearly always, and not true, which is one as well
        return max(value, 0)
    if not isinstance(value, float) or not math.isfinite(value):
        return 0
    return max(0, int(value))


def instant(value: Any) -> datetime | None:
    """``2026-11-22T07:00:00.434576Z``, with or without a fraction; naive times are UTC. None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value)
        if at.tzinfo is UTC:  # as upstream writes it
            return at
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def stamp(at: datetime) -> str:
    """An instant as upstream writes it: no offset, a ``Z``, no fraction when there are no microseconds."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def clean(value: str) -> str:
    """The text without lone surrogates (each becomes U+FFFD), so that it can be stored and sent as UTF-8."""
    return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def brief(value: str, limit: int = 160) -> str:
    """One line of at most ``limit`` characters: white space and line breaks joined, the rest cut with ``…``."""
    joined = " ".join(clean(value[: limit * 8]).split())
    return joined if len(joined) <= limit and len(value) <= limit * 8 else joined[: limit - 1] + "…"
