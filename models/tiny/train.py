"""Train the tiny model on one GPU: `python -m models.tiny.train --out FOLDER`.

Data are drawn by worker processes for as long as training runs, lie on the GPU, and are
drawn anew; layers are compiled, batches recorded as CUDA graphs; the learning rate follows
the clock, so that the run ends on time. `--resume` goes on from `FOLDER/state.pt`. The
folder gets the checkpoint as it stands every two minutes and at the end.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from models.tiny.batches import Batches, Shape
from models.tiny.build import write_files, write_parameters
from models.tiny.gather import FOLDER
from models.tiny.lessons import ENOUGH, SHAPES, STOCKS, Ahead, draw, small, smaller
from models.tiny.log import Log
from models.tiny.losses import Trainee
from models.tiny.muon import Muon
from models.tiny.network import audio, text, vision
from models.tiny.pool import Pool
from models.tiny.store import Store

PEAK_RATE = 2e-3
WARM_UP = 400


@dataclass(frozen=True, slots=True)
class Run:
    """What one run is told."""

    out: Path
    folder: Path
    minutes: float
    workers: int
    seed: int
    device: str
    compiled: bool
    recorded: bool
    resume: bool
    small: bool
    rate: float
    start: Path | None
    people: bool


def main() -> None:
    """Read the arguments and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of models.tiny.gather")
    parser.add_argument(
        "--minutes", type=float, default=23.0, help="of training, compiling counted"
    )
    parser.add_argument("--workers", type=int, default=13)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rate", type=float, default=PEAK_RATE)
    parser.add_argument("--no-compile", dest="compiled", action="store_false")
    parser.add_argument("--no-record", dest="recorded", action="store_false")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--start", type=Path, help="a checkpoint folder to take the weights of")
    parser.add_argument(
        "--no-people", dest="people", action="store_false", help="without the human recordings"
    )
    parser.add_argument("--small", action="store_true", help="a trial with tiny batches")
    train(Run(**vars(parser.parse_args())))


def train(run: Run) -> None:
    """Train until the time is up and write the checkpoint."""
    begun = time.monotonic()
    torch.manual_seed(run.seed)
    # Workers are forked, so before the GPU is touched.
    stocks = [small(stock) for stock in STOCKS] if run.small else list(STOCKS)
    pool = Pool(stocks, run.folder, run.seed, run.workers, people=run.people)
    try:
        _train(run, pool, begun)
    finally:
        pool.close()


def _train(run: Run, pool: Pool, begun: float) -> None:
    device = torch.device(run.device)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    run.out.mkdir(parents=True, exist_ok=True)
    store = Store(pool, device)
    batches = Batches(store, run.seed)
    trainee = Trainee(device, run.seed)
    optimizers = _optimizers(trainee, run)
    step = 0
    if run.resume:
        # Weights and moments go on; the rate warms up anew and follows this run's clock.
        state = torch.load(run.out / "state.pt", map_location=device, weights_only=True)
        trainee.load_state_dict(state["trainee"])
        for optimizer, kept in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        step = state["step"]
    elif run.start is not None:
        load(trainee, run.start)
    if run.compiled:
        compile_layers()
    write_files(run.out)
    shapes = {k: smaller(s) for k, s in SHAPES.items()} if run.small else SHAPES
    log = Log(run.out / "log.jsonl", begun)
    while min(store.share(stock.name) for stock in pool.stocks.values()) < ENOUGH:
        store.refill(5.0)
    log.write(event="data", chunks=store.chunks)
    # Before any backward: recorded ones add to gradients that are there, and keep no others.
    for parameter in trainee.parameters():
        parameter.grad = torch.zeros_like(parameter)
    if run.recorded:
        memory = torch.cuda.graph_pool_handle()
        for name, shape in shapes.items():
            trainee.record(name, draw(batches, name, shape), memory)
            log.write(event="recorded", name=name)
    # The rate and the share of time count from here on.
    started = time.monotonic()
    left = 60 * run.minutes - (started - begun)
    first, saved, told, tested = step, started, started, started
    ahead = Ahead(store, batches, shapes, lambda: (time.monotonic() - started) / left, first)
    while (progress := (time.monotonic() - started) / left) < 1:
        rate = run.rate * _schedule(progress, step - first)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        losses = {}
        for name, batch in ahead.take():
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                parts = trainee(batch, name)
                loss = sum(v for k, v in parts.items() if k != "exact")
            loss.backward()
            losses[name] = {k: v.detach() for k, v in parts.items()}
        norm = torch.nn.utils.clip_grad_norm_(trainee.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)
        step += 1
        now = time.monotonic()
        log.add(losses, norm)
        if now - told > 10:
            log.tell(step, rate, store.chunks)
            told = now
        if now - tested > 100:
            log.write(event="held", step=step, **examine(trainee, batches, shapes, device))
            tested = time.monotonic()
        if now - saved > 120:
            save(run.out, trainee, optimizers, step)
            saved = time.monotonic()
    ahead.close()
    log.tell(step, 0.0, store.chunks)
    save(run.out, trainee, optimizers, step)
    log.write(event="held", step=step, **examine(trainee, batches, shapes, device, count=4))
    log.write(event="end", step=step)


