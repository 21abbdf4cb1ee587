"""``/runs ack <run>``, ``/runs retry <run> --from 3``, ``/runs extend <run> 10m <why>``: what people do to a run.

In a run's thread ``@opsbot ack`` is enough. Every button of a card is one of these commands.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated

from bot.commands.nearest import nearest
from bot.commands.registry import CommandContext, CommandGroup, Existing, Metavar, Offered, Reply
from bot.errors import UserError
from bot.handler import Danger
from bot.runbooks.durations import parse_duration
from bot.runs.desk import RunDesk
from bot.runs.model import Quoted, Verb
from bot.runs.repeat import repeat_request

presses = CommandGroup("runs", "What people do to a run")


def _run_id(text: str) -> str:
    return text.strip().upper()


Run = Annotated[str, Existing("run", normalise=_run_id)]
AskedStep = Annotated[str, Metavar("STEP")]  # only if the run still waits at this one: what its buttons say


@presses.command(
    danger=Danger.CHANGE,
    starts_run=False,
    examples=("/runs cancel 01JD0000000000000000000000 --reason 'wrong project'",),
)
async def cancel(ctx: CommandContext, run: Run, *, reason: str = "") -> Reply:
    """Stop a run; what was already done stays done and is told."""
    return await _press(ctx, run, "cancel", reason=reason)


@presses.command(
    danger=Danger.CHANGE,
    examples=(
        "/runs retry 01JD0000000000000000000000",
        "/runs retry 01JD0000000000000000000000 --input step2.exit_reason=panic",
        "/runs retry 01JD0000000000000000000000 --from 3",
    ),
)
async def retry(
    ctx: CommandContext,
    run: Run,
    *,
    from_: Annotated[str | None, Metavar("STEP")] = None,
    input: Annotated[list[str] | None, Metavar("NAME=VALUE")] = None,
    step: AskedStep = "",
    reason: str = "",
) -> Reply:
    """Do the step again that waits for a decision, or repeat a run that has ended from one of its steps.

    Parameters
    ----------
    run
        The run. One that has ended is repeated as a new run, which shows the earlier one.
    from_
        The step from which an ended run is repeated; without it, the one at which it failed.
    input
        A value that the step asks for, as name=value; once for each.
    step
        Only if the run still waits at this step, as its buttons say.
    reason
        Why, for the history of the new run.
    """
    desk: RunDesk = ctx.handler
    given = _given(input or ())
    state = await desk.state(run)
    if state.closed:
        return repeat_request(state, from_, given, reason)
    if from_:
        raise UserError(
            "This run is still open. Cancel it before it is repeated, or retry its present step, without --from.",
            suggestions=(f"/runs cancel {run}", f"/runs retry {run}"),
        )
    return await _press(ctx, run, "retry", given=given, step=step)


def _given(texts: list[str] | tuple[()]) -> Mapping[str, str]:
    given = dict(each.partition("=")[::2] for each in texts)
    if wrong := [name for name, value in given.items() if not value]:
        raise UserError(f'--input takes name=value, as in --input step2.exit_reason=panic; "{wrong[0][:60]}" is none.')
    return given


@presses.command(
    danger=Danger.CHANGE,
    starts_run=False,
    examples=(
        "/runs extend 01JD0000000000000000000000 10m the backup is slow today",
        "/runs extend 01JD0000000000000000000000 --by 1h --reason 'the vendor is looking'",
    ),
)
async def extend(
    ctx: CommandContext,
    run: Run,
    time: str = "",
    *why: str,
    by: Annotated[str, Metavar("TIME")] = "",
    reason: str = "",
) -> Reply:
    """Give the present step more time, and the run, too, where its own would end before.

    Parameters
    ----------
    time
        How much more, for example 10m or 1h 30m. A deadline that has passed counts from now.
    why
        The reason; it goes into the thread and into the audit log.
    by
        The same as the time, as an option.
    reason
        The same as why, as an option.
    """
    words = [time, *why] if time else list(why)
    span, rest = (_span(by), words) if by else _leading_span(words)
    because = reason or " ".join(rest)
    if not because.strip():
        raise UserError(f"Say why: extend {by or words[0]} <reason>. It goes into the thread and into the audit log.")
    return await _press(ctx, run, "extend", span=span, reason=because)


def _span(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError:
        raise UserError(f'"{text[:40]}" is no span of time. Write 10m, 90s or 1h 30m: extend 10m <reason>.') from None


def _leading_span(words: list[str]) -> tuple[timedelta, list[str]]:
    """``1h 30m the backup is slow``: as many words as are a span of time, then the reason."""
    if not words:
        raise UserError("Say how much more time, and why: extend 10m <reason>.")
    if len(words) > 1 and words[1][:1].isdigit():
        try:
            return parse_duration(" ".join(words[:2])), words[2:]
        except ValueError:
            pass
    return _span(words[0]), words[1:]


@presses.command(danger=Danger.CHANGE, starts_run=False, examples=("/runs assign 01JD0000000000000000000000 bob",))
async def assign(
    ctx: CommandContext, run: Run, person: Annotated[str, Metavar("person"), Offered("person")], *, reason: str = ""
) -> Reply:
    """Hand a run over to somebody: the card names them, and who wants the target learns that it is theirs.

    Parameters
    ----------
    person
        A name of [people] in the configuration.
    """
    desk: RunDesk = ctx.handler
    name = desk.access.find_person(person)
    if name is None:
        close = nearest(person.lstrip("@"), desk.access.people)
        there = f" Did you mean {' or '.join(close)}?" if close else f" There are {', '.join(desk.access.people)}."
        raise UserError(
            f'Nobody named "{person[:60]}" stands under [people].{there}',
            suggestions=tuple(f"/runs assign {run} {each}" for each in close),
        )
    notify = "" if desk.access.person_of(ctx.actor) == name else name
    return await _press(ctx, run, "assign", to=name, notify=notify, reason=reason)


@presses.command(danger=Danger.CHANGE, starts_run=False, examples=("/runs done 01JD0000000000000000000000",))
async def done(ctx: CommandContext, run: Run, *, step: AskedStep = "") -> Reply:
    """The step that waits is done (you did it, or you looked and it is fine): go on."""
    return await _press(ctx, run, "done", step=step)


@presses.command(danger=Danger.CHANGE, starts_run=False, examples=("/runs fail 01JD0000000000000000000000",))
async def fail(ctx: CommandContext, run: Run, *, step: AskedStep = "", reason: str = "") -> Reply:
    """The step that waits did not work out: end the run as failed."""
    return await _press(ctx, run, "fail", step=step, reason=reason)


@presses.command(danger=Danger.CHANGE, starts_run=False, examples=("/runs skip 01JD0000000000000000000000",))
async def skip(ctx: CommandContext, run: Run, *, step: AskedStep = "") -> Reply:
    """Leave the step out that waits, and go on with the next."""
    return await _press(ctx, run, "skip", step=step)


@presses.command(danger=Danger.CHANGE, starts_run=False, examples=("/runs proceed 01JD0000000000000000000000",))
async def proceed(ctx: CommandContext, run: Run, *, step: AskedStep = "") -> Reply:
    """The condition that nobody but you can tell holds: do the step."""
    return await _press(ctx, run, "proceed", step=step)


@presses.command(
    danger=Danger.CHANGE, level="viewer", starts_run=False, examples=("/runs ack 01JD0000000000000000000000",)
)
async def ack(ctx: CommandContext, run: Run) -> Reply:
    """Acknowledge the page: you have seen it, it stops repeating. Operators may, and whoever the page calls."""
    desk: RunDesk = ctx.handler
    if refused := desk.refused_ack(await desk.state(run), ctx.actor):
        raise UserError(refused)
    return await _press(ctx, run, "ack")


@presses.command(
    danger=Danger.CHANGE,
    starts_run=False,
    examples=("/runs approve 01JD0000000000000000000000 --digest 4f5a2c91d07b --confirm worker-3",),
)
async def approve(
    ctx: CommandContext, run: Run, *, confirm: str = "", digest: Annotated[str, Offered("approval")] = ""
) -> Reply:
    """Approve the step that waits for it, as a second person; --confirm takes the target's name.

    Parameters
    ----------
    confirm
        The name of what it works on, typed.
    digest
        Of the plan that you have read: it stands below the preview in the run's thread.
    """
    return await _press(ctx, run, "approve", typed=confirm.strip(), digest=digest)


@presses.command(danger=Danger.CHANGE, starts_run=False, examples=("/runs deny 01JD0000000000000000000000",))
async def deny(ctx: CommandContext, run: Run, *, reason: str = "") -> Reply:
    """Refuse the step that waits for an approval; the run ends."""
    return await _press(ctx, run, "deny", reason=reason)


@presses.command(
    danger=Danger.CHANGE,
    starts_run=False,
    examples=("/runs note 01JD0000000000000000000000 the vendor confirms the outage since 14:10",),
)
async def note(
    ctx: CommandContext,
    run: Run,
    *text: str,
    said: Annotated[str, Metavar("TEXT")] = "",
    author: Annotated[str, Metavar("ID")] = "",
    at: Annotated[str, Metavar("TIME")] = "",
    link: Annotated[str, Metavar("URL")] = "",
) -> Reply:
    """Note something in the run's thread and in the audit log: what you saw, or what somebody wrote elsewhere.

    Parameters
    ----------
    text
        The note.
    said
        The words of a message that is attached.
    author
        Who wrote that message, for example slack:U0ALICE.
    at
        When it was written, for example 2026-11-22T14:10:00Z.
    link
        Where it stands.
    """
    quoted = Quoted(author=author, at=_instant(at), link=link, text=said) if said or link else None
    return await _press(ctx, run, "note", reason=" ".join(text), quoted=quoted)


def _instant(text: str) -> datetime | None:
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(f'--at takes a time such as 2026-11-22T14:10:00Z, not "{text[:40]}".') from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


async def _press(ctx: CommandContext, run: str, verb: Verb, **more: object) -> Reply:
    desk: RunDesk = ctx.handler
    return await desk.press(ctx, run, verb, **more)
