"""``/somas restart`` in issue 42 means project-42: which project an issue is about, and which issue a project has.

A project is named after its issue; ``issue_number`` in its state goes before that.
"""

from __future__ import annotations

from pathlib import Path

from handlers.somas.projects import exists, is_project, list_projects, project_directory
from handlers.somas.rebuild import number_of
from handlers.somas.state import read_state


def issue_of(root: Path, project_id: str) -> int | None:
    """The issue of a project; None for what is no project. Blocking."""
    if not is_project(project_id):
        return None
    return _said(root, project_id) or number_of(project_id)


def project_of(root: Path, issue: int) -> str | None:
    """The one project whose issue this is; None when there is none, or when several say that it is theirs. Blocking.

    Raises ``Unavailable`` when the projects cannot be read.
    """
    namesake = f"project-{issue}"
    known = is_project(namesake) and exists(project_directory(root, namesake))
    said = _said(root, namesake) if known else 0
    if said == issue:
        return namesake
    others = [name for name in list_projects(root) if name != namesake and _said(root, name) == issue]
    if others:
        return others[0] if len(others) == 1 else None
    return namesake if known and not said else None


def _said(root: Path, project_id: str) -> int:
    """``issue_number`` of the project's state; 0 when it says none."""
    state = read_state(project_directory(root, project_id), project_id).state
    return state.issue_number if state and state.issue_number > 0 else 0
