"""ZEGO's callbacks as forms, which its support can enable: the same events and signatures as with JSON."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

import pytest

from tests.webhooks.test_app import Handler, status, webhooks
from volc_moderation import CallbackError
from volc_moderation.callback_checks import MAX_VALUES, json_or_text
from volc_moderation.testing import CALLBACK_SECRET, make_zego_callback
from volc_moderation.zego.callbacks import ZegoEvent, parse, sign, verify

VECTORS = {
    one["id"]: one["body"]
    for one in json.loads((Path(__file__).parent.parent / "vectors" / "zego_callbacks.json").read_text())
}
SECRET = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"


def form_of(fields: dict[str, Any], quote_via: Any = quote_plus) -> bytes:
    """Encode fields as a form: numbers in decimal, objects as JSON."""
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
    return urlencode(texts, quote_via=quote_via).encode()


@pytest.mark.parametrize("quote_via", [quote_plus, quote])
@pytest.mark.parametrize("vector", "ABCDEF")
def test_each_event_may_be_a_form(vector: str, quote_via: Any) -> None:
    form, plain = form_of(VECTORS[vector], quote_via), json.dumps(VECTORS[vector]).encode()
    assert form != plain
    verify(form, SECRET)
    event, same = parse(form), parse(plain)
    assert event == same
    assert event.data == VECTORS[vector]
    assert event.dedupe_key == same.dedupe_key
    assert repr(event) == repr(same)


@pytest.mark.parametrize("name", ["data", "payload", "Detail", "%7B"])
@pytest.mark.parametrize("vector", "ABCDEF")
def test_the_only_parameter_may_be_the_whole_json(vector: str, name: str) -> None:
    plain = json.dumps(VECTORS[vector])
    form = f"{name}={quote_plus(plain)}".encode()
    verify(form, SECRET)
    assert parse(form) == parse(plain.encode())


def test_percent_encoded_json_is_not_read_as_a_form() -> None:
    """Even if it contains = and &."""
    fields = VECTORS["A"] | {"Message": "a=b&Nonce=1&a+b"}
    body = quote(json.dumps(fields), safe="=&").encode()
    verify(body, SECRET)
    assert parse(body).data == fields


def test_percent_encoding_is_decoded_once() -> None:
    """The URLs are themselves percent-encoded; a + in a form is a space."""
    event = parse(form_of(VECTORS["A"] | {"Message": "a b+c%20d&e=é"}))
    assert event.message == "a b+c%20d&e=é"
    assert event.evidence.urls[0] == VECTORS["A"]["Detail"]["AudioUrl"]
    assert "%2F" in event.evidence.urls[0]


@pytest.mark.parametrize("change", [{"Timestamp": 1795219201}, {"Nonce": "1"}, {"Signature": "0" * 40}])
def test_a_changed_form_is_refused_as_forged(change: dict[str, Any]) -> None:
    with pytest.raises(CallbackError) as caught:
        verify(form_of(VECTORS["A"] | change), SECRET)
    assert caught.value.reason == "forged"


@pytest.mark.parametrize("timestamp", ["01795219200", "1795219200"])
def test_a_number_is_verified_as_it_is_spelled(timestamp: str) -> None:
    signed = json.loads(sign(VECTORS["A"] | {"Timestamp": timestamp}, SECRET))
    verify(form_of(signed), SECRET)
    verify(json.dumps(signed).encode(), SECRET)


def test_fields_of_room_events_stay_texts() -> None:
    """Their names are in lower case, and they are texts in JSON too."""
    fields = {"event": "stream_create", "appid": "2468013579", "timestamp": "1795219200", "nonce": "12"}
    fields |= {"room_id": "r", "stream_id": "s", "user_id": "5"}
    fields["signature"] = json.loads(sign({"Timestamp": "1795219200", "Nonce": "12"}, SECRET))["Signature"]
    verify(form_of(fields), SECRET)
    event = parse(form_of(fields))
    assert type(event) is ZegoEvent
    assert event == parse(json.dumps(fields).encode())
    assert (event.stream_id, event.user_id, event.data) == ("s", "5", fields)


@pytest.mark.parametrize("empty", ["", "null", "{}", "[]"])
def test_empty_parts_are_read_as_empty_objects(empty: str) -> None:
    event = parse(form_of(VECTORS["A"] | {"Detail": empty, "AuxInfo": empty}))
    assert (event.verdict, event.room_id, event.task_id) == (None, None, VECTORS["A"]["TaskId"])


GENUINE = form_of(VECTORS["A"])


@pytest.mark.parametrize(
    "body",
    [
        GENUINE + b"&Nonce=1",
        GENUINE + b"&%4Eonce=1",
        GENUINE + b"&Nonce=" + VECTORS["A"]["Nonce"].encode(),
        GENUINE + b"&Detail=%7B%7D",
        GENUINE + b"&a=1&a=1",
        GENUINE + b"&a",
        GENUINE + b"&a=%ff",
        GENUINE + b"&%ff=a",
        GENUINE + b"".join(b"&a%d=" % number for number in range(100)),
        b"Timestamp",
        b"&&&",
        b"data=%7B%7D&data=%7B%7D",
        quote(GENUINE).encode(),
        GENUINE + b"&a=" + b"%41" * 50_000,
    ],
)
def test_an_ambiguous_form_is_refused(body: bytes) -> None:
    """If a name has two values, it is unknown which of them was signed."""
    for read in (parse, lambda body: verify(body, SECRET)):
        with pytest.raises(CallbackError, match=r"^the body must be") as caught:
            read(body)
        assert caught.value.reason == "unreadable"


def test_additional_separators_and_parameters_are_ignored() -> None:
    fields = len(VECTORS["A"])
    more = b"".join(b"&a%d=" % number for number in range(100 - fields))
    for body in (GENUINE + b"&", b"&" + GENUINE, GENUINE.replace(b"&", b"&&"), GENUINE + b"\r\n", GENUINE + more):
        verify(body, SECRET)
        assert parse(body).task_id == VECTORS["A"]["TaskId"]


async def test_an_event_is_handled_once_in_whatever_encoding_it_comes() -> None:
    handler, plain = Handler(), make_zego_callback()
    app = webhooks(handler)
    form = form_of(json.loads(plain))
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert await status(app, form, "/zego", headers=headers) == 200
    assert await status(app, plain, "/zego") == 200
    assert await status(app, f"data={quote(plain)}".encode(), "/zego", headers=headers) == 200
    assert len(handler.events) == 1
    assert handler.events[0] == parse(plain)
    verify(form, CALLBACK_SECRET)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[1]", [1]),
        ('{"a": "é"}', {"a": "é"}),
        ("no JSON", "no JSON"),
        ("{", "{"),
        ((MAX_VALUES + 1) * "[", (MAX_VALUES + 1) * "["),
        (MAX_VALUES * "[" + MAX_VALUES * "]", MAX_VALUES * "[" + MAX_VALUES * "]"),
    ],
)
def test_a_parameter_that_is_not_json_stays_a_text(text: str, value: object) -> None:
    assert json_or_text(text) == value
