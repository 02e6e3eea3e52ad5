"""`mediamill run` over what people have: documents beside images."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.acceptance.commands import Mill, make_media
from tests.paper import pdf

QUICK = ("--set", "max_tokens=4", "--set", "image_tokens=70")


@pytest.fixture
def alone(tmp_path: Path) -> Mill:
    """The command with no service at all."""
    return Mill(tmp_path, {"MEDIAMILL_BROKER_URL": "redis://127.0.0.1:1/0"})


def test_a_document_is_read_page_by_page(alone: Mill) -> None:
    folder = alone.folder / "media"
    make_media(folder, images=1, videos=0, sounds=0)
    (folder / "two.pdf").write_bytes(pdf("Exit", "Gate 4"))
    (folder / "locked.pdf").write_bytes(pdf("Exit", password="x"))
    look = alone.json("run", folder, "--task", "ocr", "--out", "out", *QUICK)
    assert look["rows"]["total"] == 3
    table = pq.read_table(alone.folder / "out" / "data")
    found = {row["row_id"]: row for row in table.to_pylist()}
    image, locked, two = found["image-0.jpg"], found["locked.pdf"], found["two.pdf"]
    assert (image["status"], image["pages"]) == ("ok", None)
    assert (locked["status"], locked["error"]["kind"]) == ("error", "forbidden")
    assert two["status"] == "ok"
    assert [page["page"] for page in two["pages"]] == [1, 2]
    assert two["text"] == "\n\n".join(filter(None, (page["text"] for page in two["pages"])))
    assert (two["media"][0]["kind"], two["media"][0]["pages"]) == ("document", 2)
