"""Somebody is called until somebody answers: what people see on Slack and on GitHub, whatever breaks meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from bot.demo.supervised_process import ChildSpec, ProcessConfig, SupervisedProcess
from tests.transcript import ON_GITHUB_ALONE, ON_GITHUB_TOO, SETTINGS, Chat, notifies, run_id

COLUMNS = "| Step | Action | Expected Metrics | Estimated Duration |\n|---|---|---|---|\n"
CHAIN = 'chain = ["scotlaclair", "alice", "bob"]\n[escalation.levels]\nL2 = ["carol"]\n'
CAROL = '[people.carol]\nslack = "U0CAROL"\ngithub = "carol"\n'


def calls(settings: str, more: str = "") -> str:
    """With a chain of three, and a second level."""
    return settings.replace('contact = "scotlaclair"\n', more + CHAIN) + CAROL


def by_hand(*clauses: str, severity: str = "critical", minutes: int = 2) -> str:
    listed = "".join(f"- {clause}\n" for clause in clauses)
    escalation = f"escalation:\n{listed}" if clauses else ""
    return (
        f"---\nid: K-1\nseverity: {severity}\n{escalation}---\n\n# Rotate the key\n\n{COLUMNS}"
        f"| 1 | Make a new key | Two keys | {minutes}min |\n\n**Escalation**: Call security.\n"
    )


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "runbooks"
    folder.mkdir()
    (folder / "key.md").write_text(by_hand())
    return folder


@pytest.fixture
def books(own: Path) -> str:
    return f'[runbooks]\npaths = ["{own}"]\n'


async def readiness(chat: Chat) -> list[str]:
    assert chat.bot is not None
    async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{chat.bot.port}/readyz") as answer:
        problems: list[str] = (await answer.json())["problems"]
        assert (answer.status == 200) == (not problems)
        return problems


async def is_not_ready(chat: Chat, *wanted: str) -> None:
    """Until ``/readyz`` says all this."""
    for _ in range(20):
        problems = await readiness(chat)
        if all(any(text in problem for problem in problems) for text in wanted):
            return
        await chat.passes(seconds=1)
    raise AssertionError(f"{wanted} not in {problems}")


async def all_pages_say(chat: Chat, text: str, count: int, issue: int) -> None:
    """Until every page on the issue says so; they are read then."""

    def look() -> bool:
        found = [body for body in chat.github.read(issue) if ":page" in body]
        return len(found) == count and all(text in body for body in found)

    await chat.until(look, f"{count} pages on #{issue} that say {text}")


async def seconds_pass(chat: Chat, seconds: int = 10) -> None:
    """GitHub takes one edit a second: time for what is on its way."""
    for _ in range(seconds):
        await asyncio.sleep(0.04)
        await chat.clock.advance(1)


async def metric(chat: Chat, name: str) -> float:
    assert chat.bot is not None
    async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{chat.bot.port}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return float(next(line for line in lines if line.startswith(name)).rpartition(" ")[2])


# -- severity and chain


async def test_a_critical_page_every_five_minutes_each_to_one_more_until_somebody_answers(
    tmp_path: Path, books: str
) -> None:
    async with Chat(tmp_path, books, settings=calls(SETTINGS)) as chat:
        await chat.types("alice", "/runs start K-1")
        card = await chat.sees("Rotate the key", "For a person")
        await chat.sees("Step 1 is for a person", thread=card)
        await chat.passes(minutes=2)
        first = await chat.sees("Rotate the key: K-1", "needs you.", "Step 1 has used up its 2 min")
        assert notifies(first) == {"@U0SCOT"}
        assert "critical, to be answered until" in first.shown
        assert "Open the run" in first.shown
        assert first.labels == ["Acknowledge", "Done", "Failed", "Skip"]
        await chat.passes(minutes=5)
        second = await chat.sees("needs you (2nd page, now also alice).", "for 5 min")
        assert notifies(second) == {"@U0SCOT", "@U0ALICE"}
        await chat.passes(minutes=5)
        third = await chat.sees("needs you (3rd page, now also bob).")
        assert notifies(third) == {"@U0SCOT", "@U0ALICE", "@U0BOB"}
        await chat.shows(card, "Paged scotlaclair, alice, bob 3 times", "not acknowledged yet")
        assert await metric(chat, 'opsbot_escalations_open{severity="critical"}') == 1

        await chat.presses("bob", "Acknowledge", second)
        for page in (first, second, third):
            await chat.shows(page, "Acknowledged by bob", "10 min after the first page")
            assert page.labels == [], "an old page still has its button"
        assert sum("acknowledged the page" in said for said in await chat.thread(card, until="bob acknowledged")) == 1
        await chat.passes(minutes=30)
        await chat.rests()
        assert sum("needs you" in said for said in await chat.thread(card, until="Step 1")) == 0, "paged after all"
        assert await metric(chat, 'opsbot_escalations_open{severity="critical"}') == 0
        await chat.says("bob", "@opsbot done", thread=card)
        await chat.thread(card, until="Run done")


async def test_who_is_on_call_counts_when_the_page_is_opened_and_stays(tmp_path: Path, own: Path, books: str) -> None:
    """New settings come with a new start; what is open goes on as it was opened, with the ids of that time."""
    async with Chat(tmp_path, books, settings=calls(SETTINGS)) as chat:
        await chat.types("alice", "/runs start K-1")
        card = await chat.sees("Rotate the key")
        await chat.sees("Step 1 is for a person", thread=card)
        await chat.rests()
        await chat.stop_bot()
        chat._settings = chat._settings.replace('["scotlaclair", "alice", "bob"]', '["bob", "alice"]')
        await chat.start_bot()
        await chat.passes(minutes=2)
        first = await chat.sees("needs you.")
        assert notifies(first) == {"@U0BOB"}
        await chat.thread(card, until="needs you.")
        await chat.rests()
        await chat.stop_bot()
        chat._settings = chat._settings.replace('["bob", "alice"]', '["carol"]').replace("U0BOB", "U0NOBODY")
        await chat.start_bot()
        await chat.passes(minutes=5)
        second = await chat.sees("needs you (2nd page, now also alice).")
        assert notifies(second) == {"@U0BOB", "@U0ALICE"}
        await chat.presses("alice", "Acknowledge", first)
        await chat.shows(second, "Acknowledged by alice")
        await chat.says("alice", "@opsbot cancel", thread=card)
        await chat.thread(card, until="Run cancelled")


async def test_an_old_button_answers_no_new_question(tmp_path: Path, own: Path, books: str) -> None:
    """The first page of two still shows Done for step 1, when the run is at step 2 already."""
    two = by_hand().replace("| 2min |\n", "| 2min |\n| 2 | Remove the old key | One key | 60min |\n")
    (own / "key.md").write_text(two)
    async with Chat(tmp_path, books, settings=calls(SETTINGS)) as chat:
        await chat.types("alice", "/runs start K-1")
        card = await chat.sees("Rotate the key")
        asked = await chat.sees("Step 1 is for a person", thread=card)
        await chat.passes(minutes=2)
        first = await chat.sees("needs you.")
        await chat.passes(minutes=5)
        second = await chat.sees("needs you (2nd page, now also alice).")
        await chat.presses("bob", "Done", second)
        await chat.sees("Step 2 is for a person", thread=card)
        for old in (first, asked):
            await chat.presses("alice", "Done", old)
            await chat.is_told("alice", "Step 1 is over, and the run is at step 2 now. Look at its card")
        await chat.shows(second, "Now at: step 2: Remove the old key")
        await chat.presses("alice", "Acknowledge", first)
        await chat.shows(second, "Acknowledged by alice")
        await chat.thread(card, until="acknowledged the page")
        await chat.says("bob", "@opsbot cancel", thread=card)
        await chat.thread(card, until="Run cancelled")


# -- both surfaces


@pytest.mark.parametrize("answers_on", ["slack", "github"])
async def test_acknowledged_on_one_surface_is_told_on_both(tmp_path: Path, books: str, answers_on: str) -> None:
    async with Chat(tmp_path, books, settings=calls(ON_GITHUB_TOO)) as chat:
        await chat.comments("alice", "/runs start K-1")
        card = await chat.sees("Rotate the key")
        await chat.sees("Step 1 is for a person", thread=card)
        await chat.passes(minutes=2)
        await seconds_pass(chat)
        on_issue = await chat.sees_comment("@scotlaclair", "needs you.")
        in_slack = await chat.sees("needs you.")
        await chat.passes(minutes=5)
        await seconds_pass(chat)
        await chat.sees_comment("@alice", "2nd page, now also alice")
        again = await chat.sees("2nd page, now also alice")
        if answers_on == "slack":
            await chat.presses("scotlaclair", "Acknowledge", in_slack)
        else:
            await chat.comments("scotlaclair", f"/runs ack {run_id(on_issue)}")
        await seconds_pass(chat)
        for page in (in_slack, again):
            await chat.shows(page, "Acknowledged by scotlaclair")
            assert page.labels == []
        await chat.sees("scotlaclair acknowledged the page", thread=card)
        await all_pages_say(chat, "Acknowledged by scotlaclair", 2, 42)
        assert not any("/runs ack" in body for login, body in chat.github.comments(42) if login == "opsbot")
        await chat.thread(card, until="acknowledged the page")
        await chat.comments("alice", f"/runs cancel {run_id(card)}")
        await seconds_pass(chat, 5)
        await chat.thread(card, until="Run cancelled")
        await chat.sees_comment("Cancelled")


# -- undeliverable


async def test_what_slack_does_not_take_goes_to_github_and_is_answered_there(tmp_path: Path, books: str) -> None:
    """The channel was archived: the page is a comment on the configured issue, whose author's answer counts."""
    async with Chat(tmp_path, books, settings=calls(ON_GITHUB_TOO, "issue = 42\n")) as chat:
        await chat.types("alice", "/runs start K-1", channel="dev")
        card = await chat.sees("Rotate the key", channel="dev")
        await chat.sees("Step 1 is for a person", thread=card)
        chat.slack.space.channels["C0OPS"].archived = True
        await chat.passes(minutes=2)
        page = await chat.sees_comment(
            "@scotlaclair", "needs you.", "Slack did not take this page", "Unarchive the channel"
        )
        await chat.sees("needs you.", thread=card)
        await chat.shows(card, "Slack does not take the page: is_archived", "It went to GitHub")
        assert any("A page of run" in problem and "is_archived" in problem for problem in await readiness(chat))
        await chat.comments("scotlaclair", f"/runs ack {run_id(page)}")
        await chat.sees_comment("Acknowledged by scotlaclair")
        await chat.sees("scotlaclair acknowledged the page", thread=card)
        await chat.until(lambda: "does not take the page" not in card.shown, "a card without trouble")
        assert await readiness(chat) == []
        chat.slack.space.channels["C0OPS"].archived = False
        await chat.passes(minutes=10)
        assert chat.channel() == [], "a page that was acknowledged came late"
        await chat.says("alice", "@opsbot cancel", thread=card)
        await chat.thread(card, until="Run cancelled")


