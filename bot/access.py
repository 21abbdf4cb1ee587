"""``[access] admins = ["slack:U0SCOT", "github:scotlaclair"]``: who may do what, and who may approve whose doing.

Pure. People are known by what a surface cannot give to somebody else: Slack's user id, GitHub's numeric id, and
GitHub's login, which is compared without case. Whatever is not allowed is denied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from re import fullmatch
from typing import Literal, Protocol

from bot.errors import SettingsError
from bot.incoming import Actor
from bot.messages import Block, Code, Message, Paragraph, line, message

Level = Literal["viewer", "operator", "admin"]

_RANK: dict[Level, int] = {"viewer": 0, "operator": 1, "admin": 2}
_KEY: dict[Level, str] = {"viewer": "viewers", "operator": "operators", "admin": "admins"}
_ROLE = "github-role:"
_ROLES = ("read", "triage", "write", "maintain", "admin")  # each can do what the ones before it can
_ARTICLE: dict[Level, str] = {"viewer": "a viewer", "operator": "an operator", "admin": "an admin"}


class KnownPerson(Protocol):
    """One table of ``[people]``; ``bot.settings.Person`` and ``Person`` below are such."""

    @property
    def slack(self) -> str: ...

    @property
    def github(self) -> str: ...


class Groups(Protocol):
    """Who is in a user group of Slack, as it is known now; nobody is in a group that nothing is known of."""

    def members(self, group: str) -> frozenset[str]: ...

    def name(self, group: str) -> str: ...


class NoGroups:
    """Without Slack there are none."""

    def members(self, group: str) -> frozenset[str]:
        return frozenset()

    def name(self, group: str) -> str:
        return group


@dataclass(frozen=True, slots=True)
class Person:
    """One person as each surface knows them: Slack's user id, GitHub's login or numeric id; "" for not at all."""

    slack: str = ""
    github: str = ""


class Access:
    """The lists of ``[access]`` and the people of ``[people]``.

    An entry is ``*``, ``slack-group:`` and the id of a user group, or ``slack:`` or ``github:`` and an id or login, in
    which ``*`` and ``?`` stand for any text.
    Square brackets stand for themselves, because logins of GitHub Apps have them; a numeric GitHub id is matched whole,
    because the beginning of a number says nothing about an account. ``github-role:maintain`` is who has at least this
    role in the repository, as GitHub says at that moment; a custom role is matched by its name.

    Rights are not carried over from one surface to the
    other: each id is listed. ``[people]`` only tells who is the same person.
    """

    def __init__(
        self,
        admins: Sequence[str] = (),
        operators: Sequence[str] = (),
        viewers: Sequence[str] = (),
        people: Mapping[str, KnownPerson] | None = None,
    ) -> None:
        """Raises ``SettingsError`` for an entry that could never match and for two people with one identity."""
        self._lists: dict[Level, tuple[str, ...]] = {
            "admin": tuple(admins),
            "operator": tuple(operators),
            "viewer": tuple(viewers),
        }
        for level, patterns in self._lists.items():
            for pattern in patterns:
                _check(_KEY[level], pattern)
        self.groups: Groups = NoGroups()
        self._people = dict(people or {})
        self._person_by_identity: dict[str, str] = {}
        for name, person in self._people.items():
            for identity in _identities(person):
                other = self._person_by_identity.setdefault(identity, name)
                if other != name:
                    raise SettingsError(
                        f"people.{name}: {identity} is already people.{other}. One person has one table: "
                        f'[people.{other}] with slack = "U0..." and github = "login".'
                    )

    def level_of(self, actor: Actor) -> Level | None:
        """The highest level that the lists give to the actor; None for nobody."""
        names = (*_names(actor), *_role_names(actor))
        levels: tuple[Level, ...] = ("admin", "operator", "viewer")
        for level in levels:
            if any(self._includes(pattern, name) for pattern in self._lists[level] for name in names):
                return level
        return None

    @property
    def asks_for_roles(self) -> bool:
        """Whether an entry is of a role, so that an actor's role has to be known."""
        return any(pattern.startswith(_ROLE) for patterns in self._lists.values() for pattern in patterns)

    def allows(self, actor: Actor, level: Level) -> bool:
        """Whether the actor may do what needs ``level``. An admin may do everything, an operator may also view."""
        own = self.level_of(actor)
        return own is not None and _RANK[own] >= _RANK[level]

    def who(self, level: Level) -> tuple[str, ...]:
        """Who has at least this level: names of ``[people]`` where they are known, else the entries as written."""
        found = [self._shown(pattern) for pattern in self._patterns(level)]
        return tuple(dict.fromkeys(found))

    def refusal(self, actor: Actor, level: Level, command: str = "", trouble: str = "") -> Message:
        """Why not, who may, and how to ask. Names are plain text: a refusal notifies nobody.

        ``trouble``: why the actor's role on GitHub is not known.
        """
        who = self.who(level)
        blocks: list[Block] = []
        asked = (Code(command), f" needs {_ARTICLE[level]}") if command else (f"This needs {_ARTICLE[level]}",)
        blocks.append(Paragraph(line(*asked, ", and you are not one.")))
        if who:
            blocks.append(Paragraph(line(f"Who may: {', '.join(_words(each) for each in who)}. Ask one of them.")))
        else:
            blocks.append(Paragraph(line(f"Nobody may at the moment: [access] in opsbot.toml names no {level}.")))
        blocks.append(
            Paragraph(
                line("For the right itself, ask for ", Code(f'"{_own_entry(actor)}"'), f" in access.{_KEY[level]}.")
            )
        )
        if trouble and self.asks_for_roles and actor.surface == "github":
            blocks.append(Paragraph(line(trouble)))
        return message(*blocks, summary=f"Not allowed: this needs {_ARTICLE[level]}.")

    def person_of(self, actor: Actor) -> str | None:
        """The actor's name in ``[people]``; None for somebody who is not there."""
        for name in _names(actor):
            if (person := self._person_by_identity.get(name)) is not None:
                return person
        return None

    def same_person(self, one: Actor, other: Actor) -> bool:
        """Whether two actors are one person, on one surface or on two. Two unknown ids are two people."""
        if set(_names(one)) & set(_names(other)):
            return True
        person = self.person_of(one)
        return person is not None and person == self.person_of(other)

    def approvers(self, actor: Actor) -> tuple[str, ...]:
        """Who besides this actor is operator or admin: names of ``[people]``, else entries as written; each once.

        An entry with a ``*`` or ``?``, or of a role, stands for others, whoever they are. An entry with a numeric
        GitHub id counts as somebody else than the login of the same account, unless ``[people]`` has that id: nothing
        here can know.
        """
        own = set(_names(actor))
        person = self.person_of(actor)
        found = []
        for pattern in self._patterns("operator"):
            shown = self._shown(pattern)
            if group := _group(pattern):
                others = {f"slack:{member}" for member in self.groups.members(group)} - own
                if any(person is None or self._person_by_identity.get(each) != person for each in others):
                    found.append(shown)
            elif _stands_for_many(pattern) or (_identity(pattern) not in own and shown != person):
                found.append(shown)
        return tuple(dict.fromkeys(found))

    def deciders(self) -> tuple[str, ...]:
        """Who may answer what a run asks, in words: every operator and admin."""
        return tuple(_words(each) for each in self.who("operator"))

    def find_person(self, text: str) -> str | None:
        """The name in ``[people]`` that ``alice``, ``@alice`` or ``slack:U0ALICE`` means; None for nobody there."""
        name = text.strip().lstrip("@").strip()
        return next((each for each in self._people if each.casefold() == name.casefold()), None) or (
            self._person_by_identity.get(_identity(name))
        )

    @property
    def people(self) -> tuple[str, ...]:
        """The names in ``[people]``."""
        return tuple(self._people)

    def only_operator(self, actor: Actor) -> bool:
        """Nobody else could approve what this actor asks for."""
        return not self.approvers(actor)

    def may_approve(self, approver: Actor, asker: Actor) -> bool:
        """An operator who is not the one who asked. Self-approval is refused on the other surface as well."""
        return self.allows(approver, "operator") and not self.same_person(approver, asker)

    def _patterns(self, level: Level) -> list[str]:
        return [pattern for each, rank in _RANK.items() if rank >= _RANK[level] for pattern in self._lists[each]]

    def _includes(self, pattern: str, name: str) -> bool:
        if group := _group(pattern):
            return name.startswith("slack:") and name.removeprefix("slack:") in self.groups.members(group)
        return _matches(name, pattern)

    @property
    def named_groups(self) -> tuple[str, ...]:
        """The ids of the user groups that the lists name."""
        every = (_group(pattern) for patterns in self._lists.values() for pattern in patterns)
        return tuple(dict.fromkeys(group for group in every if group))

    def _shown(self, pattern: str) -> str:
        if group := _group(pattern):
            return f"the Slack user group {self.groups.name(group)}"
        return pattern if _stands_for_many(pattern) else self._person_by_identity.get(_identity(pattern), pattern)


