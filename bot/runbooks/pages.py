"""``docs/handlers/supervisor.md``: what runbooks of a product can use (actions, facts, phrases), and those that exist.

Written from the product's own declarations by ``opsbot commands --write``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from bot.handler import Action, Danger, FactDefinition, Product, Provenance
from bot.runbooks.binding import find_action
from bot.runbooks.durations import format_duration
from bot.runbooks.library import RunbookLibrary
from bot.runbooks.model import Runbook

_NOTICE = "Written by `opsbot commands --write` from the product's declarations. Changes here are lost."
_PROVENANCE = {
    Provenance.EXACT: "read under this name",
    Provenance.RENAMED: "the system has it under another name",
    Provenance.DERIVED: "worked out by the bot, which says how",
    Provenance.INPUT: "given with the run",
    Provenance.UNAVAILABLE: "cannot be known; the step asks a person",
}


def handler_pages(root: Path, products: Sequence[Product]) -> dict[Path, str]:
    """The page of each product by its path below ``root``. Reads the products' runbooks."""
    library = RunbookLibrary(products)
    return {
        root / "docs" / "handlers" / f"{product.name}.md": handler_page(
            product, tuple(library.for_product(product.name).values()), root
        )
        for product in sorted(products, key=lambda product: product.name)
    }


def handler_page(product: Product, runbooks: Sequence[Runbook], root: Path | None = None) -> str:
    """The page of a product. With ``root``, the repository's folder, runbooks below it are links."""
    parts = [
        f"<!-- {_NOTICE} -->",
        f"# {_text(product.title)}",
        f"{_text(product.summary.rstrip('.'))}. Its commands are in [commands.md](../commands.md), how to write a "
        "runbook is in [runbooks.md](../runbooks.md).",
        f"```toml\n{product.setup.rstrip()}\n```",
        "## Actions",
        "A runbook names them in a code span of its Action column.",
        _table(("Action", "Danger", "What it does"), map(_action, product.actions)),
        "## Facts",
        "Expectations, conditions and thresholds compare them. Each comes with where it is from: "
        + "; ".join(f"*{kind.value}*, {meaning}" for kind, meaning in _PROVENANCE.items())
        + ".",
        _table(("Fact", "Value", "From", "What it is"), map(_fact, product.facts)),
    ]
    if product.phrases:
        parts += [
            "## Phrases",
            "What an Expected Metrics cell may say in words, whatever its case.",
            _table(("Phrase", "Means"), ((_text(p.replace("`", "")), _code(m)) for p, m in _phrases(product))),
        ]
    if runbooks:
        parts += [
            "## Runbooks",
            _table(
                ("Runbook", "Title", "On", "Severity", "Danger", "Steps", "Time"),
                (_runbook(product, runbook, root) for runbook in sorted(runbooks, key=lambda one: one.id.lower())),
            ),
        ]
    return "\n\n".join(parts) + "\n"


def _action(action: Action) -> tuple[str, ...]:
    known = [action.name.removesuffix("()"), *(alias.removesuffix("()") for alias in action.aliases)]
    names = list(dict.fromkeys(name if "()" in name else f"{name}()" for name in known))
    also = f" Also {', '.join(map(_code, names[1:]))}." if len(names) > 1 else ""
    danger = f"**{action.danger.value}**" if action.danger is Danger.DESTRUCTIVE else action.danger.value
    return _code(names[0]), danger, f"{_text(action.help.rstrip('.'))}.{also}"


def _fact(fact: FactDefinition) -> tuple[str, ...]:
    values = ", ".join(_code(str(value)) for value in fact.possible) if fact.possible else fact.values
    return _code(fact.name), values, fact.provenance.value, f"{_text(fact.help.rstrip('.'))}."


def _phrases(product: Product) -> list[tuple[str, str]]:
    """Without the twins that differ in their code marks only."""
    return list(
        {phrase.replace("`", "").lower(): (phrase, means) for phrase, means in product.phrases.items()}.values()
    )


def _runbook(product: Product, runbook: Runbook, root: Path | None) -> tuple[str, ...]:
    bound = sum(bool(step.action and find_action(product, step.action)) for step in runbook.steps)
    count = len(runbook.steps)
    steps = (
        f"{count}, all by a person" if not bound else f"{count}, {bound} by the bot" if bound < count else f"{count}"
    )
    time = format_duration(runbook.sla or runbook.total) if runbook.total else ""
    name = _text(runbook.id)
    if root is not None and (path := _below(root, Path(runbook.source))):
        name = f"[{name}](../../{path})"
    danger = f"**{runbook.danger}**" if runbook.danger == "destructive" else runbook.danger
    return name, _text(runbook.title), runbook.target_kind or "nothing", runbook.severity, danger, steps, time


def _below(root: Path, source: Path) -> str:
    """The path of a file below ``root``, as a link; empty when it is elsewhere."""
    try:
        return source.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join(lines)


def _code(text: str) -> str:
    return f"`{text}`"


def _text(text: str) -> str:
    """Text as Markdown that shows it so; what stands in backticks stays code."""
    pieces = text.replace("``", "`").split("`")
    for index in range(0, len(pieces), 2):
        for character in "\\*_<[":
            pieces[index] = pieces[index].replace(character, "\\" + character)
    return "`".join(pieces)
