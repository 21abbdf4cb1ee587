"""A process behind a relay: real TLS with client certificates, a session for each question, and what is not told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from bot.clock import SystemClock
from bot.demo.supervised_process import Faults, ProcessConfig, SupervisedProcess
from bot.errors import UserError
from bot.handler import Target
from handlers.supervisor.link import LinkError
from handlers.supervisor.relay import RelayClient
from handlers.supervisor.settings import SupervisorTarget
from handlers.supervisor.transport import Rejected
from tests.supervisor.conftest import CHILDREN, FAST, Desk, connected
from tests.supervisor.relay import Authority, Relay, relay
from tests.supervisor.test_commands import text

PROCESS = Target(product="supervisor", kind="target", name="payments")


class Far:
    """A supervised process, its relay and the settings to reach it."""

    def __init__(self, folder: Path, process: SupervisedProcess, through: Relay, authority: Authority) -> None:
        self.folder, self.process, self.relay, self.authority = folder, process, through, authority

    def settings(self, **changes: Any) -> dict[str, Any]:
        certificate, key = self.authority.issue("operator")
        return {
            "relay": self.relay.url,
            "relay_certificate": certificate,
            "relay_key": key,
            "relay_ca": self.authority.path,
            **FAST,
            "request_timeout": 2.0,
            "command_timeout": 3.0,
            **changes,
        }

    def client(self, **changes: Any) -> RelayClient:
        return RelayClient("payments", SupervisorTarget.model_validate(self.settings(**changes)), SystemClock())

    async def desk(self, **changes: Any) -> Desk:
        return Desk(await connected({"payments": self.settings(**changes)}), {}, {})


@pytest.fixture
async def far(folder: Path) -> AsyncIterator[Far]:
    async with AsyncExitStack() as stack:
        config = ProcessConfig(folder / "p.sock", name="payments", children=CHILDREN, graceful_timeout=0.5)
        process = await stack.enter_async_context(SupervisedProcess(config, Faults()))
        authority = Authority(folder)
        through = await stack.enter_async_context(relay({"payments": folder / "p.sock"}, authority))
        yield Far(folder, process, through, authority)


async def test_state_and_health_through_the_relay(far: Far) -> None:
    one = far.client()
    state = await one.drivable_state()
    assert len(state.child_runtime_records or ()) == 5
    assert state.target_id == "payments"
    probe = await one.probe()
    assert probe.hello is not None and probe.state is not None
    assert one.listener is None
    desk = await far.desk()
    shown = text(await desk.type("/supervisor status"))
    assert "Link: connected" in shown
    assert "wss://" in text(await desk.type("/supervisor targets"))
    assert "Asked through its relay" in text(await desk.type("/supervisor health"))
    await desk.handler.close()


async def test_a_command_is_seen_in_the_state_and_what_the_relay_drops_is_said(far: Far) -> None:
    desk = await far.desk()
    result = await desk.do("handle.quarantine_child()", "worker-1")
    assert result.status == "done"
    assert "worker-1 is quarantined and has no running attempt" in result.summary
    assert "tells neither why a command failed nor what it changed" in result.summary
    (frame,) = far.relay.commands
    assert "requested_by" not in frame
    assert frame["reason"] == "crash loop (asked for by opsbot:slack:U0ALICE)"
    await desk.handler.close()


async def test_a_child_cannot_be_added_through_the_relay(far: Far) -> None:
    desk = await far.desk()
    with pytest.raises(UserError, match="the relay cannot carry a manifest"):
        await desk.do("handle.add_child()", "extra", inputs={"manifest": "name: extra\nfactory_key: steady\n"})
    assert far.relay.commands == []
    await desk.handler.close()


async def test_a_shutdown_is_seen_and_how_each_child_ended_is_not(far: Far) -> None:
    desk = await far.desk(command_timeout=5.0)
    result = await desk.do_on_process("handle.shutdown_tree()")
    assert result.status == "done"
    assert "How each child ended is not known" in result.summary
    await desk.handler.close()


async def test_a_relay_that_dies_after_the_command_leaves_the_state_to_tell(far: Far) -> None:
    desk = await far.desk()
    far.relay.faults.add("dies-on-command")
    result = await desk.do("handle.pause_child()", "worker-1")
    assert (result.status, far.process.executed) == ("done", ["pause_child /worker-1"])
    assert "The answer was lost; this was read from the state" in result.summary
    await desk.handler.close()


async def test_a_process_that_hangs_freezes_the_relay_and_not_the_bot(far: Far) -> None:
    far.process.faults.active.add("hang-control-loop")
    one = far.client(request_timeout=0.6)
    began = time.monotonic()
    with pytest.raises(LinkError, match="One process that hangs keeps a relay from answering"):
        await one.state()
    assert time.monotonic() - began < 2
    probe = await one.probe()
    assert probe.hello is not None and probe.state is None
    far.process.faults.active.clear()


async def test_a_process_that_the_relay_cannot_bind_gets_nothing_sent(far: Far) -> None:
    far.relay.targets["payments"] = far.folder / "gone.sock"
    with pytest.raises(LinkError, match="did not get to command"):
        await far.client(command_timeout=0.6).command(
            "pause_child", target_id="payments", child_path="/worker-1", reason="r", requested_by="opsbot:x"
        )
    assert far.relay.commands == []


async def test_a_process_that_is_not_listed(far: Far) -> None:
    with pytest.raises(LinkError, match="does not list orders; it lists payments"):
        await far.client(relay_target="orders").state()


async def test_an_error_of_the_relay_is_told(far: Far) -> None:
    one = far.client()
    async with one._session("error", 2.0) as socket:
        await one._listed(socket)
        frame = {"type": "command", "target_id": "payments", "requested_by": "me"}
        await one._state(socket)
        await socket.send_json(frame)
        with pytest.raises(Rejected, match="requested_by_override"):
            await one._result(socket, "x")


async def test_a_stranger_is_not_let_in_and_does_not_let_itself_be_fooled(far: Far) -> None:
    strange = Authority(far.folder, "strangers")
    certificate, key = strange.issue("stranger")
    with pytest.raises(LinkError) as refused:
        await far.client(relay_certificate=certificate, relay_key=key).state()
    assert refused.value.cause in ("closed", "owner")
    assert "certificate" in refused.value.message
    with pytest.raises(LinkError, match="does not hold") as fooled:
        await far.client(relay_ca=strange.path).state()
    assert "Nothing was sent" in fooled.value.message
    assert far.relay.sessions == 0


async def test_what_is_wrong_with_the_way_there(far: Far) -> None:
    with pytest.raises(LinkError, match=r"nobody answers at wss://127\.0\.0\.1:1/"):
        await far.client(relay="wss://127.0.0.1:1/").state()
    with pytest.raises(LinkError, match=r"cannot be used: No such file.*none\.pem"):
        await far.client(relay_ca=far.folder / "none.pem").state()


async def test_the_relay_of_a_process_with_a_socket_is_checked(far: Far) -> None:
    desk = await far.desk(socket=far.folder / "p.sock")
    checked = await desk.do_on_process("relay.check()")
    assert "the relay answers: server_hello in" in checked.summary
    assert "it lists payments" in checked.summary
    seen = await desk.handler.observe(frozenset({"relay.status"}), PROCESS, {})
    assert seen[0].value == "answers"
    await desk.handler.close()


def test_settings_of_a_relay_are_whole_or_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="must be a wss:// address"):
        SupervisorTarget.model_validate({"relay": "ws://relay:1"})
    with pytest.raises(ValueError, match="relay_certificate, relay_key and relay_ca"):
        SupervisorTarget.model_validate({"relay": "wss://relay:1"})
    with pytest.raises(ValueError, match="needs socket"):
        SupervisorTarget.model_validate({})


async def test_a_slow_drip_ends_with_its_time(folder: Path) -> None:
    """Something that takes connections and says nothing."""

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    authority = Authority(folder)
    certificate, key = authority.issue("operator")
    settings = {"relay": f"wss://127.0.0.1:{port}", "relay_certificate": certificate, "relay_key": key}
    target = SupervisorTarget.model_validate({**settings, "relay_ca": authority.path, **FAST})
    with pytest.raises(LinkError):
        await RelayClient("payments", target, SystemClock()).state()
    server.close()
