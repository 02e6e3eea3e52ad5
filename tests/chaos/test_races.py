"""Of several who write one object at once, exactly one wins, and its bytes are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.local import LocalStore
from storage.objects import StoreTraits, open_store, prove
from tests.chaos.races import Races, Tally, run


def on_a_disk(folder: Path, count: int, processes: int, threads: int, seed: int) -> Tally:
    uri = str(folder / "out")
    return run(Races(uri, prove(open_store(uri)), count, processes, threads, seed))


@pytest.mark.parametrize(("processes", "threads"), [(1, 8), (4, 2)])
def test_hundreds_of_races_on_a_disk(tmp_path: Path, processes: int, threads: int) -> None:
    tally = on_a_disk(tmp_path, 200, processes, threads, seed=3)
    assert tally.clean, tally


@pytest.mark.full
def test_ten_thousand_races_on_a_disk(tmp_path: Path) -> None:
    tally = on_a_disk(tmp_path, 10_000, 2, 2, seed=4)
    assert tally.clean, tally


def test_a_store_that_looks_and_then_writes_is_found_out(tmp_path: Path) -> None:
    # As many do that know no conditions; and so the races can be lost.
    uri = str(tmp_path / "out")
    LocalStore(tmp_path / "out", StoreTraits()).put("data/x", b"")
    tally = run(Races(uri, StoreTraits(unsafe=True), 60, 1, 8, seed=5))
    assert not tally.clean
    assert tally.more_winners
    assert tally.no_winner == []


def test_a_writer_that_fails_fails_the_races(tmp_path: Path) -> None:
    # A file where the folder has to be: nobody can write.
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(RuntimeError, match="writer"):
        run(Races(str(tmp_path / "out"), StoreTraits(), 4, 1, 2, seed=0))
