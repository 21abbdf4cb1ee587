"""``@scotlaclair P1-002 Child Task Crash Loop: worker-3 needs you (2nd page, now also alice).``: what wakes somebody.

A page has all that the next person needs, wherever they read it: why, which step, expected and seen, the last output,
what the runbook wants to have attached, who has to act, how long it is open. Pure functions of the run's state.
"""

from __future__ import annotations

from bot.messages import (
    Block,
    Bold,
    Buttons,
    Code,
    CodeBlock,
    Fields,
    Line,
    Link,
    Mention,
    Message,
    Note,
    Paragraph,
    Span,
    Text,
    When,
    line,
)
from bot.runbooks.model import Clause, Step
from bot.runs.decide import allowed
from bot.runs.model import Escalation, RunState, StepState
from bot.runs.paging import Attachment, Fired
from bot.surfaces.buttons import button_of, one_primary
from bot.surfaces.step_text import Name, both_ends, expected, plain_step, sentence, short, title_of
from bot.words import duration, ordinal

BUTTONS_ON_PAGE = 5
OUTPUT_ON_PAGE = 1200  # characters
ATTACHED_ON_PAGE = 3600  # characters, of all attachments together
ATTACHED_IN_THREAD = 2500  # characters of each


def page_message(
    state: RunState, page: Escalation, *, in_thread: bool, name: Name = str, link: str = "", note: str = ""
) -> Message:
    """One page. ``note`` tells that it came another way than it should have; ``link`` leads to the card."""
    if page.acknowledged_at:
        return _acknowledged(state, page, name)
    plan = state.plan
    row, step = _about(state, page)
    mentions: list[Span] = []
    for contact in page.contacts:
        mentions += [Mention(contact.name, slack=contact.slack, github=contact.github), Text(" ")]
    head = f"{title_of(plan)} needs you{_again(page)}."
    blocks: list[Block] = [Paragraph((*mentions, Bold(head), Text(f" {sentence(page.reason)}")))]
    if note:
        blocks.append(Paragraph(line(note)))
    blocks.append(Fields(_fields(state, page, row, step)))
    if step.evidence:
        blocks.append(CodeBlock(both_ends(step.evidence, OUTPUT_ON_PAGE), step.language))
    blocks += _clauses(state, page)
    if link:
        blocks.append(Paragraph(line(Link("Open the run", link))))
    blocks.append(Note(_small_print(state, page)))
    verbs = [verb for verb in allowed(state) if verb not in ("cancel", "extend")]
    buttons = tuple(button_of(state, verb) for verb in verbs if verb in BUTTON_VERBS)
    blocks.append(Buttons(one_primary(buttons[:BUTTONS_ON_PAGE])))
    people = ", ".join(contact.name for contact in page.contacts)
    return Message(f"{people}: {head} {sentence(page.reason)}", tuple(blocks), "bad")


BUTTON_VERBS = frozenset({"ack", "approve", "deny", "proceed", "retry", "done", "fail", "skip"})


def _acknowledged(state: RunState, page: Escalation, name: Name) -> Message:
    by = name(page.acknowledged_by)
    spans = line(Bold(f"Acknowledged by {by}"))
    if page.acknowledged_at:
        spans += line(" at ", When(page.acknowledged_at), f", {duration(page.acknowledged_at - page.opened_at)} after ")
        spans += line("the first page.")
    said = f"{title_of(state.plan)}: {sentence(page.reason)}"
    return Message(f"Acknowledged by {by}: {title_of(state.plan)}", (Paragraph(line(said)), Paragraph(spans)), "good")


def _about(state: RunState, page: Escalation) -> tuple[Step, StepState]:
    """The step that the page is about; the run may be at another one by now."""
    rows = zip(state.plan.runbook.steps, state.steps, strict=True)
    now = state.plan.runbook.steps[state.current], state.steps[state.current]
    return next(((row, step) for row, step in rows if row.number == page.step), now)


def _again(page: Escalation) -> str:
    if page.pages < 2:
        return ""
    also = f", now also {' and '.join(page.added)}" if page.added else ""
    return f" ({ordinal(page.pages)} page{also})"


def _fields(state: RunState, page: Escalation, row: Step, step: StepState) -> tuple[tuple[str, Line], ...]:
    plan = state.plan
    fields: list[tuple[str, Line]] = [("Step", line(f"{row.number} of {len(state.steps)}: {plain_step(row)}"))]
    if row.expectation:
        fields.append(("Expected", line(Code(expected(row)))))
    if step.observed:
        fields.append(("Seen", line(Code(short(step.observed, 600)))))
    elif step.summary and row.action and step.summary.rstrip(".") not in page.reason:
        fields.append(("Seen", line(short(step.summary, 600))))
    at_work = plan.runbook.steps[state.current]
    if at_work.number != row.number:
        fields.append(("Now at", line(f"step {at_work.number}: {plain_step(at_work)}")))
    fields.append(("To act", line(_who_acts(state))))
    opened: Line = line("since ", When(page.opened_at))
    if page.paged_at and page.paged_at > page.opened_at:
        opened = line(f"for {duration(page.paged_at - page.opened_at)}, ", *opened)
    fields.append(("Open", opened))
    severity = line(plan.severity)
    if page.respond_by:
        late = page.paged_at is not None and page.paged_at >= page.respond_by
        said = "the time to answer was over at " if late else "to be answered until "
        severity += line(f", {said}", When(page.respond_by))
    fields.append(("Severity", severity))
    return tuple(fields)


