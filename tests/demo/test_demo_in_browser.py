"""``make run``, the page in a real Chromium, and what a newcomer types there: the whole bot, seen from the outside.

Nothing is looked up behind the page: what is asserted is what a person reads on it. Each wait is for something that the
page shows.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, expect

from tests.demo.chromium import browser_page, chromium_path
from tests.demo.demo_process import DemoProcess, demo

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

RESTART_SECONDS = 12  # as long as a restart may take here; a minute in the demo
SOON = 15_000  # milliseconds for everything that only has to be done and drawn
WHEN_TIME_IS_OVER = (RESTART_SECONDS + 20) * 1000


class Visitor:
    """Somebody in front of the page."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.channel = page.get_by_test_id("messages")
        self.thread = page.get_by_test_id("thread-messages")

    async def becomes(self, name: str) -> None:
        one = self.page.get_by_test_id("people").get_by_role("button", name=name)
        await one.click()
        await expect(one).to_have_attribute("aria-pressed", "true")

    async def types(self, text: str) -> None:
        box = self.page.get_by_test_id("composer")
        await box.press_sequentially(text)
        await box.press("Enter")
        await expect(box).to_have_value("")

    async def says_in_thread(self, text: str) -> None:
        box = self.page.get_by_test_id("thread-composer")
        await box.fill(text)
        await box.press("Enter")

    def card(self, title: str) -> Locator:
        """The message in the channel with this heading."""
        heading = self.page.get_by_role("heading", name=title, exact=True)
        return self.channel.get_by_test_id("message").filter(has=heading)

    def page_of(self, title: str) -> Locator:
        """The messages in the channel that call somebody because of this run."""
        return self.channel.get_by_test_id("message").filter(has_text=f"{title} needs you")

    async def opens_thread(self, card: Locator) -> None:
        await card.get_by_test_id("thread-link").click()
        await expect(self.thread).to_be_visible()

    async def reads(self, *wanted: str, timeout: int = SOON) -> None:
        """Wait until all of it stands in the thread."""
        for one in wanted:
            await expect(self.thread).to_contain_text(one, timeout=timeout)

    async def replies(self) -> list[str]:
        """What the thread says under the card, without the times of day."""
        shown = await self.thread.get_by_test_id("message").all_inner_texts()
        return [re.sub(r"^(opsbot\s+APP\s+)?\d\d:\d\d\s+", "", one) for one in shown[1:]]


@asynccontextmanager
async def visit() -> AsyncIterator[tuple[DemoProcess, Visitor]]:
    chromium_path()  # skips before anything is started
    async with demo("--restart-seconds", str(RESTART_SECONDS)) as running:
        try:
            async with browser_page(running.url) as page:
                page.set_default_timeout(SOON)
                await expect(page.get_by_test_id("channel-name")).to_have_text("# ops")
                yield running, Visitor(page)
        except BaseException:
            print(running.said, running.logs())
            raise


