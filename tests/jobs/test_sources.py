"""Files of calls: what each kind gives, and what is said of each that is not right."""

import contextlib
import errno
import gc
import gzip
import importlib.util
import io
import itertools
import os
import sys
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow
import pytest
from pyarrow import parquet

from volc_moderation import ConfigurationError, SourceError
from volc_moderation.jobs.clients import Clients
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.load import Loaded, check, load
from volc_moderation.jobs.rows import Rows as ActionRows
from volc_moderation.jobs.sources import Row, Source, read_source
from volc_moderation.zego import StopCensorAudioV2

Rows = list[tuple[int, Row | SourceError]]

CSV = b"task_id,note\n1,one\n2,two\n"
JSON = b'{"task_id": "1", "note": "one"}\n{"task_id": "2", "note": "two"}\n'
#: What both of them say.
TWO = [{"task_id": "1", "note": "one"}, {"task_id": "2", "note": "two"}]
#: Lines of the large files; the first bad one comes after them.
MANY = 70_000
HAS_ZSTD = importlib.util.find_spec("compression") is not None


def piped(content: bytes) -> Source:
    return read_source("-", stdin=lambda: io.BytesIO(content))


def all_rows(source: Source) -> Rows:
    with contextlib.closing(source):
        return list(source.rows)


def rows_of(content: bytes) -> Rows:
    return all_rows(piped(content))


def values_of(source: Source) -> list[object]:
    return [row for _, row in all_rows(source)]


def fault_of(content: bytes) -> SourceError:
    with pytest.raises(SourceError) as caught:
        rows_of(content)
    return caught.value


def zstd(content: bytes) -> bytes:
    packed: bytes = pyarrow.compress(content, codec="zstd", asbytes=True)
    return packed


def as_parquet(path: Path, table: Any) -> str:
    parquet.write_table(table, path)
    return str(path)


# What can be read


@pytest.mark.parametrize("delimiter", [b",", b";", b"\t"])
def test_csv_by_any_delimiter(delimiter: bytes) -> None:
    source = piped(CSV.replace(b",", delimiter))
    assert source.columns == ("task_id", "note")
    assert list(source.rows) == [(2, TWO[0]), (3, TWO[1])]


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b'a;b\n"1;2";3\n', [(2, {"a": "1;2", "b": "3"})]),
        (b'a,b\n"say ""no""",\n', [(2, {"a": 'say "no"', "b": ""})]),
        ("a,b\n房,é\n".encode(), [(2, {"a": "房", "b": "é"})]),
        (b"a,b\r\n1,2\r\n3,4\r\n", [(2, {"a": "1", "b": "2"}), (3, {"a": "3", "b": "4"})]),
        (b"a,b\n\n1,2\n\r\n\n3,4\n\n", [(3, {"a": "1", "b": "2"}), (6, {"a": "3", "b": "4"})]),
        (b" a ,\tb\n 1,2", [(2, {"a": " 1", "b": "2"})]),
        (b"\xef\xbb\xbf" + b'"a",b\n\xef\xbb\xbf1,2\n', [(2, {"a": "\ufeff1", "b": "2"})]),
        (b"a\n1\n", [(2, {"a": "1"})]),
        (b"a,b\n", []),
    ],
    ids=["delimiter in quotes", "quotes", "UTF-8", "CRLF", "blank lines", "blanks", "BOM", "one column", "no rows"],
)
def test_csv_as_spreadsheets_write_it(content: bytes, rows: Rows) -> None:
    assert rows_of(content) == rows


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_lines_are_counted_through_quoted_ones(end: bytes) -> None:
    rows = rows_of(b'a,b\n1,"one\n\ntwo"\n3,4\n5\n'.replace(b"\n", end))
    assert rows[0][1] == {"a": "1", "b": f"one{end.decode()}{end.decode()}two"}
    assert rows[1] == (5, {"a": "3", "b": "4"})
    assert rows[2][0] == 6


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b"\n  \n"], ids=["", "BOM", "blank lines"])
def test_json_lines(before: bytes) -> None:
    source = piped(before + b'{"a": [1, {"b": null}]}\r\n\n  \n {"c": "\\n\xe6\x88\xbf"}')
    first = 1 + before.count(b"\n")
    assert source.columns is None
    assert list(source.rows) == [(first, {"a": [1, {"b": None}]}), (first + 3, {"c": "\n房"})]


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
@pytest.mark.parametrize("content", [CSV, JSON])
def test_compressed_files(content: bytes, pack: Callable[[bytes], bytes]) -> None:
    if pack is zstd and not HAS_ZSTD:
        assert "compressed with zstd, which Python reads from 3.14 on; unpack it first" in str(fault_of(pack(content)))
    else:
        assert values_of(piped(pack(content))) == TWO


