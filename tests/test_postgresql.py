"""``url = "postgresql://…"``: the same bot on a PostgreSQL server that the test starts itself."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.app import Bot, installed_products
from bot.demo.supervised_process import ProcessConfig, SupervisedProcess, payment_children
from bot.errors import SettingsError
from bot.settings import read
from tests.ports import free_port
from tests.transcript import SETTINGS, Chat


def _server_programs() -> Path | None:
    found = shutil.which("initdb")
    places = [Path(found).parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "initdb").exists()), None)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    programs = _server_programs()
    if programs is None:
        if os.environ.get("CI"):
            pytest.fail("there is no PostgreSQL server here; .ci/run installs one")
        pytest.skip("SKIPPED: PostgreSQL is not tested, because no server is installed (apt-get install postgresql)")
    folder = tmp_path_factory.mktemp("postgresql")
    # PostgreSQL refuses to run as root.
    prefix = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.getuid() == 0 else []
    for parent in (folder, *folder.parents):
        if parent == Path("/tmp"):
            break
        parent.chmod(0o755)
    if prefix:
        shutil.chown(folder, "nobody")
    port = free_port()

    def run(program: str, *arguments: str) -> None:
        command = [*prefix, str(programs / program), "-D", str(folder / "data"), *arguments]
        subprocess.run(command, check=True, capture_output=True, cwd=folder)

    run("initdb", "-A", "trust", "-U", "opsbot")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    run("pg_ctl", "-o", options, "-l", str(folder / "log"), "-w", "start")
    try:
        yield f"postgresql://opsbot@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "-m", "immediate", "stop")


async def test_a_run_on_postgresql_across_a_restart_of_the_bot(tmp_path: Path, database: str) -> None:
    settings = SETTINGS.replace("sqlite:///{folder}/opsbot.db", database)
    section = f'[supervisor.targets.payments]\nsocket = "{tmp_path}/p.sock"\n'
    process = SupervisedProcess(ProcessConfig(socket=tmp_path / "p.sock", children=payment_children()))
    async with process, Chat(tmp_path, section, settings=settings) as chat:
        chat.slack.duplicate_deliveries = 1
        await chat.types("alice", "/supervisor quarantine fraud-scorer")
        card = await chat.sees("waiting for a decision")  # it ignores the cancellation
        await chat.stop_bot()
        await chat.start_bot()
        await chat.presses("alice", "Done", card)
        await chat.shows(card, "Done after")
        await chat.thread(card, until="Run done")
        await chat.presses("scotlaclair", "Acknowledge", await chat.sees("needs you"))
        await chat.thread(card, until="scotlaclair acknowledged the page")
        await chat.types("alice", "/supervisor status payments")
        await chat.sees("payments: ", "quarantined")
        assert process.executed == ["quarantine_child /fraud-scorer"]


async def test_two_bots_do_not_share_a_database(tmp_path: Path, database: str) -> None:
    settings = SETTINGS.replace("sqlite:///{folder}/opsbot.db", database)
    async with Chat(tmp_path, settings=settings) as chat:
        environment = {"SLACK_BOT_TOKEN": "xoxb-test", "SLACK_SIGNING_SECRET": "s"}
        products = installed_products()
        second = Bot(read(chat.folder / "opsbot.toml", environment, products), products)
        with pytest.raises(SettingsError, match="another opsbot is running"):
            await second.start()
