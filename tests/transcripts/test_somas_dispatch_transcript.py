"""``/somas restart`` with GitHub: the dispatch, the run that is followed to its end, and what GitHub can refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bot.demo.github import Job
from bot.demo.github.state import WorkflowRun
from bot.demo.somas_projects import ProjectWriter
from tests.somas.local_repository import ALWAYS_RED, add_workflows, give_rights
from tests.surfaces.github_openapi import complaints
from tests.transcript import NOT_MIRRORED, Chat, run_id

PIPELINE = "somas-pipeline.yml"


def chat_on_github(tmp_path: Path, somas: str, **rights: str) -> Chat:
    chat = Chat(tmp_path, somas, settings=NOT_MIRRORED)
    give_rights(chat.github, **rights)
    return chat


def pipeline_starts(chat: Chat, root: Path, project: int, stage: str) -> None:
    with ProjectWriter.held(root, f"project-{project}", chat.clock.now()) as writer:
        writer.start_stage(stage, "tester")


def judged(chat: Chat) -> list[str]:
    return [problem for exchange in chat.github.exchanges for problem in complaints(exchange)]


def dispatched(chat: Chat) -> list[WorkflowRun]:
    """What was started by hand; SOMAS's workflows also start on the label of a page."""
    return [run for run in chat.github.runs(PIPELINE) if run.event == "workflow_dispatch"]


async def test_a_restart_is_dispatched_followed_and_verified(tmp_path: Path, root: Path, somas: str) -> None:
    async with chat_on_github(tmp_path, somas) as chat:
        add_workflows(chat.github)
        await chat.types("alice", "/somas restart project-42 --reason 'flaky gate fixed'")
        card = await chat.sees("Restart a project at a stage: project-42")
        await chat.sees(
            "Will do: Start somas-pipeline.yml of acme/somas on main; its file takes these inputs",
            '"project_id": "project-42"',
            '"stage": "verify"',
            thread=card,
        )
        await chat.sees("✓ Step 3", "GitHub took the dispatch of somas-pipeline.yml: run", thread=card)
        (run,) = dispatched(chat)
        assert run.inputs == {"project_id": "project-42", "stage": "verify"}
        await chat.shows(card, "Step 4 of 6: running", 'workflow_run.status == "completed"')
        pipeline_starts(chat, root, 42, "verify")
        await chat.sees(
            "✓ Step 5", "only stage-5-implement-complete failed, which always does", "Outcome: met", thread=card
        )
        await chat.thread(card, until="Run done")
        await chat.shows(card, "Done after")
        assert judged(chat) == []


async def test_a_red_run_names_the_job_and_the_step_and_pages(tmp_path: Path, root: Path, somas: str) -> None:
    async with chat_on_github(tmp_path, somas) as chat:
        add_workflows(chat.github, jobs=(Job("stage-6-verify", ("Set up job", "Run tests"), "Run tests"), ALWAYS_RED))
        await chat.types("alice", "/somas restart 42")
        card = await chat.sees("Restart a project at a stage: project-42")
        await chat.sees("✓ Step 4", 'workflow_run.status = "completed"', thread=card)
        await chat.sees(
            "Step 5 needs a decision", 'job stage-6-verify failed at step "Run tests"', "Outcome: not met", thread=card
        )
        page = await chat.sees("needs you.", 'workflow_run.outcome = "failed"')
        await chat.presses("scotlaclair", "Acknowledge", page)
        await chat.sees("acknowledged the page", thread=card)
        await chat.says("alice", "@opsbot fail", thread=card)
        await chat.thread(card, until="Run ended as failed")
        await chat.sees_comment("Acknowledged by")  # the page stood on the project's issue, too


