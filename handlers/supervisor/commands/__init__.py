"""``/supervisor …``: what people type, by what it does: looking, changing, procedures."""

from bot.reports.commands import add_report_commands
from handlers.supervisor.commands import changing, looking, procedures  # they register their commands
from handlers.supervisor.commands.group import supervisor

add_report_commands(supervisor)

__all__ = ["changing", "looking", "procedures", "supervisor"]
