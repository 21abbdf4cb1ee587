"""``operators = ["slack-group:S0ONCALL"]``: who may do what changes with the user group, and only with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.access import Access
from bot.errors import SettingsError
from bot.incoming import Actor
from tests.transcript import ALWAYS, PEOPLE, SLACK, Chat

GROUPS = ALWAYS + SLACK + '[access]\noperators = ["slack-group:S0ONCALL"]\nadmins = ["slack:U0SCOT"]\nviewers = ["*"]\n'
CAROL = Actor(surface="slack", id="U0CAROL")


class Rota(Chat):
    """Carol is on call; the group is there before the bot starts."""

    async def start_bot(self) -> None:
        if not self.slack.space.groups:
            self.slack.add_user_group("S0ONCALL", "oncall", [PEOPLE["carol"]])
        await super().start_bot()


async def readiness(chat: Chat) -> list[str]:
    assert chat.bot is not None
    return [problem for name, check in chat.bot._checks if "groups" in name for problem in await check()]


async def test_who_is_on_call_may_and_who_left_may_not(tmp_path: Path) -> None:
    async with Rota(tmp_path, settings=GROUPS) as chat:
        assert chat.bot is not None
        access = chat.bot.access
        assert await readiness(chat) == []
        await chat.types("alice", "/runs freeze 'a release'")
        refused = await chat.is_told("alice", "needs an operator", "and you are not one")
        assert "Who may: the Slack user group @oncall, scotlaclair." in refused.shown
        await chat.types("carol", "/runs freeze 'a release'")
        await chat.sees("A release")

        chat.slack.space.groups["S0ONCALL"].members[:] = [PEOPLE["alice"]]  # the shift changes
        await chat.passes(seconds=61)
        await chat.until(lambda: not access.allows(CAROL, "operator"), "the new shift", passing=0)
        await chat.types("carol", "/runs thaw")
        await chat.is_told("carol", "/runs thaw needs an operator")
        await chat.types("alice", "/runs thaw")
        await chat.until(lambda: len(chat.channel()) >= 2, "the thaw")
        chat.read()


async def test_a_group_that_cannot_be_asked_for_counts_ten_minutes_and_then_for_nobody(tmp_path: Path) -> None:
    async with Rota(tmp_path, settings=GROUPS) as chat:
        assert chat.bot is not None
        access = chat.bot.access
        chat.slack.faults.server_error("usergroups.list", times=12)
        for _minute in range(10):
            await chat.passes(seconds=60)
        assert access.allows(CAROL, "operator")
        await chat.passes(seconds=60)
        assert not access.allows(CAROL, "operator")
        (problem,) = await readiness(chat)
        assert "the user groups of [access] cannot be read, so nobody has rights by one" in problem
        await chat.types("carol", "/runs freeze 'a release'")
        await chat.is_told("carol", "needs an operator")
        for _minute in range(3):
            await chat.passes(seconds=60)
        await chat.until(lambda: access.allows(CAROL, "operator"), "the group again", passing=0)
        assert await readiness(chat) == []


async def test_without_the_scope_or_the_group_readyz_says_what_is_missing(tmp_path: Path) -> None:
    async with Rota(tmp_path, settings=GROUPS) as chat:
        assert chat.bot is not None
        await chat.stop_bot()
        chat.slack.api.scopes = frozenset({"chat:write"})
        await chat.start_bot()
        (problem,) = await readiness(chat)
        assert "missing_scope" in problem and "Needed: usergroups:read" in problem
        await chat.stop_bot()
        chat.slack.api.scopes = None
        chat.slack.space.groups.clear()
        chat.slack.add_user_group("S0OTHER", "others", [])
        await chat.start_bot()
        assert await readiness(chat) == ["access: Slack has no user group S0ONCALL, or it is disabled."]


def test_the_only_one_in_the_group_cannot_be_approved_by_it() -> None:
    class Group:
        def __init__(self, *members: str) -> None:
            self._members = frozenset(members)

        def members(self, group: str) -> frozenset[str]:
            return self._members if group == "S0ONCALL" else frozenset()

        def name(self, group: str) -> str:
            return f"@{group.lower()}"

    access = Access(operators=["slack-group:S0ONCALL"])
    assert access.only_operator(CAROL) and not access.allows(CAROL, "operator")
    access.groups = Group("U0CAROL")
    assert access.only_operator(CAROL) and access.allows(CAROL, "operator")
    access.groups = Group("U0CAROL", "U0BOB")
    assert access.approvers(CAROL) == ("the Slack user group @s0oncall",)
    assert access.may_approve(Actor(surface="slack", id="U0BOB"), CAROL)
    assert not access.allows(Actor(surface="github", id="U0CAROL", login="U0CAROL"), "operator")


@pytest.mark.parametrize("entry", ["slack-group:@oncall", "slack-group:", "slack-group:*"])
def test_a_group_is_named_by_its_id(entry: str) -> None:
    with pytest.raises(SettingsError, match=r"Write its id, not its handle"):
        Access(operators=[entry])
