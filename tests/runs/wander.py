"""Any run, and anything that can happen to it: strategies that lead runs into every state they can reach."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, get_args

from hypothesis import strategies as st
from pydantic import TypeAdapter

from bot.handler import Danger, Observation, Preview, Provenance
from bot.runbooks.model import OnOverdue
from bot.runs.decide import allowed, new_run, next_due
from bot.runs.model import Begin, Event, Finished, Outcome, Plan, Prepared, RunState, Tick, Verb, Work
from tests.runs.plans import NOON, Played, plan, row

VERBS: tuple[Verb, ...] = get_args(Verb)
DIGESTS = ("aaaaaaaaaaaa", "bbbbbbbbbbbb")
EVENTS: TypeAdapter[Event] = TypeAdapter(Event)

_words = st.sampled_from(
    (
        "",
        "It is done",
        "<!channel> *bold* `code` @everyone",
        "a\nb\n```\nc",
        "x" * 900,
        "</details><!-- |",
        "\u202eevil.txt",
    )
)


_policies: st.SearchStrategy[OnOverdue] = st.sampled_from(("ask", "ask", "continue", "stop"))


@dataclass(frozen=True, slots=True)
class Move:
    """Something that happens: its kind, how long after the last one, and what it needs."""

    kind: str  # tick, due, work, press, again, stale, killed
    seconds: float
    more: dict[str, Any]


def plans() -> st.SearchStrategy[Plan]:
    rows = st.builds(
        row,
        st.sampled_from(("Look at it: `handle.act()`", "Call **somebody**.", "Remove `worker-3`")),
        st.sampled_from((Danger.READ, Danger.CHANGE, Danger.DESTRUCTIVE, None)),
        minutes=st.sampled_from((0, 0, 1, 10)),
        expect=st.sampled_from(("", "children.running == 3", "`Process` is `fine`")),
        condition=st.sampled_from((None, None, "it is down")),
        on_overdue=_policies,
    )
    return st.builds(
        lambda rows, minutes, approvers, repeat, on_overdue, approval_minutes: plan(
            *rows,
            minutes=minutes,
            approvers=approvers,
            repeat=timedelta(minutes=repeat),
            on_overdue=on_overdue,
            approval_minutes=approval_minutes,
        ),
        st.lists(rows, min_size=1, max_size=4),
        minutes=st.sampled_from((0, 5, 30)),
        approvers=st.sampled_from((("bob",), ())),
        repeat=st.sampled_from((1, 20)),
        on_overdue=_policies,
        approval_minutes=st.sampled_from((1, 15)),
    )


def _moves() -> st.SearchStrategy[Move]:
    previews = st.sampled_from((None, *(Preview(summary=text, detail="+ x\n") for text in ("stop it", "remove it"))))
    digests = st.sampled_from(DIGESTS)
    prepared = st.fixed_dictionaries(
        {
            "condition": st.sampled_from(("none", "holds", "holds", "does not hold", "cannot tell")),
            "observed": _words,
            "preview": previews,
            "digest": digests,
            "problem": st.sampled_from(("", "", "the socket is gone")),
        }
    )
    sources = st.sampled_from(
        ((), (Observation(name="a", value=[1], provenance=Provenance.DERIVED, source="counted <@U0>"),))
    )
    finished = st.fixed_dictionaries(
        {
            "status": st.sampled_from(("done", "done", "done", "refused", "failed", "uncertain", "manual", "changed")),
            "summary": _words,
            "outcome": st.sampled_from((None, *get_args(Outcome))),
            "observed": _words,
            "evidence": _words,
            "sources": sources,
            "preview": previews,
            "digest": digests,
        }
    )
    press = st.fixed_dictionaries(
        {
            "verb": st.one_of(st.sampled_from(VERBS), st.integers(0, 5), st.integers(0, 5)),
            "actor": st.sampled_from(("slack:U0ALICE", "slack:U0BOB", "github:scotlaclair")),
            "is_requester": st.sampled_from((False, False, True)),
            "typed": st.sampled_from(("worker-3", "worker-3", "worker-4", "")),
            "digest": st.sampled_from(("right", "right", "right", "", *DIGESTS)),
            "reason": _words,
            "span": st.sampled_from((None, timedelta(minutes=10), timedelta(minutes=10), timedelta(days=400))),
            "to": st.sampled_from(("bob", "")),
        }
    )
    seconds = st.sampled_from((0, 0, 1, 30, 59.5, 600, 7200))
    nothing: st.SearchStrategy[dict[str, Any]] = st.just({})
    return st.one_of(
        st.builds(Move, st.just("work"), seconds, st.tuples(prepared, finished).map(lambda two: {"two": two})),
        st.builds(Move, st.just("work"), seconds, st.tuples(prepared, finished).map(lambda two: {"two": two})),
        st.builds(Move, st.just("press"), seconds, press),
        st.builds(Move, st.just("press"), seconds, press),
        st.builds(Move, st.sampled_from(("tick", "due", "again", "stale", "killed")), seconds, nothing),
    )


def journeys() -> st.SearchStrategy[list[Move]]:
    return st.lists(_moves(), max_size=25)


def event_of(move: Move, played: Played, seen: list[Event]) -> Event:
    """The move as an event that fits the state, or, for ``again`` and ``stale``, does not."""
    state = played.state
    played.now += timedelta(seconds=move.seconds)
    match move.kind:
        case "work" if state.busy:
            prepared, finished = move.more["two"]
            kind = state.busy.kind
            body = {**(prepared if kind == "prepare" else finished), "work": state.busy}
            return EVENTS.validate_python(
                {"kind": f"{'prepared' if kind == 'prepare' else 'finished'}", **_at(played, body)}
            )
        case "press":
            press = dict(move.more)
            if isinstance(press["verb"], int):  # one that is possible now; they start with the most likely
                possible = allowed(state) or VERBS
                press["verb"] = possible[press["verb"] % len(possible)]
            if press["digest"] == "right":
                press["digest"] = state.steps[state.current].digest
            return EVENTS.validate_python({"kind": "press", **_at(played, press)})
        case "due" if due := next_due(state):
            played.now = max(played.now, due)
            return Tick(at=played.now)
        case "again" if seen:
            return seen[-1]
        case "killed" if state.busy:
            return played.restart()
        case "stale":
            ended = [event for event in seen if isinstance(event, Prepared | Finished) and event.work != state.busy]
            if ended:
                return ended[-1].model_copy(update={"at": played.now})
            return Prepared(at=played.now, work=Work(kind="prepare", step=0, attempt=99))
    return Tick(at=played.now)


def _at(played: Played, body: dict[str, Any]) -> dict[str, Any]:
    return {**body, "at": played.now}


def begun(of: Plan) -> Played:
    played = Played(new_run(of))
    played.take(Begin(at=NOON))
    return played


def reached(of: Plan, moves: list[Move]) -> Played:
    """The run after all this."""
    played, seen = begun(of), list[Event]()
    for move in moves:
        event = event_of(move, played, seen)
        seen.append(event)
        played.take(event)
    return played


def states() -> st.SearchStrategy[RunState]:
    return st.builds(lambda of, moves: reached(of, moves).state, plans(), journeys())
