r"""``gh workflow run x.yml \`` and its further lines: a fenced block of shell commands, one command at a time."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_OPENS = re.compile(r"\s*(?:if|for|while|until|case|function)\b|.*<<-?\s*['\"]?\w+|.*\{\s*$")
_GOES_ON = re.compile(r"(?:\\|&&|\|\|?)\s*$")


@dataclass(slots=True)
class Command:
    """A command with the comment before it. Without ``lines`` the comment is an instruction of its own."""

    line: int  # in the block, from 1
    comment: str = ""
    lines: list[str] = field(default_factory=list)
    is_script: bool = False  # lines that only make sense together, a loop for example

    @property
    def text(self) -> str:
        """The command on one line."""
        return " ".join(re.sub(r"\\$", "", line.strip()).strip() for line in self.lines).strip()


def commands(code: str) -> list[Command]:
    """The commands of a block, in their order. A loop, a condition or an open quotation takes the rest of the block."""
    found: list[Command] = []
    comment: list[str] = []
    started = 0
    lines = code.splitlines()
    index = 0
    while index < len(lines):
        line = re.sub(r"^\$ ", "", lines[index].strip())
        number = index + 1
        index += 1
        if line.startswith("#"):
            started = started or number
            comment.append(line.lstrip("# ").strip())
            continue
        if not line:
            if comment:
                found.append(Command(started, _sentences(comment)))
                comment, started = [], 0
            continue
        command = Command(started or number, _sentences(comment), [lines[index - 1].rstrip()])
        command.lines[0] = line
        comment, started = [], 0
        if _OPENS.match(line):
            command.lines += lines[index:]
            command.is_script, index = True, len(lines)
        else:
            while index < len(lines) and (_GOES_ON.search(command.lines[-1]) or _open_quote(command.lines)):
                if _open_quote(command.lines):
                    command.is_script = True
                command.lines.append(lines[index].rstrip())
                index += 1
        found.append(command)
    if comment:
        found.append(Command(started, _sentences(comment)))
    return found


def _sentences(comment: list[str]) -> str:
    return ". ".join(part.rstrip(".") for part in comment if part)


def _open_quote(lines: list[str]) -> bool:
    """Whether a quotation that was begun goes on behind these lines."""
    quote, skip = "", False
    for char in "\n".join(lines):
        if skip:
            skip = False
        elif char == "\\" and quote != "'":
            skip = True
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
    return bool(quote)
