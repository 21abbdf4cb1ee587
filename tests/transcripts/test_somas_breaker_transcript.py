"""``/somas breaker``, ``/somas actions list|show|watch`` and ``/somas agent``, as people see them."""

from __future__ import annotations

from pathlib import Path

from bot.clock import ManualClock
from bot.demo.github import Job
from bot.demo.somas_projects import ProjectWriter
from tests.somas.local_repository import ALWAYS_RED, add_workflows, give_rights
from tests.surfaces.github_openapi import complaints
from tests.transcript import NOT_MIRRORED, Chat, run_id

LABEL = "somas:circuit-breaker"


def chat_on_github(tmp_path: Path, somas: str, **rights: str) -> Chat:
    chat = Chat(tmp_path, somas, settings=NOT_MIRRORED)
    give_rights(chat.github, **rights)
    return chat


def judged(chat: Chat) -> list[str]:
    return [problem for exchange in chat.github.exchanges for problem in complaints(exchange)]


async def test_the_breaker_of_a_project_is_tripped_and_reset(tmp_path: Path, root: Path, somas: str) -> None:
    async with chat_on_github(tmp_path, somas) as chat:
        add_workflows(chat.github, run_seconds=1e6)
        mine = chat.github.start_run("somas-orchestrator.yml", branch="somas/project-42")
        other = chat.github.start_run("somas-orchestrator.yml", branch="somas/project-19")
        await chat.types("carol", "/somas breaker status project-42")
        shown = await chat.sees("project-42: the label somas:circuit-breaker is not on issue #42", "0 of 20")
        assert "It stops nothing that is queued or running" in shown.shown
        await chat.types("alice", "/somas breaker trip project-42 --reason 'it comments (again) and again'")
        card = await chat.sees("Circuit breaker: stop the automation of an issue")
        await chat.sees("Will do: Set the label somas:circuit-breaker on issue #42", "four workflows", thread=card)
        await chat.sees("✓ Step 1", "breaker.label = true", "Outcome: met", thread=card)
        await chat.sees("✓ Step 2", "runs.of_project = 0", thread=card)
        await chat.thread(card, until="Run done")
        now = chat.clock.now()
        assert (mine.at(now)[0], other.at(now)[0]) == ("completed", "in_progress")
        assert chat.github.labels(42) == [LABEL]
        said = chat.github.read(42)[-1]
        assert "<!-- SOMAS_CIRCUIT_BREAKER:manual_trip -->" in said and "it comments (again) and again" in said
        # What the workflows do on this very event: one run of each that listens to labels.
        assert {run.event for run in chat.github.runs("somas-pipeline.yml")} == {"issues"}

        await chat.types("alice", "/somas restart project-42")
        await chat.is_told("alice", "its issue has the label somas:circuit-breaker", "/somas breaker reset project-42")
        await chat.types("carol", "/somas breaker status")
        await chat.sees("1 open issue with the label somas:circuit-breaker", "#42: Webhook relay", "GitHub", "closed")
        await chat.types("carol", "/somas breaker events project-42")
        await chat.sees("label set", "opsbot", "marker: manual_trip", "was set by alice: it comments (again) and again")
        await chat.types("carol", "/somas recovery 42")
        await chat.sees("Circuit breaker: somas:circuit-breaker is on the issue", "In the way: The circuit breaker of")

        await chat.types("alice", "/somas breaker reset project-42 --reason 'the prompt was mended'")
        back = await chat.sees("Circuit breaker: let the automation go on")
        await chat.sees("✓ Step 2", "Taking it away starts nothing", thread=back)
        await chat.thread(back, until="Run done")
        assert chat.github.labels(42) == []
        chat.github.read(42)
        await chat.types("alice", "/somas breaker reset project-42")  # no run that has to be ended by somebody
        await chat.is_told("alice", "The circuit breaker of project-42 is not set: its issue does not have the label")
        assert judged(chat) == []


