"""The scan of all projects says what reading each of them whole says; and reads only what it has to."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bot.demo.somas_projects import ProjectWriter, generate_many
from bot.errors import Unavailable
from handlers.somas.config import Config, read_config
from handlers.somas.metrics import Metrics, measure, weigh
from handlers.somas.projects import read_all, read_project
from handlers.somas.read_ahead import Disk, ReadAhead
from handlers.somas.scan import Scan
from handlers.somas.scan_files import count_log
from handlers.somas.summary import StateSummary, Summary, summarise
from handlers.somas.watch import Watch, disk_of
from tests.somas.conftest import NOW
from tests.somas.test_rebuild import CALL, play

PROJECT = "project-5"
FILES = ("state.json", "dead_letters.json", "transitions.jsonl")
Told = tuple[Any, ...]

# What becomes of a file's bytes: where (in thousandths), and what is put there instead of how many bytes.
BYTES = st.sampled_from(
    [b"", b"\xff", b"\n", b"{", b"}", b'"', b"null", b"1e999", b"true", b"-", b'\\ud83d"', b"\x00", b'{"id": "', b"[]"]
)
DAMAGE = st.tuples(st.sampled_from(FILES), st.integers(0, 1000), st.integers(0, 30), BYTES)
WHOLE = st.tuples(
    st.sampled_from(FILES), st.sampled_from([None, b"", b"{}", b"[]", b"null", b"[{}, 1]", b"\n\n", b"{}{}", b"\xff"])
)


def told(project: Summary, metrics: Metrics) -> Told:
    """Everything that anybody is told of a summary."""
    return (
        project.id,
        project.damage,
        project.last_failure,
        project.never_advanced,
        project.state,
        (project.letters_open, project.letters_total),
        metrics,
    )


def exactly(root: Path) -> list[Told]:
    config = read_config(root)
    return [told(summarise(project), measure(project, NOW)) for project in read_all(root, config)]


def scanned(scan: Scan) -> list[Told]:
    config = read_config(scan.root)
    return [told(project, weigh(project, config, NOW)) for project in scan.all(config, NOW)]


def has_failed(state: StateSummary) -> bool:
    return state.effective_status == "failed"


def is_failed(each: Told) -> bool:
    return each[4] is None or has_failed(each[4])


def failed(scan: Scan) -> list[Told]:
    """Those that have failed, or of which nobody knows: what ``/somas failed`` lists."""
    config = read_config(scan.root)
    found, _ = scan.some(has_failed, config, NOW)
    return [each for each in (told(project, weigh(project, config, NOW)) for project in found) if is_failed(each)]


def damaged(data: bytes, place: int, length: int, instead: bytes) -> bytes:
    start = len(data) * place // 1000
    return data[:start] + instead + data[start + length :]


def history(root: Path, calls: list[tuple[Any, ...]], age: float = 20) -> ProjectWriter:
    writer = ProjectWriter(root, PROJECT, NOW - timedelta(hours=age), random.Random(1))
    writer.initialize_project(5, "a title")
    play(writer, calls)
    return writer


HISTORY = st.lists(CALL, max_size=20)


@settings(max_examples=150, deadline=None)
@given(HISTORY, st.lists(DAMAGE, max_size=2), st.lists(WHOLE, max_size=1), st.sampled_from([1, 20, 26, 80, 400]))
@example([], [("transitions.jsonl", 0, 0, b'{"event_type":\n"a"}{"event_type": "b"}\n')], [], 20)
@example([("fail", "plan", "x", True, False)], [("state.json", 990, 0, b"\xff")], [], 20)
def test_any_history_and_any_damage_are_told_as_the_exact_reader_tells_them(
    calls: list[tuple[Any, ...]], damages: list[Any], replaced: list[Any], age: float
) -> None:
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        history(root, calls, age).save()
        folder = root / ".somas" / "projects" / PROJECT
        for name, data in replaced:
            (folder / name).unlink() if data is None else (folder / name).write_bytes(data)
        for name, *damage in damages:
            if (folder / name).exists():
                (folder / name).write_bytes(damaged((folder / name).read_bytes(), *damage))
        assert scanned(Scan(root)) == exactly(root)


STEP = st.one_of(
    st.tuples(st.just("calls"), st.lists(CALL, min_size=1, max_size=4)),
    st.tuples(st.just("cut"), st.integers(1, 60)),  # a crash in the middle of an append
    st.tuples(st.just("damage"), DAMAGE),
    st.tuples(st.just("remove"), st.sampled_from([*FILES, "all"])),
    st.tuples(st.just("failed only")),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEP, min_size=1, max_size=6), st.booleans())
def test_what_changes_between_two_scans_is_found(steps: list[Any], watched: bool) -> None:
    """Appends, cut lines, replaced files and removed ones: after each the memory says what is on the disk."""
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        writer = history(root, [])
        writer.save()
        folder, scan = root / ".somas" / "projects" / PROJECT, Scan(root, watched=watched)
        for step in ((), (), *steps):
            match step:
                case ("calls", calls):
                    play(writer, calls)
                    writer.save()
                case ("cut", length) if folder.exists():
                    with (folder / "transitions.jsonl").open("ab") as log:
                        log.write(b'{"id": "00000000-0000-4000-8000-000000000000", "timestamp": "20'[:length])
                case ("damage", (name, *damage)) if (folder / name).exists():
                    (folder / name).write_bytes(damaged((folder / name).read_bytes(), *damage))
                case ("remove", "all") if folder.exists():
                    shutil.rmtree(folder)
                case ("remove", name) if (folder / name).exists():
                    (folder / name).unlink()
                case ("failed only",):  # reads less, and must not be taken for everything later
                    assert failed(scan) == [each for each in exactly(root) if is_failed(each)]
            assert scanned(scan) == exactly(root)
        scan.close()


def test_everything_of_the_demo_and_of_the_sample(root: Path, sample: Path) -> None:
    for place in (root, sample):
        scan = Scan(place)
        assert scanned(scan) == exactly(place)
        assert scan.names() == [project.id for project in read_all(place, Config())]


def settled(root: Path) -> None:
    """As if everything had been written a minute ago."""
    for file in (root / ".somas" / "projects").glob("*/*"):
        os.utime(file, (time.time() - 60,) * 2)


@pytest.mark.parametrize("watched", [True, False])
def test_only_what_has_changed_is_read_and_of_a_log_only_what_was_appended(tmp_path: Path, watched: bool) -> None:
    generate_many(tmp_path, 30, NOW)
    settled(tmp_path)
    scan = Scan(tmp_path, watched=watched)
    first = scanned(scan)
    assert len(first) == 30 and scan.files_read == 90
    assert scanned(scan) == first and scan.files_read == 90
    assert scan.watch.active == watched
    log = tmp_path / ".somas" / "projects" / "project-7" / "transitions.jsonl"
    appended = (
        b'{"id": "x", "timestamp": "2026-11-22T11:00:00Z", "event_type": "agent_failed", "error": {"message": "new"}}\n'
    )
    before = scan.bytes_read
    with log.open("ab") as file:
        file.write(appended)
    assert scanned(scan)[6][2][0]
    assert (scan.files_read, scan.bytes_read - before) == (91, len(appended))
    settled(tmp_path)
    assert scanned(scan) == exactly(tmp_path)
    scan.close()


def test_failed_reads_only_the_state_of_those_that_have_not_failed(tmp_path: Path) -> None:
    generate_many(tmp_path, 60, NOW)
    settled(tmp_path)
    want = [each for each in exactly(tmp_path) if is_failed(each)]
    scan = Scan(tmp_path)
    assert failed(scan) == want and 0 < len(want) < 10
    assert scan.files_read == 60 + 2 * len(want)
    assert scan.some(has_failed, Config(), NOW)[1] == 60
    assert scan.files_read == 60 + 2 * len(want)  # nothing again
    assert scanned(scan) == exactly(tmp_path)
    assert scan.files_read == 3 * 60  # and now the rest, once
    assert failed(scan) == want


def test_a_log_that_was_written_anew_is_read_anew_even_when_it_is_longer(tmp_path: Path) -> None:
    generate_many(tmp_path, 1, NOW)
    log = tmp_path / ".somas" / "projects" / "project-1" / "transitions.jsonl"
    scan = Scan(tmp_path)
    scanned(scan)
    log.write_bytes(b'{"event_type": "stage_failed", "stage": "plan"}\n' * 2000)
    assert scanned(scan) == exactly(tmp_path)
    assert scan.all(Config(), NOW)[0].tally.failed == 2000


def test_projects_that_come_and_go_while_watched(tmp_path: Path) -> None:
    generate_many(tmp_path, 3, NOW)
    folder = tmp_path / ".somas" / "projects"
    scan = Scan(tmp_path)
    for _ in range(2):
        scanned(scan)
    assert scan.watch.active
    shutil.copytree(folder / "project-1", folder / ".project-9")
    (folder / ".project-9").rename(folder / "project-9")
    assert [each[0] for each in scanned(scan)] == ["project-1", "project-2", "project-3", "project-9"]
    assert "state.json belongs to 'project-1', not to project-9" in scanned(scan)[3][1]
    with (folder / "project-9" / "transitions.jsonl").open("ab") as log:
        log.write(b"cut")
    assert "transitions.jsonl has 1 broken line" in scanned(scan)[3][1]
    (folder / "project-2").rename(folder / "project-2.backup.20261122")
    assert scanned(scan) == exactly(tmp_path)
    assert scan.names() == ["project-1", "project-3", "project-9"]
    scan.close()


def test_a_project_that_was_removed_and_made_anew_is_watched_again(tmp_path: Path) -> None:
    generate_many(tmp_path, 2, NOW)
    folder = tmp_path / ".somas" / "projects"
    scan = Scan(tmp_path)
    for _ in range(2):
        scanned(scan)
    shutil.copytree(folder / "project-2", tmp_path / "kept")
    shutil.rmtree(folder / "project-2")
    shutil.copytree(tmp_path / "kept", folder / "project-2")
    settled(tmp_path)
    assert scan.watch.active and scanned(scan) == exactly(tmp_path)
    with (folder / "project-2" / "transitions.jsonl").open("ab") as log:
        log.write(b"cut")
    assert scanned(scan) == exactly(tmp_path)
    assert "transitions.jsonl has 1 broken line" in scanned(scan)[1][1]
    scan.close()


@pytest.mark.parametrize("watched", [True, False])
def test_the_folder_goes_and_comes_back(tmp_path: Path, watched: bool) -> None:
    """A disk that is unmounted for a while: it is said, and nothing is left of it afterwards."""
    generate_many(tmp_path, 3, NOW)
    folder = tmp_path / ".somas" / "projects"
    scan = Scan(tmp_path, watched=watched)
    for _ in range(2):
        scanned(scan)
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(Unavailable, match="Check that the disk is mounted"):
        scan.all(Config(), NOW)
    shutil.copytree(tmp_path / "elsewhere", folder)
    shutil.rmtree(folder / "project-3")
    for _ in range(2):
        assert scanned(scan) == exactly(tmp_path)
    (folder / "project-1" / "state.json").write_bytes(b"{")
    assert scanned(scan) == exactly(tmp_path)
    scan.close()


def test_what_happens_while_it_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Projects vanish, break, grow and come in the middle of a scan: it goes on, and the next one tells all of it."""
    generate_many(tmp_path, 300, NOW)
    folder = tmp_path / ".somas" / "projects"
    monkeypatch.setattr("handlers.somas.scan.PROGRESS_EVERY", 0.0)
    line = b'{"id": "x", "timestamp": "2026-11-22T11:00:00Z", "event_type": "agent_failed"}\n'

    def meanwhile(done: int, total: int) -> None:
        if done != 128:
            return
        for number in range(1, 300, 10):
            shutil.rmtree(folder / f"project-{number}")
            (folder / f"project-{number + 1}" / "state.json").write_bytes(b'{"project_id": ')
            (folder / f"project-{number + 2}" / "dead_letters.json").write_bytes(b"[]")
            (folder / f"project-{number + 3}" / "transitions.jsonl").open("ab").write(line[:40])
            (folder / f"project-{number + 4}" / "transitions.jsonl").open("ab").write(line)
            (folder / f"project-{number + 5}" / "transitions.jsonl").unlink()
        shutil.copytree(folder / "project-10", folder / "project-1000")

    scan = Scan(tmp_path)
    first = scan.all(read_config(tmp_path), NOW, meanwhile)
    assert 270 <= len(first) < 300  # those that were read before they went are told this time
    assert scanned(scan) == exactly(tmp_path)
    assert len(scan.all(read_config(tmp_path), NOW)) == 271
    scan.close()


