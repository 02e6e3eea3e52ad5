"""WebDataset tars: members to rows, references back to bytes, and what is refused."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.plan import Plan
from storage import samples
from storage.braces import expand
from storage.errors import InvalidManifest, RowError
from storage.media import MediaSource
from storage.ranges import FileRanges, Ranged, open_ranges
from storage.tar_uri import TarMember, parse
from storage.tars import Tar
from tests.planning import planned

PNG = b"\x89PNG\r\n\x1a\n"
FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
Members = Sequence[tuple[str, bytes]]


def write_tar(path: Path, members: Members, form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def refusal(uri: str | Path) -> str:
    with pytest.raises(InvalidManifest) as caught:
        planned(uri)
    return str(caught.value)


def columns(plan: Plan) -> dict[str, str]:
    return {column.source: column.type for column in plan.columns}


@pytest.fixture
def source(tmp_path: Path) -> Iterator[MediaSource]:
    opened = MediaSource(local_roots=[tmp_path], spool_dir=tmp_path / "spool")
    with contextlib.closing(opened):
        yield opened


def content(source: MediaSource, uri: str) -> bytes:
    media = source.fetch(uri, max_bytes=1 << 30)
    assert media.uri == uri
    data = media.source if isinstance(media.source, bytes) else media.source.read_bytes()
    media.close()
    return data


def fault(source: MediaSource, uri: str, max_bytes: int = 1 << 30) -> RowError:
    with pytest.raises(RowError) as caught:
        source.fetch(uri, max_bytes=max_bytes)
    return caught.value


# --- members to rows -----------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS)
def test_members_with_one_basename_are_a_row(
    tmp_path: Path, source: MediaSource, form: int
) -> None:
    long = "" if form == tarfile.USTAR_FORMAT else "ü" * 120
    for number in range(2):
        members = []
        for i in range(3):
            key = f"./a.b/{long}{number}{i}"
            members += [
                (f"{key}.JPG", PNG + bytes([number, i])),
                (f"{key}.json", b'{"w": %d, "id": "x", "deep": [1], "txt": null}' % i),
                (f"{key}.txt", "schön".encode()),
                (f"{key}.cls", b" %d\n" % i),
            ]
        write_tar(tmp_path / f"x-{number:03}.tar", members, form)
    plan, rows = planned(tmp_path / "x-{000..001}.tar")
    assert [row.id for row in rows] == [
        f"x-{n:03}/a.b/{long}{n}{i}" for n in range(2) for i in range(3)
    ]
    assert columns(plan) == {
        "txt": "string", "cls": "int64", "w": "int64", "in_id": "string", "in_txt": "string",
        "bytes": "int64",
    }  # fmt: skip
    assert rows[4].columns == {
        "txt": "schön", "cls": 1, "w": 1, "in_id": "x", "in_txt": None, "bytes": 10
    }  # fmt: skip
    for row, (number, i) in zip(rows, itertools.product(range(2), range(3)), strict=True):
        (uri,) = row.uris
        assert content(source, uri) == PNG + bytes([number, i])
        assert parse(uri).member == f"a.b/{long}{number}{i}.JPG"


def test_one_tar_and_samples_of_several_media(tmp_path: Path, source: MediaSource) -> None:
    members = [
        ("s1.right.png", PNG + b"r"),
        ("s1.meta.json", b'{"k": 0.5}'),
        ("s1.left.png", PNG + b"l"),
        ("s1.wav.npy", b"no medium"),
        ("README", b"no sample"),
        ("._s1.png", b"of a Mac"),
        ("__index__/s1.json", b"of webdataset's"),
        ("s2.png", PNG),
    ]
    plan, rows = planned(write_tar(tmp_path / "one.tar", members))
    assert [row.id for row in rows] == ["s1", "s2"]
    assert [content(source, uri) for uri in rows[0].uris] == [PNG + b"r", PNG + b"l"]
    assert columns(plan) == {"uris": "list<string>", "meta.k": "double", "bytes": "int64"}
    assert rows[0].columns == {"uris": list(rows[0].uris), "meta.k": 0.5, "bytes": 18}
    assert rows[1].columns == {"uris": None, "meta.k": None, "bytes": 8}
    assert plan.base is None


def test_types_are_settled_over_all_tars(tmp_path: Path) -> None:
    fields = ['"n": 1', '"n": 2.5', '"n": null', '"n": 12345678901234567890123']
    for number, field in enumerate(fields):
        write_tar(
            tmp_path / f"{number}.tar",
            [("k.png", PNG), ("k.json", f"{{{field}}}".encode()), ("k.cls", b"cat")],
        )
    plan, _ = planned(tmp_path / "{0..2}.tar")
    assert columns(plan) == {"cls": "string", "n": "double", "bytes": "int64"}
    plan, rows = planned(tmp_path / "?.tar")
    assert columns(plan)["n"] == "json"
    assert rows[3].columns["n"] == 12345678901234567890123


KEYS = st.text("ab0é _-#&%+?é\n", min_size=1, max_size=6)


@settings(max_examples=60)
@given(
    tars=st.lists(
        st.dictionaries(
            KEYS,
            st.tuples(st.integers(0, 1500), st.sampled_from(["png", "PNG", "x.webp"]), st.text()),
            min_size=1,
            max_size=6,
        ),
        min_size=1,
        max_size=3,
    ),
    form=st.sampled_from(FORMATS),
)
def test_every_member_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    tars: list[dict[str, tuple[int, str, str]]],
    form: int,
) -> None:
    folder = tmp_path_factory.mktemp("tars")
    wanted = []
    for number, samples_ in enumerate(tars):
        members: list[tuple[str, bytes]] = []
        for key, (size, extension, text) in samples_.items():
            medium = PNG + f"{number}{key}".encode() + b"x" * size
            members += [(f"{key}.{extension}", medium), (f"{key}.txt", text.encode())]
            prefix = f"{number}/" if len(tars) > 1 else ""
            wanted.append((f"{prefix}{key}", medium, text))
        write_tar(folder / f"{number}.tar", members, form)
    _, rows = planned(folder / "*.tar")
    with contextlib.closing(MediaSource(local_roots=[folder], spool_dir=folder)) as source:
        found = [(row.id, content(source, row.uris[0]), row.columns["txt"]) for row in rows]
    assert found == wanted


def test_a_part_of_the_rows(tmp_path: Path) -> None:
    for number in range(3):
        members = [(f"{i:02}.png", PNG + bytes([i])) for i in range(10)]
        write_tar(tmp_path / f"{number}.tar", members)
    whole, rows = planned(tmp_path / "*.tar")
    few, first = planned(tmp_path / "*.tar", limit=12)
    assert first == rows[:12]
    assert few.manifest_digest == whole.manifest_digest
    _, some = planned(tmp_path / "*.tar", sample=5)
    assert len(some) == 5
    assert [row for row in rows if row in some] == some


def test_the_digest_is_of_the_tars(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", [("k.png", PNG)])
    first = planned(path)[0].manifest_digest
    assert planned(path)[0].manifest_digest == first
    os.utime(path, (1, 1))
    assert planned(path)[0].manifest_digest != first


# --- what is refused -----------------------------------------------------------------------


def test_faults_of_samples_are_gathered(tmp_path: Path) -> None:
    members = [
        ("a.png", PNG),
        ("a.png", PNG),
        ("b.json", b"{}"),
        ("c.png", PNG),
        ("c.json", b"{NaN"),
        ("d.png", PNG),
        ("d.txt", b"\xff"),
    ]
    said = refusal(write_tar(tmp_path / "x.tar", members))
    assert "sample a.png: a second member of one name; keep one" in said
    assert "sample b: no medium among its members; every sample needs one" in said
    assert "sample c.json: a .json that is not JSON" in said
    assert "sample d.txt: a text that is not UTF-8" in said
    _, rows = planned(write_tar(tmp_path / "y.tar", [("b.txt", b"hi")]), text_alone=True)
    assert [(row.id, row.uris, row.columns) for row in rows] == [("b", (), {"txt": "hi"})]


def test_a_sample_has_so_much_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "_MOST_TEXT", 1000)
    members = [("a.png", PNG), *((f"a.{n}.txt", b"x" * 300) for n in range(5))]
    said = refusal(write_tar(tmp_path / "x.tar", members))
    assert "a.3.txt" in said
    assert "in one sample; leave some out" in said
    _, rows = planned(write_tar(tmp_path / "y.tar", members[:4]))
    assert [row.columns["0.txt"] for row in rows] == ["x" * 300]


def test_keys_that_come_again_are_refused(tmp_path: Path) -> None:
    members = [("a.png", PNG), ("b.png", PNG), ("a.jpg", PNG)]
    said = refusal(write_tar(tmp_path / "x.tar", members))
    assert "row 2 (row 0 is 'a' too): the 'id' of an earlier row" in said


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_are_refused(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        info = tarfile.TarInfo("a.png")
        info.type, info.linkname = kind, "b.png"
        archive.addfile(info)
    assert "sample a.png: a link, which has no bytes of its own" in refusal(tmp_path / "x.tar")


def test_sparse_members_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "hole.png"
    with path.open("wb") as file:
        file.truncate(1 << 20)
        file.seek(0)
        file.write(PNG)
    for form in ("gnu", "posix"):
        subprocess.run(
            ["tar", "--sparse", f"--format={form}", "-cf", "x.tar", "hole.png"],
            cwd=tmp_path, check=True,
        )  # fmt: skip
        assert "a sparse member" in refusal(tmp_path / "x.tar")


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_compressed_tars_are_refused(tmp_path: Path, mode: Any) -> None:
    named = tmp_path / f"x.tar.{mode[2:]}"
    for path in (named, tmp_path / "x.tar"):
        with tarfile.open(path, mode) as archive:
            archive.addfile(tarfile.TarInfo("a.png"), io.BytesIO())
    assert "cannot be read by range; uncompress it" in refusal(named)
    assert "cannot be read by range; uncompress it" in refusal(tmp_path / "x-{0..9}.tgz")
    said = refusal(tmp_path / "x.tar")
    assert "cannot be read by range" in said or "damaged tar, at byte 0" in said


def test_damaged_tars_are_refused_and_never_cut_short(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", [("a.png", PNG), ("b.png", PNG * 100)])
    data = path.read_bytes()
    path.write_bytes(data[:1024] + b"?" + data[1025:])
    assert "damaged tar, at byte 1,024" in refusal(path)
    path.write_bytes(data[: 1024 + 512 + 100])
    assert "the file ends within member 'b.png'" in refusal(path)
    path.write_bytes(data[:1300])
    assert "damaged tar, at byte 1,024" in refusal(path)
    path.write_bytes(b"")
    assert "damaged tar, at byte 0" in refusal(path)
    path.write_bytes(data[:1024])
    assert len(planned(path)[1]) == 1, "some leave out the blocks of zeros at the end"


@settings(max_examples=150)
@given(st.data())
def test_any_bytes_are_a_tar_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    form = data.draw(st.sampled_from(FORMATS))
    long = "" if form == tarfile.USTAR_FORMAT else "ü" * 120
    members = [(f"{long}{i}.png", PNG + bytes([i]) * 700) for i in range(3)]
    whole = bytearray(write_tar(folder / "x.tar", members, form).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at : at + 8] = data.draw(st.binary(min_size=1, max_size=8))
    (folder / "x.tar").write_bytes(whole)
    ranges = open_ranges(str(folder / "x.tar"))
    try:
        found = list(Tar(ranges).members())
    except InvalidManifest:
        return
    assert all(0 < m.at <= m.at + m.size <= ranges.size for m in found)


def test_a_header_that_never_ends_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a.png")
    info.type, info.size = tarfile.XHDTYPE, 1 << 30
    (tmp_path / "x.tar").write_bytes(info.tobuf() + bytes(1024))
    assert "a header of 1,073,741,824 bytes" in refusal(tmp_path / "x.tar")
    info.size = 0
    (tmp_path / "x.tar").write_bytes(info.tobuf() * 5000)
    assert "damaged tar" in refusal(tmp_path / "x.tar")


def test_tars_that_are_not_there_are_named(tmp_path: Path) -> None:
    write_tar(tmp_path / "x-0.tar", [("a.png", PNG)])
    assert f"{tmp_path}/x-1.tar: the tar cannot be read" in refusal(tmp_path / "x-{0..1}.tar")
    assert "no such tars; check the pattern" in refusal(tmp_path / "y-*.tar")
    assert "tars and for other files" in refusal(tmp_path / "{a.tar,b.csv}")
    assert "more than 1,000,000 names" in refusal(tmp_path / "{1..99999999}.tar")
    write_tar(tmp_path / "x-1.tar", [(os.fsdecode(b"\xff.png"), PNG)])
    assert "a name that is not UTF-8" in refusal(tmp_path / "x-1.tar")
    (tmp_path / "x-{2..3}.tar").write_bytes((tmp_path / "x-0.tar").read_bytes())
    assert len(planned(tmp_path / "x-{2..3}.tar")[1]) == 1


# --- references ----------------------------------------------------------------------------


def test_a_tar_that_changed_gives_errors_and_never_other_bytes(
    tmp_path: Path, source: MediaSource
) -> None:
    path = write_tar(tmp_path / "x.tar", [("a.png", PNG + b"a"), ("b.png", PNG + b"b")])
    _, rows = planned(path)
    before = path.stat()
    write_tar(path, [("b.png", PNG + b"b"), ("a.png", PNG + b"a")])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert "changed since the job was planned" in fault(source, rows[0].uris[0]).message
    # What the file system does not tell, the header does.
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    error = fault(source, rows[0].uris[0])
    assert error.kind == "not_found"
    assert "member 'a.png' may be another now" in error.message
    # What the header does not tell, as when bytes were written over, the file system does.
    write_tar(path, [("a.png", PNG + b"c"), ("b.png", PNG + b"b")])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert fault(source, rows[0].uris[0]).kind == "not_found"
    path.unlink()
    assert fault(source, rows[0].uris[0]).kind == "not_found"


def test_references_obey_the_rules_of_what_they_refer_to(
    tmp_path: Path, source: MediaSource
) -> None:
    (tmp_path / "in").mkdir()
    _, rows = planned(write_tar(tmp_path / "x.tar", [("a.png", PNG * 3), ("e.png", b"")]))
    with contextlib.closing(MediaSource(local_roots=[tmp_path / "in"])) as inner:
        assert fault(inner, rows[0].uris[0]).kind == "forbidden"
    assert fault(source, rows[0].uris[0], max_bytes=23).kind == "too_large"
    assert fault(source, rows[1].uris[0]).kind == "empty"
    for file in ("https://h/x.tar", "x.tar", "cell:/x#y", "file:///x.tar", "ftp://h/x.tar"):
        uri = TarMember(file, 512, 10, 0, "t", "a.png").uri
        assert fault(source, uri).kind == "forbidden"
    for uri in ("tar:", "tar:/x.tar", f"{rows[0].uris[0]}#x", "tar:/x#at=0&bytes=1"):
        assert fault(source, uri).kind == "not_found"


@given(
    st.builds(
        TarMember,
        st.text(min_size=1), st.integers(512, 10**17), st.integers(0, 10**17),
        st.integers(0, 2**32 - 1), st.text(), st.text(min_size=1),
    )
)  # fmt: skip
def test_references_come_back(member: TarMember) -> None:
    assert parse(member.uri) == member


def test_a_large_member_is_read_in_parts(tmp_path: Path, source: MediaSource) -> None:
    data = PNG + os.urandom(20 << 20)
    _, rows = planned(write_tar(tmp_path / "x.tar", [("a.png", data)]))
    assert content(source, rows[0].uris[0]) == data


# --- reading of headers --------------------------------------------------------------------


class Counted:
    """A local file that says it is remote, and counts what is asked of it."""

    def __init__(self, path: Path) -> None:
        self._file = FileRanges(path, os.open(path, os.O_RDONLY))
        self.uri, self.size, self.tag = f"s3://b{path}", self._file.size, self._file.tag
        self.reads: list[int] = []

    def read(self, start: int, end: int) -> bytes:
        self.reads.append(end - start)
        return self._file.read(start, end)


def test_small_members_are_streamed_and_large_ones_skipped(tmp_path: Path) -> None:
    small = [(f"{i}.png", PNG + bytes(30_000)) for i in range(600)]
    counted = Counted(write_tar(tmp_path / "small.tar", small))
    assert len(list(Tar(counted).members())) == 600
    assert len(counted.reads) < 10
    assert sum(counted.reads) < counted.size * 1.1
    large: list[tuple[str, bytes]] = []
    for i in range(12):
        large += [(f"{i}.mp4", bytes(3 << 20)), (f"{i}.json", b"{}"), (f"{i}.txt", b"hi")]
    counted = Counted(write_tar(tmp_path / "large.tar", large))
    archive = Tar(counted)
    texts = [archive.read(m) for m in archive.members() if m.name.endswith(("json", "txt"))]
    assert texts == [b"{}", b"hi"] * 12
    # One request a sample, after the first block.
    assert len(counted.reads) < 15
    assert sum(counted.reads[1:]) < 15 * 17_000


def test_tars_are_read_ahead_in_order_and_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def noted(uri: str) -> Ranged:
        opened.append(Path(uri).name)
        return open_ranges(uri)

    monkeypatch.setattr(samples, "open_ranges", noted)
    monkeypatch.setattr("storage.manifest_tars._AHEAD_BYTES", 700)
    for number in range(9):
        members = [(f"{i:02}.png", PNG + bytes([i])) for i in range(10)]
        write_tar(tmp_path / f"{number}.tar", members)
    _, rows = planned(tmp_path / "*.tar")
    assert [row.id for row in rows] == [f"{n}/{i:02}" for n in range(9) for i in range(10)]
    assert sorted(opened) == [f"{n}.tar" for n in range(9)]
    opened.clear()
    assert len(planned(tmp_path / "*.tar", limit=3)[1]) == 3
    assert opened == ["0.tar"]


# --- braces --------------------------------------------------------------------------------

LITERAL = st.text("ab./-:é ", max_size=4)
NUMBERS = st.tuples(st.integers(-12, 120), st.integers(-12, 120), st.integers(0, 4)).map(
    lambda t: (
        f"{{{t[0]:0{t[2]}d}..{t[1]:0{t[2]}d}}}",
        padded(*t),
    )
)


def padded(first: int, last: int, width: int) -> list[str]:
    ends = [f"{first:0{width}d}", f"{last:0{width}d}"]
    zeros = any(end.lstrip("-").startswith("0") and len(end.lstrip("-")) > 1 for end in ends)
    step = 1 if first <= last else -1
    digits = max(map(len, ends)) if zeros else 0
    return [f"{n:0{digits}d}" for n in range(first, last + step, step)]


def joined(parts: list[tuple[str, list[str]]]) -> tuple[str, list[str]]:
    texts = [text for text, _ in parts]
    return "".join(texts), ["".join(p) for p in itertools.product(*(e for _, e in parts))]


def listed(parts: list[tuple[str, list[str]]]) -> tuple[str, list[str]]:
    return "{" + ",".join(text for text, _ in parts) + "}", [e for _, es in parts for e in es]


PATTERNS = st.recursive(
    st.one_of(LITERAL.map(lambda text: (text, [text])), NUMBERS),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(joined),
        st.lists(inner, min_size=2, max_size=3).map(listed),
    ),
    max_leaves=6,
)


@given(PATTERNS)
def test_braces_are_expanded(pattern: tuple[str, list[str]]) -> None:
    text, wanted = pattern
    if len(wanted) > 5000:
        with pytest.raises(InvalidManifest, match="more than 5,000 names"):
            expand(text, 5000)
    else:
        assert expand(text, 5000) == wanted


def test_braces_are_those_of_a_shell() -> None:
    patterns = [
        *["x-{000..003}.tar", "{a,b}{1..3}", "{a,{b,c{1..2}}}x", "{08..11}", "{10..8}", "{x}"],
        *["{a,b", "a}{b,c}", "{-01..1}", "{,a}b", "{{a,b}}", "x{}{1,2}", "{a,b}{", "{1..-2}"],
        *["{a,b}}", "{a{b,c}", "{00..5,7}", "{1...3}"],
    ]
    for pattern in patterns:
        command = ["bash", "-c", f"set -f; printf '%s\\n' {pattern}"]
        shell = subprocess.run(command, capture_output=True, text=True, check=True)
        assert expand(pattern, 100) == shell.stdout.splitlines(), pattern
