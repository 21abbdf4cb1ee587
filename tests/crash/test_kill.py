"""``kill -9`` before every commit of a run, then start again: the run goes on, and nothing happens twice.

On an SQLite file and on a PostgreSQL server.

The bot is a process of its own; the local Slack and the SOMAS files outlive it, as the real ones would.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
import sqlalchemy as sa

from bot import store as tables
from bot.audit import AuditLog
from bot.audit_command import verify_database
from bot.clock import SystemClock
from bot.commands.generated import SCOPES
from bot.demo.slack import LocalMessage, LocalSlack
from bot.demo.somas_projects import generate
from bot.runs.model import RunState
from bot.store import Store
from tests.ports import free_port

CONFIGURATION = """
[server]
port = {port}
[database]
url = "{database}"
[slack]
channel = "C0OPS"
api_url = "{api_url}"
[somas]
root = "{folder}/somas"
restart_budget = "PT5M"
[escalation]
contact = "scotlaclair"
[people.scotlaclair]
slack = "U0SCOT"
[access]
operators = ["slack:U0ALICE"]
viewers = ["*"]
"""

COMMAND = "/somas restart project-42 --reason 'crash test'"
STEPS_DONE = ("Step 1", "Step 2", "Step 3")


class KilledBot:
    """The bot's process, its Slack and its SOMAS root."""

    def __init__(self, folder: Path, database: str) -> None:
        self.folder = folder
        self.database = database
        self.port = free_port()
        self.slack = LocalSlack(signing_secret="secret", bot_token="xoxb-test", clock=SystemClock(), scopes=SCOPES)
        self.process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> KilledBot:
        generate(self.folder / "somas", datetime.now(UTC))
        await self.slack.start()
        self.slack.add_person("U0ALICE", "alice")
        self.slack.add_person("U0SCOT", "scotlaclair")
        self.slack.add_channel("C0OPS", "ops", members=["U0ALICE", "U0SCOT", "U0OPSBOT"])
        self.slack.deliver_to(f"http://127.0.0.1:{self.port}/slack/events")
        (self.folder / "opsbot.toml").write_text(
            CONFIGURATION.format(port=self.port, folder=self.folder, api_url=self.slack.api_url, database=self.database)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        await self.slack.stop()

    async def start(self, kill_at: int) -> None:
        environment = {**os.environ, "SLACK_BOT_TOKEN": "xoxb-test", "SLACK_SIGNING_SECRET": "secret"}
        with (self.folder / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.crash.killed_bot", str(self.folder / "opsbot.toml"), str(kill_at),
                env=environment, stdout=log, stderr=log,
            )  # fmt: skip
        async with asyncio.timeout(60), aiohttp.ClientSession() as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"http://127.0.0.1:{self.port}/healthz"):
                        return
                await asyncio.sleep(0.05)
                assert self.process.returncode is None, (self.folder / "log").read_text()

    async def type(self) -> None:
        with contextlib.suppress(aiohttp.ClientError, OSError):
            await self.slack.slash("U0ALICE", "C0OPS", COMMAND)

    def stored(self) -> tuple[list[str], list[RunState]]:
        """What is in the bot's database: the keys of accepted commands, and the runs."""
        engine = sa.create_engine(self.database.replace("postgresql:", "postgresql+psycopg:"))
        with engine.connect() as database:
            keys = list(database.scalars(sa.select(tables.inbox.c.key)))
            runs = [RunState.model_validate_json(state) for state in database.scalars(sa.select(tables.runs.c.state))]
        engine.dispose()
        return keys, runs

    def thread(self) -> list[LocalMessage]:
        cards = [m for m in self.slack.messages("C0OPS", peek=True) if "project-42" in m.shown]
        if not cards:
            return []
        return self.slack.messages("C0OPS", cards[0].ts, peek=True)

    async def killed_or_quiet(self) -> bool:
        """Wait for the kill; False when the run came to its last step without it."""
        assert self.process is not None
        async with asyncio.timeout(60):
            while self.process.returncode is None:
                if self.at_last_step():
                    await asyncio.sleep(0.5)
                    return self.process.returncode is not None
                await asyncio.sleep(0.05)
        return True

    def at_last_step(self) -> bool:
        thread = "\n".join(message.shown for message in self.thread())
        with contextlib.suppress(sa.exc.SQLAlchemyError):
            _, runs = self.stored()
            return bool(runs) and runs[0].current == 5 and all(f"✓ {step}:" in thread for step in STEPS_DONE)
        return False


