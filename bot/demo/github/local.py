"""A local GitHub for the demo and the tests: one repository with issues, people, workflows and webhooks.

Speaks the part of GitHub's REST API (version 2022-11-28) that the bot uses, on the loopback interface only. It is a
simulation: ``tests/surfaces/github_openapi.json``, cut from GitHub's own description, judges its answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aiohttp import web

from bot.clock import Clock, SystemClock
from bot.demo.github.accounts import Accounts, App
from bot.demo.github.actions import Actions
from bot.demo.github.code import Code
from bot.demo.github.deliveries import Deliveries, Delivery
from bot.demo.github.gate import Exchange, Fault, Gate
from bot.demo.github.issues import Issues
from bot.demo.github.run_events import RunEvents
from bot.demo.github.shapes import Shapes
from bot.demo.github.state import Comment, Issue, Job, Pull, Reaction, Workflow, WorkflowRun, World


class LocalGitHub:
    """``async with LocalGitHub("acme/somas") as github:``, then ``github.api_url`` and ``github.token``.

    The bot's account ``bot_login`` has the role ``write``, the owner has ``admin``; everybody else needs a role
    (``set_role``). People act with ``comment``, ``edit`` and ``delete``; what the bot wrote is read with ``read``.
    """

    def __init__(
        self, repository: str = "acme/somas", *, clock: Clock | None = None, bot_login: str = "opsbot"
    ) -> None:
        self._world = World(clock or SystemClock(), repository)
        self._shapes = Shapes("")
        self._gate = Gate(self._world)
        self.deliveries = Deliveries(self._world, self._shapes)
        self._issues = Issues(self._world, self._shapes, self.deliveries)
        self._actions = Actions(self._world, self._shapes)
        self._code = Code(self._world, self._shapes)
        self._run_events = RunEvents(self._world, self._shapes, self.deliveries, clock or SystemClock())
        self._accounts = Accounts(self._world, self._shapes, self._gate, self.deliveries)
        self._runner: web.AppRunner | None = None
        self.bot_login = bot_login
        self.set_role(bot_login, "write")
        self.token = self.token_of(bot_login)

    async def start(self, port: int = 0) -> None:
        """Listen on 127.0.0.1; ``port`` 0 takes a free one."""
        api = web.Application(middlewares=[self._gate.middleware], client_max_size=4 * 1024 * 1024)
        api.add_routes([*self._issues.routes(), *self._actions.routes(), *self.deliveries.routes()])
        api.add_routes([*self._code.routes(), *self._accounts.routes(), *self._accounts.app_routes()])
        self._gate.own_key_routes = frozenset(route.path for route in self._accounts.app_routes())
        # A request that is being failed on purpose may hang; it must not hold the end of a test.
        self._runner = web.AppRunner(api, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self._run_events.start()
        self._shapes.base = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        await self._run_events.stop()
        await self.deliveries.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> LocalGitHub:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def api_url(self) -> str:
        """For ``[github] api_url``."""
        return self._shapes.base

    @property
    def repository(self) -> str:
        return self._world.repository.full_name

    # People.

    def user_id(self, login: str) -> int:
        return self._world.user(login).id

    def set_role(self, login: str, role: str, *, extends: str = "") -> None:
        """``admin``, ``maintain``, ``write``, ``triage``, ``read``, ``none``, or a custom role that extends one."""
        self._world.user(login)
        self._world.repository.roles[login.casefold()] = role
        if extends:
            self._world.repository.custom_roles[role] = extends

    def rename(self, login: str, new_login: str) -> None:
        """The account keeps its id; its old name is free for somebody else."""
        user = self._world.users.pop(login.casefold())
        user.login = new_login
        self._world.users[new_login.casefold()] = user
        role = self._world.repository.roles.pop(login.casefold(), None)
        if role is not None:
            self._world.repository.roles[new_login.casefold()] = role

    def token_of(self, login: str, permissions: Mapping[str, str] | None = None) -> str:
        """A token of this account; ``permissions`` as in ``{"issues": "write", "metadata": "read"}``."""
        return self._accounts.token(login, permissions)

    def revoke(self, token: str) -> None:
        del self._world.credentials[token]

    def revoke_installation_tokens(self) -> None:
        for token in [token for token, credential in self._world.credentials.items() if credential.installation]:
            self.revoke(token)

    def install_app(self, slug: str, public_key: str, permissions: Mapping[str, str] | None = None) -> App:
        """A GitHub App, installed on the repository; ``public_key`` is PEM."""
        return self._accounts.add_app(slug, public_key, permissions)

    def issue(self, title: str = "", *, number: int | None = None, by: str = "", body: str = "") -> int:
        """Open an issue; its number."""
        user = self._world.user(by) if by else self._world.repository.owner
        return self._issues.open_issue(user, title or "An issue", body, number).number

    def comment(self, login: str, issue: int, body: str) -> int:
        """Somebody comments; the comment's id. Its webhook is on its way: ``await github.settled()``."""
        return self._issues.comment(self._world.user(login), self._world.repository.issues[issue], body).id

    def edit(self, login: str, comment_id: int, body: str) -> None:
        self._issues.edit(self._world.user(login), self._world.repository.comments[comment_id], body)

    def delete(self, login: str, comment_id: int) -> None:
        self._issues.delete(self._world.user(login), self._world.repository.comments[comment_id])

    def lock(self, issue: int) -> None:
        self.issue_state(issue).locked = True

    def delete_issue(self, issue: int) -> None:
        repository = self._world.repository
        del repository.issues[issue]
        repository.deleted_issues.add(issue)

    def archive(self) -> None:
        self._world.repository.archived = True

    def switch_off_issues(self) -> None:
        self._world.repository.has_issues = False

    # Looking.

    def read(self, issue: int) -> list[str]:
        """The bot's comments on an issue, oldest first. From now on they are no longer unread."""
        shown = []
        for comment in self._bot_comments():
            if comment.issue == issue:
                comment.seen = comment.body
                shown.append(comment.body)
        return shown

    def unread(self) -> list[str]:
        """What the bot wrote or changed and nobody read: a test ends with ``assert github.unread() == []``."""
        return [f"#{c.issue}: {c.body}" for c in self._bot_comments() if c.seen != c.body]

    def comments(self, issue: int) -> list[tuple[str, str]]:
        """Login and text of every comment, oldest first; marks nothing as read."""
        return [(comment.user.login, comment.body) for comment in self._world.comments(issue)]

    def reactions(self, comment_id: int) -> list[str]:
        """The bot's reactions to a comment, in order."""
        return self._of_the_bot(self._world.repository.comments[comment_id].reactions)

    def reactions_to_issue(self, issue: int) -> list[str]:
        """The bot's reactions to an issue's own text, in order."""
        return self._of_the_bot(self.issue_state(issue).reactions)

    def _of_the_bot(self, reactions: Sequence[Reaction]) -> list[str]:
        return [reaction.content for reaction in reactions if self._is_bot(reaction.user.login)]

    def minimised(self, issue: int) -> list[str]:
        """The comments that are folded away, oldest first."""
        return [comment.body for comment in self._world.comments(issue) if comment.minimised]

    def labels(self, issue: int) -> list[str]:
        return list(self.issue_state(issue).labels)

    def issue_state(self, issue: int) -> Issue:
        return self._world.repository.issues[issue]

    def _bot_comments(self) -> list[Comment]:
        return [comment for comment in self._world.comments() if self._is_bot(comment.user.login)]

    def _is_bot(self, login: str) -> bool:
        return login == self.bot_login or login in {app.user.login for app in self._accounts.apps.values()}

    # Workflows.

    def add_workflow(
        self,
        file: str,
        text: str,
        *,
        queue_seconds: float = 2.0,
        run_seconds: float = 8.0,
        conclusion: str = "success",
        jobs: tuple[Job, ...] = (Job("pipeline"),),
        obeys: bool = True,
    ) -> Workflow:
        """A workflow file; its runs wait, work and end by the clock. ``obeys``: they end when they are cancelled."""
        workflow = Workflow(
            self._world.new_id(),
            file,
            text,
            self._world.now(),
            queue_seconds=queue_seconds,
            run_seconds=run_seconds,
            conclusion=conclusion,
            jobs=jobs,
            obeys=obeys,
        )
        self._world.repository.workflows[workflow.id] = workflow
        return workflow

    def runs(self, file: str = "") -> list[WorkflowRun]:
        """Workflow runs, oldest first."""
        return [run for run in self._world.repository.runs.values() if file in ("", run.workflow.file)]

    def start_run(self, file: str, *, by: str = "", branch: str = "", title: str = "") -> WorkflowRun:
        """Somebody else starts a run of this workflow, as by a push."""
        workflow = self._world.repository.workflow(file)
        if workflow is None:
            raise ValueError(f"there is no workflow {file}")
        user = self._world.user(by) if by else self._world.repository.owner
        run = self._world.start_run(workflow, "push", branch or self._world.repository.default_branch, user)
        run.title = title
        return run

    def disable(self, file: str) -> None:
        """Somebody disables a workflow by hand."""
        workflow = self._world.repository.workflow(file)
        if workflow is not None:
            workflow.state = "disabled_manually"

    def workflow_states(self) -> dict[str, str]:
        """``active`` or ``disabled_manually`` by file."""
        return {workflow.file: workflow.state for workflow in self._world.repository.workflows.values()}

    @property
    def actions_enabled(self) -> bool:
        return self._world.repository.actions_enabled

    def add_secret(self, name: str) -> None:
        self._world.repository.secrets[name] = self._world.now()

    def set_label(self, login: str, issue: int, name: str) -> None:
        """Somebody sets a label."""
        self._issues.label(self._world.user(login), self.issue_state(issue), name)

    # Files.

    def commit(self, path: str, text: str, message: str, *, by: str = "", branch: str = "") -> str:
        """Somebody commits a file; the commit's sha."""
        user = self._world.user(by) if by else self._world.repository.owner
        where = branch or self._world.repository.default_branch
        return self._world.commit(user, where, path, text.encode(), message).sha

    def file(self, path: str, branch: str = "") -> str:
        """A file as it is at the end of a branch."""
        repository = self._world.repository
        return repository.commits[repository.branches[branch or repository.default_branch]].tree[path].decode()

    def pulls(self) -> list[Pull]:
        return list(self._world.repository.pulls.values())

    def end_run(self, run: WorkflowRun, conclusion: str) -> None:
        run.ended_at, run.conclusion = self._world.now(), conclusion

    # Webhooks.

    def add_hook(
        self, url: str, secret: str, events: tuple[str, ...] = ("issue_comment", "issues", "workflow_run")
    ) -> None:
        self.deliveries.add_hook(url, secret, events)

    def add_app_hook(
        self, url: str, secret: str, events: tuple[str, ...] = ("issue_comment", "issues", "workflow_run")
    ) -> None:
        """The webhook of an app, whose deliveries only the app's own key may see."""
        self.deliveries.add_hook(url, secret, events).of_app = True

    async def settled(self) -> list[Delivery]:
        """When every delivery has been answered: all of them, oldest first."""
        await self.deliveries.settled()
        return self.deliveries.sent

    # What goes wrong.

    def fail(
        self,
        status: int,
        *,
        method: str = "*",
        path: str = "",
        times: int = 1,
        message: str = "",
        after_storing: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """The next ``times`` matching requests get ``status``; 0 closes the connection without an answer.

        With ``after_storing`` the request is carried out first, as when GitHub's front end gives up waiting.
        """
        self._gate.faults.append(Fault(method, path, times, status, dict(headers or {}), message, after_storing))

    def heal(self) -> None:
        """Nothing goes wrong on purpose any more."""
        self._gate.faults.clear()

    def refuse_for_rate(self, *, status: int = 403, retry_after: int | None = None, times: int = 1) -> None:
        """A secondary rate limit, with or without saying how long."""
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        self.fail(status, times=times, headers=headers)

    def limit_requests(self, limit: int) -> None:
        """The hourly limit (5000 at GitHub)."""
        self._gate.limit = limit

    @property
    def exchanges(self) -> list[Exchange]:
        """Every request and its answer, oldest first."""
        return list(self._gate.exchanges)

    @property
    def most_writes_at_once(self) -> int:
        return self._gate.most_writing

    @property
    def write_times(self) -> list[float]:
        """When the writes came, in seconds since the first."""
        times = self._gate.write_times
        return [(moment - times[0]).total_seconds() for moment in times]
