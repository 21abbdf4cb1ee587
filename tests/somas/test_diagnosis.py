"""``/somas diagnose``: each of the five answers, also the one that nobody can give."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from bot.demo.somas_projects import ProjectWriter
from handlers.somas.config import Config
from handlers.somas.diagnosis import Diagnosis, diagnose
from handlers.somas.metrics import weigh
from handlers.somas.projects import read_project
from handlers.somas.summary import summarise
from handlers.somas.validate import validate
from tests.somas.conftest import NOW

FOLDER = Path(".somas/projects/project-5")


def asked(root: Path, agents: tuple[str, ...] = ("coder", "tester")) -> dict[str, Diagnosis]:
    project = read_project(root, "project-5", Config())
    summary = summarise(project)
    found = diagnose(project, summary, weigh(summary, Config(), NOW), validate(project, NOW), agents, NOW)
    assert [bool(each.found) for each in found] == sorted((bool(each.found) for each in found), reverse=True)
    return {each.name: each for each in found}


@pytest.fixture
def writer(tmp_path: Path) -> ProjectWriter:
    made = ProjectWriter(tmp_path, "project-5", NOW - timedelta(hours=3))
    made.initialize_project(5, "x")
    return made


def test_an_agent_that_was_invoked_and_never_answered(tmp_path: Path, writer: ProjectWriter) -> None:
    writer.start_stage("implement", "coder")
    writer.log_transition("agent_invoked", stage="implement", agent="coder")
    writer.save()
    found = asked(tmp_path)["Agent"]
    assert found.found and found.said == "coder was invoked 3 h ago and has not answered"
    assert found.command == "/somas agent coder"
    writer.log_transition("agent_failed", stage="implement", agent="coder")
    writer.save()
    assert not asked(tmp_path)["Agent"].found


def test_an_agent_without_a_file(tmp_path: Path, writer: ProjectWriter) -> None:
    writer.start_stage("implement", "ghost")
    writer.save()
    assert asked(tmp_path)["Agent"].said == "ghost of implement has no file in .somas/agents"


def test_a_bare_list_of_dead_letters_is_offered_its_repair(tmp_path: Path, writer: ProjectWriter) -> None:
    writer.save()
    (tmp_path / FOLDER / "dead_letters.json").write_text("[]")
    found = asked(tmp_path)
    assert (found["Dead letters"].found, found["Dead letters"].command) == (True, "/somas repair project-5")
    assert found["State corruption"].found


def test_nothing_but_a_foreign_state_leaves_questions_that_nobody_can_answer(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir(parents=True)
    (tmp_path / FOLDER / "state.json").write_text('{"project_id": "project-6"}')
    found = asked(tmp_path)
    assert found["State corruption"].found
    assert {name for name, each in found.items() if each.found is None} == {
        "Stuck",
        "Agent",
        "Quality gates",
        "Dead letters",
    }


def test_a_failure_at_a_gate_and_one_that_is_none(tmp_path: Path, writer: ProjectWriter) -> None:
    writer.start_stage("verify", "tester")
    writer.fail_stage("verify", {"type": "TimeoutError", "message": "no answer"})
    writer.save()
    assert asked(tmp_path)["Quality gates"].said == "verify failed, but not at a gate: no answer"
    writer.start_stage("verify", "tester")
    writer.fail_stage("verify", {"type": "ValidationError", "message": "Coverage is 71 %"})
    writer.save()
    found = asked(tmp_path)["Quality gates"]
    assert found.found and found.command == "/runs start quality-gate project-5"
