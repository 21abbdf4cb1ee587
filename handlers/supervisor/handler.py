"""The connected product: a client for each supervised process, the names that exist, the facts that can be seen."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from bot.breakers import Breaker
from bot.clock import Clock
from bot.commands.nearest import nearest
from bot.errors import UserError
from bot.handler import Observation, Services, Target
from handlers.supervisor import children, facts
from handlers.supervisor.children import Child
from handlers.supervisor.client import SupervisorClient
from handlers.supervisor.host import Host, Ran
from handlers.supervisor.link import LinkError
from handlers.supervisor.logs import LogTail, read_tail
from handlers.supervisor.polling import Poller
from handlers.supervisor.protocol import CommandResult, State
from handlers.supervisor.relay import RelayClient
from handlers.supervisor.settings import SupervisorSettings, SupervisorTarget
from handlers.supervisor.socket_file import examine
from handlers.supervisor.transport import Client, Probe, Rejected

GRACE_SECONDS = 1.0  # for names; who hangs keeps nobody waiting
LOG_LINES = 200  # that facts are drawn from
SAMPLE_SECONDS = 0.5  # between two looks at a child that may be dead or only between two attempts


class SupervisorHandler:
    """``bot.handler.Handler`` for ``[supervisor]``."""

    def __init__(self, settings: SupervisorSettings, services: Services) -> None:
        self.settings = settings
        self.clock = services.clock
        breakers = {name: _breaker(services, name) for name in settings.targets}
        self.clients: dict[str, Client] = {
            name: make_client(name, target, services.clock, breakers[name]) for name, target in settings.targets.items()
        }
        self._relays = {
            name: RelayClient(name, target, services.clock)
            for name, target in settings.targets.items()
            if target.relay is not None
        }
        self.run_blocking = services.run_blocking
        # Connections of its own: a look that hangs must not be in the way of a command to the same process.
        watched = {name: make_client(name, target, services.clock) for name, target in settings.targets.items()}
        self.poller = Poller(watched, services.clock, settings.poll_seconds, breakers)
        self._known_children: dict[str, frozenset[str]] = {}  # by process, when it last answered
        self._last_command: dict[str, CommandResult] = {}  # by the key of the run's target

    async def inventory(self, kind: str) -> list[str]:
        """``target``: the configured processes. ``child``: the children of all of them.

        A process that does not answer now counts with the children that it had when it last did, so that a command on
        one of them is told what is wrong with the process. Raises ``Unavailable`` when nothing is known of any.
        """
        if kind == "target":
            return sorted(self.clients)
        if kind != "child":
            return []
        states = await self.states()
        failures = [state for state in states.values() if not isinstance(state, State)]
        for name in self.clients:
            if name not in self._known_children and (last := self.last_state(name)) is not None:
                self._learn(name, last)
        if failures and not self._known_children:
            raise failures[0]
        return sorted(frozenset().union(*self._known_children.values()))

    async def observe(self, names: frozenset[str], target: Target, inputs: Mapping[str, str]) -> list[Observation]:
        """Read these facts now. Raises ``Unavailable`` when only the process could tell and it does not answer."""
        seen = await self.look(target, facts.needs(names - {name for name, value in inputs.items() if value}))
        return facts.observe(names, seen, inputs)

    async def look(self, target: Target, needs: frozenset[facts.Need]) -> facts.Seen:
        """One look. A process that does not answer is a finding when it is being probed, else ``Unavailable``."""
        client, host = self.client(target), self.host(target)
        probe: Probe | None = None
        problem = ""
        if "probe" in needs:
            probe = await client.probe()
            problem = probe.state_error
        if needs & {"state", "probe"} and not problem:
            try:
                await self._sampled(client)
            except (LinkError, Rejected) as error:
                if probe is None:
                    raise
                problem = error.message
        listener = client.listener if probe is None else probe.listener
        pgrep: Ran | None = None
        if "pgrep" in needs and listener is None and host.has("pgrep"):
            pgrep = await host.run("pgrep")
        log, log_problem = await self._log(host) if "log" in needs else (None, "")
        local = client.target.socket is not None
        return facts.Seen(
            target=target,
            now=self.clock.now(),
            samples=client.samples,
            max_backoff=client.target.max_backoff,
            listener=listener,
            probe=probe,
            command=self._last_command.get(target.key),
            problem=problem,
            through_relay=not local,
            pgrep=pgrep,
            log=log,
            log_problem=log_problem,
            socket=examine(client.target) if "socket" in needs and local else None,
            relay=await self.relay_seen(target) if "relay" in needs else None,
        )

    async def _log(self, host: Host) -> tuple[LogTail | None, str]:
        try:
            return await read_tail(host, LOG_LINES, self.run_blocking), ""
        except UserError as error:
            return None, error.message

    async def relay_seen(self, target: Target) -> facts.RelaySeen:
        """Whether the relay takes the bot's certificate and says hello, and lists the process."""
        client = self.client(target)
        if client.target.relay is None:
            return facts.RelaySeen("not configured", f"no relay is configured for {client.name}")
        relay = self._relays[client.name]
        try:
            seconds = await relay.greets()
        except (LinkError, Rejected) as error:
            return facts.RelaySeen("down", error.message)
        try:
            await relay.hello()
        except (LinkError, Rejected) as error:
            return facts.RelaySeen("answers", f"server_hello in {seconds * 1000:.0f} ms, but {error.message}")
        return facts.RelaySeen("answers", f"server_hello in {seconds * 1000:.0f} ms, and it lists {relay.remote_id}")

    def host(self, target: Target) -> Host:
        """The commands that the bot may run for this target."""
        client = self.client(target)
        return Host(client.name, client.target)

    async def _sampled(self, client: Client) -> None:
        """A state, and more of them while a child may be dead or only between two attempts."""
        self._learn(client.name, await client.drivable_state())
        enough = self.clock.now() + timedelta(seconds=client.target.max_backoff + SAMPLE_SECONDS)
        while children.undecided(client.samples, client.target.max_backoff) and self.clock.now() < enough:
            await self.clock.sleep(SAMPLE_SECONDS)
            await client.drivable_state()

    async def problems(self) -> list[str]:
        """One sentence for each process that cannot be driven."""
        states = await self.states()
        return [state.message for state in states.values() if not isinstance(state, State)]

    def last_state(self, name: str) -> State | None:
        """Of the last look at this process that was answered; None when there was none."""
        return self.poller.watched[name].history.state

    def last_pid(self, name: str) -> int | None:
        """The process id that listened when this process was last looked at."""
        listener = self.poller.watched[name].client.listener
        return listener.pid if listener else None

    async def close(self) -> None:
        await self.poller.close()
        for client in self.clients.values():
            await client.close()

    # --- what commands and actions use ----------------------------------------------------------------------------

    async def states(self) -> dict[str, State | UserError]:
        """The state of every process, all asked at the same time; why not, for one that cannot be driven.

        One that has not answered after ``GRACE_SECONDS`` is not waited for: it counts as silent.
        """
        asked = {name: asyncio.create_task(self._state_or_error(client)) for name, client in self.clients.items()}
        try:
            await asyncio.wait(asked.values(), timeout=GRACE_SECONDS)
            found: dict[str, State | UserError] = {}
            for name, task in asked.items():
                if task.done():
                    found[name] = task.result()
                else:
                    text = f"no answer to state within {GRACE_SECONDS:g} s. /supervisor status {name} waits longer."
                    found[name] = LinkError(name, "silent", text)
        finally:
            for task in asked.values():
                task.cancel()
            await asyncio.gather(*asked.values(), return_exceptions=True)
        for name, state in found.items():
            if isinstance(state, State):
                self._learn(name, state)
        return found

    def _learn(self, name: str, state: State) -> None:
        """The children of a process that has just answered."""
        self._known_children[name] = frozenset(child.id for child in children.children(state))

    @staticmethod
    async def _state_or_error(client: Client) -> State | UserError:
        try:
            return await client.drivable_state()
        except UserError as error:
            return error

    def _may_have(self, name: str, child_id: str) -> bool:
        """Whether a process that cannot be asked now may have the child: it had it, or it was never seen."""
        return child_id in self._known_children.get(name, frozenset({child_id}))

    def client(self, target: Target) -> Client:
        """The client of a run's target. Raises ``UserError`` when that process is not configured any more."""
        name = target.name if target.kind == "target" else target.scope
        if not name and len(self.clients) == 1:
            name = next(iter(self.clients))
        if name not in self.clients:
            configured = ", ".join(sorted(self.clients))
            raise UserError(f'There is no supervised process "{name}" in the configuration. Configured: {configured}.')
        return self.clients[name]

    def remember(self, target: Target, result: CommandResult) -> None:
        self._last_command[target.key] = result

    async def find_child(
        self, child_id: str, target_name: str | None, command: str, *, even_silent: bool = False
    ) -> str:
        """The process that a child belongs to. ``command`` is what was typed, with ``{child}``, without ``--target``.

        With ``even_silent`` a process that is there and does not answer counts with the children that it had, or with
        any child when it was never seen: a procedure for a process that hangs has to begin without an answer.

        Raises ``UserError`` for a child that does not exist and for one that could be meant in several processes.
        """
        if target_name is not None:
            client = self.client(Target(product="supervisor", kind="target", name=target_name))
            try:
                state = await client.drivable_state()
            except LinkError as error:
                if even_silent and error.cause == "silent" and self._may_have(target_name, child_id):
                    return target_name
                raise
            require_child(target_name, state, child_id, command)
            return target_name
        states = await self.states()
        found = [name for name, state in states.items() if isinstance(state, State) and children.find(state, child_id)]
        silent = {name: state for name, state in states.items() if not isinstance(state, State)}
        if found:
            silent = {name: state for name, state in silent.items() if self._may_have(name, child_id)}
        if len(found) == 1 and not silent:
            return found[0]
        if found:
            choices = tuple(f"{command.replace('{child}', child_id)} --target {name}" for name in found)
            if len(found) > 1:
                text = f"{child_id} exists in {' and in '.join(sorted(found))}. Say which with --target."
            else:
                text = (
                    f"{child_id} exists in {found[0]}, and {', '.join(silent)} could not be asked. "
                    "Say which is meant with --target."
                )
            raise UserError(text, suggestions=choices)
        if even_silent and (mute := self._mute(child_id, silent)):
            return mute
        if silent and len(silent) == len(states):
            raise next(iter(silent.values()))
        known = {
            child.id: name
            for name, state in states.items()
            if isinstance(state, State)
            for child in children.children(state)
        }
        where = ", ".join(name for name in states if name not in silent)
        raise _no_child(child_id, tuple(known), where, command, silent, known if len(states) > 1 else None)

    def _mute(self, child_id: str, silent: Mapping[str, State | UserError]) -> str:
        """The one of these processes that is there, does not answer and may have the child; empty when none is."""
        hanging = (name for name, error in silent.items() if isinstance(error, LinkError) and error.cause == "silent")
        found = [name for name in hanging if self._may_have(name, child_id)]
        return found[0] if len(found) == 1 else ""

    async def find_target(self, kind: str, name: str, scope: str) -> Target:
        """``bot.handler.FindsTargets``: the process that a child belongs to; a name that none has comes back as it is.

        A process that is there and does not answer counts as in ``find_child``: the run begins all the same.

        Raises ``UserError`` when several processes have it and ``scope`` does not say which.
        """
        if kind != "child":
            return Target(product="supervisor", kind=kind, name=name)
        if scope:
            process = await self.find_child(name, scope, "", even_silent=True)
            return Target(product="supervisor", kind="child", name=name, scope=process)
        states = await self.states()
        found = [each for each, state in states.items() if isinstance(state, State) and children.find(state, name)]
        silent = [each for each, state in states.items() if not isinstance(state, State)]
        if found:
            silent = [each for each in silent if self._may_have(each, name)]
        if len(found) > 1:
            raise UserError(f"{name} exists in {' and in '.join(sorted(found))}. Say which with --scope {found[0]}.")
        if silent and (found or len(silent) == len(states)):
            if not found and (mute := self._mute(name, states)):
                return Target(product="supervisor", kind="child", name=name, scope=mute)
            problem = states[silent[0]]
            if not found and isinstance(problem, UserError):
                raise problem
            raise UserError(
                f"{name} exists in {found[0]}, and {', '.join(silent)} could not be asked. "
                f"Say which is meant with --scope {found[0]}."
            )
        return Target(product="supervisor", kind="child", name=name, scope=found[0] if found else "")


