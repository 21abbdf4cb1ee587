r"""``child \u202eexe.gpj``: what a log line, a file or a person wrote, made safe to look at.

Text that the bot did not write itself can hold characters that no reader sees: terminal escapes, overrides of the
writing direction, halves of a surrogate pair, zero-width marks. Both surfaces pass every piece of text through
``printable`` before they draw it. What can mislead becomes visible, what says nothing is dropped. Pure.
"""

from __future__ import annotations

import re

REPLACEMENT = "\ufffd"

# C0 and C1 controls but tab and newline, DEL; line and paragraph separators; controls of the writing direction;
# invisible marks (joiners stay: scripts and emoji need them); interlinear marks; tags; surrogates; noncharacters.
_SUSPECT = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029"
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
    "\u00ad\u180e\u200b\u2060-\u2065\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff"
    "\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)
_DIRECTION = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_SPACES = re.compile(r"\s+")


def _visible(found: re.Match[str]) -> str:
    character = found[0]
    code = ord(character)
    if character == "\x7f":
        return "\u2421"
    if code < 0x20:
        return chr(0x2400 + code)  # the control pictures: an escape is shown as U+241B
    if code <= 0x9F:
        return f"\\x{code:02x}"
    if character in _DIRECTION:
        return f"\\u{code:04x}"
    if character in "\u2028\u2029":
        return "\n"
    if 0xD800 <= code <= 0xDFFF or 0xFDD0 <= code <= 0xFDEF or code in (0xFFFE, 0xFFFF):
        return REPLACEMENT
    return ""


def printable(text: str) -> str:
    """``text`` as a reader can see it; newlines and tabs stay, and so does every ordinary character."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _SUSPECT.sub(_visible, text)


def one_line(text: str) -> str:
    """``printable`` without line breaks and runs of spaces: for headings, labels and notifications."""
    return _SPACES.sub(" ", printable(text)).strip()


def cut(text: str, limit: int) -> str:
    """``text`` in at most ``limit`` characters, with an ellipsis where something is missing."""
    return text if len(text) <= limit else text[: max(0, limit - 1)].rstrip() + "…"
