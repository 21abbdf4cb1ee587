"""``/somas``: the SOMAS pipeline, as its files on this machine tell it."""

from __future__ import annotations

from pathlib import Path

from bot.handler import Product
from handlers.somas.actions import ACTIONS
from handlers.somas.commands import commands
from handlers.somas.facts import DEFINITIONS, PHRASES
from handlers.somas.handler import Somas, connect
from handlers.somas.settings import SETUP, SomasSettings
from handlers.somas.verify import VERIFICATION

product = Product(
    name="somas",
    title="SOMAS",
    summary="The SOMAS pipeline: projects, failures, restarts",
    settings=SomasSettings,
    setup=SETUP,
    commands=commands,
    connect=connect,
    runbooks=Path(__file__).parent / "runbooks",
    facts=DEFINITIONS,
    actions=ACTIONS,
    phrases=PHRASES,
    verification=VERIFICATION,
)

__all__ = ["Somas", "SomasSettings", "product"]
