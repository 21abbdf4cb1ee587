"""``python docs/make_screenshots.py``: the pictures of the README, taken of the real demo in a headless Chromium.

Wants the development environment (``make test`` builds it) and a Chromium. Writes into ``docs/images``: ``page.png``, a
restart whose time ran out, as Scot sees it; ``run.png``, a runbook in its thread; ``approve.png``, what Bob is asked
before it goes on.
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
WIDTH, HEIGHT = 1400, 900
LARGEST = 300_000  # bytes; each is loaded with every look at the README
PATIENCE = 120_000  # milliseconds


async def types(page: Page, text: str) -> None:
    box = page.get_by_test_id("composer")
    await box.fill(text)
    await box.press("Escape")
    await box.press("Enter")


async def becomes(page: Page, name: str) -> None:
    await page.get_by_test_id("people").get_by_role("button", name=name).click()


async def opens_thread(page: Page, card: str) -> None:
    message = page.get_by_test_id("messages").get_by_test_id("message").filter(has_text=card).first
    await message.get_by_test_id("thread-link").click()


async def takes(page: Page, name: str) -> Path:
    await page.mouse.move(0, 0)  # nothing is hovered
    picture = IMAGES / f"{name}.png"
    await page.screenshot(path=picture)
    return picture


async def pictures(page: Page) -> list[Path]:
    channel, thread = page.get_by_test_id("messages"), page.get_by_test_id("thread-messages")
    await types(page, "/somas restart project-42")
    await expect(channel.get_by_text("needs you.")).to_be_visible()
    await becomes(page, "Scot")
    await opens_thread(page, "Restart a project at a stage: project-42")
    await expect(thread.get_by_text("Step 6 needs a decision")).to_be_visible()
    taken = [await takes(page, "page")]

    await becomes(page, "Alice")
    await types(page, "/supervisor runbook P1-002 worker-3")
    await expect(channel.get_by_text("Step 5 of 6: waiting for approval")).to_be_visible()
    await opens_thread(page, "P1-002 Child Task Crash Loop: worker-3")
    await expect(thread.get_by_text("Step 5 needs approval")).to_be_visible()
    taken.append(await takes(page, "run"))

    await becomes(page, "Bob")
    card = channel.get_by_test_id("message").filter(has_text="P1-002 Child Task Crash Loop: worker-3").first
    await card.get_by_role("button", name="Approve…").click()
    await page.get_by_test_id("modal").get_by_label("Type worker-3 to approve").fill("worker-3")
    taken.append(await takes(page, "approve"))
    return taken


async def main() -> int:
    IMAGES.mkdir(exist_ok=True)
    async with (
        demo("--restart-seconds", "10") as running,
        browser_page(running.url, width=WIDTH, height=HEIGHT) as page,
    ):
        page.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        taken = await pictures(page)
    sizes = {picture: picture.stat().st_size for picture in taken}
    for picture, size in sizes.items():
        sys.stdout.write(f"{picture.relative_to(ROOT)}: {size} bytes, {LARGEST} at most\n")
    return int(max(sizes.values()) > LARGEST)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
