"""Files of calls: the formats that can be read, and the errors that end the reading of a file."""

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
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pyarrow
import pytest

from tests.bulk.files import (
    CSV,
    JSON,
    TWO_ROWS,
    GeneratedFile,
    Rows,
    compress_parts,
    error_of,
    rows_of,
    source_of,
    values_of,
    write_parquet,
)
from volc_moderation import SourceError
from volc_moderation.bulk.rows import MAX_COLUMNS
from volc_moderation.bulk.sources import open_source

HAS_ZSTD = importlib.util.find_spec("compression") is not None


def zstd(content: bytes) -> bytes:
    compressed: bytes = pyarrow.compress(content, codec="zstd", asbytes=True)
    return compressed


# Readable files


@pytest.mark.parametrize("delimiter", [b",", b";", b"\t"])
def test_csv_with_each_delimiter(delimiter: bytes) -> None:
    source = source_of(CSV.replace(b",", delimiter))
    assert source.columns == ("task_id", "note")
    assert list(source.rows) == [(2, TWO_ROWS[0]), (3, TWO_ROWS[1])]


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b'a;b\n"1;2";3\n', [(2, {"a": "1;2", "b": "3"})]),
        (b'a,b\n"say ""no""",\n', [(2, {"a": 'say "no"', "b": ""})]),
        ("a,b\n房,é\n".encode(), [(2, {"a": "房", "b": "é"})]),
        (b"a,b\r\n1,2\r\n3,4\r\n", [(2, {"a": "1", "b": "2"}), (3, {"a": "3", "b": "4"})]),
        (b"a,b\n\n1,2\n\r\n\n3,4\n\n", [(3, {"a": "1", "b": "2"}), (6, {"a": "3", "b": "4"})]),
        (b"a;b\r\n;\r\n1;2\r\n ; \r\n;;;\r\n \r\n", [(3, {"a": "1", "b": "2"})]),
        (b"a,b,,\n1,2,,\n3,,,\n", [(2, {"a": "1", "b": "2"}), (3, {"a": "3", "b": ""})]),
        (b"\xef\xbb\xbfsep=;\r\na;b\r\n1;2\r\n", [(3, {"a": "1", "b": "2"})]),
        (b"SEP=\t\na\tb\n1\t2\n", [(3, {"a": "1", "b": "2"})]),
        (b"sep=ab,b\n1,2\n", [(2, {"sep=ab": "1", "b": "2"})]),
        (b" a ,\tb\n 1,2", [(2, {"a": " 1", "b": "2"})]),
        (b"\xef\xbb\xbf" + b'"a",b\n\xef\xbb\xbf1,2\n', [(2, {"a": "\ufeff1", "b": "2"})]),
        (b"a\n1\n", [(2, {"a": "1"})]),
        (b"a,b\n", []),
    ],
)
def test_csv_as_spreadsheets_write_it(content: bytes, rows: Rows) -> None:
    assert rows_of(content) == rows


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_line_numbers_count_the_lines_of_quoted_text(end: bytes) -> None:
    rows = rows_of(b'a,b\n1,"one\n\ntwo"\n3,4\n5\n'.replace(b"\n", end))
    assert rows[0][1] == {"a": "1", "b": f"one{end.decode()}{end.decode()}two"}
    assert rows[1] == (5, {"a": "3", "b": "4"})
    assert rows[2][0] == 6


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b"\n  \n"], ids=["", "BOM", "blank lines"])
def test_json_lines(before: bytes) -> None:
    source = source_of(before + b'{"a": [1, {"b": null}]}\r\n\n  \n {"c": "\\n\xe6\x88\xbf"}')
    first = 1 + before.count(b"\n")
    assert source.columns is None
    assert list(source.rows) == [(first, {"a": [1, {"b": None}]}), (first + 3, {"c": "\n房"})]


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
@pytest.mark.parametrize("content", [CSV, JSON])
def test_compressed_files(content: bytes, pack: Callable[[bytes], bytes]) -> None:
    if pack is zstd and not HAS_ZSTD:
        assert "compressed with zstd, which Python can read since 3.14; decompress it first" in str(
            error_of(pack(content))
        )
    else:
        assert values_of(source_of(pack(content))) == TWO_ROWS


def test_gzip_of_several_members() -> None:
    assert values_of(source_of(gzip.compress(CSV[:20], mtime=0) + gzip.compress(CSV[20:], mtime=0))) == TWO_ROWS


@pytest.mark.parametrize("name", ["calls.csv", "calls.jsonl", "calls.gz", "calls.parquet", "calls"])
@pytest.mark.parametrize("kind", ["csv", "json", "gzip", "parquet"])
def test_the_format_shows_in_the_content_and_not_in_the_name(tmp_path: Path, name: str, kind: str) -> None:
    file = tmp_path / name
    if kind == "parquet":
        write_parquet(file, pyarrow.Table.from_pylist(TWO_ROWS))
    else:
        file.write_bytes({"csv": CSV, "json": JSON, "gzip": gzip.compress(JSON, mtime=0)}[kind])
    source = open_source(str(file))
    assert (source.name, values_of(source)) == (str(file), TWO_ROWS)