def _names(actor: Actor) -> tuple[str, ...]:
    """What an actor is matched by. A login of digits only is not one: it could be somebody else's numeric id."""
    names = [f"{actor.surface}:{actor.id}"] if actor.id else []
    if actor.surface == "github" and actor.login and not actor.login.isdecimal():
        names.append(f"github:{actor.login.lower()}")
    return tuple(names)


def _role_names(actor: Actor) -> tuple[str, ...]:
    """The entries that the actor's role fulfils: ``write`` is also ``triage`` and ``read``."""
    role = actor.role.casefold()
    if actor.surface != "github" or not role:
        return ()
    fulfilled = _ROLES[: _ROLES.index(role) + 1] if role in _ROLES else (role,)
    return tuple(f"{_ROLE}{each}" for each in fulfilled)


def _identity(pattern: str) -> str:
    """An entry without wildcards as ``_names`` writes it."""
    surface, _, name = pattern.partition(":")
    return f"github:{name.lower()}" if surface == "github" else pattern


def _identities(person: KnownPerson) -> list[str]:
    slack = [f"slack:{person.slack}"] if person.slack else []
    return [*slack, f"github:{person.github.lower()}"] if person.github else slack


def _group(pattern: str) -> str:
    """The id in ``slack-group:S0ONCALL``; empty for every other entry."""
    kind, _, group = pattern.partition(":")
    return group if kind == "slack-group" else ""


