"""``process.start()`` and its kin: a process is started by the configured command and believed when it answers."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bot.errors import UserError
from bot.handler import Target
from handlers.supervisor import crashes, socket_file
from handlers.supervisor.children import Sample
from handlers.supervisor.diagnosis import Symptom, diagnose
from handlers.supervisor.facts import Seen
from handlers.supervisor.protocol import Reply, parse_line, read_state
from handlers.supervisor.settings import SupervisorTarget
from handlers.supervisor.transport import Probe
from tests.supervisor.conftest import FAST, Desk, Scripted, a_state, action, connected, until
from tests.supervisor.test_commands import text

PROCESS = Target(product="supervisor", kind="target", name="payments")


class Deployed:
    """What a service manager does, in a script; the process logs to a file."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "p.sock"
        self.log = folder / "p.log"
        self.starts = folder / "starts"
        self.script = folder / "start"
        self.works()

    def works(self) -> None:
        program = f"env PYTHONPATH={Path.cwd()} {sys.executable} -m bot.demo.supervised_process --socket {self.socket}"
        self.write(f"exec setsid --fork {program} >>{self.log} 2>&1 </dev/null")

    def write(self, line: str) -> None:
        self.script.write_text(f"#!/bin/sh\necho start >>{self.starts}\n{line}\n")
        self.script.chmod(0o755)

    @property
    def tries(self) -> int:
        return len(self.starts.read_text().splitlines()) if self.starts.exists() else 0

    @property
    def pids(self) -> list[int]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [int(line.split("pid=")[1].split()[0]) for line in lines if line.startswith("ready pid=")]

    async def desk(self, **changes: Any) -> Desk:
        commands = {"start": [str(self.script)], "pgrep": ["pgrep", "-f", f"supervised_process --socket {self.socket}"]}
        target = {"socket": self.socket, "log": self.log, "commands": commands, **FAST, "start_timeout": 8.0, **changes}
        return Desk(await connected({"payments": target}), {}, {})


@pytest.fixture
async def deployed(folder: Path) -> AsyncIterator[Deployed]:
    made = Deployed(folder)
    yield made
    for pid in made.pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


async def gone(desk: Desk) -> None:
    """Until nobody has the process."""

    async def dead() -> bool:
        seen = await desk.handler.observe(frozenset({"process.running"}), PROCESS, {})
        return seen[0].value is False

    await until(dead)


