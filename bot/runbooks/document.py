"""``## P1-002: Child Task Crash Loop`` and a table: the Markdown that operators already write, read as runbooks.

## P1-002: Child Task Crash Loop
**Symptoms**: A child task repeatedly fails and restarts.

| Step | Action | Expected Metrics | Estimated Duration |
|---|---|---|---|
| 1 | Query current state: `handle.current_state()` | `children.failed > 0` | 1min |

**Escalation**: If no cause is found in 10min, file a bug.
**Total estimated duration**: 1min.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import PurePath

from markdown_it import MarkdownIt
from markdown_it.token import Token

from bot.runbooks import front_matter
from bot.runbooks.binding import parse_call
from bot.runbooks.clauses import wrong_in
from bot.runbooks.durations import parse_duration
from bot.runbooks.front_matter import FrontMatter
from bot.runbooks.model import Runbook, Step
from bot.runbooks.problems import Problem, RunbookError, SourceText

LONGEST_DOCUMENT = 1_000_000  # characters
COLUMNS = {"step": "Step", "action": "Action", "expected": "Expected Metrics", "duration": "Estimated Duration"}
_SPELLINGS = {
    "step": "step", "#": "step", "no": "step", "no.": "step", "nr": "step",
    "action": "action", "actions": "action", "instruction": "action", "what to do": "action",
    "expected metrics": "expected", "expected metric": "expected", "expected": "expected",
    "expectation": "expected", "expected result": "expected", "expected metrics values": "expected",
    "estimated duration": "duration", "duration": "duration", "time budget": "duration", "budget": "duration",
}  # fmt: skip
_ID = re.compile(r"(?P<id>[A-Za-z][A-Za-z0-9]*(?:[-_.][A-Za-z0-9]+)*)\s*(?::|\s[-–—])\s+(?P<title>\S.*)")
_LABEL = "symptoms|escalation|total estimated duration|total duration"
_LABELS = re.compile(
    rf"(?:^\s*|(?<=[.\s]))(?:(?P<mark>\*\*|__)\s*(?P<bold>{_LABEL})\s*(?::\s*(?P=mark)|(?P=mark)\s*:)"
    rf"|(?:(?<=^)|(?<=\. ))(?P<plain>{_LABEL})\s*:)",
    re.IGNORECASE | re.MULTILINE,
)
_TOTAL = re.compile(r"(?P<total>[^(]*?)\s*(?:\((?P<remark>[^)]*)\))?\s*\.?\s*", re.DOTALL)
_SLA = re.compile(r"(?:within\s+)?(?:an?\s+)?(?P<time>[0-9].*?)\s*SLA|SLA\s*:?\s*(?P<after>[0-9].*)", re.IGNORECASE)
_IF = re.compile(r"\s*If\s+", re.IGNORECASE)
_CODE = re.compile(r"(?<!`)(`+)(?!`)(?P<code>.+?)(?<!`)\1(?!`)", re.DOTALL)
# Headings that only divide a runbook; its name is the heading above.
_DIVIDERS = frozenset({"step", "steps", "procedure", "actions", "runbook", "resolution", "symptoms", "escalation"})


@dataclass
class _Table:
    """A step table: where it stands and what its cells say, as source text."""

    line: int
    columns: list[str]  # "" for a column that means nothing here
    rows: list[tuple[int, list[str]]]
    width: int  # columns of its head


@dataclass
class _Section:
    """A heading and what stands below it, up to the next heading of its rank."""

    level: int
    title: str
    line: int
    tables: list[_Table] = field(default_factory=list)
    labels: dict[str, tuple[int, str]] = field(default_factory=dict)


def parse_document(text: str, source: str, product: str = "") -> list[Runbook]:
    """All runbooks of a document, one per heading that has a step table.

    ``source`` is the file's name, for messages. ``product`` is the product when the front matter names none; without
    any, every step is manual. Raises ``RunbookError`` with everything that is wrong, and nothing else.
    """
    if len(text) > LONGEST_DOCUMENT:
        raise RunbookError([Problem(source, 0, 0, f"the document is longer than {LONGEST_DOCUMENT} characters")])
    document = SourceText.of(text.removeprefix("\ufeff"), source)
    lines, first = front_matter.split(document)
    settings = front_matter.read(document, lines) if lines else FrontMatter()
    body = "\n".join([*[""] * (first - 1), *document.lines[first - 1 :]])
    try:
        tokens = MarkdownIt("commonmark").enable("table").parse(body)
    except (RecursionError, ValueError, IndexError) as error:  # of the library; a document is never a traceback
        raise RunbookError([Problem(source, 0, 0, f"the document cannot be read as Markdown: {error}")]) from None
    problems: list[Problem] = []
    sections = [section for section in _sections(document, tokens, problems) if section.tables]
    if not sections and not problems:
        columns = " | ".join(COLUMNS.values())
        problems.append(document.at(first, f"there is no runbook in it: no table with the columns {columns}"))
    runbooks = []
    for section in sections:
        several = len(sections) > 1
        runbook = _runbook(document, section, settings, several, product, problems)
        if runbook is not None:
            runbooks.append(runbook)
    problems += _doubles(document, runbooks)
    unknown = {key.lower() for key in settings.runbooks} - {runbook.id.lower() for runbook in runbooks}
    if not problems:
        problems += [document.at(2, f"runbooks.{key}: the document has no runbook {key}") for key in sorted(unknown)]
    if problems:
        raise RunbookError(problems)
    return runbooks


def _doubles(document: SourceText, runbooks: list[Runbook]) -> Iterator[Problem]:
    seen: dict[str, Runbook] = {}
    for runbook in runbooks:
        first = seen.setdefault(runbook.id.lower(), runbook)
        if first is not runbook:
            yield document.at(runbook.line, f"{runbook.id} is already the runbook in line {first.line}", runbook.id)


# -- Markdown -> sections


def _sections(document: SourceText, tokens: list[Token], problems: list[Problem]) -> list[_Section]:
    sections: list[_Section] = []
    open_sections: list[_Section] = []
    index = 0
    label = ""
    in_list = 0
    while index < len(tokens):
        token = tokens[index]
        line = token.map[0] + 1 if token.map else 0
        if token.type == "heading_open":
            inline = tokens[index + 1]
            level = int(token.tag[1:])
            open_sections = [section for section in open_sections if section.level < level]
            section = _Section(level, _plain(inline), line)
            open_sections.append(section)
            sections.append(section)
            label = ""
            index += 2
        elif token.type == "table_open":
            end = next(i for i in range(index, len(tokens)) if tokens[i].type == "table_close")
            table = _table(document, tokens[index:end], problems)
            if table is not None:
                owner = _owner(open_sections, sections, document)
                owner.tables.append(table)
            label = ""
            index = end
        elif token.type in ("bullet_list_open", "ordered_list_open"):
            in_list += 1
        elif token.type in ("bullet_list_close", "ordered_list_close"):
            in_list -= 1
        elif token.type == "inline" and token.content:
            if not in_list and label and _labelled(open_sections, label):
                label = ""  # a new paragraph ends what the label said, unless nothing was said yet
            label = _labels(token, line, label, open_sections)
        index += 1
    return sections


def _owner(open_sections: list[_Section], sections: list[_Section], document: SourceText) -> _Section:
    """The heading that a table belongs to; a document without headings is one runbook named after its file."""
    named = _named(open_sections)
    if named:
        return named
    whole = next((section for section in sections if section.level == 0), None)
    if whole is None:
        whole = _Section(0, PurePath(document.source).stem, 1)
        sections.insert(0, whole)
        open_sections.insert(0, whole)
    return whole


def _named(open_sections: list[_Section]) -> _Section | None:
    """The heading that names the runbook: the nearest with an id, else the nearest that says more than "Steps"."""
    inner = [section for section in reversed(open_sections) if section.title.lower().rstrip(":") not in _DIVIDERS]
    return next((section for section in inner if _id(section.title)), inner[0] if inner else None)


def _id(title: str) -> re.Match[str] | None:
    """``P1-002: Crash Loop`` has an id; ``Note: see below`` has none, for want of a digit."""
    found = _ID.fullmatch(title)
    return found if found and any(char.isdigit() for char in found["id"]) else None


def _labelled(open_sections: list[_Section], label: str) -> str:
    return next((section.labels[label][1] for section in reversed(open_sections) if label in section.labels), "")


def _labels(token: Token, line: int, label: str, open_sections: list[_Section]) -> str:
    """Keep what stands behind Symptoms, Escalation and Total; returns the label that is still open."""
    section = _named(open_sections)
    if section is None:
        return ""
    content = token.content
    found = list(_LABELS.finditer(content))
    before = content[: found[0].start()] if found else content
    if label and before.strip():
        at, said = section.labels.get(label, (line, ""))
        section.labels[label] = (at, f"{said}\n{before.strip()}".strip())
    for this, following in zip(found, [*found[1:], None], strict=False):
        label = "total" if (this["bold"] or this["plain"]).lower().startswith("total") else ""
        label = label or (this["bold"] or this["plain"]).lower()
        said = content[this.end() : following.start() if following else len(content)].strip()
        section.labels[label] = (line + content.count("\n", 0, this.start()), said)
    return label


def _plain(inline: Token) -> str:
    parts = [child.content for child in inline.children or [] if child.type in ("text", "code_inline", "softbreak")]
    return " ".join("".join(parts).split())


def column_of(cell: str) -> str:
    """What a cell of a table's head names, a key of ``COLUMNS``; empty when it is none of a step table's columns."""
    return _SPELLINGS.get(" ".join(re.sub(r"[*_`]", "", cell).lower().split()), "")


def _table(document: SourceText, tokens: list[Token], problems: list[Problem]) -> _Table | None:
    """The table when it is one of steps; others (a list of states, of links) are none of ours."""
    rows: list[tuple[int, list[str]]] = []
    for index, token in enumerate(tokens):
        if token.type == "tr_open":
            rows.append((token.map[0] + 1 if token.map else 0, []))
        elif token.type in ("th_open", "td_open"):
            rows[-1][1].append(tokens[index + 1].content.strip())
    line, head = rows[0]
    columns = [column_of(cell) for cell in head]
    known = {column for column in columns if column}
    if ("action" not in known and not {"step"} < known) or len(known) < 2:
        return None
    before = len(problems)
    for key, name in COLUMNS.items():
        if key not in known:
            problems.append(document.at(line, f'the table has no column "{name}"'))
        if columns.count(key) > 1:
            second = [cell for cell, column in zip(head, columns, strict=True) if column == key][1]
            problems.append(document.at(line, f'the table has two columns "{name}"', second))
    if len(rows) == 1:
        problems.append(document.at(line, "the table has no steps"))
    return _Table(line, columns, rows[1:], len(head)) if len(problems) == before else None


# -- sections -> runbooks


def _runbook(
    document: SourceText,
    section: _Section,
    settings: FrontMatter,
    several: bool,
    default_product: str,
    problems: list[Problem],
) -> Runbook | None:
    before = len(problems)
    if len(section.tables) > 1:
        second = section.tables[1].line
        problems.append(document.at(second, f'"{section.title}" has a second table of steps; give it its own heading'))
    heading = _id(section.title)
    slug = re.sub(r"[^a-z0-9]+", "-", section.title.lower()).strip("-")
    id_, title = (heading["id"], heading["title"]) if heading else (slug, section.title)
    if several and (settings.id or settings.title):
        problems.append(document.at(2, "id and title are for a document with one runbook; this one has several"))
    elif settings.id and heading and settings.id.lower() != id_.lower():
        message = f"the front matter says {settings.id}, the heading says {id_}"
        problems.append(document.at(section.line, message, id_))
    id_, title = settings.id or id_, settings.title or title
    if not id_:
        problems.append(document.at(section.line, "the runbook has no id; write the heading like ## P1-002: Title"))
    own = settings.settings(id_)
    product = own.product or default_product
    steps = _steps(document, section.tables[0], bool(product), problems)
    total, sla = _total(document, section, problems)
    numbers = {step.number for step in steps}
    for unknown in (own.on_overdue or {}).keys() - {"*", "run", *numbers}:
        known = f"there are {', '.join(step.number for step in steps)} and run"
        problems.append(document.at(2, f"on_overdue: {id_} has no step {unknown[:60]}; {known}"))
    clauses = tuple(keys.clause() for keys in own.escalation or ())
    for clause in clauses:
        at = document.line_with(f"when: {clause.said}") or 2
        problems += (document.at(at, f"escalation: {wrong}") for wrong in wrong_in(clause, tuple(steps)))
    if len(problems) > before:
        return None
    return Runbook(
        id=id_,
        title=title,
        product=product,
        target_kind=own.target or "",
        symptoms=_said(section, "symptoms"),
        steps=tuple(step.model_copy(update={"on_overdue": own.overdue(step.number)}) for step in steps),
        escalation=_said(section, "escalation"),
        total=total,
        sla=sla,
        on_overdue=own.overdue("run"),
        severity=own.severity or "high",
        inputs=own.inputs or {},
        source=document.source,
        danger=own.danger or "",
        command=own.command or "",
        clauses=clauses,
        faults=tuple(own.faults or ()),
        line=section.line,
    )


def _said(section: _Section, label: str) -> str:
    return section.labels.get(label, (0, ""))[1]


def _total(
    document: SourceText, section: _Section, problems: list[Problem]
) -> tuple[timedelta | None, timedelta | None]:
    """``12min (within 15min SLA).`` -> 12 and 15 minutes."""
    line, said = section.labels.get("total", (0, ""))
    if not said:
        return None, None
    found = _TOTAL.fullmatch(" ".join(said.split()))
    total, sla = (found["total"], found["remark"] or "") if found else (said, "")
    try:
        promised = _SLA.search(sla)
        return parse_duration(total), parse_duration(promised["time"] or promised["after"]) if promised else None
    except ValueError as error:
        problems.append(document.at(line, f"total estimated duration: {error}", said.split("\n")[0]))
        return None, None


def _steps(document: SourceText, table: _Table, bound: bool, problems: list[Problem]) -> list[Step]:
    steps: list[Step] = []
    for line, cells in table.rows:
        excess = _cells(document.line(line)) - table.width
        if excess > 0:
            message = (
                f"the row has {table.width + excess} cells, the table {table.width} columns; write a | in a cell as \\|"
            )
            problems.append(document.at(line, message))
            continue
        row = {column: cell for column, cell in zip(table.columns, cells, strict=False) if column}
        number = re.sub(r"[*_`]|\.$", "", row["step"]).strip()
        if not number:
            problems.append(document.at(line, "the step has no number"))
        elif any(step.number == number for step in steps):
            problems.append(document.at(line, f"there are two steps {number}", number))
        if not row["action"]:
            problems.append(document.at(line, f"step {number} has no action: say what is to be done"))
        condition, rest = _condition(row["action"])
        name, arguments = None, {}
        for code in code_spans(rest) if bound else ():
            try:
                call = parse_call(code)
            except ValueError as error:
                problems.append(document.at(line, str(error), code))
                break
            if call is not None:
                name, arguments = call.name, dict(call.arguments)
                break
        budget = None
        if row["duration"] not in ("", "-", "–", "—"):
            try:
                budget = parse_duration(row["duration"])
            except ValueError as error:
                after = document.line(line).rfind(row["duration"])
                problems.append(document.at(line, f"step {number}: {error}", row["duration"], after=max(0, after)))
        steps.append(
            Step(
                number=number,
                text=row["action"],
                action=name,
                arguments=arguments,
                condition=condition,
                expectation=row["expected"],
                budget=budget,
                line=line,
            )
        )
    return steps


def code_spans(text: str) -> list[str]:
    """What stands between backticks."""
    return [found["code"].strip() for found in _CODE.finditer(text)]


def _condition(text: str) -> tuple[str | None, str]:
    """``If not running, check …`` -> the condition and what is to be done. A comma in code or brackets is none."""
    start = _IF.match(text)
    if start is None:
        return None, text
    for found in re.finditer(r"`[^`]*`|\"[^\"]*\"|\([^()]*\)|,|:(?!:)(?<!::)", text[start.end() :]):
        if found[0] in (",", ":"):
            at = start.end() + found.start()
            return text[start.end() : at].strip() or None, text[at + 1 :].strip()
    return None, text


def _cells(line: str) -> int:
    """How many cells a row has as written: Markdown drops the ones too many without a word."""
    bare = re.sub(r"^[\s>]*\|?", "", line.rstrip())  # a table may stand in a quotation
    bare = bare[:-1] if bare.endswith("|") and not bare.endswith("\\|") else bare
    return len(re.findall(r"(?<!\\)\|", bare)) + 1
