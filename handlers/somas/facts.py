"""``stage.status == "in_progress"``: the facts of a project that a runbook may use, each with where it came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from bot.handler import FactDefinition, Observation, Provenance
from handlers.somas.agreement import disagreements
from handlers.somas.decode import brief
from handlers.somas.metrics import Measure, Metrics, measure, resume_stage, retries_of, running_age
from handlers.somas.projects import Project
from handlers.somas.state import StageRecord, State
from handlers.somas.validate import validate

EXACT, DERIVED, INPUT, UNAVAILABLE = Provenance.EXACT, Provenance.DERIVED, Provenance.INPUT, Provenance.UNAVAILABLE

PHRASES: Mapping[str, str] = {
    "Stage running": 'stage.status == "in_progress"',
    "Stage in progress": 'stage.status == "in_progress"',
    "Stage completed": 'stage.status == "completed"',
    "Stage is set to retry": 'stage.status == "retrying"',
    "Project failed": 'project.status == "failed"',
    "Pipeline completed": 'project.effective_status == "completed"',
    "No new dead letters": "dead_letters.new == 0",
    "No open dead letters": "dead_letters.open == 0",
    "State file valid": "state.valid == true",
    "Files valid": "files.errors == 0",
}


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of a project, for several facts. ``stage`` is the one that the run is about."""

    project: Project
    metrics: Metrics
    stage: str
    dead_letters_before: int | None
    now: datetime

    @property
    def state(self) -> State | None:
        return self.project.state

    @property
    def record(self) -> StageRecord | None:
        return self.state.stage(self.stage) if self.state else None

    def file(self, name: str) -> str:
        return f".somas/projects/{self.project.id}/{name}"

    @property
    def state_source(self) -> str:
        if self.project.source == "state.json":
            return self.file("state.json")
        return f"{self.file('transitions.jsonl')}, rebuilt because state.json {self.project.file.problem}"


@dataclass(frozen=True, slots=True)
class Found:
    """A value and where it came from; ``value`` None with ``provenance`` UNAVAILABLE: why it cannot be known."""

    value: Any
    provenance: Provenance
    source: str


def _unknown(why: str) -> Found:
    return Found(None, UNAVAILABLE, why)


def _state(read: Callable[[Reading, State], Any], how: str = "") -> Callable[[Reading], Found]:
    """A fact that is read from the state, or from what the log rebuilds when state.json is damaged."""

    def find(reading: Reading) -> Found:
        if reading.state is None:
            return _unknown(f"state.json {reading.project.file.problem}, and the log does not give the state back")
        derived = bool(how) or reading.project.source != "state.json"
        source = f"{reading.state_source}: {how}" if how else reading.state_source
        return Found(read(reading, reading.state), DERIVED if derived else EXACT, source)

    return find


def _stage(read: Callable[[Reading, StageRecord], Any], how: str = "") -> Callable[[Reading], Found]:
    def find(reading: Reading) -> Found:
        if reading.state is None:
            return _unknown(f"state.json {reading.project.file.problem}, and the log does not give the state back")
        if reading.record is None:
            return _unknown(f"state.json has no stage {brief(reading.stage, 40)}")
        found = _state(lambda r, _: read(r, reading.record), how)(reading)  # type: ignore[arg-type]  # None was excluded above
        return found if found.value is not None else _unknown(f"stage {reading.stage} is not running")

    return find


def _measured(pick: Callable[[Metrics], Measure]) -> Callable[[Reading], Found]:
    def find(reading: Reading) -> Found:
        found = pick(reading.metrics)
        if found.value is None:
            return _unknown(found.source)
        mark = "" if found.mark == "exact" else f" ({found.mark})"
        return Found(round(found.value, 4), DERIVED, f"{reading.file('')}: {found.source}{mark}")

    return find


def _age_hours(reading: Reading, record: StageRecord) -> float | None:
    age = running_age(record, reading.now)
    return None if age is None else round(age.total_seconds() / 3600, 4)


def _timeout(reading: Reading) -> Found:
    timeout = reading.project.config.timeout(reading.stage)
    if timeout is None:
        return _unknown(f"config.yml has no timeout_hours for {brief(reading.stage, 40)}")
    return Found(timeout.total_seconds() / 3600, EXACT, ".somas/config.yml pipeline.stages[].timeout_hours")


