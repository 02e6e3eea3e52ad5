"""Which URLs are let through, and what is said of the others."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import Refused, RowError
from storage.urls import UrlRules, redact

PUBLIC = "93.184.216.34"


def rules(*addresses: str, allow_private: bool = False) -> UrlRules:
    return UrlRules(allow_private=allow_private, resolve=lambda host, port: list(addresses))


def refusal(checked: UrlRules, url: str) -> RowError:
    with pytest.raises(RowError) as caught:
        checked.check(url)
    return caught.value


def test_a_public_url_is_let_through_with_its_address() -> None:
    target = rules(PUBLIC, "2606:2800:220:1::").check("https://Media.Example/a b/é.jpg?x=1#part")
    assert (target.scheme, target.host, target.port) == ("https", "media.example", 443)
    assert target.addresses == (PUBLIC, "2606:2800:220:1::")
    assert target.path == "/a%20b/%C3%A9.jpg?x=1"
    assert target.origin == "media.example"
    assert rules(PUBLIC).check("https://h:8443/").origin == "h:8443"
    assert rules(PUBLIC).check("https://h").path == "/"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.9.9.9",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "198.18.0.1",
        "240.0.0.1",
        "::",
        "::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "2001:db8::1",
    ],
)
def test_addresses_of_our_own_network_are_refused(address: str) -> None:
    assert refusal(rules(address), "https://h/x").kind == "forbidden"
    # One bad address among good ones is enough.
    assert refusal(rules(PUBLIC, address), "https://h/x").kind == "forbidden"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "[::1]", "localhost"]
)
def test_odd_spellings_of_this_machine_are_refused(host: str) -> None:
    # By the system's own resolver, which knows them all.
    assert refusal(UrlRules(), f"https://{host}/").kind == "forbidden"


@pytest.mark.parametrize(
    ("address", "let"),
    [
        ("127.0.0.1", True),
        ("10.0.0.1", True),
        ("fd12::1", True),
        ("169.254.169.254", False),
        ("::ffff:169.254.169.254", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("fd00:ec2::254", False),
        ("100.100.100.200", False),
        ("224.0.0.1", False),
        ("0.0.0.0", False),
    ],
)
def test_private_addresses_where_they_are_allowed(address: str, let: bool) -> None:
    checked = rules(address, allow_private=True)
    if let:
        assert checked.check("http://h:8080/x").addresses == (address,)
    else:
        assert refusal(checked, "http://h:8080/x").kind == "forbidden"


@pytest.mark.parametrize(
    ("url", "kind", "hint"),
    [
        ("http://h/x", "forbidden", "MEDIAMILL_ALLOW_PRIVATE_URLS"),
        ("https://h:22/x", "forbidden", "port 22"),
        ("https://h:6379/x", "forbidden", "port 6379"),
        ("https://user:secret@h/x", "forbidden", "signed URL"),
        ("https://user@h/x", "forbidden", "signed URL"),
        ("https:///x", "not_found", "host"),
        ("https://", "not_found", "host"),
        ("https://h:99999/", "not_found", "not a URL"),
        ("https://[::1/", "not_found", "URL"),
    ],
)
def test_urls_that_are_refused(url: str, kind: str, hint: str) -> None:
    error = refusal(rules(PUBLIC), url)
    assert error.kind == kind
    assert hint in error.message
    assert "secret" not in error.message


def test_a_name_without_an_address_may_have_one_later() -> None:
    def resolve(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    error = refusal(UrlRules(resolve=resolve), "https://h/x?sig=secret")
    assert (error.kind, error.retryable) == ("unavailable", True)
    assert "secret" not in error.message


def test_redirects_are_checked_like_any_url() -> None:
    names = {"h": [PUBLIC], "inside": ["10.0.0.1"]}
    checked = UrlRules(resolve=lambda host, port: names[host])
    first = checked.check("https://h/a/b?c")
    assert checked.follow(first, "../d").url == "https://h/d"
    assert checked.follow(first, "//h/e").url == "https://h/e"
    for location in ("https://inside/", "http://h/", "file:///etc/passwd", "ftp://h/x"):
        with pytest.raises(RowError) as caught:
            checked.follow(first, location)
        assert caught.value.kind == "forbidden"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@h:8443/a?X-Amz-Signature=s#f", "https://h:8443/a?…"),
        ("https://h/a", "https://h/a"),
        ("s3://b/k?v", "s3://b/k?v"),
        ("/a/b", "/a/b"),
        ("https://[bad?sig=s", "https://…"),
    ],
)
def test_what_is_shown_of_a_url_holds_no_secret(url: str, shown: str) -> None:
    assert redact(url) == shown


def test_what_is_shown_of_a_data_uri_is_short() -> None:
    assert len(redact("data:image/png;base64," + "A" * 10_000)) < 80
    assert len(redact("data:" + "A" * 10_000)) < 80


# Hosts and headers


@pytest.mark.parametrize(
    ("host", "let"),
    [
        ("media.example", True),
        ("MEDIA.Example", True),
        ("media.example.", True),
        ("a.cdn.example", True),
        ("a.b.cdn.example", True),
        ("cdn.example", False),
        ("notmedia.example", False),
        ("xcdn.example", False),
        ("media.example.evil.example", False),
        (PUBLIC, False),
    ],
)
def test_hosts_that_may_be_fetched_from(host: str, let: bool) -> None:
    listed = UrlRules(
        hosts=["Media.example.", "*.cdn.example"], resolve=lambda host, port: [PUBLIC]
    )
    if let:
        assert listed.check(f"https://{host}/x").addresses == (PUBLIC,)
    else:
        error = refusal(listed, f"https://{host}/x")
        assert (error.kind, "may be fetched from" in error.message) == ("forbidden", True)


def test_an_empty_list_of_hosts_lets_in_none() -> None:
    assert refusal(UrlRules(hosts=[]), "https://h/x").kind == "forbidden"


def test_a_host_that_is_not_listed_is_not_even_looked_up() -> None:
    def resolve(host: str, port: int) -> list[str]:
        raise AssertionError(host)

    assert refusal(UrlRules(hosts=["h"], resolve=resolve), "https://i/x").kind == "forbidden"


def test_headers_are_for_one_host_and_port_over_https() -> None:
    sent = {"Authorization": "Bearer x"}
    checked = UrlRules(
        allow_private=True,
        headers={"Media.example": sent, "other.example:8443": sent, "[::1]": sent},
        resolve=lambda host, port: [PUBLIC],
    )
    for url, headers in [
        ("https://media.example/x", sent),
        ("https://media.example:443/x", sent),
        ("https://other.example:8443/x", sent),
        ("https://[::1]/x", sent),
        ("http://media.example/x", {}),
        ("http://media.example:443/x", {}),
        ("https://media.example:8443/x", {}),
        ("https://other.example/x", {}),
        ("https://a.media.example/x", {}),
    ]:
        assert checked.headers(checked.check(url)) == headers


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Host", "secret"),
        ("content-length", "secret"),
        ("Transfer-Encoding", "secret"),
        ("X Y", "secret"),
        ("X:", "secret"),
        ("", "secret"),
        ("X", "secret\r\nHost: h"),
        ("X", "secret\n"),
        ("X", "secret\0"),
        ("X", "secret é"),
    ],
)
def test_headers_that_cannot_be_sent_are_refused(name: str, value: str) -> None:
    with pytest.raises(Refused) as caught:
        UrlRules(headers={"h": {name: value}})
    assert "secret" not in str(caught.value)


def test_a_url_without_end_is_refused_in_few_words() -> None:
    error = refusal(rules(PUBLIC), "https://h/" + "x" * 100_000 + "?sig=secret")
    assert error.kind == "forbidden"
    assert len(error.message) < 300


@given(st.text())
def test_any_text_is_checked_or_refused(text: str) -> None:
    for url in (text, f"https://{text}", f"https://h/{text}", f"https://h:{text}", f"//{text}"):
        with contextlib.suppress(RowError):
            assert rules(PUBLIC).check(url).scheme == "https"
        with contextlib.suppress(RowError):
            checked = rules(PUBLIC)
            assert checked.follow(checked.check("https://h/a"), url).scheme == "https"


def test_a_redirect_from_https_to_http_is_refused_where_http_is_not() -> None:
    checked = rules("10.0.0.1", allow_private=True)
    plain = checked.check("http://h/a")
    assert checked.follow(plain, "https://h/b").scheme == "https"
    assert checked.follow(plain, "/b").scheme == "http"
    safe = checked.check("https://h/a")
    for location in ("http://h/b", "HTTP://h/b", "http:/\\h/b", " http://h/b"):
        with pytest.raises(RowError) as caught:
            checked.follow(safe, location)
        assert caught.value.kind in ("forbidden", "not_found")
