"""Somebody pastes the bot's own secret, and a step prints it: nowhere in the database is anything of it."""

from __future__ import annotations

import base64
import json
import logging
import shlex
import sqlite3
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest
import structlog

from bot.demo.supervised_process import ProcessConfig, SupervisedProcess, payment_children
from tests.transcript import Chat

LOOKS = """\
---
id: look
product: supervisor
target: child
danger: read
---

# Look at the process

| Step | Action | Expected Metrics | Estimated Duration |
|---|---|---|---|
| 1 | Query current state: `handle.current_state()` | `children.running > 100` | 1min |

**Escalation**: Call somebody.
"""


def spellings(secret: str) -> list[str]:
    return [
        secret,
        quote(secret),
        shlex.quote(secret),
        base64.b64encode(secret.encode()).decode().rstrip("="),
        "".join(f"\\u{ord(character):04x}" for character in secret),
        secret.encode().hex(),
        "\\'".join((secret[:9], secret[9:])),
        "\n".join((secret[:9], secret[9:])),
    ]


def dump(folder: Path) -> str:
    """Every row of every table, the durable engine's too, and the raw bytes of the files."""
    connection = sqlite3.connect(folder / "opsbot.db")
    text = "\n".join(connection.iterdump())
    connection.close()
    return text + "".join(file.read_bytes().decode("latin-1") for file in folder.glob("opsbot.db*"))


async def test_a_secret_that_is_pasted_and_printed_is_stored_nowhere(
    tmp_path: Path, payments: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runbooks").mkdir()
    (tmp_path / "runbooks" / "look.md").write_text(LOOKS)
    section = payments + f'[runbooks]\npaths = ["{tmp_path}/runbooks"]\n'
    chat = Chat(tmp_path, section)
    secret = chat._secret  # the signing secret, 32 hexadecimal digits
    quiet = payment_children()[0]
    children = (replace(quiet, id="worker-1"), replace(quiet, id=f"job-{secret}"))
    process = SupervisedProcess(ProcessConfig(socket=tmp_path / "payments.sock", name="payments", children=children))
    async with process, chat:
        for spelled in spellings(secret):
            await chat.types("bob", f"/supervisor quarantine worker-1 --reason {json.dumps(spelled)} --dry-run")
            await chat.is_told("bob", "Dry run")
        await chat.types("alice", f"/supervisor quarantine {secret}")
        await chat.is_told("alice", "Nothing was done: the command held a secret (SLACK_SIGNING_SECRET)", "replace it")
        await chat.types("alice", f"/supervisor frobnicate {secret}")
        await chat.is_told("alice", 'no verb "frobnicate"')
        await chat.types("alice", "/supervisor status payments")
        await chat.sees("payments: ", "[redacted: SLACK_SIGNING_SECRET]")
        await chat.types("alice", f"/runs start look worker-1 --reason 'works with {secret}'")
        card = await chat.sees("Look at the process", "Reason: works with [redacted:SLACK_SIGNING_SECRET]")
        asked = await chat.sees("Step 1 needs a decision", "[redacted: SLACK_SIGNING_SECRET]", thread=card)
        await chat.presses("bob", "Acknowledge", await chat.sees("needs you"))
        await chat.presses("alice", "Done", asked)
        await chat.thread(card, until="Run done")
        structlog.get_logger("opsbot").error("it broke", url=f"https://x/?key={secret}")
        logging.getLogger("aiohttp").error("a library says %s", secret)
        told = "".join(message.shown for message in chat.channel())
        await chat.stop_bot()
        kept = dump(tmp_path)
        for spelled in spellings(secret):
            assert spelled not in kept
            assert json.dumps(spelled)[1:-1] not in kept
            assert spelled not in told
        assert secret[:9] not in kept
        assert "[redacted:SLACK_SIGNING_SECRET]" in kept
        assert "[redacted: SLACK_SIGNING_SECRET]" in kept
        assert secret not in capsys.readouterr().err
        assert process.executed == []
