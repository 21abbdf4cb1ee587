"""What people see when a command lacks something: a form that knows the rest, menus of what exists, wrong answers."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from bot.clock import ManualClock
from bot.demo.slack import LocalView
from bot.demo.supervised_process import SupervisedProcess
from tests.transcript import PEOPLE, Chat, run_id


async def offered(chat: Chat, who: str, view: LocalView, argument: str, typed: str = "") -> list[str]:
    options = await chat.slack.suggest(PEOPLE[who], view.id, f"arg:{argument}", typed)
    return [option["text"]["text"] for option in options]


async def test_a_command_without_its_project_asks_for_it(tmp_path: Path, root: Path, somas: str) -> None:
    async with Chat(tmp_path, somas) as chat:
        await chat.types("alice", "/somas restart --reason 'flaky gate' --dry-run")
        form = await chat.form("alice", "/somas restart")
        assert form.labels == ["Project", "From", "Checkpoint", "Reason", "Options"]
        assert "needs a second person" not in form.shown and "changes something" in form.shown
        everything = await offered(chat, "alice", form, "project")
        assert len(everything) == 16 and "project-42" in everything
        assert await offered(chat, "alice", form, "project", "-4") == ["project-42"]
        assert (await offered(chat, "alice", form, "project", "porject-42"))[0] == "project-42"
        assert "verify" in await offered(chat, "alice", form, "from_")
        await chat.sends("alice", form, {"Project": "project-42", "From": "verify"})
        await chat.is_told("alice", "Dry run: Restart a project at a stage", "Nothing was done")
        assert chat.slack.open_views(PEOPLE["alice"]) == []


async def test_what_is_wrong_is_told_beside_its_field_and_nothing_is_lost(
    tmp_path: Path, root: Path, somas: str
) -> None:
    async with Chat(tmp_path, somas) as chat:
        await chat.types("alice", "/somas restart")
        form = await chat.form("alice", "/somas restart")
        both = {"Project": "project-42", "From": "verify", "Options": "full", "Reason": "gate"}
        said = await chat.is_refused("alice", form, both, "Use either --from or --full, not both.", "(id ")
        assert list(chat.slack.open_views(PEOPLE["alice"])[0].errors) == ["flags"], said
        gone = root / ".somas" / "projects" / "project-42"
        gone.rename(root / "project-42")
        one = {"Project": "project-42", "From": "verify", "Options": "", "Reason": "gate"}
        await chat.is_refused("alice", form, one, 'There is no project "project-42". Did you mean project-')
        assert list(chat.slack.open_views(PEOPLE["alice"])[0].errors) == ["arg:project"]
        (root / "project-42").rename(gone)
        await chat.sends("alice", form, {**one, "Options": "dry_run"})
        await chat.is_told("alice", "Dry run: Restart a project at a stage")


async def test_the_form_of_a_viewer_does_not_open(tmp_path: Path, root: Path, somas: str) -> None:
    async with Chat(tmp_path, somas) as chat:
        await chat.types("carol", "/somas restart")
        told = await chat.is_told("carol", "/somas restart needs <project>")
        assert chat.slack.open_views(PEOPLE["carol"]) == [] and "Fill it in…" not in told.labels


@pytest.fixture
def everything_logged() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    yield
    structlog.configure(**before)


@pytest.mark.usefixtures("everything_logged")
async def test_a_refusal_has_the_id_that_the_log_has(tmp_path: Path, root: Path, somas: str) -> None:
    async with Chat(tmp_path, somas) as chat:
        with capture_logs() as logged:
            await chat.types("carol", "/somas restart project-42")
            await chat.is_told("carol", "needs an operator", "Who may: ")
            await chat.types("alice", "/somas status project-4")
            await chat.is_told("alice", "Did you mean project-42")
            await chat.types("alice", "/somas restart")
            form = await chat.form("alice", "/somas restart")
            both = {"Project": "project-42", "From": "verify", "Options": "full"}
            wrong = await chat.is_refused("alice", form, both, "Use either --from or --full")
        told = [chat.slack.ephemerals(PEOPLE[who], "C0OPS")[-1].shown for who in ("carol", "alice")]
        shown = [re.findall(r"\bid ([0-9A-F]{8})\b", each)[-1] for each in (*told, wrong)]
        refused = [each["id"] for each in logged if "refused" in each["event"]]
        assert shown == refused


async def test_help_of_a_verb_says_who_may(tmp_path: Path, root: Path, somas: str) -> None:
    async with Chat(tmp_path, somas) as chat:
        await chat.types("carol", "/somas help restart")
        told = await chat.is_told("carol", "/somas restart project-42 --from verify --dry-run", "Danger", "changes")
        assert "operators and admins: alice, bob and scotlaclair" in told.shown
        await chat.types("carol", "/somas help status")
        await chat.is_told("carol", "reads only", "everybody")


async def test_numbers_choices_and_runbooks(tmp_path: Path, process: SupervisedProcess, payments: str) -> None:
    async with Chat(tmp_path, payments, clock=ManualClock(datetime.now(UTC))) as chat:
        await chat.types("bob", "/supervisor runbook")
        form = await chat.form("bob", "/supervisor runbook")
        assert form.labels[:2] == ["Runbook id", "Child"]
        crashes = await offered(chat, "bob", form, "runbook_id", "crash")
        assert [each.partition(":")[0] for each in crashes] == ["P1-001", "P1-002"]
        assert await offered(chat, "bob", form, "child", "worker") == ["worker-1", "worker-2", "worker-3"]
        await chat.is_refused("bob", form, {"Runbook id": "P1-002"}, "P1-002 works on one child. Name it")
        filled = {"Runbook id": "P1-002", "Child": "worker-1", "Threshold": "5", "Options": "dry_run"}
        await chat.sends("bob", form, filled)
        await chat.is_told("bob", "Dry run", "Nothing was done")
        await chat.types("bob", "/runs start")
        form = await chat.form("bob", "/runs start")
        assert "worker-2" in await offered(chat, "bob", form, "target")


async def test_a_mention_has_no_form_but_a_button_that_opens_one(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    async with Chat(tmp_path, payments) as chat:
        await chat.says("alice", "@opsbot quarantine")
        told = await chat.is_told("alice", "/supervisor quarantine needs <child>")
        await chat.presses("alice", "Fill it in…", told)
        form = await chat.form("alice", "/supervisor quarantine")
        await chat.sends("alice", form, {"Child": "worker-2", "Options": "dry_run"})
        await chat.is_told("alice", "Dry run", "worker-2")


async def test_a_wrong_name_in_an_approval_is_told_in_the_form(tmp_path: Path, root: Path, somas: str) -> None:
    async with Chat(tmp_path, somas) as chat:
        await chat.types("alice", "/somas restart project-42 --full")
        card = await chat.sees("project-42", "waiting for approval")
        asked = await chat.sees("Somebody other than the one who asked has to approve", thread=card)
        form = await chat.opens("bob", "Approve…", asked)
        label = "Type project-42 to approve"
        await chat.is_refused(
            "bob", form, {label: "project-24"}, 'Nothing was approved: you typed "project-24"', "Type project-42", "id "
        )
        assert list(chat.slack.open_views(PEOPLE["bob"])[0].errors) == ["0:confirm"]
        mine = await chat.opens("alice", "Approve…", asked)
        await chat.is_refused("alice", mine, {label: "project-42"}, "somebody else has to approve it")
        await chat.types("alice", f"/runs cancel {run_id(card)}")
        await chat.thread(card, until="Run cancelled")


async def test_a_process_that_does_not_answer_is_told_when_the_form_is_sent(tmp_path: Path, payments: str) -> None:
    async with Chat(tmp_path, payments) as chat:
        await chat.types("alice", "/supervisor quarantine")
        form = await chat.form("alice", "/supervisor quarantine")
        assert await offered(chat, "alice", form, "child", "worker-9") == ["worker-9"]
        await chat.is_refused("alice", form, {"Child": "worker-9"}, "payments")


async def test_a_direct_message_is_a_command(tmp_path: Path, root: Path, somas: str) -> None:
    async with Chat(tmp_path, somas) as chat:
        direct = chat.slack.space.direct_channel(PEOPLE["carol"]).id
        await chat.slack.say(PEOPLE["carol"], direct, "somas status 42")

        def answered() -> bool:
            return any("project-42: failed at verify" in one.shown for one in chat.slack.messages(direct))

        await chat.until(answered, "the answer in the conversation with the bot")
        await chat.slack.say(PEOPLE["carol"], direct, "restart")
        await chat.until(
            lambda: any("needs <project>" in one.shown for one in chat.slack.ephemerals(PEOPLE["carol"], direct)),
            "what is missing",
        )


async def test_approve_alone_lists_what_waits_for_an_approval(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    async with Chat(tmp_path, payments) as chat:
        await chat.types("alice", "/supervisor remove worker-1")
        card = await chat.sees("worker-1", "Needs a second person")
        asked = await chat.sees("Step 1 needs approval", thread=card)
        await chat.types("alice", "/supervisor runbook P1-002 worker-2")  # runs, and waits for no approval
        other = await chat.sees("P1-002")
        digest = (await chat.state(card)).steps[0].digest
        assert f"--digest {digest}" in asked.shown
        await chat.types("bob", "/runs approve")
        form = await chat.form("bob", "/runs approve")
        assert form.labels == ["Run", "Confirm", "Digest", "Options"]
        (line,) = await offered(chat, "bob", form, "digest")
        assert line.startswith("worker-1: ") and "asked for by alice" in line
        (waiting,) = await offered(chat, "bob", form, "run")
        assert "worker-1" in waiting
        whole = {"Run": run_id(card), "Confirm": "worker-2", "Digest": digest}
        await chat.is_refused("bob", form, whole, 'Nothing was approved: you typed "worker-2"')
        assert process.executed == []
        await chat.sends("bob", form, {**whole, "Confirm": "worker-1"})
        await chat.thread(card, until="Run done")
        assert process.executed == ["remove_child /worker-1"]
        await chat.types("bob", f"/runs cancel {run_id(other)}")
        await chat.thread(other, until="Run cancelled by bob")


async def test_an_old_form_that_is_sent_again_is_answered_each_time(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    async with Chat(tmp_path, payments) as chat:
        await chat.types("alice", "/supervisor remove worker-1")
        card = await chat.sees("worker-1", "Needs a second person")
        asked = await chat.sees("Step 1 needs approval", thread=card)
        entered = {"Type worker-1 to approve": "worker-1"}
        old = await chat.opens("bob", "Approve…", asked)
        newer = await chat.opens("scotlaclair", "Approve…", asked)
        await chat.sends("scotlaclair", newer, entered)
        await chat.thread(card, until="Run done")
        for _again in range(3):
            await chat.is_refused("bob", old, entered, "(id ")
        assert process.executed == ["remove_child /worker-1"]


async def test_a_refusal_that_comes_when_a_newer_form_has_taken_the_screen_is_no_approval(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    async with Chat(tmp_path, payments) as chat:
        await chat.types("alice", "/supervisor remove worker-1")
        card = await chat.sees("worker-1", "Needs a second person")
        asked = await chat.sees("Step 1 needs approval", thread=card)
        old = await chat.opens("bob", "Approve…", asked)
        sending = asyncio.create_task(
            chat.slack.submit(PEOPLE["bob"], old.id, {"Type worker-1 to approve": "worker-2"})
        )
        await asyncio.sleep(0)
        chat.slack.space.views[PEOPLE["bob"]] = []
        assert "you typed" in " ".join((await sending).errors.values())
        await chat.types("alice", f"/runs cancel {run_id(card)}")
        await chat.thread(card, until="Run cancelled")
        assert process.executed == []


async def test_silence_offers_what_is_measured_and_unsilence_what_is_silent(
    tmp_path: Path, root: Path, somas: str
) -> None:
    async with Chat(tmp_path, somas) as chat:
        await chat.types("alice", "/somas silence")
        form = await chat.form("alice", "/somas silence")
        metrics, subjects = [await offered(chat, "alice", form, name) for name in ("metric", "subject")]
        assert "dead-letters" in metrics and "project-57" in subjects
        assert metrics[-1] == subjects[-1] == "* (all of them)"
        await chat.sends("alice", form, {"Metric": "dead-letters", "Subject": "*", "Time": "4h", "Reason": "known"})
        await chat.sees("dead-letters", "alice")
        await chat.types("alice", "/somas unsilence")
        form = await chat.form("alice", "/somas unsilence")
        assert await offered(chat, "alice", form, "metric") == ["dead-letters"]
        assert await offered(chat, "alice", form, "subject") == ["* (all of them)"]
