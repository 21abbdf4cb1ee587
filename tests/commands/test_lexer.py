"""What phones, Slack and web pages make of a typed command."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.commands.lexer import quote, split, unescape_slack
from bot.commands.pointer import CommandError, point
from bot.errors import UserError


def values(text: str) -> list[str]:
    return [word.value for word in split(text)]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ('--reason "two words"', ["--reason", "two words"]),
        ("--reason “two words”", ["--reason", "two words"]),
        ("--reason ‘two words’", ["--reason", "two words"]),
        ("--reason „zwei Worte“", ["--reason", "zwei Worte"]),
        ('--reason “two words"', ["--reason", "two words"]),
        ('--reason "he said “no” twice"', ["--reason", "he said “no” twice"]),
        ('--reason="two words" x', ["--reason=two words", "x"]),
        ("—reason=“two words”", ["--reason=two words"]),
        (r'"a \"b\" c\\d"', [r'a "b" c\d']),
        ("'don't do it'", ["don't do it"]),
        ("don't rock’n’roll", ["don't", "rock’n’roll"]),
        ("C:\\temp\\x", ["C:\\temp\\x"]),
        ("—from verify", ["--from", "verify"]),
        ("––from verify", ["--from", "verify"]),
        ("–from", ["--from"]),
        ("−−from", ["--from"]),
        ("a — b", ["a", "—", "b"]),
        ("re—start", ["re—start"]),
        ("project‑42", ["project-42"]),
        ("status\u00a0project-42\u202fx\u3000y", ["status", "project-42", "x", "y"]),
        ("pro\u200bject-42\ufeff \u2060", ["project-42"]),
        ("\u2068worker-3\u2069", ["worker-3"]),
        ('"two\u00a0words\u200b"', ["two words"]),
        ('""', [""]),
        ("", []),
        (" \t\n", []),
    ],
)
def test_what_is_typed_is_what_is_meant(typed: str, meant: list[str]) -> None:
    assert values(typed) == meant


def test_a_family_of_emoji_stays_together() -> None:
    family = "\N{MAN}\u200d\N{WOMAN}\u200d\N{GIRL}"
    assert values(f"{family} x") == [family, "x"]


@pytest.mark.parametrize(
    ("typed", "carets"),
    [
        ('/somas restart --reason "two words', "                        ^"),
        ("/somas restart --reason ‘two words", "                        ^"),
        ("/somas restart --reason='tis", "                        ^"),
    ],
)
def test_a_quote_that_is_never_closed_is_pointed_at(typed: str, carets: str) -> None:
    with pytest.raises(CommandError) as caught:
        split(typed)
    assert caught.value.message.startswith("This quote is never closed")
    assert caught.value.pointer.split("\n") == [typed, carets]


def test_a_missing_space_behind_a_quote_is_pointed_at() -> None:
    with pytest.raises(CommandError) as caught:
        split('--reason "a b"--dry-run')
    assert caught.value.message == 'Put a space after the closing quote.\n--reason "a b"--dry-run\n             ^^'


def test_the_caret_stands_under_the_word_in_wide_scripts_and_long_lines() -> None:
    assert point("再起動 x", 4, 5) == "再起動 x\n       ^"
    assert point("e\u0301 x", 3, 4) == "e\u0301 x\n  ^"
    long = "a" * 300 + " wrong " + "b" * 300
    shown, carets = point(long, 301, 306).split("\n")
    start = carets.index("^")
    assert shown[start : start + 5] == "wrong"
    assert carets.count("^") == 5
    assert len(shown) < 80


def test_the_typed_line_stays_one_line_and_moves_no_cursor() -> None:
    shown, carets = point("a\nb\x1b[2J\u202ec \ud800", 0, 1).split("\n")
    assert shown == "a b\ufffd[2Jc \ufffd"
    assert carets == "^"


@pytest.mark.parametrize(
    ("sent", "typed"),
    [
        ("ask <@U0ALICE|alice>", "ask @U0ALICE"),
        ("ask <@U0ALICE>", "ask @U0ALICE"),
        ("in <#C0OPS|ops>", "in #C0OPS"),
        (
            "see <https://example.org/a?b=1&amp;c=2|https://example.org/a?b=1&amp;c=2>",
            "see https://example.org/a?b=1&c=2",
        ),
        ("see <https://example.org/real|https://bank.example>", "see https://example.org/real"),
        ("child <http://worker.rs|worker.rs>", "child worker.rs"),
        ("<mailto:a@example.org|a@example.org>", "a@example.org"),
        ("a &lt; b &amp;&amp; c &gt; d", "a < b && c > d"),
        ("&amp;lt;", "&lt;"),
        ("&copy; stays", "&copy; stays"),
        ("<!here> <!subteam^S0OPS|@oncall> <!date^1|yesterday>", "@here @S0OPS yesterday"),
        ("a < b", "a < b"),
    ],
)
def test_slack_text_is_what_the_person_typed(sent: str, typed: str) -> None:
    assert unescape_slack(sent) == typed


@given(st.text())
def test_escaping_as_slack_does_is_undone(text: str) -> None:
    assert unescape_slack(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")) == text


readable = st.text(st.characters(exclude_characters="\u00a0\u2007\u202f\u200b\u2060\ufeff\u00ad"))


@given(st.lists(readable, max_size=6))
def test_quoted_words_are_read_back(words: list[str]) -> None:
    assert values(" ".join(quote(word) for word in words)) == words


@given(st.text())
def test_no_text_makes_the_lexer_fail_in_another_way(text: str) -> None:
    try:
        words = split(text)
    except UserError as error:
        assert error.message
        return
    assert all(0 <= word.start < word.end <= len(text) for word in words)
    assert all(before.end <= after.start for before, after in pairwise(words))
