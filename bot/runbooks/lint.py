"""``opsbot runbook check``: what each row of each runbook compiled to, and what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from rapidfuzz import fuzz, process

from bot.handler import Action, Danger, FactDefinition, Product, Provenance
from bot.runbooks.binding import find_action, parse_call, placeholders
from bot.runbooks.clauses import attached_step
from bot.runbooks.document import code_spans
from bot.runbooks.durations import format_duration
from bot.runbooks.expectations import (
    EXIT_CODE,
    After,
    And,
    Comparison,
    Constant,
    Domain,
    Expectation,
    For,
    Name,
    NoExpectation,
    Within,
    always_true,
    is_temporal,
    names,
    never_true,
    parse,
    questions,
    walk,
)
from bot.runbooks.library import RunbookLibrary
from bot.runbooks.model import Clause, Runbook, Step
from bot.runbooks.problems import Problem, SourceText

_RANK = {"": 0, Danger.READ: 1, Danger.CHANGE: 2, Danger.DESTRUCTIVE: 3}
# The codes that are answers of a command. pgrep also ends with 2 and 3, but then the question itself was wrong.
_ANSWERS = {"pgrep": (0, 1), "pkill": (0, 1), "grep": (0, 1), "diff": (0, 1), "cmp": (0, 1), "test": (0, 1)}
_KINDS: dict[str, tuple[type, ...]] = {"number": (int, float), "text": (str,), "boolean": (bool,)}


@dataclass(frozen=True, slots=True)
class CheckedStep:
    """A row and what it compiled to."""

    step: Step
    action: Action | None
    expectation: Expectation

    @property
    def does(self) -> str:
        """The action, or ``manual``."""
        if self.action is None:
            return "manual"
        arguments = ", ".join(f"{name}={value}" for name, value in self.step.arguments.items())
        return f"{self.action.name.removesuffix('()')}({arguments})"


@dataclass(frozen=True, slots=True)
class CheckedRunbook:
    runbook: Runbook
    steps: tuple[CheckedStep, ...]


@dataclass(frozen=True, slots=True)
class Report:
    runbooks: tuple[CheckedRunbook, ...]
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.level == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.level == "warning")

    @property
    def exit_code(self) -> int:
        """0 without errors, else 1; warnings pass."""
        return 1 if self.errors else 0


def check(
    library: RunbookLibrary,
    products: Sequence[Product] | None = None,
    domains: Mapping[str, Domain] | None = None,
) -> Report:
    """Check every runbook of the library against its product. ``products`` are the library's when not given.

    ``domains`` are the possible values of facts where the product does not declare them.
    """
    known = library.products if products is None else {product.name: product for product in products}
    problems = list(library.problems)
    checked = []
    for runbook in library.runbooks.values():
        document = library.documents.get(runbook.source) or SourceText(runbook.source, ())
        one = _Check(runbook, known.get(runbook.product), document, domains or {})
        checked.append(one.run())
        problems += one.problems
    # A runbook's own problems stay together, in the order of its lines.
    order = {source: position for position, source in enumerate(dict.fromkeys(p.source for p in problems))}
    problems.sort(key=lambda problem: (order[problem.source], problem.line, problem.column))
    return Report(tuple(checked), tuple(problems))


class _Check:
    """One runbook at work."""

    def __init__(
        self, runbook: Runbook, product: Product | None, document: SourceText, domains: Mapping[str, Domain]
    ) -> None:
        self.runbook = runbook
        self.product = product
        self.document = document
        self.facts = {fact.name: fact for fact in (product.facts if product else ())}
        declared = {name: domain for name, fact in self.facts.items() if (domain := domain_of(fact))}
        self.domains = declared | dict(domains)
        self.problems: list[Problem] = []

    def run(self) -> CheckedRunbook:
        steps = tuple(self._step(step) for step in self.runbook.steps)
        self._danger(steps)
        self._budgets()
        for clause in self.runbook.clauses:
            self._clause(clause)
        if not self.runbook.escalation:
            self._say(self.runbook.line, "the runbook has no **Escalation**: line, so nobody knows when to call whom")
        return CheckedRunbook(self.runbook, steps)

    def _say(self, line: int, message: str, spot: str = "", level: Literal["error", "warning"] = "error") -> None:
        self.problems.append(self.document.at(line, message, spot, level))

    # -- rows

    def _step(self, step: Step) -> CheckedStep:
        action = self._action(step)
        for name, value in step.arguments.items():
            for wanted in placeholders(value):
                if wanted not in {*self.runbook.inputs, "target", self.runbook.target_kind} | self._seen_before(step):
                    message = f"{name}={value}: there is no input {wanted}; add it to inputs in the front matter"
                    level: Literal["error", "warning"] = "error"
                    if wanted.partition(".")[0] in self._keys_before(step):
                        message, level = f"nothing sees {wanted}, so step {step.number} asks a person for it", "warning"
                    self._say(step.line, message, "{" + wanted + "}", level)
        phrases = self.product.phrases if self.product else {}
        if step.condition:
            self._names(step, parse(step.condition, phrases), step.condition)
        tree = parse(step.expectation, phrases)
        self._expectation(step, tree)
        if step.budget is None:
            self._say(step.line, f"step {step.number} has no duration, so nothing escalates", level="warning")
            if step.on_overdue != self.runbook.on_overdue:
                said = f"on_overdue: {step.on_overdue} of step {step.number} never applies, because it has no duration"
                self._say(step.line, said)
        elif (longest := _longest(tree)) > step.budget:
            said = f"the expectation may take {format_duration(longest)}, the step has {format_duration(step.budget)}"
            self._say(step.line, said, step.expectation)
        return CheckedStep(step, action, tree)

    def _seen_before(self, step: Step) -> set[str]:
        """What placeholders may take from the rows above: ``children.failed``, ``step1.children.failed``."""
        keys = self._keys_before(step)
        single = {
            name
            for name, fact in self.facts.items()
            if fact.values != "list" and fact.provenance is not Provenance.UNAVAILABLE
        }
        return {f"{key}.{name}" for key in keys for name in single} | (single if keys else set())

    def _keys_before(self, step: Step) -> list[str]:
        """``step1``, ``step2a``: how the rows above are called in placeholders."""
        before = self.runbook.steps[: self.runbook.steps.index(step)]
        return ["step" + re.sub(r"\W", "_", row.number) for row in before]

    def _action(self, step: Step) -> Action | None:
        if step.action is None or self.product is None:
            return None
        calls = [code for code in code_spans(step.text) if _is_call(code)]
        if len(calls) > 1:
            message = f"the row names {len(calls)} actions; only `{self._call(step)}` is run. Make two rows of it"
            self._say(step.line, message, calls[-1], "warning")
        action = find_action(self.product, step.action)
        if action is None:
            hint = self._near(step.action)
            self._say(step.line, f"{self.product.name} has no action {step.action}(){hint}", step.action)
        return action

    def _clause(self, clause: Clause) -> None:
        """What a clause attaches has to be there, and may only read: nobody approves it."""
        line = self.document.line_with(f"when: {clause.said}") or self.runbook.line
        if clause.kind == "over budget" and not (self.runbook.total or self.runbook.sla):
            self._say(line, "the run has no budget that it could be over; add **Total estimated duration**:")
        for text in clause.attach:
            if attached_step(text):
                continue
            call = parse_call(text)
            spot = call.name if call else text
            at = self.document.line_with(text) or line
            if self.product is None:
                self._say(at, f"{text} cannot be attached, because the runbook has no product", spot)
            elif call is None:
                if not _known(text, self.facts):
                    near = process.extractOne(text, list(self.facts), scorer=fuzz.ratio, score_cutoff=60)
                    hint = f"; did you mean {near[0]}?" if near else ""
                    self._say(at, f"{self.product.name} has no fact {text}{hint}", spot)
            elif (action := find_action(self.product, call.name)) is None:
                self._say(at, f"{self.product.name} has no action {call.name}(){self._near(call.name)}", spot)
            elif action.danger is not Danger.READ:
                self._say(at, f"{call.name}() is {action.danger.value}; only what reads can be attached", spot)

    def _near(self, name: str) -> str:
        actions = self.product.actions if self.product else ()
        known = [each for action in actions for each in (action.name, *action.aliases)]
        near = process.extractOne(name, known, scorer=fuzz.ratio, score_cutoff=70)
        return f"; did you mean {near[0].removesuffix('()')}()?" if near else ""

    def _call(self, step: Step) -> str:
        """The code span that names the action, as written."""
        rest = step.text.partition(step.condition)[2] if step.condition else step.text
        return next((code for code in code_spans(rest) if _is_call(code)), "")

    def _expectation(self, step: Step, tree: Expectation) -> None:
        for question in questions(tree) if step.action else ():  # a manual step asks a person anyway
            why = f" ({question.why})" if question.why else ""
            message = f'step {step.number} asks a person: "{question.text}"{why}'
            self._say(step.line, message, question.text, "warning")
        if isinstance(tree, NoExpectation):
            return
        self._names(step, tree, step.expectation)
        domains = self.domains | answers_of(step.text)
        if self._mistyped(step, tree):
            pass  # told already
        elif always_true(tree, domains):
            self._say(step.line, f"the expectation can never fail, so it checks nothing: {tree}", step.expectation)
        elif never_true(tree, domains):
            self._say(step.line, f"the expectation can never hold: {tree}", step.expectation)
        for node in walk(tree):
            if ";" in step.expectation:
                break  # clauses are meant to be judged each for itself
            if isinstance(node, And) and is_temporal(node.parts[-1]) and not any(map(is_temporal, node.parts[:-1])):
                waiting = " and ".join(map(str, node.parts[:-1]))
                message = f"only the last part is given time; {waiting} is judged at the first look. Use brackets?"
                self._say(step.line, message, step.expectation, "warning")

    def _names(self, step: Step, tree: Expectation, text: str) -> None:
        if self.product is None:
            return
        for name in sorted(names(tree)):
            if name in self.runbook.inputs or _known(name, self.facts):
                fact = self.facts.get(name)
                if fact and fact.provenance is Provenance.UNAVAILABLE and name not in self.runbook.inputs:
                    said = f"{name} cannot be known: {fact.help} The step will ask a person"
                    self._say(step.line, said, _spot(text, name), "warning")
                continue
            near = process.extractOne(name, [*self.facts, *self.runbook.inputs], scorer=fuzz.ratio, score_cutoff=60)
            right = any(isinstance(node, Comparison) and node.value == Name(name) for node in walk(tree))
            hint = f"; did you mean {near[0]}?" if near else ""
            hint += f'; if it is meant as a text, write "{name}"' if right else ""
            self._say(step.line, f"{self.product.name} has no fact {name}{hint}", _spot(text, name))

    def _mistyped(self, step: Step, tree: Expectation) -> bool:
        """A literal of a type that the fact never has: the step would always answer "cannot tell"."""
        before = len(self.problems)
        for node in walk(tree):
            match node:
                case Comparison(name, operation, Constant(value, unit)) if name in self.facts and value is not None:
                    fact = self.facts[name]
                    kinds = _KINDS.get(fact.values, ())
                    fits = not kinds or (isinstance(value, kinds) and isinstance(value, bool) == (bool in kinds))
                    if not fits and not unit:
                        message = f"{name} is a {fact.values} and is compared with {node.value}: that can never hold"
                        self._say(step.line, message, _spot(step.expectation, name))
                    elif operation not in ("==", "!=") and fact.values in ("text", "boolean") and not unit:
                        message = f"{name} is a {fact.values}: only == and != can be said of it, so this can never hold"
                        self._say(step.line, message, _spot(step.expectation, name))
                case _:
                    pass
        return len(self.problems) > before

    # -- the whole

    def _danger(self, steps: tuple[CheckedStep, ...]) -> None:
        does = max((step.action.danger for step in steps if step.action), key=lambda d: _RANK[d], default=Danger.READ)
        stated = self.runbook.danger
        if stated and _RANK[does] > _RANK[Danger(stated)]:
            culprit = next(step for step in steps if step.action and step.action.danger is does)
            message = f"{culprit.does} is {does.value}, but the front matter says danger: {stated}"
            self._say(culprit.step.line, message, self._call(culprit.step))
        elif not stated and _RANK[does] > _RANK[Danger.READ]:
            message = f"the front matter has no danger; the steps are {does.value}, so write danger: {does.value}"
            self._say(self.runbook.line, message)

    def _budgets(self) -> None:
        budgets = [step.budget for step in self.runbook.steps]
        total, sla = self.runbook.total, self.runbook.sla
        line = self._line_of("total")
        if total is None:
            self._say(self.runbook.line, "the runbook has no **Total estimated duration**: line", level="warning")
            return
        known = [budget for budget in budgets if budget is not None]
        if len(known) == len(budgets) and (added := sum(known, timedelta())) != total:
            message = f"the steps add up to {format_duration(added)}, the total says {format_duration(total)}"
            self._say(line, message, "Total")
        if sla is not None and sla < total:
            message = f"the total of {format_duration(total)} is longer than the SLA of {format_duration(sla)}"
            self._say(line, message, "SLA")

    def _line_of(self, label: str) -> int:
        """Where a label stands below the runbook's table."""
        last = max((step.line for step in self.runbook.steps), default=self.runbook.line)
        for number in range(last + 1, len(self.document.lines) + 1):
            if re.search(rf"\b{label}\b", self.document.line(number), re.IGNORECASE):
                return number
            if self.document.line(number).startswith("#"):
                break
        return self.runbook.line


