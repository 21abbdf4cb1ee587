"""``python -m tests.crash.line_bot opsbot.toml``: the bot with the product of ``line.py`` alone."""

from __future__ import annotations

import sys
from pathlib import Path

import bot.app
from bot.cli import run
from tests.crash.line import product

if __name__ == "__main__":
    bot.app.installed_products = lambda: [product]
    sys.exit(run(config=Path(sys.argv[1]), log="INFO"))
