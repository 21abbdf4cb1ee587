"""What one event changes in a run: its new state, work to begin, what is to be said; collected while it is decided.

``decide.py`` makes one for each event and hands it to those who know: ``steps.py``, ``presses.py``, ``budgets.py``,
``escalation.py``. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from bot.runbooks.model import Step
from bot.runs.model import Escalation, Post, Quoted, RunState, StepState, Work
from bot.runs.paging import Paging


@dataclass(frozen=True, slots=True)
class Decision:
    """The new state; ``start`` is work to begin, ``abort`` asks the work that is going on to stop early."""

    state: RunState
    start: Work | None = None
    abort: bool = False
    posts: tuple[Post, ...] = ()


class Changes:
    """Collects the changes that one event makes; ``at`` is when it happened, ``paging`` who is on call by then."""

    def __init__(self, state: RunState, at: datetime, paging: Paging | None = None) -> None:
        self.before = state
        self.state = state
        self.at = at
        self.paging = paging or state.plan.paging
        self.start: Work | None = None
        self.abort = False
        self.posts: list[Post] = []
        self._changed = False

    @property
    def changed(self) -> bool:
        """Whether the event has done anything so far."""
        return self._changed or bool(self.posts)

    def decision(self) -> Decision:
        state = self.state
        if self.changed:
            state = state.model_copy(update={"version": state.version + 1})
        return Decision(state, self.start, self.abort, tuple(self.posts))

    @property
    def step(self) -> StepState:
        """The present step."""
        return self.state.steps[self.state.current]

    @property
    def row(self) -> Step:
        """The present step as the runbook has it."""
        return self.state.plan.runbook.steps[self.state.current]

    def set(self, **changes: object) -> None:
        """Change the run."""
        self._changed = True
        self.state = self.state.model_copy(update=changes)

    def set_step(self, **changes: object) -> None:
        """Change the present step."""
        index = self.state.current
        step = self.state.steps[index].model_copy(update=changes)
        self.set(steps=(*self.state.steps[:index], step, *self.state.steps[index + 1 :]))

    def set_page(self, page: Escalation, **changes: object) -> Escalation:
        """Change or add an escalation; as it is now."""
        page = page.model_copy(update=changes)
        others = (old for old in self.state.escalations if old.number != page.number)
        self.set(escalations=tuple(sorted((*others, page), key=lambda escalation: escalation.number)))
        return page

    def say(
        self,
        kind: str,
        *,
        escalation: Escalation | None = None,
        text: str = "",
        until: datetime | None = None,
        reason: str = "",
        actor: str = "",
        notify: str = "",
        quoted: Quoted | None = None,
    ) -> None:
        """Say something in the run's thread, with the step as it is now."""
        self.posts.append(
            Post.model_validate(
                {
                    "kind": kind,
                    "index": self.state.current,
                    "step": self.step,
                    "escalation": escalation,
                    "text": text,
                    "until": until,
                    "reason": reason,
                    "actor": actor,
                    "notify": notify,
                    "quoted": quoted,
                }
            )
        )

    def work(self, kind: str, attempt: int) -> None:
        """Begin work on the present step."""
        fields = {"kind": kind, "step": self.state.current, "attempt": attempt, "begun_at": self.at}
        self.start = Work.model_validate(fields)
        self.set(busy=self.start, status="running")
