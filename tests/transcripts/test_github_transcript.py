"""``/somas status project-42`` as a comment on a GitHub issue, with and without Slack beside it."""

from __future__ import annotations

from pathlib import Path

from bot.demo.supervised_process import SupervisedProcess
from tests.somas.local_repository import add_workflows
from tests.transcript import ON_GITHUB_ALONE, ON_GITHUB_TOO, Chat, notifies, run_id


async def test_a_comment_is_answered_once_whoever_sees_it_first(
    tmp_path: Path, process: SupervisedProcess, payments: str, root: Path, somas: str
) -> None:
    """The webhook delivers it twice, the poller reads it too; there is one answer and no second run."""
    async with Chat(tmp_path, payments + somas, settings=ON_GITHUB_TOO) as chat:
        await chat.passes(seconds=70)  # the poller has begun
        chat.github.deliveries.double = 1
        await chat.comments("alice", "The gate is red again.\n\n/somas status project-42")
        await chat.sees_comment("project-42: failed at verify", "Coverage is 71.4 %")
        chat.github.deliveries.double = 1
        await chat.comments("alice", "/supervisor quarantine worker-1 --reason 'looks ill'")
        await chat.sees_comment("Quarantine worker-1 of payments", "Done after")
        card = await chat.sees("Quarantine worker-1 of payments")
        await chat.thread(card, until="Run done")
        for _ in range(3):
            await chat.passes(seconds=61)
        await chat.rests()
        answers = [body for login, body in chat.github.comments(42) if login == "opsbot"]
        assert len(answers) == 2  # the status, and the card that was edited in place
        assert process.executed == ["quarantine_child /worker-1"]
        assert "looks ill" in answers[1]


async def test_a_comment_that_no_webhook_brought(tmp_path: Path, root: Path, somas: str) -> None:
    async with Chat(tmp_path, somas, settings=ON_GITHUB_ALONE) as chat:
        await chat.passes(seconds=70)
        chat.github.deliveries.drop = 1
        await chat.comments("carol", "/somas status project-42")
        await chat.passes(seconds=61)
        await chat.sees_comment("project-42: failed at verify")


async def test_a_comment_that_is_not_for_the_bot_gets_no_answer(tmp_path: Path, root: Path, somas: str) -> None:
    async with Chat(tmp_path, somas, settings=ON_GITHUB_ALONE) as chat:
        await chat.comments("alice", "I would type `/somas restart project-42` now, but let us wait.")
        await chat.comments("alice", "> /somas restart project-42\n\nNo, please.")
        await chat.rests()
        assert [login for login, _ in chat.github.comments(42)] == ["alice", "alice"]


async def test_a_run_on_github_is_paged_there_and_mirrored_to_slack(tmp_path: Path, root: Path, somas: str) -> None:
    """The page mentions Scot's GitHub login there and his Slack id here; his comment acknowledges both."""
    async with Chat(tmp_path, somas, settings=ON_GITHUB_TOO) as chat:
        add_workflows(chat.github)
        await chat.comments("alice", "/somas restart project-42")
        mirrored = await chat.sees("Restart a project at a stage: project-42", "Asked for by alice")
        await chat.sees("✓ Step 3", "GitHub took the dispatch", thread=mirrored)
        await chat.sees("✓ Step 5", thread=mirrored)
        on_issue = await chat.sees_comment("Restart a project at a stage: project-42", "Step 6 of 6: running")
        assert run_id(on_issue) == run_id(mirrored)
        await chat.passes(minutes=10)
        page = await chat.sees_comment("@scotlaclair", "needs you.", "Watch until the stage runs")
        in_slack = await chat.sees("needs you.")
        in_thread = await chat.sees("needs you.", thread=mirrored)
        assert notifies(in_slack) == notifies(in_thread) == {"@U0SCOT"}
        assert f"/runs ack {run_id(mirrored)}" in page  # comments have no buttons: what to type stands there

        await chat.comments("scotlaclair", f"/runs ack {run_id(mirrored)}")
        closed = await chat.sees_comment("Acknowledged by scotlaclair")
        assert "@scotlaclair" not in closed
        for each in (in_slack, in_thread):
            await chat.shows(each, "Acknowledged by scotlaclair")
            assert each.labels == []
        await chat.sees("scotlaclair acknowledged the page", thread=mirrored)
        await chat.comments("alice", f"/runs cancel {run_id(mirrored)}")
        await chat.sees_comment("Cancelled at step 6 of 6")
        await chat.thread(mirrored, until="Run cancelled by alice")
        assert len([1 for login, _ in chat.github.comments(42) if login == "opsbot"]) == 2  # a card and a page


