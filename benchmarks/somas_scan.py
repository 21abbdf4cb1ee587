"""How soon 10,000 projects and a log of a million lines are read: opsbot beside C, msgspec, json, jq and upstream.

``make bench`` prints ratios of one interleaved run, and which goals are met. Each contender runs in a process of its
own and times itself, without its start. Warm, processor seconds are compared, because they are what a shared machine
disturbs least; cold (root only: the caches are dropped), seconds of the wall. The numbers of failed projects, of dead
letters and of failures in the log must be the same for all.

Three workloads, each against C reading the same files: *one* is state.json, what ``/somas failed`` reads of those that
have not failed; *two* adds dead_letters.json (the failed, the durations, the open letters: what C1 was set for);
*three* adds transitions.jsonl, without which there are no retries and no waits, so status and reports need it.

``ROUNDS=5 PROJECTS=10000 LINES=1000000`` in the environment.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bot.demo.somas_projects import generate_many

ROUNDS = int(os.environ.get("ROUNDS", "5"))
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
PROJECTS = int(os.environ.get("PROJECTS", "10000"))
LINES = int(os.environ.get("LINES", "1000000"))

C_READ = r"""
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
static double now(clockid_t clock) {
  struct timespec t; clock_gettime(clock, &t); return t.tv_sec + t.tv_nsec / 1e9;
}
static int at, count, names, threads, only_stat; static char **files, (*name)[64]; static long sums[64];
static void *work(void *arg) {
  long me = (long)arg, total = 0; size_t capacity = 1 << 20; char *buffer = malloc(capacity), path[600];
  for (int n = me; n < names; n += threads)
    for (int i = 0; i < count; i++) {
      snprintf(path, sizeof path, "%s/%s", name[n], files[i]);
      if (only_stat) { struct stat s; fstatat(at, path, &s, AT_SYMLINK_NOFOLLOW); total += s.st_size; continue; }
      int file = openat(at, path, O_RDONLY); ssize_t n;
      if (file < 0) continue;
      while ((n = read(file, buffer, capacity)) > 0) total += n;
      close(file);
    }
  sums[me] = total; return 0;
}
int main(int arguments, char **argument) {
  double c = now(CLOCK_PROCESS_CPUTIME_ID), w = now(CLOCK_MONOTONIC);
  DIR *folder = opendir(argument[1]); struct dirent *entry; pthread_t thread[64]; long total = 0;
  only_stat = !strcmp(argument[2], "stat"); threads = atoi(argument[3]); files = argument + 4; count = arguments - 4;
  at = dirfd(folder); name = malloc(64L * 1000000);
  while ((entry = readdir(folder))) if (!strncmp(entry->d_name, "project-", 8)) strcpy(name[names++], entry->d_name);
  if (threads == 1) work(0);
  else for (long i = 0; i < threads; i++) pthread_create(thread + i, 0, work, (void *)i);
  for (int i = 0; i < threads; i++) { if (threads > 1) pthread_join(thread[i], 0); total += sums[i]; }
  c = now(CLOCK_PROCESS_CPUTIME_ID) - c; w = now(CLOCK_MONOTONIC) - w;
  printf("{\"cpu\": %f, \"wall\": %f, \"bytes\": %ld}\n", c, w, total);
}
"""

# Each contender of the 10,000 reads state.json and dead_letters.json, where its name says nothing else.
TIMED = """
import json, os, resource, sys, time
from pathlib import Path
root = sys.argv[1]
folder = root + "/.somas/projects"
def memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
def done(**found):
    rss = memory() - before  # beyond what the program has anyway
    print(json.dumps(found | {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall, "rss": rss}))
"""
BEGIN = "\nbefore = memory()\ncpu, wall = time.process_time(), time.perf_counter()\n"
PLAIN = (
    TIMED
    + """
def contents():
    for name in os.listdir(folder):
        if name.startswith("project-"):
            yield name, *(Path(f"{folder}/{name}/{file}").read_bytes() for file in ("state.json", "dead_letters.json"))
"""
)
PYTHON = {
    "json": PLAIN
    + BEGIN
    + """
failed = letters = 0
for name, state, dead in contents():
    failed += json.loads(state)["status"] == "failed"
    letters += len(json.loads(dead)["entries"])
