"""``/somas``: the SOMAS pipeline, as its files on this machine tell it."""

from __future__ import annotations

from pathlib import Path

from bot.handler import Product
from bot.reports.commands import add_report_commands
from handlers.somas import (  # noqa: F401 they register their verbs
    actions_commands,
    actions_switch,
    breaker_commands,
    dispatch,
    emergency,
    file_commands,
    incident,
    incident_commands,
    issue_breaker,
    letter_commands,
    reading_commands,
    rollback,
)
from handlers.somas.actions import ACTIONS
from handlers.somas.commands import commands
from handlers.somas.facts import DEFINITIONS, PHRASES
from handlers.somas.file_actions import ACTIONS as FILE_ACTIONS
from handlers.somas.handler import Somas, connect
from handlers.somas.live_facts import LIVE_DEFINITIONS
from handlers.somas.log_actions import ACTIONS as LOG_ACTIONS
from handlers.somas.notifications import NEWS
from handlers.somas.report import REPORT
from handlers.somas.settings import SETUP, SomasSettings
from handlers.somas.verify import VERIFICATION

add_report_commands(commands)

product = Product(
    name="somas",
    title="SOMAS",
    summary="The SOMAS pipeline: projects, failures, restarts",
    settings=SomasSettings,
    setup=SETUP,
    commands=commands,
    connect=connect,
    runbooks=Path(__file__).parent / "runbooks",
    facts=(*DEFINITIONS, *LIVE_DEFINITIONS),
    actions=(
        *ACTIONS,
        *FILE_ACTIONS,
        *LOG_ACTIONS,
        *dispatch.ACTIONS,
        *emergency.ACTIONS,
        *actions_switch.ACTIONS,
        *issue_breaker.ACTIONS,
        *rollback.ACTIONS,
        *incident.ACTIONS,
    ),
    phrases=PHRASES,
    verification=VERIFICATION,
    report=REPORT,
    news=NEWS,
    attention_label="somas:needs-attention",
)

__all__ = ["Somas", "SomasSettings", "product"]
