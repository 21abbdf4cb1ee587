"""``project-4`` -> ``project-42``: the existing names that a person most likely meant."""

from __future__ import annotations

from collections.abc import Iterable

from rapidfuzz import process
from rapidfuzz.distance import OSA, JaroWinkler

_ENOUGH = 0.72  # below, a suggestion is a guess that nobody would recognise
_LONGEST = 200  # characters of the typed name that are compared


def nearest(typed: str, names: Iterable[str], limit: int = 3) -> tuple[str, ...]:
    """Up to ``limit`` of ``names``, best first: same but for the case, then beginnings, then typing errors."""
    wanted = typed.strip().casefold()[:_LONGEST]
    candidates = list(dict.fromkeys(names))
    if not wanted or not candidates:
        return ()
    folded = [name.casefold() for name in candidates]
    score: dict[int, float] = {}
    for _, value, index in process.extract(
        wanted, folded, scorer=JaroWinkler.normalized_similarity, score_cutoff=_ENOUGH, limit=50
    ):
        score[index] = (value + OSA.normalized_similarity(wanted, folded[index])) / 2
    for index, name in enumerate(folded):
        if name == wanted:
            score[index] = 3.0
        elif name.startswith(wanted) or (wanted.startswith(name) and len(name) > 2):
            score[index] = 2.0 + min(len(name), len(wanted)) / max(len(name), len(wanted))
        elif len(wanted) > 1 and wanted in name:
            score[index] = 1.0 + len(wanted) / len(name)
    enough = [index for index, value in score.items() if value >= _ENOUGH - 0.2]
    best = sorted(enough, key=lambda index: (-score[index], len(candidates[index]), candidates[index]))
    return tuple(candidates[index] for index in best[:limit])
