"""``/somas status`` in Slack on the sample data set: what its README says that an operator must be told."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.clock import ManualClock
from tests.transcript import Chat, live

pytestmark = pytest.mark.sample

SAMPLE = Path(__file__).parents[3] / "shared" / "upstream" / "somas-sample"


@pytest.fixture
def sample(tmp_path: Path) -> str:
    """The section of opsbot.toml for a copy of the data set."""
    if not SAMPLE.is_dir():
        message = f"the SOMAS sample data set is not there: {SAMPLE.name} is expected beside the project"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    shutil.copytree(SAMPLE, tmp_path / "somas")
    return f'[somas]\nroot = "{tmp_path}/somas"\n'


def noon() -> ManualClock:
    return ManualClock(datetime(2026, 11, 22, 12, 0, tzinfo=UTC))


async def test_status_of_all_projects(tmp_path: Path, sample: str) -> None:
    async with Chat(tmp_path, sample, clock=noon()) as chat:
        await chat.types("carol", "/somas status")
        said = (await chat.sees("SOMAS: 3 critical, 3 warning, 8 ok")).shown
        for fact in (
            "5 of 14 projects failed, 1 stuck, 31 open dead letters.",
            "Status: 5 failed, 5 in progress, 1 waiting, 2 initializing, 1 completed",
            "Failed: project-23, project-31, project-42, project-96, project-103",
            "Stuck: project-19",
            "Error rate, 24 h: 28.26 % (13 of 46), above 20 %",
            "Error rate, all time: 17.33 % (13 of 75)",
            "project-19: stuck: verify is 18 h over its 12 h",
            "project-81: state corrupt, rebuilt from the log",
            "project-88: log missing",
            "project-110: never started; state never advanced",
            "14 projects in ",
        ):
            assert fact in said
        assert "project-somas" not in said and "backup.20261115" not in said


async def test_failed_projects(tmp_path: Path, sample: str) -> None:
    async with Chat(tmp_path, sample, clock=noon()) as chat:
        await chat.types("carol", "/somas failed")
        said = (await chat.sees("5 of 14 projects failed, 1 cannot be read")).shown
        order = [said.index(f"project-{number} ") for number in (42, 96, 23, 31, 103)]
        assert order == sorted(order)  # the latest first
        assert "project-42, restart at verify: Coverage 71.4% is below the 80% gate (4 dead letters)" in said
        assert "project-81: state.json is not valid JSON" in said and "The log gives: in progress at decompose." in said
        assert "backup.20261115" not in said


TOLD = {
    7: ("initialized 0.5 h ago, not started yet", "Checkpoint: none"),
    12: ("plan, running 1 h of 2 h", "Checkpoint: chk-14aa4e71 at specify, resumes at plan"),
    19: ("stuck: verify is 18 h over its 12 h", "Status: in progress"),
    42: ("failed at verify", "Retries: 3 of verify, warning; counted from repeated starts", "44.44 % (4 of 9)"),
    57: ("12 open of 12, critical; 8 RateLimitError, 4 APIConnectionError; all in implement by coder",),
    64: ("project-64: completed", "A restart begins at: nothing: finished"),
    70: ("waits for a person for 50 h", "needs-human-review", "gate=production_deployment"),
    81: ("state corrupt, rebuilt from the log", "decompose, running 3 h of 4 h"),
    88: ("log missing", "Retries: uncertain: there is no log", "Error rate: unknown: there is no log", "GitError"),
    103: ("restoring it loses verify; verify would be 15 h old, over its 12 h, so stuck at once",
          "restoring it loses plan, decompose, implement, verify"),
    110: ("never started", "13 agents finished according to the log, but state.json never advanced"),
}  # fmt: skip


async def test_status_of_one_project_after_the_other(tmp_path: Path, sample: str) -> None:
    async with Chat(tmp_path, sample, clock=noon()) as chat:
        for number, facts in TOLD.items():
            await chat.types("carol", f"/somas status project-{number}")
            await chat.sees(f"project-{number}: ", *facts)


async def test_hostile_texts_of_the_files_stay_texts(tmp_path: Path, sample: str) -> None:
    """Mentions, links, fences, markers and orders in project-96 are shown as they are and do nothing, in any call."""
    async with Chat(tmp_path, sample, clock=noon()) as chat:
        await chat.types("alice", "/somas status project-96")
        said = await chat.sees("project-96: failed at plan", "<!channel>", "@copilot somas-implementer")
        await chat.types("alice", "/somas failed")
        await chat.sees("project-96, restart at plan")
        await chat.types("alice", "/somas restart project-96 --dry-run")
        await chat.is_told("alice", "Set project-96 to retry plan")
        await chat.types("alice", "/somas restart project-96")
        card = await chat.sees("Restart a project at a stage: project-96")
        await chat.sees("Nothing was dispatched", thread=card)
        await chat.says("alice", "@opsbot cancel", thread=card)
        await chat.thread(card, until="Run cancelled by alice")
        assert live([arguments for _, arguments in chat.slack.calls]) == set()
        assert live([said.text, said.blocks, said.attachments]) == set()
        for shown in [message.shown for message in chat.slack.space.all_messages()]:
            assert not any(unseen in shown for unseen in "\u202e\u202c\u200b\x1b")
