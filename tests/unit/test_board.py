"""The board's word on its Redis: it names the place, and no secret of the URL."""

from __future__ import annotations

import traceback

import pytest

from orchestration.board import RedisBoard
from storage.errors import BrokerUnavailable, InvalidJob

SECRET = "sesame"


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}/7@127.0.0.1:6379/0",
        f"redis://user:{SECRET}#7@127.0.0.1:6379/0",
        f"tcp://:{SECRET}@127.0.0.1:6379",
        f"{SECRET}",
        f"redis://:{SECRET}@127.0.0.1:1/0?nonsense={SECRET}",
        f"rediss://:{SECRET}@127.0.0.1:1/0?ssl_cert_reqs={SECRET}",
    ],
)
def test_a_url_that_is_none_is_refused_without_a_word_of_it(url: str) -> None:
    with pytest.raises(InvalidJob, match="MEDIAMILL_BROKER_URL") as caught:
        RedisBoard(url)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "url", [f"redis://:{SECRET}@127.0.0.1:1/0", f"redis://127.0.0.1:1/0?password={SECRET}"]
)
def test_a_redis_that_is_away_is_named_without_its_password(url: str) -> None:
    with pytest.raises(BrokerUnavailable, match=r"redis://127\.0\.0\.1:1/0 does not") as caught:
        RedisBoard(url).ping()
    assert SECRET not in "".join(traceback.format_exception(caught.value))
