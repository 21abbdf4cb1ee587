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
from typing import Any, TypeVar

from bot.breakers import Breaker, BreakerOpen
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
from handlers.supervisor.transport import GONE, Probe, Rejected

Read = TypeVar("Read")
Params = Callable[[], Mapping[str, Any]]

HANGS = ("silent", "backlog")  # what costs a whole time-out
IDLE_SECONDS = 240.0  # the process closes a connection that was quiet for 300
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0  # after rate_limit_exceeded, in seconds


class SupervisorClient:
    """``handlers.supervisor.transport.Client`` over the socket of the process."""

    poll_pause = 0.25  # the process allows more
    untold = ""

    def __init__(self, name: str, target: SupervisorTarget, clock: Clock, breaker: Breaker | None = None) -> None:
        """``breaker``: keeps a process that hangs from being asked again and again; ``probe`` asks it all the same."""
        self._breaker = breaker
        self._silent_socket = (0, 0)  # the file of the socket that did not answer last
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
        self,
        verb: Verb,
        *,
        target_id: str,
        child_path: str | None,
        reason: str,
        requested_by: str,
        child_manifest: str | None = None,
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
                child_manifest=child_manifest,
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
        listener = hello[2] or state[2]
        self._last_listener = listener or self._last_listener
        code, gone = state[3], state[3] in GONE
        return Probe(hello[0], state[0], hello[1], state[1], listener, "" if gone else code, code if gone else "")

    async def _probe(self, method: str) -> tuple[float | None, str, Listener | None, str]:
        """Seconds, else why not; who listens; the code of a refusal."""
        other = SupervisorClient(self.name, self.target, self._clock)
        started = time.perf_counter()
        try:
            await other._request(method, dict, self.target.request_timeout)
        except LinkError as error:
            return None, error.message, other.listener, ""
        except Rejected as error:
            # Registration is off: an answer all the same. A state without a control loop is not.
            if error.error.stage != "registration":
                return None, error.message, other.listener, error.error.code
        finally:
            await other.close()
        if method == "state" and self._breaker:
            self._breaker.works("it answers again")
        return time.perf_counter() - started, "", other.listener, ""

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
        """One request behind the breaker. What fails at once (nobody listens, no permission) does not open it."""
        if self._breaker is None:
            return await self._ask(method, params, seconds)
        if self._breaker.state == "open" and self._socket_file() != self._silent_socket:
            self._breaker.works("another process listens")
        try:
            with self._breaker.calling() as call:
                try:
                    return await self._ask(method, params, seconds)
                except LinkError as error:
                    if error.cause in HANGS and error.asked:
                        call.failed(error.message.removeprefix(f"{self.name}: ").rstrip("."))
                        self._silent_socket = self._socket_file()
                    raise
        except BreakerOpen as error:
            text = f"was not asked: {error.message}. /supervisor health looks at it at once."
            raise LinkError(self.name, "silent", text, asked=False) from None

    def _socket_file(self) -> tuple[int, int]:
        """Which file the socket is: a process that was started anew has made another one. Zeros when it is gone."""
        if self.target.socket is None:
            return (0, 0)
        try:
            found = self.target.socket.stat()
        except OSError:
            return (0, 0)
        return (found.st_ino, found.st_ctime_ns)

    async def _ask(self, method: str, params: Mapping[str, Any], seconds: float) -> Reply:
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
                waited = f"{round(seconds, 1):g} s"
                text = f"still waiting for the answer to an earlier request after {waited}; this one was not sent."
                raise LinkError(self.name, "silent", text, asked=False) from None
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
            reply = parse_line(await connection.reader.line())
            if reply is None:
                continue
            if reply.request_id not in (request_id, UNREADABLE):
                raise ProtocolError("the answer to another request")
            connection.answered += 1
            return reply
        raise ProtocolError(f"{PUSH_LIMIT} lines and no answer among them")


def _silent(method: str, seconds: float, sent: bool) -> str:
    waited = f"{round(seconds, 1):g} s"
    if sent:
        return f"no answer to {method} within {waited}; it may still be carried out."
    if method == "state":
        return (
            f"connected, but no answer to state within {waited}: the control loop is stalled. "
            "Compare with /supervisor status, which also asks hello."
        )
    return f"connected, but no answer to {method} within {waited}: the process hangs or its runtime is starved."


def _closed(method: str) -> str:
    if method.startswith("command."):
        return f"the connection was lost after {method} was sent; it may have been carried out."
    return (
        "the connection was closed without an answer. The process is stopping, or it has more than 64 connections: "
        "count them with ss -x, then try again."
    )


def _not_the_protocol(error: ProtocolError) -> str:
    return f"what answers there does not speak dashboard-ipc.v1: {error}. Compare socket with dashboard.path."
