"""Limits that a user sets: by action, and by the number of processes."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from attrs import frozen

from tests.quotas.vendor import KEY, KeyWindow, SimulatedVendor, call
from volc_moderation import ConfigurationError, NoQuotas, Quota, RedisQuotas, WindowQuotas
from volc_moderation.quotas import QuotaKey
from volc_moderation.volcengine import Acknowledgement, VolcengineAction

STORES = [WindowQuotas, lambda limits: RedisQuotas("redis://127.0.0.1:1", limits)]


@frozen(kw_only=True)
class MuteEverybody(VolcengineAction[Acknowledgement]):
    quota = Quota(60)
    result = Acknowledgement


@pytest.mark.parametrize("make", STORES)
@pytest.mark.parametrize(
    ("name", "action"),
    [
        ("StartWebcast", "StartWebcast"),
        ("start_webcast", "StartWebcast"),
        ("StopCensorAudioV2", "StopCensorAudioV2"),
        ("stop_censor_audio", "StopCensorAudioV2"),
        ("get_web_cast_task", "GetWebCastTask"),
        ("forbid_rtc_stream", "ForbidRTCStream"),
        ("MuteEverybody", "MuteEverybody"),
        ("mute_everybody", "MuteEverybody"),
    ],
)
def test_a_limit_is_set_by_the_name_of_an_action_or_its_method(make: Any, name: str, action: str) -> None:
    store = make({name: 30})
    assert store._configured_quota(QuotaKey("volcengine", "AK", action), Quota(150)) == Quota(30)
    assert store._configured_quota(QuotaKey("volcengine", "AK", "KickUser"), Quota(60)) == Quota(60)


@pytest.mark.parametrize("make", STORES)
@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"StartWebcst": 30}, "there is no action 'StartWebcst'; is it 'StartWebcast'"),
        ({"stopcensoraudio": 30}, "is it 'stop_censor_audio'"),
        ({"X": 30}, "there is no action 'X'; actions of your own must be defined first"),
        ({5: 30}, "there is no action 5"),
        ({"StartWebcast": 30, "start_webcast": 40}, "StartWebcast twice"),
        ({"StartWebcast": 0}, "limits.'StartWebcast'. must be an int of at least 1; got int 0"),
        ({"StartWebcast": True}, "at least 1"),
    ],
)
def test_wrong_limits_are_refused(make: Any, limits: dict[Any, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make(limits)


@pytest.mark.looptime
async def test_processes_divide_every_quota() -> None:
    """Four stores, as in four processes, together stay within the quota."""
    vendor = SimulatedVendor(0.02, 0.05)
    stores = [WindowQuotas({"StopWebcast": 43}, processes=4) for _ in range(4)]
    await asyncio.gather(*(call(KeyWindow(store, Quota(150)), vendor) for store in stores for _ in range(60)))
    assert 36 <= vendor.max_in_a_second <= 43
    assert {store.snapshot()[KEY].quota for store in stores} == {10}


async def test_a_quota_of_fewer_calls_than_processes_cannot_be_divided() -> None:
    quotas = WindowQuotas(processes=4)
    for quota in (Quota(1), Quota(3, window=10.0)):
        with pytest.raises(ConfigurationError, match="cannot be divided among 4 processes; share it with RedisQuotas"):
            await quotas.acquire(KEY, quota)
    await quotas.acquire(KEY, Quota(4))


@pytest.mark.parametrize("processes", [0, -1, True, 1.5, "4", None])
def test_a_wrong_number_of_processes_is_refused(processes: Any) -> None:
    with pytest.raises(ConfigurationError, match="processes must be an int of at least 1"):
        WindowQuotas(processes=processes)


class Client:
    """The part of a Redis client that creating ``RedisQuotas`` needs."""

    def register_script(self, _: str) -> Any:
        return None


@pytest.mark.parametrize("processes", [0, -1, True, 1.5, "4", None])
def test_a_wrong_number_of_processes_that_share_during_an_outage_is_refused(processes: Any) -> None:
    with pytest.raises(ConfigurationError, match="processes must be an int of at least 1"):
        RedisQuotas(Client(), outage="share", processes=processes)
    assert RedisQuotas(Client(), outage="share", processes=1)._processes == 1
    assert RedisQuotas(Client(), outage="share", processes=4)._processes == 4


def test_the_bounds_of_each_setting() -> None:
    for store in (WindowQuotas, lambda *args, **kwargs: RedisQuotas(Client(), *args, **kwargs)):
        store({"StopWebcast": 1}, bulk_share=0)
        shares: list[Any] = [-0.1, 1, True, "0.1"]
        for share in shares:
            with pytest.raises(ConfigurationError, match="bulk_share must be a number of at least 0, below 1"):
                store(bulk_share=share)


@pytest.mark.looptime
async def test_a_snapshot_does_not_count_permits_that_have_returned() -> None:
    store = WindowQuotas()
    permits = [await store.acquire(KEY, Quota(150)) for _ in range(3)]
    permits[0].answered(0.05)
    permits[1].abandoned(0.05)
    assert store.snapshot()[KEY].permits_out == 3
    await asyncio.sleep(20)
    assert store.snapshot()[KEY].permits_out == 1
    permits[2].abandoned(None)
    assert store.snapshot()[KEY].permits_out == 0


def test_the_repr_of_a_key_shows_little_of_the_account() -> None:
    assert "account='AKLT***'" in repr(QuotaKey("volcengine", "AKLTsecret", "StopWebcast"))


@pytest.mark.parametrize("create", [NoQuotas, WindowQuotas])
async def test_stores_that_share_nothing_are_used_like_those_that_do(
    create: Callable[[], NoQuotas | WindowQuotas],
) -> None:
    """So that a program can choose one without another change."""
    async with create() as quotas:
        (await quotas.acquire(KEY, Quota(1))).abandoned(None)
    await quotas.aclose()
