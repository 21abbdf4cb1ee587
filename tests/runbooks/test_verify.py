"""``opsbot runbook verify``: the user's two documents as they came, our own, and what follows when a system changes."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from bot.clock import ManualClock, SystemClock
from bot.demo.github import LocalGitHub
from bot.demo.somas_projects import generate
from bot.demo.supervised_process import ProcessConfig, SupervisedProcess, payment_children
from bot.handler import Action, ActionContext, ActionResult, Danger, Product, Services
from bot.runbooks.library import RunbookLibrary
from bot.runbooks.verify import Subject, Verified, subject_of, verify
from bot.runbooks.verify_report import github, render
from bot.runs.verified import results, subjects
from bot.settings import GitHubSettings
from bot.surfaces.github.connection import Connection
from bot.surfaces.github.reading import reader
from handlers import somas, supervisor
from handlers.somas import reality
from handlers.somas.config import Config, read_config
from handlers.somas.projects import Project, list_projects, read_project
from handlers.somas.settings import SomasSettings
from handlers.supervisor.settings import SupervisorSettings
from tests.runbooks.products import KETTLE, Kettle
from tests.somas.conftest import NOW, Files, run_blocking

ORIGINALS = Path(__file__).parent / "originals"
UPSTREAM = Path(__file__).parents[1] / "somas" / "upstream_repository"
SOMAS = "runbook-somas.md"
SUPERVISOR = "runbook-supervisor.txt"


def original(name: str) -> Subject:
    return subject_of((ORIGINALS / name).read_text(encoding="utf-8"), name)


def at(verified: Verified, line: int) -> str:
    """Everything that is found on a line, as it is printed."""
    return "\n".join(f"{one.level}: {one.sentence()}" for one in verified.findings if one.line == line)


# -- SOMAS


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "somas"
    generate(root, NOW)
    config = yaml.safe_load((root / ".somas/config.yml").read_text())
    config["project_management"] = {"notifications": {"enabled": True, "notify_on": ["error_occurred"]}}
    (root / ".somas/config.yml").write_text(yaml.safe_dump(config))
    return root


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The names that SOMAS's repository declares, to be changed by a test."""
    return Path(shutil.copytree(UPSTREAM, tmp_path / "checkout"))


async def ask_somas(
    root: Path, checkout: Path | None, subject: Subject, github: GitHubSettings | None = None
) -> Verified:
    settings = SomasSettings(root=root, repository_path=checkout)
    services = Services(
        ManualClock(NOW), run_blocking, github, reader(Connection(github), github.repository) if github else None
    )
    handler = await somas.product.connect(settings, services)
    return await verify(subject, somas.product, handler, ManualClock(NOW))


ROTTEN_SOMAS = [
    (20, "`somas:failed`; somas:failed is not among the 34 labels"),
    (
        63,
        "no input start_stage; GitHub refuses the dispatch (422); its inputs are project_id",
    ),
    (73, "there is no workflow somas-resume.yml"),
    (75, "takes an input checkpoint_id"),
    (89, "somas-pipeline.yml has no input issue_number"),
    (89, "somas-pipeline.yml requires the input project_id"),
    (101, "the file is an object: length counts its 4 keys, however many entries there are; `entries` has"),
    (122, "no file has `.circuit_breakers`, so it prints null"),
    (134, "CircuitBreaker takes config_path, not service_name; it ends with a TypeError"),
    (135, "CircuitBreaker has no reset()"),
    (144, "CircuitBreaker has no trip()"),
    (154, ".somas/config.yml has no error_handling"),
    (200, "there is no workflow somas-agent.yml"),
    (236, "has a file artifacts/validation_report.json"),
    (255, "length counts its 4 keys"),
    (258, "the file is an object: `[-5:]` of it is an error; use `.entries[-5:]`"),
    (268, "a list breaks its shape"),
    (280, "length counts its 4 keys"),
    (291, "monitoring.alerts.thresholds.pipeline_duration_hours: 168"),
    (305, 'has the key `.to_stage`, so it never matches; nor is there a stage "validation"; filter `.stage =='),
    (315, "length counts its 4 keys"),
    (318, "length counts its 4 keys"),
    (350, ".somas/config.yml has no monitoring.notifications; the key is project_management.notifications"),
    (383, ".somas/config.yml has no pipeline.enabled"),
]


