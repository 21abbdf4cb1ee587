"""``opsbot runbook verify``: workflows, labels, keys, filters and thresholds of a document beside SOMAS's own files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from rapidfuzz import fuzz, process

from bot.handler import Target, Verification
from bot.runbooks.claims import Claim
from bot.runbooks.verify import Finding
from bot.words import counted
from handlers.somas import filters
from handlers.somas.decode import brief, loads
from handlers.somas.handler import Somas
from handlers.somas.reality import CONFIG, Reality, read_reality
from handlers.somas.repository import Repository, Workflow

RECORDED = "recorded at upstream commit 4308574"
JSON_LINES = ".jsonl"
# CircuitBreaker of somas/core/circuit_breaker.py, for when there is no checkout to look into.
BREAKER_PARAMETERS = ("config_path",)
BREAKER_METHODS = (
    "has_marker",
    "create_marker",
    "count_agent_invocations",
    "count_recent_comments",
    "check_invocation_limit",
    "check_comment_rate",
    "check_stage_progression",
    "check_all",
    "get_escalation_message",
)
# The metrics of a threshold table, and the key of config.yml that says the same.
METRIC_KEYS = {
    "pipeline duration": "monitoring.alerts.thresholds.pipeline_duration_hours",
    "human wait time": "monitoring.alerts.thresholds.human_wait_time_hours",
    "error rate": "monitoring.alerts.thresholds.error_rate_percent",
}
HOURS = {"h": 1.0, "hour": 1.0, "hours": 1.0, "d": 24.0, "day": 24.0, "days": 24.0, "min": 1 / 60, "minutes": 1 / 60}


async def check(handler: Somas, claims: Sequence[Claim]) -> list[Finding]:
    """What is really there for each claim. Raises ``Unavailable`` when SOMAS's files cannot be read."""
    asks = any(claim.kind in ("workflow", "input", "label", "api") for claim in claims)
    return judge(claims, await handler.services.run_blocking(read_reality, handler, asks))


async def targets(handler: Somas, kind: str) -> list[Target]:
    """Projects: one of each status first, the failed one before all, because together they have the most to tell."""
    if kind not in ("", "project"):
        return []
    found, _ = await handler.fleet(handler.services.clock.now())
    by_status: dict[str, list[str]] = {"failed": [], "in_progress": [], "waiting": []}
    for project, _ in found.projects:
        by_status.setdefault(project.state.effective_status if project.state else "unknown", []).append(project.id)
    rounds = (project for turn in zip_longest(*by_status.values()) for project in turn if project)
    return [Target(product="somas", kind="project", name=project) for project in rounds]


VERIFICATION = Verification(targets=targets, check=check)


def judge(claims: Sequence[Claim], real: Reality) -> list[Finding]:
    """Every claim beside reality. Pure, but for the files that ``real`` reads."""
    found: list[Finding] = []
    for claim in claims:
        match claim.kind:
            case "workflow":
                found += _workflow(claim, real)
            case "input":
                found += _input(claim, real)
            case "label" if claim.name.startswith(("somas:", "quality:", "stage:")):
                found += _label(claim, real)
            case "threshold":
                found += _threshold(claim, real)
            case "filter":
                found += _filter(claim, real)
            case "search":
                found += _search(claim, real)
            case "write":
                found += _write(claim, real)
            case "api":
                found += _api(claim, real)
            case _:
                pass
    found += _settings([claim for claim in claims if claim.kind == "config"], real)
    return found


def _name(file: str) -> str:
    """What stands below the project's folder: ``artifacts/test_results.json``."""
    parts = file.split("/")
    return "/".join(parts[3:]) if parts[:2] == [".somas", "projects"] else file


# -- the repository


def _unknown(claim: Claim, what: str, real: Reality) -> Finding:
    there = f"whether {what} cannot be told: {real.unknown}"
    return Finding(line=claim.line, says=f"`{claim.text}`", there=there, level="cannot tell")


def _workflow(claim: Claim, real: Reality) -> Iterator[Finding]:
    if real.repository is None:
        yield _unknown(claim, f"the workflow {claim.name} exists", real)
        return
    found = real.repository.workflows.get(claim.name)
    if found is None:
        startable = {name: one for name, one in real.repository.workflows.items() if one.inputs is not None}
        near = _nearest(claim.name, startable)
        there = f"there is no workflow {claim.name} in {real.repository.where}"
        takes = f", which takes {', '.join(startable[near].inputs or ()) or 'no inputs'}" if near else ""
        change = f"the nearest that can be started is {near}{takes}" if near else ""
        yield Finding(line=claim.line, says=f"the workflow `{claim.text}`", there=there, change=change)
    elif claim.details["use"] == "run" and found.inputs is None:
        there = f"{claim.name} has no workflow_dispatch, so it cannot be started by hand"
        yield Finding(line=claim.line, says=f"`gh workflow run {claim.name}`", there=there)
    elif claim.details["use"] == "run" and found.inputs is not None:
        for name in (name for name, required in found.inputs.items() if required and name not in claim.words):
            there = f"{claim.name} requires the input {name}; GitHub refuses the dispatch (422)"
            yield Finding(
                line=claim.line,
                says=f"`gh workflow run {claim.name}` without {name}",
                there=there,
                change=f"add -f {name}=…",
            )


