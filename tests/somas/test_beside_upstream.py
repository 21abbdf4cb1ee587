"""The bot beside SOMAS's own writer, and killed in the middle: nothing is lost, and what is left is understood."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock, SoftFileLock, Timeout

from bot.demo.somas_projects import ProjectWriter
from bot.errors import UserError
from handlers.somas import change
from handlers.somas.change import Order, interrupted, look, write
from handlers.somas.config import read_config
from handlers.somas.dead_letters import Selection, attempt, mark, numbered, purge
from handlers.somas.file_actions import ACTIONS
from handlers.somas.locks import locked
from handlers.somas.projects import DATA_FILES, Project, read_project
from handlers.somas.repair import repair
from handlers.somas.restart_files import Order as RestartOrder
from handlers.somas.restart_files import write_restart
from handlers.somas.validate import left_over, validate
from tests.somas.conftest import NOW, acting, connected
from tests.somas.upstream_writer import RECORDED, older_filelock, real_state_manager

PROJECT = "project-5"
BY_NAME = {action.name: action for action in ACTIONS}


def folder(root: Path) -> Path:
    return root / ".somas" / "projects" / PROJECT


def make(root: Path, letters: int = 0) -> None:
    """A project in the middle of its work."""
    writer = ProjectWriter(root, PROJECT, NOW - timedelta(hours=5), random.Random(5))
    writer.initialize_project(5, "Beside others")
    writer.start_stage("plan", "planner")
    for number in range(letters):
        writer.add_dead_letter("plan", {"type": "E", "message": f"before-{number}"}, "planner")
    writer.save()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make(tmp_path, letters=4)
    return tmp_path


def names(root: Path) -> list[str]:
    return sorted(path.name for path in folder(root).iterdir())


def read(root: Path) -> Project:
    return read_project(root, PROJECT, read_config(root))


def order(operation: str, what: str = "purge") -> Order:
    return Order(PROJECT, what, "slack:U0ALICE", "because", operation)


def consistent(root: Path) -> Project:
    """Every file is what SOMAS can read, they agree, and no writer has left anything."""
    project = read(root)
    for line in (folder(root) / "transitions.jsonl").read_text().splitlines():
        json.loads(line)  # upstream reads strictly
    report = validate(project, NOW + timedelta(days=1000))
    assert report.findings == (), report.findings
    return project


# -- together


UPSTREAM = """
    import importlib.util, sys, warnings
    from pathlib import Path
    warnings.simplefilter("ignore")
    module, projects, number, count = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    spec = importlib.util.spec_from_file_location("upstream", module)
    upstream = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(upstream)
    manager = upstream.StateManager(projects, Path("nowhere.yml"))
    print("ready", flush=True)
    sys.stdin.readline()
    for turn in range(count):
        manager.update_state("project-5", {f"writer_{number}": turn + 1})
        manager.add_dead_letter("project-5", "plan", "agent-" + number, {"type": "E", "message": f"{number}-{turn}"})
        manager.log_transition("project-5", "agent_invoked", stage="plan", metadata={"turn": turn})
    print("done", flush=True)
