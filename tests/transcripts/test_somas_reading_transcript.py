"""Everything that ``/somas`` reads, as people see it in Slack: on projects of every kind, and on the sample data."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
import time
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from bot.clock import ManualClock
from bot.demo.somas_projects import generate_many
from handlers.somas.scan import Scan
from tests.transcript import Chat, live, run_id

SAMPLE = Path(__file__).parents[3] / "shared" / "upstream" / "somas-sample"
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.fixture
def sample(tmp_path: Path) -> str:
    """The section of opsbot.toml for a copy of the data set."""
    if not SAMPLE.is_dir():
        message = f"the SOMAS sample data set is not there: {SAMPLE.name} is expected beside the project"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    shutil.copytree(SAMPLE, tmp_path / "sample")
    return f'[somas]\nroot = "{tmp_path}/sample"\n'


# Command, and what its answer has to say.
ON_THE_SAMPLE = (
    ("projects", "14 projects", "project-81: state.json is not valid JSON", "project-64 · Status completed"),
    ("projects --status failed --stage verify", "2 projects with the status failed at verify of 14"),
    ("stage 42", "project-42: failed at verify", "verify · Status failed"),
    ("stage 42 verify", "verify is failed", "Error: Coverage 71.4% is below the 80% gate", "Retries: 3 of 3"),
    ("stage 19 pulse", "verify is in progress and over its time", "runs for 30 h; timeout_hours is 12 h"),
    ("stage 88 implement", "Retries: 0 of 3 (uncertain: there is no log)"),
    ("log 42 --failures --limit 2", "the last 2 events that failed", "11-22 08:00 UTC, stage_failed at verify"),
    ("log 110 --stage verify --type agent_completed", "all 4 events of the type agent_completed at verify", "as pulse"),
    ("log 88", "project-88: the log is missing"),
    ("activity 3", "the last 3 events of 14 projects", "project-7: 11-22 11:30 UTC, project_initialized"),
    ("activity 2 57", "project-57: the last 2 events"),
    ("metrics", "14 projects: 3 critical, 3 warning", "28.26 % (13 of 46)", "uncertain: 1 (project-88)"),
    ("metrics 88", "0 (uncertain)", "unknown: there is no log", "retry_count in state.json only: no log"),
    ("metrics 81", "estimated, the first log entry"),
    ("metrics 70", "Human wait: exact, the update that set the status", "50 h"),
    ("stuck", "1 project stuck, 1 never started", "project-19", "30 h", "project-110 (2.5 h)"),
    ("recovery", "8 projects that cannot go on by themselves", "project-42", "3 of 3"),
    ("recovery 42", "chk-0c56037f at implement, so the next stage is verify", "retry 4", "upstream never changes"),
    ("recovery 81", "In the way: project-81: state.json is not valid JSON"),
    ("recovery 64", "project-64 is finished"),
    ("health", "14 projects, 2 with damaged files", "1, of which 0 cannot be rebuilt", "project-88: transitions.jsonl"),
    ("health 81", "state corrupt, rebuilt from the log", "The last 5 events", "1 open of 1"),
    ("gates", "Quality gates of 5 stages", "Code coverage > 80%"),
    ("gates 110", "validation_report.json: not produced", "is not JSON in spite of its name", "# Task: Validation"),
    ("config", "168 h", "absent from the file", "error_handling.circuit_breaker.failure_threshold"),
)  # fmt: skip

# What is found, and the button that is offered first.
DIAGNOSES = (
    (19, "project-19: stuck", "verify runs for 30 h; its timeout_hours is 12 h", "Unstick it"),
    (42, "project-42: quality gates", "verify failed, tried again 3 times: Coverage 71.4%", "Quality gates"),
    (57, "project-57: dead letters, agent", "8 RateLimitError, 4 APIConnectionError in the last 24 h", "Dead letters"),
    (81, "project-81: state corruption", "the log gives it back", "Repair the state"),
    (110, "project-110: stuck", "no stage has begun", "Preview a start"),
    (12, "project-12: nothing found", "no stage is over its time", ""),
)


@pytest.mark.sample
async def test_every_command_on_the_sample_data(tmp_path: Path, sample: str) -> None:
    before = {file: file.read_bytes() for file in (tmp_path / "sample").rglob("*") if file.is_file()}
    async with Chat(tmp_path, sample, clock=ManualClock(NOON)) as chat:
        for command, *facts in ON_THE_SAMPLE:
            await chat.types("carol", f"/somas {command}")
            await chat.sees(*facts)
    assert {file: file.read_bytes() for file in (tmp_path / "sample").rglob("*") if file.is_file()} == before


@pytest.mark.sample
async def test_each_diagnosis_offers_the_runbook_that_fits(tmp_path: Path, sample: str) -> None:
    async with Chat(tmp_path, sample, clock=ManualClock(NOON)) as chat:
        for number, headline, said, button in DIAGNOSES:
            await chat.types("alice", f"/somas diagnose {number}")
            found = await chat.sees(headline, said)
            assert (found.labels or [""])[0] == button
            assert len(found.labels) <= 3
            if number == 57:
                await chat.presses("alice", "Dead letters", found)
                card = await chat.sees("Dead letter queue growing: project-57")
                await chat.says("alice", "@opsbot cancel", thread=card)
                await chat.thread(card, until="Run cancelled by alice")


@pytest.mark.sample
async def test_hostile_texts_stay_texts_in_every_command(tmp_path: Path, sample: str) -> None:
    """Mentions, links, fences, markers and orders in project-96 and in an artifact do nothing, in any call."""
    artifacts = tmp_path / "sample" / ".somas" / "projects" / "project-96" / "artifacts"
    artifacts.mkdir(exist_ok=True)
    (artifacts / "test_results.json").write_text("```\n<!channel> @copilot somas-tester <https://x.example|here>\u202e")
    (artifacts / "validation_report.json").write_text('{"status": "<!here>", "x": "half \\ud83d ``` </details>"}')
    async with Chat(tmp_path, sample, clock=ManualClock(NOON)) as chat:
        for command in ("stage 96", "stage 96 plan", "log 96", "activity 5 96", "activity 20", "metrics 96"):
            await chat.types("carol", f"/somas {command}")
        for command in (
            "recovery 96",
            "health 96",
            "diagnose 96",
            "gates 96",
            "projects",
            "health",
            "log 96 --failures",
        ):
            await chat.types("carol", f"/somas {command}")
        await chat.sees("project-96: all ", "project_initialized", "<!channel>")
        await chat.sees("project-96: dead letters", "plan failed, but not at a gate")
        await chat.sees("plan has 4 gates", "is not JSON in spite of its name", "@copilot somas-tester")
        await chat.rests()
        assert len(chat.read()) >= 13
        assert live([arguments for _, arguments in chat.slack.calls]) == set()
        for shown in [message.shown for message in chat.slack.space.all_messages()]:
            assert not any(unseen in shown for unseen in "\u202e\u202c\u200b\x1b")


async def test_a_stuck_stage_without_github_is_read_by_the_bot_and_its_runs_are_looked_for_by_people(
    tmp_path: Path, somas: str
) -> None:
    async with Chat(tmp_path, somas) as chat:
        await chat.types("alice", "/runs start stuck-stage project-19")
        card = await chat.sees("Pipeline stuck at a stage: project-19")
        await chat.sees("✓ Step 2", "in the log of project-19", "stage_started at verify", thread=card)
        await chat.sees("Step 3", "GitHub is not configured: look yourself whether a workflow run", thread=card)
        await chat.presses("alice", "Done", card)
        await chat.shows(card, "Step 8 of 8: running")
        await chat.says("alice", "@opsbot cancel", thread=card)
        await chat.thread(card, until="Run cancelled")


async def test_the_log_of_a_project_is_read_step_by_step(tmp_path: Path, somas: str) -> None:
    async with Chat(tmp_path, somas) as chat:
        await chat.types("carol", "/runs start monitor-log project-42")
        card = await chat.sees("Read the transition log of a project: project-42")
        await chat.sees("✓ Step 2", "The last 20 events in the log of project-42.", thread=card)
        await chat.sees("✓ Step 3", "events at verify in the log of project-42.", thread=card)
        await chat.sees("✓ Step 4", "The last 4 events that failed in the log", "stage_failed at verify", thread=card)
        await chat.sees("Step 5", "error_rate.percent", thread=card)
        await chat.types("alice", f"/runs cancel {run_id(card)}")
        await chat.rests()
        chat.read()
        chat.read(thread=card)


async def test_what_cannot_be_answered_says_what_can_be_asked(tmp_path: Path, somas: str) -> None:
    async with Chat(tmp_path, somas) as chat:
        for command, *told in (
            ("projects --status faild", "No project has the status 'faild'", "/somas projects --status failed"),
            ("log 42 --type stage_faild", "There is no type of event 'stage_faild'", "--type stage_failed"),
            ("log 42 --limit 500", "--limit takes 1 to 50"),
            ("activity 0", "takes 1 to 50"),
            ("stage 42 validation", "is called verify"),
            ("stage 4", "There is no project"),
            ("diagnose ../../etc", "cannot be a project"),
        ):
            await chat.types("alice", f"/somas {command}")
            await chat.is_told("alice", *told)


async def test_a_log_of_any_length_is_answered_from_its_end_and_counted(
    tmp_path: Path, root: Path, somas: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above the size to which a file is read whole: the log is never kept in memory, and every number is exact."""
    monkeypatch.setattr("handlers.somas.state.LARGEST_FILE", 60_000)
    monkeypatch.setattr("handlers.somas.scan_files.CHUNK", 10_000)
    monkeypatch.setattr("handlers.somas.state.read_bytes.__defaults__", (60_000,))
    log = root / ".somas" / "projects" / "project-12" / "transitions.jsonl"
    with log.open("a") as file:
        for number in range(1500):
            file.write('{"timestamp": "2026-11-22T09:00:00Z", "event_type": "stage_started", "stage": "plan"}\n')
            kind = "stage_failed" if number % 3 else "stage_completed"
            file.write(f'{{"timestamp": "2026-11-22T09:30:00Z", "event_type": "{kind}", "stage": "plan"}}\n')
    async with Chat(tmp_path, somas) as chat:
        await chat.types("carol", "/somas log 12 --limit 2 --failures")
        await chat.sees("project-12: the last 2 events that failed")
        await chat.types("carol", "/somas metrics 12")
        await chat.sees("Stage retries: exact, repeated starts in transitions.jsonl", "1000 of 1502")
        await chat.types("carol", "/somas status")
        await chat.sees("project-12: plan tried again 1000 times")


