"""What the bot writes to GitHub, through PyGithub and real HTTP, and what it says when GitHub refuses."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import pairwise
from typing import Any, TypeVar

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from github.Requester import HTTPRequestsConnectionClass
from pydantic import SecretStr

from bot.clock import Clock, ManualClock, SystemClock
from bot.demo.github import LocalGitHub
from bot.surfaces.delivery import TryLater, Undeliverable
from bot.surfaces.github.client import GitHubSurface, with_marker
from bot.surfaces.github.limiter import WriteLimiter
from tests.surfaces.conftest import Threads, settings_for

T = TypeVar("T")
REPO = "acme/somas"
MARKER = "opsbot:run=01JD8"
HIDDEN = f"<!-- {MARKER} -->"


async def passing(clock: ManualClock, work: Awaitable[T]) -> T:
    """``work``'s result, while the clock moves on whenever it waits for it."""
    task = asyncio.ensure_future(work)
    deadline = time.monotonic() + 20
    while not task.done():
        assert time.monotonic() < deadline, "stuck"
        await asyncio.sleep(0.002)
        await clock.advance(0.25)
    return task.result()


async def test_a_run_s_comment_is_posted_and_edited_in_place(
    github: LocalGitHub, surface: GitHubSurface, clock: ManualClock
) -> None:
    comment = await surface.post(REPO, 42, "step 1 of 2", MARKER)
    assert github.read(42) == [f"step 1 of 2\n\n{HIDDEN}"]
    await passing(clock, surface.update(REPO, comment, "done", MARKER))
    assert github.read(42) == [f"done\n\n{HIDDEN}"]


async def test_unread_comments_are_told(github: LocalGitHub, surface: GitHubSurface, clock: ManualClock) -> None:
    comment = await surface.post(REPO, 42, "hello", MARKER)
    assert github.unread() == [f"#42: hello\n\n{HIDDEN}"]
    github.read(42)
    await passing(clock, surface.update(REPO, comment, "changed", MARKER))
    assert github.unread() == [f"#42: changed\n\n{HIDDEN}"]
    github.read(42)


def test_a_marker_may_be_any_key_and_may_be_given_as_the_whole_comment() -> None:
    key = "opsbot:run=github:acme/somas#7:0:ab12:card"
    assert with_marker("x", key) == with_marker("x", f"<!-- {key} -->") == f"x\n\n<!-- {key} -->"
    assert with_marker("x", "") == "x"


@pytest.mark.parametrize("marker", ["run=1", "opsbot:run=1 --> @alice", "opsbot:a--b", "opsbot:a-", "opsbot:"])
def test_a_marker_that_could_end_its_comment_is_refused(marker: str) -> None:
    with pytest.raises(ValueError, match="is no marker"):
        with_marker("x", marker)


async def test_a_502_after_storing_gives_one_comment(
    github: LocalGitHub, surface: GitHubSurface, clock: ManualClock
) -> None:
    github.fail(502, method="POST", after_storing=True)
    with pytest.raises(TryLater) as later:
        await surface.post(REPO, 42, "hello", MARKER)
    assert later.value.maybe_posted
    assert len(github.read(42)) == 1  # PyGithub's own retry would have posted twice
    comment = await passing(clock, surface.post(REPO, 42, "hello", MARKER, maybe_posted=True))
    assert github.read(42) == [f"hello\n\n{HIDDEN}"]
    await passing(clock, surface.update(REPO, comment, "same one", MARKER))
    assert github.read(42) == [f"same one\n\n{HIDDEN}"]


async def test_a_502_before_storing_is_posted_the_second_time(
    github: LocalGitHub, surface: GitHubSurface, clock: ManualClock
) -> None:
    github.fail(502, method="POST")
    with pytest.raises(TryLater):
        await surface.post(REPO, 42, "hello", MARKER)
    await passing(clock, surface.post(REPO, 42, "hello", MARKER, maybe_posted=True))
    assert github.read(42) == [f"hello\n\n{HIDDEN}"]


