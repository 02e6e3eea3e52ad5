"""`mediamill run` on several engines, each in a process of its own."""

from __future__ import annotations

from pathlib import Path

import polars
import pytest

from tests.acceptance.commands import Mill, make_media, write_manifest


@pytest.mark.full
@pytest.mark.timeout(600)
def test_two_engines_make_one_record_a_row(tmp_path: Path) -> None:
    mill = Mill(tmp_path, {"MEDIAMILL_BROKER_URL": "redis://127.0.0.1:1/0"})
    media = make_media(tmp_path / "media", images=18, videos=2, sounds=2)
    rows = [{"id": f"r{n:02}", "uri": str(m.path)} for n, m in enumerate(media)]
    manifest = write_manifest(tmp_path / "rows.jsonl", rows)
    quick = ("--set", "max_tokens=4", "--set", "image_tokens=70")
    command = ("run", manifest, "--task", "caption", "--out", "out", "--engines", "2", *quick)
    done = mill.run(*command, timeout=400)
    assert done.returncode == 0, done.stderr
    # vLLM's release for CPUs says this before its logs can be set.
    known = ("caption: ", "Triton is installed, but")
    noise = [line for line in done.stderr.splitlines() if not line.startswith(known)]
    assert noise == [], "progress alone is told, and nothing of the libraries"
    records = polars.read_parquet(tmp_path / "out" / "data" / "*.parquet").sort("row_id").to_dicts()
    assert [record["row_id"] for record in records] == [row["id"] for row in rows]
    for record, medium in zip(records, media, strict=True):
        if medium.kind == "audio":
            assert record["error"]["kind"] == "wrong_kind"
            continue
        assert record["error"] is None or record["error"]["kind"] == "unparsable"
        assert [said["sha256"] for said in record["media"]] == [medium.sha256]
        assert record["usage"]["output_tokens"] > 0
    summary = mill.json("status", "out")
    assert (summary["state"], summary["rows"]["remaining"]) == ("done", 0)
