"""``operators = ["github-role:maintain"]``: who may is asked of GitHub, at that moment, by numeric id."""

from __future__ import annotations

import pytest

from bot.access import Access, Level
from bot.clock import ManualClock
from bot.demo.github import LocalGitHub
from bot.incoming import Actor
from bot.messages import plain_text
from bot.surfaces.github.client import GitHubSurface
from bot.surfaces.github.roles import RepositoryRoles

ACCESS = Access(admins=["github-role:admin"], operators=["github-role:maintain"], viewers=["github-role:triage"])


@pytest.fixture
def roles(surface: GitHubSurface) -> RepositoryRoles:
    return RepositoryRoles(surface)


def actor_of(github: LocalGitHub, login: str) -> Actor:
    return Actor(surface="github", id=str(github.user_id(login)), login=login)


@pytest.mark.parametrize(
    ("role", "level"),
    [
        ("admin", "admin"),
        ("maintain", "operator"),
        ("write", "viewer"),
        ("triage", "viewer"),
        ("read", None),
        ("none", None),
    ],
)
async def test_a_role_gives_its_level_and_what_is_below(
    github: LocalGitHub, roles: RepositoryRoles, role: str, level: Level | None
) -> None:
    github.set_role("alice", role)
    assert ACCESS.level_of(await roles(actor_of(github, "alice"))) == level


async def test_a_custom_role_is_matched_by_its_name_alone(github: LocalGitHub, roles: RepositoryRoles) -> None:
    github.set_role("alice", "Incident-Lead", extends="maintain")
    alice = await roles(actor_of(github, "alice"))
    assert ACCESS.level_of(alice) is None
    assert Access(operators=["github-role:incident-lead"]).level_of(alice) == "operator"


async def test_a_login_that_was_taken_over_has_no_rights(github: LocalGitHub, roles: RepositoryRoles) -> None:
    github.set_role("alice", "admin")
    impostor = Actor(surface="github", id="999999", login="alice")
    assert ACCESS.level_of(await roles(impostor)) is None


async def test_a_role_that_was_taken_away_ends_within_a_minute(
    github: LocalGitHub, roles: RepositoryRoles, clock: ManualClock
) -> None:
    github.set_role("alice", "maintain")
    alice = actor_of(github, "alice")
    assert ACCESS.allows(await roles(alice), "operator")
    github.set_role("alice", "read")
    await clock.advance(60)
    assert not ACCESS.allows(await roles(alice), "operator")


@pytest.mark.parametrize("status", [403, 500, 502, 429, 0])
async def test_nobody_may_when_github_cannot_say_and_the_refusal_says_why(
    github: LocalGitHub, roles: RepositoryRoles, status: int
) -> None:
    github.set_role("alice", "admin")
    message = "Resource not accessible by integration" if status == 403 else ""
    github.fail(status, path="permission", times=9, message=message)
    alice = await roles(actor_of(github, "alice"))
    assert ACCESS.level_of(alice) is None
    told = plain_text(ACCESS.refusal(alice, "operator", "/somas restart project-42", roles.trouble).blocks)
    assert "GitHub does not tell who may do what, so nobody may" in told
    if status == 403:
        assert "lacks" in told
        assert "permission" in told


async def test_people_of_slack_are_not_asked_about(github: LocalGitHub, roles: RepositoryRoles) -> None:
    before = len(github.exchanges)
    slack = Actor(surface="slack", id="U0ALICE")
    assert await roles(slack) is slack
    assert len(github.exchanges) == before


async def test_the_association_of_a_comment_means_nothing(github: LocalGitHub, roles: RepositoryRoles) -> None:
    """An OWNER by ``author_association`` without a role in the repository may nothing."""
    github.set_role("alice", "none")
    github.comment("alice", 42, "hello")
    assert ACCESS.level_of(await roles(actor_of(github, "alice"))) is None


async def test_the_role_is_never_stored(github: LocalGitHub, roles: RepositoryRoles) -> None:
    github.set_role("alice", "admin")
    alice = await roles(actor_of(github, "alice"))
    assert alice.role == "admin"
    assert "role" not in alice.model_dump_json()
