"""``relay = "wss://…"``: a supervised process on another host, asked through its relay with a client certificate.

The relay speaks a protocol of its own and tells less: a state comes once per session, of a command only whether it was
accepted. So each question is a session of its own, with a time limit on every part of it: a process that hangs freezes
its relay, but not the bot. Who asks is for the relay the subject of the certificate; the person stands in the reason.
"""

from __future__ import annotations

import asyncio
import ssl
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import msgspec

from bot.clock import Clock
from bot.errors import UserError
from handlers.supervisor import children
from handlers.supervisor.children import Sample
from handlers.supervisor.link import Cause, LinkError, Listener
from handlers.supervisor.protocol import (
    CONFIRMED,
    LINE_LIMIT,
    CommandResult,
    DashboardError,
    Hello,
    ProtocolError,
    Registration,
    State,
    Verb,
    check_size,
    checked_state,
    decode,
    shorten,
)
from handlers.supervisor.settings import SupervisorTarget
from handlers.supervisor.transport import Probe, Rejected

STORE_ID = "opsbot"  # client_store_id
MOST_FRAMES = 1000  # of other targets, before the one that was waited for
UNTOLD = (
    "Through the relay the process tells neither why a command failed nor what it changed (error and state_delta are "
    "dropped); this was read from the state"
)


class _Frame(msgspec.Struct, frozen=True):
    type: str
    target_id: str | None = None
    state: msgspec.Raw = msgspec.Raw(b"null")
    targets: msgspec.Raw = msgspec.Raw(b"null")
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: msgspec.Raw = msgspec.Raw(b"null")


class _Listed(msgspec.Struct, frozen=True):
    target_id: str
    display_name: str = ""


