"""``P1-002``: all runbooks that the bot knows, those of the products and those in the user's own folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rapidfuzz import fuzz, process

from bot.errors import UserError
from bot.handler import Product
from bot.runbooks.binding import find_action
from bot.runbooks.document import LONGEST_DOCUMENT, parse_document
from bot.runbooks.model import Runbook
from bot.runbooks.problems import Problem, RunbookError, SourceText


class RunbookLibrary:
    """Reads every ``*.md`` of the products' folders and of ``paths`` (folders, or single files) when it is made.

    A document that cannot be read costs only itself: it is left out and told in ``problems``, and so is a runbook whose
    id is already taken. Markdown files of a folder that hold no step table (a README) are passed over in silence; a
    file that is named in ``paths`` itself must hold one. With an ``earlier`` library, the runbooks of a document that
    cannot be read any more are those that it held then, marked ``stale``.
    """

    def __init__(
        self, products: Sequence[Product], paths: Sequence[Path] = (), earlier: RunbookLibrary | None = None
    ) -> None:
        self.products = {product.name: product for product in products}
        self.problems: tuple[Problem, ...] = ()
        self.runbooks: dict[str, Runbook] = {}  # by id in lower case, in the order of the folders
        self.documents: dict[str, SourceText] = {}  # by source
        self._earlier: dict[str, list[Runbook]] = {}  # by source
        for runbook in earlier.runbooks.values() if earlier else ():
            self._earlier.setdefault(runbook.source, []).append(runbook)
        for product in products:
            if product.runbooks is not None:
                self._load(product.runbooks, product.name)
        for path in paths:
            self._load(path, "")

    def get(self, runbook: str) -> Runbook:
        """The runbook of that id, whatever its case. Raises ``UserError`` with the nearest ids."""
        found = self.runbooks.get(runbook.strip().lower())
        if found is None:
            raise UserError(f"There is no runbook {runbook.strip()[:60] or 'without a name'}. {self._nearest(runbook)}")
        return found

    def for_product(self, name: str) -> Mapping[str, Runbook]:
        """By id: the runbooks of a product. An empty name gives those that belong to none."""
        return {runbook.id: runbook for runbook in self.runbooks.values() if runbook.product == name}

    def _nearest(self, runbook: str) -> str:
        ids = {key: found.id for key, found in self.runbooks.items()}
        if not ids:
            return "No runbook is loaded: look at [runbooks] paths, and at what `opsbot runbook check` says."
        near = process.extract(runbook.strip().lower(), list(ids), scorer=fuzz.ratio, limit=3, score_cutoff=50)
        named = [ids[key] for key, _, _ in near]
        if named:
            return f"Did you mean {' or '.join(named)}?"
        return f"There are {', '.join(sorted(ids.values())[:20])}."

    def _load(self, path: Path, product: str) -> None:
        try:
            files = markdown_files(path)
            if not path.exists():
                self._problem(Problem(str(path), 0, 0, "there is no such file or folder; look at [runbooks] paths"))
                return
        except OSError as error:
            self._problem(Problem(str(path), 0, 0, f"the folder cannot be read: {error.strerror or error}"))
            return
        for file in files:
            self._read(file, product, required=file == path)

    def _read(self, file: Path, product: str, required: bool) -> None:
        source = _name(file)
        if source in self.documents:
            return  # reached by two paths
        try:
            if file.stat().st_size > 4 * LONGEST_DOCUMENT:
                raise RunbookError([Problem(source, 0, 0, f"the file is larger than {4 * LONGEST_DOCUMENT} bytes")])
            text = file.read_text(encoding="utf-8")
            document = SourceText.of(text.removeprefix("\ufeff"), source)
            self.documents[source] = document
            if not required and source not in self._earlier and not holds_steps(text):
                return
            for runbook in parse_document(text, source, product):
                self._add(runbook, document)
        except RunbookError as error:
            self._unreadable(source, *error.problems)
        except UnicodeDecodeError as error:
            self._unreadable(source, Problem(source, 0, 0, f"the file is not UTF-8 text (byte {error.start})"))
        except OSError as error:
            self._unreadable(source, Problem(source, 0, 0, f"the file cannot be read: {error.strerror or error}"))

    def _unreadable(self, source: str, *problems: Problem) -> None:
        """Tell what is wrong, and go on with what the document held before."""
        for problem in problems:
            self._problem(problem)
        first = problems[0]
        why = f"{source}:{first.line}: {first.message}" if first.line else f"{source}: {first.message}"
        for runbook in self._earlier.get(source, ()):
            self.runbooks.setdefault(runbook.id.lower(), runbook.model_copy(update={"stale": why}))

    def _add(self, runbook: Runbook, document: SourceText) -> None:
        if runbook.product and runbook.product not in self.products:
            known = ", ".join(sorted(self.products)) or "none"
            line = next((n for n, text in enumerate(document.lines, 1) if runbook.product in text), runbook.line)
            message = f"there is no product {runbook.product}; there are: {known}"
            self._problem(document.at(line, message, runbook.product))
            return
        if runbook.product:
            runbook = _with_full_names(runbook, self.products[runbook.product])
        other = self.runbooks.get(runbook.id.lower())
        if other is not None:
            message = f"{runbook.id} is already the runbook in {other.source}:{other.line}; give this one another id"
            self._problem(document.at(runbook.line, message, runbook.id))
            return
        self.runbooks[runbook.id.lower()] = runbook

    def _problem(self, problem: Problem) -> None:
        self.problems = (*self.problems, problem)


def markdown_files(path: Path) -> list[Path]:
    """The documents of a folder and its subfolders, hidden ones left out; or the file itself. Raises ``OSError``."""
    if not path.is_dir():
        return [path]
    found = sorted(path.rglob("*.md"))
    return [file for file in found if not any(part.startswith(".") for part in file.relative_to(path).parts)]


def read_documents(paths: Sequence[Path]) -> dict[str, str]:
    """The texts of these files and of the documents in these folders, by name. Raises ``UserError``."""
    texts: dict[str, str] = {}
    for path in paths:
        try:
            for file in markdown_files(path):
                texts[_name(file)] = file.read_text(encoding="utf-8")[:LONGEST_DOCUMENT]
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is not UTF-8 text (byte {error.start})") from None
    return texts


def _with_full_names(runbook: Runbook, product: Product) -> Runbook:
    """Steps that name an action by an alias get its full name, so that everybody finds it by that."""
    steps = []
    for step in runbook.steps:
        action = find_action(product, step.action) if step.action else None
        steps.append(step.model_copy(update={"action": action.name}) if action else step)
    return runbook.model_copy(update={"steps": tuple(steps)})


def holds_steps(text: str) -> bool:
    """Whether a document looks like a runbook at all: it has front matter or a table row that speaks of steps."""
    lines = text.removeprefix("\ufeff").splitlines()
    if lines and lines[0].rstrip() == "---":
        return True
    heads = (line.lower() for line in lines if "|" in line)
    return any("action" in head and ("step" in head or "duration" in head or "expected" in head) for head in heads)


def _name(file: Path) -> str:
    """The path as people know it: relative to where they are, when it is below."""
    try:
        return str(file.resolve().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(file)
