"""Talks to one supervised process: a request, its answer, a time limit, and the truth about what is not known.

One connection per target and one request in flight on it, so that answers belong to requests by their position. A
command whose answer was lost raises ``LinkError`` with ``sent``: it may have happened.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from bot.clock import Clock
from bot.errors import UserError
from handlers.supervisor import children
from handlers.supervisor.children import Sample
from handlers.supervisor.link import Connection, LinkError, Listener, connect
from handlers.supervisor.protocol import (
    NEVER_RETRIED,
    PUSH_LIMIT,
    UNREADABLE,
    CommandResult,
    DashboardError,
    Hello,
    ProtocolError,
    Reply,
    State,
    Verb,
    command_params,
    encode_request,
    parse_line,
    read_command,
    read_hello,
    read_state,
)
from handlers.supervisor.settings import SupervisorTarget

Read = TypeVar("Read")
Params = Callable[[], Mapping[str, Any]]

IDLE_SECONDS = 240.0  # the process closes a connection that was quiet for 300
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0  # after rate_limit_exceeded, in seconds


class Rejected(UserError):
    """The process answered and will not do it. ``error.code`` tells why."""

    def __init__(self, target: str, error: DashboardError) -> None:
        super().__init__(f"{target}: {_explain(error)}")
        self.target = target
        self.error = error


@dataclass(frozen=True, slots=True)
class Probe:
    """Round trips in seconds; None with the reason in ``hello_error`` / ``state_error`` when there was no answer."""

    hello: float | None
    state: float | None
    hello_error: str = ""
    state_error: str = ""


class SupervisorClient:
    """The client of one target. Raises ``LinkError`` (nothing or nonsense came back) and ``Rejected``."""

    def __init__(self, name: str, target: SupervisorTarget, clock: Clock) -> None:
        self.name = name
        self.target = target
        self._clock = clock
        self._lock = asyncio.Lock()
        self._connection: Connection | None = None
        self._last_listener: Listener | None = None
        self._samples: tuple[Sample, ...] = ()

    @property
    def listener(self) -> Listener | None:
        """Who listened when the last connection was made."""
        return self._last_listener

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Some states of the last seconds, since the last command and of one process, oldest first."""
        return self._samples

    async def close(self) -> None:
        """Drop the connection."""
        self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    async def hello(self) -> Hello:
        """Does not touch the control loop. ``Rejected`` when registration is off, which says nothing about health."""
        return self._read(read_hello, await self._request("hello", dict, self.target.request_timeout))

    async def state(self) -> State:
        """One round trip through the control loop."""
        reply = await self._request("state", dict, self.target.request_timeout)
        state = self._read(read_state, reply)
        sample = Sample(self._clock.now(), state)
        self._samples = children.with_sample(self._samples, sample, self.target.max_backoff)
        return state

    async def drivable_state(self) -> State:
        """A state of a process whose commands do what they say; ``LinkError`` for the others."""
        state = await self.state()
        reason = children.unusable(state)
        if reason is not None:
            raise LinkError(self.name, "refused generation", f"refused: {reason}.")
        return state

    async def command(
        self, verb: Verb, *, target_id: str, child_path: str | None, reason: str, requested_by: str
    ) -> CommandResult:
        """Send a command once. What it did is in the state, not in the answer.

        A command that the rate limit turned away was not carried out and is sent again, except those that are never
        repeated.
        """

        def params() -> Mapping[str, Any]:
            return command_params(
                verb,
                command_id=str(uuid.uuid4()),
                target_id=target_id,
                child_path=child_path,
                reason=reason.strip() or "no reason given",
                requested_by=requested_by,
                requested_at_unix_nanos=time.time_ns(),
            )

        self._samples = ()
        try:
            reply = await self._request(f"command.{verb}", params, self.target.command_timeout)
        finally:
            self._samples = ()
        return self._read(read_command, reply, sent=True)

    async def probe(self) -> Probe:
        """``hello`` and ``state`` side by side, each on a connection of its own: which of the two hangs, tells."""
        hello, state = await asyncio.gather(self._probe("hello"), self._probe("state"))
        return Probe(hello[0], state[0], hello[1], state[1])

    async def _probe(self, method: str) -> tuple[float | None, str]:
        other = SupervisorClient(self.name, self.target, self._clock)
        started = time.perf_counter()
        try:
            await other._request(method, dict, self.target.request_timeout)
        except LinkError as error:
            return None, error.message
        except Rejected as error:
            # Registration is off: an answer all the same. A state without a control loop is not.
            if error.error.stage != "registration":
                return None, error.message
        finally:
            self._last_listener = other.listener or self._last_listener
            await other.close()
        return time.perf_counter() - started, ""

    def _read(self, read: Callable[[Reply], Read], reply: Reply, *, sent: bool = False) -> Read:
        try:
            return read(reply)
        except ProtocolError as error:
            raise LinkError(self.name, "protocol", _not_the_protocol(error), sent=sent) from None

    async def _request(self, method: str, params: Params, seconds: float) -> Reply:
        """Ask once; ask again only what the rate limit turned away, with what ``params`` makes anew."""
        verb = method.removeprefix("command.")
        pause = FIRST_PAUSE
        give_up_at = time.monotonic() + seconds
        while True:
            reply = await self._exchange(method, params(), max(0.05, give_up_at - time.monotonic()))
            if reply.error is None:
                return reply
            if reply.error.code != "rate_limit_exceeded" or verb in NEVER_RETRIED:
                raise Rejected(self.name, reply.error)
            wait = random.uniform(pause, min(LONGEST_PAUSE, pause * 1.5))  # noqa: S311  spreads clients, guards nothing
            if time.monotonic() + wait >= give_up_at:
                raise LinkError(self.name, "rate limit", "answers rate_limit_exceeded. Other clients ask it too often.")
            await asyncio.sleep(wait)
            pause = min(LONGEST_PAUSE, pause * 2)

    async def _exchange(self, method: str, params: Mapping[str, Any], seconds: float) -> Reply:
        """One line out, its line in. Raises ``LinkError``; ``sent`` is set as soon as a command may have arrived."""
        changes = method.startswith("command.")
        request_id = str(uuid.uuid4())
        try:
            line = encode_request(request_id, method, params)
        except ProtocolError as error:
            raise UserError(f"{self.name}: {error}") from None
        sent = waiting = False
        try:
            async with asyncio.timeout(seconds):
                waiting = self._lock.locked()
                async with self._lock:
                    waiting = False
                    while True:
                        connection = await self._connected()
                        reused = connection.answered > 0
                        try:
                            sent = changes
                            connection.writer.write(line)
                            await connection.writer.drain()
                            return await self._answer(connection, request_id)
                        except BaseException as error:
                            # In the middle of an exchange the positions are lost, whatever went wrong.
                            self._drop()
                            stopped = isinstance(error, EOFError | ConnectionError)
                            if not stopped:
                                raise
                            if not reused or changes:
                                raise LinkError(self.name, "closed", _closed(method), sent=sent) from None
        except TimeoutError:
            if waiting:
                text = (
                    f"still waiting for the answer to an earlier request after {seconds:.3g} s; this one was not sent."
                )
                raise LinkError(self.name, "silent", text) from None
            raise LinkError(self.name, "silent", _silent(method, seconds, sent), sent=sent) from None
        except ProtocolError as error:
            raise LinkError(self.name, "protocol", _not_the_protocol(error), sent=sent) from None

    async def _connected(self) -> Connection:
        connection = self._connection
        now = asyncio.get_running_loop().time()
        if connection is not None:
            gone = connection.reader.at_eof() or connection.writer.is_closing()
            if not gone and now - connection.used_at <= IDLE_SECONDS:
                connection.used_at = now
                return connection
            self._drop()
        self._connection = await connect(self.name, self.target)
        self._last_listener = self._connection.listener
        return self._connection

    async def _answer(self, connection: Connection, request_id: str) -> Reply:
        """The next line that answers something. The id is a cross-check; the position decides."""
        for _ in range(PUSH_LIMIT):  # more would leave nothing of the event loop to others
            try:
                line = await connection.reader.readuntil(b"\n")
            except asyncio.LimitOverrunError:
                raise ProtocolError("a line of more than 4 MiB") from None
            reply = parse_line(line)
            if reply is None:
                continue
            if reply.request_id not in (request_id, UNREADABLE):
                raise ProtocolError("the answer to another request")
            connection.answered += 1
            return reply
        raise ProtocolError(f"{PUSH_LIMIT} lines and no answer among them")


