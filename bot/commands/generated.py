"""``manifest.yml`` and ``docs/commands.md``: written from the commands, never by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import yaml

from bot.commands.help import argument_line, danger_words, description, level_words, standing_words
from bot.commands.registry import Command, CommandGroup
from bot.commands.signature import syntax, usage
from bot.handler import Danger, Product
from bot.messages import Code, Line, plain_line

_NOTICE = "Written by `opsbot commands --write` from the commands themselves. Changes here are lost."
_MANIFEST_NOTICE = f"""\
# {_NOTICE}
# Slack: https://api.slack.com/apps, "Create New App", "From a manifest". Put your own address for YOUR-HOST.
# For Socket Mode set socket_mode_enabled to true; the addresses are then not used.
"""
# Limits of Slack's manifest, source: the "App manifest reference" of Slack's documentation.
_DESCRIPTION = 140
_USAGE_HINT = 1000

# What each is for: events that mention the bot; messages, cards and threads; the slash commands and the shortcut; the
# pictures of reports;
# what people write to the bot alone. Histories of channels are read only to find a message of ours again whose posting
# was interrupted.
SCOPES = (
    "app_mentions:read",
    "channels:history",
    "chat:write",
    "commands",
    "files:write",
    "groups:history",
    "im:history",
    "usergroups:read",
)
EVENTS = ("app_home_opened", "app_mention", "message.im")
SHORTCUT = "incident_note"  # callback id of the one in the menu of a message
SHORTCUT_NAME = "Turn into incident note"  # at most 24 characters, Slack's limit


def manifest(products: Sequence[Product], own: Sequence[CommandGroup], host: str = "YOUR-HOST") -> str:
    """``manifest.yml`` for Slack: one slash command per root, and only the scopes that are used."""
    address = f"https://{host}/slack/events"
    slash_commands = [
        {
            "command": f"/{group.root}",
            "url": address,
            "description": _cut(group.summary, _DESCRIPTION),
            "usage_hint": usage_hint(group),
            "should_escape": True,
        }
        for group in _groups(products, own)
    ]
    document = {
        "display_information": {
            "name": "opsbot",
            "description": "Runs on-call runbooks in threads, checks every expectation, escalates when time runs out",
            "background_color": "#1f2933",
        },
        "features": {
            "bot_user": {"display_name": "opsbot", "always_online": True},
            "slash_commands": slash_commands,
            "app_home": {
                "home_tab_enabled": True,
                "messages_tab_enabled": True,
                "messages_tab_read_only_enabled": False,
            },
            "shortcuts": [
                {
                    "name": SHORTCUT_NAME,
                    "type": "message",
                    "callback_id": SHORTCUT,
                    "description": "Attach this message to a run: its thread and the audit log",
                }
            ],
        },
        "oauth_config": {"scopes": {"bot": list(SCOPES)}},
        "settings": {
            "event_subscriptions": {"request_url": address, "bot_events": list(EVENTS)},
            "interactivity": {"is_enabled": True, "request_url": address, "message_menu_options_url": address},
            "org_deploy_enabled": False,
            "socket_mode_enabled": False,
            "token_rotation_enabled": False,
        },
    }
    body: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)
    return _MANIFEST_NOTICE + body


def usage_hint(group: CommandGroup) -> str:
    """What Slack shows behind the command while it is typed: ``status [project] | restart <project> | help``."""
    verbs = []
    for command in group.commands.values():
        positional = [each.placeholder for each in syntax(command).arguments if each.positional]
        verbs.append(" ".join([command.verb, *positional]))
    return _cut(" | ".join([*verbs, "help"]), _USAGE_HINT)


def command_page(products: Sequence[Product], own: Sequence[CommandGroup]) -> str:
    """``docs/commands.md``: every command with usage, arguments, options, examples, danger and who may."""
    parts = [
        f"<!-- {_NOTICE} -->",
        "# Commands",
        "Type them as slash commands in Slack, or mention the bot: `@opsbot` and the command without its slash. Slash "
        "commands do not work in Slack threads: mention the bot there; in the thread of a run, the run need not be "
        "named (`@opsbot ack`).",
        "Put text of several words in quotes. `help` works everywhere: alone, behind a command, and with a verb "
        "behind it.",
        command_table(products, own),
    ]
    for group in _groups(products, own):
        parts += [f"## /{group.root}", _prose(group.summary)]
        for command in group.commands.values():
            parts += _command_section(group, command)
    return "\n\n".join(parts) + "\n"


def command_table(products: Sequence[Product], own: Sequence[CommandGroup]) -> str:
    """One row per command: what to type, what it does, how dangerous it is."""
    rows = ["| Command | What it does | Danger |", "|---|---|---|"]
    for group in _groups(products, own):
        for command in group.commands.values():
            typed = _cell(f"`{usage(group.root, command)}`")
            rows.append(f"| {typed} | {_cell(_prose(command.help))} | {command.danger.value} |")
    return "\n".join(rows)


def generated(root: Path, products: Sequence[Product], own: Sequence[CommandGroup]) -> dict[Path, str]:
    """The generated files with their content."""
    return {
        root / "manifest.yml": manifest(products, own),
        root / "docs" / "commands.md": command_page(products, own),
    }


def write(root: Path, products: Sequence[Product], own: Sequence[CommandGroup]) -> list[str]:
    """Write what is stale below ``root``; the names of the files that were written."""
    return write_files(root, generated(root, products, own))


def stale(root: Path, products: Sequence[Product], own: Sequence[CommandGroup]) -> list[str]:
    """The names of the generated files below ``root`` that are not what ``write`` would write."""
    return stale_files(root, generated(root, products, own))


def write_files(root: Path, files: Mapping[Path, str]) -> list[str]:
    """Write those of the files that are stale; their names below ``root``."""
    written = []
    for path, content in files.items():
        if _differs(path, content):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
            written.append(path.relative_to(root).as_posix())
    return written


def stale_files(root: Path, files: Mapping[Path, str]) -> list[str]:
    """The names below ``root`` of the files that are not what they should be."""
    return [path.relative_to(root).as_posix() for path, content in files.items() if _differs(path, content)]


def _groups(products: Iterable[Product], own: Iterable[CommandGroup]) -> list[CommandGroup]:
    """By root, the products' first: the order in which entry points are found must not change a file."""
    return [*sorted((product.commands for product in products), key=lambda group: group.root), *own]


