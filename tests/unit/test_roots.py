"""Which local files a worker reads: those below its roots, whatever is put in their place."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage.errors import RowError
from storage.references import local_ranges
from storage.roots import Roots, open_file

SECRET = b"secret"


@pytest.fixture
def places() -> Iterator[tuple[Path, Path]]:
    """A root and a folder beside it, with `x.png` in each; a short path, for sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        root, outside = Path(folder) / "root", Path(folder) / "outside"
        for place, content in ((root / "a", b"fine"), (outside, SECRET)):
            place.mkdir(parents=True)
            (place / "x.png").write_bytes(content)
        yield root, outside


def read(known: Roots, uri: str, base: str | None = None) -> bytes:
    with open_file(known.path(uri, base)) as file:
        return file.read()


def refusal(known: Roots, uri: str, base: str | None = None) -> RowError:
    with pytest.raises(RowError) as caught:
        read(known, uri, base)
    return caught.value


def test_what_lies_below_a_root_is_read(places: tuple[Path, Path]) -> None:
    root, _ = places
    (root / "link.png").symlink_to("a/x.png")
    (root / "b").symlink_to(root / "a")
    known = Roots([root])
    for uri in ("a/x.png", "a/../a/x.png", "./a//x.png", "link.png", "b/x.png"):
        assert read(known, uri, str(root)) == b"fine"
    assert read(known, f"file://{root}/a/x.png") == b"fine"
    assert read(Roots([root / "b"]), f"{root}/a/x.png") == b"fine"


@pytest.mark.parametrize(
    "uri",
    [
        "{outside}/x.png",
        "file://{outside}/x.png",
        "file://localhost{outside}/x.png",
        "file://{root}/%2e%2e/outside/x.png",
        "{root}/../outside/x.png",
        "{root}/a/../../outside/x.png",
        "../outside/x.png",
        "a/../../outside/x.png",
        "no/such/../../../outside/x.png",
        "{root}side/x.png",
        "/etc/passwd",
        "/no/such/file",
        "//{outside}/x.png",
    ],
)
def test_what_lies_elsewhere_is_not(places: tuple[Path, Path], uri: str) -> None:
    root, outside = places
    beside = root.parent / "rootside"
    beside.mkdir()
    (beside / "x.png").write_bytes(SECRET)
    error = refusal(Roots([root]), uri.format(root=root, outside=outside), str(root))
    assert error.kind == "forbidden"
    assert "MEDIAMILL_LOCAL_ROOTS" in error.message


@pytest.mark.parametrize(
    "link",
    [
        lambda root, out: (root / "l").symlink_to(out / "x.png"),
        lambda root, out: (root / "l").symlink_to("../outside/x.png"),
        lambda root, out: ((root / "m").symlink_to(out), (root / "l").symlink_to("m/x.png")),
        lambda root, out: (root / "l").symlink_to(f"/proc/self/root{out}/x.png"),
        lambda root, out: (root / "l").symlink_to(
            f"/proc/self/cwd/../../../../../../..{out}/x.png"
        ),
        lambda root, out: (root / "l").symlink_to("/proc/self/environ"),
        lambda root, out: (root / "l").symlink_to("/dev/zero"),
    ],
)
def test_links_that_lead_out_are_not_followed(
    places: tuple[Path, Path], link: Callable[[Path, Path], object]
) -> None:
    root, outside = places
    link(root, outside)
    assert refusal(Roots([root]), f"{root}/l").kind == "forbidden"


@pytest.mark.parametrize(
    "swap",
    [
        lambda root, out: (
            (root / "a/x.png").unlink(),
            (root / "a/x.png").symlink_to(out / "x.png"),
        ),
        lambda root, out: ((root / "a").rename(root / "b"), (root / "a").symlink_to(out)),
        lambda root, out: (root.rename(root.parent / "c"), root.symlink_to(out.parent / "d")),
    ],
    ids=["the file", "its folder", "the root"],
)
def test_a_link_put_there_after_the_check_is_not_followed(
    places: tuple[Path, Path], swap: Callable[[Path, Path], object]
) -> None:
    root, outside = places
    (outside.parent / "d/a").mkdir(parents=True)
    (outside.parent / "d/a/x.png").write_bytes(SECRET)
    path = Roots([root]).path(f"{root}/a/x.png", None)
    swap(root, outside)
    assert path.read_bytes() == SECRET  # whoever opens it by its name is led astray
    with pytest.raises(RowError) as caught, open_file(path) as file:
        file.read()
    assert caught.value.kind == "not_found"


