"""``jq 'length'`` over the real files: what a filter of the runbook would give, and why that is not what it is for.

Only the filters that people write into runbooks are understood: paths, slices, ``length``, ``select(.key == "…")``.
Pure; anything else is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from handlers.somas.stages import LOOSE_NAMES, OLD_NAMES, STAGES

_PATH = re.compile(r"(?:\.(?:[A-Za-z_]\w*|<[^>]*>)?(?:\[[^\]]*\])*)+")
_STEP = re.compile(r"\.(?P<key>[A-Za-z_]\w*|<[^>]*>)?|\[(?P<index>[^\]]*)\]")
_SELECT = re.compile(r"select\(\s*(?P<path>\.[\w.]+)\s*==\s*\"(?P<value>[^\"]*)\"\s*\)")


@dataclass(frozen=True, slots=True)
class Document:
    """A file of a project, or one line of its log, as it was read."""

    where: str  # project-42/dead_letters.json
    value: Any


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is there, and what to write instead."""

    there: str
    change: str
    error: bool = False  # the filter ends with an error, instead of giving nothing


def trouble(expression: str, documents: Sequence[Document]) -> Trouble | None:
    """Why the filter does not do what it is for, on any of these documents; None when it works on one of them."""
    if not documents:
        return None
    expression = expression.strip()
    if expression == "length":
        return _length(documents)
    if selected := _SELECT.fullmatch(expression):
        return _select(selected["path"], selected["value"], documents)
    for part in expression.split(","):
        if _PATH.fullmatch(part.strip()) and (found := _path(part.strip(), documents)):
            return found
    return None


def kind(value: Any) -> str:
    """``an object``, ``a list``: the top level of a file."""
    return {dict: "an object", list: "a list", str: "a text", bool: "a boolean"}.get(
        type(value), "null" if value is None else "a number"
    )


def _length(documents: Sequence[Document]) -> Trouble | None:
    objects = [document for document in documents if isinstance(document.value, dict)]
    if len(objects) * 2 <= len(documents):
        return None
    rich = max(objects, key=lambda document: len(_largest_list(document.value)[1]))
    name, entries = _largest_list(rich.value)
    there = f"the file is an object: length counts its {len(rich.value)} keys, however many entries there are"
    if not name:
        return Trouble(there, "")
    return Trouble(f"{there}; `{name}` has {len(entries)} entries in {rich.where}", f"count `.{name} | length`")


def _largest_list(value: dict[str, Any]) -> tuple[str, list[Any]]:
    lists = [(key, item) for key, item in value.items() if isinstance(item, list)]
    return max(lists, key=lambda pair: len(pair[1]), default=("", []))


def _select(path: str, wanted: str, documents: Sequence[Document]) -> Trouble | None:
    keys = path.removeprefix(".").split(".")
    having = [found for document in documents if (found := _follow(document.value, keys)) is not None]
    if having:
        if keys[-1].endswith("stage") and wanted not in STAGES and wanted not in OLD_NAMES and wanted not in having:
            return Trouble(f"no stage is called {wanted}; the stages are {', '.join(STAGES)}", "name one of them")
        return None
    near = sorted({key for document in documents[:200] if isinstance(document.value, dict) for key in document.value})
    like = [key for key in near if key.rpartition("_")[2] == keys[-1].rpartition("_")[2]]
    there = f"none of the {len(documents)} events in the logs has the key `{path}`, so it never matches"
    if keys[-1].endswith("stage") and wanted not in STAGES:
        there += f'; nor is there a stage "{wanted}"'
    stage = wanted if wanted in STAGES else LOOSE_NAMES.get(wanted, "verify")
    return Trouble(there, f'filter `.{like[0]} == "{stage}"`' if like else "")


def _follow(value: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _path(path: str, documents: Sequence[Document]) -> Trouble | None:
    """What is null everywhere is a trouble, and what is an error in most files (some may be damaged)."""
    outcomes = [_walk(path, document) for document in documents]
    failed = [outcome for outcome in outcomes if outcome is not None and outcome.error]
    if len(failed) * 2 > len(documents):
        return failed[0]
    return outcomes[0] if all(outcomes) else None


def _walk(path: str, document: Document) -> Trouble | None:
    values: list[Any] = [document.value]
    for step in _STEP.finditer(path):
        following: list[Any] = []
        for value in values:
            key, index = step["key"], step["index"]
            if key is None and index is None:
                following.append(value)
            elif key is not None and key.startswith("<"):  # a placeholder: any key will do
                following += list(value.values()) if isinstance(value, dict) else []
            elif key is not None:
                if not isinstance(value, dict):
                    return Trouble(f"it is {kind(value)} there: `.{key}` of it is an error", "", error=True)
                if key in value:
                    following.append(value[key])
            elif index == "":
                following += list(value.values()) if isinstance(value, dict) else items_of(value)
            elif isinstance(value, list):
                following.append(value)
            else:
                name, _ = _largest_list(value) if isinstance(value, dict) else ("", [])
                there = f"the file is {kind(value)}: `[{index}]` of it is an error"
                return Trouble(there, f"use `.{name}[{index}]`" if name else "", error=True)
        if not following:
            known = ", ".join(sorted(map(str, values[0]))[:14]) if isinstance(values[0], dict) else ""
            there = f"no file has `{path}`, so it prints null"
            return Trouble(there + (f"; the keys are {known}" if known else ""), "")
        values = following
    return None


def items_of(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
