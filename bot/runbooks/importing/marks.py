"""``Check: pgrep -x supervisor`` -> ``Check: `pgrep -x supervisor```: code whose marks were lost gets them back."""

from __future__ import annotations

import re
from collections.abc import Callable

from bot.runbooks.expectations import Expectation, parse

COMMANDS = frozenset((
    "awk", "aws", "az", "cargo", "cat", "coredumpctl", "cp", "curl", "df", "dig", "docker", "du", "echo", "find",
    "free", "gcloud", "gdb", "gh", "git", "grep", "head", "helm", "journalctl", "jq", "kill", "kubectl", "ls",
    "lsof", "make", "mkdir", "mv", "netstat", "npm", "openssl", "pgrep", "ping", "pkill", "podman", "ps", "psql",
    "pstack", "python", "python3", "redis-cli", "rm", "scp", "sed", "service", "ss", "ssh", "strace", "sudo",
    "systemctl", "tail", "terraform", "top", "wget",
))  # fmt: skip
_WORDS = frozenset(("dig", "find", "free", "head", "helm", "kill", "make", "service", "tail", "top"))
_NAME = r"[A-Za-z_]\w*(?:\[\])?(?:\.[A-Za-z_]\w*(?:\[\])?)*"
_ATOM = re.compile(
    rf"""
      (?P<text>"[^"]*")                                              # a string is no code of its own
    | (?P<code>
        [A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*\([^()\s]*\)(?:\.\w+)*        # handle.health().status
      | \b[Ee]xit\ (?:code|status)\s*(?:==|!=|>=|<=|>|<)\s*\d+          # exit code == 0
      | (?<![\w.]){_NAME}(?:\s*(?:==|!=|>=|<=)\s*|\s+[<>]\s+|[<>])(?:"[^"]*"|-?\d+(?:\.\d+)?(?![\w.])|{_NAME})
      | (?<![\w.]){_NAME}="[^"]*"
      | \b[A-Za-z_]\w*(?:::[A-Za-z_]\w*)+                            # TaskExit::Panicked
      | (?<![\w./~<])(?:~|\.)?/[\w.-][\w./-]*(?<![.,])               # /tmp/supervisor.sock
      | (?<![\w.-])[a-z]\w+(?:\[\])?(?:\.[a-z_]\w+(?:\[\])?)+        # health.uptime_secs
      | \b[A-Za-z]\w*_\w+\b                                          # current_state
      | <[A-Za-z][\w -]*>                                            # <relay_pid>
      )
    """,
    re.VERBOSE,
)
_PROSE_AGAIN = re.compile(r"\s+(?:and|then|until|or)\s+(?=[a-z]+\s)|,\s+(?=[a-z]+\s)")


def code_span(code: str) -> str:
    """The code between backticks, more of them when it has some itself."""
    runs = [len(run) for run in re.findall(r"`+", code)]
    ticks = "`" * next(length for length in range(1, len(runs) + 2) if length not in runs)
    pad = " " if code.startswith("`") or code.endswith("`") else ""
    return f"{ticks}{pad}{code}{pad}{ticks}"


def escaped(text: str) -> str:
    """Text that Markdown shows as it stands: no tag, no emphasis by accident, no open code mark."""
    return re.sub(r"[\\*<`]", lambda found: "\\" + found[0], text)


def prose(text: str) -> str:
    """Prose with its code marked. Text that has marks already is taken as it is when they are in pairs."""
    if "`" in text and text.count("`") % 2 == 0:
        return text
    return _outside(text, lambda found: found["text"] or code_span(found["code"]))


def _outside(text: str, inside: Callable[[re.Match[str]], str]) -> str:
    out, at = [], 0
    for found in _ATOM.finditer(text):
        out += [escaped(text[at : found.start()]), inside(found)]
        at = found.end()
    return "".join([*out, escaped(text[at:])])


def action(text: str) -> str:
    """An Action cell: what stands behind its colon is a command when it begins with the name of one."""
    if "`" in text:
        return prose(text)
    head, colon, tail = text.partition(": ")
    if not _is_command((tail if colon else text).split()):
        return prose(text)
    command, rest = (tail, "") if colon else (text, "")
    for found in _PROSE_AGAIN.finditer(command):
        command, rest = command[: found.start()], command[found.start() :]
        break
    return (f"{prose(head)}: " if colon else "") + code_span(command.strip()) + prose(rest)


def _is_command(words: list[str]) -> bool:
    """Whether these words begin like a command; ``find the cause`` and ``make sure`` do not."""
    if len(words) < 2 or words[0] not in COMMANDS:
        return False
    return words[0] not in _WORDS or bool(re.match(r"[-/.~$<'\"]", words[1]))


def expectation(text: str) -> str:
    """An Expected Metrics cell with its code marked, which means the same to the bot as before."""
    for candidate in (prose(text), code_span(text) if text.strip() else "", text):
        if same(parse(text), parse(candidate)):
            return candidate
    return text


def same(one: Expectation, other: Expectation) -> bool:
    """Whether two expectations are the same apart from marks in what a person is asked."""
    return str(one).replace("`", "").split() == str(other).replace("`", "").split()
