"""The most expensive bodies of the greatest size. Anybody who sees one callback of ZEGO can sign such bodies.

None costs more time or memory than its size warrants, and none raises anything but CallbackError.
"""

import contextlib
import json
import re
import time
import tracemalloc
from collections.abc import Callable
from types import ModuleType
from typing import Any

import attrs
import pytest

from tests.webhooks.test_app import status, webhooks
from volc_moderation import CallbackError, Event
from volc_moderation.callback_checks import (
    MAX_FORM_PARAMETERS,
    MAX_VALUES,
    dedupe_key,
    json_or_text,
    load_json_or_form,
    load_model,
    load_object,
)
from volc_moderation.testing import CALLBACK_SECRET as SECRET
from volc_moderation.testing import make_volcengine_callback, make_zego_callback
from volc_moderation.volcengine import callbacks as volcengine
from volc_moderation.webhooks.dedupe import DedupeState
from volc_moderation.zego import callbacks as zego

pytestmark = pytest.mark.slow

#: Bytes of the hostile part: the most that ``Webhooks`` reads, less the rest of the callback.
SIZE = 1_048_576 - 700
#: Seconds on one core for one body. The most expensive body takes a tenth of it; the rest is for slow machines.
MAX_CPU_TIME = 0.4
MAX_MEMORY = 20_000_000  # bytes


def with_fields(body: bytes, fields: str) -> bytes:
    """Append fields to a JSON object."""
    return body[:-1] + b"," + fields.encode() + b"}"


def detail(content: str) -> bytes:
    return with_fields(make_zego_callback(), f'"Detail":{content}')


def review(content: str) -> bytes:
    return make_volcengine_callback(envelope={"EventData": content})