async def test_what_has_rotted_in_the_somas_runbook(root: Path) -> None:
    found = await ask_somas(root, UPSTREAM, original(SOMAS))
    for line, said in ROTTEN_SOMAS:
        assert said in at(found, line), at(found, line) or f"nothing on line {line}"
        assert at(found, line).startswith("drift: ")
    right = {30, 43, 53, 62, 70, 97, 179, 226, 302, 346, 347, 465, 468}
    assert not {one.line for one in found.findings} & right
    assert not found.unknown


async def test_it_only_reads(root: Path) -> None:
    before = Files.of(root)
    await ask_somas(root, UPSTREAM, original(SOMAS))
    assert Files.of(root) == before


async def test_what_is_found_follows_the_files(root: Path, checkout: Path) -> None:
    """Nothing is known by heart: mend the systems, and the document is right."""
    (checkout / ".github/workflows/somas-resume.yml").write_text(
        "on:\n  workflow_dispatch:\n    inputs:\n      project_id: {required: true}\n      checkpoint_id: {}\n"
    )
    with (checkout / ".github/labels.yml").open("a") as labels:
        labels.write('- name: "somas:failed"\n')
    breaker = "class CircuitBreaker:\n    def __init__(self, service_name): ...\n    def reset(self): ...\n"
    (checkout / "somas/core/circuit_breaker.py").write_text(breaker)
    config = yaml.safe_load((root / ".somas/config.yml").read_text())
    config["monitoring"]["alerts"]["thresholds"]["pipeline_duration_hours"] = 72
    config["pipeline"]["enabled"] = False
    (root / ".somas/config.yml").write_text(yaml.safe_dump(config))
    for letters in (root / ".somas/projects").glob("project-*/dead_letters.json"):
        letters.write_text("[]")
    found = await ask_somas(root, checkout, original(SOMAS))
    assert [line for line in (20, 73, 75, 101, 134, 135, 258, 268, 291, 383) if at(found, line)] == []
    assert "CircuitBreaker has no trip(); its methods are reset" in at(found, 144)
    assert "has monitoring.alerts.thresholds.pipeline_duration_hours: 72; write 72" in at(found, 345)


