"""A hundred thousand damaged callbacks: each is refused or read correctly, and none is accepted wrongly."""

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
    (vendor, vector["body"])
    for vendor in VENDORS
    for vector in json.loads((HERE / f"{vendor}_callbacks.json").read_text(encoding="utf-8"))
]
#: Mutants of each of the eight genuine callbacks: 98,400 in all. Hypothesis adds the rest.
MUTANTS = 12_300
#: Mutants of each of the six callbacks that ZEGO may also send as a form.
MUTANT_FORMS = 3_000
HYPOTHESIS_EXAMPLES = 80


def outcome(vendor: str, body: bytes) -> tuple[bool, Event | None]:
    """Return whether a callback is accepted, and the parsed event. Only CallbackError is caught."""
    callbacks = VENDORS[vendor]
    try:
        callbacks.verify(body, SECRETS[vendor])
        is_accepted = True
    except CallbackError:
        is_accepted = False
    try:
        event = callbacks.parse(body)
    except CallbackError:
        return is_accepted, None
    return is_accepted, event


def check(vendor: str, original: dict[str, Any], body: bytes) -> bool:
    """Check one mutant, and return whether it was accepted."""
    is_accepted, event = outcome(vendor, body)
    if event is not None:
        assert isinstance(event, Event)
        assert event.dedupe_key.startswith(f"{vendor}:")
        assert len(event.dedupe_key) == len(vendor) + 41
        assert event.occurred_at is not None
        assert event.occurred_at.tzinfo is not None
    if is_accepted:
        # A name may be damaged, from Nonce to Noce or nonce, but the signed values must be unchanged.
        assert signed_values(vendor, decode(body)) == signed_values(vendor, original)
    return is_accepted


def signed_values(vendor: str, fields: dict[str, Any]) -> list[str]:
    """Return the signed values, under any of their names."""
    assert fields
    if vendor == "zego":
        return [str(fields.get(name, fields.get(name.lower()))) for name in ("Timestamp", "Nonce")]
    names = ("EventType", "EventData", "EventTime", "EventId", "AppId", "Version")
    return [str(fields.get(name)) for name in names] + [str(fields.get("Nonce", fields.get("Noce")))]


def decode(body: bytes) -> dict[str, Any]:
    """Decode JSON, percent-encoded JSON or a form."""
    for text in (body, unquote_to_bytes(body)):
        try:
            return json.loads(text)  # type: ignore[no-any-return]
        except ValueError:
            pass
    return dict(parse_qsl(body.decode(), keep_blank_values=True))


def encode_form(fields: dict[str, Any]) -> bytes:
    """Encode the fields of a callback as a form."""
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
    return urlencode(texts).encode()


def flip(body: bytearray, rng: random.Random) -> None:
    body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)


def replace(body: bytearray, rng: random.Random) -> None:
    body[rng.randrange(len(body))] = rng.choice(b'"{}[],:\\0123456789eE+-.ntu%\x00\xff ')


def delete(body: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(body))
    del body[at : at + rng.randint(1, 40)]


def insert(body: bytearray, rng: random.Random) -> None:
    at, start = rng.randrange(len(body)), rng.randrange(len(body))
    body[at:at] = body[start : start + rng.randint(1, 40)]


def swap(body: bytearray, rng: random.Random) -> None:
    first, second = rng.randrange(len(body)), rng.randrange(len(body))
    body[first], body[second] = body[second], body[first]


DAMAGES: list[Callable[[bytearray, random.Random], None]] = [flip, replace, delete, insert, swap]


@pytest.mark.no_coverage
@pytest.mark.parametrize(("vendor", "original"), GENUINE)
def test_damaged_bytes(vendor: str, original: dict[str, Any]) -> None:
    rng = random.Random(11)
    genuine = json.dumps(original, ensure_ascii=False).encode()
    assert check(vendor, original, genuine)
    accepted = 0
    for _ in range(MUTANTS):
        body = bytearray(genuine)
        for _ in range(rng.choice((1, 1, 1, 2, 5))):
            rng.choice(DAMAGES)(body, rng)
        accepted += check(vendor, original, bytes(body))
    # Volcengine signs nearly everything, ZEGO only a timestamp and a nonce.
    assert accepted < MUTANTS * (0.2 if vendor == "volcengine" else 0.9)


@pytest.mark.no_coverage
@pytest.mark.parametrize("original", [fields for vendor, fields in GENUINE if vendor == "zego"])
def test_damaged_forms(original: dict[str, Any]) -> None:
    rng = random.Random(12)
    genuine = encode_form(original)
    assert check("zego", original, genuine)
    accepted = 0
    for _ in range(MUTANT_FORMS):
        body = bytearray(genuine)
        for _ in range(rng.choice((1, 1, 1, 2, 5))):
            rng.choice(DAMAGES)(body, rng)
        accepted += check("zego", original, bytes(body))
    assert 0 < accepted < MUTANT_FORMS * 0.9


@pytest.mark.no_coverage
@pytest.mark.slow
@pytest.mark.parametrize("original", [fields for vendor, fields in GENUINE if vendor == "zego"])
def test_a_form_is_read_like_its_json(original: dict[str, Any]) -> None:
    """Nested fields and texts may be anything."""
    parts = st.dictionaries(st.sampled_from(["Detail", "AuxInfo"]), json_values)
    words = st.dictionaries(st.sampled_from(["TaskId", "ResultTaskId", "Message", "Nonce"]), texts)

    @settings(max_examples=HYPOTHESIS_EXAMPLES, deadline=None)
    @given(parts, words, st.integers(-9, 9), st.integers(-9, 10**12))
    def read(parts: dict[str, Any], words: dict[str, str], code: int, timestamp: int) -> None:
        fields = original | parts | words | {"Code": code, "Timestamp": timestamp}
        form = encode_form(fields | {name: json.dumps(value) for name, value in parts.items()})
        # Compared by repr, because NaN does not equal itself.
        assert repr(outcome("zego", form)) == repr(outcome("zego", json.dumps(fields).encode()))

    read()


@pytest.mark.no_coverage
@pytest.mark.parametrize(("vendor", "original"), GENUINE)
def test_damaged_fields(vendor: str, original: dict[str, Any]) -> None:
    """Any field is replaced by any JSON, and the whole callback by any JSON."""

    @settings(max_examples=HYPOTHESIS_EXAMPLES, deadline=None)
    @given(st.dictionaries(st.sampled_from(sorted(original)), json_values, max_size=4), json_values)
    def damage(changes: dict[str, Any], value: Any) -> None:
        check(vendor, original, json.dumps(original | changes).encode())
        outcome(vendor, json.dumps(value).encode())
        outcome(vendor, json.dumps(original | {"Detail": value, "AuxInfo": value}).encode())

    damage()


@pytest.mark.parametrize("vendor", VENDORS)
def test_any_bytes(vendor: str) -> None:
    @settings(max_examples=HYPOTHESIS_EXAMPLES, deadline=None)
    @given(st.binary(max_size=200))
    def read(body: bytes) -> None:
        assert outcome(vendor, body) == (False, None)

    read()


def test_there_are_a_hundred_thousand_mutants() -> None:
    assert [vendor for vendor, _ in GENUINE] == 2 * ["volcengine"] + 6 * ["zego"]
    assert len(GENUINE) * (MUTANTS + HYPOTHESIS_EXAMPLES * 3) + len(VENDORS) * HYPOTHESIS_EXAMPLES >= 100_000
