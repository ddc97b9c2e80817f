"""Clients whose keys are renewed: they sign with new keys at once, and quotas and jobs stay with the account."""

import asyncio
import contextlib
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.doubles import loop_clock, mocked, volcengine_error, volcengine_success
from volc_moderation import (
    AuthenticationError,
    ConfigurationError,
    DeadlineExceeded,
    ModerationError,
    RetryPolicy,
    TransportError,
    VolcengineClient,
    WindowQuotas,
)
from volc_moderation.credentials import VolcengineCredentials
from volc_moderation.jobs import Jobs, JobState
from volc_moderation.volcengine import StopWebcast

HOUR = 3600.0
STOP: dict[str, Any] = {"app_id": "a", "room_id": "r", "task_id": "t"}


class Role:
    """Issues temporary keys that name when they expire: ``AKTP<number>``."""

    def __init__(self, *, life: float = HOUR, delay: float = 0.0, account: str | None = "2100000001") -> None:
        self.life = life
        self.delay = delay
        self.account = account
        self.error: ModerationError | None = None
        self.issued: list[VolcengineCredentials] = []
        self.in_flight = self.most_in_flight = 0

    async def credentials(self) -> VolcengineCredentials:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.delay)
            if self.error is not None:
                raise self.error
            keys = VolcengineCredentials.make(
                f"AKTP{len(self.issued)}",
                "secret",
                "token",
                expires_at=loop_clock() + self.life,
                account=self.account,
            )
            self.issued.append(keys)
            return keys
        finally:
            self.in_flight -= 1


class Vendor:
    """Accepts all calls unless ``judge`` says otherwise, and records the access key and the time of each."""

    def __init__(self, judge: Callable[[str], httpx.Response | None] = lambda _: None) -> None:
        self.calls: list[tuple[str, float]] = []
        self._judge = judge

    def __call__(self, request: httpx.Request) -> httpx.Response:
        found = re.search(r"Credential=([^/]+)/", request.headers["Authorization"])
        assert found is not None
        self.calls.append((found[1], loop_clock()))
        return self._judge(found[1]) or volcengine_success("success")

    @property
    def keys(self) -> list[str]:
        return [key for key, _ in self.calls]


def client_of(vendor: Callable[[httpx.Request], httpx.Response], credentials: Any, **options: Any) -> VolcengineClient:
    return VolcengineClient(credentials=credentials, http_client=mocked(vendor), clock=loop_clock, **options)


@pytest.mark.looptime
@pytest.mark.parametrize("is_callable", [True, False])
async def test_requests_are_signed_with_new_keys_without_a_new_client(is_callable: bool) -> None:
    role, vendor = Role(), Vendor()
    async with client_of(vendor, role.credentials if is_callable else role) as client:
        await client.stop_webcast(**STOP)
        account = client.account
        await asyncio.sleep(HOUR)
        await client.with_options(deadline=3).stop_webcast(**STOP)
        assert client.account == account == "2100000001"
        assert len(client.quotas.snapshot()) == 1  # type: ignore[attr-defined] # the same quota
    assert vendor.keys == ["AKTP0", "AKTP1"]


@pytest.mark.looptime
async def test_a_refused_token_is_replaced_and_the_call_repeated_once() -> None:
    role = Role()
    vendor = Vendor(lambda key: volcengine_error("InvalidSecretToken", status=401) if key == "AKTP0" else None)
    async with client_of(vendor, role) as client:
        replies = await asyncio.gather(*(client.call(StopWebcast(**STOP)) for _ in range(20)))
    assert len(role.issued) == 2
    refused = vendor.keys.count("AKTP0")
    assert refused >= 1
    assert sorted(reply.attempts for reply in replies) == [1] * (20 - refused) + [2] * refused
    assert vendor.keys.count("AKTP1") == 20


