"""How well the tiny model answers: `python -m models.tiny.evaluate --out FOLDER`.

Draws held-out data, has the pipeline answer them (manifest in, Parquet out, one engine
on this machine), scores the records, prints the table and writes FOLDER/scores.json.
FOLDER keeps media, manifests and records for a look, and is made anew each time.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

from rich.console import Console

from models.tiny.build import CHECKPOINT
from models.tiny.evaluation import report, running
from models.tiny.evaluation.kinds import KINDS, Kind
from models.tiny.evaluation.report import Line
from models.tiny.evaluation.sabotage import SABOTAGED
from models.tiny.evaluation.sources import Sources

#: Marks a folder as one of ours, that may be removed.
STAMP = ".evaluation"


def main() -> None:
    """Read the arguments and evaluate."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = [*KINDS, *SABOTAGED]
    parser.add_argument("--model", default=str(CHECKPOINT), help="a checkpoint's folder")
    parser.add_argument("--out", type=Path, required=True, help="a folder that is made anew")
    parser.add_argument("--kinds", help=f"some of {','.join(known)}; default: all but the broken")
    parser.add_argument("--few", action="store_true", help="the small evaluation of the tests")
    parser.add_argument("--items", type=int, help="of each kind at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--dtype", default="float32", choices=("float32", "bfloat16", "auto"), help="of the engine"
    )
    parser.add_argument(
        "--same", type=int, help="answers held against transformers'; default 300, none with --few"
    )
    arguments = parser.parse_args()
    kinds = chosen(arguments.kinds, few=arguments.few)
    counts = {kind.name: kind.few if arguments.few else kind.items for kind in kinds}
    if none := [name for name, count in counts.items() if not count]:
        parser.error(f"the small evaluation draws no {', '.join(none)}: leave --few out")
    if arguments.items is not None:
        counts = {name: min(count, arguments.items) for name, count in counts.items()}
    same = (0 if arguments.few else 300) if arguments.same is None else arguments.same
    if same and arguments.dtype != "float32":
        if arguments.same:
            parser.error("--same holds in float32 alone: leave --dtype out")
        same = 0
    model = str(Path(arguments.model).resolve())
    evaluate(kinds, counts, model, arguments.out, arguments.seed, arguments.dtype, same)
    sys.stdout.flush()
    sys.stderr.flush()
    # Libraries leave threads behind that the interpreter would wait for.
    os._exit(0)


def chosen(names: str | None, *, few: bool) -> list[Kind]:
    """The kinds named, or else all of KINDS (`few`: those that the small evaluation draws)."""
    if names is None:
        return [kind for kind in KINDS.values() if kind.few or not few]
    known = KINDS | {name: kind for name, (kind, _) in SABOTAGED.items()}
    wanted = [name.strip() for name in names.split(",")]
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        raise SystemExit(f"unknown kind {', '.join(unknown)}; known: {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(wanted)]


def evaluate(
    kinds: list[Kind],
    counts: dict[str, int],
    model: str,
    out: Path,
    seed: int,
    dtype: str,
    same: int,
) -> list[Line]:
    """Draw, run, score and report; returns the lines of the table."""
    console = Console(soft_wrap=False)
    begun = time.monotonic()
    renew(out)
    sources = Sources()
    for kind in kinds:
        with console.status(f"drawing {kind.name}"):
            running.draw(kind, seed, counts[kind.name], sources, out)
    drawn = time.monotonic()
    specs = [running.job(kind, model, out) for kind in kinds]
    running.run(specs, {} if dtype == "auto" else {"dtype": dtype})
    asked = time.monotonic()
    records = [(kind, out / kind.name / "media", running.answered(out, kind)) for kind in kinds]
    lines = [
        Line(kind.name, measure, measure.score(answers))
        for kind, _, answers in records
        for measure in kind.measures
    ]
    if same:
        from models.tiny.evaluation.same import SAME, compare

        with console.status(f"asking transformers {same} times"):
            lines.append(Line("same", SAME, compare(model, records, same, seed)))
    report.show(console, lines)
    seconds = {
        "drawing": round(drawn - begun),
        "asking": round(asked - drawn),
        "scoring": round(time.monotonic() - asked),
    }
    lineage = records[0][2][0].record["lineage"]
    how = {
        "model": lineage["model_revision"],
        "engine": lineage["engine"],
        "dtype": dtype,
        "seed": seed,
        "seconds": seconds,
        "output_tokens": sum(
            answer.record["usage"]["output_tokens"] for _, _, found in records for answer in found
        ),
    }
    report.write(out / "scores.json", lines, how)
    console.print(f"{out / 'scores.json'}; seconds: {seconds}", highlight=False)
    return lines


def renew(out: Path) -> None:
    """An empty folder; what an earlier evaluation left there is removed, other files never."""
    if out.is_dir() and any(out.iterdir()) and not (out / STAMP).exists():
        raise SystemExit(f"{out} holds files of others; name an empty folder")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / STAMP).touch()


if __name__ == "__main__":
    main()
