"""``status: in_progress -> failed``: what a change does to a file, in words and as a readable diff. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from handlers.somas.decode import brief, clean, items, mapping
from handlers.somas.stages import STAGES

MOST_LINES = 20_000  # a diff of more takes minutes and is read by nobody
LONGEST_LINE = 240
PENDING = {"status": "pending", "retry_count": 0}  # a stage that never began


def file_diff(name: str, before: bytes | None, after: bytes, context: int = 2) -> str:
    """Unified diff; long lines are cut. A file that is made has only lines that are added."""
    old = _shown(before) if before is not None else []
    new = _shown(after)
    if len(old) > MOST_LINES or len(new) > MOST_LINES:
        return f"--- {name}: {len(old)} lines now\n+++ {name}: {len(new)} lines then; too many to compare here"
    here = f"{name} now" if before is not None else f"{name}: not there now"
    return "\n".join(difflib.unified_diff(old, new, here, f"{name} then", n=context, lineterm=""))


def told(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> list[str]:
    """How a state changes, one phrase each: status, stage, each stage, checkpoints, numbers, keys of others."""
    if before is None:
        stages = mapping(after.get("stages"))
        begun = [f"{brief(n, 40)} {_word(mapping(r).get('status'))}" for n, r in stages.items() if r != PENDING]
        return [
            f"status: {_word(after.get('status'))}, current stage: {_word(after.get('current_stage'))}",
            f"stages: {', '.join(begun[:15]) or 'none begun'}",
            f"checkpoints: {len(items(after.get('checkpoints')))}",
        ]
    said = [
        f"{name}: {_word(before.get(key))} -> {_word(after.get(key))}"
        for key, name in (("status", "status"), ("current_stage", "current stage"))
        if before.get(key) != after.get(key)
    ]
    here, there = mapping(before.get("stages")), mapping(after.get("stages"))
    for name in sorted({*here, *there}, key=lambda name: (STAGES.index(name) if name in STAGES else len(STAGES), name)):
        one, other = mapping(here.get(name)), mapping(there.get(name))
        if one.get("status") != other.get("status"):
            said.append(f"{brief(name, 40)}: {_word(one.get('status'))} -> {_word(other.get('status'))}")
        elif one != other:
            keys = [brief(key, 40) for key in dict.fromkeys([*one, *other]) if one.get(key) != other.get(key)]
            said.append(f"{brief(name, 40)}: {', '.join(keys)} change")
    counts = len(items(before.get("checkpoints"))), len(items(after.get("checkpoints")))
    if counts[0] != counts[1]:
        said.append(f"checkpoints: {counts[0]} -> {counts[1]}")
    plain = {"status", "current_stage", "stages", "checkpoints", "updated_at"}
    for key in dict.fromkeys([*before, *after]):
        if key in plain or before.get(key) == after.get(key):
            continue
        how = "goes away" if key not in after else "is new" if key not in before else "changes"
        said.append(f"{brief(key, 40)} {how}")
    return said


def _shown(data: bytes) -> list[str]:
    lines = clean(data.decode("utf-8", "replace")).split("\n")
    return [line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}…" for line in lines]


def _word(value: Any) -> str:
    return brief(str(value), 40) if value not in (None, "") else "nothing"
