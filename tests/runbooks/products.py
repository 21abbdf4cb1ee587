"""A small product for the tests: a kettle, with actions, facts and phrases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from bot.commands.registry import CommandGroup
from bot.handler import (
    Action,
    ActionContext,
    ActionResult,
    Danger,
    FactDefinition,
    Handler,
    Observation,
    Product,
    ProductSettings,
    Provenance,
    Services,
    Target,
)


class Kettle:
    async def inventory(self, kind: str) -> list[str]:
        return ["kitchen"] if kind == "kettle" else []

    async def observe(self, names: frozenset[str], target: Target, inputs: Mapping[str, str]) -> list[Observation]:
        return [Observation(name=name, provenance=Provenance.UNAVAILABLE, source="cold") for name in names]

    async def problems(self) -> list[str]:
        return []

    async def close(self) -> None:
        return None


async def _connect(settings: ProductSettings, services: Services) -> Handler:
    return Kettle()


async def _perform(handler: Kettle, context: ActionContext) -> ActionResult:
    return ActionResult(status="done", summary="Done.")


KETTLE = Product(
    name="kettle",
    title="Kettle",
    summary="Boils water",
    settings=ProductSettings,
    setup="[kettle]",
    commands=CommandGroup("kettle", "Boils water"),
    connect=_connect,
    facts=(
        FactDefinition("water.litres", "How much is in it.", Provenance.EXACT, "number"),
        FactDefinition("state", "What it does.", Provenance.EXACT, "text", ("off", "heating", "boiling")),
        FactDefinition("lid.open", "Whether the lid is open.", Provenance.EXACT, "boolean"),
        FactDefinition("elements", "Its heating elements.", Provenance.EXACT, "list"),
        FactDefinition("colour", "Nothing measures it.", Provenance.UNAVAILABLE, "text"),
        FactDefinition("exit_code", "Of the command that was run.", Provenance.EXACT, "number"),
    ),
    actions=(
        Action("kettle.look", Danger.READ, "Look at it", _perform, aliases=("look",)),
        Action("kettle.heat()", Danger.CHANGE, "Switch it on", _perform),
        Action("kettle.descale", Danger.DESTRUCTIVE, "Fill it with acid", _perform),
    ),
    phrases={"Water is boiling": 'state == "boiling"'},
)


def kettle(runbooks: Path) -> Product:
    return replace(KETTLE, runbooks=runbooks)
