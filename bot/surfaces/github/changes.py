"""What was written in the repository since a moment, and by whom: what the poller reads.

The lists are conditional requests: with the ETag of the last look an answer "nothing new" costs nothing of the rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bot.surfaces.github.exchange import Exchange, repository_path


@dataclass(frozen=True, slots=True)
class CommentPage:
    """Comments as GitHub listed them, oldest change first; None when nothing changed since ``etag``."""

    comments: list[dict[str, Any]] | None
    etag: str


class Changes:
    """Comments and issues of one repository, in the order of their changes. Raises ``TryLater``, ``Undeliverable``."""

    def __init__(self, exchange: Exchange, repository: str) -> None:
        self._exchange = exchange
        self._repository = repository

    async def comments_since(self, since: str, *, page: int = 1, etag: str = "") -> CommentPage:
        """100 comments of the repository changed at or after ``since`` (ISO 8601), oldest change first."""
        reply = await self._exchange.get(
            f"{repository_path(self._repository)}/issues/comments",
            f"the comments of {self._repository}",
            parameters={"since": since, "sort": "updated", "direction": "asc", "per_page": "100", "page": str(page)},
            headers={"If-None-Match": etag} if etag else None,
        )
        if reply.status == 304:
            return CommentPage(None, etag)
        return CommentPage(reply.data, reply.headers.get("etag", ""))

    async def issues_since(self, since: str, *, page: int = 1, etag: str = "") -> CommentPage:
        """100 issues and pull requests changed at or after ``since`` (ISO 8601), oldest change first."""
        reply = await self._exchange.get(
            repository_path(self._repository) + "/issues",
            f"the issues of {self._repository}",
            parameters={
                "since": since, "sort": "updated", "direction": "asc", "state": "all", "per_page": "100",
                "page": str(page),
            },
            headers={"If-None-Match": etag} if etag else None,
        )  # fmt: skip
        if reply.status == 304:
            return CommentPage(None, etag)
        return CommentPage(reply.data, reply.headers.get("etag", ""))

    async def editors(self, node_id: str) -> frozenset[int] | None:
        """The numeric ids of all who edited a comment or an issue's text; None when one of them cannot be told."""
        reply = await self._exchange.query(_EDITORS, node_id, f"comment {node_id}")
        node = ((reply.data or {}).get("data") or {}).get("node") or {}
        edits = node.get("userContentEdits")
        if edits is None or edits["totalCount"] > len(edits["nodes"]):
            return None
        editors = [edit.get("editor") or {} for edit in edits["nodes"]]
        if not all("databaseId" in editor for editor in editors):  # an app, or an account that was deleted
            return None
        return frozenset(int(editor["databaseId"]) for editor in editors)


_EDITORS = """
query($id: ID!) { node(id: $id) {
  ... on IssueComment { userContentEdits(first: 100) { ...edits } }
  ... on Issue { userContentEdits(first: 100) { ...edits } }
} }
fragment edits on UserContentEditConnection { totalCount nodes { editor { login ... on User { databaseId } } } }
"""