async def test_a_reset_tells_that_the_next_start_trips_it_again(tmp_path: Path, root: Path, somas: str) -> None:
    async with chat_on_github(tmp_path, somas) as chat:
        for _ in range(20):
            chat.github.comment("alice", 42, "@copilot somas-coder please go on")
        chat.github.set_label("alice", 42, LABEL)
        await chat.types("alice", "/somas breaker reset 42 --dry-run")
        await chat.is_told("alice", "MIND: the next start trips it again at once: 20 agent requests in the oldest 30")


async def test_the_bots_own_breakers_and_the_configuration(tmp_path: Path, root: Path, somas: str) -> None:
    async with chat_on_github(tmp_path, somas) as chat:
        await chat.types("carol", "/somas breaker config")
        await chat.sees(
            "error_handling.circuit_breaker is absent from .somas/config.yml", "Opens after 5 failures in a row"
        )
        await chat.types("alice", "/somas breaker trip --service ai_api")
        await chat.is_told("alice", "The bot has no breaker for 'ai_api'. Its own: GitHub, Slack")
        await chat.types("alice", "/somas breaker trip --service github --dry-run")
        await chat.is_told("alice", "Nothing was done. It would open the bot's breaker for GitHub for 60 s.")
        assert chat.bot and chat.bot.breakers.of("GitHub").state == "closed"
        await chat.types("alice", "/somas breaker trip --service github --reason maintenance")
        await chat.sees("The bot's breaker for GitHub is open: nothing is sent there for 60 s")
        await chat.types("carol", "/somas actions list")
        await chat.is_told("carol", "the bot's breaker for GitHub is open", "maintenance")
        await chat.types("carol", "/somas breaker status")
        await chat.sees("GitHub", "open, tries again in")
        await chat.types("alice", "/somas breaker reset --service GitHub --dry-run")
        await chat.is_told("alice", "Nothing was done. It would close the bot's breaker for GitHub.")
        assert chat.bot and chat.bot.breakers.of("GitHub").state == "open"
        await chat.types("alice", "/somas breaker reset --service GitHub")
        await chat.sees("The bot's breaker for GitHub is closed")
        await chat.types("carol", "/somas breaker events")
        await chat.sees("GitHub: open", "GitHub: closed", "opened by alice: maintenance")
        await chat.types("alice", "/somas breaker trip")
        await chat.is_told("alice", "Say which: /somas breaker trip <project>, or --service NAME")


async def test_github_that_fails_opens_its_breaker_and_a_run_loses_nothing(
    tmp_path: Path, root: Path, somas: str
) -> None:
    """GitHub answers 502 to everything for a while: the breaker opens, the run waits, then goes on by itself."""
    async with chat_on_github(tmp_path, somas) as chat:
        add_workflows(chat.github)
        assert chat.bot is not None
        chat.github.fail(502, times=40)
        await chat.types("alice", "/runs start restart project-42")
        card = await chat.sees("Restart a project at a stage: project-42")
        await chat.until(lambda: chat.bot and chat.bot.breakers.of("GitHub").state == "open", "an open breaker")
        chat.github.heal()
        await chat.shows(card, "the bot's breaker for GitHub is open")
        await chat.clock.advance(61)
        await chat.sees("✓ Step 3", "GitHub took the dispatch", thread=card)
        assert len(chat.github.runs("somas-pipeline.yml")) == 1
        await chat.says("alice", "@opsbot cancel", thread=card)
        await chat.thread(card, until="Run cancelled")
        chat.read()


# -- actions


