"""Train the tiny model on one GPU: `python -m models.tiny.train --out FOLDER --minutes 19`.

Data are drawn by worker processes for as long as training runs, lie on the GPU, and
are drawn anew; layers are compiled; the learning rate follows the clock, so that the
run ends on time. `--resume` goes on from `FOLDER/state.pt`. The folder gets the
checkpoint as it stands every two minutes and at the end.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from models.tiny.batches import Batch, Shape, Store
from models.tiny.build import write_files, write_parameters
from models.tiny.gather import FOLDER
from models.tiny.losses import Trainee
from models.tiny.network import audio, text, vision
from models.tiny.pool import Pool, Stock

STOCKS = (
    Stock("p70", "picture", 10_240, 64, 70, signs=0.04, questions=2),
    Stock("p140", "picture", 3_072, 32, 140, texts=0.25, signs=0.05, questions=3),
    Stock("p280", "picture", 6_144, 32, 280, texts=0.25, signs=0.06, questions=5),
    Stock("film", "film", 1_024, 16),
    Stock("speech", "speech", 20_480, 128),
    Stock("p70-held", "picture", 192, 32, 70, questions=2, held=True),
    Stock("p280-held", "picture", 192, 32, 280, texts=0.25, signs=0.1, questions=2, held=True),
    Stock("film-held", "film", 48, 16, held=True),
    Stock("speech-held", "speech", 256, 64, held=True),
)
#: All of 46,080 tokens and, of pictures, 60,480 patches: compiled code serves them all.
SHAPES = {
    "p70": Shape(96, 160, 288, 9_600),
    "p140": Shape(48, 120, 384, 8_000),
    "p280": Shape(24, 90, 512, 6_400),
    "speech": Shape(128, 128, 360, 4_200),
    "long": Shape(12, 48, 960, 5_600),
}
#: What a step is made of, early and late: pictures first small, then as they are asked about.
EARLY = (("p280",), ("long",), ("p70",), ("p140",), ("long",), ("p70",))
LATE = (("p70",), ("long",), ("p280",), ("p140",), ("long",), ("p280",))
EARLY_SHARE = 0.4
PEAK_RATE = 1.7e-3
WARM_UP = 400
#: Of a stock, what must be drawn before the first step.
ENOUGH = 0.04


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


def main() -> None:
    """Read the arguments and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of models.tiny.gather")
    parser.add_argument(
        "--minutes", type=float, default=19.0, help="of training, compiling counted"
    )
    parser.add_argument("--workers", type=int, default=13)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rate", type=float, default=PEAK_RATE)
    parser.add_argument("--no-compile", dest="compiled", action="store_false")
    parser.add_argument("--no-record", dest="recorded", action="store_false")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--start", type=Path, help="a checkpoint folder to take the weights of")
    parser.add_argument("--small", action="store_true", help="a trial with tiny batches")
    train(Run(**vars(parser.parse_args())))


def train(run: Run) -> None:
    """Train until the time is up and write the checkpoint."""
    begun = time.monotonic()
    torch.manual_seed(run.seed)
    # Workers are forked, so before the GPU is touched.
    stocks = [_small(stock) for stock in STOCKS] if run.small else list(STOCKS)
    pool = Pool(stocks, run.folder, run.seed, run.workers)
    try:
        _train(run, pool, begun)
    finally:
        pool.close()


