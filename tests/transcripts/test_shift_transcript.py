"""``/runs handover`` and ``/runs incident``: what the next shift reads, and what remains of an incident."""

from __future__ import annotations

import asyncio
import contextlib
import io
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from bot.cli import app
from bot.demo.supervised_process import SupervisedProcess
from bot.errors import SettingsError, UserError
from tests.transcript import ON_GITHUB_TOO, Chat, run_id


async def opsbot(*arguments: str) -> tuple[int, str]:
    """The command on the command line."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            with ThreadPoolExecutor(1) as thread:  # it has an event loop of its own
                work = partial(app, arguments, result_action="return_value")
                code = await asyncio.get_running_loop().run_in_executor(thread, work)
        except (SettingsError, UserError) as error:
            return 2, str(error)
    return code, said.getvalue()


async def test_handover_when_nothing_goes_on(tmp_path: Path) -> None:
    async with Chat(tmp_path) as chat:
        await chat.types("carol", "/runs handover")
        await chat.sees("Handover", "Nothing is going on. No run is open, nobody waits, all is delivered.")
        await chat.types("carol", "/runs handover --since 90d")
        await chat.is_told("carol", "--since takes a time of up to 14 days")


async def test_handover_names_what_needs_somebody_first(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    async with Chat(tmp_path, payments) as chat:
        await chat.types("alice", "/supervisor quarantine worker-1")
        first = await chat.sees("Quarantine worker-1")
        await chat.thread(first, until="Run done")
        await chat.types("alice", "/supervisor quarantine fraud-scorer --reason 'looks ill'")
        card = await chat.sees("Quarantine fraud-scorer")
        asked = await chat.sees("Step 1 needs a decision", thread=card)
        page = await chat.sees("needs you")
        await chat.types("bob", "/runs freeze the release goes out")
        await chat.sees("frozen", "release goes out")
        await chat.types("bob", "/supervisor quarantine fraud-scorer --queue")
        await chat.sees("number 1")
        await chat.sees("bob", thread=card)
        await chat.types("bob", "/runs handover")
        screen = await chat.sees("Handover")
        lines = screen.shown.split("\n")
        order = [
            next(index for index, text in enumerate(lines) if wanted in text)
            for wanted in (
                "New changing runs are frozen by bob since",
                "Paged, and nobody has acknowledged (1)",
                "In line (1)",
                "1 run done: Quarantine worker-1",
            )
        ]
        assert order == sorted(order), screen.shown
        assert "Paged 1 time since" in screen.shown
        assert screen.labels == ["Show fraud-scorer"]
        await chat.presses("alice", "Acknowledge", page)
        await chat.sees("acknowledged the page", thread=card)
        await chat.types("bob", "/runs handover")
        await chat.sees("Acknowledged, not over yet (1)", "alice acknowledged", "Quarantine fraud-scorer")
        await chat.types("bob", "/runs leave 1")
        await chat.sees("Number 1 is out of the queue")
        await chat.presses("alice", "Failed", asked)
        await chat.thread(card, until="Run ended as failed by alice")
        await chat.types("bob", "/runs handover")
        await chat.sees("Did not end well in the last 12 h (1)", "failed by alice at step 1")
        chat.read()


async def test_the_issue_of_an_incident_is_filed_once(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    async with Chat(tmp_path, payments, settings=ON_GITHUB_TOO) as chat:
        await chat.types("alice", "/supervisor quarantine fraud-scorer --reason 'looks ill'")
        card = await chat.sees("Quarantine fraud-scorer")
        asked = await chat.sees("Step 1 needs a decision", thread=card)
        await chat.types("alice", f"/runs incident {run_id(card)}")
        await chat.is_told("alice", "This run has not ended yet")
        await chat.presses("scotlaclair", "Acknowledge", await chat.sees("needs you"))
        await chat.sees("acknowledged the page", thread=card)
        await chat.presses("alice", "Failed", asked)
        end = await chat.sees("Run ended as failed by alice", thread=card)
        await chat.presses("bob", "Draft the post-incident issue", end)
        shown = await chat.sees(
            "Post-incident: Quarantine fraud-scorer", "Cause", "(to be written)", "Follow-ups", thread=card
        )
        assert "alice asked for it: /supervisor quarantine fraud-scorer" in shown.shown
        assert "scotlaclair acknowledges page 1" in shown.shown
        assert "alice: fail, step 1" in shown.shown
        await chat.presses("carol", "File it on GitHub", shown)
        await chat.is_told("carol", "needs an operator")
        await chat.presses("bob", "File it on GitHub", shown)
        await chat.sees("Filed: Post-incident", "Open it", thread=card)
        await chat.presses("alice", "File it on GitHub", shown)
        await chat.sees("is filed", "Open it", thread=card)
        issue = chat.github.issue_state(43)
        assert issue.title.startswith("Post-incident: Quarantine fraud-scorer")
        for wanted in (
            "## Timeline (UTC)",
            "- [ ] The cause is written above",
            "scotlaclair acknowledges page 1",
            "looks ill",
        ):
            assert wanted in issue.body
        with pytest.raises(KeyError):
            chat.github.issue_state(44)
        chat.read(thread=card)


async def test_without_github_the_draft_can_be_copied(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    async with Chat(tmp_path, payments) as chat:
        await chat.types("alice", "/supervisor quarantine worker-1")
        card = await chat.sees("Quarantine worker-1")
        await chat.thread(card, until="Run done")
        await chat.types("alice", f"/runs incident {run_id(card)}")
        await chat.sees("Copy this into an issue", "- [ ] The cause is written above", "## Timeline (UTC)")
        await chat.types("alice", f"/runs incident {run_id(card)} --file")
        await chat.is_told("alice", "GitHub is not configured, so nothing was filed")


async def test_who_did_what_stands_in_the_audit_log_and_can_be_proved(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    async with Chat(tmp_path, payments) as chat:
        await chat.types("carol", "/supervisor quarantine worker-1")
        await chat.is_told("carol", "needs an operator")
        await chat.types("alice", "/supervisor quarantine worker-1 --reason 'looks ill'")
        card = await chat.sees("Quarantine worker-1")
        await chat.thread(card, until="Run done")
        await chat.types("alice", "/supervisor quarantin worker-2")
        await chat.is_told("alice", "Did you mean quarantine?")
        await chat.types("bob", f"/runs approve {run_id(card)} --digest 4f5a2c91d07b --confirm worker-1")
        await chat.is_told("bob", "This run has ended")
        await chat.types("bob", "/runs freeze the release goes out")
        await chat.sees("frozen")
        configuration = ("--config", str(tmp_path / "opsbot.toml"))
        code, said = await opsbot("audit", "verify", *configuration)  # while the bot works on it
        assert code == 0, said
        assert ", unbroken: 1 to " in said
        assert chat.bot is not None
        body = [each async for each in chat.bot.engine.audit.chain()]
        kinds = [(each.columns["kind"], each.columns["actor"]) for each in body]
        assert kinds[0] == ("bot.started", "")
        assert ("command.refused", "slack:U0CAROL") in kinds
        run = [kind for kind, _ in kinds if kind.split(".")[0] in ("run", "action", "step")]
        assert run[0] == "run.started"
        assert run[-1] == "run.done"
        assert [kind for kind in run if kind.startswith("action")] == ["action.begun", "action.ended"]
        refused = [each.body or "" for each in body if each.columns["kind"] == "command.refused"]
        assert "needs operator" in refused[0]
        assert '"typed":"/supervisor quarantin worker-2"' in refused[1]
        assert "This run has ended" in refused[2]
        assert "4f5a2c91d07b" in refused[2]
        assert kinds[-1] == ("command.done", "slack:U0BOB")
        assert '"command":"/runs freeze"' in (body[-1].body or "")
        head = await chat.bot.engine.audit.head()
    export = tmp_path / "export.jsonl"
    code, said = await opsbot("audit", "export", "--out", str(export), "--run", run_id(card), *configuration)
    assert code == 0, said
    code, said = await opsbot("audit", "verify", "--file", str(export), "--head", str(head))
    assert code == 0, said
    assert "1 head that you gave was met." in said
    assert "carol" not in export.read_text().lower()
    connection = sqlite3.connect(tmp_path / "opsbot.db")
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute("UPDATE opsbot_audit SET actor = 'slack:U0BOB'")
    connection.execute("DROP TRIGGER opsbot_audit_no_update")
    connection.execute(
        "UPDATE opsbot_audit SET body = replace(body, 'U0CAROL', 'U0BOB') WHERE kind = 'command.refused'"
    )
    connection.commit()
    connection.close()
    code, said = await opsbot("audit", "verify", *configuration)
    assert code == 1
    assert "entry 2 was changed" in said
