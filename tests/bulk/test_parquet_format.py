"""Parquet: its rows, its bad cells, and files that are damaged."""

import contextlib
import datetime
import random
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pyarrow
import pytest
from pyarrow import parquet

from tests.bulk.files import Rows, check_printable, read_all, values_of, write_parquet
from volc_moderation import SourceError
from volc_moderation.bulk.rows import MAX_ROW_BYTES, BadRowError
from volc_moderation.bulk.sources import open_source


def test_rows_have_values_and_numbers(tmp_path: Path) -> None:
    table = pyarrow.table(
        {
            "room_id": ["r", None],
            "user_id": [["u", "v"], []],
            "interval": pyarrow.array([150, None], pyarrow.int32()),
            "video_param": [{"RiskTypeList": ["AGE"]}, None],
        }
    )
    source = open_source(write_parquet(tmp_path / "calls", table))
    assert source.columns == ("room_id", "user_id", "interval", "video_param")
    assert read_all(source) == [
        (1, {"room_id": "r", "user_id": ["u", "v"], "interval": 150, "video_param": {"RiskTypeList": ["AGE"]}}),
        (2, {"user_id": []}),
    ]


def test_batches_follow_each_other(tmp_path: Path) -> None:
    table = pyarrow.table({"task_id": list(range(2500))})
    rows = read_all(open_source(write_parquet(tmp_path / "calls", table)))
    assert rows == [(number + 1, {"task_id": number}) for number in range(2500)]


def test_an_unreadable_file_is_reported(tmp_path: Path) -> None:
    good = pyarrow.array(["1", "2"])
    for columns, message in {("a", "a"): "column 'a' appears twice", ("a", ""): "column 2 has no name"}.items():
        name = write_parquet(tmp_path / "calls", pyarrow.table([good, good], names=list(columns)))
        with pytest.raises(SourceError, match=message):
            open_source(name)
    (tmp_path / "calls").write_bytes(b"PAR1" + 99 * b"x")
    with pytest.raises(SourceError, match=f"{tmp_path / 'calls'} cannot be read: "):
        open_source(name)


def test_damaged_pages_are_reported_with_the_last_whole_row(tmp_path: Path) -> None:
    table = pyarrow.table({"task_id": [f"task{number}" for number in range(5000)]})
    parquet.write_table(table, tmp_path / "calls", row_group_size=2500, use_dictionary=False, compression="gzip")
    content = bytearray((tmp_path / "calls").read_bytes())
    middle = len(content) // 2
    content[middle + 500 : middle + 1500] = 1000 * b"x"
    (tmp_path / "calls").write_bytes(content)
    read: Rows = []
    with contextlib.closing(open_source(str(tmp_path / "calls"))) as source, pytest.raises(SourceError) as caught:
        read.extend(source.rows)
    assert 2000 <= len(read) < 5000
    assert f"cannot be read after row {len(read)}: " in str(caught.value)
    assert caught.value.line == len(read)


def test_the_error_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "calls").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SourceError) as caught:
        open_source(str(tmp_path / "calls"))
    sentence = "is Parquet, which needs pyarrow: pip install 'volc_moderation[parquet]'"
    assert str(caught.value) == f"{tmp_path / 'calls'} {sentence}"


def unknown_time_zone() -> Any:
    return pyarrow.array([0, None], pyarrow.timestamp("us", "Nowhere/Land"))


def column_of(number: int, kind: Any) -> Any:
    """Return a column of a type with a number, in the type's own unit, and a null."""
    width = pyarrow.int32() if kind.bit_width == 32 else pyarrow.int64()
    return pyarrow.Array.from_buffers(kind, 2, pyarrow.array([number, None], width).buffers())


def text_column_of(content: bytes) -> Any:
    _, ends, text = pyarrow.array([content, b""], pyarrow.binary()).buffers()
    return pyarrow.Array.from_buffers(pyarrow.string(), 2, [None, ends, text])


