"""Untrusted text is printed on one line, every character is visible, and none is interpreted."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volc_moderation.printable import printable, printable_json

any_text = st.text(
    st.characters(codec=None, categories=None) | st.sampled_from("\x1b\x9b\n\r\u202e\u2028\ud800\x7f\x00")
)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain, 房间　1 é", "plain, 房间　1 é"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("two\r\nlines\u2028three\x85", r"two\r\nlines\u2028three\x85"),
        ("\u202etxt.exe\u2066", r"\u202etxt.exe\u2066"),
        ("a\x7f\x9bb\ud800\U000e0001", r"a\x7f\x9bb\ud800\U000e0001"),
        ("[red]x[/] :smile:", "[red]x[/] :smile:"),
        ("", ""),
    ],
)
def test_invisible_characters_are_escaped(text: str, escaped: str) -> None:
    assert printable(text) == escaped


@given(any_text)
def test_every_character_is_visible_on_one_line(text: str) -> None:
    escaped = printable(text)
    assert all(one.isprintable() or unicodedata.category(one) == "Zs" for one in escaped)
    assert len(escaped.splitlines()) <= 1
    escaped.encode()  # raises if it cannot be written
    assert printable(escaped) == escaped


def test_other_scripts_are_not_escaped() -> None:
    assert printable_json({"房间": "é\x1b"}) == r'{"房间": "é\u001b"}'


@given(any_text, st.sampled_from([None, 2]))
def test_printable_json_has_the_same_meaning_and_lines(text: str, indent: int | None) -> None:
    escaped = printable_json({"a": [text], text: 1.5}, indent=indent)
    assert json.loads(escaped) == {"a": [text], text: 1.5}
    escaped.encode()
    lines = escaped.split("\n")
    assert len(lines) == len(json.dumps({"a": [text], text: 1.5}, indent=indent).split("\n"))
    assert all(printable(line) == line for line in lines)
