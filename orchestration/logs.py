"""Structured logs on standard error."""

from __future__ import annotations

import logging
import sys

from storage.log_lines import JsonFormatter, TextFormatter


def set_up_logs(level: str, style: str) -> None:
    """Send this project's logs at `level`, and libraries' errors, to standard error.

    At DEBUG libraries tell what they do as well, and Python's warnings are seen.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel("INFO" if level == "DEBUG" else "ERROR")
    # Warnings become logs of a library, at WARNING.
    logging.captureWarnings(True)
    for room in ("storage", "jobs", "workers", "orchestration"):
        logging.getLogger(room).setLevel(level)