async def test_a_child_is_quarantined_and_a_restart_runs_out_of_time() -> None:
    """The two commands of the README; the second one is answered by nobody, so that Scot is paged."""
    async with visit() as (_, alice):
        await expect(alice.page.get_by_test_id("hint").filter(has_text="/somas restart project-42")).to_be_visible()

        await alice.types("/supervisor quarantine worker-3")
        quarantine = alice.card("Quarantine worker-3 of payments")
        await expect(quarantine).to_contain_text("Done after", timeout=SOON)
        await expect(quarantine).to_contain_text("met")
        await alice.opens_thread(quarantine)
        await alice.reads("Expected:", "Seen:", "quarantined", "Outcome: met", "Run done")

        await alice.types("/somas restart project-42")
        title = "Restart a project at a stage: project-42"
        restart = alice.card(title)
        await expect(restart).to_contain_text("Step 6 of 6: running", timeout=SOON)
        await expect(restart).to_contain_text(re.compile(rf"\d+ s left of {RESTART_SECONDS} s, until \d\d:\d\d"))
        await expect(restart).to_contain_text(re.compile(r'Wait(s|ing) .*stage\.status == "in_progress"'))
        await alice.opens_thread(restart)
        await alice.reads("✓ Step 1", "✓ Step 2", "Nothing was dispatched: GitHub is not configured")

        scot = alice.page.get_by_test_id("people").get_by_role("button", name="Scot")
        await expect(alice.page_of(title)).to_be_visible(timeout=WHEN_TIME_IS_OVER)
        await expect(restart).to_contain_text("Paged scotlaclair 1 time, not acknowledged yet")
        await expect(scot.locator(".badge")).to_be_visible()
        await alice.reads(
            "has used 80 %", "Step 6 needs a decision", 'Seen: stage.status = "retrying"', "Outcome: not met"
        )

        await alice.becomes("Scot")
        call = alice.page_of(title)
        await expect(call.locator(".mention-me")).to_have_text("@scotlaclair")
        await expect(call).to_contain_text('Expected: (stage.status == "in_progress"')
        # The time of the step and that of its expectation end together: whichever is noticed first is what Scot reads.
        await expect(call).to_contain_text(re.compile(r'Seen: stage\.status = "retrying"|used up its 12 s'))
        await call.get_by_role("button", name="Acknowledge").click()
        await expect(alice.channel).to_contain_text("Acknowledged by scotlaclair at", timeout=SOON)
        await expect(restart).to_contain_text("page acknowledged by scotlaclair")
        await expect(restart.get_by_role("button", name="Acknowledge")).to_have_count(0)
        await alice.reads("scotlaclair acknowledged the page")

        await alice.becomes("Alice")
        await alice.says_in_thread('@opsbot fail --reason "nobody started it"')
        await expect(restart).to_contain_text("Failed at step 6 of 6", timeout=SOON)
        await expect(restart.get_by_test_id("action")).to_have_text(["Draft the post-incident issue"])
        await alice.reads("Run ended as failed by alice", "nobody started it")


async def test_a_whole_runbook_with_an_approval_beside_a_restart_that_is_answered() -> None:
    """P1-002, approved by Bob; meanwhile the simulated pipeline takes a restart that was clicked, not typed."""
    async with visit() as (_, alice):
        await alice.page.get_by_test_id("hint").filter(has_text="/somas restart project-23").click()
        box = alice.page.get_by_test_id("composer")
        await expect(box).to_have_value("/somas restart project-23")
        await box.press("Enter")
        restart = alice.card("Restart a project at a stage: project-23")
        await expect(restart).to_contain_text("Step 6 of 6: running", timeout=SOON)

        await alice.types("/supervisor runbook P1-002 worker-3")
        card = alice.card("P1-002 Child Task Crash Loop: worker-3")
        await expect(card).to_contain_text("Step 5 of 6: waiting for approval", timeout=SOON * 3)
        await alice.opens_thread(card)
        await alice.reads(
            "invoice 4711 has no currency",
            "Step 5 needs approval",
            "Will do exactly this: ",
            '"command": "remove_child"',
        )

        dialog = alice.page.get_by_test_id("modal")
        await alice.becomes("Bob")
        await card.get_by_role("button", name="Approve…").click()
        await expect(dialog).to_contain_text('"child_path": "/worker-3"')
        await dialog.get_by_label("Type worker-3 to approve").fill("worker-4")
        await dialog.get_by_role("button", name="Approve").click()
        await expect(dialog).to_contain_text('Nothing was approved: you typed "worker-4"', timeout=SOON)
        await dialog.get_by_label("Type worker-3 to approve").fill("worker-3")
        await dialog.get_by_role("button", name="Approve").click()
        await expect(dialog).to_have_count(0)

        await expect(card).to_contain_text("Done after", timeout=SOON * 2)
        for step in ("1. Query", "2. Find", "3. Read", "4. Stop", "5. Remove", "6. Verify"):
            await expect(card).to_contain_text(f"✓  {step}")
        await alice.reads("bob approved", "child.present = false", "Run done")
        assert len(await alice.replies()) == len(set(await alice.replies()))

        await expect(restart).to_contain_text("Done after", timeout=SOON)
        await alice.opens_thread(restart)
        await alice.reads('stage.status = "in_progress"', "Run done")
        await alice.page.set_viewport_size({"width": 390, "height": 844})
        await alice.page.get_by_role("button", name="Close thread").click()
        assert await alice.page.evaluate("document.documentElement.scrollWidth") <= 390
        await alice.page.get_by_role("button", name="Channels and people").click()
        await alice.page.get_by_test_id("channel").filter(has_text="somas").click()
        await expect(alice.channel).to_contain_text("Simulated pipeline: took project-23 and started specify.")


