"""``opsbot run --config opsbot.toml``: one settings tree from the file, then the environment.

Every key can be set as ``OPSBOT_SECTION__KEY`` too. Secrets come from the environment only: ``SLACK_BOT_TOKEN``,
``SLACK_SIGNING_SECRET``, ``SLACK_APP_TOKEN`` (socket mode), ``GITHUB_TOKEN`` or ``GITHUB_APP_ID`` +
``GITHUB_PRIVATE_KEY``, ``GITHUB_WEBHOOK_SECRET``. What is wrong is told in one ``SettingsError``, key by key.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import time, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableVariable

from bot.errors import SettingsError
from bot.handler import Product, ProductSettings
from bot.reports.crossings import QuietHours
from bot.reports.schedule import trigger

# Response times by severity: escalation table of the SOMAS runbook.
RESPONSE_TIMES: Mapping[str, timedelta] = {
    "low": timedelta(hours=24),
    "medium": timedelta(hours=4),
    "high": timedelta(hours=1),
    "critical": timedelta(minutes=15),
}


class Section(BaseModel):
    """A section of opsbot.toml; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerSettings(Section):
    host: str = Field("127.0.0.1", examples=["127.0.0.1"])
    port: int = Field(8080, ge=0, le=65535, examples=[8080])


class DatabaseSettings(Section):
    url: str = Field("sqlite:///opsbot.db", examples=["sqlite:///opsbot.db"])

    @field_validator("url")
    @classmethod
    def _known_database(cls, url: str) -> str:
        if not url.startswith(("sqlite:///", "postgresql://", "postgres://")):
            raise ValueError("must start with sqlite:/// or postgresql://")
        return url


class SlackSettings(Section):
    mode: Literal["http", "socket"] = Field("http", examples=["http"])
    api_url: str = Field("https://slack.com/api/", examples=["https://slack.com/api/"])
    channel: str = Field(examples=["C0OPS"])
    bot_token: SecretStr = SecretStr("")
    signing_secret: SecretStr = SecretStr("")
    app_token: SecretStr = SecretStr("")

    @field_validator("channel")
    @classmethod
    def _is_an_id(cls, channel: str) -> str:
        if not re.fullmatch("[CGD][A-Z0-9]+", channel):
            raise ValueError(
                "must be the channel's id, not its name; Slack shows it at the end of the channel's details"
            )
        return channel

    @field_validator("api_url")
    @classmethod
    def _ends_with_slash(cls, url: str) -> str:
        return url if url.endswith("/") else url + "/"


class GitHubSettings(Section):
    api_url: str = Field("https://api.github.com", examples=["https://api.github.com"])
    repository: str = Field(examples=["owner/name"], pattern=r"^[A-Za-z0-9-]+/[A-Za-z0-9._-]+$")
    poll_seconds: int = Field(60, ge=5, examples=[60])
    mirror: bool = Field(True, examples=[True])  # runs that were asked for elsewhere are shown on their issue, too
    token: SecretStr = SecretStr("")
    app_id: str = ""
    private_key: SecretStr = SecretStr("")
    webhook_secret: SecretStr = SecretStr("")

    @property
    def web_url(self) -> str:
        """Where people read what the API serves, ``https://github.com``; on GitHub Enterprise Server the same host."""
        return self.api_url.rstrip("/").replace("://api.github.com", "://github.com").removesuffix("/api/v3")

    @property
    def home(self) -> str:
        """Where people read the repository: ``https://github.com/owner/name``."""
        return f"{self.web_url}/{self.repository}"


class ResponseSettings(Section):
    """Within which time somebody has to acknowledge a page, by severity."""

    low: timedelta = Field(RESPONSE_TIMES["low"], gt=timedelta(0), examples=["PT24H"])
    medium: timedelta = Field(RESPONSE_TIMES["medium"], gt=timedelta(0), examples=["PT4H"])
    high: timedelta = Field(RESPONSE_TIMES["high"], gt=timedelta(0), examples=["PT1H"])
    critical: timedelta = Field(RESPONSE_TIMES["critical"], gt=timedelta(0), examples=["PT15M"])


