"""Who tries to get a destructive step done without a second person, or without any right."""

from __future__ import annotations

from pathlib import Path

from bot.demo.slack import LocalMessage
from bot.demo.supervised_process import SupervisedProcess
from bot.runs.model import RunState
from bot.surfaces.slack.dialog import read_button
from tests.transcript import ON_GITHUB_TOO, Chat, run_id


async def asked_for(chat: Chat) -> tuple[LocalMessage, str, RunState]:
    """Alice wants project-42 to start over; its approval is waited for."""
    await chat.types("alice", "/somas restart project-42 --full")
    card = await chat.sees("Asked for by alice")
    await chat.shows(card, "Needs a second person")
    state = await chat.state(card)
    return card, run_id(card), state


def approval(run: str, state: RunState, name: str = "project-42", digest: str = "") -> str:
    digest = digest or state.steps[state.current].digest
    return f'/runs approve {run} --digest {digest} --confirm "{name}"'


async def test_nobody_approves_what_they_asked_for_themselves_not_even_on_the_other_surface(
    tmp_path: Path, somas: str
) -> None:
    async with Chat(tmp_path, somas, settings=ON_GITHUB_TOO) as chat:
        card, run, state = await asked_for(chat)
        await chat.types("alice", approval(run, state))
        await chat.is_told("alice", "You asked for this run, so somebody else has to approve it")
        await chat.comments("alice", approval(run, state))
        await chat.sees_comment("You asked for this run, so somebody else has to approve it")
        assert (await chat.state(card)).steps[state.current].status == "approval"
        await chat.types("bob", f"/runs deny {run}")
        await chat.shows(card, "ailed")
        await chat.rests()
        chat.read(thread=card)


async def test_only_operators_decide_anything_about_a_run(tmp_path: Path, somas: str) -> None:
    async with Chat(tmp_path, somas) as chat:
        card, run, state = await asked_for(chat)
        for verb in ("deny", "cancel", "skip", "done", "fail", "retry", "proceed"):
            await chat.types("carol", f"/runs {verb} {run}")
            await chat.is_told("carol", "needs an operator, and you are not one")
        await chat.types("carol", f"/runs ack {run}")
        await chat.is_told("carol", "Only an operator, or somebody whom the page calls, can acknowledge it")
        await chat.types("carol", approval(run, state))
        await chat.is_told("carol", "needs an operator, and you are not one")
        await chat.presses("carol", "Deny", card)  # a button is a command of whoever presses it
        await chat.is_told("carol", "needs an operator, and you are not one")
        form = await chat.opens("carol", "Approve…", card)
        typed = {"Type project-42 to approve": "project-42"}
        await chat.is_refused("carol", form, typed, "needs an operator, and you are not one")
        assert (await chat.state(card)).steps[state.current].status == "approval"
        await chat.types("bob", f"/runs deny {run}")
        await chat.shows(card, "ailed")
        await chat.rests()
        chat.read(thread=card)


async def test_no_other_name_is_the_name(tmp_path: Path, somas: str) -> None:
    async with Chat(tmp_path, somas) as chat:
        card, run, state = await asked_for(chat)
        look_alikes = (
            "",
            "42",
            "PROJECT-42",
            "project-4\u0662",
            "pr\u043eject-42",
            "project\u2010" + "42",
            "*",
        )
        for name in look_alikes:
            await chat.types("bob", approval(run, state, name))
            await chat.is_told("bob", "Nothing was approved: ", "project-42")
        for digest in ("000000000000", "x", state.steps[state.current].digest[:11], "'*'"):
            await chat.types("bob", approval(run, state, digest=digest))
            await chat.is_told("bob", "The plan has changed since you looked at it")
        assert (await chat.state(card)).steps[state.current].status == "approval"
        await chat.types("bob", f"/runs deny {run}")
        await chat.shows(card, "ailed")
        await chat.rests()
        chat.read(thread=card)


async def test_what_changed_after_the_approval_was_shown_is_not_done(tmp_path: Path, somas: str, root: Path) -> None:
    async with Chat(tmp_path, somas) as chat:
        card, run, state = await asked_for(chat)
        file = root / ".somas/projects/project-42/state.json"
        file.write_text(file.read_text().replace('"status": "failed"', '"status": "running"', 1))
        changed = file.read_bytes()
        await chat.types("bob", approval(run, state))
        await chat.until(lambda: len(chat.slack.messages("C0OPS", card.ts, peek=True)) >= 3, "more in the thread")
        await chat.rests()
        assert file.read_bytes() == changed
        after = await chat.state(card)
        assert after.steps[state.current].status != "done"
        await chat.types("bob", f"/runs cancel {run}")
        await chat.rests()
        chat.read()
        chat.read(thread=card)


async def test_a_stranger_on_github_gets_no_further_than_a_refusal(tmp_path: Path, somas: str) -> None:
    async with Chat(tmp_path, somas, settings=ON_GITHUB_TOO.replace('viewers = ["*"]', "viewers = []")) as chat:
        await chat.comments("mallory", "/somas restart project-42 --full")
        await chat.sees_comment("needs an operator, and you are not one")
        await chat.comments("mallory", "/somas status")
        await chat.sees_comment("needs a viewer, and you are not one")
        await chat.comments(
            "mallory", "> /somas restart project-42\n\n`/somas restart project-42`\n\n```\n/somas restart 42\n```"
        )
        await chat.rests()
        assert chat.github.unread() == []


def test_a_buttons_value_never_names_a_person() -> None:
    """So nobody can press with somebody else's rights: the actor is who Slack says has pressed."""
    assert read_button("/runs deny 01JD0000000000000000000000") == ("/runs deny 01JD0000000000000000000000", None)


async def test_nobody_approves_the_values_that_they_have_told_a_step_themselves(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    """Bob would otherwise decide alone what is done in a run that Alice has only begun."""
    folder = tmp_path / "runbooks"
    folder.mkdir()
    (folder / "own.md").write_text(
        "---\nid: own\nproduct: supervisor\ntarget: child\ndanger: destructive\n---\n\n# Own\n\n"
        "| Step | Action | Expected Metrics | Estimated Duration |\n|---|---|---|---|\n"
        "| 1 | Take it away: `handle.remove_child(reason={cause})` | | 1min |\n\n**Escalation**: Call somebody.\n"
    )
    async with Chat(tmp_path, f'{payments}[runbooks]\npaths = ["{folder}"]\n') as chat:
        await chat.types("alice", "/runs start own worker-3")
        card = await chat.sees("Asked for by alice")
        await chat.shows(card, "needs cause")
        await chat.types("bob", f"/runs retry {run_id(card)} --input cause=nonsense")
        await chat.shows(card, "Needs a second person")
        await chat.types("bob", approval(run_id(card), await chat.state(card), "worker-3"))
        await chat.is_told("bob", "You told this step its values, so somebody else has to approve it")
        assert (await chat.state(card)).steps[0].status == "approval"
        await chat.types("alice", approval(run_id(card), await chat.state(card), "worker-3"))
        await chat.shows(card, "Done")
        await chat.rests()
        chat.read()
        chat.read(thread=card)
