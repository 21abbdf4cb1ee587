"""A small product with real effects: a shelf that things are put on, and what can go wrong while that happens."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from bot.commands.registry import CommandGroup
from bot.errors import UserError
from bot.handler import (
    Action,
    ActionContext,
    ActionResult,
    Danger,
    FactDefinition,
    Observation,
    Preview,
    Product,
    ProductSettings,
    Provenance,
    Target,
)


class Shelf:
    """The handler. ``facts`` is what can be read now; a callable is asked at every look."""

    def __init__(self) -> None:
        self.things: list[str] = []  # operation ids, in the order in which they were put there
        self.facts: dict[str, Any] = {}
        self.looks = 0
        self.shown = "put it on the shelf"
        self.check_says: ActionResult | Exception | None = None
        self.perform: Callable[[ActionContext], Awaitable[ActionResult]] | None = None

    async def inventory(self, kind: str) -> list[str]:
        return ["shelf-1"]

    async def observe(self, names: frozenset[str], target: Target, inputs: Mapping[str, str]) -> list[Observation]:
        self.looks += 1
        seen = []
        for name in sorted(names):
            value = self.facts.get(name)
            value = value() if callable(value) else value
            if isinstance(value, Exception):
                raise value
            provenance = Provenance.EXACT if value is not None else Provenance.UNAVAILABLE
            seen.append(Observation(name=name, value=value, provenance=provenance, source=f"shelf, {name}"))
        return seen

    async def problems(self) -> list[str]:
        return []

    async def close(self) -> None:
        return None


async def put(shelf: Shelf, context: ActionContext) -> ActionResult:
    if shelf.perform:
        return await shelf.perform(context)
    shelf.things.append(context.operation_id)
    return ActionResult(status="done", summary="It is on the shelf")


async def read(shelf: Shelf, context: ActionContext) -> ActionResult:
    return await put(shelf, context)


async def preview(shelf: Shelf, context: ActionContext) -> Preview:
    return Preview(summary=shelf.shown, detail=f"+ {context.target.name}\n", language="diff")


async def check(shelf: Shelf, context: ActionContext) -> ActionResult | None:
    if isinstance(shelf.check_says, Exception):
        raise shelf.check_says
    return shelf.check_says


async def forbidden(shelf: Shelf, context: ActionContext) -> Preview:
    raise UserError("The shelf is full. Take something away first.")


class ShelfSettings(ProductSettings):
    pass


async def connect(settings: Any, services: Any) -> Shelf:
    await asyncio.sleep(0)
    return Shelf()


product = Product(
    name="shelf",
    title="Shelf",
    summary="Things on a shelf",
    settings=ShelfSettings,
    setup="[shelf]",
    commands=CommandGroup("shelf", "Things on a shelf"),
    connect=connect,
    facts=(
        FactDefinition("shelf.count", "How many things", Provenance.EXACT, "number"),
        FactDefinition("shelf.state", "open or closed", Provenance.EXACT),
    ),
    actions=(
        Action("shelf.look", Danger.READ, "looks at the shelf", read),
        Action("shelf.put", Danger.CHANGE, "puts it there", put, preview=preview, check=check),
        Action("shelf.throw", Danger.CHANGE, "throws it there", put),
        Action("shelf.burn", Danger.DESTRUCTIVE, "burns it", put, preview=preview, check=check),
        Action("shelf.jam", Danger.CHANGE, "puts it nowhere", put, preview=forbidden),
    ),
    phrases={"Shelf open": 'shelf.state == "open"'},
)