def _train(run: Run, pool: Pool, begun: float) -> None:
    device = torch.device(run.device)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    run.out.mkdir(parents=True, exist_ok=True)
    store = Store(pool, device, run.seed)
    trainee = Trainee(device, run.seed)
    optimizer = _optimizer(trainee, run)
    step = 0
    if run.resume:
        # Weights and moments go on; the rate warms up anew and follows this run's clock.
        state = torch.load(run.out / "state.pt", map_location=device, weights_only=True)
        trainee.load_state_dict(state["trainee"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
    elif run.start is not None:
        load(trainee, run.start)
    if run.compiled:
        compile_layers()
    write_files(run.out)
    shapes = {k: _smaller(s) for k, s in SHAPES.items()} if run.small else SHAPES
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
            trainee.record(name, draw(store, name, shape), memory)
            log.write(event="recorded", name=name)
    # The rate and the share of time count from here on.
    started = time.monotonic()
    left = 60 * run.minutes - (started - begun)
    first, saved, told, tested = step, started, started, started
    ahead = Ahead(store, shapes, lambda: (time.monotonic() - started) / left, first)
    while (progress := (time.monotonic() - started) / left) < 1:
        rate = run.rate * _schedule(progress, step - first)
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
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        step += 1
        now = time.monotonic()
        log.add(losses, norm)
        if now - told > 10:
            log.tell(step, rate, store.chunks)
            told = now
        if now - tested > 100:
            log.write(event="held", step=step, **examine(trainee, store, shapes, device))
            tested = time.monotonic()
        if now - saved > 120:
            save(run.out, trainee, optimizer, step)
            saved = time.monotonic()
    ahead.close()
    log.tell(step, 0.0, store.chunks)
    save(run.out, trainee, optimizer, step)
    log.write(event="held", step=step, **examine(trainee, store, shapes, device, batches=4))
    log.write(event="end", step=step)


class Ahead:
    """Draws the batches of coming steps in a thread, while the GPU is waited for."""

    def __init__(
        self, store: Store, shapes: dict[str, Shape], progress: Callable[[], float], step: int
    ) -> None:
        self._store = store
        self._shapes = shapes
        self._progress = progress
        self._step = step
        self._thread = ThreadPoolExecutor(1)
        self._drawn = deque(self._thread.submit(self._draw) for _ in range(2))

    def take(self) -> list[tuple[str, Batch]]:
        """The batches of the next step by name."""
        self._drawn.append(self._thread.submit(self._draw))
        return self._drawn.popleft().result()

    def close(self) -> None:
        """Draw no more."""
        self._thread.shutdown(cancel_futures=True)

    def _draw(self) -> list[tuple[str, Batch]]:
        self._store.refill()
        names = plan(self._step, self._progress())
        self._step += 1
        return [(name, draw(self._store, name, self._shapes[name])) for name in names]


def plan(step: int, progress: float) -> tuple[str, ...]:
    """The batches of one step."""
    if progress < EARLY_SHARE:
        return ("p70", "speech", *EARLY[step % len(EARLY)])
    return ("p280", "speech", *LATE[step % len(LATE)])


def draw(store: Store, name: str, shape: Shape, held: str = "", seed: int | None = None) -> Batch:
    """A batch of one kind; `held` names the held-out stocks' suffix."""
    rng = None if seed is None else random.Random(seed)  # noqa: S311
    if name == "long":
        return store.long("film" + held, "speech" + held, shape, rng)
    if name == "speech":
        return store.speech("speech" + held, shape, rng)
    return store.pictures(name + held, shape, rng)


# Not compiled: without gradients every graph would be another one.
@torch.compiler.set_stance("force_eager")
@torch.no_grad()
def examine(
    trainee: Trainee,
    store: Store,
    shapes: dict[str, Shape],
    device: torch.device,
    batches: int = 1,
) -> dict[str, float]:
    """On held-out data: nats a token, and the share of answers that greedy decoding would give.

    A row counts as exact if every token is the likeliest given those before it, which
    is when greedy decoding gives the whole answer.
    """
    trainee.eval()
    found: dict[str, float] = {}
    for name in ("p70", "p280", "speech", "long"):
        for seed in range(batches):
            batch = draw(store, name, shapes[name], "-held", seed)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                losses = trainee(batch)
            for key in ("answer", "exact"):
                value = losses[key].item() / batches
                found[f"{name}_{key}"] = round(found.get(f"{name}_{key}", 0.0) + value, 4)
    trainee.train()
    return found


def save(out: Path, trainee: Trainee, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Write the checkpoint, and the state from which a run can go on."""
    write_parameters(out, trainee.gemma.checkpoint())
    helpers = {k: v for k, v in trainee.state_dict().items() if not k.startswith("gemma.")}
    save_file(helpers, out / "helpers.safetensors")
    state = {
        "trainee": trainee.state_dict(),
        "optimizer": optimizer.state_dict(),
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
        trainee.load_state_dict(load_file(helpers), strict=False)


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


def _optimizer(trainee: Trainee, run: Run) -> torch.optim.Optimizer:
    matrices = [p for p in trainee.parameters() if p.ndim >= 2]
    others = [p for p in trainee.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.02}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(
        groups, run.rate, betas=(0.9, 0.98), eps=1e-9, fused=run.device == "cuda"
    )


def _schedule(progress: float, steps: int) -> float:
    """Share of the peak rate: a linear start in steps, then a cosine over the clock to 1%."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return min(1.0, (steps + 1) / WARM_UP) * (0.01 + 0.99 * cosine)


class Log:
    """Running means, told every ten seconds, to a file and the screen."""

    def __init__(self, path: Path, begun: float) -> None:
        self._path = path
        self._begun = begun
        self._sums: dict[str, torch.Tensor] = {}
        self._counts: dict[str, int] = {}
        self._steps = 0

    def add(self, losses: dict[str, dict[str, torch.Tensor]], norm: torch.Tensor) -> None:
        """Take one step's losses, without waiting for the GPU."""
        self._steps += 1
        values = {f"{n}_{k}": v for n, parts in losses.items() for k, v in parts.items()}
        for key, value in {**values, "norm": norm}.items():
            self._sums[key] = self._sums.get(key, torch.zeros_like(value)) + value.detach()
            self._counts[key] = self._counts.get(key, 0) + 1

    def tell(self, step: int, rate: float, chunks: int) -> None:
        """Write the means since the last time."""
        means = {k: round(v.item() / self._counts[k], 4) for k, v in self._sums.items()}
        self.write(step=step, rate=round(rate, 6), chunks=chunks, **means)
        self._sums, self._counts = {}, {}

    def write(self, **values: object) -> None:
        """Write one line."""
        line = json.dumps({"s": round(time.monotonic() - self._begun, 1), **values})
        with self._path.open("a") as file:
            file.write(line + "\n")
        print(line, flush=True)


def _small(stock: Stock) -> Stock:
    chunk = 8
    return replace(stock, items=chunk * (1 if stock.held else 2), chunk=chunk)


def _smaller(shape: Shape) -> Shape:
    media = 3
    rows = max(3, round(shape.rows / shape.media * media))
    return replace(shape, media=media, rows=rows, answers=max(300, shape.answers // 8))


if __name__ == "__main__":
    main()
