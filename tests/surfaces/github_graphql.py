"""The judge of what the bot asks over GraphQL: GitHub's own schema, cut to the types that it uses.

``github_schema.graphql`` comes from the package @octokit/graphql-schema (MIT; version and licence are in its head).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from graphql import GraphQLAbstractType, GraphQLError, GraphQLSchema, build_schema, execute_sync, parse, validate

from bot.demo.github.gate import Exchange


def complaints(exchange: Exchange) -> list[str]:
    """What is wrong with a query and its answer, one line each."""
    asked = exchange.request if isinstance(exchange.request, dict) else {}
    try:
        document = parse(str(asked.get("query", "")))
    except GraphQLError as error:
        return [f"GraphQL: {error.message}"]
    found = [error.message for error in validate(_schema(), document)]
    answered = exchange.response if isinstance(exchange.response, dict) else {}
    unknown = set(answered) - {"data", "errors", "extensions"}
    if unknown and exchange.status < 400:  # a refusal of the whole request has the form that it has everywhere
        found.append(f"an answer has no {', '.join(sorted(unknown))}")
    if not found and exchange.status == 200 and answered.get("data") is not None and "errors" not in answered:
        # The answer is given to the schema as if it were the data that the query is about.
        drawn = execute_sync(
            _schema(),
            document,
            root_value=answered["data"],
            variable_values=asked.get("variables"),
            type_resolver=_type_of,
        )
        found += [error.message for error in drawn.errors or ()]
    return [f"GraphQL: {problem}" for problem in found]


def _type_of(value: Any, _info: object, abstract: GraphQLAbstractType) -> str:
    """Answers do not say their type; what is asked for gives it away."""
    if abstract.name == "Actor":
        return "User" if "databaseId" in value else "Bot"
    return "IssueComment"


@cache
def _schema() -> GraphQLSchema:
    return build_schema(Path(__file__).with_name("github_schema.graphql").read_text(encoding="utf-8"))
