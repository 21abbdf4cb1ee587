"""Who ``slack:U0ALICE`` is for people: the key under ``[people]``, else the id itself. Nobody is notified."""

from __future__ import annotations

from collections.abc import Mapping

from bot.settings import Person


class Names:
    """Plain names for actors, and each surface's own ids for mentions."""

    def __init__(self, people: Mapping[str, Person]) -> None:
        self.slack = {name: person.slack for name, person in people.items() if person.slack}
        self.github = {name: person.github for name, person in people.items() if person.github}
        self._by_actor = {f"slack:{identity}": name for name, identity in self.slack.items()}
        self._by_actor |= {f"github:{login.lower()}": name for name, login in self.github.items()}

    def __call__(self, actor: str) -> str:
        surface, colon, identity = actor.partition(":")
        if not colon:  # a name of [people] already
            return actor
        return self._by_actor.get(f"{surface}:{identity.lower() if surface == 'github' else identity}") or identity
