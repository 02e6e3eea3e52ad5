"""What the acceptance tests share: the command on Redis and an S3 server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.acceptance.commands import Mill
from tests.services import S3Endpoint, redis


def _environment(broker: str, moto: S3Endpoint, media: Path) -> Mapping[str, str]:
    """Both services, at a tenth of the protocol's times."""
    return {
        **moto.environment,
        "MEDIAMILL_BROKER_URL": broker,
        "MEDIAMILL_LOCAL_ROOTS": str(media),
        "MEDIAMILL_TIME_SCALE": "0.1",
    }


@pytest.fixture
def mill(tmp_path: Path, redis_url: str, moto: S3Endpoint) -> Mill:
    """The command with a Redis and an S3 server."""
    return Mill(tmp_path, _environment(redis_url, moto, tmp_path))


@pytest.fixture(scope="session")
def _serving(
    tmp_path_factory: pytest.TempPathFactory, moto: S3Endpoint
) -> Iterator[Mapping[str, str]]:
    folder = tmp_path_factory.mktemp("serving")
    with redis(folder) as url:
        environment = _environment(url, moto, tmp_path_factory.getbasetemp())
        with Mill(folder, environment).workers(1):
            yield environment


@pytest.fixture
def served(tmp_path: Path, _serving: Mapping[str, str]) -> Mill:
    """The command with a worker that serves the whole session: an engine takes long to start."""
    return Mill(tmp_path, _serving)
