"""The largest bodies that are read, each as bad as it can be: whoever sees one callback of ZEGO can sign such.

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

from tests.webhooks.test_app import made, status
from volc_moderation import CallbackError, Event
from volc_moderation.callback_checks import (
    MOST_PARAMETERS,
    MOST_VALUES,
    dedupe_key,
    json_of,
    load_encoded,
    load_object,
    model_of,
)
from volc_moderation.testing import CALLBACK_SECRET as SECRET
from volc_moderation.testing import make_volcengine_callback, make_zego_callback
from volc_moderation.volcengine import callbacks as volcengine
from volc_moderation.webhooks.dedupe import State
from volc_moderation.zego import callbacks as zego

#: What ``Webhooks`` reads at most, less what is around the hostile part.
MOST = 1_048_576 - 700
#: Of one core, for one body. The worst of these takes a tenth of it, a machine may be slow.
CPU_SECONDS = 0.4
PEAK_BYTES = 20_000_000


def ended(body: bytes, more: str) -> bytes:
    """Write more fields into a JSON object."""
    return body[:-1] + b"," + more.encode() + b"}"


def detail(content: str) -> bytes:
    return ended(make_zego_callback(), f'"Detail":{content}')


def review(content: str) -> bytes:
    return make_volcengine_callback(envelope={"EventData": content})


def filled(head: str, item: str, tail: str) -> str:
    """Fill what is left with items, separated by commas."""
    return head + ",".join([item] * (MOST // (len(item) + 1) - len(head + tail))) + tail


ZEGO: dict[str, Callable[[], bytes]] = {
    "a long task id": lambda: make_zego_callback(TaskId="x" * (MOST // 2), AuxInfo={}),
    "a long task id of special characters": lambda: make_zego_callback(TaskId="." * MOST, ResultTaskId="r", AuxInfo={}),
    "a long task id in other letters": lambda: make_zego_callback(TaskId="\U0001f600" * (MOST // 8), AuxInfo={}),
    "a long result id": lambda: make_zego_callback(TaskId="t", ResultTaskId="t" + "_1" * (MOST // 2), AuxInfo={}),
    "a long result id of digits": lambda: make_zego_callback(TaskId="t", ResultTaskId="t_" + "1" * MOST, AuxInfo={}),
    "a long event": lambda: make_zego_callback("e" * MOST),
    "a long nonce": lambda: make_zego_callback("other", Nonce="n" * MOST),
    "a long app id": lambda: make_zego_callback(AppId="1" * MOST),
    "a long time": lambda: make_zego_callback(Timestamp="1" * MOST),
    "a long time of a frame": lambda: make_zego_callback(AuxInfo={"ImgTime": "2" * MOST}),
    "a long signature": lambda: ended(make_zego_callback(), '"Signature":"' + "0" * MOST + '"'),
    "a list of risks that are none": lambda: detail(filled('{"RiskInfoList":[', "1", "]}")),
    "a list of empty risks": lambda: detail(filled('{"RiskInfoList":[', "{}", "]}")),
    "a list of wrong risks": lambda: detail(filled('{"RiskInfoList":[', '{"RiskDetail":1}', "]}")),
    "a list of faces that are none": lambda: detail(filled('{"RiskDetail":{"FaceInfoList":[', "1", "]}}")),
    "as many wrong values as there may be": lambda: detail('{"RiskInfoList":[' + ",".join(["1"] * 9_990) + "]}"),
    "a place that is none": lambda: detail(filled('{"RiskDetail":{"FaceInfoList":[{"Location":[', '"a"', "]}]}}")),
    "many fields": lambda: ended(make_zego_callback(), ",".join(f'"k{n}":{n}' for n in range(MOST // 16))),
    "a deep list": lambda: ended(make_zego_callback(), '"X":' + "[" * (MOST // 2) + "]" * (MOST // 2)),
    "many deep lists": lambda: ended(make_zego_callback(), filled('"X":[', "[" * 400 + "]" * 400, "]")),
    "many lists": lambda: ended(make_zego_callback(), filled('"X":[', "[]", "]")),
    "openings only": lambda: b"[" * MOST,
    "long numbers": lambda: ended(make_zego_callback(), filled('"X":[', "9" * 4300, "]")),
    "a number that is too long": lambda: ended(make_zego_callback(), '"Timestamp":' + "9" * MOST),
    "a number that is too large": lambda: ended(make_zego_callback(), '"Timestamp":1e' + "9" * MOST),
    "a long fraction": lambda: ended(make_zego_callback(), '"Timestamp":1.' + "9" * MOST),
    "numbers that are none": lambda: ended(make_zego_callback(), '"Timestamp":NaN,"AppId":Infinity'),
    "a time in the far future": lambda: make_zego_callback(AuxInfo={"ProcessBeginTime": 10**4000}),
    "text without a UTF-8 form": lambda: make_zego_callback(AuxInfo={"X": "x"}).replace(b'"x"', b'"\\ud800"'),
    "half characters in ids": lambda: ended(make_zego_callback(), '"TaskId":"\\ud800","ResultTaskId":"\\udc00"'),
    "UTF-16": lambda: make_zego_callback(TaskId="t" * (MOST // 2 - 400), ResultTaskId="r").decode().encode("utf-16"),
    "percent signs": lambda: b"%" * MOST,
    "escapes": lambda: b"%41" * (MOST // 3),
    "escapes and letters": lambda: b"%7b%22%41" + b"%41a" * (MOST // 4),
    "as many escapes as there may be": lambda: b"%7b%22=" + b"%41a" * 49_998,
    "escaped escapes": lambda: b"%25" * (MOST // 3),
    "no more than separators": lambda: b"&" * MOST,
    "many parameters": lambda: b"a=&" * (MOST // 3),
    "one parameter of blanks": lambda: b"a=" + b"+" * MOST,
    "one parameter of escapes": lambda: b"a=" + b"%41a" * (MOST // 4),
    "one parameter of openings": lambda: b"a=" + b"%5B" * (MOST // 3),
    "a form with a long list": lambda: form(filled("[", "1", "]")),
    "a form with many lists": lambda: form(filled("[", "[]", "]")),
    "a form with a long number": lambda: form("9" * MOST),
}
VOLCENGINE: dict[str, Callable[[], bytes]] = {
    "a long event id": lambda: make_volcengine_callback(envelope={"EventId": "x" * MOST}),
    "a long app id": lambda: make_volcengine_callback(envelope={"AppId": "x" * MOST, "EventId": ""}),
    "a long time": lambda: make_volcengine_callback(envelope={"EventTime": "2" * MOST}),
    "a list of pictures that are none": lambda: review(filled('{"Images":[', "1", "]}")),
    "a list of risks that are none": lambda: review(filled('{"RiskHit":[', "1", "]}")),
    "a list of empty risks": lambda: review(filled('{"RiskHit":[', "{}", "]}")),
    "as many wrong values as there may be": lambda: review('{"RiskHit":[' + ",".join(["{}"] * 4_990) + "]}"),
    "many lists": lambda: review(filled('{"X":[', "[]", "]}")),
    "a deep list": lambda: review("[" * MOST),
    "a number that is too long": lambda: review('{"MediaType":' + "9" * MOST + "}"),
    "half characters": lambda: review('{"RoomId":"\\ud800","Suggest":"\\ud800"}'),
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
    """Verify and parse; whatever is raised but CallbackError gets out."""
    with contextlib.suppress(CallbackError):
        rules.verify(body, SECRET)
    try:
        return rules.parse(body)  # type: ignore[no-any-return]
    except CallbackError:
        return None


@pytest.mark.parametrize(("rules", "make"), CASES)
def test_it_takes_little_time(rules: Any, make: Callable[[], bytes]) -> None:
    body = make()
    for _ in range(3):  # on a busy machine, the same work may take twice as long
        began = time.process_time()
        event = read(rules, body)
        seconds = time.process_time() - began
        if seconds < CPU_SECONDS:
            break
    assert seconds < CPU_SECONDS
    assert len(body) <= 1_048_576
    assert event is None or len(event.dedupe_key) <= 60


@pytest.mark.parametrize(("rules", "make"), CASES)
def test_it_takes_little_memory(rules: Any, make: Callable[[], bytes]) -> None:
    body = make()
    tracemalloc.start()
    try:
        read(rules, body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < PEAK_BYTES


class Keys:
    """A memory of the user's own, which keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def begin(self, key: str) -> State:
        self.asked.append(key)
        return "new"

    async def end(self, key: str, *, handled: bool) -> None:
        self.asked.append(key)


