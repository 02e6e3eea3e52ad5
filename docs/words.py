"""What the pages say of each task in our own words; facts that code knows come from the code."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.tasks.base import DetailOptions, Task
from jobs.tasks.listening import Listening
from jobs.tasks.located import Locating
from jobs.tasks.structured import Constrained
from jobs.tasks.telling import Telling


@dataclass(frozen=True, slots=True)
class Words:
    """`purpose` opens the page, `tips` are of this task alone."""

    purpose: str
    tips: tuple[str, ...] = ()


WORDS: dict[str, Words] = {
    "caption": Words(
        "Says in words what an image or a film shows: for search, for training data, for people"
        " who cannot see it. Several images of one row are described together. Where the model"
        " hears, it is given a film's sound as well.",
        (
            "`length`, `style` and `language` shape the caption; `prompt` replaces the whole"
            " question.",
            "With a model that does not hear, a film that has sound carries the warning"
            " `audio_not_heard`; submitting says so beforehand.",
        ),
    ),
    "transcribe": Words(
        "Writes down what is said in recordings and in the sound of films, with times. Sound is"
        " cut at pauses into pieces that the model can hear at once; each is a segment.",
        (
            "Name the `language` if you know it: the model then guesses less. Of mixed"
            " collections, take it from a column: `--from-columns language`.",
            "Where voice detection finds nobody, the model is not asked: no segments, no text,"
            " and the warning `no_speech`.",
            "`mediamill export transcribe-records --to srt subtitles/` makes subtitles of the"
            " segments.",
        ),
    ),
    "translate-speech": Words(
        "Writes down what is said and puts it into another language, segment by segment, both"
        " with the same times. The column `text` is the translation alone.",
        (
            "`target` is English unless you name another language, by name or code.",
            "A segment whose answer has no translation keeps its `text`, and is counted in the"
            " warning `no_translation`.",
            "Subtitles made with `mediamill export` show the translation.",
        ),
    ),
    "detect": Words(
        "Finds things and says where they are: a label and a box for each, in pixels of the"
        " original. Any words may be labels; without any, the model names what is prominent.",
        (
            "`box_1000` is what the model wrote, [y0, x0, y1, x1] on a grid of 1000 by 1000;"
            " `box` is the same in pixels.",
            "`gui=true` is for screenshots: labels then name elements, such as buttons by their"
            " text.",
            "`mediamill export detect-records --to coco boxes.json` makes a COCO dataset.",
        ),
    ),
    "point": Words(
        "Says where one named thing is: the centre of its box, in pixels of the original, and the"
        " box. Made for a button on a screen, good for any single thing.",
        (
            "One element a row; rows usually ask for different ones, hence"
            " `--from-columns element`.",
            "If the model sees several, there are several points.",
        ),
    ),
    "ocr": Words(
        "Reads what is written: the plain text, line by line, or with `form=markdown` a document"
        " with its headings, lists and tables.",
        (
            "A text that was longer than `max_tokens` carries the warning `cut_at_token_limit`:"
            " `mediamill retry ocr-records --warning cut_at_token_limit --set max_tokens=8192`.",
            "For fields of a form, see [extract](extract.md).",
        ),
    ),
    "describe-audio": Words(
        "Describes what is heard: who speaks, about what and how, and what else there is. The"
        " answer is prose; for the words themselves see [transcribe](transcribe.md).",
        (
            "Gemma 4 was trained on speech. It is given the parts in which there are voices, and"
            " knows little of music and noises.",
            "Where voice detection finds nobody, the description is empty and the warning is"
            " `no_speech`.",
        ),
    ),
    "ask": Words(
        "Asks a question of your own about images, films, sounds, or several of them together.",
        (
            "One question for all rows: `--set question=…`; one for each:"
            " `--from-columns question`.",
            "For a choice between a few answers [classify](classify.md) is safer, for values"
            " [extract](extract.md).",
        ),
    ),
    "chat": Words(
        "Asks anything, in words made from the row's columns: `{name}` in `prompt` or `system`"
        " stands for that column. A row may have media of any kind, or none at all.",
        (
            "Braces that stand for themselves are doubled: `{{` and `}}`. A name that is no column"
            " is refused when the job is submitted.",
            "Lists and objects in columns are put in as JSON, null as nothing.",
        ),
    ),
    "classify": Words(
        "Sorts images, films and sounds into your labels. A grammar holds the answer to them, so"
        " it can be no other word.",
        (
            "`multiple=true` lets any number apply, none among them; `label` is then the first of"
            " `labels`.",
            "Labels that say what they mean (`receipt, letter, photograph`) do better than codes.",
            "A long film is asked about in windows: its label is that of most of them, or with"
            " `multiple=true` every label that one of them has.",
        ),
    ),
    "extract": Words(
        "Reads facts into JSON of a shape that you give as a JSON schema. The model is told the"
        " schema, a grammar holds the answer to it, and the value is checked afterwards.",
        (
            'Let what may be missing be null (`"type": ["number", "null"]`), or the model has to'
            " invent it. A property's `description` helps.",
            "`data` is JSON text: `json.loads(record['data'])`.",
            "A value that breaks the schema all the same is kept, with the warning"
            " `schema_mismatch` and where; one that had to be repaired has `mended_json`.",
        ),
    ),
    "call-tools": Words(
        "Shows the model functions that you declare, and gives the calls that it would make as"
        " data. **Nothing is ever executed.**",
        (
            "`arguments` is JSON text; what the model says besides is in the column `text`.",
            "Calls of functions that were not declared are kept and counted in the warning"
            " `undeclared_tools`, arguments that break their schema in `invalid_arguments`.",
            "`prompt` says what is wanted of the functions; the task's own says only to call"
            " what fits.",
        ),
    ),
    "to-html": Words(
        "Writes one HTML page, with its CSS inside, that looks like a screenshot. The page is"
        " text: mediamill runs nothing of it, and neither should you without a look.",
        (
            "Pages are long; one that was cut has the warning `cut_at_token_limit`. Raise"
            " `max_tokens`.",
        ),
    ),
}


def tips(task: Task) -> list[str]:
    """What a user should know: this task's own tips, and those of all tasks of its sort."""
    found = list(WORDS[task.name].tips)
    if "image" in task.kinds:
        found.append(_budget(task))
    found += [_several(task), *_long(task)]
    if "document" in task.kinds:
        found.append(_document(task))
    if task.kinds & {"audio", "video"}:
        found.append("`start_s` and `end_s` take a part of a recording or film, in seconds.")
    fields = task.Options.model_fields
    own = (*task.required, *(name for name in ("language", "labels") if name in fields), "prompt")
    found.append(
        f"Every option may differ by row: `--from-columns {own[0]},max_tokens` takes them from"
        " columns of those names; a null there leaves the job's."
    )
    if not issubclass(task.Options, Constrained):
        found.append(
            "`--set thinking=true` lets the model think first. The thought is in the column"
            " `thought`, never in the answer, and counts towards `max_tokens`."
        )
    else:
        found.append("`thinking` is refused: the grammar of the answer leaves no room for it.")
    return found


