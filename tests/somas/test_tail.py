"""The end of a log, read from its end: the same as the end of the whole."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from bot.demo.somas_projects import ProjectWriter
from handlers.somas.tail import Query, last_events, lines_backwards
from handlers.somas.transitions import Event, decode_log
from tests.somas.conftest import NOW
from tests.somas.test_rebuild import CALL, play


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([b"", b"\n", b"a", b"bc\n", b"\n\n", b"long" * 9]), max_size=30), st.integers(1, 40))
def test_the_lines_of_a_file_backwards_are_its_lines(parts: list[bytes], block: int) -> None:
    data = b"".join(parts)
    with tempfile.TemporaryFile() as file, mock.patch("handlers.somas.tail.BLOCK", block):
        file.write(data)
        file.flush()
        found = list(lines_backwards(file.fileno(), len(data)))
    assert [line for line in found if line] == [line for line in reversed(data.split(b"\n")) if line]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(CALL, max_size=20),
    st.integers(1, 30),
    st.sampled_from(
        [Query(), Query("plan"), Query("verify"), Query(failures=True), Query("plan", "stage_failed")]
    ),
    st.integers(0, 80),
)  # fmt: skip
def test_the_last_events_are_the_last_of_all_that_match(
    calls: list[object], limit: int, query: Query, cut: int
) -> None:
    with tempfile.TemporaryDirectory() as made:
        writer = ProjectWriter(Path(made), "project-5", NOW)
        writer.initialize_project(5, "x")
        play(writer, calls)  # type: ignore[arg-type]  # tuples of any shape
        data = "".join(writer.lines).encode() + b'{"id": "a", "event_type": "stage_started", "stage": "pulse"}'[:cut]
        (Path(made) / "transitions.jsonl").write_bytes(data)
        with mock.patch("handlers.somas.tail.BLOCK", 300):
            found = last_events(Path(made), limit, query)
    every: list[Event] = [event for event in decode_log(data).events if query.matches(event)]
    assert list(found.events) == every[::-1][:limit]


def test_a_line_without_an_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    with mock.patch("handlers.somas.tail.LONGEST_LINE", 100_000):
        (tmp_path / "transitions.jsonl").write_bytes(b"x" * 3_000_000 + b'\n{"event_type": "stage_failed"}\n')
        found = last_events(tmp_path, 20)
    assert [event.type for event in found.events] == ["stage_failed"]
    assert found.bad_lines == 1


def test_twenty_lines_of_a_long_log_cost_no_more_than_of_a_short_one(tmp_path: Path) -> None:
    """In processor time, with much room: reading all of it would take a hundred times as long."""
    line = b'{"id": "x", "timestamp": "2026-11-22T11:00:00Z", "event_type": "stage_started", "stage": "plan"}\n'
    (tmp_path / "transitions.jsonl").write_bytes(line * 400_000)
    costs = []
    for _ in range(5):
        begun = time.process_time()
        assert len(last_events(tmp_path, 20).events) == 20
        costs.append(time.process_time() - begun)
    assert min(costs) < 0.01