async def test_github_alone(tmp_path: Path, process: SupervisedProcess, payments: str) -> None:
    async with Chat(tmp_path, payments, settings=ON_GITHUB_ALONE) as chat:
        await chat.comments("alice", "/supervisor quarantine fraud-scorer")
        card = await chat.sees_comment("Quarantine fraud-scorer of payments", "waiting for a decision")
        await chat.sees_comment("@scotlaclair", "needs you")
        await chat.comments("scotlaclair", f"/runs ack {run_id(card)}")
        await chat.sees_comment("Acknowledged by scotlaclair")
        await chat.comments("alice", f"/runs fail {run_id(card)} --reason 'restart the process'")
        await chat.sees_comment("Failed at step 1 of 1", "ended by alice")
        assert process.executed == ["quarantine_child /fraud-scorer"]
        assert chat.slack.calls == []


async def test_who_may_on_github(tmp_path: Path, process: SupervisedProcess, payments: str) -> None:
    async with Chat(tmp_path, payments, settings=ON_GITHUB_ALONE) as chat:
        await chat.comments("mallory", "/supervisor quarantine worker-1")
        refused = await chat.sees_comment("needs an operator, and you are not one", "github:mallory")
        assert "@" not in refused.replace("@opsbot", "")  # a refusal notifies nobody
        await chat.comments("mallory", "/supervisor status")
        await chat.sees_comment("payments: ")
        await chat.comments("Alice", "/supervisor quarantine worker-11")
        await chat.sees_comment('There is no child "worker-11"', "/supervisor quarantine worker-1")
        assert process.executed == []


async def test_deliveries_that_come_backwards_doubled_and_never(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    """The edit arrives before the comment, one of the two twice, a third is lost: each command runs once."""
    async with Chat(tmp_path, payments, settings=ON_GITHUB_ALONE) as chat:
        await chat.passes(seconds=70)  # the poller has begun
        chat.github.deliveries.hold()
        typed = chat.github.comment("alice", 42, "/supervisor quarantine worker-1")
        chat.github.edit("alice", typed, "/supervisor quarantine worker-1\n\n/supervisor quarantine worker-2")
        chat.github.deliveries.double = 1
        chat.github.comment("alice", 42, "/supervisor status")
        chat.github.deliveries.release(backwards=True)
        chat.github.deliveries.drop = 1
        chat.github.comment("alice", 42, "/supervisor quarantine ledger-writer")
        await chat.github.settled()
        await chat.sees_comment("Quarantine worker-1 of payments", "Done after")
        await chat.sees_comment("Quarantine worker-2 of payments", "Done after")
        for _ in range(2):
            await chat.passes(seconds=61)
        await chat.passes(seconds=60)  # the poller finds what no delivery told
        await chat.sees_comment("Quarantine ledger-writer of payments", "Done after")
        await chat.passes(seconds=61)
        assert sorted(process.executed) == [
            "quarantine_child /ledger-writer",
            "quarantine_child /worker-1",
            "quarantine_child /worker-2",
        ]
        answers = [body for login, body in chat.github.comments(42) if login == "opsbot"]
        assert len(answers) == 4  # three cards and one status
        chat.github.read(42)
