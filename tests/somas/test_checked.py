"""``/somas validate`` of all projects a second time: only what has changed since is read again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from handlers.somas import checked
from handlers.somas.checked import Checked
from handlers.somas.config import read_config
from handlers.somas.projects import list_projects, read_project
from handlers.somas.validate import Report, validate


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The projects that were read whole."""
    names: list[str] = []

    def reading(root: Path, name: str, config: object) -> object:
        names.append(name)
        return read_project(root, name, config)  # type: ignore[arg-type]  # handed on as it came

    monkeypatch.setattr(checked, "read_project", reading)
    return names


def everything(root: Path, now: datetime) -> list[Report]:
    return [validate(read_project(root, name, read_config(root)), now) for name in list_projects(root)]


def test_only_what_changed_or_is_not_whole_is_read_again(root: Path, read: list[str]) -> None:
    names, config, known = list_projects(root), read_config(root), Checked(root)
    now = datetime.now(UTC) + timedelta(hours=1)
    first = list(known.reports(names, config, now))
    assert read == names and first == everything(root, now)
    wrong = [report.project_id for report in first if report.findings]
    assert wrong and len(wrong) < len(names)

    read.clear()
    assert list(known.reports(names, config, now)) == first
    assert read == wrong

    sound = next(name for name in names if name not in wrong)
    state = root / ".somas" / "projects" / sound / "state.json"
    state.write_text(state.read_text().replace('"status"', '"statvs"', 1))
    read.clear()
    told = {report.project_id: report for report in known.reports(names, config, now)}
    assert set(read) == {*wrong, sound} and not told[sound].valid

    read.clear()
    list(known.reports(names, replace(config, max_checkpoints=3), now))
    assert read == names


def test_what_changed_a_moment_ago_is_looked_at_until_it_has_settled(root: Path, read: list[str]) -> None:
    """A temporary file of now is told in a minute, if its writer is dead by then."""
    names, config, known = list_projects(root), read_config(root), Checked(root)
    now = datetime.now(UTC)
    (root / ".somas" / "projects" / "project-12" / "state.tmp").write_text("{")
    assert "project-12" not in [each.project_id for each in known.reports(names, config, now) if each.findings]
    later = now + timedelta(minutes=2)
    assert "project-12" in [each.project_id for each in known.reports(names, config, later) if each.findings]
