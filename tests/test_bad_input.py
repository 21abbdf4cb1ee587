"""Each of these ends in a clear answer and loses nothing: forged requests, hostile files, dead sockets, full disks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
import sqlalchemy as sa

from bot import store as tables
from bot.clock import ManualClock
from bot.demo.slack.signing import signed_headers
from bot.demo.somas_projects import ProjectWriter, generate
from bot.demo.supervised_process import ProcessConfig, SupervisedProcess, payment_children
from bot.inbox_file import InboxFile
from bot.runs import sweep
from tests.transcript import Chat, live, notifies

FORM, JSON = "application/x-www-form-urlencoded", "application/json"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """SOMAS projects of every kind, as old as they have to be at the clock's noon."""
    root = tmp_path / "somas"
    generate(root, ManualClock().now())
    return root


@pytest.fixture(autouse=True)
def sweeping(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was given up is looked for more often than in production."""
    monkeypatch.setattr(sweep, "SWEEP_EVERY", 0.5)
    monkeypatch.setattr(sweep, "LONG_PAUSE", 2.0)


@pytest.fixture
def somas(root: Path) -> str:
    return f'[somas]\nroot = "{root}"\nlock_seconds = 1\n'


def payments(folder: Path) -> str:
    return (
        f'[supervisor.targets.payments]\nsocket = "{folder}/p.sock"\n'
        "connect_timeout = 0.3\nrequest_timeout = 0.3\ncommand_timeout = 0.5\nstop_timeout = 2\n"
    )


# -- requests


def slash(text: str = "status", command: str = "/runs", **more: str) -> bytes:
    fields = {
        "team_id": "T0OPS",
        "api_app_id": "A0OPS",
        "user_id": "U0ALICE",
        "channel_id": "C0OPS",
        "command": command,
        "text": text,
        "trigger_id": "1.2.3",
    }
    return urlencode({**fields, **more}).encode()


async def post(
    chat: Chat,
    body: bytes,
    kind: str = FORM,
    *,
    secret: str = "",
    at: float | str | None = None,
    path: str = "slack/events",
) -> tuple[int, str]:
    """A request as Slack would send it, or as somebody else would; status and text of the answer."""
    assert chat.bot is not None
    now = int(chat.clock.now().timestamp()) if at is None or isinstance(at, str) else int(at)
    headers = signed_headers(secret or chat._secret, body, now)
    if isinstance(at, str):
        headers["X-Slack-Request-Timestamp"] = at
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"http://127.0.0.1:{chat.bot.port}/{path}", data=body, headers={**headers, "Content-Type": kind}
        ) as answer,
    ):
        return answer.status, await answer.text()


async def accepted(chat: Chat) -> int:
    """How many commands the bot has stored."""
    assert chat.bot is not None
    return len(await chat.bot.store.rows(sa.select(tables.inbox.c.key)))


@pytest.fixture
async def chat(tmp_path: Path) -> AsyncIterator[Chat]:
    async with Chat(tmp_path) as chat:
        yield chat


async def test_a_request_that_slack_did_not_sign(chat: Chat) -> None:
    assert await post(chat, slash(), secret="guessed") == (401, "X-Slack-Signature does not match the body\n")
    assert await accepted(chat) == 0


@pytest.mark.parametrize("minutes", [-6, 6])
async def test_a_request_of_another_time_is_a_replay(chat: Chat, minutes: int) -> None:
    at = chat.clock.now().timestamp() + minutes * 60
    assert await post(chat, slash(), at=at) == (
        401,
        "X-Slack-Request-Timestamp is more than 300 seconds away from this machine's clock\n",
    )
    assert await accepted(chat) == 0


async def test_timestamps_that_are_none(chat: Chat) -> None:
    for at in ("", "now", "-1", "1e9", "١٢٣", "9" * 40, "NaN", "0x5f", " 1"):
        status, said = await post(chat, slash(), at=at)
        assert status == 401, at
        assert said.startswith("X-Slack-"), at
    assert await accepted(chat) == 0


async def test_a_body_of_two_megabytes(chat: Chat) -> None:
    assert (await post(chat, b"text=" + b"x" * 2_000_000))[0] == 413
    assert await accepted(chat) == 0
    await chat.types("alice", "/runs list")  # and the bot is still there
    await chat.sees("No run is open.")


NOT_SLACKS = (
    (b"{", JSON),
    (b"[]", JSON),
    (b"null", JSON),
    (b"", JSON),
    (b"\xff\xfe", JSON),
    (b"[" * 100_000, JSON),
    (b'{"type": "event_callback", "event": 3}', JSON),
    (b"payload=%7B", FORM),
    (b"payload=%5B1%5D", FORM),
    (b"text", FORM),
    (b"text=%FF%FE", FORM),
    (b"", FORM),
    (b"&".join(b"a%d=1" % number for number in range(500)), FORM),
    (b"<xml/>", "text/xml"),
    (b"payload=" + b'{"type":"block_actions","actions":[{}]}', FORM),
    (b"payload=" + b'{"type":"view_submission","view":{"callback_id":7}}', FORM),
)


async def test_bodies_that_are_not_slacks(chat: Chat) -> None:
    for body, kind in NOT_SLACKS:
        status, said = await post(chat, body, kind)
        assert status == 400, body[:80]
        assert "Traceback" not in said
        assert len(said) < 200
    assert await accepted(chat) == 0
    await chat.types("alice", "/runs list")
    await chat.sees("No run is open.")


async def test_another_workspace(chat: Chat) -> None:
    status, said = await post(chat, slash("list", team_id="T0EVIL"))
    assert status == 200
    assert json.loads(said)["text"] == "This opsbot belongs to another workspace, so nothing was done."
    assert await accepted(chat) == 0


async def test_half_an_emoji_in_a_mention(chat: Chat) -> None:
    """JSON can hold what no database can: the command is answered, not refused for ever."""
    body = {
        "type": "event_callback",
        "team_id": "T0OPS",
        "api_app_id": "A0OPS",
        "event_id": "Ev1",
        "event": {
            "type": "app_mention",
            "user": "U0ALICE",
            "channel": "C0OPS",
            "ts": "1700000000.000100",
            "text": "<@U0OPSBOT> runs show \ud800",
        },
    }
    assert (await post(chat, json.dumps(body).encode(), JSON))[0] == 200
    await chat.is_told("alice", "There is no run")


async def test_an_address_that_does_not_exist(chat: Chat) -> None:
    assert (await post(chat, b"{}", JSON, path="github/webhook"))[0] == 404  # GitHub is not configured here


# -- project ids


NO_IDS = (
    "../../etc",
    "project-42/../../../etc/passwd",
    "project-٤٢",
    "project-４２",
    "project-042",
    "project-42\n",
    "project--42",
    "project-42.lock",
    ".",
    "%2e%2e%2f",
    "project-42;rm -rf",
    "project-99999999999999999999999",
)


async def test_ids_that_are_none(tmp_path: Path, root: Path, somas: str) -> None:
    """Nothing outside the projects is read, nothing inside is changed, and the person is told what an id looks like."""
    before = {file: file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}
    async with Chat(tmp_path, somas) as chat:
        for name in NO_IDS:
            for command in ("status", "restart"):
                await chat.types("alice", f"/somas {command} {_quoted(name)}")
                await chat.until(lambda: chat.slack.ephemerals("U0ALICE", "C0OPS", peek=True)[-1:], name)
                await chat.rests()
                told = chat.slack.ephemerals("U0ALICE", "C0OPS")[-1].shown
                wanted = ("no project", "cannot be a project", "No such project")
                assert any(words in told for words in wanted), f"{name!r}: {told}"
                assert "root:" not in told
        assert await accepted(chat) == 2 * len(NO_IDS)
        assert chat.channel() == []
    assert {file: file.read_bytes() for file in before} == before


def _quoted(name: str) -> str:
    return f"'{name}'" if any(letter in name for letter in " \n;") else name


# -- hostile text


async def test_hostile_text_in_state_files_is_only_text(tmp_path: Path, root: Path, somas: str) -> None:
    """Texts that would ping, link or break out are read by people and never obeyed by Slack."""
    async with Chat(tmp_path, somas) as chat:
        for command, seen in (
            ("/somas status", "SOMAS:"),
            ("/somas failed", "project-96"),
            ("/somas status 96", "project-96: failed"),
        ):
            await chat.types("carol", command)
            await chat.sees(seen)
        await chat.types("alice", "/somas restart 96 --dry-run")
        await chat.is_told("alice", "Dry run")
        await chat.types("alice", "/somas restart 96 --reason '<!channel> <@U0SCOT> <https://evil.example|x>'")
        card = await chat.sees("Restart", "project-96")
        await chat.sees("Nothing was dispatched", thread=card)
        await chat.says("alice", "@opsbot cancel --reason '<!here> *x*'", thread=card)
        await chat.sees("Run cancelled by alice", thread=card)
        await chat.rests()
        for message in [*chat.slack.messages("C0OPS"), *chat.slack.messages("C0OPS", card.ts)]:
            if message.user == "U0OPSBOT":
                assert not live([message.text, message.blocks, message.attachments]), message.shown
        chat.slack.ephemerals("U0ALICE", "C0OPS")
        sent = [call for method, call in chat.slack.calls if method.startswith("chat.")]
        assert any("evil.example" in json.dumps(call) for call in sent)  # it was shown, as text
        for call in sent:
            _is_quiet(call)


def _is_quiet(call: Any) -> None:
    """The raw call: no control characters, no half surrogates, no way to turn the writing direction round."""
    raw = json.dumps(call, ensure_ascii=False)
    raw.encode()
    assert not [letter for letter in raw if letter in "\u202e\u2066\x1b\x07\u200b"], raw
    parsed = {key: json.loads(call[key]) for key in ("blocks", "attachments") if isinstance(call.get(key), str)}
    assert not live([call.get("text", ""), parsed or [call.get("blocks"), call.get("attachments")]])


# -- files and sockets


@pytest.mark.parametrize("broken", [b"", b"{", b"[]", b"null", b"\xff\xfe\x00", b'{"status": 7}', b"[" * 100_000])
async def test_a_corrupt_state_file_is_told_and_not_written_over(
    tmp_path: Path, root: Path, somas: str, broken: bytes
) -> None:
    file = root / ".somas/projects/project-42/state.json"
    file.write_bytes(broken)
    async with Chat(tmp_path, somas) as chat:
        await chat.types("carol", "/somas status 42")
        await chat.sees("project-42", "state corrupt, rebuilt from the log", "Damaged: state.json ")
        await chat.types("carol", "/somas status")
        await chat.sees("of 16 projects failed")
        await chat.types("alice", "/somas restart 42")
        told = await chat.is_told("alice", "project-42: state.json ", "needs a state that can be read")
        assert told.labels == ["/somas reconstruct project-42 --dry-run", "/somas restart project-42 --full --dry-run"]
    assert file.read_bytes() == broken


def _read_all(chat: Chat) -> None:
    chat.slack.ephemerals("U0ALICE", "C0OPS")
    for message in chat.slack.messages("C0OPS"):
        chat.slack.messages("C0OPS", message.ts)


async def test_a_missing_socket(tmp_path: Path) -> None:
    async with Chat(tmp_path, payments(tmp_path)) as chat:
        await chat.types("alice", "/supervisor quarantine worker-3")
        await chat.is_told("alice", f"there is no socket at {tmp_path}/p.sock", "The process is not running")
        await chat.types("alice", "/runs list")
        await chat.sees("No run is open.")


async def test_a_stale_socket(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{tmp_path}/p.sock")
    listener.close()  # the file stays, nobody listens
    async with Chat(tmp_path, payments(tmp_path)) as chat:
        await chat.types("alice", "/supervisor quarantine worker-3")
        await chat.is_told("alice", f"nobody listens at {tmp_path}/p.sock", "has left its socket file")


async def test_a_socket_that_hangs(tmp_path: Path) -> None:
    """It takes connections and says nothing; others are served meanwhile."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{tmp_path}/p.sock")
        Path(f"{tmp_path}/p.sock").chmod(0o600)
        listener.listen(50)
        async with Chat(tmp_path, payments(tmp_path)) as chat:
            await chat.types("alice", "/supervisor quarantine worker-3")
            await chat.types("bob", "/runs list")
            await chat.sees("No run is open.")
            told = await chat.is_told("alice", "payments")
            assert "did not answer" in told.shown or "no answer" in told.shown, told.shown
            await chat.types("carol", "/supervisor status")
            await chat.sees("payments", "Not reached")


