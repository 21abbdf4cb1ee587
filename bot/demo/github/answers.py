"""How GitHub answers: errors with their documentation link, lists in pages, bodies that must be objects."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from aiohttp import web

T = TypeVar("T")
DOCUMENTATION = "https://docs.github.com/rest"
MAX_COMMENT = 65_536


class Refusal(Exception):
    """An error answer, in GitHub's words."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        errors: Sequence[Mapping[str, Any]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.errors = errors
        self.headers = headers or {}

    def response(self) -> web.Response:
        body: dict[str, Any] = {"message": self.message}
        if self.errors is not None:
            body["errors"] = list(self.errors)
        body |= {"documentation_url": DOCUMENTATION, "status": str(self.status)}
        return reply(body, self.status, self.headers)


def not_found() -> Refusal:
    return Refusal(404, "Not Found")


def invalid(resource: str, field: str, code: str, message: str = "") -> Refusal:
    error = {"resource": resource, "field": field, "code": code}
    return Refusal(422, "Validation Failed", errors=[error | ({"message": message} if message else {})])


def reply(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.json_response(
        data, status=status, headers=headers, dumps=lambda value: json.dumps(value, ensure_ascii=False)
    )


def etag(body: bytes) -> str:
    return f'W/"{hashlib.sha256(body).hexdigest()}"'


def page(request: web.Request, rows: Sequence[T], shape: Callable[[T], Any], wrap: str = "") -> web.Response:
    """One page of ``rows``, drawn with ``shape``. ``wrap`` names the list where GitHub puts it beside a total count."""
    size = min(max(number(request, "per_page", 30), 1), 100)
    current = max(number(request, "page", 1), 1)
    last = max(-(-len(rows) // size), 1)
    links = {"prev": current - 1, "next": current + 1, "last": last, "first": 1}
    if current >= last:
        links.pop("next"), links.pop("last")
    if current <= 1:
        links.pop("prev"), links.pop("first")
    drawn: Any = [shape(row) for row in rows[(current - 1) * size : current * size]]
    link = ", ".join(
        f'<{request.url.update_query(page=str(target)).human_repr()}>; rel="{name}"' for name, target in links.items()
    )
    return reply({"total_count": len(rows), wrap: drawn} if wrap else drawn, headers={"Link": link} if link else None)


def number(request: web.Request, name: str, default: int) -> int:
    """A number of the query; GitHub takes the default for anything else."""
    text = request.query.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else default


def since(request: web.Request) -> datetime | None:
    text = request.query.get("since")
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise invalid("IssueComment", "since", "invalid") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


async def body_of(request: web.Request) -> dict[str, Any]:
    text = await request.text()
    if not text:
        return {}
    try:
        data = json.loads(text)
    except ValueError:
        raise Refusal(400, "Problems parsing JSON") from None
    if not isinstance(data, dict):
        raise Refusal(400, "Body should be a JSON object")
    return data


def text_of(data: Mapping[str, Any], field: str, resource: str) -> str:
    """A required text of a body."""
    value = data.get(field)
    if value is None:
        raise invalid(resource, field, "missing_field")
    if not isinstance(value, str):
        raise Refusal(422, f"Invalid request.\n\nFor 'properties/{field}', {value!r} is not a string.")
    if not value.strip():
        raise invalid(resource, field, "missing_field")
    if len(value) > MAX_COMMENT:
        raise invalid(resource, field, "unprocessable", f"{field} is too long (maximum is {MAX_COMMENT} characters)")
    return value
