"""The page of a workflow run can be opened from a sentence, on both surfaces; no other address in a text can."""

from __future__ import annotations

import json

import pytest

from bot.messages import Bold, Bullets, Fields, Folded, Lines, Link, Message, Note, Paragraph, Text, line, message
from bot.surfaces.github.markdown import draw as draw_markdown
from bot.surfaces.run_links import with_run_links
from bot.surfaces.slack.blocks import draw as draw_blocks

HOME = "https://github.com/acme/somas"
RUN = f"{HOME}/actions/runs/1000055"


def drawn(text: str) -> str:
    return draw_markdown(with_run_links(message(text), HOME), {})


def links(node: object) -> list[str]:
    match node:
        case {"type": "link", "url": url}:
            return [url]
        case dict():
            return [found for each in node.values() for found in links(each)]
        case list():
            return [found for each in node for found in links(each)]
    return []


@pytest.mark.parametrize(
    ("told", "read"),
    [
        (f"GitHub took it: run 1000055 ({RUN}) is queued.", f"GitHub took it: [run 1000055]({RUN}) is queued."),
        (f"Run 1000055 ({RUN}) ended.", f"[Run 1000055]({RUN}) ended."),
        (f"See {RUN}.", f"See [run 1000055]({RUN})."),
        (f"run 1000055 ({RUN}) and {HOME}/actions/runs/7", f"[run 1000055]({RUN}) and [run 7]({HOME}/actions/runs/7)"),
        (f"{RUN}/job/8", f"[run 1000055]({RUN}/job/8)"),
    ],
)  # fmt: skip
def test_a_run_of_the_repository_is_a_link(told: str, read: str) -> None:
    assert drawn(told) == read
    assert links(draw_blocks(with_run_links(message(told), HOME), {}).blocks)


@pytest.mark.parametrize(
    "told",
    [
        "https://evil.invalid/acme/somas/actions/runs/1",
        f"{HOME}/issues/1",  # would leave "mentioned this" on that issue
        f"{HOME}/actions/runs/1000055?check_suite_focus=true",
        f"{HOME}/actions/runs/1/../../../../evil",
        f"{HOME}.evil.invalid/actions/runs/1",
        f"{HOME}/actions/runs/x",
        f"run 7 ({RUN})",  # does not lead to run 7
    ],
)
def test_no_other_address_is(told: str) -> None:
    body = drawn(told)
    assert "](" not in body and f"`{told.partition('(')[2].rstrip(')') or told}`" in body
    assert links(draw_blocks(with_run_links(message(told), HOME), {}).blocks) == []


def test_wherever_it_stands() -> None:
    said = line(f"at {RUN}")
    blocks = (Paragraph(said), Note(said), Bullets((said,)), Lines((said,)), Fields((("Run", said),)))
    found = with_run_links(Message("s", (*blocks, Folded("Step 1", blocks))), HOME)
    body = draw_markdown(found, {})
    assert body.count(f"[run 1000055]({RUN})") == 10
    assert json.dumps(links(draw_blocks(found, {}).blocks)).count(RUN) >= 8  # small print is mrkdwn


def test_nothing_else_changes() -> None:
    same = message(Paragraph(line("a", Bold(RUN), Link("there", RUN), Text(""))), "b")
    assert with_run_links(same, HOME) == same
    assert with_run_links(message(RUN), "") == message(RUN)
