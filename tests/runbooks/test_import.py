"""``opsbot runbook import``: the user's two documents as they were given, and whatever else may come."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bot import cli
from bot.errors import UserError
from bot.runbooks.document import parse_document
from bot.runbooks.durations import format_duration
from bot.runbooks.expectations import parse
from bot.runbooks.importing import Imported, import_bytes, import_text, report
from bot.runbooks.importing.commands import commands
from bot.runbooks.importing.files import save
from bot.runbooks.importing.marks import action, code_span, expectation, same
from bot.runbooks.library import RunbookLibrary
from bot.runbooks.lint import check
from bot.runbooks.model import Runbook
from handlers.somas import product as somas
from handlers.supervisor import product as supervisor

ORIGINALS = Path(__file__).parent / "originals"
SUPERVISOR = (ORIGINALS / "runbook-supervisor.txt").read_bytes()
SOMAS = (ORIGINALS / "runbook-somas.md").read_bytes()
PRODUCTS = (somas, supervisor)


@pytest.fixture(scope="module")
def plain() -> Imported:
    return import_bytes(SUPERVISOR, "runbook-supervisor.txt", PRODUCTS)


@pytest.fixture(scope="module")
def outlined() -> Imported:
    return import_bytes(SOMAS, "runbook-somas.md", PRODUCTS)


def runbooks(imported: Imported) -> dict[str, Runbook]:
    return {
        runbook.id: runbook
        for document in imported.documents
        for runbook in parse_document(document.text, document.name)
    }


def guesses(imported: Imported, line: int) -> list[tuple[str, str]]:
    return [(guess.written, guess.why) for guess in imported.guesses if guess.line == line]


def test_the_originals_are_the_users_byte_for_byte() -> None:
    digests = [hashlib.sha256(data).hexdigest()[:16] for data in (SUPERVISOR, SOMAS)]
    assert digests == ["e60902a41b55bd9d", "cb420a96075a8021"]


# -- a text that lost its marks


def test_four_documents_come_out_of_one_text(plain: Imported) -> None:
    assert [(document.name, document.title, document.steps) for document in plain.documents] == [
        ("P1-001.md", "Supervisor Process Crash", 5),
        ("P1-002.md", "Child Task Crash Loop", 5),
        ("P1-003.md", "Dashboard IPC Disconnected", 4),
        ("P1-004.md", "Runtime Starvation", 4),
    ]


def test_a_document_as_it_is_written(plain: Imported) -> None:
    assert (
        plain.documents[1].text
        == """\
---
id: P1-002
title: Child Task Crash Loop
product: supervisor
danger: destructive
inputs:
  threshold: ''
---

## P1-002: Child Task Crash Loop

**Symptoms**: A child task repeatedly fails and restarts; `current_state` shows elevated restart counts.

Note: Each procedure lists expected metrics values at key steps. If the observed value differs, follow the escalation \
path or refer to the linked section.

| Step | Action | Expected Metrics | Estimated Duration |
|---|---|---|---|
| 1 | Query current state: `handle.current_state()` | `children.failed > 0` and \
`child_runtime_records[].restart_count > threshold` | 1min |
| 2 | Check child exit reason in journal | `TaskExit::Panicked` or `TaskExit::Failed` with reason string | 2min |
| 3 | If restart budget exhausted: `restart_budget.tokens == 0` | Budget exhausted; child quarantined automatically \
| 1min |
| 4 | Remove or replace the faulty child spec: `handle.remove_child()` | `CommandResult::Accepted` | 2min |
| 5 | Verify no lingering slot: check `current_state()` | `children.running == target_count` | 2min |

**Escalation**: If child root cause not identified in 10min, file a bug with the exit reason and journal snippet.

