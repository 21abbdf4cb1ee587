"""Issues, comments, reactions and labels of the local GitHub."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from bot.demo.github.answers import Refusal, body_of, invalid, not_found, page, reply, since, text_of
from bot.demo.github.deliveries import Deliveries
from bot.demo.github.gate import CREDENTIAL
from bot.demo.github.shapes import JSON, REACTIONS, Shapes
from bot.demo.github.state import Comment, Issue, LabelEvent, Reaction, Repository, User, World


class Issues:
    """The handlers; ``routes`` gives them to aiohttp."""

    def __init__(self, world: World, shapes: Shapes, deliveries: Deliveries) -> None:
        self._world = world
        self._shapes = shapes
        self._deliveries = deliveries

    def routes(self) -> list[web.RouteDef]:
        issues = "/repos/{owner}/{repo}/issues"
        comment = issues + "/comments/{comment_id}"
        issue = issues + "/{issue_number}"
        labels = "/repos/{owner}/{repo}/labels"
        return [
            web.get(issues, self.list_issues),
            web.post(issues, self.create_issue),
            web.get(issues + "/comments", self.list_all_comments),
            web.get(comment, self.get_comment),
            web.patch(comment, self.update_comment),
            web.delete(comment, self.delete_comment),
            *(
                route
                for reactions in (comment + "/reactions", issue + "/reactions")
                for route in (
                    web.get(reactions, self.list_reactions),
                    web.post(reactions, self.create_reaction),
                    web.delete(reactions + "/{reaction_id}", self.delete_reaction),
                )
            ),
            web.get(issue, self.get_issue),
            web.patch(issue, self.update_issue),
            web.get(issue + "/comments", self.list_comments),
            web.post(issue + "/comments", self.create_comment),
            web.get(issue + "/events", self.list_events),
            web.get(issue + "/labels", self.list_issue_labels),
            web.post(issue + "/labels", self.add_labels),
            web.put(issue + "/labels", self.set_labels),
            web.delete(issue + "/labels/{name}", self.remove_label),
            web.get(labels, self.list_labels),
            web.post(labels, self.create_label),
        ]

    # What people and the API both do: the change and its webhook.

    def comment(self, user: User, issue: Issue, body: str) -> Comment:
        comment = self._world.add_comment(user, issue.number, body)
        self._tell("created", user, issue, comment)
        return comment

    def edit(self, user: User, comment: Comment, body: str) -> None:
        before = self._world.edit_comment(user, comment, body)
        issue = self._world.repository.issues[comment.issue]
        self._tell("edited", user, issue, comment, {"changes": {"body": {"from": before}}})

    def delete(self, user: User, comment: Comment) -> None:
        issue = self._world.repository.issues[comment.issue]
        self._tell("deleted", user, issue, comment)
        del self._world.repository.comments[comment.id]

    def open_issue(self, user: User, title: str, body: str = "", number: int | None = None) -> Issue:
        issue = self._world.add_issue(user, title, body, number)
        self._world.happened("issues", "opened", user, title)
        self._deliveries.send("issues", "opened", user, {"issue": self._shapes.issue(self._world.repository, issue)})
        return issue

    def label(self, user: User, issue: Issue, name: str) -> None:
        label = self._world.ensure_label(name)
        if label.name not in issue.labels:
            issue.labels.append(label.name)
            issue.updated_at = self._world.now()
            issue.events.append(LabelEvent(self._world.new_id(), "labeled", label.name, user, self._world.now()))
            self._world.happened("issues", "labeled", user, issue.title)
            repository = self._world.repository
            payload = {
                "issue": self._shapes.issue(repository, issue),
                "label": self._shapes.label(repository, label),
            }
            self._deliveries.send("issues", "labeled", user, payload)

    def _tell(self, action: str, by: User, issue: Issue, comment: Comment, more: JSON | None = None) -> None:
        repository = self._world.repository
        payload = {
            "issue": self._shapes.issue(repository, issue),
            "comment": self._shapes.comment(repository, comment),
            **(more or {}),
        }
        self._deliveries.send("issue_comment", action, by, payload)

    # The API.

    async def list_issues(self, request: web.Request) -> web.Response:
        repository = self._repository(request)
        state, labels = request.query.get("state", "open"), request.query.get("labels", "")
        wanted = {name.strip().casefold() for name in labels.split(",") if name.strip()}
        rows = [
            issue
            for issue in repository.issues.values()
            if state in ("all", issue.state) and wanted <= {name.casefold() for name in issue.labels}
        ]
        if (after := since(request)) is not None:
            rows = [issue for issue in rows if issue.updated_at >= after]
        by_update = request.query.get("sort") == "updated"
        rows.sort(
            key=lambda issue: (issue.updated_at if by_update else issue.created_at, issue.number),
            reverse=request.query.get("direction", "desc") != "asc",
        )
        return page(request, rows, lambda issue: self._shapes.issue(repository, issue))

    async def create_issue(self, request: web.Request) -> web.Response:
        repository = self._repository(request)
        if not repository.has_issues:
            raise Refusal(410, "Issues has been disabled in this repository.")
        data = await body_of(request)
        title = text_of(data, "title", "Issue")
        issue = self.open_issue(request[CREDENTIAL].user, title, str(data.get("body") or ""))
        for name in _names(data.get("labels", [])):
            self.label(request[CREDENTIAL].user, issue, name)
        return reply(self._shapes.issue(repository, issue), 201)

    async def get_issue(self, request: web.Request) -> web.Response:
        repository, issue = self._issue(request)
        return reply(self._shapes.issue(repository, issue))

    async def update_issue(self, request: web.Request) -> web.Response:
        repository, issue = self._issue(request)
        data = await body_of(request)
        state = data.get("state", issue.state)
        if state not in ("open", "closed"):
            raise invalid("Issue", "state", "invalid")
        if "title" in data:
            issue.title = text_of(data, "title", "Issue")
        if "body" in data:
            issue.body = str(data["body"] or "")
        if "labels" in data:
            issue.labels = [self._world.ensure_label(name).name for name in _names(data["labels"])]
        now = self._world.now()
        if state != issue.state:
            issue.state, issue.closed_at = state, now if state == "closed" else None
        issue.updated_at = now
        return reply(self._shapes.issue(repository, issue))

    async def list_all_comments(self, request: web.Request) -> web.Response:
        repository = self._repository(request)
        rows = self._changed_since(request, self._world.comments())
        sort = request.query.get("sort", "created")
        if sort not in ("created", "updated"):
            raise invalid("IssueComment", "sort", "invalid")
        # Without "sort" GitHub ignores the direction.
        reverse = "sort" in request.query and request.query.get("direction", "asc") == "desc"
        rows.sort(key=lambda c: (c.updated_at if sort == "updated" else c.created_at, c.id), reverse=reverse)
        return page(request, rows, lambda comment: self._shapes.comment(repository, comment))

    async def list_comments(self, request: web.Request) -> web.Response:
        repository, issue = self._issue(request)
        rows = self._changed_since(request, self._world.comments(issue.number))
        return page(request, rows, lambda comment: self._shapes.comment(repository, comment))

    async def create_comment(self, request: web.Request) -> web.Response:
        repository, issue = self._issue(request)
        self._writable(request, repository, issue)
        body = text_of(await body_of(request), "body", "IssueComment")
        comment = self.comment(request[CREDENTIAL].user, issue, body)
        shown = self._shapes.comment(repository, comment)
        return reply(shown, 201, {"Location": shown["url"]})

    async def get_comment(self, request: web.Request) -> web.Response:
        repository, comment = self._comment(request)
        return reply(self._shapes.comment(repository, comment))

    async def update_comment(self, request: web.Request) -> web.Response:
        repository, comment = self._comment(request)
        user = request[CREDENTIAL].user
        if comment.user is not user and repository.permission(user.login) not in ("write", "admin"):
            raise Refusal(403, "Must have admin rights to Repository.")
        self.edit(user, comment, text_of(await body_of(request), "body", "IssueComment"))
        return reply(self._shapes.comment(repository, comment))

    async def delete_comment(self, request: web.Request) -> web.Response:
        repository, comment = self._comment(request)
        user = request[CREDENTIAL].user
        if comment.user is not user and repository.permission(user.login) not in ("write", "admin"):
            raise Refusal(403, "Must have admin rights to Repository.")
        self.delete(user, comment)
        return web.Response(status=204)

    async def list_reactions(self, request: web.Request) -> web.Response:
        content = request.query.get("content")
        rows = [reaction for reaction in self._reactions(request) if content in (None, reaction.content)]
        return page(request, rows, self._shapes.reaction)

    async def create_reaction(self, request: web.Request) -> web.Response:
        reactions = self._reactions(request)
        content = (await body_of(request)).get("content")
        if content not in REACTIONS:
            raise invalid("Reaction", "content", "invalid")
        user = request[CREDENTIAL].user
        for reaction in reactions:
            if reaction.user is user and reaction.content == content:
                return reply(self._shapes.reaction(reaction))
        reaction = Reaction(self._world.new_id(), user, content, self._world.now())
        reactions.append(reaction)
        return reply(self._shapes.reaction(reaction), 201)

    async def delete_reaction(self, request: web.Request) -> web.Response:
        reactions = self._reactions(request)
        for reaction in reactions:
            if str(reaction.id) == request.match_info["reaction_id"]:
                reactions.remove(reaction)
                return web.Response(status=204)
        raise not_found()

    async def list_events(self, request: web.Request) -> web.Response:
        repository, issue = self._issue(request)
        return page(request, issue.events, lambda event: self._shapes.label_event(repository, event))

    async def list_labels(self, request: web.Request) -> web.Response:
        repository = self._repository(request)
        return page(request, list(repository.labels.values()), lambda label: self._shapes.label(repository, label))

    async def create_label(self, request: web.Request) -> web.Response:
        repository = self._repository(request)
        data = await body_of(request)
        name = text_of(data, "name", "Label")
        if name.casefold() in repository.labels:
            raise invalid("Label", "name", "already_exists")
        label = self._world.ensure_label(name, str(data.get("color", "ededed")), data.get("description"))
        return reply(self._shapes.label(repository, label), 201)

    async def list_issue_labels(self, request: web.Request) -> web.Response:
        repository, issue = self._issue(request)
        return page(request, issue.labels, lambda name: self._label(repository, name))

    async def add_labels(self, request: web.Request) -> web.Response:
        repository, issue = self._issue(request)
        for name in _names((await body_of(request)).get("labels", [])):
            self.label(request[CREDENTIAL].user, issue, name)
        return reply([self._label(repository, name) for name in issue.labels])

    async def set_labels(self, request: web.Request) -> web.Response:
        repository, issue = self._issue(request)
        names = _names((await body_of(request)).get("labels", []))
        issue.labels = [name for name in issue.labels if name in names]
        for name in names:
            self.label(request[CREDENTIAL].user, issue, name)
        return reply([self._label(repository, name) for name in issue.labels])

    async def remove_label(self, request: web.Request) -> web.Response:
        repository, issue = self._issue(request)
        wanted = request.match_info["name"].casefold()
        if wanted not in {name.casefold() for name in issue.labels}:
            raise Refusal(404, "Label does not exist")
        issue.labels = [name for name in issue.labels if name.casefold() != wanted]
        name = self._world.repository.labels[wanted].name
        user = request[CREDENTIAL].user
        issue.updated_at = self._world.now()
        issue.events.append(LabelEvent(self._world.new_id(), "unlabeled", name, user, self._world.now()))
        payload = {"issue": self._shapes.issue(repository, issue), "label": self._label(repository, wanted)}
        self._deliveries.send("issues", "unlabeled", request[CREDENTIAL].user, payload)
        return reply([self._label(repository, name) for name in issue.labels])

    def _label(self, repository: Repository, name: str) -> JSON:
        return self._shapes.label(repository, repository.labels[name.casefold()])

    def _repository(self, request: web.Request) -> Repository:
        return repository_of(request, self._world)

    def _issue(self, request: web.Request) -> tuple[Repository, Issue]:
        repository = self._repository(request)
        text = request.match_info["issue_number"]
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 18 else 0
        if number in repository.deleted_issues:
            raise Refusal(410, "This issue was deleted")
        issue = repository.issues.get(number)
        if issue is None:
            raise not_found()
        return repository, issue

    def _comment(self, request: web.Request) -> tuple[Repository, Comment]:
        repository = self._repository(request)
        text = request.match_info["comment_id"]
        comment = repository.comments.get(int(text)) if text.isascii() and text.isdigit() and len(text) < 18 else None
        if comment is None:
            raise not_found()
        return repository, comment

    def _reactions(self, request: web.Request) -> list[Reaction]:
        """Those to a comment, or to an issue's own text."""
        if "comment_id" in request.match_info:
            return self._comment(request)[1].reactions
        return self._issue(request)[1].reactions

    def _writable(self, request: web.Request, repository: Repository, issue: Issue) -> None:
        if repository.archived:
            raise Refusal(403, "Repository was archived so is read-only.")
        if issue.locked and repository.permission(request[CREDENTIAL].user.login) not in ("write", "admin"):
            raise Refusal(403, "Unable to create comment because issue is locked.")

    @staticmethod
    def _changed_since(request: web.Request, rows: list[Comment]) -> list[Comment]:
        after = since(request)
        return rows if after is None else [comment for comment in rows if comment.updated_at >= after]


def repository_of(request: web.Request, world: World) -> Repository:
    """The one repository there is, for whoever may see it."""
    repository = world.repository
    asked = f"{request.match_info['owner']}/{request.match_info['repo']}"
    credential = request[CREDENTIAL]
    visible = credential.installation or repository.permission(credential.user.login) != "none"
    if asked.casefold() != repository.full_name.casefold() or not visible:
        raise not_found()
    return repository


def _names(labels: Any) -> list[str]:
    if not isinstance(labels, list):
        raise Refusal(422, f"Invalid request.\n\nFor 'properties/labels', {labels!r} is not an array.")
    names = [label["name"] if isinstance(label, dict) and "name" in label else label for label in labels]
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise invalid("Label", "name", "missing_field")
    return names