async def test_a_connection_that_breaks_leaves_it_open_whether_it_was_posted(
    github: LocalGitHub, surface: GitHubSurface
) -> None:
    github.fail(0, method="POST", after_storing=True)
    with pytest.raises(TryLater, match="does not answer") as later:
        await surface.post(REPO, 42, "hello", MARKER)
    assert later.value.maybe_posted
    assert len(github.read(42)) == 1


async def test_our_comment_is_found_on_a_later_page_and_nobody_else_s_is_taken_for_it(
    github: LocalGitHub, surface: GitHubSurface, clock: ManualClock
) -> None:
    for n in range(130):
        github.comment("alice", 42, f"{n} {HIDDEN}")  # somebody quotes our source
    ours = await surface.post(REPO, 42, "hello", MARKER)
    for n in range(130):
        github.comment("alice", 42, f"{n}")
    assert await passing(clock, surface.post(REPO, 42, "hello", MARKER, maybe_posted=True)) == ours
    assert len(github.read(42)) == 1


async def test_reading_is_repeated_after_a_5xx(github: LocalGitHub, surface: GitHubSurface) -> None:
    github.fail(503, method="GET", times=2)
    assert await surface.identify() == "opsbot"


async def test_an_outage_is_for_later(github: LocalGitHub, surface: GitHubSurface) -> None:
    github.fail(500, method="GET", times=3)
    with pytest.raises(TryLater, match="500"):
        await surface.changes.comments_since("2026-01-01T00:00:00Z")
    await github.stop()
    with pytest.raises(TryLater) as later:
        await surface.post(REPO, 42, "hello", MARKER)
    assert not later.value.maybe_posted  # nobody listened


@pytest.mark.parametrize("status", [403, 429])
async def test_a_secondary_limit_is_never_slept_through(
    github: LocalGitHub, surface: GitHubSurface, clock: ManualClock, status: int
) -> None:
    github.refuse_for_rate(status=status, retry_after=77)
    started = time.monotonic()
    with pytest.raises(TryLater) as later:
        await surface.post(REPO, 42, "hello", MARKER)
    assert (later.value.after, later.value.maybe_posted) == (77.0, False)
    with pytest.raises(TryLater):  # GitHub is not asked again before that
        await surface.post(REPO, 42, "hello", MARKER)
    with pytest.raises(TryLater):
        await surface.changes.comments_since("2026-01-01T00:00:00Z")
    assert time.monotonic() - started < 3
    assert len(github.exchanges) == 1
    await clock.advance(77)
    await surface.post(REPO, 42, "hello", MARKER)
    assert len(github.read(42)) == 1


async def test_without_retry_after_the_pause_grows(
    github: LocalGitHub, surface: GitHubSurface, clock: ManualClock
) -> None:
    github.refuse_for_rate(times=3)
    pauses = []
    for _ in range(3):
        with pytest.raises(TryLater) as later:
            await surface.post(REPO, 42, "hello", MARKER)
        pauses.append(later.value.after)
        await clock.advance(later.value.after)
    assert pauses == [60.0, 120.0, 240.0]


async def test_the_hourly_limit_is_until_its_reset(
    github: LocalGitHub, surface: GitHubSurface, clock: ManualClock
) -> None:
    github.limit_requests(0)
    with pytest.raises(TryLater) as later:
        await surface.identify()
    assert 3599 <= later.value.after <= 3602


async def test_one_write_at_a_time_a_second_apart(
    github: LocalGitHub, surface: GitHubSurface, clock: ManualClock
) -> None:
    posts = [surface.post(REPO, 42, f"n {n}", f"opsbot:run={n}") for n in range(6)]
    await passing(clock, asyncio.gather(*posts))
    assert github.most_writes_at_once == 1
    times = github.write_times
    assert all(later - earlier >= 1 for earlier, later in pairwise(times)), times
    assert len(github.read(42)) == 6


