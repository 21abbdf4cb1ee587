"""Small texts that cards, pages and previews share."""

from __future__ import annotations

import pytest

from bot.surfaces.step_text import sentence


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