"""


def bot_turn(root: Path, number: str, turn: int) -> int:
    """One change of the bot, in its own process; how many entries of operations it must have logged."""
    now = NOW + timedelta(seconds=turn)
    letters = numbered(read(root))
    named = f"bot-{number}-{turn}"
    try:
        match turn % 4:
            case 0:
                write(root, order(named, "mark"), lambda p, at: mark(p, _first(p), "success", order(named), at), now)
            case 1:
                chosen = Selection(ids=tuple(each.id for each in letters[:2]))
                write(root, order(named), lambda p, at: purge(p, chosen, order(named), at), now)
            case 2:
                write(root, order(named), lambda p, at: attempt(p, _last(p), order(named), at), now)
            case _:
                write_restart(root, RestartOrder(PROJECT, "stage", "plan", "slack:U0BOB", "again", named), now)
    except UserError:  # the other bot has purged what this one had chosen
        return 0
    return 1


def _first(project: Project) -> Selection:
    return Selection(ids=tuple(each.id for each in numbered(project)[:1]) or ("purged",))


def _last(project: Project) -> str:
    return next((each.id for each in reversed(numbered(project))), "purged")


def forked(work: Callable[[], int]) -> Callable[[], int]:
    """Begin ``work`` in a process of its own; what is given back waits for its end and tells how it was left."""
    child = os.fork()
    if child == 0:
        left = 255
        try:
            left = work()
        finally:
            os._exit(left)
    return lambda: os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@contextlib.contextmanager
def upstream_at_work(root: Path, module: Path, count: int, path: Path | None) -> Iterator[None]:
    """Two processes of upstream, which begin together with the block; at its end they have done their work."""
    environment = {**os.environ, "PYTHONPATH": str(path)} if path else None
    running = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                textwrap.dedent(UPSTREAM),
                str(module),
                str(folder(root).parent),
                str(number),
                str(count),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for number in (1, 2)
    ]
    try:
        for process in running:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
        for process in running:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        yield
        assert [process.communicate(timeout=60)[0] for process in running] == ["done\n"] * 2
    finally:
        for process in running:
            process.kill()
            process.wait()


def together(root: Path, module: Path, *, count: int, path: Path | None = None) -> None:
    """Two processes of upstream and two of the bot, begun at the same moment."""
    with upstream_at_work(root, module, count, path):
        bots = [
            forked(lambda number=number: sum(bot_turn(root, str(number), turn) for turn in range(count)))  # type: ignore[misc]  # a default is how a loop's value is kept
            for number in (1, 2)
        ]
        done = sum(ended() for ended in bots)
    assert count < done <= 2 * count  # the bots did not only refuse, and none was killed

    state = json.loads((folder(root) / "state.json").read_text())
    assert (state["writer_1"], state["writer_2"]) == (count, count)
    expected = {f"before-{n}" for n in range(4)} | {f"{w}-{n}" for w in (1, 2) for n in range(count)}
    assert messages(root) == Counter(expected)  # each letter once: in the file or in one archive
    events = [json.loads(line) for line in (folder(root) / "transitions.jsonl").read_text().splitlines()]
    assert sum(event["event_type"] == "error_recorded" for event in events) == len(expected)
    assert sum(event["event_type"] == "agent_invoked" for event in events) == 2 * count
    operations = Counter(event.get("metadata", {}).get("operation_id") for event in events)
    operations.pop(None)
    assert len(operations) == done and set(operations.values()) == {1}
    # Upstream appends after it has given the state's lock back, so that two writers' entries may change places: what
    # the files say must be valid all the same, and the numbers must fit.
    report = validate(read(root), NOW + timedelta(days=1000))
    assert report.valid, report.findings
    assert not [each for each in report.findings if "statistics" in each.problem or "metrics" in each.problem]
    assert not [name for name in names(root) if name.endswith((".tmp", ".change.json"))]


def messages(root: Path) -> Counter[str]:
    """What every dead letter says that is anywhere: in the file, or in an archive of a purge."""
    found: Counter[str] = Counter()
    for file in [folder(root) / "dead_letters.json", *folder(root).glob("dead_letters.archive.*")]:
        found.update(entry["error"]["message"] for entry in json.loads(file.read_text())["entries"])
    return found


def test_the_recorded_writer_and_the_bot_write_together_and_nothing_is_lost(root: Path) -> None:
    together(root, RECORDED, count=20)


def test_the_real_state_manager_and_the_bot_write_together_and_nothing_is_lost(root: Path, tmp_path: Path) -> None:
    together(root, real_state_manager(tmp_path), count=40)


# Upstream asks for filelock >= 3.12. From 3.21 to 3.28 it deletes the lock file whenever it lets go.
@pytest.mark.parametrize("version", ["3.12.4", "3.24.3"])
def test_whatever_filelock_upstream_runs_with(root: Path, tmp_path: Path, version: str) -> None:
    together(root, RECORDED, count=10, path=older_filelock(version, tmp_path / "site"))


@pytest.mark.parametrize("name", DATA_FILES)
def test_the_bots_lock_is_the_one_that_upstream_waits_for(root: Path, name: str) -> None:
    with locked(folder(root), 1):
        with pytest.raises(Timeout):
            FileLock(f"{folder(root) / name}.lock", timeout=0).acquire()
        # Why it must be this lock: a soft one is a different thing, and both would go on side by side.
        (folder(root) / f"{name}.soft").unlink(missing_ok=True)
        with SoftFileLock(folder(root) / f"{name}.soft", timeout=0):
            pass


def test_a_soft_lock_does_not_keep_upstream_out(tmp_path: Path) -> None:
    with SoftFileLock(tmp_path / "soft.lock"):
        (tmp_path / "soft.lock").unlink()
        with FileLock(tmp_path / "soft.lock", timeout=0):
            pass


def shape(root: Path) -> dict[str, Any]:
    """The files without what differs from one run to the next: ids and times."""

    def plain(value: Any, key: str = "") -> Any:
        if isinstance(value, Mapping):
            return {name: plain(each, name) for name, each in value.items()}
        if isinstance(value, list):
            return [plain(each) for each in value]
        varies = {
            "id",
            "timestamp",
            "duration_seconds",
            "dead_letter_id",
            "checkpoint_id",
            "last_successful_checkpoint",
        }
        if key in varies or key.endswith("_at") or isinstance(value, float):
            return type(value).__name__
        return value

    state, letters = (json.loads((folder(root) / name).read_text()) for name in DATA_FILES[:2])
    lines = (folder(root) / "transitions.jsonl").read_text().splitlines()
    return {
        "state": plain(state),
        "letters": plain(letters),
        "log": [plain(json.loads(line)) for line in lines],
        "files": names(root),
    }


SCRIPT = """
    import importlib.util, sys, warnings
    from pathlib import Path
    warnings.simplefilter("ignore")
    spec = importlib.util.spec_from_file_location("upstream", sys.argv[1])
    upstream = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(upstream)
    manager = upstream.StateManager(Path(sys.argv[2]), Path("nowhere.yml"))
    project = "project-5"
    manager.complete_stage(project, "plan", ["a", "b"])
    manager.start_stage(project, "verify", "tester")
    manager.fail_stage(project, "verify", "tester", {"type": "E", "message": "boom"})
    manager.start_stage(project, "pulse", "tester")
    manager.fail_stage(project, "pulse", "tester", {"type": "E"}, create_dead_letter=False)
    manager.create_checkpoint(project, "verify", status="failure")
    manager.complete_stage(project, "verify", create_checkpoint=False)
    manager.add_dead_letter(project, "plan", "planner", {"message": "late"})
    manager.update_state(project, {"status": "waiting", "gates": {"production": True}})
    manager.update_state(project, {"hidden": 1}, log_transition=False)
    manager.log_transition(project, "agent_invoked", stage="verify", agent="")