def _budget(task: Task) -> str:
    if issubclass(task.Options, DetailOptions):
        return (
            "`image_tokens` is `auto`: each image gets as many soft tokens as its pixels are worth,"
            f" up to {task.Options.most_image_tokens}. Fewer are quicker, and lose small print."
        )
    films = "" if isinstance(task, Locating) else " Frames of films have a fixed budget."
    return (
        "`image_tokens` is what an image may cost: 70 for a quick look, 280 unless you say"
        " otherwise, 560 or 1120 where small things matter. A small image at a large budget is"
        f" blown up, and warned of as `upscaled`.{films}"
    )


def _several(task: Task) -> str:
    if task.together:
        film = " and there is one film at most" if "image" in task.kinds else ""
        return (
            "Several media in a row (`uris` in place of `uri`) are asked about in one request, as"
            f" long as the model's context holds them{film}."
        )
    if isinstance(task, Locating):
        return (
            "Several images in a row (`uris` in place of `uri`) are asked about one by one;"
            " `media_index` says which one a box is of, from 0."
        )
    return "Several media in a row (`uris` in place of `uri`) are asked about one by one, in order."


def _document(task: Task) -> str:
    if task.together:
        seen = (
            "The pages of a PDF are seen together while one request holds them, else one by one:"
            " the column `pages` then has the answer of each."
        )
    else:
        seen = "Each page of a PDF is asked about by itself: the column `pages` has them all."
    return f"{seen} `--set pages=1-3,7` takes some of them."


def _long(task: Task) -> list[str]:
    if isinstance(task, Locating):
        return [
            "Of a film each frame at `fps` is asked about like an image; `time_s` says when it is."
        ]
    if isinstance(task, Listening):
        return ["Recordings may last for hours: memory stays flat, and times are of the whole."]
    if isinstance(task, Telling):
        return [
            "What is too long for one request is asked about in windows, each with its answer in"
            " `segments`, and once more over these answers; `summary=false` leaves that out."
        ]
    return []
