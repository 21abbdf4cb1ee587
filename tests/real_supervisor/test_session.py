"""The recorded conversation: the simulation must hold it word for word, and the crate must still hold it."""

from __future__ import annotations

import copy

from tests.real_supervisor.conftest import World
from tests.real_supervisor.record import read
from tests.real_supervisor.session import converse, differences


async def test_the_process_says_what_was_recorded(world: World) -> None:
    """Of the real one this shows that the recording is of this crate, of the simulation that it may stand in for it."""
    config = world.config()
    await world.start(config)
    assert differences(read(), await converse(config.socket)) == []


def test_a_difference_is_seen() -> None:
    real, other = read(), copy.deepcopy(read())
    changed = next(one for one in other if one.name == "pause")
    assert changed.response is not None
    outcome = changed.response["result"]["result"]["state_delta"]["outcome"]
    outcome["stop_state"] = "completed"
    outcome["liveness"]["last_heartbeat_at_unix_nanos"] = 1780000000000000000
    del outcome["restart_limit"]["used"]
    other = [one for one in other if one.name != "hello"]
    where = "pause: .result.result.state_delta.outcome"
    beat = next(
        one.response["result"]["result"]["state_delta"]["outcome"]["liveness"]["last_heartbeat_at_unix_nanos"]
        for one in real
        if one.name == "pause" and one.response
    )
    assert sorted(differences(real, other)) == [
        "hello: was not asked",
        f"{where}.liveness.last_heartbeat_at_unix_nanos: {beat!r} in the real one, 1780000000000000000 here",
        f"{where}.restart_limit.used: only in the real one (0)",
        f"{where}.stop_state: 'cancel_delivered' in the real one, 'completed' here",
    ]
