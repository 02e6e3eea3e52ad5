"""Names of languages by their BCP-47 codes, for prompts that name a language."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

_CODE = re.compile(r"([A-Za-z]{2,3})([-_][A-Za-z0-9]{1,8})*")

# ISO 639 codes of the languages of FLEURS and a few more.
_TABLE = (
    "af Afrikaans,am Amharic,ar Arabic,as Assamese,ast Asturian,az Azerbaijani,"
    "be Belarusian,bg Bulgarian,bn Bengali,bs Bosnian,ca Catalan,ceb Cebuano,"
    "ckb Sorani Kurdish,cmn Mandarin Chinese,cs Czech,cy Welsh,da Danish,de German,"
    "el Greek,en English,es Spanish,et Estonian,eu Basque,fa Persian,ff Fula,fi Finnish,"
    "fil Filipino,fr French,ga Irish,gl Galician,gu Gujarati,ha Hausa,he Hebrew,hi Hindi,"
    "hr Croatian,hu Hungarian,hy Armenian,id Indonesian,ig Igbo,is Icelandic,it Italian,"
    "ja Japanese,jv Javanese,ka Georgian,kam Kamba,kea Kabuverdianu,kk Kazakh,km Khmer,"
    "kn Kannada,ko Korean,ky Kyrgyz,lb Luxembourgish,lg Ganda,ln Lingala,lo Lao,"
    "lt Lithuanian,luo Luo,lv Latvian,mi Maori,mk Macedonian,ml Malayalam,mn Mongolian,"
    "mr Marathi,ms Malay,mt Maltese,my Burmese,nb Norwegian,ne Nepali,nl Dutch,"
    "nn Norwegian Nynorsk,no Norwegian,nso Northern Sotho,ny Nyanja,oc Occitan,om Oromo,"
    "or Odia,pa Punjabi,pl Polish,ps Pashto,pt Portuguese,ro Romanian,ru Russian,"
    "sd Sindhi,sk Slovak,sl Slovenian,sn Shona,so Somali,sq Albanian,sr Serbian,"
    "sv Swedish,sw Swahili,ta Tamil,te Telugu,tg Tajik,th Thai,tl Tagalog,tr Turkish,"
    "uk Ukrainian,umb Umbundu,ur Urdu,uz Uzbek,vi Vietnamese,wo Wolof,xh Xhosa,"
    "yo Yoruba,yue Cantonese,zh Chinese,zu Zulu"
)
#: Names by code; the model is told the name.
NAMES: dict[str, str] = dict(pair.split(" ", 1) for pair in _TABLE.split(","))


def language_name(asked: str) -> str:
    """The English name of a language given by code (`en`, `pt-BR`) or by name.

    A name is taken as it stands, since the model knows more of them than this table.
    Raises ValueError for what looks like a code and is none.
    """
    text = asked.strip()
    code = _CODE.fullmatch(text)
    if code and code[1].lower() in NAMES:
        return NAMES[code[1].lower()]
    # Real names of two or three letters (Lao, Luo, Ga) are written with a capital.
    if not text or (code and (text.islower() or code[2])):
        raise ValueError(f"unknown language {asked!r}; give a BCP-47 code (en) or a name (English)")
    return text


def _given(asked: str) -> str:
    language_name(asked)
    return asked.strip()


def _given_or_not(asked: str | None) -> str | None:
    return None if asked is None or not asked.strip() else _given(asked)


#: A language by name or code, as it was given. What is no language does not validate.
Language = Annotated[str, AfterValidator(_given)]
#: The same, or None, which blank text is too.
MaybeLanguage = Annotated[str | None, AfterValidator(_given_or_not)]
