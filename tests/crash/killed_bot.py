"""``python -m tests.crash.killed_bot opsbot.toml N``: the bot, killed by SIGKILL when it is about to commit once more.

It is killed before its Nth commit.

Commits are counted from the first command on, the bot's own and the durable engine's alike; their number is written to
``commits`` beside the configuration. 0: it is never killed.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import threading
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bot.cli import run
from bot.inbox_file import InboxFile


def main() -> None:
    config, kill_at = Path(sys.argv[1]), int(sys.argv[2])
    counted = 0
    armed = False
    counting = threading.Lock()
    record, writing = config.with_name("commits"), config.with_name("commits.writing")

    @sa.event.listens_for(sa.engine.Engine, "before_cursor_execute")
    def _arm(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        nonlocal armed
        armed = armed or statement.startswith("INSERT INTO opsbot_inbox")

    @sa.event.listens_for(sa.engine.Engine, "commit")
    def _count(_: Any) -> None:
        nonlocal counted
        if not armed:
            return
        with counting:  # the engine and the bot commit in threads of their own
            counted += 1
            writing.write_text(str(counted))
            writing.replace(record)  # whoever reads it never finds it empty
            if counted == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    def _traced(statement: str) -> None:
        """The inbox writes past SQLAlchemy, on a connection of its own."""
        nonlocal armed
        armed = armed or statement.startswith("INSERT INTO opsbot_inbox")
        if statement == "COMMIT":
            _count(None)

    connect = InboxFile._connect

    def _connected(inbox: InboxFile) -> sqlite3.Connection:
        connection = connect(inbox)
        connection.set_trace_callback(_traced)
        return connection

    setattr(InboxFile, "_connect", _connected)  # noqa: B010 mypy knows no other way to watch a method
    sys.exit(run(config=config, log="WARNING"))


if __name__ == "__main__":
    main()