@pytest.mark.looptime
async def test_if_new_keys_are_refused_too_the_call_fails() -> None:
    role, vendor = Role(), Vendor(lambda _: volcengine_error("InvalidSecretToken", status=401))
    async with client_of(vendor, role) as client:
        with pytest.raises(AuthenticationError, match="InvalidSecretToken") as caught:
            await client.stop_webcast(**STOP)
    assert caught.value.attempts == len(vendor.calls) == len(role.issued) == 2


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("code", "is_temporary", "requests"),
    [
        ("InvalidSecretToken", True, 2),
        ("InvalidAccessKey", True, 2),
        ("InvalidAccessKey", False, 1),
        ("SignatureDoesNotMatch", True, 1),
    ],
)
async def test_which_refusals_replace_keys(code: str, is_temporary: bool, requests: int) -> None:
    fetched = 0

    async def credentials() -> VolcengineCredentials:
        nonlocal fetched
        fetched += 1
        return VolcengineCredentials.make(f"AK{fetched}", "secret", "token" if is_temporary else None)

    vendor = Vendor(lambda key: volcengine_error(code, status=401) if key == "AK1" else None)
    async with client_of(vendor, credentials, account="acme", retry=RetryPolicy(attempts=1)) as client:
        with contextlib.suppress(AuthenticationError):
            await client.stop_webcast(**STOP)
    assert (len(vendor.calls), fetched) == (requests, requests)


@pytest.mark.looptime
async def test_fixed_keys_are_not_replaced() -> None:
    vendor = Vendor(lambda _: volcengine_error("InvalidSecretToken", status=401))
    options: dict[str, Any] = {"http_client": mocked(vendor), "clock": loop_clock}
    async with VolcengineClient(access_key="AK", secret_key="SK", session_token="ST", **options) as client:
        with pytest.raises(AuthenticationError):
            await client.stop_webcast(**STOP)
    assert len(vendor.calls) == 1


@pytest.mark.looptime
async def test_no_permit_is_held_while_a_call_waits_for_keys() -> None:
    role, quotas = Role(delay=10), WindowQuotas()
    async with client_of(Vendor(), role, quotas=quotas) as client:
        call = asyncio.create_task(client.stop_webcast(**STOP))
        await asyncio.sleep(5)
        assert not quotas.snapshot()
        await call


@pytest.mark.looptime
async def test_keys_that_expire_while_a_call_waits_for_its_permit_are_not_used() -> None:
    role, vendor = Role(life=10), Vendor()
    async with client_of(vendor, role, quotas=WindowQuotas({"StopWebcast": 1})) as client:
        await asyncio.gather(*(client.stop_webcast(**STOP) for _ in range(30)))
    assert_valid(role, vendor)
    assert len(vendor.calls) == 30


@pytest.mark.looptime
async def test_old_keys_serve_until_they_expire_while_no_new_ones_can_be_had() -> None:
    role, vendor = Role(), Vendor()
    async with client_of(vendor, role.credentials, deadline=30) as client:
        await client.stop_webcast(**STOP)
        role.error = TransportError("no route to the service", maybe_sent=False)
        for before_expiry in (200, 50, 30, 10):
            await asyncio.sleep(role.issued[0].expires_at - before_expiry - loop_clock())  # type: ignore[operator]
            await asyncio.gather(*(client.stop_webcast(**STOP) for _ in range(20)))
        await asyncio.sleep(10)
        with pytest.raises(AuthenticationError, match="no route to the service"):
            await client.stop_webcast(**STOP)
    assert vendor.keys == ["AKTP0"] * 81
    assert all(at < role.issued[0].expires_at for _, at in vendor.calls)  # type: ignore[operator]


@pytest.mark.looptime
async def test_a_call_waits_for_keys_no_longer_than_its_deadline() -> None:
    role, vendor = Role(delay=30), Vendor()
    async with client_of(vendor, role) as client:
        with pytest.raises(DeadlineExceeded) as caught:
            await client.with_options(deadline=2).stop_webcast(**STOP)
        assert asyncio.get_running_loop().time() == 2
        assert not caught.value.maybe_sent
        await client.stop_webcast(**STOP)  # the refresh went on
    assert asyncio.get_running_loop().time() < 31
    assert vendor.keys == ["AKTP0"]


@pytest.mark.looptime
async def test_a_client_that_closes_ends_calls_that_wait_for_keys() -> None:
    async with client_of(Vendor(), Role(delay=30)) as client:
        call = asyncio.create_task(client.stop_webcast(**STOP))
        await asyncio.sleep(1)
    with pytest.raises(ConfigurationError, match="the client is closed"):
        await call
    assert asyncio.get_running_loop().time() == 1


@pytest.mark.looptime
async def test_keys_of_another_account_are_refused() -> None:
    """Otherwise jobs and quotas would silently move to it."""
    role, vendor = Role(), Vendor()
    async with client_of(vendor, role) as client:
        await client.stop_webcast(**STOP)
        role.account = "2100000002"
        await asyncio.sleep(HOUR)
        with pytest.raises(AuthenticationError, match="belong to account 2100000002, the first ones to 2100000001"):
            await client.stop_webcast(**STOP)
    assert vendor.keys == ["AKTP0"]


