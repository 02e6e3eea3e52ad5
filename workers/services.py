"""What a worker's open shards share: one engine, decoders, fetchers, and what may be under way."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa

from jobs.tasks import TASKS
from jobs.tempo import Tempo
from storage.media import MediaSource
from workers.admission import Budget
from workers.counters import Counters
from workers.decode import Decoders
from workers.engine import Engine
from workers.in_hand import InHand
from workers.machine import memory

#: The engine's own queue holds as much again as the engine runs: deep enough never to be
#: empty between two steps, shallow enough that a stop drains quickly.
_ENGINE_DEPTH = 2
#: Decoded media that may wait for or lie in the engines, in bytes: for each request that they can
#: have (a picture of 2.7 megapixels, four seconds of film), but no less and no larger a part of the
#: machine's memory than this.
_DECODED_BYTES, _LEAST_DECODED, _PART_DECODED = 8 << 20, 2 << 30, 4


def warm_up() -> None:
    """Import what a first shard would, while the engine loads and nobody waits.

    pyarrow looks for pandas at its first conversion, and where it is installed takes a second
    to import it, in which engines would be idle. And all that is installed is looked through for
    tasks.
    """
    pa.array([0]).to_pylist()
    len(TASKS)


class Services:
    """Started once in a worker process; every open shard uses the same."""

    def __init__(
        self,
        engine: Engine,
        media: MediaSource,
        *,
        worker: str,
        tempo: Tempo,
        fetchers: int,
        decoders: int,
        in_hand: Path,
    ) -> None:
        """`in_hand` is the folder where the rows in hand are noted."""
        self.engine = engine
        self.media = media
        self.worker = worker
        self.tempo = tempo
        self.counters = Counters()
        self.decoders = Decoders(decoders)
        self.fetch_pool = ThreadPoolExecutor(fetchers, thread_name_prefix="fetch")
        self.decode_pool = ThreadPoolExecutor(decoders, thread_name_prefix="decode")
        self.in_hand = InHand(in_hand)
        #: Rows begun: as many as decoders and engine can have, so that a row which has to be
        #: alone waits for those and no others. Taken before all else.
        self.begun = fetchers + 2 * decoders + _ENGINE_DEPTH * engine.capacity.sequences
        self.floor = Budget(self.begun)
        #: Rows fetched or being decoded at once: a bound on media that lie about.
        self.ahead = Budget(fetchers + 2 * decoders)
        #: Open decodings. Bounded here, before a thread is taken: a thread that waits for
        #: a decode process would keep the holders of those processes from stepping on.
        self.decoding = Budget(decoders)
        #: Requests in the engine, in tokens of KV cache, sequences, and bytes of media.
        self.in_engine = Budget(
            _ENGINE_DEPTH * engine.capacity.tokens,
            _ENGINE_DEPTH * engine.capacity.sequences,
            max(
                _LEAST_DECODED,
                min(
                    _DECODED_BYTES * _ENGINE_DEPTH * engine.capacity.sequences,
                    memory() // _PART_DECODED,
                ),
            ),
        )
        #: Set when the worker is to go down: stop admitting, let what is in flight finish.
        self.stop = threading.Event()

    @property
    def hungry(self) -> bool:
        """Whether the engines take more at once than there is in all open shards.

        Rows that wait for anything are enough: what they wait for is what holds the worker up. So
        does whatever keeps the engines from having anything at all.
        """
        stages = (self.floor, self.ahead, self.decoding, self.in_engine)
        return (
            not self.stop.is_set()
            and self.in_engine.holders > 0
            and not any(stage.waiting for stage in stages)
            and _ENGINE_DEPTH * self.in_engine.share < 1.0
        )

    def close(self) -> None:
        """End pools, decode processes and the engine."""
        self.stop.set()
        self.fetch_pool.shutdown(wait=False, cancel_futures=True)
        self.decode_pool.shutdown(wait=False, cancel_futures=True)
        self.decoders.close()
        self.media.close()
        self.engine.close()