async def test_eighty_writes_a_minute_and_no_thread_waits(clock: ManualClock) -> None:
    limiter, threads = WriteLimiter(clock), threading.active_count()
    taken = 0
    with pytest.raises(TryLater) as later:
        for _ in range(600):
            await passing_fast(clock, limiter)
            taken += 1
    # A second apart there are at most 60 a minute, so the hourly limit is the first to bite.
    assert taken == 500
    assert later.value.after > 3000
    assert threading.active_count() == threads


async def passing_fast(clock: ManualClock, limiter: WriteLimiter) -> None:
    async def write() -> None:
        async with limiter:
            pass

    task = asyncio.ensure_future(write())
    while not task.done():
        await asyncio.sleep(0)
        if not task.done():
            await clock.advance(0.5)
    task.result()


async def test_a_long_line_of_writes_is_told_to_come_back(clock: ManualClock) -> None:
    limiter = WriteLimiter(clock)

    async def write() -> None:
        async with limiter:
            pass

    tasks = [asyncio.ensure_future(write()) for _ in range(40)]
    for _ in range(300):
        await asyncio.sleep(0)
        await clock.advance(0.2)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    refused = [result for result in results if isinstance(result, TryLater)]
    assert 15 <= len(refused) <= 20
    assert [result for result in results if result is not None and not isinstance(result, TryLater)] == []


async def test_a_write_that_is_cancelled_gives_up_its_place(clock: ManualClock) -> None:
    limiter = WriteLimiter(clock)
    async with limiter:
        pass

    async def write() -> str:
        async with limiter:
            return "written"

    first, second = asyncio.ensure_future(write()), asyncio.ensure_future(write())
    await asyncio.sleep(0)
    first.cancel()
    assert await passing(clock, second) == "written"


Trouble = Callable[[LocalGitHub], Any]
REFUSALS: dict[str, tuple[Trouble, str]] = {
    "locked": (
        lambda github: github.lock(42),
        "issue is locked. The conversation is locked; unlock it or give the bot write access.",
    ),
    "deleted": (lambda github: github.delete_issue(42), "410 for issue #42 of acme/somas: This issue was deleted."),
    "archived": (lambda github: github.archive(), "Repository was archived so is read-only."),
    "revoked": (lambda github: github.revoke(github.token), "401 for issue #42 of acme/somas: Bad credentials."),
    "not seen": (lambda github: github.set_role("opsbot", "none"), "404 for issue #42 of acme/somas: Not Found."),
}


@pytest.mark.parametrize("why", REFUSALS)
async def test_what_cannot_be_posted_says_why_and_what_to_do(
    github: LocalGitHub, surface: GitHubSurface, why: str
) -> None:
    make, text = REFUSALS[why]
    github.set_role("opsbot", "read")
    make(github)
    with pytest.raises(Undeliverable) as refused:
        await surface.post(REPO, 42, "hello", MARKER)
    assert text in str(refused.value)
    assert refused.value.hint


async def test_an_unknown_issue_and_a_comment_that_is_too_long(github: LocalGitHub, surface: GitHubSurface) -> None:
    with pytest.raises(Undeliverable, match="issue #404"):
        await surface.post(REPO, 404, "hello", MARKER)
    with pytest.raises(Undeliverable, match="65536"):
        await surface.post(REPO, 42, "x" * 65_530, MARKER)
    with pytest.raises(ValueError, match="owner/name"):
        await surface.post("acme/../../user", 42, "hello", MARKER)


async def test_a_missing_permission_is_named(github: LocalGitHub, clock: ManualClock, threads: Threads) -> None:
    token = github.token_of("opsbot", {"metadata": "read", "issues": "read"})
    surface = GitHubSurface(settings_for(github, token=SecretStr(token)), clock=clock, run_blocking=threads)
    with pytest.raises(
        Undeliverable, match=r"not accessible by personal access token.*lacks the permission issues=write"
    ):
        await surface.post(REPO, 42, "hello", MARKER)
    await surface.close()


