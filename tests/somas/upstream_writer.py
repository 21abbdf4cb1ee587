"""SOMAS's real StateManager, fetched when the tests run: it has no licence and no package, so it is never kept here.

The one file is asked of GitHub, over HTTPS and then by git, at the commit that the tests were written against, and
compared with its known digest. ``OPSBOT_SOMAS_CHECKOUT`` names a checkout of scotlaclair/SOMAS instead, of whatever
commit, or a repository that git can fetch from: a mirror's folder or address.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

COMMIT = "43085746a9273d7d82777dc38c3ec9c766d5b454"
SHA256 = "57a4b27afcf225308cc04ac1d4f0d0548d2be05959675579fe3143c4aed65ce5"
FILE = "somas/core/state_manager.py"
REPOSITORY = "https://github.com/scotlaclair/SOMAS.git"
ADDRESS = f"https://raw.githubusercontent.com/scotlaclair/SOMAS/{COMMIT}/{FILE}"
RECORDED = Path(__file__).with_name("recorded_protocol.py")


def real_state_manager(folder: Path) -> Path:
    """The module of the real StateManager, in ``folder``. Skips the test, by name, when it cannot be had."""
    given = os.environ.get("OPSBOT_SOMAS_CHECKOUT")
    if given and (Path(given) / FILE).is_file():
        data = (Path(given) / FILE).read_bytes()
    else:
        data = _by_git(given, folder) if given else _by_https() or _by_git(REPOSITORY, folder)
        assert hashlib.sha256(data).hexdigest() == SHA256, "this is not the file that the tests were written against"
    target = folder / "upstream_state_manager.py"
    target.write_bytes(data)
    return target


def _by_https() -> bytes:
    """Empty when it cannot be had so."""
    try:
        with urllib.request.urlopen(ADDRESS, timeout=5) as answer:
            return bytes(answer.read())
    except OSError:
        return b""


def _by_git(repository: str, folder: Path) -> bytes:
    """One commit of one repository, without its history. Skips the test when git does not get it."""
    mirror = folder / "upstream.git"

    def git(*arguments: str) -> bytes:
        command = ["git", "--git-dir", str(mirror), *arguments]
        quiet = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
        return subprocess.run(command, check=True, capture_output=True, timeout=60, env=quiet).stdout

    try:
        git("init", "--quiet", "--bare")
        git("fetch", "--quiet", "--depth", "1", repository, COMMIT)
        return git("show", f"{COMMIT}:{FILE}")
    except (OSError, subprocess.SubprocessError) as error:
        told = (getattr(error, "stderr", b"") or b"").decode("utf-8", "replace").strip().splitlines()
        why = told[-1] if told else str(error)
        pytest.skip(
            f"the real StateManager cannot be fetched ({why}); set OPSBOT_SOMAS_CHECKOUT to a checkout or a mirror"
        )


def older_filelock(version: str, folder: Path) -> Path:
    """A folder with this version of filelock, for ``PYTHONPATH``. Skips the test when it cannot be installed."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    options = ["--retries", "0", "--timeout", "10", "--disable-pip-version-check"]
    done = subprocess.run([*command, *options, f"filelock=={version}"], capture_output=True, text=True, timeout=60)
    if done.returncode:
        pytest.skip(f"filelock {version} cannot be installed: {done.stderr.strip().splitlines()[-1:]}")
    return folder
