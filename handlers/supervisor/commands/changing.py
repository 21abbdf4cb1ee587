"""``/supervisor quarantine worker-3``, ``restart``, ``pause``, ``resume``, ``remove``, ``add``, ``shutdown``.

Each is a run of one step: previewed with the exact request, done once, and believed only when the state shows it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import yaml

from bot.commands.registry import CommandContext, Existing, Metavar, OneOf, Reply, StartRun
from bot.errors import UserError
from bot.handler import Danger
from bot.runbooks.model import Runbook, Step
from handlers.supervisor.actions.tree import checked_manifest
from handlers.supervisor.children import find
from handlers.supervisor.commands.group import child_target, options, process_target, supervisor, the_process
from handlers.supervisor.handler import SupervisorHandler

BUDGET = timedelta(minutes=2)
DECISION = timedelta(minutes=30)  # for a person who may want the child back


def _run(verb: str, title: str, step: Step, *more: Step) -> Runbook:
    steps = (step, *more)
    return Runbook(
        id=verb,
        title=title,
        product="supervisor",
        target_kind="child",
        steps=steps,
        total=sum((each.budget for each in steps if each.budget), timedelta()),
    )


async def _on_child(
    ctx: CommandContext, verb: str, child: str, target: str | None, reason: str, dry_run: bool, *steps: Step
) -> StartRun:
    handler: SupervisorHandler = ctx.handler
    process = await handler.find_child(child, target, f"/supervisor {verb} {{child}}{options(reason, dry_run)}")
    book = _run(verb, f"{verb.capitalize()} {child} of {process}", *steps)
    return StartRun(book, child_target(process, child), reason=reason, dry_run=dry_run, budget=book.total)


def _step(action: str, text: str, expectation: str) -> Step:
    return Step(
        number="1",
        text=f"{text}: `handle.{action}()`",
        action=f"handle.{action}()",
        expectation=f"{expectation} within 30s",
        budget=BUDGET,
    )


@supervisor.command(
    danger=Danger.CHANGE,
    examples=(
        "/supervisor quarantine worker-3",
        '/supervisor quarantine worker-3 --target payments --reason "crash loop since 02:40"',
    ),
)
async def quarantine(
    ctx: CommandContext,
    child: Annotated[str, Existing("child")],
    *,
    target: Annotated[str | None, Existing("target")] = None,
    reason: str = "",
    dry_run: bool = False,
) -> Reply:
    """Stop a child and keep it from being restarted.

    Parameters
    ----------
    child
        The child to stop.
    target
        The process that it belongs to, when several have a child of that name.
    reason
        Why; it goes to the process and into the audit log.
    dry_run
        Only show what would be sent.
    """
    step = _step(
        "quarantine_child",
        f"Stop `{child}` and keep it from being restarted",
        "Child marked as `Quarantined`",
    )
    return await _on_child(ctx, "quarantine", child, target, reason, dry_run, step)


@supervisor.command(
    danger=Danger.CHANGE,
    examples=(
        "/supervisor restart worker-3",
        '/supervisor restart worker-3 --target payments --reason "hangs"',
    ),
)
async def restart(
    ctx: CommandContext,
    child: Annotated[str, Existing("child")],
    *,
    target: Annotated[str | None, Existing("target")] = None,
    reason: str = "",
    dry_run: bool = False,
) -> Reply:
    """Restart a child: cancel its attempt, then start the next one.

    Parameters
    ----------
    child
        The child to restart.
    target
        The process that it belongs to, when several have a child of that name.
    reason
        Why; it goes to the process and into the audit log.
    dry_run
        Only show what would be sent.
    """
    step = _step("restart_child", f"Restart `{child}`", "child.running == true")
    return await _on_child(ctx, "restart", child, target, reason, dry_run, step)


@supervisor.command(
    danger=Danger.CHANGE,
    examples=(
        "/supervisor pause worker-3",
        '/supervisor pause worker-3 --target payments --reason "database is moved"',
    ),
)
async def pause(
    ctx: CommandContext,
    child: Annotated[str, Existing("child")],
    *,
    target: Annotated[str | None, Existing("target")] = None,
    reason: str = "",
    dry_run: bool = False,
) -> Reply:
    """Pause a child: end its attempt and suppress restarts. What it holds in memory is lost.

    Parameters
    ----------
    child
        The child to pause.
    target
        The process that it belongs to, when several have a child of that name.
    reason
        Why; it goes to the process and into the audit log.
    dry_run
        Only show what would be sent.
    """
    step = _step("pause_child", f"End the attempt of `{child}` and suppress restarts", "Child marked as `Paused`")
    return await _on_child(ctx, "pause", child, target, reason, dry_run, step)


@supervisor.command(
    danger=Danger.CHANGE,
    examples=(
        "/supervisor resume worker-3",
        '/supervisor resume worker-3 --target payments --reason "database is back"',
    ),
)
async def resume(
    ctx: CommandContext,
    child: Annotated[str, Existing("child")],
    *,
    target: Annotated[str | None, Existing("target")] = None,
    reason: str = "",
    dry_run: bool = False,
) -> Reply:
    """Lift a pause or a quarantine. That alone starts nothing, so a restart is offered.

    Parameters
    ----------
    child
        The child to let go on.
    target
        The process that it belongs to, when several have a child of that name.
    reason
        Why; it goes to the process and into the audit log.
    dry_run
        Only show what would be sent.
    """
    steps = (
        _step(
            "resume_child",
            f"Lift the pause or quarantine of `{child}`. That starts nothing",
            'child.operation == "active"',
        ),
        _again(child),
    )
    return await _on_child(ctx, "resume", child, target, reason, dry_run, *steps)


@supervisor.command(
    danger=Danger.DESTRUCTIVE,
    examples=(
        "/supervisor remove worker-3",
        '/supervisor remove worker-3 --target payments --reason "replaced by worker-4"',
    ),
)
async def remove(
    ctx: CommandContext,
    child: Annotated[str, Existing("child")],
    *,
    target: Annotated[str | None, Existing("target")] = None,
    reason: str = "",
    dry_run: bool = False,
) -> Reply:
    """Remove a child until the process starts again; needs a second person.

    Parameters
    ----------
    child
        The child to remove.
    target
        The process that it belongs to, when several have a child of that name.
    reason
        Why; it goes to the process and into the audit log.
    dry_run
        Only show what would be sent.
    """
    step = _step(
        "remove_child",
        f"Remove `{child}` until the process starts again or somebody restarts it",
        "child.present == false",
    )
    return await _on_child(ctx, "remove", child, target, reason, dry_run, step)


def _again(child: str) -> Step:
    """Offered, not done: only a person knows whether the child should run again now."""
    return Step(
        number="2",
        text="If it should run again now, start it: `handle.restart_child()`",
        action="handle.restart_child()",
        condition=f"{child} should run again now",
        expectation="child.running == true within 30s",
        budget=DECISION,
    )


@supervisor.command(
    danger=Danger.CHANGE,
    examples=(
        "/supervisor add worker-9 --factory worker",
        "/supervisor add worker-9 --target payments --manifest '{name: worker-9, factory_key: worker, tags: [night]}'",
    ),
)
async def add(
    ctx: CommandContext,
    child: Annotated[str, Metavar("name")],
    *,
    factory: Annotated[str, OneOf("manifest")] = "",
    manifest: Annotated[str, OneOf("manifest")] = "",
    target: Annotated[str | None, Existing("target")] = None,
    reason: str = "",
    dry_run: bool = False,
) -> Reply:
    """Add a child to a running process (crate 0.1.3 and newer). The next process does not know it.

    Parameters
    ----------
    child
        The name of the new child.
    factory
        The factory_key that it is made by; the process has to know it.
    manifest
        The whole manifest in YAML, on one line, when more than a factory is to be said.
    target
        The process, when there are several.
    reason
        Why; it goes to the process and into the audit log.
    dry_run
        Only show what would be sent.
    """
    handler: SupervisorHandler = ctx.handler
    if not factory and not manifest:
        raise UserError("Say what the child is made by: --factory KEY, or --manifest with the whole manifest.")
    text = manifest or yaml.safe_dump({"name": child, "factory_key": factory}, sort_keys=False)
    checked_manifest(text, child)
    process = the_process(handler, target, f"/supervisor add {child} --factory {factory or 'KEY'} --target")
    if find(await handler.client(process_target(process)).drivable_state(), child) is not None:
        raise UserError(
            f"{process} has a child {child} already.", suggestions=(f"/supervisor child {child} --target {process}",)
        )
    book = _run(
        "add",
        f"Add {child} to {process}",
        _step("add_child", f"Add `{child}` and start it", "child.running == true"),
    )
    return StartRun(
        book,
        child_target(process, child),
        reason=reason,
        inputs={"manifest": text},
        dry_run=dry_run,
        budget=book.total,
    )


@supervisor.command(
    danger=Danger.DESTRUCTIVE,
    examples=("/supervisor shutdown payments", '/supervisor shutdown payments --reason "moves to another host"'),
)
async def shutdown(
    ctx: CommandContext,
    target: Annotated[str | None, Existing("target")] = None,
    *,
    reason: str = "",
    dry_run: bool = False,
) -> Reply:
    """Stop every child of a process for good; only a new process starts them again. Needs a second person.

    Parameters
    ----------
    target
        The process, when there are several.
    reason
        Why; it goes to the process and into the audit log.
    dry_run
        Only show what would be sent.
    """
    handler: SupervisorHandler = ctx.handler
    process = the_process(handler, target, f"/supervisor shutdown{options(reason, dry_run)}")
    step = _step("shutdown_tree", f"Stop every child of `{process}` for good", "children.running == 0")
    book = _run("shutdown", f"Shut down the tree of {process}", step).model_copy(update={"target_kind": "target"})
    return StartRun(book, process_target(process), reason=reason, dry_run=dry_run, budget=book.total)
