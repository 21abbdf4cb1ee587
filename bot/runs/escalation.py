"""The page that waits for its acknowledgement: when it goes out, when it is repeated, whom it calls, who stops it.

Severity decides the response time and how often the page is repeated. The first page calls the first of the chain, each
repetition adds the next one. Chain and times are frozen when the escalation is opened. A clause of the runbook calls a
level at once. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from bot.runbooks.model import Clause
from bot.runs.changes import Changes
from bot.runs.model import Gathered, Post, Press, RunState
from bot.runs.paging import Contact, Escalation, Fired, Paging

LONGEST_REASON = 1000  # characters
REPEAT = timedelta(minutes=20)  # where no settings are known
RESPONSE = timedelta(hours=1)


def next_deadlines(state: RunState) -> Iterator[datetime]:
    """When the open page is sent again, and when a clause of the runbook comes true by the time alone."""
    page = state.page
    if page and page.next_page_at:
        yield page.next_page_at
    for index, clause in enumerate(state.plan.runbook.clauses):
        if index in _fired(state):
            continue
        if clause.kind == "nobody answers" and page and page.respond_by:
            yield page.respond_by
        elif clause.kind == "not done" and clause.within and not state.closed and _undone(state, clause):
            yield state.plan.started_at + clause.within


def escalate(run: Changes, reason: str, level: str = "") -> None:
    """Page now. An open page about the same step takes the new reason along: one bell, not two.

    ``level`` is called at once, whoever was called before.
    """
    page, number = run.state.page, run.row.number
    if page is None:
        _page(run, _opened(run, reason, level))
        return
    called = page.notified
    if level:
        page = _raised(run, page, level)
    if page.step == number:
        page = run.set_page(page, reason=f"{page.reason.rstrip('.')}; and {reason}"[:LONGEST_REASON])
        if page.notified == called:
            return
    else:
        page = run.set_page(
            page, reason=f"{reason.rstrip('.')}; before that, {page.reason}"[:LONGEST_REASON], step=number
        )
    _page(run, page)


def time_passed(run: Changes) -> None:
    """Send the page again when it is time, to one more of the chain."""
    page = run.state.page
    if page and page.next_page_at and run.at >= page.next_page_at:
        if not page.chain:  # opened by a version of the bot that kept no chain
            page = run.set_page(page, chain=run.paging.chain)
        _page(run, run.set_page(page, notified=min(len(page.chain), page.notified + 1)))


def acknowledge(run: Changes, press: Press) -> None:
    """The page stops, wherever it was sent. What the run waits for it goes on waiting for."""
    page = run.state.page
    if page:
        page = run.set_page(page, acknowledged_by=press.actor, acknowledged_at=run.at, next_page_at=None)
        run.say("acknowledged", escalation=page, actor=press.actor)


def _opened(run: Changes, reason: str, level: str) -> Escalation:
    plan, paging = run.state.plan, run.paging
    first = people_of(paging, level) if level else ()
    chain = tuple(dict.fromkeys((*first, *paging.chain)))
    return run.set_page(
        Escalation(
            number=len(run.state.escalations) + 1,
            reason=reason[:LONGEST_REASON],
            step=run.row.number,
            opened_at=run.at,
            respond_by=run.at + paging.response.get(plan.severity, RESPONSE),
            repeat=paging.repeat.get(plan.severity, REPEAT),
            chain=chain,
            notified=min(len(chain), max(1, len(first))),
            tell=paging.tell.get(plan.severity, ""),
            level=level if first else "",
            unknown="" if first else level,
        )
    )


def _raised(run: Changes, page: Escalation, level: str) -> Escalation:
    """The level is called with those who were called before; the rest of the chain comes after it, as ever."""
    called, wanted = page.contacts, people_of(run.paging, level)
    if not wanted:
        return run.set_page(page, unknown=level)
    new = tuple(contact for contact in wanted if contact not in called)
    rest = tuple(contact for contact in page.chain[page.notified :] if contact not in new)
    return run.set_page(page, chain=(*called, *new, *rest), notified=len(called) + len(new), level=level)


def people_of(paging: Paging, level: str) -> tuple[Contact, ...]:
    """A level of the settings, or one person; nobody when neither is known, and the page says so."""
    if level in paging.levels:
        return paging.levels[level]
    people = (*paging.chain, *(contact for contacts in paging.levels.values() for contact in contacts))
    return tuple(contact for contact in dict.fromkeys(people) if contact.name == level)


def _page(run: Changes, page: Escalation) -> None:
    """Send it. A second reason within one event makes no second page: it goes out once, with all that it has to say."""
    run.posts[:] = [post for post in run.posts if post.kind != "page"]
    before = next((old for old in run.before.escalations if old.number == page.number), None)
    called = before.contacts if before else page.contacts
    page = run.set_page(
        page,
        pages=(before.pages if before else 0) + 1,
        paged_at=run.at,
        next_page_at=run.at + page.repeat,
        added=tuple(contact.name for contact in page.contacts if contact not in called),
    )
    run.say("page", escalation=page)


# -- the clauses of the runbook


def failed(run: Changes) -> None:
    """A try of the present step has failed: clauses count these."""
    number = run.row.number
    run.set(failures={**run.state.failures, number: run.state.failures.get(number, 0) + 1})


def look_at_clauses(run: Changes) -> None:
    """Do what the clauses say that have come true with this event; each once in a run."""
    for index, clause in enumerate(run.state.plan.runbook.clauses):
        if index not in _fired(run.state) and (because := _holds(run, clause)):
            fetches = bool(clause.attach or clause.issue)
            fired = Fired(clause=index, at=run.at, because=because, pending=fetches)
            run.set(fired=(*run.state.fired, fired))
            if clause.page or clause.tell or (run.state.page is None and not clause.issue):
                escalate(run, because, level=clause.page)


def gathered(run: Changes, event: Gathered) -> None:
    """What a clause attaches is there, or it is known why not: the page shows it from now on."""
    if event.clause not in {fired.clause for fired in run.state.fired if fired.pending}:
        return
    done = {"pending": event.pending, "attachments": event.attachments, "issue": event.issue, "problem": event.problem}
    run.set(
        fired=tuple(
            fired.model_copy(update=done) if fired.clause == event.clause else fired for fired in run.state.fired
        )
    )
    fired = next(fired for fired in run.state.fired if fired.clause == event.clause)
    run.posts.append(
        Post(kind="attached", index=run.state.current, step=run.step, escalation=run.state.page, fired=fired)
    )


def _holds(run: Changes, clause: Clause) -> str:
    """Why the clause has come true, for the page; empty when it has not."""
    state = run.state
    match clause.kind:
        case "starts":
            return "the runbook says to page as soon as it is started"
        case "fails":
            count = sum(state.failures.get(number, 0) for number in clause.steps)
            if count == sum(run.before.failures.get(number, 0) for number in clause.steps):
                return ""  # a retry brings the count of the run that it repeats along
            steps = " or ".join(clause.steps)
            times = {1: "", 2: " twice"}.get(clause.times, f" {clause.times} times")
            return f"step {steps} has failed{times}" if count >= clause.times else ""
        case "not done" if clause.within and _undone(state, clause):
            late = not state.closed and run.at >= state.plan.started_at + clause.within
            return f"{clause.said.replace('is not done', 'was not done')}" if late or state.status == "failed" else ""
        case "shows":
            rows = zip(state.plan.runbook.steps, state.steps, strict=True)
            for row, step in rows:
                if row.number in clause.steps and any(
                    clause.text in text for text in (step.summary, step.observed, step.evidence)
                ):
                    return f"step {row.number} shows {clause.text}"
            return ""
        case "run fails":
            return "the run has failed" if state.status == "failed" else ""
        case "over budget":
            return "the run is over its budget" if state.overdue else ""
        case "nobody answers":
            page = state.page
            return "nobody has answered in time" if page and page.respond_by and run.at >= page.respond_by else ""
        case _:
            return ""


def _undone(state: RunState, clause: Clause) -> bool:
    return any(
        step.status not in ("done", "skipped")
        for row, step in zip(state.plan.runbook.steps, state.steps, strict=True)
        if row.number in clause.steps
    )


def _fired(state: RunState) -> set[int]:
    return {fired.clause for fired in state.fired}
