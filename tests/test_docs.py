"""What the documents say can be typed and found: each command parses, each link leads somewhere."""

from __future__ import annotations

import contextlib
import re
import shlex
import tomllib
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest
from cyclopts import CycloptsError

from bot.app import installed_products
from bot.cli import app
from bot.commands import grammar
from bot.commands.pointer import IncompleteCommandError
from bot.commands.registry import CommandGroup
from bot.runs.commands import runs

ROOT = Path(__file__).parent.parent
PAGES = [
    path
    for path in (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md")))
    if path.name != "commands.md"  # made of the registry, whose examples have a test of their own
]
FENCE = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)
SPOKEN = re.compile(r"`((?:/(?:somas|supervisor|runs)\b|@opsbot )[^`\n]*)`|^ *(/(?:somas|supervisor|runs)\b.*)$", re.M)
TYPED = re.compile(r"`(opsbot [a-z][^`\n]*)`|^ *(?:\$ )?(opsbot [a-z].*)$", re.M)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def found(pattern: re.Pattern[str], pages: list[Path]) -> list[tuple[str, str]]:
    """(page, what was found) for each; ``…`` stands for anything."""
    return [
        (named(page), next(filter(None, match.groups())).replace("…", "x").strip())
        for page in pages
        for match in pattern.finditer(page.read_text())
    ]


@cache
def groups() -> dict[str, CommandGroup]:
    return {"runs": runs, **{product.name: product.commands for product in installed_products()}}


def parsed(said: str) -> None:
    """As the bot does; what only names commands, ``/somas status|failed|restart``, may lack their arguments."""
    if "|" in said:
        address, verbs = said.split()[:2]
        for verb in verbs.split("|"):
            parsed(f"{address} {verb}")
        return
    line = grammar.mention_line(said.removeprefix("@opsbot "), groups(), ()) if said.startswith("@") else said
    with contextlib.suppress(IncompleteCommandError):
        grammar.parse(line, groups(), ())


IN_A_THREAD = {"ack", "approve", "cancel", "done", "extend", "fail", "note", "retry", "skip"}


@pytest.mark.parametrize(("page", "said"), sorted(set(found(SPOKEN, PAGES))))
def test_every_command_that_a_document_shows_is_understood(page: str, said: str) -> None:
    if said.split()[1:] == ["x"] or (said.startswith("@opsbot ") and said.split()[1] in IN_A_THREAD):
        return  # no command in particular, or one in the thread of a run, which is not here
    parsed(said)


@pytest.mark.parametrize(("page", "typed"), sorted(set(found(TYPED, PAGES))))
def test_every_line_for_a_shell_is_understood(page: str, typed: str) -> None:
    plain = re.sub(r"[\[\]]", "", typed.partition(" | ")[0])  # what may be left out is there
    arguments = shlex.split(plain, comments=True)[1:]
    if arguments[-1:] == ["--help"]:
        arguments.pop()
    try:
        _, _, unused, _ = app.parse_known_args(arguments)
    except CycloptsError as error:
        if type(error).__name__ != "MissingArgumentError":  # only named
            raise
    else:
        assert not unused, unused


def heads(page: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", title).strip().lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        there = (page.parent / unquote(path)).resolve() if path else page
        assert there.exists(), link
        if anchor and there.suffix == ".md":
            assert anchor in heads(there), link
    for path in re.findall(r"`((?:bot|docs|handlers|tests|docker|benchmarks)/[\w./-]+)`", page.read_text()):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_piece_of_toml_is_toml(page: Path) -> None:
    for piece in re.findall(r"^ *```toml\n(.*?)^ *```", page.read_text(), re.DOTALL | re.MULTILINE):
        tomllib.loads(piece)