async def test_a_scan_that_takes_long_shows_how_far_it_is_and_becomes_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow disk: nothing for a second, then a count that goes up in one message; the answer takes its place."""
    generate_many(tmp_path / "many", 300, ManualClock().now())
    monkeypatch.setattr("handlers.somas.scan.PROGRESS_EVERY", 0.0)
    slow = {"project-100": threading.Event(), "project-200": threading.Event()}
    read = Scan._project

    def slowly(scan: Scan, folder: int, name: str, *rest: object) -> None:
        done = len(scan._known) + 1
        if (gate := slow.get(f"project-{done}")) is not None:
            gate.wait(20)
        read(scan, folder, name, *rest)  # type: ignore[arg-type]  # handed on as it came

    monkeypatch.setattr(Scan, "_project", slowly)
    async with Chat(tmp_path, f'[somas]\nroot = "{tmp_path}/many"\n') as chat:
        await chat.types("carol", "/somas projects")
        message = await chat.sees("Reading: 64 of 300 (21 %)")
        slow["project-100"].set()
        await chat.shows(message, "Reading: 192 of 300 (64 %)")
        slow["project-200"].set()
        await chat.shows(message, "300 projects", "and 275 more")
        assert len(chat.channel()) == 1
        await chat.types("carol", "/somas projects")
        await chat.sees("300 projects")
        assert len(chat.channel()) == 2


async def test_nobody_waits_for_a_scan_of_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three thousand projects for the first time: the loop goes on answering all the while, it only takes turns."""
    generate_many(tmp_path / "many", 3000, ManualClock().now())
    scans: list[tuple[float, float]] = []
    read = Scan.all

    def timed(scan: Scan, *rest: object) -> object:
        began = time.perf_counter()
        found = read(scan, *rest)  # type: ignore[arg-type]  # handed on as it came
        scans.append((began, time.perf_counter()))
        return found

    monkeypatch.setattr(Scan, "all", timed)
    beats: list[float] = []

    async def beat() -> None:
        while True:
            beats.append(time.perf_counter())
            await asyncio.sleep(0.001)

    async with Chat(tmp_path, f'[somas]\nroot = "{tmp_path}/many"\n') as chat:
        beating = asyncio.create_task(beat())
        await chat.types("carol", "/somas status")
        await chat.sees("of 3000 projects failed")
        beating.cancel()
    ((began, ended),) = scans
    during = [at for at in beats if began <= at <= ended]
    assert len(during) >= 10  # on the loop there would be none
    assert max(after - before for before, after in pairwise([began, *during, ended])) < 0.5
