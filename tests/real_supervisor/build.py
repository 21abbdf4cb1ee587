"""``python -m tests.real_supervisor.build``: what `make test` runs before the tests, and `make real-supervisor` alone.

Builds the program of this folder on the published crate, and the published relay, with cargo into ``.cache/`` of the
repository. A cold build takes minutes, one with nothing to do less than a second. Without cargo or the registry it
says so loudly and leaves the reason where the tests find it; under ``CI=true`` it fails.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
CACHE = HERE.parent.parent / ".cache" / "real_supervisor"
CARGO_FOLDER = Path(os.environ.get("CARGO_TARGET_DIR") or CACHE / "target")
STAMP = CACHE / "built-from"
WHY_NOT = CACHE / "not-built-because"
SUPERVISED = CARGO_FOLDER / "debug" / "supervised"
RELAY_VERSION = "0.1.0"
RELAY = CACHE / "relay" / "bin" / "rust-supervisor-relay"
BUILD_SECONDS = 1200
NOT_TESTED = "NOT TESTED: the real rust-supervisor"  # how such a skip begins; tests/conftest.py repeats it at the end


class NotBuiltError(Exception):
    """The text says why, and what to do."""


def _source() -> str:
    """A digest of everything that the programs are built from."""
    digest = hashlib.sha256(RELAY_VERSION.encode())
    for path in (HERE / "Cargo.toml", HERE / "Cargo.lock", *sorted((HERE / "src").rglob("*.rs"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def supervised() -> Path:
    """The built program. Raises ``NotBuiltError``."""
    if STAMP.exists() and SUPERVISED.exists() and RELAY.exists() and STAMP.read_text() == _source():
        return SUPERVISED
    if WHY_NOT.exists():
        raise NotBuiltError(WHY_NOT.read_text())
    raise NotBuiltError("it is not built; run `make real-supervisor`, which takes some minutes once")


def relay() -> Path:
    """The relay's program. Raises ``NotBuiltError``."""
    supervised()
    return RELAY


def _cargo() -> str:
    found = shutil.which("cargo") or shutil.which("cargo", path=str(Path.home() / ".cargo" / "bin"))
    if found is None:
        raise NotBuiltError("there is no cargo on this machine; install Rust 1.94 or later")
    return found


def _run(*command: str, **environment: str) -> None:
    """Raises ``NotBuiltError`` with the end of what was printed."""
    kept = {name: value for name, value in os.environ.items() if name != "CARGO_TARGET_DIR"}
    try:
        done = subprocess.run(
            command,
            cwd=HERE,
            env={**kept, "CARGO_TERM_COLOR": "never", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=BUILD_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise NotBuiltError(f"`{' '.join(command[:2])}` was not done after {BUILD_SECONDS}s") from None
    if done.returncode:
        said = done.stdout.decode(errors="replace").strip().splitlines()
        raise NotBuiltError(f"`{' '.join(command[:2])}` failed: " + "\n".join(said[-12:]))


def build() -> Path:
    """Build what is not built yet. Raises ``NotBuiltError``."""
    CACHE.mkdir(parents=True, exist_ok=True)
    try:
        cargo = _cargo()
        _run(cargo, "build", "--locked", "--quiet", CARGO_TARGET_DIR=str(CARGO_FOLDER))
        if not RELAY.exists():
            # In a folder that cargo removes afterwards; without debug information, which nobody needs here.
            what = ("--version", f"={RELAY_VERSION}", "--root", str(RELAY.parent.parent), "rust-supervisor-relay")
            _run(cargo, "install", "--locked", "--debug", "--quiet", "--config", "profile.dev.debug=false", *what)
    except NotBuiltError as error:
        STAMP.unlink(missing_ok=True)
        WHY_NOT.write_text(str(error))
        raise
    WHY_NOT.unlink(missing_ok=True)
    STAMP.write_text(_source())
    return SUPERVISED


def main() -> int:
    began = time.monotonic()
    try:
        print(f"the real supervisor: {build()} ({time.monotonic() - began:.1f}s)")
    except NotBuiltError as error:
        print(f"THE REAL SUPERVISOR IS NOT BUILT, AND NOT TESTED: {error}", file=sys.stderr)
        return 1 if os.environ.get("CI") == "true" else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