@pytest.mark.looptime
async def test_what_the_account_is() -> None:
    async def long_term() -> VolcengineCredentials:
        return VolcengineCredentials.make("AK1", "secret")

    async with client_of(Vendor(), long_term) as client:
        with pytest.raises(ConfigurationError, match="not known before the keys"):
            _ = client.account
        assert await client.resolve_account() == client.account == "AK1"
    async with client_of(Vendor(), Role(account=None), account="acme") as client:
        assert await client.resolve_account() == "acme"
    async with client_of(Vendor(), Role(account=None)) as client:
        await client.stop_webcast(**STOP)  # a quota of this client's own
        assert client.account == "AKTP0"
        await asyncio.sleep(HOUR)
        await client.stop_webcast(**STOP)
        assert client.account == "AKTP0"
        with pytest.raises(ConfigurationError, match="account is needed: the keys are temporary"):
            await client.resolve_account()


async def test_jobs_need_an_account_that_outlives_the_keys(tmp_path: Path) -> None:
    """Otherwise nobody would make the calls that a process leaves behind."""
    async with client_of(Vendor(), Role(account=None)) as client:
        with pytest.raises(ConfigurationError, match="account is needed"):
            async with Jobs(tmp_path / "jobs.db", clients=[client]):
                pass


@pytest.mark.slow
async def test_jobs_that_were_stored_under_the_access_key_run_under_the_account(tmp_path: Path) -> None:
    """Naming the account, before keys are rotated, loses no job."""
    path = tmp_path / "jobs.db"
    keys = {"access_key": "AK1", "secret_key": "SK"}
    async with (
        VolcengineClient(http_client=mocked(Vendor()), **keys) as client,  # type: ignore[arg-type]
        Jobs(path, clients=[client], grace=0) as jobs,
    ):
        key = str(await jobs.submit(StopWebcast(**STOP), delay=0.5))
    vendor = Vendor()
    async with (
        VolcengineClient(http_client=mocked(vendor), account="acme", **keys) as client,  # type: ignore[arg-type]
        Jobs(path, clients=[client]) as jobs,
    ):
        assert (await jobs.wait(key)).state is JobState.DONE
        assert (await (await jobs.submit(StopWebcast(**STOP)))).state is JobState.DONE
        assert {key.account for key in client.quotas.snapshot()} == {"acme"}  # type: ignore[attr-defined]
    assert len(vendor.calls) == 2


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"credentials": "AK"}, "credentials must be a provider, or an async callable .* got str of length 2"),
        ({"credentials": Role(), "access_key": "AK"}, "give either credentials, or access_key and secret_key"),
        ({"credentials": Role(), "account": ""}, "account must be a str that is not empty"),
        ({}, "access_key must be a str"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        VolcengineClient(**options)


@pytest.mark.looptime
@pytest.mark.parametrize("returned", [None, "AK", ("AK", "SK")])
async def test_a_callable_must_return_credentials(returned: object) -> None:
    async def credentials() -> Any:
        return returned

    async with client_of(Vendor(), credentials) as client:
        with pytest.raises(AuthenticationError, match="credentials: it must return VolcengineCredentials"):
            await client.stop_webcast(**STOP)


def assert_valid(role: Role, vendor: Vendor) -> None:
    """Check that each request was signed with keys that had not expired when it arrived."""
    expiry = {keys.access_key: keys.expires_at for keys in role.issued}
    assert all(time < (expiry[key] or 0) for key, time in vendor.calls)


@pytest.mark.no_coverage
@pytest.mark.looptime
async def test_ten_thousand_calls_over_fifty_renewals_with_faults() -> None:
    """None fails, at most one refresh is in flight, and no request is signed with expired keys."""
    dice = random.Random(17)
    role = Role(life=600)
    vendor = Vendor()

    async def credentials() -> VolcengineCredentials:
        role.delay = dice.choice([0.05, 0.5, 5, 25])
        role.error = dice.choice([None, TransportError("unreachable", maybe_sent=True)]) if role.issued else None
        return await role.credentials()

    async with client_of(vendor, credentials) as client:
        for _ in range(500):
            await asyncio.gather(*(client.stop_webcast(**STOP) for _ in range(20)))
            await asyncio.sleep(dice.uniform(0, 90))
    assert len(vendor.calls) == 10_000
    assert len(role.issued) >= 50
    assert role.most_in_flight == 1
    assert_valid(role, vendor)
