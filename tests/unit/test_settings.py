"""Settings from flags: what does not fit is named, with everything that would."""

from __future__ import annotations

import pytest

from orchestration.settings import load_settings
from storage.errors import InvalidJob


def test_engines_are_a_number_or_auto() -> None:
    assert load_settings(engines="2").engines == 2
    assert load_settings(engines="auto").engines == "auto"


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"engines": "lots"}, r"MEDIAMILL_ENGINES: .*valid integer.*; or .*'auto'"),
        ({"slots": 0, "device": "abacus"}, r"MEDIAMILL_SLOTS: [^;]*greater than or equal to 1$"),
    ],
)
def test_what_does_not_fit_is_told_with_what_would(flags: dict[str, object], told: str) -> None:
    with pytest.raises(InvalidJob, match=told):
        load_settings(**flags)
