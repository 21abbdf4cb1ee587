"""The page of the local Slack: guarded against other pages, and drawn as Slack draws it."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from playwright.async_api import expect

from bot.demo.slack import LocalSlack, SlashCommand
from tests.demo.chromium import browser_page, chromium_path
from tests.demo.local_slack_app import (
    ALICE,
    BOB,
    OPS,
    PRIVATE,
    SCOT,
    actions,
    bolt,
    button,
    client_of,
    plain,
    sample_app,
    section,
    workspace,
)


async def test_the_page_comes_with_a_strict_policy_and_nothing_from_outside() -> None:
    async with workspace() as slack, aiohttp.ClientSession() as session:
        async with session.get(slack.page_url) as answer:
            html = await answer.text()
            policy = answer.headers["Content-Security-Policy"]
        assert "Slack itself is not involved" in html
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        for name in ("app.js", "blocks.js", "composer.js", "dom.js", "emoji.js", "modal.js", "mrkdwn.js", "style.css"):
            async with session.get(f"{slack.page_url}static/{name}") as answer:
                text = await answer.text()
                assert answer.status == 200
            assert "innerHTML" not in text
            for line in text.splitlines():
                assert "//cdn" not in line
                assert "@import" not in line
        for path in ("static/../local.py", "static/%2e%2e%2flocal.py", "static/local.py"):
            async with session.get(slack.page_url + path) as answer:
                assert answer.status == 404


async def test_a_foreign_page_can_neither_read_nor_do_anything() -> None:
    async with workspace() as slack, aiohttp.ClientSession() as session:
        rebound = {"Host": "evil.example:80"}
        for path in ("", "page/state", "api/auth.test"):
            async with session.get(slack.page_url + path, headers=rebound) as answer:
                assert answer.status == 421
        said = {"user": ALICE, "channel": OPS, "text": "hello"}
        own = slack.page_url.rstrip("/")
        for headers, status in (
            ({}, 403),
            ({"Origin": "https://evil.example"}, 403),
            ({"Origin": "null"}, 403),
            ({"Origin": own}, 200),
        ):
            async with session.post(f"{slack.page_url}page/enter", json=said, headers=headers) as answer:
                assert answer.status == status
        async with session.post(f"{slack.page_url}page/enter", data="{}", headers={"Origin": own}) as answer:
            assert answer.status == 415
        assert [one.text for one in slack.messages(OPS)] == ["hello"]


async def test_the_page_says_what_is_wrong_with_a_request() -> None:
    async with workspace() as slack, aiohttp.ClientSession() as session:
        headers = {"Origin": slack.page_url.rstrip("/")}
        body = {"user": BOB, "channel": PRIVATE, "text": "hello"}
        async with session.post(f"{slack.page_url}page/enter", json=body, headers=headers) as answer:
            assert (answer.status, (await answer.json())["error"]) == (
                400,
                f"{BOB} is not in #private; its members are ['{ALICE}']",
            )


def test_without_a_browser_the_test_is_skipped_and_under_ci_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no Chromium on this machine"):
        chromium_path()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="install Debian's chromium"):
        chromium_path()


EVERYTHING: list[dict[str, Any]] = [
    {"type": "header", "text": plain("P1-002: Child Task Crash Loop")},
    section("*bold* _italic_ ~gone~ `code` &lt;b&gt; 2 * 3 * 4 snake_case_name <https://example.org/x|the graph>"),
    section("&gt; quoted\n```panic: *not bold*```", accessory=button("Details", "details")),
    {"type": "section", "fields": [{"type": "mrkdwn", "text": "*Target*\nworker-3"}, plain("plain *stars*")]},
    {
        "type": "context",
        "elements": [{"type": "mrkdwn", "text": "due <!date^1795000000^{date_num} {time}|x> :warning:"}],
    },
    {"type": "divider"},
    {
        "type": "rich_text",
        "elements": [
            {
                "type": "rich_text_list",
                "style": "ordered",
                "elements": [
                    {
                        "type": "rich_text_section",
                        "elements": [
                            {"type": "text", "text": "ask ", "style": {"bold": True}},
                            {"type": "user", "user_id": SCOT},
                        ],
                    }
                ],
            },
            {"type": "rich_text_preformatted", "elements": [{"type": "text", "text": "  two\n  lines <i>"}]},
            {"type": "rich_text_quote", "elements": [{"type": "text", "text": "as it was said"}]},
        ],
    },
    {
        "type": "table",
        "rows": [
            [{"type": "raw_text", "text": cell} for cell in row] for row in (("Child", "Restarts"), ("w-3", "14"))
        ],
        "column_settings": [{}, {"align": "right"}],
    },
    actions(button("Acknowledge", "ack", style="primary"), button("Stop", "stop", style="danger")),
]


@pytest.mark.browser
async def test_blocks_are_drawn_as_slack_draws_them() -> None:
    async with workspace() as slack, browser_page(slack.page_url) as page:
        posted = await client_of(slack).chat_postMessage(
            channel=OPS,
            text="Escalation",
            attachments=[{"color": "#e01e5a", "fallback": "Escalation", "blocks": EVERYTHING}],
        )
        message = page.locator(f'[data-testid="messages"] [data-ts="{posted["ts"]}"]')
        await expect(message.locator("h3")).to_have_text("P1-002: Child Task Crash Loop")
        await expect(message.locator("strong").first).to_have_text("bold")
        await expect(message.locator("em")).to_have_text("italic")
        await expect(message.locator("s")).to_have_text("gone")
        await expect(message.locator("code").first).to_have_text("code")
        await expect(message.get_by_text("<b> 2 * 3 * 4 snake_case_name")).to_be_visible()
        link = message.get_by_role("link", name="the graph")
        await expect(link).to_have_attribute("href", "https://example.org/x")
        await expect(link).to_have_attribute("rel", "noopener noreferrer")
        await expect(message.locator("blockquote").first).to_have_text("quoted")
        await expect(message.locator("pre").first).to_have_text("panic: *not bold*")
        await expect(message.get_by_text("plain *stars*")).to_be_visible()
        await expect(message.locator("time.date")).to_have_text("2026-11-18 12:06")  # the viewer is in Berlin
        await expect(message.locator(".emoji")).to_have_attribute("aria-label", ":warning:")
        await expect(message.locator("ol li")).to_have_text("ask @scotlaclair")
        await expect(message.locator("pre").nth(1)).to_have_text("  two\n  lines <i>", use_inner_text=True)
        await expect(message.locator("th")).to_have_text(["Child", "Restarts"])
        await expect(message.locator("td").nth(1)).to_have_css("text-align", "right")
        await expect(message.get_by_role("button", name="Acknowledge")).to_have_css("color", "rgb(255, 255, 255)")
        await expect(message.locator(".attachment-bar")).to_have_css("background-color", "rgb(224, 30, 90)")
        await expect(page.get_by_test_id("simulation-banner")).to_contain_text("Slack itself is not involved")


@pytest.mark.browser
async def test_a_whole_conversation_in_the_browser() -> None:
    async with workspace() as slack, bolt(slack, sample_app(slack)), browser_page(slack.page_url) as page:
        slack.commands = [
            SlashCommand("/somas status", "[project]", "How it is"),
            SlashCommand("/somas restart", "<p>"),
        ]
        await page.reload()
        box = page.get_by_test_id("composer")

        await box.press_sequentially("/som")
        await expect(page.get_by_role("option")).to_have_count(2)
        await box.press("Tab")
        await expect(box).to_have_value("/somas status ")
        await box.press("Enter")
        private = page.locator('[data-testid="message"].only-me')
        await expect(private).to_contain_text("Only visible to you")
        await expect(private).to_contain_text("2 projects, all fine")

        await box.fill("/somas restart project-42")
        await box.press("Enter")
        card = page.get_by_test_id("messages").locator("[data-testid=message]", has_text="Restart project-42?")
        await card.get_by_role("button", name="Restart").click()
        dialog = page.get_by_test_id("modal")
        await dialog.get_by_label("Type the project").fill("project-4")
        await dialog.get_by_role("button", name="Restart").click()
        await expect(dialog.get_by_role("alert")).to_have_text("Type project-42 to go on.")
        await expect(dialog.get_by_label("Type the project")).to_have_value("project-4")
        await dialog.get_by_label("Type the project").fill("project-42")
        await dialog.get_by_role("button", name="Restart").click()
        await expect(dialog).to_have_count(0)

        done = page.get_by_test_id("messages").locator("[data-testid=message]", has_text="Restarted")
        await expect(done.get_by_test_id("thread-link")).to_contain_text("1 reply")  # edited in place, live
        await done.get_by_test_id("thread-link").click()
        thread = page.get_by_test_id("thread")
        await expect(thread.get_by_text("Done for @alice")).to_be_visible()
        reply = page.get_by_test_id("thread-composer")
        await reply.fill("@opsbot ack")
        await reply.press("Enter")
        await expect(thread.get_by_text("Acknowledged.")).to_be_visible()
        await reply.fill("/somas status")
        await reply.press("Enter")
        await expect(thread.get_by_text("/somas is not supported in threads. Sorry!")).to_be_visible()


@pytest.mark.browser
async def test_three_people_see_their_own_workspace() -> None:
    async with workspace() as slack, browser_page(slack.page_url) as page:
        client = client_of(slack)
        await client.chat_postMessage(channel=OPS, text="<@U0SCOT> worker-3 ran out of time")
        await client.chat_postEphemeral(channel=OPS, user=BOB, text="a secret for Bob")
        scot = page.get_by_test_id("people").get_by_role("button", name="Scot")
        await expect(scot.locator(".badge")).to_have_text("1")
        await expect(page.get_by_text("a secret for Bob")).to_have_count(0)
        await expect(page.get_by_test_id("channel")).to_have_text(["#ops", "#private"])
        await page.get_by_test_id("people").get_by_role("button", name="Bob").click()
        await expect(page.get_by_text("a secret for Bob")).to_be_visible()
        await expect(page.get_by_test_id("channel")).to_have_text(["#ops"])
        await scot.click()
        await expect(scot).to_have_attribute("aria-pressed", "true")
        await expect(page.locator(".mention-me")).to_have_text("@scotlaclair")


HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "<javascript:alert(1)|click>",
    "```</pre><svg onload=alert(1)>```",
    "*`_~<~_`*",
    "&lt;img src=x&gt;",
    "[x](javascript:alert(1))",
]


@pytest.mark.browser
async def test_hostile_text_stays_text() -> None:
    async with workspace() as slack, browser_page(slack.page_url) as page:
        dialogs: list[str] = []
        page.on("dialog", lambda dialog: dialogs.append(dialog.message))
        for text in HOSTILE:
            await slack.say(ALICE, OPS, text)
        blocks = [
            {
                "type": "rich_text",
                "elements": [{"type": "rich_text_preformatted", "elements": [{"type": "text", "text": t}]}],
            }
            for t in HOSTILE
        ]
        await client_of(slack).chat_postMessage(channel=OPS, text="log", blocks=blocks)
        await expect(page.locator("pre")).to_have_count(len(HOSTILE) + 1)
        assert await page.locator("pre").all_inner_texts() == [HOSTILE[3].strip("`"), *HOSTILE]
        shown = await page.get_by_test_id("message").first.inner_text()
        assert "<img src=x onerror=alert(1)>" in shown
        assert await page.locator(".messages img, .messages script, .messages svg[onload]").count() == 0
        assert await page.locator('a[href^="javascript"]').count() == 0
        assert dialogs == []


@pytest.mark.browser
async def test_it_fits_a_phone_and_the_dark() -> None:
    async with workspace() as slack, browser_page(slack.page_url, width=390, height=844, scheme="dark") as page:
        await post_card(slack)
        await expect(page.get_by_test_id("attachment")).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390
        await expect(page.locator("body")).to_have_css("background-color", "rgb(26, 29, 33)")
        await expect(page.get_by_test_id("channels")).not_to_be_visible()
        await page.get_by_role("button", name="Channels and people").click()
        await expect(page.get_by_test_id("channels")).to_be_visible()
        await expect(page.get_by_test_id("simulation-banner")).to_be_visible()


async def post_card(slack: LocalSlack) -> None:
    await client_of(slack).chat_postMessage(
        channel=OPS, text="Card", attachments=[{"color": "good", "fallback": "Card", "blocks": EVERYTHING}]
    )


async def test_what_is_typed_while_the_bot_starts_is_delivered_when_it_is_up() -> None:
    async with workspace() as slack, aiohttp.ClientSession() as session:
        slack.bot_is_coming = True
        page = {"Origin": slack.page_url.rstrip("/")}
        typed = {"user": ALICE, "channel": OPS, "text": "/somas status"}
        entering = asyncio.create_task(session.post(f"{slack.page_url}page/enter", json=typed, headers=page))
        await slack.wait_for(lambda: slack.ephemerals(ALICE, OPS))
        (told,) = slack.ephemerals(ALICE, OPS)
        assert told.text == "opsbot is still starting. What you typed is delivered as soon as it is up."
        assert slack.deliveries == [] and not entering.done()
        async with bolt(slack, sample_app(slack)):
            async with await entering as answer:
                assert answer.status == 200
            assert [one.kind for one in slack.deliveries] == ["slash"]
            async with session.post(f"{slack.page_url}page/enter", json=typed, headers=page) as answer:
                assert answer.status == 200
            assert "still starting" not in slack.ephemerals(ALICE, OPS)[-1].text, "it is up by now"
