"""``/line work belt-7``: a product whose every effect is a line in a file that outlives the bot.

``line.put`` can be looked up after a crash, ``line.throw`` cannot, ``line.slow`` takes longer than its budget.
``/line watch belt-7`` only looks, until a file beside the effects says that the belt is clear.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from bot.commands.registry import CommandContext, CommandGroup, Existing, Reply, StartRun
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
    Services,
    Target,
)
from bot.runbooks.model import Runbook, Step

SLOW = 1.5  # seconds
BUDGET_OF_SLOW = timedelta(seconds=0.7)
BELTS = 400
CLEAR_WITHIN = timedelta(seconds=4)


def clear_file(effects: Path, belt: str) -> Path:
    """Whether it is there says whether the belt is clear."""
    return effects.with_name(f"{belt}-is-clear")


class LineSettings(ProductSettings):
    effects: Path


class Line:
    """The handler. Every effect is appended to the file in one write, so that a kill leaves it whole or not at all."""

    def __init__(self, effects: Path) -> None:
        self.effects = effects

    def add(self, context: ActionContext) -> None:
        descriptor = os.open(self.effects, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        os.write(descriptor, f"{context.operation_id}\n".encode())
        os.close(descriptor)

    async def inventory(self, kind: str) -> list[str]:
        return [f"belt-{number}" for number in range(BELTS)]

    async def observe(self, names: frozenset[str], target: Target, inputs: Mapping[str, str]) -> list[Observation]:
        clear = "yes" if clear_file(self.effects, target.name).exists() else "no"
        source = "the file beside the effects"
        return [Observation(name=name, value=clear, provenance=Provenance.EXACT, source=source) for name in names]

    async def problems(self) -> list[str]:
        return []

    async def close(self) -> None:
        return None


async def connect(settings: Any, services: Services) -> Line:
    return Line(settings.effects)


async def look(line: Line, context: ActionContext) -> ActionResult:
    await asyncio.sleep(0.02)
    return ActionResult(status="done", summary="Looked")


async def put(line: Line, context: ActionContext) -> ActionResult:
    await asyncio.sleep(0.03)
    line.add(context)
    await asyncio.sleep(0.03)
    return ActionResult(status="done", summary="Put there")


async def slow(line: Line, context: ActionContext) -> ActionResult:
    await asyncio.sleep(SLOW)
    line.add(context)
    return ActionResult(status="done", summary="Put there, late")


async def look_up(line: Line, context: ActionContext) -> ActionResult | None:
    if line.effects.exists() and context.operation_id in line.effects.read_text().split():
        return ActionResult(status="done", summary="It was there already")
    return None


async def shown(line: Line, context: ActionContext) -> Preview:
    return Preview(summary=f"puts something on {context.target.name}")


commands = CommandGroup("line", "An assembly line")


@commands.command(danger=Danger.CHANGE, examples=("/line work belt-1",))
async def work(context: CommandContext, belt: Annotated[str, Existing("belt")]) -> Reply:
    """Put things on a belt; every third belt is slow.

    Parameters
    ----------
    belt:
        The belt.
    """
    number = int(belt.partition("-")[2])
    late = number % 3 == 0
    steps = (
        Step(number="1", text="Look", action="line.look", budget=timedelta(minutes=5)),
        Step(number="2", text="Put", action="line.put", budget=timedelta(minutes=5)),
        Step(number="3", text="Throw", action="line.throw", budget=timedelta(minutes=5)),
        Step(number="4", text="Wait", action="line.slow", budget=BUDGET_OF_SLOW)
        if late
        else Step(number="4", text="Put again", action="line.put", budget=timedelta(minutes=5)),
        Step(number="5", text="Clean the belt", budget=timedelta(minutes=5)),
    )
    book = Runbook(id="work", title=f"Work on {belt}", product="line", target_kind="belt", steps=steps)
    return StartRun(book, Target(product="line", kind="belt", name=belt), reason="chaos", budget=timedelta(hours=1))


@commands.command(danger=Danger.CHANGE, examples=("/line watch belt-1",))
async def watch(context: CommandContext, belt: Annotated[str, Existing("belt")]) -> Reply:
    """Look until a belt is clear.

    Parameters
    ----------
    belt:
        The belt.
    """
    expectation = f'belt.clear == "yes" within {CLEAR_WITHIN.total_seconds():.0f}s'
    look = Step(number="1", text="Look", action="line.look", expectation=expectation, budget=timedelta(minutes=5))
    book = Runbook(id="watch", title=f"Watch {belt}", product="line", target_kind="belt", steps=(look,))
    return StartRun(book, Target(product="line", kind="belt", name=belt), reason="chaos", budget=timedelta(hours=1))


product = Product(
    name="line",
    title="Line",
    summary="An assembly line",
    settings=LineSettings,
    setup="[line]",
    commands=commands,
    connect=connect,
    facts=(FactDefinition("belt.clear", "yes or no", Provenance.EXACT),),
    actions=(
        Action("line.look", Danger.READ, "looks at the belt", look),
        Action("line.put", Danger.CHANGE, "puts something there", put, preview=shown, check=look_up),
        Action("line.throw", Danger.CHANGE, "throws something there", put, preview=shown),
        Action("line.slow", Danger.CHANGE, "puts something there slowly", slow, preview=shown, check=look_up),
    ),
)
