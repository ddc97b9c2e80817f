"""The store of quotas: whether a permit can be had from it, and who shares it."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

from volc_moderation.action import Quota
from volc_moderation.doctor.finding import Finding, Subject
from volc_moderation.doctor.round_trips import milliseconds
from volc_moderation.errors import ModerationError
from volc_moderation.quotas import FileQuotas, RedisQuotas, WindowQuotas
from volc_moderation.quotas.environment import QUOTAS_VARIABLE
from volc_moderation.quotas.permit import QuotaKey, Quotas

#: A store that has just been created grants nothing for 1.5 s.
PERMIT_TIMEOUT = 5.0  # seconds
#: A quota that no vendor has.
_KEY, _QUOTA = QuotaKey(vendor="doctor", account="doctor", action="doctor"), Quota(10)


async def check_store(subject: Subject, quotas: Quotas) -> Finding:
    """Take a permit from a store, and return it unused."""
    detail = _describe(quotas)
    clock = asyncio.get_running_loop().time
    began = clock()
    try:
        async with asyncio.timeout(PERMIT_TIMEOUT):
            permit = await quotas.acquire(_KEY, _QUOTA)
    except TimeoutError:
        step = "look for a process that is suspended while it uses the store, and at the load of the Redis"
        return subject.failed("store", f"{detail}: no permit within {PERMIT_TIMEOUT:g} s", step)
    except ModerationError as error:
        return judge_failure(subject, error)
    permit.abandoned(None)
    seconds = round(clock() - began, 6)
    return subject.ok("store", f"{detail}; a permit takes {milliseconds(seconds)}", permit_seconds=seconds)


def judge_failure(subject: Subject, error: ModerationError) -> Finding:
    """Judge a store that cannot be opened or grants nothing."""
    return subject.failed("store", str(error), f"repair the store, or name another one in {QUOTAS_VARIABLE}")


def _describe(quotas: Quotas) -> str:
    if isinstance(quotas, RedisQuotas):
        return "a Redis, shared by all machines"
    if isinstance(quotas, FileQuotas):
        others = (
            "" if os.environ.get(QUOTAS_VARIABLE) else f"; set {QUOTAS_VARIABLE}=file to share it with your programs"
        )
        return f"{quotas.path}, shared by the commands on this machine{others}"
    if isinstance(quotas, WindowQuotas):
        return "each process has its own: two of them would send twice the quota"
    return type(quotas).__name__


@contextlib.asynccontextmanager
async def usable_store(
    subject: Subject, open_quotas: Callable[[], AbstractAsyncContextManager[Quotas]]
) -> AsyncIterator[tuple[Quotas, Finding]]:
    """Open the store, and check it. If it cannot be used, the few calls of the checks have permits of their own."""
    async with contextlib.AsyncExitStack() as stack:
        try:
            quotas = await stack.enter_async_context(open_quotas())
        except ModerationError as error:
            finding = judge_failure(subject, error)
        else:
            finding = await check_store(subject, quotas)
            if not finding.next_step:
                yield quotas, finding
                return
        yield WindowQuotas(), finding
