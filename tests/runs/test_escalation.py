"""Who is paged, when, and what the clauses of a runbook do: event by event."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bot.messages import plain_text
from bot.runbooks.clauses import parse_when
from bot.runbooks.model import Clause, IssueTemplate
from bot.runs.decide import new_run, next_due
from bot.runs.escalation import people_of
from bot.runs.model import Ancestor, Begin, Gathered, Tick
from bot.runs.paging import Attachment, Contact, Escalation, Paging, paging_of
from bot.settings import EscalationSettings, Person
from bot.surfaces.page import issue_title, page_message
from tests.runs.plans import CHANGE, MANUAL, NOON, READ, Played, Row, plan, row

SCOT, ALICE, BOB = (Contact(name=name, slack=f"U0{name.upper()}") for name in ("scotlaclair", "alice", "bob"))
DORA = Contact(name="dora")  # L2 of every plan of these tests


def begun(*rows: Row, chain: tuple[Contact, ...] = (SCOT, ALICE, BOB), clauses: tuple[Clause, ...] = ()) -> Played:
    played = Played(new_run(plan(*rows, chain=chain, clauses=clauses)))
    played.take(Begin(at=NOON))
    return played


def clause(when: str, **does: object) -> Clause:
    return Clause.model_validate({"said": when, **parse_when(when), **does})


def paged(played: Played) -> list[tuple[str, ...]]:
    """Whom each page that went out called."""
    return [
        tuple(contact.name for contact in post.escalation.contacts)
        for post in played.posts
        if post.kind == "page" and post.escalation
    ]


def page_of(played: Played) -> Escalation:
    assert played.state.page is not None
    return played.state.page


# -- the settings


@pytest.mark.parametrize(
    ("severity", "response", "repeat"),
    [
        ("low", timedelta(hours=24), timedelta(hours=8)),
        ("medium", timedelta(hours=4), timedelta(minutes=80)),
        ("high", timedelta(hours=1), timedelta(minutes=20)),
        ("critical", timedelta(minutes=15), timedelta(minutes=5)),
    ],
)
def test_severity_decides_how_soon_and_how_often(severity: str, response: timedelta, repeat: timedelta) -> None:
    paging = paging_of(EscalationSettings(contact="scot"), {"scot": Person(slack="U0SCOT", github="scot")})
    assert paging.chain == (Contact(name="scot", slack="U0SCOT", github="scot"),)
    assert {name: paging.response[name] for name in paging.response if name == severity} == {severity: response}
    assert {name: paging.repeat[name] for name in paging.repeat if name == severity} == {severity: repeat}
    played = Played(new_run(plan(row("wait", MANUAL, minutes=1)).model_copy(update={"severity": severity})))
    played.state = played.state.model_copy(update={"plan": played.state.plan.model_copy(update={"paging": paging})})
    played.take(Begin(at=NOON))
    page = page_of(played.at(1))
    assert page.respond_by == played.now + response
    assert page.next_page_at == played.now + repeat


def test_a_shorter_response_time_repeats_more_often_unless_that_is_set_too() -> None:
    settings = EscalationSettings.model_validate(
        {"chain": ["scot", "alice"], "response": {"high": "PT30M", "low": "PT3H"}, "repeat": {"low": "PT7M"}}
    )
    assert settings.in_order == ("scot", "alice")
    assert settings.repeat_of("high") == timedelta(minutes=10)
    assert settings.repeat_of("low") == timedelta(minutes=7)
    assert settings.repeat_of("critical") == timedelta(minutes=5)


# -- the chain


def test_each_repetition_adds_the_next_of_the_chain_and_then_all_are_called() -> None:
    played = begun(row("wait", MANUAL, minutes=10))
    for minutes in (10, 30, 50, 70):
        played.at(minutes)
    assert paged(played) == [
        ("scotlaclair",),
        ("scotlaclair", "alice"),
        ("scotlaclair", "alice", "bob"),
        ("scotlaclair", "alice", "bob"),
    ]
    assert [post.escalation.added for post in played.posts if post.kind == "page" and post.escalation] == [
        (),
        ("alice",),
        ("bob",),
        (),
    ]


def test_the_chain_is_frozen_when_the_escalation_is_opened() -> None:
    """Who is on call is asked when the page is opened, not when the run began; after that it stays."""
    carol = Paging(chain=(Contact(name="carol", slack="U0CAROL"), ALICE), repeat={"high": timedelta(minutes=5)})
    dan = Paging(chain=(Contact(name="dan", slack="U0DAN"),), repeat={"high": timedelta(minutes=1)})
    played = begun(row("wait", MANUAL, minutes=10))
    played.take(Tick(at=NOON + timedelta(minutes=10), paging=carol))
    assert paged(played) == [("carol",)]
    played.take(Tick(at=NOON + timedelta(minutes=15), paging=dan))
    assert paged(played) == [("carol",), ("carol", "alice")]
    assert page_of(played).next_page_at == NOON + timedelta(minutes=20)
    played.now = NOON + timedelta(minutes=16)
    played.press("ack").press("done")
    assert played.state.closed


def test_a_page_that_was_due_while_the_bot_was_away_goes_out_once() -> None:
    played = begun(row("wait", MANUAL, minutes=10)).at(10)
    played.at(200)
    assert paged(played) == [("scotlaclair",), ("scotlaclair", "alice")]
    assert page_of(played).next_page_at == NOON + timedelta(minutes=220)


def test_a_page_of_an_earlier_version_without_a_chain_takes_that_of_today() -> None:
    played = begun(row("wait", MANUAL, minutes=10)).at(10)
    old = page_of(played).model_dump(include={"number", "reason", "step", "opened_at", "pages", "next_page_at"})
    played.state = played.state.model_copy(update={"escalations": (Escalation.model_validate(old),)})
    assert paged(played.at(30))[-1] == ("scotlaclair",)
    assert paged(played.at(50))[-1] == ("scotlaclair", "alice")


def test_after_the_acknowledgement_a_new_reason_pages_anew_from_the_first_of_the_chain() -> None:
    played = begun(row("one", MANUAL, minutes=10), row("two", MANUAL, minutes=10)).at(10).at(30)
    played.press("ack", "alice").press("done")
    assert played.at(100).said.count("page") == 3
    assert paged(played)[-1] == ("scotlaclair",)
    assert [page.number for page in played.state.escalations] == [1, 2]
    assert page_of(played).pages == 1


# -- what the page says


def shown(played: Played, **more: object) -> str:
    message = page_message(played.state, page_of(played), in_thread=False, **more)  # type: ignore[arg-type]  # of the test
    return plain_text(message.blocks)


def test_the_second_page_says_that_it_is_the_second_whom_it_adds_and_for_how_long_it_is_open() -> None:
    played = begun(row("Look at it", READ, minutes=10, expect="a == 1"), row("wait", MANUAL))
    played.finished("done", "not met", "It was read", observed="a = 2").at(10)
    text = shown(played)
    assert text.startswith("@scotlaclair P1-002 Child task crash loop: worker-3 needs you. Step 1: the expectation was")
    assert "Expected: a == 1" in text
    assert "Seen: a = 2" in text
    assert "Repeats at 12:20 UTC until somebody acknowledges, then to alice too" in text
    text = shown(played.at(20))
    assert "@scotlaclair @alice " in text
    assert "needs you (2nd page, now also alice)." in text
    assert "Open: for 20 min, since 12:00 UTC" in text
    assert "Severity: high, to be answered until 13:00 UTC" in text
    played.at(40)
    assert "(3rd page, now also bob)" in shown(played)
    assert "the time to answer was over at 13:00 UTC" in shown(played.at(60))


def test_a_page_outlives_its_run_and_says_that_it_has_ended() -> None:
    played = begun(row("wait", MANUAL, minutes=10)).at(10).press("done")
    assert "To act: nobody, the run has ended (done); somebody has to acknowledge this" in shown(played)


# -- clauses


def test_a_restart_that_fails_twice_calls_the_second_level_at_once_and_wants_core_and_log() -> None:
    twice = clause("step 1 or 2 fails twice", page="L2", attach=["step 1", "handle.core_dump()"])
    played = begun(row("Restart it", CHANGE), row("Look", READ, expect="a == 1"), clauses=(twice,))
    played.prepared(shows="start it").finished()
    played.finished("done", "not met", observed="a = 2")
    assert paged(played) == [("scotlaclair",)]
    assert not played.state.fired
    played.press("retry").finished("done", "not met", observed="a = 3")
    assert paged(played) == [("scotlaclair",), ("scotlaclair", "dora")]
    (fired,) = played.state.fired
    assert fired.pending and fired.because == "step 1 or 2 has failed twice"
    assert page_of(played).level == "L2"
    text = shown(played)
    assert "L2 is called, because the runbook says so." in text
    assert "Being fetched: step 1, handle.core_dump()." in text
    played.take(
        Gathered(
            at=played.now,
            clause=0,
            attachments=(
                Attachment(title="Step 1", text="started"),
                Attachment(title="handle.core_dump()", problem="no core was written"),
            ),
        )
    )
    text = shown(played)
    assert "Step 1\nstarted" in text
    assert "handle.core_dump(): not there. No core was written." in text
    assert played.said[-1] == "attached"
    played.press("retry").finished("done", "not met")
    assert len(paged(played)) == 2, "a clause comes true once"
    played.at(20)
    assert paged(played)[-1] == ("scotlaclair", "dora", "alice"), "the chain goes on where it was"


def test_a_reason_and_a_clause_in_one_moment_are_one_page() -> None:
    twice = clause("step 1 fails twice", page="L2")
    played = begun(row("Look", READ), clauses=(twice,)).finished("failed").press("ack").press("retry")
    played.finished("failed")
    assert paged(played) == [("scotlaclair",), ("scotlaclair", "dora")]
    assert page_of(played).pages == 1
    assert page_of(played).added == ()


def test_a_retry_counts_on_and_calls_the_second_level_at_its_first_failure() -> None:
    twice = clause("step 1 fails twice", page="L2")
    first = begun(row("Restart it", MANUAL), clauses=(twice,)).press("fail")
    assert first.state.closed and not first.state.fired
    again = first.state.plan.model_copy(
        update={"ancestor": Ancestor(run_id=first.state.plan.run_id, failures=first.state.failures)}
    )
    second = Played(new_run(again))
    second.take(Begin(at=NOON))
    assert not second.state.fired
    second.press("fail")
    assert paged(second) == [("dora",)]


def test_a_cause_that_is_not_found_in_time_files_an_issue_without_another_page() -> None:
    late = clause("step 1 is not done in 10min", issue=IssueTemplate(title="{target} crashes", labels=("bug",)))
    played = begun(row("Find the cause", MANUAL, minutes=2), clauses=(late,))
    played.at(2).press("ack")
    assert next_due(played.state) == NOON + timedelta(minutes=10)
    played.at(10)
    (fired,) = played.state.fired
    assert fired.pending
    assert issue_title(played.state, late) == "worker-3 crashes"
    assert len(paged(played)) == 1
    played.press("done")
    assert played.state.closed and not played.state.over, "the workflow goes on until the issue is filed"
    played.take(Gathered(at=played.now, clause=0, issue="https://github.com/acme/somas/issues/7"))
    assert played.state.over
    assert next_due(played.state) is None


def test_a_cause_that_was_found_in_time_files_nothing() -> None:
    late = clause("step 1 is not done in 10min", issue=IssueTemplate(title="x"))
    played = begun(row("Find the cause", MANUAL, minutes=2), row("wait", MANUAL), clauses=(late,)).press("done")
    assert next_due(played.state) is None
    assert played.at(30).state.fired == ()


def test_a_cause_that_was_given_up_is_filed_at_once() -> None:
    late = clause("step 1 is not done in 10min", issue=IssueTemplate(title="x"))
    played = begun(row("Find the cause", MANUAL), clauses=(late,)).press("fail")
    assert len(played.state.fired) == 1


def test_nobody_answers_calls_somebody_else_when_the_response_time_is_over() -> None:
    played = begun(row("wait", MANUAL, minutes=10), clauses=(clause("nobody answers", page="L2"),)).at(10).at(30)
    played.at(50)
    assert "dora" not in paged(played)[-1]
    assert next_due(played.state) == NOON + timedelta(minutes=70)
    played.at(70)
    assert paged(played)[-1] == ("scotlaclair", "alice", "bob", "dora")
    assert len(paged(played)) == 4, "the repetition and the clause are one page"


def test_what_a_step_shows_and_what_the_runbook_says_then() -> None:
    told = clause("step 1 shows 'dashboard.path'", tell="Two processes use the same socket path.")
    played = begun(row("look", READ, expect="a == 1"), clauses=(told,))
    played.finished("done", "not met", "error: field_path=dashboard.path")
    assert len(paged(played)) == 1
    assert "The runbook says: Two processes use the same socket path." in shown(played)


def test_a_level_that_nobody_stands_for_is_said_and_the_chain_is_called() -> None:
    played = begun(row("wait", MANUAL), clauses=(clause("the run starts", page="L3"),))
    assert paged(played) == [("scotlaclair",)]
    assert 'add to the configuration: [escalation.levels] L3 = ["NAME"]' in shown(played)


def test_the_end_of_a_budget_and_of_a_run_are_clauses_too() -> None:
    over = clause("the run is over its budget", page="alice")
    failed = clause("the run fails", page="bob")
    played = Played(new_run(plan(row("wait", MANUAL), minutes=30, chain=(SCOT, ALICE, BOB), clauses=(over, failed))))
    played.take(Begin(at=NOON))
    played.at(30)
    assert paged(played) == [("scotlaclair", "alice")]
    played.press("fail")
    assert "bob" in paged(played)[-1]


def test_a_level_or_a_person_is_called_and_nobody_for_a_name_that_is_unknown() -> None:
    paging = Paging(chain=(SCOT,), levels={"L2": (DORA, ALICE)})
    assert people_of(paging, "L2") == (DORA, ALICE)
    assert people_of(paging, "scotlaclair") == (SCOT,)
    assert people_of(paging, "alice") == (ALICE,)
    assert people_of(paging, "L9") == ()


@pytest.mark.parametrize(
    ("text", "kind", "steps", "times"),
    [
        ("step 4 fails", "fails", ("4",), 1),
        ("Step 4 or 5 fails twice.", "fails", ("4", "5"), 2),
        ("steps 4, 5 and 6 fail 3 times", "fails", ("4", "5", "6"), 3),
        ("step 2a is not done within 1h 30min", "not done", ("2a",), 1),
        ('step 1 shows "field_path="dashboard.path""', "shows", ("1",), 1),
        ("nobody answers", "nobody answers", (), 1),
    ],
)
def test_when(text: str, kind: str, steps: tuple[str, ...], times: int) -> None:
    read = clause(text)
    assert (read.kind, read.steps, read.times) == (kind, steps, times)


@pytest.mark.parametrize("text", ["the restart fails", "step 4 fails often", "step 2 is not done in a while", ""])
def test_when_it_cannot_be_read_it_says_what_can_be_written(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        parse_when(text)
