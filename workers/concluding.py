"""One answer for a row whose parts were asked about one by one: a last question of text alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.checkpoint import Finished
from jobs.pieces import WHOLE, Piece, Span
from jobs.tasks.base import Answer, Row, TaskOptions
from storage.errors import RowError
from workers.request import RowJob, of_task, put
from workers.tally import Tally


async def conclude(
    shared: RowJob, place: int, row: Row, options: TaskOptions, tally: Tally
) -> None:
    """Ask the task's last question over several answers, if it has one; `tally` counts it."""
    answers = tally.in_order()
    if len(answers) > 1:
        done = await _Conclusion(shared, place, row, options, tally).over(answers)
        if done is not None:
            tally.count(done)


@dataclass(slots=True)
class _Conclusion:
    shared: RowJob
    place: int
    row: Row
    options: TaskOptions
    tally: Tally
    asked: int = 0

    async def over(self, answers: Sequence[Answer]) -> Finished | None:
        """The answer to all of these; of more than one request holds, over halves of them."""
        shared, task = self.shared, self.shared.task
        prompt = of_task(
            "invalid_row", task, lambda: task.conclude(self.row, answers, self.options)
        )
        if prompt is None:
            return None
        piece = Piece(Span(WHOLE, self.asked, self.asked + 1))
        self.asked += 1
        done: list[Finished] = []
        try:
            request = await put(shared, self.place, prompt, piece, done.append)
        except RowError as error:
            if error.kind != "too_long" or len(answers) < 3:
                raise
            middle = len(answers) // 2
            return await self.over(
                [await self._as_one(half) for half in (answers[:middle], answers[middle:])]
            )
        try:
            await request
        finally:
            request.cancel()
        return done[0]

    async def _as_one(self, answers: Sequence[Answer]) -> Answer:
        """What a half says, as an answer about all that it covers."""
        if len(answers) == 1:
            return answers[0]
        done = await self.over(answers)
        if done is None:
            raise RuntimeError(f"task {self.shared.task.name} concludes at times only")
        self.tally.spend(done)
        first, last = answers[0].span, answers[-1].span
        span = Span(first.media_index, first.start, last.end, first.start_s, last.end_s)
        return Answer.read(span, done.text, done.finish_reason)