def test_standard_input_is_that_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(JSON)))
    source = open_source("-")
    assert (source.name, values_of(source)) == ("standard input", TWO_ROWS)


# Unreadable files


@pytest.mark.parametrize(
    ("content", "message", "line"),
    [
        (b"", "is empty", None),
        (gzip.compress(b"", mtime=0), "is empty", None),
        ("a,b\n1,2\n".encode("utf-16"), "is UTF-16; save it as UTF-8", None),
        (b"\xfe\xff" + '{"a": 1}\n'.encode("utf-16-be"), "is UTF-16; save it as UTF-8", None),
        (b'[{"a": 1}]', "is one JSON array; write one object on each line instead", None),
        (b'\xef\xbb\xbf\n [\n{"a": 1}]', "is one JSON array; write one object on each line instead", None),
        (b"a,b,a\n", ", line 1: column 'a' appears twice", 1),
        (b"a,b, a\n", ", line 1: column 'a' appears twice", 1),
        (b"a,,b\n", ", line 1: column 2 has no name", 1),
        (b",a,b,\n", ", line 1: column 1 has no name", 1),
        (b",,\n1,2,3\n", ", line 1: the names of the columns are missing", 1),
        (b"\na,b\n1,2\n", ", line 1: the names of the columns are missing", 1),
        (b"\xef\xbb\xbf", ", line 1: the names of the columns are missing", 1),
        ("a,é\n".encode("latin-1"), ", line 1: not UTF-8: byte 0xe9 in column 3; save as UTF-8", 1),
        (b"\x89PNG\r\n\x1a\n", ", line 1: not UTF-8: byte 0x89 in column 1; save as UTF-8", 1),
        (b'"a,b\n1,2\n', ", line 1: unexpected end of data", 1),
        (b'a,b\n1,2\n3,"4\n5,6\n', ", line 3: unexpected end of data; is a quote not closed?", 3),
        (b'a,b\n1,2\n3,"4\n5,"6"\n', ", line 3: ',' expected after '\"'; is a quote not closed?", 3),
        (b'a,b\n1,2\n3,"4" x\n5,6\n', ", line 3: ',' expected after '\"'", 3),
        (b'a\tb\n1\t2\n3\t"4" x\n5\t6\n', ", line 3: '\\t' expected after '\"'", 3),
        (b"a,b\r1,2\r", ", line 1: new-line character seen in unquoted field", 1),
        (b'a,b\n1,"2\n' + 40_000 * b"3,4\n", ", line 2: field larger than field limit (131072)", 2),
        (b"\x1f\x8b", ": the compressed file is damaged: Compressed file ended", None),
        (b"\x1f\x8b garbage of some length", ": the compressed file is damaged: Unknown compression method", None),
        (b"\x1f\x8b\x08\x00" + 99 * b"x", ": the compressed file is damaged: Error -3", None),
        (gzip.compress(CSV, mtime=0) + b"and more", ": the compressed file is damaged: Not a gzipped file", None),
        (b"PAR1", "Parquet cannot be read from standard input", None),
        (b"PARE\x15\x00\x15\x1e", "is encrypted Parquet; decrypt it first", None),
        (2000 * b"x" + b",b,c,b\n", ", line 1: column 'b' appears twice", 1),
        (b"b," + 99 * b"x" + b"," + 99 * b"x", f", line 1: column '{60 * 'x'}…' appears twice", 1),
        (b"\x1b[31m,\x1b[31m\n", r", line 1: column '\x1b[31m' appears twice", 1),
        (b",".join(b"c%d" % one for one in range(8000)), ", line 1: 8,000 columns; at most 1,000 are allowed", 1),
    ],
)
def test_an_unreadable_file_is_reported(content: bytes, message: str, line: int | None) -> None:
    error = error_of(content)
    assert message in str(error)
    assert "standard input" in str(error)
    assert "open the file" not in str(error)
    assert error.line == line


def test_garbage_that_begins_like_zstd_is_reported() -> None:
    message = "the compressed file is damaged" if HAS_ZSTD else "decompress it first"
    assert message in str(error_of(b"\x28\xb5\x2f\xfd" + 99 * b"x"))


@pytest.mark.parametrize("is_directory", [True, False], ids=["a directory", "no file"])
def test_a_missing_file_and_a_directory_are_reported(tmp_path: Path, is_directory: bool) -> None:
    file = tmp_path if is_directory else tmp_path / "nowhere"
    with pytest.raises(SourceError) as caught:
        open_source(str(file))
    reason = os.strerror(errno.EISDIR if is_directory else errno.ENOENT)
    assert str(caught.value) == f"{file}: {reason}"


def test_a_file_without_permission_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, mode: str) -> IO[bytes]:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)

    monkeypatch.setattr("builtins.open", refuse)
    try:
        with pytest.raises(SourceError) as caught:
            open_source("calls.csv")
    finally:
        monkeypatch.undo()
    assert str(caught.value) == f"calls.csv: {os.strerror(errno.EACCES)}"


