"""``python -m tests.real_supervisor.record``: has the conversation with the real process and writes it down anew."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path

from tests.real_supervisor.process import RealProcess
from tests.real_supervisor.session import FREE_TEXT, VOLATILE, Exchange, configuration, converse

RECORDING = Path(__file__).parent / "recording.jsonl"
CRATE = "rust-tokio-supervisor 0.1.4"


def read() -> list[Exchange]:
    """The recorded conversation."""
    _, *lines = RECORDING.read_text(encoding="utf-8").splitlines()
    return [Exchange(**json.loads(line)) for line in lines]


async def record() -> int:
    with tempfile.TemporaryDirectory(prefix="sv-") as folder:
        config = configuration(Path(folder) / "p.sock")
        async with RealProcess(config):
            said = await converse(config.socket)
    head = {"recorded_from": CRATE, "volatile": sorted(VOLATILE), "free_text": sorted(FREE_TEXT)}
    lines = [head, *({"name": one.name, "request": one.request, "response": one.response} for one in said)]
    RECORDING.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    print(f"{len(said)} exchanges with {CRATE} in {RECORDING.name}")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(record()))
