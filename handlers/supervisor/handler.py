"""The connected product: a client for each supervised process, the names that exist, the facts that can be seen."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from bot.commands.nearest import nearest
from bot.errors import UserError
from bot.handler import Observation, Services, Target
from handlers.supervisor import children, facts
from handlers.supervisor.children import Child
from handlers.supervisor.client import Probe, Rejected, SupervisorClient
from handlers.supervisor.link import LinkError
from handlers.supervisor.protocol import CommandResult, State
from handlers.supervisor.settings import SupervisorSettings

SAMPLE_SECONDS = 0.5  # between two looks at a child that may be dead or only between two attempts


class SupervisorHandler:
    """``bot.handler.Handler`` for ``[supervisor]``."""

    def __init__(self, settings: SupervisorSettings, services: Services) -> None:
        self.settings = settings
        self.clock = services.clock
        self.clients = {
            name: SupervisorClient(name, target, services.clock) for name, target in settings.targets.items()
        }
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
        for name, state in states.items():
            if isinstance(state, State):
                self._known_children[name] = frozenset(child.id for child in children.children(state))
        failures = [state for state in states.values() if not isinstance(state, State)]
        if failures and not self._known_children:
            raise failures[0]
        return sorted(frozenset().union(*self._known_children.values()))

    async def observe(self, names: frozenset[str], target: Target, inputs: Mapping[str, str]) -> list[Observation]:
        """Read these facts now. Raises ``Unavailable`` when only the process could tell and it does not answer."""
        seen = await self.look(target, facts.needs(names - {name for name, value in inputs.items() if value}))
        return facts.observe(names, seen, inputs)

    async def look(self, target: Target, needs: frozenset[str]) -> facts.Seen:
        """One look. A process that does not answer is a finding when it is being probed, else ``Unavailable``."""
        client = self.client(target)
        probe: Probe | None = None
        problem = ""
        if "probe" in needs:
            probe = await client.probe()
            problem = probe.state_error
        if needs and not problem:
            try:
                await self._sampled(client)
            except (LinkError, Rejected) as error:
                if probe is None:
                    raise
                problem = error.message
        reached = probe is None or probe.hello is not None or probe.state is not None
        return facts.Seen(
            target=target,
            now=self.clock.now(),
            samples=client.samples,
            max_backoff=client.target.max_backoff,
            listener=client.listener if reached else None,
            probe=probe,
            command=self._last_command.get(target.key),
            problem=problem,
        )

    async def _sampled(self, client: SupervisorClient) -> None:
        """A state, and more of them while a child may be dead or only between two attempts."""
        await client.drivable_state()
        enough = self.clock.now() + timedelta(seconds=client.target.max_backoff + SAMPLE_SECONDS)
        while children.undecided(client.samples, client.target.max_backoff) and self.clock.now() < enough:
            await self.clock.sleep(SAMPLE_SECONDS)
            await client.drivable_state()

    async def problems(self) -> list[str]:
        """One sentence for each process that cannot be driven."""
        states = await self.states()
        return [state.message for state in states.values() if not isinstance(state, State)]

    async def close(self) -> None:
        for client in self.clients.values():
            await client.close()

    # --- what commands and actions use ----------------------------------------------------------------------------

    async def states(self) -> dict[str, State | UserError]:
        """The state of every process, all asked at the same time; why not, for one that cannot be driven."""
        answers = await asyncio.gather(*(self._state_or_error(client) for client in self.clients.values()))
        return dict(zip(self.clients, answers, strict=True))

    @staticmethod
    async def _state_or_error(client: SupervisorClient) -> State | UserError:
        try:
            return await client.drivable_state()
        except UserError as error:
            return error

    def client(self, target: Target) -> SupervisorClient:
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

    async def find_child(self, child_id: str, target_name: str | None, command: str) -> str:
        """The process that a child belongs to. ``command`` is what was typed, with ``{child}``, without ``--target``.

        Raises ``UserError`` for a child that does not exist and for one that could be meant in several processes.
        """
        if target_name is not None:
            client = self.client(Target(product="supervisor", kind="target", name=target_name))
            require_child(target_name, await client.drivable_state(), child_id, command)
            return target_name
        states = await self.states()
        found = [name for name, state in states.items() if isinstance(state, State) and children.find(state, child_id)]
        silent = {name: state for name, state in states.items() if not isinstance(state, State)}
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

    async def find_target(self, kind: str, name: str, scope: str) -> Target:
        """``bot.handler.FindsTargets``: the process that a child belongs to; a name that none has comes back as it is.

        Raises ``UserError`` when several processes have it and ``scope`` does not say which.
        """
        if kind != "child":
            return Target(product="supervisor", kind=kind, name=name)
        if scope:
            client = self.client(Target(product="supervisor", kind="target", name=scope))
            require_child(scope, await client.drivable_state(), name)
            return Target(product="supervisor", kind="child", name=name, scope=scope)
        states = await self.states()
        found = [each for each, state in states.items() if isinstance(state, State) and children.find(state, name)]
        silent = [each for each, state in states.items() if not isinstance(state, State)]
        if len(found) > 1:
            raise UserError(f"{name} exists in {' and in '.join(sorted(found))}. Say which with --scope {found[0]}.")
        if silent and (found or len(silent) == len(states)):
            problem = states[silent[0]]
            if not found and isinstance(problem, UserError):
                raise problem
            raise UserError(
                f"{name} exists in {found[0]}, and {', '.join(silent)} could not be asked. "
                f"Say which is meant with --scope {found[0]}."
            )
        return Target(product="supervisor", kind="child", name=name, scope=found[0] if found else "")


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
