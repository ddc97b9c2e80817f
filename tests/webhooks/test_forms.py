"""ZEGO's callbacks as forms, which its support turns on: the same events as the JSON, from the same signature."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

import pytest

from tests.webhooks.test_app import Handler, made, status
from volc_moderation import CallbackError
from volc_moderation.callback_checks import MOST_VALUES, json_of
from volc_moderation.testing import CALLBACK_SECRET, make_zego_callback
from volc_moderation.zego.callbacks import ZegoEvent, parse, sign, verify

VECTORS = {
    one["id"]: one["body"]
    for one in json.loads((Path(__file__).parent.parent / "vectors" / "zego_callbacks.json").read_text())
}
SECRET = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"


def form_of(fields: dict[str, Any], how: Any = quote_plus) -> bytes:
    """Spell fields as a form: numbers in decimal, what is nested as JSON."""
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
    return urlencode(texts, quote_via=how).encode()


@pytest.mark.parametrize("how", [quote_plus, quote])
@pytest.mark.parametrize("vector", "ABCDEF")
def test_each_event_as_a_form(vector: str, how: Any) -> None:
    form, plain = form_of(VECTORS[vector], how), json.dumps(VECTORS[vector]).encode()
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


def test_json_that_is_percent_encoded_is_no_form() -> None:
    """Even if there is an = and an & in it."""
    fields = VECTORS["A"] | {"Message": "a=b&Nonce=1&a+b"}
    body = quote(json.dumps(fields), safe="=&").encode()
    verify(body, SECRET)
    assert parse(body).data == fields


def test_escapes_are_undone_once() -> None:
    """The addresses have escapes of their own; a + in a form is a blank."""
    event = parse(form_of(VECTORS["A"] | {"Message": "a b+c%20d&e=é"}))
    assert event.message == "a b+c%20d&e=é"
    assert event.evidence.urls[0] == VECTORS["A"]["Detail"]["AudioUrl"]
    assert "%2F" in event.evidence.urls[0]


@pytest.mark.parametrize("change", [{"Timestamp": 1795219201}, {"Nonce": "1"}, {"Signature": "0" * 40}])
def test_a_changed_form_is_forged(change: dict[str, Any]) -> None:
    with pytest.raises(CallbackError) as caught:
        verify(form_of(VECTORS["A"] | change), SECRET)
    assert caught.value.reason == "forged"


@pytest.mark.parametrize("timestamp", ["01795219200", "1795219200"])
def test_a_number_is_verified_as_it_is_written(timestamp: str) -> None:
    signed = json.loads(sign(VECTORS["A"] | {"Timestamp": timestamp}, SECRET))
    verify(form_of(signed), SECRET)
    verify(json.dumps(signed).encode(), SECRET)


def test_events_of_rooms_stay_texts() -> None:
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
def test_what_is_missing_is_empty(empty: str) -> None:
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
def test_a_form_that_leaves_a_doubt_is_refused(body: bytes) -> None:
    """Which of two values with one name was signed, nobody knows."""
    for read in (parse, lambda body: verify(body, SECRET)):
        with pytest.raises(CallbackError, match=r"^the body must be") as caught:
            read(body)
        assert caught.value.reason == "unreadable"


def test_what_means_nothing_does_no_harm() -> None:
    fields = len(VECTORS["A"])
    more = b"".join(b"&a%d=" % number for number in range(100 - fields))
    for body in (GENUINE + b"&", b"&" + GENUINE, GENUINE.replace(b"&", b"&&"), GENUINE + b"\r\n", GENUINE + more):
        verify(body, SECRET)
        assert parse(body).task_id == VECTORS["A"]["TaskId"]


async def test_a_form_is_handled_once_whatever_form_comes_next() -> None:
    handler, plain = Handler(), make_zego_callback()
    app = made(handler)
    form = form_of(json.loads(plain))
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert await status(app, form, "/zego", headers=headers) == 200
    assert await status(app, plain, "/zego") == 200
    assert await status(app, f"data={quote(plain)}".encode(), "/zego", headers=headers) == 200
    assert len(handler.events) == 1
    assert handler.events[0] == parse(plain)
    verify(form, CALLBACK_SECRET)


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("[1]", [1]),
        ('{"a": "é"}', {"a": "é"}),
        ("no JSON", "no JSON"),
        ("{", "{"),
        ((MOST_VALUES + 1) * "[", (MOST_VALUES + 1) * "["),
        (MOST_VALUES * "[" + MOST_VALUES * "]", MOST_VALUES * "[" + MOST_VALUES * "]"),
    ],
)
def test_what_is_no_json_stays_a_text(text: str, means: object) -> None:
    assert json_of(text) == means
