"""Sends the requests for keys. Nothing stays open: keys are renewed about once an hour."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from volc_moderation.action import Action
from volc_moderation.base_url import BaseURL
from volc_moderation.credentials import VolcengineCredentials
from volc_moderation.error_codes import clock_skew
from volc_moderation.errors import AuthenticationError, ConfigurationError, ModerationError
from volc_moderation.http_clients import default_http_client, direct_http_client
from volc_moderation.retry import RetryPolicy, next_wait
from volc_moderation.transport import Transport
from volc_moderation.volcengine import protocol
from volc_moderation.volcengine.credentials import sts
from volc_moderation.volcengine.credentials.sts import (
    AssumeRole,
    AssumeRoleWithOIDC,
    CallerIdentity,
    GetCallerIdentity,
)
from volc_moderation.volcengine.signing import Signer
from volc_moderation.wire import Request

R = TypeVar("R")
T = TypeVar("T")

#: The time for one request to STS.
STS_TIMEOUT = 10.0  # seconds
STS_RETRY = RetryPolicy(attempts=3, base=0.5)
#: A longer wait, which a Retry-After header may ask for, is left to the next refresh.
MAX_WAIT = 10.0  # seconds


def parse_endpoint(endpoint: object) -> BaseURL:
    """Parse the address of a service; without a scheme it is that of https. Raises ``ConfigurationError``."""
    try:
        if isinstance(endpoint, str) and "://" not in endpoint:
            endpoint = f"https://{endpoint}"
        return BaseURL.parse(endpoint)
    except ConfigurationError as error:
        reason = error.message.replace("base_url", "endpoint", 1)
    raise ConfigurationError(reason)


@contextlib.asynccontextmanager
async def connected(endpoint: BaseURL, *, uses_proxies: bool = True) -> AsyncIterator[Transport]:
    """Return what sends the requests of one refresh."""
    create = default_http_client if uses_proxies else direct_http_client
    async with create(endpoint) as client:
        yield Transport(client, base_url=endpoint)


async def repeat(attempt: Callable[[], Awaitable[T]], policy: RetryPolicy) -> T:
    """Repeat an attempt after faults that may pass. Raises the error of the last attempt.

    What the service refuses is not repeated, except that a request is signed again once, with the time of the service.
    """
    number, signed_again = 1, False
    while True:
        try:
            return await attempt()
        except ModerationError as error:
            wait = next_wait(
                error,
                attempt=number,
                repeatable=True,
                signed_again=signed_again,
                policy=policy,
                draw=random.random(),  # noqa: S311 - jitter
            )
            if wait is None or wait > MAX_WAIT:
                raise
            signed_again = signed_again or isinstance(error, AuthenticationError)
        number += 1
        await asyncio.sleep(wait)


class STS:
    """Calls STS.

    :param endpoint: the address of STS.
    :param clock: returns the Unix time.
    :param retry: how often a call is attempted.
    :param timeout: seconds for one request, from connecting to the last byte.

    Each call raises the errors that calls of a client raise. Raises ``ConfigurationError`` for a wrong address.
    """

    def __init__(
        self,
        endpoint: str = sts.ENDPOINT,
        *,
        clock: Callable[[], float] = time.time,
        retry: RetryPolicy = STS_RETRY,
        timeout: float = STS_TIMEOUT,
    ) -> None:
        self._endpoint = parse_endpoint(endpoint)
        self._clock = clock
        self._retry = retry
        self._timeout = timeout

    async def assume_role(self, action: AssumeRole, source: VolcengineCredentials) -> VolcengineCredentials:
        """Return keys of a role, for keys that may assume it."""
        assumed, now = await self._call_signed(action, source)
        return assumed.to_credentials(action.role_trn, now=now)

    async def assume_role_with_oidc(self, action: AssumeRoleWithOIDC) -> VolcengineCredentials:
        """Return keys of a role, for a token."""
        url = self._endpoint
        request = sts.encode_unsigned(action, url=url.url, host=url.host)
        assumed, now = await self._call(action, lambda _: request)
        return assumed.to_credentials(action.role_trn, now=now)

    async def caller_identity(self, credentials: VolcengineCredentials) -> CallerIdentity:
        """Return who the credentials belong to."""
        identity, _ = await self._call_signed(GetCallerIdentity(), credentials)
        return identity

    async def _call_signed(self, action: Action[R], credentials: VolcengineCredentials) -> tuple[R, float]:
        url, signer = self._endpoint, Signer(credentials, region=sts.REGION, service=sts.SERVICE)
        return await self._call(
            action, lambda now: protocol.encode(action, url=url.url, host=url.host, signer=signer, now=now)
        )

    async def _call(self, action: Action[R], encode: Callable[[float], Request]) -> tuple[R, float]:
        """Return the result of a call, and when it was sent, on our clock."""
        skew = 0.0

        async def attempt() -> tuple[R, float]:
            nonlocal skew
            now = self._clock()
            request = encode(now + skew)
            response = await transport.send(request, timeout=self._timeout)
            skew = clock_skew(response, self._clock())
            return protocol.decode(action, request, response, repeated=False).result, now

        try:
            async with connected(self._endpoint) as transport:
                return await repeat(attempt, self._retry)
        except ModerationError as error:
            error.action = action.name
            raise
