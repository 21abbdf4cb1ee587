"""``P1-001.md``: a procedure as the clean document that ``parse_document`` reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import yaml

from bot.handler import Danger, Product
from bot.runbooks.binding import find_action, parse_call
from bot.runbooks.document import code_spans, parse_document
from bot.runbooks.durations import parse_duration
from bot.runbooks.expectations import Comparison, Name, parse, walk
from bot.runbooks.importing.procedure import HEAD, Document, Notebook, Procedure
from bot.runbooks.problems import RunbookError

_RANK = {Danger.READ: 1, Danger.CHANGE: 2, Danger.DESTRUCTIVE: 3}
_TOTAL = re.compile(r"\s*(?P<total>[^(]*?)\s*(?P<remark>\([^)]*\))?\s*\.?\s*")


def documents(
    procedures: Sequence[Procedure], source: str, products: Sequence[Product], book: Notebook
) -> list[Document]:
    """A document for each procedure, in their order; what cannot be written so that it parses is left out and told."""
    written: list[Document] = []
    names: set[str] = set()
    product = _product(procedures, products)
    for procedure in procedures:
        _unique(procedure, names, book)
        plain = replace(procedure, notes=[], blocks=[])
        bare = replace(plain, symptoms="", escalation="", total="")
        # The whole thing first. What cannot be written so that it is read again the same loses its accessories.
        tries = ((procedure, product), (procedure, None), (plain, None), (bare, None))
        for candidate, bound in tries:
            settings = _settings(candidate, bound)
            text = _text(candidate, settings)
            name = f"{procedure.id}.md"
            if _reads_back(text, name, candidate):
                _tell(candidate, settings, bound, book)
                if candidate is not procedure:
                    why = "notes or clauses were left out: with them the document could not be read again"
                    book.guess(procedure.line, procedure.title, "", why)
                written.append(Document(procedure.id, name, text, procedure.title, len(candidate.rows)))
                break
        else:
            book.guess(procedure.line, procedure.title, "", "left out: no readable document could be made of it")
    return written


def _unique(procedure: Procedure, names: set[str], book: Notebook) -> None:
    base = re.sub(r"[^A-Za-z0-9._-]+", "-", procedure.id).strip("-.")[:80].rstrip("-.") or f"procedure-{procedure.line}"
    variants = (base if n == 1 else f"{base}-{n}" for n in range(1, len(names) + 3))
    id_ = next(name for name in variants if name.lower() not in names)
    if id_ != procedure.id:
        book.guess(procedure.line, procedure.id, id_, "the id was changed, so that it is unique and a file name")
        procedure.id = id_
    names.add(id_.lower())


def _product(procedures: Sequence[Procedure], products: Sequence[Product]) -> Product | None:
    """The product that knows most of the actions that the text calls; None when nobody knows any."""
    calls = [call for procedure in procedures for call in _calls(procedure)]
    counts = {product.name: sum(find_action(product, call) is not None for call in calls) for product in products}
    best = max(products, key=lambda product: counts[product.name], default=None)
    return best if best and counts[best.name] else None


def _calls(procedure: Procedure) -> list[str]:
    found = []
    for row in procedure.rows:
        for code in code_spans(row.action):
            try:
                call = parse_call(code)
            except ValueError:
                continue
            if call:
                found.append(call.name)
                break
    return found


def _settings(procedure: Procedure, product: Product | None) -> dict[str, object]:
    """The front matter, as far as it can be told from the text."""
    settings: dict[str, object] = {"id": procedure.id, "title": procedure.title}
    if product is None:
        return settings
    settings["product"] = product.name
    actions = [action for call in _calls(procedure) if (action := find_action(product, call))]
    danger = max((action.danger for action in actions), key=lambda d: _RANK[d], default=Danger.READ)
    settings["danger"] = danger.value
    facts = {fact.name for fact in product.facts}
    unknown = {
        node.value.name: ""
        for row in procedure.rows
        for node in walk(parse(row.expected, product.phrases))
        if isinstance(node, Comparison) and isinstance(node.value, Name) and re.fullmatch(r"\w+", node.value.name)
    }
    inputs = {name: "" for name in unknown if name not in facts}
    if inputs:
        settings["inputs"] = inputs
    return settings


def _tell(procedure: Procedure, settings: dict[str, object], product: Product | None, book: Notebook) -> None:
    line, title = procedure.line, procedure.title
    if product is None:
        book.guess(line, title, "", "no product: the text calls no action of one, so every step is for a person")
        return
    book.guess(line, title, f"product: {product.name}", "actions of this product are called in the text")
    book.guess(line, title, f"danger: {settings['danger']}", "the most that the actions which it calls do")
    book.guess(line, title, "", "severity and target are not said: it is high, and on nothing, until you write them")
    for name in settings.get("inputs") or ():  # type: ignore[attr-defined]  # a dict, when it is there
        book.guess(line, name, f"inputs: {name}", "the expectation compares with it, and no fact has this name")


def _text(procedure: Procedure, settings: dict[str, object]) -> str:
    front = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=10_000)
    has_own = bool(re.search(r"\d", procedure.id)) and procedure.id.lower() not in procedure.title.lower()
    heading = f"{procedure.id}: {procedure.title}" if has_own else procedure.title
    parts = [f"---\n{front}---", f"## {_one_line(heading)}"]
    if procedure.symptoms:
        parts.append(f"**Symptoms**: {_one_line(procedure.symptoms)}")
    parts += procedure.notes
    rows = [
        f"| {_cell(row.number)} | {_cell(row.action)} | {_cell(row.expected)} | {_cell(row.duration)} |"
        for row in procedure.rows
    ]
    parts.append("\n".join([HEAD, "|---|---|---|---|", *(row.replace("|  |", "| |") for row in rows)]))
    if procedure.escalation:
        parts.append(f"**Escalation**: {_one_line(procedure.escalation)}")
    if total := _total(procedure.total):
        parts.append(f"**Total estimated duration**: {total}")
    for block in procedure.blocks:
        ticks = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", block.code)), default=0))
        parts.append(f"**Step {block.step}**\n\n{ticks}{block.language}\n{block.code}\n{ticks}")
    return "\n\n".join(parts) + "\n"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return _one_line(text).replace("|", "\\|")


def _total(said: str) -> str:
    """``12min (within 15min SLA).`` as it stands when it is a duration; empty when it is none."""
    found = _TOTAL.fullmatch(" ".join(said.split()))
    try:
        parse_duration(found["total"] if found else "")
    except ValueError:
        return ""
    return said.strip().rstrip(".") + "."


def _reads_back(text: str, name: str, procedure: Procedure) -> bool:
    """Whether the document is one runbook with exactly these rows."""
    try:
        (runbook,) = parse_document(text, name)
    except (RunbookError, ValueError):
        return False
    rows = [(row.number, _one_line(row.action), _one_line(row.expected)) for row in procedure.rows]
    return runbook.id == procedure.id and rows == [(s.number, s.text, s.expectation) for s in runbook.steps]
