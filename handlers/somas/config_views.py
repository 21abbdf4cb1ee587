"""What ``/somas config`` says: thresholds, timeouts and limits in force, and what only documents name. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from bot.messages import Block, Bold, Bullets, Fields, Heading, Line, Message, Note, Paragraph, Table, line
from handlers.somas.config import TIMEOUT_HOURS, Config
from handlers.somas.decode import brief, items, mapping, scalar
from handlers.somas.stages import STAGES
from handlers.somas.views import source_note

# What the runbook tells people to set or to read, and what is there.
DOCUMENTED = (
    ("pipeline.enabled", "read by nothing upstream; false here makes this bot refuse restarts"),
    ("error_handling.circuit_breaker.failure_threshold", "this bot's own breakers: 5 failures"),
    ("error_handling.circuit_breaker.recovery_timeout", "this bot's own breakers: 60 s"),
    ("error_handling.circuit_breaker.half_open_requests", "this bot's own breakers: 3 trials"),
    ("monitoring.notifications", "stands under project_management.notifications"),
)


def config_message(config: Config, raw: Mapping[str, Any], limits: Mapping[str, Any], now: datetime) -> Message:
    """What is in force; each with where it stands, and who reads it."""
    alerts = "on" if config.alerts else "off (monitoring.alerts.enabled)"
    rows = (
        ("Pipeline duration", "24 / 72 h", _hours(config.duration_alert)),
        ("Stage retries", "2 / 3", "-"),
        ("Dead letters", "5 / 10", "-"),
        ("Human wait", "24 / 48 h", _hours(config.wait_alert)),
        ("Error rate", "-", f"{config.error_rate_alert:g} %" if config.error_rate_alert else "none"),
    )
    stages = tuple(
        (
            stage,
            f"{config.timeouts[stage]:g} h" + ("" if config.timeouts[stage] == TIMEOUT_HOURS[stage] else ", changed"),
        )
        for stage in STAGES
    )
    told = mapping(mapping(raw.get("project_management")).get("notifications"))
    fields: list[tuple[str, Line]] = [
        ("Alerts", line(alerts)),
        ("Notifies on", line(brief(", ".join(map(scalar, items(told.get("notify_on")))), 200) or "nothing is named")),
        ("Owner", line(brief(scalar(told["owner"]), 60) if told.get("owner") else "not named")),
        ("max_checkpoints", line(f"{config.max_checkpoints} (the one key that StateManager reads)")),
        ("max_retry_attempts", line(f"{config.max_retry_attempts} (limits.yml)")),
        ("Circuit breaker label", line(brief(config.breaker_label, 60))),
    ]
    others = ((key, value) for key, value in mapping(limits.get("limits")).items() if key != "max_retry_attempts")
    named = ", ".join(f"{brief(scalar(key), 40)} {brief(scalar(value), 20)}" for key, value in others)
    fields.append(("limits.yml", line(brief(named, 300) or "nothing else")))
    absent = [(key, why) for key, why in DOCUMENTED if not _has(raw, key)]
    blocks: list[Block] = [
        Heading("SOMAS configuration"),
        Table(("Threshold", "Runbook, warning / critical", "config.yml"), rows),
        Note(line("Both are watched and reported with their source; for a pipeline's duration they disagree.")),
        Table(("Stage", "timeout_hours"), stages, frozenset({"timeout_hours"})),
        Fields(tuple(fields)),
    ]
    if absent:
        blocks.append(Paragraph(line(Bold("Named by the runbook, absent from the file"))))
        blocks.append(Bullets(tuple(line(Bold(key), f": {why}") for key, why in absent)))
    blocks.append(
        Note(line("Upstream reads only state_manager and agents; all the rest takes effect in this bot alone."))
    )
    blocks.append(source_note(now, ".somas/config.yml and .somas/config/limits.yml", config))
    return Message("SOMAS configuration", tuple(blocks), "warning" if config.problems else "none")


def _hours(value: float | None) -> str:
    return f"{value:g} h" if value else "none"


def _has(raw: Mapping[str, Any], dotted: str) -> bool:
    value: Any = raw
    for key in dotted.split("."):
        if not isinstance(value, dict) or key not in value:
            return False
        value = value[key]
    return True
