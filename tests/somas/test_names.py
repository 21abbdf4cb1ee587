"""What people type as a project or a stage."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.errors import UserError
from handlers.somas.projects import ARCHIVE, is_project, list_projects, project_argument, project_directory
from handlers.somas.stages import STAGES, next_stage, stage_argument


@pytest.mark.parametrize("typed", ["project-42", "42", "#42", " 42 "])
def test_a_project_is_its_name_or_its_number(typed: str) -> None:
    assert project_argument(typed) == "project-42"


@pytest.mark.parametrize(
    "typed",
    [
        "../../etc/passwd",
        "project-42/../project-7",
        "project-42\n",
        "project-042",
        "042",
        "0",
        "project-0",
        "-1",
        "project-٤٢",
        "٤٢",
        "４２",
        "project-4²",
        "project-somas",
        "project-42.backup.20261115",
        "PROJECT-42",
        "project-42\x00",
        "",
        "\ud83d",
        "project-" + "9" * 400,
    ],
)
def test_what_cannot_be_a_project_is_refused_with_the_form_that_can(typed: str) -> None:
    with pytest.raises(UserError) as refused:
        project_argument(typed)
    assert "A project is called project-<number>" in refused.value.message
    refused.value.message.encode("utf-8")


@given(st.text())
def test_no_text_becomes_anything_but_a_project_below_the_folder(typed: str) -> None:
    try:
        name = project_argument(typed)
    except UserError:
        return
    assert is_project(name)
    assert project_directory(Path("/srv/somas"), name).parent == Path("/srv/somas/.somas/projects")


@given(st.integers(1, 10**17))
def test_every_number_is_a_project(number: int) -> None:
    assert project_argument(str(number)) == project_argument(f"project-{number}") == f"project-{number}"


def test_a_path_is_never_made_of_a_bad_name() -> None:
    with pytest.raises(UserError):
        project_directory(Path("/srv/somas"), "../project-42")


def test_only_folders_with_state_are_listed(tmp_path: Path) -> None:
    projects = tmp_path / ".somas" / "projects"
    for name in ("project-42", "project-7", "project-42.backup.20261115", "project-somas", "project-042", ARCHIVE):
        (projects / name).mkdir(parents=True)
        (projects / name / "state.json").write_text("{}")
    (projects / "project-9").mkdir()
    (projects / "project-9" / "state.json.lock").touch()  # what upstream leaves after a mistyped id
    (projects / "project-8").write_text("a file")
    assert list_projects(tmp_path) == ["project-7", "project-42"]


@pytest.mark.parametrize(("typed", "stage"), [("verify", "verify"), ("Verify ", "verify"), ("pulse", "verify")])
def test_stages_and_their_old_names(typed: str, stage: str) -> None:
    assert stage_argument(typed) == stage


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("validation", "The stage that does this work is called verify"),
        ("verfy", "Did you mean verify?"),
        ("qqqqqq", "The stages are: intake, specify"),
        ("", "The stages are: intake"),
    ],
)
def test_what_is_no_stage_is_refused_with_the_one_that_is_meant(typed: str, said: str) -> None:
    with pytest.raises(UserError, match=said.replace("?", r"\?")):
        stage_argument(typed)


@given(st.text())
def test_no_text_makes_the_stage_parser_raise_anything_else(typed: str) -> None:
    with contextlib.suppress(UserError):
        assert stage_argument(typed) in STAGES


def test_the_stage_after_a_stage() -> None:
    assert next_stage("implement") == "verify"
    assert next_stage("mcp") == "verify"
    assert next_stage("analyze") is None
    assert next_stage("cycle") is None
