"""What is taught when: the stocks of data, the batches, and which a step is made of."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from models.tiny.batches import Batch, Batches, Shape
from models.tiny.pool import Stock
from models.tiny.store import Store

STOCKS = (
    Stock("p70", "picture", 12_288, 64, 70, texts=0.3, signs=0.05, questions=2),
    Stock("p140", "picture", 3_072, 32, 140, texts=0.4, signs=0.08, questions=2),
    Stock("p280", "picture", 6_144, 32, 280, texts=0.45, signs=0.1, questions=3),
    Stock("film", "film", 1_024, 16),
    Stock("speech", "speech", 20_480, 128),
    Stock("p70-held", "picture", 384, 32, 70, texts=0.3, questions=1, held=True),
    Stock("p280-held", "picture", 192, 32, 280, texts=0.4, signs=0.1, questions=1, held=True),
    Stock("film-held", "film", 48, 16, held=True),
    Stock("speech-held", "speech", 256, 64, held=True),
)
#: All of 46,080 tokens and, of pictures, 120,960 patches: compiled code serves them all.
SHAPES = {
    "p70": Shape(192, 90, 512, 11_200),
    "p140": Shape(96, 72, 640, 8_000),
    "p280": Shape(48, 64, 720, 6_400),
    "speech": Shape(240, 90, 512, 5_600),
    "long": Shape(24, 48, 960, 4_800),
}
#: What a step is made of, early and late: pictures first small, then as they are asked about.
EARLY = (("p280",), ("long",), ("p70",), ("p140",), ("long",), ("p70",))
LATE = (("p70",), ("long",), ("p280",), ("p140",), ("long",), ("p280",))
EARLY_SHARE = 0.3
#: Of a stock, what must be drawn before the first step.
ENOUGH = 0.04


class Ahead:
    """Draws the batches of coming steps in a thread, while the GPU is waited for."""

    def __init__(
        self,
        store: Store,
        batches: Batches,
        shapes: dict[str, Shape],
        progress: Callable[[], float],
        step: int,
    ) -> None:
        self._store = store
        self._batches = batches
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
        return [(name, draw(self._batches, name, self._shapes[name])) for name in names]


def plan(step: int, progress: float) -> tuple[str, ...]:
    """The batches of one step."""
    if progress < EARLY_SHARE:
        return ("p70", "speech", *EARLY[step % len(EARLY)])
    return ("p280", "speech", *LATE[step % len(LATE)])


def draw(
    batches: Batches, name: str, shape: Shape, held: str = "", seed: int | None = None
) -> Batch:
    """A batch of one kind; `held` names the held-out stocks' suffix."""
    rng = None if seed is None else random.Random(seed)  # noqa: S311
    if name == "long":
        return batches.long("film" + held, "speech" + held, shape, rng)
    if name == "speech":
        return batches.speech("speech" + held, shape, rng)
    return batches.pictures(name + held, shape, rng)


def small(stock: Stock) -> Stock:
    """A stock for a trial on a CPU."""
    chunk = 8
    return replace(stock, items=chunk * (1 if stock.held else 2), chunk=chunk)


def smaller(shape: Shape) -> Shape:
    """A shape for a trial on a CPU."""
    media = 3
    rows = max(3, round(shape.rows / shape.media * media))
    return replace(shape, media=media, rows=rows, answers=max(300, shape.answers // 8))
