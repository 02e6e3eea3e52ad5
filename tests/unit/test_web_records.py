"""What is known of URLs reaches records as it must, and settings reach the fetching."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestration.settings import load_settings
from storage.presigned import UrlExpired
from storage.urls import UrlRules
from tests.unit.row_bench import Build, benches

CANARY = "s3cr3t"


@pytest.fixture
def bench() -> Iterator[Build]:
    with benches() as build:
        yield build


def test_a_records_uri_holds_no_signature(bench: Build) -> None:
    url = "https://media.example/a.jpg?w=5&X-Amz-Signature={}"
    b = bench(url.format(CANARY))

    def away(uri: str) -> None:
        raise UrlExpired("forbidden", "https://media.example/a.jpg?…: its signature has ended")

    b.media.on_fetch = away
    (record,) = b.make_all()
    assert record.uri == url.format("***")
    assert record.error is not None
    assert (record.error["kind"], record.error["retryable"]) == ("forbidden", True)
    assert CANARY not in repr(record)
    # The medium itself is asked for by the whole of it.
    assert b.media.fetched == [url.format(CANARY)]


def test_an_expired_url_of_several_is_worth_another_try_too(bench: Build) -> None:
    b = bench(["image:a", "image:b"])

    def away(uri: str) -> None:
        if uri == "image:b":
            raise UrlExpired("forbidden", "its signature has ended")

    b.media.on_fetch = away
    (record,) = b.make_all()
    assert record.error is not None
    assert (record.error["kind"], record.error["retryable"]) == ("forbidden", True)
    assert record.error["message"].startswith("medium 1 of 2: ")


def test_hosts_and_headers_come_from_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (load_settings().hosts, load_settings().url_headers) == (None, {})
    monkeypatch.setenv("MEDIAMILL_URL_HOSTS", "media.example, *.cdn.example")
    monkeypatch.setenv("MEDIAMILL_URL_HEADERS", f'{{"media.example": {{"X-Key": "{CANARY}"}}}}')
    settings = load_settings()
    assert settings.hosts == ["media.example", "*.cdn.example"]
    assert CANARY not in repr(settings)
    rules = UrlRules(
        hosts=settings.hosts,
        headers=settings.url_headers,
        resolve=lambda host, port: ["93.184.216.34"],
    )
    target = rules.check("https://media.example/x")
    assert rules.headers(target) == {"X-Key": CANARY}