async def test_of_very_many_projects_some_of_each_kind_are_read_and_the_sentence_says_so(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A document is compared with the shapes of files: those of ten thousand projects are those of a few."""
    read: list[str] = []

    def reading(folder: Path, name: str, config: Config) -> Project:
        read.append(name)
        return read_project(folder, name, config)

    monkeypatch.setattr(reality, "MOST", 6)
    monkeypatch.setattr(reality, "read_project", reading)
    found = await ask_somas(root, UPSTREAM, original(SOMAS))
    states = [read_project(root, name, read_config(root)).state for name in read]
    assert len(read) == 6 and len({state.status for state in states if state}) > 3
    assert f"of 6 of {len(list_projects(root))} projects" in at(found, 20)


async def test_without_a_repository_nothing_is_claimed_about_it(root: Path) -> None:
    found = await ask_somas(root, None, original(SOMAS))
    assert at(found, 73).startswith(
        "cannot tell: says `somas-resume.yml`; whether the workflow somas-resume.yml exists"
    )
    assert at(found, 20).startswith("cannot tell: ")
    assert "(recorded at upstream commit 4308574)" in at(found, 135)
    assert "length counts" in at(found, 101)


async def test_the_repository_on_github(root: Path) -> None:
    clock = SystemClock()
    async with LocalGitHub("acme/somas", clock=clock) as local:
        for file in sorted((UPSTREAM / ".github/workflows").iterdir()):
            local.add_workflow(file.name, file.read_text())
        settings = GitHubSettings(api_url=local.api_url, repository="acme/somas", token=SecretStr(local.token))
        found = await ask_somas(root, None, original(SOMAS), settings)
    assert "there is no workflow somas-resume.yml in acme/somas on GitHub" in at(found, 73)
    assert "somas-pipeline.yml has no input start_stage" in at(found, 63)


async def test_github_that_does_not_answer_is_no_drift(root: Path) -> None:
    settings = GitHubSettings(api_url="http://127.0.0.1:9", repository="acme/somas", token=SecretStr("t"))
    found = await ask_somas(root, None, original(SOMAS), settings)
    assert at(found, 73).startswith("cannot tell: ")
    assert "GitHub: acme/somas could not be read" in at(found, 73)


async def test_our_own_documents_have_not_rotted(root: Path) -> None:
    for subject in subjects(RunbookLibrary([somas.product])):
        found = await ask_somas(root, UPSTREAM, subject)
        assert not found.drifts, render([found])


async def test_our_own_document_tells_when_a_workflow_is_gone(root: Path, checkout: Path) -> None:
    subject = next(one for one in subjects(RunbookLibrary([somas.product])) if one.source.endswith("agent-silent.md"))
    (checkout / ".github/workflows/somas-orchestrator.yml").unlink()
    found = await ask_somas(root, checkout, subject)
    drift = next(one for one in found.drifts if "workflow" in one.says)
    assert drift.sentence().startswith("says the workflow `somas-orchestrator.yml`; there is no workflow")
    assert "somas-orchestrator.yml" in subject.text.split("\n")[drift.line - 1]


# -- the supervisor


Asks = Callable[[Subject], Any]


@pytest.fixture
async def ask_supervisor(tmp_path: Path) -> AsyncIterator[Asks]:
    socket = tmp_path / "payments.sock"
    config = ProcessConfig(socket=socket, name="payments", children=payment_children(crash_after=60, stop_takes=0.1))
    async with SupervisedProcess(config):
        settings = SupervisorSettings.model_validate({"targets": {"payments": {"socket": socket, "max_backoff": 0.2}}})
        handler = await supervisor.product.connect(settings, Services(SystemClock(), run_blocking))
        yield lambda subject: verify(subject, supervisor.product, handler, SystemClock())
        await handler.close()


async def test_what_has_rotted_in_the_supervisor_runbook(ask_supervisor: Asks, tmp_path: Path) -> None:
    found = await ask_supervisor(original(SUPERVISOR))
    expected = {
        8: "every possible outcome meets it, so the step checks nothing",
        9: "`ShutdownPhase::Completed`; Supervisor has no `ShutdownPhase`; it is state_delta.result.phase",
        11: "`health.status`; Supervisor does not tell `health.status`; the bot derives it from: state was answered",
        12: "does not tell `dashboard_link`",
        18: "it is child_runtime_records[].restart_limit.used",
        19: "`TaskExit::Failed`; Supervisor does not tell `TaskExit`; the bot derives it",
        20: "`restart_budget.tokens`; Supervisor does not tell it: the token bucket is internal",
        21: "`CommandResult::Accepted`; Supervisor has no `CommandResult`; it is result.accepted",
        25: "does not tell `health.dashboard_link`",
        28: f"no configured process serves it; the sockets are {tmp_path}/payments.sock",
        29: "the process of the relay is called rust-supervisor",
        30: "the process registers at a relay every 15 s, so 10 s are too short (recorded at rust-supervisor 3f92078",
        35: "does not tell `health.uptime_secs`",
        38: "does not tell `iterations_per_sec`",
        39: "no state of a child has them",
        41: "does not tell `health.control_loop_iterations`",
    }
    for line, said in expected.items():
        assert said in at(found, line), at(found, line) or f"nothing on line {line}"
    assert "`pgrep -x supervisor`; nothing is called so: payments is pid" in at(found, 8)
    assert "supervisor_quickstart ends at once" in at(found, 11)
    assert "never quarantines by itself" in at(found, 20)
    assert not found.unknown


async def test_our_own_procedures_have_not_rotted(ask_supervisor: Asks) -> None:
    for subject in subjects(RunbookLibrary([supervisor.product])):
        found = await ask_supervisor(subject)
        assert not found.findings, render([found])


async def test_a_process_that_does_not_answer_is_told_once_and_is_no_drift(tmp_path: Path) -> None:
    settings = SupervisorSettings.model_validate({"targets": {"payments": {"socket": tmp_path / "gone.sock"}}})
    handler = await supervisor.product.connect(settings, Services(SystemClock(), run_blocking))
    for subject in subjects(RunbookLibrary([supervisor.product])):
        found = await verify(subject, supervisor.product, handler, SystemClock())
        assert not found.drifts, render([found])
        assert len(found.unknown) <= 1
        assert all("there is no socket" in one.there for one in found.unknown)


# -- any product

BOUND = """\
---
id: tea
product: kettle
target: kettle
---

## Make tea

| Step | Action | Expected Metrics | Estimated Duration |
|---|---|---|---|
| 1 | Look: `kettle.look()` | `state == "boiling" or state != "boiling"` | 1min |
| 2 | Whistle: `kettle.whistle()` | `colour == "red"` | 1min |
| 3 | Heat: `kettle.heat()` | `steam.pressure > 2` | 1min |
"""


async def drifts_of_tea(product: Product) -> list[str]:
    found = await verify(subject_of(BOUND, "tea.md"), product, Kettle(), SystemClock())
    return [f"{one.line}: {one.sentence()}" for one in found.drifts]


async def test_unknown_actions_and_facts_and_steps_that_check_nothing() -> None:
    said = await drifts_of_tea(KETTLE)
    assert said[0].startswith('11: says "state == "boiling" or state != "boiling""; every possible outcome meets it')
    assert said[1] == "12: says `colour`; Kettle does not tell it: cold; make the step a question to a person."
    assert said[2].startswith(
        "12: says `kettle.whistle()`; Kettle has no action kettle.whistle(); use one of kettle.look()"
    )
    assert said[3].startswith("13: says `steam.pressure`; Kettle tells nothing of this name")


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (ActionResult(status="failed", summary="The lid is stuck."), "kettle.look() does not answer: The lid is stuck"),
        (RuntimeError("boom"), "kettle.look() does not answer: it ends with RuntimeError"),
        (ActionResult(status="done", summary="Seen."), ""),
    ],
)
async def test_reading_actions_are_called_and_changing_ones_are_not(result: Any, said: str) -> None:
    called: list[str] = []

    def answers(name: str) -> Callable[[Any, ActionContext], Any]:
        async def perform(handler: Kettle, context: ActionContext) -> ActionResult:
            called.append(name)
            if isinstance(result, Exception):
                raise result
            return result  # type: ignore[no-any-return]  # a parameter of the test

        return perform

    actions = (
        Action("kettle.look", Danger.READ, "Look at it", answers("look")),
        Action("kettle.heat", Danger.CHANGE, "Switch it on", answers("heat")),
    )
    told = [line for line in await drifts_of_tea(replace(KETTLE, actions=actions)) if "kettle.look" in line[:30]]
    assert called == ["look"]
    assert [said in line for line in told] == ([True] if said else [])


async def test_a_document_about_nothing_that_is_configured() -> None:
    found = await verify(subject_of("# Shopping\n\n- milk\n", "list.md"), None, None, SystemClock())
    assert [one.level for one in found.findings] == ["cannot tell"]


async def test_findings_belong_to_the_runbook_of_their_lines() -> None:
    second = BOUND.partition("## Make tea\n")[2].replace("kettle.whistle", "kettle.sing")
    head, _, first = BOUND.replace("id: tea\n", "").partition("## Make tea\n")
    text = f"{head}## T-1: Tea\n{first}\n## T-2: More tea\n{second}"
    found = await verify(subject_of(text, "tea.md"), KETTLE, Kettle(), SystemClock())
    one, two = results(found)
    assert (one.runbook, two.runbook) == ("T-1", "T-2")
    assert any("whistle" in finding.says for finding in one.findings)
    assert not any("whistle" in finding.says for finding in two.findings)
    assert one.drifts == two.drifts == 4


async def test_what_is_printed() -> None:
    found = await verify(subject_of(BOUND, "docs/tea, green.md"), KETTLE, Kettle(), SystemClock())
    lines = render([found]).splitlines()
    told = "says `colour`; Kettle does not tell it: cold; make the step a question to a person."
    assert f"docs/tea, green.md:12: drift: {told}" in lines
    assert "docs/tea, green.md:11: cannot tell: says `state`; not to be seen today: cold." in lines
    assert lines[-1].startswith("1 document, ")
    assert lines[-1].endswith("compared with the live systems: 4 drifts, 1 thing nobody could tell")
    annotated = github([found]).splitlines()
    assert f"::error file=docs/tea%2C green.md,line=12,title=runbook verify::{told}" in annotated
    assert any(line.startswith("::notice file=docs/tea%2C green.md,line=11,") for line in annotated)


def test_the_originals_are_what_the_user_gave() -> None:
    """Two documents that nobody has tidied up: lost marks, garbled text, no final line break."""
    assert "**" not in (ORIGINALS / SUPERVISOR).read_text(encoding="utf-8")
    assert not (ORIGINALS / SUPERVISOR).read_bytes().endswith(b"\n")
    assert json.dumps("[]") in (ORIGINALS / SOMAS).read_text(encoding="utf-8")