def _command_section(group: CommandGroup, command: Command) -> list[str]:
    parts = [f"### /{group.root} {command.verb}", _prose(command.help), *map(_prose, description(command))]
    parts.append(f"```text\n{usage(group.root, command)}\n```")
    arguments = [each for each in syntax(command).arguments if not each.standing]
    if arguments:
        parts.append("\n".join(f"- {_markdown(argument_line(each))}" for each in arguments))
    examples = "\n".join(command.examples)
    parts.append(f"{'Examples' if len(command.examples) > 1 else 'Example'}:\n\n```text\n{examples}\n```")
    mark = "**" if command.danger is Danger.DESTRUCTIVE else ""
    danger = danger_words(command.danger)
    parts.append(f"Danger: {mark}{danger}{mark}. Who may: {level_words(command.level)}.")
    if told := standing_words(command):
        parts.append(_prose(told))
    return parts


def _prose(text: str) -> str:
    """Docstring text as Markdown: double backticks become single ones, the rest is plain."""
    pieces = text.replace("``", "`").split("`")
    return "`".join(piece if index % 2 else _escaped(piece) for index, piece in enumerate(pieces))


def _markdown(spans: Line) -> str:
    return "".join(f"`{span.value}`" if isinstance(span, Code) else _escaped(plain_line((span,))) for span in spans)


def _escaped(text: str) -> str:
    for character in "\\*_<[":
        text = text.replace(character, "\\" + character)
    return text


def _cell(markdown: str) -> str:
    return markdown.replace("|", "\\|")


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _differs(path: Path, content: str) -> bool:
    return not path.exists() or path.read_text(encoding="utf-8") != content
