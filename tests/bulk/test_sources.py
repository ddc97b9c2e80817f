"""Files of calls: what each kind gives, and what is said of each that is not right."""

import contextlib
import datetime
import errno
import gc
import gzip
import importlib.util
import io
import itertools
import json
import os
import random
import sys
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from volc_moderation import ConfigurationError, InvalidActionError, SourceError
from volc_moderation.bulk.load import LoadProgress, check, load
from volc_moderation.bulk.rows import Rows as ActionRows
from volc_moderation.bulk.sources import LONGEST_LINE, MOST_COLUMNS, Row, Source, read_source
from volc_moderation.jobs.clients import Clients, dump_action
from volc_moderation.jobs.job import Lane, key_of
from volc_moderation.jobs.journal import Journal
from volc_moderation.volcengine import StartWebcast
from volc_moderation.zego import SendCustomCommand, StopCensorAudioV2

Rows = list[tuple[int, Row | SourceError]]

CSV = b"task_id,note\n1,one\n2,two\n"
JSON = b'{"task_id": "1", "note": "one"}\n{"task_id": "2", "note": "two"}\n'
#: What both of them say.
TWO = [{"task_id": "1", "note": "one"}, {"task_id": "2", "note": "two"}]
#: Lines of the large files; the first bad one comes after them.
MANY = 70_000
HAS_ZSTD = importlib.util.find_spec("compression") is not None
#: Where each kind of text goes on after a good row on line 2.
STARTS = {"CSV": b"task_id,note\n1,one\n", "JSON Lines": b'{"task_id": "0"}\n{"task_id": "1"}\n'}
#: What such a text ends with.
LAST = {"CSV": b"2,two\n", "JSON Lines": b'{"task_id": "2"}\n'}
KINDS = ["CSV", "JSON Lines"]


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
        (b'a\tb\n1\t2\n3\t"4" x\n5\t6\n', ", line 3: '\\t' expected after '\"'", 3),
        (b"a,b\r1,2\r", ", line 1: new-line character seen in unquoted field", 1),
        (b'a,b\n1,"2\n' + 40_000 * b"3,4\n", ", line 2: field larger than field limit (131072)", 2),
        (b"\x1f\x8b", ": the compressed file is torn: Compressed file ended", None),
        (b"\x1f\x8b garbage of some length", ": the compressed file is torn: Unknown compression method", None),
        (b"\x1f\x8b\x08\x00" + 99 * b"x", ": the compressed file is torn: Error -3", None),
        (gzip.compress(CSV, mtime=0) + b"and more", ": the compressed file is torn: Not a gzipped file", None),
        (b"PAR1", "Parquet cannot be read from standard input", None),
        (b"PARE\x15\x00\x15\x1e", "is encrypted Parquet; decrypt it first", None),
        (2000 * b"x" + b",b,c,b\n", ", line 1: column 'b' is there twice", 1),
        (b"b," + 99 * b"x" + b"," + 99 * b"x", f", line 1: column '{60 * 'x'}…' is there twice", 1),
        (b"\x1b[31m,\x1b[31m\n", r", line 1: column '\x1b[31m' is there twice", 1),
        (b",".join(b"c%d" % one for one in range(8000)), ", line 1: 8,000 columns; there may be 1,000", 1),
    ],
)
def test_what_cannot_be_read_is_said(content: bytes, message: str, line: int | None) -> None:
    error = fault_of(content)
    assert message in str(error)
    assert "standard input" in str(error)
    assert "open the file" not in str(error)
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
        *(
            (b'\n{"a": 1}\n' + line + b'\n{"a": 2}\n', reason)
            for line, reason in {
                b'{"a": 1, "b": 2, "a": 1}': "'a' is there twice",
                b'{"a": {"b": [{"c": 1, "c": 2}]}}': "'c' is there twice",
                b'{"a": 1, "\\ud800": 1, "\\ud800": 2}': r"'\ud800' is there twice",
                b'{"%s": 1, "%s": 2}' % (99 * b"x", 99 * b"x"): f"'{60 * 'x'}…' is there twice",
                b'{"a": NaN}': "NaN is not JSON",
                b'{"a": [-Infinity]}': "-Infinity is not JSON",
                b'{"a": ' + 5000 * b"9" + b"}": "not a JSON object",
            }.items()
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


# Rows that are too long


@pytest.mark.parametrize("kind", KINDS)
def test_a_line_may_have_a_mebibyte(kind: str) -> None:
    start, end = (b"1,2,,", b"\n") if kind == "CSV" else (b'{"task_id": "', b'"}\n')
    fill = (b"," if kind == "CSV" else b"x") * (LONGEST_LINE - len(start + end))
    before = STARTS[kind]
    for more, reason in {b"": None, fill[:1]: "longer than 1 MiB"}.items():
        rows = rows_of(before + start + fill + more + end + LAST[kind])
        line, row = rows[-2]
        assert line == 3
        if reason is None:
            assert "longer" not in str(row)
        else:
            assert isinstance(row, SourceError)
            assert (str(row), row.line) == (reason, 3)
        number, last = rows[-1]
        assert isinstance(last, dict)
        assert (number, last["task_id"]) == (4, "2")


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_line_in_gzip_takes_little_memory(kind: str) -> None:
    parts = [STARTS[kind], *itertools.repeat(b"x" * (1 << 20), 150), b"\n" + LAST[kind]]
    content = b"".join(packed(parts))
    tracemalloc.start()
    try:
        rows = rows_of(content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    (line, long), (number, last) = rows[-2:]
    assert isinstance(long, SourceError)
    assert isinstance(last, dict)
    assert (line, str(long), number, last["task_id"]) == (3, "longer than 1 MiB", 4, "2")
    assert peak < 8_000_000


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_line_may_be_too_long_and_have_no_end(kind: str) -> None:
    line, long = rows_of(STARTS[kind] + LONGEST_LINE * b"x" + b"y")[-1]
    assert isinstance(long, SourceError)
    assert (line, str(long)) == (3, "longer than 1 MiB")


def test_a_first_line_that_is_too_long_ends_a_file_of_csv_only() -> None:
    error = fault_of(b"task_id," + LONGEST_LINE * b"x" + b"\n1,one\n")
    assert (str(error), error.line) == ("standard input, line 1: longer than 1 MiB", 1)
    long, last = values_of(piped(b'{"task_id": "' + LONGEST_LINE * b"x" + b'"}\n' + LAST["JSON Lines"]))
    assert (str(long), last) == ("longer than 1 MiB", {"task_id": "2"})


@pytest.mark.parametrize(
    ("kind", "more", "reason"),
    [
        ("CSV", b'"' + LONGEST_LINE * b"x" + b"\n2,two\n", "longer than 1 MiB, with a quote that is not closed"),
        ("CSV", b'"x\n' + LONGEST_LINE * b"x" + b'"\n2,two\n', "more than 1 MiB without the end of a row"),
        ("CSV", LONGEST_LINE // 4 * b'"x\n",', "more than 1 MiB without the end of a row"),
    ],
    ids=["a quote that opens in it", "a quote that opened before", "many lines"],
)
def test_a_row_of_csv_that_is_too_long_ends_the_file_if_its_end_is_not_known(
    kind: str, more: bytes, reason: str
) -> None:
    read: Rows = []
    with pytest.raises(SourceError) as caught:
        read.extend(piped(STARTS[kind] + more).rows)
    assert str(caught.value).startswith(f"standard input, line 3: {reason}")
    assert caught.value.line == 3
    assert len(read) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_blank_lines_come_to_an_end(kind: str) -> None:
    """No row comes of them, and an interrupt is heard at rows."""
    error = fault_of(STARTS[kind] + LONGEST_LINE * b"\n" + b"\n" + LAST[kind])
    assert str(error).endswith(": more than 1 MiB of blank lines")
    assert error.line == LONGEST_LINE + 4
    assert len(rows_of(STARTS[kind] + LONGEST_LINE * b"\n" + LAST[kind])) == len(rows_of(STARTS[kind])) + 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_line_without_end_ends_the_file(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("volc_moderation.bulk.sources.LONGEST_PASSED_OVER", 3 * LONGEST_LINE)
    file = Generated(itertools.chain([STARTS[kind]], itertools.repeat(bytes(1 << 16), 9999)))
    with pytest.raises(SourceError, match=r"^standard input, line 3: longer than 1 GiB$"):
        list(read_source("-", stdin=lambda: io.BufferedReader(file)).rows)
    assert file.given < 5 * LONGEST_LINE


def test_many_columns_are_too_many(tmp_path: Path) -> None:
    names = [f"c{number}" for number in range(MOST_COLUMNS + 1)]
    source = piped(",".join(names[:-1]).encode())
    assert source.columns == tuple(names[:-1])
    name = as_parquet(tmp_path / "calls", pyarrow.table([["1"]] * len(names), names=names))
    with pytest.raises(SourceError, match=r"calls: 1,001 columns; there may be 1,000$"):
        read_source(name)


def test_what_begins_like_encrypted_parquet_may_be_a_column() -> None:
    assert piped(b"PARENT,note\n1,2\n").columns == ("PARENT", "note")


# Parquet that is not right


def look_at(error: Exception) -> None:
    """See that what is said is one line that a terminal can show."""
    text = str(error)
    assert text.isprintable()
    assert len(text.encode()) < 600


def without_zone() -> Any:
    return pyarrow.array([0, None], pyarrow.timestamp("us", "Nowhere/Land"))


def as_type(number: int, kind: Any) -> Any:
    """Make a column of a number, whatever the type means by it, and a null."""
    width = pyarrow.int32() if kind.bit_width == 32 else pyarrow.int64()
    return pyarrow.Array.from_buffers(kind, 2, pyarrow.array([number, None], width).buffers())


def as_text(content: bytes) -> Any:
    _, ends, text = pyarrow.array([content, b""], pyarrow.binary()).buffers()
    return pyarrow.Array.from_buffers(pyarrow.string(), 2, [None, ends, text])


BAD_CELLS: dict[str, Callable[[], Any]] = {
    "a date": lambda: as_type(2**31 - 1, pyarrow.date32()),
    "milliseconds": lambda: as_type(2**62, pyarrow.timestamp("ms")),
    "milliseconds before Christ": lambda: as_type(-(2**62), pyarrow.timestamp("ms", "UTC")),
    "microseconds": lambda: as_type(2**62, pyarrow.timestamp("us", "UTC")),
    "nanoseconds": lambda: as_type(1, pyarrow.timestamp("ns")),
    "no zone of time": without_zone,
    "a duration in seconds": lambda: as_type(2**62, pyarrow.duration("s")),
    "a duration in nanoseconds": lambda: as_type(1, pyarrow.duration("ns")),
    "a time of day": lambda: as_type(2**60, pyarrow.time64("us")),
    "nanoseconds of a day": lambda: as_type(1, pyarrow.time64("ns")),
    "no UTF-8": lambda: as_text(b"\xff\xfe"),
    "a surrogate": lambda: as_text(b"\xed\xa0\x80"),
    "names twice": lambda: pyarrow.StructArray.from_arrays(
        [pyarrow.array([1, 2])] * 2, ["x", "x"], mask=pyarrow.array([False, True])
    ),
    "a date in a list": lambda: pyarrow.array([[0, 2**62], None], pyarrow.list_(pyarrow.timestamp("ms"))),
    "a date in a dictionary": lambda: as_type(2**62, pyarrow.timestamp("ms")).dictionary_encode(),
}


@pytest.mark.parametrize("column", BAD_CELLS.values(), ids=BAD_CELLS)
def test_a_cell_that_python_cannot_have_is_a_bad_row(tmp_path: Path, column: Callable[[], Any]) -> None:
    table = pyarrow.table({"task_id": ["1", "2"], "when": column()})
    (line, bad), (after, good) = all_rows(read_source(as_parquet(tmp_path / "calls", table)))
    assert isinstance(bad, SourceError)
    assert isinstance(good, dict)
    assert (line, bad.line, after, good["task_id"]) == (1, 1, 2, "2")
    assert str(bad).startswith("column 'when': ")
    assert len(str(bad)) < 300


def test_a_bad_cell_far_down_spoils_its_row_only(tmp_path: Path) -> None:
    times = [0] * 2500
    for row in (700, 1000, 1001, 2500):
        times[row - 1] = 2**62
    table = pyarrow.table({"task_id": list(range(1, 2501)), "when": pyarrow.array(times, pyarrow.timestamp("ms"))})
    rows = all_rows(read_source(as_parquet(tmp_path / "calls", table)))
    assert [number for number, row in rows if isinstance(row, SourceError)] == [700, 1000, 1001, 2500]
    good = [(number, row["task_id"]) for number, row in rows if not isinstance(row, SourceError)]
    assert len(good) == 2496
    assert all(number == task for number, task in good)


UNUSUAL: dict[str, tuple[Callable[[], Any], object]] = {
    "half": (lambda: pyarrow.array([1.5], pyarrow.float64()).cast(pyarrow.float16()), 1.5),
    "large": (lambda: pyarrow.array(["x"], pyarrow.large_string()), "x"),
    "dictionary": (lambda: pyarrow.array(["x"]).dictionary_encode(), "x"),
    "map": (lambda: pyarrow.array([[("k", 1)]], pyarrow.map_(pyarrow.string(), pyarrow.int64())), [("k", 1)]),
    "nested": (lambda: pyarrow.array([[{"x": [None]}]]), [{"x": [None]}]),
    "binary": (lambda: pyarrow.array([b"\xff"]), b"\xff"),
    "date": (lambda: as_type(0, pyarrow.date32())[:1], datetime.date(1970, 1, 1)),
}


@pytest.mark.parametrize(("column", "value"), UNUSUAL.values(), ids=UNUSUAL)
def test_parquet_of_unusual_types(tmp_path: Path, column: Callable[[], Any], value: object) -> None:
    assert values_of(read_source(as_parquet(tmp_path / "calls", pyarrow.table({"a": column()})))) == [{"a": value}]


def test_a_row_of_parquet_that_is_too_long_is_a_bad_row(tmp_path: Path) -> None:
    long: list[Any] = [*("a" * (LONGEST_LINE // 2) for _ in range(20)), *(30 * ["b"])]
    long[10], long[40] = "c" * LONGEST_LINE, "c" * (LONGEST_LINE - 1)
    table = pyarrow.table({"note": long, "list": 50 * [["d"]]})
    rows = all_rows(read_source(as_parquet(tmp_path / "calls", table)))
    bad = [(number, str(row), row.line) for number, row in rows if isinstance(row, SourceError)]
    assert bad == [(11, "longer than 1 MiB", 11)]  # with its list
    assert [number for number, _ in rows] == list(range(1, 51))


def test_rows_that_share_a_long_value_take_little_memory(tmp_path: Path) -> None:
    shared = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0, 1] * 500), ["x" * 700_000, "y" * 700_000])
    source = read_source(as_parquet(tmp_path / "calls", pyarrow.table({"note": shared})))
    tracemalloc.start()
    try:
        count = sum(isinstance(row, dict) for _, row in source.rows)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        source.close()
    assert count == 1000
    assert peak < 20_000_000  # rather than 700


def test_long_rows_of_parquet_are_read_few_at_a_time(tmp_path: Path) -> None:
    texts = [f"{number}" * 60_000 for number in range(1000, 1400)]
    parquet.write_table(pyarrow.table({"note": texts}), tmp_path / "calls", use_dictionary=False, write_batch_size=4)
    before = pyarrow.total_allocated_bytes()
    with contextlib.closing(read_source(str(tmp_path / "calls"))) as source:
        taken = [pyarrow.total_allocated_bytes() - before for _ in source.rows]
    assert len(taken) == 400
    assert max(taken) < 60_000_000  # rather than 96


def test_a_column_of_parquet_whose_name_is_not_utf_8_is_said(tmp_path: Path) -> None:
    parquet.write_table(pyarrow.table({"abcdefgh": ["1"]}), tmp_path / "calls", store_schema=False)
    content = (tmp_path / "calls").read_bytes().replace(b"abcdefgh", b"\xff\xfecdefgh")
    (tmp_path / "calls").write_bytes(content)
    with pytest.raises(SourceError, match=r"cannot be read: .*codec can't decode"):
        read_source(str(tmp_path / "calls"))


@pytest.mark.parametrize("options", [{"compression": "none", "use_dictionary": False}, {"compression": "gzip"}])
def test_damaged_parquet_gives_rows_or_says_what_is_wrong(tmp_path: Path, options: dict[str, Any]) -> None:
    many = range(60)
    table = pyarrow.table(
        {
            "task_id": [f"t{number}" for number in many],
            "list": [["a", "b"]] * 60,
            "model": [{"x": number, "y": None} for number in many],
            "word": pyarrow.array(["u", "v", "w"] * 20).dictionary_encode(),
            "when": pyarrow.array(many, pyarrow.timestamp("us", "UTC")),
            "number": pyarrow.array(many).cast(pyarrow.decimal256(40, 2)),
        }
    )
    parquet.write_table(table, tmp_path / "calls", row_group_size=30, **options)
    whole = (tmp_path / "calls").read_bytes()
    ends = {"read": 0, "bad rows": 0, "no file": 0}
    for seed in range(400):
        dice = random.Random(seed)
        content = bytearray(whole)
        if seed % 4:
            for _ in range(dice.choice([1, 1, 2, 5])):
                content[dice.randrange(4, len(content))] = dice.randrange(256)
        else:
            del content[dice.randrange(4, len(content)) :]
        (tmp_path / "calls").write_bytes(content)
        try:
            rows = all_rows(read_source(str(tmp_path / "calls")))
        except SourceError as error:
            look_at(error)
            ends["no file"] += 1
        else:
            ends["bad rows" if any(isinstance(row, SourceError) for _, row in rows) else "read"] += 1
    assert ends["read"] > 10
    assert ends["no file"] > 100


# Whatever else is in a file


ACTION_ROWS = ActionRows(
    {action.name: action for action in (StopCensorAudioV2, SendCustomCommand, StartWebcast)},
    action="StopCensorAudioV2",
    constants={},
)


def read_and_make(content: bytes) -> int:
    """Read a file as the loader does; return how many rows there were, or fail if there is any other error."""
    count = 0
    try:
        with contextlib.closing(piped(content)) as source:
            with contextlib.suppress(SourceError):
                ACTION_ROWS.check(source)
            for line, row in source.rows:
                count += 1
                try:
                    if isinstance(row, SourceError):
                        assert row.line == line
                        raise row
                    action = ACTION_ROWS.make(row)
                except (SourceError, InvalidActionError) as error:
                    look_at(error)
                else:
                    assert key_of(Lane("zego", "account", action.name), action)
                    assert dump_action(action).encode()
    except SourceError as error:
        look_at(error)
    return count


PIECES = [
    *(b"task_id", b"action", b"StopCensorAudioV2", b"message_content", b"t1", b"room", b"1", b" ", b"-", 70 * b"x"),
    *(b",", b";", b"\t", b'"', b'""', b"\r", b"\n", b"\r\n", b"\n\n", b"\0", b"\x1a", b"\x1b[31m"),
    *(b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\xed\xa0\x80", b"\xc3", "房".encode(), "t,\n".encode("utf-16-le")),
    *(b"{", b"}", b"[", b"]", b":", b'"task_id"', b'{"task_id":', b'{"task_id": "t"}\n', b"null", b"true"),
    *(b'"\\ud800"', b'"\\ud83d\\ude00"', b'"\\u0000"', b"NaN", b"-Infinity", b"1e999", b"1.5", 400 * b"9", 5000 * b"9"),
    *(2000 * b"[", 2000 * b'{"task_id":', b"PAR1", b"PARE", b"\x1f\x8b", b"\x28\xb5\x2f\xfd"),
]
scraps = st.lists(st.sampled_from(PIECES) | st.binary(max_size=6), max_size=25).map(b"".join)
starts = st.sampled_from([b"", b"task_id\n", b"action,task_id,room_id\n", b'{"task_id": "t"}\n', b"\xef\xbb\xbf"])
contents = st.builds(bytes.__add__, starts, scraps)


@settings(max_examples=400, deadline=None)
@given(contents, st.sampled_from([50, 200, LONGEST_LINE]), st.data())
def test_any_bytes_give_rows_or_say_what_is_wrong(content: bytes, longest: int, data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("volc_moderation.bulk.sources.LONGEST_LINE", longest)
        count = read_and_make(content)
        cut = data.draw(st.integers(0, len(content)))
        zipped = gzip.compress(content[:cut], mtime=0) + gzip.compress(content[cut:], mtime=0)
        if not content.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR")):
            assert read_and_make(zipped) == count
        read_and_make(zipped[: data.draw(st.integers(0, len(zipped)))])
        read_and_make(content + zipped)


any_text = st.text(st.characters(), max_size=8)  # lone surrogates too
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(["task_id", "room_id", "message_content", "VideoSolutions", "MonitorConfig", "user_id"])
rows_of_json = st.fixed_dictionaries(
    {"action": st.sampled_from(["StopCensorAudioV2", "SendCustomCommand", "StartWebcast"]) | any_text}
).flatmap(lambda row: st.dictionaries(fields | any_text, any_json, max_size=6).map(lambda more: more | row))


@settings(max_examples=200, deadline=None)
@given(st.lists(rows_of_json, min_size=1, max_size=3), st.booleans())
def test_any_json_gives_as_many_rows(rows: list[dict[str, object]], ascii_only: bool) -> None:
    lines = [json.dumps(row, ensure_ascii=ascii_only).encode(errors="surrogatepass") for row in rows]
    assert read_and_make(b"\n".join(lines)) == len(rows)


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


def test_who_reads_stops_at_once_when_told_to() -> None:
    rows = ActionRows({"StopCensorAudioV2": StopCensorAudioV2}, action="StopCensorAudioV2", constants={})
    file, loaded = Generated([b"task_id\n", *(b"%d\n" % number for number in range(10))]), LoadProgress()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "volc_moderation.bulk.load.read_source", lambda _: read_source("-", stdin=lambda: io.BufferedReader(file))
        )
        calls = check(["calls"], rows, limit=None, on_bad_row=pytest.fail, loaded=loaded)
        next(calls)
        loaded.cancel()
        with pytest.raises(SourceError, match="interrupted"):
            next(calls)
    assert loaded.rows == 1


def test_a_file_is_closed_if_its_calls_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "calls").write_bytes(b"task_id\n1\n2\n")
    file = (tmp_path / "calls").open("rb")
    monkeypatch.setattr("volc_moderation.bulk.load.read_source", lambda name: read_source("-", stdin=lambda: file))

    def no_keys(vendors: set[str]) -> Clients:
        raise ConfigurationError("no keys")

    rows = ActionRows({"StopCensorAudioV2": StopCensorAudioV2}, action="StopCensorAudioV2", constants={})
    calls = check(["calls"], rows, limit=None, on_bad_row=pytest.fail, loaded=LoadProgress())
    with (
        contextlib.closing(Journal(tmp_path / "jobs")) as journal,
        pytest.raises(ConfigurationError, match="no keys"),
        journal.transaction(),
    ):
        load(journal, calls, no_keys, skip_bad=False, now=0, loaded=LoadProgress())
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
