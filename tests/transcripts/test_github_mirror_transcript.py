"""One run seen in Slack and on its project's issue: what stands where, who is paged, what a comment does to it."""

from __future__ import annotations

import re
from pathlib import Path

from bot.demo.supervised_process import SupervisedProcess
from tests.somas.local_repository import add_workflows, give_rights
from tests.transcript import ON_GITHUB_ALONE, ON_GITHUB_TOO, Chat, notifies, run_id
from tests.transcripts.test_supervisor_transcript import crashed, now

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


async def test_a_run_asked_for_in_slack_is_shown_paged_and_answered_on_its_issue(
    tmp_path: Path, root: Path, somas: str
) -> None:
    """The same run at the same moment on both; a button is gone there as soon as a comment here has done its work."""
    async with with_pipeline(tmp_path, somas, ON_GITHUB_TOO) as chat:
        await chat.types("alice", "/somas restart project-42")
        card = await chat.sees("Restart a project at a stage: project-42", "Asked for by alice")
        await chat.sees("GitHub took the dispatch of somas-pipeline.yml", thread=card)
        await chat.shows(card, "Step 6 of 6: running")
        on_issue = await chat.sees_comment("Restart a project at a stage: project-42", "Step 6 of 6: running")
        assert run_id(on_issue) == run_id(card)
        assert on_issue.count("<details>") == 5  # one for each step that is over: what Slack has in the thread
        assert "<summary>Step 1: " in on_issue and "GitHub took the dispatch of somas-pipeline.yml" in on_issue
        assert chat.github.labels(42) == []

        await chat.passes(minutes=10)
        in_slack = await chat.sees("needs you.")
        await chat.sees("needs you.", thread=card)
        page = await chat.sees_comment("@scotlaclair", "needs you.")
        assert notifies(in_slack) == {"@U0SCOT"}
        await chat.until(lambda: chat.github.labels(42) == ["somas:needs-attention"], "the label")

        said = await chat.comments("scotlaclair", "/runs ack")  # the issue knows which run
        await chat.shows(in_slack, "Acknowledged by scotlaclair")
        assert in_slack.labels == []
        await chat.sees_comment("Acknowledged by scotlaclair")
        assert "@scotlaclair" in page and not [body for body in of_the_bot(chat) if "@scotlaclair" in body]
        await chat.until(lambda: chat.github.labels(42) == [], "the label being taken away")
        await reaction(chat, said, "+1")
        await chat.sees("acknowledged the page", thread=card)

        said = await chat.comments("alice", "/runs cancel --reason 'tomorrow'")
        await chat.shows(card, "Cancelled at step 6 of 6")
        ended = await chat.sees_comment("Cancelled at step 6 of 6")
        assert run_id(ended) == run_id(card)
        await chat.thread(card, until="Run cancelled by alice")
        await reaction(chat, said, "+1")
        assert len(of_the_bot(chat)) == 2  # a card and a page
        assert not [body for body in of_the_bot(chat) if UPSTREAM_COUNTS.search(body)]


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


