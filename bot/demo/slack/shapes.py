"""``must be less than 151 characters [json-pointer:/blocks/0/text/text]``: how a JSON document is checked.

A check looks at one value, at one place, and appends what is wrong. Larger checks are built out of smaller ones; a
property that nobody declared is a mistake.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Problems = list[str]
Check = Callable[[Any, str, Problems], None]


def complain(problems: Problems, pointer: str, message: str) -> None:
    """Adds one complaint in the form in which Slack writes them into ``response_metadata.messages``."""
    problems.append(f"[ERROR] {message} [json-pointer:{pointer or '/'}]")


def string(maximum: int, minimum: int = 1) -> Check:
    """A string of ``minimum`` to ``maximum`` characters that every client can show."""

    def check(value: Any, pointer: str, problems: Problems) -> None:
        if not isinstance(value, str):
            complain(problems, pointer, "must be a string")
        elif len(value) < minimum:
            complain(problems, pointer, f"must be more than {minimum - 1} characters")
        elif len(value) > maximum:
            complain(problems, pointer, f"must be less than {maximum + 1} characters")
        elif any("\ud800" <= character <= "\udfff" or character == "\0" for character in value):
            complain(problems, pointer, "holds a NUL or half of a surrogate pair")

    return check


def one_of(*allowed: str) -> Check:
    def check(value: Any, pointer: str, problems: Problems) -> None:
        if value not in allowed:
            complain(problems, pointer, f"unsupported value {value!r}, must be one of: {', '.join(allowed)}")

    return check


def boolean(value: Any, pointer: str, problems: Problems) -> None:
    if not isinstance(value, bool):
        complain(problems, pointer, "must be true or false")


def integer(minimum: int, maximum: int) -> Check:
    def check(value: Any, pointer: str, problems: Problems) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
            complain(problems, pointer, f"must be a whole number from {minimum} to {maximum}")

    return check


def number(value: Any, pointer: str, problems: Problems) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        complain(problems, pointer, "must be a number")


def array(item: Check, minimum: int, maximum: int) -> Check:
    """A list of ``minimum`` to ``maximum`` items, each of which passes ``item``."""

    def check(value: Any, pointer: str, problems: Problems) -> None:
        if not isinstance(value, list):
            complain(problems, pointer, "must be an array")
            return
        if len(value) < minimum:
            complain(problems, pointer, f"no fewer than {minimum} items are allowed" if value else "must not be empty")
        if len(value) > maximum:
            complain(problems, pointer, f"no more than {maximum} items allowed")
        for position, one in enumerate(value):
            item(one, f"{pointer}/{position}", problems)

    return check


def shape(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """An object with these properties and no others. ``null`` is not a value: leave the property out."""
    known = {**required, **(optional or {})}

    def check(value: Any, pointer: str, problems: Problems) -> None:
        if not isinstance(value, dict):
            complain(problems, pointer, "must be an object")
            return
        for name in required:
            if name not in value:
                complain(problems, pointer, f"missing required field: {name}")
        for name, inner in value.items():
            if name not in known:
                complain(problems, f"{pointer}/{name}", f"unknown property: {name}")
            else:
                known[name](inner, f"{pointer}/{name}", problems)

    return check


def by_type(shapes: Mapping[str, Check]) -> Check:
    """An object whose ``type`` says which of the checks applies."""

    def check(value: Any, pointer: str, problems: Problems) -> None:
        if not isinstance(value, dict):
            complain(problems, pointer, "must be an object")
        elif not isinstance(value.get("type"), str) or value["type"] not in shapes:
            complain(problems, pointer, f"unsupported type: {value.get('type')!r}; here: {', '.join(sorted(shapes))}")
        else:
            shapes[value["type"]](value, pointer, problems)

    return check


def every(*checks: Check) -> Check:
    """All of the checks on the same value."""

    def check(value: Any, pointer: str, problems: Problems) -> None:
        for one in checks:
            one(value, pointer, problems)

    return check


def anything(value: Any, pointer: str, problems: Problems) -> None:
    """Accepts; used where another check has already looked."""
