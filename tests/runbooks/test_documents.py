"""The runbooks that come with the products: they read, check and render, and what they tell people to type works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from bot.demo.somas_projects import generate
from bot.handler import Observation, Provenance, Target
from bot.runbooks.document import code_spans
from bot.runbooks.expectations import always_true, evaluate, names, never_true, parse, questions
from bot.runbooks.library import RunbookLibrary
from bot.runbooks.lint import check
from bot.runbooks.model import Runbook, Step
from bot.runbooks.pages import handler_page, handler_pages
from bot.runs.values import fill_text
from handlers.somas import product as somas
from handlers.supervisor import product as supervisor
from tests.runbooks.products import KETTLE, kettle
from tests.somas.conftest import NOW, connected

ROOT = Path(__file__).parents[2]
PRODUCTS = (somas, supervisor)
LIBRARY = RunbookLibrary(PRODUCTS)
FILES = sorted(file for product in PRODUCTS if product.runbooks for file in product.runbooks.glob("*.md"))
RUNBOOKS = sorted(LIBRARY.runbooks.values(), key=lambda runbook: runbook.id)
LOCAL = ("jq ", "tail ", "head ", "sed ", "ls ", "find ", "cd ", "grep ", "cat ", "cp ", "python3 ")


def by_id(runbook: Runbook) -> str:
    return runbook.id


def test_every_document_reads_and_checks_without_an_error() -> None:
    report = check(LIBRARY)
    assert [str(problem) for problem in report.errors] == []
    assert len(report.runbooks) == len(FILES)


def test_the_four_procedures_of_the_supervisor_and_those_of_somas_are_there() -> None:
    assert {"P1-001", "P1-002", "P1-003", "P1-004"} == set(LIBRARY.for_product("supervisor"))
    assert set(LIBRARY.for_product("somas")) >= {
        "identify-failed", "recovery-check", "restart", "checkpoint-restart", "full-restart", "verify-restart",
        "breaker-status", "breaker-trip", "breaker-reset", "stuck-stage", "agent-silent", "state-corrupt",
        "quality-gate", "dead-letters", "health-check", "monitor-project", "monitor-log", "dead-letter-watch",
        "monitor-actions", "alerts-setup", "stop-all", "recover-from-backup", "reconstruct-state", "rollback-code",
        "rollback-config", "escalation-path", "post-incident",
    }  # fmt: skip


@pytest.mark.parametrize("runbook", RUNBOOKS, ids=by_id)
def test_a_runbook_says_when_what_whom_and_how_long(runbook: Runbook) -> None:
    assert runbook.symptoms
    assert runbook.escalation
    assert runbook.danger
    assert all(step.budget for step in runbook.steps)
    assert sum((step.budget for step in runbook.steps if step.budget), timedelta()) == runbook.total
    assert [step.number for step in runbook.steps] == [str(n) for n in range(1, len(runbook.steps) + 1)]


@pytest.mark.parametrize("runbook", RUNBOOKS, ids=by_id)
def test_what_a_step_expects_can_come_out_either_way(runbook: Runbook) -> None:
    phrases = LIBRARY.products[runbook.product].phrases
    for step in runbook.steps:
        tree = parse(step.expectation, phrases)
        assert not always_true(tree), step.expectation
        assert not never_true(tree), step.expectation


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_github_renders_it(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    body = text.split("\n---\n", 1)[1]
    tokens = MarkdownIt("commonmark").enable("table").parse(body)
    assert [token.content for token in tokens if token.type == "html_block"] == []
    for token in tokens:
        children = token.children or []
        assert [child.content for child in children if child.type == "html_inline"] == []  # <unit> outside of code
        assert all(child.content.count("`") == 0 for child in children if child.type == "text")  # an open code mark
    width = 0
    for line in body.splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) - 1 if line.startswith("|") else 0
        assert not (width and cells) or cells == width, line  # Markdown drops the cells too many
        width = cells


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_text_trips_the_circuit_breaker_of_somas(file: Path) -> None:
    """SOMAS's workflows count comments with these words, and the bot's comments show the rows."""
    for line in file.read_text(encoding="utf-8").splitlines():
        assert "@copilot somas-" not in line
        assert not ("Stage" in line and ("Started" in line or "Complete" in line))


@pytest.mark.parametrize(
    "lie",
    [
        "| jq 'length'", ".[-5:]", 'echo "[]"', "--workflow=somas-agent.yml", "run somas-resume.yml", "checkpoint_id=",
        "start_stage=", "-f issue_number={issue} -f start", ".to_stage ==", "--label somas:failed",
        "/tmp/supervisor.sock", "CircuitBreaker(", "supervisor_quickstart", "CommandResult::Accepted",
        "mv .somas/projects/",
    ],
)  # fmt: skip
def test_no_step_repeats_what_fails_in_reality(lie: str) -> None:
    cells = [f"{step.text} {step.expectation}" for runbook in RUNBOOKS for step in runbook.steps]
    assert not [cell for cell in cells if lie in cell]


# -- what people are told to type, typed


VALUES: Mapping[str, str] = {
    "target": "project-103",
    "project": "project-103",
    "stage": "verify",
    "backup": "state.json.backup",
    "agent": "coder",
}


def commands(step: Step) -> list[str]:
    return [fill_text(code, VALUES) for code in code_spans(step.text) if code.startswith(LOCAL) and "<" not in code]


LOCAL_COMMANDS = [
    pytest.param(command, id=f"{runbook.id}.{step.number}")
    for runbook in RUNBOOKS
    if runbook.product == "somas"
    for step in runbook.steps
    for command in commands(step)
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for tool in ("bash", "jq", "flock"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    generate(tmp_path, NOW)
    (tmp_path / ".somas" / "agents").mkdir(exist_ok=True)
    (tmp_path / ".somas" / "agents" / "coder.yml").write_text("name: coder\nprovider: openai\n")
    for damaged in ("project-81", "project-96"):  # a cut file, a lone surrogate: not what is tried here
        shutil.rmtree(tmp_path / ".somas" / "projects" / damaged)
    return tmp_path


def typed(root: Path, command: str) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=root, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, ""), f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_there_is_something_to_type() -> None:
    assert len(LOCAL_COMMANDS) > 5


@pytest.mark.parametrize("command", LOCAL_COMMANDS)
def test_a_command_of_a_document_works_on_the_files_as_they_are(root: Path, command: str) -> None:
    typed(root, command)


def only(runbook: str, number: int) -> list[str]:
    return commands(LIBRARY.get(runbook).steps[number - 1])


def test_the_list_of_projects_leaves_out_archives(root: Path) -> None:
    (command,) = only("identify-failed", 1)
    lines = sorted(line.split("\t")[0] for line in typed(root, command).splitlines())
    assert len(lines) == len(set(lines)) > 10
    assert "project-103" in lines


# -- what the bot compares, on projects of every kind


@pytest.mark.parametrize(
    ("runbook", "number", "project", "inputs", "outcome"),
    [
        ("recovery-check", 1, "project-23", {}, "met"),
        ("recovery-check", 1, "project-42", {}, "not met"),  # retried three times already
        ("checkpoint-restart", 1, "project-12", {"stage": "plan"}, "met"),
        ("checkpoint-restart", 1, "project-12", {"stage": "verify"}, "not met"),  # not the stage behind the checkpoint
        ("checkpoint-restart", 1, "project-7", {"stage": "intake"}, "not met"),  # no checkpoint
        ("breaker-status", 1, "project-42", {}, "met"),
        ("stuck-stage", 1, "project-19", {"stage": "verify"}, "met"),
        ("stuck-stage", 1, "project-12", {"stage": "plan"}, "not met"),
        ("stuck-stage", 1, "project-42", {"stage": "verify"}, "cannot tell"),  # it does not run
        ("state-corrupt", 1, "project-81", {}, "met"),
        ("state-corrupt", 1, "project-42", {}, "not met"),
        ("state-corrupt", 2, "project-81", {}, "met"),
        ("quality-gate", 1, "project-42", {}, "met"),
        ("dead-letters", 1, "project-57", {}, "met"),
        ("dead-letters", 1, "project-42", {}, "not met"),
        ("health-check", 4, "project-57", {}, "not met"),
        ("monitor-project", 1, "project-42", {}, "not met"),
        ("monitor-project", 2, "project-42", {}, "not met"),
        ("monitor-project", 3, "project-42", {}, "met"),
        ("monitor-project", 4, "project-70", {}, "not met"),
        ("monitor-log", 1, "project-88", {"stage": "plan"}, "cannot tell"),  # there is no log
        ("monitor-log", 5, "project-42", {"stage": "plan"}, "not met"),
        ("reconstruct-state", 1, "project-81", {}, "met"),
        ("reconstruct-state", 3, "project-81", {}, "not met"),
        ("repair-files", 1, "project-124", {}, "met"),
        ("repair-files", 1, "project-42", {}, "not met"),
        ("post-incident", 1, "project-42", {"issue": "42"}, "met"),
    ],
)
async def test_what_somas_shows_is_compared(
    tmp_path: Path, runbook: str, number: int, project: str, inputs: dict[str, str], outcome: str
) -> None:
    generate(tmp_path, NOW)
    handler = connected(tmp_path)
    book = LIBRARY.get(runbook)
    given = {**book.inputs, **inputs}
    tree = parse(book.steps[number - 1].expectation, somas.phrases)
    target = Target(product="somas", kind="project", name=project)
    seen = {fact.name: fact for fact in await handler.observe(names(tree), target, given)}
    seen |= {
        name: Observation(name=name, value=int(value) if value.isdigit() else value, provenance=Provenance.INPUT)
        for name, value in given.items()
        if name in names(tree)
    }
    assert evaluate(tree, seen).outcome == outcome


async def test_a_project_that_waits_for_nobody_skips_the_measurement(tmp_path: Path) -> None:
    generate(tmp_path, NOW)
    tree = parse(LIBRARY.get("monitor-project").steps[3].condition or "", somas.phrases)
    for project, outcome in (("project-70", "met"), ("project-42", "not met")):
        target = Target(product="somas", kind="project", name=project)
        facts = await connected(tmp_path).observe(names(tree), target, {})
        assert evaluate(tree, {fact.name: fact for fact in facts}).outcome == outcome


# -- the page of a product


def test_the_pages_in_the_repository_are_what_the_products_declare() -> None:
    for path, content in handler_pages(ROOT, PRODUCTS).items():
        assert path.read_text(encoding="utf-8") == content, f"{path.name} is stale: opsbot commands --write"


def test_a_page_tells_actions_facts_phrases_and_runbooks(tmp_path: Path) -> None:
    (tmp_path / "k.md").write_text(
        "---\ndanger: change\ntarget: kettle\n---\n## K-1: No | tea\n\n"
        "| Step | Action | Expected | Duration |\n|-|-|-|-|\n| 1 | `look()` | | 1min |\n| 2 | Pour | | 2min |\n\n"
        "**Total estimated duration**: 3min.\n"
    )
    product = kettle(tmp_path)
    runbooks = tuple(RunbookLibrary([product]).for_product("kettle").values())
    page = handler_page(product, runbooks, tmp_path)
    for row in (
        "| `kettle.look()` | read | Look at it. Also `look()`. |",
        "| `kettle.descale()` | **destructive** | Fill it with acid. |",
        "| `state` | `off`, `heating`, `boiling` | exact | What it does. |",
        "| `colour` | text | unavailable | Nothing measures it. |",
        '| Water is boiling | `state == "boiling"` |',
        "| [K-1](../../k.md) | No \\| tea | kettle | high | change | 2, 1 by the bot | 3min |",
    ):
        assert row in page
    tables = MarkdownIt("commonmark").enable("table").render(page)
    assert tables.count("<table>") == 4


def test_a_product_without_phrases_and_runbooks_has_a_page_too() -> None:
    page = handler_page(replace(KETTLE, phrases={}), ())
    assert "## Phrases" not in page
    assert "## Runbooks" not in page


# -- what the documentation says


def documented(heading: str) -> list[str]:
    """The first cell of each row of the table with this head in docs/runbooks.md."""
    text = (ROOT / "docs" / "runbooks.md").read_text(encoding="utf-8")
    rows = text.split(f"| Write | {heading} |\n|---|---|\n")[1].split("\n\n")[0].splitlines()
    return [code_spans(row)[0] for row in rows]


@pytest.mark.parametrize("example", [*documented("It holds when"), *documented("What happens")])
def test_the_examples_of_the_documentation_are_expectations(example: str) -> None:
    tree = parse(example, supervisor.phrases)
    assert not questions(tree), questions(tree)
    assert parse(str(tree), supervisor.phrases) == tree
    assert evaluate(tree, {}).outcome == "cannot tell"  # nothing was observed
