"""PyGithub without its traps: one request in, status, headers and data out, in the bot's own threads.

- PyGithub is imported at the first request (it costs memory and start-up time).
- Its connection keeps the request in itself between sending and reading, so that two threads on one ``Requester`` can
  swap requests: here a requester serves one thread at a time.
- It sleeps until a rate limit resets and repeats POST after a 5xx: here only GET is repeated, and nobody sleeps.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from bot.breakers import Breaker, BreakerOpen
from bot.clock import SystemClock
from bot.settings import GitHubSettings
from bot.surfaces.delivery import Undeliverable

if TYPE_CHECKING:
    from github import Github

TIMEOUT = 15  # seconds without an answer
USER_AGENT = "opsbot"
SERVICE = "GitHub"  # the breaker's name
API_VERSION = "2022-11-28"


@dataclass(frozen=True, slots=True)
class Reply:
    """What GitHub answered. Header names are lower case; ``data`` is decoded JSON or None."""

    status: int
    headers: Mapping[str, str]
    data: Any


class NoAnswer(Exception):
    """Nothing came back; ``sent``: the request may have arrived. ``after``: seconds until it is worth asking again."""

    def __init__(self, text: str, *, sent: bool, after: float | None = None) -> None:
        super().__init__(text)
        self.sent = sent
        self.after = after


@dataclass(frozen=True, slots=True)
class Installation:
    """The GitHub App as it is installed on the repository."""

    id: int
    slug: str
    permissions: Mapping[str, str]


class Connection:
    """Blocking; call it from a worker thread. Threads may share it."""

    def __init__(self, settings: GitHubSettings, breaker: Breaker | None = None) -> None:
        self._settings = settings
        self._breaker = breaker or Breaker(SERVICE, SystemClock())
        self._lock = threading.Lock()
        self._idle: list[Github] = []
        self._installation: Installation | None = None

    @property
    def is_app(self) -> bool:
        return not self._settings.token.get_secret_value()

    def request(
        self,
        verb: str,
        path: str,
        parameters: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: object | None = None,
    ) -> Reply:
        """One request, below ``/app`` with the app's own key and not as its installation.

        Raises ``NoAnswer``, at once while the breaker is open; ``Undeliverable`` for credentials that cannot be used.
        """
        try:
            with self._breaker.calling(NoAnswer) as call:
                reply = self._request(verb, path, parameters, headers, body)
                if reply.status >= 500:
                    call.failed(f"GitHub answered {reply.status}")
                return reply
        except BreakerOpen as error:
            raise NoAnswer(error.message, sent=False, after=error.after) from None

    def _request(
        self,
        verb: str,
        path: str,
        parameters: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        body: object | None,
    ) -> Reply:
        if self.is_app and (path == "/app" or path.startswith("/app/")):
            return self._as_app(verb, path, parameters, headers, body)
        reply = self._with_client(verb, path, parameters, headers, body)
        if reply.status == 401 and self.is_app:
            # The installation's token ended before its time (revoked, a clock that is off): once more with a new one.
            self.close()
            reply = self._with_client(verb, path, parameters, headers, body)
        return reply

    def installation(self) -> Installation:
        """Where the GitHub App is installed. Raises as ``request`` does."""
        with self._lock:
            found = self._installation
        if found is not None:
            return found
        from github import GithubIntegration

        integration = GithubIntegration(auth=self._app_auth(), **self._options())
        try:
            app = _send(integration.requester, "GET", "/app")
            installed = _send(integration.requester, "GET", f"/repos/{self._settings.repository}/installation")
        finally:
            integration.close()
        if app.status == 401:
            raise Undeliverable(
                "GitHub does not accept the app's key (401)",
                "Compare GITHUB_APP_ID and GITHUB_PRIVATE_KEY with the app's settings page.",
            )
        if installed.status == 404:
            raise Undeliverable(
                f"The GitHub App is not installed on {self._settings.repository}",
                "Install it there: settings of the app, Install App.",
            )
        for reply in (app, installed):
            if reply.status >= 400 or not isinstance(reply.data, dict):
                raise NoAnswer(f"GitHub answered {reply.status} about the app's installation", sent=False)
        found = Installation(installed.data["id"], app.data["slug"], installed.data.get("permissions") or {})
        with self._lock:
            self._installation = found
        return found

    def _as_app(
        self,
        verb: str,
        path: str,
        parameters: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        body: object | None,
    ) -> Reply:
        from github import GithubIntegration

        integration = GithubIntegration(auth=self._app_auth(), **self._options())
        try:
            return _send(integration.requester, verb, path, parameters, headers, body)
        finally:
            integration.close()

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for client in idle:
            client.close()

    def _with_client(
        self,
        verb: str,
        path: str,
        parameters: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        body: object | None,
    ) -> Reply:
        with self._lock:
            client = self._idle.pop() if self._idle else None
        if client is None:
            client = self._open()
        try:
            target = client.requester.graphql_url if path == "/graphql" else path
            return _send(client.requester, verb, target, parameters, headers, body)
        finally:
            with self._lock:
                self._idle.append(client)

    def _open(self) -> Github:
        from github import Auth, Github

        auth: Auth.Auth
        if self.is_app:
            auth = self._app_auth().get_installation_auth(self.installation().id)
        else:
            auth = Auth.Token(self._settings.token.get_secret_value())
        return Github(auth=auth, **self._options())

    def _app_auth(self) -> Any:
        from github import Auth

        # One-line environment files write the line breaks of the PEM file as \n.
        key = self._settings.private_key.get_secret_value().replace("\\n", "\n")
        return Auth.AppAuth(self._settings.app_id, key)

    def _options(self) -> dict[str, Any]:
        from urllib3.util import Retry

        return {
            "base_url": self._settings.api_url.rstrip("/"),
            "timeout": TIMEOUT,
            "user_agent": USER_AGENT,
            "api_version": API_VERSION,
            "seconds_between_requests": 0,
            "seconds_between_writes": 0,
            "lazy": True,
            # Not PyGithub's GithubRetry: that one sleeps until the rate limit resets. POST and PATCH are repeated only
            # when no connection came about, so that they cannot have arrived.
            "retry": Retry(
                total=2,
                other=0,
                redirect=0,
                allowed_methods={"GET"},
                status_forcelist={500, 502, 503, 504},
                backoff_factor=0.2,
                respect_retry_after_header=False,
                raise_on_status=False,
            ),
        }


def _send(
    requester: Any,
    verb: str,
    path: str,
    parameters: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    body: object | None = None,
) -> Reply:
    import requests
    from github import GithubException
    from jwt.exceptions import PyJWTError

    try:
        status, answered, text = requester.requestJson(
            verb,
            path,
            dict(parameters or {}),
            {"Accept": "application/vnd.github+json", **(headers or {})},
            body,
        )
    except GithubException as error:  # while an installation token was fetched
        return Reply(error.status, {k.lower(): str(v) for k, v in (error.headers or {}).items()}, error.data)
    except PyJWTError as error:
        raise Undeliverable(
            "GITHUB_PRIVATE_KEY cannot be used",
            "It must be the whole PEM file that GitHub gave out, from BEGIN to END.",
        ) from error
    except requests.exceptions.InvalidHeader as error:
        raise Undeliverable(
            "GITHUB_TOKEN cannot be used", "It holds a character that no token has, perhaps a line break."
        ) from error
    except requests.RequestException as error:
        unreached = isinstance(error, requests.ConnectTimeout) or "NewConnectionError" in repr(error)
        raise NoAnswer(type(error).__name__, sent=not unreached) from error
    data: Any = None
    if text:
        try:
            data = msgspec.json.decode(text)
        except msgspec.DecodeError:
            data = {"message": text[:200]}
    return Reply(status, answered, data)
