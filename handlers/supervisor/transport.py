"""What a supervised process is asked through, whatever lies between: its own socket, or its relay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from bot.errors import UserError
from handlers.supervisor.children import Sample
from handlers.supervisor.link import Listener
from handlers.supervisor.protocol import CommandResult, DashboardError, Hello, State, Verb
from handlers.supervisor.settings import SupervisorTarget


class Rejected(UserError):
    """The process, or its relay, answered and will not do it. ``error.code`` tells why."""

    def __init__(self, target: str, error: DashboardError, *, by: str = "the process") -> None:
        super().__init__(f"{target}: {_explain(error, by)}")
        self.target = target
        self.error = error


@dataclass(frozen=True, slots=True)
class Probe:
    """Round trips in seconds; None with the reason in ``hello_error`` / ``state_error`` when there was no answer.

    ``refused``: the code of an answer to ``state`` that says no more than that the bot may not ask; ``gone``: of one
    that says that its control loop has not answered.
    """

    hello: float | None
    state: float | None
    hello_error: str = ""
    state_error: str = ""
    listener: Listener | None = None  # who was connected to, whether they answered or not
    refused: str = ""
    gone: str = ""


class Client(Protocol):
    """The client of one target. Raises ``LinkError`` (nothing or nonsense came back) and ``Rejected``."""

    name: str
    target: SupervisorTarget
    poll_pause: float  # seconds between two looks while a command is followed
    untold: str  # what this way keeps back, one sentence; empty when nothing

    @property
    def listener(self) -> Listener | None:
        """Who listened when the last connection was made; None when that cannot be known."""
        ...

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Some states of the last seconds, since the last command and of one process, oldest first."""
        ...

    async def hello(self) -> Hello:
        """Does not touch the control loop. ``Rejected`` when registration is off, which says nothing about health."""
        ...

    async def state(self) -> State:
        """One round trip through the control loop."""
        ...

    async def drivable_state(self) -> State:
        """A state of a process whose commands do what they say; ``LinkError`` for the others."""
        ...

    async def command(
        self,
        verb: Verb,
        *,
        target_id: str,
        child_path: str | None,
        reason: str,
        requested_by: str,
        child_manifest: str | None = None,
    ) -> CommandResult:
        """Send a command once. What it did is in the state, not in the answer."""
        ...

    async def probe(self) -> Probe:
        """Which of ``hello`` and ``state`` hangs, tells what is wrong."""
        ...

    async def close(self) -> None: ...


GONE = frozenset({"current_state_failed", "command_timeout", "target_unavailable"})  # no control loop has answered

ADVICE = {
    "authz_denied": "The bot's user may not send commands: add its uid to "
    "dashboard.security_config.authorization.allowed_uids of the process.",
    "authz_not_configured": "Configure dashboard.security_config.authorization of the process.",
    "audit_write_failed": "Its audit log cannot be written, so it keeps its answer back; it may be done.",
    "audit_queue_full": "Its audit log cannot keep up, so it keeps its answer back; it may be done.",
    "idempotency_cache_corrupted": "It has carried out a request of this id before.",
    "current_state_failed": "Its control loop is gone; only a restart of the process helps.",
    "command_timeout": "It did not answer its own command in time and may still carry it out.",
    "target_unavailable": "No supervision tree runs behind its socket.",
    "replay_detected": "It takes the request for a repetition.",
    "target_not_bound": "The relay could not connect to the process when this session began: look at the process.",
    "target_not_registered": "The process has not registered at the relay; it does so every 15 s.",
    "requested_by_override": "The relay names the subject of the bot's certificate as the one who asks.",
}


def _explain(error: DashboardError, by: str) -> str:
    advice = ADVICE.get(error.code, "")
    if error.code.startswith("peer_cred"):
        advice = "The bot must run as the same user as the process."
    said = f"{error.code} at {error.stage or 'an unnamed stage'}" + (f": {error.message}" if error.message else "")
    return f"{by} refused ({said}). {advice}".rstrip()
