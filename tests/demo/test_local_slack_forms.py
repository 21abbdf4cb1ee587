"""The page of the local Slack: a menu that asks the app, the home tab, the shortcut of a message."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import expect
from slack_bolt.async_app import AsyncApp

from bot.demo.slack import LocalSlack
from bot.demo.slack.workspace import Refused
from tests.demo.chromium import browser_page
from tests.demo.local_slack_app import (
    ALICE,
    OPS,
    SECRET,
    actions,
    bolt,
    button,
    client_of,
    modal,
    plain,
    section,
    workspace,
)

PROJECTS = ["project-7", "project-42", "project-49"]


def menu(**more: Any) -> dict[str, Any]:
    element = {"type": "external_select", "action_id": "value", "min_query_length": 0, **more}
    return {"type": "input", "block_id": "project", "label": plain("Project"), "element": element}


def app_with_a_menu(slack: LocalSlack, heard: list[str]) -> AsyncApp:
    """Offers projects, publishes a home tab and opens a form for a message."""
    app = AsyncApp(client=client_of(slack), signing_secret=SECRET)

    @app.command("/somas")
    async def ask(ack: Any, body: dict[str, Any], client: Any) -> None:
        await ack()
        await client.views_open(trigger_id=body["trigger_id"], view=modal(menu()))

    @app.options("value")
    async def offer(ack: Any, body: dict[str, Any]) -> None:
        found = [each for each in PROJECTS if body["value"] in each]
        await ack(options=[{"text": plain(each), "value": each} for each in found])

    @app.view("restart")
    async def sent(ack: Any, view: dict[str, Any]) -> None:
        heard.append(view["state"]["values"]["project"]["value"]["selected_option"]["value"])
        await ack()

    @app.event("app_home_opened")
    async def home(event: dict[str, Any], client: Any) -> None:
        blocks = [section("Nothing waits for you."), actions(button("Look", "look", value="/somas status"))]
        await client.views_publish(user_id=event["user"], view={"type": "home", "blocks": blocks})

    @app.action("look")
    async def look(ack: Any, action: dict[str, Any], body: dict[str, Any]) -> None:
        heard.append(f"{action['value']} from {body['container']['type']}")
        await ack()

    @app.shortcut({"type": "message_action", "callback_id": "note"})
    async def note(ack: Any, shortcut: dict[str, Any]) -> None:
        heard.append(f"note: {shortcut['message']['text']}")
        await ack()

    return app


async def test_a_menu_offers_what_the_app_says_and_nothing_else_can_be_sent() -> None:
    heard: list[str] = []
    async with workspace() as slack, bolt(slack, app_with_a_menu(slack, heard)):
        await slack.slash(ALICE, OPS, "/somas restart")
        (view,) = await slack.wait_for(lambda: slack.open_views(ALICE))
        offered = await slack.suggest(ALICE, view.id, "project", "-4")
        assert [one["value"] for one in offered] == ["project-42", "project-49"]
        with pytest.raises(LookupError, match="does not offer 'project-9'"):
            await slack.submit(ALICE, view.id, {"Project": "project-9"})
        assert (await slack.submit(ALICE, view.id, {})).errors == {"project": "Please complete this required field."}
        assert (await slack.submit(ALICE, view.id, {"Project": "project-42"})).ok
        with pytest.raises(LookupError, match="no menu"):
            await slack.suggest(ALICE, (await _again(slack)).id, "nothing")
        assert heard == ["project-42"]


async def _again(slack: LocalSlack) -> Any:
    await slack.slash(ALICE, OPS, "/somas restart")
    return (await slack.wait_for(lambda: slack.open_views(ALICE)))[-1]


async def test_options_that_slack_would_not_take_are_refused() -> None:
    async with workspace() as slack:
        app = AsyncApp(client=client_of(slack), signing_secret=SECRET)

        @app.command("/somas")
        async def ask(ack: Any, body: dict[str, Any], client: Any) -> None:
            await ack()
            await client.views_open(trigger_id=body["trigger_id"], view=modal(menu()))

        @app.options("value")
        async def offer(ack: Any) -> None:
            await ack(options=[{"text": plain("x" * 76), "value": "x"}])

        async with bolt(slack, app):
            view = await _again(slack)
            with pytest.raises(Refused, match="invalid_options"):
                await slack.suggest(ALICE, view.id, "project", "x")


@pytest.mark.browser
async def test_forms_the_home_tab_and_the_shortcut_in_the_browser() -> None:
    heard: list[str] = []
    async with workspace() as slack, bolt(slack, app_with_a_menu(slack, heard)):
        slack.shortcuts = {"note": "Turn into incident note"}
        await slack.say(ALICE, OPS, "it began at 14:10")
        async with browser_page(slack.page_url) as page:
            await page.get_by_test_id("message").hover()
            await page.get_by_test_id("shortcut").click()
            await slack.wait_for(lambda: heard == ["note: it began at 14:10"])
            await page.get_by_test_id("app-home").click()
            await expect(page.get_by_test_id("home")).to_contain_text("Nothing waits for you.")
            await page.get_by_test_id("home").get_by_role("button", name="Look").click()
            await slack.wait_for(lambda: heard[1:] == ["/somas status from view"])
            await page.get_by_test_id("channel").first.click()
            box = page.get_by_test_id("composer")
            await box.fill("/somas restart")
            await box.press("Enter")
            field = page.get_by_test_id("modal").get_by_role("combobox")
            await field.fill("-4")
            await expect(field).to_have_attribute("data-offered", "2")
            await field.fill("project-49")
            await page.get_by_test_id("modal").get_by_role("button", name="Restart").click()
            await slack.wait_for(lambda: heard[2:] == ["project-49"])
            await expect(page.get_by_test_id("modal")).to_have_count(0)