done(failed=failed, letters=letters)
""",
    "msgspec, typed": TIMED
    + """
import msgspec
class Stage(msgspec.Struct): status: str; retry_count: int = 0
class State(msgspec.Struct): status: str; created_at: str; stages: dict[str, Stage]
class Letter(msgspec.Struct): recovery_attempted: bool = False
class Letters(msgspec.Struct): entries: list[Letter]
state, dead = msgspec.json.Decoder(State).decode, msgspec.json.Decoder(Letters).decode
at = os.open(folder, os.O_RDONLY)
def read(path):
    file = os.open(path, os.O_RDONLY, dir_fd=at)
    data = os.read(file, 1 << 17)
    os.close(file)
    return data
"""
    + BEGIN
    + """
failed = letters = 0
for name in os.listdir(folder):
    if name.startswith("project-"):
        failed += state(read(f"{name}/state.json")).status == "failed"
        letters += len(dead(read(f"{name}/dead_letters.json")).entries)
done(failed=failed, letters=letters)
""",
    "upstream's way": PLAIN
    + """
# As its StateManager does: a lock object, an exists(), open() and json.load for each file.
from filelock import FileLock
def load(name, file):
    path = Path(folder) / name / file
    FileLock(str(path) + ".lock", timeout=30)
    if not path.exists():
        return None
    with path.open() as opened:
        return json.load(opened)
"""
    + BEGIN
    + """
failed = letters = 0
for path in Path(folder).iterdir():
    if path.name.startswith("project-"):
        failed += load(path.name, "state.json")["status"] == "failed"
        dead = load(path.name, "dead_letters.json")
        letters += len([e for e in dead["entries"] if not e["recovery_attempted"]])
done(failed=failed, letters=letters)
""",
}
OURS = (
    TIMED
    + """
import gc
from datetime import UTC, datetime
from pathlib import Path
from handlers.somas.config import read_config
from handlers.somas.metrics import fleet
from handlers.somas.scan import Scan
from handlers.somas.scan_decode import summarise_letters, summarise_state_file
from handlers.somas.scan_files import count_log, read_file
now = datetime(2026, 11, 22, 12, tzinfo=UTC)
config = read_config(Path(root))
"""
)
PYTHON["opsbot, two files"] = (
    OURS
    + BEGIN
    + """
failed = letters = 0
at = os.open(folder, os.O_RDONLY)
for name in os.listdir(folder):
    if name.startswith("project-"):
        failed += summarise_state_file(read_file(at, f"{name}/state.json")[0], name)[1].status == "failed"
        letters += summarise_letters(read_file(at, f"{name}/dead_letters.json")[0], name)[1]
done(failed=failed, letters=letters)
"""
)
PYTHON["opsbot, three files (status)"] = (
    OURS
    + "scan = Scan(Path(root))"
    + BEGIN
    + """
found = scan.all(config, now)
done(failed=sum(p.state.status == "failed" for p in found), letters=sum(p.letters_open for p in found))
"""
)
FAILED = (
    OURS
    + "scan = Scan(Path(root))"
    + BEGIN
    + """
found, total = scan.some(lambda state: state.effective_status == "failed", config, now)
done(failed=len(found), total=total)
"""
)
STATS = (
    TIMED
    + "at = os.open(folder, os.O_RDONLY)"
    + BEGIN
    + """
for name in os.listdir(folder):
    for file in ("state.json", "dead_letters.json", "transitions.jsonl"):
        os.stat(f"{name}/{file}", dir_fd=at, follow_symlinks=False)
done()
"""
)
AGAIN = (
    OURS
    + """
import statistics
kinds = {}
for watched in (True, False):
    scan = Scan(Path(root), watched=watched)
    for _ in range(2): scan.all(config, now)
    time.sleep(0.2)
    scan.all(config, now)
    costs, walls, weighed = [], [], []
    for round in range(9):
        for number in range(10):
            with open(f"{folder}/project-{1 + round * 10 + number}/transitions.jsonl", "ab") as log:
                log.write(b'{"id": "x", "timestamp": "2026-11-22T11:00:00Z", "event_type": "agent_failed"}\\n')
        cpu, wall = time.process_time(), time.perf_counter()
        read = scan.files_read
        found = scan.all(config, now)
        costs.append(time.process_time() - cpu); walls.append(time.perf_counter() - wall)
        assert scan.files_read - read >= 10, scan.files_read - read
        time.sleep(0.15)
        scan.all(config, now)
    cpu = time.process_time(); fleet(found, config, now); weighed = time.process_time() - cpu
    kinds["watched" if watched else "stat"] = [statistics.median(costs), statistics.median(walls)]
    assert scan.watch.active == watched
    scan.close()
