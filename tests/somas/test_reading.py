"""Files as they are found: whole, cut, empty, of another project, hostile."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.demo.somas_projects import ProjectWriter
from bot.errors import Unavailable, UserError
from bot.messages import plain_text
from handlers.somas.config import Config, read_config
from handlers.somas.fleet_views import failed_message, fleet_message
from handlers.somas.metrics import fleet, measure
from handlers.somas.projects import Project, list_projects, read_project
from handlers.somas.restart import choose
from handlers.somas.state import decode_dead_letters, decode_state, read_state
from handlers.somas.summary import summarise
from handlers.somas.transitions import decode_log
from handlers.somas.views import project_message

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def state_bytes(**changes: Any) -> bytes:
    base = {"project_id": "project-5", "status": "failed", "current_stage": "plan", "stages": {}}
    return json.dumps({**base, **changes}).encode()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "is empty"),
        (b"{}", "misses project_id, status, current_stage, stages"),
        (b"[]", "holds a list, not an object"),
        (b'{"a": ', "cut or broken at line 1"),
        (b"\xff\xfe", "not UTF-8 at byte 0"),
        (b"[" * 100_000, "nested too deeply"),
        (b"9" * 5000, "is "),
        (state_bytes(project_id="project-6"), "belongs to 'project-6', not to project-5"),
        (state_bytes(stages={"plan": "failed"}), "wrong type"),
        (state_bytes(stages={"plan": {"status": 3}}), "wrong type"),
        (state_bytes(status=None), "wrong type"),
    ],
)
def test_a_damaged_state_says_what_is_wrong(data: bytes, problem: str) -> None:
    file = decode_state(data, "project-5")
    assert file.condition == "damaged"
    assert problem in file.problem
    assert file.state is None


def test_unknown_keys_and_odd_values_do_not_damage_a_state() -> None:
    odd = state_bytes(
        circuit_breakers={"ai_api": {"state": "open"}}, checkpoints=None, labels=[], metrics=3, created_at=7
    )
    file = decode_state(odd, "project-5")
    assert file.state is not None
    assert file.state.raw["circuit_breakers"] == {"ai_api": {"state": "open"}}
    assert file.state.open_breakers == ["ai_api"]
    assert (file.state.checkpoints, file.state.labels, file.state.created_at) == ([], [], None)


def test_a_lone_surrogate_is_read_and_shown_without_a_crash() -> None:
    file = decode_state(b'{"project_id":"project-5","status":"failed","current_stage":"plan","stages":'
                        b'{"plan":{"status":"failed","error":"half \\ud83d"}}}', "project-5")  # fmt: skip
    assert file.state is not None
    project = Project("project-5", Path("/x"), file, decode_dead_letters(b"[]", "project-5"), decode_log(b""), Config())
    said = plain_text(project_message(project, NOW).blocks)
    assert "half \ufffd" in said
    said.encode("utf-8")


def test_half_an_emoji_in_a_name_damages_nothing() -> None:
    odd = state_bytes(**{"\ud83d": "\ud83d", "stages": {"\ud83d": {"status": "\ud83d"}}})
    assert decode_state(odd, "project-5").condition == "ok"
    wrong = decode_state(state_bytes(stages="\ud83d"), "project-5")
    assert wrong.problem == "has a field of the wrong type: stages is text, not an object"


def test_a_purged_list_of_dead_letters_is_read_and_called_malformed() -> None:
    file = decode_dead_letters(b'[{"stage": "plan"}, 7]', "project-5")
    assert (file.condition, file.malformed, file.open) == ("ok", True, 2)
    assert "is a list" in file.problem


def test_a_letter_counts_as_open_until_its_recovery_succeeded() -> None:
    entries = [
        {"recovery_attempted": True, "recovery_result": "success"},
        {"recovery_attempted": True, "recovery_result": "failure"},
        {"recovery_attempted": False, "recovery_result": "success"},
    ]
    file = decode_dead_letters(json.dumps({"entries": entries}).encode(), "project-5")
    assert (len(file.entries), file.open) == (3, 2)


EVENT = '{"id": "1", "event_type": "stage_started", "stage": "plan"}'
OTHER = '{"id": "2", "event_type": "stage_failed", "stage": "plan"}'


@pytest.mark.parametrize(
    ("text", "types", "bad", "recovered", "cut"),
    [
        ("", [], 0, 0, False),
        (f"{EVENT}\n{OTHER}\n", ["stage_started", "stage_failed"], 0, 0, False),
        (f"{EVENT}\n{OTHER}", ["stage_started", "stage_failed"], 0, 0, True),
        (f"{EVENT}\n{OTHER[:20]}", ["stage_started"], 1, 0, True),
        (f"{EVENT[:30]}{OTHER}\n", ["stage_failed"], 1, 1, False),
        (f"{EVENT}{OTHER}\n", ["stage_started", "stage_failed"], 1, 1, False),
        (f'{{"id": "9", "metadata": {{"id": "chk-1", "sta{OTHER}\n', ["stage_failed"], 1, 1, False),
        (f'{{"id": "9", "x": {{"id": "chk-1"}}, "y{OTHER}\n', ["stage_failed"], 1, 1, False),
        (f"{EVENT}\n\n[1]\n7\n", ["stage_started"], 2, 0, False),
        ('{"id": "1", "event_type": "a\u2028b"}\n', ["a\u2028b"], 0, 0, False),
    ],
)
def test_the_log_gives_back_what_is_in_it(text: str, types: list[str], bad: int, recovered: int, cut: bool) -> None:
    log = decode_log(text.encode())
    assert [event.type for event in log.events] == types
    assert (log.bad_lines, log.recovered, log.cut) == (bad, recovered, cut)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
KEYS = [
    *(
        "project_id",
        "status",
        "current_stage",
        "stages",
        "created_at",
        "updated_at",
        "checkpoints",
        "labels",
        "metrics",
    ),
    *("recovery_info", "entries", "event_type", "metadata", "timestamp", "error", "stage", "from_state", "to_state"),
    *("artifacts", "agent", "id", "issue_number"),
]
TYPES = [
    *("project_initialized", "stage_started", "stage_completed", "stage_failed", "checkpoint_created"),
    *("error_recorded", "state_updated"),
]
NAMES = st.sampled_from(
    ["project-5", "failed", "plan", "in_progress", "pulse", "waiting", "2026-11-22T07:00:00Z", "\ud83d"]
)
SHAPED = st.dictionaries(st.sampled_from(KEYS), JSON | NAMES, max_size=12)
STATES = SHAPED.map(
    lambda odd: {
        "status": "failed",
        "current_stage": "plan",
        "stages": {"plan": {"status": "in_progress", "started_at": "0001-01-01T00:00:00+23:59"}},
        **odd,
        "project_id": "project-5",
    }
)
EVENTS = st.tuples(
    st.sampled_from(TYPES),
    SHAPED,
).map(lambda pair: {"id": "1", **pair[1], "event_type": pair[0]})
BYTES = st.binary(max_size=200) | (JSON | SHAPED | STATES).map(lambda value: json.dumps(value).encode())
LOGS = BYTES | st.lists(EVENTS, max_size=8).map(lambda many: "".join(json.dumps(e) + "\n" for e in many).encode())


@settings(max_examples=300, deadline=None)
@given(BYTES, BYTES, LOGS)
def test_no_bytes_make_reading_measuring_or_showing_raise(state: bytes, letters: bytes, log: bytes) -> None:
    project = Project(
        "project-5",
        Path("/srv/somas/.somas/projects/project-5"),
        decode_state(state, "project-5"),
        decode_dead_letters(letters, "project-5"),
        decode_log(log),
        Config(),
    )
    metrics = measure(project, NOW)
    if project.state is None:
        assert metrics.level is None
    plain_text(project_message(project, NOW).blocks).encode("utf-8")
    everything = fleet([summarise(project)], Config(), NOW)
    plain_text(fleet_message(everything, Config(), NOW, "/srv/somas").blocks).encode("utf-8")
    plain_text(failed_message(everything, 1, Config(), NOW, "/srv/somas").blocks).encode("utf-8")
    wishes: list[dict[str, Any]] = [{}, {"checkpoint": "last"}, {"stage": "plan"}, {"full": True}]
    for wish in wishes:
        try:
            choose(project, NOW, **wish)
        except UserError as error:
            error.message.encode("utf-8")


def test_a_pipe_in_the_place_of_a_state_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "state.json")
    assert read_state(tmp_path, "project-5").problem == "is not a regular file"


def test_a_state_that_nobody_may_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "state.json").mkdir()
    assert read_state(tmp_path, "project-5").condition == "damaged"


def test_without_state_and_log_nothing_is_ok(tmp_path: Path) -> None:
    folder = tmp_path / ".somas" / "projects" / "project-5"
    folder.mkdir(parents=True)
    (folder / "dead_letters.json").write_text('{"entries": [{}, {}]}')
    project = read_project(tmp_path, "project-5", read_config(tmp_path))
    metrics = measure(project, NOW)
    assert metrics.level is None
    assert [m.level for m in (metrics.duration, metrics.retries, metrics.dead_letters, metrics.wait)] == [None] * 4
    said = plain_text(project_message(project, NOW).blocks)
    assert "project-5: cannot be read and cannot be rebuilt" in said
    assert "state.json is missing" in said


def test_only_dead_letters_lost_are_estimated_from_the_log(tmp_path: Path) -> None:
    writer = ProjectWriter(tmp_path, "project-5", NOW)
    writer.initialize_project(5, "x")
    writer.start_stage("intake")
    writer.fail_stage("intake", {"type": "E", "message": "m"})
    writer.save()
    (writer.directory / "dead_letters.json").unlink()
    measured = measure(read_project(tmp_path, "project-5", Config()), NOW)
    assert (measured.dead_letters.value, measured.dead_letters.mark) == (1, "estimated")
    assert measured.dead_letters_total == 1  # "1 open of 0" would be nonsense


def test_a_project_without_files_is_no_project(tmp_path: Path) -> None:
    (tmp_path / ".somas" / "projects" / "project-5").mkdir(parents=True)
    with pytest.raises(UserError, match="No such project: project-5 has no local state"):
        read_project(tmp_path, "project-5", Config())


def test_a_root_that_went_away_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"root in the section \[somas\]"):
        list_projects(tmp_path / "gone")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "config.yml is missing"),
        ("a: [", "config.yml cannot be read"),
        ("- 1", "config.yml is not a mapping"),
        ("pipeline:\n  enabled: false\n", "names no pipeline.stages"),
    ],
)
def test_a_broken_configuration_gives_the_usual_values_and_says_so(
    tmp_path: Path, text: str | None, problem: str
) -> None:
    (tmp_path / ".somas" / "config").mkdir(parents=True)
    (tmp_path / ".somas" / "config" / "limits.yml").write_text("limits:\n  max_retry_attempts: 5\n")
    if text is not None:
        (tmp_path / ".somas" / "config.yml").write_text(text)
    config = read_config(tmp_path)
    assert problem in config.problems[0]
    assert (config.timeouts["verify"], config.duration_alert, config.max_retry_attempts) == (12, 168, 5)
    assert config.pipeline_enabled == (text is None or "false" not in text)
