"""What a document says of the software: workflows, labels, files, filters, thresholds, facts, each with its line.

Works on any Markdown, also on a document without a table of steps and on one that has lost its Markdown marks. Pure.
A sentence that says that something is not there claims nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from markdown_it import MarkdownIt
from markdown_it.token import Token

from bot.runbooks import front_matter, snippets
from bot.runbooks.problems import SourceText

Kind = Literal[
    "action",  # handle.remove_child(); name: without the brackets
    "fact",  # health.uptime_secs, in a sentence
    "value",  # CommandResult::Accepted; name: CommandResult
    "expectation",  # a cell Expected Metrics; text: the cell; details: action, the cell beside it, and step
    "workflow",  # somas-resume.yml; words: the inputs that it is given; details: use, run or list
    "input",  # project_id, of a workflow; details: workflow, value
    "label",  # somas:failed
    "path",  # /tmp/supervisor.sock
    "config",  # pipeline.enabled; details: file, value
    "threshold",  # Pipeline duration; details: level, operator, value, unit
    "filter",  # jq; name: the file; details: expression, slurp
    "search",  # grep; name: the file as written; details: pattern; words: options
    "write",  # echo "[]" > dead_letters.json; name: the file; details: content
    "command",  # pgrep -x supervisor; name: the program; words: its arguments
    "api",  # CircuitBreaker(service_name=…); name: the class; details: module, member or argument
    "text",  # a sentence or a cell, for what no pattern above holds
]


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing that a document says. ``text`` is how it is quoted to people."""

    kind: Kind
    line: int
    text: str
    name: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
    words: tuple[str, ...] = ()


_FILES = "json|jsonl|ya?ml|md|py|rs|sock|toml|txt|sh|log|lock|tmp|backup|service|db|html"
_FACT = re.compile(r"(?<![\w/.\-@>])[a-z][a-z0-9_]*(?:\[\])?(?:\.[a-z][a-z0-9_]*(?:\[\])?)+(?![\w(/\-]|\.\w)", re.ASCII)
_FILE = re.compile(rf"\.(?:{_FILES})$")
_CALL = re.compile(r"(?<![\w.>])[a-z_][a-z0-9_]*(?:\.[a-z_][a-z0-9_]*)*(?=\(\))")
_VALUE = re.compile(r"\b([A-Z]\w*)::[A-Z]\w*")
_LABEL = re.compile(r"[a-z][a-z0-9-]*:[a-z0-9][\w:.-]*", re.ASCII)
_PATH = re.compile(r"(?<![\w/.>~-])/(?:[\w.-]+/)+[\w.-]*\w")
_WORKFLOW = re.compile(r"[\w.-]+\.ya?ml")
_COMMAND = re.compile(
    r"(?:^|:\s*|`)((?:pgrep|pkill|kill|journalctl|systemctl|ls|cat|cargo|docker|kubectl|curl|ps|ss)\s[^`]*)"
)
_BOUND = re.compile(r"\s*(?P<operator>>=|<=|>|<|=|==)?\s*(?P<value>\d+(?:\.\d+)?)\s*(?P<unit>[A-Za-z%]*)\s*")
_SENTENCE = re.compile(r"(?<=[.!?;:])\s+|\s+but\s+|\n(?=\s*(?:[-*]|\d+\.)\s)")
_DENIED = re.compile(
    r"\b(?:no|not|none|never|nobody|nothing|neither|without|missing|absent|instead of|rather than|undeclared|refused|"
    r"removed|wrong|cannot|does nothing|no longer)\b",
    re.IGNORECASE,
)
_CONDITION = re.compile(r"^\s*If\b[^,:]*(?:[,:]\s*|$)", re.IGNORECASE)


def claims_of(text: str, source: str = "") -> tuple[Claim, ...]:
    """Everything that the document says, in the order of its lines, without doubles. Never raises."""
    document = SourceText.of(text.removeprefix("\ufeff"), source)
    try:
        _, first = front_matter.split(document)
    except Exception:  # an unfinished front matter: then the whole text is the document
        first = 1
    lines = ["" if number < first else line for number, line in enumerate(document.lines, 1)]
    found = [*_blocks(lines), *_tables(lines)]
    found.sort(key=lambda claim: claim.line)
    seen: dict[tuple[str, int, str, str, str], Claim] = {}
    for claim in found:
        seen.setdefault((claim.kind, claim.line, claim.text, claim.name, str(claim.details)), claim)
    return tuple(seen.values())


