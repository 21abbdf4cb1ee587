"""``/somas rollback config``: an earlier ``.somas/config.yml`` as a diff and as a pull request.

The commit before the last rarely differs in this file, so the last commit that changed it is looked for. Nothing is
changed on the default branch and nothing on the machine on which SOMAS runs: people merge, and bring the file there.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import yaml

from bot.errors import UserError
from bot.handler import Action, ActionContext, ActionResult, Danger, Observation, Preview
from bot.messages import CodeBlock, Message, Paragraph, line
from bot.words import counted
from handlers.somas.config import decoded
from handlers.somas.decode import brief, clean, items, mapping, text
from handlers.somas.github import PullRequest, SomasGitHub, patiently
from handlers.somas.handler import Somas
from handlers.somas.issue_breaker import drawn, operation_mark
from handlers.somas.stages import STAGES

CONFIG = ".somas/config.yml"


@dataclass(frozen=True, slots=True)
class Rollback:
    """The version that comes back. ``sha`` is that of the file as it is now, for the write."""

    commit: str
    told: str  # the commit's first line
    before: str
    after: str
    sha: str

    @property
    def diff(self) -> str:
        return config_diff(self.before, self.after, self.commit)


def config_diff(now: str, then: str, commit: str) -> str:
    """Unified diff of the file as it is and as it would be."""
    lines = difflib.unified_diff(
        clean(now).split("\n"), clean(then).split("\n"), f"{CONFIG} now", f"{CONFIG} at {commit[:10]}", lineterm=""
    )
    return "\n".join(lines)


def config_complaints(document: str) -> list[str]:
    """What is wrong with a config.yml that is about to come back."""
    try:
        loaded = decoded(document)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return [f"it is not YAML: {brief(str(getattr(error, 'problem', '') or type(error).__name__), 120)}"]
    if not isinstance(loaded, dict):
        return ["it is not a mapping"]
    names = [text(mapping(stage).get("id")) for stage in items(mapping(loaded.get("pipeline")).get("stages"))]
    missing = [stage for stage in STAGES if stage not in names]
    return [f"pipeline.stages misses {', '.join(missing)}"] if missing else []


async def find_rollback(github: SomasGitHub, wanted: str) -> Rollback:
    """The version at ``wanted`` (a commit), or the last one that differs from now. Raises ``UserError``."""
    now = await github.file(CONFIG)
    if now is None:
        raise UserError(f"{github.repository} has no {CONFIG} on its default branch.")
    if wanted:
        then = await github.file(CONFIG, wanted)
        if then is None:
            raise UserError(f"{github.repository} has no {CONFIG} at the commit {brief(wanted, 60)}.")
        if then[0] == now[0]:
            raise UserError(f"{CONFIG} at {brief(wanted, 60)} is what it is now: there is nothing to roll back.")
        return Rollback(wanted, "", now[0], then[0], now[1])
    commits = await github.commits_of(CONFIG)
    for each in commits[1:]:
        commit = text(each.get("sha"))
        then = await github.file(CONFIG, commit)
        if then is not None and then[0] != now[0]:
            told = brief(text(mapping(each.get("commit")).get("message")).split("\n", 1)[0], 100)
            return Rollback(commit, told, now[0], then[0], now[1])
    raise UserError(
        f"{counted(len(commits), 'commit')} changed {CONFIG}, and none of them holds another version: there is nothing "
        "to roll back to."
    )


async def look(handler: Somas, context: ActionContext) -> ActionResult:
    """The commits that changed the file, newest first."""
    github = handler.on_github()
    commits = await patiently(context, lambda: github.commits_of(CONFIG))
    rows = []
    for each in commits:
        commit = mapping(each.get("commit"))
        author = mapping(commit.get("author"))
        told = brief(text(commit.get("message")).split("\n", 1)[0], 100)
        rows.append(f"{text(each.get('sha'))[:10]} {text(author.get('date'))[:16]} {text(author.get('name'))}: {told}")
    return ActionResult(
        status="done" if rows else "refused",
        summary=f"{counted(len(rows), 'commit')} changed {CONFIG} in {github.repository}.",
        evidence="\n".join(rows),
    )


async def preview_rollback(handler: Somas, context: ActionContext) -> Preview:
    github = handler.on_github()
    wanted = context.inputs.get("commit", "")
    found = await patiently(context, lambda: find_rollback(github, "" if wanted == "last" else wanted))
    said = f"Open a pull request in {github.repository} that brings {CONFIG} back to what it was at {found.commit[:10]}"
    said += f" ({found.told})." if found.told else "."
    if wrong := config_complaints(found.after):
        said += f" MIND: {'; '.join(wrong)}."
    said += " Nothing changes until it is merged, and then only on GitHub: SOMAS reads the file on its own disk."
    return Preview(summary=said, detail=found.diff, language="diff")


async def rollback_config(handler: Somas, context: ActionContext) -> ActionResult:
    """A branch, one commit, a pull request; each only if an earlier try has not made it."""
    github = handler.on_github()
    branch = branch_of(context)
    if made := await patiently(context, lambda: github.pull_of(branch)):
        return opened(made)
    wanted = context.inputs.get("commit", "")
    found = await patiently(context, lambda: find_rollback(github, "" if wanted == "last" else wanted))
    default = await patiently(context, github.default_branch)
    if not await patiently(context, lambda: github.head(branch)):
        head = await patiently(context, lambda: github.head(default))
        await patiently(context, lambda: github.create_branch(branch, head))
    there = await patiently(context, lambda: github.file(CONFIG, branch))
    if there is None or there[0] != found.after:
        sha = there[1] if there else found.sha
        message = f"Restore {CONFIG} as of {found.commit[:10]}"
        await patiently(context, lambda: github.write_file(CONFIG, found.after, sha, branch, message))
    said = Message(
        "rollback",
        (
            Paragraph(line(f"Brings {CONFIG} back to what it was at {found.commit[:10]}.")),
            Paragraph(
                line(f"Asked for by {clean(handler.services.name(context.actor))}: {brief(context.reason, 500)}")
            ),
            CodeBlock(found.diff[:20_000], "diff"),
        ),
    )
    body = f"{drawn(github.api, said)}\n\n{operation_mark(context.operation_id)}"
    return opened(await patiently(context, lambda: github.open_pull(branch, f"Restore {CONFIG}", body)))


async def check_rollback(handler: Somas, context: ActionContext) -> ActionResult | None:
    """After a crash: every part looks whether it is there, so it goes on where it was."""
    return None


def branch_of(context: ActionContext) -> str:
    """One branch for each run, whatever the attempt: a retry goes on with it."""
    return f"opsbot/restore-config-{context.run_id.lower()}"


def opened(pull: PullRequest) -> ActionResult:
    """A retry finds the pull request of the first try, which people may have merged or closed meanwhile."""
    said = {
        "open": f"Pull request #{pull.number} is open: {pull.url}",
        "merged": f"Pull request #{pull.number} is merged: {pull.url} Bring the file to the disk of SOMAS.",
    }.get(
        pull.state,
        f"Pull request #{pull.number} of this run was closed without being merged: {pull.url} Reopen it there, or "
        "begin anew with /somas rollback config.",
    )
    return ActionResult(
        status="refused" if pull.state == "closed" else "done",
        summary=said,
        observations=(Observation(name="pull_request.number", value=pull.number, source=pull.url),),
    )


ACTIONS: tuple[Action, ...] = (
    Action(
        name="somas.config_history",
        danger=Danger.READ,
        help="List the commits that changed .somas/config.yml",
        perform=look,
    ),
    Action(
        name="somas.rollback_config",
        danger=Danger.CHANGE,
        help="Open a pull request that brings an earlier .somas/config.yml back",
        perform=rollback_config,
        preview=preview_rollback,
        check=check_rollback,
    ),
)
