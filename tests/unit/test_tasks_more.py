"""The other tasks: what they ask, and what they make of answers in every usual form."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.pieces import WHOLE, Piece, Span
from jobs.spec import check_options
from jobs.tasks import get_task
from jobs.tasks.base import Answer, Parsed, Prompt, Row
from storage.errors import InvalidJob, RowError
from storage.records import check_columns

ROW = Row("r", ("a.jpg",))
IMAGE = Span(0, 0, 1, width=200, height=100)
SCHEMA = {
    "type": "object",
    "properties": {"total": {"type": "number"}, "currency": {"enum": ["EUR", "USD"]}},
    "required": ["total", "currency"],
}
WEATHER = {
    "name": "get_weather",
    "description": "Current weather of a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"],
    },
}
#: For each task, what it cannot be asked without.
GIVEN: dict[str, dict[str, Any]] = {
    "ask": {"question": "What color is it?"},
    "call-tools": {"tools": [WEATHER]},
    "caption": {},
    "classify": {"labels": "cat,dog,large bird"},
    "detect": {},
    "extract": {"json_schema": SCHEMA},
    "ocr": {},
    "point": {"element": "Send"},
    "to-html": {},
    "transcribe": {},
    "translate-speech": {"target": "German"},
}


def window(start_s: float) -> Span:
    return Span(0, int(start_s * 16000), int((start_s + 30) * 16000), start_s, start_s + 30)


def parse(task: str, *raws: str, spans: tuple[Span, ...] = (), **options: Any) -> Parsed:
    """As a worker reads them."""
    found = get_task(task)
    made = check_options(found, GIVEN[task] | options, ())
    places = spans or (IMAGE,) * len(raws)
    answers = [Answer.read(span, raw, "stop") for span, raw in zip(places, raws, strict=True)]
    parsed = found.parse(ROW, answers, made)
    check_columns(parsed.text, parsed.columns, found.columns)
    return parsed


def asked(task: str, span: Span = IMAGE, **options: Any) -> Prompt:
    found = get_task(task)
    image = np.zeros((span.height, span.width, 3), np.uint8)
    made = check_options(found, GIVEN[task] | options, ())
    return found.prompt(ROW, Piece(span, images=(image,)), made)


@pytest.mark.parametrize("task", [name for name in GIVEN if get_task(name).required])
def test_a_job_without_what_the_task_needs_is_refused(task: str) -> None:
    [name] = get_task(task).required
    with pytest.raises(InvalidJob, match=f"{task} needs {name}"):
        check_options(get_task(task), {}, ())
    # In columns it may stand row by row; a row without it is that row's error.
    made = check_options(get_task(task), {}, (name,))
    with pytest.raises(RowError, match=f"no {name}") as caught:
        get_task(task).prompt(ROW, Piece(IMAGE), made)
    assert caught.value.kind == "invalid_row"


@pytest.mark.parametrize(
    ("width", "height", "budget"),
    [(64, 64, 70), (400, 300, 70), (640, 480, 140), (800, 800, 280), (1200, 1000, 560),
     (1654, 2339, 1120), (8000, 6000, 1120)],
)  # fmt: skip
def test_auto_gives_an_image_no_more_than_its_pixels(width: int, height: int, budget: int) -> None:
    span = Span(0, 0, 1, width=width, height=height)
    assert asked("ocr", span).image_tokens == budget
    assert asked("caption", span, image_tokens="auto").image_tokens == min(280, budget)
    assert asked("caption", span).image_tokens == 280
    assert asked("ocr", span, image_tokens=70).image_tokens == 70


def test_a_point_is_the_centre_of_its_box() -> None:
    parsed = parse("point", '```json\n[{"box_2d": [100, 200, 300, 400], "label": "Send"}]\n```')
    [point] = parsed.columns["points"]
    assert (point["x"], point["y"]) == (60.0, 20.0)
    assert point["box"] == {"x0": 40.0, "y0": 10.0, "x1": 80.0, "y1": 30.0}
    assert asked("point").text == 'What\'s the bounding box for the "Send" element in the image?'
    assert parse("point", "There is no such element.").columns["points"] == []


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("Exit\nGate 4", "Exit\nGate 4"),
        ("```\nExit\nGate 4\n```", "Exit\nGate 4"),
        ("```markdown\n# Exit\n```", "# Exit"),
        ("Code: ```x```", "Code: ```x```"),
        ("", ""),
    ],
)
def test_text_is_taken_out_of_its_fence(raw: str, text: str) -> None:
    assert parse("ocr", raw).text == text


def test_documents_are_asked_for_as_markdown() -> None:
    assert "Markdown" in asked("ocr", form="markdown").text
    assert asked("ocr").temperature == 0


def test_keys_and_values_are_told_where_they_are_read() -> None:
    with pytest.raises(InvalidJob, match=r"option form: .*--task extract --set json_schema=@FILE"):
        check_options(get_task("ocr"), {"form": "key-value"}, ())
    with pytest.raises(InvalidJob, match="'text' or 'markdown'"):
        check_options(get_task("ocr"), {"form": "html"}, ())


@pytest.mark.parametrize("raw", ['"dog"', "dog", " Dog.", "'dog'", "`DOG`"])
def test_a_label_is_one_of_the_set(raw: str) -> None:
    parsed = parse("classify", raw)
    assert parsed.columns == {"label": "dog", "labels": ["dog"]}
    assert parsed.text == "dog"


@pytest.mark.parametrize(
    "raw",
    ['["large bird", "cat"]', "Large bird, cat", "```json\n['cat', 'large bird']\n```"],
)
def test_several_labels_stand_in_the_order_of_the_set(raw: str) -> None:
    assert parse("classify", raw, multiple=True).columns["labels"] == ["cat", "large bird"]
    assert parse("classify", "[]", multiple=True).columns == {"label": None, "labels": []}


def test_windows_vote_for_a_label() -> None:
    spans = (window(0), window(30), window(60))
    parsed = parse("classify", '"dog"', '"cat"', '"cat"', spans=spans)
    assert parsed.columns["label"] == "cat"
    several = parse("classify", '["dog"]', "[]", '["cat"]', spans=spans, multiple=True)
    assert several.columns["labels"] == ["cat", "dog"]


@pytest.mark.parametrize("raw", ["horse", "", '["cat", "horse"]', "a cat or a dog"])
def test_what_is_no_label_is_unparsable(raw: str) -> None:
    with pytest.raises(RowError, match="none of: cat, dog, large bird"):
        parse("classify", raw, multiple=raw.startswith("["))


def test_labels_are_held_to_by_a_grammar_and_told() -> None:
    prompt = asked("classify")
    assert prompt.json_schema == {"type": "string", "enum": ["cat", "dog", "large bird"]}
    assert '"large bird"' in prompt.text
    with pytest.raises(InvalidJob, match="thinking"):
        asked("classify", thinking=True)


@pytest.mark.parametrize(
    ("raw", "warnings"),
    [
        ('{"total": 12.5, "currency": "EUR"}', ()),
        ('```json\n{"total": 12.5, "currency": "EUR",}\n```', ("mended_json",)),
        ("Here: {'total': 12.5, 'currency': 'EUR'}", ("mended_json",)),
    ],
)
def test_values_are_read_out_of_every_usual_form(raw: str, warnings: tuple[str, ...]) -> None:
    parsed = parse("extract", raw)
    assert json.loads(parsed.columns["data"]) == {"total": 12.5, "currency": "EUR"}
    assert parsed.warnings == warnings


def test_what_breaks_the_schema_is_marked() -> None:
    parsed = parse("extract", '{"total": "a lot", "currency": "EUR"}')
    assert parsed.warnings == ("schema_mismatch:total: type",)
    for raw in ('{"total": 12.5, "curr', "nothing", ""):
        with pytest.raises(RowError) as caught:
            parse("extract", raw)
        assert caught.value.kind == "unparsable"


def test_a_schema_is_told_and_held_to() -> None:
    prompt = asked("extract", prompt="Read the receipt.")
    assert prompt.text.startswith("Read the receipt.\n")
    assert json.loads(prompt.text.splitlines()[-1]) == SCHEMA == prompt.json_schema
    with pytest.raises(InvalidJob, match="properties/total/type"):
        asked("extract", json_schema={"properties": {"total": {"type": "money"}}})


def test_calls_are_data() -> None:
    raw = (
        'Let me see.<|tool_call>call:get_weather{city:<|"|>Rome<|"|>,days:3}<tool_call|>'
        '<|tool_call>call:get_weather{days:<|"|>many<|"|>}<tool_call|>'
        "<|tool_call>call:launch{}<tool_call|><|tool_call>call:get_wea<|tool_response>"
    )
    parsed = parse("call-tools", raw)
    assert parsed.text == "Let me see."
    calls = [(c["name"], json.loads(c["arguments"])) for c in parsed.columns["tool_calls"]]
    assert calls == [
        ("get_weather", {"city": "Rome", "days": 3}),
        ("get_weather", {"days": "many"}),
        ("launch", {}),
    ]
    assert parsed.warnings == ("undeclared_tools:1", "invalid_arguments:1", "broken_calls:1")


def test_tools_are_declared_in_either_form() -> None:
    inner = asked("call-tools").tools
    assert asked("call-tools", tools=[{"type": "function", "function": WEATHER}]).tools == inner
    assert asked("call-tools", tools=json.dumps([WEATHER])).tools == inner
    for wrong in ([{"description": "no name"}], 3, [{"name": "f", "parameters": {"type": "no"}}]):
        with pytest.raises(InvalidJob, match="tool"):
            asked("call-tools", tools=wrong)


def test_speech_comes_in_two_languages() -> None:
    spans = (window(0), window(30), window(60))
    parsed = parse(
        "translate-speech",
        "good morning German: they said\nGerman: guten Morgen",
        "",
        "see you",
        spans=spans,
    )
    assert parsed.text == "guten Morgen"
    assert parsed.warnings == ("no_translation:1",)
    assert parsed.columns["segments"] == [
        {
            "start_s": 0,
            "end_s": 30,
            "text": "good morning German: they said",
            "translation": "guten Morgen",
        },
        {"start_s": 60, "end_s": 90, "text": "see you", "translation": None},
    ]


@pytest.mark.parametrize("task", ["transcribe", "translate-speech"])
def test_where_nobody_speaks_the_record_says_so(task: str) -> None:
    parsed = parse(task)
    assert (parsed.text, parsed.columns["segments"]) == ("", [])
    assert parsed.warnings == ("no_speech",)


@pytest.mark.parametrize("target", ["", "  ", "xx"])
def test_a_target_that_is_no_language_is_refused(target: str) -> None:
    with pytest.raises(InvalidJob, match=r"target: .*unknown language"):
        asked("translate-speech", target=target)


def test_speech_is_asked_for_in_googles_words() -> None:
    found = get_task("translate-speech")
    options = check_options(found, {"language": "fr", "target": "en"}, ())
    assert found.prompt(ROW, Piece(window(0)), options).text == (
        "Transcribe the following speech segment in French, then translate it into English.\n"
        "When formatting the answer, first output the transcription in French, then one newline,"
        " then output the string 'English: ', then the translation in English."
    )


@pytest.mark.parametrize(
    ("raw", "html"),
    [
        ("```html\n<!DOCTYPE html><p>Hi</p>\n```\nDone.", "<!DOCTYPE html><p>Hi</p>"),
        ("Sure:\n<html><p>Hi</p></html>", "<html><p>Hi</p></html>"),
        ("<p>Hi</p>", "<p>Hi</p>"),
        ("```html\n<html><p>cut", "<html><p>cut"),
    ],
)
def test_a_page_is_taken_out_of_its_fence(raw: str, html: str) -> None:
    assert parse("to-html", raw).columns["html"] == html


def test_an_answer_without_a_tag_is_no_page() -> None:
    with pytest.raises(RowError, match="no HTML"):
        parse("to-html", "I cannot do that.")


def test_questions_are_asked_as_they_are() -> None:
    assert asked("ask").text == "What color is it?"
    assert asked("ask").temperature is None
    parsed = parse("ask", "Red.", "Blue.", spans=(window(0), window(30)))
    assert parsed.columns["answer"] == "[00:00-00:30] Red.\n[00:30-01:00] Blue."
    with pytest.raises(RowError, match="no answer"):
        parse("ask", "  ")


@pytest.mark.parametrize("task", GIVEN)
@given(
    raws=st.lists(
        st.lists(
            st.sampled_from(
                [
                    *("cat", '"', "[", "]", "{", "}", ",", ":", "\n", "```json", "```", "<p>"),
                    *("German: ", "<|tool_call>", "call:get_weather{", '<|"|>', "<tool_call|>"),
                    *("<|channel>", "<channel|>", '"box_2d": [1, 2, 30, 40]'),
                    *("\ud800", "1e999", "NaN", "é"),
                ]
            )
            | st.text(max_size=8)
        ).map("".join),
        min_size=1,
        max_size=3,
    )
)  # fmt: skip
def test_no_answer_trips_a_task_up(task: str, raws: list[str]) -> None:
    raws = [raw.encode("utf-8", "replace").decode() for raw in raws]
    spans = tuple(window(30.0 * i) for i in range(len(raws)))
    try:
        parsed = parse(task, *raws, spans=spans)
    except RowError as error:
        assert error.kind == "unparsable"  # noqa: PT017 -- no error is as good
        return
    pa.array([parsed.text], pa.string())
    if task == "extract":
        json.loads(parsed.columns["data"], parse_constant=pytest.fail)


def page(number: int, medium: int = 0) -> Span:
    return Span(medium, number, number + 1, width=1910, height=2702)


def test_every_page_of_a_document_is_read() -> None:
    spans = (page(1), page(2), page(7))
    parsed = parse("ocr", "```\nOne\n```", "", "Seven", spans=spans)
    assert parsed.text == "One\n\nSeven"
    assert parsed.columns["pages"] == [
        {"page": 1, "text": "One"}, {"page": 2, "text": ""}, {"page": 7, "text": "Seven"}
    ]  # fmt: skip
    assert parse("ocr", "A sign").columns["pages"] is None


def test_pages_are_drawn_for_the_budget_of_an_image() -> None:
    for task, options, budget in (
        ("ocr", {}, 1120),
        ("extract", {"image_tokens": 560}, 560),
        ("ask", {}, 280),
        ("ask", {"image_tokens": 1120, "pages": "2-", "max_pages": 9}, 1120),
    ):
        found = get_task(task)
        made = check_options(found, GIVEN[task] | options, ())
        reading = found.reading(made, frozenset())
        assert "document" in reading.kinds
        assert reading.page_pixels == 2 * budget * 48 * 48
        assert (reading.pages, reading.max_pages) == (
            options.get("pages"), options.get("max_pages", 2000)
        )  # fmt: skip
    assert asked("ocr", page(1)).image_tokens == 1120


def test_pages_that_cannot_be_read_are_refused() -> None:
    with pytest.raises(InvalidJob, match=r"option pages: .*'x' are no pages: .*1-3,7"):
        check_options(get_task("ocr"), {"pages": "1,x"}, ())
    # As a column of integers gives it.
    assert get_task("ocr").Options.model_validate({"pages": 3}).pages == "3"  # type: ignore[attr-defined]


def test_a_question_about_many_pages_has_their_answers_too() -> None:
    spans = (page(1), page(2), page(1, medium=1))
    parsed = parse("ask", "Red.", "Blue.", "Red.", spans=spans)
    assert parsed.text == "[#1 page 1] Red.\n[#1 page 2] Blue.\n[#2 page 1] Red."
    assert parsed.columns["pages"] == [
        {"page": 1, "text": "Red."}, {"page": 2, "text": "Blue."}, {"page": 1, "text": "Red."}
    ]  # fmt: skip
    concluded = parse("ask", "Red.", "Blue.", "Both.", spans=(*spans[:2], Span(WHOLE, 0, 1)))
    assert (concluded.text, len(concluded.columns["pages"])) == ("Both.", 2)
    # All seen at once, or one page: the row's answer says it.
    assert parse("ask", "Red.", spans=(page(1),)).columns["pages"] is None
    # Halves of very many pages stand for their range.
    assert "[pages 3-9] Red." in parse("ask", "Red.", "x", spans=(Span(0, 3, 10), page(10))).text


INVOICE = {
    "type": "object",
    "properties": {
        "number": {"type": ["string", "null"]},
        "total": {"type": ["number", "null"]},
        "seller": {"type": ["object", "null"]},
        "items": {"type": "array", "maxItems": 3},
    },
    "required": ["number", "total"],
}


def test_facts_of_many_pages_make_one_value() -> None:
    answers = (
        {"number": "A1", "total": None, "seller": {"name": "Ann", "city": ""}, "items": ["x"]},
        {"number": "", "total": None, "seller": {"city": "Rome"}, "items": ["y", "z"]},
        {"number": "B2", "total": 9.5, "seller": None, "items": []},
    )
    spans = tuple(map(page, (1, 2, 3)))
    parsed = parse("extract", *map(json.dumps, answers), spans=spans, json_schema=INVOICE)
    whole = {
        "number": "A1",
        "total": 9.5,
        "seller": {"name": "Ann", "city": "Rome"},
        "items": ["x", "y", "z"],
    }
    assert json.loads(parsed.columns["data"]) == json.loads(parsed.text) == whole
    assert parsed.warnings == ()
    assert [json.loads(p["text"]) for p in parsed.columns["pages"]] == list(answers)
    # Whole values are checked as well: four items are too many.
    again = parse(
        "extract", *map(json.dumps, (*answers, answers[0])), json_schema=INVOICE,
        spans=(*spans, page(4)),
    )  # fmt: skip
    assert again.warnings == ("schema_mismatch:items: maxItems",)


@pytest.mark.parametrize(
    ("values", "whole"),
    [
        (["null", "null"], None),
        (["null", "3", "4"], 3),
        (["[1]", "null", "[2]"], [1, 2]),
        (['{"a": 1}', "[2]"], {"a": 1}),
    ],
)
def test_values_of_pages_of_any_form_are_joined(values: list[str], whole: Any) -> None:
    spans = tuple(page(n + 1) for n in range(len(values)))
    parsed = parse("extract", *values, spans=spans, json_schema={"title": "anything"})
    assert json.loads(parsed.columns["data"]) == whole


def test_windows_and_single_requests_keep_their_values() -> None:
    one, two = '{"total":1,"currency":"EUR"}', '{"total":2,"currency":"EUR"}'
    windows = parse("extract", one, two, spans=(window(0), window(30)))
    assert windows.columns == {"data": f"[{one},{two}]", "pages": None}
    assert parse("extract", one, spans=(page(1),)).columns == {"data": one, "pages": None}
