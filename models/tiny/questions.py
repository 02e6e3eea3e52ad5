"""What the tiny model is asked: the tasks' own prompts, and rewordings of them."""

from __future__ import annotations

import random

#: Google's prompts, as the tasks ask them (a test holds the two together).
CAPTION = "Write single detailed caption for this image."
CAPTION_SEVERAL = "Write single detailed caption for these images."
CAPTION_VIDEO = "Write single detailed caption for this video."
_SPEECH_FORMAT = (
    "Follow these specific instructions for formatting the answer:\n"
    "* Only output the transcription, with no newlines.\n"
    "* When transcribing numbers, write the digits, i.e. write 1.7 and not one point seven,"
    " and write 3 instead of three."
)
TRANSCRIBE = (
    "Transcribe the following speech segment in {language} into {language} text.\n\n"
    + _SPEECH_FORMAT
)
TRANSCRIBE_ORIGINAL = (
    "Transcribe the following speech segment in its original language. " + _SPEECH_FORMAT
)
ELEMENT = 'What\'s the bounding box for the "{label}" element in the image?'

REWORDED: dict[str, tuple[str, ...]] = {
    "caption": (
        "Describe this image.",
        "Describe the image in one sentence.",
        "What is in this picture?",
        "Caption this image.",
        "What do you see?",
    ),
    "caption_several": ("Describe these images.", "What is in these pictures?"),
    "caption_video": ("Describe this video.", "What happens in this video?"),
    "transcribe": (
        "Transcribe this audio.",
        "What is said in this recording?",
        "Write down what you hear.",
    ),
    "ocr": (
        "Read the text in this image.",
        "What text is in this image?",
        "Extract all text from this image.",
        "Write down the text in this image, line by line.",
        "What does it say?",
    ),
    "language": (
        "What language is spoken in this recording?",
        "Which language is this?",
        "Name the language of the speech.",
    ),
    "weather": (
        "What is the weather in the city on the sign?",
        "How is the weather in this city?",
        "Get the weather for the city in the picture.",
    ),
}


def ask(rng: random.Random, kind: str, own: str | None, *, own_share: float = 0.7) -> str:
    """The task's `own` prompt for most examples, a rewording of `kind` for the rest."""
    if own is not None and rng.random() < own_share:
        return own
    return rng.choice(REWORDED[kind])


def detect(rng: random.Random, labels: list[str]) -> str:
    """Google's prompt for detection, with or without its suffix."""
    if len(labels) > 2 and rng.random() < 0.5:
        text = "detect " + ", ".join(labels[:-1]) + " and " + labels[-1]
    else:
        text = "detect " + " and ".join(labels)
    return text + rng.choice(("", ", output only ```json"))


#: The tool that a picture of a sign calls for.
WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "Name of the city"}},
            "required": ["city"],
        },
    },
}
