"""``python docs/make_screenshots.py``: the picture of the README, taken of the real demo in a headless Chromium.

Wants the development environment (``make test`` builds it) and a Chromium. Writes ``docs/images/run.png``: a run whose
time ran out and its page to @scotlaclair, and beside them, in its thread, a runbook that is at work.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from playwright.async_api import Page, expect

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.demo.chromium import browser_page  # noqa: E402  found once the root is on the path
from tests.demo.demo_process import demo  # noqa: E402

IMAGES = ROOT / "docs" / "images"
WIDTH, HEIGHT = 1400, 1080
LARGEST = 300_000  # bytes; it is loaded with every look at the README
PATIENCE = 60_000  # milliseconds


async def types(page: Page, text: str) -> None:
    box = page.get_by_test_id("composer")
    await box.fill(text)
    await box.press("Escape")
    await box.press("Enter")


async def run_in_its_thread(page: Page) -> None:
    channel = page.get_by_test_id("messages")
    await types(page, "/somas restart project-42")
    await expect(channel.get_by_text("needs you.")).to_be_visible(timeout=PATIENCE)
    await types(page, "/supervisor runbook P1-002 worker-3")
    await expect(channel.get_by_text("Step 2 of 5")).to_be_visible(timeout=PATIENCE)
    card = channel.get_by_test_id("message").filter(has_text="Step 2 of 5")
    await card.get_by_test_id("thread-link").click()
    await expect(page.get_by_test_id("thread-messages").get_by_text("Step 2 is for a person")).to_be_visible()
    await expect(card).to_contain_text("▰▱▱", timeout=PATIENCE)  # some of its time is gone
    await page.mouse.move(0, 0)  # nothing is hovered


async def main() -> int:
    IMAGES.mkdir(exist_ok=True)
    picture = IMAGES / "run.png"
    async with (
        demo("--restart-seconds", "10") as running,
        browser_page(running.url, width=WIDTH, height=HEIGHT) as page,
    ):
        page.set_default_timeout(PATIENCE)
        await run_in_its_thread(page)
        await page.screenshot(path=picture)
    size = picture.stat().st_size
    sys.stdout.write(f"{picture.relative_to(ROOT)}: {size} bytes, {LARGEST} at most\n")
    return int(size > LARGEST)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
