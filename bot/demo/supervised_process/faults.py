"""Faults on demand: ``touch FOLDER/hang-control-loop`` and remove the file to let the process recover.

A fault is a file in the folder given with ``--faults``, or a name added to ``Faults.active`` when the process runs
inside a test. Faults marked *once* are used up by the request that meets them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

FAULTS: dict[str, str] = {
    "hang-control-loop": "state and commands get no answer, hello does",
    "hang-everything": "nothing gets an answer, connections are still taken",
    "hang-on-command": "once: hang-control-loop comes on when a command arrives",
    "control-loop-gone": "state answers current_state_failed, commands are not accepted",
    "close-before-command": "once: the connection is closed on a command, which is not executed",
    "close-after-command": "once: the command is executed and the connection closed without a reply",
    "exit-after-command": "the process dies at once (as by SIGKILL) when it has executed a command",
}


@dataclass(slots=True)
class Faults:
    """The faults that are on now."""

    folder: Path | None = None
    active: set[str] = field(default_factory=set)

    def on(self, name: str) -> bool:
        if name not in FAULTS:
            raise KeyError(name)
        return name in self.active or (self.folder is not None and (self.folder / name).exists())

    async def hold(self, name: str) -> None:
        """Wait for as long as the fault is on."""
        while self.on(name):  # noqa: ASYNC110  the fault may be a file that a person removes
            await asyncio.sleep(0.02)

    def switch_on(self, name: str) -> None:
        """As if somebody had made the file."""
        if self.folder is not None:
            (self.folder / name).touch()
        else:
            self.active.add(name)

    def take(self, name: str) -> bool:
        """True once; the fault is off afterwards."""
        if not self.on(name):
            return False
        self.active.discard(name)
        if self.folder is not None:
            (self.folder / name).unlink(missing_ok=True)
        return True
