"""``/somas stop-all`` and what undoes it, the Actions switch, ``escalate``, ``incident``, ``rollback config``."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from bot.demo.slack import LocalMessage
from bot.errors import UserError
from handlers.somas.github import SomasGitHub
from handlers.somas.incident import log_resolution
from handlers.somas.stages import STAGES
from tests.somas.conftest import acting, connected
from tests.somas.local_repository import add_workflows, give_rights
from tests.surfaces.github_openapi import complaints
from tests.transcript import NOT_MIRRORED, Chat, notifies, run_id

OTHERS = {"semgrep.yml", "validate-consistency.yml"}
REPOSITORY = "acme/somas"


def chat_on_github(tmp_path: Path, somas: str, role: str = "admin", **rights: str) -> Chat:
    chat = Chat(tmp_path, somas, settings=NOT_MIRRORED)
    give_rights(chat.github, role, **rights)
    return chat


def active(chat: Chat) -> set[str]:
    return {file for file, state in chat.github.workflow_states().items() if state == "active"}


def judged(chat: Chat) -> list[str]:
    return [problem for exchange in chat.github.exchanges for problem in complaints(exchange)]


def under_way(chat: Chat) -> list[int]:
    now = chat.clock.now()
    return [run.id for run in chat.github.runs() if run.at(now)[0] != "completed"]


async def approves(chat: Chat, card: LocalMessage, *said: str) -> None:
    asked = await chat.sees("Step 2 needs approval", *said, thread=card)
    form = await chat.opens("bob", "Approve…", asked)
    await chat.sends("bob", form, {f"Type {REPOSITORY} to approve": REPOSITORY})


async def is_paged(chat: Chat, card: LocalMessage, *said: str) -> LocalMessage:
    """The page in the channel, which notifies the contact; it stands in the run's thread too."""
    page = await chat.sees("Stop all pipelines", *said)
    assert notifies(page) == {"@U0SCOT"}
    await chat.sees("Stop all pipelines", *said, thread=card)
    return page


# -- stop-all


async def test_stop_all_and_resume_all_restore_exactly_what_was(tmp_path: Path, root: Path, somas: str) -> None:
    async with chat_on_github(tmp_path, somas) as chat:
        add_workflows(chat.github, run_seconds=1e6)
        chat.github.disable("somas-project-sync.yml")  # by somebody, before
        for file in ("somas-pipeline.yml", "somas-orchestrator.yml", "semgrep.yml"):
            chat.github.start_run(file)
        before = active(chat)
        await chat.types("alice", "/somas stop-all --reason 'agents write nonsense'")
        card = await chat.sees("Asked for by alice", "Stop all pipelines: acme/somas", "Reason: agents write nonsense")
        page = await is_paged(chat, card, "needs you.", "All pipelines are being stopped.")
        await chat.presses("scotlaclair", "Acknowledge", page)
        await approves(
            chat,
            card,
            "Disable 7 workflows of SOMAS",
            "disable .github/workflows/somas-pipeline.yml",
            "2 runs that have",
        )
        await chat.sees("✓ Step 2", "7 workflows disabled, 2 runs cancelled. No run of SOMAS is left.", thread=card)
        await chat.clock.advance(60)
        await chat.thread(card, until="Run done")
        assert active(chat) == OTHERS
        assert len(under_way(chat)) == 1  # the scan goes on

        await chat.types("bob", "/somas restart project-42")
        await chat.is_told("bob", "Everything is stopped: alice ran stop-all at 2026-11-22 12:00 UTC", "nonsense")
        await chat.types("carol", "/somas breaker status")
        await chat.sees("EVERYTHING IS STOPPED since 2026-11-22 12:00 UTC by alice")

        await chat.stop_bot()  # it remembers across a restart
        await chat.start_bot()
        await chat.types("alice", "/somas resume-all")
        back = await chat.sees("Let all pipelines go on")
        await chat.sees("Enable exactly the 7 workflows", thread=back)
        await chat.sees("✓ Step 1", "7 workflows enabled again. Nothing was started by that.", thread=back)
        await chat.thread(back, until="Run done")
        assert active(chat) == before
        await chat.types("alice", "/somas resume-all")  # nobody is paged for that
        await chat.is_told("alice", "Nothing is stopped")
        assert judged(chat) == []


