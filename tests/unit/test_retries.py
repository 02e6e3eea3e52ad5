"""Which rows a retry takes, and with which options they are redone."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.progress import JobView, write_marker
from jobs.retries import Retry, generation_of, load_retries, newest_generation, rows_to_redo
from jobs.selection import Selection, add_retry
from jobs.spec import StoredJob
from jobs.tempo import Tempo
from storage.dataset import Footer, commit
from storage.errors import InvalidJob
from storage.objects import Store
from storage.records import _ERROR
from tests.unit.fakes import MemoryStore
from tests.unit.scripted import HookedStore, plan_job


def row(status: str, kind: str = "", *warnings: str) -> dict[str, Any]:
    error = {"kind": kind, "message": "", "retryable": kind in ("timeout", "engine")}
    return {"status": status, "error": error if kind else None, "warnings": list(warnings)}


ROWS = [
    row("ok"),
    row("error", "corrupt"),
    row("error", "timeout"),
    row("quarantined", "quarantined"),
    row("ok", "", "cut_at_token_limit"),
    row("error", "unparsable", "malformed_boxes:2"),
]


@pytest.mark.parametrize(
    ("asked", "taken"),
    [
        ({}, [1, 2, 5]),
        ({"retryable": True}, [2]),
        ({"kinds": ("corrupt", "unparsable")}, [1, 5]),
        ({"kinds": ("corrupt",), "retryable": True}, []),
        ({"quarantined": True}, [1, 2, 3, 5]),
        ({"warnings": ("malformed_boxes",)}, [5]),
        ({"warnings": ("malformed_boxes:2",)}, [5]),
        ({"warnings": ("cut_at_token_limit",)}, [4]),
        ({"warnings": ("malformed_boxes",), "kinds": ("corrupt",)}, []),
        ({"warnings": ("cut_at_token_limit",), "retryable": True}, []),
    ],
)
def test_what_is_selected(asked: dict[str, Any], taken: list[int]) -> None:
    selection = Selection(**asked)
    assert [i for i, record in enumerate(ROWS) if selection.takes(record)] == taken


def committed(
    store: MemoryStore, shard: int, rows: list[dict[str, Any]], *, marked: bool = True
) -> None:
    columns = {name: [r[name] for r in rows] for name in ("status", "error", "warnings")}
    columns["error"] = pa.array(columns["error"], _ERROR)
    values: dict[str, Any] = {n: 0 for n, f in Footer.model_fields.items() if f.is_required()}
    counts = {name: columns["status"].count(name) for name in ("ok", "error", "quarantined")}
    footer = Footer(**{**values, **counts, "shard": shard, "job_id": "j", "worker": "w"})
    assert commit(store, shard, pa.table(columns), footer)
    if marked:
        write_marker(store, footer)


def view(store: Store, job: StoredJob) -> JobView:
    return JobView(store, job, Tempo())


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    committed(store, 0, ROWS)
    committed(store, 1, [row("ok")])
    committed(store, 3, [row("error", "timeout")])
    return store


def test_a_retry_names_the_rows_and_is_written_once(store: MemoryStore) -> None:
    job = plan_job(store, [["image:a"]])
    retry = add_retry(view(store, job), Selection(), {"max_tokens": 7})
    assert retry is not None
    assert retry.generation == 1
    assert retry.rows == {0: (1, 2, 5), 3: (0,)}
    assert load_retries(store) == [retry]
    again = add_retry(view(store, job), Selection(retryable=True), {})
    assert again is not None
    assert (again.generation, again.rows) == (2, {0: (2,), 3: (0,)})
    assert load_retries(store, [retry]) == [retry, again]


def read(store: MemoryStore) -> list[int]:
    """Shards whose files were read whole."""
    return sorted(int(key[5:12]) for call, key in store.calls if call == "get" and "data/" in key)


@pytest.mark.parametrize(
    ("asked", "shards"),
    [
        ({}, [0, 3]),
        ({"retryable": True}, [0, 3]),
        ({"quarantined": True}, [0, 2, 3]),
        ({"warnings": ("cut_at_token_limit",)}, [0, 1, 2, 3]),
    ],
)
def test_shards_that_markers_speak_free_are_not_read(
    store: MemoryStore, asked: dict[str, Any], shards: list[int]
) -> None:
    job = plan_job(store, [["image:a"]] * 4, sizes=[1] * 4)
    committed(store, 2, [row("quarantined", "quarantined")])
    store.calls.clear()
    retry = add_retry(view(store, job), Selection(**asked), {})
    assert retry is not None
    assert read(store) == shards


def test_a_marker_that_is_missing_or_of_before_speaks_nobody_free(store: MemoryStore) -> None:
    # More shards are missing than are looked at one by one for their markers.
    job = plan_job(store, [["image:a"]] * 99, sizes=[1] * 99)
    committed(store, 2, [row("error", "corrupt")], marked=False)
    retry = Retry(generation=1, options={}, rows={1: (0,)}, at=0.0)
    store.put("_job/retries/000001.json", retry.model_dump_json().encode())
    store.calls.clear()
    second = add_retry(view(store, job), Selection(), {})
    assert second is not None
    assert second.rows == {0: (1, 2, 5), 2: (0,), 3: (0,)}
    assert read(store) == [0, 1, 2, 3]


def test_nothing_selected_writes_nothing(store: MemoryStore) -> None:
    job = plan_job(store, [["image:a"]])
    assert add_retry(view(store, job), Selection(kinds=("empty",)), {}) is None
    assert load_retries(store) == []


def test_options_that_do_not_fit_are_refused_first(store: MemoryStore) -> None:
    job = plan_job(store, [["image:a"]])
    for options in ({"max_tokens": 0}, {"tokens": 5}):
        with pytest.raises(InvalidJob, match="tokens"):
            add_retry(view(store, job), Selection(), options)
    assert load_retries(store) == []


def test_an_option_that_a_column_gives_is_not_asked_for_again(store: MemoryStore) -> None:
    columns = {"question": pa.array(["How many?"])}
    job = plan_job(store, [["image:a"]], task="ask", columns=columns, from_columns=("question",))
    assert add_retry(view(store, job), Selection(), {"max_tokens": 50}) is not None


def test_what_rows_cannot_be_asked_with_is_refused_first(store: MemoryStore) -> None:
    job = plan_job(
        store, [["image:a"]], task="chat", options={"prompt": "See {c}"},
        columns={"c": pa.array(["x"])},
    )  # fmt: skip
    with pytest.raises(InvalidJob, match="typo"):
        add_retry(view(store, job), Selection(), {"prompt": "See {typo}"})


def test_what_is_no_retry_is_passed_over(store: MemoryStore) -> None:
    for stray in ("_job/retries/.DS_Store", "_job/retries/000001.json.bak"):
        store.put(stray, b"nonsense")
    assert load_retries(store) == []
    assert newest_generation(store) == 0


def test_two_retries_at_once_are_two_generations(store: MemoryStore) -> None:
    job = plan_job(store, [["image:a"]])
    raced: list[Retry | None] = []

    def hook(when: str, method: str, key: str) -> None:
        if (when, method) == ("before", "put_if_absent") and not raced:
            raced.append(add_retry(view(store, job), Selection(), {}))

    mine = add_retry(view(HookedStore(store, hook), job), Selection(), {})
    assert raced[0] is not None
    assert mine is not None
    assert (raced[0].generation, mine.generation) == (1, 2)
    assert load_retries(store) == [raced[0], mine]


OPTIONS = st.dictionaries(st.sampled_from(["fps", "seed"]), st.integers(1, 3), max_size=2)
NAMED = st.dictionaries(st.integers(0, 2), st.sets(st.integers(0, 3), min_size=1).map(tuple))


@given(st.lists(st.tuples(OPTIONS, NAMED), max_size=4), st.integers(0, 4))
def test_the_newest_that_names_a_row_decides(
    drawn: list[tuple[dict[str, Any], dict[int, tuple[int, ...]]]], footer: int
) -> None:
    retries = [
        Retry(generation=g, options=options, rows=rows, at=0.0)
        for g, (options, rows) in enumerate(drawn, start=1)
    ]
    for shard in range(3):
        naming = [r for r in retries if shard in r.rows]
        assert generation_of(shard, retries) == (naming[-1].generation if naming else 0)
        redo = rows_to_redo(shard, footer, retries)
        due = [r for r in naming if r.generation > footer]
        assert set(redo) == {place for r in due for place in r.rows[shard]}
        for place, options in redo.items():
            assert options == [r for r in due if place in r.rows[shard]][-1].options
        # Nothing is due of a file that has the shard's own generation.
        if footer >= generation_of(shard, retries):
            assert redo == {}