def filled(head: str, item: str, tail: str) -> str:
    """Fill the hostile part with items, separated by commas."""
    return head + ",".join([item] * (SIZE // (len(item) + 1) - len(head + tail))) + tail


ZEGO: dict[str, Callable[[], bytes]] = {
    "a long task id": lambda: make_zego_callback(TaskId="x" * (SIZE // 2), AuxInfo={}),
    "a long task id of special characters": lambda: make_zego_callback(TaskId="." * SIZE, ResultTaskId="r", AuxInfo={}),
    "a long task id in other letters": lambda: make_zego_callback(TaskId="\U0001f600" * (SIZE // 8), AuxInfo={}),
    "a long result id": lambda: make_zego_callback(TaskId="t", ResultTaskId="t" + "_1" * (SIZE // 2), AuxInfo={}),
    "a long result id of digits": lambda: make_zego_callback(TaskId="t", ResultTaskId="t_" + "1" * SIZE, AuxInfo={}),
    "a long event": lambda: make_zego_callback("e" * SIZE),
    "a long nonce": lambda: make_zego_callback("other", Nonce="n" * SIZE),
    "a long app id": lambda: make_zego_callback(AppId="1" * SIZE),
    "a long time": lambda: make_zego_callback(Timestamp="1" * SIZE),
    "a long time of a frame": lambda: make_zego_callback(AuxInfo={"ImgTime": "2" * SIZE}),
    "a long signature": lambda: with_fields(make_zego_callback(), '"Signature":"' + "0" * SIZE + '"'),
    "a list of numbers in place of risks": lambda: detail(filled('{"RiskInfoList":[', "1", "]}")),
    "a list of empty risks": lambda: detail(filled('{"RiskInfoList":[', "{}", "]}")),
    "a list of wrong risks": lambda: detail(filled('{"RiskInfoList":[', '{"RiskDetail":1}', "]}")),
    "a list of numbers in place of faces": lambda: detail(filled('{"RiskDetail":{"FaceInfoList":[', "1", "]}}")),
    "as many wrong values as are read": lambda: detail('{"RiskInfoList":[' + ",".join(["1"] * 9_990) + "]}"),
    "a location of texts": lambda: detail(filled('{"RiskDetail":{"FaceInfoList":[{"Location":[', '"a"', "]}]}}")),
    "many fields": lambda: with_fields(make_zego_callback(), ",".join(f'"k{n}":{n}' for n in range(SIZE // 16))),
    "a deep list": lambda: with_fields(make_zego_callback(), '"X":' + "[" * (SIZE // 2) + "]" * (SIZE // 2)),
    "many deep lists": lambda: with_fields(make_zego_callback(), filled('"X":[', "[" * 400 + "]" * 400, "]")),
    "many lists": lambda: with_fields(make_zego_callback(), filled('"X":[', "[]", "]")),
    "opening brackets": lambda: b"[" * SIZE,
    "long numbers": lambda: with_fields(make_zego_callback(), filled('"X":[', "9" * 4300, "]")),
    "a number that is too long": lambda: with_fields(make_zego_callback(), '"Timestamp":' + "9" * SIZE),
    "a number that is too large": lambda: with_fields(make_zego_callback(), '"Timestamp":1e' + "9" * SIZE),
    "a long fraction": lambda: with_fields(make_zego_callback(), '"Timestamp":1.' + "9" * SIZE),
    "numbers that are not finite": lambda: with_fields(make_zego_callback(), '"Timestamp":NaN,"AppId":Infinity'),
    "a time in the far future": lambda: make_zego_callback(AuxInfo={"ProcessBeginTime": 10**4000}),
    "text without a UTF-8 form": lambda: make_zego_callback(AuxInfo={"X": "x"}).replace(b'"x"', b'"\\ud800"'),
    "lone surrogates in ids": lambda: with_fields(make_zego_callback(), '"TaskId":"\\ud800","ResultTaskId":"\\udc00"'),
    "UTF-16": lambda: make_zego_callback(TaskId="t" * (SIZE // 2 - 400), ResultTaskId="r").decode().encode("utf-16"),
    "percent signs without digits": lambda: b"%" * SIZE,
    "percent-encoding": lambda: b"%41" * (SIZE // 3),
    "percent-encoding and letters": lambda: b"%7b%22%41" + b"%41a" * (SIZE // 4),
    "as much percent-encoding as is decoded": lambda: b"%7b%22=" + b"%41a" * 49_998,
    "encoded percent signs": lambda: b"%25" * (SIZE // 3),
    "separators": lambda: b"&" * SIZE,
    "many parameters": lambda: b"a=&" * (SIZE // 3),
    "one parameter of spaces": lambda: b"a=" + b"+" * SIZE,
    "one parameter of percent-encoding": lambda: b"a=" + b"%41a" * (SIZE // 4),
    "one parameter of opening brackets": lambda: b"a=" + b"%5B" * (SIZE // 3),
    "a form with a long list": lambda: form(filled("[", "1", "]")),
    "a form with many lists": lambda: form(filled("[", "[]", "]")),
    "a form with a long number": lambda: form("9" * SIZE),
}
VOLCENGINE: dict[str, Callable[[], bytes]] = {
    "a long event id": lambda: make_volcengine_callback(envelope={"EventId": "x" * SIZE}),
    "a long app id": lambda: make_volcengine_callback(envelope={"AppId": "x" * SIZE, "EventId": ""}),
    "a long time": lambda: make_volcengine_callback(envelope={"EventTime": "2" * SIZE}),
    "a list of numbers in place of pictures": lambda: review(filled('{"Images":[', "1", "]}")),
    "a list of numbers in place of risks": lambda: review(filled('{"RiskHit":[', "1", "]}")),
    "a list of empty risks": lambda: review(filled('{"RiskHit":[', "{}", "]}")),
    "as many wrong values as are read": lambda: review('{"RiskHit":[' + ",".join(["{}"] * 4_990) + "]}"),
    "many lists": lambda: review(filled('{"X":[', "[]", "]}")),
    "a deep list": lambda: review("[" * SIZE),
    "a number that is too long": lambda: review('{"MediaType":' + "9" * SIZE + "}"),
    "lone surrogates": lambda: review('{"RoomId":"\\ud800","Suggest":"\\ud800"}'),
}


def form(part: str) -> bytes:
    fields: dict[str, Any] = json.loads(make_zego_callback())
    texts = {name: value for name, value in fields.items() if not isinstance(value, dict)}
    return "&".join(f"{name}={value}" for name, value in texts.items()).encode() + b"&Detail=" + part.encode()


def hostile(vendor: ModuleType, cases: dict[str, Callable[[], bytes]]) -> list[Any]:
    assert cases
    return [pytest.param(vendor, make, id=f"{vendor.__name__.split('.')[1]}: {name}") for name, make in cases.items()]


CASES = [*hostile(zego, ZEGO), *hostile(volcengine, VOLCENGINE)]


def read(rules: Any, body: bytes) -> Event | None:
    """Verify and parse a body. Any exception other than CallbackError fails the test."""
    with contextlib.suppress(CallbackError):
        rules.verify(body, SECRET)
    try:
        return rules.parse(body)  # type: ignore[no-any-return]
    except CallbackError:
        return None


@pytest.mark.parametrize(("rules", "make"), CASES)
def test_a_hostile_body_takes_little_time(rules: Any, make: Callable[[], bytes]) -> None:
    body = make()
    for _ in range(3):  # on a busy machine, the same work may take twice as long
        began = time.process_time()
        event = read(rules, body)
        seconds = time.process_time() - began
        if seconds < MAX_CPU_TIME:
            break
    assert seconds < MAX_CPU_TIME
    assert len(body) <= 1_048_576
    assert event is None or len(event.dedupe_key) <= 60


@pytest.mark.no_coverage
@pytest.mark.parametrize(("rules", "make"), CASES)
def test_a_hostile_body_takes_little_memory(rules: Any, make: Callable[[], bytes]) -> None:
    body = make()
    tracemalloc.start()
    try:
        read(rules, body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MAX_MEMORY


class RecordingStore:
    """A user's own store, which records the keys that it gets."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    async def begin(self, key: str) -> DedupeState:
        self.keys.append(key)
        return "new"

    async def end(self, key: str, *, handled: bool) -> None:
        self.keys.append(key)


async def handle(_: Event) -> None:
    """Do nothing."""


@pytest.mark.parametrize(("rules", "make"), CASES)
async def test_a_hostile_body_is_answered_and_its_keys_are_short(rules: Any, make: Callable[[], bytes]) -> None:
    store, path = RecordingStore(), "/zego" if rules is zego else "/volcengine"
    answer = await status(webhooks(handle, dedupe=store), make(), path)
    assert answer in {200, 400, 401}
    keys = 1 if rules is zego else 2  # that of the event, and that of a signature that covers it
    assert len(store.keys) == (2 * keys if answer == 200 else 0)
    assert len(set(store.keys)) == (keys if answer == 200 else 0)
    assert {key for key in store.keys if re.fullmatch("[a-z]+:[0-9a-f]{40}", key)} == set(store.keys)


async def test_hostile_events_have_different_keys() -> None:
    """A signed hostile callback may be handled, but is not mistaken for another."""
    store = RecordingStore()
    bodies = [make() for name, make in ZEGO.items() if name.startswith("a long")]
    answers = [await status(webhooks(handle, dedupe=store), body, "/zego") for body in bodies]
    assert answers.count(200) > 5
    assert len(set(store.keys)) == answers.count(200)


@pytest.mark.parametrize(("more", "is_read"), [(0, True), (1, False)])
def test_the_limits_are_exact(more: int, is_read: bool) -> None:
    lists = "[" + ",".join(["[]"] * (MAX_VALUES - 1 + more)) + "]"
    assert (json_or_text(lists) == lists) is not is_read
    assert (load_object(f'{{"X":{lists.replace("[],", "", 1)}}}') is not None) is is_read
    assert (load_object(f'{{"X":{lists.replace("[],", "", 1)}}}'.encode()) is not None) is is_read
    form = "&".join(f"a{number}=1" for number in range(MAX_FORM_PARAMETERS + more)).encode()
    assert (load_json_or_form(form, {}) is not None) is is_read
    content = {"RiskInfoList": [[0] * (MAX_VALUES - 2 + more)]}
    with contextlib.ExitStack() as stack:
        if not is_read:
            stack.enter_context(pytest.raises(CallbackError, match="of at most 10000 values"))
        load_model(content, Anything, "data")


@attrs.frozen
class Anything:
    """Has no fields, so that all fields of the content are ignored."""


def test_the_key_of_an_event_is_the_same_in_every_version() -> None:
    """A store may hold keys from before an upgrade."""
    assert dedupe_key("zego", "a", "bc") == "zego:f77a2483d9d6b87292c965d953ab10d3961cf9b8"
    assert dedupe_key("zego", "ab", "c") != dedupe_key("zego", "a", "bc")
