"""``relay = "wss://…"``: the published relay between the bot and the real process, with certificates on both sides."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bot.clock import SystemClock
from bot.demo.supervised_process import ChildSpec, ProcessConfig
from bot.errors import UserError
from handlers.supervisor.link import LinkError
from handlers.supervisor.relay import RelayClient
from handlers.supervisor.settings import SupervisorTarget
from tests.real_supervisor.process import RealProcess
from tests.real_supervisor.relay import Authority, RealRelay

CHILDREN = (ChildSpec("worker-1"), ChildSpec("worker-2"))


@dataclass
class Site:
    """A relay, a process that has registered at it, and the certificate of the bot."""

    relay: RealRelay
    process: RealProcess
    certificate: Path
    key: Path

    def client(self, **changes: Any) -> RelayClient:
        settings: dict[str, Any] = {
            "relay": self.relay.url,
            "relay_certificate": self.certificate,
            "relay_key": self.key,
            "relay_ca": self.relay.authority.certificate,
            "request_timeout": 3.0,
            "command_timeout": 5.0,
        }
        return RelayClient("payments", SupervisorTarget.model_validate({**settings, **changes}), SystemClock())


@pytest.fixture
async def site(folder: Path) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        relay = await stack.enter_async_context(RealRelay(folder))
        registration = {
            "enabled": True,
            "relay_registration_path": str(relay.registration),
            "display_name": "Payments",
            "lease_seconds": 30,
            "registration_heartbeat_interval_seconds": 1,
        }
        config = ProcessConfig(folder / "p.sock", children=CHILDREN)
        process = await stack.enter_async_context(RealProcess(config, registration=registration))
        made = Site(relay, process, *relay.authority.issue("opsbot", server=False))
        await registered(made.client())
        yield made


async def registered(client: RelayClient) -> None:
    """Until the process has told the relay that it is there, which it does once a second here."""
    async with asyncio.timeout(10):
        while True:
            try:
                await client.hello()
                return
            except LinkError:
                await asyncio.sleep(0.1)


async def test_the_state_comes_through(site: Site) -> None:
    client = site.client()
    assert (await client.hello()).registration is not None
    state = await client.drivable_state()
    assert [record.child_id for record in state.child_runtime_records or ()] == ["worker-1", "worker-2"]
    assert state.generated_at_unix_nanos > 1_700_000_000 * 10**9
    probe = await client.probe()
    assert probe.hello is not None
    assert probe.state is not None


async def test_a_command_is_taken_and_its_effect_seen_in_the_next_state(site: Site) -> None:
    client = site.client()
    result = await client.command(
        "quarantine_child", target_id="payments", child_path="/worker-1", reason="a test", requested_by="slack:U0ALICE"
    )
    assert (result.accepted, result.status) == (True, "completed")
    assert (result.error, result.state_delta) == (None, None)  # the relay drops them
    async with asyncio.timeout(5):
        while True:
            record = next(
                one for one in (await client.state()).child_runtime_records or () if one.child_id == "worker-1"
            )
            if (record.operation, record.attempt) == ("quarantined", None):
                break


async def test_a_dangerous_command_is_confirmed_and_a_manifest_is_not_carried(site: Site) -> None:
    client = site.client()
    who = {"target_id": "payments", "reason": "a test", "requested_by": "slack:U0ALICE"}
    assert (await client.command("remove_child", child_path="/worker-2", **who)).accepted
    with pytest.raises(UserError, match="cannot carry a manifest"):
        await client.command("add_child", child_path=None, child_manifest="name: extra", **who)


async def test_a_stranger_is_not_let_in(site: Site, folder: Path) -> None:
    (folder / "other").mkdir()
    other = Authority(folder / "other", "stranger")
    certificate, key = other.issue("mallory", server=False)
    with pytest.raises(LinkError) as refused:
        await site.client(relay_certificate=certificate, relay_key=key).state()
    assert "certificate" in str(refused.value)
    # And the bot does not talk to a relay that its authority has not signed.
    with pytest.raises(LinkError, match="Compare relay_ca"):
        await site.client(relay_ca=other.certificate).state()


async def test_a_process_that_hangs_holds_the_relay_and_not_the_bot(site: Site) -> None:
    (site.process.faults / "block").touch()
    await asyncio.sleep(0.1)
    client = site.client(request_timeout=0.5)
    with pytest.raises(LinkError, match="did not get to state"):
        await client.state()
    (site.process.faults / "block").unlink()
    async with asyncio.timeout(10):
        while (await client.probe()).state is None:
            await asyncio.sleep(0.1)


async def test_a_process_that_is_gone_is_told_from_a_relay_that_is_gone(site: Site) -> None:
    await site.process.kill()
    with pytest.raises((LinkError, UserError)) as gone:
        await site.client(request_timeout=1.0).state()
    assert "nobody answers at" not in str(gone.value)
    await site.relay.stop()
    with pytest.raises(LinkError, match="nobody answers at"):
        await site.client().state()
