"""Webhook payloads, judged by models that others made of GitHub's description: the examples that the other tests use,
and everything that the local GitHub sends.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from githubkit.webhooks import parse
from pydantic import ValidationError

from bot.clock import ManualClock
from bot.demo.github import LocalGitHub
from bot.demo.github.gate import Exchange
from tests.surfaces.github_openapi import complaints

EXAMPLES: dict[str, Any] = json.loads(
    Path(__file__).with_name("github_webhook_examples.json").read_text(encoding="utf-8")
)
WORKFLOW = "name: Pipeline\non:\n  workflow_dispatch:\n"


@pytest.mark.parametrize(
    ("event", "number"),
    [(event, number) for event in EXAMPLES if event != "x-source" for number in range(len(EXAMPLES[event]))],
)
def test_the_examples_are_what_github_sends_today(event: str, number: int) -> None:
    parse(event, json.dumps(EXAMPLES[event][number]))


async def sent_by_the_local_github() -> list[tuple[str, str | None, bytes]]:
    """One delivery of everything that it sends."""
    clock = ManualClock()
    async with LocalGitHub(clock=clock) as github:
        github.add_hook("http://127.0.0.1:1/nobody", "s3cret")
        github.add_workflow("pipeline.yml", WORKFLOW)
        github.issue("Project 42 is stuck", number=42, by="alice", body="/somas status project-42")
        comment = github.comment("alice", 42, "/somas status")
        github.edit("alice", comment, "/somas status project-42")
        github.delete("alice", comment)
        headers = {"Authorization": f"Bearer {github.token}"}
        async with aiohttp.ClientSession(github.api_url, headers=headers) as session:
            repository = "/repos/acme/somas"
            for number in range(2):
                async with session.post(
                    f"{repository}/actions/workflows/pipeline.yml/dispatches", json={"ref": "main"}
                ) as answer:
                    assert answer.status == 204, number
            async with session.post(f"{repository}/issues/42/labels", json={"labels": ["on fire"]}) as answer:
                assert answer.status == 200
            async with session.delete(f"{repository}/issues/42/labels/on%20fire") as answer:
                assert answer.status == 200
        await clock.advance(3)
        async with (
            aiohttp.ClientSession(github.api_url, headers=headers) as session,
            session.post(f"{repository}/actions/runs/{github.runs()[0].id}/cancel") as answer,
        ):
            assert answer.status == 202
        await clock.advance(30)
        deliveries = await github.settled()
        return [(delivery.event, delivery.action, delivery.body) for delivery in deliveries]


async def test_what_the_local_github_sends_is_what_github_sends() -> None:
    sent = await sent_by_the_local_github()
    for event, _, body in sent:
        parse(event, body)
    told = [(event, action) for event, action, _ in sent]
    assert sorted(set(told), key=str) == sorted(
        [
            ("ping", None),
            ("issues", "opened"),
            ("issues", "labeled"),
            ("issues", "unlabeled"),
            ("issue_comment", "created"),
            ("issue_comment", "edited"),
            ("issue_comment", "deleted"),
            ("workflow_run", "requested"),
            ("workflow_run", "in_progress"),
            ("workflow_run", "completed"),
        ],
        key=str,
    )
    runs = [json.loads(body) for event, _, body in sent if event == "workflow_run"]
    first = runs[0]["workflow_run"]["id"]
    by_run = [
        (each["action"], each["workflow_run"]["conclusion"]) for each in runs if each["workflow_run"]["id"] == first
    ]
    assert by_run == [("requested", None), ("in_progress", None), ("completed", "cancelled")]
    others = [each["action"] for each in runs if each["workflow_run"]["id"] != first]
    assert others == ["requested", "in_progress", "completed"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda payload: payload.pop("comment"),
        lambda payload: payload["comment"].update(id="one"),
        lambda payload: payload["comment"]["user"].pop("login"),
        lambda payload: payload["issue"].update(number=None),
        lambda payload: payload.update(action="shouted"),
        lambda payload: payload["repository"].pop("full_name"),
    ],
)
def test_a_payload_that_is_wrong_is_refused(spoil: Callable[[dict[str, Any]], Any]) -> None:
    payload = json.loads(json.dumps(EXAMPLES["issue_comment"][0]))
    spoil(payload)
    with pytest.raises(ValidationError):
        parse("issue_comment", json.dumps(payload))


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("mutation { minimizeComment(input: {subjectId: 1, classifier: OLD}) { clientMutationId } }", {"data": {}}),
        ("mutation { minimizeComment(input: {subjectId: 1}) { clientMutationId } }", {"data": {}}),
        ("query($id: ID!) { node(id: $id) { ... on IssueComment { body } } }", {"data": {}}),
        ("query($id: ID!) { node(id: $id) { id }", {"data": {}}),
        ('{ node(id: "1") { ... on IssueComment { isMinimized } } }', {"data": {"node": {"isMinimized": None}}}),
        ('{ node(id: "1") { ... on IssueComment { isMinimized } } }', {"node": {"isMinimized": True}}),
    ],
)
def test_graphql_that_github_does_not_know_is_noticed(query: str, answer: dict[str, Any]) -> None:
    assert complaints(Exchange("POST", "/graphql", "/graphql", {}, {"query": query}, 200, answer, {}))
