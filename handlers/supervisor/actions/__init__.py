"""What can be done or read on a supervised process, by what it works on."""

from handlers.supervisor.actions import child, logs, process, reading, starvation, tree

ACTIONS = (*reading.ACTIONS, *child.ACTIONS, *starvation.ACTIONS, *tree.ACTIONS, *process.ACTIONS, *logs.ACTIONS)

__all__ = ["ACTIONS"]
