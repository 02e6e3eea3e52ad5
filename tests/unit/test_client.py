"""What a client does with a job that lies in its place, without Redis."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from orchestration.client import Client
from orchestration.settings import load_settings
from storage.errors import NoSuchJob
from storage.objects import open_store
from tests.unit.mortal import TEMPO, images
from tests.unit.scripted import plan_job


@pytest.mark.parametrize("again", [True, False])
def test_waiting_ends_when_the_place_is_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, again: bool
) -> None:
    monkeypatch.setattr("orchestration.client._WAIT_LOOK_S", 0)
    place = tmp_path / "out"
    plan_job(open_store(str(place)), images(1))
    looks = iter(range(900))

    def empty(_: object) -> None:
        # To wait in spite of it would be to wait for ever.
        look = next(looks)
        if look == 2:
            shutil.rmtree(place)
            if again:
                plan_job(open_store(str(place)), images(1), options={"prompt": "new"})

    # Nobody listens on port 1.
    settings = load_settings(broker_url="redis://127.0.0.1:1/0", time_scale=TEMPO.scale)
    with pytest.raises(NoSuchJob, match="out: emptied" if again else "no job here"):
        Client(settings).wait(str(place), empty)