class RelayClient:
    """``handlers.supervisor.transport.Client`` through a relay."""

    poll_pause = 1.0  # a session for every look
    untold = UNTOLD

    def __init__(self, name: str, target: SupervisorTarget, clock: Clock) -> None:
        self.name = name
        self.target = target
        self._clock = clock
        self._samples: tuple[Sample, ...] = ()
        self._tls: tuple[tuple[int, ...], ssl.SSLContext] | None = None

    @property
    def listener(self) -> Listener | None:
        """Nobody: the process runs behind the relay, its id is not told."""
        return None

    @property
    def samples(self) -> tuple[Sample, ...]:
        return self._samples

    @property
    def remote_id(self) -> str:
        """The target's id at the relay."""
        return self.target.relay_target or self.name

    async def close(self) -> None:
        """Nothing is kept open."""

    async def greets(self) -> float:
        """Seconds until the relay said hello; nothing is asked of any process. Raises ``LinkError``."""
        began = time.perf_counter()
        async with self._session("server_hello", self.target.connect_timeout + self.target.request_timeout):
            return time.perf_counter() - began
        raise AssertionError  # a session never swallows an error

    async def hello(self) -> Hello:
        """What the relay lists of the process."""
        async with self._session("target_list", self.target.request_timeout) as socket:
            listed = await self._listed(socket)
            return Hello("", Registration(listed.target_id, listed.display_name))
        raise AssertionError

    async def state(self) -> State:
        async with self._session("state", self.target.request_timeout) as socket:
            await self._listed(socket)
            state = await self._state(socket)
        self._samples = children.with_sample(self._samples, Sample(self._clock.now(), state), self.target.max_backoff)
        return state

    async def drivable_state(self) -> State:
        state = await self.state()
        reason = children.unusable(state)
        if reason is not None:
            raise LinkError(self.name, "refused generation", f"refused: {reason}.")
        return state

    async def probe(self) -> Probe:
        """One session: the relay lists the process at once, its state is a round trip through the control loop."""
        began = time.perf_counter()
        listed: float | None = None
        try:
            async with self._session("state", self.target.request_timeout) as socket:
                await self._listed(socket)
                listed = time.perf_counter() - began
                await self._state(socket)
        except (LinkError, Rejected) as error:
            return Probe(listed, None, "" if listed is not None else error.message, error.message)
        return Probe(listed, time.perf_counter() - began)

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
        if child_manifest is not None:
            raise UserError(
                f"{self.name}: the relay cannot carry a manifest, so {verb} does not go through it. "
                "Do it on the host of the process, or give the bot its socket."
            )
        command_id = str(uuid.uuid4())
        frame = {
            "type": "command",
            "command_id": command_id,
            "correlation_id": command_id,
            "target_id": self.remote_id,
            "command": verb,
            "target": {} if child_path is None else {"child_path": child_path},
            "reason": f"{reason.strip() or 'no reason given'} (asked for by {requested_by})",
            "confirmed": verb in CONFIRMED,
        }
        self._samples = ()
        sent = False
        try:
            async with self._session(f"command.{verb}", self.target.command_timeout) as socket:
                await self._listed(socket)
                await self._state(socket)  # it comes only when the relay has bound the process
                sent = True
                await socket.send_json(frame)
                return await self._result(socket, command_id)
        except LinkError as error:
            if sent and not error.sent:
                text = error.message.removeprefix(f"{self.name}: ").rstrip(".")
                raise LinkError(
                    self.name, error.cause, f"{text}; {verb} may have been carried out.", sent=True
                ) from None
            raise
        finally:
            self._samples = ()
        raise AssertionError

    # -- a session

    @asynccontextmanager
    async def _session(self, what: str, seconds: float) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A session in which ``what`` is waited for, ``seconds`` for everything together."""
        try:
            async with asyncio.timeout(seconds), self._greeted() as socket:
                yield socket
        except TimeoutError:
            raise LinkError(
                self.name,
                "silent",
                f"the relay did not get to {what} within {seconds:.3g} s. One process that hangs keeps a relay from "
                "answering for all of them.",
            ) from None
        except ProtocolError as error:
            raise LinkError(
                self.name, "protocol", f"what answers at {self.target.relay} is no relay: {error}."
            ) from None

    @asynccontextmanager
    async def _greeted(self) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """Connected, greeted and known to the relay."""
        url = self.target.relay or ""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self.target.connect_timeout)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
                session.ws_connect(
                    url,
                    ssl=self._context(),
                    max_msg_size=LINE_LIMIT,
                    timeout=aiohttp.ClientWSTimeout(ws_close=0.2),
                ) as socket,
            ):
                await self._frame(socket, "server_hello")
                await socket.send_json({"type": "client_hello", "client_store_id": STORE_ID})
                yield socket
        except aiohttp.ClientConnectorCertificateError as error:
            raise self._error(
                "owner",
                f"the certificate of {url} does not hold ({shorten(str(error.certificate_error))}). "
                "Nothing was sent. Compare relay_ca with who has signed it.",
            ) from None
        except (aiohttp.ClientConnectorSSLError, ssl.SSLError) as error:
            raise self._error(
                "owner",
                f"{url} does not accept the bot's certificate, or speaks no TLS ({shorten(str(error))}). "
                "Compare relay_certificate with its client CA.",
            ) from None
        except aiohttp.ClientConnectorDNSError:
            raise self._error(
                "missing", f"the name in {url} is not known. Correct relay in the configuration."
            ) from None
        except aiohttp.ClientConnectorError as error:
            raise self._error(
                "stale",
                f"nobody answers at {url} ({error.strerror or error.os_error}). The relay does not run, or "
                "listens elsewhere: look at its service and its log.",
            ) from None
        except aiohttp.ServerTimeoutError:
            raise self._error(
                "silent",
                f"{url} took no connection for {self.target.connect_timeout:g} s. Look at the relay's host.",
            ) from None
        except aiohttp.WSServerHandshakeError as error:
            raise self._error("protocol", f"{url} answers {error.status}, not as a relay does.") from None
        except (aiohttp.ClientError, ConnectionError) as error:
            raise self._error("closed", _dropped(url, str(error))) from None

    def _context(self) -> ssl.SSLContext:
        """Made anew when one of the files changes, as certificates are renewed. Raises ``LinkError``."""
        files = (self.target.relay_ca, self.target.relay_certificate, self.target.relay_key)
        try:
            stamps = tuple(file.stat().st_mtime_ns for file in files if file)
            if self._tls is None or self._tls[0] != stamps:
                context = ssl.create_default_context(cafile=self.target.relay_ca)
                context.minimum_version = ssl.TLSVersion.TLSv1_2
                context.load_cert_chain(str(self.target.relay_certificate), self.target.relay_key)
                self._tls = (stamps, context)
        except (OSError, ssl.SSLError) as error:
            told = error.strerror or str(error)
            named = f" ({error.filename})" if getattr(error, "filename", None) else ""
            raise self._error(
                "other", f"relay_certificate, relay_key or relay_ca cannot be used: {shorten(told)}{named}."
            ) from None
        return self._tls[1]

    def _error(self, cause: Cause, text: str) -> LinkError:
        return LinkError(self.name, cause, text)

    async def _frame(self, socket: aiohttp.ClientWebSocketResponse, *wanted: str) -> _Frame:
        """The next frame of one of these types; others are skipped. An ``error`` frame raises ``Rejected``."""
        for _ in range(MOST_FRAMES):
            message = await socket.receive()
            if message.type is not aiohttp.WSMsgType.TEXT:
                if message.type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.PING, aiohttp.WSMsgType.PONG):
                    continue
                raise self._error("closed", _dropped(self.target.relay or "", f"code {socket.close_code}"))
            data = message.data.encode("utf-8", "replace")
            check_size(data)
            frame = decode(data, _Frame, "a frame")
            if frame.type == "error":
                error = decode(bytes(frame.error), DashboardError, "error")
                if error.target_id in (None, self.remote_id):
                    raise Rejected(self.name, error, by="the relay")
            elif frame.type in wanted:
                return frame
        raise ProtocolError(f"{MOST_FRAMES} frames and no {' or '.join(wanted)} among them")

    async def _listed(self, socket: aiohttp.ClientWebSocketResponse) -> _Listed:
        frame = await self._frame(socket, "target_list")
        targets = decode(bytes(frame.targets), tuple[_Listed, ...], "target_list")
        for listed in targets:
            if listed.target_id == self.remote_id:
                return listed
        there = ", ".join(shorten(listed.target_id) for listed in targets[:10]) or "nothing"
        raise self._error(
            "missing",
            f"the relay does not list {self.remote_id}; it lists {there}. The process does not run, has not registered "
            "yet (it does so every 15 s), or is called otherwise there: set relay_target.",
        )

    async def _state(self, socket: aiohttp.ClientWebSocketResponse) -> State:
        for _ in range(MOST_FRAMES):
            frame = await self._frame(socket, "state")
            if frame.target_id == self.remote_id:
                state = decode(bytes(frame.state), State, "state")
                return checked_state(msgspec.structs.replace(state, target_id=self.remote_id))
        raise ProtocolError(f"{MOST_FRAMES} states of other targets")

    async def _result(self, socket: aiohttp.ClientWebSocketResponse, command_id: str) -> CommandResult:
        for _ in range(MOST_FRAMES):
            frame = await self._frame(socket, "command_result")
            result = decode(bytes(frame.result), CommandResult, "command_result")
            if result.command_id == command_id:
                return msgspec.structs.replace(result, error=None, state_delta=None)
        raise ProtocolError(f"{MOST_FRAMES} results of other commands")


def _dropped(url: str, how: str) -> str:
    return (
        f"{url} dropped the connection without a word ({shorten(how)}). It does so for a certificate that it does not "
        "accept and for a session that it cannot serve: its log tells which."
    )
