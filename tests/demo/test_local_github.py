"""The local GitHub against GitHub's own words: errors, pages, ETags, limits, workflows, and a judge that can say no."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from multidict import CIMultiDict, CIMultiDictProxy

from bot.clock import ManualClock
from bot.demo.github import Job, LocalGitHub
from bot.demo.github.gate import Exchange
from tests.surfaces.github_openapi import complaints

WORKFLOW = """
name: Pipeline
on:
  workflow_dispatch:
    inputs:
      project_id:
        required: true
      stage:
        type: choice
        options: [intake, build]
        default: intake
      force:
        type: boolean
        default: false
"""
BASE = "/repos/acme/somas"


class Api:
    """Requests with a token, as any client sends them."""

    def __init__(self, github: LocalGitHub, session: aiohttp.ClientSession) -> None:
        self.github = github
        self.session = session
        self.token = github.token
        self.headers: CIMultiDictProxy[str] = CIMultiDictProxy(CIMultiDict())

    async def __call__(
        self, method: str, path: str, body: object = None, status: int = 200, headers: dict[str, str] | None = None
    ) -> Any:
        sent = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        async with self.session.request(
            method, self.github.api_url + path, json=body, headers=sent | (headers or {})
        ) as response:
            self.headers = response.headers
            answer = await response.json() if response.content_type == "application/json" else await response.text()
            assert response.status == status, answer
            return answer


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def github(clock: ManualClock) -> AsyncIterator[LocalGitHub]:
    async with LocalGitHub(clock=clock) as local:
        local.issue("Project 42", number=42)
        yield local
    assert [problem for exchange in local.exchanges for problem in complaints(exchange)] == []


@pytest.fixture
async def api(github: LocalGitHub) -> AsyncIterator[Api]:
    async with aiohttp.ClientSession() as session:
        yield Api(github, session)


async def test_every_operation_answers_as_github_describes_it(api: Api, github: LocalGitHub) -> None:
    github.add_workflow("pipeline.yml", WORKFLOW)
    await api("GET", "/user")
    await api("GET", "/users/acme")
    await api("GET", "/rate_limit")
    await api("GET", BASE)
    await api("GET", BASE + "/collaborators/acme/permission")
    issue = await api("POST", BASE + "/issues", {"title": "New", "body": "text", "labels": ["bug"]}, 201)
    await api("GET", BASE + "/issues?state=all&labels=bug&sort=updated&direction=asc&since=2020-01-01T00:00:00Z")
    await api("GET", f"{BASE}/issues/{issue['number']}")
    await api("PATCH", f"{BASE}/issues/{issue['number']}", {"state": "closed", "labels": []})
    comment = await api("POST", BASE + "/issues/42/comments", {"body": "hello"}, 201)
    one = f"{BASE}/issues/comments/{comment['id']}"
    await api("GET", BASE + "/issues/42/comments?per_page=10")
    await api("GET", BASE + "/issues/comments?sort=updated&direction=desc")
    await api("GET", one)
    await api("PATCH", one, {"body": "changed"})
    reaction = await api("POST", one + "/reactions", {"content": "eyes"}, 201)
    assert await api("POST", one + "/reactions", {"content": "eyes"}) == reaction
    await api("GET", one + "/reactions")
    await api("DELETE", f"{one}/reactions/{reaction['id']}", status=204)
    await api("DELETE", one, status=204)
    await api("POST", BASE + "/labels", {"name": "somas:needs-attention", "color": "d73a4a"}, 201)
    await api("GET", BASE + "/labels")
    await api("POST", BASE + "/issues/42/labels", {"labels": ["somas:needs-attention", "x"]})
    await api("GET", BASE + "/issues/42/labels")
    await api("PUT", BASE + "/issues/42/labels", {"labels": ["x"]})
    assert await api("DELETE", BASE + "/issues/42/labels/x") == []
    await api("GET", BASE + "/actions/workflows")
    await api("GET", BASE + "/actions/workflows/pipeline.yml")
    dispatch = BASE + "/actions/workflows/pipeline.yml/dispatches"
    await api("POST", dispatch, {"ref": "main", "inputs": {"project_id": "1"}}, 204)
    asked = {"ref": "main", "inputs": {"project_id": "2"}, "return_run_details": True}
    run = await api("POST", dispatch, asked)
    await api("GET", f"{BASE}/actions/runs/{run['workflow_run_id']}")
    await api("GET", BASE + "/actions/runs?event=workflow_dispatch&branch=main&status=queued")
    await api("GET", BASE + "/actions/workflows/pipeline.yml/runs")
    await api("POST", f"{BASE}/actions/runs/{run['workflow_run_id']}/cancel", status=202)
    await api("PUT", BASE + "/actions/workflows/pipeline.yml/disable", status=204)
    await api("PUT", BASE + "/actions/workflows/pipeline.yml/enable", status=204)
    await api("GET", BASE + "/contents/.github/workflows/pipeline.yml")
    github.add_hook("http://127.0.0.1:1/nobody", "s")
    await github.settled()
    [hook] = await api("GET", BASE + "/hooks")
    [delivery] = await api("GET", f"{BASE}/hooks/{hook['id']}/deliveries")
    assert delivery["status_code"] == 502
    await api("POST", f"{BASE}/hooks/{hook['id']}/deliveries/{delivery['id']}/attempts", status=202)
    await github.settled()
    again = await api("GET", f"{BASE}/hooks/{hook['id']}/deliveries")
    assert [entry["guid"] for entry in again] == [delivery["guid"]] * 2
    github.read(42)


async def test_an_app_sees_the_deliveries_of_its_own_webhook_with_its_own_key(api: Api, github: LocalGitHub) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    app = github.install_app("opsbot-app", public.decode())
    github.add_app_hook("http://127.0.0.1:1/nobody", "s")
    await github.settled()
    now = int(time.time())
    signed = jwt.encode({"iss": str(app.id), "iat": now - 10, "exp": now + 500}, key, algorithm="RS256")
    async with aiohttp.ClientSession(github.api_url) as session:
        async with session.get("/app/hook/deliveries", headers={"Authorization": f"Bearer {github.token}"}) as refused:
            assert refused.status == 401
        own = {"Authorization": f"Bearer {signed}"}
        async with session.get("/app/hook/deliveries?per_page=5", headers=own) as answer:
            [ping] = await answer.json()
        assert (ping["event"], ping["status_code"]) == ("ping", 502)
        async with session.post(f"/app/hook/deliveries/{ping['id']}/attempts", headers=own) as answer:
            assert answer.status == 202
        await github.settled()
        async with session.get("/app/hook/deliveries?per_page=1", headers=own) as answer:
            assert [each["guid"] for each in await answer.json()] == [ping["guid"]]
            assert 'rel="next"' in answer.headers["Link"]
    assert await api("GET", BASE + "/hooks") == []  # it is not one of the repository


async def test_five_hundred_writes_an_hour(api: Api, github: LocalGitHub, clock: ManualClock) -> None:
    comment = github.comment("alice", 42, "hello")
    for written in range(500):
        if written % 80 == 0:
            await clock.advance(60)
        await api("POST", f"{BASE}/issues/comments/{comment}/reactions", {"content": "eyes"}, 200 if written else 201)
    await clock.advance(60)
    refused = await api("POST", f"{BASE}/issues/comments/{comment}/reactions", {"content": "eyes"}, 403)
    assert "secondary rate limit" in refused["message"]
    await clock.advance(3600)
    await api("POST", f"{BASE}/issues/comments/{comment}/reactions", {"content": "eyes"})


async def test_the_judge_says_no(api: Api, github: LocalGitHub) -> None:
    await api("POST", BASE + "/issues/42/comments", {"body": "hello"}, 201)
    await api("GET", BASE + "/issues/comments?sort=updated")
    posted, listed = github.exchanges
    assert complaints(posted) == complaints(listed) == []

    def broken(exchange: Exchange, **changes: Any) -> list[str]:
        return complaints(dataclasses.replace(exchange, **changes))

    assert broken(posted, request={}) != []
    assert broken(posted, request={"body": 1}) != []
    assert broken(posted, request={"body": "x", "text": "y"}) != []
    assert broken(posted, request=None) != []
    assert broken(posted, status=200) != []
    assert broken(posted, route="/repos/{owner}/{repo}/nothing") != []
    assert broken(listed, query={"sort": "name"}) != []
    assert broken(listed, query={"order": "asc"}) != []
    assert broken(listed, query={"per_page": "100", "page": "2"}) == []
    for field, value in (("id", "7"), ("user", "alice"), ("created_at", 5), ("html_url", None), ("reactions", {})):
        wrong = copy.deepcopy(posted.response)
        wrong[field] = value
        assert broken(posted, response=wrong) != [], field
        del wrong[field]
        if field != "reactions":
            assert broken(posted, response=wrong) != [], field


async def test_credentials(api: Api) -> None:
    api.token = "ghp_wrong"
    answer = await api("GET", BASE, status=401)
    assert answer["message"] == "Bad credentials"
    api.token = ""
    assert (await api("GET", BASE, status=401))["message"] == "Requires authentication"


async def test_a_token_may_only_what_it_was_given(api: Api, github: LocalGitHub) -> None:
    api.token = github.token_of("opsbot", {"metadata": "read", "issues": "read"})
    await api("GET", BASE + "/issues/42")
    await api("POST", BASE + "/issues/42/comments", {"body": "x"}, 403)
    assert api.headers["X-Accepted-GitHub-Permissions"] == "issues=write"
    await api("GET", BASE + "/actions/runs", status=403)


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/nothing", 404, "Not Found"),
        ("/repos/acme/other", 404, "Not Found"),
        (BASE + "/issues/7", 404, "Not Found"),
        (BASE + "/issues/٤٢", 404, "Not Found"),
        (BASE + "/issues/comments/1", 404, "Not Found"),
        (BASE + "/issues/comments?since=yesterday", 422, "Validation Failed"),
        (BASE + "/collaborators/nobody/permission", 404, "nobody is not a user"),
        (BASE + "/contents/README.md", 404, "Not Found"),
    ],
)
async def test_errors_are_worded_as_github_words_them(api: Api, path: str, status: int, message: str) -> None:
    async with api.session.get(api.github.api_url + path, headers={"Authorization": f"token {api.token}"}) as response:
        answer = await response.json()
    assert (response.status, answer["message"], answer["status"]) == (status, message, str(status))
    assert answer["documentation_url"].startswith("https://docs.github.com/")
    api.github._gate.exchanges.clear()  # requests that no description knows


@pytest.mark.parametrize("body", [{}, {"body": ""}, {"body": 5}, {"body": "x" * 65_537}, [], "text"])
async def test_comments_that_github_refuses(api: Api, body: object) -> None:
    await api("POST", BASE + "/issues/42/comments", body, 400 if not isinstance(body, dict) else 422)


async def test_pages_and_their_links(api: Api, github: LocalGitHub) -> None:
    for n in range(7):
        github.comment("alice", 42, str(n))
    path = BASE + "/issues/42/comments?per_page=3"
    assert [c["body"] for c in await api("GET", path + "&page=2")] == ["3", "4", "5"]
    relations = {part.split(";")[1].strip() for part in api.headers["Link"].split(", ")}
    assert relations == {'rel="prev"', 'rel="next"', 'rel="last"', 'rel="first"'}
    assert "&page=3>" in api.headers["Link"].replace("?page", "&page")
    assert [c["body"] for c in await api("GET", path + "&page=3")] == ["6"]
    assert await api("GET", path + "&page=9") == []
    assert len(await api("GET", BASE + "/issues/42/comments?per_page=1000")) == 7


async def test_since_and_order(api: Api, github: LocalGitHub, clock: ManualClock) -> None:
    first = github.comment("alice", 42, "first")
    await clock.advance(60)
    github.comment("alice", 42, "second")
    await clock.advance(60)
    github.edit("alice", first, "first, edited")
    path = BASE + "/issues/comments?since=2026-11-22T12:01:00Z"
    assert [c["body"] for c in await api("GET", path)] == ["first, edited", "second"]
    assert [c["body"] for c in await api("GET", path + "&direction=desc")] == ["first, edited", "second"]
    assert [c["body"] for c in await api("GET", path + "&sort=updated")] == ["second", "first, edited"]
    assert [c["body"] for c in await api("GET", path + "&sort=updated&direction=desc")] == ["first, edited", "second"]


async def test_an_unchanged_list_is_not_sent_again_and_costs_nothing(api: Api, github: LocalGitHub) -> None:
    await api("GET", BASE + "/issues/42/comments")
    tag, left = api.headers["ETag"], api.headers["X-RateLimit-Remaining"]
    for _ in range(2):
        await api("GET", BASE + "/issues/42/comments", status=304, headers={"If-None-Match": tag})
        assert api.headers["X-RateLimit-Remaining"] == left
    github.comment("alice", 42, "new")
    assert len(await api("GET", BASE + "/issues/42/comments", headers={"If-None-Match": tag})) == 1


async def test_eighty_writes_a_minute(api: Api, github: LocalGitHub, clock: ManualClock) -> None:
    for n in range(80):
        await api("POST", BASE + "/issues/42/comments", {"body": str(n)}, 201)
    answer = await api("POST", BASE + "/issues/42/comments", {"body": "81"}, 403)
    assert "secondary rate limit" in answer["message"]
    assert api.headers["Retry-After"] == "60"
    await clock.advance(60)
    await api("POST", BASE + "/issues/42/comments", {"body": "81"}, 201)


DISPATCHES: dict[str, tuple[dict[str, Any], str]] = {
    "no ref": ({"inputs": {"project_id": "1"}}, 'Invalid request.\n\n"ref" wasn\'t supplied.'),
    "unknown ref": ({"ref": "nope", "inputs": {"project_id": "1"}}, "No ref found for: nope"),
    "missing": ({"ref": "main"}, "Required input 'project_id' not provided"),
    "unexpected": (
        {"ref": "main", "inputs": {"project_id": "1", "agent": "x"}},
        'Unexpected inputs provided: ["agent"]',
    ),
    "not a choice": (
        {"ref": "main", "inputs": {"project_id": "1", "stage": "deploy"}},
        "Provided value 'deploy' for input 'stage' not in the list of allowed values",
    ),
}


@pytest.mark.parametrize("why", DISPATCHES)
async def test_a_dispatch_is_refused_in_github_s_words(api: Api, github: LocalGitHub, why: str) -> None:
    github.add_workflow("pipeline.yml", WORKFLOW)
    body, message = DISPATCHES[why]
    answer = await api("POST", BASE + "/actions/workflows/pipeline.yml/dispatches", body, 422)
    assert answer["message"] == message
    assert github.runs() == []


async def test_workflows_that_cannot_be_dispatched(api: Api, github: LocalGitHub) -> None:
    github.add_workflow("push.yml", "on: push")
    body = {"ref": "main"}
    answer = await api("POST", BASE + "/actions/workflows/push.yml/dispatches", body, 422)
    assert answer["message"] == "Workflow does not have 'workflow_dispatch' trigger"
    await api("POST", BASE + "/actions/workflows/missing.yml/dispatches", body, 404)


async def test_a_run_queues_works_and_ends(api: Api, github: LocalGitHub, clock: ManualClock) -> None:
    github.add_workflow("pipeline.yml", WORKFLOW, queue_seconds=5, run_seconds=60, conclusion="failure")
    body = {"ref": "main", "inputs": {"project_id": "42", "force": True}}
    await api("POST", BASE + "/actions/workflows/pipeline.yml/dispatches", body, 204)
    [run] = github.runs("pipeline.yml")
    assert run.inputs == {"project_id": "42", "stage": "intake", "force": "true"}

    async def state() -> tuple[str, str | None]:
        shown = await api("GET", f"{BASE}/actions/runs/{run.id}")
        return shown["status"], shown["conclusion"]

    assert await state() == ("queued", None)
    await clock.advance(5)
    assert await state() == ("in_progress", None)
    await clock.advance(60)
    assert await state() == ("completed", "failure")
    answer = await api("POST", f"{BASE}/actions/runs/{run.id}/cancel", status=409)
    assert answer["message"] == "Cannot cancel a workflow run that is completed."


async def test_a_run_is_cancelled(api: Api, github: LocalGitHub) -> None:
    github.add_workflow("pipeline.yml", WORKFLOW)
    body = {"ref": "main", "inputs": {"project_id": "42"}}
    await api("POST", BASE + "/actions/workflows/pipeline.yml/dispatches", body, 204)
    [run] = github.runs()
    await api("POST", f"{BASE}/actions/runs/{run.id}/cancel", status=202)
    shown = await api("GET", f"{BASE}/actions/runs/{run.id}")
    assert (shown["status"], shown["conclusion"]) == ("completed", "cancelled")


async def test_it_listens_on_this_machine_only(github: LocalGitHub) -> None:
    assert github.api_url.startswith("http://127.0.0.1:")


PLACES = {"metadata": "read", "issues": "write", "actions": "write", "contents": "write", "pull_requests": "write"}


async def test_files_branches_and_pull_requests(api: Api, github: LocalGitHub) -> None:
    api.token = github.token_of("opsbot", PLACES)
    first = github.commit("config.yml", "a: 1\n", "One")
    github.commit("config.yml", "a: 2\n", "Two")
    github.commit("other.txt", "x", "Three")
    assert [each["commit"]["message"] for each in await api("GET", f"{BASE}/commits?path=config.yml")] == ["Two", "One"]
    old = await api("GET", f"{BASE}/contents/config.yml?ref={first}")
    now = await api("GET", f"{BASE}/contents/config.yml")
    assert old["sha"] != now["sha"]
    head = (await api("GET", f"{BASE}/git/ref/heads/main"))["object"]["sha"]
    await api("POST", f"{BASE}/git/refs", {"ref": "refs/heads/back", "sha": head}, 201)
    await api("POST", f"{BASE}/git/refs", {"ref": "refs/heads/back", "sha": head}, 422)
    body = {"message": "Back", "content": old["content"].strip(), "branch": "back"}
    await api("PUT", f"{BASE}/contents/config.yml", {**body, "sha": now["sha"]})
    assert (github.file("config.yml", "back"), github.file("config.yml")) == ("a: 1\n", "a: 2\n")
    pull = {"title": "Back", "head": "back", "base": "main"}
    number = (await api("POST", f"{BASE}/pulls", pull, 201))["number"]
    assert number == 43  # issues and pull requests share their numbers
    await api("POST", f"{BASE}/pulls", pull, 422)
    assert [each["number"] for each in await api("GET", f"{BASE}/pulls?head=acme:back")] == [43]
    await api("GET", f"{BASE}/contents/nothing.yml", status=404)


async def test_a_label_starts_what_listens_to_it_and_is_remembered(api: Api, github: LocalGitHub) -> None:
    github.add_workflow("on-label.yml", "on:\n  issues:\n    types: [labeled]\n")
    github.add_workflow("on-open.yml", "on:\n  issues:\n    types: [opened]\n")
    await api("POST", f"{BASE}/issues/42/labels", {"labels": ["bug"]})
    await api("DELETE", f"{BASE}/issues/42/labels/bug")
    assert [each["event"] for each in await api("GET", f"{BASE}/issues/42/events")] == ["labeled", "unlabeled"]
    assert [run.workflow.file for run in github.runs()] == ["on-label.yml"]


async def test_jobs_tell_the_step_and_only_force_ends_a_stubborn_run(
    api: Api, github: LocalGitHub, clock: ManualClock
) -> None:
    job = Job("tests", ("Set up", "Run", "Upload"), "Run")
    github.add_workflow("a.yml", "on: push\n", jobs=(job,), conclusion="failure", run_seconds=1e6, obeys=False)
    run = github.start_run("a.yml")
    await api("POST", f"{BASE}/actions/runs/{run.id}/cancel", status=202)
    await clock.advance(30)
    assert (await api("GET", f"{BASE}/actions/runs/{run.id}"))["status"] == "in_progress"
    github.end_run(run, "failure")
    (shown,) = (await api("GET", f"{BASE}/actions/runs/{run.id}/jobs"))["jobs"]
    assert [(step["name"], step["conclusion"]) for step in shown["steps"]] == [
        ("Set up", "success"),
        ("Run", "failure"),
        ("Upload", "skipped"),
    ]
    await api("POST", f"{BASE}/actions/runs/{run.id}/force-cancel", status=409)
    other = github.start_run("a.yml")
    await api("POST", f"{BASE}/actions/runs/{other.id}/force-cancel", status=202)
    assert other.at(clock.now()) == ("completed", "cancelled")


async def test_the_switch_is_for_administrators_and_secrets_tell_names(api: Api, github: LocalGitHub) -> None:
    await api("GET", f"{BASE}/actions/permissions", status=403)
    assert api.headers["X-Accepted-GitHub-Permissions"] == "administration=read"
    await api("GET", f"{BASE}/actions/secrets", status=403)
    api.token = github.token_of("opsbot", PLACES | {"administration": "write", "secrets": "read"})
    assert (await api("GET", f"{BASE}/actions/permissions", status=403))["message"].startswith("Must have admin")
    github.set_role("opsbot", "admin")
    github.add_workflow("pipeline.yml", WORKFLOW)
    await api("PUT", f"{BASE}/actions/permissions", {"enabled": False}, 204)
    assert await api("GET", f"{BASE}/actions/permissions") == {"enabled": False}
    body = {"ref": "main", "inputs": {"project_id": "project-42"}}
    await api("POST", f"{BASE}/actions/workflows/pipeline.yml/dispatches", body, 422)
    github.add_secret("OPENAI_API_KEY")
    assert [each["name"] for each in (await api("GET", f"{BASE}/actions/secrets"))["secrets"]] == ["OPENAI_API_KEY"]
