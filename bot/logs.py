"""What the bot tells its operators on standard error: one line per event, key=value or JSON."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

from bot.redaction import redact


def configure(level: str = "INFO", *, as_json: bool | None = None) -> None:
    """Set up the log. Without ``as_json``: colours on a terminal, JSON lines for a collector."""
    if as_json is None:
        as_json = not sys.stderr.isatty()
    console = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    last = structlog.processors.JSONRenderer() if as_json else console
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info if as_json else structlog.processors.StackInfoRenderer(),
            last,
            _without_secrets,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level)),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(
        level=max(logging.WARNING, getattr(logging, level)),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    logging.getLogger("aiohttp.server").addFilter(_in_one_line)
    for handler in logging.getLogger().handlers:
        if not isinstance(handler.formatter, _Formatter):
            handler.setFormatter(_Formatter(handler.formatter))


def _without_secrets(_logger: Any, _method: str, line: Any) -> str:
    """The last of the processors: whatever a line was made of, it is looked at as it is written."""
    return redact(str(line))


def _in_one_line(record: logging.LogRecord) -> bool:
    """What is no HTTP comes from anybody who finds the port: a line each, not a traceback each."""
    from aiohttp.http_exceptions import BadHttpMessage

    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, BadHttpMessage):
        record.exc_info = None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.msg = f"{record.getMessage()}: {' '.join(str(error).split())[:120]!r}"
        record.args = ()
    return True


class _Formatter(logging.Formatter):
    """The same for what libraries log."""

    def __init__(self, inner: logging.Formatter | None) -> None:
        super().__init__()
        self._inner = inner or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        return redact(self._inner.format(record))
