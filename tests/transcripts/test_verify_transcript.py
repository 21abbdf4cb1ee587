"""What people see of ``/runs verify``, and of a verified runbook on a run's card."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.transcript import Chat

TEA = """\
---
id: tea
product: somas
target: project
danger: read
---

## Look twice

**Symptoms**: None.

| Step | Action | Expected Metrics | Estimated Duration |
|---|---|---|---|
| 1 | Look at it: `somas.check_recovery()` | {expected} | 1min |
| 2 | Count them: `jq 'length' .somas/projects/<project>/dead_letters.json` | A number | 1min |

**Escalation**: Call somebody.

**Total estimated duration**: 2min.
"""


@pytest.fixture
def tea(tmp_path: Path) -> Path:
    """A runbook of the user's own, with two lies in it."""
    folder = tmp_path / "own"
    folder.mkdir()
    file = folder / "tea.md"
    file.write_text(TEA.format(expected='`project.colour == "red"`'))
    return file


async def test_a_runbook_that_has_rotted(tmp_path: Path, somas: str, tea: Path) -> None:
    async with Chat(tmp_path, f'{somas}[runbooks]\npaths = ["{tea.parent}"]\n') as chat:
        await chat.types("carol", "/runs verify tea")
        answer = await chat.sees("1 runbook verified: 2 drifts")
        assert "tea line 14: says `project.colour`; SOMAS tells nothing of this name" in answer.shown
        assert "tea line 15: says `jq 'length'` over dead_letters.json; the file is an object" in answer.shown

        await chat.passes(days=3)
        await chat.types("alice", "/runs start tea project-42")
        card = await chat.sees("Look twice: project-42")
        await chat.shows(card, "runbook has 2 drifts, verified 3 days ago")
        await chat.sees("Step 1 needs a decision", "project.colour cannot be known", thread=card)


async def test_mended_and_verified_again(tmp_path: Path, somas: str, tea: Path) -> None:
    async with Chat(tmp_path, f'{somas}[runbooks]\npaths = ["{tea.parent}"]\n') as chat:
        await chat.types("alice", "/runs verify tea")
        await chat.sees("1 runbook verified: 2 drifts")
        tea.write_text(TEA.format(expected="`state.valid == true`").replace("'length'", "'.entries \\| length'"))

        await chat.types("alice", "/runs start tea project-42")
        first = await chat.sees("Look twice: project-42")
        await chat.shows(first, "runbook changed since it was verified")
        await chat.types("alice", "/runs verify tea")
        await chat.sees("1 runbook verified: no drift")
        await chat.types("alice", "/runs start tea project-57")
        second = await chat.sees("Look twice: project-57")
        await chat.shows(second, "runbook verified just now")
        for card in (first, second):
            await chat.thread(card, until="Step 2 is for a person")


async def test_all_of_them(tmp_path: Path, somas: str) -> None:
    async with Chat(tmp_path, somas) as chat:
        await chat.types("carol", "/runs verify")
        answer = await chat.sees("runbooks verified: no drift")
        assert "restart" in answer.shown
        await chat.types("carol", "/runs verify restrat")
        await chat.is_told("carol", 'There is no runbook "restrat". Did you mean restart')
