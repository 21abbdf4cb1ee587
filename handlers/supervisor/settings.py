"""``[supervisor.targets.payments]`` in opsbot.toml: one table per supervised process."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from bot.handler import ProductSettings

SOCKET_PATH_LIMIT = 107  # bytes that a Unix socket address holds

SETUP = """\
[supervisor.targets.payments]                    # one table per supervised process; the name is yours
socket = "/run/rust-supervisor/payments.sock"    # as in its configuration, dashboard.path
# uid = 1000                # who must own the socket and listen on it; default: not checked against one user
# connect_timeout = 2.0     # seconds
# request_timeout = 5.0     # seconds for a read
# command_timeout = 35.0    # seconds for a command; the process itself gives up after 30
# stop_timeout = 20.0       # seconds for a stop or a restart to be seen: its graceful timeout + abort wait + some
# max_backoff = 2.0         # seconds; its longest pause between a failure and the next attempt
"""


class SupervisorTarget(BaseModel):
    """One supervised process. Times are seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    socket: Path
    uid: int | None = Field(default=None, ge=0)
    connect_timeout: float = Field(default=2.0, gt=0, le=60)
    request_timeout: float = Field(default=5.0, gt=0, le=300)
    command_timeout: float = Field(default=35.0, gt=0, le=600)
    stop_timeout: float = Field(default=20.0, gt=0, le=3600)
    max_backoff: float = Field(default=2.0, ge=0, le=600)

    @field_validator("socket")
    @classmethod
    def _address(cls, path: Path) -> Path:
        if not path.is_absolute():
            raise ValueError(f"must be an absolute path such as /run/rust-supervisor/payments.sock, not {path}")
        length = len(os.fsencode(path))
        if length > SOCKET_PATH_LIMIT:
            raise ValueError(f"has {length} bytes; a Unix socket address holds {SOCKET_PATH_LIMIT}: use a shorter path")
        return path


class SupervisorSettings(ProductSettings):
    """The section ``[supervisor]``."""

    targets: dict[str, SupervisorTarget] = Field(min_length=1)

    @field_validator("targets")
    @classmethod
    def _names(cls, targets: dict[str, SupervisorTarget]) -> dict[str, SupervisorTarget]:
        for name in targets:
            if not name or not all(letter.isalnum() or letter in "-_." for letter in name) or not name.isascii():
                raise ValueError(
                    f"target name {name!r} must consist of letters, digits, '-', '_' and '.', as in payments"
                )
        return targets
