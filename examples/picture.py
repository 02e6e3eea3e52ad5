"""The demo's table as a picture for the README."""

from __future__ import annotations

import io
import re
from pathlib import Path

from rich.console import Console

from examples.table import Records, make_table, summary

#: Letters in a line: as wide as a README shows them without making them small.
COLUMNS = 100
_FONT = "DejaVu Sans Mono, Menlo, Consolas, monospace"


def write_svg(path: Path, records: Records) -> None:
    """Write the table and its last line; the same records give the same bytes.

    The picture names no other host: rich's fonts of the web and its comment are left out.
    """
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), color_system="truecolor")
    console.print(make_table(records))
    console.print(summary(records), style="bold", highlight=False)
    svg = console.export_svg(title="make demo", unique_id="demo")
    svg = re.sub(r"<!--.*?-->|@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    svg = svg.replace("Fira Code, monospace", _FONT)
    lines = (line.rstrip() for line in svg.splitlines())
    path.write_text("\n".join(line for line in lines if line) + "\n", encoding="utf-8")
