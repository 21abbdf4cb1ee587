"""Which post of a run is said where: in the thread of its card, in the escalation channel, on the issue."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bot.incoming import Place
from bot.messages import Message
from bot.runs.engine import Said
from bot.runs.model import Plan, Post, RunState
from bot.surfaces.drill import marked
from bot.surfaces.port import Surface
from bot.surfaces.step_text import Name
from bot.surfaces.thread import page_message, thread_message

Places = Callable[[Plan], list[Place]]


class Speaker:
    """Draws each post for every place where it has to be said."""

    def __init__(self, surfaces: Mapping[str, Surface], places: Places, escalation: Place | None, name: Name) -> None:
        self.surfaces = surfaces
        self.places = places
        self.escalation = escalation  # None: pages go where the run is
        self.name = name

    def __call__(self, state: RunState, post: Post, number: int, links: Mapping[str, str]) -> list[Said]:
        key = f"{state.plan.run_id}:{state.version}:{number}"
        said: list[Said] = []
        for place in self.places(state.plan):
            if place.surface == "slack":
                said += self._in_thread(state, post, f"{key}:{place.surface}", place)
        if post.escalation:
            for place in self._page_places(state.plan, acknowledged=post.kind != "page"):
                link = links.get(place.surface, "")
                said += self._page(state, post, f"{key}:{place.surface}:{place.channel}", place, link)
        return said

    def _in_thread(self, state: RunState, post: Post, key: str, place: Place) -> list[Said]:
        surface = self.surfaces.get(place.surface)
        if surface is None:
            return []
        body = surface.draw(_marked(state, thread_message(state, post, self.name)))
        escalation = post.escalation.number if post.kind == "page" and post.escalation else 0
        return [Said(f"{key}:thread", "thread", place, body, escalation)]

    def _page_places(self, plan: Plan, *, acknowledged: bool) -> list[Place]:
        """The escalation channel; a run on an issue is paged there too.

        An acknowledgement is told wherever the page stands, so also in the channels of the run's threads. A drill pages
        in its threads only; without one, where it was asked for.
        """
        if plan.drill:
            threads = [place for place in self.places(plan) if place.surface == "slack"]
            return (threads if acknowledged else []) if threads else [plan.place]
        places = [self.escalation] if self.escalation else []
        if plan.place.surface == "github":
            places.append(plan.place)
        if acknowledged:
            places += [place for place in self.places(plan) if place.surface == "slack"]
        by_channel = {(place.surface, place.channel): place for place in reversed(places or [plan.place])}
        return list(by_channel.values())

    def _page(self, state: RunState, post: Post, key: str, place: Place, link: str) -> list[Said]:
        surface = self.surfaces.get(place.surface)
        if surface is None or post.escalation is None:
            return []
        page = page_message(state, post.escalation, in_thread=False, name=self.name, link=link)
        body = surface.draw(_marked(state, page))
        if post.kind == "page":
            return [Said(f"{key}:page", "page", place, body, post.escalation.number)]
        return [Said(f"{key}:close", "close pages", place, body, post.escalation.number)]


def _marked(state: RunState, message: Message) -> Message:
    return marked(message) if state.plan.drill else message