async def test_a_process_that_hangs_in_the_middle_of_a_command(tmp_path: Path) -> None:
    """It was sent and nobody answered: it is looked up and never blindly repeated."""
    config = ProcessConfig(socket=tmp_path / "p.sock", children=payment_children())
    async with SupervisedProcess(config) as process, Chat(tmp_path, payments(tmp_path)) as chat:
        process.faults.switch_on("close-after-command")
        await chat.types("alice", "/supervisor quarantine worker-1")
        card = await chat.sees("Quarantine worker-1")
        await chat.shows(card, "Done after")
        await chat.thread(card, until="Run done")
        assert process.executed == ["quarantine_child /worker-1"]


async def test_somas_holds_its_lock(tmp_path: Path, root: Path, somas: str) -> None:
    """Another process works on the project: nothing is changed, and the run can be tried again."""
    async with Chat(tmp_path, somas) as chat:
        with ProjectWriter.held(root, "project-42", chat.clock.now()):
            await chat.types("alice", "/somas restart 42")
            card = await chat.sees("Restart", "project-42")
            await chat.sees("needs a decision", "Another process has held project-42/state.json.lock", thread=card)
            await chat.sees("needs you", thread=card)
            await chat.sees("needs you", "Acknowledge")
        await chat.says("scotlaclair", "@opsbot ack", thread=card)
        await chat.sees("acknowledged the page", thread=card)
        await chat.says("alice", "@opsbot retry", thread=card)
        await chat.sees("Nothing was dispatched", thread=card)
        await chat.says("alice", "@opsbot cancel", thread=card)
        await chat.sees("Run cancelled", thread=card)
        _read_all(chat)
        await chat.rests()
        _read_all(chat)


