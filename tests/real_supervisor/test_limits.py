"""What a client may do and how much of it: sizes, rates, connections, repeated ids, who it is. In both worlds."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bot.demo.supervised_process import BindError, ChildSpec, ProcessConfig
from tests.real_supervisor.conftest import World
from tests.real_supervisor.process import RealProcess

STEADY = (ChildSpec("worker-1"), ChildSpec("worker-2"))
FRAME_LIMIT = 65_536


def hello(size: int, request_id: str = "long") -> bytes:
    """A request of so many bytes before its line feed."""
    line = json.dumps({"request_id": request_id, "method": "hello", "params": {"padding": ""}})
    return line.replace('""', '"' + "x" * (size - len(line)) + '"').encode() + b"\n"


def a_command(command: str, child: str) -> dict[str, Any]:
    return {
        "command_id": str(uuid.uuid4()),
        "target_id": "payments",
        "command": command,
        "target": {"child_path": child},
        "reason": "a test",
        "requested_by": "test",
        "confirmed": False,
        "requested_at_unix_nanos": 1780000000555000000,
    }


async def test_a_line_of_64_kib_is_read_and_one_byte_more_ends_the_connection(world: World) -> None:
    line = await world.serve(children=STEADY)
    answer = await line.send(hello(FRAME_LIMIT))
    assert answer is not None
    assert answer["ok"]
    assert await line.send(hello(FRAME_LIMIT + 1, "longer")) is None
    assert (await (await world.line()).ask("hello"))["ok"]  # a new connection is taken


async def test_a_hundred_children_are_one_long_line(world: World) -> None:
    children = tuple(ChildSpec(f"worker-{number}") for number in range(1, 101))
    line = await world.serve(children=children)
    assert len((await line.state())["child_runtime_records"]) == 100
    assert len(json.dumps(await line.state())) > 64 * 1024  # beyond what a reader takes that is not told to


async def test_silent_ends(world: World) -> None:
    line = await world.serve(children=STEADY)
    assert await line.send(b"\xff\n") is None
    unfinished = await world.line()
    unfinished.writer.write(b'{"request_id":"a","method":"hello","params":{}}')
    unfinished.writer.write_eof()
    assert await asyncio.wait_for(unfinished.reader.read(), 5) == b""


async def test_the_burst_is_twenty_per_connection(world: World) -> None:
    line = await world.serve(children=STEADY)
    asked = [json.dumps({"request_id": f"b-{number}", "method": "hello", "params": {}}) for number in range(60)]
    line.writer.write("".join(one + "\n" for one in asked).encode())
    answers = [json.loads(await asyncio.wait_for(line.reader.readline(), 5)) for _ in asked]
    assert [answer["request_id"] for answer in answers] == [f"b-{number}" for number in range(60)]  # in their order
    codes = [answer.get("error", {}).get("code") for answer in answers]
    assert codes[:20] == [None] * 20
    assert "rate_limit_exceeded" in codes
    refused = next(answer["error"] for answer in answers if not answer["ok"])
    assert (refused["stage"], refused["retryable"], refused["target_id"]) == ("rate_limit", False, None)
    assert (await (await world.line()).ask("hello"))["ok"]  # another connection has its own
    await asyncio.sleep(0.25)
    assert (await line.ask("hello"))["ok"]  # and this one's comes back


async def test_the_65th_connection_is_ended_at_once(world: World) -> None:
    await world.start(world.config(children=STEADY))
    lines = [await world.line() for _ in range(64)]
    assert (await lines[-1].ask("hello"))["ok"]
    over = await world.line()
    assert await asyncio.wait_for(over.reader.read(), 5) == b""
    lines[0].writer.close()

    async def taken() -> bool:
        return await (await world.line()).send(b'{"request_id":"again","method":"hello"}\n') is not None

    async with asyncio.timeout(5):
        while not await taken():
            await asyncio.sleep(0.05)


async def test_a_repeated_id_is_not_done_again_on_any_connection_and_its_answer_is_lost(world: World) -> None:
    """The process keeps the reply and cannot read it back: only what holds no time comes a second time."""
    first = await world.serve(children=STEADY)
    second = await world.line()
    hello = await first.ask("hello", request_id="greeting")
    assert await second.ask("state", request_id="greeting") == hello  # the id alone counts
    await first.ask("state", request_id="same")
    error = (await second.ask("state", request_id="same"))["error"]
    assert (error["code"], error["stage"], error["retryable"]) == (
        "idempotency_cache_corrupted",
        "c8_idempotency",
        False,
    )
    params = a_command("restart_child", "/worker-2")
    assert (await first.ask("command.restart_child", params, request_id="retried"))["ok"]
    await first.until("worker-2", {"attempt": 2})
    error = (await second.ask("command.restart_child", params, request_id="retried"))["error"]
    assert error["code"] == "idempotency_cache_corrupted"
    await asyncio.sleep(0.2)
    await first.until("worker-2", {"attempt": 2})


async def test_who_may_not_write_may_read(world: World) -> None:
    line = await world.serve(children=STEADY, allowed_uids=frozenset({os.getuid() + 1}))
    assert len((await line.state())["child_runtime_records"]) == 2
    params = {"command": "pause_child"}  # not even looked at
    error = (await line.ask("command.pause_child", params))["error"]
    assert (error["code"], error["stage"], error["retryable"]) == ("authz_denied", "authorization", False)
    assert error["target_id"] is None


ASK_AS_NOBODY = """
import json, socket, sys
line = socket.socket(socket.AF_UNIX)
line.connect(sys.argv[1])
line.sendall(b'{"request_id":"n","method":"state","params":{}}\\n')
print(json.loads(line.makefile().readline())["error"]["code"])
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can ask as somebody else")
async def test_another_user_is_refused_even_where_the_file_lets_it_in(world: World) -> None:
    await world.start(world.config(children=STEADY, mode=0o660))
    socket = world.folder / "p.sock"
    socket.chmod(0o666)
    world.folder.chmod(0o755)
    command = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "/usr/bin/env", "python3"]
    asked = await asyncio.create_subprocess_exec(
        *command, "-c", ASK_AS_NOBODY, str(socket), stdout=subprocess.PIPE, env={"PATH": "/usr/bin:/bin"}
    )
    said, _ = await asyncio.wait_for(asked.communicate(), 10)
    assert said.decode().strip() == "peer_cred_uid_mismatch"