class RepeatSettings(Section):
    """How long until a page that nobody acknowledged is sent again; by default a third of the response time."""

    low: timedelta = Field(RESPONSE_TIMES["low"] / 3, gt=timedelta(0), examples=["PT8H"])
    medium: timedelta = Field(RESPONSE_TIMES["medium"] / 3, gt=timedelta(0), examples=["PT80M"])
    high: timedelta = Field(RESPONSE_TIMES["high"] / 3, gt=timedelta(0), examples=["PT20M"])
    critical: timedelta = Field(RESPONSE_TIMES["critical"] / 3, gt=timedelta(0), examples=["PT5M"])


class SeverityTexts(Section):
    """What every page of a severity says about what is to be done."""

    low: str = Field("", examples=["Watch it, and write a ticket."])
    medium: str = Field("", examples=["Investigate, and try what the runbooks offer."])
    high: str = Field("", examples=["Act by hand, and tell the team."])
    critical: str = Field("", examples=["Stop the pipelines, and tell the owner."])


class EscalationSettings(Section):
    """``chain``: who is paged first, and whom each repetition adds; ``contact`` alone is a chain of one."""

    contact: str = Field(examples=["scotlaclair"])
    chain: tuple[str, ...] = Field((), examples=[["scotlaclair", "alice"]])
    levels: dict[str, tuple[str, ...]] = Field(default={}, examples=[{"L2": ["carol"]}])
    response: ResponseSettings = ResponseSettings()
    repeat: RepeatSettings = RepeatSettings()
    issue: int | None = Field(None, gt=0, examples=[42])
    label: str | None = Field(None, max_length=50, examples=["somas:needs-attention"])  # None: the product's own
    tell: SeverityTexts = SeverityTexts()

    @model_validator(mode="before")
    @classmethod
    def _first_of_the_chain(cls, section: Any) -> Any:
        if isinstance(section, dict) and not section.get("contact"):
            chain = section.get("chain")
            if isinstance(chain, list | tuple) and chain and isinstance(chain[0], str):
                return {**section, "contact": chain[0]}
        return section

    @field_validator("chain")
    @classmethod
    def _everybody_once(cls, chain: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(chain)) < len(chain):
            raise ValueError("must name everybody once")
        return chain

    @property
    def in_order(self) -> tuple[str, ...]:
        """Keys of ``[people]``: who is paged first, then whom each repetition adds."""
        return tuple(dict.fromkeys((self.contact, *self.chain)))

    def repeat_of(self, severity: str) -> timedelta:
        """As it is set, else a third of the response time."""
        if severity in self.repeat.model_fields_set:
            return cast(timedelta, getattr(self.repeat, severity))
        return cast(timedelta, getattr(self.response, severity)) / 3


class WatchdogSettings(Section):
    """Where to tell every minute that all escalations go on (``heartbeat_url``), and where that they do not."""

    heartbeat_url: SecretStr = Field(SecretStr(""), examples=["https://hc-ping.com/your-uuid"])
    fail_url: SecretStr = Field(SecretStr(""), examples=["https://hc-ping.com/your-uuid/fail"])

    @field_validator("heartbeat_url", "fail_url")
    @classmethod
    def _is_http(cls, url: SecretStr) -> SecretStr:
        if url.get_secret_value() and not re.match(r"https?://[^/\s]+", url.get_secret_value()):
            raise ValueError("must be an address that starts with https:// or http://")
        return url


class Person(Section):
    """One person, as each surface knows them."""

    slack: str = Field("", examples=["U0SCOT"], pattern=r"^([UW][A-Z0-9]+)?$")
    github: str = Field("", examples=["scotlaclair"])


class AccessSettings(Section):
    admins: tuple[str, ...] = Field((), examples=[["slack:U0SCOT", "github:scotlaclair"]])
    operators: tuple[str, ...] = Field((), examples=[["slack:U0ALICE"]])
    viewers: tuple[str, ...] = Field((), examples=[["*"]])

    @field_validator("admins", "operators", "viewers")
    @classmethod
    def _globs(cls, globs: tuple[str, ...]) -> tuple[str, ...]:
        for glob in globs:
            if glob != "*" and not glob.startswith(("slack:", "github:", "slack-group:", "github-role:")):
                raise ValueError(
                    f'{glob!r} must be "*" or start with "slack:", "slack-group:", "github:" or "github-role:"'
                )
        return globs