def _parse(text: str) -> list[Token]:
    try:
        return MarkdownIt("commonmark").parse(text)
    except (RecursionError, ValueError, IndexError):  # of the library
        return []


def _blocks(lines: Sequence[str]) -> Iterator[Claim]:
    """Sentences, code spans and code blocks. Rows of tables are read for themselves."""
    outside = ["" if _is_row(line) else line for line in lines]
    before = ""
    tokens = _parse("\n".join(outside))
    fences = [token for token in tokens if token.type in ("fence", "code_block") and token.map]
    inside = {number for token in fences if token.map for number in range(*token.map)}
    if any(_is_row(lines[number]) for number in inside):  # a row in a code block is no table
        tokens = _parse("\n".join(line for line in lines))
    for token in tokens:
        if token.map is None:
            continue
        line = token.map[0] + 1
        if token.type in ("fence", "code_block"):
            first = line + (1 if token.type == "fence" else 0)
            yield from _snippet(token.info.strip().lower(), token.content, first, before)
        elif token.type == "inline":
            before = token.content
            yield from _prose(token.content, line)


def _is_row(line: str) -> bool:
    return line.lstrip().startswith("|")


# -- sentences


def _prose(content: str, line: int, *, cell: bool = False) -> Iterator[Claim]:
    start = 0
    for part in (*_SENTENCE.finditer(_masked(content)), None):
        end = part.start() if part else len(content)
        sentence = content[start:end]
        at = line + content.count("\n", 0, start)
        if sentence.strip():
            yield from _sentence(sentence, at, cell)
        start = part.end() if part else end


def _masked(text: str) -> str:
    """The text with its code blotted out: a colon in code ends no sentence, a "not" in it denies nothing."""
    return re.sub(r"`[^`]*`", lambda found: f"`{'x' * (len(found[0]) - 2)}`", text)


def _sentence(sentence: str, line: int, cell: bool) -> Iterator[Claim]:
    bare = _CONDITION.sub("", sentence) if cell else sentence
    if _DENIED.search(_masked(bare)):
        return
    for found in _COMMAND.finditer(sentence):
        command = re.split(r"\s+and\s+wait|\s+\(", found[1].strip())[0]
        words = tuple(command.split())
        yield Claim("command", line + sentence.count("\n", 0, found.start(1)), command, words[0], {}, words[1:])
    yield Claim("text", line, " ".join(sentence.replace("`", "").replace("**", "").split()))
    for kind, pattern in (("fact", _FACT), ("action", _CALL), ("value", _VALUE), ("path", _PATH)):
        for found in pattern.finditer(sentence):
            if kind == "fact" and _FILE.search(found[0]):
                continue
            name = found[1] if kind == "value" else found[0]
            text = f"{found[0]}()" if kind == "action" else found[0]
            at = line + sentence.count("\n", 0, found.start())
            yield Claim(kind, at, text, name)  # type: ignore[arg-type]  # the four above are kinds
    for found in re.finditer(r"`([^`\n]+)`", sentence):
        at, code = line + sentence.count("\n", 0, found.start()), found[1].strip()
        if _LABEL.fullmatch(code):
            yield Claim("label", at, code, code)
        elif _WORKFLOW.fullmatch(code) and "workflow" in sentence.lower():
            yield Claim("workflow", at, code, code, {"use": "named"})
        elif " " in code:
            yield from _commands(code, at)


# -- tables


def _tables(lines: Sequence[str]) -> Iterator[Claim]:
    """Each run of rows for itself: a text that has lost its empty lines still shows where its tables are."""
    number = 0
    while number < len(lines):
        if not _is_row(lines[number]):
            number += 1
            continue
        end = number
        while end < len(lines) and _is_row(lines[end]):
            end += 1
        yield from _table("\n".join(lines[number:end]), number + 1)
        number = end


