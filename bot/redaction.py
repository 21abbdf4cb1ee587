r"""``--reason 'works with [redacted: GITHUB_TOKEN]'``: what is secret is taken out before it is stored, said or logged.

Two kinds are found. *Known* secrets, the ones the bot was started with, in every spelling that a shell, JSON, a URL,
HTML or base64 gives them: the text is brought into a normal form in which quotes, backslashes, line breaks and escapes
are gone, and looked through for the normal form of each secret. *Unknown* ones by how they look: tokens of GitHub,
Slack, AWS and others, ``Authorization`` headers, private keys, passwords in addresses, ``password = …``.

The gates: what people type (``bot/inbox.py``), what products say (``bot/runs/storable.py``), what commands answer
(``bot/dispatch.py``), the log (``bot/logs.py``); and, for known secrets once more, whatever goes into a column of text
(``bot/tables/columns.py``).
"""

from __future__ import annotations

import base64
import dataclasses
import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, SecretStr

T = TypeVar("T")

SHORTEST = 8  # bytes: taking out every "test" would tell more about a secret than leaving it in
_WORST_SPELLING = 12  # characters that one character of a secret may become: \\\\u0061, a quote and a line break
_REACH_OF_PATTERNS = 4096


def placeholder(name: str) -> str:
    return f"[redacted: {name}]"


# -- normal forms

_INVISIBLE = rb"\x1b\[[0-9;]{0,20}[A-Za-z]|\xe2\x80[\x8b-\x8f\xa8-\xae]|\xe2\x81[\xa0-\xaf]|\xc2\xad|\xef\xbb\xbf"
_WRITTEN = rb"""(?ix)
      %(?:25)*(?P<hex>[0-9a-f]{2})
    | \\+u(?P<high>d[89ab][0-9a-f]{2})\\+u(?P<low>d[c-f][0-9a-f]{2})
    | \\+u(?:\{(?P<braced>[0-9a-f]{1,6})\}|(?P<code>[0-9a-f]{4}))
    | \\+U(?P<long>[0-9a-f]{8})
    | \\+x(?P<byte>[0-9a-f]{2})
    | \\+(?P<octal>[0-3][0-7]{2})
    | &\#x(?P<reference>[0-9a-f]{1,6});
    | &\#(?P<decimal>[0-9]{1,7});
    | &(?P<entity>amp|lt|gt|quot|apos);
    | (?P<noise>\\+[nrt] | \\+)
    """
_ESCAPES = re.compile(_WRITTEN)
_UNSEEN = re.compile(_INVISIBLE)
_NOISE = b" \t\r\n\v\f'\"`\\$"
_BETWEEN = re.compile(rb"""[\s'"`\\$]+|""" + _INVISIBLE)
_MEANT = (_ESCAPES, _BETWEEN)  # what a program makes of it that undoes escapes: JSON, $'…', a browser
_QUOTED = (_BETWEEN,)  # what a shell makes of quotes and backslashes
_ENTITIES = {b"amp": b"&", b"lt": b"<", b"gt": b">", b"quot": b'"', b"apos": b"'"}


def _normal(data: bytes, steps: tuple[re.Pattern[bytes], ...]) -> bytes:
    """``_Normal(data, steps).text``, many times faster, for the usual case that nothing is found in it."""
    if _ESCAPES in steps and _has_escapes(data):
        data = _ESCAPES.sub(_meaning, data)
    if b"\x1b" in data or b"\xe2" in data or b"\xc2\xad" in data or b"\xef\xbb\xbf" in data:
        data = _UNSEEN.sub(b"", data)
    return data.translate(None, _NOISE)


def _has_escapes(data: bytes) -> bool:
    return b"\\" in data or b"%" in data or b"&" in data


