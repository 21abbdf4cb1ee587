"""What SOMAS's repository declares: its workflows with their inputs, its labels, its classes.

Read from a checkout (``repository_path`` in the section [somas], or the root itself when it holds ``.github/``), else
through GitHub when that is configured. Blocking; only reads.
"""

from __future__ import annotations

import ast
import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bot.errors import Unavailable

WORKFLOWS = ".github/workflows"
LABELS = ".github/labels.yml"
LOOKED_INTO = ("somas/core/circuit_breaker.py",)  # the sources whose classes a runbook names
_LARGEST = 1_000_000  # bytes of a file


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow file. ``inputs``: of its dispatch, and whether each is required; None when it cannot be dispatched."""

    name: str
    inputs: Mapping[str, bool] | None


@dataclass(frozen=True, slots=True)
class ClassFound:
    """A class as its source declares it."""

    parameters: tuple[str, ...]  # of its constructor
    methods: tuple[str, ...]


@dataclass(frozen=True)
class Repository:
    """The repository at one moment. ``where`` is told to people; ``text`` gives a file, None when it is not there."""

    where: str
    workflows: Mapping[str, Workflow]
    labels: frozenset[str]  # empty when none could be read
    text: Callable[[str], str | None]

    def class_of(self, module: str, name: str) -> ClassFound | None:
        """A class of a Python module; None when the repository does not show it."""
        source = self.text(f"{module.replace('.', '/')}.py") if module else None
        if source is None:
            return None
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError):
            return None
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name == name:
                functions = [part for part in node.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)]
                made = next((function for function in functions if function.name == "__init__"), None)
                arguments = [*made.args.posonlyargs, *made.args.args, *made.args.kwonlyargs] if made else []
                parameters = tuple(argument.arg for argument in arguments if argument.arg != "self")
                return ClassFound(parameters, tuple(f.name for f in functions if not f.name.startswith("_")))
        return None


def checkout_of(root: Path, configured: Path | None) -> Path | None:
    """The folder of the checkout, when there is one on this machine."""
    for folder in (configured, root):
        if folder is not None and (folder / ".github").is_dir():
            return folder
    return None


def read_checkout(folder: Path) -> Repository:
    """Raises ``Unavailable`` when the folder cannot be read."""

    def text(name: str) -> str | None:
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()) or not path.is_file() or path.stat().st_size > _LARGEST:
            return None
        return path.read_text(encoding="utf-8", errors="replace")

    try:
        found = {
            path.name: _workflow(path.name, text(f"{WORKFLOWS}/{path.name}") or "")
            for path in sorted((folder / WORKFLOWS).glob("*.y*ml"))
        }
        return Repository(f"the checkout {folder}", found, _labels(text(LABELS) or ""), text)
    except OSError as error:
        raise Unavailable(f"SOMAS: the checkout {folder} cannot be read ({error.strerror})") from None


def read_github(get: Callable[[str, Mapping[str, str]], Any], repository: str) -> Repository:
    """Through GitHub's REST API (``Services.github_get``). Raises ``Unavailable``."""
    base = f"/repos/{repository}"

    def text(name: str) -> str | None:
        found = get(f"{base}/contents/{name}", {})
        try:
            return base64.b64decode(found["content"]).decode("utf-8", "replace")
        except (TypeError, KeyError, binascii.Error):
            return None

    listed = get(f"{base}/contents/{WORKFLOWS}", {})
    if not isinstance(listed, list):
        raise Unavailable(f"GitHub: {repository} shows no {WORKFLOWS}; may the bot read its contents?")
    names = [entry["name"] for entry in listed if str(entry.get("name", "")).endswith((".yml", ".yaml"))]
    workflows = {name: _workflow(name, text(f"{WORKFLOWS}/{name}") or "") for name in names}
    labels = frozenset(label["name"] for label in _pages(get, f"{base}/labels"))
    # Read now: nothing is asked of GitHub any more when the answer is looked at.
    files = {name: text(name) for name in LOOKED_INTO}
    return Repository(f"{repository} on GitHub", workflows, labels, files.get)


def _pages(get: Callable[[str, Mapping[str, str]], Any], path: str) -> Iterator[Any]:
    for page in range(1, 11):
        found = get(path, {"per_page": "100", "page": str(page)}) or []
        yield from found
        if len(found) < 100:
            return


def _load(text: str) -> Any:
    try:
        return yaml.load(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None


def _workflow(name: str, text: str) -> Workflow:
    """YAML 1.1 reads the key ``on`` as true."""
    document = _load(text)
    triggers = document.get("on", document.get(True)) if isinstance(document, dict) else None
    if isinstance(triggers, str):
        triggers = [triggers]
    if isinstance(triggers, list):
        return Workflow(name, {} if "workflow_dispatch" in triggers else None)
    if not isinstance(triggers, dict) or "workflow_dispatch" not in triggers:
        return Workflow(name, None)
    dispatch = triggers["workflow_dispatch"]
    inputs = dispatch.get("inputs") if isinstance(dispatch, dict) else None
    declared = inputs if isinstance(inputs, dict) else {}
    return Workflow(name, {str(k): isinstance(v, dict) and v.get("required") is True for k, v in declared.items()})


def _labels(text: str) -> frozenset[str]:
    document = _load(text)
    entries = document.get("labels") if isinstance(document, dict) else document
    if not isinstance(entries, list):
        return frozenset()
    names = (entry.get("name") if isinstance(entry, dict) else entry for entry in entries)
    return frozenset(name for name in names if isinstance(name, str))
