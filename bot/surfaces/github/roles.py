"""``operators = ["github-role:maintain"]``: an actor with the role that GitHub says they have in the repository now."""

from __future__ import annotations

from bot.incoming import Actor
from bot.surfaces.github.client import GitHubSurface


class RepositoryRoles:
    """Asks GitHub's collaborator permission API; answers are kept for at most 60 s, and an error means no role."""

    def __init__(self, surface: GitHubSurface) -> None:
        self._surface = surface

    async def __call__(self, actor: Actor) -> Actor:
        """The actor with their role; as they were for somebody who is not on GitHub."""
        if actor.surface != "github" or not actor.id or not actor.login:
            return actor
        role = await self._surface.permissions.of(self._surface.repository, actor.login, actor.id)
        return actor.model_copy(update={"role": "" if role == "none" else role})

    @property
    def trouble(self) -> str:
        """Why GitHub could not say it when it was asked last; empty when it could."""
        return self._surface.permissions.problem
