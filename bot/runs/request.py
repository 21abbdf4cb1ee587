"""``/runs start P1-002 worker-3 --input threshold=5``: what was typed, held against the documents and what exists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bot.commands.nearest import nearest
from bot.commands.registry import Level, StartRun
from bot.errors import UserError
from bot.handler import CompletesInputs, Danger, FindsTargets, Target
from bot.runbooks.library import RunbookLibrary
from bot.runbooks.model import Runbook
from bot.runs.perform import Connected, Simulations

FEW = 10  # names that are listed when nothing is near
_RANK = {Danger.READ: 0, Danger.CHANGE: 1, Danger.DESTRUCTIVE: 2}


@dataclass(frozen=True, slots=True)
class Asked:
    """What the person typed."""

    runbook: str
    target: str | None = None
    scope: str = ""
    inputs: Sequence[str] = ()
    reason: str = ""
    dry_run: bool = False
    drill: bool = False
    faults: Sequence[str] = ()


def find_runbook(library: RunbookLibrary, asked: Asked) -> Runbook:
    """The runbook of that id, whatever its case. Raises ``UserError`` with the nearest ones, ready to be typed."""
    found = library.runbooks.get(asked.runbook.strip().lower())
    if found is not None:
        return found
    ids = [book.id for book in library.runbooks.values()]
    close = nearest(asked.runbook, ids)
    shown = " ".join(asked.runbook.split())[:60]
    if close:
        more = f" Did you mean {' or '.join(close)}?"
    elif not ids:
        more = " No runbook is loaded: look at [runbooks] paths, and at what opsbot runbook check says."
    else:
        more = f" There are {', '.join(sorted(ids)[:FEW])}" + (" and more." if len(ids) > FEW else ".")
    rest = f" {asked.target}" if asked.target else ""
    raise UserError(
        f'There is no runbook "{shown}".{more}',
        suggestions=tuple(f"/runs start {each}{rest}" for each in close),
    )


def danger_of(book: Runbook, connected: Connected | None) -> Danger | None:
    """The most that the runbook does, as its front matter says or as its actions are; None when only people act."""
    actions = [connected.action(row.action) for row in book.steps if row.action] if connected else []
    dangers = [action.danger for action in actions if action]
    if book.danger:
        dangers.append(Danger(book.danger))
    return max(dangers, key=lambda danger: _RANK[danger], default=None)


def level_of(danger: Danger | None) -> Level:
    """Who may start it. What people do by hand is unknown to the bot, so it counts as a change."""
    return "viewer" if danger is Danger.READ else "operator"


async def start_request(
    book: Runbook, asked: Asked, connected: Connected | None, simulations: Simulations | None
) -> StartRun:
    """The run that is asked for. Raises ``UserError`` that names every input or target that is wrong or missing."""
    faults: tuple[str, ...] = ()
    if asked.drill:
        if simulations is None:
            raise UserError("This bot has no simulations, so it cannot rehearse.")
        faults = simulations.faults(book.product, asked.faults or book.faults)
        target = simulations.target(book, asked.target or "")
        inputs = _inputs(book, asked, connected)
    elif asked.faults:
        raise UserError("--fault is for a rehearsal: add --drill. Nothing real is ever made to fail.")
    else:
        _inputs(book, asked, connected, all_given=False)
        target = await _target(book, asked, connected)
        inputs = _inputs(book, asked, connected, known=await _completed(book, asked, target, connected))
    return StartRun(
        runbook=book,
        target=target,
        reason=asked.reason,
        inputs=inputs,
        dry_run=asked.dry_run,
        changes=danger_of(book, connected) is not Danger.READ,
        drill=asked.drill,
        faults=faults,
    )


async def _completed(book: Runbook, asked: Asked, target: Target, connected: Connected | None) -> Mapping[str, str]:
    """What the product itself knows of the runbook's inputs."""
    if connected is None or not isinstance(connected.handler, CompletesInputs):
        return {}
    given = dict(each.partition("=")[::2] for each in asked.inputs)
    found = await connected.handler.complete_inputs(book, target, given)
    return {name: value for name, value in found.items() if name in book.inputs}


def _inputs(
    book: Runbook,
    asked: Asked,
    connected: Connected | None,
    *,
    known: Mapping[str, str] | None = None,
    all_given: bool = True,
) -> Mapping[str, str]:
    """What was typed, and beside it what is ``known``. Without ``all_given`` nothing is missed yet."""
    given: dict[str, str] = {}
    for each in asked.inputs:
        name, equals, value = each.partition("=")
        name = name.strip()
        if not equals or not name:
            raise UserError(f'--input takes name=value, as in --input threshold=5; "{each[:60]}" is none.')
        if name not in book.inputs:
            raise UserError(_unknown_input(book, name))
        if name in given:
            raise UserError(f"The input {name} is given twice.")
        given[name] = value
    given = {**(known or {}), **given}
    if not all_given:
        return given
    facts = {fact.name for fact in connected.product.facts} if connected else set()
    missing = [
        name
        for name, default in book.inputs.items()
        if (given[name] == "" if name in given else default == "" and not (name in facts and not _mentions(book, name)))
    ]
    if missing:
        options = " ".join(f"--input {name}=…" for name in missing)
        raise UserError(f"{book.id} needs {' and '.join(missing)}. Add {options}")
    return given


def _unknown_input(book: Runbook, name: str) -> str:
    if not book.inputs:
        return f"{book.id} takes no input, so {name[:60]} means nothing to it."
    close = nearest(name, book.inputs)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    return f"{book.id} has no input {name[:60]}.{hint} Its inputs: {', '.join(book.inputs)}."


def _mentions(book: Runbook, name: str) -> bool:
    mark = "{" + name + "}"
    return any(
        mark in text
        for row in book.steps
        for text in (row.text, row.expectation, row.condition or "", *row.arguments.values())
    )


async def _target(book: Runbook, asked: Asked, connected: Connected | None) -> Target:
    kind = book.target_kind
    if connected is None or not kind:
        return Target(product=book.product or "runbook", kind=kind or "runbook", name=asked.target or book.id)
    handler = connected.handler
    known = await handler.inventory(kind)
    if asked.target is None:
        if len(known) != 1:
            raise UserError(
                f"{book.id} works on one {kind}. Name it: /runs start {book.id} <{kind}>.",
                suggestions=tuple(f"/runs start {book.id} {name}" for name in known[:5]),
            )
        name = known[0]
    else:
        name = asked.target
    target = Target(product=book.product, kind=kind, name=name, scope=asked.scope)
    if isinstance(handler, FindsTargets):
        target = await handler.find_target(kind, name, asked.scope)
    if target.name not in known:
        close = nearest(target.name, known)
        if close:
            more = f" Did you mean {' or '.join(close)}?"
        else:
            more = f" There are {', '.join(known[:FEW])}." if known else f" There is no {kind} at all."
        raise UserError(
            f'There is no {kind} "{" ".join(target.name.split())[:60]}".{more}',
            suggestions=tuple(f"/runs start {book.id} {each}" for each in close),
        )
    return target