class _Normal:
    """A text without what may stand between the characters of a secret, and where each of them came from."""

    def __init__(self, data: bytes, steps: tuple[re.Pattern[bytes], ...]) -> None:
        self._steps: list[_Step] = []
        for tokens in steps:
            self._steps.append(_Step(data, tokens))
            data = self._steps[-1].text
        self.text = data

    def origin(self, start: int, end: int) -> tuple[int, int]:
        """What became ``text[start:end]``."""
        for step in reversed(self._steps):
            start, end = step.origin(start, end)
        return start, end


class _Step:
    """A text whose tokens are replaced by what they mean."""

    def __init__(self, data: bytes, tokens: re.Pattern[bytes]) -> None:
        parts: list[bytes] = []
        self._starts: list[int] = []  # of each part, in the normal form
        self._spans: list[tuple[int, int]] = []  # of each part, in the data; of one length where it is as it was
        length = position = 0
        for token in tokens.finditer(data):
            start, end = token.span()
            if start > position:
                parts.append(data[position:start])
                self._starts.append(length)
                self._spans.append((position, start))
                length += start - position
            meant = _meaning(token)
            if meant:
                parts.append(meant)
                self._starts.append(length)
                self._spans.append((start, end))
                length += len(meant)
            position = end
        if position < len(data):
            parts.append(data[position:])
            self._starts.append(length)
            self._spans.append((position, len(data)))
        self.text = b"".join(parts)

    def origin(self, start: int, end: int) -> tuple[int, int]:
        """What became ``text[start:end]``."""
        first, last = self._part(start), self._part(end - 1)
        begin = self._spans[first][0] if self._decoded(first) else self._spans[first][0] + start - self._starts[first]
        finish = self._spans[last][1] if self._decoded(last) else self._spans[last][0] + end - self._starts[last]
        return begin, finish

    def _part(self, index: int) -> int:
        return bisect_right(self._starts, index) - 1

    def _decoded(self, part: int) -> bool:
        following = self._starts[part + 1] if part + 1 < len(self._starts) else len(self.text)
        start, end = self._spans[part]
        return following - self._starts[part] != end - start


def _meaning(token: re.Match[bytes]) -> bytes:
    """The bytes that an escape stands for; none for quotes, line breaks and the like."""
    kind = token.lastgroup if token.re is _ESCAPES else None
    if kind is None or kind == "noise":
        return b""
    found = token[kind]
    if kind == "entity":
        return _ENTITIES[found.lower()]
    if kind in ("hex", "byte"):
        meant = bytes((int(found, 16),))
    elif kind == "octal":
        meant = bytes((int(found, 8),))
    elif kind == "low":
        pair = bytes.fromhex((token["high"] + found).decode())
        meant = pair.decode("utf-16-be").encode()
    else:
        code = int(found, 10 if kind == "decimal" else 16)
        meant = chr(code).encode("utf-8", "surrogatepass") if code <= 0x10FFFF else b""
    return meant


# -- known secrets


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class _Spelling:
    """What to look for in a normal form; so many characters on either side are made of the secret, too, in part."""

    text: bytes
    name: str
    before: int = 0
    after: int = 0


