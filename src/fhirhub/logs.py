"""Log lines: JSON for machines, plain for a terminal, both on stderr.

Built on the standard logging module, whose records every library writes; whatever ``extra`` a call gives becomes
fields of the line. Nothing of a resource's content is ever logged.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any

import orjson

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """What a call gave as ``extra``."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def stamp(seconds: float) -> str:
    """An instant as log lines write it: UTC, milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, event, the extra fields, traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line = {
            "time": stamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        } | fields(record)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class HumanLines(logging.Formatter):
    """``12:00:00.123 warning  event  name=value``, then the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        extra = "".join(f"  {name}={value}" for name, value in fields(record).items())
        line = f"{stamp(record.created)[11:23]} {record.levelname.lower():8} {record.getMessage()}{extra}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def is_json(format: str) -> bool:
    """Whether the setting 'auto', 'json' or 'human' means JSON here."""
    return format == "json" or (format == "auto" and not sys.stderr.isatty())


def configure(level: str, format: str) -> None:
    """Send every logger's lines to stderr; 'auto' is human on a terminal and JSON elsewhere."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if is_json(format) else HumanLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Servers and drivers tell about every connection at level info.
    for name in ("uvicorn", "uvicorn.error", "granian", "_granian", "asyncio", "httpx", "alembic"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
