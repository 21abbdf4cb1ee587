"""The socket of the supervised process: lines in, lines out, in the order and with the limits of ``dashboard-ipc.v1``.

Per connection strictly one request after the other. With the security pipeline on, a request passes the rate limit, the
peer's user, the permission to write, the replies of the last minute and the seen ids, in this order.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import stat
import struct
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bot.demo.supervised_process.faults import Faults
from bot.demo.supervised_process.requests import UNREADABLE, RefusalError, Request, parse_request

BindMode = Literal["create_new", "replace_stale"]

UNKEPT_STAGES = ("rate_limit", "peer_credentials", "authorization", "replay_protection", "c8_idempotency")
FRAME_LIMIT = 1024 * 1024
SECURE_FRAME_LIMIT = 65_536
REPLY_KEPT_SECONDS = 60.0
SEEN_IDS = 4096
NANOSECONDS = b'_unix_nanos":'  # in every state and every answer to a command
PATH_LIMIT = 107  # bytes of sun_path without its end


class BindError(Exception):
    """The socket cannot be served at this path; the text says why."""


class ClosedByFaultError(Exception):
    """A fault: the connection goes away without a reply."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may do."""

    connections: int = 64
    idle_seconds: float = 300.0
    burst: int = 20
    per_second: float = 100.0


@dataclass(slots=True)
class Bucket:
    """Tokens of one connection."""

    limits: Limits
    tokens: float = field(init=False)
    at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.tokens = float(self.limits.burst)

    def take(self) -> bool:
        now = time.monotonic()
        self.tokens = min(float(self.limits.burst), self.tokens + (now - self.at) * self.limits.per_second)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


Dispatch = Callable[[Request], Awaitable[dict[str, Any]]]


class IpcServer:
    """Serves ``dispatch`` on a Unix socket. ``dispatch`` returns the ``result`` or raises ``RefusalError``."""

    def __init__(
        self,
        path: Path,
        dispatch: Dispatch,
        *,
        target_id: str,
        faults: Faults,
        security: bool = True,
        allowed_uids: frozenset[int] = frozenset({0}),
        bind_mode: BindMode = "create_new",
        mode: int = 0o600,
        limits: Limits | None = None,
    ) -> None:
        self.path = path
        self._dispatch = dispatch
        self._target_id = target_id
        self._faults = faults
        self._security = security
        self._allowed_uids = allowed_uids
        self._bind_mode = bind_mode
        self._mode = mode
        self._limits = limits or Limits()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._replies: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._seen: OrderedDict[str, None] = OrderedDict()

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    async def start(self) -> None:
        listener = bind(self.path, self._bind_mode, self._mode)
        limit = SECURE_FRAME_LIMIT if self._security else FRAME_LIMIT
        self._server = await asyncio.start_unix_server(self._accept, sock=listener, limit=limit)

    async def stop(self) -> None:
        """Close the connections (clients see the end of the stream) and remove the socket file."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()
        self.path.unlink(missing_ok=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._connections) >= self._limits.connections:
            writer.close()
            return
        self._connections.add(task)
        try:
            await self._serve(reader, writer)
        except (ClosedByFaultError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer_uid = _peer_uid(writer)
        bucket = Bucket(self._limits)
        while True:
            try:
                frame = await asyncio.wait_for(reader.readuntil(b"\n"), self._limits.idle_seconds)
            except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
                return  # an unfinished last frame, one that is too long, or nobody there: no answer
            try:
                text = frame.decode("utf-8").rstrip()
            except UnicodeDecodeError:
                return
            writer.write(await self._answer(text, peer_uid, bucket))
            await writer.drain()

    async def _answer(self, text: str, peer_uid: int, bucket: Bucket) -> bytes:
        await self._faults.hold("hang-everything")
        try:
            request = parse_request(text)
        except RefusalError as refusal:
            return _line({"request_id": UNREADABLE, "ok": False, "error": refusal.body(None)})
        try:
            kept = self._admit(request, peer_uid, bucket) if self._security else None
            if kept is not None:
                return kept
            result = await self._dispatch(request)
        except RefusalError as refusal:
            body = refusal.body(self._target_id)
            answer = _line({"request_id": request.request_id, "ok": False, "error": body})
            if refusal.stage in UNKEPT_STAGES:
                return answer
        else:
            answer = _line({"request_id": request.request_id, "ok": True, "result": result})
        if self._security:
            self._replies[request.request_id] = (time.monotonic(), answer)
        return answer

    def _admit(self, request: Request, peer_uid: int, bucket: Bucket) -> bytes | None:
        """The kept reply of a repeated id, None when the request is to be dispatched. Raises ``RefusalError``."""
        if not bucket.take():
            raise RefusalError(
                "rate_limit_exceeded", "rate_limit", "too many requests on this connection", names_target=False
            )
        if peer_uid != os.getuid():
            raise RefusalError(
                "peer_cred_uid_mismatch", "peer_credentials", "the peer runs as another user", names_target=False
            )
        if request.writes and peer_uid not in self._allowed_uids:
            raise RefusalError(
                "authz_denied", "authorization", f"uid {peer_uid} may not send commands", names_target=False
            )
        now = time.monotonic()
        while self._replies and next(iter(self._replies.values()))[0] < now - REPLY_KEPT_SECONDS:
            self._replies.popitem(last=False)
        kept = self._replies.get(request.request_id)
        if kept is not None:
            if NANOSECONDS in kept[1]:
                # The crate keeps the reply and cannot read it back: its times are text there and numbers here.
                raise RefusalError("idempotency_cache_corrupted", "c8_idempotency", "the kept reply cannot be read")
            return kept[1]
        if request.request_id in self._seen:
            raise RefusalError(
                "replay_detected", "replay_protection", "this request_id was seen before", names_target=False
            )
        self._seen[request.request_id] = None
        if len(self._seen) > SEEN_IDS:
            self._seen.popitem(last=False)
        return None


def bind(path: Path, bind_mode: BindMode, mode: int) -> socket.socket:
    """A listening socket at ``path`` with ``mode``. Raises ``BindError``."""
    if not path.is_absolute():
        raise BindError(f"the socket path {path} must be absolute")
    if len(os.fsencode(path)) > PATH_LIMIT:
        raise BindError(f"the socket path {path} is longer than {PATH_LIMIT} bytes")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() or path.exists():
        if bind_mode == "create_new":
            raise BindError(
                f"{path} exists already; remove it when no process listens there, or use bind mode replace_stale"
            )
        found = path.lstat()
        if not stat.S_ISSOCK(found.st_mode):
            raise BindError(f"{path} is not a socket; it is left as it is")
        if found.st_uid != os.getuid():
            raise BindError(f"{path} belongs to uid {found.st_uid}; it is left as it is")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            try:
                probe.connect(str(path))
            except (ConnectionRefusedError, FileNotFoundError):
                path.unlink(missing_ok=True)
            except BlockingIOError:
                raise BindError(f"another process listens at {path}") from None
            else:
                raise BindError(f"another process listens at {path}")
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(path))
        path.chmod(mode)
        listener.listen(128)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise BindError(f"cannot listen at {path}: {error.strerror}") from error
    return listener


def _peer_uid(writer: asyncio.StreamWriter) -> int:
    packed = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    _, uid, _ = struct.unpack("3i", packed)
    return int(uid)


def _line(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"
