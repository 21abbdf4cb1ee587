"""What happens in SOMAS is told in the channel: once, in the order in which it happened, over restarts too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bot.clock import ManualClock
from tests.transcript import Chat

NEWS = """
[notifications.log]
product = "somas"
channel = "C0DEV"
"""


@pytest.fixture
def log(root: Path) -> Path:
    return root / ".somas/projects/project-42/transitions.jsonl"


def write(log: Path, kind: str, number: int = 1, **more: object) -> None:
    at = ManualClock().now().isoformat().replace("+00:00", "Z")
    event = {"id": f"new-{number}", "timestamp": at, "project_id": "project-42", "event_type": kind, **more}
    with log.open("a") as file:
        file.write(json.dumps(event) + "\n")


async def test_the_four_events(tmp_path: Path, somas: str, log: Path) -> None:
    async with Chat(tmp_path, somas + NEWS) as chat:
        await chat.passes(seconds=6)
        write(log, "stage_completed", stage="verify")
        await chat.passes(seconds=5)
        await chat.sees("project-42: verify is completed", channel="dev")
        write(log, "error_recorded", 2, stage="integrate", error={"message": "conflict"})
        write(log, "stage_failed", 3, stage="integrate", error={"message": "<!channel> conflict"})
        await chat.passes(seconds=5)
        failed = await chat.sees("project-42: integrate failed: <!channel> conflict", channel="dev")
        assert "more event" not in failed.shown, "error_recorded is the same failure once more"
        write(
            log, "state_updated", 4, from_state={"status": "failed"}, to_state={"status": "waiting", "stage": "release"}
        )
        write(log, "state_updated", 5, from_state={"status": "waiting"}, to_state={"status": "completed"})
        await chat.passes(seconds=5)
        await chat.sees(
            "project-42: waits for a person at release", "project-42: the pipeline is completed", channel="dev"
        )


async def test_what_happened_while_the_bot_was_off_is_told_once(tmp_path: Path, somas: str, log: Path) -> None:
    async with Chat(tmp_path, somas + NEWS) as chat:
        await chat.passes(seconds=6)
        await chat.stop_bot()
        write(log, "stage_completed", stage="verify")
        log.rename(log.with_suffix(".jsonl.1"))
        write(log, "stage_completed", 2, stage="integrate")
        await chat.start_bot()
        await chat.passes(seconds=1)
        await chat.sees("project-42: verify is completed", "project-42: integrate is completed", channel="dev")
        await chat.stop_bot()
        await chat.start_bot()
        await chat.passes(seconds=11)


async def test_a_project_that_is_new(tmp_path: Path, somas: str, log: Path) -> None:
    async with Chat(tmp_path, somas + NEWS) as chat:
        await chat.passes(seconds=6)
        fresh = log.parent.parent / "project-4242/transitions.jsonl"
        fresh.parent.mkdir()
        write(fresh, "stage_completed", stage="intake")
        await chat.passes(seconds=5)
        await chat.sees("project-4242: intake is completed", channel="dev")


async def test_only_what_is_wanted(tmp_path: Path, somas: str, log: Path) -> None:
    async with Chat(tmp_path, somas + NEWS + 'events = ["pipeline_completed"]\n') as chat:
        await chat.passes(seconds=6)
        write(log, "stage_completed", stage="verify")
        write(log, "stage_completed", 2, stage="analyze")
        await chat.passes(seconds=5)
        await chat.sees("project-42: the pipeline is completed", channel="dev")