def _table(text: str, first: int) -> Iterator[Claim]:
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    rows: list[tuple[int, list[str]]] = []
    for index, token in enumerate(tokens):
        if token.type == "tr_open":
            rows.append((first + (token.map[0] if token.map else 0), []))
        elif token.type in ("th_open", "td_open") and rows:
            rows[-1][1].append(tokens[index + 1].content.strip())
    if not rows:
        return
    head = [cell.replace("*", "").lower() for cell in rows[0][1]]
    action = next((n for n, cell in enumerate(head) if cell.startswith("action")), None)
    expected = next((n for n, cell in enumerate(head) if cell.startswith("expected")), None)
    levels = {n: cell.split()[0] for n, cell in enumerate(head) if "threshold" in cell and " " in cell}
    for line, cells in rows[1:]:
        for column, cell in enumerate(cells):
            if column in levels:
                yield from _threshold(cells[0], levels[column], cell, line)
            elif column == expected and cell:
                beside = cells[action] if action is not None and action < len(cells) else ""
                yield Claim("expectation", line, cell, details={"action": beside, "step": cells[0]})
                yield Claim("text", line, cell.replace("`", ""))
                yield from (Claim("value", line, f[0], f[1]) for f in _VALUE.finditer(cell))
            elif cell:
                yield from _prose(cell, line, cell=True)


def _threshold(metric: str, level: str, cell: str, line: int) -> Iterator[Claim]:
    found = _BOUND.fullmatch(cell)
    if found:
        bound = {key: found[key] or "" for key in ("operator", "value", "unit")}
        yield Claim("threshold", line, f"{metric} {cell}", metric, {"level": level, **bound})


# -- code blocks


def _snippet(language: str, content: str, first: int, before: str) -> Iterator[Claim]:
    match language.split(" ")[0] if language else "":
        case "yaml" | "yml":
            for setting in snippets.settings_of(content, before):
                details = {"file": setting.file, "value": setting.value}
                yield Claim("config", first + setting.line, setting.key, setting.key, details)
        case "python" | "py":
            for use in snippets.uses_of(content):
                details = {"module": use.module, "member": use.member, "argument": use.argument}
                yield Claim("api", first + use.line, use.text, use.name, details)
        case "" | "bash" | "sh" | "shell" | "console" | "zsh":
            yield from _commands(content, first)
        case _:
            pass


def _commands(content: str, first: int) -> Iterator[Claim]:
    for command in snippets.commands_of(content):
        line, words = first + command.line, command.words
        yield Claim("command", line, command.text, command.program, {}, words)
        match command.program, words[:2]:
            case "gh", ("workflow", "run"):
                yield from _dispatch(command, content, line)
            case "gh", ("run", "list"):
                named = [word.partition("=")[2] for word in words if word.startswith(("--workflow=", "-w="))]
                named += [words[n + 1] for n, word in enumerate(words[:-1]) if word in ("--workflow", "-w")]
                yield from (Claim("workflow", line, name, name, {"use": "list"}) for name in named)
            case "gh", ("issue" | "pr" | "label", _):
                flags = ("--label", "-l", "--add-label", "--remove-label")
                named = [words[n + 1] for n, word in enumerate(words[:-1]) if word in flags]
                yield from (Claim("label", line, name, name) for name in named if _LABEL.fullmatch(name))
            case "jq", _:
                rest = [word for word in words if not word.startswith("-")]
                options = "".join(word for word in words if word.startswith("-"))
                file = rest[1] if len(rest) > 1 else command.reads
                if rest and file:
                    details = {"expression": rest[0], "slurp": "yes" if "s" in options else ""}
                    yield Claim("filter", line, f"jq '{rest[0]}'", file, details)
            case (("grep" | "egrep"), _):
                rest = [word for word in words if not word.startswith("-")]
                given = tuple(word for word in words if word.startswith("-"))
                if len(rest) > 1:
                    yield Claim("search", line, command.text, rest[1], {"pattern": rest[0]}, given)
            case (("echo" | "printf"), _) if command.writes:
                yield Claim("write", line, command.text, command.writes, {"content": " ".join(words)})
            case _:
                pass


def _dispatch(command: snippets.Command, content: str, line: int) -> Iterator[Claim]:
    words = command.words
    flags = ("-f", "-F", "--field", "--raw-field")
    given = [words[n + 1].partition("=") for n, word in enumerate(words[:-1]) if word in flags]
    name = next(
        (word for n, word in enumerate(words[2:], 2) if not word.startswith("-") and words[n - 1] not in flags), ""
    )
    inputs = tuple(key for key, _, _ in given)
    yield Claim("workflow", line, name, name, {"use": "run"}, inputs)
    offset = line - command.line  # of the block
    lines = content.split("\n")
    for key, _, value in given:
        at = next((n for n in range(command.line, len(lines)) if f"{key}=" in lines[n]), command.line)
        yield Claim("input", offset + at, f"-f {key}={value}", key, {"workflow": name, "value": value})
