"""What the files of a repository can hold against the bot: labels that are paths, links, branches, YAML that grows."""

from __future__ import annotations

import json
from pathlib import Path

from handlers.somas.agents import read_agent
from handlers.somas.messages_github import MOST_LIMITS
from tests.somas.local_repository import add_workflows, give_rights
from tests.transcript import ON_GITHUB_TOO, Chat

LIMITS = Path(".somas/config/limits.yml")
GROWS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def on_github(tmp_path: Path, somas: str) -> Chat:
    chat = Chat(tmp_path, somas, settings=ON_GITHUB_TOO)
    give_rights(chat.github, "admin")
    return chat


async def test_a_label_that_is_a_path_reaches_nothing_but_labels(tmp_path: Path, root: Path, somas: str) -> None:
    label = "../../../git/refs/heads/main?x=#"
    (root / LIMITS).write_text(f'escalation:\n  label: "{label}"\n')
    async with on_github(tmp_path, somas) as chat:
        add_workflows(chat.github)
        chat.github.set_label("alice", 42, label)
        await chat.types("alice", "/somas breaker reset 42 --reason 'it is over'")
        card = await chat.sees("Circuit breaker: let the automation go on")
        await chat.thread(card, until="Run done")
        assert chat.github.labels(42) == []
        chat.github.read(42)
        (removed,) = [each for each in chat.github.exchanges if each.method == "DELETE"]
        assert removed.path.startswith("/repos/acme/somas/issues/42/labels/")


async def test_a_workflow_that_is_a_path_is_refused(tmp_path: Path, root: Path, somas: str) -> None:
    async with on_github(tmp_path, somas) as chat:
        add_workflows(chat.github)
        sent = len(chat.github.exchanges)
        for typed in ("../../../../other/secret/actions/workflows/x.yml", "x.yml?per_page=1", "..", "x"):
            await chat.types("carol", f"/somas actions list --workflow {typed}")
            await chat.is_told("carol", "is no workflow. It is called by its file: somas-pipeline.yml.")
        assert not [each for each in chat.github.exchanges[sent:] if "/actions/workflows" in each.path]
        await chat.types("carol", "/somas actions list --workflow .github/workflows/somas-pipeline.yml --all")
        await chat.sees("somas-pipeline.yml")


async def test_a_project_whose_branch_is_everybodys_branch_cancels_nobodys_runs(
    tmp_path: Path, root: Path, somas: str
) -> None:
    file = root / ".somas" / "projects" / "project-42" / "state.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"branch": "main"}))
    async with on_github(tmp_path, somas) as chat:
        add_workflows(chat.github, run_seconds=1e6)
        scan = chat.github.start_run("semgrep.yml", branch="main")
        await chat.types("alice", "/somas breaker trip 42 --reason loops")
        card = await chat.sees("Circuit breaker: stop the automation of an issue")
        asked = await chat.sees("Will do: Cancel", "Webhook relay", thread=card)  # what the label itself has started
        assert "semgrep" not in asked.shown
        await chat.thread(card, until="Run done")
        assert scan.at(chat.clock.now())[0] == "in_progress"
        chat.github.read(42)


async def test_limits_that_grow_without_end_are_shown_in_a_few_rows(tmp_path: Path, root: Path, somas: str) -> None:
    many = "".join(f"  limit_{number}: {number}\n" for number in range(500))
    (root / LIMITS).write_text(GROWS + "limits:\n  all: *i\n  ? *b\n  : 1\n" + many)
    async with on_github(tmp_path, somas) as chat:
        await chat.types("carol", "/somas breaker config")
        await chat.sees(".somas/config/limits.yml cannot be read", "Opens after 5 failures in a row")
    (root / LIMITS).write_text(GROWS + "limits:\n  all: *i\n  max_retry_attempts: 3\n" + many)
    async with on_github(tmp_path, somas) as chat:
        await chat.types("carol", "/somas breaker config")
        shown = await chat.sees("limits.all", "no single value", "limits.max_retry_attempts", "read by this bot")
        assert shown.shown.count("limits.") - shown.shown.count("limits.yml") == MOST_LIMITS


def test_an_agent_that_is_a_link_out_of_the_folder_is_not_shown(tmp_path: Path, root: Path) -> None:
    agents = root / ".somas" / "agents"
    agents.mkdir(parents=True)
    secret = tmp_path / "opsbot.toml"
    secret.write_text("token: hunter2\n")
    (agents / "coder.yml").symlink_to(secret)
    (agents / "tester.yml").symlink_to("tester.yml")
    (agents / "base.yml").write_text("role: base\n")
    (agents / "planner.yml").symlink_to("base.yml")
    coder = read_agent(root, "coder")
    assert (coder.document, coder.problem) == (
        "",
        ".somas/agents/coder.yml is a link that leads out of SOMAS's folder, which is not followed",
    )
    assert "cannot be read" in read_agent(root, "tester").problem
    assert read_agent(root, "planner").document == "role: base\n"