print(json.dumps(kinds | {"weigh": weighed}))
"""
)

LOG = {
    "the empty line loop": TIMED
    + BEGIN
    + """
lines = 0
with open(sys.argv[2], "rb") as log:
    for line in log:
        lines += 1
done(lines=lines)
""",
    "json": TIMED
    + BEGIN
    + """
failed = 0
with open(sys.argv[2], "rb") as log:
    for line in log:
        failed += json.loads(line)["event_type"] == "stage_failed"
done(failed=failed)
""",
    "msgspec, typed": TIMED
    + """
import msgspec
class Event(msgspec.Struct): event_type: str; stage: str = ""
decode, counts = msgspec.json.Decoder(Event).decode, {}
"""
    + BEGIN
    + """
with open(sys.argv[2], "rb") as log:
    for line in log:
        event = decode(line)
        counts[event.event_type, event.stage] = counts.get((event.event_type, event.stage), 0) + 1
done(failed=sum(count for (kind, _), count in counts.items() if kind == "stage_failed"))
""",
    "opsbot": OURS
    + "file = os.open(sys.argv[2], os.O_RDONLY)"
    + BEGIN
    + """
counts = count_log(file, os.fstat(file), since="2026-11-19").told
done(failed=counts.failed, lines=counts.events)
""",
    "opsbot, ten lines more": OURS
    + """
file = os.open(sys.argv[2], os.O_RDONLY)
size = os.fstat(file).st_size
first = count_log(file, os.fstat(file), since="2026-11-19")
with open(sys.argv[2], "ab") as log:
    log.write(b'{"id": "x", "timestamp": "2026-11-22T11:00:00Z", "event_type": "agent_invoked"}\\n' * 10)
"""
    + BEGIN
    + """
more = count_log(file, os.fstat(file), first)
os.truncate(sys.argv[2], size)
done(lines=more.told.events - first.told.events)
""",
    "opsbot, the last 20": TIMED
    + """
from handlers.somas.tail import last_events
last_events(Path(sys.argv[2]).parent, 20)
"""
    + BEGIN
    + """