def _explain(error: DashboardError) -> str:
    advice = {
        "authz_denied": "The bot's user may not send commands: add its uid to "
        "dashboard.security_config.authorization.allowed_uids of the process.",
        "authz_not_configured": "Configure dashboard.security_config.authorization of the process.",
        "audit_write_failed": "The audit log of the process cannot be written; it refuses commands until it can.",
        "audit_queue_full": "The audit log of the process cannot keep up; it refuses commands until it can.",
        "current_state_failed": "Its control loop is gone; only a restart of the process helps.",
        "command_timeout": "It did not answer its own command in time and may still carry it out.",
        "target_unavailable": "No supervision tree runs behind its socket.",
        "replay_detected": "It takes the request for a repetition.",
    }.get(error.code, "")
    if error.code.startswith("peer_cred"):
        advice = "The bot must run as the same user as the process."
    said = f"{error.code} at {error.stage or 'an unnamed stage'}" + (f": {error.message}" if error.message else "")
    return f"the process refused ({said}). {advice}".rstrip()


def _silent(method: str, seconds: float, sent: bool) -> str:
    if sent:
        return f"no answer to {method} within {seconds:.3g} s; it may still be carried out."
    if method == "state":
        return (
            f"connected, but no answer to state within {seconds:.3g} s: the control loop is stalled. "
            "Compare with /supervisor status, which also asks hello."
        )
    return f"connected, but no answer to {method} within {seconds:.3g} s: the process hangs or its runtime is starved."


def _closed(method: str) -> str:
    if method.startswith("command."):
        return f"the connection was lost after {method} was sent; it may have been carried out."
    return (
        "the connection was closed without an answer. The process is stopping, or it has more than 64 connections: "
        "count them with ss -x, then try again."
    )


def _not_the_protocol(error: ProtocolError) -> str:
    return f"what answers there does not speak dashboard-ipc.v1: {error}. Compare socket with dashboard.path."
