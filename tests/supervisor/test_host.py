"""What the bot runs on its host: nothing that is not allowed, nothing through a shell, nothing without an end."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bot.errors import UserError
from handlers.supervisor import crashes, logs
from handlers.supervisor.host import KEPT_OUTPUT, Host, run
from handlers.supervisor.settings import SupervisorTarget


def host(**commands: list[str]) -> Host:
    return Host("payments", SupervisorTarget(socket=Path("/run/p.sock"), commands={**commands}))


async def test_a_command_that_is_not_configured_is_not_run() -> None:
    with pytest.raises(
        UserError, match=r"commands\.start is not configured.*\[supervisor\.targets\.payments\.commands\]"
    ):
        await host().run("start")
    with pytest.raises(ValueError, match="strat is no command that the bot knows; did you mean start"):
        host(strat=["x"])
    with pytest.raises(ValueError, match=r"\{name\} is not known"):
        host(start=["x", "{name}"])
    with pytest.raises(ValueError, match="must be a list that begins with a program"):
        host(start=["{socket}"])


async def test_words_stay_words_whatever_stands_in_them() -> None:
    ran = await host(start=["printf", "%s|", "$(id)", "; rm -rf /", "{target}", "a b"]).run("start")
    assert (ran.exit_code, ran.output) == (0, "$(id)|; rm -rf /|payments|a b|")


@pytest.mark.parametrize("child", ["-rf", "a b", "a;b", "../x", "", "a\nb", "a" * 200, "$(x)"])
async def test_a_child_of_an_odd_name_is_put_into_no_command(child: str) -> None:
    with pytest.raises(UserError, match="is not put into a command"):
        await host(journal=["echo", "{child}"]).run("journal", child=child)


async def test_a_placeholder_without_a_value_is_told() -> None:
    with pytest.raises(UserError, match=r"needs \{pid\}, which is not known now"):
        await host(stacks=["gdb", "-p", "{pid}"]).run("stacks")
    with pytest.raises(UserError, match="is not put into a command"):
        await host(stacks=["gdb", "-p", "{pid}"]).run("stacks", pid=1)


async def test_no_secret_and_no_input_reaches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-secret")
    ran = await host(start=["sh", "-c", "env; cat"]).run("start")
    assert "xoxb" not in ran.output
    assert "PATH=" in ran.output


async def test_it_is_ended_with_everything_that_it_started(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = f"trap '' TERM; sleep 60 & echo $! > {pid_file}; wait; sleep 60"
    began = time.monotonic()
    ran = await run("start", ["sh", "-c", script], 0.4, asyncio.Event())
    assert time.monotonic() - began < 4
    assert ran.exit_code is None and "was ended after 0.4 s" in ran.told
    grandchild = int(pid_file.read_text())
    async with asyncio.timeout(5):
        while (
            Path(f"/proc/{grandchild}").exists() and "Z" not in Path(f"/proc/{grandchild}/stat").read_text().split()[2]
        ):
            await asyncio.sleep(0.02)


async def test_a_cancelled_run_ends_it() -> None:
    abort = asyncio.Event()
    asyncio.get_running_loop().call_later(0.1, abort.set)
    ran = await run("start", ["sleep", "60"], 30, abort)
    assert "because the run was cancelled" in ran.told


async def test_what_it_prints_is_kept_up_to_a_limit() -> None:
    ran = await run("journal", [sys.executable, "-c", "print('x' * 10_000_000 + 'END')"], 20, asyncio.Event())
    assert ran.worked and len(ran.output) <= KEPT_OUTPUT and ran.output.endswith("END")


async def test_what_a_daemon_holds_open_is_not_waited_for() -> None:
    began = time.monotonic()
    ran = await run("start", ["sh", "-c", "echo started; sleep 5 &"], 10, asyncio.Event())
    assert (ran.exit_code, ran.output) == (0, "started")
    assert time.monotonic() - began < 3


async def test_a_program_that_is_not_there_and_one_that_dies() -> None:
    assert "cannot be run: No such file" in (await run("start", ["/no/such"], 5, asyncio.Event())).told
    assert "was ended by SIGKILL" in (await run("start", ["sh", "-c", "kill -9 $$"], 5, asyncio.Event())).told


# -- logs


async def now(function: Any, *args: Any) -> Any:
    return function(*args)


async def test_the_end_of_a_log_file_and_what_it_says(tmp_path: Path) -> None:
    log = tmp_path / "payments.log"
    log.write_bytes(b"old\n" * 300_000 + b"up\n\xff\nthread 'main' panicked at src/x.rs:1:2:\nno currency\n")
    target = Host("payments", SupervisorTarget(socket=Path("/run/p.sock"), log=log))
    tail = await logs.read_tail(target, 3, now)
    assert tail.lines == ("\ufffd", "thread 'main' panicked at src/x.rs:1:2:", "no currency")
    assert logs.ending(tail.lines).kind == "crash"
    log.unlink()
    os.mkfifo(log)
    with pytest.raises(UserError, match="cannot be read"):
        await logs.read_tail(target, 3, now)
    with pytest.raises(UserError, match="no log is configured"):
        await logs.read_tail(host(), 3, now)


async def test_a_journal_command_that_fails_is_told() -> None:
    with pytest.raises(UserError, match=r"ended with 3\. no such unit"):
        await logs.read_tail(host(journal=["sh", "-c", "echo no such unit; exit 3"]), 3, now)


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        (["systemd[1]: Stopped payments", "bye"], "planned"),
        (["ShutdownPhase::Completed"], "planned"),
        (["thread 'w' panicked at a.rs:1:1:", "boom"], "crash"),
        (["received SIGTERM", "Main process exited, code=killed, status=9/KILL"], "crash"),
        (["all is well"], "unknown"),
        ([], "unknown"),
    ],
)
def test_how_a_process_ended_by_its_log(lines: list[str], kind: str) -> None:
    assert logs.ending(lines).kind == kind


def test_the_exit_reason_names_the_child_and_no_other() -> None:
    lines = [
        "worker-1: failed: disk full",
        "worker-33: failed: somebody else",
        "worker-3 panicked at src/pay.rs:10:5:",
        "invoice 4711 has no currency",
        "worker-3 attempt 2 runs",
    ]
    found = logs.exit_reason(lines, "worker-3")
    assert found is not None
    assert (found.kind, found.reason) == ("Panicked", "panicked at src/pay.rs:10:5: invoice 4711 has no currency")
    other = logs.exit_reason(lines, "worker-1")
    assert other is not None and (other.kind, other.reason) == ("Failed", "failed: disk full")
    assert logs.exit_reason(lines, "worker-2") is None
    assert logs.exit_reason(lines, ".*") is None


def test_a_printed_backtrace_is_cut_out() -> None:
    lines = ["x", "thread 'a' panicked at a.rs:1:1:", "boom", "stack backtrace:", "   0: std::x", "  at y", "on we go"]
    assert logs.backtrace(lines) == tuple(lines[1:6])
    assert logs.backtrace(["nothing"]) == ()


# -- cores


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("|/usr/lib/systemd/systemd-coredump %P %u", "the kernel hands cores to /usr/lib/systemd/systemd-coredump"),
        ("core", "into the working directory of the process"),
        ("", "the kernel writes no cores"),
        ("{folder}/none.%p", "no core of the last hour"),
        ("{folder}/core.%e.%p", "core.payments.4711, 0.0 MiB (of that pid)"),
    ],
)
def test_where_a_core_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, told: str) -> None:
    (tmp_path / "core.payments.4711").write_bytes(b"core")
    (tmp_path / "core.other.99").write_bytes(b"core")
    (tmp_path / "pattern").write_text(pattern.format(folder=tmp_path) + "\n")
    monkeypatch.setattr(crashes, "CORE_PATTERN", tmp_path / "pattern")
    assert told in crashes.find_core(4711).told
