"""Accounts of the local GitHub: users, GitHub Apps and their tokens, who may do what in the repository."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import jwt
from aiohttp import web

from bot.demo.github.answers import Refusal, body_of, not_found, reply
from bot.demo.github.deliveries import Deliveries
from bot.demo.github.gate import CREDENTIAL, Gate
from bot.demo.github.issues import repository_of
from bot.demo.github.shapes import Shapes, iso, node
from bot.demo.github.state import Credential, User, World

DEFAULT_PERMISSIONS = {"metadata": "read", "issues": "write", "actions": "write", "contents": "read"}


@dataclass(slots=True)
class App:
    """A GitHub App with its public key, installed on the repository or not."""

    id: int
    slug: str
    public_key: str
    permissions: dict[str, str]
    user: User
    installation_id: int
    installed: bool = True
    token_life: timedelta = timedelta(hours=1)


class Accounts:
    """The handlers; ``routes`` gives them to aiohttp."""

    def __init__(self, world: World, shapes: Shapes, gate: Gate, deliveries: Deliveries) -> None:
        self._world = world
        self._shapes = shapes
        self._gate = gate
        self._deliveries = deliveries
        self.apps: dict[int, App] = {}

    def routes(self) -> list[web.RouteDef]:
        """What a token may ask."""
        return [
            web.get("/user", self._me),
            web.get("/users/{username}", self._user),
            web.get("/rate_limit", self._rate_limit),
            web.get("/repos/{owner}/{repo}", self._repository),
            web.get("/repos/{owner}/{repo}/collaborators/{username}/permission", self._permission),
            web.post("/graphql", self._graphql),
        ]

    def app_routes(self) -> list[web.RouteDef]:
        """What an app asks with its own key."""
        return [
            web.get("/app", self._app),
            web.get("/app/hook/deliveries", self._app_deliveries),
            web.post("/app/hook/deliveries/{delivery_id}/attempts", self._app_redeliver),
            web.get("/repos/{owner}/{repo}/installation", self._installation),
            web.post("/app/installations/{installation_id}/access_tokens", self._access_token),
        ]

    def token(self, login: str, permissions: Mapping[str, str] | None = None) -> str:
        """A personal access token of ``login``."""
        text = f"ghp_{secrets.token_hex(18)}"
        given = dict(DEFAULT_PERMISSIONS | {"repository_hooks": "write"} if permissions is None else permissions)
        self._world.credentials[text] = Credential(self._world.user(login), given)
        return text

    def add_app(self, slug: str, public_key: str, permissions: Mapping[str, str] | None = None) -> App:
        app = App(
            self._world.new_id(),
            slug,
            public_key,
            dict(DEFAULT_PERMISSIONS if permissions is None else permissions),
            self._world.user(f"{slug}[bot]", "Bot"),
            self._world.new_id(),
        )
        self.apps[app.id] = app
        return app

    def _app_of(self, request: web.Request) -> App:
        token = request.headers.get("Authorization", "").partition(" ")[2]
        try:
            issuer = int(jwt.decode(token, options={"verify_signature": False})["iss"])
            app = self.apps[issuer]
            claims: dict[str, Any] = jwt.decode(token, app.public_key, algorithms=["RS256"])
        except (jwt.PyJWTError, KeyError, ValueError):
            raise Refusal(401, "A JSON web token could not be decoded") from None
        if claims["exp"] - claims["iat"] > 660:
            raise Refusal(401, "'Expiration time' claim ('exp') is too far in the future")
        return app

    async def _app(self, request: web.Request) -> web.Response:
        app = self._app_of(request)
        url = f"{self._shapes.base}/apps/{app.slug}"
        created = iso(self._world.repository.created_at)
        return reply(
            {
                "id": app.id,
                "slug": app.slug,
                "node_id": node("A", app.id),
                "owner": self._shapes.user(self._world.repository.owner),
                "name": app.slug,
                "description": None,
                "external_url": url,
                "html_url": url,
                "created_at": created,
                "updated_at": created,
                "permissions": app.permissions,
                "events": ["issue_comment"],
                "installations_count": int(app.installed),
            }
        )

    async def _app_deliveries(self, request: web.Request) -> web.Response:
        self._app_of(request)
        return await self._deliveries.list_of_app(request)

    async def _app_redeliver(self, request: web.Request) -> web.Response:
        self._app_of(request)
        return await self._deliveries.redeliver_of_app(request)

    async def _installation(self, request: web.Request) -> web.Response:
        app = self._app_of(request)
        repository = self._world.repository
        asked = f"{request.match_info['owner']}/{request.match_info['repo']}"
        if not app.installed or asked.casefold() != repository.full_name.casefold():
            raise not_found()
        url = f"{self._shapes.base}/app/installations/{app.installation_id}"
        return reply(
            {
                "id": app.installation_id,
                "account": self._shapes.user(repository.owner),
                "access_tokens_url": f"{url}/access_tokens",
                "repositories_url": f"{self._shapes.base}/installation/repositories",
                "html_url": url,
                "app_id": app.id,
                "app_slug": app.slug,
                "target_id": repository.owner.id,
                "target_type": "User",
                "permissions": app.permissions,
                "events": ["issue_comment"],
                "single_file_name": None,
                "repository_selection": "selected",
                "created_at": iso(repository.created_at),
                "updated_at": iso(repository.created_at),
                "suspended_by": None,
                "suspended_at": None,
            }
        )

    async def _access_token(self, request: web.Request) -> web.Response:
        app = self._app_of(request)
        asked = (await body_of(request)).get("permissions") or {}
        if request.match_info["installation_id"] != str(app.installation_id) or not app.installed:
            raise not_found()
        if not asked.items() <= app.permissions.items():
            raise Refusal(422, "The permissions requested are not granted to this installation.")
        text = f"ghs_{secrets.token_hex(18)}"
        expires_at = self._world.now() + app.token_life
        granted = asked or app.permissions
        self._world.credentials[text] = Credential(app.user, granted, expires_at, installation=True)
        return reply(
            {
                "token": text,
                "expires_at": iso(expires_at),
                "permissions": granted,
                "repository_selection": "selected",
            },
            201,
        )

    async def _me(self, request: web.Request) -> web.Response:
        credential = request[CREDENTIAL]
        if credential.installation:
            raise Refusal(403, "Resource not accessible by integration")
        return reply(self._shapes.account(credential.user, self._world.repository.created_at))

    async def _user(self, request: web.Request) -> web.Response:
        user = self._world.users.get(request.match_info["username"].casefold())
        if user is None:
            raise not_found()
        return reply(self._shapes.account(user, self._world.repository.created_at))

    async def _rate_limit(self, request: web.Request) -> web.Response:
        rate = self._gate.rate()
        return reply({"resources": {"core": rate, "search": rate, "graphql": rate}, "rate": rate})

    async def _repository(self, request: web.Request) -> web.Response:
        repository = repository_of(request, self._world)
        return reply(self._shapes.full_repository(repository, request[CREDENTIAL].user))

    async def _permission(self, request: web.Request) -> web.Response:
        repository = repository_of(request, self._world)
        user = self._world.users.get(request.match_info["username"].casefold())
        if user is None:
            raise Refusal(404, f"{request.match_info['username']} is not a user")
        permission = repository.permission(user.login)
        order = ("none", "read", "triage", "write", "maintain", "admin")
        role = repository.role(user.login)
        level = order.index(repository.custom_roles.get(role, role))
        names = (("pull", 1), ("triage", 2), ("push", 3), ("maintain", 4), ("admin", 5))
        shown = {
            **self._shapes.user(user),
            "permissions": {name: level >= least for name, least in names},
            "role_name": role,
        }
        return reply({"permission": permission, "role_name": role, "user": shown})

    async def _graphql(self, request: web.Request) -> web.Response:
        """Only who edited a comment; GitHub answers errors of GraphQL with 200."""
        data = await body_of(request)
        if "minimizeComment" in str(data.get("query")):
            return self._minimise(request, data)
        if "userContentEdits" not in str(data.get("query")):
            return reply({"errors": [{"type": "NOT_SIMULATED", "message": "The local GitHub knows no such query"}]})
        wanted = str((data.get("variables") or {}).get("id"))
        for comment in self._world.repository.comments.values():
            if node("IC", comment.id) == wanted:
                # GitHub lists the original text as the first edit, newest first.
                editors = [user for user, _ in reversed(comment.edits)] + ([comment.user] if comment.edits else [])
                nodes = [
                    {"editor": {"login": user.login} | ({"databaseId": user.id} if user.type == "User" else {})}
                    for user in editors[:100]
                ]
                return reply({"data": {"node": {"userContentEdits": {"totalCount": len(editors), "nodes": nodes}}}})
        if any(node("I", issue.id) == wanted for issue in self._world.repository.issues.values()):
            return reply({"data": {"node": {"userContentEdits": {"totalCount": 0, "nodes": []}}}})
        message = f"Could not resolve to a node with the global id of '{wanted}'"
        return reply({"data": {"node": None}, "errors": [{"type": "NOT_FOUND", "path": ["node"], "message": message}]})

    def _minimise(self, request: web.Request, data: dict[str, Any]) -> web.Response:
        """A comment is folded away by who may write to the repository, and by its author."""
        credential = request[CREDENTIAL]
        wanted = str((data.get("variables") or {}).get("id"))
        classifier = re.search(r"classifier:\s*(\w+)", str(data["query"]))
        for comment in self._world.repository.comments.values():
            if node("IC", comment.id) == wanted and classifier:
                writes = self._world.repository.permission(credential.user.login) in ("write", "admin")
                if credential.permissions.get("issues") != "write" or not (writes or credential.installation):
                    who = credential.user.login
                    error = {
                        "type": "FORBIDDEN",
                        "path": ["minimizeComment"],
                        "message": f"{who} does not have the correct permissions to execute `MinimizeComment`",
                    }
                    return reply({"data": {"minimizeComment": None}, "errors": [error]})
                comment.minimised = classifier[1].lower()
                return reply({"data": {"minimizeComment": {"minimizedComment": {"isMinimized": True}}}})
        message = f"Could not resolve to a node with the global id of '{wanted}'"
        return reply({"data": {"minimizeComment": None}, "errors": [{"type": "NOT_FOUND", "message": message}]})
