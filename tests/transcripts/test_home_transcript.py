"""What people see on the home tab, and what a message becomes when it is turned into an incident note."""

from __future__ import annotations

from pathlib import Path

from bot.demo.slack import LocalMessage, LocalView
from bot.demo.slack.reading import buttons
from tests.transcript import PEOPLE, Chat, live, run_id


def labels(view: LocalView) -> list[str]:
    return [button.label for button in buttons(view.view["blocks"])]


async def test_home_shows_what_waits_for_whom(tmp_path: Path, root: Path, somas: str) -> None:
    async with Chat(tmp_path, somas) as chat:
        quiet = await chat.home(
            "bob", "Nothing waits for you.", "No threshold is crossed.", "You have started none yet"
        )
        assert "/somas status" in labels(quiet) and "/somas restart" in labels(quiet)
        await chat.types("alice", "/somas restart project-42 --full")
        card = await chat.sees("project-42", "waiting for approval")
        bob = await chat.home_shows("bob", "project-42: step 2 of", "waits for an approval, asked for by alice")
        assert labels(bob)[:2] == ["Approve…", "Deny"]
        alice = await chat.home("alice", "Nothing waits for you.", "waits for an approval", "Your last runs")
        assert "Approve…" not in labels(alice)
        carol = await chat.home("carol", "waits for an approval")
        assert not {"Approve…", "Deny", "/somas restart"} & set(labels(carol))
        pressed = await chat.slack.press_home(PEOPLE["bob"], label="Approve…")
        assert pressed.ok
        form = await chat.form("bob", "Approve this step")
        await chat.sends("bob", form, {"Type project-42 to approve": "project-42"})
        await chat.thread(card, until="bob approved step 2.")
        await chat.home_shows("bob", "Nothing waits for you.")
        await chat.types("alice", f"/runs cancel {run_id(card)}")
        await chat.thread(card, until="Run cancelled")
        await chat.home_shows("alice", "cancelled, ")


async def test_the_buttons_of_the_home_tab_are_commands(tmp_path: Path, root: Path, somas: str) -> None:
    async with Chat(tmp_path, somas) as chat:
        await chat.home("alice", "Nothing waits for you.")
        await chat.slack.press_home(PEOPLE["alice"], label="/somas status")
        direct = chat.slack.space.direct_channel(PEOPLE["alice"]).id
        await chat.until(
            lambda: any("5 of 16 projects failed" in one.shown for one in chat.slack.messages(direct)),
            "the answer in the conversation with the bot",
        )
        await chat.slack.press_home(PEOPLE["alice"], label="/somas restart")
        form = await chat.form("alice", "/somas restart")
        await chat.sends("alice", form, {"Project": "project-42"})
        card = await chat.sees("Restart a project at a stage: project-42")  # where everybody sees it
        await chat.thread(card, until="Nothing was dispatched")
        await chat.home_shows("alice", "Restart a project at a stage: project-42: step")


async def test_home_is_still_true_after_a_restart_of_the_bot(tmp_path: Path, root: Path, somas: str) -> None:
    async with Chat(tmp_path, somas) as chat:
        await chat.home("bob", "Nothing waits for you.")
        await chat.stop_bot()
        await chat.start_bot()
        await chat.types("alice", "/somas restart project-42")
        await chat.sees("Restart a project at a stage: project-42")
        await chat.home_shows("bob", "Restart a project at a stage: project-42", "asked for by alice")
        chat.read(thread=chat.channel()[-1])
        await chat.rests()
        for message in chat.channel():
            chat.read(thread=message)


HOSTILE = "It began at 14:10 <!channel> ```rm -rf``` *bold* \u202eexe <https://evil.example|click>"


async def test_a_message_becomes_an_incident_note(tmp_path: Path, root: Path, somas: str) -> None:
    async with Chat(tmp_path, somas) as chat:
        await chat.types("alice", "/somas restart project-42 --full")
        card = await chat.sees("project-42", "waiting for approval")
        await chat.rests()
        chat.read(thread=card)
        said = await chat.slack.say(PEOPLE["carol"], "C0DEV", HOSTILE)
        form = await chat.attaches("bob", said)
        assert "It began at 14:10" in form.shown and live(form.view) == set()
        note = {"Run": run_id(card), "What it shows": "the cause"}
        await chat.sends("bob", form, note)
        (attached,) = [one for one in await _thread(chat, card) if "bob attached a message" in one.shown]
        assert ": the cause" in attached.shown and "It began at 14:10 <!channel>" in attached.shown
        assert live([attached.text, attached.blocks, attached.attachments]) == {_link(attached)}
        assert "/archives/C0DEV/p" in _link(attached)
        assert chat.bot is not None
        entries = await chat.bot.engine.audit.of_run(run_id(card))
        (entry,) = [each for each in entries if each["kind"] == "press.note"]
        assert entry["actor"] == "slack:U0BOB" and entry["detail"]["quoted"]["author"] == "slack:U0CAROL"
        assert entry["detail"]["quoted"]["text"].startswith("It began at 14:10")

        inside = await chat.slack.say(PEOPLE["alice"], card.channel, "and the gate is flaky", card.ts)
        form = await chat.attaches("bob", inside)  # in the run's thread: the run is filled in
        await chat.sends("bob", form, {})
        await chat.until(lambda: any("the gate is flaky" in m.shown for m in _replies(chat, card)), "the second note")
        form = await chat.attaches("carol", said)
        assert await chat.slack.suggest(PEOPLE["carol"], form.id, "arg:run") == []  # viewers attach nothing
        await chat.says("bob", "@opsbot note we wait for the vendor", thread=card)
        await chat.sees("bob notes: we wait for the vendor", thread=card)
        await chat.types("alice", f"/runs cancel {run_id(card)}")
        await chat.thread(card, until="Run cancelled")


def _replies(chat: Chat, card: LocalMessage) -> list[LocalMessage]:
    return [one for one in chat.slack.messages(card.channel, card.ts, peek=True)[1:] if one.user == "U0OPSBOT"]


async def _thread(chat: Chat, card: LocalMessage) -> list[LocalMessage]:
    await chat.until(lambda: any("attached a message" in m.shown for m in _replies(chat, card)), "the note")
    return _replies(chat, card)


def _link(message: LocalMessage) -> str:
    (link,) = live([message.text, message.blocks, message.attachments])
    return link
