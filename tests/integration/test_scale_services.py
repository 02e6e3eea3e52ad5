"""The whole of `benchmarks.scale` at a small size, over a real Redis and an S3 server."""

from __future__ import annotations

import pytest

from benchmarks import scale

ROWS, SHARDS = 5_000, 80


def test_every_figure_is_there_and_means_what_it_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(scale, "SLOTS", (4, 30))
    figures = scale.run(ROWS, SHARDS)
    local, s3 = figures["submit"]["local"], figures["submit"]["s3"]
    assert (local["rows"], s3["rows"], local["requests"]) == (ROWS, ROWS, {})
    # The plan's files, the spec, and what proves that the store decides conditions.
    assert s3["requests"]["put_object"] == s3["files"] + 1 + 5
    few, many = figures["redis"][4], figures["redis"][30]
    assert (few["waiting"], few["held"]) == (16, 4)
    assert (many["waiting"], many["held"]) == (60, 30)
    for found in (few, many):
        messages = found["waiting"] + found["held"]
        assert found["keys"] > messages * found["message"]
    assert figures["status"]["status"]["shards"]["live"] == SHARDS // 2
    printed = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0].split(",")[0] for line in printed] == [
        "submit",
        "submit",
        "redis",
        "redis",
        "status",
    ]
