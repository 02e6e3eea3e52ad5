"""Answers that decline to answer, told by how they begin.

Better one refusal missed than a caption called one: what is declined must be the task
itself, in a few phrasings of English and, with an apology before it, of other languages.
"""

from __future__ import annotations

import re

#: Characters of an answer that are looked at: who declines does so at once.
_START = 300

_MODEL = r"as an? [^.,!?]{0,40}\b(?:ai|model|assistant)\b[^.,!?]{0,30}"
_SORRY = (
    r"(?:(?:i'm|i am) (?:very |so |really |truly )?(?:sorry|afraid)|sorry|i apologi[sz]e"
    rf"|(?:my )?apologies|unfortunately|{_MODEL})[,.:;!]* (?:but )?(?:that )?"
)
_CANNOT = (
    r"(?:(?:i am|i'm) (?:unable to|not able to|not comfortable)"
    r"|i (?:can't|cannot|can not|won't|will not|won't be able to|must decline to"
    r"|do not feel comfortable|don't feel comfortable))"
)
_MEDIUM = (
    r"(?:images?|photos?|photographs?|pictures?|screenshots?|videos?|audio|recordings?|files?"
    r"|attachments?|content)\b"
)
_REQUEST = (
    rf"\b(?:{_MEDIUM}|(?:request|question|prompt|task|people|person|individuals?|description"
    r"|caption|information|assistance|instructions|identity)\b)"
)
_VERB = (
    r"(?:provid|describ|identify|recogni[sz]|answer|process|generat|creat|complet|fulfil+"
    r"|caption|transcrib|translat|analy[sz]|discuss|engag|respond|help|assist|comply)\w*"
    # "I cannot identify any text in this image" is an answer.
    r"(?! any\b)"
)
#: A model that says it was given nothing; what it cannot see in a picture is an answer.
_SENSE = (
    r"(?:view|see|hear|listen to|access|watch|open) (?:or \w+ )?"
    rf"(?:the |this |that |your |any )?(?:\w+ )?{_MEDIUM}"
)
#: The same without an object: only these are of no use but to decline.
_BARE = r"(?:(?:help|assist)(?: you)? with|comply with|fulfil+) (?:that|this|your|the)\b"

_ENGLISH = (
    rf"(?:{_SORRY}){{0,2}}{_CANNOT} (?:\w+ly )?"
    rf"(?:{_BARE}|{_SENSE}|{_VERB}\b[^.!?\n]{{0,70}}{_REQUEST})"
    rf"|(?:{_SORRY}){{1,2}}{_CANNOT} (?:do (?:that|this)\b|(?:help|assist)(?: you)?[.!])"
    r"|(?:i am|i'm) programmed to be (?:a |an )?(?:safe|helpful|harmless)\b"
)
_OTHERS = (
    r"(?:es )?tut mir (?:sehr )?leid,? (?:aber )?(?:ich kann|d(?:abei|as) kann ich)\b[^.!?\n]{0,80}"
    r"\bnicht\b[^.!?\n]{0,40}(?:helfen|erfüllen|beantworten|beschreiben|identifizieren"
    r"|bereitstellen|nachkommen|verarbeiten|erstellen)\b",
    r"lo siento,? (?:pero )?no puedo (?:ayudar|cumplir|responder|proporcionar|describir"
    r"|identificar|procesar|generar|crear)",
    r"(?:je suis )?désolée?,? (?:mais )?je ne (?:peux|suis) pas (?:en mesure (?:de |d'))?"
    r"(?:vous |t')?(?:aider|répondre|fournir|décrire|identifier|traiter|générer|créer)\b",
    r"mi dispiace,? (?:ma )?non (?:posso|sono in grado di) (?:aiutar|rispondere|fornire"
    r"|descrivere|identificare|soddisfare|generare)",
    r"(?:sinto muito|desculpe|lamento),? (?:mas )?não (?:posso|consigo) (?:ajudar|ajudá|responder"
    r"|fornecer|descrever|identificar|atender|gerar|processar)",
    r"(?:很|非常)?(?:抱歉|对不起)\W ?(?:但)?我(?:无法|不能)"
    r"(?:提供|回答|协助|帮助|满足|描述|识别)",
)
_REFUSAL = re.compile("|".join((_ENGLISH, *_OTHERS)), re.IGNORECASE)


def refused(text: str) -> bool:
    """Whether an answer declines to answer, as far as its beginning tells.

    Not for what repeats a medium's own words: a transcript may say all this.
    """
    start = " ".join(text[:_START].replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").split())
    return _REFUSAL.match(start.lstrip("*_# ")) is not None
