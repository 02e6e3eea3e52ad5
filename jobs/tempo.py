"""The protocol's times, which scale together so that tests can run it thirty times faster."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tempo:
    """Every time of the protocol, in seconds, at `scale` 1.0 the ones for production."""

    scale: float = 1.0

    @property
    def lease_s(self) -> float:
        """An attempt whose newest object is older than this is not live."""
        return 60 * self.scale

    @property
    def checkpoint_s(self) -> float:
        """Longest pause between two checkpoints: a third of the lease."""
        return 20 * self.scale

    @property
    def feed_s(self) -> float:
        """Pause between two rounds of the feeder over a job."""
        return 30 * self.scale

    @property
    def control_s(self) -> float:
        """How often a running shard looks whether the job is to go on."""
        return 5 * self.scale

    @property
    def look_s(self) -> float:
        """How often it looks whether the worker is to stop."""
        return min(max(0.2, 0.2 * self.scale), self.control_s / 4)

    @property
    def drain_s(self) -> float:
        """After SIGTERM, how long requests in flight may take to finish."""
        return 10 * self.scale

    @property
    def exit_s(self) -> float:
        """After SIGTERM, when the process leaves whatever is still open.

        That is done within 20; and no scale makes Celery let go any faster.
        """
        return max(5.0, 17 * self.scale)

    @property
    def stuck_s(self) -> float:
        """Requests in flight of which none finished for so long: the worker dies."""
        return 600 * self.scale

    @property
    def outage_s(self) -> float:
        """How long a store may be away before a shard is given up."""
        return 600 * self.scale

    @property
    def room_s(self) -> float:
        """How long a row waits for room on a full disk for fetched media."""
        return 300 * self.scale

    @property
    def stalled_s(self) -> float:
        """No live attempt for so long: status says `stalled`."""
        return 120 * self.scale

    @property
    def visibility_s(self) -> float:
        """Redis' visibility timeout; kombu counts whole seconds and sweeps slowly."""
        return max(5.0, 120 * self.scale)

    @property
    def heartbeat_s(self) -> float:
        """How often a worker says in Redis that it lives, and renews its deliveries."""
        return max(1.0, 20 * self.scale)
