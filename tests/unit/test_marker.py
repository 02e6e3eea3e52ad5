"""Names of done markers: counts go in and come out, whatever tasks call their warnings."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jobs.marker import Marker, marker_name, read_marker, told

COUNTS = st.integers(0, 10**6)
WARNINGS = st.dictionaries(
    st.one_of(st.text(max_size=60), st.from_regex(r"[a-z_0-9]{1,40}", fullmatch=True)),
    st.integers(1, 1024),
    max_size=20,
)


@given(shard=COUNTS, ok=COUNTS, error=COUNTS, quarantined=COUNTS, warnings=WARNINGS)
def test_what_goes_in_comes_out_and_fits_a_name(
    shard: int, ok: int, error: int, quarantined: int, warnings: dict[str, int]
) -> None:
    marker = Marker(shard, ok, error, quarantined, told(warnings))
    name = marker_name(marker)
    assert read_marker(name) == marker
    assert len(name.encode()) <= 255
    assert "/" not in name
    assert sum(marker.warnings.values()) == sum(warnings.values()), "no row is lost"


def test_names() -> None:
    assert marker_name(Marker(7, 2, 1, 0, {})) == "0000007-2-1-0"
    warned = Marker(7, 2, 1, 0, {"repetition": 2, "upscaled": 1})
    assert marker_name(warned) == "0000007-2-1-0-repetition.2-upscaled.1"


def test_the_most_frequent_are_told_by_name() -> None:
    assert told({"b": 1, "a": 1, "c": 3, "no word": 2, "other": 1}) == {
        "c": 3,
        "a": 1,
        "b": 1,
        "other": 3,
    }
    many = {f"{'w' * 30}{n}": n for n in range(1, 11)}
    assert list(told(many)) == [f"{'w' * 30}{n}" for n in (10, 9, 8, 7)] + ["other"]