async def test_runs_are_listed_shown_and_watched(tmp_path: Path, root: Path, somas: str) -> None:
    async with chat_on_github(tmp_path, somas) as chat:
        failing = Job("stage-6-verify", ("Set up job", "Run tests", "Upload"), "Run tests")
        add_workflows(chat.github, jobs=(failing, ALWAYS_RED))
        await chat.types("carol", "/somas actions list")
        await chat.sees("No workflow run is under way in acme/somas")
        run = chat.github.start_run("somas-pipeline.yml", title="Webhook relay")
        await chat.types("carol", "/somas actions list")
        listed = await chat.sees("1 workflow run is under way in acme/somas", str(run.id), "somas-pipeline.yml")
        await chat.presses("carol", f"Show {run.id}", listed)
        one = await chat.sees(f"Run {run.id} of somas-pipeline.yml is", "Webhook relay")
        await chat.presses("carol", "Watch it", one)
        card = await chat.sees("Watch a run on GitHub Actions")
        await chat.sees("✓ Step 1", 'workflow_run.status = "completed"', thread=card)
        await chat.sees("Step 2 needs a decision", 'job stage-6-verify failed at step "Run tests"', thread=card)
        await chat.sees("needs you.")
        await chat.types("alice", f"/runs ack {run_id(card)}")
        await chat.says("alice", "@opsbot fail", thread=card)
        await chat.thread(card, until="Run ended as failed")
        await chat.types("carol", "/somas actions list --all")
        await chat.sees("ended: failure")
        await chat.types("carol", "/somas actions show 99")
        await chat.is_told("carol", "acme/somas has no workflow run 99")
        await chat.types("carol", "/somas actions show latest")
        await chat.is_told("carol", "'latest' is no workflow run")
        chat.read()
        assert judged(chat) == []


async def test_without_github_every_command_says_what_to_configure(tmp_path: Path, root: Path, somas: str) -> None:
    async with Chat(tmp_path, somas) as chat:
        for command in (
            "actions list",
            "actions show 1",
            "stop-all",
            "resume-all",
            "breaker trip 42",
            "rollback config",
        ):
            await chat.types("alice", f"/somas {command}")
            await chat.is_told("alice", "GitHub is not configured: add the section [github]")


async def test_without_github_the_files_tell_what_they_know_of_a_breaker(
    tmp_path: Path, root: Path, somas: str
) -> None:
    with ProjectWriter.held(root, "project-42", ManualClock().now()) as pipeline:
        pipeline.update_state(circuit_breakers={"ai_api": {"state": "open", "reason": "429"}})
    async with Chat(tmp_path, somas) as chat:
        await chat.types("carol", "/somas breaker status 42")
        await chat.sees(
            "project-42: whether the label somas:circuit-breaker is set cannot be told: GitHub is not configured",
            "Open in state.json: ai_api",
            "Taking it away starts nothing.",
        )
        await chat.types("carol", "/somas breaker events 42")
        await chat.sees("circuit_breakers in state.json changed", "Its label and its markers cannot be told: GitHub is")
        await chat.types("carol", "/somas recovery 42")
        await chat.sees("Circuit breaker: not known: GitHub is not configured", "open in state.json: ai_api")


# -- what status and failed add


async def test_status_and_failed_tell_what_github_knows(tmp_path: Path, root: Path, somas: str) -> None:
    async with chat_on_github(tmp_path, somas) as chat:
        add_workflows(chat.github)
        chat.github.set_label("alice", 42, "quality:blocked")
        run = chat.github.start_run("somas-orchestrator.yml", branch="somas/project-42")
        await chat.types("carol", "/somas status 42")
        shown = await chat.sees("project-42: failed at verify", "On GitHub", f"newest run: {run.id}")
        assert "issue #42 open, quality:blocked" in shown.shown
        assert "no pull request comes from somas/project-42" in shown.shown
        await chat.types("carol", "/somas failed")
        await chat.sees("projects failed", "1 open issue with quality:blocked: #42", f"no open issue with {LABEL}")
        await chat.types("carol", "/somas actions list --project 42 --all")
        await chat.sees("workflow runs in acme/somas for project-42", str(run.id))
        chat.github.fail(502, times=9)
        await chat.types("carol", "/somas status 42")
        await chat.sees("project-42: failed at verify", "This is from the files alone.")
        chat.github.heal()
        assert judged(chat) == []


# -- agents


async def test_a_project_that_is_only_an_issue_has_no_local_state(tmp_path: Path, root: Path, somas: str) -> None:
    async with chat_on_github(tmp_path, somas) as chat:
        chat.github.issue("A dashboard for <!channel>", number=4)
        await chat.types("carol", "/somas status 4")
        told = await chat.is_told(
            "carol",
            'There is no project "project-4". Issue #4 (A dashboard for <!channel>) is on GitHub, but',
            "has no local state",
            "Did you mean",
        )
        assert "/somas status project-42" in told.labels
        chat.github.fail(502, times=9)
        await chat.types("carol", "/somas status 4")
        await chat.is_told("carol", 'There is no project "project-4". Did you mean')
        chat.github.heal()
        assert judged(chat) == []