def _who_acts(state: RunState) -> str:
    plan, step = state.plan, state.steps[state.current]
    if state.closed:
        return f"nobody, the run has ended ({state.status}); somebody has to acknowledge this"
    if step.status == "approval":
        return f"a second person approves: {', '.join(plan.approvers)}" if plan.approvers else "you confirm by typing"
    if step.status == "waiting":
        return f"an operator decides: {', '.join(plan.deciders)}" if plan.deciders else "an operator decides"
    return "nobody yet, the step is still at work"


def _clauses(state: RunState, page: Escalation) -> list[Block]:
    """What the runbook's own escalation says, as far as it has come true."""
    blocks: list[Block] = []
    if page.tell:
        blocks.append(Paragraph(line(Bold(f"{state.plan.severity.capitalize()}: "), page.tell)))
    if page.unknown:
        blocks.append(
            Paragraph(
                line(
                    f"The runbook says to call {page.unknown}, but nobody is configured for it. Call them yourself, ",
                    "and add to the configuration: ",
                    Code(f'[escalation.levels] {page.unknown} = ["NAME"]'),
                )
            )
        )
    elif page.level:
        blocks.append(Paragraph(line(f"{page.level} is called, because the runbook says so.")))
    attached = [each for fired in state.fired for each in fired.attachments if each.text]
    room = ATTACHED_ON_PAGE // max(1, len(attached))
    for fired in state.fired:
        clause = state.plan.runbook.clauses[fired.clause]
        if clause.tell:
            blocks.append(Paragraph(line(Bold("The runbook says: "), clause.tell)))
        blocks += _issue(state, clause, fired)
        blocks += [_attachment(each, room) for each in fired.attachments]
        if fired.pending and clause.attach:
            blocks.append(Paragraph(line(f"Being fetched: {', '.join(clause.attach)}.")))
    return blocks


def _issue(state: RunState, clause: Clause, fired: Fired) -> list[Block]:
    if clause.issue is None:
        return []
    if fired.issue:
        return [Paragraph(line("Filed: ", Link(fired.issue.removeprefix("https://"), fired.issue)))]
    if fired.problem:
        return [Paragraph(line(Bold("No issue was filed: "), sentence(fired.problem)))]
    return [Paragraph(line("An issue is being filed."))] if fired.pending else []


def _attachment(attachment: Attachment, room: int) -> Block:
    if attachment.problem:
        return Paragraph(line(Bold(f"{attachment.title}: "), f"not there. {sentence(attachment.problem)}"))
    return CodeBlock(both_ends(attachment.text, room), attachment.language, attachment.title)


def _small_print(state: RunState, page: Escalation) -> Line:
    spans: Line = ()
    if page.next_page_at:
        spans += line("Repeats at ", When(page.next_page_at), " until somebody acknowledges")
        if after := page.chain[page.notified : page.notified + 1]:
            spans += line(f", then to {after[0].name} too")
        spans += line(" · ")
    return (*spans, Text(f"run {state.plan.run_id}"))


def attached_message(state: RunState, fired: Fired) -> Message:
    """For the run's thread: what a clause of the runbook wanted to have, as long as it is."""
    clause = state.plan.runbook.clauses[fired.clause]
    head = f"The runbook's escalation: {fired.because}"
    blocks: list[Block] = [Paragraph(line(Bold(sentence(head))))]
    blocks += _issue(state, clause, fired)
    blocks += [_attachment(each, ATTACHED_IN_THREAD) for each in fired.attachments]
    return Message(short(head, 300), tuple(blocks), "warning")


def issue_title(state: RunState, clause: Clause) -> str:
    """With the target and the inputs filled in, on one line; GitHub takes 256 characters."""
    title = clause.issue.title if clause.issue else ""
    values = {**state.plan.inputs, "target": state.plan.target.name, state.plan.target.kind: state.plan.target.name}
    for name, value in values.items():
        title = title.replace("{" + name + "}", value)
    return short(" ".join(title.split()), 240)


def issue_message(state: RunState, fired: Fired, attachments: tuple[Attachment, ...], link: str) -> Message:
    """The body of the issue that a clause files."""
    plan = state.plan
    clause = plan.runbook.clauses[fired.clause]
    row = plan.runbook.steps[state.current]
    fields: list[tuple[str, Line]] = [
        ("Runbook", line(title_of(plan))),
        ("Filed because", line(fired.because)),
        ("Step", line(f"{row.number} of {len(state.steps)}: {plain_step(row)}")),
        ("Severity", line(plan.severity)),
        ("Run", line(plan.run_id)),
        ("Started", line(When(plan.started_at, "date_time"))),
    ]
    blocks: list[Block] = [Fields(tuple(fields))]
    if clause.tell:
        blocks.append(Paragraph(line(clause.tell)))
    if plan.runbook.escalation:
        blocks.append(Paragraph(line(Bold("The runbook says: "), plan.runbook.escalation)))
    room = 40_000 // max(1, len(attachments))
    blocks += [_attachment(each, room) for each in attachments]
    if link:
        blocks.append(Paragraph(line(Link("Open the run", link))))
    return Message(issue_title(state, clause), tuple(blocks))
