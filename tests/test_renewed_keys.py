"""Keys that are renewed before they expire: when, how often, and what happens if that fails. In virtual time."""

import asyncio
import contextvars
import logging
import pickle
from collections.abc import Callable
from itertools import pairwise

import attrs
import pytest

from tests.doubles import loop_clock
from volc_moderation import (
    APIError,
    AuthenticationError,
    ConfigurationError,
    ServerError,
    ThrottledError,
    TransportError,
)
from volc_moderation.renewed_keys import (
    NO_CREDENTIALS,
    RECHECK_INTERVAL,
    REFRESH_TIMEOUT,
    NoKeysError,
    NotConfiguredError,
    RenewedKeys,
)

pytestmark = pytest.mark.looptime

HOUR = 3600.0


@attrs.frozen
class Keys:
    number: int
    expires_at: float | None


def refusal() -> APIError:
    return APIError("the role may not be assumed", code="AccessDenied")


class Service:
    """Issues keys."""

    def __init__(
        self,
        *,
        life: float | None = HOUR,
        delay: float = 0.0,
        attempts: int = 1,
        clock: Callable[[], float] = loop_clock,
    ) -> None:
        self.life = life
        self.delay = delay
        self.error: Exception | None = None
        #: When a refresh began, on the loop's clock.
        self.began: list[float] = []
        self.in_flight = self.most_in_flight = 0
        self.keys = RenewedKeys(
            self.fetch, expires_at=lambda keys: keys.expires_at, name="the role", clock=clock, attempts=attempts
        )
        self._clock = clock

    async def fetch(self) -> Keys:
        self.began.append(asyncio.get_running_loop().time())
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.delay)
            if self.error is not None:
                raise self.error
            return Keys(len(self.began), None if self.life is None else self._clock() + self.life)
        finally:
            self.in_flight -= 1

    async def number(self) -> int:
        return (await self.keys.get()).number


async def test_one_refresh_serves_all_who_wait() -> None:
    service = Service(delay=1)
    assert await asyncio.gather(*(service.number() for _ in range(1000))) == [1] * 1000
    assert len(service.began) == 1


async def test_keys_are_renewed_in_the_background_300_seconds_before_they_expire() -> None:
    service = Service(delay=5)
    await service.number()
    expires_at = 5 + HOUR
    while len(service.began) == 1:
        await asyncio.sleep(1)
        assert service.keys.current() == Keys(1, loop_clock() - asyncio.get_running_loop().time() + expires_at)
    assert expires_at - 300 <= service.began[1] <= expires_at - 240 + 1  # spread over a minute
    await asyncio.sleep(6)
    assert service.keys.current() is not None
    assert await service.number() == 2


async def test_processes_do_not_renew_at_the_same_time() -> None:
    ages = set()
    for _ in range(10):
        service = Service()
        await service.number()
        ages.add(service.keys._renew_age)
    assert len(ages) == 10


async def test_calls_wait_for_new_keys_in_the_last_minute() -> None:
    service = Service(delay=10)
    await service.number()
    await asyncio.sleep(HOUR - 59)
    assert service.keys.current() is None
    assert await service.number() == 2


@pytest.mark.parametrize("life", [900.0, 120.0, 10.0])
async def test_short_lived_keys_are_renewed_at_half_of_their_life(life: float) -> None:
    service = Service(life=life)
    await service.number()
    await asyncio.sleep(life - min(300, life / 2) * 0.79)
    assert service.keys.current().number == 1  # type: ignore[union-attr]
    await asyncio.sleep(0.1)
    assert await service.number() == 2


async def test_a_failed_refresh_is_logged_while_the_keys_are_valid(caplog: pytest.LogCaptureFixture) -> None:
    """They are used until they expire; refreshes are repeated with pauses of up to 20 s, and logged once a minute."""
    service = Service(delay=1)
    await service.number()
    service.error = ConfigurationError("the role is gone")
    await asyncio.sleep(HOUR - 310)
    expires_at = loop_clock() + 310 - 1
    while service._clock() < expires_at - 3:
        assert await service.number() == 1
        await asyncio.sleep(0.5)
    pauses = [later - earlier for earlier, later in pairwise(service.began[1:])]
    assert 12 <= len(pauses) <= 40
    assert max(pauses) <= 20 + 1 + 0.5
    assert caplog.records[0].getMessage() == ("the role: not renewed, the keys in use remain valid: the role is gone")
    assert 4 <= len(caplog.records) <= 6
    assert {(record.event, record.provider) for record in caplog.records} == {("keys_not_renewed", "the role")}  # type: ignore[attr-defined]
    lifetimes = [record.lifetime for record in caplog.records]  # type: ignore[attr-defined]
    assert lifetimes == sorted(lifetimes, reverse=True)
    assert 240 <= lifetimes[0] <= 300
    caplog.clear()
    await asyncio.sleep(expires_at - service._clock() + 20)
    with pytest.raises(AuthenticationError):
        await service.number()
    (record,) = caplog.records
    assert (record.event, record.levelname) == ("keys_unavailable", "ERROR")  # type: ignore[attr-defined]
    assert record.getMessage() == "no valid keys: the role: the role is gone"


