"""What people read when they ask for help."""

from __future__ import annotations

from bot.commands.grammar import HelpWanted, parse
from bot.commands.help import error_message, help_message, prose
from bot.commands.pointer import CommandError
from bot.errors import UserError
from bot.messages import Buttons, Code, CodeBlock, Text, plain_text
from tests.commands.products import GROUPS, SOMAS, SUPERVISOR, runs, somas


def read(text: str) -> str:
    wanted = parse(text, GROUPS)
    assert isinstance(wanted, HelpWanted)
    return plain_text(help_message(wanted, GROUPS, [SOMAS, SUPERVISOR]).blocks)


def test_the_verbs_of_a_root() -> None:
    assert (
        read("/somas")
        == """\
/somas
The SOMAS pipeline: its projects and their stages.
These only look
- /somas status [project]: Where a project stands, or all of them.
- /somas failed: The projects that failed, and why.
- /somas log <project> [count]: The last lines of a project's log.
These change something; --dry-run shows what, and does nothing
- /somas restart <project>: Start a project again, from a stage, a checkpoint or the beginning.
These destroy something, and need a second person
- /somas purge [projects...]: Archive the dead letters of projects.
Type /somas help <verb> for options and examples."""
    )


def test_one_verb() -> None:
    assert (
        read("/somas help restart")
        == """\
/somas restart
Start a project again, from a stage, a checkpoint or the beginning.
The stage that is running is not stopped.
Usage
/somas restart <project> [--from STAGE | --checkpoint [ID] | --full] [--reason TEXT] [--dry-run]
Arguments
- <project>: The project, as project-42 or only 42.
Options
- --from STAGE: The stage to start from. One of intake, specification, build, verify, deploy.
- --checkpoint [ID]: A checkpoint's id; alone, the last one.
- --full: Archive the project and begin again.
- --reason TEXT: Why, for the log.
- --dry-run: Show what would be done and do nothing.
Examples
- /somas restart project-42
- /somas restart project-42 --from verify --reason "flaky runner"
Danger: changes something: shows what it will do, and does it
Who may: operators and admins
Every command that changes something takes --dry-run: it shows what would be done, and does nothing. \
--queue waits for a target on which somebody works, --take-over TARGET cancels what they do there."""
    )


def test_a_verb_whose_author_described_nothing_is_described_by_its_types() -> None:
    text = read("/supervisor help quarantine")
    assert "- <child>: The name of a child." in text
    assert "- --target TARGET: The name of a target." in text


def test_the_bot_as_a_whole() -> None:
    assert (
        read("help")
        == """\
I run the runbooks of the people on call, step by step, and page somebody when the time runs out.
- /somas: The SOMAS pipeline: its projects and their stages.
- /supervisor: The supervised processes and their children.
- /runs: Runs of runbooks: what they do, what they wait for.
Type /<command> help for its verbs. In the thread of a run, mention me with a verb alone, as @opsbot ack."""
    )


def test_a_product_that_is_not_configured_says_why_and_what_to_add() -> None:
    groups = {"somas": somas, "runs": runs}
    asked = parse("/supervisor status", groups, ["supervisor"])
    assert isinstance(asked, HelpWanted)
    said = help_message(asked, groups, [SOMAS, SUPERVISOR])
    assert (
        plain_text(said.blocks)
        == """\
rust-supervisor is not configured, so /supervisor has no commands here. Add this to opsbot.toml with your own values, \
and start the bot again:
opsbot.toml
[supervisor.targets.payments]
socket = "/run/rust-supervisor/payments.sock\""""
    )
    general = plain_text(help_message(HelpWanted(), groups, [SOMAS, SUPERVISOR]).blocks)
    assert "Installed, but not configured:\n- /supervisor: rust-supervisor\n" in general


def test_an_error_shows_the_spot_in_a_fixed_width_font_and_offers_commands() -> None:
    error = CommandError("No such verb.", typed="/somas x", start=7, end=8, suggestions=("/somas help", "/" + "y" * 90))
    said = error_message(error)
    assert said.summary == "No such verb."
    assert said.blocks[1] == CodeBlock("/somas x\n       ^")
    buttons = said.blocks[2]
    assert isinstance(buttons, Buttons)
    assert [button.command for button in buttons.items] == ["/somas help", "/" + "y" * 90]
    assert max(len(button.label) for button in buttons.items) == 75


def test_an_error_of_a_command_is_a_sentence() -> None:
    assert plain_text(error_message(UserError("The project runs already.")).blocks) == "The project runs already."


def test_code_in_a_docstring_is_code() -> None:
    assert prose("as ``project-42`` or `42`.") == (Text("as "), Code("project-42"), Text(" or "), Code("42"), Text("."))