async def test_a_reaction_at_once_and_another_at_the_end(
    github: LocalGitHub, surface: GitHubSurface, clock: ManualClock
) -> None:
    comment = github.comment("alice", 42, "/somas status")
    heard = await surface.react(REPO, 42, comment, "eyes")
    assert await passing(clock, surface.react(REPO, 42, comment, "eyes")) == heard
    assert github.reactions(comment) == ["eyes"]
    await passing(clock, surface.react(REPO, 42, comment, "rocket", instead_of=heard))
    assert github.reactions(comment) == ["rocket"]


async def test_a_reaction_that_is_gone_already_is_no_trouble(
    github: LocalGitHub, surface: GitHubSurface, clock: ManualClock
) -> None:
    comment = github.comment("alice", 42, "/somas status")
    heard = await surface.react(REPO, 42, comment, "eyes")
    await passing(clock, surface.react(REPO, 42, comment, "confused", instead_of=heard))
    await passing(clock, surface.react(REPO, 42, comment, "confused", instead_of=heard))  # the answer was lost
    assert github.reactions(comment) == ["confused"]


async def test_a_label_is_made_once_set_and_taken_away(
    github: LocalGitHub, surface: GitHubSurface, clock: ManualClock
) -> None:
    for _ in range(2):
        await passing(clock, surface.add_label(REPO, 42, "somas:needs attention/now"))
    assert github.labels(42) == ["somas:needs attention/now"]
    made = [each for each in github.exchanges if each.route.endswith("/labels") and each.method == "POST"]
    assert [each.status for each in made] == [201, 200, 200]
    again = GitHubSurface(settings_for(github), clock=clock, run_blocking=surface._run_blocking)
    await passing(clock, again.add_label(REPO, 42, "somas:needs attention/now"))  # it is there: 422, and no trouble
    await again.close()
    for _ in range(2):
        await passing(clock, surface.remove_label(REPO, 42, "somas:needs attention/now"))
    assert github.labels(42) == []


async def test_a_label_that_nobody_wants_any_more_when_its_turn_comes_is_not_set(
    github: LocalGitHub, surface: GitHubSurface, clock: ManualClock
) -> None:
    asked: list[bool] = []

    async def wanted() -> bool:
        asked.append(github.comments(42) == [])
        return asked[-1]

    first = asyncio.ensure_future(
        surface.add_label(REPO, 42, "on fire", wanted)
    )  # makes the label, then waits a second
    while not asked:
        await asyncio.sleep(0.002)
    github.comment("scotlaclair", 42, "I am on it")
    await passing(clock, first)
    assert (asked, github.labels(42)) == ([True, False], [])
    await passing(clock, surface.add_label(REPO, 42, "flooded", wanted))
    assert not [each for each in github.exchanges if "flooded" in str(each.request)]


async def test_a_reaction_to_the_text_of_an_issue(
    github: LocalGitHub, surface: GitHubSurface, clock: ManualClock
) -> None:
    heard = await surface.react(REPO, 42, 0, "eyes")
    assert await passing(clock, surface.react(REPO, 42, 0, "eyes")) == heard
    await passing(clock, surface.react(REPO, 42, 0, "rocket", instead_of=heard))
    assert github.reactions_to_issue(42) == ["rocket"]


async def test_a_comment_is_folded_away(github: LocalGitHub, surface: GitHubSurface, clock: ManualClock) -> None:
    comment = await surface.post(REPO, 42, "old", MARKER)
    await passing(clock, surface.minimise(REPO, comment))
    assert github.minimised(42) == github.read(42)


async def test_who_may_not_fold_comments_away_asks_once_an_hour(
    github: LocalGitHub, surface: GitHubSurface, clock: ManualClock
) -> None:
    comment = await surface.post(REPO, 42, "old", MARKER)
    github.read(42)
    github.set_role("opsbot", "triage")
    for _ in range(3):
        with pytest.raises(Undeliverable, match="minimise"):
            await passing(clock, surface.minimise(REPO, comment))
    assert sum(each.route == "/graphql" for each in github.exchanges) == 1
    github.set_role("opsbot", "write")
    await clock.advance(3600)
    await passing(clock, surface.minimise(REPO, comment))
    assert len(github.minimised(42)) == 1