BAD_CELLS: dict[str, Callable[[], Any]] = {
    "a date": lambda: column_of(2**31 - 1, pyarrow.date32()),
    "milliseconds": lambda: column_of(2**62, pyarrow.timestamp("ms")),
    "milliseconds before Christ": lambda: column_of(-(2**62), pyarrow.timestamp("ms", "UTC")),
    "microseconds": lambda: column_of(2**62, pyarrow.timestamp("us", "UTC")),
    "nanoseconds": lambda: column_of(1, pyarrow.timestamp("ns")),
    "an unknown time zone": unknown_time_zone,
    "a duration in seconds": lambda: column_of(2**62, pyarrow.duration("s")),
    "a duration in nanoseconds": lambda: column_of(1, pyarrow.duration("ns")),
    "a time of day": lambda: column_of(2**60, pyarrow.time64("us")),
    "nanoseconds of a day": lambda: column_of(1, pyarrow.time64("ns")),
    "no UTF-8": lambda: text_column_of(b"\xff\xfe"),
    "a surrogate": lambda: text_column_of(b"\xed\xa0\x80"),
    "names twice": lambda: pyarrow.StructArray.from_arrays(
        [pyarrow.array([1, 2])] * 2, ["x", "x"], mask=pyarrow.array([False, True])
    ),
    "a date in a list": lambda: pyarrow.array([[0, 2**62], None], pyarrow.list_(pyarrow.timestamp("ms"))),
    "a date in a dictionary": lambda: column_of(2**62, pyarrow.timestamp("ms")).dictionary_encode(),
}


@pytest.mark.parametrize("column", BAD_CELLS.values(), ids=BAD_CELLS)
def test_a_cell_that_python_cannot_represent_makes_a_bad_row(tmp_path: Path, column: Callable[[], Any]) -> None:
    table = pyarrow.table({"task_id": ["1", "2"], "when": column()})
    (line, bad), (after, good) = read_all(open_source(write_parquet(tmp_path / "calls", table)))
    assert isinstance(bad, BadRowError)
    assert isinstance(good, dict)
    assert (line, bad.line, after, good["task_id"]) == (1, 1, 2, "2")
    assert str(bad).startswith("column 'when': ")
    assert len(str(bad)) < 300


def test_a_bad_cell_far_down_affects_its_row_only(tmp_path: Path) -> None:
    times = [0] * 2500
    for row in (700, 1000, 1001, 2500):
        times[row - 1] = 2**62
    table = pyarrow.table({"task_id": list(range(1, 2501)), "when": pyarrow.array(times, pyarrow.timestamp("ms"))})
    rows = read_all(open_source(write_parquet(tmp_path / "calls", table)))
    assert [number for number, row in rows if isinstance(row, BadRowError)] == [700, 1000, 1001, 2500]
    good = [(number, row["task_id"]) for number, row in rows if not isinstance(row, BadRowError)]
    assert len(good) == 2496
    assert all(number == task for number, task in good)


UNUSUAL: dict[str, tuple[Callable[[], Any], object]] = {
    "half": (lambda: pyarrow.array([1.5], pyarrow.float64()).cast(pyarrow.float16()), 1.5),
    "large": (lambda: pyarrow.array(["x"], pyarrow.large_string()), "x"),
    "dictionary": (lambda: pyarrow.array(["x"]).dictionary_encode(), "x"),
    "map": (lambda: pyarrow.array([[("k", 1)]], pyarrow.map_(pyarrow.string(), pyarrow.int64())), [("k", 1)]),
    "nested": (lambda: pyarrow.array([[{"x": [None]}]]), [{"x": [None]}]),
    "binary": (lambda: pyarrow.array([b"\xff"]), b"\xff"),
    "date": (lambda: column_of(0, pyarrow.date32())[:1], datetime.date(1970, 1, 1)),
}


