"""``product: supervisor`` between two ``---`` lines: what the table of a runbook has no column for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from bot.runbooks.clauses import ClauseKeys, IssueKeys
from bot.runbooks.model import OnOverdue
from bot.runbooks.problems import Problem, RunbookError, SourceText

_MOST_LINES = 500


def _one_line(text: str) -> str:
    if "\n" in text.strip():
        raise ValueError("must be one line")
    return text.strip()


def _scalar(value: object) -> object:
    """``threshold: 5`` and ``threshold:`` are inputs as well as ``threshold: "5"``."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def _by_step(value: object) -> object:
    """``on_overdue: stop`` is for the run and all its steps; ``{2: continue, run: stop}`` for those that it names."""
    if isinstance(value, str):
        return {"*": value}
    return {str(key): each for key, each in value.items()} if isinstance(value, dict) else value


Line = Annotated[str, AfterValidator(_one_line)]
InputName = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")]


class RunbookKeys(BaseModel):
    """The keys for one runbook. In a document with several, those below ``runbooks: {ID: …}`` win over the others."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    product: Line | None = None
    target: Line | None = None
    severity: Literal["low", "medium", "high", "critical"] | None = None
    danger: Literal["read", "change", "destructive"] | None = None
    inputs: dict[InputName, Annotated[str, BeforeValidator(_scalar)]] | None = None
    command: Line | None = None
    escalation: list[ClauseKeys] | None = None
    faults: list[Line] | None = None
    on_overdue: Annotated[dict[str, OnOverdue], BeforeValidator(_by_step)] | None = None

    def overdue(self, what: str) -> OnOverdue:
        """What is done when the budget of a step, by its number, or of the ``run`` has run out."""
        chosen = self.on_overdue or {}
        return chosen.get(what) or chosen.get("*") or "ask"


class FrontMatter(RunbookKeys):
    id: Line | None = None
    title: Line | None = None
    runbooks: dict[str, RunbookKeys] = {}

    def settings(self, runbook: str) -> RunbookKeys:
        """What holds for one runbook."""
        own = next((value for key, value in self.runbooks.items() if key.lower() == runbook.lower()), None)
        general = self.model_dump(exclude={"id", "title", "runbooks"}, exclude_none=True)
        return RunbookKeys(**(general | (own.model_dump(exclude_none=True) if own else {})))


def split(text: SourceText) -> tuple[list[str], int]:
    """The lines of the front matter and the number of the document's first line behind it (1 when there is none)."""
    if text.line(1).rstrip() != "---":
        return [], 1
    for number in range(2, min(len(text.lines), _MOST_LINES) + 1):
        if text.line(number).rstrip() in ("---", "..."):
            return list(text.lines[1 : number - 1]), number + 1
    raise RunbookError([text.at(1, "the front matter that begins here has no end; close it with a line ---")])


def read(text: SourceText, lines: list[str]) -> FrontMatter:
    """Check the front matter; its first line is line 2 of the document. Raises ``RunbookError``."""
    written = "\n".join(lines)
    try:
        node = yaml.compose(written, Loader=yaml.SafeLoader)
        problems = list(_unusable(text, node))
        if problems:
            raise RunbookError(problems)
        value = yaml.safe_load(written)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        said = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be read"
        line, column = (mark.line + 2, mark.column) if mark else (1, 0)
        found = text.at(line, f"the front matter is not YAML: {said}", text.line(line)[column : column + 1])
        raise RunbookError([found]) from None
    except (ValueError, RecursionError, OverflowError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:120]
        raise RunbookError([text.at(1, f"the front matter cannot be read: {why}")]) from None
    if value is None:
        return FrontMatter()
    if not isinstance(value, dict):
        raise RunbookError([text.at(2, 'the front matter must be "key: value" lines')])
    try:
        return FrontMatter.model_validate(value)
    except ValidationError as error:
        raise RunbookError(_problems(text, node, error)) from None


def _unusable(text: SourceText, node: yaml.Node | None) -> Iterator[Problem]:
    """Duplicate keys, and aliases, which nothing here needs."""
    waiting: list[tuple[yaml.Node, int]] = [(node, 0)] if node else []
    seen: set[int] = set()
    while waiting:
        item, depth = waiting.pop()
        line = item.start_mark.line + 2
        if id(item) in seen or depth > 10:
            yield text.at(line, "the front matter is too involved: write it without aliases and deep nesting")
            return
        seen.add(id(item))
        if isinstance(item, yaml.MappingNode):
            keys: set[str] = set()
            for key, value in item.value:
                name = str(key.value)
                if name in keys:
                    yield text.at(key.start_mark.line + 2, f'the key "{name[:60]}" stands here twice', name)
                keys.add(name)
                waiting += [(key, depth + 1), (value, depth + 1)]
        elif isinstance(item, yaml.SequenceNode):
            waiting += [(value, depth + 1) for value in item.value]


def _problems(text: SourceText, node: yaml.Node | None, error: ValidationError) -> list[Problem]:
    problems = []
    for detail in error.errors(include_url=False, include_input=False):
        path = [part for part in detail["loc"] if part != "[key]"]
        name = ".".join(map(str, path))
        line, spot = _position(node, path)
        message = f"{name}: {_said(detail['type'], detail['msg'], path)}"
        problems.append(text.at(line, message, spot))
    return problems


def _said(kind: str, message: str, path: list[Any]) -> str:
    if kind == "extra_forbidden":
        known: type[BaseModel] = FrontMatter if len(path) == 1 else RunbookKeys
        if "escalation" in path:
            known = IssueKeys if "issue" in path else ClauseKeys
        return "there is no such key; there are " + ", ".join(sorted(known.model_fields))
    return message.removeprefix("Value error, ").replace("Input should be", "must be")


def _position(node: yaml.Node | None, path: list[Any]) -> tuple[int, str]:
    """The line of the key and its text; the front matter's first line when it cannot be found."""
    line, spot = 2, ""
    for part in path:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 2
            continue
        if not isinstance(node, yaml.MappingNode):
            break
        for key, value in node.value:
            if key.value == str(part):
                line, spot, node = key.start_mark.line + 2, str(key.value), value
                break
        else:
            break
    return line, spot