async def test_without_valid_keys_a_call_fails_and_says_why() -> None:
    """Each caller gets an error of its own, because each adds to it what is known of its call."""
    service = Service(delay=1)
    service.error = ConfigurationError("no role is bound")
    errors = await asyncio.gather(service.number(), service.number(), return_exceptions=True)
    for error in errors:
        assert isinstance(error, AuthenticationError)
        assert error.code == NO_CREDENTIALS
        assert error.message == "no valid keys: the role: no role is bound"
        assert not error.maybe_sent
    assert errors[0] is not errors[1]
    assert len(service.began) == 1


async def test_a_source_that_is_not_configured_says_so_and_is_no_log_record(caplog: pytest.LogCaptureFixture) -> None:
    """A chain passes it over."""
    service = Service()
    service.error = NotConfiguredError("no variable is set")
    with pytest.raises(NoKeysError) as caught:
        await service.number()
    assert (caught.value.is_unconfigured, caught.value.source) == (True, "the role")
    assert pickle.loads(pickle.dumps(caught.value)).reason == caught.value.reason == "no variable is set"  # noqa: S301
    assert not caplog.records


async def test_an_error_of_a_source_of_the_source_is_told_once() -> None:
    service = Service()
    service.error = NoKeysError("the user", "half a pair", is_unconfigured=True)
    with pytest.raises(NoKeysError) as caught:
        await service.number()
    assert caught.value.message == "no valid keys: the role: the user: half a pair"
    assert not caught.value.is_unconfigured  # the role itself is


async def test_calls_fail_at_once_while_a_refresh_pauses_and_recover_after_it() -> None:
    service = Service(delay=1)
    service.error = ConfigurationError("no")
    loop = asyncio.get_running_loop()
    for _ in range(200):
        with pytest.raises(AuthenticationError):
            await service.number()
        await asyncio.sleep(0.1)
    assert len(service.began) <= 8  # with pauses of 1, 2, 4, … s
    service.error = None
    began = loop.time()
    while True:
        try:
            assert await service.number() == len(service.began)
        except AuthenticationError:
            await asyncio.sleep(0.5)
        else:
            break
    assert loop.time() - began <= 22


async def test_a_fault_that_may_pass_is_repeated_before_calls_fail() -> None:
    service = Service(attempts=3)
    for fault, attempts in (
        (OSError(), 3),
        (TransportError("unreachable", maybe_sent=True), 3),
        (ThrottledError("too many", code="RequestLimitExceeded"), 3),
        (ServerError("a fault", code="InternalError"), 3),
        (refusal(), 1),
        (ConfigurationError("no role"), 1),
    ):
        service.error, before = fault, len(service.began)
        with pytest.raises(AuthenticationError):
            await service.number()
        assert len(service.began) - before == attempts
        await asyncio.sleep(30)
    service.error = OSError()
    call = asyncio.create_task(service.number())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    service.error = None
    assert await call == len(service.began)


async def test_a_source_that_repeats_its_requests_itself_is_asked_once() -> None:
    """Otherwise three attempts of three requests would be nine."""
    service = Service()
    service.error = TransportError("unreachable", maybe_sent=True)
    with pytest.raises(AuthenticationError, match="unreachable"):
        await service.number()
    assert len(service.began) == 1


async def test_the_text_of_a_foreign_exception_is_not_shown() -> None:
    service = Service()
    service.error = ValueError("secret")
    with pytest.raises(AuthenticationError, match=r"the role: ValueError$"):
        await service.number()


async def test_a_refresh_that_hangs_ends() -> None:
    service = Service(delay=10 * REFRESH_TIMEOUT)
    with pytest.raises(AuthenticationError, match="no keys within 60 s"):
        await service.number()
    assert asyncio.get_running_loop().time() == REFRESH_TIMEOUT


async def test_keys_that_have_expired_are_not_accepted() -> None:
    service = Service(life=-1)
    with pytest.raises(AuthenticationError, match="the keys have expired already"):
        await service.number()


async def test_a_service_that_renews_late_is_not_asked_all_the_time() -> None:
    keys = Keys(1, loop_clock() + 100)
    service = Service()

    async def fetch() -> Keys:
        service.began.append(asyncio.get_running_loop().time())
        return keys

    service.keys = RenewedKeys(fetch, expires_at=lambda keys: keys.expires_at, name="late", clock=loop_clock)
    while loop_clock() < keys.expires_at - 3:  # type: ignore[operator]
        assert await service.keys.get() == keys
        await asyncio.sleep(0.1)
    assert len(service.began) < 25


