"""Parts of a row: which of them is asked about, and that none is asked about again."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest
from pydantic import ValidationError

from jobs.tasks import TASKS, get_task
from jobs.tasks.base import TaskOptions
from tests.unit.row_bench import Build, benches


@pytest.fixture
def bench() -> Iterator[Build]:
    with benches() as build:
        yield build


def test_columns_say_which_part_of_a_row_is_decoded(bench: Build) -> None:
    b = bench(
        "video:95",
        "image:a",
        "video:20",
        "video:20",
        options={"summary": False},
        columns={
            "start_s": pa.array([60.0, 5.0, None, 9.0]),
            "end_s": pa.array(["90.5", None, "10", "7"]),
        },
        from_columns=("start_s", "end_s"),
    )
    first, image, third, fault = b.make_all()
    assert [record.status for record in (first, image, third)] == ["ok", "ok", "ok"]
    asked = {(reading.start_s, reading.end_s) for reading in b.decoders.readings}
    assert asked == {(60.0, 90.5), (5.0, None), (0.0, 10.0)}
    assert fault.error is not None
    assert fault.error["kind"] == "invalid_row"
    assert "end_s: 7 is not after start_s, 9" in fault.error["message"]


@pytest.mark.parametrize("values", [{"start_s": -1}, {"end_s": 0}, {"start_s": "nan"}])
def test_times_are_of_the_medium(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TaskOptions.model_validate(values)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_task_decodes_the_part_that_is_wanted(name: str) -> None:
    task = get_task(name)
    values = dict.fromkeys(task.required, "x")
    options = task.Options.model_construct(**values).model_copy(
        update={"start_s": 2.0, "end_s": 9.0, "windows": "scenes"}
    )
    reading = task.reading(options, frozenset({"image", "video", "audio"}))
    assert (reading.start_s, reading.end_s, reading.windows) == (2.0, 9.0, "scenes")


def test_only_missing_images_are_asked_again(bench: Build) -> None:
    uris = [f"image:{number}" for number in range(5)]
    b = bench(uris, task="ocr")
    (whole,) = b.make_all()
    images, b.finished = b.finished, []
    assert sorted(done.span.media_index for done in images) == [0, 1, 2, 3, 4]
    b.engine.asked.clear()
    (record,) = b.make_all(earlier=[done for done in images if done.span.media_index != 3])
    assert [request.piece.span.media_index for request in b.engine.asked] == [3]
    assert (record.raw, record.media, record.warnings) == (whole.raw, whole.media, whole.warnings)