class RunSettings(Section):
    """``approval_timeout``: how long a destructive step may be approved. Then nothing is done; a retry asks again."""

    approval_timeout: timedelta = Field(timedelta(minutes=15), gt=timedelta(0), examples=["PT15M"])


class BreakerSettings(Section):
    """The bot's own circuit breakers: for GitHub, Slack and each socket."""

    failures: int = Field(5, ge=1, le=100, examples=[5])
    seconds: float = Field(60.0, gt=0, le=3600, examples=[60])
    trials: int = Field(3, ge=1, le=20, examples=[3])


class RunbookSettings(Section):
    paths: tuple[Path, ...] = Field((), examples=[["./runbooks"]])


class AuditSettings(Section):
    """``keep_days``: entries older than this are deleted; 0 keeps all."""

    keep_days: int = Field(0, ge=0, examples=[400])


class ReportSettings(Section):
    """One scheduled report: of one product, in one channel or on one GitHub issue."""

    product: str = Field(examples=["somas"])
    cron: str = Field(examples=["0 9 * * mon-fri"])
    timezone: str = Field("UTC", examples=["Europe/Berlin"])
    channel: str = Field("", examples=["C0OPS"], pattern=r"^([CGD][A-Z0-9]+)?$")
    issue: int = Field(0, ge=0, examples=[42])
    digest: bool = Field(False, examples=[True])  # a message each time, even when nothing has changed
    chart: bool = Field(True, examples=[True])
    escalate: bool = Field(True, examples=[True])  # a critical crossing pages
    quiet: str = Field("", examples=["22:00-07:00"], pattern=r"^(([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d)?$")

    @model_validator(mode="after")
    def _possible(self) -> ReportSettings:
        trigger(self.cron, self.timezone)
        if bool(self.channel) == bool(self.issue):
            raise ValueError("needs either a channel of Slack or an issue of GitHub")
        return self

    @property
    def quiet_hours(self) -> QuietHours | None:
        if not self.quiet:
            return None
        start, _, end = self.quiet.partition("-")
        return QuietHours(time.fromisoformat(start), time.fromisoformat(end), self.timezone)


class NotificationSettings(Section):
    """What happens in a product, told in one channel or on one GitHub issue."""

    product: str = Field(examples=["somas"])
    channel: str = Field("", examples=["C0OPS"], pattern=r"^([CGD][A-Z0-9]+)?$")
    issue: int = Field(0, ge=0, examples=[42])
    events: tuple[str, ...] = Field((), examples=[["error_occurred"]])  # none: as the product is configured
    seconds: float = Field(5.0, ge=1, le=3600, examples=[5])

    @model_validator(mode="after")
    def _one_place(self) -> NotificationSettings:
        if bool(self.channel) == bool(self.issue):
            raise ValueError("needs either a channel of Slack or an issue of GitHub")
        return self


class HistorySettings(Section):
    """How long the levels of reports are kept."""

    keep_days: int = Field(365, ge=1, examples=[365])


class Settings(BaseSettings):
    """The whole tree. ``products`` holds the validated section of each configured product."""

    model_config = SettingsConfigDict(extra="forbid", env_prefix="OPSBOT_", env_nested_delimiter="__", frozen=True)

    server: ServerSettings = ServerSettings(host="127.0.0.1", port=8080)
    database: DatabaseSettings = DatabaseSettings(url="sqlite:///opsbot.db")
    slack: SlackSettings | None = None
    github: GitHubSettings | None = None
    escalation: EscalationSettings
    watchdog: WatchdogSettings = WatchdogSettings()
    people: dict[str, Person] = Field(default={}, examples=[{"scotlaclair": {"slack": "U0SCOT"}}])
    access: AccessSettings = AccessSettings(admins=(), operators=(), viewers=())
    runbooks: RunbookSettings = RunbookSettings(paths=())
    runs: RunSettings = RunSettings()
    audit: AuditSettings = AuditSettings(keep_days=0)
    reports: dict[str, ReportSettings] = Field(default={}, examples=[{"daily": {"product": "somas"}}])
    notifications: dict[str, NotificationSettings] = Field(default={}, examples=[{"log": {"product": "somas"}}])
    history: HistorySettings = HistorySettings(keep_days=365)
    breakers: BreakerSettings = BreakerSettings(failures=5, seconds=60.0, trials=3)
    products: Annotated[dict[str, ProductSettings], Field(exclude=True)] = {}


