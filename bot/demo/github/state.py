"""What the local GitHub remembers: accounts, one repository, its issues, comments, workflows and deliveries."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import yaml

from bot.clock import Clock

# What GitHub's permission API answers for each role: the old word beside the role's own name.
PERMISSION_OF_ROLE = {
    "admin": "admin",
    "maintain": "write",
    "write": "write",
    "triage": "read",
    "read": "read",
    "none": "none",
}


@dataclass(slots=True)
class User:
    id: int
    login: str
    type: str = "User"  # or "Bot"


@dataclass(slots=True)
class Credential:
    """A token: whose it is and what it may do, in the words of GitHub's fine-grained permissions."""

    user: User
    permissions: dict[str, str]  # {"issues": "write"}
    expires_at: datetime | None = None
    installation: bool = False


@dataclass(slots=True)
class Reaction:
    id: int
    user: User
    content: str
    created_at: datetime


@dataclass(slots=True)
class Comment:
    id: int
    issue: int
    user: User
    body: str
    created_at: datetime
    updated_at: datetime
    reactions: list[Reaction] = field(default_factory=list)
    edits: list[tuple[User, datetime]] = field(default_factory=list)
    seen: str | None = None  # the text that a test has looked at
    minimised: str = ""  # why it is folded away: outdated, resolved, …


@dataclass(slots=True)
class Label:
    id: int
    name: str
    color: str = "ededed"
    description: str | None = None


@dataclass(frozen=True, slots=True)
class LabelEvent:
    """A label was set or taken away: what the issue's events tell."""

    id: int
    event: str  # labeled, unlabeled
    label: str
    user: User
    at: datetime


@dataclass(slots=True)
class Issue:
    id: int
    number: int
    title: str
    body: str
    user: User
    created_at: datetime
    updated_at: datetime
    labels: list[str] = field(default_factory=list)
    state: str = "open"
    locked: bool = False
    closed_at: datetime | None = None
    events: list[LabelEvent] = field(default_factory=list)
    reactions: list[Reaction] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Job:
    """A job of a workflow's runs; ``fails_at`` names the step that ends it red."""

    name: str
    steps: tuple[str, ...] = ("Set up job", "Run")
    fails_at: str = ""


@dataclass(slots=True)
class Workflow:
    """A workflow file as it stands in ``.github/workflows``; new runs wait and work for so many seconds."""

    id: int
    file: str
    text: str
    created_at: datetime
    state: str = "active"
    queue_seconds: float = 2.0
    run_seconds: float = 8.0
    conclusion: str = "success"
    jobs: tuple[Job, ...] = (Job("pipeline"),)
    obeys: bool = True  # its runs end when they are cancelled; otherwise only force ends them

    @property
    def path(self) -> str:
        return f".github/workflows/{self.file}"

    @property
    def document(self) -> dict[Any, Any]:
        loaded = yaml.safe_load(self.text)
        return loaded if isinstance(loaded, dict) else {}

    @property
    def name(self) -> str:
        return str(self.document.get("name") or self.path)

    @property
    def inputs(self) -> dict[str, dict[str, Any]] | None:
        """The declared inputs of ``workflow_dispatch``; None without that trigger."""
        # YAML 1.1 reads the bare key "on" as true.
        triggers = self.document.get("on", self.document.get(True))
        if isinstance(triggers, str):
            triggers = [triggers]
        if isinstance(triggers, list):
            return {} if "workflow_dispatch" in triggers else None
        if not isinstance(triggers, dict) or "workflow_dispatch" not in triggers:
            return None
        return {name: spec or {} for name, spec in ((triggers["workflow_dispatch"] or {}).get("inputs") or {}).items()}

    def begins_on(self, event: str, action: str) -> bool:
        """Whether ``issues`` with ``labeled`` starts a run."""
        triggers = self.document.get("on", self.document.get(True))
        if not isinstance(triggers, dict):
            return event in (triggers if isinstance(triggers, list) else [triggers])
        if event not in triggers:
            return False
        types = (triggers[event] or {}).get("types")
        return types is None or action in types


@dataclass(slots=True)
class WorkflowRun:
    id: int
    number: int
    workflow: Workflow
    event: str
    branch: str
    actor: User
    inputs: dict[str, str]
    created_at: datetime
    conclusion: str  # what it will end with
    ended_at: datetime | None = None  # when somebody ended it; otherwise the workflow's times decide
    title: str = ""
    cancelled_at: datetime | None = None  # asked to, whether it obeys or not

    def at(self, now: datetime) -> tuple[str, str | None]:
        """Status and conclusion."""
        if self.ended_at is not None and now >= self.ended_at:
            return "completed", self.conclusion
        age = now - self.created_at
        if age < timedelta(seconds=self.workflow.queue_seconds):
            return "queued", None
        if age < timedelta(seconds=self.workflow.queue_seconds + self.workflow.run_seconds):
            return "in_progress", None
        return "completed", self.conclusion


@dataclass(frozen=True, slots=True)
class Commit:
    """``tree``: every file by its path, as it is after this commit."""

    sha: str
    message: str
    author: User
    at: datetime
    tree: dict[str, bytes]
    parent: str = ""


@dataclass(slots=True)
class Pull:
    id: int
    number: int
    title: str
    body: str
    head: str
    base: str
    user: User
    created_at: datetime
    state: str = "open"


