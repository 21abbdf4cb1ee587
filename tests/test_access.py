"""Who may, who may approve, and what a refusal says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.access import Access, Level, Person
from bot.errors import SettingsError
from bot.incoming import Actor
from bot.messages import Mention, plain_text

SCOT = Actor(surface="slack", id="U0SCOT")
SCOT_ON_GITHUB = Actor(surface="github", id="583231", login="ScotlaClair")
ALICE = Actor(surface="slack", id="U0ALICE")
BOB = Actor(surface="slack", id="U0BOB")
STRANGER = Actor(surface="github", id="9", login="stranger")

ACCESS = Access(
    admins=["slack:U0SCOT", "github:scotlaclair"],
    operators=["slack:U0ALICE"],
    viewers=["slack:*"],
    people={"scotlaclair": Person("U0SCOT", "scotlaclair"), "alice": Person("U0ALICE", "alice-gh")},
)


@pytest.mark.parametrize(
    ("actor", "level"),
    [(SCOT, "admin"), (SCOT_ON_GITHUB, "admin"), (ALICE, "operator"), (BOB, "viewer"), (STRANGER, None)],
)
def test_the_lists_of_the_configuration(actor: Actor, level: Level | None) -> None:
    ranks: list[Level] = ["viewer", "operator", "admin"]
    assert ACCESS.level_of(actor) == level
    allowed = [ACCESS.allows(actor, each) for each in ranks]
    assert allowed == [level is not None and ranks.index(each) <= ranks.index(level) for each in ranks]


@pytest.mark.parametrize(
    ("entry", "actor", "matches"),
    [
        ("*", STRANGER, True),
        ("slack:*", STRANGER, False),
        ("github:*", STRANGER, True),
        ("github:*", Actor(surface="github", id="9"), True),
        ("slack:U0ALICE", ALICE, True),
        ("slack:u0alice", ALICE, False),
        ("slack:U0ALIC", ALICE, False),
        ("slack:U0A*", ALICE, True),
        ("github:STRANGER", STRANGER, True),
        ("github:stran?er", STRANGER, True),
        ("github:9", STRANGER, True),
        ("slack:9", STRANGER, False),
        # A login can look like somebody else's numeric id, and the id's first digits say nothing about an account.
        ("github:583231", Actor(surface="github", id="77", login="583231"), False),
        ("github:5*", SCOT_ON_GITHUB, False),
        # The login of a GitHub App has brackets, which are no pattern here.
        ("github:renovate[bot]", Actor(surface="github", id="5", login="renovate[bot]"), True),
        ("github:renovate[bot]", Actor(surface="github", id="5", login="renovateb"), False),
        ("github:stranger", Actor(surface="slack", id="stranger"), False),
        ("slack:*", Actor(surface="slack", id=""), False),
    ],
)
def test_entries(entry: str, actor: Actor, matches: bool) -> None:
    assert Access(operators=[entry]).allows(actor, "operator") is matches


def test_nobody_is_allowed_where_nothing_is_configured() -> None:
    assert not Access().allows(SCOT, "viewer")


@pytest.mark.parametrize("entry", ["U0SCOT", "@alice", "", "slack:", "sl*", "email:a@example.org"])
def test_an_entry_that_names_nobody_is_a_setting_to_correct(entry: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Access(operators=[entry])
    assert f'access.operators: "{entry}" names nobody' in str(caught.value)
    assert '"slack:U0SCOT"' in str(caught.value)


def test_one_identity_belongs_to_one_person() -> None:
    with pytest.raises(SettingsError, match=r"people\.two: github:same is already people\.one"):
        Access(people={"one": Person("U1", "same"), "two": Person("U2", "SAME")})


def test_a_person_is_the_same_on_both_surfaces() -> None:
    assert ACCESS.person_of(SCOT) == ACCESS.person_of(SCOT_ON_GITHUB) == "scotlaclair"
    assert ACCESS.same_person(SCOT, SCOT_ON_GITHUB)
    assert not ACCESS.same_person(SCOT, ALICE)
    assert ACCESS.person_of(STRANGER) is None
    assert not ACCESS.same_person(STRANGER, BOB)
    assert ACCESS.same_person(STRANGER, STRANGER)


def test_nobody_approves_their_own_request_not_even_from_the_other_surface() -> None:
    assert not ACCESS.may_approve(SCOT, SCOT)
    assert not ACCESS.may_approve(SCOT_ON_GITHUB, SCOT)
    assert ACCESS.may_approve(ALICE, SCOT)
    assert not ACCESS.may_approve(BOB, SCOT)


def test_who_could_approve_is_named_once_each() -> None:
    assert ACCESS.approvers(ALICE) == ("scotlaclair",)
    assert ACCESS.approvers(SCOT) == ACCESS.approvers(SCOT_ON_GITHUB) == ("alice",)
    assert ACCESS.approvers(BOB) == ("alice", "scotlaclair")
    assert not ACCESS.only_operator(SCOT)


def test_the_only_operator_is_alone_although_known_twice() -> None:
    alone = Access(
        admins=["slack:U0SCOT", "github:scotlaclair"],
        viewers=["*"],
        people={"scotlaclair": Person("U0SCOT", "scotlaclair")},
    )
    assert alone.only_operator(SCOT)
    assert alone.only_operator(SCOT_ON_GITHUB)
    assert alone.approvers(ALICE) == ("scotlaclair",)


def test_everybody_as_operator_means_that_there_is_somebody_else() -> None:
    assert Access(operators=["*"]).approvers(SCOT) == ("*",)
    assert not Access(operators=["slack:*"]).only_operator(SCOT)


def test_a_refusal_says_who_may_and_how_to_ask_and_notifies_nobody() -> None:
    said = ACCESS.refusal(BOB, "operator", "/somas restart project-42")
    assert (
        plain_text(said.blocks)
        == """\