"""


def test_the_recorded_writer_writes_what_the_real_one_writes(tmp_path: Path) -> None:
    found = []
    (tmp_path / "module").mkdir()
    for name, module in (("real", real_state_manager(tmp_path / "module")), ("recorded", RECORDED)):
        make(tmp_path / name)
        arguments = [str(module), str(folder(tmp_path / name).parent)]
        subprocess.run([sys.executable, "-c", textwrap.dedent(SCRIPT), *arguments], check=True, timeout=30)
        found.append(shape(tmp_path / name))
    for key, real in found[0].items():
        assert found[1][key] == real, key


# -- killed


PLANS = {
    "purge": lambda project, at: purge(project, Selection(all=True), order("op-1"), at),
    "repair": lambda project, at: repair(
        project, (project.directory / "transitions.jsonl").read_bytes(), order("op-1", "repair"), at
    ),
}


def damage(root: Path) -> None:
    """What the runbook's purge and a killed append leave."""
    (folder(root) / "dead_letters.json").write_text("[]\n")
    with (folder(root) / "transitions.jsonl").open("a") as log:
        log.write('{"id": "cut", "timest')


def killed_at(root: Path, what: str, point: int) -> bool:
    """Whether the change was killed before this many steps; False when it has fewer."""
    calls = 0

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == point:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        return call

    def change_it() -> int:
        # Everything that a change does to the disk: copies, new files, note, renames, log, clearing up.
        for module, name in ((change, "save"), (change, "stage"), (change, "replace"), (change, "append")):
            setattr(module, name, counted(getattr(module, name)))
        for name in ("replace", "unlink"):
            setattr(Path, name, counted(getattr(Path, name)))
        write(root, order("op-1", what), PLANS[what], NOW)
        return 0

    left = forked(change_it)()
    assert left in (0, -signal.SIGKILL)
    return left != 0


