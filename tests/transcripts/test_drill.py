"""What people see of ``--drill``: a rehearsal in a simulation, in which things go wrong on purpose."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from bot.clock import ManualClock
from bot.demo.supervised_process import SupervisedProcess
from bot.messages import Bullets, Fields, Heading, Line, Lines, Mention, Note, Paragraph, line, message, plain_text
from bot.surfaces.drill import marked
from tests.transcript import Chat, notifies


def now() -> ManualClock:
    """The simulated process dates its failures with the clock of the machine."""
    return ManualClock(datetime.now(UTC))


async def test_the_whole_procedure_is_rehearsed_and_the_real_process_hears_nothing(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    async with Chat(tmp_path, payments, clock=now()) as chat:
        before = process.requests
        await chat.types("alice", "/runs start P1-002 worker-1 --drill --input threshold=0")
        card = await chat.sees("DRILL: P1-002 Child Task Crash Loop: worker-1")
        await chat.sees("DRILL: ✓ Step 2", "invoice 4711 has no currency", thread=card)
        await chat.sees("DRILL: ✓ Step 4", "worker-1 is quarantined", thread=card)
        asked = await chat.sees("DRILL: Step 5 needs approval", thread=card)
        form = await chat.opens("bob", "Approve…", asked)
        assert form.title == "DRILL: approve the step"
        await chat.sends("bob", form, {"Type worker-1 to approve": "worker-1"})
        said = await chat.thread(card, until="Run done")
        assert all(text.startswith("DRILL: ") for text in said)
        await chat.shows(card, "DRILL: ", "Done after")
        assert process.executed == [] and process.requests == before
        assert process.tree.children["worker-1"].operation == "active"
        assert len(chat.channel()) == 1


async def test_a_fault_pages_in_the_thread_and_notifies_nobody(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    async with Chat(tmp_path, payments, clock=now()) as chat:
        await chat.types("alice", "/supervisor quarantine worker-2 --reason 'the real one'")
        real = await chat.sees("Quarantine worker-2 of payments")
        await chat.thread(real, until="Run done")
        await chat.types(
            "alice", "/runs start P1-002 worker-2 --drill --fault ignores-cancellation --input threshold=0"
        )
        card = await chat.sees("DRILL: P1-002")
        await chat.presses("alice", "Skip", await chat.sees("DRILL: ? Step 1 needs a decision", thread=card))
        await chat.presses("alice", "Done", await chat.sees("DRILL: ? Step 2 needs a decision", thread=card))
        await chat.sees("DRILL: ? Step 4 needs a decision", "worker-2", thread=card)
        page = await chat.sees("DRILL: ", "scotlaclair", "needs you", "Step 4", thread=card)
        assert not notifies(page)
        await chat.shows(card, "Would have paged scotlaclair")
        await chat.presses("scotlaclair", "Acknowledge", page)
        await chat.says("alice", "@opsbot cancel", thread=card)
        said = await chat.thread(card, until="Run cancelled")
        assert all(text.startswith("DRILL: ") for text in said)
        assert len(chat.channel()) == 2 and process.executed == ["quarantine_child /worker-2"]


async def test_a_drill_and_a_real_run_on_the_same_name_do_not_lock_each_other(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    async with Chat(tmp_path, payments, clock=now()) as chat:
        await chat.types("alice", "/runs start P1-002 worker-1 --drill")
        rehearsed = await chat.sees("DRILL: P1-002")
        await chat.types("alice", "/supervisor quarantine worker-1")
        real = await chat.sees("Quarantine worker-1 of payments")
        await chat.thread(real, until="Run done")
        await chat.types("bob", "/runs start P1-002 worker-1 --drill")
        await chat.is_told("bob", "alice already works on worker-1")
        await chat.says("alice", "@opsbot cancel", thread=rehearsed)
        await chat.thread(rehearsed, until="Run cancelled")
        for page in [each for each in chat.read(thread=rehearsed) if "Acknowledge" in each.labels]:
            await chat.presses("scotlaclair", "Acknowledge", page)
            await chat.thread(rehearsed, until="acknowledged the page")


async def test_somas_is_rehearsed_on_generated_projects(tmp_path: Path, root: Path, somas: str) -> None:
    state = root / ".somas" / "projects" / "project-42" / "state.json"
    real = state.read_bytes()
    inputs = "--input stage=verify --input dead_letters_before=4"
    async with Chat(tmp_path, somas) as chat:
        await chat.types("alice", f"/runs start restart 42 --drill {inputs}")
        card = await chat.sees("DRILL: Restart a project at a stage: project-42")
        await chat.sees("DRILL: ✓ Step 2", thread=card)
        await chat.thread(card, until="Run done")
        await chat.types("alice", f"/runs start restart project-999 --drill --fault fails_again {inputs}")
        card = await chat.sees("DRILL: Restart a project at a stage: project-999")
        await chat.sees("DRILL: ✓ Step 3", thread=card)
        await chat.passes(minutes=11)
        page = await chat.sees("DRILL: ", "needs you", thread=card)
        assert not notifies(page)
        await chat.says("alice", "@opsbot cancel", thread=card)
        await chat.presses("scotlaclair", "Acknowledge", page)
        await chat.thread(card, until="Run cancelled")
        await chat.thread(card, until="acknowledged the page")
        assert state.read_bytes() == real
        assert not (root / ".somas" / "projects" / "project-999").exists()


async def test_a_restart_of_the_bot_starts_the_simulation_again_and_says_so(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    async with Chat(tmp_path, payments, clock=now()) as chat:
        await chat.types("alice", "/runs start P1-002 worker-1 --drill --fault crash-loop --input threshold=0")
        card = await chat.sees("DRILL: P1-002")
        asked = await chat.sees("DRILL: Step 5 needs approval", thread=card)
        await chat.rests()
        await chat.stop_bot()
        await chat.start_bot()
        form = await chat.opens("bob", "Approve…", asked)
        await chat.sends("bob", form, {"Type worker-1 to approve": "worker-1"})
        await chat.sees("DRILL: ✓ Step 5", "The simulation was started again with the bot", thread=card)
        await chat.thread(card, until="Run done")
        assert process.executed == []


async def test_what_cannot_be_rehearsed_is_told(tmp_path: Path, process: SupervisedProcess, payments: str) -> None:
    async with Chat(tmp_path, payments) as chat:
        await chat.types("alice", "/runs start P1-002 worker-1 --drill --fault crash-lop")
        told = await chat.is_told("alice", 'The simulation has no fault "crash-lop". Did you mean crash-loop?')
        assert "hang-control-loop: state and commands get no answer" in told.shown
        assert "exit-after-command" not in told.shown
        await chat.types("alice", "/runs start P1-002 worker-1 --fault crash-loop")
        await chat.is_told("alice", "--fault is for a rehearsal: add --drill")
        await chat.types("alice", "/runs start P1-002 worker-1 --drill --dry-run")
        await chat.is_told("alice", "--drill")
        assert chat.channel() == []


def test_a_drill_names_people_and_mentions_nobody() -> None:
    pinged: Line = (Mention("scotlaclair"), *line(" look"))
    said = marked(
        message(
            Heading("Page"),
            Paragraph(pinged),
            Note(pinged),
            Bullets((pinged,)),
            Lines((pinged,)),
            Fields((("a", pinged),)),
        )
    )
    assert "Mention" not in repr(said)
    assert said.summary.startswith("DRILL: ")
    assert plain_text(said.blocks).split("\n")[:2] == ["DRILL: Page", "scotlaclair look"]
