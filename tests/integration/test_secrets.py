"""Redis and S3 by password and TLS from settings alone; no secret is ever told or stored."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3.session
import pyarrow.parquet as parquet
import pytest

from storage.objects import open_store
from tests.acceptance.commands import Mill, make_media, write_manifest
from tests.chaos.fleet import Fleet
from tests.services import S3Endpoint, free_port, service, wait_for

PASSWORD = "kanarie-broker-password"
KEY_SECRET = "kanarie-aws-secret-key"
SESSION = "kanarie-aws-session-token"
HUB = "hf_kanarieHubToken"
SIGNATURE = "kanarie-presigned-signature"
HEADER = "kanarie-header-of-a-host"
CANARIES = (PASSWORD, KEY_SECRET, SESSION, HUB, SIGNATURE, HEADER)


@dataclass(frozen=True)
class Certificates:
    """A certificate of 127.0.0.1 and the authority that signed it; another that did not."""

    authority: Path
    other: Path
    certificate: Path
    key: Path


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments: str) -> None:
        subprocess.run(
            ["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60
        )

    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    for name in ("ca", "other"):
        # What OpenSSL adds by itself makes it an authority.
        files = ["-keyout", f"{name}.key", "-out", f"{name}.crt"]
        openssl("req", "-x509", *new, *files, "-subj", f"/CN=mediamill {name}")
    openssl("req", *new[:-2], "-keyout", "key.pem", "-out", "csr.pem", "-subj", "/CN=127.0.0.1")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    openssl(
        *("x509", "-req", "-in", "csr.pem", "-out", "cert.pem", "-days", "2"),
        *("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names"),
    )
    return Certificates(
        folder / "ca.crt", folder / "other.crt", folder / "cert.pem", folder / "key.pem"
    )


@contextlib.contextmanager
def tls_redis(folder: Path, tls: Certificates) -> Iterator[int]:
    """A Redis that speaks TLS alone and wants a user's password; gives its port."""
    port = free_port()
    options = ["--tls-port", str(port), "--tls-auth-clients", "no", "--requirepass", PASSWORD]
    options += ["--tls-cert-file", str(tls.certificate), "--tls-key-file", str(tls.key)]
    command = ["redis-server", "--port", "0", "--bind", "127.0.0.1", "--save", ""]
    command += ["--dir", str(folder), *options]
    with service("redis-server", command, port, folder / "redis-tls.log"):
        yield port