async def test_without_a_configured_issue_one_is_opened_for_such_pages(tmp_path: Path, books: str) -> None:
    async with Chat(tmp_path, books, settings=calls(ON_GITHUB_TOO)) as chat:
        await chat.types("alice", "/runs start K-1", channel="dev")
        card = await chat.sees("Rotate the key", channel="dev")
        await chat.sees("Step 1 is for a person", thread=card)
        chat.slack.space.channels["C0OPS"].archived = True
        await chat.passes(minutes=2)
        await chat.sees_comment("@scotlaclair", "needs you.", "Slack did not take this page", issue=43)
        assert chat.github.issue_state(43).title == "Pages of opsbot that could not be delivered elsewhere"
        await chat.sees("needs you.", thread=card)
        await chat.passes(minutes=5)
        await chat.sees_comment("2nd page, now also alice", issue=43)
        await chat.sees("2nd page", thread=card)
        await chat.says("alice", "@opsbot ack", thread=card)
        await seconds_pass(chat)
        await chat.sees_comment("Acknowledged by alice", issue=43)
        await chat.thread(card, until="alice acknowledged the page")
        chat.slack.space.channels["C0OPS"].archived = False
        await chat.says("alice", "@opsbot cancel", thread=card)
        await chat.thread(card, until="Run cancelled")
        await all_pages_say(chat, "Acknowledged by alice", 2, 43)


