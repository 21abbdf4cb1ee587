"""The root ``/supervisor``, and what several of its commands share."""

from __future__ import annotations

from bot.commands.registry import CommandGroup
from bot.errors import UserError
from bot.handler import Target
from handlers.supervisor.handler import SupervisorHandler

supervisor = CommandGroup("supervisor", "Supervised processes: their children, and what to do when one misbehaves.")


def process_target(name: str) -> Target:
    return Target(product="supervisor", kind="target", name=name)


def child_target(process: str, child: str) -> Target:
    return Target(product="supervisor", kind="child", name=child, scope=process)


def the_process(handler: SupervisorHandler, target: str | None, typed: str) -> str:
    """The process that is meant. ``typed`` is the command without the target. Raises ``UserError`` when none is."""
    names = sorted(handler.clients)
    if target is None and len(names) > 1:
        raise UserError(
            f"Say which process: {', '.join(names[:20])}{' and more' if len(names) > 20 else ''}.",
            suggestions=tuple(f"{typed} {name}" for name in names[:5]),
        )
    return target or names[0]


def options(reason: str, dry_run: bool) -> str:
    """The options again, for a suggestion that can be run as it stands; a reason with quotes in it is left out."""
    kept = f' --reason "{reason}"' if reason and '"' not in reason and "\\" not in reason else ""
    return kept + (" --dry-run" if dry_run else "")