async def test_a_run_that_never_ends_pages_when_its_time_is_over(tmp_path: Path, root: Path, somas: str) -> None:
    async with chat_on_github(tmp_path, somas + 'follow_budget = "PT3M"\n') as chat:
        add_workflows(chat.github, run_seconds=1e6)
        await chat.types("alice", "/somas restart 42")
        card = await chat.sees("Restart a project at a stage: project-42")
        await chat.shows(card, "Step 4 of 6: running", "within 3min")
        await chat.passes(minutes=3)
        await chat.sees("needs you.", "follow the workflow run to its end")
        await chat.shows(card, "Paged scotlaclair 1 time")
        (run,) = dispatched(chat)
        await chat.types("alice", f"/runs ack {run_id(card)}")
        await chat.types("alice", f"/somas actions cancel {run.id} --reason 'it hangs'")
        other = await chat.sees("Cancel a workflow run")
        await chat.thread(other, until="Run done")
        assert run.at(chat.clock.now())[0] == "completed"
        await chat.says("alice", "@opsbot cancel", thread=card)
        await chat.thread(card, until="Run cancelled")
        chat.read()
        await chat.sees_comment("Acknowledged by")  # the page stood on the project's issue, too


async def test_what_github_refuses_is_told_in_its_own_words(tmp_path: Path, root: Path, somas: str) -> None:
    """The file was changed between our look and the dispatch, so only GitHub itself can say no."""
    async with chat_on_github(tmp_path, somas) as chat:
        add_workflows(chat.github)
        said = "Required input 'ticket' not provided"
        chat.github.fail(422, method="POST", path="/dispatches$", message=said)
        await chat.types("alice", "/somas restart 42")
        card = await chat.sees("Restart a project at a stage: project-42")
        await chat.sees(
            "Step 3 needs a decision",
            f"GitHub answered 422 to the dispatch of {PIPELINE} on main: {said}.",
            thread=card,
        )
        await chat.sees("needs you.", "422")
        assert dispatched(chat) == []
        await chat.types("alice", f"/runs ack {run_id(card)}")
        await chat.presses("alice", "Retry", card)  # nothing was started, so it may be sent again
        await chat.sees("✓ Step 3", thread=card)
        assert len(dispatched(chat)) == 1
        await chat.says("alice", "@opsbot cancel", thread=card)
        await chat.thread(card, until="Run cancelled")
        chat.read()
        await chat.sees_comment("Acknowledged by")  # the page stood on the project's issue, too


async def test_wrong_inputs_are_found_before_anything_is_sent(tmp_path: Path, root: Path, somas: str) -> None:
    inputs = 'dispatch.inputs = {project_id = "{project}", start_stage = "{stage}"}\n'
    async with chat_on_github(tmp_path, somas + inputs) as chat:
        add_workflows(chat.github)
        await chat.types("alice", "/somas restart 42 --dry-run")
        await chat.is_told(
            "alice",
            f"GitHub would refuse the dispatch on main (422): {PIPELINE} has no input start_stage",
            "project_id, stage",
        )
        sent = [exchange for exchange in chat.github.exchanges if exchange.method == "POST"]
        assert sent == []


async def test_a_workflow_that_is_not_there_and_one_that_is_disabled(tmp_path: Path, root: Path, somas: str) -> None:
    async with chat_on_github(tmp_path, somas + 'dispatch.workflow = "somas-resume.yml"\n') as chat:
        add_workflows(chat.github)
        await chat.types("alice", "/somas restart 42 --dry-run")
        await chat.is_told("alice", "acme/somas has no workflow somas-resume.yml on main. It has", PIPELINE)
    async with chat_on_github(tmp_path, somas) as chat:
        add_workflows(chat.github)
        chat.github.disable(PIPELINE)
        await chat.types("alice", "/somas restart 42")
        card = await chat.sees("Restart a project at a stage: project-42")
        await chat.sees("Cannot trigger a 'workflow_dispatch' on a disabled workflow", thread=card)
        await chat.sees("needs you.", "disabled workflow")
        await chat.types("alice", f"/runs ack {run_id(card)}")
        await chat.says("alice", "@opsbot cancel", thread=card)
        await chat.thread(card, until="Run cancelled")
        chat.read()
        await chat.sees_comment("Acknowledged by")  # the page stood on the project's issue, too


