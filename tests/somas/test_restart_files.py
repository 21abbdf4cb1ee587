"""A restart beside other writers, on a full disk, and killed at every point: nothing is lost, nothing happens twice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from bot.demo.somas_projects import ProjectWriter, generate
from bot.errors import Unavailable
from bot.handler import ActionResult
from handlers.somas.actions import ACTIONS
from handlers.somas.config import read_config
from handlers.somas.locks import WriteFailed, locked
from handlers.somas.projects import Project, list_projects, read_project
from handlers.somas.restart_files import Order, Written, look, write_restart
from tests.somas.conftest import NOW, Files, acting, connected

BY_NAME = {action.name: action for action in ACTIONS}


def folder(root: Path, name: str = "project-42") -> Path:
    return root / ".somas" / "projects" / name


def order(operation: str = "op-1", mode: Any = "stage", name: str = "project-42", stage: str = "verify") -> Order:
    return Order(name, mode, stage, "slack:U0ALICE", "fixed", operation)


def read(root: Path, name: str = "project-42") -> Project:
    return read_project(root, name, read_config(root))


def retryings(root: Path, name: str = "project-42") -> int:
    return sum(event.type == "stage_retrying" for event in read(root, name).log.events)


@contextlib.contextmanager
def another_process(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Runs ``code``; the block begins when it has printed ``ready``."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


HOLDER = """
    import sys
    from filelock import FileLock
    with FileLock(sys.argv[1]):
        print("ready", flush=True)
        sys.stdin.read()
"""


# Locks.


@pytest.mark.parametrize("name", ["state.json", "dead_letters.json", "transitions.jsonl"])
async def test_a_lock_that_another_process_holds_is_waited_for_and_then_told(root: Path, name: str) -> None:
    before = Files.of(folder(root))
    handler = connected(root, lock_seconds=0.2)
    context = acting(handler, "project-42", stage="verify")
    with another_process(HOLDER, str(folder(root) / f"{name}.lock")):
        refused = await BY_NAME["somas.restart_stage"].perform(handler, context)
        assert refused.status == "refused"
        assert f"Another process has held project-42/{name}.lock for 0.2 s. Nothing was changed." in refused.summary
        check = BY_NAME["somas.restart_stage"].check
        assert check is not None
        asked = await check(handler, context)
        assert asked is not None and asked.status == "uncertain"
    assert Files.of(folder(root)) == before
    assert (await BY_NAME["somas.restart_stage"].perform(handler, context)).status == "done"


async def test_a_killed_holder_keeps_nobody_waiting(root: Path) -> None:
    with another_process(HOLDER, str(folder(root) / "state.json.lock")) as process:
        process.kill()
        process.wait()
        begun = time.monotonic()
        assert write_restart(root, order(), NOW).happened == "now"
        assert time.monotonic() - begun < 5


async def test_cancelling_ends_the_wait_for_a_lock(root: Path) -> None:
    handler = connected(root, lock_seconds=60)
    context = acting(handler, "project-42", stage="verify")
    with another_process(HOLDER, str(folder(root) / "state.json.lock")):
        waiting = asyncio.ensure_future(BY_NAME["somas.restart_stage"].perform(handler, context))
        await asyncio.sleep(0)
        context.abort.set()
        result = await asyncio.wait_for(waiting, 5)
    assert result.status == "refused"
    assert "Nothing was changed" in result.summary or "before anything was changed" in result.summary


def test_the_loop_stays_free_while_a_restart_waits(root: Path) -> None:
    handler = connected(root, lock_seconds=1)

    async def both() -> tuple[ActionResult, int]:
        turns = 0
        action = BY_NAME["somas.restart_stage"].perform(handler, acting(handler, "project-42", stage="verify"))
        waiting = asyncio.ensure_future(action)
        while not waiting.done():
            await asyncio.sleep(0.01)
            turns += 1
        return await waiting, turns

    with another_process(HOLDER, str(folder(root) / "state.json.lock")):
        result, turns = asyncio.run(both())
    assert result.status == "refused"
    assert turns > 20


UPSTREAM = """
    import json, os, sys
    from pathlib import Path
    from filelock import FileLock
    state = Path(sys.argv[1])
    print("ready", flush=True)
    for _ in range(int(sys.argv[2])):
        with FileLock(f"{state}.lock", timeout=30):
            value = json.loads(state.read_text())
            value["counter"] = value.get("counter", 0) + 1
            temporary = state.with_suffix(".tmp")
            temporary.write_text(json.dumps(value, indent=2))
            temporary.replace(state)
    print("done", flush=True)