def test_gzip_of_several_parts() -> None:
    assert values_of(piped(gzip.compress(CSV[:20], mtime=0) + gzip.compress(CSV[20:], mtime=0))) == TWO


@pytest.mark.parametrize("name", ["calls.csv", "calls.jsonl", "calls.gz", "calls.parquet", "calls"])
@pytest.mark.parametrize("kind", ["csv", "json", "gzip", "parquet"])
def test_what_a_file_is_shows_in_its_bytes_not_in_its_name(tmp_path: Path, name: str, kind: str) -> None:
    file = tmp_path / name
    if kind == "parquet":
        as_parquet(file, pyarrow.Table.from_pylist(TWO))
    else:
        file.write_bytes({"csv": CSV, "json": JSON, "gzip": gzip.compress(JSON, mtime=0)}[kind])
    source = read_source(str(file))
    assert (source.name, values_of(source)) == (str(file), TWO)


def test_parquet_has_values_and_numbers_of_rows(tmp_path: Path) -> None:
    table = pyarrow.table(
        {
            "room_id": ["r", None],
            "user_id": [["u", "v"], []],
            "interval": pyarrow.array([150, None], pyarrow.int32()),
            "video_param": [{"RiskTypeList": ["AGE"]}, None],
        }
    )
    source = read_source(as_parquet(tmp_path / "calls", table))
    assert source.columns == ("room_id", "user_id", "interval", "video_param")
    assert all_rows(source) == [
        (1, {"room_id": "r", "user_id": ["u", "v"], "interval": 150, "video_param": {"RiskTypeList": ["AGE"]}}),
        (2, {"user_id": []}),
    ]


def test_parquet_goes_on_from_batch_to_batch(tmp_path: Path) -> None:
    table = pyarrow.table({"task_id": list(range(2500))})
    rows = all_rows(read_source(as_parquet(tmp_path / "calls", table)))
    assert rows == [(number + 1, {"task_id": number}) for number in range(2500)]


def test_standard_input_is_the_process_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(JSON)))
    source = read_source("-")
    assert (source.name, values_of(source)) == ("standard input", TWO)


# What cannot be read at all


