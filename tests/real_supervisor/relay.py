"""``async with RealRelay(folder) as relay``: the published relay with certificates of its own, on localhost."""

from __future__ import annotations

import asyncio
import ipaddress
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.ports import free_port
from tests.real_supervisor.process import READY_SECONDS, program


class Authority:
    """Signs certificates that hold for an hour, and writes them with their keys as PEM files into a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._now = datetime.now(UTC)
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        certificate = self._blank(self._name, self._key).add_extension(constraints, critical=True)
        self.certificate = folder / f"{name}.pem"
        self._write(self.certificate, certificate.sign(self._key, hashes.SHA256()))

    def issue(self, name: str, *, server: bool) -> tuple[Path, Path]:
        """Certificate and key: of a server on this machine, or of a client with this common name."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = self._blank(subject, key).add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if server:
            here: list[x509.GeneralName] = [
                x509.DNSName("localhost"),
                x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            ]
            builder = builder.add_extension(x509.SubjectAlternativeName(here), critical=False)
        paths = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        self._write(paths[0], builder.sign(self._key, hashes.SHA256()))
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return paths

    def _blank(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - timedelta(minutes=5))
            .not_valid_after(self._now + timedelta(hours=1))
        )

    def _write(self, path: Path, certificate: x509.Certificate) -> None:
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


class RealRelay:
    """The relay's program; processes whose sockets are below ``folder`` may register at ``registration``."""

    def __init__(self, folder: Path) -> None:
        self.program = program("relay")
        self.authority = Authority(folder, "authority")
        self.certificate, self.key = self.authority.issue("relay", server=True)
        self.registration = folder / "registration.sock"
        self.url = f"wss://localhost:{free_port()}/supervisor"
        self.file = folder / "relay.yaml"
        port = self.url.split(":")[2].split("/")[0]
        settings = {
            "listen": {"bind": f"127.0.0.1:{port}", "public_url": self.url},
            "tls": {
                "certificate_path": str(self.certificate),
                "private_key_path": str(self.key),
                "client_ca_path": str(self.authority.certificate),
            },
            "trusted_proxy": {"enabled": False, "allowed_remote_addrs": [], "identity_header": "x-subject"},
            "registration": {
                "listen_path": str(self.registration),
                "permissions": "0600",
                "allowed_ipc_path_prefixes": [f"{folder}/"],
                "default_lease_seconds": 30,
                "max_lease_seconds": 120,
            },
        }
        self.file.write_text(yaml.safe_dump(settings, sort_keys=False))
        self._process: asyncio.subprocess.Process | None = None

    @property
    def command(self) -> list[str]:
        return [str(self.program), "--config", str(self.file)]

    async def start(self) -> None:
        """Raises ``RuntimeError`` with what the relay said when it does not get ready."""
        self._process = await asyncio.create_subprocess_exec(
            *self.command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        assert self._process.stdout is not None
        ready = await asyncio.wait_for(self._process.stdout.readline(), READY_SECONDS)
        if not ready.startswith(b"relay listening"):
            _, said = await self._process.communicate()
            raise RuntimeError(said.decode(errors="replace").strip())

    async def stop(self) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGINT)  # the one signal that it ends cleanly on
            try:
                await asyncio.wait_for(self._process.wait(), 5)
            except TimeoutError:
                self._process.kill()
        await self._process.communicate()

    async def __aenter__(self) -> RealRelay:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()