# -- the bot's own database

# A restart on a machine without dispatch: steps 4 and 5 follow a workflow run that nobody has started.
ONE_ATTEMPT_EACH = [("done", 1)] * 3 + [("skipped", 0)] * 2 + [("done", 1)]


@contextmanager
def inbox_begins_with(each_time: Callable[[sqlite3.Connection], None]) -> Iterator[None]:
    """While this lasts the inbox's own connection, of which SQLAlchemy knows nothing, begins every transaction so."""
    connect = InboxFile._connect

    def _connect(self: InboxFile) -> sqlite3.Connection:
        connection = connect(self)
        each_time(connection)
        return connection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InboxFile, "_connect", _connect)
        yield


@contextmanager
def pragma(*statements: str, engines: Callable[[sa.Engine], bool] | None = None) -> Iterator[None]:
    """While this lasts every transaction, the bot's and the durable engine's, begins with these.

    The inbox's too, unless only some ``engines`` are meant.
    """
    on = True

    def _inbox(connection: sqlite3.Connection) -> None:
        if engines is None:
            for each in statements:
                connection.execute(each)

    @sa.event.listens_for(sa.engine.Engine, "before_cursor_execute")
    def _begin(connection: sa.Connection, cursor: Any, statement: str, *_: Any) -> None:
        if on and connection.engine.dialect.name == "sqlite" and (engines is None or engines(connection.engine)):
            for each in statements:
                cursor.execute(each)

    try:
        with inbox_begins_with(_inbox):
            yield
    finally:
        on = False
        sa.event.remove(sa.engine.Engine, "before_cursor_execute", _begin)