def _is_glob(pattern: str) -> bool:
    return "*" in pattern or "?" in pattern


def _stands_for_many(pattern: str) -> bool:
    return _is_glob(pattern) or pattern.startswith(_ROLE)


def _matches(name: str, pattern: str) -> bool:
    if pattern in ("*", "github:*"):
        return pattern == "*" or name.startswith("github:")
    if name.startswith(_ROLE) or pattern.startswith(_ROLE):
        return name == pattern.casefold()
    if _is_glob(pattern) and name.startswith("github:") and name.removeprefix("github:").isdecimal():
        return False
    return fnmatchcase(name, _identity(pattern).replace("[", "[[]"))


def _check(key: str, pattern: str) -> None:
    surface, colon, name = pattern.partition(":")
    if surface == "slack-group" and not fullmatch("S[A-Z0-9]+", name):
        raise SettingsError(
            f'access.{key}: "{pattern}" names no user group. Write its id, not its handle: Slack shows it in the '
            f'address of the group, for example {key} = ["slack-group:S0ONCALL"].'
        )
    if pattern == "*" or surface == "slack-group" or (surface in ("slack", "github") and colon and name):
        return
    if pattern.startswith(_ROLE):
        if name and not _is_glob(pattern) and name.casefold() != "none":
            return
        raise SettingsError(
            f'access.{key}: "{pattern}" names no role. Write one of {", ".join(_ROLES)}, or the name of a custom role, '
            f'for example {key} = ["{_ROLE}maintain"].'
        )
    raise SettingsError(
        f'access.{key}: "{pattern}" names nobody. Write "slack:" and a user id, "github:" and a login, '
        f'"github-role:" and a role, or "*", for example {key} = ["slack:U0SCOT", "github:scotlaclair"].'
    )


def _own_entry(actor: Actor) -> str:
    return f"{actor.surface}:{actor.id}" if actor.surface == "slack" or not actor.login else f"github:{actor.login}"


def _words(shown: str) -> str:
    """``*`` -> everybody, ``slack:*`` -> everybody on Slack."""
    if shown.startswith(_ROLE):
        role = shown.removeprefix(_ROLE)
        more = " or more" if role.casefold() in _ROLES[:-1] else ""
        return f"everybody with the role {role}{more} in the repository on GitHub"
    return {"*": "everybody", "slack:*": "everybody on Slack", "github:*": "everybody on GitHub"}.get(shown, shown)
