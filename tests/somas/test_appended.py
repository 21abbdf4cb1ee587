"""Every line of a log is told once: through appends, cut lines, rotation, truncation and files that are made anew."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.somas.appended import Mark, end_of, read_news

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def event(number: int) -> str:
    at = (NOON + timedelta(seconds=number)).isoformat().replace("+00:00", "Z")
    return json.dumps({"id": f"e{number}", "timestamp": at, "project_id": "project-42", "event_type": "stage_started"})


def append(path: Path, *numbers: int) -> None:
    with path.open("a") as file:
        file.writelines(event(number) + "\n" for number in numbers)


def ids(path: Path, mark: Mark) -> tuple[list[str], Mark]:
    news = read_news(path, mark)
    return [each.raw["id"] for each in news.events], news.mark


def test_what_is_there_already_is_no_news(tmp_path: Path) -> None:
    path = tmp_path / "transitions.jsonl"
    append(path, 1, 2)
    mark = end_of(path)
    assert ids(path, mark) == ([], mark)
    append(path, 3)
    assert ids(path, mark)[0] == ["e3"]


def test_a_line_is_told_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "transitions.jsonl"
    append(path, 1)
    mark = end_of(path)
    with path.open("a") as file:
        file.write(event(2)[:30])
    found, mark = ids(path, mark)
    assert found == []
    with path.open("a") as file:
        file.write(event(2)[30:] + "\n")
    assert ids(path, mark)[0] == ["e2"]


def test_a_cut_line_and_the_event_that_is_glued_to_it(tmp_path: Path) -> None:
    """A writer died in the middle of a line; the next one appends to it."""
    path = tmp_path / "transitions.jsonl"
    append(path, 1)
    mark = end_of(path)
    with path.open("a") as file:
        file.write(event(2)[:30])
    append(path, 3)
    assert ids(path, mark)[0] == ["e3"]


def test_rotated_by_moving(tmp_path: Path) -> None:
    path = tmp_path / "transitions.jsonl"
    append(path, 1)
    mark = end_of(path)
    append(path, 2)
    path.rename(tmp_path / "transitions.jsonl.1")
    append(path, 3)
    assert ids(path, mark)[0] == ["e2", "e3"]


def test_rotated_by_copying_and_cutting(tmp_path: Path) -> None:
    path = tmp_path / "transitions.jsonl"
    append(path, 1)
    mark = end_of(path)
    append(path, 2)
    shutil.copy(path, tmp_path / "transitions.jsonl.1")
    path.write_text("")
    append(path, 3)
    assert ids(path, mark)[0] == ["e2", "e3"]


def test_made_anew_with_the_old_lines_in_it(tmp_path: Path) -> None:
    """As a restore from a backup, or an editor, leaves it."""
    path = tmp_path / "transitions.jsonl"
    append(path, 1, 2)
    mark = end_of(path)
    content = path.read_text()
    path.unlink()
    path.write_text(content)
    append(path, 3)
    assert ids(path, mark)[0] == ["e3"]


def test_made_anew_without_them(tmp_path: Path) -> None:
    path = tmp_path / "transitions.jsonl"
    append(path, 1, 5)
    mark = end_of(path)
    path.unlink()
    append(path, 4, 6)
    assert ids(path, mark)[0] == ["e6"], "what is older than the last line that was read is not news"


def test_a_log_that_disappears_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "transitions.jsonl"
    append(path, 1)
    mark = end_of(path)
    path.rename(tmp_path / "elsewhere")
    found, mark = ids(path, mark)
    assert found == []
    (tmp_path / "elsewhere").rename(path)
    append(path, 2)
    assert ids(path, mark)[0] == ["e2"]


def test_neither_a_pipe_nor_a_link_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "transitions.jsonl")
    assert end_of(tmp_path / "transitions.jsonl") == Mark()
    (tmp_path / "link.jsonl").symlink_to("/etc/passwd")
    assert read_news(tmp_path / "link.jsonl", Mark()).events == ()


STEPS = st.lists(st.sampled_from(["append", "append", "look", "move", "copy", "restore", "restart"]), max_size=25)


@settings(deadline=None, max_examples=150)
@given(steps=STEPS)
def test_any_order_of_these_tells_every_line_once(steps: list[str]) -> None:
    """At most one rotation between two looks: more than that, and what was between them is gone from every file.

    Nor is a log copied and cut that was empty at the last look: nothing in it tells that it was another one meanwhile.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "transitions.jsonl"
        append(path, 0)
        mark, told, written, rotated = end_of(path), list[str](), list[str](), False
        for number, step in enumerate([*steps, "look"], start=1):
            match step:
                case "append":
                    append(path, number)
                    written.append(f"e{number}")
                case "look":
                    found, mark = ids(path, mark)
                    told += found
                    rotated = False
                case "restart":
                    mark = Mark.model_validate_json(mark.model_dump_json())
                case "restore" if not rotated:
                    content = path.read_text()
                    path.unlink()
                    path.write_text(content)
                case "move" | "copy" if not rotated and (step == "move" or mark.offset):
                    (Path(folder) / "transitions.jsonl.1").unlink(missing_ok=True)
                    if step == "move":
                        path.rename(Path(folder) / "transitions.jsonl.1")
                        path.write_text("")
                    else:
                        shutil.copy(path, Path(folder) / "transitions.jsonl.1")
                        path.write_text("")
                    rotated = True
        assert told == written