def _input(claim: Claim, real: Reality) -> Iterator[Finding]:
    workflow = real.repository.workflows.get(claim.details["workflow"]) if real.repository else None
    if workflow is None or workflow.inputs is None:
        if real.repository is not None and claim.name not in _all_inputs(real.repository):
            there = f"no workflow in {real.repository.where} takes an input {claim.name}"
            yield Finding(line=claim.line, says=f"`{claim.text}`", there=there)
        return
    if claim.name not in workflow.inputs:
        known = ", ".join(workflow.inputs) or "none"
        there = f"{workflow.name} has no input {claim.name}; GitHub refuses the dispatch (422)"
        yield Finding(
            line=claim.line, says=f"`{claim.text}`", there=there, change=_instead(claim.name, workflow, known)
        )


def _all_inputs(repository: Repository) -> set[str]:
    return {name for workflow in repository.workflows.values() for name in workflow.inputs or ()}


def _instead(name: str, workflow: Workflow, known: str) -> str:
    near = next((other for other in workflow.inputs or () if other in name.split("_")), "")
    return f"its inputs are {known}" + (f"; use -f {near}=…" if near else "")


def _label(claim: Claim, real: Reality) -> Iterator[Finding]:
    if real.repository is None or not real.repository.labels:
        yield _unknown(claim, f"the label {claim.name} exists", real)
    elif claim.name not in real.repository.labels:
        there = (
            f"{claim.name} is not among the {counted(len(real.repository.labels), 'label')} of {real.repository.where}"
        )
        change = f"the nearest is {near}" if (near := _nearest(claim.name, real.repository.labels)) else ""
        if claim.name == "somas:failed":
            failed = sum(project.state is not None and project.state.status == "failed" for project in real.projects)
            change = f"take the status of state.json, which says failed for {failed} of {real.looked_at} now"
        yield Finding(line=claim.line, says=f"the label `{claim.text}`", there=there, change=change)


def _nearest(name: str, among: Sequence[str] | Mapping[str, Any] | frozenset[str]) -> str:
    found = process.extractOne(name, sorted(among), scorer=fuzz.ratio, score_cutoff=60)
    return found[0] if found else ""


def _api(claim: Claim, real: Reality) -> Iterator[Finding]:
    """A class of SOMAS: does it have the member, does its constructor take the argument?"""
    if claim.name != "CircuitBreaker":
        return
    found = real.repository.class_of("somas.core.circuit_breaker", claim.name) if real.repository else None
    parameters = found.parameters if found else BREAKER_PARAMETERS
    methods = found.methods if found else BREAKER_METHODS
    wanted, known = (
        (claim.details["member"], methods) if claim.details["member"] else (claim.details["argument"], parameters)
    )
    if wanted in known:
        return
    if claim.details["member"]:
        there = f"CircuitBreaker has no {wanted}(); its methods are {brief(', '.join(methods), 90)}"
    else:
        there = f"CircuitBreaker takes {', '.join(parameters) or 'nothing'}, not {wanted}; it ends with a TypeError"
    change = "the switch that works is the label somas:circuit-breaker on the issue"
    yield Finding(
        line=claim.line, says=f"`{claim.text}`", there=there, change=change, recorded="" if found else RECORDED
    )


# -- the configuration


def _settings(claims: Sequence[Claim], real: Reality) -> Iterator[Finding]:
    """A key that is missing is told once, at the outermost part of it that is missing."""
    told: set[str] = set()
    for claim in claims:
        if claim.details["file"] not in ("", CONFIG, "config.yml"):
            continue
        if real.config is None:
            there = f"{CONFIG} cannot be read"
            yield Finding(line=claim.line, says=f"the key `{claim.name}`", there=there, level="cannot tell")
            return
        keys = claim.name.split(".")
        missing = next((n for n in range(1, len(keys) + 1) if _get(real.config, keys[:n]) is None), 0)
        if missing:
            outer = ".".join(keys[:missing])
            if outer in told:
                continue
            told.add(outer)
            elsewhere = next((path for path in _paths(real.config) if path.split(".")[-1] == keys[missing - 1]), "")
            if elsewhere and len(keys) - missing == 0:
                elsewhere = ""  # a leaf such as enabled stands everywhere
            there = f"{CONFIG} has no {outer}"
            if outer == "pipeline.enabled":
                there += ", and nothing of SOMAS reads such a key"
            change = f"the key is {elsewhere}" if elsewhere else "leave it out: it has no effect"
            yield Finding(line=claim.line, says=f"the key `{claim.name}`", there=there, change=change)
            continue
        value = _get(real.config, keys)
        if claim.details["value"] and not isinstance(value, dict | list) and _plain(value) != claim.details["value"]:
            there = f"{CONFIG} has {claim.name}: {_plain(value)}"
            says = f"`{claim.name}: {claim.details['value']}`"
            yield Finding(line=claim.line, says=says, there=there, change=f"write {_plain(value)}")


