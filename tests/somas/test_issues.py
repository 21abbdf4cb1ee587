"""Which project an issue is about: its number, unless a state says otherwise."""

from __future__ import annotations

import json
from pathlib import Path

from handlers.somas.issues import issue_of, project_of


def project(root: Path, number: int, issue: object = None) -> None:
    folder = root / f".somas/projects/project-{number}"
    folder.mkdir(parents=True)
    state = {"project_id": f"project-{number}", "status": "failed", "current_stage": "verify", "stages": {}}
    if issue is not None:
        state["issue_number"] = issue  # type: ignore[assignment]  # whatever a file can hold
    (folder / "state.json").write_text(json.dumps(state))


def test_its_number_is_the_issue(tmp_path: Path) -> None:
    project(tmp_path, 42)
    project(tmp_path, 43, 43)
    assert (issue_of(tmp_path, "project-42"), issue_of(tmp_path, "project-43")) == (42, 43)
    assert (project_of(tmp_path, 42), project_of(tmp_path, 43)) == ("project-42", "project-43")
    assert project_of(tmp_path, 44) is None


def test_the_state_goes_before_the_number(tmp_path: Path) -> None:
    project(tmp_path, 42, 7)
    assert issue_of(tmp_path, "project-42") == 7
    assert project_of(tmp_path, 7) == "project-42"
    assert project_of(tmp_path, 42) is None


def test_who_says_that_the_issue_is_theirs_goes_before_the_namesake(tmp_path: Path) -> None:
    project(tmp_path, 42)
    project(tmp_path, 5, 42)
    assert project_of(tmp_path, 42) == "project-5"


def test_two_that_claim_one_issue_are_not_guessed(tmp_path: Path) -> None:
    project(tmp_path, 5, 42)
    project(tmp_path, 6, 42)
    assert project_of(tmp_path, 42) is None


def test_junk_is_no_issue_number(tmp_path: Path) -> None:
    for number, junk in enumerate(["forty-two", -1, [], {}, True], 1):
        project(tmp_path, number, junk)
        assert issue_of(tmp_path, f"project-{number}") == number
    assert issue_of(tmp_path, "../../etc") is None
