"""Foreign text on a terminal, in a browser, in a file of lines: it shows, and does nothing else."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volc_moderation.printable import json_text, printable

ANY = st.text(st.characters(codec=None, categories=None) | st.sampled_from("\x1b\x9b\n\r\u202e\u2028\ud800\x7f\x00"))


@pytest.mark.parametrize(
    ("text", "shown"),
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
def test_what_does_not_show_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(ANY)
def test_everything_shows_on_one_line(text: str) -> None:
    shown = printable(text)
    assert all(one.isprintable() or unicodedata.category(one) == "Zs" for one in shown)
    assert len(shown.splitlines()) <= 1
    shown.encode()  # raises if it cannot be written
    assert printable(shown) == shown


def test_other_scripts_are_not_escaped() -> None:
    assert json_text({"房间": "é\x1b"}) == r'{"房间": "é\u001b"}'


@given(ANY, st.sampled_from([None, 2]))
def test_json_shows_and_means_the_same(text: str, indent: int | None) -> None:
    written = json_text({"a": [text], text: 1.5}, indent=indent)
    assert json.loads(written) == {"a": [text], text: 1.5}
    written.encode()
    lines = written.split("\n")
    assert len(lines) == len(json.dumps({"a": [text], text: 1.5}, indent=indent).split("\n"))
    assert all(printable(line) == line for line in lines)
