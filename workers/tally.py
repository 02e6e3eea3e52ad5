"""What is known of a row while it is worked, and the record that it becomes."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from jobs.checkpoint import Finished
from jobs.refusals import refused
from jobs.spec import StoredJob
from jobs.tasks.base import Answer, Parsed, Prompt, Row
from storage.errors import RowError
from storage.presigned import masked
from storage.records import Record, Status
from workers.prompts import blown_up


@dataclass(slots=True)
class Tally:
    """What is known of a row so far; an error record says as much of it as an ok one."""

    media: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    prompt_sha256: str | None = None
    prompt_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0

    def ask(self, prompt: Prompt, sizes: Iterable[tuple[int, int]]) -> None:
        """Note what is asked, of images of these widths and heights."""
        self.prompt_sha256 = self.prompt_sha256 or prompt.sha256
        if any(blown_up(*size, prompt.image_tokens) for size in sizes):
            self.warnings.append("upscaled")

    def count(self, done: Finished) -> None:
        """Take in a finished request."""
        self.answers.append(Answer.read(done.span, done.text, done.finish_reason))
        self.prompt_sha256 = self.prompt_sha256 or done.prompt_sha256
        self.spend(done)

    def spend(self, done: Finished) -> None:
        """Take in what a request cost, and not its answer."""
        self.prompt_tokens += done.prompt_tokens
        self.output_tokens += done.output_tokens
        self.seconds += done.seconds

    def in_order(self) -> list[Answer]:
        """The answers in the order of media and time, whatever order they came in.

        One over all of them comes last.
        """
        self.answers.sort(key=lambda a: (a.concludes, a.span.media_index, a.span.start))
        return self.answers

    @property
    def finish_reason(self) -> str | None:
        """One for the row: a window that was cut short makes the whole answer short."""
        reasons = {answer.finish_reason for answer in self.answers}
        return min(reasons - {"stop"}, default="stop") if reasons else None


@dataclass(frozen=True, slots=True)
class Maker:
    """By whom records are made: the same for every row of an open shard."""

    job: StoredJob
    engine: str
    attempt: int
    worker: str

    def record(self, row: Row, tally: Tally, outcome: Parsed | RowError) -> Record:
        """The record of a row that was answered, or failed."""
        parsed = outcome if isinstance(outcome, Parsed) else None
        error = outcome if isinstance(outcome, RowError) else None
        answers = tally.in_order()
        warnings = list(tally.warnings)
        if tally.finish_reason == "length":
            warnings.append("cut_at_token_limit")
        if any(answer.finish_reason == "repetition" for answer in answers):
            warnings.append("repetition")
        if not self.job.task.verbatim and any(refused(answer.text) for answer in answers):
            warnings.append("refused")
        if parsed is not None:
            warnings.extend(parsed.warnings)
        return Record(
            row_id=row.id,
            uri=masked(row.uris[0]) if row.uris else None,
            task=self.job.spec.task,
            status=_status(error),
            error=None if error is None else _error(error),
            text=parsed.text if parsed is not None else None,
            raw="\n".join(answer.raw for answer in answers) if answers else None,
            thought="\n".join(filter(None, (a.thought for a in answers))) or None,
            finish_reason=tally.finish_reason,
            # Decoder and task may say the same: that nobody speaks.
            warnings=list(dict.fromkeys(warnings)),
            media=tally.media,
            usage={
                "prompt_tokens": tally.prompt_tokens,
                "output_tokens": tally.output_tokens,
                "seconds": tally.seconds,
            },
            lineage={
                "job_id": self.job.job_id,
                "model": self.job.model.name,
                "model_revision": self.job.model.revision,
                "engine": self.engine,
                "prompt_sha256": tally.prompt_sha256,
                "attempt": self.attempt,
                "worker": self.worker,
                "finished_at": time.time(),
            },
            columns=dict(parsed.columns) if parsed is not None else {},
        )


def _status(error: RowError | None) -> Status:
    if error is None:
        return "ok"
    return "quarantined" if error.kind == "quarantined" else "error"


def _error(error: RowError) -> dict[str, Any]:
    # A file's name may hold bytes that are no text, and a record holds text alone.
    message = error.message.encode("utf-8", "replace").decode()
    return {"kind": error.kind, "message": message, "retryable": error.retryable}
