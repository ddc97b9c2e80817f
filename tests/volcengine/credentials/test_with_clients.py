"""Clients whose keys come from STS over sockets: one request for all calls, deadlines, cancelled calls, event loops."""

import asyncio
import time
from typing import Any

import httpx
import pytest

from tests.doubles import free_port, mocked, volcengine_error, volcengine_success
from tests.volcengine.credentials.double import (
    ACCESS_KEY,
    ACCOUNT,
    ECS_KEYS,
    ROLE_KEYS,
    ROLE_TRN,
    SECRET_KEY,
    Clock,
    MetadataDouble,
    Pair,
    STSDouble,
    refusal,
)
from volc_moderation import AuthenticationError, DeadlineExceeded, VolcengineClient
from volc_moderation.volcengine import (
    AssumeRoleCredentials,
    CredentialChain,
    ECSCredentials,
    EnvironmentCredentials,
    ListDetectionTask,
    StaticCredentials,
)

pytestmark = pytest.mark.slow  # hundreds of one kind

STOP: dict[str, Any] = {"app_id": "a", "room_id": "r", "task_id": "t"}


def role(url: str, clock: Clock) -> AssumeRoleCredentials:
    return AssumeRoleCredentials(ROLE_TRN, StaticCredentials(ACCESS_KEY, SECRET_KEY), endpoint=url, clock=clock)


class Vendor:
    """Accepts keys but for those of ``refused``, and records the access key of each call."""

    def __init__(self, *refused: str) -> None:
        self.keys: list[str] = []
        self._refused = refused

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.keys.append(request.headers["Authorization"].partition("Credential=")[2].partition("/")[0])
        if self.keys[-1] in self._refused:
            return volcengine_error("InvalidSecretToken", "invalid", 401)
        return volcengine_success("ok")


def client_of(vendor: Vendor, credentials: Any, clock: Clock, **options: Any) -> VolcengineClient:
    return VolcengineClient(credentials=credentials, http_client=mocked(vendor), clock=clock, **options)


@pytest.mark.slow
async def test_a_thousand_calls_are_one_request_to_sts(sts: STSDouble) -> None:
    vendor = Vendor()
    async with client_of(vendor, role(sts.url, sts.clock), sts.clock) as client:
        call = ListDetectionTask(app_id="a", room_id="r")
        keys = await asyncio.gather(*(client._signing_keys.get() for _ in range(1000)))
        await client.stop_webcast(**STOP)
        assert client.complete(call)
    assert len({id(signer.credentials) for signer in keys}) == 1
    assert len(sts.requests) == sts.most_in_flight == 1
    assert vendor.keys == [ROLE_KEYS[0]]


async def test_a_deadline_covers_the_wait_for_keys_and_the_refresh_goes_on_for_others(sts: STSDouble) -> None:
    released = asyncio.Event()
    sts.before = released.wait
    vendor = Vendor()
    async with client_of(vendor, role(sts.url, sts.clock), sts.clock) as client:
        patient = asyncio.create_task(client.stop_webcast(**STOP))
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded) as caught:
            await client.with_options(deadline=0.1).stop_webcast(**STOP)
        assert 0.1 <= time.monotonic() - began < 1
        assert not caught.value.maybe_sent
        released.set()
        await patient
    assert len(sts.requests) == 1
    assert vendor.keys == [ROLE_KEYS[0]]


async def test_a_deadline_covers_a_metadata_service_that_hangs(metadata: MetadataDouble) -> None:
    metadata.before = asyncio.Event().wait
    provider = CredentialChain(
        [EnvironmentCredentials(environ={}), ECSCredentials(environ={}, endpoint=metadata.url, clock=metadata.clock)]
    )
    async with client_of(Vendor(), provider, metadata.clock, deadline=0.1) as client:
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await client.stop_webcast(**STOP)
        assert time.monotonic() - began < 1
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        if "RenewedKeys" in repr(task):
            task.cancel()


async def test_a_call_that_is_cancelled_leaves_the_refresh_to_others(sts: STSDouble) -> None:
    released = asyncio.Event()
    sts.before = released.wait
    async with client_of(Vendor(), role(sts.url, sts.clock), sts.clock) as client:
        first, second = (asyncio.create_task(client.stop_webcast(**STOP)) for _ in range(2))
        while not sts.requests:
            await asyncio.sleep(0.001)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        released.set()
        await second
    assert len(sts.requests) == 1


async def test_an_expired_token_is_replaced_once(sts: STSDouble) -> None:
    """Example D: the call is repeated with new keys."""
    vendor = Vendor(ROLE_KEYS[0])
    async with client_of(vendor, role(sts.url, sts.clock), sts.clock) as client:
        await client.stop_webcast(**STOP)
        assert client.account == ACCOUNT
    assert vendor.keys == [ROLE_KEYS[0], f"{ROLE_KEYS[0]}1"]
    assert len(sts.requests) == 2


