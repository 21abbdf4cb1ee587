"""SOMAS's repository on GitHub: workflows, their runs, labels, comments, files; one method per thing that is asked.

Every method raises ``Refused`` with GitHub's own words when it says no, and ``NotNow`` when it asks to wait or does not
answer. Nothing here repeats a change by itself.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar
from urllib.parse import quote

from bot.clock import first_of
from bot.errors import NotNow, UserError
from bot.github_api import GitHubAnswer, GitHubApi
from bot.handler import ActionContext
from handlers.somas.decode import brief, items, mapping, text
from handlers.somas.workflow_runs import OPEN, WorkflowRun, run_of

T = TypeVar("T")

PAGES = 10  # of a hundred: GitHub gives no more than a thousand runs of one status
NOT_CONFIGURED = (
    "GitHub is not configured: add the section [github] with repository, and a token or an app, to opsbot.toml."
)


class Refused(UserError):
    """GitHub said no. ``answer`` is what it said."""

    def __init__(self, message: str, answer: GitHubAnswer) -> None:
        super().__init__(message)
        self.answer = answer


def run_key(project_id: str) -> str:
    """Where the workflow run that was dispatched for a project is remembered."""
    return f"run of {project_id}"


async def patiently(context: ActionContext, ask: Callable[[], Awaitable[T]]) -> T:
    """What ``ask`` gives, waiting out rate limits and outages until the step's deadline; the card shows what for.

    Raises ``NotNow`` when the deadline comes first, when the run is cancelled, and when a change may have happened.
    """
    while True:
        try:
            return await ask()
        except NotNow as error:
            until = context.clock.now() + timedelta(seconds=error.after)
            late = context.deadline is not None and until > context.deadline
            if error.maybe_done or late or context.abort.is_set():
                raise
            context.tell(error.message, until)
            await first_of(context.clock.sleep(error.after), context.abort.wait())


@dataclass(frozen=True, slots=True)
class PullRequest:
    """``state``: open, closed (nobody wanted it) or merged."""

    number: int
    url: str
    state: str

    @classmethod
    def of(cls, raw: Any) -> PullRequest:
        """One of GitHub's list, which calls a merged one closed."""
        found = mapping(raw)
        state = "merged" if found.get("merged_at") else text(found.get("state"))
        return cls(int(found["number"]), text(found.get("html_url")), state)


