"""Names in a command against what exists."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.commands.existing import check_existing, existing_parameters, normalised
from bot.commands.grammar import Invocation, parse
from bot.commands.nearest import nearest
from bot.commands.pointer import CommandError
from bot.errors import Unavailable
from tests.commands.products import GROUPS, project_id, somas, supervisor

PROJECTS = [f"project-{number}" for number in (1, 7, 42, 43, 421, 99)]
CHILDREN = ["worker-1", "worker-2", "worker-3", "ingest", "scheduler"]


async def inventory(kind: str) -> Sequence[str]:
    return {"project": PROJECTS, "child": CHILDREN, "target": ["payments"]}[kind]


def invocation(text: str) -> Invocation:
    parsed = parse(text, GROUPS)
    assert isinstance(parsed, Invocation)
    return parsed


async def refused(text: str, inventory: object = inventory) -> CommandError:
    with pytest.raises(CommandError) as caught:
        await check_existing(invocation(text), inventory)  # type: ignore[arg-type]  # tests pass other inventories
    return caught.value


def test_the_marked_parameters() -> None:
    assert [*existing_parameters(supervisor.commands["quarantine"])] == ["child", "target"]
    assert existing_parameters(somas.commands["restart"])["project"].normalise is project_id


async def test_a_name_that_exists_passes_in_its_normal_form() -> None:
    checked = await check_existing(invocation("/somas restart 42 --dry-run"), inventory)
    assert checked.arguments == {"project": "project-42", "dry_run": True}


async def test_what_was_not_given_is_not_asked_for() -> None:
    async def nobody(kind: str) -> list[str]:
        raise AssertionError(kind)

    assert (await check_existing(invocation("/somas status"), nobody)).arguments == {}


async def test_a_beginning_gets_the_names_that_begin_so() -> None:
    error = await refused("/somas restart project-4 --from verify")
    assert error.message == (
        'There is no project "project-4". Did you mean project-42, project-43 or project-421?\n'
        "/somas restart project-4 --from verify\n"
        "               ^^^^^^^^^"
    )
    assert error.suggestions == (
        "/somas restart project-42 --from verify",
        "/somas restart project-43 --from verify",
        "/somas restart project-421 --from verify",
    )


async def test_a_typing_error_gets_the_nearest_name() -> None:
    error = await refused("/supervisor quarantine wroker-3 --target payments")
    assert error.sentence.startswith('There is no child "wroker-3". Did you mean worker-3')
    assert error.suggestions[0] == "/supervisor quarantine worker-3 --target payments"


async def test_the_option_that_is_wrong_is_the_one_that_is_replaced() -> None:
    error = await refused("/supervisor quarantine worker-3 --target=paymnets")
    assert error.pointer.endswith("\n" + " " * 32 + "^" * 17)
    assert error.suggestions == ("/supervisor quarantine worker-3 --target=payments",)


async def test_what_was_typed_is_pointed_at_not_its_normal_form() -> None:
    error = await refused("/somas restart 4 --dry-run")
    assert error.sentence.startswith('There is no project "project-4".')
    assert error.pointer == "/somas restart 4 --dry-run\n               ^"
    assert error.suggestions[0] == "/somas restart project-42 --dry-run"


async def test_the_second_of_several_names() -> None:
    error = await refused("/somas purge project-42 proyect-99")
    assert error.pointer == "/somas purge project-42 proyect-99\n                        ^^^^^^^^^^"
    assert error.suggestions[0] == "/somas purge project-42 project-99"


async def test_a_small_inventory_is_listed_when_nothing_is_near() -> None:
    error = await refused("/supervisor quarantine zzz")
    assert error.sentence == ('There is no child "zzz". The children: worker-1, worker-2, worker-3, ingest, scheduler.')


async def test_an_empty_inventory_says_so() -> None:
    async def empty(kind: str) -> list[str]:
        return []

    assert (await refused("/somas status 42", empty)).sentence == (
        'There is no project "project-42". There are no projects at all.'
    )


async def test_what_can_never_be_a_name_is_pointed_at() -> None:
    error = await refused("/somas restart ../etc")
    assert error.message == (
        '"../etc" cannot be a project: an id has no slash. Example: project-42.\n'
        "/somas restart ../etc\n"
        "               ^^^^^^"
    )


async def test_a_product_that_does_not_answer_is_said_and_can_be_skipped() -> None:
    async def down(kind: str) -> list[str]:
        raise Unavailable("payments does not answer")

    asked = invocation("/somas restart 4711")
    with pytest.raises(Unavailable):
        await check_existing(asked, down)
    assert normalised(asked).arguments["project"] == "project-4711"


async def test_every_kind_is_asked_for_once() -> None:
    asked = []

    async def counting(kind: str) -> Sequence[str]:
        asked.append(kind)
        return PROJECTS

    await check_existing(invocation("/somas purge 1 7 42"), counting)
    assert asked == ["project"]


@pytest.mark.parametrize(
    ("typed", "best"),
    [
        ("project-4", "project-42"),
        ("PROJECT-42", "project-42"),
        ("porject-42", "project-42"),
        ("project42", "project-42"),
        ("42", "project-42"),
        ("project-999", "project-99"),
    ],
)
def test_the_best_of_the_near_names(typed: str, best: str) -> None:
    assert nearest(typed, PROJECTS)[0] == best


def test_nothing_is_near_to_something_else() -> None:
    assert nearest("zebra", PROJECTS) == ()
    assert nearest("", PROJECTS) == ()


@given(st.text(max_size=30), st.lists(st.text(max_size=12), max_size=12))
def test_near_names_exist_and_are_told_once(typed: str, names: list[str]) -> None:
    found = nearest(typed, names)
    assert set(found) <= set(names)
    assert len(found) == len(set(found)) <= 3


async def test_a_product_may_say_more_of_a_name_that_does_not_exist() -> None:
    async def why(kind: str, name: str) -> str:
        return f"The {kind} {name} left yesterday."

    with pytest.raises(CommandError, match=r"The project project-4 left yesterday\. Did you mean"):
        await check_existing(invocation("/somas status 4"), inventory, why)
