"""``opsbot runbook verify``: what a document says, beside what the live systems show. Reads, never changes.

Two kinds of document are judged differently. One that is bound to a product (by its front matter, or because it is
the product's own) speaks the bot's language: a fact that the bot derives is there. Any other document speaks of the
software itself: a name that it does not tell, or tells under another name, is a drift, however well the bot helps out.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict

from bot.clock import Clock
from bot.errors import Unavailable, UserError
from bot.handler import (
    Action,
    ActionContext,
    ActionResult,
    Danger,
    FactDefinition,
    Handler,
    Observation,
    Product,
    Provenance,
    Target,
)
from bot.runbooks.binding import fill, find_action
from bot.runbooks.claims import Claim, claims_of
from bot.runbooks.document import parse_document
from bot.runbooks.expectations import EXIT_CODE, LOG_TAIL, always_true, names, never_true, parse
from bot.runbooks.lint import answers_of, domain_of
from bot.runbooks.model import Runbook
from bot.runbooks.problems import RunbookError

PATIENCE = 30.0  # seconds for one question to a live system
LOOKED_AT = 5  # targets per kind


class Finding(BaseModel):
    """One line of a document beside reality. ``recorded``: where ``there`` is written down, when it was not read."""

    model_config = ConfigDict(frozen=True)
    line: int
    says: str
    there: str
    change: str = ""
    level: Literal["drift", "cannot tell"] = "drift"
    recorded: str = ""

    def sentence(self) -> str:
        """``says "jq 'length'"; there is …; change it to …``, one line."""
        recorded = f" ({self.recorded})" if self.recorded else ""
        parts = [f"says {self.says}", f"{self.there.rstrip('.')}{recorded}", self.change.rstrip(".")]
        return re.sub(r"\s+", " ", "; ".join(part for part in parts if part)) + "."


@dataclass(frozen=True, slots=True)
class Subject:
    """A document to verify. ``product`` is empty for one that belongs to none."""

    source: str
    text: str
    product: str = ""
    runbooks: tuple[Runbook, ...] = ()

    @property
    def bound(self) -> bool:
        return bool(self.product and self.runbooks)

    def lines_of(self, runbook: Runbook) -> range:
        """The lines that are about one runbook of the document; those before the first heading are of the first."""
        starts = sorted(one.line for one in self.runbooks)
        after = [start for start in starts if start > runbook.line]
        first = 1 if runbook.line == starts[0] else runbook.line
        return range(first, after[0] if after else self.text.count("\n") + 2)


@dataclass(frozen=True, slots=True)
class Verified:
    """What came of one document. ``claims``: how many things it says were looked at."""

    subject: Subject
    product: str
    at: datetime
    claims: int
    findings: tuple[Finding, ...]

    @property
    def drifts(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.level == "drift")

    @property
    def unknown(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.level != "drift")


def digest(runbook: Runbook) -> str:
    """What a verification holds for: the runbook as it was read, wherever it stands."""
    said = runbook.model_dump_json(
        exclude={"source": True, "line": True, "stale": True, "steps": {"__all__": {"line"}}}
    )
    return hashlib.sha256(said.encode("utf-8", "replace")).hexdigest()[:16]


def subject_of(text: str, source: str) -> Subject:
    """A document that was named by hand: bound when its front matter names a product, else plain Markdown."""
    try:
        runbooks = tuple(parse_document(text, source))
    except RunbookError:
        return Subject(source, text)
    product = next((runbook.product for runbook in runbooks if runbook.product), "")
    return Subject(source, text, product, runbooks)


def product_of(subject: Subject, products: Sequence[Product]) -> str:
    """The product that the document is about, by its name, facts and actions in the text; "" when it names none."""
    if subject.product:
        return subject.product
    text = subject.text.lower()
    scores = {}
    for product in products:
        known = [product.name, *(fact.name for fact in product.facts), *(action.name for action in product.actions)]
        scores[product.name] = sum(text.count(name.lower().removesuffix("()")) for name in known)
    best = max(scores, key=lambda name: scores[name], default="")
    return best if scores.get(best) else ""


async def verify(subject: Subject, product: Product | None, handler: Handler | None, clock: Clock) -> Verified:
    """Ask the live system about everything that the document says. Never raises for what a system answers."""
    claims = claims_of(subject.text, subject.source)
    if product is None or handler is None:
        about = f"{subject.product} is not configured" if subject.product else "no configured product knows about it"
        there = f"{about}, so nothing could be asked"
        finding = Finding(line=1, says="what only a product could tell", there=there, level="cannot tell")
        return Verified(subject, subject.product, clock.now(), 0, (finding,))
    one = _Verification(subject, product, handler, clock, claims)
    findings = await one.run()
    return Verified(subject, product.name, clock.now(), one.looked_at, findings)


class _Verification:
    """One document at work."""

    def __init__(
        self, subject: Subject, product: Product, handler: Handler, clock: Clock, claims: tuple[Claim, ...]
    ) -> None:
        self.subject = subject
        self.product = product
        self.handler = handler
        self.clock = clock
        self.claims = claims
        self.facts = {fact.name: fact for fact in product.facts}
        self.found: list[Finding] = []
        self.looked_at = 0
        self._silent: set[str] = set()  # what could not be reached, each told once

    async def run(self) -> tuple[Finding, ...]:
        self._expectations()
        for kind in sorted({book.target_kind for book in self.subject.runbooks} if self.subject.bound else {""}):
            books = tuple(book for book in self.subject.runbooks if book.target_kind == kind)
            targets = await self._targets(kind)
            await self._facts(books, targets)
            await self._actions(books, targets)
        verification = self.product.verification
        if verification is not None:
            self.looked_at += sum(claim.kind not in ("text", "fact", "expectation", "action") for claim in self.claims)
            try:
                async with asyncio.timeout(PATIENCE):
                    self.found += await verification.check(self.handler, self.claims)
            except (UserError, TimeoutError) as error:
                self._unreachable(1, error)
        unique = {(finding.line, finding.says, finding.there): finding for finding in self.found}
        return tuple(sorted(unique.values(), key=lambda finding: (finding.line, finding.says)))

    async def _targets(self, kind: str) -> Sequence[Target]:
        try:
            async with asyncio.timeout(PATIENCE):
                if self.product.verification is not None:
                    return (await self.product.verification.targets(self.handler, kind))[:LOOKED_AT]
                there = await self.handler.inventory(kind)
                return [Target(product=self.product.name, kind=kind, name=name) for name in there[:LOOKED_AT]]
        except (UserError, TimeoutError) as error:
            self._unreachable(1, error)
            return ()

    def _unreachable(self, line: int, error: UserError | TimeoutError) -> None:
        said = error.message if isinstance(error, UserError) else f"no answer within {PATIENCE:.0f} s"
        if said not in self._silent:
            self._silent.add(said)
            says = f"what only {self.product.title} can tell"
            self.found.append(Finding(line=line, says=says, there=said, level="cannot tell"))

    # -- expectations that check nothing

    def _expectations(self) -> None:
        domains = {name: domain for name, fact in self.facts.items() if (domain := domain_of(fact))}
        for claim in self.claims:
            if claim.kind != "expectation":
                continue
            self.looked_at += 1
            tree = parse(claim.text, self.product.phrases)
            known = domains | answers_of(claim.details["action"])
            if always_true(tree, known):
                there = f"every possible outcome meets it, so the step checks nothing: {tree}"
                change = "keep the one answer that is good, as in `exit code == 0`"
                self.found.append(Finding(line=claim.line, says=_quoted(claim.text), there=there, change=change))
            elif never_true(tree, known):
                there = f"no possible outcome meets it: {tree}"
                self.found.append(Finding(line=claim.line, says=_quoted(claim.text), there=there))

    # -- facts

    async def _facts(self, books: Sequence[Runbook], targets: Sequence[Target]) -> None:
        wanted = list(self._bound_names(books) if self.subject.bound else self._plain_names())
        if not wanted:
            return
        self.looked_at += len(wanted)
        seen: dict[str, Observation] = {}
        asked = frozenset(name for _, name in wanted)
        written = {(claim.line, claim.name): claim.text for claim in self.claims if claim.kind == "value"}
        inputs = {key: value for book in books for key, value in book.inputs.items() if value}
        for target in targets:
            try:
                async with asyncio.timeout(PATIENCE):
                    for fact in await self.handler.observe(asked, target, inputs):
                        if fact.name not in seen or seen[fact.name].provenance is Provenance.UNAVAILABLE:
                            seen[fact.name] = fact
            except (UserError, TimeoutError) as error:
                self._unreachable(wanted[0][0], error)
        for line, name in wanted:
            finding = self._judge(name, line, self.facts.get(name), seen.get(name))
            if finding:
                says = f"`{written.get((line, name), name)}`"
                self.found.append(finding.model_copy(update={"says": says}))

    def _bound_names(self, books: Sequence[Runbook]) -> Iterator[tuple[int, str]]:
        for book in books:
            for step in book.steps:
                for text in (step.condition or "", step.expectation):
                    for name in sorted(names(parse(text, self.product.phrases)) - {EXIT_CODE, LOG_TAIL}):
                        if name not in book.inputs:
                            yield step.line, name

    def _plain_names(self) -> Iterator[tuple[int, str]]:
        heads = {name.partition(".")[0].removesuffix("[]") for name in self.facts}
        for claim in self.claims:
            match claim.kind:
                case "expectation":
                    used = names(parse(claim.text, self.product.phrases)) - {EXIT_CODE, LOG_TAIL}
                    yield from ((claim.line, name) for name in sorted(used) if name in claim.text)
                case "fact" if claim.name.partition(".")[0].removesuffix("[]") in heads:
                    yield claim.line, claim.name
                case "value" if claim.name in self.facts:
                    yield claim.line, claim.name
                case _:
                    pass

    def _judge(self, name: str, line: int, fact: FactDefinition | None, seen: Observation | None) -> Finding | None:
        """Whether the fact is there today, under this name."""
        told = seen is not None and seen.provenance is not Provenance.UNAVAILABLE
        says, title = f"`{name}`", self.product.title
        if (
            told
            and seen is not None
            and (self.subject.bound or seen.provenance in (Provenance.EXACT, Provenance.INPUT))
        ):
            return None
        if fact is None:
            there = f"{title} tells nothing of this name"
            return Finding(line=line, says=says, there=there, change="write its value, or make it an input of the run")
        why = (seen.source if seen else "") or fact.help
        if fact.provenance is Provenance.UNAVAILABLE:
            change = "make the step a question to a person"
            return Finding(line=line, says=says, there=f"{title} does not tell it: {why}", change=change)
        if self.subject.bound:
            if seen is None or fact.of_run:
                return None  # nothing could be asked, which is told already; or nobody but a run can know it
            return Finding(line=line, says=says, there=f"not to be seen today: {why}", level="cannot tell")
        if fact.provenance is Provenance.RENAMED:
            there = f"{title} has no `{name}`; it is {seen.source if told and seen else fact.help}"
            return Finding(line=line, says=says, there=there, change="use the name that is there")
        if fact.provenance is Provenance.DERIVED:
            how = f" from: {why}" if told else f", when it answers: {fact.help}"
            there = f"{title} does not tell `{name}`; the bot derives it{how}"
            change = "say how a person can see it, or let the bot run the step"
            return Finding(line=line, says=says, there=there, change=change)
        return Finding(line=line, says=says, there=f"not to be seen today: {why}", level="cannot tell")

    # -- actions

    async def _actions(self, books: Sequence[Runbook], targets: Sequence[Target]) -> None:
        answered: dict[str, str] = {}  # by action: empty when it answers
        for line, name, arguments, inputs in self._named_actions(books):
            self.looked_at += 1
            action = find_action(self.product, name)
            if action is None:
                there = f"{self.product.title} has no action {name}()"
                known = ", ".join(f"{one.name.removesuffix('()')}()" for one in self.product.actions[:8])
                change = f"use one of {known}, or make it a step for a person"
                self.found.append(Finding(line=line, says=f"`{name}()`", there=there, change=change))
                continue
            if action.name not in answered:
                answered[action.name] = await self._ask(line, action, arguments, inputs, targets)
            if answered[action.name]:
                there = f"{action.name.removesuffix('()')}() does not answer: {answered[action.name]}"
                self.found.append(Finding(line=line, says=f"`{name}()`", there=there))

    def _named_actions(
        self, books: Sequence[Runbook]
    ) -> Iterator[tuple[int, str, Mapping[str, str], Mapping[str, str]]]:
        if self.subject.bound:
            for book in books:
                for step in book.steps:
                    if step.action:
                        yield step.line, step.action, step.arguments, book.inputs
            return
        heads = {action.name.partition(".")[0] for action in self.product.actions}
        for claim in self.claims:
            if claim.kind == "action" and claim.name.partition(".")[0] in heads and "." in claim.name:
                yield claim.line, claim.name, {}, {}

    async def _ask(
        self,
        line: int,
        action: Action,
        arguments: Mapping[str, str],
        inputs: Mapping[str, str],
        targets: Sequence[Target],
    ) -> str:
        """Call what reads, preview what changes. Why it does not answer; empty when it does, or nobody can tell."""
        problem = ""
        for target in targets:
            values = {**inputs, "target": target.name, target.kind: target.name}
            try:
                context = self._context(target, fill(arguments, values), inputs)
            except UserError:
                return ""  # it needs what only a run has; that it exists is all that can be seen
            try:
                async with asyncio.timeout(PATIENCE):
                    if action.danger is Danger.READ:
                        result: ActionResult = await action.perform(self.handler, context)
                        problem = result.summary if result.status == "failed" else ""
                    elif action.preview is not None:
                        await action.preview(self.handler, context)
            except (Unavailable, TimeoutError) as error:
                self._unreachable(line, error)
                return ""
            except UserError:
                problem = ""  # it answers; that this target is refused says nothing about the document
            except Exception as error:
                problem = f"it ends with {type(error).__name__}"
            if not problem:
                return ""
        return problem

    def _context(self, target: Target, arguments: Mapping[str, str], inputs: Mapping[str, str]) -> ActionContext:
        return ActionContext(
            target=target,
            arguments=arguments,
            inputs=inputs,
            actor="runbook verify",
            reason="",
            run_id="",
            operation_id="verify",
            clock=self.clock,
            deadline=self.clock.now() + timedelta(seconds=PATIENCE),
        )


def _quoted(text: str) -> str:
    return f'"{text.replace("`", "")}"'