async def test_from_the_crash_to_a_process_that_is_ready(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = await deployed.desk()
    down = await desk.do_on_process("process.check()")
    assert "it does not run: pgrep -f" in down.summary
    assert {fact.name: fact.value for fact in down.observations}["exit_code"] == 1
    started = await desk.do_on_process("process.start()")
    assert started.status == "done", started
    assert {fact.name: fact.value for fact in started.observations} == {"restart.failures": 0}
    up = await desk.do_on_process("process.check()")
    assert f"it runs: pid {deployed.pids[-1]} listens at the socket (peer credentials)" in up.summary
    with pytest.raises(UserError, match="is not known to be down"):
        await desk.do_on_process("process.start()")

    os.kill(deployed.pids[-1], signal.SIGKILL)
    await gone(desk)
    stale = await desk.do_on_process("socket.check()")
    assert "nobody listens. The process is gone and has left it; with bind_mode create_new" in stale.summary
    diagnosed = text(await desk.type("/supervisor diagnose"))
    assert "P1-001: the process does not run" in diagnosed

    refused = await desk.do_on_process("process.start()")  # create_new
    assert refused.status == "failed"
    assert "start failed twice" in refused.summary
    assert "cannot start again until it is removed" in refused.summary
    assert {fact.name: fact.value for fact in refused.observations} == {"restart.failures": 2}

    removed = await desk.do_on_process("socket.remove_stale()")
    assert removed.summary.endswith("is removed; nobody listened at it.")
    again = await desk.do_on_process("process.start()")
    assert again.status == "done"
    log = await desk.do_on_process("journal", arguments={"lines": "5"})
    assert f"ready pid={deployed.pids[-1]}" in log.evidence
    monkeypatch.setattr(crashes, "CORE_PATTERN", Path("/no/such"))
    core = await desk.do_on_process("core_dump")
    assert "there is nothing to keep" in core.summary
    assert "No backtrace in" in core.evidence
    snapshot = await desk.do_on_process("metrics_snapshot", arguments={"seconds": "1"})
    assert "the control loop answers" in snapshot.summary
    assert f"pid {deployed.pids[-1]}: " in snapshot.evidence
    await desk.handler.close()


async def test_a_start_that_fails_is_tried_twice_and_no_more(deployed: Deployed) -> None:
    deployed.write("echo no such unit; exit 5")
    desk = await deployed.desk()
    result = await desk.do_on_process("process.start()")
    assert (result.status, deployed.tries) == ("failed", 2)
    assert "start failed twice" in result.summary
    assert "ended with 5" in result.evidence and "no such unit" in result.evidence
    await desk.handler.close()


async def test_a_start_that_does_not_end_is_ended(deployed: Deployed) -> None:
    deployed.write("sleep 60")
    desk = await deployed.desk(command_seconds=0.3)
    result = await desk.do_on_process("process.start()")
    assert result.status == "failed"
    assert "was ended after 0.3 s" in result.summary
    await desk.handler.close()


async def test_a_restart_is_believed_when_another_process_answers(deployed: Deployed) -> None:
    kill = "for pid in $(sed -n 's/^ready pid=\\([0-9]*\\).*/\\1/p' {log} | tail -1); do kill $pid; sleep 0.5; done\n"
    desk = await deployed.desk()
    await desk.do_on_process("process.start()")
    first = deployed.pids[-1]
    restart = deployed.script.with_name("restart")
    restart.write_text(f"#!/bin/sh\n{kill.format(log=deployed.log)}exec {deployed.script}\n")
    restart.chmod(0o755)
    lazy = await deployed.desk(commands={"restart": ["true"]}, start_timeout=0.4)
    same = await lazy.do_on_process("process.restart()")
    assert same.status == "failed"
    assert f"the same process answers still (pid {first})" in same.summary
    await lazy.handler.close()
    able = await deployed.desk(commands={"restart": [str(restart)]})
    result = await able.do_on_process("process.restart()")
    assert result.status == "done", result
    assert deployed.pids[-1] != first
    assert f"pid {deployed.pids[-1]} answers" in result.summary
    await able.handler.close()
    await desk.handler.close()


async def test_without_a_command_the_row_is_for_a_person(deployed: Deployed) -> None:
    desk = await deployed.desk(commands={})
    for name in ("process.start()", "process.restart()", "relay.restart()"):
        result = await desk.do_on_process(name)
        assert result.status == "manual"
        assert "is not configured" in result.summary and "then say how it went" in result.summary
    preview = action("process.start()").preview
    assert preview is not None
    assert "It is asked of a person" in (await preview(desk.handler, desk.context("x"))).summary
    await desk.handler.close()


# -- the socket's file


def target(path: Path, **changes: Any) -> SupervisorTarget:
    return SupervisorTarget(socket=path, **changes)


def left_behind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


async def test_a_socket_that_somebody_listens_at_is_never_removed(folder: Path) -> None:
    async with Scripted(folder / "p.sock", a_state):
        found = socket_file.examine(target(folder / "p.sock"))
        assert (found.listening, found.blocks_start) == (True, False)
        with pytest.raises(UserError, match="somebody listens"):
            socket_file.remove_stale(target(folder / "p.sock"))
        assert (folder / "p.sock").exists()


def test_what_is_no_stale_socket_is_left_as_it_is(folder: Path) -> None:
    (folder / "file.sock").write_text("x")
    with pytest.raises(UserError, match="is a regular file, not a socket"):
        socket_file.remove_stale(target(folder / "file.sock"))
    left_behind(folder / "real.sock")
    (folder / "link.sock").symlink_to(folder / "real.sock")
    with pytest.raises(UserError, match="is a symbolic link"):
        socket_file.remove_stale(target(folder / "link.sock"))
    with pytest.raises(UserError, match="belongs to uid"):
        socket_file.remove_stale(target(folder / "real.sock", uid=os.getuid() + 1))
    assert sorted(path.name for path in folder.iterdir()) == ["file.sock", "link.sock", "real.sock"]
    assert "is not there any more" in socket_file.remove_stale(target(folder / "none.sock"))


def test_what_is_wrong_with_a_socket_is_told(folder: Path) -> None:
    left_behind(folder / "p.sock")
    found = socket_file.examine(target(folder / "p.sock"))
    assert (found.stale, found.blocks_start) == (True, True)
    assert not socket_file.examine(target(folder / "p.sock", bind_mode="replace_stale")).blocks_start
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "open.sock"))
        listener.listen()
        (folder / "open.sock").chmod(0o777)
        assert "verybody on this host may command the process" in socket_file.examine(target(folder / "open.sock")).text


