"""The messages between processes that share a journal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.doubles import NOW
from tests.jobs.journals import LANE
from tests.strategies import texts
from volc_moderation.jobs import JobEvent, JobState
from volc_moderation.jobs.job_event import dump_event, load_event
from volc_moderation.jobs.journal.schema import DueJob
from volc_moderation.jobs.messages import (
    Ended,
    EventFields,
    Hello,
    MessageError,
    Notice,
    Request,
    Unwatch,
    Wake,
    WantEvents,
    Watch,
    decode_notice,
    decode_request,
    encode,
)
from volc_moderation.jobs.outcome import Outcome
from volc_moderation.volcengine import StopWebcast

EVENT = JobEvent(
    LANE,
    2,
    NOW,
    StopWebcast,
    DueJob(1, "k", '{"AppId":"a"}', 2, 0, None, 7),
    Outcome(JobState.PENDING, wait=1.0, code="InternalError", message="é", result='{"a":1}'),
)


@pytest.mark.parametrize("message", [Wake([1, 2]), Watch("k"), Unwatch("k"), WantEvents()])
def test_requests_are_decoded(message: Request) -> None:
    assert decode_request(encode(message)) == message


@pytest.mark.parametrize(
    "message", [Hello(1, 2.5, frozenset({("zego", "a"), ("volcengine", "b")})), Ended("k"), EventFields([1, "é"])]
)
def test_notices_are_decoded(message: Notice) -> None:
    line = encode(message)
    assert line.count(b"\n") == 1
    assert decode_notice(line) == message


def test_an_event_is_the_same_in_another_process() -> None:
    message = decode_notice(encode(EventFields(dump_event(EVENT))))
    assert isinstance(message, EventFields)
    event = load_event(message.fields, lambda _: StopWebcast)
    assert dump_event(event) == dump_event(EVENT)
    assert (event.state, event.parameters, event.message, event.line) == (JobState.PENDING, {"AppId": "a"}, "é", 7)


@pytest.mark.slow
@given(st.lists(st.none() | st.integers() | texts | st.lists(texts | st.integers(), max_size=12), max_size=6))
def test_no_other_event_is_read(fields: list[object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        load_event(fields, lambda _: StopWebcast)


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"\n", b'{"watch":"k"}', b"[]\n", b'{"watch":"k","wake":[]}\n', b'{"wake":[true]}\n', b'{"wake":1}\n'),
        *(b'{"other":1}\n', b'{"watch":null}\n', b"\xff\n", b"[" * 50_000 + b"\n", b'{"events":false}\n'),
        *(b'{"hello":[1,1.0]}\n', b'{"hello":[1,NaN,[]]}\n', b'{"hello":[1,1.0,[["a"]]]}\n', b'{"event":{}}\n'),
    ],
)
def test_anything_else_is_refused(line: bytes) -> None:
    for decode in (decode_request, decode_notice):
        with pytest.raises(MessageError):
            decode(line)
