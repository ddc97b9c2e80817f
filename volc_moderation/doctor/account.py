"""The checks of one account: its keys, the way to the vendor, the clock, signed calls, and whose the keys are."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from volc_moderation.base_url import BaseURL
from volc_moderation.doctor.accounts import READS, Account, Keys, Read
from volc_moderation.doctor.clock import judge_clock
from volc_moderation.doctor.finding import Finding, Subject
from volc_moderation.doctor.network import Endpoint, check_way
from volc_moderation.doctor.round_trips import judge_round_trips
from volc_moderation.doctor.signed_read import is_accepted, judge_identity, judge_signed_read
from volc_moderation.doctor.timed_check import run_check
from volc_moderation.errors import ConfigurationError, ModerationError
from volc_moderation.http_clients import AsyncHTTPClient, certificates, fastest_http_client, library_of
from volc_moderation.quotas.permit import Quotas
from volc_moderation.renewed_keys import NotConfiguredError
from volc_moderation.retry import RetryPolicy
from volc_moderation.volcengine.credentials import sts
from volc_moderation.volcengine.credentials.sending import STS

# Seconds. First the keys are looked for; then calls are signed, and the way is checked.
KEYS_TIMEOUT = 10.0
WAY_TIMEOUT = 8.0
CALLS_TIMEOUT = 12.0
#: For one signed call.
CALL_TIMEOUT = 5.0
#: Signed calls that are timed, after one that opens the connection: together few of the smallest quota, which is 10 a
#: second. None begins after so many seconds.
TIMED_CALLS = 5
MAX_TIMING_SECONDS = 5.0
#: Keys that expire earlier, and have not been renewed, will not be.
MIN_KEYS_SECONDS = 60.0


async def check_account(account: Account, quotas: Quotas, *, sts_endpoint: str | None) -> list[Finding]:
    """Check an account.

    :param quotas: the store that the signed calls take their permits from.
    :param sts_endpoint: the address of STS; None for the vendor's, which is not asked about the keys of an emulator.
    """
    subject = Subject(f"account:{account.name}")
    found, keys = await _check_keys(subject, account)
    if keys is None:
        return found
    try:
        url = BaseURL.parse(account.base_url)
        http_client = fastest_http_client(account.base_url)
    except ConfigurationError as error:
        step = "correct the address of the vendor, or the variables for proxies and certificates"
        return [*found, subject.failed("http_client", str(error), step)]
    endpoint = sts_endpoint or (None if url.is_loopback else sts.ENDPOINT)
    async with http_client:
        checks: tuple[tuple[str, float, Callable[[], Awaitable[Sequence[Finding]]], str], ...] = (
            (
                "tls",
                WAY_TIMEOUT,
                partial(_check_way, subject, url, http_client),
                "check the route, the firewall and the proxy of this machine",
            ),
            (
                "signed_read",
                CALLS_TIMEOUT,
                partial(_check_calls, subject, account, http_client, quotas),
                "look at the other checks of this account: the vendor does not answer",
            ),
            (
                "identity",
                CALLS_TIMEOUT,
                partial(_check_identity, subject, keys, endpoint),
                f"check the way to {endpoint}",
            ),
        )
        runs = [run_check(subject, check, seconds, work, next_step=step) for check, seconds, work, step in checks]
        return [*found, *(finding for findings in await asyncio.gather(*runs) for finding in findings)]


async def _check_keys(subject: Subject, account: Account) -> tuple[list[Finding], Keys | None]:
    """Look for the keys, and judge them."""
    keys: Keys | None = None

    async def find() -> list[Finding]:
        nonlocal keys
        try:
            keys = await account.find_keys()
        except NotConfiguredError as error:
            return [subject.skipped("keys", str(error), source=None)]
        except ModerationError as error:
            step = "set the keys, or repair the source that the message names"
            return [subject.failed("keys", str(error), step, source=None)]
        return [judge_keys(subject, keys, now=time.time())]

    step = "look at what the keys come from: it does not answer"
    return [*await run_check(subject, "keys", KEYS_TIMEOUT, find, next_step=step)], keys


def judge_keys(subject: Subject, keys: Keys, *, now: float) -> Finding:
    """Judge keys, at a Unix time."""
    seconds = None if keys.expires_at is None else round(keys.expires_at - now)
    facts = {"source": keys.source, "shown": keys.shown, "expires_in_seconds": seconds}
    detail = f"{keys.shown} from {keys.source}"
    if seconds is None:
        return subject.ok("keys", detail, **facts)
    detail += f", which expires in {seconds / 60:.0f} min" if seconds > 0 else ", which has expired"
    if seconds < MIN_KEYS_SECONDS:
        return subject.failed("keys", detail, "renew the keys: their source has none that last longer", **facts)
    return subject.ok("keys", detail, **facts)


async def _check_way(subject: Subject, url: BaseURL, http_client: AsyncHTTPClient) -> list[Finding]:
    """Check the way to the vendor, and the clock."""
    found, answer = await check_way(
        subject, Endpoint.parse(url.url), make_context=lambda: certificates(library_of(http_client))
    )
    if answer is not None:
        found.append(judge_clock(subject, [answer.clock] if answer.clock else [], whose="the vendor"))
    return found


async def _check_calls(
    subject: Subject, account: Account, http_client: AsyncHTTPClient, quotas: Quotas
) -> list[Finding]:
    """Make signed calls that change nothing, and judge the first that fails, or the last, and the round trips."""
    read = READS.get(account.vendor)
    if read is None:
        return [subject.skipped("signed_read", f"no harmless call of {account.vendor} is known")]
    try:
        error, round_trips = await _time_calls(account, read, http_client, quotas)
    except ConfigurationError as failure:
        return [subject.failed("signed_read", str(failure), "correct what the message names")]
    found = [judge_signed_read(subject, read.action.name, error, read.app_codes)]
    if is_accepted(error, read.app_codes) or round_trips:
        found.append(judge_round_trips(subject, round_trips))
    return found


async def _time_calls(
    account: Account, read: Read, http_client: AsyncHTTPClient, quotas: Quotas
) -> tuple[ModerationError | None, Sequence[float]]:
    """Make calls, one after the other. Return the error of the last one, and the round trips of all but the first."""
    clock = asyncio.get_running_loop().time
    began = sent = clock()
    round_trips: list[float] = []
    error: ModerationError | None = None

    def note_sent() -> None:
        nonlocal sent
        sent = clock()

    async with account.open_client(quotas, http_client) as client:
        for number in range(1 + TIMED_CALLS):
            error = None
            try:
                await client.call(read.action, deadline=CALL_TIMEOUT, retry=RetryPolicy(attempts=1), on_send=note_sent)
            except ModerationError as failure:
                error = failure
            if not is_accepted(error, read.app_codes):
                break
            if number:
                round_trips.append(clock() - sent)
            if clock() > began + MAX_TIMING_SECONDS:
                break
    return error, round_trips


async def _check_identity(subject: Subject, keys: Keys, endpoint: str | None) -> list[Finding]:
    """Ask STS whose the keys are."""
    if keys.credentials is None:
        return []
    if endpoint is None:
        return [subject.skipped("identity", "STS is not asked about the keys of an emulator")]
    try:
        client = STS(endpoint, retry=RetryPolicy(attempts=1), timeout=CALL_TIMEOUT)
        return [judge_identity(subject, await client.caller_identity(keys.credentials))]
    except ModerationError as error:
        return [judge_identity(subject, error)]
