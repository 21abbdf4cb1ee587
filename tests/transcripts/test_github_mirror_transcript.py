"""One run seen in Slack and on its project's issue: what stands where, who is paged, what a comment does to it."""

from __future__ import annotations

import re
from pathlib import Path

from bot.demo.supervised_process import SupervisedProcess
from tests.somas.local_repository import add_workflows, give_rights
from tests.transcript import ON_GITHUB_ALONE, ON_GITHUB_TOO, Chat, run_id

UPSTREAM_COUNTS = re.compile(r"@copilot somas-|Stage.*(Started|Complete)|(Started|Complete).*Stage", re.DOTALL)


async def reaction(chat: Chat, comment: int, wanted: str) -> None:
    await chat.until(lambda: chat.github.reactions(comment) == [wanted], f"the reaction {wanted} to {comment}")


def with_pipeline(tmp_path: Path, somas: str, settings: str) -> Chat:
    """A restart is dispatched to SOMAS's workflow on GitHub, and waits at its last step for the stage."""
    chat = Chat(tmp_path, somas, settings=settings)
    give_rights(chat.github)
    add_workflows(chat.github)
    return chat


def of_the_bot(chat: Chat, issue: int = 42) -> list[str]:
    return [body for login, body in chat.github.comments(issue) if login == "opsbot"]


async def test_a_button_in_slack_answers_what_stands_on_the_issue(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    async with Chat(tmp_path, payments, settings=ON_GITHUB_TOO) as chat:
        said = await chat.comments("alice", "/supervisor quarantine fraud-scorer")
        card = await chat.sees("Quarantine fraud-scorer of payments", "waiting for a decision")
        await chat.sees_comment("Quarantine fraud-scorer of payments", "waiting for a decision")
        assert chat.github.reactions(said) == ["eyes"]
        page = await chat.sees("needs you")
        await chat.sees_comment("@scotlaclair", "needs you")
        await chat.presses("scotlaclair", "Acknowledge", page)
        await chat.sees_comment("Acknowledged by scotlaclair")
        await chat.presses("bob", "Failed", card)
        await chat.sees_comment("Failed at step 1 of 1", "ended by bob")
        await reaction(chat, said, "-1")
        await chat.thread(card, until="Run ended as failed by bob")
        chat.read()
        assert chat.github.labels(42) == []  # what is supervised has no label of its own, and none is configured


async def test_what_became_of_a_comment_is_a_reaction(
    tmp_path: Path, process: SupervisedProcess, payments: str, root: Path, somas: str
) -> None:
    async with Chat(tmp_path, payments + somas, settings=ON_GITHUB_ALONE) as chat:
        read = await chat.comments("carol", "/somas status project-42")
        await chat.sees_comment("project-42: failed at verify")
        await reaction(chat, read, "+1")
        refused = await chat.comments("mallory", "/supervisor quarantine worker-1")
        await chat.sees_comment("needs an operator, and you are not one")
        await reaction(chat, refused, "confused")
        mistyped = await chat.comments("alice", "/supervisor quarantin worker-1")
        await chat.sees_comment("/supervisor quarantine worker-1")
        await reaction(chat, mistyped, "confused")
        done = await chat.comments("alice", "/supervisor quarantine worker-1")
        await chat.sees_comment("Quarantine worker-1 of payments", "Done after")
        await reaction(chat, done, "rocket")
        both = await chat.comments("alice", "/somas status project-42\n\n/somas status project-4711")
        await chat.sees_comment('There is no project "project-4711"')
        await reaction(chat, both, "confused")  # the worst of the two
        talk = await chat.comments("alice", "Thanks!")
        await chat.rests()
        assert chat.github.reactions(talk) == []


async def test_a_reaction_outlives_a_restart_and_an_outage(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    async with Chat(tmp_path, payments, settings=ON_GITHUB_TOO) as chat:
        said = await chat.comments("alice", "/supervisor quarantine fraud-scorer")
        card = await chat.sees("Quarantine fraud-scorer of payments", "waiting for a decision")
        await chat.sees_comment("Quarantine fraud-scorer of payments", "waiting for a decision")
        await reaction(chat, said, "eyes")
        await chat.rests()
        chat.read(), chat.github.read(42)
        await chat.stop_bot()
        await chat.start_bot()
        chat.github.fail(502, path="/reactions", times=2)
        await chat.types("alice", f"/runs cancel {run_id(card)}")
        await chat.shows(card, "Cancelled at step 1 of 1")
        await reaction(chat, said, "-1")
        await chat.rests()
        chat.read(thread=card), chat.read(), chat.github.read(42)


async def test_a_project_without_an_issue_stays_where_it_was_asked_for(tmp_path: Path, root: Path, somas: str) -> None:
    async with with_pipeline(tmp_path, somas, ON_GITHUB_TOO) as chat:
        await chat.types("alice", "/somas restart project-57 --override")
        card = await chat.sees("project-57", "Asked for by alice")
        await chat.rests()
        await chat.types("alice", f"/runs cancel {run_id(card)}")
        await chat.shows(card, "Cancelled")
        await chat.rests()
        chat.read(), chat.read(thread=card)
        assert [login for login, _ in chat.github.comments(42)] == []


async def test_two_runs_paged_on_one_issue_share_its_label(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    """The label goes with the last acknowledgement, and ``/runs ack`` asks which run is meant."""
    labelled = ON_GITHUB_ALONE.replace('contact = "scotlaclair"', 'contact = "scotlaclair"\nlabel = "on fire"')
    async with Chat(tmp_path, payments, settings=labelled) as chat:
        await chat.comments("alice", "/supervisor runbook P1-002 worker-1\n\n/supervisor runbook P1-002 worker-2")
        first = await chat.sees_comment("worker-1", "needs you")
        await chat.sees_comment("worker-2", "needs you")
        await chat.until(lambda: chat.github.labels(42) == ["on fire"], "the label")
        unclear = await chat.comments("scotlaclair", "/runs ack")
        await chat.sees_comment("2 runs on this issue could be meant", "Say which.")
        await reaction(chat, unclear, "confused")
        await chat.comments("scotlaclair", f"/runs ack {run_id(first)}")
        await chat.sees_comment("Acknowledged by scotlaclair")
        await chat.rests()
        assert chat.github.labels(42) == ["on fire"]
        await chat.comments("scotlaclair", "/runs ack")
        await chat.until(lambda: chat.github.labels(42) == [], "the label being taken away")
        for run in chat.github.read(42):
            if "P1-002" in run and "needs you" not in run and "### " in run:
                await chat.comments("alice", f"/runs cancel {run_id(run)}")
        await chat.passes(seconds=30)
        await chat.rests()
        chat.github.read(42)
