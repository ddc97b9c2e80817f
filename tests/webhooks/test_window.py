"""How old a callback may be, by default and by choice, and that it is remembered as long as it may come again."""

from typing import Any

import pytest

from tests.webhooks.test_app import Handler, made, status
from volc_moderation import ConfigurationError
from volc_moderation.testing import CALLBACK_SECRET as SECRET
from volc_moderation.testing import make_volcengine_callback, make_zego_callback
from volc_moderation.webhooks import UNVERIFIED, MemoryDedupeStore, RedisDedupeStore, Webhooks

#: 2026-11-20T08:30:00Z, when the callbacks here were made.
MADE_AT = 1_795_163_400
ZEGO = make_zego_callback(Timestamp=MADE_AT)
VOLCENGINE = make_volcengine_callback(envelope={"EventTime": "2026-11-20T08:30:00Z"})


async def at(age: float, body: bytes, path: str, **options: Any) -> int:
    """Answer a callback that is ``age`` seconds old; below 0 it is ahead."""
    return await status(made(Handler(), clock=lambda: MADE_AT + age, **options), body, path)


@pytest.mark.parametrize(
    ("age", "answer"), [(-301, 401), (-300, 200), (0, 200), (62, 200), (300, 200), (301, 401), (10**9, 401)]
)
async def test_zego_delivers_within_five_minutes(age: int, answer: int) -> None:
    """It tries again for 62 s; anybody who saw a callback could send others for ever."""
    assert await at(age, ZEGO, "/zego") == answer
    assert await at(age, ZEGO, "/zego", within="default") == answer


async def test_volcengine_delivers_whenever_it_likes() -> None:
    for age in (-1e9, 0, 1e9):
        assert await at(age, VOLCENGINE, "/volcengine") == 200


@pytest.mark.parametrize(("body", "path"), [(ZEGO, "/zego"), (VOLCENGINE, "/volcengine")])
async def test_a_window_of_ones_own_is_for_both(body: bytes, path: str) -> None:
    assert await at(60, body, path, within=60) == 200
    assert await at(61, body, path, within=60) == 401
    assert await at(-61, body, path, within=60) == 401
    assert await at(1e9, body, path, within=None) == 200
    assert await at(-1e9, body, path, within=None) == 200


async def test_what_is_not_verified_has_no_age() -> None:
    assert await at(1e9, ZEGO, "/zego", zego=UNVERIFIED) == 200


class Client:
    """As much of a Redis as it takes to make a ``RedisDedupeStore``."""

    async def eval(self, *_: object) -> object:
        return b"new"


@pytest.mark.parametrize("options", [{}, {"within": 300}, {"volcengine": None}])
def test_a_memory_that_is_too_short_is_refused(options: Any) -> None:
    """What is taken 300 s ahead of its time may come again until 300 s after it."""
    for short in (MemoryDedupeStore(seconds=599.9), RedisDedupeStore(Client(), seconds=599)):
        with pytest.raises(ConfigurationError, match="must remember for 600 s"):
            made(Handler(), dedupe=short, **options)
    for enough in (MemoryDedupeStore(seconds=600), RedisDedupeStore(Client(), seconds=600)):
        made(Handler(), dedupe=enough, **options)


@pytest.mark.parametrize(("timeout", "least"), [(4.0, 6), (4.5, 6), (30.0, 32)])
def test_a_memory_of_what_is_being_handled_lasts_until_that_has_ended(timeout: float, least: int) -> None:
    """Else the next delivery is handled beside it."""
    with pytest.raises(ConfigurationError, match=f"running_seconds of dedupe must be more than timeout .* {timeout:g} s"):
        made(Handler(), dedupe=RedisDedupeStore(Client(), running_seconds=least - 1), timeout=timeout)
    made(Handler(), dedupe=RedisDedupeStore(Client(), running_seconds=least), timeout=timeout)
    made(Handler(), dedupe=MemoryDedupeStore(), timeout=3000)


@pytest.mark.parametrize("options", [{"within": None}, {"zego": None}, {"zego": UNVERIFIED}])
def test_without_a_window_any_memory_will_do(options: Any) -> None:
    assert made(Handler(), dedupe=MemoryDedupeStore(seconds=1), **options).routes


@pytest.mark.parametrize(("within", "seconds"), [("default", 3600), (None, 3600), (1800, 3600), (7200, 14_400)])
def test_the_memory_that_is_not_given_lasts_as_long_as_it_must(within: Any, seconds: float) -> None:
    seen = Webhooks(Handler(), zego=SECRET, within=within)._dedupe
    assert isinstance(seen, MemoryDedupeStore)
    assert seen.seconds == seconds


async def test_a_replay_in_the_window_is_known() -> None:
    """From as far ahead as it may be to as far back."""
    now = MADE_AT - 300.0
    handler = Handler()
    seen = MemoryDedupeStore(seconds=600, clock=lambda: now)
    app = made(handler, dedupe=seen, clock=lambda: now)
    assert await status(app, ZEGO, "/zego") == 200
    now = MADE_AT + 299.9
    assert await status(app, ZEGO, "/zego") == 200
    assert len(handler.events) == 1
    now = MADE_AT + 300.1
    assert await status(app, ZEGO, "/zego") == 401
