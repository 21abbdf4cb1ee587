"""Modals, menus and the home tab as Slack takes them, whatever stands in them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slack_sdk.models.blocks import Block, Option
from slack_sdk.models.views import View

from bot.app import installed_products
from bot.commands import grammar
from bot.commands.asking import Field, Form, compose, form_for, form_of
from bot.commands.lexer import split
from bot.commands.registry import CommandGroup
from bot.commands.signature import syntax
from bot.demo.slack.block_rules import check_options, check_view
from bot.errors import UserError
from bot.forms import Offer, fitting
from bot.runs.commands import runs
from bot.runs.decide import new_run
from bot.surfaces.home import Crossed, Situation, Viewer, home
from bot.surfaces.slack import forms, shortcut
from bot.surfaces.slack.home import home_view
from tests.runs.plans import plan, row
from tests.transcript import live

GROUPS: dict[str, CommandGroup] = {
    "runs": runs,
    **{product.name: product.commands for product in installed_products()},
}
COMMANDS = [(root, verb) for root, group in GROUPS.items() for verb in group.commands]
NASTY = st.text(max_size=300) | st.sampled_from(
    ["<!channel> <@U0SCOT>", "```", "\u202eexe", "\ud800", "& < > *b* _i_", "x" * 4000, "\x00\x1b[31m", ""]
)


def judged(view: Mapping[str, Any]) -> None:
    """Slack's limits, as the local workspace and as slack_sdk know them; nothing in it notifies or links."""
    assert check_view(dict(view)) == []
    for block in Block.parse_all(list(view["blocks"])):
        assert block is not None
        block.validate_json()
    if view["type"] == "modal":
        View(**view).validate_json()
    assert live({key: value for key, value in view.items() if key != "private_metadata"}) == set()


@pytest.mark.parametrize(("root", "verb"), COMMANDS)
def test_every_command_has_a_form_that_slack_takes(root: str, verb: str) -> None:
    form = form_of(GROUPS[root], GROUPS[root].commands[verb])
    view = forms.form_view(form, "C0OPS", "1.2")
    judged(view)
    assert forms.read_asked(view["private_metadata"]) == forms.Asked(root, verb, "C0OPS", "1.2")
    assert {field.name for field in form.fields if field.required} == {
        each.name for each in syntax(form.command).arguments if each.required
    }


@settings(max_examples=40)
@given(st.lists(NASTY, max_size=3), NASTY, NASTY)
def test_a_form_is_taken_whatever_was_typed_or_written(initial: list[str], hint: str, label: str) -> None:
    known = Field("name", label, "text", hint=hint, placeholder=hint, initial=tuple(initial))
    menu = Field("kind", label, "name", required=True, offered="project", hint=hint, initial=tuple(initial))
    lines = Field("more", label, "lines", initial=tuple(initial))
    flag = Field("flag", "Flag", "flag", hint=hint, initial=("true",))
    form = Form(GROUPS["somas"], GROUPS["somas"].commands["restart"], (known, menu, lines, flag))
    judged(forms.form_view(form, "C0OPS"))


@settings(max_examples=25)
@given(st.lists(st.builds(Offer, NASTY, NASTY, NASTY), max_size=150))
def test_a_menu_is_taken_whatever_there_is(offers: list[Offer]) -> None:
    drawn = forms.options(fitting(offers, "")) + forms.options(fitting(offers, "x"))[:0]
    assert check_options(drawn) == [] and len(drawn) <= 100
    for one in drawn:
        for option in Option.parse_all([one]) or ():
            option.validate_json()
    assert all(one["value"] in {offer.value for offer in offers} for one in drawn)


@settings(max_examples=50)
@given(NASTY, NASTY, st.sampled_from(["", "1795350600.000100", "x", "9" * 40]))
def test_a_note_is_taken_whatever_somebody_wrote(text: str, user: str, ts: str) -> None:
    message = {"text": text, "user": user, "ts": ts or "1.1", "thread_ts": "1.0"}
    said = shortcut.said_of({"message": message, "channel": {"id": "C0OPS"}, "team": {"domain": "ops"}})
    view = shortcut.note_view(said, Offer("01JD0000000000000000000000", text), user)
    judged(view)
    state = {"arg:run": {"value": {"selected_option": {"value": "01JD0000000000000000000000"}}}}
    line, again = shortcut.note_command({**view, "state": {"values": state}})
    assert (again.channel, again.ts, again.thread) == ("C0OPS", ts or "1.1", "1.0")
    parsed = grammar.parse(line, GROUPS)
    assert isinstance(parsed, grammar.Invocation) and parsed.command.verb == "note"
    assert parsed.arguments.get("said", "").split() == again.text.split()


VALUES = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cf", "Zl", "Zp"]), min_size=1, max_size=40).map(
    lambda text: " ".join(text.split())
)


@settings(max_examples=120)
@given(st.data())
def test_what_is_entered_is_what_the_command_gets(data: st.DataObject) -> None:
    """The line that a form makes says exactly what stands in its fields, quotes, dashes and all."""
    root, verb = data.draw(st.sampled_from(COMMANDS))
    group = GROUPS[root]
    command = group.commands[verb]
    texts = [each for each in syntax(command).arguments if each.type is str and not each.choices and not each.variadic]
    entered = {each.name: [value] for each in texts if (value := data.draw(VALUES | st.just("")))}
    composed = compose(group, command, entered)
    for start, end, name in composed.spans:
        (word, *rest) = split(composed.line[start:end])
        value = rest[0].value if rest else word.value.partition("=")[2] if word.is_option else word.value
        assert [value] == entered[name]
    try:
        parsed = grammar.parse(composed.line, GROUPS)
    except UserError:
        return  # something that it needs is missing, or two options exclude each other
    assert isinstance(parsed, grammar.Invocation) and parsed.command is command
    for name, (value,) in entered.items():
        assert parsed.arguments[name] == value


@settings(max_examples=50)
@given(st.text(max_size=80))
def test_nothing_that_is_typed_breaks_a_form(text: str) -> None:
    for start in ("/somas restart ", "/runs extend ", "/"):
        form = form_for(start + text, GROUPS)
        if form is not None:
            judged(forms.form_view(form, "C0OPS"))


@settings(max_examples=25)
@given(NASTY, st.integers(0, 40))
def test_the_home_tab_is_taken_whatever_runs(nasty: str, count: int) -> None:
    state = new_run(plan(row("Look at it")))
    hostile = state.plan.model_copy(update={"command": nasty, "reason": nasty})
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)
    situation = Situation(
        open=[state.model_copy(update={"plan": hostile})] * count,
        crossed=[Crossed("somas", nasty, nasty, "critical", nasty, now)] * count,
        groups=tuple(GROUPS.values()),
        links={},
        name=lambda actor: nasty or actor,
        frozen=nasty,
    )
    viewer = Viewer("alice", lambda level: True, lambda state: True, lambda state: True, [state] * count)
    view = home_view(home(situation, viewer), "D0ALICE")
    assert len(view["blocks"]) <= 100 and view["private_metadata"] == "D0ALICE"
    judged(view)
