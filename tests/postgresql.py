"""A PostgreSQL server that the tests start themselves: Debian's programs, an empty folder, a port of its own."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.ports import free_port


class Server:
    """A running server; every test gets a database of its own."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._numbers = itertools.count(1)

    def database(self) -> str:
        """The address of a new, empty database."""
        name = f"opsbot_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return f"postgresql://opsbot@127.0.0.1:{self.port}/{name}"

    def execute(self, statement: str) -> None:
        with psycopg.connect(f"postgresql://opsbot@127.0.0.1:{self.port}/postgres", autocommit=True) as connection:
            connection.execute(statement.encode())


def _programs() -> Path | None:
    found = shutil.which("initdb")
    places = [Path(found).parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "initdb").exists()), None)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    programs = _programs()
    if programs is None:
        if os.environ.get("CI"):
            pytest.fail("there is no PostgreSQL server here; .ci/run installs one")
        pytest.skip("SKIPPED: PostgreSQL is not tested, because no server is installed (apt-get install postgresql)")
    # PostgreSQL refuses to run as root, and nobody else gets into pytest's folders.
    folder = Path(tempfile.mkdtemp(prefix="opsbot-postgresql-"))
    prefix = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.getuid() == 0 else []
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
        yield Server(port)
    finally:
        run("pg_ctl", "-m", "immediate", "stop")
        shutil.rmtree(folder)
