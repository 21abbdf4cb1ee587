"""``python -m bot.demo.supervised_process --socket PATH``: one ready line, then it runs until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

from bot.demo.supervised_process import (
    FAULTS,
    BindError,
    ChildSpec,
    Faults,
    ProcessConfig,
    SupervisedProcess,
    payment_children,
)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bot.demo.supervised_process",
        description="A process with children under supervision, driven through dashboard-ipc.v1 on a Unix socket.",
        epilog="Faults: " + "; ".join(f"{name} ({what})" for name, what in FAULTS.items()),
    )
    parser.add_argument("--socket", type=Path, required=True, help="absolute path of the socket, at most 107 bytes")
    parser.add_argument("--name", default="payments", help="target id")
    parser.add_argument("--crash-period", type=float, default=3.0, help="seconds that an attempt of worker-3 lives")
    parser.add_argument("--stop-takes", type=float, default=1.5, help="seconds that ledger-writer needs to stop")
    parser.add_argument("--graceful-timeout", type=float, default=5.0, help="seconds before a stop has failed")
    parser.add_argument("--abort-wait", type=float, default=1.0, help="seconds that shutdown waits after an abort")
    parser.add_argument("--extra-children", type=int, default=0, help="further steady children")
    parser.add_argument("--bind-mode", choices=("create_new", "replace_stale"), default="create_new")
    parser.add_argument("--mode", default="0600", help="mode of the socket file, four octal digits")
    parser.add_argument("--allow-uid", type=int, action="append", help="who may send commands; default: this user")
    parser.add_argument("--no-security", action="store_true", help="without the security pipeline")
    parser.add_argument("--no-registration", action="store_true", help="hello is answered with an error")
    parser.add_argument("--faults", type=Path, help="folder whose files switch faults on")
    return parser


async def serve(config: ProcessConfig, faults: Faults) -> int:
    """Until a signal; 0 after a clean stop, 1 when the socket cannot be served."""
    process = SupervisedProcess(config, faults)
    process.log_to_stderr = True
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    try:
        await process.start()
    except BindError as error:
        sys.stderr.write(f"dashboard IPC startup failed: {error}\n")
        return 1
    sys.stdout.write(f"ready pid={os.getpid()} socket={config.socket}\n")
    sys.stdout.flush()
    await stopped.wait()
    await process.stop()
    return 0


def main() -> int:
    parser = arguments()
    options = parser.parse_args()
    try:
        mode = int(options.mode, 8)
    except ValueError:
        parser.error(f"--mode {options.mode} is not octal; write for example --mode 0600")
    if mode & 0o002:
        parser.error(f"--mode {options.mode} lets everybody write; write for example --mode 0600")
    extra = tuple(ChildSpec(f"steady-{number}") for number in range(1, options.extra_children + 1))
    config = ProcessConfig(
        socket=options.socket,
        name=options.name,
        children=payment_children(crash_after=options.crash_period, stop_takes=options.stop_takes) + extra,
        graceful_timeout=options.graceful_timeout,
        abort_wait=options.abort_wait,
        bind_mode=options.bind_mode,
        mode=mode,
        registration=not options.no_registration,
        security=not options.no_security,
        allowed_uids=frozenset(options.allow_uid or [os.getuid()]),
    )
    return asyncio.run(serve(config, Faults(options.faults)))


if __name__ == "__main__":
    sys.exit(main())
