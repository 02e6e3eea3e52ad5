"""Fixtures of every test: a scrubbed environment, and services that start when asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests import services
from tests.radosgw import radosgw as started_radosgw
from tests.services import S3Endpoint, new_bucket

# Times say how busy a machine is, not whether code is right.
settings.register_profile("mediamill", deadline=None)
settings.load_profile("mediamill")


@pytest.fixture(scope="session", autouse=True)
def scrubbed_environment() -> Iterator[None]:
    """No test sees the settings of whoever runs it, nor do the processes that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        services.scrub_environment(patch)
        yield


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    """A Redis of this test's own."""
    with services.redis(tmp_path) as url:
        yield url


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Endpoint]:
    """moto's S3 server, one for the session."""
    with services.moto(tmp_path_factory.mktemp("moto")) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def radosgw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Endpoint]:
    """Ceph's S3 gateway, one for the session; for tests marked `full`."""
    # A short path: the name of a Unix socket may have no more than 107 bytes.
    with services.short_folder() as folder, started_radosgw(folder) as endpoint:
        yield endpoint


@pytest.fixture
def s3_bucket(moto: S3Endpoint, monkeypatch: pytest.MonkeyPatch) -> str:
    """`s3://…`, an empty bucket of this test's own on moto; AWS_* are set to reach it."""
    return new_bucket(moto, monkeypatch)
