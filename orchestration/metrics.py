"""What a look at the board found as Prometheus metrics, and the server that shows them.

Needs prometheus_client, the extra `metrics`: only the command `metrics` imports this room.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from jobs.tempo import Tempo
from orchestration.backlog import STATES, JobFacts, Look, QueueFacts, Watch
from storage.errors import Refused

_SERVED = ("model", "revision")
_QUEUE = (*_SERVED, "priority")
_JOB = (*_QUEUE, "job_id", "out")
_WORKER = (*_SERVED, "worker")

#: Counters of a worker by their names in its beats.
_COUNTERS = {
    "rows": "Rows that the worker has finished since it started.",
    "failed": "Rows among these that failed.",
    "prompt_tokens": "Tokens of prompts and media that the worker's engine has read.",
    "output_tokens": "Tokens that the worker's engine has written.",
    "refused": "Messages in the worker's queues that were none of ours, and that it threw away.",
}
_NAMES = {"failed": "failed_rows", "refused": "refused_messages"}


class Page(Collector):
    """Everything that is shown of a watch's latest look; without a recent one, that alone."""

    def __init__(self, watch: Watch, tempo: Tempo) -> None:
        self._watch = watch
        self._stale_s = tempo.stalled_s

    def collect(self) -> Iterator[Metric]:
        """See Collector."""
        look = self._watch.latest
        up = look is not None and time.monotonic() - look.at < self._stale_s
        yield GaugeMetricFamily(
            "mediamill_up",
            "1 if Redis answered and what is shown is recent; if 0, nothing else is shown.",
            value=float(up),
        )
        if look is not None and up:
            yield from _of_jobs(look.jobs)
            yield from _of_queues(look.queues)
            yield from _of_workers(look)


def make_registry(watch: Watch, tempo: Tempo) -> CollectorRegistry:
    """A registry of this page alone, with nothing of the process it runs in."""
    # Without this, `?name[]=` would find nothing: a page does not name its metrics ahead.
    registry = CollectorRegistry(support_collectors_without_names=True)
    registry.register(Page(watch, tempo))
    return registry


def as_text(registry: CollectorRegistry) -> str:
    """The page in Prometheus' text format."""
    return generate_latest(registry).decode()


def as_json(registry: CollectorRegistry) -> str:
    """The page as a list of `{name, labels, value}`."""
    samples = [sample for family in registry.collect() for sample in family.samples]
    return json.dumps([{"name": s.name, "labels": s.labels, "value": s.value} for s in samples])


def serve(watch: Watch, tempo: Tempo, host: str, port: int, stop: threading.Event) -> None:
    """Show the page at every path of `host:port` until `stop`. Raises Refused if taken."""
    try:
        server, thread = start_http_server(port, host, make_registry(watch, tempo))
    except OSError as error:
        raise Refused(
            f"cannot serve metrics at {host}:{port} ({error}); choose another --host or --port"
        ) from None
    try:
        watch.run(stop)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _of_jobs(jobs: Sequence[JobFacts]) -> Iterator[Metric]:
    waiting = _gauge(
        "mediamill_waiting_tokens",
        "Tokens, as the planner estimates them, of shards that no worker has yet: the job's "
        "estimate times their share. 0 if the job is paused, cancelled or done.",
        _JOB,
    )
    running = _gauge(
        "mediamill_running_tokens",
        "The same of shards that workers have, counted whole until they are committed.",
        _JOB,
    )
    rows = _gauge(
        "mediamill_job_rows",
        "Rows by status; `remaining` ones have no record yet.",
        (*_JOB, "status"),
    )
    due = _gauge(
        "mediamill_job_due_rows",
        "Rows to be worked: those without a record and those that a retry redoes.",
        _JOB,
    )
    shards = _gauge(
        "mediamill_job_shards",
        "Shards: done, running in a worker, waiting for one, or given_up after equal errors.",
        (*_JOB, "state"),
    )
    state = _gauge("mediamill_job_state", "1 for the state that the job is in.", (*_JOB, "state"))
    committed = _gauge(
        "mediamill_job_last_commit_timestamp_seconds",
        "When a shard was last committed, by the store's clock; absent before the first.",
        _JOB,
    )
    for job in jobs:
        queue = job.queue
        labels = (queue.model, queue.revision, queue.priority, job.job_id, job.out)
        waiting.add_metric(labels, job.waiting_tokens)
        running.add_metric(labels, job.running_tokens)
        due.add_metric(labels, job.due_rows)
        for name, count in job.rows.items():
            rows.add_metric((*labels, name), count)
        for name, count in job.shards.items():
            shards.add_metric((*labels, name), count)
        for name in STATES:
            state.add_metric((*labels, name), float(name == job.state))
        if job.committed_at is not None:
            committed.add_metric(labels, job.committed_at)
    yield from (waiting, running, rows, due, shards, state, committed)


def _of_queues(queues: Sequence[QueueFacts]) -> Iterator[Metric]:
    messages = _gauge(
        "mediamill_queued_messages",
        "Messages in Redis, each a shard; only a small window of a job is there.",
        _QUEUE,
    )
    jobs = _gauge("mediamill_jobs", "Jobs that workers know of in this queue.", _QUEUE)
    unreadable = _gauge(
        "mediamill_unreadable_jobs",
        "Jobs among these whose place did not answer or holds no job; of those that were "
        "read before, the last that was read is shown.",
        _QUEUE,
    )
    for facts in queues:
        labels = (facts.queue.model, facts.queue.revision, facts.queue.priority)
        messages.add_metric(labels, facts.messages)
        jobs.add_metric(labels, facts.jobs)
        unreadable.add_metric(labels, facts.unreadable)
    yield from (messages, jobs, unreadable)


def _of_workers(look: Look) -> Iterator[Metric]:
    # A model whose work waits for a first worker has none, which is a number too.
    slots: dict[tuple[str, str], list[int]] = {
        (facts.queue.model, facts.queue.revision): [] for facts in look.queues
    }
    counters = {
        beat: CounterMetricFamily(_name(beat), text, labels=_WORKER)
        for beat, text in _COUNTERS.items()
    }
    for worker in look.workers:
        model, _, revision = str(worker["model"]).rpartition("@")
        # As short as in the names of queues, so that both can be joined.
        served = (model, revision[:12])
        slots.setdefault(served, []).append(int(worker["slots"]))
        for beat, counter in counters.items():
            counter.add_metric((*served, str(worker["worker"])), worker.get(beat, 0))
    workers = _gauge("mediamill_workers", "Workers that live and serve the model.", _SERVED)
    total = _gauge("mediamill_worker_slots", "Shards that these usually have open.", _SERVED)
    for served, of_each in slots.items():
        workers.add_metric(served, len(of_each))
        total.add_metric(served, sum(of_each))
    yield from (workers, total, *counters.values())


def _name(beat: str) -> str:
    return f"mediamill_worker_{_NAMES.get(beat, beat)}"


def _gauge(name: str, text: str, labels: Sequence[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=labels)