"""


def test_two_writers_lose_none_of_each_others_changes(root: Path) -> None:
    state = folder(root) / "state.json"
    with another_process(UPSTREAM, str(state), "150") as upstream:
        for number in range(30):
            assert write_restart(root, order(f"op-{number}"), NOW + timedelta(seconds=number)).happened == "now"
        assert upstream.stdout is not None
        assert upstream.stdout.readline() == "done\n"
    found = json.loads(state.read_text())
    assert (found["counter"], found["metrics"]["retry_count"], found["stages"]["verify"]["retry_count"]) == (
        150,
        30,
        30,
    )
    assert retryings(root) == 30


def test_no_lock_file_is_made_where_no_project_is(root: Path) -> None:
    (root / ".somas" / "projects" / "project-999").mkdir()
    for name in ("project-999", "project-998"):
        with pytest.raises(Exception, match=f"No such project: {name}"):
            write_restart(root, order(name=name), NOW)
    assert list(folder(root, "project-999").iterdir()) == []
    assert not folder(root, "project-998").exists()


# Once per operation.


def test_the_same_operation_again_changes_nothing(root: Path) -> None:
    first = write_restart(root, order(), NOW)
    after = Files.of(folder(root))
    again = write_restart(root, order(), NOW + timedelta(minutes=5))
    assert (first.happened, again.happened) == ("now", "before")
    assert again.summary.startswith("project-42 is set to retry verify")
    assert Files.of(folder(root)) == after
    assert look(root, order(), NOW) is not None
    assert look(root, order("another"), NOW) is None


KILLED = """
    import os, signal, sys
    from datetime import datetime
    from pathlib import Path
    from handlers.somas import restart_files
    root, mode, point, after = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4] == "after"
    calls = 0
    def dying(real):
        def call(*arguments):
            global calls
            calls += 1
            if calls == point and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            real(*arguments)
            if calls == point and after:
                os.kill(os.getpid(), signal.SIGKILL)
        return call
    restart_files.replace = dying(restart_files.replace)
    restart_files.append = dying(restart_files.append)
    stage = "verify" if mode == "stage" else "intake"
    order = restart_files.Order("project-42", mode, stage, "slack:U0ALICE", "fixed", "op-1")
    print("ready", flush=True)
    restart_files.write_restart(root, order, datetime.fromisoformat("2026-11-22T12:00:00+00:00"))
