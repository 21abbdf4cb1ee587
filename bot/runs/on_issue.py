"""``/runs ack`` and ``/runs approve 4f5a2c91d07b`` in a GitHub issue mean the run that is shown there.

An issue is a thread for all runs of its project: the one is meant that the verb applies to now. When several are, the
person is asked which.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import sqlalchemy as sa

from bot import store as tables
from bot.commands import grammar
from bot.commands.grammar import Groups
from bot.errors import UserError
from bot.incoming import Place
from bot.runs.model import RunState
from bot.runs.presses import allowed
from bot.store import Store

MOST_RUNS = 30  # the newest of an issue; older ones are named by their id
_RUN_ID = re.compile(r"[0-9A-Z]{26}", re.IGNORECASE)
_DIGEST = re.compile(r"[0-9a-f]{12,64}")


async def with_run(store: Store, place: Place, said: str, groups: Groups, unconfigured: Collection[str]) -> str:
    """``said``, what stands behind ``/runs`` or ``@opsbot`` in this issue, as the slash command that is meant.

    Raises ``UserError`` when the verb applies to several runs, and ``CommandError`` as the grammar does.
    """
    verb, _, rest = said.strip().partition(" ")
    verb = verb.casefold()
    states = await _shown_on(store, place)
    if not states:
        return grammar.mention_line(said, groups, unconfigured)
    word, _, more = rest.strip().partition(" ")
    if verb == "approve" and _DIGEST.fullmatch(word):
        return f"/runs approve {_approved(states, word)} {more}".rstrip()
    meant = states[0] if _RUN_ID.fullmatch(word) else _meant(states, verb)  # a run that is named is that one
    return grammar.thread_line(said, meant.plan.run_id, groups, unconfigured)


def _approved(states: Sequence[RunState], digest: str) -> str:
    """The arguments of ``/runs approve`` for the plan of this digest, which the person has read and typed.

    A digest names one plan for one target, so it stands for the name that is typed elsewhere.
    """
    for state in states:
        step = state.steps[state.current]
        if not state.closed and step.status == "approval" and step.digest == digest:
            return f"{state.plan.run_id} --digest {digest} --confirm {_quoted(state.plan.target.name)}"
    waiting = [state for state in states if "approve" in allowed(state)]
    if waiting:
        raise UserError(
            "Nothing was approved: no plan on this issue has this digest. It may have changed since you looked at it. "
            "Read the new one, then approve that.",
            suggestions=(f"/runs approve {waiting[0].steps[waiting[0].current].digest}",),
        )
    raise UserError("Nothing was approved: no run on this issue waits for an approval.")


def _meant(states: Sequence[RunState], verb: str) -> RunState:
    """The run that the verb applies to, else the newest, whose refusal says why it does not apply."""
    fitting = [state for state in states if _applies(state, verb)]
    if len(fitting) > 1:
        named = ", ".join(f"{state.plan.runbook.title} ({state.plan.run_id})" for state in fitting[:5])
        raise UserError(
            f"{len(fitting)} runs on this issue could be meant: {named}. Say which.",
            suggestions=tuple(f"/runs {verb} {state.plan.run_id}" for state in fitting[:5]),
        )
    return fitting[0] if fitting else states[0]


def _applies(state: RunState, verb: str) -> bool:
    if verb in ("extend", "assign"):
        return not state.closed
    return verb in allowed(state)


async def _shown_on(store: Store, place: Place) -> list[RunState]:
    """The runs whose card, or whose page, stands on the issue; the newest first."""
    cards, outbox, runs = tables.cards, tables.outbox, tables.runs
    carded = sa.select(cards.c.run_id).where(
        cards.c.surface == place.surface, cards.c.channel == place.channel, cards.c.thread == place.thread
    )
    paged = sa.select(outbox.c.run_id).where(
        outbox.c.kind == "page",
        outbox.c.surface == place.surface,
        outbox.c.channel == place.channel,
        outbox.c.thread == place.thread,
    )
    rows = await store.rows(
        sa.select(runs.c.state)
        .where(sa.or_(runs.c.id.in_(carded), runs.c.id.in_(paged)))
        .order_by(runs.c.id.desc())
        .limit(MOST_RUNS)
    )
    return [RunState.model_validate_json(row.state) for row in rows]


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[\w.-]+", name) else '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
