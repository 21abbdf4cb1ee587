"""``metrics_snapshot()``: what /proc tells of a running process: memory, threads, which of them are busy. Blocking."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

MOST_THREADS = 512


@dataclass(frozen=True, slots=True)
class Usage:
    """Of one moment. ``threads`` maps a thread id to its name and its CPU seconds so far."""

    threads: dict[int, tuple[str, float]]
    memory_bytes: int
    open_files: int


def usage(pid: int) -> Usage | None:
    """None when the process is gone or hidden (another container, another user)."""
    base = Path(f"/proc/{pid}")
    ticks = os.sysconf("SC_CLK_TCK")
    try:
        threads = {}
        for entry in sorted((base / "task").iterdir(), key=lambda path: int(path.name))[:MOST_THREADS]:
            head, _, rest = (entry / "stat").read_text(errors="replace").rpartition(")")
            fields = rest.split()
            threads[int(entry.name)] = (head.partition("(")[2], (int(fields[11]) + int(fields[12])) / ticks)
        pages = int((base / "statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    try:
        files = len(list((base / "fd").iterdir()))
    except OSError:
        files = -1
    return Usage(threads, pages * os.sysconf("SC_PAGE_SIZE"), files)


def busiest(before: Usage, after: Usage, seconds: float, most: int = 5) -> list[tuple[int, str, float]]:
    """The threads that used most CPU in between: id, name, share of one core in per cent."""
    shares = [
        (thread, name, 100 * (spent - before.threads.get(thread, (name, spent))[1]) / max(seconds, 0.01))
        for thread, (name, spent) in after.threads.items()
    ]
    return [one for one in sorted(shares, key=lambda one: -one[2]) if one[2] >= 1.0][:most]


def comm(pid: int) -> str:
    """The name that ``pgrep -x`` compares, at most 15 characters; empty when it is not told."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return ""