"""


@pytest.mark.parametrize(
    ("mode", "point", "when", "expected"),
    [
        # stage: the dated backup, state.json.backup, state.json, the log
        ("stage", 1, "before", "nothing"),
        ("stage", 2, "before", "nothing"),
        ("stage", 3, "before", "nothing"),
        ("stage", 4, "before", "finished"),
        ("stage", 4, "after", "finished"),
        # full: state.json, dead_letters.json, the log
        ("full", 1, "before", "nothing"),
        ("full", 2, "before", "finished"),
        ("full", 3, "before", "finished"),
        ("full", 3, "after", "finished"),
    ],
)
async def test_killed_at_any_point_it_is_known_what_happened(
    root: Path, mode: str, point: int, when: str, expected: str
) -> None:
    data = {
        name: (folder(root) / name).read_bytes() for name in ("state.json", "dead_letters.json", "transitions.jsonl")
    }
    with another_process(KILLED, str(root), mode, str(point), when) as process:
        assert process.wait(20) == -9
    handler = connected(root, NOW + timedelta(minutes=1))
    action = BY_NAME["somas.restart_full" if mode == "full" else "somas.restart_stage"]
    context = acting(handler, "project-42", stage="verify")
    assert action.check is not None
    found = await action.check(handler, context)
    if expected == "nothing":
        assert found is None
        assert {name: (folder(root) / name).read_bytes() for name in data} == data
        found = await action.perform(handler, context)
    assert found is not None and found.status == "done", found
    # However it went on: once in the log, once in the state, and the log still gives the state.
    assert (await action.perform(handler, context)).status == "done"
    project = read(root)
    assert project.state is not None and project.rebuilt is not None
    assert retryings(root) == 1
    assert {**project.rebuilt.raw, "created_at": 0} == {**project.state.raw, "created_at": 0}
    if mode == "full":
        assert (project.state.status, len(project.letters.entries)) == ("initializing", 0)
        assert len(list((root / ".somas" / "projects" / ".archive").iterdir())) == 1
    else:
        assert project.state.stages["verify"].retry_count == 1


async def test_cut_in_the_middle_and_changed_by_others_is_uncertain(root: Path) -> None:
    with another_process(KILLED, str(root), "stage", "4", "before") as process:
        process.wait(20)
    with ProjectWriter.held(root, "project-42", NOW) as pipeline:
        pipeline.start_stage("verify", "tester")
    before = Files.of(folder(root))
    handler = connected(root)
    context = acting(handler, "project-42", stage="verify")
    check = BY_NAME["somas.restart_stage"].check
    assert check is not None
    for result in (await check(handler, context), await BY_NAME["somas.restart_stage"].perform(handler, context)):
        assert result is not None and result.status == "uncertain"
        assert (
            "something else changed it since. Compare it with .somas/projects/project-42/state.json.backup."
            in result.summary
        )
    assert Files.of(folder(root)) == before


def test_a_backup_that_somebody_made_is_kept_under_a_dated_name(root: Path) -> None:
    plain = folder(root, "project-103") / "state.json.backup"
    by_hand = plain.read_bytes()
    write_restart(root, order(name="project-103"), NOW)
    write_restart(root, order("op-2", name="project-103", stage="plan"), NOW)
    copies = [path for path in plain.parent.glob("state.json.backup.*") if path.read_bytes() == by_hand]
    assert len(copies) == 1
    assert plain.read_bytes() != by_hand


# Full restarts.


def test_a_full_restart_can_be_repeated_on_one_day_and_the_archive_is_no_project(root: Path) -> None:
    listed = list_projects(root)
    (folder(root) / "artifacts").mkdir()
    (folder(root) / "artifacts" / "SPEC.md").write_text("# Spec")
    (folder(root) / "artifacts" / "pipe.lock").touch()
    before = Files.of(folder(root))
    first = write_restart(root, order("op-1", "full", stage="intake"), NOW)
    second = write_restart(root, order("op-2", "full", stage="intake"), NOW)
    assert first.saved != second.saved
    archived = Files.of(root / first.saved)
    assert archived.contents == before.contents
    assert list_projects(root) == listed
    assert not [path for path in (root / ".somas" / "projects").glob("*/state.json") if ".archive" in path.parts[-2]]
    project = read(root)
    assert project.state is not None
    assert (project.state.status, project.state.current_stage, project.state.issue_number) == (
        "initializing",
        "intake",
        42,
    )
    assert project.log.title == "Webhook relay"
    assert (project.letters.condition, project.letters.entries) == ("ok", ())
    log = (folder(root) / "transitions.jsonl").read_bytes()
    assert log.startswith(before.contents["transitions.jsonl"])
    types = [event.type for event in project.log.events][-4:]
    assert types == ["project_initialized", "stage_retrying"] * 2


def test_a_corrupt_project_starts_over_with_what_the_log_knows(root: Path) -> None:
    written = write_restart(root, order("op-1", "full", "project-81", "intake"), NOW)
    assert (root / written.saved / "state.json").stat().st_size == 1337
    project = read(root, "project-81")
    assert project.file.condition == "ok"
    assert project.state is not None and project.rebuilt is not None
    assert (project.state.raw, project.log.title) == (project.rebuilt.raw, "Audit log viewer")


# Disks.


@contextlib.contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """As on a full disk, a write beyond ``size`` bytes fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("mode", "room"),
    [("stage", 100), ("stage", "state"), ("stage", "log"), ("full", 100), ("full", "state"), ("full", "log")],
)
def test_on_a_full_disk_everything_stays_as_it_was(root: Path, mode: str, room: int | str) -> None:
    before = Files.of(folder(root))
    sizes = {name: len(data) for name, data in before.contents.items()}
    limits = {"state": sizes["state.json"] + 200, "log": sizes["transitions.jsonl"] + 300}
    size = room if isinstance(room, int) else limits[room]
    with no_file_above(size), pytest.raises(WriteFailed) as failed:
        write_restart(root, order(mode=mode, stage="verify" if mode == "stage" else "intake"), NOW)
    assert "project-42 cannot be written: " in str(failed.value)
    assert "File too large" in str(failed.value)
    assert "are as they were" in str(failed.value)
    after = Files.of(folder(root))
    kept = {name: data for name, data in after.contents.items() if not name.startswith("state.json.backup")}
    assert kept == before.contents
    assert write_restart(root, order(mode=mode, stage="verify" if mode == "stage" else "intake"), NOW).happened == "now"
    assert retryings(root) == 1


def test_a_disk_error_is_a_failed_step_and_no_crash(root: Path) -> None:
    handler = connected(root)
    context = acting(handler, "project-42", stage="verify")

    async def perform() -> ActionResult:
        return await BY_NAME["somas.restart_stage"].perform(handler, context)

    with no_file_above(100):
        result = asyncio.run(perform())
    assert result.status == "failed"


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Root may write everywhere; for one block it is somebody who may not."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_may_not_be_written_says_so() -> None:
    with tempfile.TemporaryDirectory() as made:
        root = Path(made) / "somas"
        Path(made).chmod(0o755)
        generate(root, NOW)
        folder(root).chmod(0o555)
        before = Files.of(folder(root))
        with as_nobody(), pytest.raises(Unavailable, match=r"cannot be written \(Permission denied\)"):
            write_restart(root, order(), NOW)
        assert Files.of(folder(root)) == before
        with as_nobody():
            found = connected(root)._problems()
        assert found[0].startswith("SOMAS: the bot's user cannot write project-")
        assert found[0].endswith("so it cannot restart them.")
        folder(root).chmod(0o755)


def test_locks_are_given_back_after_a_failure(root: Path) -> None:
    with contextlib.suppress(WriteFailed), no_file_above(100):
        write_restart(root, order(), NOW)
    with FileLock(folder(root) / "state.json.lock", timeout=0):
        pass
    with locked(folder(root), 1):
        pass


def test_what_was_written_says_where_the_old_state_is(root: Path) -> None:
    written: Written = write_restart(root, order(), NOW)
    assert (root / written.saved).is_file()
    assert written.evidence.startswith("--- state.json now")