async def test_the_newest_run_of_a_project_is_also_the_one_that_a_restart_dispatched(
    tmp_path: Path, root: Path, somas: str
) -> None:
    """It runs on the default branch, and its title names no project: nothing but the bot's memory tells whose it is."""
    async with chat_on_github(tmp_path, somas) as chat:
        add_workflows(chat.github, run_seconds=1e6)
        await chat.types("alice", "/somas restart 42")
        card = await chat.sees("Restart a project at a stage: project-42")
        await chat.shows(card, "Step 4 of 6: running")
        (run,) = chat.github.runs("somas-pipeline.yml")
        await chat.types("carol", "/somas status 42")
        await chat.sees("project-42", f"newest run: {run.id} somas-pipeline.yml,", "branch main, workflow_dispatch by")
        await chat.says("alice", "@opsbot cancel", thread=card)
        await chat.thread(card, until="Run cancelled")
        await chat.types("alice", "/somas breaker trip 42 --reason 'it deletes branches'")
        trip = await chat.sees("Circuit breaker: stop the automation")
        await chat.sees("Step 2", f"{run.id} somas-pipeline.yml", thread=trip)
        await chat.thread(trip, until="Run done")
        assert run.at(chat.clock.now()) == ("completed", "cancelled")
        chat.github.read(42)


async def test_an_agent_that_is_only_configured_and_one_in_a_checkout(tmp_path: Path, root: Path, somas: str) -> None:
    """The disk on which SOMAS keeps its state need not hold its repository."""
    (root / ".somas" / "config.yml").write_text(
        "agents:\n  agent_configs:\n    tester:\n      provider: claude\n    1:\n      provider: x\n"
    )
    async with Chat(tmp_path, somas) as chat:
        await chat.types("carol", "/somas agent tester")
        await chat.sees(".somas/agents is not in", "set repository_path", "Provider: claude", "project-42 stage_failed")
    agents = tmp_path / "checkout" / ".somas" / "agents"
    agents.mkdir(parents=True)
    (tmp_path / "checkout" / ".github").mkdir()
    (agents / "coder.yml").write_text("name: coder\n")
    async with Chat(tmp_path, f'{somas}repository_path = "{tmp_path}/checkout"\n') as chat:
        await chat.types("carol", "/somas agent coder")
        await chat.sees(".somas/agents/coder.yml is in order", "name: coder")
        await chat.types("carol", "/somas agent tester")
        await chat.sees(".somas/agents/tester.yml is missing")


async def test_an_agent_with_its_file_its_keys_and_what_it_did(tmp_path: Path, root: Path, somas: str) -> None:
    agents = root / ".somas" / "agents"
    agents.mkdir(parents=True)
    (agents / "tester.yml").write_text("name: tester\nrole: runs the tests\n")
    (agents / "broken.yml").write_text("name: [\n")
    async with chat_on_github(tmp_path, somas) as chat:
        add_workflows(chat.github)
        chat.github.add_secret("OPENAI_API_KEY")
        await chat.types("carol", "/somas agent tester")
        await chat.sees(
            "Agent tester",
            "OPENAI_API_KEY is set; ANTHROPIC_API_KEY is MISSING",
            "project-42",
            "There is no workflow somas-agent.yml",
            "role: runs the tests",
        )
        await chat.types("carol", "/somas agent broken")
        await chat.sees("broken.yml is not YAML in line")
        await chat.types("carol", "/somas agent testr")
        await chat.is_told("carol", 'There is no agent "testr". Did you mean tester')
        await chat.types("carol", "/somas agent ../../etc/passwd")
        await chat.is_told("carol", "cannot be an agent")
        assert judged(chat) == []
    async with chat_on_github(tmp_path, somas, secrets="none") as chat:
        await chat.types("carol", "/somas agent tester")
        await chat.sees("cannot be listed", "secrets=read")
