"""SOMAS's real StateManager, fetched when the tests run: it has no licence and no package, so it is never kept here.

``OPSBOT_SOMAS_CHECKOUT`` names a checkout of scotlaclair/SOMAS; without it the one file is fetched from GitHub, at the
commit that the tests were written against, and compared with its known digest.
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
ADDRESS = f"https://raw.githubusercontent.com/scotlaclair/SOMAS/{COMMIT}/{FILE}"
RECORDED = Path(__file__).with_name("recorded_protocol.py")


def real_state_manager(folder: Path) -> Path:
    """The module of the real StateManager, in ``folder``. Skips the test, by name, when it cannot be had."""
    checkout = os.environ.get("OPSBOT_SOMAS_CHECKOUT")
    if checkout:
        data = (Path(checkout) / FILE).read_bytes()
    else:
        try:
            with urllib.request.urlopen(ADDRESS, timeout=5) as answer:
                data = answer.read()
        except OSError as error:
            pytest.skip(f"the real StateManager cannot be fetched ({error}); set OPSBOT_SOMAS_CHECKOUT to a checkout")
        assert hashlib.sha256(data).hexdigest() == SHA256, "this is not the file that the tests were written against"
    target = folder / "upstream_state_manager.py"
    target.write_bytes(data)
    return target


def older_filelock(version: str, folder: Path) -> Path:
    """A folder with this version of filelock, for ``PYTHONPATH``. Skips the test when it cannot be installed."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    options = ["--retries", "0", "--timeout", "10", "--disable-pip-version-check"]
    done = subprocess.run([*command, *options, f"filelock=={version}"], capture_output=True, text=True, timeout=60)
    if done.returncode:
        pytest.skip(f"filelock {version} cannot be installed: {done.stderr.strip().splitlines()[-1:]}")
    return folder
