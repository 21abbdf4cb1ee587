"""The scan of all projects says what reading each of them whole says; and reads only what it has to."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bot.demo.somas_projects import ProjectWriter, generate_many
from handlers.somas.config import Config, read_config
from handlers.somas.metrics import Metrics, measure, weigh
from handlers.somas.projects import read_all, read_project
from handlers.somas.scan import Scan
from handlers.somas.summary import Summary, summarise
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
