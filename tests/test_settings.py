"""What ``opsbot run`` says about a wrong configuration: the key, what is wrong with it, an example."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.app import installed_products
from bot.errors import SettingsError
from bot.settings import Settings, read

SMALLEST = """
[slack]
channel = "C0OPS"
[escalation]
contact = "scotlaclair"
[people.scotlaclair]
slack = "U0SCOT"
"""
SECRETS = {"SLACK_BOT_TOKEN": "xoxb-1", "SLACK_SIGNING_SECRET": "s"}
ESCALATION = '[escalation]\ncontact = "scotlaclair"\n[people.scotlaclair]\nslack = "U0SCOT"\n'


def settings(folder: Path, document: str, environment: Mapping[str, str] = SECRETS) -> Settings:
    path = folder / "opsbot.toml"
    path.write_text(document)
    return read(path, environment, installed_products())


def wrong(folder: Path, document: str, environment: Mapping[str, str] = SECRETS) -> str:
    with pytest.raises(SettingsError) as refused:
        settings(folder, document, environment)
    return str(refused.value)


def test_the_smallest_file_is_enough(tmp_path: Path) -> None:
    read_ = settings(tmp_path, SMALLEST)
    assert read_.slack is not None
    assert read_.slack.bot_token.get_secret_value() == "xoxb-1"
    assert (read_.server.host, read_.server.port) == ("127.0.0.1", 8080)
    assert read_.database.url == "sqlite:///opsbot.db"
    assert read_.products == {}
    assert read_.escalation.repeat.high == timedelta(minutes=20)
    assert read_.escalation.repeat.critical == timedelta(minutes=5)


def test_secrets_are_never_shown(tmp_path: Path) -> None:
    assert "xoxb-1" not in repr(settings(tmp_path, SMALLEST))


@pytest.mark.parametrize(
    ("added", "said"),
    [
        ('[server]\nport = "abc"', "server.port: must be a whole number (it is 'abc'). Example: port = 8080"),
        (
            "[server]\nport = 99999",
            "server.port: must be less than or equal to 65535 (it is 99999). Example: port = 8080",
        ),
        ("[server]\nprt = 1", "server.prt: is not a known key; did you mean 'port'?"),
        ("[sever]\nport = 1", "sever: is not a known key; did you mean 'server'?"),
        (
            "[zebra]\nport = 1",
            "zebra: is not a known key. Sections: access, audit, breakers, database, escalation, github, history, "
            "notifications, people, reports, runbooks, runs, server, slack, somas, supervisor, watchdog",
        ),
        (
            "[products.somas]\nroot = '/'",
            "products: is not a known key. Sections: access, audit, breakers, database, escalation, github, history, "
            "notifications, people, reports, runbooks, runs, server, slack, somas, supervisor, watchdog",
        ),
        (
            '[database]\nurl = "mysql://x"',
            "database.url: must start with sqlite:/// or postgresql:// (it is 'mysql://x'). "
            'Example: url = "sqlite:///opsbot.db"',
        ),
        (
            '[people.bob]\nslack = "bob"',
            "people.bob.slack: does not have the right form (it is 'bob'). Example: slack = \"U0SCOT\"",
        ),
        ('[people.bob]\nslak = "U0BOB"', "people.bob.slak: is not a known key; did you mean 'slack'?"),
        (
            '[access]\nadmins = ["scot"]',
            'access.admins: \'scot\' must be "*" or start with "slack:", "slack-group:", "github:" or "github-role:". '
            'Example: admins = ["slack:U0SCOT", "github:scotlaclair"]',
        ),
        (
            '[access]\nadmins = "slack:U0SCOT"',
            "access.admins: must be a list (it is 'slack:U0SCOT'). "
            'Example: admins = ["slack:U0SCOT", "github:scotlaclair"]',
        ),
        (
            '[github]\nrepository = "x"',
            "github.repository: does not have the right form (it is 'x'). Example: repository = \"owner/name\"",
        ),
        ('[github]\nrepository = "x/y"', "GITHUB_TOKEN is not set (or GITHUB_APP_ID together with GITHUB_PRIVATE_KEY)"),
        (
            '[github]\nrepository = "x/y"\npoll_seconds = 1',
            "github.poll_seconds: must be greater than or equal to 5 (it is 1). Example: poll_seconds = 60",
        ),
        (
            '[somas]\nroot = "/nonexistent"',
            "somas.root: there is no /nonexistent; give the folder that holds .somas/, or leave [somas] out "
            "(it is '/nonexistent'). Example: root = \"/srv/somas\"",
        ),
        (
            '[supervisor.targets.payments]\nsocket = "payments.sock"',
            "supervisor.targets.payments.socket: must be an absolute path such as "
            "/run/rust-supervisor/payments.sock, not payments.sock (it is 'payments.sock')",
        ),
    ],
)
def test_a_wrong_key_is_named_with_an_example(tmp_path: Path, added: str, said: str) -> None:
    assert wrong(tmp_path, f"{SMALLEST}{added}\n") == said


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (
            SMALLEST.replace('"C0OPS"', '"#ops"'),
            "slack.channel: must be the channel's id, not its name; Slack shows it at the end of the channel's details "
            "(it is '#ops'). Example: channel = \"C0OPS\"",
        ),
        (
            SMALLEST.replace("[slack]", '[slack]\nmode = "pigeon"'),
            "slack.mode: must be 'http' or 'socket' (it is 'pigeon'). Example: mode = \"http\"",
        ),
        (
            SMALLEST.replace("contact =", "contct ="),
            'escalation.contact: is missing. Example: contact = "scotlaclair"\n'
            "escalation.contct: is not a known key; did you mean 'contact'?",
        ),
        ("", 'escalation: is missing. Example:\n[escalation]\ncontact = "scotlaclair"'),
        (
            SMALLEST.replace('contact = "scotlaclair"', 'contact = "scotlacair"'),
            "escalation.contact: nobody named 'scotlacair' stands under [people]. Did you mean 'scotlaclair'? "
            'Example: [people.scotlacair] slack = "U0SCOT"',
        ),
        (
            SMALLEST.replace(
                'contact = "scotlaclair"', 'chain = ["scotlaclair", "alise"]\n[people.alice]\nslack = "U0A"'
            ),
            "escalation.chain: nobody named 'alise' stands under [people]. Did you mean 'alice'? "
            'Example: [people.alise] slack = "U0SCOT"',
        ),
        (
            SMALLEST.replace('contact = "scotlaclair"', 'contact = "scotlaclair"\nchain = ["alice", "scotlaclair"]'),
            "escalation.chain: starts with 'alice', but escalation.contact is 'scotlaclair'. Leave contact out: the "
            "first of the chain is paged first",
        ),
        (
            SMALLEST.replace('contact = "scotlaclair"', 'contact = "scotlaclair"\nissue = 7\nlevels = { L2 = [] }'),
            "escalation.issue: is an issue of github.repository, but [github] is not configured\n"
            'escalation.levels.L2: names nobody. Example: L2 = ["scotlaclair"]',
        ),
        (
            SMALLEST.replace('slack = "U0SCOT"', ""),
            "people.scotlaclair: has neither a slack id nor a github name, so no page could reach them",
        ),
        (
            SMALLEST.replace('contact = "scotlaclair"', 'contact = "scotlaclair"\nrepeat = { high = "soon" }'),
            "escalation.repeat.high: must be an ISO 8601 duration (it is 'soon'). Example: high = \"PT20M\"",
        ),
        (
            SMALLEST.replace('contact = "scotlaclair"', 'contact = "scotlaclair"\nrepeat = { high = "PT0S" }'),
            'escalation.repeat.high: must be greater than 0 seconds. Example: high = "PT20M"',
        ),
        (
            ESCALATION,
            "Neither [slack] nor [github] is configured, so nobody could talk to the bot. "
            'Add for example: [slack] channel = "C0OPS"',
        ),
        (f"slack = 3\n{ESCALATION}", "slack: must be a section. Example: [slack]"),
        (f"people = 3\n{SMALLEST.partition('[people')[0]}", "people: must be a section. Example: [people]"),
    ],
)
def test_a_wrong_section_is_named_with_an_example(tmp_path: Path, document: str, said: str) -> None:
    assert wrong(tmp_path, document) == said


@pytest.mark.parametrize("section", ["somas", "supervisor"])
def test_a_product_without_its_keys_shows_its_whole_section(tmp_path: Path, section: str) -> None:
    said = wrong(tmp_path, f"{SMALLEST}[{section}]\n")
    assert said.startswith((f"{section}.root: is missing. Example:\n[{section}]", f"{section}.targets: is missing."))
    assert said.count("Example:") == 1


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    said = wrong(tmp_path, f'{SMALLEST}[server]\nport = 0.5\nhst = ""\n[access]\nadmins = ["x"]\n')
    assert [line.partition(":")[0] for line in said.split("\n")] == ["server.port", "server.hst", "access.admins"]


@pytest.mark.parametrize(
    ("section", "key", "variable"),
    [
        ("slack", "bot_token", "SLACK_BOT_TOKEN"),
        ("slack", "signing_secret", "SLACK_SIGNING_SECRET"),
        ("slack", "app_token", "SLACK_APP_TOKEN"),
        ("github", "token", "GITHUB_TOKEN"),
        ("github", "private_key", "GITHUB_PRIVATE_KEY"),
        ("github", "webhook_secret", "GITHUB_WEBHOOK_SECRET"),
    ],
)
def test_a_secret_in_the_file_is_refused(tmp_path: Path, section: str, key: str, variable: str) -> None:
    said = wrong(tmp_path, f'[{section}]\n{key} = "hush"\n{ESCALATION}')
    assert said == (
        f"{section}.{key}: secrets come from the environment only, so that they do not end up in a repository. "
        f"Remove it from {tmp_path}/opsbot.toml and set {variable}"
    )
    assert "hush" not in said


@pytest.mark.parametrize(
    ("document", "environment", "said"),
    [
        (SMALLEST, {"SLACK_SIGNING_SECRET": "s"}, "SLACK_BOT_TOKEN is not set. Example: SLACK_BOT_TOKEN=xoxb-…"),
        (
            SMALLEST,
            {"SLACK_BOT_TOKEN": "x"},
            "SLACK_SIGNING_SECRET is not set; Slack shows it under Basic Information → App Credentials",
        ),
        (
            SMALLEST.replace("[slack]", '[slack]\nmode = "socket"'),
            SECRETS,
            'SLACK_APP_TOKEN is not set, but slack.mode is "socket". Example: SLACK_APP_TOKEN=xapp-…',
        ),
    ],
)
def test_a_missing_secret_is_named(tmp_path: Path, document: str, environment: dict[str, str], said: str) -> None:
    assert wrong(tmp_path, document, environment) == said


def test_github_as_an_app(tmp_path: Path) -> None:
    secrets = {"GITHUB_APP_ID": "17", "GITHUB_PRIVATE_KEY": "-----BEGIN"}
    read_ = settings(tmp_path, f'[github]\nrepository = "acme/somas"\n{ESCALATION}', secrets)
    assert read_.github is not None
    assert read_.github.app_id == "17"
    assert wrong(tmp_path, f'[github]\nrepository = "acme/somas"\n{ESCALATION}', {"GITHUB_APP_ID": "17"})


class TestEnvironment:
    @pytest.mark.parametrize(
        ("variable", "text", "path", "value"),
        [
            ("OPSBOT_SERVER__PORT", "81", "server.port", 81),
            ("OPSBOT_SLACK__CHANNEL", "C0OTHER", "slack.channel", "C0OTHER"),
            ("OPSBOT_ACCESS__ADMINS", '["slack:U0SCOT"]', "access.admins", ("slack:U0SCOT",)),
            ("OPSBOT_ESCALATION__REPEAT__HIGH", "PT7M", "escalation.repeat.high", timedelta(minutes=7)),
        ],
    )
    def test_every_key_can_be_set(self, tmp_path: Path, variable: str, text: str, path: str, value: Any) -> None:
        found: Any = settings(tmp_path, f"{SMALLEST}[server]\nport = 9\n", {**SECRETS, variable: text})
        for part in path.split("."):
            found = getattr(found, part)
        assert found == value

    def test_a_product_too(self, tmp_path: Path) -> None:
        read_ = settings(tmp_path, SMALLEST, {**SECRETS, "OPSBOT_SUPERVISOR__TARGETS__PAYMENTS__SOCKET": "/run/p.sock"})
        product: Any = read_.products["supervisor"]
        assert product.targets["payments"].socket == Path("/run/p.sock")

    def test_everything_without_a_file(self) -> None:
        environment = {
            **SECRETS,
            "OPSBOT_SLACK__CHANNEL": "C0OPS",
            "OPSBOT_ESCALATION__CONTACT": "scot",
            "OPSBOT_PEOPLE": '{"scot": {"slack": "U0SCOT"}}',
        }
        assert read(None, environment, installed_products()).people["scot"].slack == "U0SCOT"

    @pytest.mark.parametrize(
        ("variable", "text", "said"),
        [
            (
                "OPSBOT_SERVER__PORT",
                "x",
                "server.port: must be a whole number (it is 'x'). Example: port = 8080",
            ),
            ("OPSBOT_SERVER__PRT", "81", "server.prt: is not a known key; did you mean 'port'?"),
            ("OPSBOT_SEVER__PORT", "81", "OPSBOT_SEVER__PORT: is not a known key; did you mean 'server'?"),
            (
                "OPSBOT_ACCESS__ADMINS",
                "slack:U0SCOT",
                "OPSBOT_ACCESS__ADMINS: a list or a section must be JSON in the environment (it is 'slack:U0SCOT'). "
                'Example: OPSBOT_ACCESS__ADMINS=\'["slack:U0SCOT", "github:scotlaclair"]\'',
            ),
            (
                "OPSBOT_PEOPLE",
                "scot",
                "OPSBOT_PEOPLE: a list or a section must be JSON in the environment (it is 'scot'). "
                'Example: OPSBOT_PEOPLE=\'{"scotlaclair": {"slack": "U0SCOT"}}\'',
            ),
            (
                "OPSBOT_SERVER",
                "abc",
                "OPSBOT_SERVER: a list or a section must be JSON in the environment (it is 'abc')",
            ),
        ],
    )
    def test_what_is_wrong_there_is_told_too(self, tmp_path: Path, variable: str, text: str, said: str) -> None:
        assert wrong(tmp_path, SMALLEST, {**SECRETS, variable: text}) == said

    def test_the_process_environment_is_left_as_it_was(self, tmp_path: Path) -> None:
        before = dict(os.environ)
        settings(tmp_path, SMALLEST, {**SECRETS, "OPSBOT_SERVER__PORT": "81"})
        wrong(tmp_path, SMALLEST, {**SECRETS, "OPSBOT_SERVER__PORT": "x"})
        assert dict(os.environ) == before

    def test_it_can_be_the_process_environment_itself(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in {**SECRETS, "OPSBOT_SERVER__PORT": "81"}.items():
            monkeypatch.setenv(name, value)
        assert settings(tmp_path, SMALLEST, os.environ).server.port == 81


class TestFile:
    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match=r"There is no file .*/no\.toml\. Give one with --config opsbot\.toml"):
            read(tmp_path / "no.toml", SECRETS, ())

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match="cannot be read: Is a directory"):
            read(tmp_path, SECRETS, ())

    def test_not_toml(self, tmp_path: Path) -> None:
        assert "is not valid TOML: " in wrong(tmp_path, "[slack\n")

    def test_not_text(self, tmp_path: Path) -> None:
        (tmp_path / "opsbot.toml").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(SettingsError, match=r"is not UTF-8 \(byte 0\); save it as UTF-8"):
            read(tmp_path / "opsbot.toml", SECRETS, ())


def test_the_example_file_is_right(tmp_path: Path) -> None:
    """Once its folder is there and the secrets are set, it can be used as it stands."""
    example = (Path(__file__).parents[1] / "docs/opsbot.example.toml").read_text()
    (tmp_path / ".somas/projects").mkdir(parents=True)
    read_ = settings(tmp_path, example.replace("/srv/somas", str(tmp_path)))
    assert set(read_.products) == {"somas", "supervisor"}
    assert read_.escalation.contact in read_.people
    uncommented = example.replace("/srv/somas", str(tmp_path)).replace("# [github]", "[github]")
    uncommented = uncommented.replace("# repository", "repository").replace("# poll_seconds", "poll_seconds")
    read_ = settings(tmp_path, uncommented, {**SECRETS, "GITHUB_TOKEN": "t"})
    assert read_.github is not None
