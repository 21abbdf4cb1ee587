"""``<@U0SCOT> *project-42* is &lt;stuck&gt;``: Slack's own markup, read, checked and written.

Source: https://docs.slack.dev/messaging/formatting-message-text. Only three characters are special to the transport
(``&``, ``<`` and ``>``), and whoever forgets to escape them lets a file name page the whole channel. So every mrkdwn
text that the bot sends is checked here: what stands in angle brackets must be one of the documented forms.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

_ANGLE = re.compile(r"<([^<>\n]*)>")
_ENTITY = re.compile(r"&(?!amp;|lt;|gt;)")
_FORMS = (
    re.compile(r"@[UWB][A-Z0-9]+(\|[^|]*)?"),
    re.compile(r"#C[A-Z0-9]+(\|[^|]*)?"),
    re.compile(r"!(here|channel|everyone)(\|[^|]*)?"),
    re.compile(r"!subteam\^S[A-Z0-9]+(\|[^|]*)?"),
    re.compile(r"!date\^-?\d+\^[^|^]+(\^https?://[^|]+)?\|[^|]+"),
    re.compile(r"(https?://[^\s|]+|mailto:[^\s|]+)(\|[^|]+)?"),
)
_TYPED = re.compile(
    r"(?P<user>(?<![\w@])@(?P<name>[a-z0-9][a-z0-9._-]*))|(?P<channel>(?<![\w#])#(?P<room>[a-z0-9_-]+))"
)
_TOKEN = re.compile(r"<(?:@[UWB][A-Z0-9]+|#C[A-Z0-9]+|!subteam\^S[A-Z0-9]+)(?:\|[^<>|\n]*)?>")
_URL = re.compile(r"https?://[^\s<>|]+[^\s<>|.,;:!?)]")


def mistakes(text: str) -> list[str]:
    """What is wrong with the markup: unescaped characters and unknown forms in angle brackets."""
    found = [
        f"unescaped '<' or unknown form {match[0][:60]!r}: write &lt; and &gt;"
        for match in _ANGLE.finditer(text)
        if not any(form.fullmatch(match[1]) for form in _FORMS)
    ]
    rest = _ANGLE.sub("", text)
    if "<" in rest:
        found.append("unescaped '<': write &lt;")
    if re.search(r"(?m)(?<!^)(?<!^>)(?<!^>>)>", rest):
        found.append("unescaped '>' inside a line: write &gt;")
    if _ENTITY.search(text):
        found.append("unescaped '&': write &amp;")
    return found


def escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def unescape(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def typed(text: str, people: Mapping[str, str], channels: Mapping[str, str], *, with_names: bool) -> str:
    """What a client sends for what a person typed: ``@alice`` becomes ``<@U0ALICE>`` and the rest is escaped.

    ``people`` and ``channels`` map names to ids. ``with_names`` writes ``<@U0ALICE|alice>`` and ``<https://…>``, as
    slash commands of an app with ``should_escape`` receive them. Tokens that are there already stay.
    """

    def words(part: str) -> str:
        def swap(match: re.Match[str]) -> str:
            sigil, known, name = ("@", people, match["name"]) if match["user"] else ("#", channels, match["room"])
            tail = ""
            while name not in known and name[-1] in "._-":  # a full stop after a name ends the sentence
                name, tail = name[:-1], name[-1] + tail
            if name not in known:
                return match[0]
            return f"<{sigil}{known[name]}{'|' + name if with_names else ''}>{tail}"

        return _TYPED.sub(swap, escape(part))

    def links(part: str) -> str:
        written, at = [], 0
        for match in _URL.finditer(part):
            written += [words(part[at : match.start()]), f"<{escape(match[0])}>"]
            at = match.end()
        return "".join([*written, words(part[at:])])

    pieces, at = [], 0
    for match in _TOKEN.finditer(text):
        pieces += [links(text[at : match.start()]), match[0]]
        at = match.end()
    return "".join([*pieces, links(text[at:])])


def readable(text: str, names: Mapping[str, str]) -> str:
    """The text as a person reads it: names for ids, labels for links, UTC for dates. Emphasis marks stay.

    ``names`` maps the ids of people, channels and groups to what is shown (``@alice``, ``#ops``).
    """

    def swap(match: re.Match[str]) -> str:
        target, _, label = match[1].partition("|")
        if target.startswith("!date^"):
            return date(int(target.split("^")[1]), target.split("^")[2])
        if target.startswith(("@", "#")):
            return names.get(target[1:], f"{target[0]}{label or target[1:]}")
        if target.startswith("!subteam^"):
            return names.get(target.removeprefix("!subteam^"), label or target)
        if target.startswith("!"):
            return "@" + target[1:]
        return label or target

    return unescape(_ANGLE.sub(swap, text))


_DATES = {
    "{date_num}": "%Y-%m-%d",
    "{date_slash}": "%Y/%m/%d",
    "{date_short_pretty}": "%b %d, %Y",
    "{date_short}": "%b %d, %Y",
    "{date_long_pretty}": "%A, %B %d, %Y",
    "{date_long}": "%A, %B %d, %Y",
    "{date_pretty}": "%B %d, %Y",
    "{date}": "%B %d, %Y",
    "{time_secs}": "%H:%M:%S",
    "{time}": "%H:%M",
    "{ago}": "%Y-%m-%d %H:%M",
}


def date(timestamp: int, pattern: str) -> str:
    """Slack's date tokens, in UTC and on a 24 hour clock."""
    instant = datetime.fromtimestamp(timestamp, UTC)
    for token, form in _DATES.items():
        pattern = pattern.replace(token, instant.strftime(form))
    return pattern
