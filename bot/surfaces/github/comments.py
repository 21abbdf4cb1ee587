"""``/somas restart project-42`` or ``@opsbot status project-42`` on a line of its own in a comment.

The comment is read as GitHub reads it (CommonMark with tables), so what counts is what people see as plain text at the
start of a line: not code, quotes, lists, tables, links, headings, HTML comments or anything else that only shows a
command. Pure.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline, escape, newline
from markdown_it.token import Token

ZERO_WIDTH_SPACE = "\u200b"

# In these a command is shown, not given.
_CONTAINERS = {"blockquote_open", "bullet_list_open", "ordered_list_open", "table_open", "heading_open"}
_SHOWING_TAGS = frozenset(
    re.findall(
        r"\w+",
        "a blockquote code del details dl h1 h2 h3 h4 h5 h6 kbd li ol pre q s samp script strike style sub summary sup "
        "svg table template textarea title tt ul var",
    )
)
_FOOTNOTE = re.compile(r" {0,3}\[\^[^\]\s]+\]:")
_LINE_BREAK = re.compile(r"\r\n?|\n")
# An escaped quote or backslash is also one to the command line; any other escape only protects from Markdown.
_KEPT_ESCAPES = {'\\"', "\\'", "\\\\"}


@dataclass(frozen=True, slots=True)
class FoundCommand:
    """A command as people see it in the comment; ``line`` is the 1-based line of the comment's source."""

    text: str
    line: int


def commands_in(body: str, roots: Collection[str], mention: str = "opsbot") -> list[FoundCommand]:
    """The commands of a comment, in order.

    ``roots`` are the root commands with or without their slash; ``mention`` is the bot's name. The address is matched
    without regard to case and given back in the case of ``roots`` and ``mention``; the rest is as people see it.
    """
    if not may_hold_commands(body, roots, mention):
        return []
    ordered = tuple(sorted(roots))
    address, starts = _address(ordered, mention), _line_address(ordered, mention)
    shared: dict[str, Any] = {}  # link references, for all paragraphs
    found: list[FoundCommand] = []
    html = _OpenTags()
    notes = _footnotes(body)
    depth = 0
    parser = _parser()
    for token in parser.parse(body, shared):
        if token.type in _CONTAINERS:
            depth += 1
        elif token.type.replace("_close", "_open") in _CONTAINERS:
            depth -= 1
        elif token.type == "html_block":
            html.feed(token.content)
        elif token.type == "inline" and ("<" in token.content or (depth == 0 and starts.search(token.content))):
            # What neither holds an address nor can hold a tag is not looked into: a paragraph of 60 000 brackets would
            # take a second.
            children: list[Token] = []
            parser.inline.parse(token.content, parser, shared, children)
            first_line = (token.map or [0, 0])[0] + 1
            # All lines are read even where none counts: they may open or close tags.
            found.extend(
                FoundCommand(_spoken(match, line.text, roots, mention), first_line + line.number)
                for line in _lines(children, html)
                if depth == 0 and line.plain_start and (match := address.match(line.text))
                if first_line + line.number not in notes
            )
    return found


def may_hold_commands(body: str, roots: Collection[str], mention: str = "opsbot") -> bool:
    """Whether a line of the source begins with an address. The most common comment has none and costs no parse."""
    if "/" not in body and "@" not in body:
        return False
    address = _address(tuple(sorted(roots)), mention)
    return any(line.lstrip()[:1] in ("/", "@") and address.match(line) for line in body.splitlines())