@pytest.mark.parametrize(
    ("content", "message", "line"),
    [
        (b"", "is empty", None),
        (gzip.compress(b"", mtime=0), "is empty", None),
        ("a,b\n1,2\n".encode("utf-16"), "is UTF-16; save it as UTF-8", None),
        (b"\xfe\xff" + '{"a": 1}\n'.encode("utf-16-be"), "is UTF-16; save it as UTF-8", None),
        (b'[{"a": 1}]', "is one JSON array; write one object in each line instead", None),
        (b'\xef\xbb\xbf\n [\n{"a": 1}]', "is one JSON array; write one object in each line instead", None),
        (b"a,b,a\n", ", line 1: column 'a' is there twice", 1),
        (b"a,b, a\n", ", line 1: column 'a' is there twice", 1),
        (b"a,,b\n", ", line 1: a column has no name", 1),
        (b"a,b,\n", ", line 1: a column has no name", 1),
        (b"\na,b\n1,2\n", ", line 1: the names of the columns are missing", 1),
        (b"\xef\xbb\xbf", ", line 1: the names of the columns are missing", 1),
        ("a,é\n".encode("latin-1"), ", line 1: not UTF-8: byte 0xe9 in column 3", 1),
        (b"\x89PNG\r\n\x1a\n", ", line 1: not UTF-8: byte 0x89 in column 1", 1),
        (b'"a,b\n1,2\n', ", line 1: unexpected end of data", 1),
        (b'a,b\n1,2\n3,"4\n5,6\n', ", line 3: unexpected end of data; is there a quote that is not closed?", 3),
        (b'a,b\n1,2\n3,"4\n5,"6"\n', ", line 3: ',' expected after '\"'; is there a quote that is not closed?", 3),
        (b'a,b\n1,2\n3,"4" x\n5,6\n', ", line 3: ',' expected after '\"'", 3),
        (b'a,b\n1,"2\n' + 40_000 * b"3,4\n", ", line 2: field larger than field limit (131072)", 2),
        (b"\x1f\x8b", ": the compressed file is torn: Compressed file ended", None),
        (b"\x1f\x8b garbage of some length", ": the compressed file is torn: Unknown compression method", None),
        (b"\x1f\x8b\x08\x00" + 99 * b"x", ": the compressed file is torn: Error -3", None),
        (gzip.compress(CSV, mtime=0) + b"and more", ": the compressed file is torn: Not a gzipped file", None),
        (b"PAR1", "Parquet cannot be read from standard input", None),
    ],
)
def test_what_cannot_be_read_is_said(content: bytes, message: str, line: int | None) -> None:
    error = fault_of(content)
    assert message in str(error)
    assert "standard input" in str(error)
    assert error.line == line


def test_garbage_that_begins_as_zstd_is_said() -> None:
    said = "the compressed file is torn" if HAS_ZSTD else "unpack it first"
    assert said in str(fault_of(b"\x28\xb5\x2f\xfd" + 99 * b"x"))


@pytest.mark.parametrize("is_directory", [True, False], ids=["a directory", "no file"])
def test_what_is_no_file_is_said(tmp_path: Path, is_directory: bool) -> None:
    file = tmp_path if is_directory else tmp_path / "nowhere"
    with pytest.raises(SourceError) as caught:
        read_source(str(file))
    reason = os.strerror(errno.EISDIR if is_directory else errno.ENOENT)
    assert str(caught.value) == f"{file}: {reason}"


def test_a_file_that_may_not_be_read_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, mode: str) -> IO[bytes]:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)

    monkeypatch.setattr("builtins.open", refuse)
    try:
        with pytest.raises(SourceError) as caught:
            read_source("calls.csv")
    finally:
        monkeypatch.undo()
    assert str(caught.value) == f"calls.csv: {os.strerror(errno.EACCES)}"


def test_a_fault_of_the_disk_is_said_with_its_line() -> None:
    class Broken(io.BytesIO):
        def readinto(self, buffer: Any) -> int:
            if self.tell():
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().readinto(buffer)

    source = read_source("-", stdin=lambda: Broken(CSV))
    assert len(list(itertools.islice(source.rows, 2))) == 2
    with pytest.raises(SourceError, match=f"^standard input, after line 3: {os.strerror(errno.EIO)}$"):
        next(source.rows)


@pytest.mark.parametrize(
    "tear",
    [lambda packed: packed[:-200], lambda packed: packed[:-8], lambda packed: packed[:-8] + bytes(8)],
    ids=["in the middle", "before the checksum", "with a wrong checksum"],
)
@pytest.mark.parametrize("start", [b"number,square\n", b""], ids=["CSV", "JSON Lines"])
def test_a_torn_gzip_is_said_with_the_last_whole_line(start: bytes, tear: Callable[[bytes], bytes]) -> None:
    line = b"%d,%d\n" if start else b'{"number": %d, "square": %d}\n'
    packed = tear(gzip.compress(start + b"".join(line % (number, number**2) for number in range(20_000))))
    source = piped(packed)
    read: Rows = []
    with pytest.raises(SourceError) as caught:
        read.extend(source.rows)
    assert 5_000 < len(read) <= 20_000
    last = read[-1][0]
    assert last == len(read) + bool(start)
    assert caught.value.line == last
    assert str(caught.value).startswith(f"standard input, after line {last}: the compressed file is torn: ")


