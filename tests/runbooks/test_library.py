"""All runbooks that the bot knows: of the products, and of the user's own folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.errors import UserError
from bot.runbooks.library import RunbookLibrary
from tests.runbooks.products import kettle

TABLE = """\
| Step | Action | Expected Metrics | Estimated Duration |
|---|---|---|---|
| 1 | Look: `look()` | `lid.open == false` | 1min |

**Escalation**: Ask the cook.
**Total estimated duration**: 1min.
"""


def write(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    folder = tmp_path / "kettle"
    write(folder, "K-001.md", f"## K-001: No tea\n\n{TABLE}")
    write(folder / "more", "K-002.md", f"## K-002: Lime\n\n{TABLE}")
    write(folder, "README.md", "# How to write them\n\nNo table here.\n")
    return folder


def test_a_products_runbooks_are_its_own(shipped: Path) -> None:
    library = RunbookLibrary([kettle(shipped)])
    assert library.problems == ()
    assert list(library.for_product("kettle")) == ["K-001", "K-002"]
    assert library.get("k-001").product == "kettle"


def test_an_alias_becomes_the_full_name_of_the_action(shipped: Path) -> None:
    assert RunbookLibrary([kettle(shipped)]).get("K-001").steps[0].action == "kettle.look"


def test_an_unknown_id_is_answered_with_the_nearest(shipped: Path) -> None:
    library = RunbookLibrary([kettle(shipped)])
    with pytest.raises(UserError, match=r"There is no runbook K-01\. Did you mean K-001"):
        library.get("K-01")
    with pytest.raises(UserError, match=r"There is no runbook zzz\. There are K-001, K-002\."):
        library.get("zzz")
    with pytest.raises(UserError, match="No runbook is loaded"):
        RunbookLibrary([]).get("K-001")


def test_the_users_own_need_no_front_matter(shipped: Path, tmp_path: Path) -> None:
    write(tmp_path / "own", "attic.md", f"# Clean the attic\n\n{TABLE}")
    write(tmp_path / "own", "tea.md", f"---\nproduct: kettle\n---\n# T-1: Tea\n\n{TABLE}")
    library = RunbookLibrary([kettle(shipped)], [tmp_path / "own"])
    assert library.problems == ()
    assert library.get("clean-the-attic").steps[0].action is None
    assert list(library.for_product("")) == ["clean-the-attic"]
    assert library.get("T-1").steps[0].action == "kettle.look"


def test_the_same_id_twice_is_an_error_and_the_first_stays(shipped: Path, tmp_path: Path) -> None:
    write(tmp_path / "own", "mine.md", f"# k-001: Mine\n\n{TABLE}")
    library = RunbookLibrary([kettle(shipped)], [tmp_path / "own"])
    assert library.get("K-001").title == "No tea"
    (problem,) = library.problems
    assert "k-001 is already the runbook in" in problem.message
    assert problem.line == 1


def test_a_broken_document_costs_only_itself(shipped: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    write(own, "a.md", f"# A-1: A\n\n{TABLE.replace('1min |', 'soon |')}")
    write(own, "b.md", f"# B-1: B\n\n{TABLE}")
    (own / "c.md").write_bytes(b"# C-1: \xff\xfe\n")
    write(own, "d.md", f"---\nproduct: toaster\n---\n# D-1: D\n\n{TABLE}")
    library = RunbookLibrary([kettle(shipped)], [own, tmp_path / "nowhere"])
    assert library.get("B-1")
    said = [problem.message for problem in library.problems]
    assert len(said) == 4
    assert '"soon" is not a duration' in said[0]
    assert "the file is not UTF-8 text (byte 7)" in said[1]
    assert "there is no product toaster; there are: kettle" in said[2]
    assert "there is no such file or folder" in said[3]


def test_a_file_that_is_named_must_be_a_runbook(tmp_path: Path) -> None:
    prose = write(tmp_path, "prose.md", "# Only prose\n")
    assert "there is no runbook in it" in RunbookLibrary([], [prose]).problems[0].message
    assert RunbookLibrary([], [tmp_path]).problems == ()


def test_hidden_folders_and_files_reached_twice_are_read_once(tmp_path: Path) -> None:
    file = write(tmp_path / "own", "attic.md", f"# Attic\n\n{TABLE}")
    write(tmp_path / "own" / ".git", "old.md", f"# Attic\n\n{TABLE}")
    library = RunbookLibrary([], [tmp_path / "own", file])
    assert library.problems == ()
    assert list(library.runbooks) == ["attic"]


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "folder.md").mkdir()
    (tmp_path / "gone.md").symlink_to(tmp_path / "nowhere")
    said = [problem.message for problem in RunbookLibrary([], [tmp_path]).problems]
    assert said == ["the file cannot be read: Is a directory", "the file cannot be read: No such file or directory"]
