"""Arbitrary files: whatever they contain, they yield rows, bad rows or a documented error."""

import contextlib
import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bulk.files import check_printable, source_of
from volc_moderation import InvalidActionError, SourceError
from volc_moderation.bulk.row_parser import RowParser
from volc_moderation.bulk.rows import MAX_ROW_BYTES, BadRowError
from volc_moderation.jobs.clients import dump_action
from volc_moderation.jobs.job import Lane, key_of
from volc_moderation.volcengine import StartWebcast
from volc_moderation.zego import SendCustomCommand, StopCensorAudioV2

PARSER = RowParser(
    {action.name: action for action in (StopCensorAudioV2, SendCustomCommand, StartWebcast)},
    action="StopCensorAudioV2",
    constants={},
)


def read_and_parse(content: bytes) -> int:
    """Read and parse a file as the loader does. Return the number of rows; fail on any undocumented error."""
    count = 0
    try:
        with contextlib.closing(source_of(content)) as source:
            with contextlib.suppress(SourceError):
                PARSER.check_columns(source)
            for line, row in source.rows:
                count += 1
                try:
                    if isinstance(row, BadRowError):
                        assert row.line == line
                        raise row
                    action = PARSER.parse(row)
                except (SourceError, InvalidActionError) as error:
                    check_printable(error)
                else:
                    assert key_of(Lane("zego", "account", action.name), action)
                    assert dump_action(action).encode()
    except SourceError as error:
        check_printable(error)
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


@pytest.mark.no_coverage
@settings(max_examples=400, deadline=None)
@given(contents, st.sampled_from([50, 200, MAX_ROW_BYTES]), st.data())
def test_any_bytes_yield_rows_or_an_error(content: bytes, max_row_bytes: int, data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("volc_moderation.bulk.lines.MAX_ROW_BYTES", max_row_bytes)
        count = read_and_parse(content)
        cut = data.draw(st.integers(0, len(content)))
        zipped = gzip.compress(content[:cut], mtime=0) + gzip.compress(content[cut:], mtime=0)
        if not content.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR")):
            assert read_and_parse(zipped) == count
        read_and_parse(zipped[: data.draw(st.integers(0, len(zipped)))])
        read_and_parse(content + zipped)


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


@pytest.mark.no_coverage
@settings(max_examples=200, deadline=None)
@given(st.lists(rows_of_json, min_size=1, max_size=3), st.booleans())
def test_each_line_of_json_yields_a_row(rows: list[dict[str, object]], ascii_only: bool) -> None:
    lines = [json.dumps(row, ensure_ascii=ascii_only).encode(errors="surrogatepass") for row in rows]
    assert read_and_parse(b"\n".join(lines)) == len(rows)