async def test_whether_there_is_an_issue(github: LocalGitHub, surface: GitHubSurface) -> None:
    assert await surface.has_issue(REPO, 42)
    assert not await surface.has_issue(REPO, 43)
    github.delete_issue(42)
    assert not await surface.has_issue(REPO, 42)
    github.fail(500, times=5)
    with pytest.raises(TryLater):
        await surface.has_issue(REPO, 42)


@pytest.mark.parametrize("role", ["admin", "maintain", "write", "triage", "read", "none"])
async def test_the_role_is_the_one_github_names(github: LocalGitHub, surface: GitHubSurface, role: str) -> None:
    github.set_role("alice", role)
    assert await surface.permissions.of(REPO, "alice", str(github.user_id("alice"))) == role


async def test_a_custom_role_has_its_own_name(github: LocalGitHub, surface: GitHubSurface) -> None:
    github.set_role("alice", "incident-lead", extends="write")
    assert await surface.permissions.of(REPO, "alice", str(github.user_id("alice"))) == "incident-lead"


async def test_a_role_is_kept_for_a_minute_and_no_longer(
    github: LocalGitHub, surface: GitHubSurface, clock: ManualClock
) -> None:
    github.set_role("alice", "admin")
    alice = str(github.user_id("alice"))
    assert await surface.permissions.of(REPO, "alice", alice) == "admin"
    github.set_role("alice", "none")
    await clock.advance(59)
    assert await surface.permissions.of(REPO, "alice", alice) == "admin"
    await clock.advance(1)
    assert await surface.permissions.of(REPO, "alice", alice) == "none"


async def test_a_name_that_changed_hands_gives_nothing(github: LocalGitHub, surface: GitHubSurface) -> None:
    github.set_role("alice", "admin")
    alice = str(github.user_id("alice"))
    github.rename("alice", "alice-now")
    github.set_role("alice", "admin")  # another account took the name
    assert await surface.permissions.of(REPO, "alice", alice) == "none"
    assert await surface.permissions.of(REPO, "alice-now", alice) == "admin"


@pytest.mark.parametrize("login", ["nobody", "../../user", "alice?x=1", ""])
async def test_unknown_people_have_no_role(surface: GitHubSurface, login: str) -> None:
    assert await surface.permissions.of(REPO, login, "1") == "none"


@pytest.mark.parametrize("status", [500, 403])
async def test_when_github_cannot_say_nobody_may_and_it_is_told(
    github: LocalGitHub, surface: GitHubSurface, status: int
) -> None:
    github.set_role("alice", "admin")
    github.fail(status, path="permission", times=3, message="Resource not accessible by integration" * (status == 403))
    alice = str(github.user_id("alice"))
    assert await surface.permissions.of(REPO, "alice", alice) == "none"
    assert any("nobody may" in problem for problem in await surface.problems())
    if status == 500:  # all three tries are used up, the refusal was not kept
        assert await surface.permissions.of(REPO, "alice", alice) == "admin"
        assert await surface.problems() == []


async def test_problems_say_what_to_change(github: LocalGitHub, surface: GitHubSurface) -> None:
    assert await surface.problems() == []
    github.switch_off_issues()
    github.archive()
    assert await surface.problems() == [
        "Issues are switched off in acme/somas; switch them on in its settings.",
        "acme/somas is archived, so nobody can comment on its issues.",
    ]
    github.revoke(github.token)
    [problem] = await surface.problems()
    assert "Bad credentials" in problem
    assert "renew GITHUB_TOKEN" in problem