async def test_a_slack_that_is_away_for_minutes_does_not_hold_the_page_back(tmp_path: Path, books: str) -> None:
    async with Chat(tmp_path, books, settings=calls(ON_GITHUB_TOO, "issue = 42\n")) as chat:
        await chat.types("alice", "/runs start K-1")
        card = await chat.sees("Rotate the key")
        await chat.sees("Step 1 is for a person", thread=card)
        await chat.rests()
        chat.slack.faults.server_error("*", times=100_000)
        await chat.passes(minutes=2)
        for _ in range(13):
            await chat.passes(seconds=10)
        page = await chat.sees_comment("@scotlaclair", "needs you.", "Slack did not take this page")
        chat.slack.faults.clear()
        in_slack = await chat.sees("needs you.")  # it arrives there as well, once
        await chat.comments("scotlaclair", f"/runs ack {run_id(page)}")
        await chat.shows(in_slack, "Acknowledged by scotlaclair")
        await chat.sees_comment("Acknowledged by scotlaclair")
        await chat.thread(card, until="acknowledged the page")
        await chat.says("alice", "@opsbot cancel", thread=card)
        await chat.thread(card, until="Run cancelled")


async def test_an_open_breaker_sends_the_page_the_other_way_at_once(tmp_path: Path, books: str) -> None:
    """Slack has failed so often that it is not even asked: nobody waits two minutes for it."""
    limits = "[breakers]\nseconds = 300\n"
    async with Chat(tmp_path, books + limits, settings=calls(ON_GITHUB_TOO, "issue = 42\n")) as chat:
        await chat.types("alice", "/runs start K-1")
        card = await chat.sees("Rotate the key")
        await chat.sees("Step 1 is for a person", thread=card)
        await chat.rests()
        assert chat.bot is not None
        slack = chat.bot.breakers.find("slack")
        assert slack is not None
        slack.trip("HTTP 503")
        await chat.passes(minutes=2)
        due = chat.clock.now()
        page = await chat.sees_comment("@scotlaclair", "needs you.", "breaker for Slack is open: HTTP 503")
        assert chat.clock.now() - due < timedelta(seconds=30)
        await chat.comments("scotlaclair", f"/runs ack {run_id(page)}")
        await chat.sees_comment("Acknowledged by scotlaclair")
        slack.reset("it answers again")
        await chat.passes(minutes=5)  # what waits for Slack was told to come again then
        await chat.sees("acknowledged the page", thread=card)
        await chat.thread(card, until="acknowledged the page")
        await chat.says("alice", "@opsbot cancel", thread=card)
        await chat.thread(card, until="Run cancelled")


