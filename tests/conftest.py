"""What every test starts from."""

from __future__ import annotations

import pytest
from _pytest.terminal import TerminalReporter
from hypothesis import settings

from bot.logs import configure
from tests.postgresql import Server, postgresql
from tests.real_supervisor.build import NOT_TESTED

configure("WARNING", as_json=True)
# How long one example takes says more about the machine than about the code.
settings.register_profile("opsbot", deadline=None)
settings.load_profile("opsbot")

__all__ = ["Server", "postgresql"]

COMMITS_OF_A_RUN = 52  # a few more than there are, so that a longer run is noticed too


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--crash-points",
        choices=("some", "all"),
        default="some",
        help="before which commits of a run the bot is killed: a few, or all",
    )
    chaos = parser.getgroup("chaos", "tests/crash/test_chaos.py")
    chaos.addoption("--chaos-runs", type=int, default=8, help="how many runs")
    chaos.addoption("--chaos-kills", type=int, default=3, help="how often the bot is killed")
    chaos.addoption("--chaos-seed", type=int, default=4, help="of everything that is random")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "crash_point" in metafunc.fixturenames:
        every = {"sqlite": 1, "postgresql": 1}
        if metafunc.config.getoption("--crash-points") == "some":
            every = {"sqlite": 3, "postgresql": 5}
        points = [
            pytest.param(kind, point, id=f"{kind}-{point}")
            for kind, step in every.items()
            for point in range(1, COMMITS_OF_A_RUN, step)
        ]
        metafunc.parametrize(("database_kind", "crash_point"), points)


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """What was not tested on the real thing is said where nobody overlooks it: at the very end."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = [report.longrepr[2] for report in skipped if isinstance(report.longrepr, tuple)]
    untested = [reason.removeprefix("Skipped: ") for reason in reasons if NOT_TESTED in reason]
    for reason in dict.fromkeys(untested):
        terminalreporter.write_sep("!", f"{untested.count(reason)} tests", red=True, bold=True)
        terminalreporter.write_line(reason, red=True, bold=True)