@pytest.fixture
def dawdling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Widens the moment in which another thread could overwrite what PyGithub keeps in its connection."""
    getresponse = HTTPRequestsConnectionClass.getresponse

    def dawdle(connection: HTTPRequestsConnectionClass) -> Any:
        time.sleep(0.005)
        return getresponse(connection)

    monkeypatch.setattr(HTTPRequestsConnectionClass, "getresponse", dawdle)


@pytest.mark.usefixtures("dawdling")
async def test_many_requests_at_once_do_not_mix_up(github: LocalGitHub, surface: GitHubSurface) -> None:
    roles = {f"person-{n}": role for n, role in enumerate(["admin", "read", "write", "triage"] * 10)}
    for login, role in roles.items():
        github.set_role(login, role)
    await surface.identify()  # the first connection is there
    found = await asyncio.gather(*(surface.permissions.of(REPO, name, str(github.user_id(name))) for name in roles))
    assert dict(zip(roles, found, strict=True)) == roles


# As a GitHub App.

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PRIVATE = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
PUBLIC = (
    KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
)


def app_surface(github: LocalGitHub, clock: Clock, threads: Threads, app_id: int, key: str) -> GitHubSurface:
    settings = settings_for(github, token=SecretStr(""), app_id=str(app_id), private_key=SecretStr(key))
    return GitHubSurface(settings, clock=clock, run_blocking=threads)


@pytest.mark.parametrize("key", [PRIVATE, PRIVATE.replace("\n", "\\n")], ids=["lines", "one line"])
async def test_an_app_comments_under_its_own_name(
    github: LocalGitHub, clock: ManualClock, threads: Threads, key: str
) -> None:
    app = github.install_app("opsbot-app", PUBLIC)
    surface = app_surface(github, clock, threads, app.id, key)
    assert await surface.identify() == "opsbot-app[bot]"
    await surface.post(REPO, 42, "hello", MARKER)
    assert github.comments(42) == [("opsbot-app[bot]", f"hello\n\n{HIDDEN}")]
    assert await surface.problems() == []
    github.read(42)
    await surface.close()


def tokens_asked_for(github: LocalGitHub) -> int:
    return sum(exchange.route.endswith("/access_tokens") for exchange in github.exchanges)


async def test_an_app_s_token_is_renewed_in_time(threads: Threads) -> None:
    # PyGithub looks at the machine's clock, so this GitHub does too.
    async with LocalGitHub() as github:
        app = github.install_app("opsbot-app", PUBLIC)
        app.token_life = timedelta(seconds=15)  # PyGithub renews 20 s before the end
        surface = app_surface(github, SystemClock(), threads, app.id, PRIVATE)
        for asked in (1, 2, 3):
            await surface.changes.comments_since("2026-01-01T00:00:00Z")
            assert tokens_asked_for(github) == asked
        await surface.close()


async def test_a_token_that_ended_early_is_replaced(github: LocalGitHub, clock: ManualClock, threads: Threads) -> None:
    app = github.install_app("opsbot-app", PUBLIC)
    surface = app_surface(github, clock, threads, app.id, PRIVATE)
    await surface.changes.comments_since("2026-01-01T00:00:00Z")
    github.revoke_installation_tokens()
    await surface.post(REPO, 42, "hello", MARKER)
    assert len(github.read(42)) == 1
    assert tokens_asked_for(github) == 2
    await surface.close()


async def test_an_app_s_problems_are_named(github: LocalGitHub, clock: ManualClock, threads: Threads) -> None:
    app = github.install_app("opsbot-app", PUBLIC, {"metadata": "read", "issues": "read"})
    surface = app_surface(github, clock, threads, app.id, PRIVATE)
    assert any("Issues: Read and write" in problem for problem in await surface.problems())
    app.installed = False
    for wrong, text in (
        (app_surface(github, clock, threads, app.id, PRIVATE), "not installed on acme/somas"),
        (app_surface(github, clock, threads, app.id, "-----BEGIN nonsense"), "GITHUB_PRIVATE_KEY cannot be used"),
        (app_surface(github, clock, threads, 99, PRIVATE), "does not accept the app's key"),
    ):
        [problem] = await wrong.problems()
        assert text in problem
        await wrong.close()
    await surface.close()
