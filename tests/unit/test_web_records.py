"""What is known of URLs reaches records as it must, and settings reach the fetching."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from orchestration import show
from orchestration.settings import load_settings
from storage.errors import RowError, StoreUnavailable
from storage.log_lines import JsonFormatter, TextFormatter
from storage.media import MediaSource
from storage.objects import open_store
from storage.presigned import UrlExpired, masked
from storage.records import to_table
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


def test_a_record_of_several_media_holds_none_of_their_signatures(bench: Build) -> None:
    urls = [f"https://media.example/{name}?X-Amz-Signature={{}}" for name in "ab"]
    (record,) = bench("image:a").make_all()
    carried = pa.table(
        {"url": [urls[0].format(CANARY)], "uris": [[url.format(CANARY) for url in urls]]}
    )
    (row,) = to_table([record], [], carried).to_pylist()
    assert row["uris"] == [url.format("***") for url in urls]
    # A column of the user's own is carried as it is, whatever is in it.
    assert row["url"] == urls[0].format(CANARY)
    for uris in ([], [None], None):
        table = pa.table({"uris": pa.array([uris], pa.list_(pa.string()))})
        assert to_table([record], [], table).column("uris").to_pylist() == [uris]


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


#: URIs of manifests that hold a secret, whatever they are then taken for.
ODD = (
    f" https://h.invalid/a?sig={CANARY}",
    f"\x01https://h.invalid/a?sig={CANARY}",
    f"<https://h.invalid/a?sig={CANARY}>",
    f"'https://h.invalid/a?sig={CANARY}'",
    f"url:https://h.invalid/a?sig={CANARY}",
    f"view-source:https://h.invalid/a?sig={CANARY}",
    f"https:h.invalid/a?sig={CANARY}",
    f"https:\\\\u:{CANARY}@h.invalid/a",
    f"https://h.invalid/a;sig={CANARY}",
    f"https://h.invalid/a;token={CANARY}?x=1",
    f"https://u:{CANARY}/@h.invalid/a",
    f"ftp://u:{CANARY}@h.invalid/a",
    f"//h.invalid/a?X-Amz-Signature={CANARY}",
    f"s3://KEY:{CANARY}@bucket/a",
    f"s3://KEY:/{CANARY}@bucket/a",
    f"S3://KEY:{CANARY}@bucket/a",
    f"gs://KEY:{CANARY}@bucket/a",
    f"hf://KEY:{CANARY}@bucket/a",
    f"file://u:{CANARY}@h.invalid/a",
    f"cell:https://h.invalid/a?sig={CANARY}#column=a&row=1&tag=1",
    f"cell:s3://KEY:{CANARY}@bucket/a#column=a&row=1&tag=1",
    f"tar:https://h.invalid/a?sig={CANARY}#at=512&bytes=1&head=00000000&tag=1&member=x",
    f"tar:s3://KEY:{CANARY}@bucket/a#at=512&bytes=1&head=00000000&tag=1&member=x",
)


@pytest.mark.parametrize("base", [None, "{folder}", "s3://KEY/a"])
@pytest.mark.parametrize("uri", ODD)
def test_no_secret_is_told_of_what_only_looks_like_a_url(
    uri: str, base: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(host: str, port: int) -> list[str]:
        raise socket.gaierror(-3, "away")

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    source = MediaSource(local_roots=[tmp_path], rules=UrlRules(resolve=away))
    with contextlib.closing(source), pytest.raises(RowError) as caught:
        source.fetch(uri, max_bytes=1000, base=base and base.format(folder=tmp_path))
    assert CANARY not in repr(caught.value)
    assert caught.value.__cause__ is None or CANARY not in repr(caught.value.__cause__)
    assert CANARY not in masked(uri)


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_no_secret_of_a_url_is_logged_whoever_logs_it(formatter: logging.Formatter) -> None:
    url = f"https://u:{CANARY}@h/a?X-Amz-Signature={CANARY}"
    try:
        raise OSError(f"cannot open {url}")
    except OSError as error:
        record = logging.getLogger("library").makeRecord(
            *("library", logging.ERROR, "f", 1, "%s: %r", (url, error)),
            (type(error), error, error.__traceback__),
            extra={"url": url, "settings": {"broker": [f"rediss://:{CANARY}@h/0", "flag"]}},
        )
    said = formatter.format(record)
    assert "https://h/a?X-Amz-Signature=***" in said
    assert "rediss://h/0" in said
    assert "Traceback" in said
    assert CANARY not in said


@pytest.mark.parametrize("as_json", [True, False])
def test_no_secret_of_a_url_is_in_a_commands_error(
    as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"https://u:{CANARY}@h/m.jsonl?X-Amz-Signature={CANARY}"
    show.failure(StoreUnavailable(f"manifest {url}: not known"), as_json=as_json)
    said = capsys.readouterr()
    assert "https://h/m.jsonl?X-Amz-Signature=***: not known" in said.out + said.err
    assert CANARY not in said.out + said.err


def test_no_secret_of_a_url_is_in_what_commands_print(capsys: pytest.CaptureFixture[str]) -> None:
    said = f'"https://u:{CANARY}@h/a?sig={CANARY}" is away\\'
    show.as_json({"given_up": {"7": said}, "n": 1})
    printed = capsys.readouterr().out
    assert CANARY not in printed
    expected = {"given_up": {"7": '"https://h/a?sig=***" is away\\'}, "n": 1}
    assert json.loads(printed) == expected


@pytest.mark.parametrize("scheme", ["http", "nonsense"])
def test_no_password_of_a_stores_endpoint_is_told(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"{scheme}://u:{CANARY}@127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    with pytest.raises(StoreUnavailable) as caught:
        open_store("s3://bucket/place").get("key")
    assert CANARY not in str(caught.value)
