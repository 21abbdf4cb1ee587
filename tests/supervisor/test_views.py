"""``/supervisor tree`` draws whatever the process says, and nothing that it says passes for the bot's own words."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from handlers.supervisor import status
from handlers.supervisor.diagnosis import suspects
from handlers.supervisor.protocol import State
from handlers.supervisor.views import drawn
from tests.supervisor.test_polling import state


def topology(*children: str, edges: tuple[tuple[str, str, str], ...] = ()) -> dict[str, Any]:
    return {
        "nodes": [
            {"child_id": None, "path": "/", "kind": "root_supervisor"},
            *({"child_id": name, "path": f"/{name}", "criticality": "critical"} for name in children),
        ],
        "edges": [{"source_path": source, "target_path": to, "kind": kind} for source, to, kind in edges],
    }


def records(*children: str) -> list[dict[str, Any]]:
    return [
        {"child_id": name, "child_path": f"/{name}", "operation": "active", "attempt": 1, "status": "running"}
        for name in children
    ]


def test_a_tree_of_a_supervisor_below_a_supervisor() -> None:
    edges = (
        ("/", "/pool", "parent_child"),
        ("/pool", "/worker-1", "parent_child"),
        ("/", "/cache", "parent_child"),
        ("/worker-1", "/cache", "dependency"),
    )
    shape = topology("pool", "worker-1", "cache", edges=edges)
    found = state(topology=shape, child_runtime_records=records("pool", "worker-1", "extra"))
    assert drawn("payments", found, {"worker-1": "dies"}).splitlines() == [
        "payments",
        "├── ✓ pool      running, attempt 1, critical",
        "│   └── ✗ worker-1  running, attempt 1, critical, needs cache",
        "├── - cache     removed (declared, no record), critical",
        "└── ✓ extra     running, attempt 1, not declared",
    ]


def test_a_loop_in_what_it_says_is_no_loop_here() -> None:
    edges = (("/a", "/b", "parent_child"), ("/b", "/a", "parent_child"), ("/c", "/c", "parent_child"))
    found = state(topology=topology("a", "b", "c", edges=edges), child_runtime_records=records("a", "b", "c"))
    assert len(drawn("x", found, {}).splitlines()) == 4


def test_a_name_cannot_pass_for_a_line_of_its_own() -> None:
    evil = "a\n└── ✓ all is well\x1b[2K"
    found = state(topology=topology(evil), child_runtime_records=records(evil))
    assert len(drawn("x", found, {}).splitlines()) == 2
    assert len(status.as_text(found).splitlines()) == 2
    assert "\n" not in status.headline(found, {evil: "dies"})


names = st.text(min_size=1, max_size=8)


@given(st.lists(names, max_size=5, unique=True), st.lists(st.tuples(names, names), max_size=6))
def test_every_child_has_one_line(children: list[str], edges: list[tuple[str, str]]) -> None:
    between = tuple((f"/{source}", f"/{to}", "parent_child") for source, to in edges)
    found: State = state(topology=topology(*children, edges=between), child_runtime_records=records(*children))
    assert len(drawn("x", found, {}).splitlines()) == 1 + len(children)
    assert len(suspects(found)) == len(children)
