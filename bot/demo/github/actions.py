"""Workflows of the local GitHub: dispatch with GitHub's checks of the inputs; runs that queue, work and conclude."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from aiohttp import web

from bot.demo.github.answers import Refusal, body_of, not_found, page, reply
from bot.demo.github.gate import CREDENTIAL
from bot.demo.github.issues import repository_of
from bot.demo.github.shapes import Shapes, iso
from bot.demo.github.state import Repository, Workflow, WorkflowRun, World


class Actions:
    """The handlers; ``routes`` gives them to aiohttp."""

    def __init__(self, world: World, shapes: Shapes) -> None:
        self._world = world
        self._shapes = shapes

    def routes(self) -> list[web.RouteDef]:
        actions = "/repos/{owner}/{repo}/actions"
        workflow = actions + "/workflows/{workflow_id}"
        run = actions + "/runs/{run_id}"
        return [
            web.get(actions + "/workflows", self.list_workflows),
            web.get(workflow, self.get_workflow),
            web.post(workflow + "/dispatches", self.dispatch),
            web.get(workflow + "/runs", self.list_runs),
            web.put(workflow + "/disable", self.disable),
            web.put(workflow + "/enable", self.enable),
            web.get(actions + "/runs", self.list_runs),
            web.get(run, self.get_run),
            web.get(run + "/jobs", self.list_jobs),
            web.post(run + "/cancel", self.cancel),
            web.post(run + "/force-cancel", self.force_cancel),
            web.get(actions + "/permissions", self.get_permissions),
            web.put(actions + "/permissions", self.set_permissions),
            web.get(actions + "/secrets", self.list_secrets),
        ]

    async def list_workflows(self, request: web.Request) -> web.Response:
        repository = repository_of(request, self._world)
        rows = list(repository.workflows.values())
        return page(request, rows, lambda workflow: self._shapes.workflow(repository, workflow), "workflows")

    async def get_workflow(self, request: web.Request) -> web.Response:
        repository, workflow = self._workflow(request)
        return reply(self._shapes.workflow(repository, workflow))

    async def dispatch(self, request: web.Request) -> web.Response:
        repository, workflow = self._workflow(request)
        data = await body_of(request)
        reference = data.get("ref")
        if not isinstance(reference, str):
            raise Refusal(422, 'Invalid request.\n\n"ref" wasn\'t supplied.')
        branch = reference.removeprefix("refs/heads/")
        if branch != repository.default_branch:
            raise Refusal(422, f"No ref found for: {reference}")
        if not repository.actions_enabled:
            raise Refusal(422, "Actions has been disabled for this repository.")
        if workflow.state != "active":
            raise Refusal(422, "Cannot trigger a 'workflow_dispatch' on a disabled workflow")
        if workflow.inputs is None:
            raise Refusal(422, "Workflow does not have 'workflow_dispatch' trigger")
        inputs = _checked(workflow.inputs, data.get("inputs") or {})
        run = self._world.start_run(workflow, "workflow_dispatch", branch, request[CREDENTIAL].user, inputs)
        if data.get("return_run_details") is not True:
            return web.Response(status=204)
        shown = self._shapes.run(repository, run, self._world.now())
        return reply({"workflow_run_id": run.id, "run_url": shown["url"], "html_url": shown["html_url"]})

    async def list_runs(self, request: web.Request) -> web.Response:
        repository = repository_of(request, self._world)
        now = self._world.now()
        rows = list(repository.runs.values())
        if "workflow_id" in request.match_info:
            _, workflow = self._workflow(request)
            rows = [run for run in rows if run.workflow is workflow]
        query = request.query
        if "status" in query:
            rows = [run for run in rows if query["status"] in run.at(now)]
        for name in ("event", "branch"):
            if name in query:
                rows = [run for run in rows if getattr(run, name) == query[name]]
        if "actor" in query:
            rows = [run for run in rows if run.actor.login.casefold() == query["actor"].casefold()]
        rows.reverse()
        return page(request, rows, lambda run: self._shapes.run(repository, run, now), "workflow_runs")

    async def get_run(self, request: web.Request) -> web.Response:
        repository, run = self._run(request)
        return reply(self._shapes.run(repository, run, self._world.now()))

    async def cancel(self, request: web.Request) -> web.Response:
        _, run = self._run(request)
        now = self._world.now()
        if run.at(now)[0] == "completed":
            raise Refusal(409, "Cannot cancel a workflow run that is completed.")
        run.cancelled_at = now
        if run.workflow.obeys:
            run.ended_at, run.conclusion = now, "cancelled"
        return reply({}, 202)

    async def force_cancel(self, request: web.Request) -> web.Response:
        _, run = self._run(request)
        now = self._world.now()
        if run.at(now)[0] == "completed":
            raise Refusal(409, "Cannot cancel a workflow run that is completed.")
        run.ended_at, run.conclusion = now, "cancelled"
        return reply({}, 202)

    async def list_jobs(self, request: web.Request) -> web.Response:
        repository, run = self._run(request)
        now = self._world.now()
        rows = list(enumerate(run.workflow.jobs))
        return page(request, rows, lambda row: self._shapes.job(repository, run, row[0], row[1], now), "jobs")

    async def get_permissions(self, request: web.Request) -> web.Response:
        repository = self._administered(request)
        shown: dict[str, Any] = {"enabled": repository.actions_enabled}
        if repository.actions_enabled:
            shown["allowed_actions"] = repository.allowed_actions
        return reply(shown)

    async def set_permissions(self, request: web.Request) -> web.Response:
        repository = self._administered(request)
        data = await body_of(request)
        if not isinstance(data.get("enabled"), bool):
            raise Refusal(422, 'Invalid request.\n\n"enabled" wasn\'t supplied.')
        repository.actions_enabled = data["enabled"]
        repository.allowed_actions = str(data.get("allowed_actions", repository.allowed_actions))
        return web.Response(status=204)

    async def list_secrets(self, request: web.Request) -> web.Response:
        repository = repository_of(request, self._world)

        def shape(row: tuple[str, datetime]) -> dict[str, Any]:
            return {"name": row[0], "created_at": iso(row[1]), "updated_at": iso(row[1])}

        return page(request, list(repository.secrets.items()), shape, "secrets")

    def _administered(self, request: web.Request) -> Repository:
        """The repository, for those who administer it."""
        repository = repository_of(request, self._world)
        credential = request[CREDENTIAL]
        if not credential.installation and repository.permission(credential.user.login) != "admin":
            raise Refusal(403, "Must have admin rights to Repository.")
        return repository

    async def disable(self, request: web.Request) -> web.Response:
        self._workflow(request)[1].state = "disabled_manually"
        return web.Response(status=204)

    async def enable(self, request: web.Request) -> web.Response:
        self._workflow(request)[1].state = "active"
        return web.Response(status=204)

    def _workflow(self, request: web.Request) -> tuple[Repository, Workflow]:
        repository = repository_of(request, self._world)
        workflow = repository.workflow(request.match_info["workflow_id"])
        if workflow is None:
            raise not_found()
        return repository, workflow

    def _run(self, request: web.Request) -> tuple[Repository, WorkflowRun]:
        repository = repository_of(request, self._world)
        for run in repository.runs.values():
            if str(run.id) == request.match_info["run_id"]:
                return repository, run
        raise not_found()


def _checked(declared: Mapping[str, Mapping[str, Any]], given: Any) -> dict[str, str]:
    """The inputs of the run, or the refusal in GitHub's words."""
    if not isinstance(given, dict):
        raise Refusal(422, f"Invalid request.\n\nFor 'properties/inputs', {json.dumps(given)} is not an object.")
    unexpected = [name for name in given if name not in declared]
    if unexpected:
        raise Refusal(422, f"Unexpected inputs provided: {json.dumps(unexpected)}")
    inputs: dict[str, str] = {}
    for name, spec in declared.items():
        value = given.get(name, spec.get("default"))
        if value is None or value == "":
            if spec.get("required"):
                raise Refusal(422, f"Required input '{name}' not provided")
            continue
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if spec.get("type") == "boolean" and text not in ("true", "false"):
            raise Refusal(422, f"Provided value '{text}' for input '{name}' not a valid boolean")
        if spec.get("type") == "choice" and text not in [str(option) for option in spec.get("options", [])]:
            raise Refusal(422, f"Provided value '{text}' for input '{name}' not in the list of allowed values")
        inputs[name] = text
    return inputs