def _spellings(name: str, secret: bytes) -> set[_Spelling]:
    """The secret as it is, in hexadecimal, in base64 at any of the three alignments."""
    found = {_Spelling(_normal(secret, steps), name) for steps in (_MEANT, _QUOTED)}
    for written in (secret.hex(), secret.hex().upper(), secret.hex(":"), secret.hex(":").upper()):
        found.add(_Spelling(written.encode(), name))
    for offset in range(3):
        padded = b"\0" * offset + secret
        rest = len(padded) % 3
        core = slice((0, 2, 3)[offset], len(padded) // 3 * 4 + (0, 1, 2)[rest])  # of no other byte's making
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            found.add(_Spelling(encode(padded)[core], name, before=int(offset > 0), after=int(rest > 0)))
    return {each for each in found if len(each.text) >= SHORTEST - 2}


def _with_its_quotes(data: bytes, start: int, end: int) -> tuple[int, int]:
    """Of ``'half'"half"`` the outer quotes, too: they have lost their partners."""
    if not _QUOTES.search(data, start, end):
        return start, end
    while start and data[start - 1] in b"'\"":
        start -= 1
    while end < len(data) and data[end] in b"'\"":
        end += 1
    return start, end


_QUOTES = re.compile(rb"['\"]")
_BASE64 = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_")


class Redactor:
    """Takes secrets out of text. ``known``: name -> value; a value of fewer than eight bytes cannot be looked for."""

    def __init__(self, known: Mapping[str, str] | None = None) -> None:
        self._needles: list[_Spelling] = []
        self._texts: tuple[str, ...] = ()  # of the needles, the short ones first
        longest = 0
        self.too_short: list[str] = []
        for name, value in (known or {}).items():
            secret = value.strip().encode("utf-8", "surrogatepass")
            if not secret:
                continue
            if len(_normal(secret, _QUOTED)) < SHORTEST:
                self.too_short.append(name)
                continue
            longest = max(longest, len(value))
            self._needles += sorted(_spellings(name, secret))
        texts = {needle.text.decode("latin-1") for needle in self._needles}
        self._texts = tuple(sorted(texts, key=lambda text: (len(text), text)))
        self.reach = max(_REACH_OF_PATTERNS, longest * _WORST_SPELLING)

    def __call__(self, text: str) -> str:
        """``text`` without secrets. What has none is returned as it is."""
        return by_looks(self.known(text))

    def known(self, text: str, *, command: bool = False) -> str:
        """``text`` without the known secrets, whatever they look like."""
        if len(text) < SHORTEST or not self._needles:
            return text
        data = text.encode("utf-8", "surrogatepass")
        spans = sorted(set(self._found(data)))
        if not spans:
            return text
        if command:
            spans = [(*_with_its_quotes(data, start, end), name) for start, end, name in spans]
        kept, position = [], 0
        for start, end, name in spans:
            if end <= position:
                continue
            if start >= position:
                kept.append(data[position:start])
                kept.append((placeholder(name) if not command else f"[redacted:{name}]").encode())
            position = end
        kept.append(data[position:])
        return b"".join(kept).decode("utf-8", "surrogatepass")

    def command(self, text: str) -> str:
        """The same for a line that will be taken apart: what is put in is one word, and quotes stay in pairs."""
        return by_looks(self.known(text, command=True), command=True)

    def clipped(self, text: str, limit: int, drawn: Callable[[str], str] = str) -> str:
        """At most ``limit`` characters of ``text`` without secrets, at a cost that does not grow with the rest of it.

        ``drawn`` is what else is done to it. A secret that the cut goes through would be whole no more, so nobody could
        find it: it is dropped with the end.
        """
        told = self(drawn(self.known(text[: limit + self.reach])))
        if len(text) > limit + self.reach:
            told = told[: max(0, len(told) - self.reach)]
        return told[:limit]

    def _is_in(self, data: bytes) -> bool:
        """Every command goes through here: ``in`` is quickest for texts, a loop quicker than ``any``."""
        text = data.decode("latin-1")
        for needle in self._texts:
            if len(needle) > len(text):
                break
            if needle in text:
                return True
        return False

    def _found(self, data: bytes) -> Iterator[tuple[int, int, str]]:
        seen = set()
        for steps in (_MEANT, _QUOTED) if _has_escapes(data) else (_MEANT,):
            text = _normal(data, steps)
            if text in seen or not self._is_in(text):
                continue
            seen.add(text)
            normal = _Normal(data, steps)
            for needle in self._needles:
                index = normal.text.find(needle.text)
                while index >= 0:
                    end = index + len(needle.text)
                    start, finish = normal.origin(index, end)
                    if needle.before and data[max(0, start - 1)] in _BASE64:
                        start = max(0, start - 1)
                    if needle.after and data[min(finish, len(data) - 1)] in _BASE64:
                        finish = min(len(data), finish + 1)
                    while start and data[start - 1] == 0x5C:  # a backslash alone would swallow what comes next
                        start -= 1
                    yield start, finish, needle.name
                    index = normal.text.find(needle.text, end)


# -- secrets by their looks; every repetition is bounded, so that no text makes these slow

_TOKENS = re.compile(
    r"""(?x)
      (?P<github_token>  \bgh[pousr]_[A-Za-z0-9]{20,255} | \bgithub_pat_[A-Za-z0-9_]{20,255} )
    | (?P<slack_token>   \bxox[a-z](?:\.xox[a-z])?-[A-Za-z0-9-]{10,255} | \bxapp-[0-9]-[A-Za-z0-9-]{10,255} )
    | (?P<slack_webhook> \bhooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/_-]{10,200} )
    | (?P<aws_key>       \b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b )
    | (?P<jwt>           \beyJ[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]{8,1000} )
    | (?P<api_key>       \bAIza[A-Za-z0-9_-]{35}\b | \b[rs]k_live_[A-Za-z0-9]{16,255} | \bglpat-[A-Za-z0-9_-]{20,255}
                       | \bnpm_[A-Za-z0-9]{36}\b | \bpypi-[A-Za-z0-9_-]{40,500} )
    | (?P<private_key>   -----BEGIN[ ][A-Z0-9 ]{0,30}PRIVATE[ ]KEY(?:[ ]BLOCK)?-----
                         (?:(?:\\n|\s){0,4}(?:Proc-Type|DEK-Info)[^\n]{0,100}){0,2}
                         [^-]{0,16384} (?:-----END[ ][A-Z0-9 ]{0,30}PRIVATE[ ]KEY(?:[ ]BLOCK)?-----)? )
    """
)
_BEGINNINGS = (
    *("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "xox", "xapp-", "hooks.slack.com", "AKIA", "ASIA", "ABIA"),
    *("ACCA", "eyJ", "AIza", "k_live_", "glpat-", "npm_", "pypi-", "-----BEGIN "),
)
_HEADER = re.compile(
    r"""(?ix) (?P<keep> \b(?:proxy-)?authorization \\{0,4}["']? \s{0,3} [:=] \s{0,3} \\{0,4}["']?
                        (?>(?:(?:bearer|basic|token|digest|apikey)\s{1,3})?) )
        (?!\[redacted) [^\s"'\\,;]{4,4000}
      | (?P<scheme> \bbearer\s{1,3} ) (?!\[redacted) [A-Za-z0-9._~+/-]{16,4000}={0,2} """
)
_IN_ADDRESS = re.compile(
    r"(?P<keep>\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@\"']{0,100}:)(?!\[redacted)[^\s/@\"']{1,500}(?=@)", re.I
)
_KEYED = re.compile(
    r"""(?ix)
    (?P<keep>
      (?: pass(?:word|wd|phrase) | secret(?:[_-]?(?:access[_-]?)?key)? | token | (?:api|access|private|signing)[_-]?key
        | credentials? | client[_-]?secret )
      (?P<mark> \\{0,4}["']? \s{0,3} (?: => | [:=] ) \s{0,3} | (?<=--password)\s{1,3} | (?<=--token)\s{1,3}
        | (?<=--secret)\s{1,3} | (?<=--api-key)\s{1,3} )
    )
    (?!\\{0,4}["']?\[redacted)
    (?: (?P<quote>\\{0,4}["']) (?P<quoted>[^"'\\\n]{4,1000}) | (?P<bare>[^\s"'\\,;&(){}\[\]<>|]{6,1000}) )
    """
)
_KEYS = ("pass", "secret", "token", "key", "credential")
_NO_SECRET = re.compile(r"(?i)[$<*{%].*|(?:[a-z][a-z_-]*)|(?:[0-9.:]+)|none|true|false")


def by_looks(text: str, *, command: bool = False) -> str:
    """``text`` without what looks like a secret."""
    if len(text) < SHORTEST:
        return text
    mark = (lambda name: f"[redacted:{name}]") if command else placeholder
    if any(beginning in text for beginning in _BEGINNINGS):
        text = _TOKENS.sub(lambda found: mark(str(found.lastgroup).replace("_", "-")), text)
    if "uthorization" in text or "earer" in text or "UTHORIZATION" in text or "EARER" in text:
        text = _HEADER.sub(lambda found: (found["keep"] or found["scheme"]) + mark("authorization"), text)
    if "://" in text:
        text = _IN_ADDRESS.sub(lambda found: found["keep"] + mark("password"), text)
    lower = text.lower()
    if any(word in lower for word in _KEYS):
        text = _KEYED.sub(lambda found: _keyed(found, mark), text)
    return text


def _keyed(found: re.Match[str], mark: Any) -> str:
    """``password: required`` is prose, ``password=hunter2x`` is not."""
    said = found["quoted"] or found["bare"]
    assigned = "=" in found["mark"] or found["quoted"] is not None
    if _NO_SECRET.fullmatch(said) and not (assigned and found["quoted"] and len(said) >= 12):
        return found[0]
    if not assigned and not (len(said) >= SHORTEST and re.search(r"[0-9]", said) and re.search(r"[A-Za-z]", said)):
        return found[0]
    name = re.split(r"[^A-Za-z_-]", found["keep"], maxsplit=1)[0].lower()
    return f"{found['keep']}{found['quote'] or ''}{mark(name)}"


# -- the one that this process uses

_installed = Redactor()


def install(redactor: Redactor) -> None:
    """From now on ``redact`` knows these secrets. The bot does this once, as soon as it has read its settings."""
    global _installed
    _installed = redactor


def installed() -> Redactor:
    return _installed


def redact(text: str) -> str:
    return _installed(text)


def redacted(value: T) -> T:
    """The same value without secrets: a message, a model, anything made of texts; unchanged when there are none."""
    made: Any
    if isinstance(value, str):
        made = _installed(value)
    elif isinstance(value, Mapping):
        made = {redacted(key): redacted(inner) for key, inner in value.items()}
    elif isinstance(value, list | tuple):
        made = type(value)(redacted(inner) for inner in value)
    elif isinstance(value, BaseModel):
        made = value.model_copy(update={name: redacted(inner) for name, inner in value})
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        made = dataclasses.replace(
            value,
            **{field.name: redacted(getattr(value, field.name)) for field in dataclasses.fields(value) if field.init},
        )
    else:
        return value
    return made  # type: ignore[no-any-return]  # of the same type, which nobody can write down


def redacted_json(text: str) -> str:
    """JSON without known secrets, and still JSON."""
    if _installed.known(text) == text:
        return text
    try:
        return json.dumps(redacted(json.loads(text)), separators=(",", ":"))
    except ValueError:  # it is no JSON
        return _installed(text)


def secrets_of(settings: BaseModel, names: Mapping[str, str] | None = None) -> dict[str, str]:
    """Every ``SecretStr`` of a settings tree by name, for ``Redactor``; ``names``: ``slack.bot_token`` -> its name."""
    found: dict[str, str] = {}

    def walk(value: Any, path: str) -> None:
        if isinstance(value, SecretStr):
            found[(names or {}).get(path, path)] = value.get_secret_value()
        elif isinstance(value, BaseModel):
            for name, inner in value:
                walk(inner, f"{path}.{name}" if path else name)
        elif isinstance(value, Mapping):
            for key, inner in value.items():
                walk(inner, f"{path}.{key}")
        elif isinstance(value, list | tuple):
            for number, inner in enumerate(value, start=1):
                walk(inner, f"{path}.{number}")

    walk(settings, "")
    return {name: value for name, value in found.items() if value}