async def test_a_missing_permission_is_named(tmp_path: Path, root: Path, somas: str) -> None:
    async with chat_on_github(tmp_path, somas, actions="read") as chat:
        add_workflows(chat.github)
        await chat.types("alice", "/somas restart 42")
        card = await chat.sees("Restart a project at a stage: project-42")
        await chat.sees(
            "Step 3 needs a decision",
            "Resource not accessible by personal access token",
            "lacks the permission actions=write",
            thread=card,
        )
        await chat.sees("needs you.", "actions=write")
        await chat.types("alice", f"/runs ack {run_id(card)}")
        await chat.says("alice", "@opsbot cancel", thread=card)
        await chat.thread(card, until="Run cancelled")
        chat.read()
        await chat.sees_comment("Acknowledged by")  # the page stood on the project's issue, too


async def test_a_rate_limit_is_waited_out_and_shown(tmp_path: Path, root: Path, somas: str) -> None:
    async with chat_on_github(tmp_path, somas) as chat:
        add_workflows(chat.github)
        chat.github.fail(403, method="POST", path="/dispatches$", headers={"Retry-After": "3"})
        await chat.types("alice", "/somas restart 42")
        card = await chat.sees("Restart a project at a stage: project-42")
        await chat.shows(card, "GitHub: its rate limit is used up; it may be asked again in 3 s")
        await chat.sees("✓ Step 3", "GitHub took the dispatch", thread=card)
        assert len(dispatched(chat)) == 1
        pipeline_starts(chat, root, 42, "verify")
        await chat.thread(card, until="Run done")


async def test_an_answer_that_was_lost_starts_no_second_run(tmp_path: Path, root: Path, somas: str) -> None:
    async with chat_on_github(tmp_path, somas) as chat:
        add_workflows(chat.github)
        chat.github.fail(502, method="POST", path="/dispatches$", after_storing=True)
        await chat.types("alice", "/somas restart 42")
        card = await chat.sees("Restart a project at a stage: project-42")
        await chat.sees("✓ Step 3", "GitHub took the dispatch", thread=card)
        assert len(dispatched(chat)) == 1
        pipeline_starts(chat, root, 42, "verify")
        await chat.thread(card, until="Run done")


async def test_runs_start_knows_the_stage_and_the_dead_letters(tmp_path: Path, root: Path, somas: str) -> None:
    async with Chat(tmp_path, somas) as chat:
        await chat.types("alice", "/runs start restart project-42")
        card = await chat.sees("Restart a project at a stage: project-42")
        await chat.sees("Nothing was dispatched", thread=card)
        inputs = (await chat.state(card)).plan.inputs
        assert (inputs["stage"], inputs["dead_letters_before"]) == ("verify", "4")
        pipeline_starts(chat, root, 42, "verify")
        await chat.sees("✓ Step 6", "dead_letters.new = 0", "Outcome: met", thread=card)
        await chat.thread(card, until="Run done")


async def test_an_archive_can_be_made_twice_on_one_day(tmp_path: Path, root: Path, somas: str) -> None:
    archive = root / ".somas" / "projects" / ".archive"
    async with Chat(tmp_path, somas) as chat:
        for number in (1, 2):
            await chat.types("alice", "/somas restart project-42 --full")
            card = await chat.sees("Start a project over: project-42")
            asked = await chat.sees("Step 2 needs approval", thread=card)
            form = await chat.opens("bob", "Approve…", asked)
            await chat.sends("bob", form, {"Type project-42 to approve": "project-42"})
            await chat.sees("Nothing was dispatched", thread=card)
            names = sorted(path.name for path in archive.iterdir())
            assert len(names) == number
            assert all(name.startswith("project-42.backup.20261122") for name in names)
            states: list[dict[str, Any]] = [json.loads((archive / name / "state.json").read_text()) for name in names]
            # Two of one second are told apart by the end of their names, which says nothing about their order.
            assert sorted(state["status"] for state in states) == ["failed", "initializing"][:number]
            await chat.says("alice", "@opsbot cancel", thread=card)
            await chat.thread(card, until="Run cancelled")
