"""``/supervisor``: processes that are built on rust-supervisor, driven through their ``dashboard-ipc.v1`` socket.

Commands are in ``commands/``, actions in ``actions/``, facts in ``facts/``; ``client.py`` talks to a process,
``relay.py`` to one behind its relay, ``link.py`` finds out why one cannot be talked to, ``protocol.py`` knows the
lines. ``polling.py`` looks at all of them once a second; ``host.py`` runs what the configuration allows on the host.
"""

from __future__ import annotations

from pathlib import Path

from bot.handler import Product, Services
from handlers.supervisor.actions import ACTIONS
from handlers.supervisor.commands import supervisor
from handlers.supervisor.facts import definitions
from handlers.supervisor.handler import SupervisorHandler
from handlers.supervisor.report import REPORT
from handlers.supervisor.settings import SETUP, SupervisorSettings
from handlers.supervisor.verify import VERIFICATION

# What the procedures say in words, where it can be checked. Left out on purpose, so that they become questions:
# "Process running" (the procedures say it of the relay, which the socket knows nothing of), "No child in BlockForever
# or IgnoreCancel state" (a child that blocks shows only when it is stopped) and "Budget exhausted; child quarantined
# automatically" (the supervisor never does that).
PHRASES: dict[str, str] = {
    "Child marked as `Quarantined`": 'child.operation == "quarantined"',
    "Child marked as Quarantined": 'child.operation == "quarantined"',
    "Child marked as `Paused`": 'child.operation == "paused"',
    "Child marked as Paused": 'child.operation == "paused"',
    "Child removed": "child.present == false",
    "Child running": "child.running == true",
    "Supervisor process running": "process.running == true",
    "not running": "process.running == false",
    "still disconnected": 'dashboard_link == "disconnected"',
    "Dashboard connected": 'dashboard_link == "connected"',
}


async def connect(settings: SupervisorSettings, services: Services) -> SupervisorHandler:
    """The connected product. A process that is down now may be up when it is asked."""
    handler = SupervisorHandler(settings, services)
    handler.poller.start()
    return handler


product = Product(
    name="supervisor",
    title="Supervisor",
    summary="Processes built on rust-supervisor: children, crash loops, quarantine.",
    settings=SupervisorSettings,
    setup=SETUP,
    commands=supervisor,
    connect=connect,
    runbooks=Path(__file__).parent / "runbooks",
    facts=definitions(),
    actions=ACTIONS,
    phrases=PHRASES,
    verification=VERIFICATION,
    report=REPORT,
)