async def test_a_page_goes_the_other_way_as_soon_as_the_other_way_is_open(tmp_path: Path, books: str) -> None:
    """Both are away when it is due, and no issue can be opened for pages; GitHub is back first."""
    async with Chat(tmp_path, books, settings=calls(ON_GITHUB_TOO)) as chat:
        await chat.types("alice", "/runs start K-1", channel="dev")
        card = await chat.sees("Rotate the key", channel="dev")
        await chat.sees("Step 1 is for a person", thread=card)
        chat.slack.space.channels["C0OPS"].archived = True
        chat.github.fail(503, path="/issues", times=3)
        await chat.passes(minutes=2)
        await chat.sees("needs you.", thread=card)
        await chat.sees_comment("@scotlaclair", "needs you.", "Slack did not take this page", issue=43)
        await chat.says("alice", "@opsbot ack", thread=card)
        await seconds_pass(chat)
        await chat.sees_comment("Acknowledged by alice", issue=43)
        await chat.thread(card, until="alice acknowledged the page")
        chat.slack.space.channels["C0OPS"].archived = False
        await chat.says("alice", "@opsbot cancel", thread=card)
        await chat.thread(card, until="Run cancelled")


async def test_what_nobody_takes_is_tried_again_and_everybody_can_see_that(tmp_path: Path, books: str) -> None:
    async with Chat(tmp_path, books, settings=calls(ON_GITHUB_TOO, "issue = 42\n")) as chat:
        await chat.types("alice", "/runs start K-1", channel="dev")
        card = await chat.sees("Rotate the key", channel="dev")
        await chat.sees("Step 1 is for a person", thread=card)
        chat.slack.space.channels["C0OPS"].archived = True
        chat.github.fail(404, method="POST", path="/comments", times=1000)
        await chat.passes(minutes=2)
        await chat.sees("needs you.", thread=card)
        await chat.shows(card, " does not take the page: ", "It is tried again")
        await is_not_ready(chat, "does not reach slack C0OPS: is_archived", "does not reach github acme/somas: GitHub")
        assert await metric(chat, "opsbot_pages_waiting") == 2
        chat.slack.space.channels["C0OPS"].archived = False
        chat.github._gate.faults.clear()
        await chat.passes(minutes=1)
        await chat.sees_comment("@scotlaclair", "needs you.")
        page = await chat.sees("needs you.")
        await chat.presses("scotlaclair", "Acknowledge", page)
        await chat.shows(page, "Acknowledged by scotlaclair")
        await chat.sees_comment("Acknowledged by scotlaclair")
        await chat.thread(card, until="acknowledged the page")
        await chat.until(lambda: "does not take" not in card.shown, "a card without trouble")
        await chat.rests()
        assert await readiness(chat) == []
        await chat.says("alice", "@opsbot cancel", thread=card)
        await chat.thread(card, until="Run cancelled")


# -- what the runbook says


async def test_a_restart_that_fails_twice_calls_the_second_level_with_what_the_runbook_wants(
    tmp_path: Path, own: Path, books: str, process: SupervisedProcess, payments: str
) -> None:
    (own / "restart.md").write_text(
        "---\nid: R-1\nproduct: supervisor\ntarget: child\ndanger: read\nescalation:\n"
        "- when: step 1 fails twice\n  page: L2\n  attach:\n  - step 1\n  - handle.health()\n  - children.running\n"
        "---\n\n"
        f"# Restart\n\n{COLUMNS}| 1 | Look: `handle.current_state()` | `children.running > 50` | 9min |\n\n"
        "**Escalation**: If the restart fails twice, escalate to L2 with core dump and logs.\n"
    )
    async with Chat(tmp_path, books + payments, settings=calls(ON_GITHUB_TOO)) as chat:
        await chat.comments("alice", "/runs start R-1 worker-1")
        card = await chat.sees("Restart: worker-1")
        asked = await chat.sees("Step 1 needs a decision", thread=card)
        first = await chat.sees("needs you.")
        assert notifies(first) == {"@U0SCOT"}
        await chat.sees_comment("@scotlaclair", "needs you.")
        await chat.presses("carol", "Acknowledge", first)  # a viewer, and not called yet
        await chat.is_told("carol", "Only an operator, or somebody whom the page calls", "scotlaclair")
        await chat.presses("bob", "Retry", asked)
        await seconds_pass(chat)
        second = await chat.sees("needs you (2nd page, now also carol).", "L2 is called, because the runbook says so")
        assert notifies(second) == {"@U0SCOT", "@U0CAROL"}
        await chat.shows(second, "children.running = ", "Step 1: Look", "(handle.health())")
        await chat.sees_comment("@carol", "2nd page, now also carol", "children.running = ", "Step 1: Look")
        in_thread = await chat.sees("The runbook's escalation: step 1 has failed twice", thread=card)
        assert "children.running = " in in_thread.shown
        await chat.presses("carol", "Retry", second)
        await chat.is_told("carol", "needs an operator")
        await chat.presses("carol", "Acknowledge", second)  # who is called may at least say that she has seen it
        await seconds_pass(chat)
        for page in (first, second):
            await chat.shows(page, "Acknowledged by carol")
        await chat.sees_comment("Acknowledged by carol")
        await chat.thread(card, until="carol acknowledged the page")
        await chat.comments("alice", f"/runs cancel {run_id(card)}")
        await seconds_pass(chat, 5)
        await chat.thread(card, until="Run cancelled")
        await chat.sees_comment("Cancelled", "Draft the post-incident issue", f"/runs incident {run_id(card)}")


