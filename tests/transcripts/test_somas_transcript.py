"""What people see of ``/somas`` in Slack, and what is in the files afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bot.demo.slack import LocalMessage
from bot.demo.somas_projects import ProjectWriter
from tests.transcript import PEOPLE, Chat, notifies, run_id


def folder(root: Path, project: int) -> Path:
    return root / ".somas" / "projects" / f"project-{project}"


def state_of(root: Path, project: int) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((folder(root, project) / "state.json").read_text())
    return state


def files_of(root: Path, project: int) -> dict[str, bytes]:
    """Everything of the project but the empty lock files that SOMAS leaves behind."""
    files = sorted(folder(root, project).rglob("*"))
    return {str(file): file.read_bytes() for file in files if file.is_file() and file.suffix != ".lock"}


def events_of(root: Path, project: int) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder(root, project) / "transitions.jsonl").read_text().splitlines()]


def pipeline_starts(chat: Chat, root: Path, project: int, stage: str) -> None:
    """What the bot cannot do: SOMAS itself begins with the stage."""
    with ProjectWriter.held(root, f"project-{project}", chat.clock.now()) as writer:
        writer.start_stage(stage, "tester")


async def restarts(chat: Chat, command: str) -> LocalMessage:
    """Alice restarts; the card, when the run waits for the pipeline."""
    await chat.types("alice", command)
    card = await chat.sees("Restart a project at a stage")
    await chat.sees("Nothing was dispatched", thread=card)
    return card


# -- reading


async def test_status_and_failed(tmp_path: Path, root: Path, somas: str) -> None:
    async with Chat(tmp_path, somas) as chat:
        await chat.types("carol", "/somas status")
        fleet = await chat.sees("SOMAS: 3 critical, 3 warning, 10 ok", "5 of 16 projects failed, 1 stuck")
        assert "project-42: verify tried again 3 times; runs for 30 h" in fleet.shown
        await chat.presses("carol", "Failed projects", fleet)
        await chat.sees(
            "5 of 16 projects failed, 1 cannot be read", "project-42, restart at verify: Coverage is 71.4 %"
        )
        await chat.types("carol", "/somas status 42")
        one = await chat.sees("project-42: failed at verify", "Last error, 1 h ago: ", "A restart begins at: verify")
        assert one.labels == ["Restart at verify", "Preview"]


async def test_an_unknown_project_and_the_button_with_the_right_one(tmp_path: Path, root: Path, somas: str) -> None:
    async with Chat(tmp_path, somas) as chat:
        await chat.types("alice", "/somas status project-4")
        told = await chat.is_told("alice", 'There is no project "project-4". Did you mean project-42')
        await chat.presses("alice", "/somas status project-42", told)
        await chat.sees("project-42: failed at verify")


# -- restart


async def test_restart_until_the_pipeline_answers(tmp_path: Path, root: Path, somas: str) -> None:
    """Files changed, nothing dispatched and said so, the pipeline starts by itself, the run ends met."""
    before = state_of(root, 42)
    async with Chat(tmp_path, somas) as chat:
        await chat.types("alice", "/somas restart project-42 --reason 'flaky gate fixed'")
        card = await chat.sees("Restart a project at a stage: project-42", "Reason: flaky gate fixed")
        await chat.sees("✓ Step 1", "project-42 is failed", "retry 4, over the limit of 3", thread=card)
        await chat.sees("Step 2", "Will do: Set project-42 to retry verify", '+  "status": "retrying"', thread=card)
        await chat.sees("✓ Step 2", 'stage.status = "retrying"', "Outcome: met", thread=card)
        await chat.sees("Step 3", "Will do: Nothing will be dispatched: GitHub is not configured", thread=card)
        await chat.sees("✓ Step 3", "Nothing was dispatched: GitHub is not configured", thread=card)
        await chat.shows(card, "Step 6 of 6: running", "10 min")
        assert card.labels == ["Cancel run"]

        state, events = state_of(root, 42), events_of(root, 42)
        assert (state["status"], state["current_stage"]) == ("retrying", "verify")
        assert state["stages"]["verify"]["status"] == "retrying"
        assert state["stages"]["implement"] == before["stages"]["implement"]
        assert state["metrics"]["retry_count"] == before["metrics"]["retry_count"] + 1
        assert [event["event_type"] for event in events[-2:]] == ["state_updated", "stage_retrying"]
        assert events[-1]["metadata"]["reason"] == "flaky gate fixed"
        assert events[-1]["actor"]["name"] == "slack:U0ALICE"
        backup = json.loads((folder(root, 42) / "state.json.backup").read_text())
        assert backup == before

        await chat.passes(minutes=4)
        pipeline_starts(chat, root, 42, "verify")
        assert [line.split(" after ")[0] for line in await chat.thread(card, until="Run done")] == [
            "✓ Step 1: Look at the state, the retries and the last checkpoint",
            "Step 2: Back up state.json and set the stage to retry, under SOMAS's own locks",
            "✓ Step 2: Back up state.json and set the stage to retry, under SOMAS's own locks",
            "Step 3: Start the pipeline again",
            "✓ Step 3: Start the pipeline again",
            "– Step 4 was not needed",
            "– Step 5 was not needed",
            "✓ Step 6: Watch until the stage runs",
            "Run done",
        ]
        await chat.shows(card, "Done after 4 min", "✓  6. Watch until the stage runs — met")
        assert card.labels == []


async def test_restart_from_a_stage_sets_the_later_ones_back(tmp_path: Path, root: Path, somas: str) -> None:
    async with Chat(tmp_path, somas) as chat:
        card = await restarts(chat, "/somas restart 42 --from plan")
        state = state_of(root, 42)
        assert (state["current_stage"], state["stages"]["plan"]["status"]) == ("plan", "retrying")
        assert {state["stages"][stage]["status"] for stage in ("decompose", "implement", "verify")} == {"pending"}
        assert state["stages"]["specify"]["status"] == "completed"
        pipeline_starts(chat, root, 42, "plan")
        await chat.thread(card, until="Run done")


async def test_restart_after_the_last_checkpoint_and_after_a_named_one(tmp_path: Path, root: Path, somas: str) -> None:
    named = state_of(root, 19)["checkpoints"][1]
    assert named["stage"] == "specify"
    async with Chat(tmp_path, somas) as chat:
        last = await restarts(chat, "/somas restart project-42 --checkpoint")
        assert state_of(root, 42)["current_stage"] == "verify"  # the checkpoint was taken at implement
        other = await restarts(chat, f"/somas restart project-19 --checkpoint {named['id']}")
        assert state_of(root, 19)["current_stage"] == "plan"
        pipeline_starts(chat, root, 42, "verify")
        pipeline_starts(chat, root, 19, "plan")
        await chat.thread(last, until="Run done")
        await chat.thread(other, until="Run done")
        await chat.types("alice", "/somas restart project-42 --checkpoint chk-00000000")
        await chat.is_told("alice", "chk-00000000 is not a checkpoint of this project")


async def test_a_full_restart_needs_a_second_person(tmp_path: Path, root: Path, somas: str) -> None:
    before = files_of(root, 42)
    async with Chat(tmp_path, somas) as chat:
        await chat.types("alice", "/somas restart project-42 --full --reason 'state is corrupt'")
        card = await chat.sees("Start a project over: project-42")
        asked = await chat.sees("Step 2 needs approval", "the whole folder is copied", "more lines", thread=card)
        assert files_of(root, 42) == before
        form = await chat.opens("bob", "Approve…", asked)
        await chat.sends("bob", form, {"Type project-42 to approve": "project-42"})
        await chat.sees("Nothing was dispatched", thread=card)
        state = state_of(root, 42)
        assert (state["status"], state["current_stage"]) == ("initializing", "intake")
        archives = list((root / ".somas" / "projects" / ".archive").iterdir())
        assert len(archives) == 1 and (archives[0] / "state.json").read_bytes() in before.values()
        pipeline_starts(chat, root, 42, "intake")
        await chat.sees("Run done", thread=card)
        await chat.thread(card, until="bob approved step 2.")


async def test_a_plan_that_changed_after_it_was_approved_is_not_executed(
    tmp_path: Path, root: Path, somas: str
) -> None:
    """The pipeline writes between the preview and the approval: the approval is void, a new one is asked for."""
    async with Chat(tmp_path, somas) as chat:
        await chat.types("alice", "/somas restart project-42 --full")
        card = await chat.sees("Start a project over: project-42")
        first = await chat.sees("Step 2 needs approval", thread=card)
        old_form = await chat.opens("scotlaclair", "Approve…", first)
        pipeline_starts(chat, root, 42, "harden")
        before = files_of(root, 42)
        form = await chat.opens("bob", "Approve…", first)
        await chat.sends("bob", form, {"Type project-42 to approve": "project-42"})
        second = await chat.sees("Step 2 needs approval", "harden", thread=card)
        answer = {"Type project-42 to approve": "project-42"}
        await chat.is_refused("scotlaclair", old_form, answer, "The plan has changed since you looked at it. Read the")
        await chat.slack.close_view(PEOPLE["scotlaclair"], old_form.id)
        assert files_of(root, 42) == before
        form = await chat.opens("scotlaclair", "Approve…", second)
        await chat.sends("scotlaclair", form, {"Type project-42 to approve": "project-42"})
        await chat.sees("Nothing was dispatched", thread=card)
        assert state_of(root, 42)["status"] == "initializing"
        await chat.presses("alice", "Cancel run", card)
        await chat.thread(card, until="Run cancelled by alice")


async def test_a_dry_run_leaves_every_file_as_it_is(tmp_path: Path, root: Path, somas: str) -> None:
    before = files_of(root, 42)
    async with Chat(tmp_path, somas) as chat:
        await chat.types("alice", "/somas restart project-42 --dry-run")
        await chat.is_told("alice", "Nothing was done", "Set project-42 to retry verify", "gh workflow run")
        await chat.types("alice", "/somas restart project-42 --full --dry-run")
        await chat.is_told("alice", "Nothing was done", "the whole folder is copied", "4 dead letters are emptied")
        assert files_of(root, 42) == before
        assert chat.channel() == []


async def test_what_cannot_be_restarted_says_what_to_do(tmp_path: Path, root: Path, somas: str) -> None:
    async with Chat(tmp_path, somas) as chat:
        await chat.types("alice", "/somas restart project-64")
        await chat.is_told("alice", "project-64 is finished", "--full")
        await chat.types("alice", "/somas restart project-81")
        await chat.is_told("alice", "state.json is not valid JSON", "the state can be rebuilt", "--full")
        await chat.types("alice", "/somas restart project-42 --from verify --full")
        await chat.is_told("alice", "Use either --from or --full, not both")
        await chat.types("alice", "/somas restart project-42 --from verfy")
        told = await chat.is_told("alice", "There is no stage 'verfy'. Did you mean verify?")
        assert told.labels == ["/somas restart project-42 --from verify"]


# -- when nobody answers


async def test_time_runs_out_and_scot_is_paged_until_he_acknowledges(tmp_path: Path, root: Path, somas: str) -> None:
    async with Chat(tmp_path, somas) as chat:
        card = await restarts(chat, "/somas restart project-42")
        await chat.shows(card, "Step 6 of 6: running")
        await chat.passes(minutes=8)
        await chat.sees("Step 6 has used 80 % of its 10 min", thread=card)
        await chat.passes(minutes=2)
        in_thread = await chat.sees("needs you.", "Step: 6 of 6: Watch until the stage runs", thread=card)
        page = await chat.sees("needs you.", "Repeats at 12:30 until somebody acknowledges")
        assert notifies(in_thread) == notifies(page) == {"@U0SCOT"}
        await chat.shows(card, "Paged scotlaclair 1 time, not acknowledged yet. Again at 12:30.")

        await chat.passes(minutes=20)
        in_thread_again = await chat.sees("needs you (2nd page).", thread=card)
        again = await chat.sees("needs you (2nd page).")
        assert notifies(in_thread_again) == notifies(again) == {"@U0SCOT"}
        await chat.presses("scotlaclair", "Acknowledge", again)
        for each in (in_thread, page, in_thread_again, again):
            await chat.shows(each, "Acknowledged by scotlaclair at 12:30")
            assert each.labels == []
        await chat.sees("scotlaclair acknowledged the page", thread=card)
        await chat.passes(hours=3)
        await chat.rests()
        assert len([one for one in chat.channel() if "needs you" in one.fallback]) == 0  # nobody is paged again

        pipeline_starts(chat, root, 42, "verify")
        await chat.presses("scotlaclair", "Retry", card)
        await chat.sees("scotlaclair retries step 6", thread=card)
        await chat.thread(card, until="Run done")
        await chat.shows(card, "page acknowledged by scotlaclair")


async def test_scot_acknowledges_in_the_thread(tmp_path: Path, root: Path, somas: str) -> None:
    async with Chat(tmp_path, somas) as chat:
        card = await restarts(chat, "/somas restart project-42")
        await chat.passes(minutes=10)
        in_thread = await chat.sees("needs you.", thread=card)
        page = await chat.sees("needs you.", "Open the run")
        await chat.says("scotlaclair", "@opsbot ack", thread=card)
        for each in (in_thread, page):
            await chat.shows(each, "Acknowledged by scotlaclair")
            assert each.labels == []
        await chat.says("scotlaclair", "@opsbot fail --reason 'the runner is down'", thread=card)
        await chat.sees("Run ended as failed by scotlaclair", "the runner is down", thread=card)
        await chat.thread(card, until="Run ended as failed by scotlaclair")
        await chat.shows(card, "Failed at step 6 of 6", "ended by scotlaclair")
        assert card.labels == ["Draft the post-incident issue"]


async def test_scot_acknowledges_under_the_page_itself(tmp_path: Path, root: Path, somas: str) -> None:
    """He answers where the notification led him: in the thread of the page in the escalation channel."""
    async with Chat(tmp_path, somas) as chat:
        await chat.types("alice", "/somas restart project-42", channel="dev")
        card = await chat.sees("Restart a project at a stage", channel="dev")
        await chat.sees("Nothing was dispatched", thread=card)
        await chat.passes(minutes=10)
        in_thread = await chat.sees("needs you.", thread=card)
        page = await chat.sees("needs you.", channel="ops")
        await chat.says("scotlaclair", "@opsbot ack", thread=page)
        for each in (in_thread, page):
            await chat.shows(each, "Acknowledged by scotlaclair")
        await chat.says("alice", "@opsbot cancel", thread=card)
        await chat.thread(card, until="Run cancelled by alice")


# -- people change their minds


async def test_cancel_while_a_step_works(tmp_path: Path, root: Path, somas: str) -> None:
    async with Chat(tmp_path, somas) as chat:
        card = await restarts(chat, "/somas restart project-42")
        await chat.shows(card, "Step 6 of 6: running")
        await chat.presses("bob", "Cancel run", card)
        await chat.sees("bob asked to cancel; the step that is at work is being stopped", thread=card)
        await chat.thread(card, until="Run cancelled by bob")
        await chat.shows(card, "Cancelled at step 6 of 6", "ended by bob")
        assert state_of(root, 42)["status"] == "retrying"  # what was done stays done
        await chat.types("bob", "/somas restart project-42")  # and the project is free again
        second = await chat.sees("Restart a project at a stage", "Asked for by bob")
        await chat.sees("Nothing was dispatched", thread=second)
        pipeline_starts(chat, root, 42, "verify")
        await chat.thread(second, until="Run done")


async def test_cancel_while_the_run_waits_for_somebody(tmp_path: Path, root: Path, somas: str) -> None:
    before = files_of(root, 42)
    async with Chat(tmp_path, somas) as chat:
        await chat.types("alice", "/somas restart project-42 --full")
        card = await chat.sees("Start a project over: project-42")
        asked = await chat.sees("Step 2 needs approval", thread=card)
        await chat.presses("alice", "Cancel run", asked)
        await chat.thread(card, until="Run cancelled by alice")
        assert card.labels == []
        assert files_of(root, 42) == before
        await chat.presses("bob", "Deny", asked)  # a message of the thread keeps its buttons
        await chat.is_told("bob", "This run has ended (cancelled)", "/somas restart project-42 --full")


async def test_two_people_on_one_project(tmp_path: Path, root: Path, somas: str) -> None:
    async with Chat(tmp_path, somas) as chat:
        card = await restarts(chat, "/somas restart project-42 --reason 'flaky gate'")
        await chat.types("bob", "/somas restart project-42 --full")
        await chat.is_told("bob", "alice already works on project-42: flaky gate", "since 12:00,", run_id(card))
        await chat.types("bob", "/somas restart project-19 --from verify")  # another project is free
        other = await chat.sees("Restart a project at a stage: project-19")
        await chat.sees("Nothing was dispatched", thread=other)
        for each, project in ((card, 42), (other, 19)):
            pipeline_starts(chat, root, project, "verify")
            await chat.thread(each, until="Run done")


# -- the list of runs


async def test_runs_list_and_show_and_the_verbs_of_a_run_that_has_ended(tmp_path: Path, root: Path, somas: str) -> None:
    async with Chat(tmp_path, somas) as chat:
        await chat.types("carol", "/runs list")
        await chat.sees("No run is open")
        card = await restarts(chat, "/somas restart project-42")
        await chat.shows(card, "Step 6 of 6: running")
        run = run_id(card)
        await chat.types("carol", "/runs list")
        await chat.sees(run, "Restart a project at a stage: project-42", "running, step 6 of 6", "alice")
        await chat.types("carol", f"/runs show {run.lower()}")
        await chat.sees("Step 6 of 6: running", 'stage.status = "retrying"', run)
        pipeline_starts(chat, root, 42, "verify")
        await chat.thread(card, until="Run done")
        await chat.types("carol", "/runs list --all")
        await chat.sees(run, "done", "alice")
        await chat.types("carol", f"/runs show {run}")
        await chat.sees("Done after", "met", 'stage.status = "in_progress"')
        for verb in ("cancel", "done", "fail", "skip", "proceed", "approve", "deny"):
            await chat.types("alice", f"/runs {verb} {run}")
            await chat.is_told("alice", "This run has ended (done). Start it again with: /somas restart project-42")
        await chat.types("alice", f"/runs retry {run}")
        await chat.is_told("alice", "This run was done. Say from which step it is to be repeated: 1, 2, 3, 4, 5, 6.")
        await chat.types("alice", f"/runs ack {run}")
        await chat.is_told("alice", "There is no open page to acknowledge")
        await chat.types("alice", f"/runs show {run[:-1]}{'0' if run[-1] != '0' else '1'}")
        told = await chat.is_told("alice", "There is no run", "Did you mean")
        assert told.labels == [f"/runs show {run}"]
