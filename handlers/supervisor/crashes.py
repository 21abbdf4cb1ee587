"""``core_dump()``: whether a crash has left a core, where, and what its backtrace says; or why there is none.

Where a core goes is the kernel's decision (``core_pattern``), not ``/tmp``. A Rust panic that unwinds leaves none at
all, only its message and, with RUST_BACKTRACE, its backtrace in the log.
"""

from __future__ import annotations

import glob
import os
import re
import stat
import time
from dataclasses import dataclass
from pathlib import Path

CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")
RECENT_SECONDS = 3600.0
MOST_FILES = 2000  # that are looked at in the folder of the cores


@dataclass(frozen=True, slots=True)
class Core:
    """``path`` is the newest core that may be of the process; ``told`` says in one sentence what was found or why not.

    ``collector`` is the program that the kernel hands cores to, empty when it writes files.
    """

    path: Path | None
    told: str
    collector: str = ""


def find_core(pid: int | None) -> Core:
    """Blocking: reads core_pattern and, when cores are files, looks for the newest one of the last hour."""
    try:
        pattern = CORE_PATTERN.read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        return Core(None, f"{CORE_PATTERN} cannot be read ({error.strerror}), so where cores go is unknown")
    if pattern.startswith("|"):
        words = pattern[1:].split()
        program = words[0] if words else "nothing"
        return Core(None, f"the kernel hands cores to {program}", program)
    if not pattern:
        return Core(None, "core_pattern is empty: the kernel writes no cores")
    if "/" not in pattern:
        return Core(
            None,
            f"cores are written as {pattern} into the working directory of the process, which is gone with it. Look "
            "there, or set an absolute core_pattern",
        )
    wildcard = "".join(_piece(part, pid) for part in re.findall(r"%.|[^%]+|%", pattern))
    found = []
    for name in glob.glob(wildcard + "*")[:MOST_FILES]:  # noqa: PTH207  the pattern is absolute
        try:
            stats = os.lstat(name)
        except OSError:
            continue
        if stat.S_ISREG(stats.st_mode) and time.time() - stats.st_mtime <= RECENT_SECONDS:
            found.append((stats.st_mtime, Path(name), stats.st_size))
    if not found:
        return Core(
            None,
            f"no core of the last hour at {pattern}. A panic that unwinds leaves none; else look at the limit "
            "(ulimit -c, LimitCORE=)",
        )
    _, path, size = max(found)
    whose = "of that pid" if pid is not None and "%p" in pattern.lower() else "the newest; whose it is, its name tells"
    return Core(path, f"{path}, {size / 2**20:.1f} MiB ({whose})")


def _piece(part: str, pid: int | None) -> str:
    if part == "%%":
        return "%"
    if part in ("%p", "%P"):
        return "*" if pid is None else str(pid)
    return "*" if part.startswith("%") and len(part) == 2 else glob.escape(part)
