"""Answers that decline, and the many that do not."""
# ruff: noqa: RUF001
# Quotes and commas are those that models write.

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.refusals import refused

REFUSALS = (
    "I cannot fulfill this request.",
    "I'm sorry, but I can't help with that.",
    "I’m sorry, but I can’t assist with that request.",
    "I am sorry, I cannot identify people in images.",
    "I'm unable to identify the person in this photo.",
    "I am unable to provide a description of this image.",
    "I'm not able to process audio files directly.",
    "Sorry, I can't do that.",
    "Unfortunately, I cannot see the image you are referring to.",
    "I apologize, but as an AI language model, I am unable to view images.",
    "As a large language model, I cannot listen to audio recordings.",
    "I cannot view images, so I can't say what it shows.",
    "I can't hear the recording.",
    "As a safe and helpful AI assistant, I won't create content of that kind.",
    "I won't be able to answer this question.",
    "I'm not comfortable describing this image.",
    "I am programmed to be a safe and harmless AI assistant. I cannot …",
    "**I cannot fulfill your request** to describe this.",
    "\n I can't help you with this.",
    "Es tut mir leid, aber ich kann Ihnen dabei nicht helfen.",
    "Tut mir leid, ich kann diese Anfrage nicht erfüllen.",
    "Lo siento, pero no puedo ayudarte con eso.",
    "Je suis désolé, mais je ne peux pas vous aider.",
    "Désolée, je ne suis pas en mesure de répondre à cette question.",
    "Mi dispiace, ma non posso aiutarti.",
    "Desculpe, mas não posso ajudar com isso.",
    "抱歉，我无法提供帮助。",
)
ORDINARY = (
    "A cat asleep on a red sofa beside a window.",
    "A sign reads: “Sorry, we are closed.”",
    "The man says he is sorry, but he cannot help with that.",
    "“I cannot fulfill this request,” says the robot on the screen.",
    "The text says \"I'm sorry, but I can't assist with that.\"",
    "I can't help falling in love with you is written on a mug.",
    "I can't stop.",
    "I cannot see any cars; the street is empty.",
    "I cannot see any people in this image.",
    "I cannot identify any text in the image.",
    "I can't see anyone in the picture who wears a hat.",
    "I can't wait for summer, reads the T-shirt of a smiling girl.",
    "Sorry, I can't come tonight.",
    "I'm sorry I missed your birthday.",
    "I am a robot, and this is my picture.",
    "Unfortunately, the left half is out of focus; a dog can be made out.",
    "As a model walks the runway, photographers take her picture.",
    "An apologetic letter that begins with “I apologize”.",
    "No.",
    "Es tut mir leid, steht auf der Karte.",
    "Tut mir leid, ich kann heute nicht kommen.",
    "Lo siento, no puedo ir.",
    "Je ne peux pas vivre sans toi, chante-t-elle.",
    "对不起，我爱你。",
    "",
    '{"total": null}',
    '```json\n[{"box_2d": [1, 2, 3, 4], "label": "sorry"}]\n```',
)


@pytest.mark.parametrize("text", REFUSALS)
def test_it_declines(text: str) -> None:
    assert refused(text)
    assert refused(text.upper().replace("’", "'"))
    assert refused(f"{text} Here is why: " + "words " * 500)


@pytest.mark.parametrize("text", ORDINARY)
def test_it_does_not(text: str) -> None:
    assert not refused(text)


@pytest.mark.parametrize("text", REFUSALS)
@pytest.mark.parametrize("before", ["She said: ", '"', "The page reads\n", "1. "])
def test_what_is_quoted_is_no_refusal(before: str, text: str) -> None:
    assert not refused(before + text)


#: Words that refusals are made of, in any order, after a caption's first word.
WORDS = st.lists(
    st.sampled_from(("i", "cannot", "sorry", "help", "with", "this", "image", "am", "unable", "ai"))
)


@given(first=st.sampled_from(["A", "The", "Two", "There"]), words=WORDS)
def test_a_caption_begins_otherwise(first: str, words: list[str]) -> None:
    assert not refused(" ".join([first, *words]))


@given(st.text())
def test_no_text_is_too_odd(text: str) -> None:
    # Nothing but a refusal's first words begins one.
    first = text.strip().lstrip("*_# ")[:1].casefold()
    assert not refused(text) or first in set("isuamtldj抱很非对")