def test_a_bad_parquet_is_said(tmp_path: Path) -> None:
    good = pyarrow.array(["1", "2"])
    for columns, message in {("a", "a"): "column 'a' is there twice", ("a", ""): "a column has no name"}.items():
        name = as_parquet(tmp_path / "calls", pyarrow.table([good, good], names=list(columns)))
        with pytest.raises(SourceError, match=message):
            read_source(name)
    (tmp_path / "calls").write_bytes(b"PAR1" + 99 * b"x")
    with pytest.raises(SourceError, match=f"{tmp_path / 'calls'} cannot be read: "):
        read_source(name)


def test_a_parquet_with_damaged_pages_is_said_with_the_last_whole_row(tmp_path: Path) -> None:
    table = pyarrow.table({"task_id": [f"task{number}" for number in range(5000)]})
    parquet.write_table(table, tmp_path / "calls", row_group_size=2500, use_dictionary=False, compression="gzip")
    content = bytearray((tmp_path / "calls").read_bytes())
    middle = len(content) // 2
    content[middle + 500 : middle + 1500] = 1000 * b"x"
    (tmp_path / "calls").write_bytes(content)
    read: Rows = []
    with contextlib.closing(read_source(str(tmp_path / "calls"))) as source, pytest.raises(SourceError) as caught:
        read.extend(source.rows)
    assert 2000 <= len(read) < 5000
    assert f"cannot be read after row {len(read)}: " in str(caught.value)
    assert caught.value.line == len(read)


def test_parquet_asks_for_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "calls").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SourceError, match=r"is Parquet: pip install 'volc_moderation\[parquet\]'"):
        read_source(str(tmp_path / "calls"))


# Bad rows among good ones


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a,b\n1,2\n3\n5,6\n", "1 columns, but the header has 2"),
        (b"a,b\n1,2\n3,4,\n5,6\n", "3 columns, but the header has 2"),
        (b"a,b\n1,2\n \n5,6\n", "1 columns, but the header has 2"),
        (b"a,b\n1,2\n3,\xe9\n5,6\n", "not UTF-8: byte 0xe9 in column 3"),
        (b"a,b\n1,2\n\xe6\x88\xbf,\xe9,5,6\n5,6\n", "not UTF-8: byte 0xe9 in column 5"),
        *(
            (b'\n{"a": 1}\n' + line + b'\n{"a": 2}\n', "not a JSON object")
            for line in (b"[1]", b"5", b"null", b'"text"', b'{"a": 1', b"a,b", b"{a: 1}", b'{"a": 1} {}', 9999 * b"[")
        ),
        (b'\n{"a": 1}\n{"a": "\xe9"}\n{"a": 2}\n', "not UTF-8: byte 0xe9 in column 8"),
    ],
)
def test_a_bad_row_is_told_and_the_others_are_read(content: bytes, reason: str) -> None:
    (_, first), (line, bad), (after, last) = rows_of(content)
    assert isinstance(first, dict)
    assert isinstance(bad, SourceError)
    assert isinstance(last, dict)
    assert (line, bad.line, after) == (3, 3, 4)
    assert str(bad) == reason


