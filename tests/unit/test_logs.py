"""Logs: ours at the level that was asked for, and no noise of others."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from orchestration.app import MEMORY_URL, make_app
from orchestration.logs import set_up_logs
from storage.log_lines import JsonFormatter, TextFormatter
from tests.unit.mortal import TEMPO


def tell() -> None:
    """Say something at every level, as a room of ours, as a library, and as Python."""
    for logger in (logging.getLogger("workers.x"), logging.getLogger("library")):
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
            logger.log(level, "%s %s", logger.name, logging.getLevelName(level))
    warnings.showwarning("python WARNING", FutureWarning, "x.py", 1)


@pytest.mark.parametrize(
    ("level", "ours", "theirs"),
    [
        ("DEBUG", ["DEBUG", "INFO", "WARNING", "ERROR"], ["INFO", "WARNING", "ERROR"]),
        ("INFO", ["INFO", "WARNING", "ERROR"], ["ERROR"]),
        ("WARNING", ["WARNING", "ERROR"], ["ERROR"]),
    ],
)
def test_libraries_are_calm_unless_somebody_debugs(
    capsys: pytest.CaptureFixture[str], level: str, ours: list[str], theirs: list[str]
) -> None:
    set_up_logs(level, "text")
    tell()
    said = capsys.readouterr().err
    assert [w for w in ("DEBUG", "INFO", "WARNING", "ERROR") if f"workers.x {w}" in said] == ours
    assert [w for w in ("DEBUG", "INFO", "WARNING", "ERROR") if f"library {w}" in said] == theirs
    assert ("python WARNING" in said) == (level == "DEBUG")


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_fields_are_those_given_and_not_what_a_library_put_on_every_record(
    formatter: logging.Formatter,
) -> None:
    plain: Callable[..., Any] = logging.getLogRecordFactory()

    def marked(*args: Any, **options: Any) -> logging.LogRecord:
        record: logging.LogRecord = plain(*args, **options)
        record.library_process = "MainProcess"
        return record

    logging.setLogRecordFactory(marked)
    logger = logging.getLogger("workers.x")
    record = logger.makeRecord("w", 20, "f", 1, "done", (), None, extra={"shard": 7})
    said = formatter.format(record)
    assert "library_process" not in said
    if isinstance(formatter, JsonFormatter):
        assert json.loads(said)["shard"] == 7
    else:
        assert said.endswith("done  shard=7")


def test_nobody_warns_about_the_queue_of_one_process(caplog: pytest.LogCaptureFixture) -> None:
    with make_app(MEMORY_URL, TEMPO).connection_for_write() as connection:
        connection.ensure_connection()
        assert connection.as_uri().startswith("memory://")
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []
