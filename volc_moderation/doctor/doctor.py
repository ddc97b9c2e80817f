"""All checks, at the same time."""

import asyncio
import os
import ssl
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import attrs

from volc_moderation.doctor.account import check_account
from volc_moderation.doctor.accounts import Account
from volc_moderation.doctor.finding import Finding, Status, Subject
from volc_moderation.doctor.installation import find_http_client, installed_versions, judge_extras, judge_versions
from volc_moderation.doctor.journal import check_journal
from volc_moderation.doctor.quota_store import usable_store
from volc_moderation.doctor.redis import Purpose, check_redis
from volc_moderation.doctor.timed_check import DaemonThreads, run_check
from volc_moderation.doctor.webhook import check_webhook
from volc_moderation.errors import ConfigurationError
from volc_moderation.http_clients import certificates, fastest_http_client, library_of
from volc_moderation.quotas.environment import QUOTAS_VARIABLE, REDIS_SCHEMES
from volc_moderation.quotas.permit import Quotas

#: For all checks together; what is not done by then has failed.
TOTAL_TIMEOUT = 30.0  # seconds
#: Accounts that are checked at the same time.
MAX_ACCOUNTS_AT_ONCE = 16
#: For the checks of a Redis, of the journal and of the webhook.
CHECK_TIMEOUT = 10.0  # seconds


@attrs.frozen(kw_only=True)
class Plan:
    """What is checked.

    :param accounts: returns the accounts. Raises ``ConfigurationError`` if the accounts file cannot be used.
    :param open_quotas: opens the store of quotas of the calls.
    :param redis: the address of the Redis of the commands; None if there is none.
    :param journal: the journal; None if there is none.
    :param webhook: the address of the callbacks; None if there is none.
    :param sts_endpoint: the address of STS; None for the vendor's, which is not asked about the keys of an emulator.
    """

    accounts: Callable[[], Sequence[Account]]
    open_quotas: Callable[[], AbstractAsyncContextManager[Quotas]]
    redis: str | None = attrs.field(default=None, repr=False)
    journal: Path | None = None
    webhook: str | None = attrs.field(default=None, repr=False)
    sts_endpoint: str | None = None


async def examine(plan: Plan) -> list[Finding]:
    """Carry out all checks at the same time, and return what they have found."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(DaemonThreads())
    deadline = loop.time() + TOTAL_TIMEOUT
    package, quotas = Subject("package"), Subject("quotas")
    listed, unlisted = _list_accounts(plan)
    tasks = {name: asyncio.create_task(work) for name, work in _checks_without_store(plan, quotas).items()}
    try:
        async with usable_store(quotas, plan.open_quotas) as (store, stored):
            slots = asyncio.Semaphore(MAX_ACCOUNTS_AT_ONCE)
            accounts = {
                f"account:{account.name}": asyncio.create_task(_check_account(account, store, plan.sts_endpoint, slots))
                for account in listed
            }
            tasks = accounts | tasks
            if tasks:
                await asyncio.wait(tasks.values(), timeout=max(0.0, deadline - loop.time()))
            found = [finding for name in accounts for finding in _findings_of(name, tasks.pop(name))]
    finally:
        for task in tasks.values():
            task.cancel()
    rest = [finding for name, task in tasks.items() for finding in _findings_of(name, task)]
    return [*await _check_package(package), *found, *_judge_accounts(found), *unlisted, stored, *rest]


def _checks_without_store(plan: Plan, quotas: Subject) -> dict[str, Coroutine[Any, Any, Sequence[Finding]]]:
    """Return the checks that no signed call is part of, by subject, in the order in which they are shown."""
    checks: dict[str, Coroutine[Any, Any, Sequence[Finding]]] = {}
    address = os.environ.get(QUOTAS_VARIABLE, "")
    if address.startswith(REDIS_SCHEMES) and address != plan.redis:
        checks["quotas"] = _check_redis(quotas, address, "quotas")
    if plan.redis is not None:
        checks["redis"] = _check_redis(Subject("redis"), plan.redis, "jobs")
    if plan.journal is not None:
        subject, step = Subject("journal"), "look at the disk: it does not answer"
        checks["journal"] = run_check(
            subject, "file", CHECK_TIMEOUT, partial(check_journal, subject, plan.journal), next_step=step
        )
    if plan.webhook is not None:
        subject, step = Subject("webhook"), "look at the way to the webhook"
        work = partial(check_webhook, subject, plan.webhook, _certificates)
        checks["webhook"] = run_check(subject, "response", CHECK_TIMEOUT, work, next_step=step)
    return checks


def _check_redis(subject: Subject, address: str, purpose: Purpose) -> Coroutine[Any, Any, Sequence[Finding]]:
    step = "look at the Redis and the firewall between here and there: it does not answer"
    return run_check(
        subject, "connection", CHECK_TIMEOUT, partial(check_redis, subject, address, purpose), next_step=step
    )


def _list_accounts(plan: Plan) -> tuple[Sequence[Account], list[Finding]]:
    try:
        return plan.accounts(), []
    except ConfigurationError as error:
        return [], [Subject("accounts").failed("file", str(error), "correct the accounts file")]


async def _check_account(
    account: Account, store: Quotas, sts_endpoint: str | None, slots: asyncio.Semaphore
) -> Sequence[Finding]:
    work = partial(check_account, account, store, sts_endpoint=sts_endpoint)
    async with slots:
        return await run_check(
            Subject(f"account:{account.name}"), "account", TOTAL_TIMEOUT, work, next_step="look at the network"
        )


async def _check_package(subject: Subject) -> list[Finding]:
    versions = installed_versions()
    return [judge_versions(subject, versions), judge_extras(subject, versions), await find_http_client(subject)]


def _certificates() -> ssl.SSLContext:
    """Return the certificates that the clients trust."""
    return certificates(library_of(fastest_http_client()))


def _findings_of(name: str, task: asyncio.Task[Sequence[Finding]]) -> Sequence[Finding]:
    """Return the findings of a check, or one that says that there was no time for it."""
    if task.done():
        return task.result()
    task.cancel()
    step = "check less at once: --account checks one account"
    return [Subject(name).failed("time", f"not done within {TOTAL_TIMEOUT:g} s", step)]


def _judge_accounts(found: Sequence[Finding]) -> list[Finding]:
    """Return a failure if no account has keys."""
    keys = [finding for finding in found if finding.check == "keys"]
    if not keys or any(finding.status is not Status.SKIPPED for finding in keys):
        return []
    step = "set up the keys of one account: the checks of the accounts say what could hold them"
    return [Subject("accounts").failed("keys", "no account has keys", step)]