@pytest.mark.slow
def test_one_provider_serves_event_loops_that_follow_one_another() -> None:
    """Its keys are kept, and renewed in the next loop. A refresh that a loop has left behind does not count."""
    clock, port = Clock(), free_port()
    provider = role(f"http://127.0.0.1:{port}", clock)
    vendor = Vendor()

    async def stop(**options: Any) -> int:
        async with STSDouble(clock, port=port) as sts, client_of(vendor, provider, clock, **options) as client:
            await client.stop_webcast(**STOP)
            return len(sts.requests)

    async def give_up() -> None:
        async with STSDouble(clock, port=port) as sts:
            sts.before = asyncio.Event().wait
            call = asyncio.create_task(provider.credentials())
            while not sts.requests:
                await asyncio.sleep(0.001)
            call.cancel()

    asyncio.run(give_up())
    assert asyncio.run(stop()) == 1
    assert asyncio.run(stop()) == 0
    clock.now += 3600
    assert asyncio.run(stop()) == 1
    assert vendor.keys == [ROLE_KEYS[0]] * 3


async def test_a_service_that_is_restarted(sts: STSDouble) -> None:
    """Calls fail while it is gone, and work when it is back."""
    port, clock, vendor = free_port(), sts.clock, Vendor()
    provider = role(f"http://127.0.0.1:{port}", clock)
    async with client_of(vendor, provider, clock) as client:
        with pytest.raises(AuthenticationError, match="ConnectError"):
            await client.stop_webcast(**STOP)
        provider._keys._paused_until = 0.0  # the pause is over
        async with STSDouble(clock, port=port):
            await client.stop_webcast(**STOP)
    assert vendor.keys == [ROLE_KEYS[0]]


async def test_an_account_that_becomes_known_later_is_that_of_quotas_and_jobs(
    sts: STSDouble, metadata: MetadataDouble
) -> None:
    """While STS says nothing, the quota is that of this process."""
    provider = ECSCredentials(environ={}, endpoint=metadata.url, sts_endpoint=sts.url, clock=sts.clock)
    async with client_of(Vendor(), provider, sts.clock) as client:
        await client.stop_webcast(**STOP)
        assert client.account == ECS_KEYS[0]
        sts.pairs[ECS_KEYS[0]] = Pair(ECS_KEYS[1], ECS_KEYS[2])
        sts.clock.now += 6 * 3600
        await client.stop_webcast(**STOP)
        assert await client.resolve_account() == client.account == ACCOUNT


async def test_temporary_keys_that_do_not_tell_their_account_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Once: processes with other keys would not share its quotas."""
    async with client_of(Vendor(), StaticCredentials("AKTP", "SK", "STS"), Clock()) as client:
        for _ in range(2):
            await client.stop_webcast(**STOP)
    (record,) = caplog.records
    assert record.event == "account_unknown"  # type: ignore[attr-defined]
    assert "give account=" in record.getMessage()


@pytest.mark.parametrize(
    ("credentials", "account"),
    [
        (CredentialChain([StaticCredentials("AKLTlong", "SK")]), "AKLTlong"),
        (CredentialChain([StaticCredentials("AKTP", "SK", "STS", account=ACCOUNT)]), ACCOUNT),
        (
            CredentialChain(
                [EnvironmentCredentials(environ={"VOLCENGINE_ACCESS_KEY": "AKLT", "VOLCENGINE_SECRET_KEY": "SK"})]
            ),
            "AKLT",
        ),
    ],
)
async def test_the_account_of_a_chain(credentials: CredentialChain, account: str) -> None:
    """That of its keys; of a long-term pair, the access key, under which its jobs are stored already."""
    async with client_of(Vendor(), credentials, Clock()) as client:
        await client.stop_webcast(**STOP)
        assert client.account == account
        assert client.former_accounts == frozenset()


async def test_the_account_of_a_role_behind_a_chain(sts: STSDouble) -> None:
    async with client_of(Vendor(), CredentialChain([role(sts.url, sts.clock)]), sts.clock) as client:
        assert await client.resolve_account() == ACCOUNT


async def test_a_refresh_that_fails_in_the_background_is_no_error_of_a_call(
    sts: STSDouble, caplog: pytest.LogCaptureFixture
) -> None:
    vendor, provider = Vendor(), role(sts.url, sts.clock)
    async with client_of(vendor, provider, sts.clock) as client:
        await client.stop_webcast(**STOP)
        sts.script = [refusal("AccessDenied", 403, 100013)]
        sts.clock.now += 3400
        await client.stop_webcast(**STOP)
        while not caplog.records:
            await asyncio.sleep(0.001)
    assert vendor.keys == [ROLE_KEYS[0]] * 2
    assert [record.event for record in caplog.records] == ["keys_not_renewed"]  # type: ignore[attr-defined]
