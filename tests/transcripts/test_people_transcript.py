"""Who may do what, how people write to the bot, and what Slack does to their messages on the way."""

from __future__ import annotations

from pathlib import Path

from bot.demo.supervised_process import SupervisedProcess
from tests.transcript import SETTINGS, Chat, live, notifies

CLOSED = SETTINGS.replace('viewers = ["*"]', 'viewers = ["slack:U0CAROL"]').replace(
    'operators = ["slack:U0ALICE", ', "operators = ["
)


# -- who may


async def test_a_viewer_reads_and_does_not_change(tmp_path: Path, process: SupervisedProcess, payments: str) -> None:
    async with Chat(tmp_path, payments) as chat:
        await chat.types("carol", "/supervisor status")
        status = await chat.sees("payments: ")
        await chat.types("carol", "/supervisor quarantine worker-1")
        refused = await chat.is_told("carol", "/supervisor quarantine worker-1 needs an operator, and you are not one")
        assert "Who may: alice, bob, scotlaclair. Ask one of them." in refused.shown
        assert 'ask for "slack:U0CAROL" in access.operators' in refused.shown.replace("`", "")
        assert notifies(refused) == set()
        assert chat.channel() == [status]
        assert process.executed == []


async def test_a_viewer_cannot_press_what_he_could_not_type(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    async with Chat(tmp_path, payments) as chat:
        await chat.types("alice", "/supervisor quarantine fraud-scorer")
        card = await chat.sees("Quarantine fraud-scorer of payments")
        asked = await chat.sees("Step 1 needs a decision", thread=card)
        page = await chat.sees("needs you")
        await chat.presses("carol", "Acknowledge", page)
        await chat.is_told(
            "carol", "Only an operator, or somebody whom the page calls, can acknowledge it: scotlaclair"
        )
        await chat.presses("carol", "Failed", asked)
        await chat.is_told("carol", "needs an operator, and you are not one")
        await chat.shows(card, "waiting for a decision", "not acknowledged yet")
        await chat.presses("bob", "Acknowledge", page)
        await chat.presses("alice", "Failed", asked)
        await chat.thread(card, until="Run ended as failed by alice")


async def test_a_stranger_is_refused_everything_but_help(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    async with Chat(tmp_path, payments, settings=CLOSED) as chat:
        await chat.types("alice", "/supervisor status")
        await chat.is_told("alice", "/supervisor status needs a viewer, and you are not one", "Who may: ")
        await chat.types("alice", "/runs list")
        await chat.is_told("alice", "/runs list needs a viewer")
        await chat.types("alice", "/supervisor help")
        await chat.is_told("alice", "/supervisor quarantine <child>")
        assert process.executed == []
        assert chat.channel() == []


# -- how people write


async def test_a_mention_in_the_channel_and_in_a_thread(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    async with Chat(tmp_path, payments) as chat:
        await chat.says("alice", "hello @opsbot supervisor status payments")
        await chat.sees("payments: ")
        await chat.says("alice", "@opsbot quarantine worker-1 --reason 'looks ill'")
        card = await chat.sees("Quarantine worker-1 of payments", "Reason: looks ill")
        await chat.thread(card, until="Run done")
        await chat.says("bob", "@opsbot show", thread=card)
        await chat.sees("Quarantine worker-1 of payments", "Done after", thread=card)
        await chat.says("bob", "@opsbot ack", thread=card)
        await chat.is_told("bob", "There is no open page to acknowledge")
        await chat.says("bob", "@opsbot")
        await chat.is_told("bob", "I run the runbooks of the people on call")
        await chat.says("bob", "thank you all, that worked")  # to nobody: no answer
        await chat.rests()


async def test_help_at_every_level(tmp_path: Path, process: SupervisedProcess, payments: str) -> None:
    async with Chat(tmp_path, payments) as chat:
        await chat.types("carol", "/runs")
        await chat.is_told("carol", "/runs list", "These change something", "/runs ack <run>")
        await chat.types("carol", "/supervisor")
        await chat.is_told("carol", "/supervisor status [target]", "/supervisor quarantine <child>")
        await chat.types("carol", "/supervisor help quarantine")
        await chat.is_told("carol", "Usage", "--dry-run", "Examples", "Who may: operators and admins")
        await chat.types("carol", "/supervisor quarantine --help")
        await chat.is_told("carol", "Usage", "--dry-run", "Examples")
        await chat.types("carol", "/somas status")
        await chat.is_told("carol", "is not configured, so", "[somas]", "root = ")
        await chat.says("carol", "@opsbot help")
        await chat.is_told("carol", "/supervisor", "/runs", "Installed, but not configured:", "/somas")


async def test_typos_are_answered_with_what_was_meant(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    async with Chat(tmp_path, payments) as chat:
        await chat.types("alice", "/supervisor quarantin worker-1")
        told = await chat.is_told("alice", '/supervisor has no verb "quarantin". Did you mean quarantine?', "^^^^^^^^^")
        assert told.labels[0] == "/supervisor quarantine worker-1"
        await chat.types("alice", "/supervisor quarantine worker-1 --raeson x")
        await chat.is_told("alice", "--raeson", "--reason", "^^^^^^^^")
        await chat.types("alice", "/supervisor quarantine")
        form = await chat.form("alice", "/supervisor quarantine")  # it lacks its child
        assert form.labels[0] == "Child"
        await chat.types("alice", "/supervisor runbook P9-002 worker-1")
        told = await chat.is_told("alice", 'There is no procedure "P9-002"', "P1-002")
        assert "/supervisor runbook P1-002 worker-1" in told.labels
        await chat.types("alice", "/supervisor status --target 'unfinished")
        await chat.is_told("alice", "'")
        await chat.says("alice", "@opsbot restrt project-42")
        await chat.is_told("alice", "There is no command")
        assert process.executed == []


async def test_what_phones_and_slack_make_of_a_command(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    """Smart quotes, the long dash, escaped characters, a mention and a link inside of a reason."""
    async with Chat(tmp_path, payments) as chat:
        await chat.types("alice", "/supervisor quarantine worker-1 —reason “eats memory & <fd> of @bob” ")
        card = await chat.sees("Quarantine worker-1 of payments", "Reason: eats memory & <fd> of ")
        assert notifies(card) == set()
        assert (await chat.state(card)).plan.reason.startswith("eats memory & <fd> of")
        await chat.thread(card, until="Run done")


async def test_a_reason_cannot_ping_anybody(tmp_path: Path, process: SupervisedProcess, payments: str) -> None:
    async with Chat(tmp_path, payments) as chat:
        await chat.types("alice", "/supervisor quarantine worker-1 --reason '<!channel> <@U0SCOT> @here'")
        card = await chat.sees("Quarantine worker-1 of payments", "Reason: ")
        await chat.thread(card, until="Run done")
        assert live([arguments for _, arguments in chat.slack.calls]) == set()


# -- what Slack does


async def test_everything_happens_once_however_often_slack_delivers_it(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    async with Chat(tmp_path, payments) as chat:
        chat.slack.duplicate_deliveries = 3
        await chat.types("alice", "/supervisor status")
        await chat.sees("payments: ")
        await chat.types("alice", "/supervisor quarantine fraud-scorer")
        card = await chat.sees("Quarantine fraud-scorer of payments")
        asked = await chat.sees("Step 1 needs a decision", thread=card)
        page = await chat.sees("needs you")
        await chat.says("bob", "@opsbot ack", thread=card)
        await chat.shows(page, "Acknowledged by bob")
        await chat.presses("bob", "Failed", asked)
        lines = await chat.thread(card, until="Run ended as failed by bob")
        assert len(lines) == len(set(lines)) == 5
        assert len(chat.channel()) == 3
        assert chat.slack.ephemerals("U0BOB", "C0OPS") == []
        assert process.executed == ["quarantine_child /fraud-scorer"]


async def test_an_event_that_slack_sends_again_is_heard_once(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    """The bot was away when somebody mentioned it: Slack tries again, the first try that arrives counts."""
    async with Chat(tmp_path, payments) as chat:
        await chat.stop_bot()
        await chat.says("alice", "@opsbot quarantine worker-1")
        await chat.start_bot()
        await chat.passes(seconds=61)
        card = await chat.sees("Quarantine worker-1 of payments")
        await chat.shows(card, "Done after")
        await chat.passes(minutes=6)
        await chat.thread(card, until="Run done")
        assert [each.retry for each in chat.slack.deliveries if each.ok] == [2]
        assert process.executed == ["quarantine_child /worker-1"]


async def test_a_command_where_the_bot_is_no_member(tmp_path: Path, process: SupervisedProcess, payments: str) -> None:
    """Who asks is answered there; the run goes where everybody sees it."""
    async with Chat(tmp_path, payments) as chat:
        await chat.types("alice", "/supervisor status", channel="secret")
        await chat.is_told("alice", "payments: ", channel="secret")
        await chat.types("alice", "/supervisor quarantine fraud-scorer", channel="secret")
        card = await chat.sees("Quarantine fraud-scorer of payments", channel="ops")
        asked = await chat.sees("Step 1 needs a decision", thread=card)
        in_thread = await chat.sees("needs you", thread=card)
        page = await chat.sees("needs you")
        await chat.presses("scotlaclair", "Acknowledge", page)
        for each in (page, in_thread):
            await chat.shows(each, "Acknowledged by scotlaclair")
        await chat.presses("alice", "Failed", asked)
        await chat.thread(card, until="Run ended as failed by alice")
        await chat.is_told(
            "alice", "Quarantine fraud-scorer of payments: I am not a member of this channel", channel="secret"
        )


# -- the bot goes away


async def test_a_bot_that_is_stopped_in_the_middle_goes_on_where_it_was(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    """The same card, the same deadlines; the click that nobody took is shown to have failed, the next one works."""
    async with Chat(tmp_path, payments) as chat:
        await chat.types("alice", "/supervisor quarantine fraud-scorer")
        card = await chat.sees("Quarantine fraud-scorer of payments")
        asked = await chat.sees("Step 1 needs a decision", thread=card)
        await chat.thread(card, until="needs you")
        page = await chat.sees("needs you")
        before = await chat.state(card)
        await chat.rests()
        await chat.stop_bot()
        lost = await chat.slack.press("U0SCOT", "C0OPS", page.ts, label="Acknowledge")
        assert lost.failure == "connection_failed"
        await chat.passes(seconds=30)
        await chat.start_bot()
        assert await chat.state(card) == before
        edited = card.updates
        await chat.presses("scotlaclair", "Acknowledge", page)
        await chat.shows(page, "Acknowledged by scotlaclair")
        await chat.shows(card, "page acknowledged by scotlaclair")
        assert card.updates > edited
        await chat.presses("alice", "Failed", asked)
        assert len(await chat.thread(card, until="Run ended as failed by alice")) == 5
        assert len(chat.channel()) == 2
        assert process.executed == ["quarantine_child /fraud-scorer"]


async def test_a_deadline_that_passed_while_the_bot_was_away(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    async with Chat(tmp_path, payments) as chat:
        await chat.types("alice", "/supervisor quarantine fraud-scorer")
        card = await chat.sees("Quarantine fraud-scorer of payments")
        await chat.thread(card, until="needs you")
        page = await chat.sees("needs you.")
        await chat.rests()
        await chat.stop_bot()
        await chat.passes(minutes=25)
        await chat.start_bot()
        again = await chat.sees("needs you (2nd page).", "used up its 2 min")
        await chat.thread(card, until="needs you (2nd page).")
        await chat.presses("scotlaclair", "Acknowledge", again)
        await chat.shows(page, "Acknowledged by scotlaclair")
        await chat.says("scotlaclair", "@opsbot cancel", thread=card)
        await chat.thread(card, until="Run cancelled by scotlaclair")