@pytest.mark.parametrize("start", [b"a,b", b'{"a": 0}'], ids=["CSV", "JSON Lines"])
def test_a_byte_of_latin_1_far_down_spoils_its_row_only(start: bytes) -> None:
    good, bad = (b"1,ok", b"1,\xe9") if start == b"a,b" else (b'{"a": "ok"}', b'{"a": "\xe9"}')
    rows = rows_of(b"\n".join([start, *itertools.repeat(good, MANY - 1), bad, good, bad, good]))
    faults = [(line, row.line) for line, row in rows if isinstance(row, SourceError)]
    assert faults == [(MANY + 1, MANY + 1), (MANY + 3, MANY + 3)]
    assert len(rows) == MANY + 4 - (start == b"a,b")
    assert rows[-1][1] == rows[-3][1] != {}


# What it takes


class Generated(io.RawIOBase):
    """A file that is made as it is read."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts = iter(parts)
        self._rest = b""
        self.given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._rest = self._rest or next(self._parts, b"")
        given, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(given)] = given
        self.given += len(given)
        return len(given)


def packed(parts: Iterable[bytes]) -> Iterator[bytes]:
    for part in parts:
        yield gzip.compress(part, mtime=0)


@pytest.mark.parametrize("kind", ["CSV", "JSON Lines in gzip"])
def test_a_long_file_takes_no_more_memory_than_a_short_one(kind: str) -> None:
    row = b"%05d,of no matter\n" if kind == "CSV" else b'{"task_id": "%05d", "note": "of no matter"}\n'
    part = b"".join(row % number for number in range(2000))
    parts = itertools.repeat(part, 100)
    file = Generated(itertools.chain([b"task_id,note\n"], parts) if kind == "CSV" else packed(parts))
    source = read_source("-", stdin=lambda: io.BufferedReader(file))
    next(source.rows)
    assert file.given < 500_000  # rather than all of it
    assert sum(1 for _ in itertools.islice(source.rows, 180_000)) == 180_000
    gc.collect()
    tracemalloc.start()  # which makes everything slow
    try:
        count = sum(1 for _ in source.rows)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 19_999
    assert peak < 1_000_000


@pytest.mark.parametrize("pack", [lambda content: content, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("content", [CSV, JSON, b"\xff\xfe", b"[]", b"a,a\n", b'a,b\n"1', b""])
@pytest.mark.parametrize("most", [0, 1, None])
def test_files_are_closed(tmp_path: Path, content: bytes, pack: Callable[[bytes], bytes], most: int | None) -> None:
    (tmp_path / "calls").write_bytes(pack(content))
    file = (tmp_path / "calls").open("rb")
    with contextlib.suppress(SourceError), contextlib.closing(read_source("-", stdin=lambda: file)) as source:
        list(itertools.islice(source.rows, most))
    assert file.closed


def test_a_file_is_closed_if_its_calls_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "calls").write_bytes(b"task_id\n1\n2\n")
    file = (tmp_path / "calls").open("rb")
    monkeypatch.setattr("volc_moderation.jobs.load.read_source", lambda name: read_source("-", stdin=lambda: file))

    def no_keys(vendors: set[str]) -> Clients:
        raise ConfigurationError("no keys")

    rows = ActionRows({"StopCensorAudioV2": StopCensorAudioV2}, action="StopCensorAudioV2", constants={})
    calls = check(["calls"], rows, limit=None, tell_bad=pytest.fail, loaded=Loaded())
    with (
        contextlib.closing(Journal(tmp_path / "jobs")) as journal,
        pytest.raises(ConfigurationError, match="no keys"),
        journal.transaction(),
    ):
        load(journal, calls, no_keys, skip_bad=False, now=0, loaded=Loaded())
    assert file.closed


def test_a_file_that_is_parquet_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = as_parquet(tmp_path / "calls", pyarrow.table({"task_id": ["1"]}))
    opened: list[IO[Any]] = []
    really = open

    def remember(*arguments: Any) -> IO[Any]:
        opened.append(really(*arguments))
        return opened[-1]

    monkeypatch.setattr("builtins.open", remember)
    read_source(name).close()
    assert opened
    assert all(file.closed for file in opened)
