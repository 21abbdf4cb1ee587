"""Which post of a run is said where: in the thread of its card, in the escalation channel, on the issue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from bot.incoming import Place
from bot.messages import Message
from bot.runs.model import Escalation, Plan, Post, RunState
from bot.runs.record import Said
from bot.surfaces.drill import marked
from bot.surfaces.page import page_message
from bot.surfaces.port import Surface
from bot.surfaces.step_text import Name
from bot.surfaces.thread import thread_message

Places = Callable[[Plan], list[Place]]
MOVES_ON = frozenset({"question", "approval", "step", "end", "attached"})  # what makes an open page say something else


class Speaker:
    """Draws each post for every place where it has to be said."""

    def __init__(
        self,
        surfaces: Mapping[str, Surface],
        places: Places,
        escalation: Place | None,
        name: Name,
        *,
        label: Callable[[Plan], str] = lambda plan: "",
    ) -> None:
        self.surfaces = surfaces
        self.places = places
        self.escalation = escalation  # None: pages go where the run is
        self.name = name
        self.label = label

    def __call__(self, state: RunState, post: Post, number: int, links: Mapping[str, str]) -> list[Said]:
        key = f"{state.plan.run_id}:{state.version}:{number}"
        said: list[Said] = []
        for place in self.places(state.plan):
            if place.surface == "slack":
                said += self._in_thread(state, post, f"{key}:{place.surface}", place)
        if post.kind == "page" and post.escalation:
            said += self.pages(state, post.escalation, key, links)
        elif post.kind == "acknowledged" and post.escalation:
            said += self._everywhere(state, post.escalation, f"{key}:close", "close pages", links)
            said += self._unlabelled(state, post.escalation, key)
        elif state.page and post.kind in MOVES_ON:
            key = f"{state.plan.run_id}:{state.version}:update"  # one for all that is said at once
            said += self._everywhere(state, state.page, key, "update pages", links)
        return said

    def pages(
        self, state: RunState, page: Escalation, key: str, links: Mapping[str, str], note: str = ""
    ) -> list[Said]:
        """The page for every place where it is due; in the run's thread it is said besides."""
        said = []
        for place in self._page_places(state.plan):
            if place.surface in self.surfaces:
                said.append(self.page(state, page, f"{key}:{place.surface}:{place.channel}:page", place, links, note))
                said += self.labelled(state, page, place)
        return said

    def labelled(self, state: RunState, page: Escalation, place: Place) -> list[Said]:
        """The label of the issue that is paged on; however often, it is set once."""
        label = self.label(state.plan)
        if not label or place.surface != "github" or not place.thread or state.plan.drill:
            return []
        key = f"{state.plan.run_id}:label:{page.number}:{place.thread}"
        return [Said(key, "label", place, {"label": label}, page.number)]

    def _unlabelled(self, state: RunState, page: Escalation, key: str) -> list[Said]:
        """For the labels that were set: their own rows know which, whatever is configured by now."""
        if "github" not in self.surfaces or state.plan.drill:
            return []
        return [Said(f"{key}:unlabel", "unlabel", Place(surface="github", channel=""), {}, page.number)]

    def page(
        self, state: RunState, page: Escalation, key: str, place: Place, links: Mapping[str, str], note: str = ""
    ) -> Said:
        """The page for one place; ``note`` says why it comes there, or from whom."""
        link = links.get(place.surface) or next(iter(links.values()), "")
        message = page_message(state, page, in_thread=False, name=self.name, link=link, note=note)
        return Said(key, "page", place, self.surfaces[place.surface].draw(_marked(state, message)), page.number)

    def message(self, place: Place, message: Message, key: str) -> Said:
        """What is paged without a run's escalation: the watchdog found that nobody works on a run."""
        return Said(key, "page", place, self.surfaces[place.surface].draw(message))

    def _in_thread(self, state: RunState, post: Post, key: str, place: Place) -> list[Said]:
        surface = self.surfaces.get(place.surface)
        if surface is None:
            return []
        body = surface.draw(_marked(state, thread_message(state, post, self.name)))
        escalation = post.escalation.number if post.kind == "page" and post.escalation else 0
        return [Said(f"{key}:thread", "thread", place, body, escalation)]

    def _page_places(self, plan: Plan) -> list[Place]:
        """The escalation channel, and the issue: its target's, else the one on which it was asked for.

        A drill pages in its threads only; without one, where it was asked for.
        """
        if plan.drill:
            return [] if any(place.surface == "slack" for place in self.places(plan)) else [plan.place]
        places = [self.escalation] if self.escalation else []
        asked = plan.place if plan.place.surface == "github" else None
        if on_github := plan.paged_on or asked:
            places.append(on_github)
        return list(reversed(places or [plan.place]))

    def _everywhere(
        self, state: RunState, page: Escalation, key: str, kind: str, links: Mapping[str, str]
    ) -> list[Said]:
        """What its pages say from now on, for each surface: a page may have gone another way than it should have."""
        said = []
        for name, surface in self.surfaces.items():
            link = links.get(name) or next((each for each in links.values() if each), "")
            message = page_message(state, page, in_thread=False, name=self.name, link=link)
            body = surface.draw(_marked(state, message))
            said.append(Said(f"{key}:{name}", kind, Place(surface=name, channel=""), body, page.number))
        return said


def _marked(state: RunState, message: Message) -> Message:
    return marked(message) if state.plan.drill else message


def pages_missed(page: Escalation, now: datetime) -> Escalation:
    """The page as it would be by now, had it been sent whenever it was due."""
    if page.next_page_at is None or now < page.next_page_at:
        return page
    missed = 1 + (now - page.next_page_at) // page.repeat
    notified = min(len(page.chain), page.notified + missed)
    added = tuple(contact.name for contact in page.chain[page.notified : notified])
    return page.model_copy(update={"pages": page.pages + missed, "paged_at": now, "notified": notified, "added": added})