def _retries(reading: Reading) -> Found:
    if reading.state is None:
        return _unknown("there is neither a state nor a log")
    source = "the higher of retry_count in state.json and the repeated starts in transitions.jsonl"
    if reading.project.log.condition != "ok":
        source = "retry_count in state.json only (uncertain: there is no log)"
    return Found(retries_of(reading.project, reading.stage), DERIVED, source)


def _total(reading: Reading) -> Found:
    letters = reading.project.letters
    if letters.condition != "ok":
        return _unknown(f"dead_letters.json {letters.problem}")
    return Found(len(letters.entries), EXACT, f"{reading.file('dead_letters.json')} entries")


def _new(reading: Reading) -> Found:
    if reading.dead_letters_before is None:
        return _unknown("the run was started without the input dead_letters_before")
    total = _total(reading)
    if total.provenance is UNAVAILABLE:
        return total
    before = reading.dead_letters_before
    return Found(
        max(0, total.value - before), DERIVED, f"{total.source}: {total.value} now, {before} when the run started"
    )


def _agrees(reading: Reading) -> Found:
    state, rebuilt = reading.project.file.state, reading.project.rebuilt
    if state is None or rebuilt is None:
        return _unknown("state.json cannot be read" if state is None else "the log leads to no state")
    different = disagreements(state.raw, rebuilt.raw)
    source = f"{reading.file('state.json')} against transitions.jsonl"
    return Found(not different, DERIVED, "; ".join([source, *different[:3]]))


def _error_rate(reading: Reading) -> Found:
    rate = reading.metrics.error_rate
    if rate is None or rate.percent is None:
        return _unknown("there is no log" if rate is None else "nothing has failed or finished yet")
    source = f"{reading.file('transitions.jsonl')}: {rate.failed} of {rate.total} outcomes failed"
    return Found(round(rate.percent, 2), DERIVED, source)


def _resume(reading: Reading, state: State) -> str | None:
    return resume_stage(reading.project, state.last_checkpoint)[1] or None if state.last_checkpoint else None


def _breaker(reading: Reading, state: State) -> bool:
    return reading.project.config.breaker_label in state.labels or bool(state.open_breakers)


@dataclass(frozen=True, slots=True)
class Fact:
    definition: FactDefinition
    find: Callable[[Reading], Found]


def _fact(
    name: str,
    values: Literal["number", "text", "boolean", "list"],
    help_: str,
    find: Callable[[Reading], Found],
    provenance: Provenance = EXACT,
    *,
    of_run: bool = False,
) -> Fact:
    return Fact(FactDefinition(name, help_, provenance, values, of_run=of_run), find)