@contextmanager
def nothing_can_be_written() -> Iterator[None]:
    with pragma("PRAGMA query_only = ON"):
        yield


def _without_free_pages(file: Path) -> None:
    """What was deleted leaves room inside the file; a disk is full for the bot only when that is used up too."""
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("VACUUM")
        assert connection.execute("PRAGMA freelist_count").fetchone() == (0,)


@asynccontextmanager
async def writable_again(chat: Chat) -> AsyncIterator[None]:
    """The pragma stays on a connection; the next statement on each takes it back."""
    with pragma("PRAGMA query_only = OFF", "PRAGMA max_page_count = 1073741823"):
        yield


async def refused(chat: Chat, who: str, command: str) -> str:
    """What the person reads at once."""
    answer = await chat.slack.slash({"alice": "U0ALICE", "bob": "U0BOB"}[who], "C0OPS", command)
    assert answer.status == 200
    assert answer.message is not None
    answer.message.seen = True
    return answer.message.shown


async def ready(chat: Chat) -> tuple[int, list[str]]:
    assert chat.bot is not None
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{chat.bot.port}/readyz") as answer:
        return answer.status, (await answer.json())["problems"]


async def test_a_read_only_database(tmp_path: Path) -> None:
    async with Chat(tmp_path) as chat:
        with nothing_can_be_written():
            said = await refused(chat, "alice", "/runs list")
            assert said.startswith(
                "opsbot cannot store your command, so nothing was done: attempt to write a readonly database. Try again"
            )
            status, problems = await ready(chat)
            assert status == 503
            assert problems == [
                f"The database {tmp_path}/opsbot.db cannot be written: attempt to write a readonly database"
            ]
        async with writable_again(chat):
            await chat.types("alice", "/runs list")
            await chat.sees("No run is open.")
            assert (await ready(chat))[0] == 200
            assert await accepted(chat) == 1


