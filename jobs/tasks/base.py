"""What a task is: one small pure class that says what to ask and how to read the answer.

A task does no I/O and knows neither engine nor queue. Adding one is: a name, an
options class, the columns it adds, `reading` (how media are decoded), `prompt`
(what is asked of one piece) and `parse` (what the answers of a row mean).
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, Self, get_args

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from jobs.markup import ToolCall, read_output
from jobs.pieces import OVERSAMPLING, TOKEN_PIXELS, WHOLE, Piece, Reading, Span

Ability = Literal["image", "video", "audio"]
ImageTokens = Literal[70, 140, 280, 560, 1120, "auto"]
#: Budgets of soft tokens that an image may be given; the same for every size of Gemma 4.
IMAGE_BUDGETS: tuple[int, ...] = tuple(n for n in get_args(ImageTokens) if isinstance(n, int))
_IMAGE_TOKENS = "soft tokens an image may take; auto: as many as its pixels are worth"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the manifest as a task sees it: `columns` are those carried through."""

    id: str
    uris: tuple[str, ...]
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is asked of the model about one piece, before the checkpoint's template.

    Media go before `text`, sound after it, as the model was trained. `image_tokens`
    is the budget of soft tokens an image (70, 140, 280, 560 or 1120).
    `temperature` 0 is greedy; None takes the checkpoint's generation_config.
    `json_schema` constrains the answer. `tools` are declarations of functions, as
    chat templates take them: the model may call them in its answer. A `raw` prompt has
    no template around it: media, then `text`, as base checkpoints were trained.
    """

    text: str
    system: str | None = None
    thinking: bool = False
    image_tokens: int = 280
    max_tokens: int = 512
    temperature: float | None = 0.0
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    json_schema: Mapping[str, Any] | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    raw: bool = False

    @property
    def sha256(self) -> str:
        """Hex digest of everything asked: equal digests mean the same question.

        The seed is left out: it differs by row, and the question does not.
        """
        asked = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "seed"}
        canonical = json.dumps(asked, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Answer:
    """The model's answer to one piece. `text` is without thought and markup, `raw` as it came.

    `thought` is what the model told itself before; `broken_calls` counts calls that were
    cut off or are no calls.
    """

    span: Span
    text: str
    raw: str
    finish_reason: str
    thought: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    broken_calls: int = 0

    @property
    def concludes(self) -> bool:
        """Whether it is over the other answers of the row, and of no medium alone."""
        return self.span.media_index == WHOLE

    @classmethod
    def read(cls, span: Span, raw: str, finish_reason: str) -> Self:
        """The answer that a model's whole output is."""
        found = read_output(raw)
        return cls(
            span,
            found.text,
            raw,
            finish_reason,
            found.thought,
            found.tool_calls,
            found.broken_calls,
        )


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a row's answers mean: `text` for the record, and the task's own columns."""

    text: str
    columns: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


class TaskOptions(BaseModel):
    """Options that every task takes; a task's own class adds to them (`--set key=value`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: What `auto` gives an image at most.
    most_image_tokens: ClassVar[int] = 280

    prompt: str | None = Field(None, description="ask this in place of the task's own prompt")
    system: str | None = Field(None, description="a system message")
    thinking: bool = Field(False, description="let the model think before it answers")
    max_tokens: int = Field(512, ge=1, le=32768, description="longest answer, in tokens")
    temperature: float | None = Field(None, ge=0, le=2, description="0 is greedy")
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=1)
    seed: int = Field(0, ge=0, lt=2**31, description="of sampling, mixed with the row's id")
    image_tokens: ImageTokens = Field(280, description=_IMAGE_TOKENS)
    fps: float = Field(1.0, gt=0, le=30, description="frames sampled a second of video")
    start_s: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="of sound or video: begin so many seconds in"
    )
    end_s: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="of sound or video: end so many seconds in"
    )
    windows: Literal["time", "scenes"] = Field(
        "time", description="long video is cut into equal windows, or where scenes end"
    )
    prompt_format: Literal["chat", "raw"] = Field(
        "chat", description="raw: no chat template, the prompt as it is; for base checkpoints"
    )
    max_media_bytes: int = Field(4 << 30, ge=1, description="larger media are too_large")

    @model_validator(mode="after")
    def _plain_if_raw(self) -> Self:
        for name in ("thinking", "system"):
            if self.prompt_format == "raw" and getattr(self, name):
                raise ValueError(
                    f"prompt_format: raw prompts have no turn for {name}; leave it out"
                )
        return self

    @property
    def most_pixels(self) -> int:
        """Pixels that the model is given of an image at most."""
        tokens = self.image_tokens
        return TOKEN_PIXELS * (self.most_image_tokens if tokens == "auto" else tokens)

    @property
    def part(self) -> tuple[float, float | None]:
        """Where sound and video are begun and ended, in seconds; None: at their end."""
        return self.start_s, self.end_s

    @model_validator(mode="after")
    def _some_part(self) -> Self:
        if self.end_s is not None and self.end_s <= self.start_s:
            raise ValueError(
                f"end_s: {self.end_s:g} is not after start_s, {self.start_s:g}; both count from "
                "the start of the medium"
            )
        return self