def new_commands(
    body: str, before: str | None, roots: Collection[str], mention: str = "opsbot"
) -> list[tuple[str, FoundCommand]]:
    """The commands that ``body`` has more of than ``before`` (None: there was no comment), each with its identity.

    The identity is ``<n>:<hash of the text>`` where n counts the same text within the comment: it stays the same when
    other lines are added or removed around it, so that an edit never runs an old command again.
    """
    known = Counter(command.text for command in commands_in(before, roots, mention)) if before else Counter[str]()
    seen: Counter[str] = Counter()
    fresh = []
    for command in commands_in(body, roots, mention):
        occurrence = seen[command.text]
        seen[command.text] += 1
        if occurrence >= known[command.text]:
            digest = sha256(command.text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
            fresh.append((f"{occurrence}:{digest}", command))
    return fresh


def _footnotes(body: str) -> set[int]:
    """The lines of ``[^1]: text``, which GitHub moves to the end of the comment or does not show at all."""
    if "[^" not in body:
        return set()
    found: set[int] = set()
    inside = False
    for number, line in enumerate(_LINE_BREAK.split(body), start=1):
        inside = bool(_FOOTNOTE.match(line)) or (inside and bool(line.strip()))
        if inside:
            found.add(number)
    return found


@dataclass(slots=True)
class _Line:
    number: int
    text: str
    plain_start: bool  # begins with ordinary text, outside every tag and link


class _OpenTags(HTMLParser):
    """Follows raw HTML through the comment: inside ``<code>``, or after a comment nobody closed, nothing counts."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[str] = []

    @property
    def showing(self) -> bool:
        # rawdata holds what the parser could not finish: a tag or an HTML comment that is still open.
        return bool(self._open) or bool(self.rawdata)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SHOWING_TAGS:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            self._open.remove(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)  # HTML ignores the slash of <code/>


def _lines(children: Iterable[Token], html: _OpenTags) -> Iterable[_Line]:
    """The visible lines of a paragraph. Every line also feeds its tags to ``html``."""
    current: _Line | None = None
    links = 0
    number = 0
    lines: list[_Line] = []
    for token in children:
        if token.type in ("softbreak", "hardbreak"):
            number = token.meta["line"]
            current = None
            continue
        if current is None:
            plain = token.type == "text" and links == 0 and not html.showing
            current = _Line(number, "", plain)
            lines.append(current)
        match token.type:
            case "link_open":
                links += 1
            case "link_close":
                links -= 1
            case "html_inline":
                html.feed(token.content)
            case "text" | "code_inline":
                current.text += token.content
            case "text_special":
                current.text += token.markup if token.markup in _KEPT_ESCAPES else token.content
    return lines


def _spoken(match: re.Match[str], text: str, roots: Collection[str], mention: str) -> str:
    rest = text[match.end() :].replace(ZERO_WIDTH_SPACE, "").strip()
    word = match["word"].casefold()
    if word.startswith("@"):
        address = f"@{mention}"
    else:
        address = "/" + next(root.lstrip("/") for root in roots if root.lstrip("/").casefold() == word[1:])
    return f"{address} {rest}".rstrip()


@cache
def _address(roots: tuple[str, ...], mention: str) -> re.Pattern[str]:
    return re.compile(r"\s*" + _word(roots, mention), re.IGNORECASE | re.M)


@cache
def _line_address(roots: tuple[str, ...], mention: str) -> re.Pattern[str]:
    return re.compile(r"(?:\A|[\r\n])[^\S\r\n]*" + _word(roots, mention), re.IGNORECASE | re.M)


def _word(roots: tuple[str, ...], mention: str) -> str:
    names = "|".join(re.escape(root.lstrip("/")) for root in roots)
    slash = f"/(?:{names})" if roots else "(?!)"
    return rf"(?P<word>{slash}|@{re.escape(mention)}(?:\[bot\])?)(?=[\s:,]|$)[:,]?"


@cache
def _parser() -> MarkdownIt:
    # Emphasis stays as typed: ``--reason *.json`` is no italics for a command line.
    # "inline" of the core: paragraphs are parsed one by one, where that is worth it.
    markdown = MarkdownIt("commonmark", {"html": True}).enable("table").disable(["emphasis", "text_join", "inline"])
    # Both rules make line breaks; "escape" for a backslash at the end of a line.
    markdown.inline.ruler.at("newline", _numbered(newline))
    markdown.inline.ruler.at("escape", _numbered(escape))
    return markdown


def _numbered(rule: Callable[[StateInline, bool], bool]) -> Callable[[StateInline, bool], bool]:
    """The rule of markdown-it, and a line break remembers which line of the paragraph it begins."""

    def numbered(state: StateInline, silent: bool) -> bool:
        if not rule(state, silent):
            return False
        if not silent and state.tokens and state.tokens[-1].type in ("softbreak", "hardbreak"):
            state.tokens[-1].meta = {"line": state.src.count("\n", 0, state.pos)}
        return True

    return numbered