@pytest.mark.parametrize("what", ["purge", "repair"])
def test_killed_anywhere_a_change_did_not_happen_or_is_finished(tmp_path: Path, what: str) -> None:
    outcomes: list[str] = []
    for point in range(1, 60):
        root = tmp_path / str(point)
        make(root, letters=4)
        if what == "repair":
            damage(root)
        before = {name: (folder(root) / name).read_bytes() for name in DATA_FILES}
        if not killed_at(root, what, point):
            break
        after = {name: (folder(root) / name).read_bytes() for name in DATA_FILES}
        report = validate(read(root), NOW + timedelta(days=1000))
        if before != after:  # whatever is half done is recognised as such, or it is whole
            assert interrupted(folder(root)) or look(root, order("op-1", what))
            assert [each for each in report.findings if each.fix == f"/somas repair {PROJECT}"] or report.valid
        found = look(root, order("op-1", what))
        outcomes.append("finished" if found else "nothing")
        if found is None:
            assert {name: (folder(root) / name).read_bytes() for name in DATA_FILES} == before
            write(root, order("op-1", what), PLANS[what], NOW)
        write(root, order("op-1", what), PLANS[what], NOW)  # a second time changes nothing
        leave_no_trace(root)
        project = consistent(root)
        assert not project.letters.entries
        assert sum("op-1" in line for line in (folder(root) / "transitions.jsonl").read_text().splitlines()) == 1
        if what == "purge":
            assert messages(root) == Counter(f"before-{n}" for n in range(4))
    assert "nothing" in outcomes and "finished" in outcomes, outcomes
    assert outcomes == sorted(outcomes, reverse=True), outcomes  # from some point on it is finished, never before


def leave_no_trace(root: Path) -> None:
    """The next repair clears away the temporary files of the killed process."""
    try:
        write(
            root,
            order("op-2", "repair"),
            lambda p, at: repair(
                p,
                (folder(root) / "transitions.jsonl").read_bytes(),
                order("op-2", "repair"),
                at,
                left_over=left_over(folder(root)),
            ),
            NOW,
        )
    except UserError as error:
        assert "nothing to repair" in error.message


async def test_cut_and_written_over_by_upstream_it_is_said_and_repaired(root: Path) -> None:
    """Killed between the renames of dead_letters.json and state.json; then SOMAS goes on."""
    for point in range(1, 40):
        make(root / str(point), letters=4)
        killed_at(root / str(point), "purge", point)
        state = json.loads((folder(root / str(point)) / "state.json").read_text())
        letters = json.loads((folder(root / str(point)) / "dead_letters.json").read_text())
        if not letters["entries"] and state["metrics"]["dead_letters"] == 4:
            break
    root = root / str(point)
    with ProjectWriter.held(root, PROJECT, NOW) as pipeline:
        pipeline.start_stage("verify", "tester")
    handler = connected(root, NOW + timedelta(minutes=5))
    report = validate(read(root), NOW)
    assert [each.problem for each in report.findings if each.severity == "error"] == [
        "the purge by slack:U0ALICE at 2026-11-22T12:00:00Z was cut in the middle, and something else has written since"
    ]
    check = BY_NAME["somas.purge_letters"].check
    assert check is not None
    asked = await check(handler, acting(handler, PROJECT, "op-1", letters_all="true"))
    assert asked is not None and asked.status == "uncertain"
    assert f"/somas repair {PROJECT}" in asked.summary
    with pytest.raises(UserError, match=r"was cut in the middle, and something else has written since"):
        write(root, order("op-3"), PLANS["purge"], NOW)
    with pytest.raises(UserError, match=r"was cut in the middle"):
        write_restart(root, RestartOrder(PROJECT, "stage", "verify", "slack:U0BOB", "again", "op-4"), NOW)
    repaired = await BY_NAME["somas.repair"].perform(handler, acting(handler, PROJECT, "op-5"))
    assert repaired.status == "done", repaired
    assert "the purge of 2026-11-22T12:00:00Z that was cut: what is there stays" in repaired.summary
    project = consistent(root)
    assert project.state is not None and project.state.current_stage == "verify"
    assert messages(root) == Counter(f"before-{n}" for n in range(4))
