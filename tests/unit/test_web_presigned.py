"""What is shown of presigned URLs, and when they have ended."""

from __future__ import annotations

import json
import pickle
import time
from email.utils import formatdate
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.presigned import MASK, UrlExpired, has_ended, has_login, masked, told
from storage.urls import redact

CANARY = "s3cr3t"
SECRETS = (
    "X-Amz-Signature",
    "X-Amz-Credential",
    "X-Amz-Security-Token",
    "x-amz-signature",
    "X%2DAmz-Signature",
    "Signature",
    "AWSAccessKeyId",
    "GoogleAccessId",
    "X-Goog-Signature",
    "X-Goog-Credential",
    "X-Goog-Anything",
    "sig",
    "SIG",
    "Policy",
    "Key-Pair-Id",
    "access_token",
    "token",
    "api_key",
    "apikey",
    "password",
    "client_secret",
    "hmac",
    "x-oss-security-token",
    "auth_key",
    "hdnts",
    "hdnea",
    "sign",
    "q-ak",
    "q-sign",
    "verify",
    "hm",
    "md5",
    "sas",
    "subscription-key",
    "client_key",
    "private_key",
)


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize(
    "form",
    [
        "https://h/a.jpg?{}={}",
        "HTTPS://h/a.jpg?w=1&{}={}&h=2#t=5",
        " https://h?{}={}",
        "https://h/a;{}={}",
        "https://h/a#{}={}",
        "https://[bad?{}={}",
    ],
)
def test_secrets_are_masked_and_the_rest_is_kept(name: str, form: str) -> None:
    assert masked(form.format(name, CANARY)) == form.format(name, MASK)
    assert masked(form.format(name, quote(f"a/b?{CANARY}=", safe=""))) == form.format(name, MASK)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:s3cr3t@h/a", "https://h/a"),
        ("https://s3cr3t@h/a@b?c=@d", "https://h/a@b?c=@d"),
        ("https://a@s3cr3t@h/", "https://h/"),
        ("ftp://u:s3cr3t@h/a?token=s3cr3t", "ftp://h/a?token=***"),
        ("https:h/a?sig=s3cr3t", "https:h/a?sig=***"),
        (f"https://h/?url={quote('https://i/?sig=s3cr3t', safe='')}", "https://h/?url=***"),
        (f"https://h/?u={quote(quote('https://i/?a=1&sig=s3cr3t'))}&b=2", "https://h/?u=***&b=2"),
        (f"https://h/?u={quote('https://u:s3cr3t@i/', safe='')}", "https://h/?u=***"),
        # Readers of URLs end the host at the slash, and take the password for a port.
        ("https://u:s3c/s3cr3t@h/a", "https://h/a"),
        ("https://u:s3cr3t?#@h/a", "https://h/a"),
        ("https:\\\\u:s3cr3t@h/a", "https:\\\\h/a"),
        ("https://h:8443/a:b@c", None),
        ("https://[::1]:443/a:b@c", None),
        # What some reader takes for a URL all the same.
        ("\x01https://h/a?sig=s3cr3t", "\x01https://h/a?sig=***"),
        ("<https://h/a?sig=s3cr3t>", "<https://h/a?sig=***"),
        ("view-source:https://h/a?sig=s3cr3t", "view-source:https://h/a?sig=***"),
        ("cell:https://h/a?sig=s3cr3t#column=a", "cell:https://h/a?sig=***#column=a"),
        # Keys of a store before its bucket, as Hadoop has them, and Azure's signed places.
        ("s3://KEY:s3cr3t@b/a@b", "s3://b/a@b"),
        ("S3://KEY:s3c/s3cr3t@b/a", "S3://b/a"),
        ("az://c/a?sv=1&sig=s3cr3t", "az://c/a?sv=1&sig=***"),
        ("abfs://c@account/a", None),
        # A path or a key, and what only a signed URL has.
        ("//h/a?w=1&X-Amz-Signature=s3cr3t", "//h/a?w=1&X-Amz-Signature=***"),
        ("s3://b/a?X-Amz-Security-Token=s3cr3t", "s3://b/a?X-Amz-Security-Token=***"),
        ("https://h/a?sig=&x=1", "https://h/a?sig=&x=1"),
        ("https://h/design/signature.jpg?width=5&page=2", None),
        ("https://h/a?X-Amz-Date=1&X-Amz-Expires=2&se=3&Expires=4", None),
        ("https://h/signature=1/a.jpg", None),
        ("s3://b/a@b?sig=1", None),
        ("file:///a?sig=1", None),
        ("/data/a?sig=1", None),
        ("data:image/png;base64,aGk=", None),
        ("cell:s3://b/x.parquet#column=token&row=1&tag=2", None),
        ("", None),
    ],
)
def test_what_records_show(url: str, shown: str | None) -> None:
    assert masked(url) == (url if shown is None else shown)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://h/a;sig=s3cr3t: it is away", "https://h/a;sig=***: it is away"),
        (
            "see 'https://u:s3cr3t@h/a?token=s3cr3t', or https://h.",
            "see 'https://h/a?token=***', or https://h.",
        ),
        (
            '{"url": "https://h/a?sig=s3cr3t\\"", "n": 1}',
            '{"url": "https://h/a?sig=***\\"", "n": 1}',
        ),
        ("rediss://u:s3cr3t@h:6379/0 is away", "rediss://h:6379/0 is away"),
        ("(http://u:s3c/s3cr3t@h:9/b); check it", "(http://h:9/b); check it"),
        ("GET /a?X-Amz-Signature=s3cr3t&w=1 HTTP/1.1", "GET /a?X-Amz-Signature=***&w=1 HTTP/1.1"),
        ("s3://b: mail a@b; token = 5, x=1; sig=1", None),
        ("abfs://c@account/a: no such object", None),
        ("--set question=Why? key is=1", None),
    ],
)
def test_what_sentences_say(text: str, shown: str | None) -> None:
    assert told(text) == (text if shown is None else shown)
    assert told(told(text)) == told(text)


