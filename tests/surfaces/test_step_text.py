"""Small texts that cards, pages and previews share."""

from __future__ import annotations

import pytest

from bot.surfaces.step_text import both_ends, sentence


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("three runs are left", "Three runs are left."),
        ("failed: no room", "Failed: no room."),
        ("it's over!", "It's over!"),
        ("acme/somas has no workflow x.yml", "acme/somas has no workflow x.yml."),
        ("project-42 is finished.", "project-42 is finished."),
        ("somas-pipeline.yml is disabled", "somas-pipeline.yml is disabled."),
        ("", "."),
    ],
)
def test_a_sentence_begins_with_a_capital_unless_it_begins_with_a_name(text: str, shown: str) -> None:
    assert sentence(text) == shown


def test_what_is_cut_keeps_its_first_and_its_last_lines() -> None:
    text = "\n".join(f"line {number}" for number in range(1, 101))
    cut = both_ends(text, 120).split("\n")
    assert cut[:2] == ["line 1", "line 2"]
    assert cut[-2:] == ["line 99", "line 100"]
    (gap,) = (line for line in cut if line.startswith("…"))
    assert gap == f"… {100 - (len(cut) - 1)} lines before this"
    assert both_ends("short", 120) == "short"
    assert both_ends("x" * 500, 100).endswith("x" * 100), "one long line keeps its end"