**Total estimated duration**: 8min.
"""
    )


def test_every_cell_means_what_the_original_says(plain: Imported) -> None:
    original = {
        tuple(cell.strip() for cell in line.strip("|").split("|"))
        for line in SUPERVISOR.decode().splitlines()
        if re.match(r"\| \d", line)
    }
    steps = [step for runbook in runbooks(plain).values() for step in runbook.steps]
    assert len(steps) == len(original) == 18
    for step in steps:
        assert step.budget is not None
        cells = (
            step.number,
            step.text.replace("`", ""),
            step.expectation.replace("`", ""),
            format_duration(step.budget),
        )
        assert cells in original
        assert parse(step.expectation, supervisor.phrases) == parse(cells[2], supervisor.phrases) or "`" in str(
            parse(step.expectation)
        )


def test_clauses_and_totals_are_kept_as_stated(plain: Imported) -> None:
    found = runbooks(plain)
    assert found["P1-001"].escalation == "If restart fails twice, escalate to L2 engineering with core dump and logs."
    assert (found["P1-001"].total, found["P1-001"].sla) == (timedelta(minutes=12), timedelta(minutes=15))
    assert '`field_path="dashboard.path"`' in found["P1-003"].escalation
    assert [found[id_].total for id_ in ("P1-002", "P1-003", "P1-004")] == [timedelta(minutes=n) for n in (8, 7, 8)]


def test_each_guess_says_where_what_and_why(plain: Imported) -> None:
    assert guesses(plain, 2) == [
        ("Language: 中文", "it was read in a wrong character set, and bytes of it were lost"),
        ("", "left out: the text itself shows in which language it is"),
    ]
    assert guesses(plain, 4)[0] == ("## P1-001: Supervisor Process Crash", "the mark of the heading was lost")
    assert ("Restart relay: `kill -TERM <relay_pid>` and wait for auto-restart", "code was marked as code") in guesses(
        plain, 30
    )
    assert ("**Escalation**:\n**Total estimated duration**:", "the marks of the label were lost") in guesses(plain, 13)
    printed = report(plain, "runbook-supervisor.txt")
    assert (
        "runbook-supervisor.txt:8: code was marked as code\n"
        "    - Check process status: pgrep -x supervisor\n"
        "    + Check process status: `pgrep -x supervisor`\n"
    ) in printed
    assert printed.endswith(f"{len(plain.guesses)} guesses; look at each before you use the documents.")


def test_what_is_imported_shows_its_lies_in_the_check(plain: Imported, tmp_path: Path) -> None:
    save(plain, tmp_path)
    products = [replace(product, runbooks=None) for product in PRODUCTS]
    said = "\n".join(str(problem) for problem in check(RunbookLibrary(products, [tmp_path])).problems)
    assert "the expectation can never fail, so it checks nothing" in said  # step 1 of P1-001
    assert "restart_budget.tokens" not in said or "cannot be known" in said


def test_importing_what_was_written_changes_nothing(plain: Imported) -> None:
    for document in plain.documents:
        body = document.text.split("---\n", 2)[2]
        (again,) = import_text(body, document.name, PRODUCTS).documents
        assert (
            parse_document(again.text, "x.md")[0].steps[0].text
            == parse_document(document.text, "x.md")[0].steps[0].text
        )
        assert [step.expectation for step in parse_document(again.text, "x.md")[0].steps] == [
            step.expectation for step in parse_document(document.text, "x.md")[0].steps
        ]


# -- Markdown whose procedures are lists and commands


def test_each_section_with_steps_is_a_document(outlined: Imported) -> None:
    assert [document.id for document in outlined.documents] == [
        "identifying-failed-pipelines", "automatic-recovery", "restart-from-specific-stage",
        "restart-from-last-checkpoint", "full-pipeline-restart", "post-restart-verification",
        "checking-circuit-breaker-status", "force-close-reset", "force-open-prevent-calls",
        "monitoring-circuit-breaker-events", "pipeline-stuck-at-stage", "agent-not-responding",
        "state-file-corruption", "quality-gate-failures", "dead-letter-queue-growing", "diagnostic-commands",
        "transition-log-analysis", "dead-letter-monitoring", "github-actions-monitoring", "stopping-all-pipelines",
        "recover-from-backup", "reconstruct-state-from-transitions", "rollback-code-changes",
        "rollback-configuration", "post-incident", "common-commands",
    ]  # fmt: skip
    left_out = [guess.said for guess in outlined.guesses if guess.why.startswith("left out")]
    assert left_out == [
        "SOMAS Operations Runbook", "Table of Contents", "Understanding Circuit Breakers",
        "Circuit Breaker Configuration", "Key Metrics to Watch", "Setting Up Alerts", "Escalation Path",
        "State File Locations", "See Also",
    ]  # fmt: skip


def test_items_and_commands_become_rows(outlined: Imported) -> None:
    steps = runbooks(outlined)["restart-from-specific-stage"].steps
    assert [step.text for step in steps] == [
        "Update project state to restart from desired stage: View current state: "
        "`cat .somas/projects/<project-id>/state.json | jq '.'`",
        "Update project state to restart from desired stage: Identify the stage to restart from. "
        "Edit state.json to set current_stage and status",
        "Trigger pipeline via GitHub Actions: `gh workflow run somas-pipeline.yml -f project_id=<project-id> "
        "-f start_stage=<stage-name>`",
    ]
    assert [step.expectation for step in steps] == ["", "", ""]


def test_every_command_of_the_original_is_kept(outlined: Imported) -> None:
    written = " ".join(" ".join(document.text.split()) for document in outlined.documents).replace("\\|", "|")
    fences = [token for token in MarkdownIt("commonmark").parse(SOMAS.decode()) if token.type == "fence"]
    for fence in fences:
        for line in fence.content.splitlines():
            bare = line.strip().removesuffix("\\").strip()
            if bare and not bare.startswith("#") and fence.info in ("bash", "python"):
                assert " ".join(bare.split()) in written


def test_lines_that_do_not_fit_into_a_cell_stand_below_the_table(outlined: Imported) -> None:
    document = next(document for document in outlined.documents if document.id == "force-open-prevent-calls")
    assert "| 1 | Do this: the lines of step 1 below the table | | 5min |" in document.text
    assert document.text.endswith(
        '**Step 1**\n\n```python\nbreaker = CircuitBreaker(service_name="ai_api")\n'
        "breaker.trip()  # Force open state\n```\n"
    )


def test_what_the_text_never_says_is_guessed_and_told(outlined: Imported) -> None:
    found = runbooks(outlined)["stopping-all-pipelines"]
    assert found.symptoms == "When you need to halt all SOMAS activity."
    assert found.escalation == "If a step fails or takes too long, call @scotlaclair."
    assert found.total == sum((step.budget for step in found.steps if step.budget), timedelta())
    line = next(n for n, text in enumerate(SOMAS.decode().splitlines(), 1) if text == "### Stopping All Pipelines")
    whys = {why for _, why in guesses(outlined, line)}
    assert "no total is stated; the guessed durations were added" in whys
    assert "the section names nobody; the contact is named elsewhere in the document" in whys
    budgets = [guess for guess in outlined.guesses if guess.why.startswith("no duration is stated")]
    assert len(budgets) == sum(document.steps for document in outlined.documents)


def test_an_expectation_in_the_prose_is_taken() -> None:
    text = '## Check it\n\n1. Look at the lamp. Expected: `lamp.colour == "green"`\n2. Go home\n'
    (document,) = import_text(text, "lamp.md").documents
    first, second = parse_document(document.text, "lamp.md")[0].steps
    assert (first.text, first.expectation) == ("Look at the lamp", '`lamp.colour == "green"`')
    assert second.expectation == ""


def test_shell_blocks_are_taken_apart() -> None:
    block = """\