@given(st.lists(st.sampled_from(SECRETS), min_size=1), st.text("abcXYZ019-_~%/", max_size=9))
def test_no_secret_is_left_in_a_log_of_json(names: list[str], around: str) -> None:
    urls = [f"https://h/a?b=1&{name}={around}{CANARY}{around}" for name in names]
    line = json.dumps({"message": f"{urls[0]} and '{urls[-1]}': \"{urls[0]}\"", "urls": urls})
    assert CANARY not in told(line)
    assert set(json.loads(told(line))) == {"message", "urls"}


@given(
    st.lists(st.tuples(st.sampled_from(SECRETS), st.sampled_from("&;?#")), min_size=1),
    st.text("abcXYZ019-._~%/:@+ é", max_size=9),
)
def test_no_secret_is_left_wherever_it_stands(
    parameters: list[tuple[str, str]], around: str
) -> None:
    query = "".join(f"{sep}{name}={around}{CANARY}{around}" for name, sep in parameters)
    url = f"https://h/a?b=1{query}"
    assert CANARY not in masked(url)
    assert CANARY not in masked(f"https://proxy/?to={quote(url, safe='')}")
    assert CANARY not in redact(url)
    assert CANARY not in redact(f"https://h/a{query}")
    assert CANARY not in redact(f"ftp://h/a{query}")


@given(st.text())
def test_masking_takes_any_text_and_masks_once(text: str) -> None:
    url = f"https://{text}"
    assert masked(masked(url)) == masked(url)
    assert masked(text) == text or ":" in text


SIGNED_AT = 1_795_518_000  # 2026-11-24T11:00:00Z
AT = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(SIGNED_AT))