async def test_a_comment_approves_exactly_what_it_names(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    """``/runs approve <digest>`` in the issue: no other plan, not the person who asked, one run on both surfaces."""
    await crashed(process, 3)  # then it is given up
    async with Chat(tmp_path, payments, settings=ON_GITHUB_TOO, clock=now()) as chat:
        early = await chat.comments("scotlaclair", "/runs approve 0123456789ab")
        await chat.sees_comment("run")
        await reaction(chat, early, "confused")
        said = await chat.comments("alice", "/supervisor runbook P1-002 worker-3")
        card = await chat.sees("P1-002 Child Task Crash Loop: worker-3", "Asked for by alice")
        on_issue = await chat.sees_comment("waiting for approval", "Will do exactly this", '"remove_child"')
        await chat.sees("Step 5 needs approval", thread=card)
        digest = (await chat.state(card)).steps[4].digest
        assert f"/runs approve {digest}" in on_issue

        own = await chat.comments("alice", f"/runs approve {digest}")
        await chat.sees_comment("You asked for this run, so somebody else has to approve it")
        await reaction(chat, own, "confused")
        other = await chat.comments("scotlaclair", f"/runs approve {'0' * len(digest)}")
        await chat.sees_comment("no plan on this issue has this digest", f"/runs approve {digest}")
        await reaction(chat, other, "confused")
        assert process.executed == ["quarantine_child /worker-3"]
        assert chat.github.reactions(said) == ["eyes"]

        await chat.comments("scotlaclair", f"/runs approve {digest}")
        await chat.sees_comment("Done after", "Verify that no slot lingers")
        await chat.shows(card, "Done after")
        assert "Approve…" not in card.labels
        await reaction(chat, said, "rocket")
        assert process.executed == ["quarantine_child /worker-3", "remove_child /worker-3"]
        await chat.thread(card, until="Run done")


async def test_old_comments_are_folded_away(tmp_path: Path, root: Path, somas: str) -> None:
    """A page that was repeated, and the card of an earlier run on the same project; not the one of another project."""
    async with with_pipeline(tmp_path, somas, ON_GITHUB_ALONE) as chat:
        await chat.comments("alice", "/somas restart project-42")
        first = await chat.sees_comment("Step 6 of 6: running")
        await chat.passes(minutes=10)
        await chat.sees_comment("@scotlaclair", "needs you.")
        await chat.passes(minutes=21)
        await chat.sees_comment("@scotlaclair", "2nd page")
        await chat.until(lambda: len(chat.github.minimised(42)) == 1, "the first page folded away")
        assert "2nd page" not in chat.github.minimised(42)[0]
        await chat.comments("scotlaclair", "/runs ack")
        await chat.sees_comment("Acknowledged by scotlaclair")
        await chat.comments("alice", "/runs cancel")
        await chat.sees_comment("Cancelled at step 6 of 6")
        await chat.comments("alice", "/somas restart project-42")
        second = await chat.sees_comment("Step 6 of 6: running")
        assert run_id(second) != run_id(first)
        await chat.until(lambda: len(chat.github.minimised(42)) == 3, "the first run folded away")
        assert all(run_id(second) not in body for body in chat.github.minimised(42))
        await chat.comments("alice", "/runs cancel")
        await chat.sees_comment("Cancelled at step 6 of 6")


async def test_where_nothing_may_be_folded_nobody_hears_of_it(tmp_path: Path, root: Path, somas: str) -> None:
    async with with_pipeline(tmp_path, somas, ON_GITHUB_ALONE) as chat:
        chat.github.set_role("opsbot", "triage")
        for _ in range(2):
            await chat.comments("alice", "/somas restart project-42")
            card = await chat.sees_comment("Step 6 of 6: running")
            await chat.comments("alice", "/runs cancel")
            await chat.sees_comment("Cancelled at step 6 of 6", run_id(card))
        await chat.passes(seconds=30)
        assert chat.github.minimised(42) == []
        assert chat.bot is not None and await chat.bot.delivery.problems() == []


async def test_a_project_without_an_issue_stays_where_it_was_asked_for(tmp_path: Path, root: Path, somas: str) -> None:
    async with Chat(tmp_path, somas, settings=ON_GITHUB_TOO) as chat:
        await chat.types("alice", "/somas restart project-57 --override")
        card = await chat.sees("project-57", "Asked for by alice")
        await chat.rests()
        await chat.types("alice", f"/runs cancel {run_id(card)}")
        await chat.shows(card, "Cancelled")
        await chat.rests()
        chat.read(), chat.read(thread=card)
        assert [login for login, _ in chat.github.comments(42)] == []


async def test_a_label_that_came_too_late_is_never_set(tmp_path: Path, root: Path, somas: str) -> None:
    """GitHub is away while the page is acknowledged in Slack."""
    configured = ON_GITHUB_TOO.replace('contact = "scotlaclair"', 'contact = "scotlaclair"\nlabel = "on fire"')
    async with with_pipeline(tmp_path, somas, configured) as chat:
        await chat.types("alice", "/somas restart project-42")
        card = await chat.sees("project-42", "Step 6 of 6: running")
        await chat.sees_comment("Step 6 of 6: running")
        chat.github.fail(503, times=100_000)
        await chat.passes(minutes=10)
        page = await chat.sees("needs you.")
        await chat.presses("scotlaclair", "Acknowledge", page)
        await chat.shows(page, "Acknowledged by scotlaclair")
        chat.github.heal()
        for _ in range(4):  # what was on its way when GitHub came back may open the breaker once more, for a minute
            await chat.passes(minutes=1)
        assert chat.github.labels(42) == []
        await chat.types("alice", f"/runs cancel {run_id(card)}")
        await chat.sees_comment("Cancelled at step 6 of 6")
        await chat.rests()
        chat.read(), chat.read(thread=card)
        # A request that was on its way when GitHub came back may still have made the label; nobody set it on the issue.
        assert "on fire" not in [event.label for event in chat.github.issue_state(42).events]


async def test_a_project_without_an_issue_is_paged_on_the_configured_one(
    tmp_path: Path, root: Path, somas: str
) -> None:
    """And when GitHub could not say in time that there is no such issue, the run goes on without its comment."""
    configured = ON_GITHUB_TOO.replace('contact = "scotlaclair"', 'contact = "scotlaclair"\nissue = 42')
    async with with_pipeline(tmp_path, somas, configured) as chat:
        await chat.types("alice", "/somas restart project-57 --override")
        card = await chat.sees("project-57", "Step 6 of 6: running")
        await chat.passes(minutes=10)
        page = await chat.sees("needs you.")
        await chat.sees_comment("@scotlaclair", "project-57", "needs you.", issue=42)
        await chat.until(lambda: chat.github.labels(42) == ["somas:needs-attention"], "the label")
        await chat.presses("scotlaclair", "Acknowledge", page)
        await chat.sees_comment("Acknowledged by scotlaclair")
        await chat.until(lambda: chat.github.labels(42) == [], "the label being taken away")
        await chat.types("alice", f"/runs cancel {run_id(card)}")
        await chat.shows(card, "Cancelled")
        await chat.thread(card, until="Run cancelled")

        chat.github.fail(502, path=r"/issues/57$", times=9)
        await chat.types("alice", "/somas restart project-57 --override")
        card = await chat.sees("project-57", "Step 6 of 6: running")
        await chat.rests()
        assert chat.bot is not None and await chat.bot.delivery.problems() == []
        await chat.types("alice", f"/runs cancel {run_id(card)}")
        await chat.shows(card, "Cancelled")
        await chat.thread(card, until="Run cancelled")


async def test_runs_of_slack_stay_out_of_issues_when_that_is_configured(tmp_path: Path, root: Path, somas: str) -> None:
    settings = ON_GITHUB_TOO + "mirror = false\n"
    async with with_pipeline(tmp_path, somas, settings) as chat:
        await chat.types("alice", "/somas restart project-42")
        card = await chat.sees("project-42", "Step 6 of 6: running")
        await chat.passes(minutes=10)
        await chat.sees("needs you.")
        await chat.sees_comment("@scotlaclair", "needs you.")  # whoever is called is called everywhere
        await chat.comments("scotlaclair", "/runs ack")
        await chat.sees_comment("Acknowledged by scotlaclair")
        await chat.types("alice", f"/runs cancel {run_id(card)}")
        await chat.shows(card, "Cancelled")
        await chat.thread(card, until="Run cancelled")
        chat.read()
        assert len(of_the_bot(chat)) == 1


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
