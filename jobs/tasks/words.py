"""Lists of words as people give them: separated by commas, as JSON, or as a list."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BeforeValidator


def _listed(value: Any) -> Any:
    if value is None:
        return ()
    if isinstance(value, str):
        # A manifest's column of lists reaches a row as JSON text.
        value = json.loads(value) if value.lstrip().startswith("[") else value.split(",")
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
        raise ValueError("give words separated by commas, or a list of words")
    return tuple(word.strip() for word in value if word.strip())


#: `person, car`, `["person", "car"]` or a list of strings, as a tuple of words.
Words = Annotated[tuple[str, ...], BeforeValidator(_listed)]