FILES = (
    'when: step 1 is not done in 10min\n  attach: [step 1]\n  issue: {title: "{target} has no key", labels: [bug, key]}'
)


async def test_a_cause_that_is_not_found_in_time_becomes_an_issue_once_although_github_loses_the_answer(
    tmp_path: Path, own: Path, books: str
) -> None:
    (own / "key.md").write_text(by_hand(FILES, severity="high", minutes=60))
    async with Chat(tmp_path, books, settings=calls(ON_GITHUB_TOO)) as chat:
        await chat.types("alice", "/runs start K-1 vault")
        card = await chat.sees("Rotate the key: vault")
        await chat.sees("Step 1 is for a person", thread=card)
        chat.github.fail(502, method="POST", path="/issues", after_storing=True)
        await chat.passes(minutes=10)
        await chat.sees("step 1 was not done in 10min", "No issue was filed", "it is tried again", thread=card)
        await chat.passes(seconds=20)
        told = await chat.sees("The runbook's escalation: step 1 was not done in 10min", "Filed: ", thread=card)
        assert "/issues/43" in told.shown
        issue = chat.github.issue_state(43)
        assert issue.title == "vault has no key"
        assert issue.labels == ["bug", "key"]
        for text in ("Step 1: Make a new key", "Call security.", run_id(card)):
            assert text in issue.body
        with pytest.raises(KeyError):
            chat.github.issue_state(44)
        await chat.says("alice", "@opsbot cancel", thread=card)
        await chat.thread(card, until="Run cancelled")


async def test_a_bot_that_is_stopped_while_it_files_an_issue_finds_it_again(
    tmp_path: Path, own: Path, books: str
) -> None:
    (own / "key.md").write_text(by_hand(FILES, severity="high", minutes=60))
    async with Chat(tmp_path, books, settings=calls(ON_GITHUB_TOO)) as chat:
        await chat.types("alice", "/runs start K-1 vault")
        card = await chat.sees("Rotate the key: vault")
        await chat.sees("Step 1 is for a person", thread=card)
        await chat.rests()
        for _ in range(3):
            chat.github.fail(0, method="POST", path="/issues", after_storing=True)
        await chat.passes(minutes=10)
        await chat.until(lambda: 43 in chat.github._world.repository.issues, "an issue", passing=0)
        await chat.stop_bot()
        chat.github._gate.faults.clear()
        await chat.start_bot()
        await chat.passes(seconds=60)
        await chat.until(lambda: "/issues/43" in chat.transcript(), "the address of the issue")
        assert 44 not in chat.github._world.repository.issues
        await chat.says("alice", "@opsbot cancel", thread=card)
        await chat.thread(card, until="Run cancelled")


async def test_without_github_the_page_says_what_to_file(tmp_path: Path, own: Path, books: str) -> None:
    (own / "key.md").write_text(by_hand(FILES, severity="high", minutes=5))
    async with Chat(tmp_path, books, settings=calls(SETTINGS)) as chat:
        await chat.types("alice", "/runs start K-1 vault")
        card = await chat.sees("Rotate the key: vault")
        await chat.sees("Step 1 is for a person", thread=card)
        await chat.passes(minutes=5)
        page = await chat.sees("needs you.")
        await chat.passes(minutes=5)
        await chat.sees("No issue was filed: ", "GitHub is not configured", thread=card)
        await chat.shows(page, 'File it yourself, with what is attached here: "vault has no key"')
        await chat.presses("alice", "Acknowledge", page)
        await chat.thread(card, until="acknowledged the page")
        await chat.says("alice", "@opsbot cancel", thread=card)
        await chat.thread(card, until="Run cancelled")