SECRETS = {
    "slack": {
        "bot_token": "SLACK_BOT_TOKEN",
        "signing_secret": "SLACK_SIGNING_SECRET",
        "app_token": "SLACK_APP_TOKEN",
    },
    "github": {
        "token": "GITHUB_TOKEN",
        "app_id": "GITHUB_APP_ID",
        "private_key": "GITHUB_PRIVATE_KEY",
        "webhook_secret": "GITHUB_WEBHOOK_SECRET",
    },
}


def read(path: Path | None, environment: Mapping[str, str], products: Iterable[Product]) -> Settings:
    """The settings of ``path`` (None: environment only) for these products.

    Raises ``SettingsError`` with one text that names every wrong key, its problem and an example.
    """
    products = tuple(products)
    document = {} if path is None else _document(path)
    for section, keys in SECRETS.items():
        for key, variable in keys.items():
            if isinstance(document.get(section), dict) and key in document[section]:
                raise SettingsError(
                    f"{section}.{key}: secrets come from the environment only, so that they do not end up in a "
                    f"repository. Remove it from {path} and set {variable}"
                )
    return _validated(document, environment, products)


def read_server(path: Path, environment: Mapping[str, str]) -> ServerSettings:
    """Where the bot with this configuration listens; nothing else in it is judged. Raises ``SettingsError``."""
    section = _document(path).get("server", {})
    given = {key: environment.get(f"OPSBOT_SERVER__{key.upper()}") for key in ServerSettings.model_fields}
    try:
        if isinstance(section, dict):
            section = section | {key: value for key, value in given.items() if value is not None}
        return ServerSettings.model_validate(section)
    except ValidationError as error:
        raise SettingsError(f"server: {error.errors(include_url=False)[0]['msg']}") from None


def read_database(path: Path, environment: Mapping[str, str]) -> DatabaseSettings:
    """The database of this configuration; nothing else in it is judged, and no secret is needed.

    Raises ``SettingsError``.
    """
    section = _document(path).get("database", {})
    given = environment.get("OPSBOT_DATABASE__URL")
    try:
        if isinstance(section, dict) and given:
            section = section | {"url": given}
        return DatabaseSettings.model_validate(section)
    except ValidationError as error:
        raise SettingsError(f"database: {error.errors(include_url=False, include_input=False)[0]['msg']}") from None


def _document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"There is no file {path}. Give one with --config opsbot.toml") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None


