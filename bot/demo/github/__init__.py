"""A local GitHub: ``LocalGitHub``."""

from bot.demo.github.local import LocalGitHub
from bot.demo.github.state import Job

__all__ = ["Job", "LocalGitHub"]