async def test_nobody_answers_and_a_start_that_pages_at_once(tmp_path: Path, own: Path, books: str) -> None:
    (own / "key.md").write_text(
        by_hand("when: the run starts\n  tell: Wake the owner.", "when: nobody answers\n  page: L2", minutes=60)
    )
    async with Chat(tmp_path, books, settings=calls(ON_GITHUB_ALONE)) as chat:
        await chat.comments("alice", "/runs start K-1")
        card = await chat.sees_comment("Rotate the key", "Paged scotlaclair 1 time")
        await chat.sees_comment("@scotlaclair", "needs you.", "The runbook says: Wake the owner.")
        for minutes, people in ((5, "@alice"), (5, "now also bob"), (5, "@carol")):
            await chat.passes(minutes=minutes)
            await seconds_pass(chat)
            await chat.sees_comment(people, "needs you")
        await chat.sees_comment("nobody has answered in time", "the time to answer was over at")
        await chat.comments("scotlaclair", f"/runs ack {run_id(card)}")
        await seconds_pass(chat)
        await all_pages_say(chat, "Acknowledged by scotlaclair", 4, 42)
        await chat.comments("alice", f"/runs cancel {run_id(card)}")
        await seconds_pass(chat, 5)
        await chat.sees_comment("Cancelled")


# -- the watchdog


@asynccontextmanager
async def monitor() -> AsyncIterator[tuple[str, list[str]]]:
    """Where heartbeats go: its address, and what was asked of it."""
    asked: list[str] = []

    async def take(request: web.Request) -> web.Response:
        asked.append(f"{request.method} {request.path} {await request.text()}".strip())
        return web.Response(text="OK")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
    finally:
        await runner.cleanup()


async def test_the_watchdog_pages_when_the_run_does_not_and_stops_its_heartbeat(tmp_path: Path, books: str) -> None:
    """What keeps the runs' time has died, so no repetition goes out: the watchdog sends it, and tells the world."""
    async with monitor() as (address, asked):
        told = f'[watchdog]\nheartbeat_url = "{address}/secret"\nfail_url = "{address}/secret/fail"\n'
        async with Chat(tmp_path, books + told, settings=calls(SETTINGS)) as chat:
            assert chat.bot is not None
            chat.bot.watchdog.confirmed_after = 0
            await chat.types("alice", "/runs start K-1")
            card = await chat.sees("Rotate the key")
            await chat.sees("Step 1 is for a person", thread=card)
            await chat.passes(minutes=2)
            first = await chat.sees("needs you.")
            await chat.thread(card, until="needs you.")
            await chat.passes(minutes=1)
            await chat.until(lambda: "GET /secret" in asked, "a heartbeat", passing=0)
            assert await readiness(chat) == []

            (timekeeper,) = (task for task in chat.bot.engine._tasks if "timekeeper" in task.get_name())
            timekeeper.cancel()
            await asyncio.gather(timekeeper, return_exceptions=True)
            await chat.passes(minutes=4)
            for _ in range(3):
                await chat.passes(minutes=1)
            page = await chat.sees("needs you (2nd page, now also alice).", "so the watchdog does")
            assert notifies(page) == {"@U0SCOT", "@U0ALICE"}
            assert any("should have been paged again" in problem for problem in await readiness(chat))
            before = asked.count("GET /secret")
            await chat.passes(minutes=1)
            await chat.passes(minutes=1)
            assert asked.count("GET /secret") == before
            await chat.until(lambda: any(each.startswith("POST /secret/fail") for each in asked), "an alarm", passing=0)
            assert await metric(chat, "opsbot_watchdog_alarms") == 1

            await chat.presses("alice", "Acknowledge", page)
            await chat.shows(first, "Acknowledged by alice")
            for each in chat.read():
                if each.text.startswith("Acknowledged") or "needs you" in each.text:
                    await chat.shows(each, "Acknowledged by alice")
            await chat.passes(minutes=1)
            await chat.until(lambda: asked[-1] == "GET /secret", "the heartbeat again", passing=120)
            assert await readiness(chat) == []
            await chat.thread(card, until="acknowledged the page")
            await chat.says("alice", "@opsbot cancel", thread=card)
            await chat.thread(card, until="Run cancelled")


async def test_a_run_that_nobody_works_on_is_told_although_nothing_was_escalated(tmp_path: Path, books: str) -> None:
    async with Chat(tmp_path, books, settings=calls(SETTINGS)) as chat:
        assert chat.bot is not None
        chat.bot.watchdog.confirmed_after = 0
        await chat.types("alice", "/runs start K-1")
        card = await chat.sees("Rotate the key")
        await chat.sees("Step 1 is for a person", thread=card)
        await chat.rests()
        (timekeeper,) = (task for task in chat.bot.engine._tasks if "timekeeper" in task.get_name())
        timekeeper.cancel()
        for _ in range(4):
            await chat.passes(minutes=1)
        page = await chat.sees("Rotate the key: K-1 is stuck.", "a deadline passed", "restart the bot")
        assert notifies(page) == {"@U0SCOT"}
        assert len(chat.channel()) == 2, "a card and one page"
        await chat.says("alice", "@opsbot cancel", thread=card)
        await chat.thread(card, until="Run cancelled")


