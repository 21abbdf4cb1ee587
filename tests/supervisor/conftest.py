"""What the transcripts run against: a supervised process, a scripted one, and a connected product."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from bot.clock import SystemClock
from bot.commands.existing import check_existing
from bot.commands.grammar import Invocation, parse
from bot.commands.registry import CommandContext, Reply
from bot.demo.supervised_process import ChildSpec, Faults, ProcessConfig, SupervisedProcess
from bot.handler import Action, ActionContext, ActionResult, Preview, Services, Target
from bot.incoming import Actor, Place
from bot.runbooks.library import RunbookLibrary
from handlers.supervisor import product
from handlers.supervisor.handler import SupervisorHandler
from handlers.supervisor.settings import SupervisorSettings

WAIT_SECONDS = 5.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: a Unix socket address holds 107 bytes."""
    made = Path(tempfile.mkdtemp(prefix="sv-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition, at most five seconds."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not await condition():
            await asyncio.sleep(0.03)


Answerer = Callable[[dict[str, Any]], bytes | None]


class Scripted:
    """A socket that answers what the test says: ``answer`` gets each request, None closes the connection."""

    def __init__(self, path: Path, answer: Answerer) -> None:
        self.path = path
        self.answer = answer
        self.requests: list[dict[str, Any]] = []
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Scripted:
        self._server = await asyncio.start_unix_server(self._serve, str(self.path))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                self.requests.append(json.loads(line))
                answer = self.answer(self.requests[-1])
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


def said(request: dict[str, Any], **result: Any) -> bytes:
    """A successful answer."""
    return json.dumps({"request_id": request["request_id"], "ok": True, "result": result}).encode() + b"\n"


def a_state(request: dict[str, Any], **changes: Any) -> bytes:
    """The state of a process with one child that does nothing special."""
    record = {"child_id": "steady", "child_path": "/steady", "operation": "active", "attempt": 1, "status": "running"}
    state: dict[str, Any] = {
        "topology": {"nodes": [{"child_id": "steady", "path": "/steady"}]},
        "child_runtime_records": [record],
        "generated_at_unix_nanos": 1780000000123456789,
        "state_generation": 1,
        **changes,
    }
    state = {key: value for key, value in state.items() if value is not ...}
    return said(request, type="state", target_id="scripted", state=state)


CHILDREN = (
    ChildSpec("worker-1"),
    ChildSpec("worker-2"),
    ChildSpec("worker-3", "crash_loop", crash_after=0.15, backoff=0.05),
    ChildSpec("ledger-writer", "slow_to_stop", stop_takes=0.2),
    ChildSpec("fraud-scorer", "ignores_cancellation"),
)
STEADY = (ChildSpec("worker-1"), ChildSpec("worker-2"))


@dataclass
class Desk:
    """The connected product with the person in front of it."""

    handler: SupervisorHandler
    faults: dict[str, Faults]
    processes: dict[str, SupervisedProcess]
    _library: RunbookLibrary = field(default_factory=lambda: RunbookLibrary([product]))

    async def type(self, text: str) -> Reply:
        """What a command answers, through the grammar and the check of names that the surfaces use."""
        parsed = parse(text, {"supervisor": product.commands})
        assert isinstance(parsed, Invocation)
        checked = await check_existing(parsed, self.handler.inventory)
        return await checked.call(
            CommandContext(
                actor=Actor(surface="slack", id="U0ALICE"),
                place=Place(surface="slack", channel="C0OPS"),
                clock=SystemClock(),
                handler=self.handler,
                runbooks=self._library.for_product("supervisor"),
            )
        )

    def context(self, child: str, target: str = "payments", **changes: Any) -> ActionContext:
        values: dict[str, Any] = {
            "target": Target(product="supervisor", kind="child", name=child, scope=target),
            "arguments": {},
            "inputs": {},
            "actor": "slack:U0ALICE",
            "reason": "crash loop",
            "run_id": "run-1",
            "operation_id": "run-1:1:1",
            "clock": SystemClock(),
            "deadline": None,
        }
        return ActionContext(**{**values, **changes})

    async def do(self, name: str, child: str, **changes: Any) -> ActionResult:
        return await action(name).perform(self.handler, self.context(child, **changes))

    async def do_on_process(self, name: str, process: str = "payments", **changes: Any) -> ActionResult:
        """An action of a run on a whole process."""
        target = Target(product="supervisor", kind="target", name=process)
        return await action(name).perform(self.handler, replace(self.context("", process, **changes), target=target))

    async def preview(self, name: str, child: str) -> Preview:
        shown = action(name).preview
        assert shown is not None
        return await shown(self.handler, self.context(child))

    async def check(self, name: str, child: str) -> ActionResult | None:
        checked = action(name).check
        assert checked is not None
        return await checked(self.handler, self.context(child))

    async def value(self, fact: str, child: str = "worker-1", **inputs: str) -> Any:
        """The value of a fact."""
        found = await self.handler.observe(frozenset({fact}), self.context(child).target, inputs)
        return found[0].value

    async def record(self, child: str, target: str = "payments") -> Any:
        state = await self.handler.clients[target].state()
        return next((one for one in state.child_runtime_records or () if one.child_id == child), None)


def action(name: str) -> Action:
    return next(one for one in product.actions if name in (one.name, *one.aliases))


async def connected(targets: dict[str, dict[str, Any]]) -> SupervisorHandler:
    settings = SupervisorSettings.model_validate({"targets": targets, "poll_seconds": 0})

    async def run_blocking(function: Callable[..., Any], /, *args: Any) -> Any:
        return await asyncio.to_thread(function, *args)

    handler = await product.connect(settings, Services(SystemClock(), run_blocking))
    assert isinstance(handler, SupervisorHandler)
    return handler


FAST = {"connect_timeout": 0.3, "request_timeout": 0.4, "command_timeout": 0.5, "stop_timeout": 3.0, "max_backoff": 0.3}


class Desks:
    """Makes desks: ``desks(payments=CHILDREN)`` is one process with these children."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self._folder = folder
        self._stack = stack

    async def __call__(self, *, options: dict[str, Any] | None = None, **processes: tuple[ChildSpec, ...]) -> Desk:
        targets: dict[str, dict[str, Any]] = {}
        running: dict[str, SupervisedProcess] = {}
        faults: dict[str, Faults] = {}
        for name, specs in processes.items():
            path = self._folder / f"{name}.sock"
            faults[name] = Faults()
            config: dict[str, Any] = {"graceful_timeout": 0.5, "abort_wait": 0.3, **(options or {})}
            process = SupervisedProcess(ProcessConfig(path, name=name, children=specs, **config), faults[name])
            running[name] = await self._stack.enter_async_context(process)
            targets[name] = {"socket": path, **FAST}
        handler = await connected(targets)
        self._stack.push_async_callback(handler.close)
        return Desk(handler, faults, running)


@pytest.fixture
async def desks(folder: Path) -> AsyncIterator[Desks]:
    async with AsyncExitStack() as stack:
        yield Desks(folder, stack)
