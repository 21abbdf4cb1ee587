"""What the channel reads of a schedule: what changed, once; the same again as an edit; a page when it is critical."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.clock import ManualClock
from bot.demo.supervised_process import ProcessConfig, SupervisedProcess, payment_children
from tests.somas.conftest import sample_folder
from tests.transcript import ON_GITHUB_TOO, Chat
from tests.transcripts.test_supervisor_transcript import crashed, now

pytestmark = pytest.mark.sample

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOURLY = """
[reports.hourly]
product = "somas"
channel = "C0OPS"
cron = "0 * * * *"
chart = false
"""
PAGES_NOBODY = HOURLY + "escalate = false\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    shutil.copytree(sample_folder(), tmp_path / "somas")
    return tmp_path / "somas"


def somas(root: Path, report: str = HOURLY) -> str:
    return f'{report}[somas]\nroot = "{root}"\n'


def a_minute_before() -> ManualClock:
    return ManualClock(NOON.replace(hour=11, minute=59))


async def test_the_first_report_of_the_sample(tmp_path: Path, root: Path) -> None:
    async with Chat(tmp_path, somas(root, PAGES_NOBODY), clock=a_minute_before()) as chat:
        await chat.passes(minutes=1)
        report = await chat.sees("SOMAS: 4 newly critical")
        for line in (
            "project-57   dead letters  12 open   new",
            "project-70   human wait    50 h      new",
            "project-103  duration      326 days  new",
            "project-70   duration      80 h      new",
            "project-42  retries       3       new",
            "Error rate alert: project-23, project-31, project-42, project-81, project-96, all projects",
            "Duration alert: project-103 (pipeline duration over 168 h)",
            "Wait alert: project-70 (human wait over 48 h)",
            "Damaged files: project-81 (state.json is not valid JSON",
            "Error rate, last 24 h: 28.26 % (13 of 46)",
            "Dead letters: 31 open of 31",
        ):
            assert line in report.shown, report.shown


async def test_the_same_again_is_an_edit(tmp_path: Path, root: Path) -> None:
    often = PAGES_NOBODY.replace("0 * * * *", "*/20 * * * *")
    async with Chat(tmp_path, somas(root, often), clock=a_minute_before()) as chat:
        await chat.passes(minutes=1)
        first = await chat.sees("newly critical")
        await chat.passes(minutes=20)
        await chat.shows(first, "SOMAS: 3 critical, 3 warning, as before", "Still true, 2nd time")
        await chat.passes(minutes=20)
        await chat.shows(first, "Still true, 3rd time; nothing has changed since Nov 22, 2026 at 12:00")


async def test_a_change_is_a_message_of_its_own(tmp_path: Path, root: Path) -> None:
    """project-96 has seven dead letters: with ten it is a warning as before, with eleven it is critical."""
    letters = root / ".somas/projects/project-96/dead_letters.json"
    often = PAGES_NOBODY.replace("0 * * * *", "*/20 * * * *")
    async with Chat(tmp_path, somas(root, often), clock=a_minute_before()) as chat:
        await chat.passes(minutes=1)
        first = await chat.sees("SOMAS: 4 newly critical")
        grow(letters, 3)
        await chat.passes(minutes=20)
        await chat.shows(first, "Still true, 2nd time", "project-96  dead letters  10 open  20 min")
        grow(letters, 1)
        await chat.passes(minutes=20)
        change = await chat.sees("SOMAS: 1 newly critical", "project-96 dead letters: warning → critical, after 40 min")
        await chat.presses("alice", "Dead letters: project-96", change)
        card = await chat.sees("Dead letter queue growing: project-96")
        await chat.says("alice", "@opsbot cancel", thread=card)
        await chat.shows(card, "Cancelled")
        await chat.thread(card, until="ancelled")


def grow(letters: Path, count: int) -> None:
    """More dead letters, as a pipeline that fails on writes them."""
    document = json.loads(letters.read_text())
    document["entries"] = (
        document["entries"][:count] if count < 0 else [*document["entries"], *document["entries"][:count]]
    )
    letters.write_text(json.dumps(document))


async def test_a_critical_crossing_pages_until_it_is_acknowledged(tmp_path: Path, root: Path) -> None:
    async with Chat(tmp_path, somas(root, HOURLY.replace("0 * * * *", "0 12 * * *")), clock=a_minute_before()) as chat:
        await chat.passes(minutes=1)
        await chat.sees("SOMAS: 4 newly critical")
        card = await chat.sees("SOMAS is over a critical limit: 4 crossings")
        page = await chat.sees("@scotlaclair", "roject-57 dead letters is critical: 12 open")
        await chat.passes(minutes=5)
        await chat.sees("@scotlaclair", "(2nd page)")
        await chat.presses("scotlaclair", "Acknowledge", page)
        await chat.shows(page, "Acknowledged by scotlaclair")
        await chat.passes(hours=2)
        assert not [message for message in chat.channel() if "@scotlaclair" in message.shown and not message.seen]
        await chat.thread(card, until="acknowledged the page")


async def test_an_alarm_ends_when_the_level_is_left(tmp_path: Path, root: Path) -> None:
    """One page however many reports tell it; the run is closed by itself, and a new crossing is a new alarm."""
    letters = root / ".somas/projects/project-96/dead_letters.json"
    twice = HOURLY + HOURLY.replace("hourly", "second").replace("C0OPS", "C0DEV")
    for name in ("57", "70", "103"):
        shutil.rmtree(root / f".somas/projects/project-{name}")
    async with Chat(tmp_path, somas(root, twice.replace("0 * * * *", "*/7 * * * *")), clock=a_minute_before()) as chat:
        await chat.passes(minutes=1)
        await chat.sees("new warnings")
        await chat.sees("new warnings", channel="dev")
        grow(letters, 4)
        await chat.passes(minutes=7)
        await chat.sees("1 newly critical")
        await chat.sees("1 newly critical", channel="dev")
        alarm = "SOMAS is over a critical limit: project-96\nStep 1 of 1"

        def place() -> str | None:  # both reports are due at once; the first to be written down raises it
            return next(
                (name for name in ("ops", "dev") if any(alarm in one.shown for one in chat.channel(name))), None
            )

        card = await chat.sees(alarm, channel=await chat.until(place, alarm))
        page = await chat.sees("@scotlaclair", "roject-96 dead letters is critical: 11 open")
        assert len([one for one in chat.channel() if "@scotlaclair" in one.shown]) == 1
        grow(letters, -10)
        await chat.passes(minutes=5)
        await chat.sees("@scotlaclair", "(2nd page)")
        await chat.passes(minutes=2)
        await chat.sees("project-96 dead letters: critical → ok")
        await chat.sees("project-96 dead letters: critical → ok", channel="dev")
        await chat.shows(page, "Acknowledged by reports")
        await chat.shows(card, "Done after", "page acknowledged by reports")
        await chat.thread(card, until="Run done")


async def test_silence_and_its_end(tmp_path: Path, root: Path) -> None:
    async with Chat(
        tmp_path, somas(root, PAGES_NOBODY.replace("0 * * * *", "0 12,14 * * *")), clock=a_minute_before()
    ) as chat:
        await chat.types("alice", "/somas silence dead-letters 57 90m the provider limits us")
        silenced = await chat.sees("dead-letters of project-57 is silenced by alice until", ": the provider limits us")
        assert silenced.labels == ["End the silence"]
        await chat.passes(minutes=1)
        report = await chat.sees("SOMAS: 3 newly critical", "dead-letters of project-57 is silenced by alice")
        assert "project-57 dead letters: is now critical" not in report.shown
        await chat.passes(hours=2)
        await chat.sees("newly critical", "project-57 dead letters: is now critical (12 open)")


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("/somas silence letters 57 4h why", 'There is no metric "letters". Metrics: duration, retries,'),
        ("/somas silence dead-letters 57 4h", "Say why, so that the others know"),
        (
            "/somas silence dead-letters 58 4h why",
            'Nothing called "58" is measured. Measured are SOMAS, all projects, project-103',
        ),
        ("/somas silence dead-letters 57 90d why", "A silence lasts at most 30 days"),
        ("/somas unsilence dead-letters project-57", "Nothing silences dead-letters of project-57"),
        ("/somas report preview daily", 'There is no report "daily". Reports of somas: hourly'),
        ("/somas report tomorrow", "now, list or preview"),
    ],
)
async def test_mistakes(tmp_path: Path, root: Path, command: str, told: str) -> None:
    async with Chat(tmp_path, somas(root, PAGES_NOBODY), clock=ManualClock(NOON)) as chat:
        await chat.types("alice", command)
        await chat.is_told("alice", told)


async def test_report_now_list_and_preview(tmp_path: Path, root: Path) -> None:
    async with Chat(tmp_path, somas(root, PAGES_NOBODY), clock=ManualClock(NOON)) as chat:
        await chat.types("carol", "/somas report list")
        await chat.sees("1 report of somas", "hourly", "0 * * * * UTC", "in 1 h", "C0OPS", "pages nobody")
        await chat.types("carol", "/somas report preview")
        await chat.is_told("carol", "SOMAS: 4 newly critical")
        await chat.types("carol", "/somas report")
        now = await chat.sees("SOMAS: 3 critical, 3 warning", "(image: SOMAS: over a limit.")
        assert "as before" not in now.shown
        await chat.passes(hours=1)
        await chat.sees("SOMAS: 4 newly critical")


async def test_on_github_it_is_a_table(tmp_path: Path, root: Path) -> None:
    """A report for an issue: posted once, then edited."""
    report = (
        HOURLY.replace("0 * * * *", "*/20 * * * *").replace('channel = "C0OPS"', "issue = 42") + "escalate = false\n"
    )
    async with Chat(tmp_path, somas(root, report), settings=ON_GITHUB_TOO, clock=a_minute_before()) as chat:
        await chat.passes(minutes=1)
        comment = await chat.sees_comment("SOMAS: 4 newly critical", "| project-57 | dead letters | 12 open | new |")
        assert "![" not in comment
        await chat.passes(minutes=20)
        await chat.sees_comment("Still true, 2nd time")
        assert len([login for login, _ in chat.github.comments(42) if login == "opsbot"]) == 1


async def test_the_bot_was_off_when_it_was_due(tmp_path: Path, root: Path) -> None:
    async with Chat(tmp_path, somas(root, PAGES_NOBODY), clock=a_minute_before()) as chat:
        await chat.passes(minutes=1)
        await chat.sees("SOMAS: 4 newly critical")
        await chat.stop_bot()
        await chat.clock.advance(3 * 3600 + 1800)
        await chat.start_bot()
        late = await chat.sees("3 new warnings")
        assert "2 earlier reports could not be made" in late.shown and "Late: this was due at" in late.shown


async def test_somas_that_cannot_be_read_is_a_finding_and_changes_no_level(tmp_path: Path, root: Path) -> None:
    async with Chat(tmp_path, somas(root, PAGES_NOBODY), clock=a_minute_before()) as chat:
        await chat.passes(minutes=1)
        await chat.sees("SOMAS: 4 newly critical")
        root.rename(tmp_path / "elsewhere")
        await chat.passes(hours=1)
        gone = await chat.sees("SOMAS: 1 new warning", "Could not be read: ")
        assert "is gone" not in gone.shown
        (tmp_path / "elsewhere").rename(root)
        await chat.passes(hours=1)
        back = await chat.sees("SOMAS measuring: warning → ok")
        assert "4 newly critical" not in back.shown


async def test_the_picture_is_shown_as_soon_as_slack_has_looked_at_it(tmp_path: Path, root: Path) -> None:
    settings = somas(root, PAGES_NOBODY.replace("chart = false", "chart = true"))
    async with Chat(tmp_path, settings, clock=a_minute_before()) as chat:
        chat.slack.api.methods.file_delay = 3.0
        await chat.passes(minutes=1)
        await chat.sees(
            "SOMAS: 4 newly critical", "(image: SOMAS: over a limit. Furthest over, or closest to, a limit:"
        )


SUPERVISED = """
[reports.processes]
product = "supervisor"
channel = "C0OPS"
cron = "* * * * *"
chart = false
escalate = false
"""


async def test_a_crash_loop_a_quarantine_and_a_process_that_is_gone(tmp_path: Path, payments: str) -> None:
    # Failures count for ten minutes: the tick may be a minute away from the process's own clock, the machine's.
    children = payment_children(crash_after=0.1, stop_takes=0.2)
    children = tuple(replace(child, backoff=0.1, window=600.0) for child in children)
    config = ProcessConfig(socket=tmp_path / "payments.sock", name="payments", children=children, graceful_timeout=0.4)
    shortly_before = ManualClock(now().now().replace(second=55, microsecond=0))
    async with (
        SupervisedProcess(config) as process,
        Chat(tmp_path, payments + SUPERVISED, clock=shortly_before) as chat,
    ):
        await crashed(process, 2)
        await chat.passes(seconds=5)
        report = await chat.sees("Supervisor: 1 ", "payments/worker-3 · stale child")
        assert any(label.endswith(": payments/worker-3") for label in report.labels)
        await chat.types("alice", "/supervisor quarantine worker-3")
        card = await chat.sees("Quarantine worker-3 of payments")
        await chat.thread(card, until="Run done")
        await chat.passes(minutes=1)
        await chat.sees("payments/worker-3 quarantined: is now warning")
        await process.stop()
        await chat.passes(minutes=1)
        gone = await chat.sees("payments link: is now critical", "Processes: 0 of 1 answer")
        assert "quarantined: warning" not in gone.shown, "nobody can tell that it ended"


async def test_a_label_on_the_issue_is_a_wait_too(tmp_path: Path, root: Path) -> None:
    """Upstream writes no status while a person is waited for: the label that asks for one tells since when."""
    often = PAGES_NOBODY.replace("0 * * * *", "0 */6 * * *")
    async with Chat(tmp_path, somas(root, often), settings=ON_GITHUB_TOO, clock=a_minute_before()) as chat:
        chat.github.set_label("alice", 42, "needs-human-review")
        await chat.passes(minutes=1)
        report = await chat.sees("SOMAS: 4 newly critical")
        assert "project-42 human wait" not in report.shown
        for _ in range(4):
            await chat.passes(hours=6)
        await chat.sees("project-42 human wait: is now warning", "(24 h, label needs-human-review)")
        chat.read()
        chat.github.read(42)
