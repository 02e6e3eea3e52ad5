"""Jobs under faults on real processes: one record for every row, and killers alone are out."""

from __future__ import annotations

import pytest

from tests.chaos.__main__ import run
from tests.chaos.faults import FAULTS

#: Of a job of the short test.
ROWS = 250


@pytest.mark.timeout(1200)
def test_every_kind_of_fault() -> None:
    # Few workers, long jobs, many at once: what takes time is the start of processes after deaths.
    report = run(seed=161, count=len(FAULTS), rows=ROWS, poison=1, workers=2, together=(3, 4))
    assert report.made.keys() == FAULTS.keys()
    # Not the one without faults.
    assert report.rows == ROWS * (report.jobs - 1)
    assert report.quarantined == report.jobs - 1


@pytest.mark.full
@pytest.mark.timeout(2400)
def test_a_tenth_of_the_two_thousand() -> None:
    report = run(seed=8, count=200, rows=600)
    assert report.made.total() >= 190
