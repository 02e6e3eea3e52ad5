"""An engine in a process of its own, through the real protocol; the engine itself is scripted."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.pieces import Clip, Piece, Span
from jobs.tasks.base import Prompt
from storage.errors import EngineDead, InvalidJob, RowError, WorkerUnfit
from tests.unit.scripted_host import FOLDER, events, fingerprint
from tests.unit.test_decode_pool import eventually, gone
from tests.unit.test_decode_wire import pieces
from workers import wire
from workers.engine import Capacity, Completion, Request
from workers.fitting import USUAL, Gpus
from workers.hosted import Hosted
from workers.mail import pack_request, unpack_request

SPAN = Span(0, 0, 1)
HOST = "tests.unit.scripted_host"

texts = st.text(st.characters(codec="utf-8"), max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 60), 1 << 60) | st.floats(-1e9, 1e9) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(texts, json_values, max_size=3)
prompts = st.builds(
    Prompt,
    texts,
    system=st.none() | texts,
    thinking=st.booleans(),
    image_tokens=st.sampled_from([70, 140, 280, 560, 1120]),
    max_tokens=st.integers(1, 4096),
    temperature=st.none() | st.floats(0, 2),
    top_p=st.none() | st.floats(0, 1),
    top_k=st.none() | st.integers(1, 100),
    seed=st.none() | st.integers(0, 1 << 62),
    json_schema=st.none() | objects,
    tools=st.lists(objects, max_size=3).map(tuple),
    raw=st.booleans(),
)
requests = st.builds(Request, texts, prompts, pieces)


def request(text: str, name: str | None = None) -> Request:
    return Request(name or text, Prompt(text), Piece(SPAN))


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Says what the hosts of this test do when they start."""

    def write(**script: Any) -> None:
        (tmp_path / "script").write_text(json.dumps(script))

    monkeypatch.setenv(FOLDER, str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    write()
    return write


def start(device: str = "cpu", **options: Any) -> Hosted:
    return Hosted("/models/m", "m@r", options, device, threads=3, host=HOST)


@pytest.fixture
def hosted(script: Callable[..., None]) -> Iterator[Hosted]:
    host = start(max_num_seqs=7)
    host.load()
    yield host
    host.close()
    assert gone(host.pid)


def ask(host: Hosted, text: str) -> str:
    return host.submit(request(text)).result(20).text


def dead(future: Future[Completion]) -> str:
    """What an engine that ended says to a request."""
    with pytest.raises(EngineDead) as caught:
        future.result(20)
    return str(caught.value)


def passed_on(asked: Request) -> Request:
    """The request as it comes out of a socket."""
    one, other = socket.socketpair()
    with one, other:
        wire.send(one, *pack_request(asked))  # less than the socket holds unread
        return unpack_request(*wire.receive(other))


@settings(max_examples=100)
@given(asked=requests)
def test_whatever_is_asked_arrives_as_it_was(asked: Request) -> None:
    got = passed_on(asked)
    assert (got.id, got.prompt, got.piece.span) == (asked.id, asked.prompt, asked.piece.span)
    assert got.prompt.sha256 == asked.prompt.sha256
    # Digest, dtype and shape of each array as well.
    assert fingerprint(got) == fingerprint(asked)


def test_requests_of_every_kind_reach_the_engine(hosted: Hosted) -> None:
    random = np.random.default_rng(3)
    image = random.integers(0, 256, (300, 400, 3), np.uint8)
    turned = image.transpose(1, 0, 2)[::-1]
    frames = random.integers(0, 256, (32, 64, 48, 3), np.uint8)
    clip = Clip(frames, tuple(range(0, 64, 2)), 29.97, 1000)
    sounds = tuple(random.normal(0, 0.1, n).astype(np.float32) for n in (480_000, 1, 0))
    schema = {"type": "object", "properties": {"é": {"enum": [1, None, 0.5]}}}
    tools = ({"name": "f", "parameters": schema}, {"name": "g"})
    asked = [
        Request("images", Prompt("a", system="s"), Piece(SPAN, (image, turned))),
        Request("clip", Prompt("b", thinking=True), Piece(Span(1, 0, 9, 0.1), clip=clip)),
        Request("sounds", Prompt("c", temperature=None, seed=5), Piece(SPAN, sounds=sounds)),
        Request("all", Prompt("d", tools=tools), Piece(SPAN, (turned,), clip, sounds[:1])),
        Request("json", Prompt("e", json_schema=schema, raw=True), Piece(SPAN)),
        Request("words", Prompt("“ü”\x00\ud83d\ude00 \u2028"), Piece(SPAN)),
    ]
    futures = [hosted.submit(one) for one in asked]
    for one, future in zip(asked, futures, strict=True):
        completion = future.result(20)
        assert (completion.id, completion.text) == (one.id, fingerprint(one))
        assert (completion.prompt_tokens, completion.output_tokens) == (10, 5)
        assert 0 < completion.seconds < 20, "counted here, and not the 0.25 that it says"
        assert completion.seconds != 0.25


def test_it_says_what_the_engine_is(hosted: Hosted) -> None:
    assert (hosted.model, hosted.version) == ("m@r", "0.0")
    assert hosted.capacity == Capacity(1000, 8, 4096, images=16, sounds=3)
    assert json.loads(ask(hosted, "told")) == {
        "options": {"max_num_seqs": 7},
        "devices": "",
        "device": "cpu",
        "shared": None,
    }


@pytest.mark.parametrize(("level", "warned"), [("INFO", "ignore"), ("DEBUG", None)])
def test_those_who_debug_see_more(
    script: Callable[..., None], monkeypatch: pytest.MonkeyPatch, level: str, warned: str | None
) -> None:
    for name in ("OMP_NUM_THREADS", "PYTHONWARNINGS"):
        monkeypatch.delenv(name, raising=False)
    logging.getLogger("workers").setLevel(level)
    host = start()
    host.load()
    assert json.loads(ask(host, "environment")) == ["3", warned, level == "DEBUG"]
    host.close()


@pytest.mark.parametrize("style", ["text", "json"])
def test_what_a_host_logs_is_in_its_workers_style_and_has_no_secret(
    monkeypatch: pytest.MonkeyPatch, style: str
) -> None:
    """Messages and tracebacks alike, as they reach standard error."""
    program = """
import logging, socket, sys
from workers import engine_host, wire
url = "https://u:hidden@a.b/c.png?X-Amz-Signature=hidden&w=2"
def library():
    try:
        raise ValueError(url)
    except ValueError:
        logging.getLogger("workers.x").exception("not %s", url, extra={"action": "a"})
    raise engine_host.EngineDead("enough")
ours, theirs = socket.socketpair()
wire.send(ours, {"verbose": False})
engine_host._host(theirs, library)
"""
    monkeypatch.setenv("MEDIAMILL_LOG_FORMAT", style)
    done = subprocess.run(
        [sys.executable, "-c", program], stderr=subprocess.PIPE, check=True, text=True
    )
    assert "hidden" not in done.stderr
    url = "https://a.b/c.png?X-Amz-Signature=***&w=2"
    if style == "text":
        first, *traceback = done.stderr.splitlines()
        assert first.endswith(f" ERROR   not {url}")
        assert traceback[-1] == f"ValueError: {url}"
        return
    line = json.loads(done.stderr)
    assert line.pop("exception").endswith(f"\nValueError: {url}")
    assert line.pop("at").endswith("Z")
    assert line == {"level": "ERROR", "logger": "workers.x", "message": f"not {url}", "action": "a"}


def test_many_threads_each_get_their_own(hosted: Hosted) -> None:
    """Answered newest first, all at once."""
    with ThreadPoolExecutor(8) as threads:
        held = list(threads.map(lambda n: hosted.submit(request("hold", f"row/{n}")), range(200)))
        assert ask(hosted, "count") == "200"
        other = request("x" * 1000, "other")
        assert hosted.submit(other).result(20).text == fingerprint(other)
        assert not any(future.done() for future in held)
        assert ask(hosted, "release") == "released"
        for number, future in enumerate(held):
            completion = future.result(20)
            assert (completion.id, completion.text) == (f"row/{number}", f"held row/{number}")


def test_one_id_twice_in_flight(hosted: Hosted) -> None:
    twice = [hosted.submit(request("hold", "same")) for _ in range(2)]
    ask(hosted, "release")
    assert [future.result(20).id for future in twice] == ["same", "same"]


def test_a_rows_error_is_its_own(hosted: Hosted) -> None:
    refused, fine = hosted.submit(request("refuse")), hosted.submit(request("echo"))
    with pytest.raises(RowError) as caught:
        refused.result(20)
    assert (caught.value.kind, caught.value.message) == (
        "too_long",
        "refuse is too long: lower it",
    )
    assert fine.result(20).id == "echo"


def test_what_is_cancelled_is_taken_back(hosted: Hosted) -> None:
    held = [hosted.submit(request("hold", str(n))) for n in range(5)]
    assert ask(hosted, "count") == "5"
    assert held[1].cancel()
    assert held[3].cancel()
    assert ask(hosted, "count") == "3"
    ask(hosted, "release")
    assert [held[n].result(20).id for n in (0, 2, 4)] == ["0", "2", "4"]
    # Also one whose answer is under way already.
    late = hosted.submit(request("echo"))
    late.cancel()
    assert ask(hosted, "count") == "0"
    assert hosted._in_flight._entries == {}


@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_host_that_is_killed_ends_every_request(hosted: Hosted, death: signal.Signals) -> None:
    held = [hosted.submit(request("hold", str(n))) for n in range(20)]
    assert ask(hosted, "count") == "20"
    os.kill(hosted.pid, death)
    for future in held:
        assert dead(future) == f"the engine of m@r ended: its process was ended by {death.name}"
    assert death.name in dead(hosted.submit(request("late")))


def test_what_the_host_started_goes_with_it(hosted: Hosted) -> None:
    """And holds nothing open: the death is noticed while that still lives."""
    engine = int(ask(hosted, "child"))
    held = hosted.submit(request("hold"))
    ask(hosted, "count")
    killed: list[bool] = []
    # Who hears of it ends the worker at once, and could not kill any more.
    held.add_done_callback(lambda _: killed.append(hosted._killed))
    os.kill(hosted.pid, signal.SIGKILL)
    assert "SIGKILL" in dead(held)
    assert eventually(lambda: killed == [True])
    assert eventually(lambda: gone(engine))


def test_an_engine_that_ends_takes_its_host_along(hosted: Hosted) -> None:
    engine = int(ask(hosted, "child"))
    held = hosted.submit(request("hold"))
    hosted.submit(request("die"))
    # As the engine said, and not how its host went after that.
    assert dead(held) == "the engine of m@r ended: out of memory"
    assert "ended" in dead(hosted.submit(request("late")))
    assert eventually(lambda: gone(hosted.pid) and gone(engine))


def test_closing_ends_all_and_may_be_done_again(script: Callable[..., None]) -> None:
    host = start()
    host.load()
    engine = int(ask(host, "child"))
    held = host.submit(request("hold"))
    ask(host, "count")
    threads = {host._reader, host._outbox._thread}
    assert all(thread.is_alive() for thread in threads)
    host.close()
    assert dead(held) == "the engine of m@r ended: closed"
    assert dead(host.submit(request("late"))) == "the engine of m@r ended: closed"
    assert gone(host.pid)
    assert eventually(lambda: gone(engine))
    assert eventually(lambda: not any(thread.is_alive() for thread in threads))
    host.close()


@pytest.mark.parametrize(
    ("how", "kind", "words"),
    [
        ("misfit", InvalidJob, "^model m@r in /models/m does not fit$"),
        ("dead", EngineDead, "^vLLM did not start$"),
        ("crash", EngineDead, "process was ended by SIGSEGV while it started"),
        ("broken", EngineDead, "process ended with status 1 while it started"),
    ],
)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_start_that_is_refused(
    script: Callable[..., None], device: str, how: str, kind: type[Exception], words: str
) -> None:
    script(start=how, gpus=1)
    host = start(device)
    if device == "cuda":
        assert host.gpus() == Gpus(1, USUAL[80])
        host.place((0,), {}, {})
    with pytest.raises(kind, match=words):
        host.load()
    host.close()
    assert gone(host.pid)


def test_without_gpus(script: Callable[..., None]) -> None:
    host = start("cuda")
    with pytest.raises(InvalidJob, match="no GPU is to be seen here"):
        host.gpus()
    # It has ended; what it is told now is lost, and asked again it says so.
    host.place((0,), {}, {})
    with pytest.raises(EngineDead, match="ended with status 0 while it started"):
        host.load()
    host.close()


def test_no_process_at_all(script: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.child.sys.executable", "/nowhere/python")
    with pytest.raises(WorkerUnfit, match="no process can be started for an engine"):
        start()
    monkeypatch.setattr("workers.child.sys.executable", "/bin/false")
    host = start()
    with pytest.raises(EngineDead, match="ended with status 1 while it started"):
        host.load()
    host.close()


@pytest.mark.parametrize(
    ("before", "devices", "after"),
    [
        (None, (3,), "3"),
        (None, (4, 5, 6, 7), "4,5,6,7"),
        ("2,5", (1,), "5"),
        ("GPU-aa, GPU-bb,GPU-cc", (1, 2), "GPU-bb,GPU-cc"),
    ],
)
def test_an_engine_sees_the_gpus_of_its_place(
    script: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    before: str | None,
    devices: tuple[int, ...],
    after: str,
) -> None:
    script(gpus=8)
    if before is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", before)
    host = start("cuda", max_num_seqs=7, max_model_len=99)
    assert host.gpus().count == 8
    host.place(devices, {"tensor_parallel_size": len(devices), "max_model_len": 50}, {})
    host.load()
    assert json.loads(ask(host, "told")) == {
        "options": {
            "max_model_len": 50,
            "max_num_seqs": 7,
            "tensor_parallel_size": len(devices),
        },
        "devices": after,
        "device": "cuda",
        "shared": None,
    }
    host.close()


def test_hosts_die_with_their_parent(script: Callable[..., None]) -> None:
    """With what they started, and with requests in flight."""
    program = """
import sys, time
from tests.unit.test_hosted import ask, request, start
host = start()
host.load()
host.submit(request("hold"))
print(host.pid, ask(host, "child"), flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert not any(gone(pid) for pid in pids)
        parent.kill()
        parent.wait()
    try:
        assert eventually(lambda: all(gone(pid) for pid in pids))
    finally:
        for pid in pids:
            if not gone(pid):
                os.kill(pid, signal.SIGKILL)


def test_one_that_is_still_loading_is_not_waited_for(script: Callable[..., None]) -> None:
    script(meet=2)  # it waits for another that never comes
    host = start()
    folder = Path(os.environ[FOLDER])
    assert eventually(lambda: events(folder) == ["begin "])
    begun = time.monotonic()
    host.close()
    assert gone(host.pid)
    assert time.monotonic() - begun < 5, "as long as an engine is given to end"