@pytest.mark.parametrize(("column", "value"), UNUSUAL.values(), ids=UNUSUAL)
def test_unusual_types(tmp_path: Path, column: Callable[[], Any], value: object) -> None:
    assert values_of(open_source(write_parquet(tmp_path / "calls", pyarrow.table({"a": column()})))) == [{"a": value}]


@pytest.mark.slow
def test_a_row_that_is_too_long_is_bad(tmp_path: Path) -> None:
    long: list[Any] = [*("a" * (MAX_ROW_BYTES // 2) for _ in range(20)), *(30 * ["b"])]
    long[10], long[40] = "c" * MAX_ROW_BYTES, "c" * (MAX_ROW_BYTES - 1)
    table = pyarrow.table({"note": long, "list": 50 * [["d"]]})
    rows = read_all(open_source(write_parquet(tmp_path / "calls", table)))
    bad = [(number, str(row), row.line) for number, row in rows if isinstance(row, BadRowError)]
    assert bad == [(11, "longer than 1 MiB", 11)]  # with its list, it is too long
    assert [number for number, _ in rows] == list(range(1, 51))


def test_rows_that_share_a_long_value_take_little_memory(tmp_path: Path) -> None:
    shared = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0, 1] * 500), ["x" * 700_000, "y" * 700_000])
    source = open_source(write_parquet(tmp_path / "calls", pyarrow.table({"note": shared})))
    tracemalloc.start()
    try:
        count = sum(isinstance(row, dict) for _, row in source.rows)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        source.close()
    assert count == 1000
    assert peak < 20_000_000  # not 700 MB


@pytest.mark.slow
def test_long_rows_are_read_in_small_batches(tmp_path: Path) -> None:
    texts = [f"{number}" * 60_000 for number in range(1000, 1400)]
    parquet.write_table(pyarrow.table({"note": texts}), tmp_path / "calls", use_dictionary=False, write_batch_size=4)
    before = pyarrow.total_allocated_bytes()
    with contextlib.closing(open_source(str(tmp_path / "calls"))) as source:
        taken = [pyarrow.total_allocated_bytes() - before for _ in source.rows]
    assert len(taken) == 400
    assert max(taken) < 60_000_000  # not 96 MB


def test_a_column_name_that_is_not_utf_8_is_reported(tmp_path: Path) -> None:
    parquet.write_table(pyarrow.table({"abcdefgh": ["1"]}), tmp_path / "calls", store_schema=False)
    content = (tmp_path / "calls").read_bytes().replace(b"abcdefgh", b"\xff\xfecdefgh")
    (tmp_path / "calls").write_bytes(content)
    with pytest.raises(SourceError, match=r"cannot be read: .*codec can't decode"):
        open_source(str(tmp_path / "calls"))


@pytest.mark.no_coverage
@pytest.mark.slow
@pytest.mark.parametrize("options", [{"compression": "none", "use_dictionary": False}, {"compression": "gzip"}])
def test_damaged_files_yield_rows_or_an_error(tmp_path: Path, options: dict[str, Any]) -> None:
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
    outcomes = {"read": 0, "bad rows": 0, "unreadable": 0}
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
            rows = read_all(open_source(str(tmp_path / "calls")))
        except SourceError as error:
            check_printable(error)
            outcomes["unreadable"] += 1
        else:
            outcomes["bad rows" if any(isinstance(row, BadRowError) for _, row in rows) else "read"] += 1
    assert outcomes["read"] > 10
    assert outcomes["unreadable"] > 100


def test_files_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = write_parquet(tmp_path / "calls", pyarrow.table({"task_id": ["1"]}))
    opened: list[IO[Any]] = []
    original_open = open

    def recorded_open(*arguments: Any) -> IO[Any]:
        opened.append(original_open(*arguments))
        return opened[-1]

    monkeypatch.setattr("builtins.open", recorded_open)
    open_source(name).close()
    assert opened
    assert all(file.closed for file in opened)
