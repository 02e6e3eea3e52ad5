"""Lines of logs: text for people, JSON for machines.

Whatever is logged, libraries' words and tracebacks too, the secrets of URLs in it are not.
"""

from __future__ import annotations

import json
import logging
import time
from typing import Any

from storage.presigned import told


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    # Made anew each time: a library may have given the process records with more in them.
    own = vars(logging.makeLogRecord({})).keys() | {"message", "asctime", "taskName"}
    return {key: value for key, value in vars(record).items() if key not in own}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: at, level, logger, message, and the fields given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        line: dict[str, Any] = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return told(json.dumps(line, default=str))


class TextFormatter(logging.Formatter):
    """Time, level, message, then the `extra` fields as key=value."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        fields = " ".join(f"{k}={v}" for k, v in _extra(record).items() if k != "action")
        at = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = f"{at} {record.levelname:<7} {record.getMessage()}"
        if fields:
            line = f"{line}  {fields}"
        if record.exc_info:
            line = f"{line}\n{self.formatException(record.exc_info)}"
        return told(line)
