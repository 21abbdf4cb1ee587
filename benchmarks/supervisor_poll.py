"""``python benchmarks/supervisor_poll.py``: 50 supervised processes looked at every second, one of which hangs.

The targets are simulated processes with real children behind real Unix sockets, in other operating-system processes
than the poller. What is measured is what ``/supervisor events`` lives on: how long a look takes and how late it begins.
One target hangs (its control loop answers nothing) and one floods (lines without an end); the others must not notice.
Exit code 1 when the p99 of the others, lateness included, is not under one interval.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

from bot.clock import SystemClock
from bot.demo.supervised_process import ChildSpec, Faults, ProcessConfig, SupervisedProcess
from handlers.supervisor.client import SupervisorClient
from handlers.supervisor.polling import Poller
from handlers.supervisor.settings import SupervisorTarget


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--targets", type=int, default=50)
    parser.add_argument("--children", type=int, default=20, help="of each process")
    parser.add_argument("--per-process", type=int, default=10, help="targets in one operating-system process")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--interval", type=float, default=1.0)
    parser.add_argument("--healthy", action="store_true", help="without the one that hangs and the one that floods")
    parser.add_argument("--serve", nargs=3, metavar=("FOLDER", "FIRST", "LAST"), help=argparse.SUPPRESS)
    return parser.parse_args()


async def serve(folder: Path, first: int, last: int, children: int) -> None:
    """Some targets, until this process is ended."""
    specs = tuple(ChildSpec(f"worker-{number}") for number in range(children))
    async with contextlib.AsyncExitStack() as stack:
        for number in range(first, last):
            faults = Faults(folder / f"faults-{number}")
            config = ProcessConfig(folder / f"{number}.sock", name=f"target-{number}", children=specs)
            await stack.enter_async_context(SupervisedProcess(config, faults))
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


async def flood(path: Path) -> asyncio.Server:
    """Answers every request with 32 MiB that end nowhere."""

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        piece = b"[" * 1_000_000
        with contextlib.suppress(ConnectionError):
            await reader.readline()
            for _ in range(40):
                writer.write(piece)
                await writer.drain()
        writer.close()

    return await asyncio.start_unix_server(pour, str(path))


async def measure(options: argparse.Namespace, folder: Path) -> int:
    servers = []
    for first in range(0, options.targets, options.per_process):
        last = min(first + options.per_process, options.targets)
        words = ["--children", str(options.children), "--serve", str(folder), str(first), str(last)]
        process = await asyncio.create_subprocess_exec(sys.executable, __file__, *words, stdout=asyncio.subprocess.PIPE)
        servers.append(process)
    flooding = None
    try:
        for process in servers:
            if process.stdout is None or await process.stdout.readline() != b"ready\n":
                raise SystemExit("a simulated process did not start")
        if not options.healthy:
            (folder / "faults-0").mkdir()
            (folder / "faults-0" / "hang-control-loop").touch()
            flooding = await flood(folder / "flood.sock")
        sockets = {f"target-{number}": folder / f"{number}.sock" for number in range(options.targets)}
        odd = {"target-0"} if not options.healthy else set()
        if flooding is not None:
            sockets["flood"] = folder / "flood.sock"
            odd.add("flood")
        clock = SystemClock()
        clients = {name: SupervisorClient(name, SupervisorTarget(socket=path), clock) for name, path in sockets.items()}
        poller = Poller(clients, clock, options.interval)
        before = resource.getrusage(resource.RUSAGE_SELF)
        began = time.monotonic()
        poller.start()
        stalls = await watch_the_loop(options.seconds)
        took = time.monotonic() - began
        after = resource.getrusage(resource.RUSAGE_SELF)
        well = [watched for name, watched in poller.watched.items() if name not in odd]
        ends = [1000 * (late + seconds) for one in well for late, seconds in zip(one.late, one.seconds, strict=False)]
        trips = [1000 * seconds for one in well for seconds in one.seconds]
        looks = sum(one.history.looks for one in well)
        problems = sum(bool(one.history.problem) for one in well)
        await poller.close()
        p99 = percentile(ends, 99)
        print(
            json.dumps(
                {
                    "targets": len(well),
                    "odd": sorted(odd),
                    "children of each": options.children,
                    "interval s": options.interval,
                    "looks": looks,
                    "looks expected at least": int(len(well) * (took / options.interval - 1)),
                    "not answered": problems,
                    "round trip ms p50": round(statistics.median(trips), 2),
                    "round trip ms p99": round(percentile(trips, 99), 2),
                    "due to done ms p50": round(statistics.median(ends), 2),
                    "due to done ms p99": round(p99, 2),
                    "due to done ms max": round(max(ends), 2),
                    "event loop stall ms max": round(1000 * max(stalls), 1),
                    "cpu of the poller %": round(
                        100 * (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) / took, 1
                    ),
                },
                indent=2,
            )
        )
        return 0 if p99 < 1000 * options.interval and not problems else 1
    finally:
        if flooding is not None:
            flooding.close()
        for process in servers:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def watch_the_loop(seconds: float) -> list[float]:
    """How long nobody else had a turn."""
    ends = time.monotonic() + seconds
    found = [0.0]
    while time.monotonic() < ends:
        began = time.perf_counter()
        await asyncio.sleep(0.01)
        found.append(time.perf_counter() - began - 0.01)
    return found


def percentile(values: list[float], per_cent: int) -> float:
    return statistics.quantiles(values, n=100)[per_cent - 1]


def main() -> int:
    options = arguments()
    if options.serve:
        folder, first, last = options.serve
        asyncio.run(serve(Path(folder), int(first), int(last), options.children))
        return 0
    with tempfile.TemporaryDirectory(prefix="poll-") as folder:
        return asyncio.run(measure(options, Path(folder)))


if __name__ == "__main__":
    sys.exit(main())