@dataclass(slots=True)
class Repository:
    id: int
    owner: User
    name: str
    created_at: datetime
    private: bool = True
    has_issues: bool = True
    archived: bool = False
    default_branch: str = "main"
    roles: dict[str, str] = field(default_factory=dict)  # login in lower case -> role name
    custom_roles: dict[str, str] = field(default_factory=dict)  # name of a custom role -> the role that it extends
    issues: dict[int, Issue] = field(default_factory=dict)
    deleted_issues: set[int] = field(default_factory=set)
    comments: dict[int, Comment] = field(default_factory=dict)
    labels: dict[str, Label] = field(default_factory=dict)  # by name in lower case
    workflows: dict[int, Workflow] = field(default_factory=dict)
    runs: dict[int, WorkflowRun] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)  # by sha
    branches: dict[str, str] = field(default_factory=dict)  # name -> sha; empty until a file is committed
    pulls: dict[int, Pull] = field(default_factory=dict)
    secrets: dict[str, datetime] = field(default_factory=dict)  # names only, as GitHub tells them
    actions_enabled: bool = True
    allowed_actions: str = "all"

    @property
    def full_name(self) -> str:
        return f"{self.owner.login}/{self.name}"

    def role(self, login: str) -> str:
        given = self.roles.get(login.casefold())
        return given or ("none" if self.private else "read")

    def permission(self, login: str) -> str:
        role = self.role(login)
        return PERMISSION_OF_ROLE[self.custom_roles.get(role, role)]

    def workflow(self, name: str) -> Workflow | None:
        """By id or by file name, as the API takes it."""
        for workflow in self.workflows.values():
            if name in (str(workflow.id), workflow.file):
                return workflow
        return None


class World:
    """Everything; all changes go through here so that ids grow and times are GitHub's (whole seconds)."""

    def __init__(self, clock: Clock, full_name: str) -> None:
        self._clock = clock
        self._ids = itertools.count(1_000_001)
        self.users: dict[str, User] = {}  # by login in lower case
        self.credentials: dict[str, Credential] = {}  # by token
        owner, name = full_name.split("/")
        self.repository = Repository(self.new_id(), self.user(owner), name, self.now())
        self.repository.roles[owner.casefold()] = "admin"

    def now(self) -> datetime:
        return self._clock.now().replace(microsecond=0)

    def new_id(self) -> int:
        return next(self._ids)

    def user(self, login: str, kind: str = "User") -> User:
        """The account of this name, made when there is none."""
        known = self.users.get(login.casefold())
        if known is None:
            known = self.users[login.casefold()] = User(self.new_id(), login, kind)
        return known

    def add_issue(self, user: User, title: str, body: str = "", number: int | None = None) -> Issue:
        repository = self.repository
        number = number or self.next_number()
        if number in repository.issues:
            raise ValueError(f"issue #{number} is there already")
        issue = Issue(self.new_id(), number, title, body, user, self.now(), self.now())
        repository.issues[number] = issue
        return issue

    def next_number(self) -> int:
        """Issues and pull requests share their numbers."""
        repository = self.repository
        return max([0, *repository.issues, *repository.deleted_issues, *repository.pulls]) + 1

    def commit(self, user: User, branch: str, path: str, data: bytes, message: str) -> Commit:
        """A commit that changes one file, at the end of ``branch``."""
        repository = self.repository
        parent = repository.branches.get(branch, "")
        tree = dict(repository.commits[parent].tree) if parent else {}
        tree[path] = data
        sha = hashlib.sha1(f"{self.new_id()} {path}".encode(), usedforsecurity=False).hexdigest()
        made = Commit(sha, message, user, self.now(), tree, parent)
        repository.commits[made.sha] = made
        repository.branches[branch] = made.sha
        return made

    def start_run(
        self, workflow: Workflow, event: str, branch: str, user: User, inputs: dict[str, str] | None = None
    ) -> WorkflowRun:
        """A new run of a workflow, queued."""
        repository = self.repository
        run = WorkflowRun(
            self.new_id(),
            sum(other.workflow is workflow for other in repository.runs.values()) + 1,
            workflow,
            event,
            branch,
            user,
            inputs or {},
            self.now(),
            workflow.conclusion,
        )
        repository.runs[run.id] = run
        return run

    def happened(self, event: str, action: str, user: User, title: str) -> None:
        """Start what begins on this event: ``issues``, ``labeled``."""
        repository = self.repository
        for workflow in repository.workflows.values():
            if repository.actions_enabled and workflow.state == "active" and workflow.begins_on(event, action):
                self.start_run(workflow, event, repository.default_branch, user).title = title

    def add_comment(self, user: User, issue: int, body: str) -> Comment:
        now = self.now()
        comment = Comment(self.new_id(), issue, user, body, now, now)
        self.repository.comments[comment.id] = comment
        self.repository.issues[issue].updated_at = now
        return comment

    def edit_comment(self, user: User, comment: Comment, body: str) -> str:
        """The text before."""
        before, comment.body = comment.body, body
        comment.updated_at = self.now()
        comment.edits.append((user, comment.updated_at))
        return before

    def ensure_label(self, name: str, color: str = "ededed", description: str | None = None) -> Label:
        labels = self.repository.labels
        if name.casefold() not in labels:
            labels[name.casefold()] = Label(self.new_id(), name, color, description)
        return labels[name.casefold()]

    def comments(self, issue: int | None = None) -> list[Comment]:
        return [c for c in self.repository.comments.values() if issue is None or c.issue == issue]
