"""What the bot hears on GitHub beside comments, what need not be said there, and who may say it."""

from __future__ import annotations

from pathlib import Path

import aiohttp

from bot.demo.supervised_process import SupervisedProcess
from tests.transcript import ON_GITHUB_ALONE, ON_GITHUB_TOO, Chat

NEWS = """
[notifications.log]
product = "somas"
channel = "C0DEV"
seconds = 3600
"""


async def test_a_command_in_the_text_of_a_new_issue(tmp_path: Path, root: Path, somas: str) -> None:
    async with Chat(tmp_path, somas, settings=ON_GITHUB_ALONE) as chat:
        number = chat.github.issue("The gate is red", by="alice", body="Since noon.\n\n/somas status project-42")
        await chat.github.settled()
        await chat.sees_comment("project-42: failed at verify", issue=number)
        await chat.until(lambda: chat.github.reactions_to_issue(number) == ["+1"], "the reaction to the issue itself")
        await chat.passes(seconds=61)  # the poller reads the issue too
        await chat.rests()
        assert [login for login, _ in chat.github.comments(number)] == ["opsbot"]


async def test_what_became_of_a_run_is_a_reaction_to_the_issue_that_asked_for_it(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    """Eyes while it is under way, a rocket when it is done; one that is refused looks confused."""
    async with Chat(tmp_path, payments, settings=ON_GITHUB_ALONE) as chat:
        asked = chat.github.issue("Quarantine it", by="alice", body="/supervisor quarantine fraud-scorer")
        await chat.github.settled()
        await chat.sees_comment("Quarantine fraud-scorer of payments", "waiting for a decision", issue=asked)
        await chat.until(lambda: chat.github.reactions_to_issue(asked) == ["eyes"], "the eyes")
        await chat.comments("alice", "/runs done", issue=asked)
        await chat.sees_comment("Done after", issue=asked)
        await chat.until(lambda: chat.github.reactions_to_issue(asked) == ["rocket"], "the rocket")
        refused = chat.github.issue("Let me", by="mallory", body="/supervisor quarantine worker-1")
        await chat.github.settled()
        await chat.sees_comment("needs an operator, and you are not one", issue=refused)
        await chat.until(lambda: chat.github.reactions_to_issue(refused) == ["confused"], "the confusion")
        await chat.rests()
        chat.github.read(asked), chat.github.read(refused), chat.github.read(42)


async def test_a_command_in_a_new_issue_that_no_webhook_brought(tmp_path: Path, root: Path, somas: str) -> None:
    async with Chat(tmp_path, somas, settings=ON_GITHUB_ALONE) as chat:
        await chat.passes(seconds=70)
        chat.github.deliveries.drop = 1
        number = chat.github.issue("The gate is red", by="alice", body="/somas status project-42")
        await chat.github.settled()
        await chat.passes(seconds=61)
        await chat.sees_comment("project-42: failed at verify", issue=number)


async def test_in_the_issue_of_a_project_it_need_not_be_named(tmp_path: Path, root: Path, somas: str) -> None:
    async with Chat(tmp_path, somas, settings=ON_GITHUB_ALONE) as chat:
        await chat.comments("alice", "/somas status")
        await chat.sees_comment("project-42: failed at verify")
        await chat.comments("alice", "/somas restart --from verify --dry-run")
        await chat.sees_comment("project-42", "Watch until the stage runs")
        other = chat.github.issue("A question", by="alice")
        await chat.comments("alice", "/somas restart", issue=other)
        await chat.sees_comment("project", issue=other)


async def test_another_project_can_be_named_there(tmp_path: Path, root: Path, somas: str) -> None:
    names = sorted(path.name for path in (root / ".somas/projects").iterdir() if path.name.startswith("project-"))
    other = next(name for name in names if name != "project-42")
    async with Chat(tmp_path, somas, settings=ON_GITHUB_ALONE) as chat:
        await chat.comments("alice", f"/somas status {other}")
        await chat.sees_comment(other)


async def test_a_role_in_the_repository_is_a_right(tmp_path: Path, root: Path, somas: str) -> None:
    settings = ON_GITHUB_ALONE.replace("operators = [", 'operators = ["github-role:maintain", ')
    assert settings != ON_GITHUB_ALONE
    async with Chat(tmp_path, somas, settings=settings) as chat:
        chat.github.set_role("dave", "triage")
        await chat.comments("dave", "/somas restart project-42 --dry-run")
        await chat.sees_comment("needs an operator", "everybody with the role maintain or more")
        chat.github.set_role("dave", "maintain")
        await chat.passes(seconds=61)
        await chat.comments("dave", "/somas restart project-42 --dry-run")
        await chat.sees_comment("project-42", "Nothing was")


async def test_the_label_of_the_circuit_breaker_is_told_at_once(tmp_path: Path, root: Path, somas: str) -> None:
    """Not at the next look, which is an hour away."""
    async with Chat(tmp_path, somas + NEWS, settings=ON_GITHUB_TOO) as chat:
        chat.github.set_role("scotlaclair", "admin")
        await chat.passes(seconds=6)
        await label(chat, "somas:circuit-breaker")
        told = await chat.sees("project-42: scotlaclair set somas:circuit-breaker on issue 42", channel="dev")
        assert "more event" not in told.shown
        await label(chat, "quality:blocked")  # no news
        await chat.rests()


async def label(chat: Chat, name: str) -> None:
    url = f"{chat.github.api_url}/repos/acme/somas/issues/42/labels"
    headers = {"Authorization": f"Bearer {chat.github.token_of('scotlaclair')}"}
    async with aiohttp.ClientSession() as person, person.post(url, json={"labels": [name]}, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
    await chat.github.settled()