# First
# of two lines
ls -l

gh run \\
  list
echo a && \\
echo b
# Only a remark

if true; then
  echo c
fi
"""
    assert [(c.comment, c.text if not c.is_script else c.lines) for c in commands(block)] == [
        ("First. of two lines", "ls -l"),
        ("", "gh run list"),
        ("", "echo a && echo b"),
        ("Only a remark", ""),
        ("", ["if true; then", "  echo c", "fi"]),
    ]


# -- damage


def test_misread_characters_are_turned_back() -> None:
    misread = "### Café\n\n1. Öffne die Tür – 中文\n".encode().decode("latin-1")
    (document,) = import_text(misread, "cafe.md").documents
    assert document.title == "Café"
    assert "Öffne die Tür – 中文" in document.text


def test_right_characters_are_left_alone() -> None:
    text = "### Ärger\n\n1. Öffne Ελληνικά – «Русский» 中文 naïve\n"
    imported = import_text(text, "x.md")
    assert "Öffne Ελληνικά – «Русский» 中文 naïve" in imported.documents[0].text
    assert not [guess for guess in imported.guesses if "character set" in guess.why]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_file_of_another_character_set_is_read(encoding: str) -> None:
    data = "### Prüfung\n\n1. Größe messen\n".encode(encoding)
    (document,) = import_bytes(data, "x.md").documents
    assert document.title == "Prüfung"


def test_a_pipe_in_a_command_and_a_lost_rule_are_mended() -> None:
    text = "X-1: Pipes\nStep | Action | Expected | Duration\n".replace("Step", "| Step").replace(
        "Duration\n", "Duration |\n"
    )
    text += "| 1 | Count: `ls | wc -l` | | 1min |\n| | Then look | | soon |\nEscalation: Call L2.\n"
    imported = import_text(text, "x.txt")
    (runbook,) = runbooks(imported).values()
    assert [(s.number, s.text, s.budget) for s in runbook.steps] == [
        ("1", "Count: `ls | wc -l`", timedelta(minutes=1)),
        ("2", "Then look", None),
    ]
    whys = [guess.why for guess in imported.guesses]
    assert "the row has too many cells: a | was taken for text" in whys
    assert "the line below the head of the table was lost" in whys
    assert any(why.startswith("no duration was written, nothing escalates") for why in whys)


def test_a_text_without_procedures_says_so() -> None:
    imported = import_text("Dear diary, nothing happened.", "diary.txt")
    assert imported.documents == ()
    assert "there is no procedure in it" in report(imported, "diary.txt")


PIECES: Sequence[str] = (
    "P1-001: T", "## A-1: b", "### Steps", "# Escalation", "Symptoms: s", "**Symptoms**: *a",
    "Escalation: e. Total estimated duration: 5min (SLA x)",
    "| Step | Action | Expected Metrics | Estimated Duration |", "|---|---|---|---|",
    "| 1 | a: ls -l | x == 1 | 1min |", "| 1 | `a | b` | `c | d` | soon |", "| | handle.remove_child() | a > b | |",
    "| 2 | If x, handle.go(child) | | 1min | 9 |", "| 3 |", "1. do", "   ```bash", "```", "ls \\", "> 1. q", "- b",
    "Note: n", "Language: Ã", "<!--", "---", "===", "[a]: /b", "`", "\\", "\x00", "\ud800", "\u202e", "中", "\u2028",
    "",
)  # fmt: skip


@settings(deadline=None)  # the machine may be busy
@given(st.text() | st.lists(st.sampled_from(PIECES) | st.text(max_size=10), max_size=16).map("\n".join))
@example("| Step | Action | Duration |\n| 1 | <b>x</b> | 1min |")
@example("P1-001: T\n| Step | Action | Expected | Duration |\n| 1 | `a(` | \\ | 1min |")
@example("> " * 300 + "1. a")
@example("1. a\n\n   ```\n" + "if x\n" * 5)
def test_no_text_makes_it_raise_and_what_is_written_reads(text: str) -> None:
    imported = import_text(text, "any.txt", PRODUCTS)
    assert report(imported, "any.txt")
    names = [document.name.lower() for document in imported.documents]
    assert len(names) == len(set(names))
    for document in imported.documents:
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*\.md", document.name)
        document.text.encode()
        (runbook,) = parse_document(document.text, document.name)
        assert len(runbook.steps) == document.steps


@settings(deadline=None)  # the machine may be busy
@given(st.binary())
def test_no_bytes_make_it_raise(data: bytes) -> None:
    import_bytes(data, "any.bin")


ATOMS = st.sampled_from(
    ["a == 1", "x.y[].z > t", "`a == 1`", "and", "or", ";", "within 30s", "A::B", '"s_t"', "(not running)",
     "exit code == 0", "Log ends with A::B", "f_g()", "/tmp/", "<pid>", "*", "`", '"', "prose here"]
)  # fmt: skip


@settings(deadline=None)  # the machine may be busy
@given(st.lists(ATOMS, max_size=8).map(" ".join))
def test_marks_never_change_what_is_expected(text: str) -> None:
    assert same(parse(expectation(text)), parse(text))


@settings(deadline=None)  # the machine may be busy
@given(st.text(min_size=1).filter(str.strip))
def test_code_is_shown_as_it_stands(code: str) -> None:
    code = " ".join(code.split())
    (inline,) = [t for t in MarkdownIt("commonmark").parse(f"x {code_span(code)}") if t.type == "inline"]
    shown = [child.content for child in inline.children or [] if child.type == "code_inline"]
    assert [text.replace("\ufffd", "\0") for text in shown] == [code.replace("\ufffd", "\0")]


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("pgrep -x relay", "`pgrep -x relay`"),
        ("Check it: ls -la /tmp/a", "Check it: `ls -la /tmp/a`"),
        ("Stop: kill -TERM <pid> and wait for it", "Stop: `kill -TERM <pid>` and wait for it"),
        ("Read: handle.health().status", "Read: `handle.health().status`"),
        ("find the cause", "find the cause"),
        ("find . -name core", "`find . -name core`"),
        ("Top: the busiest", "Top: the busiest"),
        ("Ask <somebody> about a*b", "Ask `<somebody>` about a\\*b"),
        ("Has `marks` already: ls -l", "Has `marks` already: ls -l"),
    ],
)
def test_commands_in_prose(said: str, written: str) -> None:
    assert action(said) == written


# -- files


def test_nothing_is_overwritten_unasked(plain: Imported, tmp_path: Path) -> None:
    mine = tmp_path / "P1-003.md"
    mine.write_text("mine")
    with pytest.raises(UserError, match=r"Nothing was written: .*P1-003\.md is there already\. Give another folder"):
        save(plain, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["P1-003.md"]
    assert mine.read_text() == "mine"
    assert len(save(plain, tmp_path, force=True)) == 4
    assert mine.read_text().startswith("---\nid: P1-003")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "mine"
    original = str(ORIGINALS / "runbook-supervisor.txt")

    def run(*words: str) -> int:
        with pytest.raises(SystemExit) as ended:
            cli.app(["runbook", "import", *words])
        return int(ended.value.code or 0)

    assert run(original, "--out", str(out)) == 0
    said = capsys.readouterr().out
    assert f"wrote {out / 'P1-001.md'}: Supervisor Process Crash, 5 steps" in said
    assert "P1-001 is a runbook of the bot already" in said
    assert said.endswith(f"Next: opsbot runbook check {out}\n")
    assert run(original, "--out", str(out)) == 2
    assert "are there already" in capsys.readouterr().err
    assert run(original, "--out", str(out), "--force") == 0
    assert run(str(tmp_path / "none.txt")) == 2
    assert "cannot be read: No such file or directory" in capsys.readouterr().err