@contextlib.contextmanager
def tls_moto(folder: Path, tls: Certificates) -> Iterator[S3Endpoint]:
    """moto's S3 server, speaking TLS."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    command += ["-c", str(tls.certificate), "-k", str(tls.key)]
    with service("moto", command, port, folder / "moto-tls.log"):
        url = f"https://127.0.0.1:{port}"
        environment = {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "AKIATEST",
            "AWS_SECRET_ACCESS_KEY": KEY_SECRET,
            "AWS_SESSION_TOKEN": SESSION,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CA_BUNDLE": str(tls.authority),
        }
        yield S3Endpoint(url, environment)


@contextlib.contextmanager
def worker(folder: Path, environment: Mapping[str, str]) -> Iterator[Fleet]:
    """A real worker on the scripted engine, ready to serve."""
    folder.mkdir(exist_ok=True)
    fleet = Fleet(folder, environment, 1, "scripted")
    fleet.tend()
    try:
        wait_for("the worker", lambda: "serving" in said(folder), fleet.processes[0])
        yield fleet
    finally:
        fleet.close()


def said(folder: Path) -> str:
    """What the worker has said."""
    return (folder / "worker-0.log").read_text(errors="replace")


def told(run: subprocess.CompletedProcess[str]) -> str:
    """All that a command printed."""
    return run.stdout + run.stderr


def stored(out: str) -> Iterator[tuple[str, bytes]]:
    """Every object below `out` but the plan, which needs the URLs as they are."""
    store = open_store(out)
    for listed in store.list(""):
        if not listed.key.startswith("_job/plan/"):
            data = store.get(listed.key)
            if listed.key.endswith(".parquet"):
                # Columns are compressed: a secret would not be seen in the bytes.
                table = parquet.read_table(io.BytesIO(data))
                data = repr((table.to_pylist(), table.schema.metadata)).encode()
            yield listed.key, data


def clean(where: str, data: str | bytes) -> None:
    """Fails if a secret is in there."""
    for canary in CANARIES:
        needle = canary.encode() if isinstance(data, bytes) else canary
        assert needle not in data, f"{canary} in {where}"  # type: ignore[operator]


def bucket(endpoint: S3Endpoint, patch: pytest.MonkeyPatch) -> str:
    for name, value in endpoint.environment.items():
        patch.setenv(name, value)
    client: Any = boto3.session.Session().client("s3")
    client.create_bucket(Bucket="secrets")
    client.close()
    return "s3://secrets"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("style", ["text", pytest.param("json", marks=pytest.mark.full)])
def test_password_tls_and_no_secret_anywhere(
    style: str, tmp_path: Path, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    media = make_media(tmp_path / "media", 4, 0, 0)
    (tmp_path / "media" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    signed = f"https://127.0.0.1:1/a.png?X-Amz-Signature={SIGNATURE}&X-Amz-Expires=60"
    rows = [{"uri": str(m.path)} for m in media]
    rows += [{"uri": str(tmp_path / "media" / "broken.png")}, {"uri": "s3://elsewhere/a.png"}]
    rows += [{"uri": signed}, {"uri": f"https://user:{SIGNATURE}@192.0.2.1/a.png"}]
    rows += [{"uris": [signed, f"{signed}&w=2"]}, {"uri": f"<{signed}>"}]
    rows += [{"uri": f"s3://KEY:{SIGNATURE}@elsewhere/a.png"}]
    manifest = write_manifest(tmp_path / "in.jsonl", rows)
    tls = f"ssl_cert_reqs=required&ssl_ca_certs={certificates.authority}"
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(tls_redis(tmp_path, certificates))
        endpoint = stack.enter_context(tls_moto(tmp_path, certificates))
        place = bucket(endpoint, monkeypatch)
        out = f"{place}/out"
        right = {
            **endpoint.environment,
            "MEDIAMILL_BROKER_URL": f"rediss://default:{PASSWORD}@127.0.0.1:{port}/0?{tls}",
            "MEDIAMILL_LOCAL_ROOTS": str(tmp_path / "media"),
            "MEDIAMILL_TIME_SCALE": "0.05",
            "MEDIAMILL_LOG_LEVEL": "DEBUG",
            "MEDIAMILL_LOG_FORMAT": style,
            "MEDIAMILL_MODEL": "tiny",
            "HF_TOKEN": HUB,
            "MEDIAMILL_URL_HEADERS": json.dumps({"127.0.0.1": {"X-Key": HEADER}}),
        }
        mill = Mill(tmp_path, right)
        with worker(tmp_path / "worker", right):
            arguments: list[str | Path] = [
                "submit",
                manifest,
                "--task",
                "caption",
                "--out",
                out,
                "--wait",
            ]
            submitted = mill.run(*arguments, "--json")
            assert submitted.returncode == 0, told(submitted)
            clean("submit", told(submitted))
            for command in (["status", out], ["metrics", "--once"], ["retry", out, "--json"]):
                done = mill.run(*command)
                assert done.returncode == 0, told(done)
                clean(str(command), told(done))
            assert '"workers_alive": 1' in told(mill.run("status", out, "--json"))
            wait_for("the retry", lambda: '"done"' in mill.ok("status", out, "--json"))
        clean("the worker's log", said(tmp_path / "worker"))
        objects = dict(stored(out))
        for key, data in objects.items():
            clean(key, data)
        (records,) = (data for key, data in objects.items() if key.startswith("data/"))
        assert b"X-Amz-Signature=***" in records, "what is searched is what was written"
        assert '"error": 7' in mill.ok("status", out, "--json")


@pytest.mark.timeout(300)
def test_what_is_not_whom_we_know_is_not_spoken_to(
    tmp_path: Path, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server whose certificate another authority signed, and a password that is wrong."""
    media = make_media(tmp_path / "media", 1, 0, 0)
    manifest = write_manifest(tmp_path / "in.jsonl", [{"uri": str(media[0].path)}])
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(tls_redis(tmp_path, certificates))
        endpoint = stack.enter_context(tls_moto(tmp_path, certificates))
        place = bucket(endpoint, monkeypatch)

        def broker(authority: Path, password: str, scheme: str = "rediss") -> str:
            checked = f"?ssl_ca_certs={authority}" if scheme == "rediss" else ""
            return f"{scheme}://default:{password}@127.0.0.1:{port}/0{checked}"

        right = broker(certificates.authority, PASSWORD)
        wrong = {
            "another authority's Redis": broker(certificates.other, PASSWORD),
            "no authority's Redis": f"rediss://default:{PASSWORD}@127.0.0.1:{port}/0",
            "another password": broker(certificates.authority, f"not-{PASSWORD}"),
            "no TLS": broker(certificates.authority, PASSWORD, "redis"),
            "another authority's store": right,
        }
        for what, url in wrong.items():
            away = "store" in what
            more = {"AWS_CA_BUNDLE": str(certificates.other)} if away else {}
            settings = {**endpoint.environment, "MEDIAMILL_BROKER_URL": url, **more}
            mill = Mill(tmp_path, settings)
            out = f"{place}/out" if away else tmp_path / what.replace(" ", "-")
            done = mill.run("submit", manifest, "--task", "caption", "--out", out, "--json")
            assert done.returncode == 1, f"{what}: {told(done)}"
            error = json.loads(done.stdout.splitlines()[-1])["error"]
            assert error["type"] == ("StoreUnavailable" if away else "BrokerUnavailable"), what
            clean(what, told(done))
        mill = Mill(tmp_path, {**endpoint.environment, "MEDIAMILL_BROKER_URL": right})
        assert mill.run("submit", manifest, "--task", "caption", "--out", place).returncode == 0
