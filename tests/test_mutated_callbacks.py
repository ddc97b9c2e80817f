"""A hundred thousand damaged callbacks: each is refused or read rightly, and none is taken for what it is not."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies import json_values, texts
from volc_moderation import CallbackError, Event
from volc_moderation.volcengine import callbacks as volcengine
from volc_moderation.zego import callbacks as zego

HERE = Path(__file__).parent / "vectors"
SECRETS = {"volcengine": "cbSecret-Example-01", "zego": "0a1b2c3d4e5f60718293a4b5c6d7e8f9"}
VENDORS: dict[str, Any] = {"volcengine": volcengine, "zego": zego}
GENUINE: list[tuple[str, dict[str, Any]]] = [
    (vendor, one["body"])
    for vendor in VENDORS
    for one in json.loads((HERE / f"{vendor}_callbacks.json").read_text(encoding="utf-8"))
]
#: How many mutants of each of the eight genuine ones: 98,400 in all, and the rest by Hypothesis.
MUTANTS = 12_300
#: How many of each of the six that ZEGO may also send as a form.
MUTANT_FORMS = 3_000
EXAMPLES = 80


def outcome(vendor: str, body: bytes) -> tuple[bool, Event | None]:
    """Tell whether a callback is taken, and what is read; any error but CallbackError gets out."""
    rules = VENDORS[vendor]
    try:
        rules.verify(body, SECRETS[vendor])
        is_taken = True
    except CallbackError:
        is_taken = False
    try:
        event = rules.parse(body)
    except CallbackError:
        return is_taken, None
    return is_taken, event


def check(vendor: str, original: dict[str, Any], body: bytes) -> bool:
    """Check one mutant, and tell whether it was taken."""
    is_taken, event = outcome(vendor, body)
    if event is not None:
        assert isinstance(event, Event)
        assert event.dedupe_key.startswith(f"{vendor}:")
        assert len(event.dedupe_key) == len(vendor) + 41
        assert event.occurred_at is not None
        assert event.occurred_at.tzinfo is not None
    if is_taken:
        # A name may be damaged, Nonce to Noce or nonce, but what was signed must be what is there.
        assert signed_in(vendor, readable(body)) == signed_in(vendor, original)
    return is_taken


def signed_in(vendor: str, fields: dict[str, Any]) -> list[str]:
    """Return the values that are signed, under any of their names."""
    assert fields
    if vendor == "zego":
        return [str(fields.get(name, fields.get(name.lower()))) for name in ("Timestamp", "Nonce")]
    names = ("EventType", "EventData", "EventTime", "EventId", "AppId", "Version")
    return [str(fields.get(name)) for name in names] + [str(fields.get("Nonce", fields.get("Noce")))]


def readable(body: bytes) -> dict[str, Any]:
    for text in (body, unquote_to_bytes(body)):
        try:
            return json.loads(text)  # type: ignore[no-any-return]
        except ValueError:
            pass
    return dict(parse_qsl(body.decode(), keep_blank_values=True))


def form_of(fields: dict[str, Any]) -> bytes:
    """Spell the fields of a callback as a form."""
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
    return urlencode(texts).encode()


def flip(body: bytearray, dice: random.Random) -> None:
    body[dice.randrange(len(body))] ^= 1 << dice.randrange(8)


def replace(body: bytearray, dice: random.Random) -> None:
    body[dice.randrange(len(body))] = dice.choice(b'"{}[],:\\0123456789eE+-.ntu%\x00\xff ')


def delete(body: bytearray, dice: random.Random) -> None:
    at = dice.randrange(len(body))
    del body[at : at + dice.randint(1, 40)]


def insert(body: bytearray, dice: random.Random) -> None:
    at, start = dice.randrange(len(body)), dice.randrange(len(body))
    body[at:at] = body[start : start + dice.randint(1, 40)]


def swap(body: bytearray, dice: random.Random) -> None:
    one, other = dice.randrange(len(body)), dice.randrange(len(body))
    body[one], body[other] = body[other], body[one]


DAMAGES: list[Callable[[bytearray, random.Random], None]] = [flip, replace, delete, insert, swap]


@pytest.mark.parametrize(("vendor", "original"), GENUINE)
def test_damaged_bytes(vendor: str, original: dict[str, Any]) -> None:
    dice = random.Random(11)
    genuine = json.dumps(original, ensure_ascii=False).encode()
    assert check(vendor, original, genuine)
    taken = 0
    for _ in range(MUTANTS):
        body = bytearray(genuine)
        for _ in range(dice.choice((1, 1, 1, 2, 5))):
            dice.choice(DAMAGES)(body, dice)
        taken += check(vendor, original, bytes(body))
    # Volcengine signs nearly all that there is, ZEGO a timestamp and a nonce.
    assert taken < MUTANTS * (0.2 if vendor == "volcengine" else 0.9)


@pytest.mark.parametrize("original", [fields for vendor, fields in GENUINE if vendor == "zego"])
def test_damaged_forms(original: dict[str, Any]) -> None:
    dice = random.Random(12)
    genuine = form_of(original)
    assert check("zego", original, genuine)
    taken = 0
    for _ in range(MUTANT_FORMS):
        body = bytearray(genuine)
        for _ in range(dice.choice((1, 1, 1, 2, 5))):
            dice.choice(DAMAGES)(body, dice)
        taken += check("zego", original, bytes(body))
    assert 0 < taken < MUTANT_FORMS * 0.9


@pytest.mark.parametrize("original", [fields for vendor, fields in GENUINE if vendor == "zego"])
def test_a_form_is_read_as_its_json_is(original: dict[str, Any]) -> None:
    """Whatever stands in its nested fields and its texts."""
    parts = st.dictionaries(st.sampled_from(["Detail", "AuxInfo"]), json_values)
    words = st.dictionaries(st.sampled_from(["TaskId", "ResultTaskId", "Message", "Nonce"]), texts)

    @settings(max_examples=EXAMPLES, deadline=None)
    @given(parts, words, st.integers(-9, 9), st.integers(-9, 10**12))
    def read(parts: dict[str, Any], words: dict[str, str], code: int, timestamp: int) -> None:
        fields = original | parts | words | {"Code": code, "Timestamp": timestamp}
        form = form_of(fields | {name: json.dumps(value) for name, value in parts.items()})
        # Shown, since what is not a number does not equal itself.
        assert repr(outcome("zego", form)) == repr(outcome("zego", json.dumps(fields).encode()))

    read()


@pytest.mark.parametrize(("vendor", "original"), GENUINE)
def test_damaged_fields(vendor: str, original: dict[str, Any]) -> None:
    """Any JSON in the place of any field, and any JSON at all."""

    @settings(max_examples=EXAMPLES, deadline=None)
    @given(st.dictionaries(st.sampled_from(sorted(original)), json_values, max_size=4), json_values)
    def damage(changes: dict[str, Any], nonsense: Any) -> None:
        check(vendor, original, json.dumps(original | changes).encode())
        outcome(vendor, json.dumps(nonsense).encode())
        outcome(vendor, json.dumps(original | {"Detail": nonsense, "AuxInfo": nonsense}).encode())

    damage()


@pytest.mark.parametrize("vendor", VENDORS)
def test_any_bytes(vendor: str) -> None:
    @settings(max_examples=EXAMPLES, deadline=None)
    @given(st.binary(max_size=200))
    def read(body: bytes) -> None:
        assert outcome(vendor, body) == (False, None)

    read()


def test_there_are_a_hundred_thousand() -> None:
    assert [vendor for vendor, _ in GENUINE] == 2 * ["volcengine"] + 6 * ["zego"]
    assert len(GENUINE) * (MUTANTS + EXAMPLES * 3) + len(VENDORS) * EXAMPLES >= 100_000
