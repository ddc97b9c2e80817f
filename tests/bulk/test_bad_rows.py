"""Bad rows: each is reported with its line, and the rows after it are read, unless its end is unknown."""

import io
import itertools
import tracemalloc

import pytest

from tests.bulk.files import (
    FORMATS,
    LAST_ROWS,
    STARTS,
    GeneratedFile,
    Rows,
    compress_parts,
    error_of,
    rows_of,
    source_of,
    values_of,
)
from volc_moderation import SourceError
from volc_moderation.bulk.rows import MAX_ROW_BYTES, BadRowError
from volc_moderation.bulk.sources import open_source

#: Lines before the first bad one of a large file.
LINES = 70_000


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a,b\n1,2\n3\n5,6\n", "1 column, but the header has 2"),
        (b"a,b\n1,2\n3,4,\n5,6\n", "3 columns, but the header has 2"),
        (b"a,b,\n1,2,\n3,4\n5,6,\n", "2 columns, but the header has 3"),
        (b"a,b,,\n1,2,,\n3,4,,x\n5,6,,\n", "column 4 has a value, but no name"),
        (b"a,b\n1,2\n3,\xe9\n5,6\n", "not UTF-8: byte 0xe9 in column 3; save as UTF-8"),
        (b"a,b\n1,2\n\xe6\x88\xbf,\xe9,5,6\n5,6\n", "not UTF-8: byte 0xe9 in column 5; save as UTF-8"),
        *(
            (b'\n{"a": 1}\n' + line + b'\n{"a": 2}\n', "not a JSON object")
            for line in (b"[1]", b"5", b"null", b'"text"', b'{"a": 1', b"a,b", b"{a: 1}", b'{"a": 1} {}', 9999 * b"[")
        ),
        *(
            (b'\n{"a": 1}\n' + line + b'\n{"a": 2}\n', reason)
            for line, reason in {
                b'{"a": 1, "b": 2, "a": 1}': "'a' appears twice",
                b'{"a": {"b": [{"c": 1, "c": 2}]}}': "'c' appears twice",
                b'{"a": 1, "\\ud800": 1, "\\ud800": 2}': r"'\ud800' appears twice",
                b'{"%s": 1, "%s": 2}' % (99 * b"x", 99 * b"x"): f"'{60 * 'x'}…' appears twice",
                b'{"a": NaN}': "NaN is not JSON",
                b'{"a": [-Infinity]}': "-Infinity is not JSON",
                b'{"a": ' + 5000 * b"9" + b"}": "not a JSON object",
            }.items()
        ),
        (b'\n{"a": 1}\n{"a": "\xe9"}\n{"a": 2}\n', "not UTF-8: byte 0xe9 in column 8; save as UTF-8"),
    ],
)
def test_a_bad_row_is_reported_and_the_others_are_read(content: bytes, reason: str) -> None:
    (_, first), (line, bad), (after, last) = rows_of(content)
    assert isinstance(first, dict)
    assert isinstance(bad, BadRowError)
    assert isinstance(last, dict)
    assert (line, bad.line, after) == (3, 3, 4)
    assert str(bad) == reason


@pytest.mark.no_coverage
@pytest.mark.slow
@pytest.mark.parametrize("start", [b"a,b", b'{"a": 0}'], ids=["CSV", "JSON Lines"])
def test_a_latin_1_byte_far_down_affects_its_row_only(start: bytes) -> None:
    good_line, bad_line = (b"1,ok", b"1,\xe9") if start == b"a,b" else (b'{"a": "ok"}', b'{"a": "\xe9"}')
    rows = rows_of(
        b"\n".join([start, *itertools.repeat(good_line, LINES - 1), bad_line, good_line, bad_line, good_line])
    )
    bad = [(line, row.line) for line, row in rows if isinstance(row, BadRowError)]
    assert bad == [(LINES + 1, LINES + 1), (LINES + 3, LINES + 3)]
    assert len(rows) == LINES + 4 - (start == b"a,b")
    assert rows[-1][1] == rows[-3][1] != {}


# Rows longer than 1 MiB


