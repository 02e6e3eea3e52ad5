"""What a client does with a job that lies in its place, without Redis."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from orchestration.client import Client
from orchestration.settings import load_settings
from storage.errors import NoSuchJob, StoreUnavailable
from storage.objects import Store, open_store
from tests.unit.mortal import TEMPO, images
from tests.unit.scripted import HookedStore, plan_job


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


def test_waiting_is_not_over_because_the_store_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestration.client._WAIT_LOOK_S", 0)
    monkeypatch.setattr("storage.patience._FIRST_S", 0.001)
    place = str(tmp_path / "out")
    plan_job(open_store(place), images(1))
    away = iter(range(5))
    looks: list[object] = []

    def hook(when: str, method: str, key: str) -> None:
        # From the second look on: the first finds the job.
        if looks and when == "before" and next(away, None) is not None:
            raise StoreUnavailable("away")

    def opened(uri: str, *traits: object) -> Store:
        return HookedStore(open_store(uri), hook)  # type: ignore[return-value]

    monkeypatch.setattr("orchestration.look.open_store", opened)
    settings = load_settings(broker_url="redis://127.0.0.1:1/0", time_scale=TEMPO.scale)
    with pytest.raises(TimeoutError, match="still planned"):
        Client(settings).wait(place, looks.append, timeout_s=0.5)
    assert next(away, None) is None, "it was away"
    assert len(looks) > 1
