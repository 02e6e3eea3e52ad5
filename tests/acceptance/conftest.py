"""What the acceptance tests share: the command on Redis and an S3 server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.commands import Mill
from tests.services import S3Endpoint


@pytest.fixture
def mill(tmp_path: Path, redis_url: str, moto: S3Endpoint) -> Mill:
    """The command with a Redis and an S3 server, at a tenth of the protocol's times."""
    return Mill(
        tmp_path,
        {
            **moto.environment,
            "MEDIAMILL_BROKER_URL": redis_url,
            "MEDIAMILL_LOCAL_ROOTS": str(tmp_path),
            "MEDIAMILL_TIME_SCALE": "0.1",
        },
    )
