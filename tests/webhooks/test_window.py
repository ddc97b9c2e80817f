"""How old a callback may be, and that a dedupe store must remember it for as long as it may come again."""

from typing import Any

import pytest

from tests.webhooks.test_app import Handler, status, webhooks
from volc_moderation import ConfigurationError
from volc_moderation.testing import CALLBACK_SECRET as SECRET
from volc_moderation.testing import make_volcengine_callback, make_zego_callback
from volc_moderation.webhooks import UNVERIFIED, MemoryDedupeStore, RedisDedupeStore, Webhooks

#: 2026-11-20T08:30:00Z, the time of the callbacks in this file.
MADE_AT = 1_795_163_400
ZEGO = make_zego_callback(Timestamp=MADE_AT)
VOLCENGINE = make_volcengine_callback(envelope={"EventTime": "2026-11-20T08:30:00Z"})


async def status_at(age: float, body: bytes, path: str, **options: Any) -> int:
    """Return the answer to a callback that is ``age`` seconds old; its time is in the future if that is below 0."""
    return await status(webhooks(Handler(), clock=lambda: MADE_AT + age, **options), body, path)


@pytest.mark.parametrize(
    ("age", "answer"), [(-301, 401), (-300, 200), (0, 200), (62, 200), (300, 200), (301, 401), (10**9, 401)]
)
async def test_callbacks_of_zego_may_be_five_minutes_old(age: int, answer: int) -> None:
    """ZEGO retries for 62 s. Without a limit, anybody who saw a callback could send others indefinitely."""
    assert await status_at(age, ZEGO, "/zego") == answer
    assert await status_at(age, ZEGO, "/zego", within="default") == answer


async def test_callbacks_of_volcengine_may_have_any_age() -> None:
    for age in (-1e9, 0, 1e9):
        assert await status_at(age, VOLCENGINE, "/volcengine") == 200


@pytest.mark.parametrize(("body", "path"), [(ZEGO, "/zego"), (VOLCENGINE, "/volcengine")])
async def test_a_chosen_age_holds_for_both_vendors(body: bytes, path: str) -> None:
    assert await status_at(60, body, path, within=60) == 200
    assert await status_at(61, body, path, within=60) == 401
    assert await status_at(-61, body, path, within=60) == 401
    assert await status_at(1e9, body, path, within=None) == 200
    assert await status_at(-1e9, body, path, within=None) == 200


async def test_the_age_of_unverified_callbacks_is_not_checked() -> None:
    assert await status_at(1e9, ZEGO, "/zego", zego=UNVERIFIED) == 200


class Client:
    """The least that ``RedisDedupeStore`` accepts as a client."""

    async def eval(self, *_: object) -> object:
        return b"new"


@pytest.mark.parametrize("options", [{}, {"within": 300}, {"volcengine": None}])
def test_a_store_that_forgets_too_early_is_refused(options: Any) -> None:
    """A callback that is accepted 300 s before its time may come again until 300 s after it."""
    for too_short in (MemoryDedupeStore(seconds=599.9), RedisDedupeStore(Client(), seconds=599)):
        with pytest.raises(ConfigurationError, match="must remember for 600 s"):
            webhooks(Handler(), dedupe=too_short, **options)
    for long_enough in (MemoryDedupeStore(seconds=600), RedisDedupeStore(Client(), seconds=600)):
        webhooks(Handler(), dedupe=long_enough, **options)


@pytest.mark.parametrize(("timeout", "min_seconds"), [(4.0, 6), (4.5, 6), (30.0, 32)])
def test_a_running_event_must_be_remembered_for_longer_than_the_timeout(timeout: float, min_seconds: int) -> None:
    """Otherwise the next delivery is handled while the first one still is."""
    message = f"running_seconds of dedupe must be more than timeout .* {timeout:g} s"
    with pytest.raises(ConfigurationError, match=message):
        webhooks(Handler(), dedupe=RedisDedupeStore(Client(), running_seconds=min_seconds - 1), timeout=timeout)
    webhooks(Handler(), dedupe=RedisDedupeStore(Client(), running_seconds=min_seconds), timeout=timeout)
    webhooks(Handler(), dedupe=MemoryDedupeStore(), timeout=3000)


@pytest.mark.parametrize("options", [{"within": None}, {"zego": None}, {"zego": UNVERIFIED}])
def test_without_an_age_limit_any_store_is_accepted(options: Any) -> None:
    assert webhooks(Handler(), dedupe=MemoryDedupeStore(seconds=1), **options).routes


@pytest.mark.parametrize(("within", "seconds"), [("default", 3600), (None, 3600), (1800, 3600), (7200, 14_400)])
def test_the_default_store_remembers_for_long_enough(within: Any, seconds: float) -> None:
    store = Webhooks(Handler(), zego=SECRET, within=within)._dedupe
    assert isinstance(store, MemoryDedupeStore)
    assert store.seconds == seconds


async def test_a_replay_is_a_repeat_for_as_long_as_its_age_is_accepted() -> None:
    """From 300 s before the time of the callback to 300 s after it."""
    now = MADE_AT - 300.0
    handler = Handler()
    store = MemoryDedupeStore(seconds=600, clock=lambda: now)
    app = webhooks(handler, dedupe=store, clock=lambda: now)
    assert await status(app, ZEGO, "/zego") == 200
    now = MADE_AT + 299.9
    assert await status(app, ZEGO, "/zego") == 200
    assert len(handler.events) == 1
    now = MADE_AT + 300.1
    assert await status(app, ZEGO, "/zego") == 401
