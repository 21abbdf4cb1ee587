"""opsbot: runbooks that run in the thread, check what they expect and escalate when time runs out."""

__version__ = "0.1.0"
