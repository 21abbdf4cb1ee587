"""``[supervisor.targets.payments]`` in opsbot.toml: one table per supervised process."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from bot.handler import ProductSettings

SOCKET_PATH_LIMIT = 107  # bytes that a Unix socket address holds

# What the bot may run on the host, by name, and the placeholders that each of them may hold.
COMMANDS: Mapping[str, str] = {
    "pgrep": "looks for the process by its name; ends with 0 when it is there and with 1 when it is not",
    "journal": "prints the last lines of the log of the process",
    "start": "starts the process, and ends when that is under way",
    "restart": "ends the process and starts it again",
    "relay_status": "ends with 0 when the relay runs",
    "relay_restart": "restarts the relay",
    "cores": "lists core dumps that a collector keeps",
    "backtrace": "prints the backtrace of a core file",
    "stacks": "prints the stacks of the running process",
}
PLACEHOLDERS: Mapping[str, str] = {
    "pid": "process id of who listens at the socket",
    "socket": "path of the socket, as configured",
    "target": "name of this table",
    "child": "the child that the run works on",
    "lines": "how many lines are wanted",
    "core": "path of the core file that was found",
}
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")

SETUP = """\
# [supervisor]
# poll_seconds = 1.0        # between two looks at every process, for /supervisor events; 0 for none
[supervisor.targets.payments]                    # one table per supervised process; the name is yours
socket = "/run/rust-supervisor/payments.sock"    # as in its configuration, dashboard.path
# uid = 1000                # who must own the socket and listen on it; default: root or the bot's own user
# bind_mode = "create_new"  # or "replace_stale", as in its configuration
# log = "/var/log/payments.log"   # instead of a journal command
# connect_timeout = 2.0     # seconds
# request_timeout = 5.0     # seconds for a read
# command_timeout = 35.0    # seconds for a command; the process itself gives up after 30
# stop_timeout = 20.0       # seconds for a stop or a restart to be seen: its graceful timeout + abort wait + some
# start_timeout = 30.0      # seconds for a started process to be ready
# max_backoff = 2.0         # seconds; its longest pause between a failure and the next attempt
# relay = "wss://relay.example:8443"     # its relay: asked for P1-003, and used when there is no socket
# relay_certificate = "/etc/opsbot/relay-client.pem"
# relay_key = "/etc/opsbot/relay-client.key"
# relay_ca = "/etc/opsbot/relay-ca.pem"

# [supervisor.targets.payments.commands]         # everything that the bot may run on its host, without a shell
# pgrep = ["pgrep", "-x", "payments"]
# journal = ["journalctl", "-u", "payments", "-n", "{lines}", "--no-pager", "-o", "short-iso"]
# start = ["systemctl", "start", "payments"]
# restart = ["systemctl", "restart", "payments"]
# relay_restart = ["systemctl", "restart", "supervisor-relay"]
# cores = ["coredumpctl", "info", "--no-pager", "payments"]
# backtrace = ["gdb", "-batch", "-ex", "thread apply all bt", "/usr/bin/payments", "{core}"]
# stacks = ["gdb", "-batch", "-p", "{pid}", "-ex", "thread apply all bt"]
"""


class SupervisorTarget(BaseModel):
    """One supervised process. Times are seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    socket: Path | None = None
    uid: int | None = Field(default=None, ge=0)
    bind_mode: Literal["create_new", "replace_stale"] = "create_new"
    log: Path | None = None
    connect_timeout: float = Field(default=2.0, gt=0, le=60)
    request_timeout: float = Field(default=5.0, gt=0, le=300)
    command_timeout: float = Field(default=35.0, gt=0, le=600)
    stop_timeout: float = Field(default=20.0, gt=0, le=3600)
    start_timeout: float = Field(default=30.0, gt=0, le=3600)
    max_backoff: float = Field(default=2.0, ge=0, le=600)
    relay: str | None = None
    relay_target: str = ""  # its target_id there; by default the name of this table
    relay_certificate: Path | None = None
    relay_key: Path | None = None
    relay_ca: Path | None = None
    commands: dict[str, tuple[str, ...]] = {}
    command_seconds: float = Field(default=60.0, gt=0, le=3600)  # for a command on the host

    @property
    def address(self) -> str:
        """Where the bot reaches the process, for people."""
        return str(self.socket) if self.socket else self.relay or ""

    @field_validator("socket")
    @classmethod
    def _address(cls, path: Path | None) -> Path | None:
        if path is None:
            return None
        if not path.is_absolute():
            raise ValueError(f"must be an absolute path such as /run/rust-supervisor/payments.sock, not {path}")
        length = len(os.fsencode(path))
        if length > SOCKET_PATH_LIMIT:
            raise ValueError(f"has {length} bytes; a Unix socket address holds {SOCKET_PATH_LIMIT}: use a shorter path")
        return path

    @field_validator("log")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_absolute():
            raise ValueError(f"must be an absolute path, not {path}")
        return path

    @field_validator("relay")
    @classmethod
    def _secure(cls, url: str | None) -> str | None:
        if url is not None and (urlsplit(url).scheme != "wss" or not urlsplit(url).hostname):
            raise ValueError("must be a wss:// address; the relay speaks TLS with client certificates only")
        return url

    @field_validator("commands")
    @classmethod
    def _known(cls, commands: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for name, argv in commands.items():
            if name not in COMMANDS:
                near = difflib.get_close_matches(name, COMMANDS, n=1)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
                raise ValueError(f"{name} is no command that the bot knows; {hint}")
            if not argv or not argv[0] or "{" in argv[0]:
                raise ValueError(f'{name} must be a list that begins with a program, as ["systemctl", "start", "x"]')
            for word in argv:
                if "\0" in word:
                    raise ValueError(f"{name} holds a null character")
                for placeholder in _PLACEHOLDER.findall(word):
                    if placeholder not in PLACEHOLDERS:
                        raise ValueError(f"{name}: {{{placeholder}}} is not known; there are {', '.join(PLACEHOLDERS)}")
        return commands

    @model_validator(mode="after")
    def _reachable(self) -> SupervisorTarget:
        if self.socket is None and self.relay is None:
            raise ValueError(
                'needs socket = "/run/…/name.sock", or relay = "wss://…" when the process is on another host'
            )
        if self.relay is not None and not (self.relay_certificate and self.relay_key and self.relay_ca):
            raise ValueError("relay needs relay_certificate, relay_key and relay_ca: it lets nobody in without")
        return self


class SupervisorSettings(ProductSettings):
    """The section ``[supervisor]``."""

    targets: dict[str, SupervisorTarget] = Field(min_length=1)
    poll_seconds: float = Field(default=1.0, ge=0, le=3600)  # between two looks for /supervisor events; 0: none

    @field_validator("targets")
    @classmethod
    def _names(cls, targets: dict[str, SupervisorTarget]) -> dict[str, SupervisorTarget]:
        for name in targets:
            if not name or not all(letter.isalnum() or letter in "-_." for letter in name) or not name.isascii():
                raise ValueError(
                    f"target name {name!r} must consist of letters, digits, '-', '_' and '.', as in payments"
                )
        return targets