def _validated(document: dict[str, Any], environment: Mapping[str, str], products: tuple[Product, ...]) -> Settings:
    fields: dict[str, Any] = {product.name: (product.settings | None, None) for product in products}

    class Sources(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return env_settings, init_settings

    tree = cast(type[Settings], create_model("Settings", __base__=Sources, **fields))
    sections = tree.model_fields.keys() - {"products"}
    unknown = [f"{name}: {_no_section(name, sections)}" for name in document if name == "products"]
    for variable in environment:
        section = variable.upper().removeprefix("OPSBOT_").partition("__")[0].lower()
        if variable.upper().startswith("OPSBOT_") and "__" in variable and section not in sections:
            unknown.append(f"{variable}: {_no_section(section, sections)}")
    if unknown:
        raise SettingsError("\n".join(unknown))
    saved, given = dict(os.environ), dict(environment)  # copies: what is given may be os.environ itself
    # pydantic-settings reads os.environ; ours is an argument, so that a test can give another one.
    os.environ.clear()
    os.environ.update(given)
    try:
        settings = tree(**document)
    except ValidationError as error:
        raise SettingsError(_explain(error, tree, products)) from None
    except UnreadableVariable:
        raise SettingsError(_unreadable(given, tree)) from None
    finally:
        os.environ.clear()
        os.environ.update(saved)
    configured = {
        product.name: getattr(settings, product.name)
        for product in products
        if getattr(settings, product.name) is not None
    }
    secrets: dict[str, Any] = {}
    for section, keys in SECRETS.items():
        value: BaseModel | None = getattr(settings, section)
        if value is not None:
            given = {key: environment.get(variable, "") for key, variable in keys.items()}
            secrets[section] = value.model_copy(
                update={key: text if key == "app_id" else SecretStr(text) for key, text in given.items()}
            )
    settings = settings.model_copy(update={"products": configured, **secrets})
    _check(settings)
    return settings


def _check(settings: Settings) -> None:
    """What no single field can know."""
    problems = []
    slack, github = settings.slack, settings.github
    if slack is None and github is None:
        problems.append(
            "Neither [slack] nor [github] is configured, so nobody could talk to the bot. "
            'Add for example: [slack] channel = "C0OPS"'
        )
    if slack is not None:
        if not slack.bot_token.get_secret_value():
            problems.append("SLACK_BOT_TOKEN is not set. Example: SLACK_BOT_TOKEN=xoxb-…")
        if slack.mode == "http" and not slack.signing_secret.get_secret_value():
            problems.append("SLACK_SIGNING_SECRET is not set; Slack shows it under Basic Information → App Credentials")
        if slack.mode == "socket" and not slack.app_token.get_secret_value():
            problems.append('SLACK_APP_TOKEN is not set, but slack.mode is "socket". Example: SLACK_APP_TOKEN=xapp-…')
    if github is not None:
        has_token = bool(github.token.get_secret_value())
        has_app = bool(github.app_id and github.private_key.get_secret_value())
        if not has_token and not has_app:
            problems.append("GITHUB_TOKEN is not set (or GITHUB_APP_ID together with GITHUB_PRIVATE_KEY)")
    for level, entries in settings.access:
        if github is None and any(entry.startswith("github-role:") for entry in entries):
            problems.append(f"access.{level}: a role is one in github.repository, but [github] is not configured")
    told: list[tuple[str, ReportSettings | NotificationSettings]] = [
        *((f"reports.{name}", report) for name, report in settings.reports.items()),
        *((f"notifications.{name}", notification) for name, notification in settings.notifications.items()),
    ]
    for name, each in told:
        if each.product not in settings.products:
            configured = ", ".join(settings.products) or "none"
            problems.append(f"{name}.product: {each.product!r} is not configured. Configured: {configured}")
        if each.channel and slack is None:
            problems.append(f"{name}.channel: [slack] is not configured")
        if each.issue and github is None:
            problems.append(f"{name}.issue: [github] is not configured")
    escalation = settings.escalation
    if escalation.chain and escalation.chain[0] != escalation.contact:
        problems.append(
            f"escalation.chain: starts with {escalation.chain[0]!r}, but escalation.contact is "
            f"{escalation.contact!r}. Leave contact out: the first of the chain is paged first"
        )
    if escalation.issue and github is None:
        problems.append("escalation.issue: is an issue of github.repository, but [github] is not configured")
    called = {escalation.contact: "escalation.contact", **dict.fromkeys(escalation.chain[1:], "escalation.chain")}
    for level, names in escalation.levels.items():
        if not names:
            problems.append(f'escalation.levels.{level}: names nobody. Example: {level} = ["{escalation.contact}"]')
        called |= {name: f"escalation.levels.{level}" for name in names if name not in called}
    for contact, key in called.items():
        problems += _unreachable(settings.people, contact, key)
    if problems:
        raise SettingsError("\n".join(problems))


def _unreachable(people: Mapping[str, Person], contact: str, key: str) -> list[str]:
    """Why no page could reach this contact."""
    person = people.get(contact)
    if person is None:
        nearest = difflib.get_close_matches(contact, people, n=1)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        return [
            f'{key}: nobody named {contact!r} stands under [people].{hint} Example: [people.{contact}] slack = "U0SCOT"'
        ]
    if not person.slack and not person.github:
        return [f"people.{contact}: has neither a slack id nor a github name, so no page could reach them"]
    return []


def _explain(error: ValidationError, tree: type[BaseModel], products: tuple[Product, ...]) -> str:
    lines = []
    for problem in error.errors(include_url=False):
        path = tuple(str(part) for part in problem["loc"])
        key = ".".join(path)
        example = _example(path, tree)
        match problem["type"]:
            case "missing" if path == ("escalation",):
                lines.append('escalation: is missing. Example:\n[escalation]\ncontact = "scotlaclair"')
                continue
            case "missing":
                text = "is missing"
            case "model_type" | "dict_type":
                lines.append(f"{key}: must be a section. Example: [{key}]")
                continue
            case "extra_forbidden":
                if len(path) == 1:
                    text = _no_section(path[0], tree.model_fields.keys() - {"products"})
                else:
                    nearest = difflib.get_close_matches(path[-1], _siblings(path, tree), n=1, cutoff=0.6)
                    text = "is not a known key" + (f"; did you mean {nearest[0]!r}?" if nearest else "")
            case _:
                given = problem.get("input")
                secret = isinstance(given, str) and "@" in given and "://" in given  # user:password@host
                shown = f" (it is {given!r})" if isinstance(given, str | int | float | bool) and not secret else ""
                text = _in_words(problem["msg"], problem["type"]) + shown
        setup = {product.name: product.setup for product in products}.get(path[0])
        if setup and problem["type"] == "missing":
            lines.append(f"{key}: {text}. Example:\n{setup.rstrip()}")
        else:
            lines.append(f"{key}: {text}" + (f". Example: {example}" if example else ""))
    return "\n".join(dict.fromkeys(lines))


def _in_words(problem: str, kind: str) -> str:
    """Pydantic's words for people who write TOML."""
    known = {
        "int_parsing": "must be a whole number",
        "int_type": "must be a whole number",
        "tuple_type": "must be a list",
        "string_type": "must be a text in quotes",
        "string_pattern_mismatch": "does not have the right form",
        "time_delta_parsing": "must be an ISO 8601 duration",
    }
    return known.get(kind) or problem.removeprefix("Value error, ").replace("Input should be", "must be", 1)


def _no_section(name: str, sections: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(name, list(sections), n=1, cutoff=0.6)
    if nearest:
        return f"is not a known key; did you mean {nearest[0]!r}?"
    return f"is not a known key. Sections: {', '.join(sorted(sections))}"


def _unreadable(environment: Mapping[str, str], tree: type[BaseModel]) -> str:
    """Lists and whole sections are JSON in the environment; which variable is not?"""
    lines = []
    for variable, text in environment.items():
        path = tuple(variable.upper().removeprefix("OPSBOT_").lower().split("__"))
        if not variable.upper().startswith("OPSBOT_") or path[0] not in tree.model_fields:
            continue
        try:
            json.loads(text)
        except ValueError:
            parent = _model_at(path[:-1], tree)
            field = parent.model_fields.get(path[-1]) if parent else None
            if field and field.examples and isinstance(field.examples[0], str | int):
                continue  # it need not be JSON
            example = f". Example: {variable}='{json.dumps(field.examples[0])}'" if field and field.examples else ""
            lines.append(f"{variable}: a list or a section must be JSON in the environment (it is {text!r}){example}")
    return "\n".join(lines) or "A variable that begins with OPSBOT_ holds something that is not JSON"


def _model_at(path: tuple[str, ...], tree: type[BaseModel]) -> type[BaseModel] | None:
    """The model of a section; in a section of named tables (``people``) the next part of the path is a name."""
    model: type[BaseModel] | None = tree
    parts = iter(path)
    for part in parts:
        if model is None or part not in model.model_fields:
            return None
        annotation = model.model_fields[part].annotation
        candidates = getattr(annotation, "__args__", (annotation,))
        model = next((kind for kind in candidates if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        if getattr(annotation, "__origin__", None) is dict:
            next(parts, None)
    return model


def _siblings(path: tuple[str, ...], tree: type[BaseModel]) -> list[str]:
    parent = _model_at(path[:-1], tree)
    return list(parent.model_fields) if parent else []


def _example(path: tuple[str, ...], tree: type[BaseModel]) -> str:
    parent = _model_at(path[:-1], tree)
    field = parent.model_fields.get(path[-1]) if parent else None
    if field is None or not field.examples:
        return ""
    value = field.examples[0]
    shown = f'"{value}"' if isinstance(value, str) else str(value).replace("'", '"')
    return f"{path[-1]} = {shown}"
