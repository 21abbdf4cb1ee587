"""The projects of the demo: every kind of trouble, as old as they should be, told as such."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.demo.somas_projects import PROJECTS, ProjectWriter, generate
from bot.messages import plain_text
from handlers.somas.config import read_config
from handlers.somas.fleet_views import failed_message, fleet_message
from handlers.somas.metrics import fleet
from handlers.somas.phrases import troubles
from handlers.somas.projects import list_projects, read_all, read_project
from handlers.somas.summary import summarise
from handlers.somas.views import project_message
from tests.somas.conftest import Files

NOW = datetime(2031, 3, 1, 3, 0, 0, 5, tzinfo=UTC)  # any time: ages are relative


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("demo") / "somas"
    generate(root, NOW)
    return root


def test_the_same_seed_and_time_give_the_same_files(made: Path, tmp_path: Path) -> None:
    generate(tmp_path / "again", NOW)
    generate(tmp_path / "other", NOW, seed=8)
    assert Files.of(tmp_path / "again") == Files.of(made)
    assert Files.of(tmp_path / "other") != Files.of(made)


def test_nobodys_state_is_overwritten(made: Path) -> None:
    with pytest.raises(FileExistsError):
        generate(made, NOW)


def test_only_projects_are_listed(made: Path) -> None:
    assert list_projects(made) == list(PROJECTS)
    others = {path.name for path in (made / ".somas" / "projects").iterdir()} - set(PROJECTS)
    assert others == {"project-42.backup.20310222", "project-500", "project-somas"}


EXPECTED = {
    "project-7": ("ok", []),
    "project-12": ("ok", []),
    "project-19": ("warning", ["stuck: verify is 18 h over its 12 h", "runs for 40 h"]),
    "project-23": ("ok", ["failed at specify"]),
    "project-31": ("ok", ["failed at decompose"]),
    "project-42": ("warning", ["failed at verify", "verify tried again 3 times", "runs for 30 h"]),
    "project-57": ("critical", ["12 dead letters", "runs for 26 h"]),
    "project-64": ("ok", []),
    "project-70": ("critical", ["waits for a person for 50 h", "runs for 80 h"]),
    "project-81": ("ok", ["state corrupt, rebuilt from the log"]),
    "project-88": ("ok", ["log missing"]),
    "project-96": ("warning", ["failed at plan", "7 dead letters"]),
    "project-103": ("critical", ["failed at verify", "runs for 325 days"]),
    "project-110": ("ok", ["never started", "state never advanced"]),
    "project-117": ("ok", []),
    "project-124": ("ok", ["log has 1 broken line"]),
}


def test_each_project_has_the_trouble_that_it_was_made_for(made: Path) -> None:
    config = read_config(made)
    everything = fleet(map(summarise, read_all(made, config)), config, NOW)
    found = {p.id: (m.level, troubles(p, m)) for p, m in everything.projects}
    assert found == EXPECTED


def test_every_state_that_is_whole_is_what_its_log_says(made: Path) -> None:
    compared = 0
    for project in read_all(made, read_config(made)):
        if project.file.state is None or project.log.condition != "ok":
            continue
        assert project.rebuilt is not None
        times = {"created_at": 0, "updated_at": 0}
        assert {**project.rebuilt.raw, **times} == {**project.file.state.raw, **times}, project.id
        compared += 1
    assert compared == len(PROJECTS) - 2


def test_the_configuration_is_complete(made: Path) -> None:
    config = read_config(made)
    assert config.problems == ()
    assert (config.timeouts["implement"], config.max_retry_attempts, config.pipeline_enabled) == (48, 3, True)


def test_every_message_can_be_stored_and_sent(made: Path) -> None:
    config = read_config(made)
    everything = fleet(map(summarise, read_all(made, config)), config, NOW)
    messages = [project_message(project, NOW) for project in read_all(made, config)]
    messages += [
        fleet_message(everything, config, NOW, str(made)),
        failed_message(everything, len(everything.projects), config, NOW, str(made)),
    ]
    for message in messages:
        plain_text(message.blocks).encode("utf-8")
        message.summary.encode("utf-8")
        assert len(plain_text(message.blocks)) < 6000


def test_a_pipeline_can_go_on_in_a_project_that_exists(tmp_path: Path) -> None:
    generate(tmp_path / "somas", NOW)
    with ProjectWriter.held(tmp_path / "somas", "project-12", NOW) as pipeline:
        pipeline.complete_stage("plan", ["artifacts/execution_plan.yml"])
        pipeline.start_stage("decompose", "decomposer")
    project = read_project(tmp_path / "somas", "project-12", read_config(tmp_path / "somas"))
    assert project.state is not None and project.rebuilt is not None
    assert project.state.current_stage == "decompose"
    assert {**project.rebuilt.raw, "created_at": 0} == {**project.state.raw, "created_at": 0}
