"""``Language: δΈζ`` was ``中文`` once: text that was read in a wrong character set is turned back where it can be."""

from __future__ import annotations

import re
import unicodedata

from bot.runbooks.importing.procedure import Notebook

# The sets in which UTF-8 is most often misread.
_SETS = (
    "cp1252", "latin-1", "cp1253", "iso8859_7", "cp1251", "iso8859_5", "cp1250", "iso8859_2", "cp1254", "mac_roman",
)  # fmt: skip
# How languages call themselves: a Language line whose bytes were partly lost is compared with these.
_LANGUAGES = (
    "中文", "日本語", "한국어", "Русский", "Українська", "Ελληνικά", "العربية", "עברית", "हिन्दी", "ไทย", "Tiếng Việt",
    "Français", "Español", "Português", "Türkçe", "Čeština", "Română",
)  # fmt: skip
_RUN = re.compile(r"[^\x00-\x7f]+(?:[ \x1d][^\x00-\x7f]+)*")
_LANGUAGE = re.compile(r"(\s*[*_]*Language[*_]*\s*:[*_]*\s*)(\S.*?)\s*", re.IGNORECASE)


def decoded(data: bytes, book: Notebook) -> str:
    """The text of a file: UTF-8, UTF-16 with its mark, else Windows' Western set."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        book.guess(0, "", "", "the file is UTF-16 by its first bytes")
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        book.guess(0, "", "", f"the file is not UTF-8 (byte {error.start}); it was read as Windows-1252")
        return data.decode("cp1252", errors="replace")


def mended(text: str, book: Notebook) -> list[str]:
    """The lines of the text without what cannot be shown or written, misread characters turned back."""
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [_line(line, number, book) for number, line in enumerate(lines, 1)]


def _line(line: str, number: int, book: Notebook) -> str:
    shown = "".join(_visible(char) for char in line)
    if shown != line:
        book.guess(number, "", shown, "characters that cannot be shown were taken out")
    language = _LANGUAGE.fullmatch(shown)
    if language and not language[2].isascii() and (name := _language(language[2])):
        book.guess(number, shown, language[1] + name, "it was read in a wrong character set, and bytes of it were lost")
        return language[1] + name
    turned = _RUN.sub(lambda found: _turned(found[0]), shown)
    if turned != shown:
        book.guess(number, shown, turned, "it is UTF-8 that was read in another character set")
    return turned


def _visible(char: str) -> str:
    if char == "\t":
        return char
    kind = unicodedata.category(char)
    if kind == "Cs":
        return "\ufffd"
    if kind == "Cc" and char >= "\x80":
        return char  # may be a byte of something misread; taken out below if it is not
    return " " if kind in ("Cc", "Zl", "Zp") else char


def _turned(run: str) -> str:
    """The text that these characters were, when their bytes are UTF-8 in one of the sets."""
    for name in _SETS:
        data = _bytes(run, name)
        if data is None:
            continue
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            continue
        if len(text) < len(run) and all(unicodedata.category(char)[0] in "LMNPSZ" for char in text):
            return text
    return "".join(" " if unicodedata.category(char) == "Cc" else char for char in run)


def _bytes(run: str, name: str) -> bytes | None:
    out = bytearray()
    for char in run:
        try:
            out += char.encode(name)
        except UnicodeEncodeError:
            if not "\x80" <= char <= "\x9f":  # a hole of the set, kept as the byte that it was
                return None
            out.append(ord(char))
    return bytes(out)


def _language(text: str) -> str:
    """The language whose name looks so when it is misread and bytes that cannot be seen are lost."""
    complete = _turned(text)
    if complete != text:
        return complete
    if text in _LANGUAGES:
        return ""
    visible = [char for char in text if not char.isspace()]
    return next((name for name in _LANGUAGES if len(visible) > 1 and _is_rest(visible, name.encode())), "")


def _is_rest(visible: list[str], data: bytes) -> bool:
    """Whether the characters are bytes of ``data`` in their order, and the missing ones have no glyph in some set."""
    waiting = list(visible)
    for byte in data:
        if waiting and any(_decode(byte, name) == waiting[0] for name in _SETS):
            waiting.pop(0)
        elif not any(_has_no_glyph(byte, name) for name in _SETS):
            return False
    return not waiting


def _decode(byte: int, name: str) -> str:
    return bytes([byte]).decode(name, errors="ignore")


def _has_no_glyph(byte: int, name: str) -> bool:
    char = _decode(byte, name)
    return not char or unicodedata.category(char) in ("Cc", "Cf", "Zs")
