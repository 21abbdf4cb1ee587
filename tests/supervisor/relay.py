"""A relay for the tests: TLS with client certificates, and what a rust-supervisor relay says and does not say.

It stands between the bot and the socket of a supervised process and drops what the real one drops: ``state_delta`` and
the error of a result. There is no request for a state: one comes at the start of a session for each process that could
be bound, and one after each command that was carried out.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


@dataclass
class Authority:
    """A certificate authority that lives for one test."""

    folder: Path
    name: str = "ca"
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"test {self.name}")])
        self.certificate = (
            self._builder(subject, subject, self.key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
            .add_extension(x509.KeyUsage(False, False, False, False, False, True, True, False, False), critical=True)
            .sign(self.key, hashes.SHA256())
        )
        self.path = self.folder / f"{self.name}.pem"
        self.path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, *, server: bool = False) -> tuple[Path, Path]:
        """Certificate and key of a client, or of a server on 127.0.0.1."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = (
            self._builder(subject, self.certificate.subject, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if server:
            names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        paths = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return paths

    @staticmethod
    def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=1))
        )


@dataclass
class Relay:
    """``targets`` maps a target id to the socket of its process. ``faults`` may hold ``dies-on-command``."""

    targets: dict[str, Path]
    url: str = ""
    faults: set[str] = field(default_factory=set)
    commands: list[dict[str, Any]] = field(default_factory=list)
    sessions: int = 0
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)  # a process that hangs freezes every session

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sessions += 1
        peer = request.transport.get_extra_info("peercert") if request.transport else None
        subject = ",".join(f"{part[0][0]}={part[0][1]}" for part in (peer or {}).get("subject", ()))
        await socket.send_json(
            {
                "type": "server_hello",
                "session_id": str(uuid.uuid4()),
                "client_identity": "sha256",
                "log_event_filter_mode": "remote",
                "log_event_filter_conditions": {},
                "filter_config_version": 0,
            }
        )
        hello = await socket.receive()
        if hello.type is not WSMsgType.TEXT or json.loads(hello.data).keys() != {"type", "client_store_id"}:
            await socket.close()
            return socket
        listed = [
            {
                "target_id": name,
                "display_name": name,
                "registration_state": "active",
                "connection_state": "connected",
                "supported_commands": [],
            }
            for name in self.targets
        ]
        await socket.send_json({"type": "target_list", "targets": listed})
        bound = set()
        for name, path in self.targets.items():
            async with self._turn:
                if await self._state(socket, name, path):
                    bound.add(name)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await self._command(socket, json.loads(message.data), bound, subject)
        return socket

    async def _state(self, socket: web.WebSocketResponse, name: str, path: Path) -> bool:
        answer = await self._ask(path, "state", {})
        if answer is None or not answer["ok"]:
            return False
        await socket.send_json({"type": "state", "target_id": name, "state": answer["result"]["state"]})
        return True

    async def _command(
        self, socket: web.WebSocketResponse, frame: dict[str, Any], bound: set[str], subject: str
    ) -> None:
        name = frame["target_id"]
        code = ""
        if "requested_by" in frame:
            code = "requested_by_override"
        elif name not in bound:
            code = "target_not_bound"
        if code:
            error = {"code": code, "stage": "command", "target_id": name, "message": code, "retryable": False}
            await socket.send_json({"type": "error", "error": error})
            return
        self.commands.append(frame)
        params = {key: frame[key] for key in ("command_id", "target_id", "command", "target", "reason", "confirmed")}
        params |= {"requested_by": subject, "requested_at_unix_nanos": 1_780_000_000_000_000_000}
        async with self._turn:
            answer = await self._ask(self.targets[name], f"command.{frame['command']}", params)
        if "dies-on-command" in self.faults:
            transport = socket._req.transport if socket._req else None
            if transport:
                transport.abort()
            return
        done = answer["result"]["result"] if answer and answer["ok"] else {"accepted": False, "status": "failed"}
        result = {
            "command_id": frame["command_id"],
            "correlation_id": frame.get("correlation_id"),
            "target_id": name,
            "accepted": done["accepted"],
            "status": done["status"],
            "requested_by": subject,
            "completed_at": [2026, 160, 12, 0, 0, 0, 0, 0, 0],
        }
        await socket.send_json({"type": "command_result", "target_id": name, "result": result})
        if done["accepted"]:
            await self._state(socket, name, self.targets[name])

    @staticmethod
    async def _ask(path: Path, method: str, params: dict[str, Any]) -> dict[str, Any] | None:
        try:
            reader, writer = await asyncio.open_unix_connection(path, limit=2**24)
        except OSError:
            return None
        request = {"request_id": str(uuid.uuid4()), "method": method, "params": params}
        writer.write(json.dumps(request).encode() + b"\n")
        try:
            answer: dict[str, Any] = json.loads(await reader.readline())
        except ValueError:
            return None
        finally:
            writer.close()
        return answer


@asynccontextmanager
async def relay(targets: dict[str, Path], authority: Authority) -> AsyncIterator[Relay]:
    """A relay on a port of 127.0.0.1 that lets in who has a certificate of this authority."""
    made = Relay(targets)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.path)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(*authority.issue("relay", server=True))
    app = web.Application()
    app.router.add_get("/{any:.*}", made.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.2)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    port = runner.addresses[0][1]
    made.url = f"wss://127.0.0.1:{port}/ws"
    try:
        yield made
    finally:
        await runner.cleanup()