def make_client(name: str, target: SupervisorTarget, clock: Clock, breaker: Breaker | None = None) -> Client:
    """Over the socket when there is one: it tells more than the relay."""
    if target.socket is None:
        return RelayClient(name, target, clock)
    return SupervisorClient(name, target, clock, breaker)


def _breaker(services: Services, name: str) -> Breaker | None:
    return services.breakers.of(f"socket {name}") if services.breakers else None


def require_child(target_name: str, state: State, child_id: str, command: str = "") -> Child:
    """The child of that name. Raises ``UserError`` with the nearest ones; nothing must be sent for an unknown child."""
    child = children.find(state, child_id)
    if child is None:
        raise _no_child(child_id, tuple(c.id for c in children.children(state)), target_name, command, {})
    return child


def _no_child(
    child_id: str,
    known: tuple[str, ...],
    where: str,
    command: str,
    silent: Mapping[str, Any],
    process_of: Mapping[str, str] | None = None,
) -> UserError:
    close = nearest(child_id, known)
    text = f'There is no child "{child_id}" in {where}.'
    if close:
        text += f" Did you mean {' or '.join(close)}?"
    elif known:
        text += f" The children are {', '.join(known[:10])}{' and more' if len(known) > 10 else ''}."
    if silent:
        text += f" {', '.join(silent)} could not be asked."
    if not command:
        return UserError(text)
    suggestions = tuple(
        command.replace("{child}", name) + (f" --target {process_of[name]}" if process_of else "") for name in close
    )
    return UserError(text, suggestions=suggestions)