@pytest.mark.parametrize("quick", [5, 0])
async def test_a_full_disk_is_told_and_the_run_goes_on_when_there_is_room(
    tmp_path: Path, root: Path, somas: str, quick: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``quick`` is how often the engine continues a run at once; then it pauses, and goes on all the same."""
    monkeypatch.setattr(sweep, "MOST_CONTINUATIONS", quick)
    async with Chat(tmp_path, somas + 'restart_budget = "PT5M"\n') as chat:
        await chat.types("alice", "/somas restart 42")
        card = await chat.sees("Restart", "project-42")
        await chat.sees("Nothing was dispatched", thread=card)
        await chat.rests()
        _without_free_pages(tmp_path / "opsbot.db")
        with pragma("PRAGMA max_page_count = 1"):  # SQLite takes the size that it has: not one page more
            said = await refused(chat, "bob", f"/somas restart 23 --reason '{'x' * 3900}'")
            assert "cannot store your command, so nothing was done: database or disk is full" in said
            await chat.clock.advance(400)  # the budget runs out, and it cannot be written down
            await asyncio.sleep(1.0)
        async with writable_again(chat):
            await chat.sees(
                "needs you", "tep 6", thread=card
            )  # for its budget or for what was not met, whichever is first
            page = await chat.sees("needs you", "Acknowledge")
            assert notifies(page) == {"@U0SCOT"}
            await chat.presses("scotlaclair", "Acknowledge", page)
            await chat.sees("acknowledged the page", thread=card)
            await chat.says("alice", "@opsbot cancel", thread=card)
            await chat.sees("Run cancelled by alice", thread=card)
            _read_all(chat)
            await chat.rests()
            _read_all(chat)
        assert sum("needs you" in each.shown for each in chat.channel()) <= 1


async def test_a_workflow_that_the_engine_gave_up_is_continued(tmp_path: Path, root: Path, somas: str) -> None:
    """The disk fills up while a step is at work: neither its end nor the workflow's failure can be written down."""
    async with Chat(tmp_path, somas) as chat:
        await chat.types("alice", "/somas restart 42")
        card = await chat.sees("Restart", "project-42")
        await chat.sees("Nothing was dispatched", thread=card)
        await chat.rests()
        assert chat.bot is not None
        store = chat.bot.store.engine.sync_engine
        with pragma("PRAGMA query_only = ON", engines=lambda engine: engine is not store):
            with ProjectWriter.held(root, "project-42", chat.clock.now()) as writer:
                writer.start_stage("verify", "tester")
            for _ in range(40):
                await chat.clock.advance(1)
                await asyncio.sleep(0.05)
        async with writable_again(chat):
            await chat.shows(card, "Done after")
            await chat.thread(card, until="Run done")
        assert [(step.status, step.attempt) for step in (await chat.state(card)).steps] == ONE_ATTEMPT_EACH


async def test_a_database_that_goes_away_and_comes_back(tmp_path: Path, root: Path, somas: str) -> None:
    """Neither reads nor writes work for a while, in the middle of a run."""

    def gone(connection: sa.Connection, cursor: Any, statement: str, *_: Any) -> None:
        raise sa.exc.OperationalError(statement, {}, sqlite3.OperationalError("disk I/O error"))

    def gone_for_the_inbox(connection: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    async with Chat(tmp_path, somas) as chat:
        await chat.types("alice", "/somas restart 42")
        card = await chat.sees("Restart", "project-42")
        await chat.sees("Nothing was dispatched", thread=card)
        await chat.rests()
        sa.event.listen(sa.engine.Engine, "before_cursor_execute", gone)
        try:
            with inbox_begins_with(gone_for_the_inbox):
                said = await refused(chat, "bob", "/runs list")
            assert "cannot store your command, so nothing was done: disk I/O error" in said
            status, problems = await ready(chat)
            assert status == 503
            assert f"The database {tmp_path}/opsbot.db cannot be written: disk I/O error" in problems
            with ProjectWriter.held(root, "project-42", chat.clock.now()) as writer:
                writer.start_stage("verify", "tester")
            for _ in range(20):
                await chat.clock.advance(1)
                await asyncio.sleep(0.02)
        finally:
            sa.event.remove(sa.engine.Engine, "before_cursor_execute", gone)
        await chat.shows(card, "Done after")
        await chat.thread(card, until="Run done")
        assert [(step.status, step.attempt) for step in (await chat.state(card)).steps] == ONE_ATTEMPT_EACH


async def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    """A small disk of its own, filled to the last byte, and emptied again."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("only root may mount")
    try:
        async with Chat(disk) as chat:
            await chat.types("alice", "/runs list")
            await chat.sees("No run is open.")
            with (disk / "fill").open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * 4096)
            said = await refused(chat, "bob", f"/runs show {'x' * 3900}")
            assert "cannot store your command, so nothing was done: database or disk is full" in said
            (disk / "fill").unlink()
            await chat.types("bob", "/runs list")
            await chat.sees("No run is open.")
            assert await accepted(chat) == 2
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


# -- Slack itself


@pytest.mark.parametrize("fault", ["rate_limited", "server_error", "lost_answer"])
async def test_slack_fails_while_a_run_goes_on(tmp_path: Path, fault: str) -> None:
    """The run does not wait for Slack; the card catches up, and nothing is said twice."""
    config = ProcessConfig(socket=tmp_path / "p.sock", children=payment_children())
    async with SupervisedProcess(config) as process, Chat(tmp_path, payments(tmp_path)) as chat:
        getattr(chat.slack.faults, fault)("chat.postMessage", times=2)
        getattr(chat.slack.faults, fault)("chat.update", times=2)
        await chat.types("alice", "/supervisor quarantine worker-1")
        await chat.until(lambda: process.executed, "the command on its way")
        card = await chat.sees("Quarantine worker-1")
        await chat.shows(card, "Done after")
        await chat.thread(card, until="Run done")
        await chat.passes(seconds=10)  # what may have been said is looked for once more
        await chat.rests()
        said = [message.shown for message in chat.slack.messages("C0OPS", card.ts) if message is not card]
        assert len(said) == len(set(said)) == 3
        assert len(chat.channel()) == 1
        assert process.executed == ["quarantine_child /worker-1"]


async def test_slack_is_away_while_somebody_has_to_be_paged(tmp_path: Path) -> None:
    """The page is late, not lost, and comes once."""
    async with Chat(tmp_path, payments(tmp_path)) as chat:
        config = ProcessConfig(socket=tmp_path / "p.sock", children=payment_children(), graceful_timeout=0.2)
        async with SupervisedProcess(config):
            await chat.types("alice", "/supervisor quarantine fraud-scorer")  # it ignores every request to stop
            card = await chat.sees("Quarantine fraud-scorer")
            chat.slack.faults.server_error("chat.postMessage", times=4)
            page = await chat.sees("needs you", "Acknowledge")
            assert notifies(page) == {"@U0SCOT"}
            await chat.sees("needs you", thread=card)
            await chat.presses("scotlaclair", "Acknowledge", page)
            await chat.sees("acknowledged the page", thread=card)
            await chat.says("alice", "@opsbot fail", thread=card)
            await chat.sees("Run ended as failed by alice", thread=card)
            await chat.rests()
            _read_all(chat)
            assert sum("needs you" in message.shown for message in chat.channel()) <= 1
