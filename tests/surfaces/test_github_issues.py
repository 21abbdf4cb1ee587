"""The issue that an escalation files: once, whatever becomes of GitHub's answer."""

from __future__ import annotations

import pytest

from bot.clock import ManualClock
from bot.demo.github import LocalGitHub
from bot.surfaces.delivery import TryLater, Undeliverable
from bot.surfaces.github.client import GitHubSurface
from tests.surfaces.test_github_client import REPO, passing

MARKER = "opsbot:issue=01JD8:0"


async def test_an_issue_is_filed_with_its_labels_and_a_mark_that_nobody_sees(
    github: LocalGitHub, surface: GitHubSurface
) -> None:
    filed = await surface.file_issue(REPO, "worker-3 crashes", "It panics.", ["bug"], MARKER)
    assert filed.number == 43
    assert filed.url.endswith("/issues/43")
    issue = github.issue_state(43)
    assert (issue.title, issue.labels) == ("worker-3 crashes", ["bug"])
    assert issue.body == f"It panics.\n\n<!-- {MARKER} -->"


@pytest.mark.parametrize("status", [502, 0])
async def test_an_answer_that_was_lost_makes_no_second_issue(
    github: LocalGitHub, surface: GitHubSurface, clock: ManualClock, status: int
) -> None:
    github.fail(status, method="POST", path="/issues", after_storing=True)
    with pytest.raises(TryLater) as lost:
        await surface.file_issue(REPO, "worker-3 crashes", "It panics.", [], MARKER)
    assert lost.value.maybe_posted
    again = await passing(clock, surface.file_issue(REPO, "x", "y", [], MARKER, maybe_filed=True))
    assert again.number == 43
    other = await passing(clock, surface.file_issue(REPO, "x", "y", [], "opsbot:issue=other", maybe_filed=True))
    assert other.number == 44


async def test_a_mark_in_somebody_else_s_issue_is_not_ours(
    github: LocalGitHub, surface: GitHubSurface, clock: ManualClock
) -> None:
    github.issue("copied", number=50, by="mallory", body=f"<!-- {MARKER} -->")
    filed = await passing(clock, surface.file_issue(REPO, "x", "y", [], MARKER, maybe_filed=True))
    assert filed.number == 51


async def test_a_repository_without_issues_says_so(github: LocalGitHub, surface: GitHubSurface) -> None:
    github.switch_off_issues()
    with pytest.raises(Undeliverable, match=r"410.*issues are switched off"):
        await surface.file_issue(REPO, "x", "y", [], MARKER)
