"""What every test starts from."""

from __future__ import annotations

import pytest
from hypothesis import settings

from bot.logs import configure

configure("WARNING", as_json=True)
# How long one example takes says more about the machine than about the code.
settings.register_profile("opsbot", deadline=None)
settings.load_profile("opsbot")

COMMITS_OF_A_RUN = 85  # a few more than there are, so that a longer run is noticed too


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--crash-points",
        choices=("some", "all"),
        default="some",
        help="before which commits of a run the bot is killed: every third one, or all",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "crash_point" in metafunc.fixturenames:
        step = 1 if metafunc.config.getoption("--crash-points") == "all" else 3
        metafunc.parametrize("crash_point", range(1, COMMITS_OF_A_RUN, step))
