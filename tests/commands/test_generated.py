"""The files that are written from the commands."""

from __future__ import annotations

from pathlib import Path

import yaml
from markdown_it import MarkdownIt

from bot.commands.generated import SCOPES, command_page, command_table, manifest, stale, write
from bot.commands.registry import CommandContext, CommandGroup, Reply
from bot.handler import Danger
from tests.commands.products import SOMAS, SUPERVISOR, runs, somas

PRODUCTS = [SOMAS, SUPERVISOR]


def test_the_manifest_has_one_slash_command_per_root_and_only_the_scopes_that_are_used() -> None:
    document = yaml.safe_load(manifest(PRODUCTS, [runs], host="ops.example.org"))
    slash = {each["command"]: each for each in document["features"]["slash_commands"]}
    assert [*slash] == ["/somas", "/supervisor", "/runs"]
    assert slash["/somas"] == {
        "command": "/somas",
        "url": "https://ops.example.org/slack/events",
        "description": "The SOMAS pipeline: its projects and their stages.",
        "usage_hint": "status [project] | failed | restart <project> | log <project> [count] | purge [projects...]"
        " | help",
        "should_escape": True,
    }
    assert set(document["oauth_config"]["scopes"]["bot"]) == set(SCOPES)
    assert {"app_mentions:read", "chat:write", "commands", "im:history"} <= set(SCOPES)
    assert document["settings"]["event_subscriptions"]["bot_events"] == ["app_home_opened", "app_mention", "message.im"]
    assert document["features"]["app_home"]["home_tab_enabled"] is True
    assert document["features"]["app_home"]["messages_tab_read_only_enabled"] is False
    (shortcut,) = document["features"]["shortcuts"]
    assert (shortcut["type"], shortcut["callback_id"]) == ("message", "incident_note")
    assert len(shortcut["name"]) <= 24 and len(shortcut["description"]) <= 150
    menus = document["settings"]["interactivity"]["message_menu_options_url"]
    assert menus == "https://ops.example.org/slack/events"
    assert document["settings"]["interactivity"]["request_url"] == "https://ops.example.org/slack/events"
    assert document["settings"]["socket_mode_enabled"] is False


def test_the_manifest_keeps_slacks_limits_and_says_where_the_address_goes() -> None:
    text = manifest(PRODUCTS, [runs])
    document = yaml.safe_load(text)
    assert len(document["display_information"]["name"]) <= 35
    assert len(document["display_information"]["description"]) <= 140
    assert "YOUR-HOST" in text.split("display_information")[0]
    large = CommandGroup("large", "x" * 500)
    for number in range(200):

        @large.command(danger=Danger.READ, examples=("/large",), verb=f"verb-{number}")
        async def verb(context: CommandContext, name: str) -> Reply:
            """Do it."""
            raise NotImplementedError

    (command,) = [
        each
        for each in yaml.safe_load(manifest([], [large]))["features"]["slash_commands"]
        if each["command"] == "/large"
    ]
    assert len(command["description"]) == 140
    assert len(command["usage_hint"]) == 1000


def test_the_order_in_which_products_are_found_changes_nothing() -> None:
    assert manifest(PRODUCTS, [runs]) == manifest(PRODUCTS[::-1], [runs])
    assert command_page(PRODUCTS, [runs]) == command_page(PRODUCTS[::-1], [runs])


def test_the_table_is_one_row_of_three_cells_per_command_for_a_markdown_reader() -> None:
    table = command_table(PRODUCTS, [runs])
    html = MarkdownIt("commonmark").enable("table").render(table)
    assert html.count("<tr>") == 1 + sum(len(group.commands) for group in (SOMAS.commands, SUPERVISOR.commands, runs))
    assert html.count("<td>") == 3 * (html.count("<tr>") - 1)
    restart = "/somas restart &lt;project&gt; [--from STAGE | --checkpoint [ID] | --full] [--reason TEXT] [--dry-run]"
    assert f"<td><code>{restart}</code></td>" in html


def test_the_page_tells_everything_about_a_command() -> None:
    page = command_page(PRODUCTS, [runs])
    section = page.split("### /somas restart\n")[1].split("\n###")[0]
    for part in (
        "The stage that is running is not stopped.",
        "- `--from STAGE`: The stage to start from. One of intake, specification, build, verify, deploy.",
        '/somas restart project-42 --from verify --reason "flaky runner"',
        "Danger: changes something: shows what it will do, and does it. Who may: operators and admins.",
    ):
        assert part in section
    assert "Danger: **destructive" in page.split("### /somas purge\n")[1]
    assert all(f"### /{group.root} {verb}\n" in page for group in (somas, runs) for verb in group.commands)


def test_writing_makes_fresh_and_a_changed_command_makes_stale(tmp_path: Path) -> None:
    assert stale(tmp_path, PRODUCTS, [runs]) == ["manifest.yml", "docs/commands.md"]
    assert write(tmp_path, PRODUCTS, [runs]) == ["manifest.yml", "docs/commands.md"]
    assert stale(tmp_path, PRODUCTS, [runs]) == []
    assert write(tmp_path, PRODUCTS, [runs]) == []
    (tmp_path / "manifest.yml").write_text((tmp_path / "manifest.yml").read_text() + "# by hand\n")
    assert stale(tmp_path, PRODUCTS, [runs]) == ["manifest.yml"]
    assert stale(tmp_path, [SOMAS], [runs]) == ["manifest.yml", "docs/commands.md"]