async def test_a_stuck_run_is_told_on_github_when_slack_does_not_take_it(tmp_path: Path, books: str) -> None:
    async with Chat(tmp_path, books, settings=calls(ON_GITHUB_TOO, "issue = 42\n")) as chat:
        assert chat.bot is not None
        chat.bot.watchdog.confirmed_after = 0
        await chat.types("alice", "/runs start K-1", channel="dev")
        card = await chat.sees("Rotate the key", channel="dev")
        await chat.sees("Step 1 is for a person", thread=card)
        await chat.rests()
        (timekeeper,) = (task for task in chat.bot.engine._tasks if "timekeeper" in task.get_name())
        timekeeper.cancel()
        chat.slack.space.channels["C0OPS"].archived = True
        for _ in range(6):
            await chat.passes(minutes=1)
        await chat.sees_comment("@scotlaclair", "Rotate the key: K-1 is stuck.", "a deadline passed")
        told = [body for login, body in chat.github.comments(42) if login == "opsbot"]
        assert sum("is stuck" in body for body in told) == 1
        chat.slack.space.channels["C0OPS"].archived = False
        await chat.says("alice", "@opsbot cancel", thread=card)
        await chat.thread(card, until="Run cancelled")
        _read_channel(chat, "is stuck")


# -- the clauses of the shipped runbooks


PANIC = """\
2026-11-22T11:58:00Z payments ready
thread 'main' panicked at src/ledger.rs:88:9:
the ledger is one cent off
stack backtrace:
   0: std::panicking::begin_panic
   1: payments::ledger::settle
             at ./src/ledger.rs:88:9
payments.service: Main process exited, code=dumped, status=6/ABRT
"""
NO_CAUSE = "2026-11-22T11:59:58Z worker-3 takes invoice 4711\n2026-11-22T11:59:59Z worker-3 starts\n"


async def test_p1_001_a_restart_that_fails_twice_calls_the_second_level_with_core_dump_and_logs(
    tmp_path: Path, payments: str
) -> None:
    """The process has panicked, and the configured start does not bring it back."""
    (tmp_path / "payments.log").write_text(PANIC)
    start, cores = (tmp_path / name for name in ("start", "cores"))
    start.write_text(
        "#!/bin/sh\necho started >> %s\necho the ledger is still one cent off\nexit 1\n" % (tmp_path / "tries")
    )
    cores.write_text("#!/bin/sh\necho PID: 4711, Signal: 6 ABRT, Storage: /var/lib/cores/core.payments.4711.zst\n")
    for program in (start, cores):
        program.chmod(0o700)
    commands = f'[supervisor.targets.payments.commands]\nstart = ["{start}"]\ncores = ["{cores}"]\n'
    async with Chat(tmp_path, payments + commands, settings=calls(SETTINGS)) as chat:
        await chat.types("alice", "/runs start P1-001 payments")
        card = await chat.sees("P1-001 Supervisor Process Crash: payments")
        await chat.sees("the end of its log speaks of a crash", thread=card)
        await chat.sees("kept ", "the backtrace of a panic in the log", "core.payments.4711.zst", thread=card)
        asked = await chat.sees("Step 5 needs a decision", "start failed twice", "one cent off", thread=card)
        assert (tmp_path / "tries").read_text().splitlines() == ["started", "started"]
        page = await chat.sees("needs you.", "Step 5", "L2 is called, because the runbook says so")
        assert notifies(page) == {"@U0SCOT", "@U0CAROL"}
        await chat.shows(
            page,
            "start failed twice",  # what has failed
            "core.payments.4711.zst",  # core_dump()
            "payments::ledger::settle",
            "code=dumped, status=6/ABRT",  # journal()
            "health.status",  # handle.health(), or why it cannot be asked
        )
        attached = await chat.sees("The runbook's escalation: step 5 or 6 has failed", thread=card)
        for text in ("core.payments.4711.zst", "payments::ledger::settle", "payments ready", "start ended with 1"):
            assert text in attached.shown, text
        await chat.presses("bob", "Retry", asked)
        await chat.sees("retries step 5", thread=card)
        await chat.until(lambda: len((tmp_path / "tries").read_text().splitlines()) == 4, "two more tries")
        await chat.sees("Step 5 needs a decision", thread=card)
        await chat.says("carol", "@opsbot ack", thread=card)
        await chat.shows(page, "Acknowledged by carol")
        await chat.thread(card, until="acknowledged the page")
        await chat.says("alice", "@opsbot cancel", thread=card)
        await chat.thread(card, until="Run cancelled")
        _read_channel(chat)


def _read_channel(chat: Chat, *pages: str) -> None:
    """Pages that were said again because something new has failed, or that came late."""
    for message in chat.read():
        assert any(text in message.shown for text in (*pages, "needs you", "cknowledged")), message.shown


