"""The stored form of a result: a job has the result that its call had."""

import json
import types
from typing import Any, Union, get_args, get_origin

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies import characters, texts
from volc_moderation import DecodeError
from volc_moderation.action import Result
from volc_moderation.jobs.stored_result import dump_result, load_result
from volc_moderation.vendors import all_actions
from volc_moderation.volcengine import Acknowledgement, DetectionTask, DetectionTasks
from volc_moderation.wire import load_json
from volc_moderation.zego import CensorTask, Done, UserList

RESULT_TYPES = sorted({action.result for action in all_actions().values()}, key=lambda cls: cls.__name__)

scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts
json_values = scalars | st.lists(scalars, max_size=2) | st.dictionaries(texts, scalars, max_size=2)


def values(cls: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for values of the type of a field, or for models with all of their fields."""
    if attrs.has(cls):
        fields = {field.name: field.type for field in attrs.fields(attrs.resolve_types(cls))}
        ids = {"request_id", "log_id"}
        return st.builds(cls, **{name: values(of) for name, of in fields.items() if name not in ids})
    if get_origin(cls) is list:
        return st.lists(values(get_args(cls)[0]), max_size=2)
    if get_origin(cls) is tuple:
        return st.just(())
    if get_origin(cls) in (Union, types.UnionType):
        return st.one_of(*map(values, get_args(cls)))
    return {str: st.text(characters, min_size=1), object: json_values}.get(cls, st.from_type(cls))


def reload(result: Any) -> Any:
    text = dump_result(result)
    value = None if text is None else load_json(text)
    return load_result(value, type(result), message=None, request_id="r-1")


@pytest.mark.parametrize("result_type", RESULT_TYPES, ids=lambda cls: cls.__name__)
@settings(max_examples=15)
@given(data=st.data())
def test_each_result_comes_back_as_it_was(result_type: type[Any], data: st.DataObject) -> None:
    result = data.draw(values(result_type))
    if dump_result(result) is None and hasattr(result, "message"):  # the text of a mere success is not stored
        result = attrs.evolve(result, message="success")
    assert reload(result) == result


@attrs.frozen(kw_only=True)
class Found(Result):
    """The result of an action that a user has defined."""

    room_id: str


def test_a_result_gets_the_id_of_its_request() -> None:
    found = load_result({"RoomId": "r"}, Found, message=None, request_id="r-1")
    assert (found, found.request_id) == (Found(room_id="r"), "r-1")


def test_a_result_that_says_that_it_is_done_already_has_the_text_of_the_vendor() -> None:
    """As that of a call has, whose request was repeated."""
    assert load_result(None, Acknowledgement, message="is running", request_id=None).message == "is running"


@pytest.mark.parametrize("result", [Acknowledgement(message="ok"), Done(), UserList(user_list=[], marker="")])
def test_a_result_without_data_is_not_missing(result: Any) -> None:
    assert type(reload(result)) is type(result)


def test_items_that_were_unreadable_are_still_there() -> None:
    """Although they would be readable today, or none of their list is."""
    task = DetectionTask(room_id="r", user_id="u", status=1, create_time=1, media_type=1)
    for tasks in ([task], []):
        result = DetectionTasks(message="ok", event_data=tasks, unreadable=({"RoomId": 1}, None))
        assert reload(result) == result


@pytest.mark.parametrize("value", [{}, {"TaskId": 7}, {"TaskId": ""}, [], "t", 1.5, None])
def test_what_is_no_such_result_is_an_error(value: object) -> None:
    with pytest.raises(DecodeError):
        load_result(value, CensorTask, message=None, request_id=None)


@pytest.mark.parametrize(("result", "result_type"), [({}, object), ([], list[int]), ([1], list[int])])
def test_results_that_are_no_models_stay_what_they_are(result: object, result_type: Any) -> None:
    text = dump_result(result)
    assert text is not None
    value = json.loads(text)
    assert load_result(value, result_type, message=None, request_id=None) == result
