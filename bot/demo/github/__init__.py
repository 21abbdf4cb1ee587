"""A local GitHub: ``LocalGitHub``."""

from bot.demo.github.local import LocalGitHub

__all__ = ["LocalGitHub"]
