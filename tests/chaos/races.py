"""Commit races: several writers at once, in threads and processes, of whom one may win.

`python -m tests.chaos.races --races 10000 --on radosgw` prints what came of them, and exits
with 1 if any race had not exactly one winner, whose bytes are there.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import multiprocessing
import os
import random
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from storage.objects import Store, StoreTraits, open_store, prove
from tests.radosgw import radosgw
from tests.services import new_bucket, scrub_environment, short_folder

#: Seconds that one writer waits for the others: only one that died lets them wait so long.
_MEET_S = 120.0
#: Longest head start of a writer, in seconds: about as long as a write to a local disk.
_JITTER_S = 0.001


@dataclass(frozen=True, slots=True)
class Races:
    """`count` races at the store's root, each between all threads of all processes.

    Even ones are for a name that nobody has (put-if-absent), odd ones for an object that
    all have read (put-if-match). The seed gives sizes and head starts.
    """

    uri: str
    traits: StoreTraits
    count: int
    processes: int
    threads: int
    seed: int

    @property
    def writers(self) -> int:
        """Writers of each race."""
        return self.processes * self.threads

    def key(self, race: int) -> str:
        """What they write."""
        return f"data/{self.seed}/{race:07d}"

    def content(self, race: int, writer: int) -> bytes:
        """What this writer would write: nobody else's, and of a size of its own."""
        draw = random.Random(f"{self.seed}/{race}/{writer}")
        return b"%d/%d/" % (race, writer) + draw.randbytes(draw.choice((0, 100, 4096, 70_000)))

    def head_start(self, race: int, writer: int) -> float:
        """Seconds that this writer waits before it writes."""
        return random.Random(f"{self.seed}/{race}/{writer}/s").choice((0, 0, 1)) * _JITTER_S


@dataclass(slots=True)
class Tally:
    """What came of the races: those with one winner whose bytes are there, and all others."""

    races: int = 0
    one_winner: int = 0
    no_winner: list[int] = dataclasses.field(default_factory=list)
    more_winners: list[int] = dataclasses.field(default_factory=list)
    wrong_bytes: list[int] = dataclasses.field(default_factory=list)
    writes: int = 0
    seconds: float = 0.0

    @property
    def clean(self) -> bool:
        """Whether each race had exactly one winner, whose bytes are there."""
        return self.one_winner == self.races and not self.wrong_bytes


def run(races: Races) -> Tally:
    """Let them race. Raises RuntimeError if a writer failed, with what it said."""
    begun = time.monotonic()
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(races.writers, timeout=_MEET_S)
    said: Queue[list[tuple[int, int]] | str] = context.Queue()
    processes = [
        context.Process(target=_process, args=(races, number, barrier, said))
        for number in range(races.processes)
    ]
    for process in processes:
        process.start()
    heard = [said.get() for _ in processes]
    for process in processes:
        process.join()
    failures = [failure for failure in heard if isinstance(failure, str)]
    if failures:
        raise RuntimeError(f"writers failed: {'; '.join(failures)}")
    winners: dict[int, list[int]] = defaultdict(list)
    for won in heard:
        assert not isinstance(won, str)
        for race, writer in won:
            winners[race].append(writer)
    tally = Tally(races=races.count, writes=races.count * races.writers)
    store = open_store(races.uri, races.traits)
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda race: store.get(races.key(race)), range(races.count))
        for race, data in enumerate(found):
            _judge(races, tally, race, winners[race], data)
    tally.seconds = round(time.monotonic() - begun, 1)
    return tally


def _judge(races: Races, tally: Tally, race: int, winners: Sequence[int], data: bytes) -> None:
    if len(winners) == 1:
        tally.one_winner += 1
    else:
        (tally.more_winners if winners else tally.no_winner).append(race)
    if data not in [races.content(race, writer) for writer in winners]:
        tally.wrong_bytes.append(race)


def _process(
    races: Races, number: int, barrier: Barrier, said: Queue[list[tuple[int, int]] | str]
) -> None:
    """One process of writers; says which races its threads won, or what went wrong."""
    won: list[tuple[int, int]] = []
    failures: list[str] = []

    def write(thread: int) -> None:
        writer = number * races.threads + thread
        try:
            _write(races, writer, barrier, won)
        except threading.BrokenBarrierError:
            failures.append(f"writer {writer}: others failed")
        except BaseException as error:
            barrier.abort()
            failures.append(f"writer {writer}: {error!r}")
            raise

    threads = [threading.Thread(target=write, args=(n,)) for n in range(races.threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    said.put("; ".join(failures) if failures else won)


def _write(races: Races, writer: int, barrier: Barrier, won: list[tuple[int, int]]) -> None:
    # A store of its own, as every worker has one.
    store = open_store(races.uri, races.traits)
    for race in range(races.count):
        key = races.key(race)
        content = races.content(race, writer)
        etag = None
        if race % 2:
            if race % races.writers == writer:
                store.put(key, b"%d/start" % race)
            barrier.wait()
            etag = store.get_tagged(key)[1]
        barrier.wait()
        time.sleep(races.head_start(race, writer))
        if _put(store, key, content, etag):
            won.append((race, writer))


def _put(store: Store, key: str, content: bytes, etag: str | None) -> bool:
    if etag is None:
        return store.put_if_absent(key, content)
    return store.put_if_match(key, content, etag)


@contextlib.contextmanager
def place(on: str) -> Iterator[str]:
    """An empty root on a store: `local` (the folder for temporary files), `memory` or `radosgw`."""
    with contextlib.ExitStack() as stack:
        if on == "radosgw":
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            scrub_environment(patch)
            folder = stack.enter_context(short_folder())
            yield f"{new_bucket(stack.enter_context(radosgw(folder)), patch)}/races"
            return
        under = "/dev/shm" if on == "memory" else None
        yield str(Path(stack.enter_context(tempfile.TemporaryDirectory(dir=under))) / "races")


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--races", type=int, default=10_000)
    parser.add_argument("--on", choices=("local", "memory", "radosgw"), default="local")
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with place(asked.on) as uri:
        traits = prove(open_store(uri))
        tally = run(Races(uri, traits, asked.races, asked.processes, asked.threads, asked.seed))
    sys.stdout.write(json.dumps({**vars(asked), **dataclasses.asdict(tally)}) + os.linesep)
    return 0 if tally.clean else 1


if __name__ == "__main__":
    sys.exit(main())
