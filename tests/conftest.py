"""What every test starts from."""

from __future__ import annotations

from bot.logs import configure

configure("WARNING", as_json=True)
