"""``/runs start P1-002 worker-1``: which process a child belongs to, and what was typed against the document."""

from __future__ import annotations

import pytest

from bot.errors import UserError
from bot.handler import Danger, Target
from bot.runbooks.library import RunbookLibrary
from bot.runs.perform import Connected
from bot.runs.request import Asked, danger_of, find_runbook, level_of, start_request
from handlers.supervisor import product
from tests.supervisor.conftest import STEADY, Desk, Desks

BOOK = RunbookLibrary([product]).get("P1-002")


async def start(desk: Desk, target: str | None = None, scope: str = "") -> Target:
    asked = Asked("P1-002", target, scope)
    return (await start_request(BOOK, asked, Connected(product, desk.handler), None)).target


async def test_a_child_of_one_process_is_locked_as_that_process_s_child(desks: Desks) -> None:
    desk = await desks(payments=STEADY)
    assert (await start(desk, "worker-1")).key == "supervisor/payments/child/worker-1"


async def test_a_child_of_two_processes_needs_its_scope(desks: Desks) -> None:
    desk = await desks(payments=STEADY, orders=STEADY)
    with pytest.raises(UserError, match=r"worker-1 exists in orders and in payments\. Say which with --scope "):
        await start(desk, "worker-1")
    assert (await start(desk, "worker-1", "orders")).key == "supervisor/orders/child/worker-1"
    with pytest.raises(UserError, match='There is no child "worker-9" in orders'):
        await start(desk, "worker-9", "orders")
    with pytest.raises(UserError, match='There is no supervised process "order" in the configuration'):
        await start(desk, "worker-1", "order")
    with pytest.raises(UserError, match=r'There is no child "worker-9"\. Did you mean worker-1'):
        await start(desk, "worker-9")


async def test_a_process_that_does_not_answer_may_have_the_child_too(desks: Desks) -> None:
    desk = await desks(payments=STEADY, orders=STEADY)
    await desk.processes["orders"].stop()
    with pytest.raises(UserError, match="worker-1 exists in payments, and orders could not be asked"):
        await start(desk, "worker-1")
    assert (await start(desk, "worker-1", "payments")).scope == "payments"


def test_the_level_follows_the_danger() -> None:
    assert danger_of(BOOK, None) is Danger.DESTRUCTIVE
    harmless = BOOK.model_copy(update={"danger": "read", "steps": BOOK.steps[:1]})
    assert level_of(danger_of(harmless, None)) == "viewer"
    assert level_of(danger_of(harmless.model_copy(update={"danger": ""}), None)) == "operator", "only people act"


def test_an_id_is_found_whatever_its_case_and_the_nearest_are_ready_to_be_typed() -> None:
    library = RunbookLibrary([product])
    assert find_runbook(library, Asked(" p1-002 ")).id == "P1-002"
    with pytest.raises(UserError) as refused:
        find_runbook(library, Asked("P1-02", "worker-3"))
    assert "/runs start P1-002 worker-3" in refused.value.suggestions
