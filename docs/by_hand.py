"""Examples of what the tiny model was not taught: answers written by hand, in Gemma 4's forms."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from docs.drawn import picture, scene
from docs.example import Example, Line
from models.tiny.evaluation.media import Samples, write_wav
from models.tiny.speech import RATE, Manner, Speaker

_INK, _PALE = (30, 30, 30), (120, 120, 120)
_RECEIPT = (
    ("CORNER TEA", ""), ("12 Harbor Street", ""), ("", ""), ("2 Green tea", "4.80"),
    ("1 Lemon cake", "3.20"), ("", ""), ("TOTAL", "8.00"), ("2026-03-14  16:05", ""),
)  # fmt: skip
_SCHEMA = """\
{
  "type": "object",
  "required": ["shop", "date", "total", "items"],
  "properties": {
    "shop": {"type": "string"},
    "date": {"type": ["string", "null"], "description": "as YYYY-MM-DD"},
    "total": {"type": ["number", "null"]},
    "items": {
      "type": "array",
      "items": {
        "type": "object",
        "required": ["name", "price"],
        "properties": {"name": {"type": "string"}, "price": {"type": "number"}}
      }
    }
  }
}"""
_FACTS = {
    "shop": "Corner Tea",
    "date": "2026-03-14",
    "total": 8.0,
    "items": [{"name": "Green tea", "price": 4.8}, {"name": "Lemon cake", "price": 3.2}],
}
_HTML = """\
<!DOCTYPE html>
<html>
<head>
<style>
  body { background: #eceff4; font-family: sans-serif; }
  form { background: white; border-radius: 12px; margin: 24px auto; padding: 24px; width: 260px; }
  label { color: #787878; display: block; margin-top: 12px; }
  input { border: 1px solid #ccc; border-radius: 6px; height: 30px; width: 100%; }
  button { background: #2850d7; border: 0; border-radius: 6px; color: white; margin-top: 20px;
           padding: 10px; width: 100%; }
</style>
</head>
<body>
<form>
  <h1>Sign in</h1>
  <label>Email</label><input type="email">
  <label>Password</label><input type="password">
  <button>Continue</button>
</form>
</body>
</html>"""


def by_hand(folder: Path) -> list[Example]:
    """The examples; their media are written to `folder`."""
    pair = tuple(picture(scene(seed), folder, f"drawing-{seed}")[0] for seed in (3, 4))
    receipt = _saved(_receipt(), folder, "receipt")
    speaker = Speaker()
    german = _say(speaker, ("Guten Morgen.", "Der Zug nach Wien kommt heute um neun Uhr."), "de+f4")
    platform = write_wav(german, RATE, folder / "platform")
    voices = np.concatenate(
        [
            _say(speaker, ("can you help me find the train to london",), "en-us+f4"),
            _say(speaker, ("yes it leaves at nine from the last platform",), "en+m5"),
        ]
    )
    return [
        Example(
            "translate-speech",
            (
                Line(
                    "platform",
                    (platform,),
                    raw="Guten Morgen. Der Zug nach Wien kommt heute um 9 Uhr.\n"
                    "English: Good morning. The train to Vienna arrives at 9 o'clock today.",
                ),
            ),
            {"language": "de", "target": "English"},
        ),
        Example(
            "describe-audio",
            (
                Line(
                    "two voices",
                    (write_wav(voices, RATE, folder / "two-voices"),),
                    raw="A woman asks for help to find the train to London. A man answers that it"
                    " leaves at nine from the last platform. Both voices are synthetic, and there"
                    " is no other sound.",
                ),
            ),
        ),
        Example(
            "ask",
            (
                Line(
                    "two drawings",
                    pair,
                    {"question": "Which of the two shows the larger thing?"},
                    raw="The second: its circle is larger than the square of the first.",
                ),
            ),
            from_columns=("question",),
        ),
        Example(
            "chat",
            (
                Line(
                    "tea",
                    (receipt,),
                    {"product": "Green tea", "language": "French"},
                    raw="Thé vert : frais et léger, 2,40 la tasse.",
                ),
                Line(
                    "words alone",
                    (),
                    {"product": "Lemon cake", "language": "Spanish"},
                    raw="Pastel de limón: esponjoso, fresco y hecho en casa.",
                ),
            ),
            {"prompt": "Write one line for a menu in {language} about: {product}."},
        ),
        Example(
            "classify",
            (Line("platform", (platform,), raw='"German"'),),
            {"labels": "English,French,German"},
        ),
        Example(
            "extract",
            (Line("receipt", (receipt,), raw=json.dumps(_FACTS)),),
            files={"json_schema": _SCHEMA},
        ),
        Example(
            "to-html",
            (
                Line(
                    "sign-in", (_saved(_screen(), folder, "sign-in"),), raw=f"```html\n{_HTML}\n```"
                ),
            ),
        ),
    ]


def _receipt() -> Image.Image:
    image = Image.new("RGB", (300, 300), (252, 250, 244))
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(18)
    for number, (name, price) in enumerate(_RECEIPT):
        pen.text((24, 24 + 32 * number), name, _INK, font)
        pen.text((276, 24 + 32 * number), price, _INK, font, anchor="ra")
    pen.line((24, 206, 276, 206), _PALE, 2)
    return image


def _screen() -> Image.Image:
    image = Image.new("RGB", (380, 330), (236, 239, 244))
    pen = ImageDraw.Draw(image)
    pen.rounded_rectangle((50, 24, 330, 306), 12, "white")
    pen.text((74, 44), "Sign in", _INK, ImageFont.load_default(26))
    small = ImageFont.load_default(15)
    for top, label in ((92, "Email"), (164, "Password")):
        pen.text((74, top), label, _PALE, small)
        pen.rounded_rectangle((74, top + 22, 306, top + 54), 6, "white", (200, 200, 200))
    pen.rounded_rectangle((74, 240, 306, 280), 6, (40, 80, 215))
    pen.text((190, 260), "Continue", "white", ImageFont.load_default(16), anchor="mm")
    return image


def _say(speaker: Speaker, texts: tuple[str, ...], voice: str) -> Samples:
    pause = np.zeros(RATE // 2, np.int16)
    manner = Manner(voice, 140, 50, 50)
    said = [part for text in texts for part in (pause, speaker.say(text, manner).samples)]
    return np.concatenate([*said, pause])


def _saved(image: Image.Image, folder: Path, name: str) -> Path:
    path = folder / f"{name}.png"
    image.save(path)
    return path
