"""What a report over 10,000 SOMAS projects costs, and whether anybody else has to wait for it.

``make bench`` prints one table: ``/somas status`` as the very first scan, the first report, an unchanged one, and one
after ten projects have changed, each with its parts. *Reading* is what the product's scan alone takes, in the same
process just before: the rest is the report's own. *Longest stall* is for how long the event loop answered nobody
meanwhile. The projects are what a year of SOMAS leaves (``generate_many``), an hour passes from report to report.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from rich.console import Console
from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import store as tables
from bot.clock import ManualClock, Signal
from bot.demo.somas_projects import generate_many
from bot.handler import Services
from bot.loop_lag import collect_seldom
from bot.reports.model import Crossing, Reading
from bot.reports.runner import Report, ReportRunner
from bot.runs.perform import Connected
from bot.settings import ReportSettings
from bot.store import Store
from bot.surfaces.slack.client import SlackSurface
from bot.surfaces.slack.port import SlackPort
from handlers.somas import Somas, SomasSettings, product
from handlers.somas.fleet_views import fleet_message

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Stalls:
    """For how long the loop answered nobody: a task that wants to wake every millisecond."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            self.longest = max(self.longest, time.perf_counter() - before - 0.001)

    def since(self) -> float:
        longest, self.longest = self.longest, 0.0
        return longest


async def nobody(
    connection: AsyncConnection, report: Report, crossings: Sequence[Crossing], reading: Reading, key: str
) -> None:
    """No alarms: a run is not what is measured here."""


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def measure(folder: Path, count: int) -> list[tuple[str, ...]]:
    root = folder / "somas"
    await asyncio.to_thread(generate_many, root, count, NOON)
    threads = ThreadPoolExecutor(4)

    async def run_blocking(function: Any, /, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(threads, function, *arguments)

    clock = ManualClock(NOON)
    store = Store(f"sqlite:///{folder}/opsbot.db")
    await store.open()
    handler = Somas(SomasSettings(root=root), Services(clock, run_blocking))
    settings = ReportSettings(product="somas", cron="0 * * * *", channel="C0OPS", chart=False)
    report = Report("hourly", settings, Connected(product, handler), "")
    surface = SlackPort(SlackSurface("xoxb-none", clock), {})
    runner = ReportRunner(store, clock, [report], {"slack": surface}, Signal(), str, nobody, timedelta(days=365))
    collect_seldom()  # as `opsbot run` does
    sys.setswitchinterval(0.001)
    stalls = Stalls()
    rows: list[tuple[str, ...]] = []
    started, used = time.perf_counter(), cpu()
    fleet, config = await handler.fleet(clock.now())
    told = await run_blocking(fleet_message, fleet, config, clock.now(), str(root))
    rows.append(
        (
            "none: /somas status, first scan",
            "in it",
            f"{time.perf_counter() - started:.2f} s",
            f"{cpu() - used:.2f} s",
            f"{stalls.since() * 1000:.0f} ms",
            f"{len(str(told.blocks)) / 1000:.1f} kB",
        )
    )
    for number, name in enumerate(("first", "unchanged", "ten changed"), start=1):
        if name == "ten changed":
            for project in range(1, 11):
                letters = root / f".somas/projects/project-{project}/dead_letters.json"
                entries = [{"id": f"x{i}", "error": {"message": "x"}} for i in range(11)]
                letters.write_text(json.dumps({"entries": entries, "statistics": {}}))
        await clock.advance(3600)
        stalls.since()
        started = time.perf_counter()
        await handler.fleet(clock.now())
        reading = time.perf_counter() - started
        middle, middle_used, reading_stall = time.perf_counter(), cpu(), stalls.since()
        await runner.tick(report, NOON + timedelta(hours=number))
        whole = time.perf_counter() - middle
        body = (await store.rows(sa.select(tables.outbox.c.body).order_by(tables.outbox.c.number.desc()).limit(1)))[0]
        rows.append(
            (
                name,
                f"{reading:.2f} s",
                f"{whole:.2f} s",
                f"{cpu() - middle_used:.2f} s",
                f"{max(reading_stall, stalls.since()) * 1000:.0f} ms",
                f"{len(body.body) / 1000:.1f} kB",
            )
        )
    await handler.close()
    await store.close()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--projects", type=int, default=10_000)
    count = parser.parse_args().projects
    folder = Path(tempfile.mkdtemp(prefix="opsbot-report-"))
    try:
        rows = asyncio.run(measure(folder, count))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    table = Table(title=f"A report over {count:,} projects")
    for column in ("Report", "Reading alone", "Whole report", "its CPU", "Longest stall", "Message"):
        table.add_column(column, justify="left" if column == "Report" else "right")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    Console().print(f"peak memory {peak:.0f} MB")


if __name__ == "__main__":
    main()