async def test_the_bot_is_killed_in_the_middle_of_a_restart() -> None:
    """``kill -9``, twice: it goes on with the deadline that it had, and says nothing twice."""
    async with visit() as (running, alice):
        await alice.types("/somas restart project-42")
        title = "Restart a project at a stage: project-42"
        card = alice.card(title)
        await expect(card).to_contain_text("Step 6 of 6: running", timeout=SOON)
        await alice.opens_thread(card)
        await alice.reads("has used 80 %", timeout=WHEN_TIME_IS_OVER)

        await running.kill_bot()
        back = time.time()
        call = alice.page_of(title)
        await expect(call).to_be_visible(timeout=WHEN_TIME_IS_OVER)
        called = float(await call.get_attribute("data-ts") or 0)
        assert called < back + RESTART_SECONDS - 4, "the budget began anew"
        # The page came in time; the expectation is looked at for its whole time again after a restart.
        await expect(card).to_contain_text("not met, over its budget", timeout=WHEN_TIME_IS_OVER)
        await alice.reads("Step 6 needs a decision", timeout=SOON)

        await running.kill_bot()
        await card.get_by_role("combobox", name="⋯").select_option(label="Failed")
        await expect(card).to_contain_text("Failed at step 6 of 6", timeout=SOON)
        await alice.reads("Run ended as failed by alice")

        said = await alice.replies()
        assert len(said) == len(set(said)), said
        for once in ("✓ Step 1", "✓ Step 2", "✓ Step 3", "has used 80 %", "needs a decision", "Run ended"):
            assert sum(once in one for one in said) == 1, (once, said)
        assert await alice.card(title).count() == 1
        assert await call.count() == 1


async def test_a_whole_incident(tmp_path: Path) -> None:
    """Alice starts, Bob approves, nobody starts the pipeline in time, Scot is paged and acknowledges, Alice finishes.

    ``OPSBOT_SCREENSHOTS=docs/images`` keeps what each of them sees for the documentation.
    """
    shots = Path(os.environ.get("OPSBOT_SCREENSHOTS") or tmp_path)
    async with visit() as (_, alice):

        async def keep(name: str) -> None:
            await alice.page.mouse.move(0, 0)
            await alice.page.screenshot(path=shots / f"{name}.png")
            assert 20_000 < (shots / f"{name}.png").stat().st_size < 300_000

        await alice.types("/somas restart project-42 --full")
        title = "Start a project over: project-42"
        card = alice.card(title)
        await expect(card).to_contain_text("waiting for approval", timeout=SOON)
        await alice.opens_thread(card)
        await alice.reads("needs approval", "Will do exactly this: ", "bob")

        await alice.becomes("Bob")
        dialog = alice.page.get_by_test_id("modal")
        await card.get_by_role("button", name="Approve…").click()
        await dialog.get_by_label("Type project-42 to approve").fill("project-42")
        await keep("approve")
        await dialog.get_by_role("button", name="Approve").click()
        await expect(dialog).to_have_count(0)
        await alice.reads("bob approved")
        await expect(card).to_contain_text("Step 6 of 6: running", timeout=SOON)

        await expect(alice.page_of(title)).to_be_visible(timeout=WHEN_TIME_IS_OVER)
        await alice.becomes("Scot")
        call = alice.page_of(title)
        await expect(call.locator(".mention-me")).to_have_text("@scotlaclair")
        await keep("page")
        await call.get_by_role("button", name="Acknowledge").click()
        await expect(alice.channel).to_contain_text("Acknowledged by scotlaclair at", timeout=SOON)
        await alice.reads("scotlaclair acknowledged the page")

        await alice.becomes("Alice")
        await alice.says_in_thread("@opsbot done")
        await expect(card).to_contain_text("Done after", timeout=SOON)
        await expect(card.get_by_test_id("action")).to_have_text(["Draft the post-incident issue"])
        await alice.reads("Run done")
        await keep("incident")
        said = await alice.replies()
        assert len(said) == len(set(said)), said
