"""Services that tests talk to, each a private process on a free port that ends with its block."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path

import boto3.session
import pytest

_ROOT = Path(__file__).parent.parent
#: Seconds that a service may take to answer on a busy machine.
_START_S = 180.0


@dataclass(frozen=True, slots=True)
class S3Endpoint:
    """An S3 server; `environment` is what boto3 needs to use it."""

    url: str
    environment: Mapping[str, str]

    @classmethod
    def on(cls, port: int, key: str = "test", secret: str = "testtest") -> S3Endpoint:
        """The server at this port of this machine."""
        url = f"http://127.0.0.1:{port}"
        return cls(
            url,
            {
                "AWS_ENDPOINT_URL": url,
                "AWS_ACCESS_KEY_ID": key,
                "AWS_SECRET_ACCESS_KEY": secret,
                "AWS_DEFAULT_REGION": "us-east-1",
            },
        )


@contextlib.contextmanager
def serving(server: ThreadingHTTPServer) -> Iterator[None]:
    """Let a small server of ours answer until the block ends."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield
    server.shutdown()
    thread.join()
    server.server_close()


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(
    what: str, ready: Callable[[], bool], process: subprocess.Popen[bytes] | None = None
) -> None:
    """Return once `ready()` holds. Fails if the process ends or the time is up."""
    deadline = time.monotonic() + _START_S
    while not ready():
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"{what} ended with status {process.returncode}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not answer within {_START_S:.0f} s")
        time.sleep(0.02)


def listens(port: int) -> bool:
    """Whether something accepts connections at this port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def ending(process: subprocess.Popen[bytes], within_s: float = 10) -> Iterator[None]:
    """Ask the process to end after the block, and see to it after so many seconds."""
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process in the foreground while the block runs; its output is in `log`."""
    # What pytest leaves behind when it is killed must end too.
    guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*guard, *command], stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        with ending(process):
            yield process


@contextlib.contextmanager
def service(name: str, command: list[str], port: int, log: Path) -> Iterator[None]:
    """Run a server while the block runs, which begins when it accepts connections."""
    with running(command, log) as process:
        wait_for(f"{name} (see {log})", lambda: listens(port), process)
        yield


@contextlib.contextmanager
def redis(folder: Path, *options: str, port: int | None = None) -> Iterator[str]:
    """A Redis that keeps nothing on disk; gives its URL."""
    unpacked = _ROOT / ".cache/redis/usr/bin/redis-server"
    binary = shutil.which("redis-server") or (str(unpacked) if unpacked.exists() else None)
    if binary is None:
        raise RuntimeError("there is no redis-server; `environment/system redis` brings it")
    port = port or free_port()
    command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    command += ["--dir", str(folder), *options]
    with service("redis-server", command, port, folder / f"redis-{port}.log"):
        yield f"redis://127.0.0.1:{port}/0"


@contextlib.contextmanager
def moto(folder: Path) -> Iterator[S3Endpoint]:
    """moto's S3 server, with everything in its memory."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with service("moto", command, port, folder / "moto.log"):
        yield S3Endpoint.on(port)


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """A temporary folder with a short name, for services that put Unix sockets into it."""
    with tempfile.TemporaryDirectory(prefix="mm-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def scrub_environment(patch: pytest.MonkeyPatch) -> None:
    """Forget the settings of whoever runs the tests; boto3 must find no files of theirs."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "MEDIAMILL_")):
            patch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        patch.setenv(name, os.devnull)
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def new_bucket(endpoint: S3Endpoint, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make a bucket and set AWS_* to its server; gives its URI."""
    for name, value in endpoint.environment.items():
        monkeypatch.setenv(name, value)
    return create_bucket(f"test-{uuid.uuid4().hex[:16]}")


def create_bucket(name: str) -> str:
    """Make a bucket on the server that AWS_* lead to; gives its URI."""
    client = boto3.session.Session().client("s3")
    try:
        client.create_bucket(Bucket=name)
    finally:
        client.close()
    return f"s3://{name}"