@pytest.mark.parametrize("turn", range(6))
def test_a_folder_swapped_right_before_any_step_gives_nothing_of_what_lies_outside(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, turn: int
) -> None:
    root, outside = places
    opened = os.open
    turns = iter(range(100))

    def swapped(path: str, flags: int, *, dir_fd: int | None = None) -> int:
        if next(turns) == turn:
            (root / "a").rename(root / "b")
            (root / "a").symlink_to(outside)
        return opened(path, flags, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", swapped)
    # To here it is steps `/`, `tmp`, its own folder, `root`, `a` and `x.png`.
    if turn < 5:
        assert refusal(Roots([root]), f"{root}/a/x.png").kind == "not_found"
    else:
        assert read(Roots([root]), f"{root}/a/x.png") == b"fine"
    assert (root / "a").is_symlink()


def test_what_was_opened_stays_open_whatever_takes_its_name(places: tuple[Path, Path]) -> None:
    root, outside = places
    with open_file(Roots([root]).path(f"{root}/a/x.png", None)) as file:
        (root / "a/x.png").unlink()
        (root / "a/x.png").symlink_to(outside / "x.png")
        assert file.read() == b"fine"


@pytest.mark.parametrize(
    "uri",
    [
        "/proc/self/environ",
        "/proc/self/mem",
        "/proc/self/fd/0",
        "/proc/1/environ",
        "/sys/kernel/version",
        "/dev/zero",
        "/dev/stdin",
        "/dev/fd/0",
        "/proc/../proc/self/status",
    ],
)
@pytest.mark.parametrize("known", [None, [Path("/")]])
def test_what_the_kernel_makes_up_is_no_medium(uri: str, known: list[Path] | None) -> None:
    assert refusal(Roots(known), uri).kind == "forbidden"


def test_shared_memory_holds_ordinary_files() -> None:
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        file.write(b"fine")
        file.flush()
        assert read(Roots([Path("/dev/shm")]), file.name) == b"fine"


def test_what_is_no_file_is_neither_read_nor_waited_for(places: tuple[Path, Path]) -> None:
    root, _ = places
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(root / "socket"))
        for name in ("pipe", "socket", "a", "."):
            error = refusal(Roots([root]), name, str(root))
            assert error.kind == "wrong_kind"
            assert "name a media file" in error.message
    assert refusal(Roots(None), "/").kind == "wrong_kind"


def test_a_folder_need_not_be_listed_to_go_through_it(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As root everything may be listed: so what is asked for is looked at.
    root, _ = places
    inner, asked = os.open, []

    def noted(path: str, flags: int, *, dir_fd: int | None = None) -> int:
        asked.append(flags)
        return inner(path, flags, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", noted)
    assert read(Roots([root]), f"{root}/a/x.png") == b"fine"
    assert all(flags & os.O_PATH for flags in asked[:-1])
    assert not asked[-1] & os.O_PATH


def test_no_descriptor_is_left_open(places: tuple[Path, Path]) -> None:
    root, _ = places
    before = len(list(Path("/proc/self/fd").iterdir()))
    for uri in ("a/x.png", "a/none.png", "a", "a/x.png/y", "none/x.png"):
        with contextlib.suppress(RowError):
            read(Roots([root]), uri, str(root))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_tables_and_tars_are_read_from_below_the_roots_alone(places: tuple[Path, Path]) -> None:
    root, outside = places
    assert local_ranges(Roots([root]), f"{root}/a/x.png").read(0, 4) == b"fine"
    (root / "out").symlink_to(outside)
    for path in (f"{outside}/x.png", f"{root}/out/x.png", "a/x.png", "/proc/self/environ"):
        with pytest.raises(RowError) as caught:
            local_ranges(Roots([root]), path)
        assert caught.value.kind == "forbidden"