def _threshold(claim: Claim, real: Reality) -> Iterator[Finding]:
    """The highest level of a table beside the alert of the configuration."""
    key = METRIC_KEYS.get(claim.name.lower())
    if key is None or claim.details["level"] != "critical" or real.config is None:
        return
    value = _get(real.config, key.split("."))
    said = float(claim.details["value"]) * HOURS.get(claim.details["unit"].lower(), 1.0)
    if isinstance(value, int | float) and not isinstance(value, bool) and float(value) != said:
        unit = "%" if key.endswith("percent") else "h"
        there = f"{CONFIG} has {key}: {value:g}, so SOMAS's own alert comes at {value:g} {unit}"
        change = f"say both: critical for people at {said:g} {unit}, alert at {value:g} {unit}"
        yield Finding(line=claim.line, says=f'"{claim.text}" (critical)', there=there, change=change)


def _get(config: Mapping[str, Any], keys: Sequence[str]) -> Any:
    value: Any = config
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _paths(config: Mapping[str, Any], prefix: str = "", depth: int = 0) -> Iterator[str]:
    for key, value in config.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict) and depth < 8:
            yield from _paths(value, f"{prefix}{key}.", depth + 1)


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


# -- the files


def _documents(name: str, slurp: bool, real: Reality) -> tuple[list[filters.Document], list[str]]:
    """What can be read of a file of all projects, and the files that are no JSON."""
    documents, broken = [], []
    for where, data in real.files(name):
        if name.endswith(JSON_LINES):
            project = next(one for one in real.projects if one.id == where.partition("/")[0])
            events = [dict(event.raw) for event in project.log.events]
            documents += [filters.Document(where, events)] if slurp else [filters.Document(where, e) for e in events]
            continue
        try:
            documents.append(filters.Document(where, loads(data)))
        except ValueError:
            broken.append(where)
    return documents, broken


def _filter(claim: Claim, real: Reality) -> Iterator[Finding]:
    name = _name(claim.name)
    if not real.projects or not name.endswith((".json", JSON_LINES)):
        return
    documents, broken = _documents(name, bool(claim.details["slurp"]), real)
    says = f"`{claim.text}` over {name}"
    if not documents and broken:
        others = f", nor is any other of the {len(broken)}" if len(broken) > 1 else ""
        there = f"{broken[0]} is not JSON{others}; jq ends with an error"
        yield Finding(line=claim.line, says=says, there=there, change="read it as text")
    elif not documents and claim.name.startswith(".somas/"):
        there = f"none of {real.looked_at} has a file {name}"
        yield Finding(line=claim.line, says=says, there=there, change="leave the step out")
    elif found := filters.trouble(claim.details["expression"], documents):
        yield Finding(line=claim.line, says=says, there=found.there, change=found.change)


def _search(claim: Claim, real: Reality) -> Iterator[Finding]:
    """A plain grep over the real files: what it finds beside what it is meant to find."""
    name, pattern = _name(claim.name), claim.details["pattern"]
    says = f"`{claim.text}`"
    files = real.files(name)
    if not files:
        return
    matching = [where for where, data in files if pattern.encode("utf-8", "replace") in data]
    if name.endswith(JSON_LINES):
        failures = sum(event.type == "stage_failed" for project in real.projects for event in project.log.events)
        if not matching:
            there = f"no line of the {counted(len(files), 'log')} holds {pattern}"
            change = "event_type tells what happened"
            if '"failed"' in pattern and failures:
                there += f", although {counted(failures, 'event')} are stage_failed"
                change = 'search for \'"event_type": "stage_failed"\''
            yield Finding(line=claim.line, says=says, there=there, change=change)
        return
    if name == "state.json" and '"status": "failed"' in pattern:
        failed = {project.id for project in real.projects if project.state and project.state.status == "failed"}
        wrong = sorted({where.partition("/")[0] for where in matching} - failed)
        missed = sorted(failed - {where.partition("/")[0] for where in matching})
        if wrong or missed:
            there = f"of {real.looked_at} it finds {len(matching)}, and {len(failed)} have failed"
            there += f"; {', '.join(wrong[:4])} only had a stage that failed" if wrong else ""
            there += f"; it misses {', '.join(missed[:4])}" if missed else ""
            yield Finding(line=claim.line, says=says, there=there, change="compare the top-level status: /somas failed")


def _write(claim: Claim, real: Reality) -> Iterator[Finding]:
    name = _name(claim.name)
    try:
        written = json.loads(claim.details["content"])
    except ValueError:
        return
    documents, _ = _documents(name, False, real)
    shapes = [document for document in documents if type(document.value) is not type(written)]
    if documents and len(shapes) * 2 > len(documents) and isinstance(shapes[0].value, dict):
        keys = brief(", ".join(shapes[0].value), 120)
        there = (
            f"{shapes[0].where} is {filters.kind(shapes[0].value)} ({keys}): {filters.kind(written)} breaks its shape, "
            "and the next failure is recorded by half"
        )
        change = "keep the object and empty its entries and statistics"
        yield Finding(line=claim.line, says=f"`{claim.text}`", there=there, change=change)