@pytest.mark.parametrize("cut", ["disable", "enable"])
async def test_cut_in_the_middle_it_still_restores_exactly_what_was(
    tmp_path: Path, root: Path, somas: str, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    """The bot ends after three workflows, of stop-all or of resume-all."""
    async with chat_on_github(tmp_path, somas) as chat:
        add_workflows(chat.github)
        chat.github.disable("somas-project-sync.yml")  # by somebody, before
        before = active(chat)
        asked, reached, change = [], asyncio.Event(), getattr(SomasGitHub, cut)

        async def hanging(github: SomasGitHub, workflow: int) -> None:
            asked.append(workflow)
            if len(asked) > 3:
                reached.set()
                await asyncio.Event().wait()
            await change(github, workflow)

        async def cut_off() -> None:
            await chat.until(reached.is_set, "the fourth workflow")
            await chat.stop_bot()
            assert active(chat) not in (before, OTHERS)
            monkeypatch.setattr(SomasGitHub, cut, change)
            await chat.start_bot()

        await chat.types("alice", "/somas stop-all")
        card = await chat.sees("Stop all pipelines", "Asked for by alice")
        await chat.presses("scotlaclair", "Acknowledge", await is_paged(chat, card, "needs you."))
        if cut == "disable":
            monkeypatch.setattr(SomasGitHub, cut, hanging)
        await approves(chat, card)
        if cut == "disable":
            await cut_off()
        await chat.sees("✓ Step 2", "No run of SOMAS is left", thread=card)
        await chat.clock.advance(60)
        await chat.thread(card, until="Run done")
        assert active(chat) == OTHERS

        if cut == "enable":
            monkeypatch.setattr(SomasGitHub, cut, hanging)
        await chat.types("alice", "/somas resume-all")
        back = await chat.sees("Let all pipelines go on")
        if cut == "enable":
            await cut_off()
        await chat.thread(back, until="Run done")
        assert active(chat) == before
        chat.read()


async def test_a_run_that_does_not_obey_is_forced_and_more_than_a_page_is_cancelled(
    tmp_path: Path, root: Path, somas: str
) -> None:
    async with chat_on_github(tmp_path, somas) as chat:
        add_workflows(chat.github, run_seconds=1e6, obeys=False)
        runs = [chat.github.start_run("somas-orchestrator.yml") for _ in range(3)]
        await chat.types("alice", "/somas stop-all")
        card = await chat.sees("Stop all pipelines", "Asked for by alice")
        await chat.presses("scotlaclair", "Acknowledge", await is_paged(chat, card, "needs you."))
        await approves(chat, card)
        await chat.shows(card, "3 runs to end")
        await chat.clock.advance(30)
        await chat.sees("✓ Step 2", "3 runs cancelled. No run of SOMAS is left", thread=card)
        await chat.clock.advance(60)
        await chat.thread(card, until="Run done")
        forced = [exchange for exchange in chat.github.exchanges if exchange.path.endswith("/force-cancel")]
        assert len(forced) == 3
        assert {run.at(chat.clock.now()) for run in runs} == {("completed", "cancelled")}


async def test_what_is_left_when_the_time_is_over_is_named_and_paged(tmp_path: Path, root: Path, somas: str) -> None:
    async with chat_on_github(tmp_path, somas + 'stop_budget = "PT20S"\n') as chat:
        add_workflows(chat.github, run_seconds=1e6, obeys=False)
        run = chat.github.start_run("somas-pipeline.yml")
        await chat.types("alice", "/somas stop-all")
        card = await chat.sees("Stop all pipelines", "Asked for by alice")
        first = await is_paged(chat, card, "needs you.")
        await approves(chat, card)
        await chat.sees(
            "Step 2 needs a decision",
            "The time is over and 1 run is left",
            str(run.id),
            "/somas actions off",
            thread=card,
        )
        left = "The time is over and 1 run is left: " + str(run.id)
        page = await is_paged(chat, card, "needs you (2nd page).", left, "switch Actions off for the repository")
        await chat.presses("scotlaclair", "Acknowledge", page)
        await chat.shows(first, "Acknowledged by scotlaclair")
        await chat.sees("acknowledged the page", thread=card)
        await chat.says("alice", "@opsbot fail", thread=card)
        await chat.thread(card, until="Run ended as failed")
        assert active(chat) == OTHERS  # it stays disabled, and remembered


async def test_without_the_permission_nothing_is_stopped_and_it_is_named(
    tmp_path: Path, root: Path, somas: str
) -> None:
    async with chat_on_github(tmp_path, somas, actions="read") as chat:
        add_workflows(chat.github, run_seconds=1e6)
        run = chat.github.start_run("somas-pipeline.yml")
        before = active(chat)
        await chat.types("alice", "/somas stop-all")
        card = await chat.sees("Stop all pipelines", "Asked for by alice")
        await is_paged(chat, card, "needs you.")
        await approves(chat, card)
        await chat.sees(
            "Step 2 needs a decision",
            "0 workflows disabled, 0 runs cancelled. 1 run is left.",
            "is still active",
            "the permission actions=write",
            f"LEFT {run.id}",
            thread=card,
        )
        await is_paged(chat, card, "needs you (2nd page).", "lacks the permission actions=write")
        assert active(chat) == before
        await chat.types("alice", f"/runs ack {run_id(card)}")
        await chat.says("alice", "@opsbot cancel", thread=card)
        await chat.thread(card, until="Run cancelled")
        chat.read()


async def test_the_actions_switch(tmp_path: Path, root: Path, somas: str) -> None:
    async with chat_on_github(tmp_path, somas) as chat:
        add_workflows(chat.github)
        await chat.types("alice", "/somas actions off")
        await chat.is_told("alice", "needs an admin")
        for line in ("/runs start actions-off acme/somas", "/runs start actions-on acme/somas --dry-run"):
            await chat.types("alice", line)  # the long way round
            await chat.is_told("alice", "needs an admin", "scotlaclair")
        await chat.types("scotlaclair", "/somas actions off --reason 'runs begin again'")
        card = await chat.sees("Switch GitHub Actions off: acme/somas")
        await approves(chat, card, "Switch GitHub Actions off for the whole of acme/somas", '{"enabled": false}')
        await chat.thread(card, until="Run done")
        assert not chat.github.actions_enabled
        await chat.types("alice", f"/runs retry {run_id(card)} --from 1")
        await chat.is_told("alice", "needs an admin")
        await chat.types("scotlaclair", "/somas actions on")
        back = await chat.sees("Switch GitHub Actions on again")
        await chat.sees('"allowed_actions": "all"', thread=back)
        await chat.thread(back, until="Run done")
        assert chat.github.actions_enabled
        assert judged(chat) == []


async def test_the_switch_takes_an_admin_of_the_repository(tmp_path: Path, root: Path, somas: str) -> None:
    async with chat_on_github(tmp_path, somas, role="write") as chat:
        await chat.types("scotlaclair", "/somas actions off --dry-run")
        await chat.is_told("scotlaclair", "Must have admin rights to Repository", "administration=read")


# -- escalate, incident


async def test_escalate_pages_at_once_and_again_until_somebody_answers(tmp_path: Path, root: Path, somas: str) -> None:
    async with Chat(tmp_path, somas) as chat:
        await chat.types("alice", '/somas escalate project-42 critical "it deletes branches"')
        card = await chat.sees("Escalate: project-42", "Reason: it deletes branches", "Asked for by alice")
        page = await chat.sees("needs you.", "critical: it deletes branches", "answer within 15 minutes")
        assert notifies(page) == {"@U0SCOT"}
        await chat.sees("Step 1 needs a decision", "last error: Coverage is 71.4 %", "/somas stop-all", thread=card)
        await chat.sees("needs you.", thread=card)
        await chat.passes(minutes=5)
        again = await chat.sees("needs you (2nd page).", "Open: for 5 min")
        await chat.sees("needs you (2nd page).", thread=card)
        await chat.presses("scotlaclair", "Acknowledge", again)
        await chat.sees("acknowledged the page", thread=card)
        await chat.presses("scotlaclair", "Done", card)
        await chat.thread(card, until="Run done")
        await chat.types("alice", "/somas escalate project-42 urgent 'x'")
        await chat.is_told("alice", "low, medium, high")


async def test_an_incident_is_written_down_once(tmp_path: Path, root: Path, somas: str) -> None:
    log = root / ".somas" / "projects" / "project-42" / "transitions.jsonl"
    lines = len(log.read_text().splitlines())
    async with chat_on_github(tmp_path, somas) as chat:
        await chat.types(
            "alice",
            '/somas incident 42 --resolution "Stage verify Complete again, thanks @scotlaclair" --title "Red gate" '
            '--cause "a flaky test" --follow-up "Alert earlier" --follow-up "Mend the test"',
        )
        card = await chat.sees("After an incident: project-42")
        await chat.thread(card, until="Run done")
        (said,) = [body for login, body in chat.github.comments(42) if login == "opsbot"]
        assert "Red gate" in said and "a flaky test" in said
        assert "@scotlaclair" not in said.replace("@\u200b", "")  # nobody is notified
        assert not ("Stage" in said and ("Started" in said or "Complete" in said))  # upstream would count it
        (entry,) = [json.loads(line) for line in log.read_text().splitlines()[lines:]]
        assert (entry["event_type"], entry["actor"]["name"]) == ("recovery_completed", "slack:U0ALICE")
        assert entry["metadata"]["resolution"].startswith("Stage verify Complete again")
        titles = [chat.github.issue_state(number).title for number in (43, 44)]
        assert titles == ["Alert earlier", "Mend the test"]
        chat.github.read(42)
        assert judged(chat) == []


async def test_without_github_an_incident_stands_in_the_log_and_people_are_asked_for_the_rest(
    tmp_path: Path, root: Path, somas: str
) -> None:
    log = root / ".somas" / "projects" / "project-42" / "transitions.jsonl"
    async with Chat(tmp_path, somas) as chat:
        await chat.types("alice", '/somas incident 42 --resolution "limit raised" --follow-up "Alert earlier"')
        card = await chat.sees("After an incident: project-42")
        await chat.sees("✓ Step 2", "No issue says it: GitHub is not configured.", thread=card)
        await chat.sees("Step 4", "write down yourself what is left to do", "Alert earlier", thread=card)
        await chat.presses("alice", "Done", card)
        await chat.thread(card, until="Run done")
        assert '"resolution": "limit raised"' in log.read_text().splitlines()[-1]


async def test_an_incident_of_no_project_writes_no_file(tmp_path: Path, root: Path) -> None:
    folder = root / ".somas" / "projects" / "project-999"
    folder.mkdir()
    handler = connected(root)
    with pytest.raises(UserError, match="project-999"):
        await log_resolution(handler, acting(handler, "project-999", resolution="it was renewed"))
    assert list(folder.iterdir()) == []


# -- rollback config


def stages(timeout: int) -> str:
    rows = "".join(f"    - id: {name}\n      timeout_hours: {timeout}\n" for name in STAGES)
    return f"pipeline:\n  stages:\n{rows}"


async def test_an_earlier_configuration_comes_back_as_a_pull_request(tmp_path: Path, root: Path, somas: str) -> None:
    async with chat_on_github(tmp_path, somas) as chat:
        config = ".somas/config.yml"
        good = chat.github.commit(config, stages(12), "Longer timeouts")
        chat.github.commit(config, stages(1), "Shorter timeouts")
        chat.github.commit("README.md", "hello", "A commit that does not touch it")
        await chat.types("alice", "/somas rollback config --dry-run")
        await chat.is_told(
            "alice", f"brings {config} back to what it was at {good[:10]} (Longer timeouts)", "timeout_hours: 12"
        )
        assert chat.github.pulls() == []
        await chat.types("alice", "/somas rollback config --reason 'stages time out'")
        card = await chat.sees("Roll back the configuration: acme/somas")
        await chat.sees("✓ Step 2", "Pull request #", "is open", "Outcome: met", thread=card)
        (pull,) = chat.github.pulls()
        assert (chat.github.file(config, pull.head), chat.github.file(config)) == (stages(12), stages(1))
        assert "stages time out" in pull.body
        await chat.presses("alice", "Done", await chat.sees("Step 3 is for a person", thread=card))
        await chat.presses("alice", "Done", await chat.sees("Step 4 is for a person", thread=card))
        await chat.thread(card, until="Run done")
        await chat.types("alice", "/somas rollback config ffffffffff")  # nobody is paged for a wrong commit
        await chat.is_told("alice", "acme/somas has no .somas/config.yml at the commit ffffffffff")
        assert judged(chat) == []