async def test_a_command_without_its_audit_is_done_and_denied(real: World) -> None:
    """Fail-closed means that the reply is withheld, not that nothing happened."""
    process = RealProcess(real.config(children=STEADY))
    process.file.write_text(process.file.read_text() + "audit:\n  backend: file\n  file_path: /dev/full\n")
    async with process:
        line = await real.line()
        assert (await line.ask("state"))["ok"]
        error = (await line.ask("command.pause_child", a_command("pause_child", "/worker-1")))["error"]
        assert (error["code"], error["stage"]) == ("audit_write_failed", "audit")
        await line.until("worker-1", {"operation": "paused", "attempt": None})


# --- the socket file ---------------------------------------------------------------------------------------------


async def refused(world: World, config: ProcessConfig) -> str:
    """What the process says when it does not start."""
    with pytest.raises((RuntimeError, BindError)) as caught:
        await world.start(config)
    return str(caught.value)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o660])
async def test_the_mode_is_what_was_configured(world: World, mode: int) -> None:
    await world.serve(children=STEADY, mode=mode)
    assert stat.S_IMODE((world.folder / "p.sock").stat().st_mode) == mode


async def test_a_stale_socket_keeps_create_new_from_coming_back(world: World) -> None:
    leave_a_stale_socket(world.folder / "p.sock")
    config = world.config(children=STEADY)
    said = await refused(world, config)
    assert "exists" in said
    if world.kind == "real":
        assert "bind_mode is create_new" in said
        assert "dashboard IPC startup failed" in said
    with pytest.raises(ConnectionRefusedError):
        await world.line()
    # Somebody looks, sees that nobody listens, and removes it: then it comes back.
    (world.folder / "p.sock").unlink()
    assert (await (await world.serve(children=STEADY)).ask("hello"))["ok"]


async def test_replace_stale_takes_a_stale_socket_and_nothing_else(world: World) -> None:
    path = world.folder / "p.sock"
    config = world.config(children=STEADY, bind_mode="replace_stale")
    makers: dict[str, Callable[[Path], object]] = {
        "a file": lambda at: at.write_text("mine"),
        "a folder": Path.mkdir,
        "a link": lambda at: at.symlink_to("/tmp"),
    }
    for make in makers.values():
        make(path)
        assert "startup failed" in await refused(world, config) or world.kind == "simulated"
        assert path.is_symlink() or path.exists()  # it is left as it was
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    leave_a_stale_socket(path)
    await world.start(config)
    assert (await (await world.line()).ask("hello"))["ok"]
    assert "process" in await refused(world, config)  # a second one: this one listens
    assert (await (await world.line()).ask("hello"))["ok"]


def leave_a_stale_socket(path: Path) -> None:
    code = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)


async def test_the_folder_of_the_socket_is_made(world: World) -> None:
    config = world.config(children=STEADY, socket=world.folder / "new" / "p.sock")
    if world.kind == "real":
        (world.folder / "new.yaml").touch()
        process = RealProcess(world.config(children=STEADY))
        process.file.write_text(process.file.read_text().replace("p.sock", "new/p.sock"))
        async with process:
            assert config.socket.exists()
    else:
        await world.start(config)
        assert config.socket.exists()


async def test_a_clean_stop_takes_the_socket_with_it(real: World) -> None:
    process = RealProcess(real.config(children=STEADY))
    await process.start()
    process.send(signal.SIGTERM)
    assert await asyncio.wait_for(process.process.wait(), 10) == 0
    await process.stop()
    assert not (real.folder / "p.sock").exists()
