"""``/supervisor status`` when the process cannot be reached: each cause has its own text, which says what to do."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from bot.clock import SystemClock
from bot.demo.supervised_process import ChildSpec, Limits, ProcessConfig, SupervisedProcess
from handlers.supervisor.client import SupervisorClient
from handlers.supervisor.link import LinkError, process_started_at
from handlers.supervisor.settings import SupervisorTarget
from tests.supervisor.conftest import FAST, Scripted, a_state


def client(path: Path, **changes: Any) -> SupervisorClient:
    return SupervisorClient("payments", SupervisorTarget(socket=path, **{**FAST, **changes}), SystemClock())


async def failure(path: Path, **changes: Any) -> LinkError:
    with pytest.raises(LinkError) as caught:
        await client(path, **changes).state()
    assert str(path) in caught.value.message or caught.value.cause in ("silent", "closed", "protocol")
    assert not caught.value.sent
    return caught.value


async def test_a_missing_socket(folder: Path) -> None:
    error = await failure(folder / "none.sock")
    assert error.cause == "missing"
    assert error.message == (
        f"payments: there is no socket at {folder}/none.sock. The process is not running, or serves another path: "
        "compare dashboard.path of its configuration with socket here."
    )


async def test_a_stale_socket_names_the_trap_of_create_new(folder: Path) -> None:
    path = folder / "stale.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
    error = await failure(path)
    assert error.cause == "stale"
    assert "the process is gone" in error.message
    assert "bind_mode create_new" in error.message


async def test_a_regular_file_and_a_folder_are_not_called_stale(folder: Path) -> None:
    (folder / "file.sock").write_text("x")
    error = await failure(folder / "file.sock")
    assert (error.cause, "is a regular file, not a socket" in error.message) == ("regular file", True)
    (folder / "dir.sock").mkdir()
    assert "is a folder, not a socket" in (await failure(folder / "dir.sock")).message


async def test_a_link_is_not_followed(folder: Path) -> None:
    async with Scripted(folder / "real.sock", a_state) as process:
        (folder / "link.sock").symlink_to(folder / "real.sock")
        assert (await failure(folder / "link.sock")).cause == "symlink"
    assert process.requests == []


async def test_a_listener_that_takes_no_connections(folder: Path) -> None:
    path = folder / "full.sock"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(path))
        listener.listen(0)
        first.connect(str(path))
        error = await failure(path)
    assert error.cause == "backlog"
    assert "has taken no connection for 0.3 s" in error.message


async def test_a_socket_of_somebody_else_gets_nothing_sent(folder: Path) -> None:
    async with Scripted(folder / "p.sock", a_state) as process:
        error = await failure(folder / "p.sock", uid=os.getuid() + 1)
    assert error.cause == "owner"
    assert process.requests == []


async def test_a_listener_of_another_user_behind_a_file_of_ours(folder: Path) -> None:
    """The file can be handed over; who listens cannot."""
    if os.getuid() != 0:
        pytest.skip("only root can give a socket file away")
    path = folder / "p.sock"
    async with Scripted(path, a_state) as process:
        os.chown(path, 4711, 4711)
        error = await failure(path, uid=4711)
    assert error.cause == "owner"
    assert f"pid {os.getpid()} of uid 0 listens" in error.message
    assert process.requests == []


async def test_no_permission(folder: Path) -> None:
    """Root may connect everywhere, so as root a child process without privileges asks."""
    path = folder / "p.sock"
    async with Scripted(path, a_state):
        path.chmod(0o600)
        folder.chmod(0o755)
        if os.getuid() != 0:
            path.chmod(0)
            assert (await failure(path)).cause == "permission"
            return
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.setgid(4711)
            os.setuid(4711)
            try:
                from handlers.supervisor.link import _open

                _open("payments", SupervisorTarget(socket=path))
                told = "connected"
            except LinkError as error:
                told = f"{error.cause}|{error.message}"
            os.write(writing, told.encode())
            os._exit(0)
        os.waitpid(pid, 0)
        cause, _, text = os.read(reading, 4096).decode().partition("|")
    assert cause == "permission"
    assert "uid 4711 may not connect" in text


async def test_a_path_that_is_too_long_is_told_when_the_configuration_is_read() -> None:
    with pytest.raises(ValueError, match="a Unix socket address holds 107"):
        SupervisorTarget(socket=Path("/" + "x" * 107))
    with pytest.raises(ValueError, match="must be an absolute path"):
        SupervisorTarget(socket=Path("run/payments.sock"))


async def test_too_many_connections_are_told_from_a_dead_process(folder: Path) -> None:
    config = ProcessConfig(folder / "p.sock", children=(ChildSpec("a"),), limits=Limits(connections=1))
    async with SupervisedProcess(config):
        first = client(folder / "p.sock")
        await first.state()
        error = await failure(folder / "p.sock")
        await first.close()
    assert error.cause == "closed"
    assert "more than 64 connections" in error.message


async def test_who_listens_is_known(folder: Path) -> None:
    async with Scripted(folder / "p.sock", a_state):
        one = client(folder / "p.sock", uid=os.getuid())
        await one.state()
        assert one.listener is not None
        assert (one.listener.pid, one.listener.uid) == (os.getpid(), os.getuid())
        assert one.listener.started_at == process_started_at(os.getpid())
        assert one.listener.started_at is not None
        await one.close()


async def test_the_start_of_a_process_that_is_gone_is_unknown() -> None:
    done = await asyncio.create_subprocess_exec("true")
    await done.wait()
    assert process_started_at(done.pid) is None
