"""What every unit test leaves as it was: the logging of the whole process."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

_NAMES = (None, "storage", "jobs", "workers", "orchestration")


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """Commands set up the logs of their process; in a test that is everybody's."""
    handlers = logging.getLogger().handlers[:]
    levels = {name: logging.getLogger(name).level for name in _NAMES}
    factory = logging.getLogRecordFactory()
    yield
    logging.captureWarnings(False)
    logging.setLogRecordFactory(factory)
    logging.getLogger().handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
