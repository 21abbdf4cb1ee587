"""The sample data set at its fixed time: every fact of its README, and what the messages say of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.messages import Message, plain_text
from handlers.somas.config import read_config
from handlers.somas.fleet_views import failed_message, fleet_message
from handlers.somas.metrics import Fleet, fleet, measure
from handlers.somas.projects import list_projects, read_all, read_project
from handlers.somas.summary import summarise
from handlers.somas.views import project_message
from tests.somas.conftest import NOW

pytestmark = pytest.mark.sample

# Project: status, stage, duration in hours and level, retries and level, dead letters and level, human wait and level,
# failed and all outcomes, suggested stage, overall level: the table of the README.
TABLE = {
    7: ("initializing", "intake", 0.5, "ok", 0, "ok", 0, "ok", None, None, (0, 0), "intake", "ok"),
    12: ("in_progress", "plan", 6.0, "ok", 0, "ok", 0, "ok", None, None, (0, 2), "plan", "ok"),
    19: ("in_progress", "verify", 40.0, "warning", 0, "ok", 0, "ok", None, None, (0, 5), "verify", "warning"),
    23: ("failed", "specify", 5.0, "ok", 1, "ok", 2, "ok", None, None, (2, 3), "specify", "ok"),
    31: ("failed", "decompose", 20.0, "ok", 2, "ok", 3, "ok", None, None, (3, 6), "decompose", "ok"),
    42: ("failed", "verify", 30.0, "warning", 3, "warning", 4, "ok", None, None, (4, 9), "verify", "warning"),
    57: ("in_progress", "implement", 26.0, "warning", 0, "ok", 12, "critical", None, None, (0, 4), "implement",
         "critical"),
    64: ("completed", "analyze", 40.0, "ok", 0, "ok", 0, "ok", None, None, (0, 11), "", "ok"),
    70: ("waiting", "release", 80.0, "critical", 0, "ok", 0, "ok", 50.0, "critical", (0, 8), "release", "critical"),
    81: ("in_progress", "decompose", 9.0, "ok", 1, "ok", 1, "ok", None, None, (1, 4), "decompose", "ok"),
    88: ("in_progress", "implement", 18.0, "ok", 0, "ok", 1, "ok", None, None, None, "implement", "ok"),
    96: ("failed", "plan", 7.0, "ok", 1, "ok", 7, "warning", None, None, (2, 4), "plan", "warning"),
    103: ("failed", "verify", 7824.0, "critical", 0, "ok", 1, "ok", None, None, (1, 6), "verify", "critical"),
    110: ("initializing", "intake", 2.5, "ok", 0, "ok", 0, "ok", None, None, (0, 13), "intake", "ok"),
}  # fmt: skip


def everything(sample: Path) -> Fleet:
    return fleet(map(summarise, read_all(sample, read_config(sample))), read_config(sample), NOW)


def shown(sample: Path, number: int) -> str:
    project = read_project(sample, f"project-{number}", read_config(sample))
    return plain_text(project_message(project, NOW).blocks)


def test_neither_the_archive_nor_the_system_project_is_a_project(sample: Path) -> None:
    assert list_projects(sample) == [f"project-{number}" for number in TABLE]


@pytest.mark.parametrize("number", TABLE)
def test_the_numbers_are_those_of_the_readme(sample: Path, number: int) -> None:
    project = read_project(sample, f"project-{number}", read_config(sample))
    m = measure(project, NOW)
    assert project.state is not None
    found = (
        project.state.effective_status,
        project.state.current_stage,
        round(m.duration.value or 0, 2),
        m.duration.level,
        m.retries.value,
        m.retries.level,
        m.dead_letters.value,
        m.dead_letters.level,
        None if m.wait.value is None else round(m.wait.value, 2),
        m.wait.level,
        None if m.error_rate is None else (m.error_rate.failed, m.error_rate.total),
        m.restart_stage,
        m.level,
    )
    assert found == TABLE[number]


def test_the_thresholds_of_the_configuration(sample: Path) -> None:
    alerts = {project.id: metrics.alerts for project, metrics in everything(sample).projects if metrics.alerts}
    over = "error rate over 20 %"
    assert alerts == {
        "project-23": (over,),
        "project-31": (over,),
        "project-42": (over,),
        "project-70": ("human wait over 48 h",),
        "project-81": (over,),
        "project-96": (over,),
        "project-103": ("pipeline duration over 168 h",),
    }


def test_status_of_the_fleet(sample: Path) -> None:
    config = read_config(sample)
    message = fleet_message(everything(sample), config, NOW, "/srv/somas")
    lines = plain_text(message.blocks).split("\n")
    assert message.colour == "bad"
    assert lines[:10] == [
        "SOMAS: 3 critical, 3 warning, 8 ok",
        "5 of 14 projects failed, 1 stuck, 31 open dead letters.",
        "Status: 5 failed, 5 in progress, 1 waiting, 2 initializing, 1 completed",
        "Failed: project-23, project-31, project-42, project-96, project-103",
        "Stuck: project-19",
        "Never started: project-110",
        "Damaged files: project-81, project-88",
        "Dead letters: 31 open of 31",
        "Error rate, 24 h: 28.26 % (13 of 46), above 20 %",
        "Error rate, all time: 17.33 % (13 of 75), not counting 1 project without a log",
    ]
    rows = [each.split(" | ") for each in lines if each.startswith("project-") and " | " in each]
    assert rows[0] == ["project-103", "critical", "failed", "verify"]
    assert "- project-19: stuck: verify is 18 h over its 12 h; runs for 40 h" in lines
    assert "- project-110: never started; state never advanced" in lines
    assert [row[0] for row in rows if row[1] == "critical"] == ["project-103", "project-57", "project-70"]
    assert [row[0] for row in rows if row[1] == "warning"] == ["project-42", "project-96", "project-19"]
    assert "Nothing wrong: project-7, project-12, project-64." in lines
    assert "14 projects in /srv/somas/.somas/projects, 2026-11-22 12:00 UTC." in lines


def test_failed_lists_the_failed_and_apart_from_them_the_unreadable(sample: Path) -> None:
    message = failed_message(everything(sample), 14, read_config(sample), NOW, "/srv/somas")
    assert plain_text(message.blocks).split("\n")[:12] == [
        "5 of 14 projects failed, 1 cannot be read",
        "Project | Failed at | When | Retries",
        "project-42 | verify | 1 h ago | 3",
        "project-96 | plan | 1.4 h ago | 1",
        "project-23 | specify | 2 h ago | 1",
        "project-31 | decompose | 3.2 h ago | 2",
        "project-103 | verify | 10 h ago | 0",
        "- project-42, restart at verify: Coverage 71.4% is below the 80% gate (4 dead letters)",
        "- project-96, restart at plan: "
        "\u202egnp.exe\u202c \u200bzero\u200bwidth & <script>alert(1)</script> (7 dead letters)",
        "- project-23, restart at specify: Artifact not generated within timeout (2 dead letters)",
        "- project-31, restart at decompose: Artifact not generated within timeout (3 dead letters)",
        "- project-103, restart at verify: Verify stage failed (1 dead letter)",
    ]
    text = plain_text(message.blocks)
    assert "project-81: state.json is not valid JSON: it is cut or broken at line 48" in text
    assert "(1337 bytes). The log gives: in progress at decompose." in text
    assert "backup.20261115" not in text


# What the README says that an operator should get, project by project.
DETAILS = {
    7: ("initialized 0.5 h ago, not started yet", "Checkpoint: none"),
    12: ("plan, running 1 h of 2 h", "Checkpoint: chk-14aa4e71 at specify, resumes at plan"),
    19: ("stuck: verify is 18 h over its 12 h", "verify, running 30 h of 12 h", "Status: in progress"),
    23: ("failed at specify", "1 of specify; counted from repeated starts in transitions.jsonl", "66.67 % (2 of 3)"),
    31: ("failed at decompose", "Retries: 2 of decompose", "TASK-004 -> TASK-009 -> TASK-004"),
    42: (
        "Last error, 1 h ago: Coverage 71.4% is below the 80% gate",
        "Retries: 3 of verify, warning; counted from repeated starts",
        "11-22 08:00 UTC, verify: ValidationError: 1 test failed: test_retry_backoff",
        "11-22 06:00 UTC, verify: ValidationError: 3 tests failed in tests/test_relay.py",
        "11-22 04:00 UTC, verify: ValidationError: 3 tests failed in tests/test_relay.py",
        "44.44 % (4 of 9)",
    ),
    57: ("12 open of 12, critical; 8 RateLimitError, 4 APIConnectionError; all in implement by coder",
         "implement, running 10 h of 48 h"),
    64: ("project-64: completed", "Pipeline: 40 h, finished", "A restart begins at: nothing: finished"),
    70: ("waits for a person for 50 h", "release, running 50.5 h of 24 h", "needs-human-review",
         "gate=production_deployment"),
    81: ("state corrupt, rebuilt from the log", "(1337 bytes)", "decompose, running 3 h of 4 h", "1 of decompose"),
    88: ("log missing", "Retries: uncertain: there is no log", "Error rate: unknown: there is no log", "GitError"),
    96: ("7 open of 7, warning", "@copilot somas-implementer", "<!channel>"),
    103: (
        "failed at verify",
        "state.json.backup: in progress at verify, taken 2026-11-21 21:00 UTC; restoring it loses verify; "
        "verify would be 15 h old, over its 12 h, so stuck at once",
        "state.json.backup.20260101: in progress at plan, taken 2026-01-01 09:00 UTC; "
        "restoring it loses plan, decompose, implement, verify",
    ),
    110: ("never started", "13 agents finished according to the log, but state.json never advanced"),
}  # fmt: skip


@pytest.mark.parametrize("number", DETAILS)
def test_status_of_one_project_tells_what_an_operator_should_get(sample: Path, number: int) -> None:
    said = shown(sample, number)
    for detail in DETAILS[number]:
        assert detail in said


def test_waiting_and_young_projects_are_neither_stuck_nor_forgotten(sample: Path) -> None:
    assert "stuck" not in shown(sample, 70)
    assert "never started" not in shown(sample, 7)
    assert "failed" not in shown(sample, 19).split("\n")[0]
    assert "warning" not in shown(sample, 64)


def test_what_cannot_be_known_is_not_printed_as_a_number(sample: Path) -> None:
    said = shown(sample, 88)
    assert "Retries: none" not in said
    assert "Error rate: 0" not in said


@pytest.mark.parametrize("number", TABLE)
def test_every_message_begins_with_its_trouble_and_ends_with_its_source(sample: Path, number: int) -> None:
    project = read_project(sample, f"project-{number}", read_config(sample))
    message: Message = project_message(project, NOW)
    lines = plain_text(message.blocks).split("\n")
    assert message.summary == lines[0]
    assert lines[0].startswith(f"project-{number}: ")
    assert f".somas/projects/project-{number}, 2026-11-22 12:00 UTC." in lines[-1]