async def test_p1_002_a_cause_that_is_not_found_in_ten_minutes_becomes_a_bug_with_the_journal(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    """The log names the child and no reason; nobody finds one."""
    (tmp_path / "app.log").write_text(NO_CAUSE)
    target = payments.replace("payments.log", "app.log")
    async with Chat(tmp_path, target, settings=calls(ON_GITHUB_TOO)) as chat:
        await chat.types("alice", "/runs start P1-002 worker-3 --input threshold=0")
        card = await chat.sees("P1-002 Child Task Crash Loop: worker-3")
        await chat.sees("Step 2 needs a decision", "no line of", "names worker-3", thread=card)
        await chat.passes(minutes=2)
        page = await chat.sees("needs you.", "Step 2 has used up its 2 min")
        await chat.presses("bob", "Acknowledge", page)
        await chat.passes(minutes=6)
        late = await chat.sees("needs you.", "The run has used up its 8 min")
        await chat.presses("bob", "Acknowledge", late)
        await chat.passes(minutes=2)
        await chat.sees("step 2 was not done in 10min", "Filed: ", "/issues/43", thread=card)
        issue = chat.github.issue_state(43)
        assert issue.title == "worker-3 crashes again and again, and the cause is not known"
        assert issue.labels == ["bug"]
        for text in (
            "file a bug with the exit reason",
            "children.failed",  # step 1
            "no line of",  # exit_reason(): that there is none
            "worker-3 takes invoice 4711",  # journal()
            "worker-1",  # handle.current_state()
        ):
            assert text in issue.body, text
        await chat.thread(card, until="bob acknowledged the page: the run has used up")
        await chat.says("alice", "@opsbot cancel", thread=card)
        await chat.thread(card, until="Run cancelled")


async def test_p1_004_starvation_that_goes_on_calls_the_second_level_with_the_measurements(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    """No control loop answers a million times a second: it starves, until all non-critical children are tried."""
    async with Chat(tmp_path, payments, settings=calls(SETTINGS)) as chat:
        await chat.types("alice", "/runs start P1-004 worker-1 --input slow=1000000")
        card = await chat.sees("P1-004 Runtime Starvation: worker-1")
        asked = await chat.sees("Step 4 needs approval", "worker-2, worker-3, fraud-scorer", thread=card)
        assert "Left alone: ledger-writer (critical)" in asked.shown
        form = await chat.opens("bob", "Approve…", asked)
        await chat.sends("bob", form, {"Type worker-1 to approve": "worker-1"})
        await chat.sees("✓ Step 4", "no other non-critical child is left", thread=card)
        page = await chat.sees("needs you.", "Step 5", "L2 is called, because the runbook says so")
        assert notifies(page) == {"@U0SCOT", "@U0CAROL"}
        await chat.shows(
            page,
            "iterations_per_sec = ",
            "hello: ",  # the measurements come first in the snapshot, and are what L2 needs
            "state: ",
            "Child ",
            "Step 1: Compare the round trips",
            "Step 4: If",
            "Step 5: Verify that the control loop",
            "(metrics_snapshot())",
            "(handle.health())",
        )
        attached = await chat.sees(
            "The runbook's escalation: step 4 or 5 has failed", "(metrics_snapshot())", thread=card
        )
        assert attached.shown.count("responses/s over 5 s") == 3, "step 1, step 5 and the snapshot for the second level"
        assert attached.shown.count("state: ") == 3
        tried = ("worker-1", "worker-2", "worker-3", "fraud-scorer")
        assert process.executed == [f"quarantine_child /{name}" for name in tried], "and never the critical one"
        await chat.presses("bob", "Acknowledge", page)
        await chat.thread(card, until="acknowledged the page")
        await chat.says("alice", "@opsbot cancel", thread=card)
        await chat.thread(card, until="Run cancelled")


async def test_p1_004_stops_no_more_children_than_have_to_be(tmp_path: Path, payments: str) -> None:
    """worker-2 blocks the control loop, and worker-1 was suspected."""
    specs = tuple(
        ChildSpec(name, drag=0.25 if name == "worker-2" else 0.0) for name in ("worker-1", "worker-2", "worker-3")
    )
    config = ProcessConfig(socket=tmp_path / "payments.sock", name="payments", children=specs, graceful_timeout=3.0)
    async with SupervisedProcess(config) as process, Chat(tmp_path, payments, settings=calls(SETTINGS)) as chat:
        await chat.types("alice", "/runs start P1-004 worker-1 --input slow=5")
        card = await chat.sees("P1-004 Runtime Starvation: worker-1")
        asked = await chat.sees("Step 4 needs approval", "worker-2, worker-3", thread=card)
        form = await chat.opens("bob", "Approve…", asked)
        await chat.sends("bob", form, {"Type worker-1 to approve": "worker-1"})
        await chat.sees("✓ Step 4", "after quarantining worker-2; not needed: worker-3", thread=card)
        await chat.sees("✓ Step 5", "Outcome: met", thread=card)
        await chat.thread(card, until="Run done")
        assert process.executed == ["quarantine_child /worker-1", "quarantine_child /worker-2"]
