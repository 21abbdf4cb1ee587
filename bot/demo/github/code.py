"""Files of the local GitHub: contents at any commit, history, branches, pull requests."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any

from aiohttp import web

from bot.demo.github.answers import Refusal, body_of, not_found, page, reply, text_of
from bot.demo.github.gate import CREDENTIAL
from bot.demo.github.issues import repository_of
from bot.demo.github.shapes import JSON, Shapes, iso, node
from bot.demo.github.state import Commit, Pull, Repository, World

NO_COMMIT = "0" * 39 + "1"  # of a repository in which nobody has committed a file yet


class Code:
    """The handlers; ``routes`` gives them to aiohttp. Workflow files stand beside what was committed."""

    def __init__(self, world: World, shapes: Shapes) -> None:
        self._world = world
        self._shapes = shapes

    def routes(self) -> list[web.RouteDef]:
        repository = "/repos/{owner}/{repo}"
        return [
            web.get(repository + "/contents/{path:.+}", self.contents),
            web.put(repository + "/contents/{path:.+}", self.write),
            web.get(repository + "/commits", self.list_commits),
            web.get(repository + "/git/ref/{ref:.+}", self.get_ref),
            web.post(repository + "/git/refs", self.create_ref),
            web.get(repository + "/pulls", self.list_pulls),
            web.post(repository + "/pulls", self.create_pull),
        ]

    async def contents(self, request: web.Request) -> web.Response:
        repository = repository_of(request, self._world)
        path = request.match_info["path"].rstrip("/")
        files = self._files(repository, request.query.get("ref", ""))
        if path in files:
            return reply(self._file(repository, path, files[path], whole=True))
        inside = [name for name in files if name.startswith(f"{path}/") and "/" not in name[len(path) + 1 :]]
        if not inside:
            raise not_found()
        return reply([self._file(repository, name, files[name], whole=False) for name in inside])

    async def write(self, request: web.Request) -> web.Response:
        repository = repository_of(request, self._world)
        data = await body_of(request)
        path, branch = request.match_info["path"], str(data.get("branch") or repository.default_branch)
        message = text_of(data, "message", "Commit")
        if branch not in repository.branches:
            raise Refusal(404, f"Branch {branch} not found")
        try:
            raw = base64.b64decode(str(data.get("content", "")), validate=True)
        except binascii.Error:
            raise Refusal(422, "content is not valid Base64.") from None
        before = repository.commits[repository.branches[branch]].tree.get(path)
        if before is not None and data.get("sha") != blob_of(before):
            raise Refusal(409, f"{path} does not match {data.get('sha')}")
        made = self._world.commit(request[CREDENTIAL].user, branch, path, raw, message)
        return reply(
            {"content": self._file(repository, path, raw, whole=False), "commit": {"sha": made.sha}},
            201 if before is None else 200,
        )

    async def list_commits(self, request: web.Request) -> web.Response:
        repository = repository_of(request, self._world)
        commit = repository.commits.get(self._sha(repository, request.query.get("sha", "")))
        path = request.query.get("path", "")
        rows: list[Commit] = []
        while commit is not None:
            parent = repository.commits.get(commit.parent)
            if not path or commit.tree.get(path) != (parent.tree.get(path) if parent else None):
                rows.append(commit)
            commit = parent
        return page(request, rows, lambda row: self._commit(repository, row))

    async def get_ref(self, request: web.Request) -> web.Response:
        repository = repository_of(request, self._world)
        branch = request.match_info["ref"].removeprefix("heads/")
        if branch not in repository.branches:
            raise not_found()
        return reply(self._ref(repository, branch))

    async def create_ref(self, request: web.Request) -> web.Response:
        repository = repository_of(request, self._world)
        data = await body_of(request)
        reference, sha = str(data.get("ref", "")), str(data.get("sha", ""))
        branch = reference.removeprefix("refs/heads/")
        if branch == reference or not branch:
            raise Refusal(422, "Reference name must start with 'refs/'.")
        if branch in repository.branches:
            raise Refusal(422, "Reference already exists")
        if sha not in repository.commits:
            raise Refusal(422, "Object does not exist")
        repository.branches[branch] = sha
        return reply(self._ref(repository, branch), 201)

    async def list_pulls(self, request: web.Request) -> web.Response:
        repository = repository_of(request, self._world)
        state, head = request.query.get("state", "open"), request.query.get("head", "")
        rows = [
            pull
            for pull in repository.pulls.values()
            if state in ("all", pull.state) and head in ("", pull.head, f"{repository.owner.login}:{pull.head}")
        ]
        return page(request, rows, lambda pull: self._pull(repository, pull))

    async def create_pull(self, request: web.Request) -> web.Response:
        repository = repository_of(request, self._world)
        data = await body_of(request)
        head, base = str(data.get("head", "")), str(data.get("base", ""))
        for name, branch in (("head", head), ("base", base)):
            if branch not in repository.branches:
                error = {"resource": "PullRequest", "field": name, "code": "invalid"}
                raise Refusal(422, "Validation Failed", errors=[error])
        if any(pull.head == head and pull.base == base and pull.state == "open" for pull in repository.pulls.values()):
            message = f"A pull request already exists for {repository.owner.login}:{head}."
            error = {"resource": "PullRequest", "code": "custom", "message": message}
            raise Refusal(422, "Validation Failed", errors=[error])
        pull = Pull(
            self._world.new_id(),
            self._world.next_number(),
            text_of(data, "title", "PullRequest"),
            str(data.get("body") or ""),
            head,
            base,
            request[CREDENTIAL].user,
            self._world.now(),
        )
        repository.pulls[pull.number] = pull
        shown = self._pull(repository, pull) | {
            "additions": 1,
            "changed_files": 1,
            "comments": 0,
            "commits": 1,
            "deletions": 1,
            "mergeable": None,
            "mergeable_state": "unknown",
            "merged": False,
            "maintainer_can_modify": False,
            "merged_by": None,
            "review_comments": 0,
        }
        return reply(shown, 201)

    def _sha(self, repository: Repository, reference: str) -> str:
        """A branch, or a commit by its whole sha or its beginning."""
        branch = reference or repository.default_branch
        if branch in repository.branches:
            return repository.branches[branch]
        return next((sha for sha in repository.commits if len(reference) >= 7 and sha.startswith(reference)), "")

    def _files(self, repository: Repository, reference: str) -> dict[str, bytes]:
        found = repository.commits.get(self._sha(repository, reference))
        if found is None and reference not in ("", repository.default_branch):
            raise Refusal(404, f"No commit found for the ref {reference}")
        workflows = {workflow.path: workflow.text.encode() for workflow in repository.workflows.values()}
        return workflows | (found.tree if found else {})

    def _file(self, repository: Repository, path: str, raw: bytes, *, whole: bool) -> JSON:
        blob = blob_of(raw)
        url = f"{self._shapes.repository_url(repository)}/contents/{path}"
        html = f"{self._shapes.base}/{repository.full_name}/blob/{repository.default_branch}/{path}"
        git = f"{self._shapes.repository_url(repository)}/git/blobs/{blob}"
        shown: dict[str, Any] = {
            "type": "file",
            "size": len(raw),
            "name": path.rsplit("/", 1)[-1],
            "path": path,
            "sha": blob,
            "url": url,
            "git_url": git,
            "html_url": html,
            "download_url": html,
            "_links": {"self": url, "git": git, "html": html},
        }
        if whole:
            shown |= {"encoding": "base64", "content": base64.encodebytes(raw).decode()}
        return shown

    def _commit(self, repository: Repository, commit: Commit) -> JSON:
        url = f"{self._shapes.repository_url(repository)}/commits/{commit.sha}"
        html = f"{self._shapes.base}/{repository.full_name}/commit/{commit.sha}"
        person = {
            "name": commit.author.login,
            "email": f"{commit.author.login}@users.noreply.invalid",
            "date": iso(commit.at),
        }
        return {
            "url": url,
            "sha": commit.sha,
            "node_id": node("C", int(commit.sha, 16)),
            "html_url": html,
            "comments_url": f"{url}/comments",
            "commit": {
                "url": url,
                "author": person,
                "committer": person,
                "message": commit.message,
                "comment_count": 0,
                "tree": {"sha": commit.sha, "url": f"{self._shapes.repository_url(repository)}/git/trees/{commit.sha}"},
            },
            "author": self._shapes.user(commit.author),
            "committer": self._shapes.user(commit.author),
            "parents": [{"sha": commit.parent, "url": url, "html_url": html}] if commit.parent else [],
        }

    def _ref(self, repository: Repository, branch: str) -> JSON:
        base = f"{self._shapes.repository_url(repository)}/git"
        sha = repository.branches[branch]
        return {
            "ref": f"refs/heads/{branch}",
            "node_id": node("REF", len(branch)),
            "url": f"{base}/refs/heads/{branch}",
            "object": {"type": "commit", "sha": sha, "url": f"{base}/commits/{sha}"},
        }

    def _pull(self, repository: Repository, pull: Pull) -> JSON:
        url = f"{self._shapes.repository_url(repository)}/pulls/{pull.number}"
        issue = f"{self._shapes.repository_url(repository)}/issues/{pull.number}"
        html = f"{self._shapes.base}/{repository.full_name}/pull/{pull.number}"

        def end(branch: str) -> JSON:
            return {
                "label": f"{repository.owner.login}:{branch}",
                "ref": branch,
                "sha": repository.branches.get(branch, NO_COMMIT),
                "user": self._shapes.user(repository.owner),
                "repo": self._shapes.full_repository(repository, repository.owner) | {"has_downloads": True},
            }

        links = {
            "comments": f"{issue}/comments",
            "commits": f"{url}/commits",
            "statuses": f"{url}/statuses",
            "html": html,
            "issue": issue,
            "review_comments": f"{url}/comments",
            "review_comment": f"{url}/comments{{/number}}",
            "self": url,
        }
        return {
            "url": url,
            "id": pull.id,
            "node_id": node("PR", pull.id),
            "html_url": html,
            "diff_url": f"{html}.diff",
            "patch_url": f"{html}.patch",
            "issue_url": issue,
            "commits_url": f"{url}/commits",
            "review_comments_url": f"{url}/comments",
            "review_comment_url": f"{url}/comments{{/number}}",
            "comments_url": f"{issue}/comments",
            "statuses_url": f"{url}/statuses",
            "number": pull.number,
            "state": pull.state,
            "locked": False,
            "title": pull.title,
            "user": self._shapes.user(pull.user),
            "body": pull.body,
            "labels": [],
            "milestone": None,
            "created_at": iso(pull.created_at),
            "updated_at": iso(pull.created_at),
            "closed_at": None,
            "merged_at": None,
            "merge_commit_sha": None,
            "assignee": None,
            "head": end(pull.head),
            "base": end(pull.base),
            "_links": {name: {"href": address} for name, address in links.items()},
            "author_association": "COLLABORATOR",
            "auto_merge": None,
        }


def blob_of(raw: bytes) -> str:
    """The sha of a file, as git names it."""
    return hashlib.sha1(b"blob %d\0" % len(raw) + raw, usedforsecurity=False).hexdigest()