async def handle(_: Event) -> None:
    """Do nothing."""


@pytest.mark.parametrize(("rules", "make"), CASES)
async def test_it_is_answered_and_a_memory_is_asked_for_a_short_key(rules: Any, make: Callable[[], bytes]) -> None:
    keys, path = Keys(), "/zego" if rules is zego else "/volcengine"
    answer = await status(made(handle, dedupe=keys), make(), path)
    assert answer in {200, 400, 401}
    marks = 1 if rules is zego else 2  # of the event, and of a signature that covers it
    assert len(keys.asked) == (2 * marks if answer == 200 else 0)
    assert len(set(keys.asked)) == (marks if answer == 200 else 0)
    assert {key for key in keys.asked if re.fullmatch("[a-z]+:[0-9a-f]{40}", key)} == set(keys.asked)


async def test_many_are_told_apart() -> None:
    """What is hostile and signed may be taken, but not for another."""
    keys = Keys()
    taken = [make() for name, make in ZEGO.items() if name.startswith("a long")]
    answers = [await status(made(handle, dedupe=keys), body, "/zego") for body in taken]
    assert answers.count(200) > 5
    assert len(set(keys.asked)) == answers.count(200)


@pytest.mark.parametrize(("more", "is_read"), [(0, True), (1, False)])
def test_limits_are_kept_exactly(more: int, is_read: bool) -> None:
    lists = "[" + ",".join(["[]"] * (MOST_VALUES - 1 + more)) + "]"
    assert (json_of(lists) == lists) is not is_read
    assert (load_object(f'{{"X":{lists.replace("[],", "", 1)}}}') is not None) is is_read
    assert (load_object(f'{{"X":{lists.replace("[],", "", 1)}}}'.encode()) is not None) is is_read
    form = "&".join(f"a{number}=1" for number in range(MOST_PARAMETERS + more)).encode()
    assert (load_encoded(form, {}) is not None) is is_read
    content = {"RiskInfoList": [[0] * (MOST_VALUES - 2 + more)]}
    with contextlib.ExitStack() as stack:
        if not is_read:
            stack.enter_context(pytest.raises(CallbackError, match="of at most 10000 values"))
        model_of(content, Anything, "data")


@attrs.frozen
class Anything:
    """Has no fields, so that whatever there is is passed over."""


def test_the_key_of_an_event_is_the_same_in_every_version() -> None:
    """For those that a memory has from before an upgrade."""
    assert dedupe_key("zego", "a", "bc") == "zego:f77a2483d9d6b87292c965d953ab10d3961cf9b8"
    assert dedupe_key("zego", "ab", "c") != dedupe_key("zego", "a", "bc")
