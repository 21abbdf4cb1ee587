"""``.somas/config.yml`` and ``.somas/config/limits.yml``: the few keys that the bot uses, each with its default.

A missing or broken file never stops a reading: the defaults are upstream's own values, and ``problems`` says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from handlers.somas.decode import items, mapping, text
from handlers.somas.stages import current_name
from handlers.somas.state import read_bytes

CONFIG = Path(".somas/config.yml")
LIMITS = Path(".somas/config/limits.yml")
LARGEST_CONFIG = 1024 * 1024  # bytes; SOMAS's own has 10 kB
DEEPEST, MOST_ALIASES, MOST_KEYS = 50, 1000, 10_000

TIMEOUT_HOURS: Mapping[str, float] = {
    "intake": 2,
    "specify": 24,
    "plan": 2,
    "decompose": 4,
    "implement": 48,
    "verify": 12,
    "integrate": 8,
    "harden": 16,
    "release": 24,
    "operate": 8,
    "analyze": 4,
}


@dataclass(frozen=True, slots=True)
class Config:
    """What SOMAS is configured to be. Hours are hours, rates are percent."""

    timeouts: Mapping[str, float] = field(default_factory=lambda: dict(TIMEOUT_HOURS))
    max_checkpoints: int = 20
    alerts: bool = True
    duration_alert: float | None = 168
    wait_alert: float | None = 48
    error_rate_alert: float | None = 20
    max_retry_attempts: int = 3
    breaker_label: str = "somas:circuit-breaker"
    pipeline_enabled: bool = True
    problems: tuple[str, ...] = ()

    def timeout(self, stage: str) -> timedelta | None:
        """How long a stage may run; None for a stage that is not configured."""
        hours = self.timeouts.get(current_name(stage))
        return None if hours is None else timedelta(hours=hours)


def read_config(root: Path) -> Config:
    """Both files under ``root``. Never raises."""
    problems: list[str] = []
    config = _load(root, CONFIG, problems)
    limits = _load(root, LIMITS, problems)
    pipeline = mapping(config.get("pipeline"))
    timeouts = dict(TIMEOUT_HOURS)
    for stage in items(pipeline.get("stages")):
        entry = mapping(stage)
        hours = _number(entry.get("timeout_hours"))
        if text(entry.get("id")) and hours is not None:
            timeouts[entry["id"]] = hours
    alerts = mapping(mapping(config.get("monitoring")).get("alerts"))
    thresholds = mapping(alerts.get("thresholds"))
    if not items(pipeline.get("stages")) and not problems:
        problems.append(".somas/config.yml names no pipeline.stages; the usual stage timeouts are used")
    return Config(
        timeouts=timeouts,
        max_checkpoints=int(_number(mapping(config.get("state_manager")).get("max_checkpoints")) or 20),
        alerts=alerts.get("enabled") is not False,
        duration_alert=_number(thresholds.get("pipeline_duration_hours", 168)),
        wait_alert=_number(thresholds.get("human_wait_time_hours", 48)),
        error_rate_alert=_number(thresholds.get("error_rate_percent", 20)),
        max_retry_attempts=int(_number(mapping(limits.get("limits")).get("max_retry_attempts")) or 3),
        breaker_label=text(mapping(limits.get("escalation")).get("label")) or "somas:circuit-breaker",
        pipeline_enabled=pipeline.get("enabled") is not False,
        problems=tuple(problems),
    )


def read_raw(root: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both files as they stand there, for those who show what else is in them. Never raises; empty when unreadable."""
    return _load(root, CONFIG, []), _load(root, LIMITS, [])


def config_signature(root: Path) -> tuple[tuple[int, int, int] | None, ...]:
    """What tells whether one of the two files has changed."""
    found: list[tuple[int, int, int] | None] = []
    for name in (CONFIG, LIMITS):
        try:
            stat = (root / name).stat()
        except OSError:
            found.append(None)
        else:
            found.append((stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return tuple(found)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # no libyaml: no CSafeLoader
    """The safe loader, and ``<<: [*a, *a]`` within ``<<: [*b, *b]`` cannot multiply until the memory is full."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        if len(node.value) > MOST_KEYS:
            raise yaml.MarkedYAMLError(problem="merges too many keys")


def decoded(data: bytes | str) -> Any:
    """A YAML document. Raises ``YAMLError``, also for one so deep that libyaml's recursion would end the process."""
    depth = aliases = 0
    for event in yaml.parse(data, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        aliases += isinstance(event, yaml.AliasEvent)
        if depth > DEEPEST or aliases > MOST_ALIASES:
            raise yaml.MarkedYAMLError(problem="nested too deeply" if depth > DEEPEST else "too many aliases")
    return yaml.load(data, Loader=_Loader)  # noqa: S506 a safe loader


def _load(root: Path, name: Path, problems: list[str]) -> dict[str, Any]:
    data = read_bytes(root / name, LARGEST_CONFIG)
    if data is None:
        problems.append(f"{name} is missing; the usual values are used")
        return {}
    if isinstance(data, str):
        problems.append(f"{name} {data}; the usual values are used")
        return {}
    try:
        loaded = decoded(data)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        said = str(getattr(error, "problem", "") or type(error).__name__)
        problems.append(f"{name} cannot be read ({said}); the usual values are used")
    else:
        if isinstance(loaded, dict):
            return loaded
        problems.append(f"{name} is not a mapping; the usual values are used")
    return {}


def _number(value: Any) -> float | None:
    """A number above zero, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
        return None
    return float(value)
