"""The local GitHub's state as the JSON that GitHub's REST API gives (api.github.com, version 2022-11-28)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from bot.demo.github.state import (
    Comment,
    Issue,
    Job,
    Label,
    LabelEvent,
    Reaction,
    Repository,
    User,
    Workflow,
    WorkflowRun,
)

JSON = dict[str, Any]
REACTIONS = ("+1", "-1", "laugh", "hooray", "confused", "heart", "rocket", "eyes")

_USER_LINKS = {
    "followers_url": "/followers",
    "following_url": "/following{/other_user}",
    "gists_url": "/gists{/gist_id}",
    "starred_url": "/starred{/owner}{/repo}",
    "subscriptions_url": "/subscriptions",
    "organizations_url": "/orgs",
    "repos_url": "/repos",
    "events_url": "/events{/privacy}",
    "received_events_url": "/received_events",
}
_REPOSITORY_LINKS = {
    "archive_url": "/{archive_format}{/ref}",
    "assignees_url": "/assignees{/user}",
    "blobs_url": "/git/blobs{/sha}",
    "branches_url": "/branches{/branch}",
    "collaborators_url": "/collaborators{/collaborator}",
    "comments_url": "/comments{/number}",
    "commits_url": "/commits{/sha}",
    "compare_url": "/compare/{base}...{head}",
    "contents_url": "/contents/{+path}",
    "contributors_url": "/contributors",
    "deployments_url": "/deployments",
    "downloads_url": "/downloads",
    "events_url": "/events",
    "forks_url": "/forks",
    "git_commits_url": "/git/commits{/sha}",
    "git_refs_url": "/git/refs{/sha}",
    "git_tags_url": "/git/tags{/sha}",
    "hooks_url": "/hooks",
    "issue_comment_url": "/issues/comments{/number}",
    "issue_events_url": "/issues/events{/number}",
    "issues_url": "/issues{/number}",
    "keys_url": "/keys{/key_id}",
    "labels_url": "/labels{/name}",
    "languages_url": "/languages",
    "merges_url": "/merges",
    "milestones_url": "/milestones{/number}",
    "notifications_url": "/notifications{?since,all,participating}",
    "pulls_url": "/pulls{/number}",
    "releases_url": "/releases{/id}",
    "stargazers_url": "/stargazers",
    "statuses_url": "/statuses/{sha}",
    "subscribers_url": "/subscribers",
    "subscription_url": "/subscription",
    "tags_url": "/tags",
    "teams_url": "/teams",
    "trees_url": "/git/trees{/sha}",
}


def iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def node(kind: str, number: int) -> str:
    return f"{kind}_{number}"


def conclusion_of(job: Job, step: str, conclusion: str | None) -> str | None:
    """Of one step of a job that has ended: what stands behind the one that failed was skipped."""
    if not job.fails_at or conclusion == "cancelled":
        return conclusion
    return "success" if job.steps.index(step) < job.steps.index(job.fails_at) else "skipped"


class Shapes:
    """``base`` is the address of the API; every URL in an answer begins with it."""

    def __init__(self, base: str) -> None:
        self.base = base

    def user(self, user: User) -> JSON:
        url = f"{self.base}/users/{user.login}"
        return {
            "login": user.login,
            "id": user.id,
            "node_id": node("U", user.id),
            "avatar_url": f"{self.base}/avatars/{user.id}",
            "gravatar_id": "",
            "url": url,
            "html_url": f"{self.base}/{user.login}",
            **{name: url + path for name, path in _USER_LINKS.items()},
            "type": user.type,
            "user_view_type": "public",
            "site_admin": False,
        }

    def account(self, user: User, created_at: datetime) -> JSON:
        """The long form of a user."""
        return {
            **self.user(user),
            "name": user.login,
            "company": None,
            "blog": "",
            "location": None,
            "email": None,
            "hireable": None,
            "bio": None,
            "public_repos": 1,
            "public_gists": 0,
            "followers": 0,
            "following": 0,
            "created_at": iso(created_at),
            "updated_at": iso(created_at),
        }

    def repository_url(self, repository: Repository) -> str:
        return f"{self.base}/repos/{repository.full_name}"

    def repository(self, repository: Repository) -> JSON:
        """The short form that stands in other objects."""
        url = self.repository_url(repository)
        return {
            "id": repository.id,
            "node_id": node("R", repository.id),
            "name": repository.name,
            "full_name": repository.full_name,
            "private": repository.private,
            "owner": self.user(repository.owner),
            "html_url": f"{self.base}/{repository.full_name}",
            "description": None,
            "fork": False,
            "url": url,
            **{name: url + path for name, path in _REPOSITORY_LINKS.items()},
        }

    def full_repository(self, repository: Repository, viewer: User) -> JSON:
        html = f"{self.base}/{repository.full_name}"
        open_issues = sum(issue.state == "open" for issue in repository.issues.values())
        order = ("none", "read", "triage", "write", "maintain", "admin")
        role = repository.role(viewer.login)
        level = order.index(repository.custom_roles.get(role, role))
        return {
            **self.repository(repository),
            "git_url": html,
            "ssh_url": html,
            "clone_url": html,
            "svn_url": html,
            "mirror_url": None,
            "homepage": None,
            "language": "Python",
            "forks": 0,
            "forks_count": 0,
            "stargazers_count": 0,
            "watchers": 0,
            "watchers_count": 0,
            "size": 1,
            "default_branch": repository.default_branch,
            "open_issues": open_issues,
            "open_issues_count": open_issues,
            "has_issues": repository.has_issues,
            "has_projects": True,
            "has_wiki": False,
            "has_pages": False,
            "has_discussions": False,
            "archived": repository.archived,
            "disabled": False,
            "license": None,
            "pushed_at": iso(repository.created_at),
            "created_at": iso(repository.created_at),
            "updated_at": iso(repository.created_at),
            "network_count": 0,
            "subscribers_count": 0,
            "permissions": {
                "admin": level >= 5,
                "maintain": level >= 4,
                "push": level >= 3,
                "triage": level >= 2,
                "pull": level >= 1,
            },
        }

    def label(self, repository: Repository, label: Label) -> JSON:
        return {
            "id": label.id,
            "node_id": node("LA", label.id),
            "url": f"{self.repository_url(repository)}/labels/{label.name}",
            "name": label.name,
            "color": label.color,
            "default": False,
            "description": label.description,
            "archived_at": None,
            "archived_by": None,
        }

    def rollup(self, url: str, reactions: Iterable[Reaction]) -> JSON:
        counts = Counter(reaction.content for reaction in reactions)
        return {
            "url": f"{url}/reactions",
            "total_count": counts.total(),
            **{content: counts[content] for content in REACTIONS},
        }

    def reaction(self, reaction: Reaction) -> JSON:
        return {
            "id": reaction.id,
            "node_id": node("REA", reaction.id),
            "user": self.user(reaction.user),
            "content": reaction.content,
            "created_at": iso(reaction.created_at),
        }

    def issue(self, repository: Repository, issue: Issue) -> JSON:
        url = f"{self.repository_url(repository)}/issues/{issue.number}"
        return {
            "url": url,
            "repository_url": self.repository_url(repository),
            "labels_url": f"{url}/labels{{/name}}",
            "comments_url": f"{url}/comments",
            "events_url": f"{url}/events",
            "html_url": f"{self.base}/{repository.full_name}/issues/{issue.number}",
            "id": issue.id,
            "node_id": node("I", issue.id),
            "number": issue.number,
            "title": issue.title,
            "user": self.user(issue.user),
            "labels": [self.label(repository, repository.labels[name.casefold()]) for name in issue.labels],
            "state": issue.state,
            "state_reason": None,
            "locked": issue.locked,
            "active_lock_reason": None,
            "assignee": None,
            "assignees": [],
            "milestone": None,
            "comments": sum(comment.issue == issue.number for comment in repository.comments.values()),
            "created_at": iso(issue.created_at),
            "updated_at": iso(issue.updated_at),
            "closed_at": iso(issue.closed_at) if issue.closed_at else None,
            "author_association": self._association(repository, issue.user),
            "body": issue.body,
            "reactions": self.rollup(url, issue.reactions),
            "timeline_url": f"{url}/timeline",
            "performed_via_github_app": None,
        }

    def comment(self, repository: Repository, comment: Comment) -> JSON:
        url = f"{self.repository_url(repository)}/issues/comments/{comment.id}"
        html = f"{self.base}/{repository.full_name}/issues/{comment.issue}"
        return {
            "url": url,
            "html_url": f"{html}#issuecomment-{comment.id}",
            "issue_url": f"{self.repository_url(repository)}/issues/{comment.issue}",
            "id": comment.id,
            "node_id": node("IC", comment.id),
            "user": self.user(comment.user),
            "created_at": iso(comment.created_at),
            "updated_at": iso(comment.updated_at),
            "author_association": self._association(repository, comment.user),
            "body": comment.body,
            "reactions": self.rollup(url, comment.reactions),
            "performed_via_github_app": None,
        }

    def workflow(self, repository: Repository, workflow: Workflow) -> JSON:
        html = f"{self.base}/{repository.full_name}"
        return {
            "id": workflow.id,
            "node_id": node("W", workflow.id),
            "name": workflow.name,
            "path": workflow.path,
            "state": workflow.state,
            "created_at": iso(workflow.created_at),
            "updated_at": iso(workflow.created_at),
            "url": f"{self.repository_url(repository)}/actions/workflows/{workflow.id}",
            "html_url": f"{html}/blob/{repository.default_branch}/{workflow.path}",
            "badge_url": f"{html}/workflows/{workflow.id}/badge.svg",
        }

    def run(self, repository: Repository, run: WorkflowRun, now: datetime) -> JSON:
        status, conclusion = run.at(now)
        url = f"{self.repository_url(repository)}/actions/runs/{run.id}"
        sha = f"{run.id:040x}"
        committer = {"name": run.actor.login, "email": f"{run.actor.login}@users.noreply.invalid"}
        return {
            "id": run.id,
            "name": run.workflow.name,
            "node_id": node("WFR", run.id),
            "head_branch": run.branch,
            "head_sha": sha,
            "path": run.workflow.path,
            "display_title": run.title or run.workflow.name,
            "run_number": run.number,
            "run_attempt": 1,
            "event": run.event,
            "status": status,
            "conclusion": conclusion,
            "workflow_id": run.workflow.id,
            "url": url,
            "html_url": f"{self.base}/{repository.full_name}/actions/runs/{run.id}",
            "pull_requests": [],
            "created_at": iso(run.created_at),
            "updated_at": iso(min(now, run.ended_at or now)),
            "run_started_at": iso(run.created_at),
            "actor": self.user(run.actor),
            "triggering_actor": self.user(run.actor),
            "jobs_url": f"{url}/jobs",
            "logs_url": f"{url}/logs",
            "check_suite_id": run.id,
            "check_suite_node_id": node("CS", run.id),
            "check_suite_url": f"{self.repository_url(repository)}/check-suites/{run.id}",
            "artifacts_url": f"{url}/artifacts",
            "cancel_url": f"{url}/cancel",
            "rerun_url": f"{url}/rerun",
            "previous_attempt_url": None,
            "workflow_url": f"{self.repository_url(repository)}/actions/workflows/{run.workflow.id}",
            "head_commit": {
                "id": sha,
                "tree_id": sha,
                "message": "a commit",
                "timestamp": iso(run.created_at),
                "author": committer,
                "committer": committer,
            },
            "repository": self.repository(repository),
            "head_repository": self.repository(repository),
        }

    def label_event(self, repository: Repository, event: LabelEvent) -> JSON:
        label = repository.labels[event.label.casefold()]
        return {
            "id": event.id,
            "node_id": node("LE", event.id),
            "url": f"{self.repository_url(repository)}/issues/events/{event.id}",
            "actor": self.user(event.user),
            "event": event.event,
            "commit_id": None,
            "commit_url": None,
            "created_at": iso(event.at),
            "label": {"name": label.name, "color": label.color},
            "performed_via_github_app": None,
        }

    def job(self, repository: Repository, run: WorkflowRun, index: int, job: Job, now: datetime) -> JSON:
        """A job of a run. Its steps begin and end with it: the local GitHub does not tell them apart in time."""
        status, conclusion = run.at(now)
        ended = status == "completed"
        if ended and conclusion not in ("cancelled", "skipped"):
            conclusion = "failure" if job.fails_at else "success"
        number = run.id * 100 + index
        began = iso(run.created_at)
        over = iso(run.ended_at or now) if ended else None
        return {
            "id": number,
            "run_id": run.id,
            "run_url": f"{self.repository_url(repository)}/actions/runs/{run.id}",
            "node_id": node("CR", number),
            "head_sha": f"{run.id:040x}",
            "url": f"{self.repository_url(repository)}/actions/jobs/{number}",
            "html_url": f"{self.base}/{repository.full_name}/actions/runs/{run.id}/job/{number}",
            "status": status,
            "conclusion": conclusion if ended else None,
            "created_at": began,
            "started_at": began,
            "completed_at": over,
            "name": job.name,
            "steps": [
                {
                    "name": step,
                    "status": status,
                    "conclusion": ("failure" if step == job.fails_at else conclusion_of(job, step, conclusion))
                    if ended
                    else None,
                    "number": position,
                    "started_at": began,
                    "completed_at": over,
                }
                for position, step in enumerate(job.steps, 1)
            ],
            "check_run_url": f"{self.repository_url(repository)}/check-runs/{number}",
            "labels": ["ubuntu-latest"],
            "runner_id": None,
            "runner_name": None,
            "runner_group_id": None,
            "runner_group_name": None,
            "workflow_name": run.workflow.name,
            "head_branch": run.branch,
        }

    @staticmethod
    def _association(repository: Repository, user: User) -> str:
        if user is repository.owner:
            return "OWNER"
        return "COLLABORATOR" if user.login.casefold() in repository.roles else "NONE"
