"""SOMAS's workflows on the local GitHub, as the upstream repository declares them: names, triggers, inputs, jobs."""

from __future__ import annotations

from pathlib import Path

from bot.demo.github import Job, LocalGitHub

UPSTREAM = Path(__file__).parent / "upstream_repository" / ".github" / "workflows"
ALWAYS_RED = Job("stage-5-implement-complete", ("Set up job", "Record completion"), "Record completion")
VERIFY = Job("stage-6-verify", ("Set up job", "Run tests"))

FULL_RIGHTS = {
    "metadata": "read",
    "issues": "write",
    "actions": "write",
    "contents": "write",
    "pull_requests": "write",
    "administration": "write",
    "secrets": "read",
}


def add_workflows(
    github: LocalGitHub,
    *,
    jobs: tuple[Job, ...] = (VERIFY, ALWAYS_RED),
    conclusion: str = "failure",
    run_seconds: float = 3.0,
    obeys: bool = True,
) -> None:
    """Every workflow file of the recorded repository. A run of the pipeline always ends red, as upstream's does."""
    for file in sorted(UPSTREAM.glob("*.yml")):
        mine = file.name == "somas-pipeline.yml"
        github.add_workflow(
            file.name,
            file.read_text(),
            queue_seconds=1.0,
            run_seconds=run_seconds,
            conclusion=conclusion if mine else "success",
            jobs=jobs if mine else (Job("job"),),
            obeys=obeys,
        )


def give_rights(github: LocalGitHub, role: str = "admin", **rights: str) -> None:
    """A token for the bot with these rights, and a role; before the bot is started."""
    github.set_role("opsbot", role)
    wanted = {**FULL_RIGHTS, **rights}
    github.token = github.token_of("opsbot", {name: level for name, level in wanted.items() if level != "none"})
