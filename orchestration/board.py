"""The notice board: which shards are queued, which jobs there are, which workers live.

All of it is advice. It keeps the feeder from doubling what waits and lets `status` say
whether anybody serves a model; wiped or wrong, it costs a look at storage and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import redis

from jobs.models import Model
from storage.errors import BrokerUnavailable, InvalidJob

#: A queued entry older than this is ignored: the message it stands for was lost.
_FORGET_QUEUED_S = 3600.0
#: Keys nobody touches for so long vanish by themselves.
_KEY_TTL_S = 7 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Standing:
    """How a job stands in its queue, as far as is known.

    `messages` wait in the queue, of any job; `queued` shards are this one's. `next` is the
    first shard that nobody has enqueued yet, None if that is not known.
    """

    messages: int
    queued: int
    next: int | None


class Board(Protocol):
    """What the feeder and the commands read and write."""

    def queued(self, job_id: str) -> set[int]:
        """Shards of the job that wait in the queue, as far as is known."""
        ...

    def under_way(self, job_id: str, lease_s: float) -> set[int]:
        """Shards delivered less than a lease ago and not finished."""
        ...

    def post(self, job_id: str, shards: Sequence[int], course: str) -> None:
        """These shards are enqueued now, in this order.

        `course` names the way over the shards, from the first to the last, that they are on:
        a plan has one, and each retry another.
        """
        ...

    def standing(self, queue: str, job_id: str, course: str) -> Standing:
        """What decides whether the next shards of a course are to be enqueued."""
        ...

    def take(self, job_id: str, shard: int) -> None:
        """The shard was delivered: it, and what its job queued before it, no longer waits."""
        ...

    def finish(self, job_id: str, shard: int) -> None:
        """The delivery of the shard ended."""
        ...

    def clear(self, job_id: str, older_s: float = 0.0) -> None:
        """Nothing of the job is queued of what was posted longer ago than this."""
        ...

    def add_job(self, queue: str, out: str) -> None:
        """The job at `out` is served by this queue."""
        ...

    def drop_job(self, queue: str, out: str, course: str | None = None) -> None:
        """The job at `out` needs nobody any more, and the way over its shards is at its end."""
        ...

    def jobs(self, queue: str) -> set[str]:
        """Where the jobs of a queue lie."""
        ...

    def length(self, *queues: str) -> int:
        """Messages that wait in these queues."""
        ...

    def turn(self, job_id: str, ttl_s: float) -> bool:
        """Whether rounds over the job are ours, now and for `ttl_s` more seconds.

        Whoever makes them keeps them: a new one would have to list the whole job first.
        """
        ...

    def beat(self, worker: str, facts: dict[str, Any], ttl_s: float) -> None:
        """The worker lives: its model, open slots and counters."""
        ...

    def workers(self) -> list[dict[str, Any]]:
        """What living workers last said."""
        ...


class RedisBoard:
    """The board in Redis, beside the queues."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._me = secrets.token_hex(8)
        try:
            self._redis = redis.Redis.from_url(
                url,
                socket_timeout=5,
                socket_connect_timeout=3,
                health_check_interval=10,
                decode_responses=True,
            )
            # Connects to nothing: that is where parameters are looked at.
            pool = self._redis.connection_pool
            pool.connection_class(**pool.connection_kwargs)
        except (ValueError, TypeError, redis.RedisError):
            # Not redis' own words: where it misreads a password, they hold a piece of it.
            raise InvalidJob(
                "MEDIAMILL_BROKER_URL is no URL of a Redis: redis://HOST:PORT/0, with :PASSWORD@ "
                "before the host if it wants one (`/`, `@`, `#` and `%` in it as %2F, %40, %23 and "
                "%25), and behind a ? no parameter but redis-py's"
            ) from None

    @contextlib.contextmanager
    def _answering(self) -> Iterator[redis.Redis]:
        try:
            yield self._redis
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise BrokerUnavailable(
                f"Redis at {_without_password(self._url)} does not answer ({error}); "
                "start it, or set MEDIAMILL_BROKER_URL"
            ) from None
        except redis.ResponseError as error:
            # Out of memory, or a replica after a failover: it may take writes again.
            raise BrokerUnavailable(
                f"Redis at {_without_password(self._url)} refuses ({error}); "
                "it must take writes and have memory left"
            ) from None

    def ping(self) -> None:
        """Raises BrokerUnavailable within a few seconds if Redis does not answer."""
        with self._answering() as client:
            client.ping()

    def renew(self, index: str, tags: Sequence[str]) -> None:
        """Make deliveries look new in the transport's index of unacknowledged ones."""
        now = time.time()
        with self._answering() as client:
            # xx: one that was acknowledged meanwhile must not come back.
            client.zadd(index, dict.fromkeys(tags, now), xx=True)

    def queued(self, job_id: str) -> set[int]:
        """See Board."""
        with self._answering() as client:
            found = client.zrangebyscore(_queued(job_id), time.time() - _FORGET_QUEUED_S, "+inf")
            return {int(str(shard)) for shard in found}

    def under_way(self, job_id: str, lease_s: float) -> set[int]:
        """See Board."""
        with self._answering() as client:
            found = client.zrangebyscore(_under_way(job_id), time.time() - lease_s, "+inf")
            return {int(str(shard)) for shard in found}

    def post(self, job_id: str, shards: Sequence[int], course: str) -> None:
        """See Board."""
        now = time.time()
        # Microseconds keep the order of one call; a call is never that long.
        scores = {str(shard): now + index * 1e-6 for index, shard in enumerate(shards)}
        with self._answering() as client, client.pipeline() as pipe:
            pipe.zadd(_queued(job_id), scores)
            pipe.expire(_queued(job_id), _KEY_TTL_S)
            # A number that only grows, whoever writes it last: what a sorted set can do.
            pipe.zadd(_course(course), {"next": shards[-1] + 1}, gt=True)
            pipe.expire(_course(course), _KEY_TTL_S)
            pipe.execute()

    def standing(self, queue: str, job_id: str, course: str) -> Standing:
        """See Board. Takes as long for a thousand workers as for one."""
        with self._answering() as client, client.pipeline(transaction=False) as pipe:
            pipe.llen(queue)
            pipe.zcount(_queued(job_id), time.time() - _FORGET_QUEUED_S, "+inf")
            pipe.zscore(_course(course), "next")
            messages, queued, following = pipe.execute()
        return Standing(int(messages), int(queued), None if following is None else int(following))

    def take(self, job_id: str, shard: int) -> None:
        """See Board."""
        with self._answering() as client, client.pipeline() as pipe:
            score = client.zscore(_queued(job_id), str(shard))
            if score is not None:
                pipe.zremrangebyscore(_queued(job_id), "-inf", score)
            pipe.zadd(_under_way(job_id), {str(shard): time.time()})
            pipe.expire(_under_way(job_id), _KEY_TTL_S)
            pipe.execute()

    def finish(self, job_id: str, shard: int) -> None:
        """See Board."""
        with self._answering() as client:
            client.zrem(_under_way(job_id), str(shard))

    def clear(self, job_id: str, older_s: float = 0.0) -> None:
        """See Board."""
        with self._answering() as client:
            client.zremrangebyscore(_queued(job_id), "-inf", time.time() - older_s)

    def add_job(self, queue: str, out: str) -> None:
        """See Board."""
        with self._answering() as client:
            client.sadd(_jobs(queue), out)

    def drop_job(self, queue: str, out: str, course: str | None = None) -> None:
        """See Board."""
        with self._answering() as client, client.pipeline() as pipe:
            pipe.srem(_jobs(queue), out)
            if course is not None:
                pipe.delete(_course(course))
            pipe.execute()

    def jobs(self, queue: str) -> set[str]:
        """See Board."""
        with self._answering() as client:
            return {str(out) for out in client.smembers(_jobs(queue))}

    def queues(self) -> set[str]:
        """Queues that have jobs: for one who serves no model and so looks at all of them."""
        with self._answering() as client:
            found = client.scan_iter(_jobs("*"), count=1000)
            return {str(key).removeprefix(_jobs("")) for key in found}

    def length(self, *queues: str) -> int:
        """See Board."""
        with self._answering() as client, client.pipeline(transaction=False) as pipe:
            for queue in queues:
                pipe.llen(queue)
            return sum(map(int, pipe.execute()))

    def turn(self, job_id: str, ttl_s: float) -> bool:
        """See Board. Advisory: a round that outlives its turn only doubles messages."""
        key, ttl_ms = f"mediamill:feeding:{job_id}", max(1, int(ttl_s * 1000))
        with self._answering() as client:
            if client.set(key, self._me, nx=True, px=ttl_ms):
                return True
            return client.get(key) == self._me and bool(client.pexpire(key, ttl_ms))

    def beat(self, worker: str, facts: dict[str, Any], ttl_s: float) -> None:
        """See Board."""
        with self._answering() as client:
            client.set(f"mediamill:worker:{worker}", json.dumps(facts), px=int(ttl_s * 1000))

    def workers(self) -> list[dict[str, Any]]:
        """See Board."""
        with self._answering() as client:
            keys = list(client.scan_iter("mediamill:worker:*", count=1000))
            values = client.mget(keys) if keys else []
        return [json.loads(value) for value in values if value]


class Crew(NamedTuple):
    """The live workers that serve a model: how many, and the shards they usually have open."""

    workers: int
    slots: int


def crew(board: Board, model: Model) -> Crew:
    """Who serves the model, as they last said."""
    slots = [int(w["slots"]) for w in board.workers() if w["model"] == model.key]
    return Crew(len(slots), sum(slots))


def _queued(job_id: str) -> str:
    return f"mediamill:queued:{job_id}"


def _under_way(job_id: str) -> str:
    return f"mediamill:under_way:{job_id}"


def _course(course: str) -> str:
    return f"mediamill:course:{course}"


def _jobs(queue: str) -> str:
    return f"mediamill:jobs:{queue}"


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"
