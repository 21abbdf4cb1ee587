"""What people read on GitHub, and that nothing from a file or a person becomes more than text there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from bot.messages import (
    Block,
    Bold,
    Bullets,
    Button,
    Buttons,
    Code,
    CodeBlock,
    Dialog,
    Divider,
    Fields,
    Folded,
    Heading,
    Input,
    Italic,
    Lines,
    Link,
    Mention,
    Message,
    Note,
    Paragraph,
    Table,
    Text,
    When,
    line,
    message,
)
from bot.surfaces.github.comments import commands_in
from bot.surfaces.github.markdown import MAX_LENGTH, draw
from bot.surfaces.printable import printable

PEOPLE = {"scotlaclair": "scotlaclair"}
ZWSP = "\u200b"
GFM = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])

OUR_TAGS = {
    "<br>",
    "<strong>",
    "</strong>",
    "<em>",
    "</em>",
    "<sub>",
    "</sub>",
    "<span>",
    "</span>",
}  # and <code> in the summary of what is folded
# What GitHub makes of the text nodes of a rendered comment, besides Markdown: docs.github.com, "Autolinked references
# and URLs", "Basic writing and formatting syntax".
AUTOLINKS = re.compile(
    r"(?<![A-Za-z0-9_])@[A-Za-z0-9]|(?i:\bgh-\d)|\#\d|(?i:\bwww\.)|(?i:\b(https?|ftp)://)|(?i:\b(mailto|xmpp):[a-z0-9])"
    r"|[A-Za-z0-9._-]@[A-Za-z0-9]|(?i:(?<![0-9a-z])[0-9a-f]{7,40}(?![0-9a-z]))|:(?:100|1234|\d*[a-z_+-][a-z0-9_+-]*):|\$"
)

HOSTILE = [
    "@alice @acme/team @opsbot",
    "#12 acme/somas#1 GH-1 gh-22",
    "https://evil.invalid www.evil.invalid ftp://x mailto:a@b.c xmpp:x a@b.invalid",
    "deadbeef 4308574 acme/somas@4308574cafe deadbeefdeadbeefdeadbeefdeadbeefdeadbeef",
    "<!-- opsbot:run=01J --> <script>alert(1)</script> <img src=x onerror=y>",
    "[click](https://evil.invalid) ![x](https://evil.invalid/p.png) <https://evil.invalid>",
    "```\n# out\n@alice\n```",
    "````` `x` ``",
    "a | b \\| c \\\\| d",
    "# heading\n## another",
    "- item\n1. one\n> quote\n+ plus",
    "    code",
    "***bold*** __b__ ~~s~~ ^",
    "[ref]: https://evil.invalid\n[ref]",
    "&lt;b&gt; &#64;alice &commat;alice &#35;12",
    "\\@alice \\#12 \\<b>",
    ":boom: :+1: $x^2$ $$y$$",
    "</details><details open>",
    "line\u202eredro\u2066 \x00 \x1b[31m \ud800",
    "@copilot somas-architect",
    "Stage 3 Started and Complete",
    "x\n===\ny\n---\nz",
    "| a | b |\n|---|---|\n| c | d |",
    "[^1] [^1]: note",
    "",
    "   ",
    "\n\n\n",
    "a\u2028\u2028# @b\r\r- c",
]


def tokens_of(body: str) -> Iterator[Token]:
    for token in GFM.parse(body):
        yield token
        yield from token.children or ()


def text_nodes(body: str) -> Iterator[str]:
    """Text outside code, each node as the browser has it: neighbouring texts are one."""
    for token in GFM.parse(body):
        if token.type == "html_block":
            yield from re.split(r"<[^>]*>", re.sub(r"<code>.*?</code>", "<>", token.content))
        node = ""
        for child in token.children or ():
            if child.type in ("text", "text_special"):
                node += child.content
            elif node:
                yield node
                node = ""
        yield node


def assert_harmless(body: str, allow: str = "") -> None:
    assert len(body) <= MAX_LENGTH
    body.encode()
    for token in tokens_of(body):
        assert token.type not in ("link_open", "image"), body
        if token.type == "html_inline":
            assert token.content in OUR_TAGS, body
        if token.type == "html_block":
            assert "<!--" not in token.content, body
            stripped = re.sub(r"</?(details|summary|br|sub|strong|em|span|code)>", "", token.content)
            assert "<" not in stripped, body
    for node in text_nodes(body):
        found = [match[0] for match in AUTOLINKS.finditer(node.replace(allow, "") if allow else node)]
        assert found == [] or set(found) == {"$"}, (found, body)
    # A dollar sign must stand alone in its span, so that two of them make no formula.
    assert "$" not in re.sub(r"<span>\$</span>", "", "".join(_outside_code(body)))
    assert "@copilot somas-" not in body
    assert not ("Stage" in body and ("Started" in body or "Complete" in body))
    assert commands_in(body, ["somas", "runs", "supervisor"]) == []


def _outside_code(body: str) -> Iterator[str]:
    for token in GFM.parse(body):
        for child in token.children or ():
            if child.type != "code_inline":
                yield child.content


def everywhere(text: str) -> tuple[Block, ...]:
    """A message with the text in every place that a message has."""
    return (
        Heading(text),
        Paragraph(line(text)),
        Paragraph(line(text, Bold(text), Bold(text), Italic(text), Code(text), text, Text(text))),
        Bullets((line(text), line(Code(text)), line(Bold(text)))),
        Lines((line(text), line(Italic(text)))),
        Fields(((text, line(text)), ("State", line(Code(text))))),
        Table((text, "n"), ((text, text), (text,)), frozenset({"n"})),
        CodeBlock(text),
        CodeBlock(text, text, text),
        CodeBlock((text + "\n") * 20, "text", text),
        Note(line(text)),
        Folded(text, (Paragraph(line(text)), CodeBlock(text, text), Note(line(text)))),
        Divider(),
        Paragraph(line(Link(text, "javascript:alert(1)"), Link(text, f"x{text}"), Mention(text))),
        Buttons((Button(text, f"/runs ack {text}"),)),
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text_in_every_place(text: str) -> None:
    assert_harmless(draw(Message("s", everywhere(text)), PEOPLE))
    for block in everywhere(text):
        assert_harmless(draw(Message("s", (block,)), PEOPLE))


PIECES = st.lists(
    st.sampled_from([*"@#/:.$`*_<>[]()!|~&\\\n -+=1aGH", "www", "http", "\r", "\u2028", "Stage", "Complete"]),
    max_size=12,
)


@given(PIECES.map("".join))
def test_any_text_stays_text(text: str) -> None:
    for block in everywhere(text):
        assert_harmless(draw(Message("s", (block,)), PEOPLE))


@given(
    st.lists(
        st.sampled_from(["@", "#", "12", "gh-", "www", ".x", "a", "https:", "//", ":", "+1", "dead", "beef"]),
        max_size=6,
    )
)
def test_texts_side_by_side_make_nothing_together(parts: list[str]) -> None:
    assert_harmless(draw(message(Paragraph(tuple(Text(part) for part in parts))), PEOPLE))


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Zl", "Zp"]), max_size=80))
def test_people_read_the_very_text(text: str) -> None:
    body = draw(Message("s", (Paragraph(line("x", text, "x")),)), PEOPLE)
    shown = "".join(t.content for t in tokens_of(body) if t.type in ("text", "text_special", "code_inline"))
    assert shown == f"x{printable(text)}x"


@given(st.text(alphabet=st.sampled_from("`ab |\\"), min_size=1, max_size=20).filter(lambda text: text.strip() != ""))
def test_code_is_shown_verbatim(text: str) -> None:
    body = draw(Message("s", (Paragraph(line("see ", Code(text), " there")), CodeBlock(text))), PEOPLE)
    codes = [token.content for token in tokens_of(body) if token.type in ("code_inline", "fence")]
    assert codes[0] == text
    assert codes[-1] == text + "\n"


@given(
    st.lists(st.lists(st.text(alphabet=st.sampled_from("ab|\\`-\n:<"), max_size=6), min_size=2, max_size=2), max_size=4)
)
def test_no_cell_breaks_the_table(rows: list[list[str]]) -> None:
    body = draw(Message("s", (Table(("a", "b"), tuple((x, y) for x, y in rows)),)), PEOPLE)
    cells = [token for token in GFM.parse(body) if token.type in ("td_open", "th_open")]
    assert len(cells) == 2 * (len(rows) + 1)


def test_a_message_as_it_is_read() -> None:
    body = draw(
        message(
            Heading("Restart project-42"),
            Paragraph(line("Step ", Bold("2 of 4"), " since ", When(datetime(2026, 11, 22, 12, 30, tzinfo=UTC)))),
            Fields((("Target", line(Code("project-42"))), ("Asked by", line("alice")))),
            Table(("step", "seconds"), (("read state", "0.2"),), frozenset({"seconds"})),
            CodeBlock('{"status": "failed"}', "json", "state.json"),
            Buttons((Button("Acknowledge", "/runs ack 01J"), Button("Cancel", "/runs cancel 01J"))),
        ),
        PEOPLE,
    )
    assert body == (
        "### Restart project-42\n\n"
        "Step **2 of 4** since 12:30 UTC\n\n"
        "**Target** `project-42`<br>\n**Asked by** alice\n\n"
        "| step | seconds |\n| --- | ---: |\n| read state | 0.2 |\n\n"
        '**state.json**\n\n```json\n{"status": "failed"}\n```\n\n'
        "Reply with: `/runs ack 01J` (Acknowledge)<br>\nReply with: `/runs cancel 01J` (Cancel)"
    )


def test_only_a_mention_notifies_and_only_whom_github_knows() -> None:
    body = draw(message(Paragraph(line("Page ", Mention("scotlaclair"), "/team please, ", Mention("nobody")))), PEOPLE)
    assert re.findall(r"@(\S+)", body) == [f"scotlaclair{ZWSP}/team"]
    assert "nobody" in body
    assert_harmless(body, allow="@scotlaclair")
    assert "@" not in draw(message(Paragraph(line(Mention("x")))), {"x": "not a login"}).replace("x", "")


def test_a_link_leads_where_it_says() -> None:
    url = 'https://ci.invalid/run(1)?a=1&copy=2 "x"<Stage>_Complete_'
    body = draw(message(Paragraph(line("see ", Link("the ]run", url)))), PEOPLE)
    [link] = [token for token in tokens_of(body) if token.type == "link_open"]
    assert link.attrs["href"] == "https://ci.invalid/run%281%29?a=1&copy=2%20%22x%22%3C%53tage%3E_%43omplete_"


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:text/html,x", "//evil.invalid", "https://", "http://[::1", "file:///etc"]
)
def test_other_addresses_are_plain_text(url: str) -> None:
    body = draw(message(Paragraph(line(Link("here", url)))), PEOPLE)
    assert not any(token.type == "link_open" for token in tokens_of(body))
    assert "here" in body


def test_long_evidence_is_folded_and_short_is_not() -> None:
    long = draw(message(CodeBlock("line\n" * 40, "text", "journal <1>")), PEOPLE)
    assert long.startswith("<details>\n<summary>journal &lt;1&gt; (40 lines)</summary>\n\n```text\nline\n")
    assert long.endswith("```\n\n</details>")
    assert "<details>" not in draw(message(CodeBlock("one line")), PEOPLE)


def test_what_is_folded_opens_and_closes_whatever_is_inside() -> None:
    inside = (Paragraph(line("</details> and <!--")), CodeBlock("a\n" * 40, title="Log"))
    body = draw(message("before", Folded("Step 2: <b>read</b> — met", inside), "after"), PEOPLE)
    assert body.startswith("before\n\n<details>\n<summary>Step 2: &lt;b&gt;read&lt;/b&gt; — met</summary>\n\n")
    assert body.count("<details>") == body.count("\n</details>") == 2  # the long log is folded once more
    assert body.endswith("</details>\n\nafter")
    assert_harmless(body)


SIZES = st.integers(0, 3000)


@given(st.lists(st.tuples(SIZES, SIZES, st.sampled_from("x`@|<S\n$&")), max_size=60))
@settings(max_examples=60, deadline=None)
def test_no_evidence_makes_a_comment_too_long(parts: list[tuple[int, int, str]]) -> None:
    folded = [
        Folded(character * title, (Paragraph(line(character * size)), CodeBlock(f"{character}a\n" * size)))
        for title, size, character in parts
    ]
    body = draw(message("Head", *folded, Buttons((Button("Ack", "/runs ack 01J"),))), PEOPLE)
    assert len(body) <= MAX_LENGTH
    assert body.endswith("Reply with: `/runs ack 01J` (Ack)")
    assert body.count("<details>") == body.count("\n</details>")


def test_a_button_with_a_dialog_says_what_to_add() -> None:
    dialog = Dialog("Cancel", "Cancel run", inputs=(Input("reason", "Reason"), Input("note", "Note", optional=True)))
    body = draw(message(Buttons((Button("Cancel", "/runs cancel 01J", dialog=dialog),))), PEOPLE)
    assert body == 'Reply with: `/runs cancel 01J --reason "…"` (Cancel)'


def test_a_diagram_in_evidence_stays_text() -> None:
    assert draw(message(CodeBlock("graph TD; a-->b", "mermaid")), PEOPLE).startswith("```\n")


@pytest.mark.parametrize(
    "blocks",
    [
        (CodeBlock("x" * 300_000),),
        (CodeBlock("`" * 300_000),),
        (CodeBlock("Stage Complete\n" * 30_000),),
        tuple(CodeBlock(f"{n}\n" * 3000) for n in range(40)),
        tuple(Paragraph(line("@" * 900)) for _ in range(400)),
        (Paragraph(line("$" * 100_000)),),
        (Table(("a",), tuple((str(n) * 9,) for n in range(20_000))),),
        (Table(("a" * 70_000,), (("b" * 70_000,),)),),
        (Bullets(tuple(line("b" * 50) for _ in range(5_000))),),
        (Bullets((line("b" * 90_000),)),),
        (Fields(tuple((str(n), line("v" * 30)) for n in range(5_000))),),
        (Heading("h" * 90_000),),
        tuple(Folded(f"Step {n}", (Paragraph(line("p" * 500)), CodeBlock(f"{n}\n" * 3000))) for n in range(60)),
        (Folded("S" * 90_000, tuple(CodeBlock("`" * 9_000) for _ in range(30))),),
        (Buttons(tuple(Button("b", "/runs ack " + "x" * 500) for _ in range(500))),),
    ],
    ids=lambda blocks: type(blocks[0]).__name__,
)
def test_never_longer_than_a_comment_may_be_and_still_answerable(blocks: tuple[Block, ...]) -> None:
    body = draw(Message("s", (Heading("Head"), *blocks, Buttons((Button("Ack", "/runs ack 01J"),)))), PEOPLE)
    assert len(body) <= MAX_LENGTH
    assert body.startswith("### Head")
    assert body.endswith("Reply with: `/runs ack 01J` (Ack)")
    assert "left out" in body or "more" in body
    assert_harmless(body)
