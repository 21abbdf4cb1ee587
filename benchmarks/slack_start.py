"""How soon after its start the bot acknowledges a command, and what one edit of a card costs, each beside its peers.

``make bench`` prints two tables, each measured in turns of one run: compare the ratios. *First ack* is from the start
of a process to the first signed command that is answered with 200. *An edit* is ``chat.update`` with a card's blocks,
sixteen at once, as CPU of the process that sends it: by the bot's client, by slack_sdk's as it comes (a session and a
connection for every call), by aiohttp and json alone. *Drawing* is a card of twelve steps as Slack's blocks.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

CALLS, AT_ONCE = 320, 16
SLACK = """
import sys
from aiohttp import web
async def answer(request):
    await request.read()
    return web.json_response({"ok": True, "ts": "1.1", "team_id": "T0OPS", "user_id": "U0", "bot_id": "B0"})
app = web.Application()
app.router.add_route("*", "/api/{method}", answer)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
"""


async def first_ack(name: str, api_url: str) -> tuple[float, float]:
    """Seconds, and CPU seconds, until the first command is acknowledged."""
    from benchmarks.slack_ack import start, until_up

    with tempfile.TemporaryDirectory(prefix="opsbot-") as folder:
        began = time.perf_counter()
        (contender,) = start(Path(folder), api_url, lambda each: each == name)
        try:
            await until_up(contender)
            return time.perf_counter() - began, contender.cpu_seconds()
        finally:
            contender.process.kill()
            contender.process.wait()


async def starts(rounds: int) -> Table:
    from benchmarks.slack_ack import FRONT, SECRET, STOCK, WHOLE
    from bot.clock import SystemClock
    from bot.demo.slack import LocalSlack

    slack = LocalSlack(signing_secret=SECRET, bot_token="x", clock=SystemClock())
    await slack.start()
    slack.add_channel("C0OPS", "ops", members=["U0OPSBOT"])
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in (STOCK, FRONT, WHOLE)}
    for _ in range(rounds):
        for name, times in found.items():
            times.append(await first_ack(name, slack.api_url))
    await slack.stop()
    table = Table("", "First ack", "CPU until then", title=f"From the start to the first ack, {rounds} rounds")
    base = statistics.median(cpu for _, cpu in found[STOCK])
    for name, times in found.items():
        wall, cpu = statistics.median(each[0] for each in times), statistics.median(each[1] for each in times)
        table.add_row(name, f"{wall:.2f} s", f"{cpu:.2f} s ({cpu / base:.2f})")
    return table


def a_card() -> Any:
    from bot.messages import Heading, Lines, Message, Paragraph, line

    steps = tuple(line(f"{number}. Query the current state of shelf {number}: met, 12 s") for number in range(12))
    return Message("Restart shelf", (Heading("Restart shelf"), Paragraph(line("Step 3 of 12")), Lines(steps)))


async def edits(rounds: int) -> Table:
    import aiohttp
    from slack_sdk.web.async_client import AsyncWebClient

    from bot.clock import SystemClock
    from bot.surfaces.slack.blocks import draw
    from bot.surfaces.slack.client import SlackSurface
    from tests.ports import free_port

    port = free_port()
    server = subprocess.Popen([sys.executable, "-c", SLACK, str(port)])
    url, drawn = f"http://127.0.0.1:{port}/api/", draw(a_card(), {})
    surface = SlackSurface("x", SystemClock(), api_url=url)
    plain = AsyncWebClient(token="x", base_url=url)
    async with aiohttp.ClientSession() as session:

        async def by_aiohttp(number: int) -> None:
            body = json.dumps({"channel": f"C{number}", "ts": "1.1", "text": drawn.text, "blocks": drawn.blocks})
            headers = {"Content-Type": "application/json", "Authorization": "Bearer x"}
            async with session.post(f"{url}chat.update", data=body, headers=headers) as answer:
                await answer.json()

        async def as_it_comes(number: int) -> None:
            await plain.chat_update(channel=f"C{number}", ts="1.1", text=drawn.text, blocks=drawn.blocks)

        async def ours(number: int) -> None:
            await surface.update(f"C{number}", "1.1", drawn)

        senders: dict[str, Callable[[int], Awaitable[None]]] = {
            "aiohttp and json": by_aiohttp,
            "slack_sdk as it comes": as_it_comes,
            "opsbot": ours,
        }
        while True:
            try:
                await by_aiohttp(0)
                break
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)
        await surface.start()
        costs: dict[str, list[float]] = {name: [] for name in senders}
        for _ in range(rounds):
            for name, send in senders.items():
                before = time.process_time()
                for first in range(0, CALLS, AT_ONCE):
                    await asyncio.gather(*(send(number) for number in range(first, first + AT_ONCE)))
                costs[name].append((time.process_time() - before) / CALLS * 1e6)
        await surface.close()
    server.kill()
    server.wait()
    before = time.process_time()
    for _ in range(1000):
        draw(a_card(), {})
    drawing = (time.process_time() - before) * 1e3
    title = f"An edit, {AT_ONCE} at once, {rounds} rounds; drawing a card: {drawing:.0f} µs"
    table = Table("", "CPU of an edit", title=title)
    base = statistics.median(costs["aiohttp and json"])
    for name, each in costs.items():
        table.add_row(name, f"{statistics.median(each):.0f} µs ({statistics.median(each) / base:.2f})")
    return table


async def main(rounds: int) -> None:
    console = Console(width=120)
    console.print(await edits(rounds))
    console.print(await starts(rounds))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    asyncio.run(main(parser.parse_args().rounds))
