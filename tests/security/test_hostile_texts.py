"""What anybody may write, in a comment or as a name, keeps the bot neither busy nor quiet."""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from bot.app import installed_products
from bot.commands.grammar import parse
from bot.commands.lexer import quote
from bot.commands.signature import syntax
from bot.errors import UserError
from bot.reports.chart import Bar, ChartData, draw, picture
from bot.runbooks.document import parse_document
from bot.runbooks.problems import RunbookError
from bot.runs.commands import runs
from handlers.somas.issue_breaker import history

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "body",
    [
        "<!-- SOMAS_CIRCUIT_BREAKER:" + " " * 60_000,
        "<!--" + " " * 60_000 + "SOMAS_CIRCUIT_BREAKER:",
        "<!-- SOMAS_CIRCUIT_BREAKER:" * 2_000,
        "<!--" * 15_000,
    ],
)
def test_no_comment_is_read_for_ever(body: str) -> None:
    """One search of a text of 65,536 characters holds the interpreter, and with it every run and every page."""
    began = time.process_time()
    history([], [{"body": body}] * 5, "somas:circuit-breaker")
    assert time.process_time() - began < 1


def bars(label: str) -> ChartData:
    return ChartData(title=label, bars_title=label, bars=(Bar(label=label, value=5, warning=1, critical=2, shown="5"),))


def test_a_name_that_looks_like_a_formula_does_not_take_the_picture_away() -> None:
    assert draw(bars("a$\\frac$b, $x_{1$")).startswith(b"\x89PNG")


async def test_what_draws_the_picture_knows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-secret")
    given: dict[str, str] = {}
    start = asyncio.create_subprocess_exec

    async def started(*arguments: str, env: dict[str, str], **more: Any) -> asyncio.subprocess.Process:
        given.update(env)
        return await start(*arguments, env=env, **more)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", started)
    assert await picture(bars("project-42"))
    assert "PATH" in given and "SLACK_BOT_TOKEN" not in given


GROUPS = {"runs": runs, **{product.name: product.commands for product in installed_products()}}
NASTY = (
    "9" * 22,
    "9" * 5000,
    "9" * 22 + "d",
    "-" + "9" * 22 + "h",
    "1e999",
    "nan",
    "inf",
    "0x7f",
    "\u0663",
    "\ud800",
    "",
)


@pytest.mark.parametrize("root", GROUPS)
def test_no_value_is_more_than_a_command_can_refuse(root: str) -> None:
    """What is not understood is told with the place; nothing but a ``UserError`` ever comes out of it."""
    group = GROUPS[root]
    for command in group.commands.values():
        known = syntax(command)
        needed = [quote("x") for each in known.arguments if each.positional and each.required]
        for argument in known.arguments:
            if argument.type is str or argument.flag:
                continue
            for value in NASTY:
                given = quote(value) if argument.positional else f"{argument.spelled}={quote(value)}"
                with contextlib.suppress(UserError):
                    parse(f"/{root} {command.verb} {' '.join(needed)} {given}", GROUPS, ())


def test_a_runbook_full_of_blanks_is_read_in_no_time() -> None:
    table = "| Step | Action | Expected Metrics | Estimated Duration |\n|---|---|---|---|\n| 1 | Do it | | 1min |\n"
    began = time.process_time()
    with pytest.raises(RunbookError, match='"8min x" is not a duration'):
        parse_document(f"# X\n\n{table}\n**Total estimated duration**: 8min{' ' * 3000}x.\n", "x.md")
    assert time.process_time() - began < 1