def test_files_that_are_asked_of_the_disk_before_they_are_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a start of the machine; whatever the threads find, the scan finds it as well, and they end with it."""
    generate_many(tmp_path, 100, NOW)
    folder = tmp_path / ".somas" / "projects"
    for number, name in ((1, "state.json"), (50, "dead_letters.json"), (99, "transitions.jsonl")):
        (folder / f"project-{number}" / name).unlink()
        os.mkfifo(folder / f"project-{number}" / name)
    shutil.rmtree(folder / "project-77")
    started: list[ReadAhead] = []
    begin = ReadAhead.__init__

    def noted(self: ReadAhead, *rest: Any) -> None:
        begin(self, *rest)
        started.append(self)

    monkeypatch.setattr(ReadAhead, "__init__", noted)
    monkeypatch.setattr(Disk, "was_waited_for", True)
    assert scanned(Scan(tmp_path)) == exactly(tmp_path)
    assert len(started) == 1 and not [each for each in threading.enumerate() if each.name == "opsbot read ahead"]


def test_a_log_that_grows_between_two_reads_of_it(tmp_path: Path) -> None:
    """What is appended after the size was asked for belongs to the next look, not to both."""
    generate_many(tmp_path, 1, NOW)
    log = tmp_path / ".somas" / "projects" / "project-1" / "transitions.jsonl"
    lines = log.read_bytes().count(b"\n")
    descriptor = os.open(log, os.O_RDONLY)
    before = os.fstat(descriptor)
    log.open("ab").write(b'{"id": "x", "event_type": "agent_failed"}\n{"id": "y", "event_ty')
    first = count_log(descriptor, before)
    second = count_log(descriptor, os.fstat(descriptor), first)
    log.open("ab").write(b'pe": "agent_failed"}\n')
    third = count_log(descriptor, os.fstat(descriptor), second)
    os.close(descriptor)
    assert [first.told.events, second.told.events, third.told.events] == [lines, lines + 1, lines + 2]
    assert [first.told.bad_lines, second.told.bad_lines, third.told.bad_lines] == [0, 1, 0]
    assert third.fresh == len(b'{"id": "y", "event_type": "agent_failed"}\n')


def test_an_overflow_of_what_the_kernel_tells_is_followed_by_a_look_at_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate_many(tmp_path, 2, NOW)
    scan = Scan(tmp_path)
    for _ in range(2):
        scanned(scan)
    monkeypatch.setattr(Watch, "changed", lambda self: self.stop())
    (tmp_path / ".somas" / "projects" / "project-2" / "state.json").write_bytes(b"{")
    assert scanned(scan) == exactly(tmp_path)


def test_a_network_disk_is_not_watched_but_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handlers.somas.watch.disk_of", lambda path: "nfs4")
    generate_many(tmp_path, 2, NOW)
    scan = Scan(tmp_path)
    for _ in range(2):
        scanned(scan)
    assert not scan.watch.active and "on a disk of the kind nfs4" in scan.watch.problem
    (tmp_path / ".somas" / "projects" / "project-2" / "state.json").write_bytes(b"{")
    assert scanned(scan) == exactly(tmp_path)


def test_links_and_pipes_are_not_read_and_do_not_hang(tmp_path: Path) -> None:
    generate_many(tmp_path, 3, NOW)
    folder = tmp_path / ".somas" / "projects"
    for project, name in ((1, "state.json"), (2, "dead_letters.json"), (3, "transitions.jsonl")):
        file = folder / f"project-{project}" / name
        file.unlink()
        os.mkfifo(file) if project == 2 else file.symlink_to("/etc/passwd")
    (folder / "project-4").write_text("a file")
    (folder / "project-6").mkdir()
    assert scanned(Scan(tmp_path)) == exactly(tmp_path)
    assert [each[0] for each in exactly(tmp_path)] == ["project-1", "project-2", "project-3"]


def test_progress_is_told_while_it_lasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generate_many(tmp_path, 200, NOW)
    monkeypatch.setattr("handlers.somas.scan.PROGRESS_EVERY", 0.0)
    seen: list[tuple[int, int]] = []
    Scan(tmp_path).all(Config(), NOW, lambda done, total: seen.append((done, total)))
    assert seen == [(64, 200), (128, 200), (192, 200)] or seen == [(0, 200), (64, 200), (128, 200), (192, 200)]


def test_outcomes_count_again_when_the_clock_is_set_back(tmp_path: Path) -> None:
    history(tmp_path, [("start", "plan"), ("fail", "plan", "x", True, False)], age=500).save()
    scan = Scan(tmp_path)
    config = Config()
    assert weigh(scan.all(config, NOW)[0], config, NOW).last_day.total == 0
    then = NOW - timedelta(hours=499)
    exact = measure(read_project(tmp_path, PROJECT, config), then)
    assert weigh(scan.all(config, then)[0], config, then) == exact
    assert exact.last_day.failed == 1


def test_the_kind_of_a_disk() -> None:
    assert disk_of(Path("/proc/self")) == "proc"


def test_what_is_remembered_costs_the_garbage_collector_nothing() -> None:
    assert not any(kind.__struct_config__.gc for kind in (Summary, Metrics) if issubclass(kind, msgspec.Struct))