FACTS: Mapping[str, Fact] = {
    fact.definition.name: fact
    for fact in (
        _fact("project.status", "text", "status as state.json has it", _state(lambda _, s: s.status)),
        _fact(
            "project.effective_status",
            "text",
            "status, and completed when every stage is though nobody set it",
            _state(lambda _, s: s.effective_status, "status and stages together"),
            DERIVED,
        ),
        _fact(
            "project.current_stage", "text", "current_stage as state.json has it", _state(lambda _, s: s.current_stage)
        ),
        _fact("project.issue", "number", "number of the GitHub issue", _state(lambda _, s: s.issue_number)),
        _fact("pipeline.duration_hours", "number", "hours since created_at", _measured(lambda m: m.duration), DERIVED),
        _fact(
            "pipeline.enabled",
            "boolean",
            "false when pipeline.enabled is false in config.yml; upstream does not read it",
            lambda r: Found(
                r.project.config.pipeline_enabled, DERIVED, ".somas/config.yml pipeline.enabled, true when absent"
            ),
            DERIVED,
        ),
        _fact(
            "stage.name",
            "text",
            "the stage that the run is about",
            lambda r: Found(r.stage, INPUT, "input stage"),
            INPUT,
        ),
        _fact("stage.status", "text", "status of that stage", _stage(lambda _, s: s.status)),
        _fact(
            "stage.error",
            "text",
            "its last error; stays there when it runs again",
            _stage(lambda _, s: brief(s.error, 500)),
        ),
        _fact(
            "stage.age_hours",
            "number",
            "hours since it started, while it is in progress",
            _stage(_age_hours, "now minus started_at"),
            DERIVED,
        ),
        _fact("stage.timeout_hours", "number", "how long it may run, by config.yml", _timeout),
        _fact("stage.retries", "number", "how often it was tried again", _retries, DERIVED),
        _fact("retries", "number", "the highest retry count of any stage", _measured(lambda m: m.retries), DERIVED),
        _fact(
            "retries.limit",
            "number",
            "max_retry_attempts of limits.yml",
            lambda r: Found(r.project.config.max_retry_attempts, EXACT, ".somas/config/limits.yml max_retry_attempts"),
        ),
        _fact("dead_letters.total", "number", "entries of dead_letters.json", _total),
        _fact(
            "dead_letters.open",
            "number",
            "entries that were not successfully recovered",
            _measured(lambda m: m.dead_letters),
            DERIVED,
        ),
        _fact("dead_letters.new", "number", "entries more than when the run started", _new, DERIVED, of_run=True),
        _fact(
            "checkpoint.last",
            "text",
            "id of the last successful checkpoint, null when there is none",
            _state(lambda _, s: s.last_checkpoint or None),
        ),
        _fact(
            "checkpoint.resume_stage",
            "text",
            "the stage after the last successful checkpoint's",
            _state(_resume, "the stage after the checkpoint's"),
            DERIVED,
        ),
        _fact(
            "restart.suggested_stage",
            "text",
            "where a bare restart begins; empty for a finished project",
            _state(lambda r, _: r.metrics.restart_stage, "current stage, or the first that is not completed"),
            DERIVED,
        ),
        _fact("wait.hours", "number", "hours that it has waited for a person", _measured(lambda m: m.wait), DERIVED),
        _fact("error_rate.percent", "number", "failed outcomes of all outcomes in the log", _error_rate, DERIVED),
        _fact(
            "breaker.set",
            "boolean",
            "circuit breaker label or open entry in state.json (a copy, not the issue)",
            _state(_breaker, "labels.github and circuit_breakers"),
            DERIVED,
        ),
        _fact(
            "state.valid",
            "boolean",
            "state.json can be read and belongs to the project",
            lambda r: Found(
                r.project.file.condition == "ok", DERIVED, f"{r.file('state.json')} {r.project.file.problem}".strip()
            ),
            DERIVED,
        ),
        _fact(
            "state.agrees",
            "boolean",
            "state.json says what the log leads to",
            _agrees,
            DERIVED,
        ),
        _fact(
            "files.errors",
            "number",
            "errors that a validation of the three files finds",
            lambda r: Found(
                validate(r.project, r.now).count("error"), DERIVED, f"{r.file('')}: each file for itself and together"
            ),
            DERIVED,
        ),
        _fact(
            "dead_letters.malformed",
            "boolean",
            "dead_letters.json is no object, so upstream's next failure crashes half-recorded",
            lambda r: Found(
                r.project.letters.condition == "damaged" or r.project.letters.malformed,
                DERIVED,
                f"{r.file('dead_letters.json')} {r.project.letters.problem}".strip(),
            ),
            DERIVED,
        ),
        _fact(
            "log.bad_lines",
            "number",
            "lines of transitions.jsonl that are no event",
            lambda r: (
                Found(r.project.log.bad_lines, DERIVED, r.file("transitions.jsonl"))
                if r.project.log.condition == "ok"
                else _unknown(f"transitions.jsonl {r.project.log.problem}")
            ),
            DERIVED,
        ),
        _fact(
            "dispatch.accepted",
            "boolean",
            "whether GitHub took the dispatch; told by the step that dispatches",
            lambda _: _unknown("only the step somas.dispatch() can tell"),
            of_run=True,
        ),
    )
}

DEFINITIONS: tuple[FactDefinition, ...] = tuple(fact.definition for fact in FACTS.values())


def reading(project: Project, now: datetime, inputs: Mapping[str, str]) -> Reading:
    """``inputs``: ``stage`` (default: the suggested or the current one) and ``dead_letters_before``."""
    metrics = measure(project, now)
    stage = inputs.get("stage") or metrics.restart_stage or (project.state.current_stage if project.state else "")
    before = inputs.get("dead_letters_before", "")
    return Reading(project, metrics, stage, int(before) if before.isascii() and before.isdigit() else None, now)


def observe(names: frozenset[str], taken: Reading) -> list[Observation]:
    """One observation per name, in the order of the names; an unknown name is UNAVAILABLE."""
    observations = []
    for name in sorted(names):
        fact = FACTS.get(name)
        found = fact.find(taken) if fact else _unknown("SOMAS has no fact of this name")
        value = brief(found.value, 500) if isinstance(found.value, str) else found.value
        observations.append(
            Observation(name=name, value=value, provenance=found.provenance, source=brief(found.source, 300))
        )
    return observations