/somas restart project-42 needs an operator, and you are not one.
Who may: alice, scotlaclair. Ask one of them.
For the right itself, ask for "slack:U0BOB" in access.operators."""
    )
    assert not any(isinstance(span, Mention) for block in said.blocks for span in getattr(block, "line", ()))
    assert 'ask for "github:stranger" in access.viewers' in plain_text(ACCESS.refusal(STRANGER, "viewer").blocks)
    assert "everybody on Slack" in plain_text(ACCESS.refusal(STRANGER, "viewer").blocks)
    assert "[access] in opsbot.toml names no admin" in plain_text(Access().refusal(BOB, "admin").blocks)


LEVELS: tuple[Level, ...] = ("viewer", "operator", "admin")
IDS = st.sampled_from(["U1", "U2", "u1", "7", "77", "ann", "ANN", "bob", "a*", "x[y]"])
ACTORS = st.builds(Actor, surface=st.sampled_from(["slack", "github"]), id=IDS, login=st.one_of(st.just(""), IDS))
ENTRIES = st.lists(
    st.one_of(
        st.just("*"),
        st.tuples(st.sampled_from(["slack:", "github:"]), st.one_of(IDS, st.just("*"), st.just("U?"))).map("".join),
    ),
    max_size=4,
)
PEOPLE = st.sampled_from([{}, {"ann": Person("U1", "ann")}, {"ann": Person("U1", "Ann"), "bob": Person("U2", "7")}])
ACCESSES = st.builds(Access, ENTRIES, ENTRIES, ENTRIES, PEOPLE)


@given(ACCESSES, ACTORS)
def test_a_higher_level_may_what_a_lower_one_may(access: Access, actor: Actor) -> None:
    admin, operator, viewer = (access.allows(actor, level) for level in LEVELS[::-1])
    assert (not admin or operator) and (not operator or viewer)
    assert (access.level_of(actor) is None) == (not viewer)


@given(ACCESSES, ACTORS, ACTORS)
def test_being_one_person_is_mutual_and_forbids_approval(access: Access, one: Actor, other: Actor) -> None:
    assert access.same_person(one, one)
    assert access.same_person(one, other) == access.same_person(other, one)
    if access.same_person(one, other):
        assert not access.may_approve(one, other)


@given(ACCESSES, ACTORS, ACTORS)
def test_whoever_may_approve_shows_that_the_asker_is_not_alone(access: Access, asker: Actor, other: Actor) -> None:
    if access.may_approve(other, asker):
        assert not access.only_operator(asker)


@given(ENTRIES, ENTRIES, ACTORS)
def test_more_entries_never_take_a_right_away(few: list[str], more: list[str], actor: Actor) -> None:
    if Access(operators=few).allows(actor, "operator"):
        assert Access(operators=few + more).allows(actor, "operator")


@given(ACCESSES, ACTORS)
def test_a_refusal_is_always_readable(access: Access, actor: Actor) -> None:
    for level in LEVELS:
        assert plain_text(access.refusal(actor, level).blocks).count("\n") == 2