@pytest.mark.parametrize(
    "query",
    [
        f"X-Amz-Date={AT}&X-Amz-Expires=60&X-Amz-Signature=x",
        f"x-amz-date={AT}&x-amz-expires=60&x-amz-signature=x",
        f"X-Goog-Date={AT}&X-Goog-Expires=60&X-Goog-Signature=x",
        f"Expires={SIGNED_AT + 60}&Signature=x&AWSAccessKeyId=y",
        "se=2026-11-24T11%3A01%3A00Z&sig=x",
        "se=2026-11-24T11:01:00&sig=x",
        "se=2026-11-24T12%3A01%3A00%2B01%3A00&sig=x",
    ],
)
def test_when_a_url_has_ended(query: str) -> None:
    url = f"https://h/a?{query}"
    for second, ended in ((59, False), (61, True)):
        assert has_ended(url, {"date": formatdate(SIGNED_AT + second, usegmt=True)}, b"") == ended
    # Without the server's clock, by ours: all of these are of years long gone, or to come.
    assert has_ended(url, {}, b"") == (time.time() > SIGNED_AT + 60)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "X-Amz-Signature=x",
        "X-Amz-Signature=x&X-Amz-Date=yesterday&X-Amz-Expires=60",
        f"X-Amz-Signature=x&X-Amz-Date={AT}&X-Amz-Expires=soon",
        f"X-Amz-Signature=x&X-Amz-Date={AT}",
        f"X-Amz-Date={AT}&X-Amz-Expires=60",
        "Signature=x&Expires=never",
        "sig=x&se=later",
        "sig=x&se=",
    ],
)
def test_a_url_that_does_not_say_when_it_ends_has_not(query: str) -> None:
    late = {"date": formatdate(SIGNED_AT + 1e8, usegmt=True)}
    assert not has_ended(f"https://h/a?{query}", late, b"<Code>AccessDenied</Code>")


@pytest.mark.parametrize(
    "body",
    [
        b"<Code>ExpiredToken</Code><Message>The provided token has expired.</Message>",
        b"<Code>AccessDenied</Code><Message>Request has expired</Message>",
        b"Signature not valid in the specified time frame: Start [..] - Expiry [..]",
    ],
)
def test_a_server_may_say_that_it_has_ended(body: bytes) -> None:
    assert has_ended("https://h/a?X-Amz-Signature=x", {}, body)
    # Of a URL that is not signed it says nothing.
    assert not has_ended("https://h/a", {}, body)


@given(st.text(), st.text(), st.binary())
def test_any_url_and_answer_are_taken(query: str, date: str, body: bytes) -> None:
    has_ended(f"https://h/a?sig=x&{query}", {"date": date}, body)
    has_ended(f"https://h/a?se={quote(query)}&sig=x", {"date": date}, body)
    has_ended(f"https://h/a?X-Amz-Signature=x&X-Amz-Date={AT}&X-Amz-Expires={query}", {}, body)


def test_an_expired_url_is_forbidden_and_worth_another_try() -> None:
    error = UrlExpired("forbidden", "https://h/a?…: its signature has ended")
    for each in (error, pickle.loads(pickle.dumps(error))):
        assert (type(each), each.kind, each.retryable) == (UrlExpired, "forbidden", True)
        assert unquote(str(each)) == str(error)


@pytest.mark.parametrize(
    "text",
    [
        "https://h/" + "x" * 300_000 + "?sig=secret",
        "x" * 300_000 + "@",
        "x://" + "a:" * 150_000,
        "x://a:b" * 20_000,
        "?a=" + "." * 300_000 + "x",
        "https://h/?" + "&;#?" * 75_000,
        "@" * 300_000,
    ],
    ids=lambda text: text[:12],
)
def test_long_texts_are_masked_in_the_time_that_they_take_to_read(text: str) -> None:
    """In the square of that some of these would take longer than a test may."""
    assert "secret" not in masked(text)
    assert "secret" not in told(text)
    has_login(text)