def test_a_disk_error_is_reported_with_the_last_line() -> None:
    class Broken(io.BytesIO):
        def readinto(self, buffer: Any) -> int:
            if self.tell():
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().readinto(buffer)

    source = open_source("-", stdin=lambda: Broken(CSV))
    assert len(list(itertools.islice(source.rows, 2))) == 2
    with pytest.raises(SourceError, match=f"^standard input, after line 3: {os.strerror(errno.EIO)}$"):
        next(source.rows)


@pytest.mark.no_coverage
@pytest.mark.parametrize(
    "damage",
    [lambda packed: packed[:-200], lambda packed: packed[:-8], lambda packed: packed[:-8] + bytes(8)],
    ids=["in the middle", "before the checksum", "with a wrong checksum"],
)
@pytest.mark.parametrize("start", [b"number,square\n", b""], ids=["CSV", "JSON Lines"])
def test_a_damaged_gzip_is_reported_with_the_last_whole_line(start: bytes, damage: Callable[[bytes], bytes]) -> None:
    line = b"%d,%d\n" if start else b'{"number": %d, "square": %d}\n'
    packed = damage(gzip.compress(start + b"".join(line % (number, number**2) for number in range(20_000))))
    source = source_of(packed)
    read: Rows = []
    with pytest.raises(SourceError) as caught:
        read.extend(source.rows)
    assert 5_000 < len(read) <= 20_000
    last = read[-1][0]
    assert last == len(read) + bool(start)
    assert caught.value.line == last
    assert str(caught.value).startswith(f"standard input, after line {last}: the compressed file is damaged: ")


def test_more_than_1000_columns_are_refused(tmp_path: Path) -> None:
    names = [f"c{number}" for number in range(MAX_COLUMNS + 1)]
    source = source_of(",".join(names[:-1]).encode())
    assert source.columns == tuple(names[:-1])
    name = write_parquet(tmp_path / "calls", pyarrow.table([["1"]] * len(names), names=names))
    with pytest.raises(SourceError, match=r"calls: 1,001 columns; at most 1,000 are allowed$"):
        open_source(name)


def test_a_column_may_begin_like_encrypted_parquet() -> None:
    assert source_of(b"PARENT,note\n1,2\n").columns == ("PARENT", "note")


# Memory and open files


@pytest.mark.no_coverage
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["CSV", "JSON Lines in gzip"])
def test_a_long_file_takes_no_more_memory_than_a_short_one(kind: str) -> None:
    row = b"%05d,of no matter\n" if kind == "CSV" else b'{"task_id": "%05d", "note": "of no matter"}\n'
    part = b"".join(row % number for number in range(2000))
    parts = itertools.repeat(part, 100)
    file = GeneratedFile(itertools.chain([b"task_id,note\n"], parts) if kind == "CSV" else compress_parts(parts))
    source = open_source("-", stdin=lambda: io.BufferedReader(file))
    next(source.rows)
    assert file.size < 500_000  # not the whole file
    assert sum(1 for _ in itertools.islice(source.rows, 180_000)) == 180_000
    gc.collect()
    tracemalloc.start()  # only for the rest: it makes everything slow
    try:
        count = sum(1 for _ in source.rows)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 19_999
    assert peak < 1_000_000


@pytest.mark.parametrize("pack", [lambda content: content, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("content", [CSV, JSON, b"\xff\xfe", b"[]", b"a,a\n", b'a,b\n"1', b""])
@pytest.mark.parametrize("rows_read", [0, 1, None])
def test_files_are_closed(
    tmp_path: Path, content: bytes, pack: Callable[[bytes], bytes], rows_read: int | None
) -> None:
    (tmp_path / "calls").write_bytes(pack(content))
    file = (tmp_path / "calls").open("rb")
    with contextlib.suppress(SourceError), contextlib.closing(open_source("-", stdin=lambda: file)) as source:
        list(itertools.islice(source.rows, rows_read))
    assert file.closed


@pytest.mark.parametrize("start", [b"PK\x03\x04\x14\x00\x06\x00", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"])
def test_a_workbook_of_excel_is_named(tmp_path: Path, start: bytes) -> None:
    file = tmp_path / "stops.xlsx"
    file.write_bytes(start + 500 * b"\0")
    with pytest.raises(SourceError, match=r"stops\.xlsx is a spreadsheet in the format of Excel.*: export it as CSV"):
        open_source(str(file))


def test_the_position_is_in_the_file_as_it_is_stored(tmp_path: Path) -> None:
    file = tmp_path / "stops.csv.gz"
    file.write_bytes(gzip.compress(b"task_id\n" + 300_000 * b"task\n"))
    with contextlib.closing(open_source(str(file))) as source:
        next(source.rows)
        assert 0 < source.position() <= file.stat().st_size
    assert source.position() == 0  # another thread may still ask