class DetailOptions(TaskOptions):
    """Options of tasks that read letters: documents keep theirs, small images are not blown up."""

    most_image_tokens = IMAGE_BUDGETS[-1]

    image_tokens: ImageTokens = Field("auto", description=_IMAGE_TOKENS)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a row of the task costs, for planning alone: the worker counts for itself.

    `request_tokens` are the prompt's words and the usual answer of one request;
    `second_tokens` the media tokens of a second of sound or video; `image_tokens`
    those of an image; `default_seconds` the length taken for media of unknown length
    (0: taken for an image); `part` where sound and video are begun and ended, in seconds.
    """

    request_tokens: int
    image_tokens: int = 0
    second_tokens: float = 0.0
    default_seconds: float = 0.0
    part: tuple[float, float | None] = (0.0, None)


class Task(ABC):
    """One thing that can be asked of the model."""

    name: ClassVar[str]
    version: ClassVar[int] = 1
    summary: ClassVar[str]
    #: Media kinds the task takes, and model abilities it cannot do without.
    kinds: ClassVar[frozenset[str]]
    needs: ClassVar[frozenset[Ability]] = frozenset()
    #: All of a row goes into one request (True) if it fits and has one film at most, or
    #: every image and window is asked about by itself.
    together: ClassVar[bool] = False
    #: Rows without media are asked about in text alone (True), or are faults of the manifest.
    text_alone: ClassVar[bool] = False
    #: Answers repeat what is said or written in media (True), be it a refusal.
    verbatim: ClassVar[bool] = False
    Options: ClassVar[type[TaskOptions]] = TaskOptions
    #: Options without which nothing can be asked: given for the job, or in columns.
    required: ClassVar[tuple[str, ...]] = ()
    #: Arrow fields that the task adds to the record.
    columns: ClassVar[tuple[pa.Field, ...]] = ()

    def reading(self, options: Any, abilities: frozenset[str]) -> Reading:
        """How the row's media are to be decoded for a model with these abilities.

        Unless a task says otherwise, video in windows of frames at `fps`, with its sound if
        the model hears.
        """
        return Reading(
            kinds=self.kinds,
            video="clip",
            sound="audio" in abilities,
            fps=options.fps,
            start_s=options.start_s,
            end_s=options.end_s,
            windows=options.windows,
            image_pixels=OVERSAMPLING * options.most_pixels,
        )

    def check(self, options: Any, columns: Collection[str]) -> None:  # noqa: B027
        """Raise InvalidJob if rows with these columns of the manifest cannot be asked about.

        An option that rows give in a column is left out here, so that it has its default.
        """

    @abstractmethod
    def cost(self, options: Any) -> Cost:
        """What a row costs, for the planner."""

    @abstractmethod
    def prompt(self, row: Row, piece: Piece, options: Any) -> Prompt:
        """What to ask about this piece of the row's media."""

    def conclude(self, row: Row, answers: Sequence[Answer], options: Any) -> Prompt | None:
        """A last question of text alone, over the several answers of a row; None: none.

        `answers` are some in order; of very many, first parts are asked about and then
        what came of the parts, so whether there is one must not depend on them.
        """
        return None

    @abstractmethod
    def parse(self, row: Row, answers: Sequence[Answer], options: Any) -> Parsed:
        """Read the answers of all pieces, in the order of media and time, a conclusion last.

        Raises RowError("unparsable") if they are not what was asked for; the record
        then keeps the raw text.
        """