def events(folder: Path) -> list[dict[str, object]]:
    log = folder / "somas/.somas/projects/project-42/transitions.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()]


@pytest.mark.crash
@pytest.mark.timeout(240)
async def test_killed_before_any_commit_of_a_run(
    tmp_path: Path, database_kind: str, crash_point: int, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path}/opsbot.db"
    if database_kind == "postgresql":
        url = request.getfixturevalue("postgresql").database()
    async with KilledBot(tmp_path, url) as bot:
        await bot.start(crash_point)
        before = len(events(tmp_path))
        await bot.type()
        killed = await bot.killed_or_quiet()
        if not killed:
            commits = int((tmp_path / "commits").read_text())
            if commits < crash_point:
                return  # the run needs fewer commits
            assert commits == crash_point, "it was to be killed and was not"
            assert bot.process is not None
            async with asyncio.timeout(10):  # it came to that commit just after we had looked
                await bot.process.wait()
        keys, first = bot.stored()

        await bot.start(0)
        if not keys:  # killed before the command was stored: it was not acknowledged, and she types it again
            assert not first
            await bot.type()
        async with asyncio.timeout(60):
            while not bot.at_last_step():
                await asyncio.sleep(0.05)

        _, runs = bot.stored()
        assert len(runs) == 1
        run = runs[0]
        assert [step.status for step in run.steps] == ["done", "done", "done", "skipped", "skipped", "running"]
        assert [step.attempt for step in run.steps] == [1, 1, 1, 0, 0, 1]
        # Nothing happened twice: one change of the state, logged once.
        new = [event["event_type"] for event in events(tmp_path)[before:]]
        assert new.count("stage_retrying") == 1
        assert new.count("state_updated") == 1
        state = json.loads((tmp_path / "somas/.somas/projects/project-42/state.json").read_text())
        assert state["metrics"]["retry_count"] == 1
        # Deadlines are those of the original start.
        if first:
            assert run.plan.run_id == first[0].plan.run_id
            assert run.plan.deadline == first[0].plan.deadline
            for now, then in zip(run.steps, first[0].steps, strict=True):
                assert then.deadline is None or now.deadline == then.deadline
        # People read each thing once, on one card.
        cards = [m for m in bot.slack.messages("C0OPS") if "project-42" in m.shown]
        assert len(cards) == 1
        said = [message.shown for message in bot.slack.messages("C0OPS", cards[0].ts)]
        for step in STEPS_DONE:
            assert sum(text.startswith(f"✓ {step}:") for text in said) == 1, said
        await _is_audited_once(url)


async def _is_audited_once(url: str) -> None:
    """One chain across the kill; what happened stands in it once."""
    store = Store(url)
    try:
        code, said = await verify_database(store, [])
        assert code == 0, said
        told = [json.loads(entry.body or "") async for entry in AuditLog(store, SystemClock()).chain()]
    finally:
        await store.close()
    kinds = [entry["kind"] for entry in told]
    assert kinds.count("command.started") == kinds.count("run.started") == 1
    for kind in ("action.begun", "action.ended", "step.done"):
        steps = [entry["detail"]["step"] for entry in told if entry["kind"] == kind]
        assert steps[:3] == ["1", "2", "3"], kind
        assert len(steps) == len(set(steps)), kind