def _is_call(code: str) -> bool:
    try:
        return parse_call(code) is not None
    except ValueError:
        return True


def _known(name: str, facts: Mapping[str, FactDefinition]) -> bool:
    """Whether the product has the fact, or a list or object that the path leads into."""
    segments = name.split(".")
    heads = [".".join(segments[:length]) for length in range(len(segments), 0, -1)]
    if name in facts:
        return True
    return any(
        (fact := facts.get(head) or facts.get(head.removesuffix("[]"))) and fact.values == "list" for head in heads
    )


def domain_of(fact: FactDefinition) -> Domain | None:
    """All the values that a fact can have, where they are known."""
    if fact.possible:
        return Domain(values=fact.possible)
    return Domain(values=(True, False)) if fact.values == "boolean" else None


def answers_of(text: str) -> dict[str, Domain]:
    """What the command in the row can end with, where that is known."""
    for code in (*code_spans(text), text.rpartition(":")[2]):
        command = code.split()[0] if code.split() else ""
        if command in _ANSWERS:
            return {EXIT_CODE: Domain(values=_ANSWERS[command])}
    return {}


def _longest(tree: Expectation) -> timedelta:
    """How long an expectation can take to be decided."""
    match tree:
        case Within(_, duration):
            return duration
        case After(inner, duration) | For(inner, duration):
            return duration + _longest(inner)
        case _:
            return max((_longest(node) for node in walk(tree) if node is not tree), default=timedelta())


def _spot(text: str, name: str) -> str:
    """The name where it is written so, else the whole text (a phrase stands for it)."""
    return name if name in text else text