@pytest.mark.parametrize("kind", FORMATS)
def test_a_line_of_1_mib_is_read_and_a_longer_one_is_bad(kind: str) -> None:
    start, end = (b"1,2,,", b"\n") if kind == "CSV" else (b'{"task_id": "', b'"}\n')
    fill = (b"," if kind == "CSV" else b"x") * (MAX_ROW_BYTES - len(start + end))
    before = STARTS[kind]
    for more, reason in {b"": None, fill[:1]: "longer than 1 MiB"}.items():
        rows = rows_of(before + start + fill + more + end + LAST_ROWS[kind])
        line, row = rows[-2]
        assert line == 3
        if reason is None:
            assert "longer" not in str(row)
        else:
            assert isinstance(row, BadRowError)
            assert (str(row), row.line) == (reason, 3)
        number, last = rows[-1]
        assert isinstance(last, dict)
        assert (number, last["task_id"]) == (4, "2")


@pytest.mark.no_coverage
@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
def test_a_long_line_in_gzip_takes_little_memory(kind: str) -> None:
    parts = [STARTS[kind], *itertools.repeat(b"x" * (1 << 20), 150), b"\n" + LAST_ROWS[kind]]
    content = b"".join(compress_parts(parts))
    tracemalloc.start()
    try:
        rows = rows_of(content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    (line, long), (number, last) = rows[-2:]
    assert isinstance(long, BadRowError)
    assert isinstance(last, dict)
    assert (line, str(long), number, last["task_id"]) == (3, "longer than 1 MiB", 4, "2")
    assert peak < 8_000_000


@pytest.mark.parametrize("kind", FORMATS)
def test_a_last_line_without_an_end_may_be_too_long(kind: str) -> None:
    line, long = rows_of(STARTS[kind] + MAX_ROW_BYTES * b"x" + b"y")[-1]
    assert isinstance(long, BadRowError)
    assert (line, str(long)) == (3, "longer than 1 MiB")


def test_a_header_that_is_too_long_ends_the_file() -> None:
    error = error_of(b"task_id," + MAX_ROW_BYTES * b"x" + b"\n1,one\n")
    assert (str(error), error.line) == ("standard input, line 1: longer than 1 MiB", 1)
    long, last = values_of(source_of(b'{"task_id": "' + MAX_ROW_BYTES * b"x" + b'"}\n' + LAST_ROWS["JSON Lines"]))
    assert (str(long), last) == ("longer than 1 MiB", {"task_id": "2"})


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (b'"' + MAX_ROW_BYTES * b"x" + b"\n2,two\n", "longer than 1 MiB, with a quote that is not closed"),
        (b'"x\n' + MAX_ROW_BYTES * b"x" + b'"\n2,two\n', "more than 1 MiB without the end of a row"),
        (MAX_ROW_BYTES // 4 * b'"x\n",', "more than 1 MiB without the end of a row"),
    ],
    ids=["a quote that opens in it", "a quote that opened before", "many lines"],
)
def test_a_long_row_of_csv_whose_end_is_unknown_ends_the_file(more: bytes, reason: str) -> None:
    read: Rows = []
    with pytest.raises(SourceError) as caught:
        read.extend(source_of(STARTS["CSV"] + more).rows)
    assert str(caught.value).startswith(f"standard input, line 3: {reason}")
    assert caught.value.line == 3
    assert len(read) == 1


@pytest.mark.no_coverage
@pytest.mark.parametrize("kind", FORMATS)
def test_a_mebibyte_of_blank_lines_ends_the_file(kind: str) -> None:
    """An interrupt is noticed at rows, and blank lines yield none."""
    error = error_of(STARTS[kind] + MAX_ROW_BYTES * b"\n" + b"\n" + LAST_ROWS[kind])
    assert str(error).endswith(": more than 1 MiB of blank lines")
    assert error.line == MAX_ROW_BYTES + 4
    assert len(rows_of(STARTS[kind] + MAX_ROW_BYTES * b"\n" + LAST_ROWS[kind])) == len(rows_of(STARTS[kind])) + 1


@pytest.mark.parametrize("kind", FORMATS)
def test_a_line_of_1_gib_ends_the_file(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("volc_moderation.bulk.lines.MAX_SKIPPED_LINE_BYTES", 3 * MAX_ROW_BYTES)
    file = GeneratedFile(itertools.chain([STARTS[kind]], itertools.repeat(bytes(1 << 16), 9999)))
    with pytest.raises(SourceError, match=r"^standard input, line 3: longer than 1 GiB$"):
        list(open_source("-", stdin=lambda: io.BufferedReader(file)).rows)
    assert file.size < 5 * MAX_ROW_BYTES