found = last_events(Path(sys.argv[2]).parent, 20)
done(lines=len(found.events))
""",
}


# What the others do, too: the failed, the durations and the retries; the open letters; the log by type and stage.
JQ_STATES = "[.project_id, .status, .created_at, ([.stages[].retry_count // 0] | max)]"
JQ_LETTERS = '[.entries[] | select((.recovery_attempted and .recovery_result == "success") | not)] | length'
JQ_LOG = 'reduce inputs as $e ({}; .["\\($e.event_type) \\($e.stage // "")"] += 1)'


def python(code: str, *arguments: str) -> dict[str, Any]:
    told = subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(told.stdout)
    return result


def jq(program: str, files: list[str], *flags: str) -> dict[str, Any]:
    """As many files as one command line takes; processor seconds with jq's start, which is short beside them."""
    before, begun, said = os.times(), time.perf_counter(), []
    for start in range(0, len(files), 2000):
        command = ["jq", *flags, program, *files[start : start + 2000]]
        said.append(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    after = os.times()
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    return {"cpu": cpu, "wall": time.perf_counter() - begun, "said": "".join(said)}


def big_log(path: Path, root: Path, lines: int) -> None:
    """The logs of the projects, one after the other, until there are enough lines."""
    parts, count = [], 0
    for number in range(1, 201):
        data = (root / ".somas" / "projects" / f"project-{number}" / "transitions.jsonl").read_bytes()
        parts.append(data)
        count += data.count(b"\n")
    # One life: an initialisation would begin a new count.
    block = [line for line in b"".join(parts).splitlines(keepends=True) if b'"project_initialized"' not in line]
    path.parent.mkdir(parents=True)
    with path.open("wb") as log:
        while lines > 0:
            log.writelines(block[:lines])
            lines -= len(block)


def main() -> None:
    if shutil.which("jq") is None or shutil.which("cc") is None:
        sys.exit("This needs jq and a C compiler (cc).")
    console = Console(width=120)
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        root = place / "somas"
        generate_many(root, PROJECTS, NOW)
        log = place / "big" / "transitions.jsonl"
        big_log(log, root, LINES)
        source, binary = place / "read.c", str(place / "read")
        source.write_text(C_READ)
        subprocess.run(["cc", "-O2", "-pthread", "-o", binary, str(source)], check=True)
        measure(console, root, log, binary)


def measure(console: Console, root: Path, log: Path, binary: str) -> None:
    folder = str(root / ".somas" / "projects")
    names = sorted(name.name for name in Path(folder).iterdir())
    three = ("state.json", "dead_letters.json", "transitions.jsonl")

    def c_reads(what: str, *files: str, threads: int = 1) -> dict[str, Any]:
        told = subprocess.run([binary, folder, what, str(threads), *files], check=True, capture_output=True, text=True)
        result: dict[str, Any] = json.loads(told.stdout)
        return result

    found: dict[str, list[dict[str, Any]]] = {}
    for _ in range(ROUNDS):
        found.setdefault("C: read one", []).append(c_reads("read", *three[:1]))
        found.setdefault("C: read two", []).append(c_reads("read", *three[:2]))
        found.setdefault("C: read three", []).append(c_reads("read", *three))
        found.setdefault("C: stat three", []).append(c_reads("stat", *three))
        found.setdefault("os.stat of three", []).append(python(STATS, str(root)))
        found.setdefault("opsbot, one file (failed)", []).append(python(FAILED, str(root)))
        for name, code in PYTHON.items():
            found.setdefault(name, []).append(python(code, str(root)))
        for name, code in LOG.items():
            found.setdefault(f"log: {name}", []).append(python(code, str(root), str(log)))
    states = [f"{folder}/{name}/state.json" for name in names]
    letters = [f"{folder}/{name}/dead_letters.json" for name in names]
    for _ in range(2):
        first, second = jq(JQ_STATES, states, "-c"), jq(JQ_LETTERS, letters)
        both = {"cpu": first["cpu"] + second["cpu"], "wall": first["wall"] + second["wall"]}
        both |= {"failed": first["said"].count('"failed"'), "letters": sum(map(int, second["said"].split()))}
        found.setdefault("jq, in five processes", []).append(both)
    streamed = jq(JQ_LOG, [str(log)], "-nc")
    counts = json.loads(streamed.pop("said"))
    failed = sum(count for kind, count in counts.items() if kind.startswith("stage_failed "))
    found["log: jq, streaming"] = [streamed | {"failed": failed}]
    again = python(AGAIN, str(root))
    cold = in_the_cold(c_reads, three, root)

    def cpu(name: str) -> float:
        return statistics.median(each["cpu"] for each in found[name])

    def agree(key: str, names: list[str]) -> None:
        values = {each[key] for name in names for each in found[name]}
        assert len(values) == 1, (key, values)

    agree("failed", [*PYTHON, "jq, in five processes", "opsbot, one file (failed)"])
    agree("letters", [*PYTHON, "jq, in five processes"])
    agree("failed", ["log: json", "log: msgspec, typed", "log: opsbot", "log: jq, streaming"])

    sizes = sum(file.stat().st_size for file in Path(folder).glob("*/*.json*"))
    table = Table(
        title=f"{len(names)} projects, {sizes / 1e6:.0f} MB; a log of {LINES} lines, {log.stat().st_size / 1e6:.0f} MB"
    )
    for column in ("what", "cpu ms", "wall ms", "best wall", "x C (two files)", "+MB"):
        table.add_column(column, justify="left" if column == "what" else "right")
    limit = cpu("C: read two")
    for name, runs in found.items():
        walls = [each["wall"] for each in runs]
        rss = f"{runs[0]['rss']:.0f}" if "rss" in runs[0] else ""
        ratio = "" if name.startswith("log") else f"{cpu(name) / limit:.2f}"
        table.add_row(
            name,
            f"{cpu(name) * 1e3:.1f}",
            f"{statistics.median(walls) * 1e3:.1f}",
            f"{min(walls) * 1e3:.1f}",
            ratio,
            rss,
        )
    for name in ("watched", "stat"):
        costs, walls_again = again[name]
        table.add_row(f"again, ten changed, {name}", f"{costs * 1e3:.2f}", f"{walls_again * 1e3:.2f}", "", "", "")
    table.add_row("levels of all at a new time", f"{again['weigh'] * 1e3:.1f}", "", "", "", "")
    for name, walls in cold.items():
        table.add_row(f"cold: {name}", "", f"{statistics.median(walls) * 1e3:.0f}", f"{min(walls) * 1e3:.0f}", "", "")
    one, two, three_files = (
        cpu(f"opsbot, {each}") for each in ("one file (failed)", "two files", "three files (status)")
    )
    console.print(table)
    line_loop, ours = cpu("log: the empty line loop"), cpu("log: opsbot")
    rss = max(each["rss"] for each in found["log: opsbot"])
    again_watched, again_stat = again["watched"][0], again["stat"][0]
    last, more = cpu("log: opsbot, the last 20"), cpu("log: opsbot, ten lines more")
    jq_files, jq_log = cpu("jq, in five processes"), cpu("log: jq, streaming")
    goals: list[tuple[str, str, float, str, float]] = [
        ("C1", "two files / C reads the same", two / limit, "<=", 2.1),
        ("C1", "one file (failed) / C reads the same", one / cpu("C: read one"), "<=", 2.1),
        ("C1", "three files (status) / C reads the same", three_files / cpu("C: read three"), "<=", 2.1),
        ("C1", "json / opsbot, two files", cpu("json") / two, ">=", 2.9),
        ("C1", "jq / opsbot, two files", jq_files / two, ">=", 8.0),
        ("C1", "upstream's way / opsbot, two files", cpu("upstream's way") / two, ">=", 11.0),
        ("C3", "again with ten changed, watched, ms", again_watched * 1e3, "<=", 2.0),
        ("C3", "again by stat / C's stats of three files", again_stat / cpu("C: stat three"), "<=", 0.7),
        ("C3", "first scan / again, by stat", three_files / again_stat, ">=", 6.0),
        ("C3", "first scan / again, watched", three_files / again_watched, ">=", 100.0),
        ("C4", "the log / the empty line loop", ours / line_loop, "<=", 5.0),
        ("C4", "the log, MB of memory", rss, "<=", 50.0),
        ("C4", "json / the log", cpu("log: json") / ours, ">=", 4.0),
        ("C4", "jq / the log", jq_log / ours, ">=", 11.0),
        ("C4", "ten lines more, ms", more * 1e3, "<=", 1.0),
        ("C5", "the last 20 lines, ms", last * 1e3, "<=", 1.0),
    ]
    if cold:
        least = {name: min(walls) for name, walls in cold.items()}
        colder = least["opsbot, three files"] / least["C, 16 threads, three files"]
        goals.insert(6, ("C2", "cold, three files / C in 16 threads", colder, "<=", 2.2))
    told = Table(title="Goals")
    for column in ("goal", "what", "measured", "wanted", ""):
        told.add_column(column)
    for goal, what, value, sign, wanted in goals:
        met = value <= wanted if sign == "<=" else value >= wanted
        told.add_row(goal, what, f"{value:.2f}", f"{sign} {wanted:g}", "met" if met else "NOT met")
    console.print(told)
    if not cold:
        console.print("C2 (cold cache) was not measured: it needs root to drop the caches.")


def in_the_cold(c_reads: Any, files: tuple[str, ...], root: Path) -> dict[str, list[float]]:
    """Seconds of the wall with nothing in memory, by contender; nothing when the caches cannot be dropped."""
    caches = Path("/proc/sys/vm/drop_caches")
    if not os.access(caches, os.W_OK):
        return {}
    found: dict[str, list[float]] = {}
    os.sync()
    for _ in range(2):
        for name, run in (
            ("C, 16 threads, three files", lambda: c_reads("read", *files, threads=16)),
            ("C, three files", lambda: c_reads("read", *files)),
            ("opsbot, three files", lambda: python(PYTHON["opsbot, three files (status)"], str(root))),
        ):
            try:
                caches.write_text("3")
            except OSError:
                return {}
            python("import msgspec, handlers.somas; print('{}')")  # the programs themselves are not what is measured
            found.setdefault(name, []).append(run()["wall"])
    return found


if __name__ == "__main__":
    main()
