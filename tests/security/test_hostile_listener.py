"""Somebody else listens at the socket of a supervised process: the bot says so, and has time for others meanwhile."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from bot.clock import SystemClock
from handlers.supervisor.client import SupervisorClient
from handlers.supervisor.link import LinkError
from handlers.supervisor.settings import SupervisorTarget

Say = Callable[[asyncio.StreamWriter, str], Awaitable[None]]


async def pushes_without_end(writer: asyncio.StreamWriter, _: str) -> None:
    while True:
        writer.write(b"{}\n" * 20_000)
        await writer.drain()


async def a_line_without_end(writer: asyncio.StreamWriter, _: str) -> None:
    while True:
        writer.write(b"x" * 1_000_000)
        await writer.drain()


async def a_byte_now_and_then(writer: asyncio.StreamWriter, _: str) -> None:
    while True:
        writer.write(b"x")
        await asyncio.sleep(0.05)


async def an_abyss(writer: asyncio.StreamWriter, request_id: str) -> None:
    writer.write(f'{{"request_id": "{request_id}", "ok": true, "result": {"[" * 500_000}\n'.encode())


async def a_number_of_ten_thousand_digits(writer: asyncio.StreamWriter, request_id: str) -> None:
    writer.write(f'{{"request_id": "{request_id}", "ok": true, "result": {"9" * 10_000}}}\n'.encode())


async def an_answer_to_somebody_else(writer: asyncio.StreamWriter, _: str) -> None:
    writer.write(b'{"request_id": "not yours", "ok": true, "result": {"type": "state", "state": {}}}\n')


@pytest.mark.parametrize(
    ("say", "told"),
    [
        (pushes_without_end, "10000 lines and no answer among them"),
        (a_line_without_end, "a line of more than 32 MiB|no answer to state within 0.5 s"),
        (a_byte_now_and_then, "no answer to state within 0.5 s"),
        (an_abyss, "a line that is not JSON"),
        (a_number_of_ten_thousand_digits, "an answer with ok but without a result"),
        (an_answer_to_somebody_else, "the answer to another request"),
    ],
)
async def test_what_it_sends_is_told_and_stops_nobody_else(tmp_path: Path, say: Say, told: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await say(writer, json.loads(await reader.readline())["request_id"])
            await reader.read()  # until the bot hangs up
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, tmp_path / "p.sock")
    target = SupervisorTarget(socket=tmp_path / "p.sock", request_timeout=0.5)
    client = SupervisorClient("payments", target, SystemClock())
    began = time.monotonic()
    try:
        with pytest.raises(LinkError, match=told):
            await client.state()
    finally:
        await client.close()
        server.close()
    assert time.monotonic() - began < 3
