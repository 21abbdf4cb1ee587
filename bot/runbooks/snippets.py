"""``cat state.json | jq '.status'``: what the code in a document does, read and never run. Pure; nothing here raises.

Lines count from 0 within the snippet.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace

import yaml

_PLACEHOLDER = re.compile(r"<([A-Za-z][\w -]*)>")
_KEYWORDS = frozenset(
    {"if", "then", "elif", "else", "while", "until", "do", "for", "!", "[", "[[", "sudo", "time", "xargs"}
)
_OPERATORS = re.compile(r"[|&;<>()]+")
_SHELLS = frozenset({"watch", "sh", "bash"})
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_CONFIG_FILE = re.compile(r"[\w./-]*\w\.ya?ml")


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a shell script. ``reads``: what the ``cat`` before its pipe prints; ``writes``: behind ``>``."""

    line: int
    text: str
    program: str
    words: tuple[str, ...]
    reads: str = ""
    writes: str = ""


@dataclass(frozen=True, slots=True)
class Setting:
    """A leaf of a YAML snippet: ``pipeline.enabled``."""

    line: int
    key: str
    value: str
    file: str


@dataclass(frozen=True, slots=True)
class Use:
    """What a Python snippet asks of a class: a ``member`` of it, or an ``argument`` of its constructor."""

    line: int
    text: str
    name: str
    module: str
    member: str = ""
    argument: str = ""


# -- shell


def commands_of(script: str) -> list[Command]:
    """The simple commands, also those within ``$(…)`` and within the quotes of ``watch``."""
    found: list[Command] = []
    lines = script.split("\n")
    number = 0
    while number < len(lines):
        first, text = number, lines[number]
        while text.rstrip().endswith("\\") and number + 1 < len(lines):
            number += 1
            text = text.rstrip()[:-1] + " " + lines[number]
        number += 1
        at = first
        for command in _line(text.strip(), first):  # each where it stands when the line goes on below
            spot = command.words[-1] if command.words else command.program
            at = next((n for n in range(at, number) if command.program in lines[n] and spot in lines[n]), at)
            found.append(replace(command, line=at))
    return found


def _line(text: str, line: int) -> Iterator[Command]:
    while (inner := re.search(r"\$\(([^()]*)\)", text)) is not None:
        yield from _line(inner[1], line)
        text = f"{text[: inner.start()]}$SUBSTITUTED{text[inner.end() :]}"
    lexer = shlex.shlex(_PLACEHOLDER.sub("⟨\\1⟩", text), posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    try:
        words = list(lexer)
    except ValueError:  # a quotation without an end
        return
    command: list[str] = []
    reads = writes = ""
    pending = ""  # the redirection whose file comes next
    for word in [*words, ";"]:
        if pending:
            writes, pending = (word if ">" in pending else writes), ""
        elif word in (">", ">>", "<", "&>", ">&"):
            pending = word
        elif _OPERATORS.fullmatch(word):
            done = _command(command, line, reads, writes)
            if done:
                yield done
                if done.program in _SHELLS and done.words and " " in done.words[-1]:
                    yield from _line(_back(done.words[-1]), line)
            reads = done.words[-1] if word == "|" and done and done.program == "cat" and done.words else ""
            command, writes = [], ""
        else:
            command.append(word)


def _command(words: list[str], line: int, reads: str, writes: str) -> Command | None:
    while words and (words[0] in _KEYWORDS or words[0].startswith(("$", "-")) or _ASSIGNMENT.fullmatch(words[0])):
        words = words[1:]
    if not words or words[0] in ("fi", "done", "esac"):
        return None
    words = [_back(word) for word in words]
    shown = " ".join(_quoted(word) for word in words) + (f" > {_back(writes)}" if writes else "")
    return Command(line, shown, words[0], tuple(words[1:]), _back(reads), _back(writes))


def _quoted(word: str) -> str:
    if not re.search(r"[\s\"\[\]|]", word):
        return word
    return f"'{word}'" if '"' in word else f'"{word}"'


def _back(word: str) -> str:
    return word.replace("⟨", "<").replace("⟩", ">")


# -- YAML


def settings_of(content: str, before: str) -> list[Setting]:
    """The leaves. The file is the one that a comment in the snippet or the sentence ``before`` it names."""
    named = next((f for line in content.split("\n") if line.startswith("#") and (f := _CONFIG_FILE.search(line))), None)
    named = named or _CONFIG_FILE.search(before)
    try:
        node = yaml.compose(content, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return []
    return list(_leaves(node, "", named[0] if named else ""))


def _leaves(node: yaml.Node | None, path: str, file: str, depth: int = 0) -> Iterator[Setting]:
    if not isinstance(node, yaml.MappingNode) or depth > 20:
        return
    for key, value in node.value:
        name = f"{path}.{key.value}".lstrip(".")
        if isinstance(value, yaml.MappingNode):
            yield from _leaves(value, name, file, depth + 1)
        else:
            said = str(value.value) if isinstance(value, yaml.ScalarNode) else ""
            yield Setting(key.start_mark.line, name, said, file)


# -- Python


def uses_of(content: str) -> list[Use]:
    """What the snippet asks of classes: constructor arguments, and methods of what was constructed."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError):
        return []
    modules: dict[str, str] = {}
    classes: dict[str, str] = {}
    found: list[Use] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            modules |= {alias.asname or alias.name: node.module or "" for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Name):
            classes |= {goal.id: node.value.func.id for goal in node.targets if isinstance(goal, ast.Name)}
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name[:1].isupper():
                for keyword in node.keywords:
                    text = ast.unparse(node)
                    found.append(Use(node.lineno - 1, text, name, modules.get(name, ""), argument=keyword.arg or ""))
            case ast.Call(func=ast.Attribute(value=ast.Name(id=variable), attr=member)) if variable in classes:
                owner = classes[variable]
                found.append(Use(node.lineno - 1, ast.unparse(node), owner, modules.get(owner, ""), member=member))
    return sorted(found, key=lambda use: use.line)
