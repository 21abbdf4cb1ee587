"""``[somas]`` in opsbot.toml: where SOMAS keeps its files, and how patient the bot is with it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from bot.handler import ProductSettings

SETUP = """\
[somas]
root = "/srv/somas"              # the folder that holds .somas/
# restart_budget = "PT10M"       # how long a restarted stage may take until it is seen to run
# lock_seconds = 30              # how long to wait for SOMAS itself to let go of a file
# repository_path = "/srv/somas-checkout"  # a checkout of its repository, for `runbook verify`; default: root, GitHub
# follow_budget = "PT30M"        # how long the workflow run of a restart is followed until somebody is paged
# stop_budget = "PT10M"          # how long stop-all waits until the last run has ended
# retries_over_limit = "warn"    # or "refuse": restarts beyond max_retry_attempts of limits.yml
"""


# What stop-all disables: the workflows that move projects. Scans of security and consistency go on.
WORKFLOWS = (
    "somas-*",
    "*-somas.y*ml",
    "intake-triage.y*ml",
    "sync-stage-milestones.y*ml",
    "pr-checklist-detector.y*ml",
)


class DispatchSettings(ProductSettings):
    """``[somas.dispatch]``: the workflow that a restart starts. ``{project}`` and ``{stage}`` are filled in."""

    workflow: str = Field("somas-pipeline.yml", examples=["somas-pipeline.yml"], pattern=r"^[\w.-]+\.ya?ml$")
    ref: str = Field("", examples=["main"])  # empty: the repository's default branch
    inputs: dict[str, str] = Field(
        default={"project_id": "{project}", "stage": "{stage}"},
        examples=[{"project_id": "{project}", "stage": "{stage}"}],
    )
    always_red: tuple[str, ...] = Field(("stage-5-implement-complete",), examples=[["stage-5-implement-complete"]])


class SomasSettings(ProductSettings):
    """The section ``[somas]``."""

    root: Path = Field(examples=["/srv/somas"])
    repository_path: Path | None = Field(None, examples=["/srv/somas-checkout"])
    restart_budget: timedelta = Field(timedelta(minutes=10), gt=timedelta(0), examples=["PT10M"])
    lock_seconds: float = Field(30.0, gt=0, le=300, examples=[30])
    retries_over_limit: Literal["warn", "refuse"] = Field("warn", examples=["warn"])
    dispatch: DispatchSettings = DispatchSettings()
    follow_budget: timedelta = Field(timedelta(minutes=30), gt=timedelta(0), examples=["PT30M"])
    stop_budget: timedelta = Field(timedelta(minutes=10), gt=timedelta(0), examples=["PT10M"])
    workflows: tuple[str, ...] = Field(WORKFLOWS, examples=[["somas-*", "intake-triage*"]])

    @field_validator("repository_path")
    @classmethod
    def _is_a_checkout(cls, folder: Path | None) -> Path | None:
        if folder is not None and not (folder.expanduser() / ".github").is_dir():
            raise ValueError(f"{folder} holds no .github; give a checkout of SOMAS's repository, or leave it out")
        return folder.expanduser().absolute() if folder else None

    @field_validator("root")
    @classmethod
    def _holds_somas(cls, root: Path) -> Path:
        """The three mistakes that are made: nothing there, a file, the folder .somas itself or one too high."""
        root = root.expanduser()
        if not root.exists():
            raise ValueError(f"there is no {root}; give the folder that holds .somas/, or leave [somas] out")
        if not root.is_dir():
            raise ValueError(f"{root} is not a folder; give the folder that holds .somas/, or leave [somas] out")
        if root.name == ".somas":
            raise ValueError(f"{root} is .somas itself; give the folder that holds it: {root.absolute().parent}")
        if not (root / ".somas" / "projects").is_dir():
            raise ValueError(
                f"{root} holds no .somas/projects; give the folder in which SOMAS runs, or leave [somas] out"
            )
        return root.absolute()