# Not compiled: without gradients every graph would be another one.
@torch.compiler.set_stance("force_eager")
@torch.no_grad()
def examine(
    trainee: Trainee,
    batches: Batches,
    shapes: dict[str, Shape],
    device: torch.device,
    count: int = 1,
) -> dict[str, float]:
    """On held-out data: nats a token, and the share of answers that greedy decoding would give.

    A row counts as exact if every token is the likeliest given those before it, which
    is when greedy decoding gives the whole answer.
    """
    trainee.eval()
    found: dict[str, float] = {}
    for name in ("p70", "p280", "speech", "long"):
        for seed in range(count):
            batch = draw(batches, name, shapes[name], "-held", seed)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                losses = trainee(batch)
            for key in ("answer", "exact"):
                value = losses[key].item() / count
                found[f"{name}_{key}"] = round(found.get(f"{name}_{key}", 0.0) + value, 4)
    trainee.train()
    return found


def save(
    out: Path, trainee: Trainee, optimizers: Sequence[torch.optim.Optimizer], step: int
) -> None:
    """Write the checkpoint, and the state from which a run can go on."""
    write_parameters(out, trainee.gemma.checkpoint())
    save_file(trainee.helpers.state_dict(), out / "helpers.safetensors")
    state = {
        "trainee": trainee.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "step": step,
    }
    torch.save(state, out / "state.tmp")
    (out / "state.tmp").replace(out / "state.pt")


def load(trainee: Trainee, folder: Path) -> None:
    """Take the weights of a checkpoint, and of the helpers where they lie beside it."""
    tensors = {}
    for path in folder.glob("model-*.safetensors"):
        tensors.update(load_file(path))
    trainee.gemma.load_checkpoint(tensors)
    helpers = folder / "helpers.safetensors"
    if helpers.exists():
        trainee.helpers.load_state_dict(load_file(helpers))


def compile_layers() -> None:
    """Compile one layer of each kind, for all layers of its kind share their code.

    Attention stays outside: it is fast as it is, and alone in depending on rows.
    """
    torch._dynamo.config.recompile_limit = 64
    for kind, names in (
        (vision._Layer, ("read", "go_on")),
        (text._Layer, ("ask", "read", "go_on")),
        (audio._Layer, ("forward",)),
        (audio._SubsampleLayer, ("activate",)),
    ):
        for name in names:
            setattr(kind, name, torch.compile(getattr(kind, name), dynamic=False))


def _optimizers(trainee: Trainee, run: Run) -> list[torch.optim.Optimizer]:
    """Muon for what the layers multiply by, AdamW for tables, heads, convolutions and scales."""
    named = dict(trainee.named_parameters())
    matrices = {
        name: p
        for name, p in named.items()
        if p.ndim == 2 and "embed_tokens" not in name and not name.startswith("helpers.")
    }
    others = [p for name, p in named.items() if name not in matrices]
    fused = run.device == "cuda"
    return [
        Muon(matrices.values(), run.rate, weight_decay=0.02),
        torch.optim.AdamW(
            others, run.rate, betas=(0.9, 0.98), eps=1e-9, weight_decay=0.0, fused=fused
        ),
    ]


def _schedule(progress: float, steps: int) -> float:
    """Share of the peak rate: a linear start in steps, then a cosine over the clock to 1%."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return min(1.0, (steps + 1) / WARM_UP) * (0.01 + 0.99 * cosine)


if __name__ == "__main__":
    main()
