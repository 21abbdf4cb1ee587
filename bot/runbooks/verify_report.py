"""What ``opsbot runbook verify`` prints: a line per drift with its document and line, or annotations for GitHub."""

from __future__ import annotations

from collections.abc import Sequence

from bot.runbooks.check_report import escaped_message, escaped_property
from bot.runbooks.verify import Verified
from bot.words import counted


def render(verified: Sequence[Verified]) -> str:
    """``runbook.md:101: drift: says …; there is …; write …``, then the counts."""
    lines = [
        f"{one.subject.source}:{finding.line}: {finding.level}: {finding.sentence()}"
        for one in verified
        for finding in one.findings
    ]
    return "\n".join([*lines, *([""] if lines else []), _summary(verified)]) + "\n"


def github(verified: Sequence[Verified]) -> str:
    """``::error file=…,line=…::…`` for a drift, ``::notice`` for what nobody can tell."""
    lines = []
    for one in verified:
        for finding in one.findings:
            level = "error" if finding.level == "drift" else "notice"
            place = f"file={escaped_property(one.subject.source)},line={finding.line}"
            lines.append(f"::{level} {place},title=runbook verify::{escaped_message(finding.sentence())}")
    return "\n".join([*lines, _summary(verified)]) + "\n"


def _summary(verified: Sequence[Verified]) -> str:
    drifts = sum(len(one.drifts) for one in verified)
    unknown = sum(len(one.unknown) for one in verified)
    claims = sum(one.claims for one in verified)
    said = f"{counted(len(verified), 'document')}, {counted(claims, 'claim')} compared with the live systems: "
    said += counted(drifts, "drift")
    return said + (f", {counted(unknown, 'thing')} nobody could tell" if unknown else "")
