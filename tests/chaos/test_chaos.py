"""Jobs under faults on real processes: one record for every row, and killers alone are out."""

from __future__ import annotations

import pytest

from tests.chaos.__main__ import run
from tests.chaos.faults import FAULTS


@pytest.mark.timeout(400)
def test_every_kind_of_fault() -> None:
    report = run(seed=7, count=len(FAULTS), rows=200)
    assert report.made.keys() == FAULTS.keys()
    assert report.quarantined == 2 * report.rows // 200


@pytest.mark.full
@pytest.mark.timeout(1200)
def test_a_tenth_of_the_two_thousand() -> None:
    report = run(seed=8, count=200, rows=300)
    assert report.made.total() >= 190