class SomasGitHub:
    """The repository. Blocks nobody: every call goes through the bot's own threads."""

    def __init__(self, api: GitHubApi) -> None:
        self.api = api
        self._default_branch = ""

    @property
    def repository(self) -> str:
        return self.api.repository

    async def default_branch(self) -> str:
        if not self._default_branch:
            found = await self._ask("GET", "", f"the repository {self.repository}", needs="metadata=read")
            self._default_branch = text(mapping(found).get("default_branch")) or "main"
        return self._default_branch

    # -- workflows

    async def workflows(self) -> list[dict[str, Any]]:
        """id, name, path and state (``active``, ``disabled_manually``, …) of every workflow."""
        return await self._pages("/actions/workflows", "workflows", "the list of workflows", needs="actions=read")

    async def workflow(self, name: str | int) -> dict[str, Any] | None:
        """None when there is no such workflow."""
        what = f"the workflow {name}"
        found = await self._ask("GET", f"/actions/workflows/{_part(name)}", what, needs="actions=read", missing=True)
        return mapping(found) or None

    async def disable(self, workflow: int) -> None:
        await self._ask("PUT", f"/actions/workflows/{workflow}/disable", "disabling a workflow", needs="actions=write")

    async def enable(self, workflow: int) -> None:
        await self._ask("PUT", f"/actions/workflows/{workflow}/enable", "enabling a workflow", needs="actions=write")

    async def dispatch(self, workflow: str, ref: str, inputs: Mapping[str, str]) -> int:
        """Start a workflow; the id of its run, 0 when this GitHub does not tell."""
        body = {"ref": ref, "inputs": dict(inputs), "return_run_details": True}
        path = f"/actions/workflows/{_part(workflow)}/dispatches"
        found = await self._ask("POST", path, f"the dispatch of {workflow} on {ref}", needs="actions=write", body=body)
        number = mapping(found).get("workflow_run_id")
        return number if isinstance(number, int) else 0

    # -- runs

    async def runs(self, parameters: Mapping[str, str] | None = None, workflow: str = "") -> list[WorkflowRun]:
        """The newest runs, at most a hundred."""
        path = f"/actions/workflows/{_part(workflow)}/runs" if workflow else "/actions/runs"
        asked = {"per_page": "30", **(parameters or {})}
        found = await self._ask("GET", path, "the list of workflow runs", needs="actions=read", parameters=asked)
        return [run_of(each) for each in items(mapping(found).get("workflow_runs"))]

    async def open_runs(self) -> list[WorkflowRun]:
        """Every run that has not ended, whatever it waits for; newest first."""
        found: dict[int, WorkflowRun] = {}
        for status in OPEN:
            rows = await self._pages(
                "/actions/runs", "workflow_runs", "the list of workflow runs", needs="actions=read", status=status
            )
            found |= {run.id: run for run in map(run_of, rows) if not run.ended}
        return sorted(found.values(), key=lambda run: -run.id)

    async def run(self, number: int) -> WorkflowRun | None:
        """None when there is no such run."""
        what = f"the workflow run {number}"
        found = await self._ask("GET", f"/actions/runs/{number}", what, needs="actions=read", missing=True)
        return run_of(found) if found else None

    async def jobs(self, number: int) -> list[dict[str, Any]]:
        what = f"the jobs of run {number}"
        return await self._pages(f"/actions/runs/{number}/jobs", "jobs", what, needs="actions=read")

    async def cancel(self, number: int, *, force: bool = False) -> bool:
        """Ask a run to end. False when it has ended already, or will not be asked (409)."""
        path = f"/actions/runs/{number}/{'force-cancel' if force else 'cancel'}"
        try:
            await self._ask("POST", path, f"cancelling run {number}", needs="actions=write")
        except Refused as error:
            if error.answer.status != 409:
                raise
            return False
        return True

    # -- issues

    async def issue(self, number: int) -> dict[str, Any] | None:
        found = await self._ask("GET", f"/issues/{number}", f"issue #{number}", needs="issues=read", missing=True)
        return mapping(found) or None

    async def comments(self, number: int) -> list[dict[str, Any]]:
        """Oldest first."""
        return await self._pages(f"/issues/{number}/comments", "", f"the comments of #{number}", needs="issues=read")

    async def open_issues(self, label: str) -> list[dict[str, Any]]:
        """The open issues with this label, pull requests among them."""
        return await self._pages(
            "/issues", "", f"the issues with {label}", needs="issues=read", labels=label, state="open"
        )

    async def issue_events(self, number: int) -> list[dict[str, Any]]:
        return await self._pages(f"/issues/{number}/events", "", f"the events of #{number}", needs="issues=read")

    async def issues_with(self, label: str) -> list[dict[str, Any]]:
        """Open issues with this label; pull requests are left out."""
        found = await self._pages("/issues", "", "the list of issues", needs="issues=read", labels=label, state="open")
        return [issue for issue in found if "pull_request" not in issue]

    async def add_label(self, number: int, label: str) -> None:
        what = f"setting a label on #{number}"
        await self._ask("POST", f"/issues/{number}/labels", what, needs="issues=write", body={"labels": [label]})

    async def remove_label(self, number: int, label: str) -> bool:
        """False when it was not there."""
        path = f"/issues/{number}/labels/{_part(label)}"
        found = await self._ask("DELETE", path, f"removing a label of #{number}", needs="issues=write", missing=True)
        return found is not None

    async def comment(self, number: int, body: str) -> str:
        """The comment's address."""
        what = f"a comment on #{number}"
        found = await self._ask("POST", f"/issues/{number}/comments", what, needs="issues=write", body={"body": body})
        return text(mapping(found).get("html_url"))

    async def create_issue(self, title: str, body: str) -> tuple[int, str]:
        """Number and address."""
        sent = {"title": title, "body": body}
        found = mapping(await self._ask("POST", "/issues", "a new issue", needs="issues=write", body=sent))
        return int(found["number"]), text(found.get("html_url"))

    async def recent_issues(self) -> list[dict[str, Any]]:
        """The thirty newest, open and closed."""
        asked = {"state": "all", "per_page": "30", "sort": "created", "direction": "desc"}
        return items(await self._ask("GET", "/issues", "the list of issues", needs="issues=read", parameters=asked))

    # -- files, branches

    async def file(self, path: str, ref: str = "") -> tuple[str, str] | None:
        """Text and sha of a file; None when it is not there."""
        asked = {"ref": ref} if ref else None
        what = f"the file {path}" + (f" at {ref}" if ref else "")
        found = await self._ask(
            "GET", f"/contents/{quote(path)}", what, needs="contents=read", parameters=asked, missing=True
        )
        try:
            return base64.b64decode(found["content"]).decode("utf-8", "replace"), str(found["sha"])
        except (TypeError, KeyError, binascii.Error):
            return None

    async def commits_of(self, path: str) -> list[dict[str, Any]]:
        """Those that changed the file on the default branch, newest first, thirty at most."""
        asked = {"path": path, "per_page": "30"}
        what = f"the history of {path}"
        return items(await self._ask("GET", "/commits", what, needs="contents=read", parameters=asked))

    async def head(self, branch: str) -> str:
        """The sha at the end of a branch; empty when there is none."""
        path = f"/git/ref/heads/{quote(branch)}"
        found = await self._ask("GET", path, f"the branch {branch}", needs="contents=read", missing=True)
        return text(mapping(mapping(found).get("object")).get("sha"))

    async def create_branch(self, branch: str, sha: str) -> None:
        body = {"ref": f"refs/heads/{branch}", "sha": sha}
        await self._ask("POST", "/git/refs", f"the new branch {branch}", needs="contents=write", body=body)

    async def write_file(self, path: str, content: str, sha: str, branch: str, message: str) -> None:
        encoded = base64.b64encode(content.encode()).decode()
        body = {"message": message, "content": encoded, "sha": sha, "branch": branch}
        await self._ask(
            "PUT", f"/contents/{quote(path)}", f"writing {path} on {branch}", needs="contents=write", body=body
        )

    async def pull_of(self, branch: str) -> PullRequest | None:
        """The pull request that comes from a branch: the open one, else the newest."""
        asked = {"state": "all", "head": f"{self.repository.partition('/')[0]}:{branch}"}
        found = items(
            await self._ask("GET", "/pulls", "the list of pull requests", needs="pull_requests=read", parameters=asked)
        )
        pulls = [PullRequest.of(each) for each in found]
        return next((pull for pull in pulls if pull.state == "open"), pulls[0] if pulls else None)

    async def open_pull(self, branch: str, title: str, body: str) -> PullRequest:
        sent = {"title": title, "head": branch, "base": await self.default_branch(), "body": body}
        return PullRequest.of(
            await self._ask("POST", "/pulls", "a pull request", needs="pull_requests=write", body=sent)
        )

    # -- switches, secrets

    async def switch(self) -> dict[str, Any]:
        """Whether Actions are enabled in the repository, and which actions are allowed."""
        what = "the Actions switch of the repository"
        return mapping(await self._ask("GET", "/actions/permissions", what, needs="administration=read"))

    async def set_switch(self, body: Mapping[str, Any]) -> None:
        what = "setting the Actions switch of the repository"
        await self._ask("PUT", "/actions/permissions", what, needs="administration=write", body=body)

    async def secret_names(self) -> list[str]:
        """Names only: GitHub tells nobody the values."""
        found = await self._pages("/actions/secrets", "secrets", "the names of the secrets", needs="secrets=read")
        return [text(each.get("name")) for each in found]

    # -- how it is asked

    async def _ask(
        self,
        verb: str,
        path: str,
        what: str,
        *,
        needs: str,
        parameters: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        missing: bool = False,
    ) -> Any:
        answer = await self.api(verb, path, parameters, body)
        if missing and answer.status == 404:
            return None
        if not answer.ok:
            raise Refused(answer.refusal(what, needs), answer)
        return answer.data

    async def _pages(
        self, path: str, wrapped_in: str, what: str, *, needs: str, **parameters: str
    ) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for page in range(1, PAGES + 1):
            asked = {**parameters, "per_page": "100", "page": str(page)}
            data = await self._ask("GET", path, what, needs=needs, parameters=asked)
            rows = items(mapping(data).get(wrapped_in) if wrapped_in else data)
            found += [row for row in rows if isinstance(row, dict)]
            if len(rows) < 100:
                break
        return found


def _part(name: str | int) -> str:
    """A name as one part of an address, whatever stands in it: labels come from a file, workflows from people."""
    return quote(str(name), safe="")


def listed(names: Iterable[str], most: int = 8) -> str:
    """``a, b and 3 more``."""
    shown = [brief(name, 80) for name in names]
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if len(shown) > most else "")
