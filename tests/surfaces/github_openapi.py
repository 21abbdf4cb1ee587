"""The judge: GitHub's own OpenAPI description, cut to our operations, over every request and every answer.

``github_openapi.json`` comes from the package @octokit/openapi (MIT; version, changes and licence are in its
``x-source``). The local GitHub and the bot are both held to it.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, cast

from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from bot.demo.github.gate import Exchange
from tests.surfaces import github_graphql

# What GitHub answers and its description does not list: refusals that any operation can give.
_ANYWHERE = {400, 401, 403, 404, 422, 429, 500, 502, 503, 504}
_SCALARS = {"integer": int, "number": float}


def complaints(exchange: Exchange) -> list[str]:
    """What is wrong with a request and its answer, one line each; nothing is right with an unknown operation."""
    if exchange.route == "/graphql":
        return github_graphql.complaints(exchange)
    what = f"{exchange.method} {exchange.path}"
    operation = _description()["paths"].get(exchange.route, {}).get(exchange.method.lower())
    if operation is None:
        return [f"{what}: no such operation in GitHub's description"]
    return [f"{what}: {problem}" for problem in (*_request(operation, exchange), *_response(operation, exchange))]


def _request(operation: dict[str, Any], exchange: Exchange) -> list[str]:
    if exchange.status >= 400:
        return []  # a request that was refused may be wrong: many tests send such
    found = []
    known = {}
    for parameter in map(_resolved, operation.get("parameters", [])):
        if parameter["in"] == "query":
            known[parameter["name"]] = parameter
    for name, text in exchange.query.items():
        if name not in known:
            found.append(f"unknown query parameter {name}")
            continue
        schema = _resolved(known[name]["schema"])
        value = _SCALARS[schema["type"]](text) if schema.get("type") in _SCALARS else text
        found += _errors(known[name]["schema"], value, f"query {name}")
    body = _resolved(operation.get("requestBody", {}))
    if body:
        schema = body["content"]["application/json"]["schema"]
        if exchange.request is None:
            if body.get("required"):
                found.append("a body is required")
        else:
            found += _errors(schema, exchange.request, "body")
            unknown = set(exchange.request) - _properties(schema) if isinstance(exchange.request, dict) else set()
            found += [f"unknown property {name}" for name in sorted(unknown)]
    elif exchange.request is not None:
        found.append("no body is expected")
    return found


def _response(operation: dict[str, Any], exchange: Exchange) -> list[str]:
    described = operation["responses"].get(str(exchange.status))
    if described is None:
        return [] if exchange.status in _ANYWHERE | {304} else [f"status {exchange.status} is not described"]
    described = _resolved(described)
    content = described.get("content", {}).get("application/json")
    if content is None or exchange.status >= 500:
        if exchange.response is not None and exchange.status < 400:
            return [f"status {exchange.status} has no body"]
        return []
    return _errors(content["schema"], exchange.response, f"answer {exchange.status}")


def _errors(schema: dict[str, Any], value: Any, where: str) -> list[str]:
    validator = Draft202012Validator(_rooted(schema), registry=_registry(), format_checker=FormatChecker())
    return [f"{where} {error.json_path}: {error.message[:300]}" for error in validator.iter_errors(value)]


def _rooted(schema: Any) -> Any:
    """References as the registry knows them."""
    if isinstance(schema, dict):
        return {
            key: f"urn:github{value}" if key == "$ref" and isinstance(value, str) else _rooted(value)
            for key, value in schema.items()
        }
    return [_rooted(item) for item in schema] if isinstance(schema, list) else schema


def _resolved(thing: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in thing:
        target: Any = _description()
        for part in thing["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        thing = target
    return thing


def _properties(schema: dict[str, Any]) -> set[str]:
    schema = _resolved(schema)
    names = set(schema.get("properties", {}))
    if schema.get("additionalProperties"):
        names |= {"*"}
    for key in ("oneOf", "anyOf", "allOf"):
        for part in schema.get(key, []):
            names |= _properties(part)
    return names


def _nullable(node: Any) -> Any:
    """OpenAPI 3.0 says ``nullable``, JSON Schema says the type ``null``."""
    if isinstance(node, list):
        return [_nullable(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: _nullable(value) for key, value in node.items()}
    if node.pop("nullable", False) is True:
        if "enum" in node and None not in node["enum"]:
            node["enum"] = [*node["enum"], None]
        if isinstance(node.get("type"), str):
            node["type"] = [node["type"], "null"]
        elif "type" not in node:
            return {"anyOf": [node, {"type": "null"}]}
    return node


@cache
def _description() -> dict[str, Any]:
    text = Path(__file__).with_name("github_openapi.json").read_text(encoding="utf-8")
    described: dict[str, Any] = _nullable(json.loads(text))
    return described


@cache
def _registry() -> Registry[Any]:
    resource: Resource[Any] = DRAFT202012.create_resource(_rooted(_description()))
    return cast(Registry[Any], Registry().with_resource("urn:github", resource))