# -- which procedure it is


async def test_a_process_that_runs_without_its_socket_is_a_link_that_is_down(deployed: Deployed) -> None:
    desk = await deployed.desk(commands={"pgrep": ["true"]})
    said = text(await desk.type("/supervisor diagnose"))
    assert "P1-003: the process may run, but its link is down: there is no socket at" in said
    with pytest.raises(UserError, match="is not known to be down: true ended with 0"):
        desk.handler.clients["payments"].target = desk.handler.clients["payments"].target.model_copy(
            update={"commands": {"pgrep": ("true",), "start": ("false",)}}
        )
        await desk.do_on_process("process.start()")
    await desk.handler.close()


async def test_a_listener_that_answers_nothing_runs_and_is_starved(folder: Path) -> None:
    async with Scripted(folder / "p.sock", lambda request: b""):
        desk = Desk(await connected({"payments": {"socket": folder / "p.sock", **FAST}}), {}, {})
        checked = await desk.do_on_process("process.check()")
        assert f"it runs, but does not answer: pid {os.getpid()} listens" in checked.summary
        assert "P1-004: connected, and nothing is answered" in text(await desk.type("/supervisor diagnose"))
        await desk.handler.close()


def refusal(request: dict[str, Any]) -> bytes:
    error = {"code": "peer_credentials_denied", "stage": "c3_peer_credentials", "target_id": None, "message": "no"}
    answer = {"request_id": request["request_id"], "ok": False, "error": {**error, "retryable": False}}
    return json.dumps(answer).encode() + b"\n"


async def test_a_process_that_refuses_the_bot_is_neither_starved_nor_to_be_restarted(folder: Path) -> None:
    """It runs and answers: P1-003 and P1-004 would stop what works."""
    async with Scripted(folder / "p.sock", refusal):
        desk = Desk(await connected({"payments": {"socket": folder / "p.sock", **FAST}}), {}, {})
        said = text(await desk.type("/supervisor diagnose"))
        assert "it answers, and cannot be driven: the process refused (peer_credentials_denied" in said
        assert "The bot must run as the same user as the process" in said
        assert "P1-00" not in said
        assert await desk.value("dashboard_link") == "refused"
        assert await desk.value("health.status") == "refused"
        await desk.handler.close()


def test_a_process_that_answers_slowly_is_offered_for_starvation() -> None:
    request = {"request_id": "a", "method": "state"}
    samples = (Sample(datetime.now(UTC), read_state(parse_line(a_state(request).strip()) or Reply("", b""))),)
    seen = Seen(target=PROCESS, now=datetime.now(UTC), samples=samples, probe=Probe(0.002, 0.15))
    says = "slow: one round trip of state took 150 ms, and hello 2 ms"
    assert diagnose("payments", seen, None) == [Symptom("P1-004", says, "steady")]
    assert diagnose("payments", replace(seen, probe=Probe(0.002, 0.09)), None) == []
