"""What a service writes to its log: facts about requests, never their tokens, never SQL."""

from __future__ import annotations

import json
import logging
import time
from typing import Any


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        """See ``logging.Formatter``."""
        said: dict[str, Any] = {
            "time": f"{self.formatTime(record, '%Y-%m-%dT%H:%M:%S')}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **fields(record),
        }
        if record.exc_info:
            said["error"] = self.formatException(record.exc_info)
        return json.dumps(said, ensure_ascii=False)


class TextLines(logging.Formatter):
    """For people who watch."""

    def format(self, record: logging.LogRecord) -> str:
        """See ``logging.Formatter``."""
        more = fields(record)
        line = f"{self.formatTime(record, '%H:%M:%S')} {record.levelname.lower():7} {record.getMessage()}"
        if "status" in more:
            line += f" {more['status']} {more['ms']} ms {more['user'] or ''}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """What a record says beside its message."""
    found: dict[str, Any] = getattr(record, "fields", {})
    return {name: value for name, value in found.items() if value is not None}