async def test_a_caller_that_gives_up_does_not_end_the_refresh() -> None:
    service = Service(delay=10)
    first, second = asyncio.create_task(service.number()), asyncio.create_task(service.number())
    await asyncio.sleep(1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await second == 1
    assert service.most_in_flight == len(service.began) == 1


async def test_a_refresh_that_is_cancelled_from_outside_is_repeated_but_not_forever() -> None:
    service = Service(delay=10)
    call = asyncio.create_task(service.number())
    for cancelled in range(3):
        await asyncio.sleep(1)
        assert len(service.began) == cancelled + 1
        for task in asyncio.all_tasks() - {call, asyncio.current_task()}:
            task.cancel()
    with pytest.raises(AuthenticationError, match="was cancelled"):
        await call
    assert await service.number() == 4


async def test_keys_without_an_expiry_are_fetched_again_after_a_minute() -> None:
    service = Service(life=None)
    for _ in range(12):
        await service.number()
        await asyncio.sleep(10)
    assert len(service.began) == 2
    service.error = ConfigurationError("unavailable")
    await asyncio.sleep(100 * RECHECK_INTERVAL)
    assert await service.number() == 2  # those at hand have not expired


@pytest.mark.parametrize("life", [None, HOUR])
async def test_after_a_success_the_pauses_are_short_again(life: float | None) -> None:
    service = Service(life=life)
    age = (RECHECK_INTERVAL if life is None else life - 240) + 1
    pauses = []
    for _ in range(2):
        old = await service.number()
        service.error = ConfigurationError("unavailable")
        await asyncio.sleep(age)
        before = len(service.began)
        while len(service.began) < before + 6:
            await service.number()
            await asyncio.sleep(0.25)
        pauses.append([later - earlier for earlier, later in pairwise(service.began[before:])])
        service.error = None
        while await service.number() == old:
            await asyncio.sleep(0.25)
    for first, *others in pauses:
        assert first <= 1.25
        assert others[-1] >= 7


async def test_refused_keys_are_replaced_once_for_all_calls() -> None:
    service = Service(delay=1)
    refused = await service.keys.get()
    assert all(service.keys.replace(refused) for _ in range(10))
    assert await asyncio.gather(*(service.number() for _ in range(10))) == [2] * 10
    assert service.keys.replace(refused)  # a late refusal of the first keys
    assert await service.number() == 2


async def test_keys_that_are_refused_again_and_again_are_replaced_every_ten_seconds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Then the keys are not what is wrong, which is logged once in a minute."""
    service = Service()
    for _ in range(500):
        service.keys.replace(await service.keys.get())
        await asyncio.sleep(0.1)
    assert 5 <= len(service.began) <= 7
    assert [(record.event, record.provider) for record in caplog.records] == [("keys_refused", "the role")]  # type: ignore[attr-defined]


async def test_refused_keys_are_not_used_again_even_if_there_are_no_others() -> None:
    service = Service()
    assert service.keys.replace(await service.keys.get())
    service.error = ConfigurationError("no others")
    with pytest.raises(AuthenticationError, match="no others"):
        await service.number()


@pytest.mark.parametrize("step", [-2 * HOUR, 2 * HOUR])
async def test_a_step_of_the_clock_leaves_no_expired_keys_in_use(step: float) -> None:
    """Whether the wall clock steps back, or the loop's clock stood still in a suspend: that which says more counts."""
    offset = 0.0
    service = Service(clock=lambda: loop_clock() + offset)
    await service.number()
    if step > 0:
        offset = step
    else:
        await asyncio.sleep(-step)
        offset = step
    assert service.keys.current() is None
    assert await service.number() == 2


async def test_a_refresh_has_nothing_of_the_call_that_started_it() -> None:
    request_id = contextvars.ContextVar("request_id", default="none")
    seen = []

    async def fetch() -> Keys:
        seen.append(request_id.get())
        return Keys(1, None)

    keys = RenewedKeys(fetch, expires_at=lambda keys: keys.expires_at, name="the role", clock=loop_clock)
    request_id.set("of a call")
    await keys.get()
    assert seen == ["none"]


async def test_what_was_renewed_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "volc_moderation")
    service = Service()
    await service.number()
    await asyncio.sleep(HOUR)
    await service.number()
    (record,) = caplog.records
    assert record.getMessage() == "the role: renewed, for 3600 s"
    assert (record.event, record.provider, record.lifetime) == ("keys_renewed", "the role", 3600)  # type: ignore[attr-defined]


def test_event_loops_that_follow_one_another_share_keys_but_no_refresh() -> None:
    """A refresh of a loop that has ended would never end."""
    service = Service(clock=lambda: 0.0, delay=0.01)

    async def give_up() -> None:
        asyncio.create_task(service.number())  # noqa: RUF006 - the end of the loop cancels it
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(give_up())
    assert asyncio.run(service.number()) == 2
    assert asyncio.run(service.number()) == 2
