"""What operators see of ``opsbot`` in a terminal, started as they start it."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from aiohttp import web

from bot.settings import read
from bot.store import Store


async def opsbot(folder: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """Exit code and everything it wrote."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bot",
        *arguments,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


async def test_alive_asks_the_bot_where_file_and_environment_say_that_it_listens(tmp_path: Path) -> None:
    healthy, other = web.Application(), web.Application()
    healthy.router.add_get("/healthz", _alive)
    runners = [web.AppRunner(application, access_log=None) for application in (healthy, other)]
    for runner in runners:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
    port, wrong = (runner.addresses[0][1] for runner in runners)
    try:
        (tmp_path / "opsbot.toml").write_text(f'[server]\nhost = "0.0.0.0"\nport = {port}\n')
        assert await opsbot(tmp_path, "alive") == (0, "")
        code, said = await opsbot(tmp_path, "alive", OPSBOT_SERVER__PORT=str(wrong))
        assert (code, said) == (1, f"opsbot: 127.0.0.1:{wrong} answers 404; that is not the bot\n")
    finally:
        for runner in runners:
            await runner.cleanup()
    code, said = await opsbot(tmp_path, "alive")
    assert code == 1
    assert f"127.0.0.1:{port} does not answer" in said
    assert (await opsbot(tmp_path, "alive", "--config", "none.toml"))[0] == 2


async def _alive(_: web.Request) -> web.Response:
    return web.Response(text="alive")


async def test_what_the_operator_has_to_mend_is_a_message_and_no_traceback(tmp_path: Path) -> None:
    code, said = await opsbot(tmp_path, "run")
    assert (code, said) == (2, "opsbot: There is no file opsbot.toml. Give one with --config opsbot.toml\n")
    code, said = await opsbot(tmp_path, "commands", "--check")
    assert code == 1
    assert "docs/commands.md is stale: opsbot commands --write" in said
    assert "Traceback" not in said


async def test_an_export_of_the_audit_log_is_for_its_owner_alone(tmp_path: Path) -> None:
    (tmp_path / "opsbot.toml").write_text(
        f'[database]\nurl = "sqlite:///{tmp_path}/opsbot.db"\n'
        '[slack]\nchannel = "C0OPS"\n[escalation]\ncontact = "scot"\n[people.scot]\nslack = "U0SCOT"\n'
    )
    store = Store(f"sqlite:///{tmp_path}/opsbot.db")
    await store.open()
    await store.close()
    secrets = {"SLACK_BOT_TOKEN": "xoxb-1", "SLACK_SIGNING_SECRET": "2"}
    code, said = await opsbot(tmp_path, "audit", "export", "--out", "all.jsonl", **secrets)
    assert (code, said) == (0, "wrote all.jsonl: 0 entries in full\n")
    assert (tmp_path / "all.jsonl").stat().st_mode & 0o777 == 0o600
    code, said = await opsbot(tmp_path, "audit", "export", "--out", "none/all.jsonl", **secrets)
    assert (code, said) == (2, "opsbot: none/all.jsonl cannot be written: No such file or directory\n")


def test_the_real_environment_overrides_the_file(tmp_path: Path) -> None:
    file = tmp_path / "opsbot.toml"
    file.write_text(
        '[slack]\nchannel = "C0OPS"\n[escalation]\ncontact = "scot"\n[people.scot]\nslack = "U0SCOT"\n'
        "[server]\nport = 8080\n"
    )
    given = {"SLACK_BOT_TOKEN": "xoxb-1", "SLACK_SIGNING_SECRET": "s", "OPSBOT_SERVER__PORT": "8181"}
    before = dict(os.environ)
    os.environ.update(given)
    try:
        assert read(file, os.environ, []).server.port == 8181
        assert os.environ["OPSBOT_SERVER__PORT"] == "8181"
    finally:
        os.environ.clear()
        os.environ.update(before)
