"""The clients of a command: credentials from the environment, and the store of quotas, shared with other commands."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import attrs
from cyclopts import Parameter

from volc_moderation import (
    ConfigurationError,
    FileQuotas,
    ModerationError,
    Quota,
    RedisQuotas,
    SourceError,
    WindowQuotas,
    fastest_http_client,
)
from volc_moderation.accounts import load as load_accounts
from volc_moderation.accounts_file import ACCOUNTS_VARIABLE
from volc_moderation.action import Action
from volc_moderation.cli.rate import Rates
from volc_moderation.client import Client
from volc_moderation.credentials import redact_passwords
from volc_moderation.extras import require_extra
from volc_moderation.http_clients import name_of
from volc_moderation.jobs.clients import Clients
from volc_moderation.quotas.environment import QUOTAS_VARIABLE, REDIS_SCHEMES, SharedQuotas, quotas_from_env
from volc_moderation.quotas.permit import Quotas
from volc_moderation.quotas.quota_path import HAS_FILE_LOCKS
from volc_moderation.vendors import VENDORS

#: The environment variable for ``--redis``. Other users of the machine can read arguments, but not this.
REDIS_VARIABLE = "VOLC_MODERATION_REDIS"
#: The type of the option in a command's signature.
Redis = Annotated[str, Parameter(env_var=REDIS_VARIABLE)]
#: The types of the options ``--accounts`` and ``--account``.
AccountsFile = Annotated[Path, Parameter(env_var=ACCOUNTS_VARIABLE)]
AccountNames = Annotated[Sequence[str], Parameter(name="--account", negative=())]


@attrs.frozen
class AccountOptions:
    """The options ``--accounts`` and ``--account``."""

    #: The accounts file; None if the keys are those of the environment.
    file: Path | None = None
    #: The accounts to use; empty for all.
    names: Sequence[str] = ()
    #: Whether to leave out the accounts that this process has no keys of.
    skip_missing: bool = False

    def check(self) -> None:
        """Raise ``SourceError`` for a name without a file."""
        if self.names and self.file is None:
            raise SourceError(f"--account needs --accounts FILE, or {ACCOUNTS_VARIABLE}")

    def words(self) -> dict[str, object]:
        """Return the options of a command that uses the same accounts, by name; None for what is not needed."""
        is_in_environment = self.file is None or str(self.file) == os.environ.get(ACCOUNTS_VARIABLE)
        return {"--accounts": None if is_in_environment else self.file, "--account": list(self.names) or None}


@attrs.frozen
class Environment:
    """The clients that there are credentials for, and what is missing for the others."""

    clients: Sequence[Client]
    #: By vendor, for the vendors that have no client.
    errors: Mapping[str, ModerationError]
    rates: Rates
    #: Which library sends the calls, such as ``httpx2 over aiohttp``; empty if there is no client.
    http_client: str = ""
    #: The clients by the names of their accounts; empty without an accounts file.
    by_account: Mapping[str, Client] = attrs.field(factory=dict)
    #: By account, for the accounts of the file that cannot be used here.
    account_errors: Mapping[str, ModerationError] = attrs.field(factory=dict)

    def require_vendors(self, vendors: set[str]) -> Clients:
        """Return the clients of all vendors. Raises ``ModerationError`` if one of these vendors has none."""
        for vendor in sorted(vendors):
            if vendor in self.errors:
                raise self.errors[vendor]
        return Clients(self.clients)

    def clients_of(self, vendor: str, account: str | None) -> Clients:
        """Return the clients of a vendor, or that of an account. Raises ``ModerationError`` if there is none."""
        if account is None:
            return self.require_vendors({vendor})
        if account not in self.by_account:
            raise self.account_errors[account]
        return Clients([self.by_account[account]])

    def quota_rate(self, client: Client, action_type: type[Action[object]]) -> float:
        """Return the calls per second that the quota and ``--rate`` allow."""
        return self.rates.rate_of(action_type, client.quota_of(action_type))

    def quota_of(self, action_type: type[Action[Any]]) -> Quota:
        """Return the quota of an action: of its client, if there is one."""
        for client in self.clients:
            if client.actions().get(action_type.name) is action_type:
                return client.quota_of(action_type)
        return action_type.quota


@contextlib.asynccontextmanager
async def open_environment(
    rates: Rates, redis: str | None, accounts: AccountOptions = AccountOptions()
) -> AsyncIterator[Environment]:
    """Open the clients of the accounts file, or else one for each vendor whose credentials are in the environment.

    They use the fastest HTTP client.

    :param redis: the address of the Redis that shares the quotas.

    Raises ``SourceError`` if ``redis`` is not an address, and ``ConfigurationError`` if the store, or the accounts
    file, cannot be used.
    """
    async with contextlib.AsyncExitStack() as stack:
        client_types = [vendor.client for vendor in VENDORS.values()]
        limits = {
            action: limit for client_type in client_types for action, limit in rates.limits_of(client_type).items()
        }
        quotas = await stack.enter_async_context(open_quotas(redis, limits))
        if accounts.file is None:
            yield await _open_vendors(stack, rates, quotas)
        else:
            yield await _open_accounts(stack, rates, quotas, accounts)


async def _open_vendors(stack: contextlib.AsyncExitStack, rates: Rates, quotas: Quotas) -> Environment:
    """Open a client for each vendor whose credentials are in the environment."""
    errors: dict[str, ModerationError] = {}
    clients: dict[str, Client] = {}
    http_client_name = ""
    for vendor, entry in VENDORS.items():
        try:
            http_client = fastest_http_client()
            clients[vendor] = entry.client.from_env(quotas=quotas, http_client=http_client)
        except ConfigurationError as error:
            errors[vendor] = error
            continue
        await stack.enter_async_context(http_client)
        await stack.enter_async_context(clients[vendor])
        http_client_name = name_of(http_client)
    errors |= await _resolve(clients)
    usable = [client for vendor, client in clients.items() if vendor not in errors]
    return Environment(usable, errors, rates, http_client_name if usable else "")


async def _open_accounts(
    stack: contextlib.AsyncExitStack, rates: Rates, quotas: Quotas, accounts: AccountOptions
) -> Environment:
    """Open the clients of the accounts file."""
    assert accounts.file is not None  # noqa: S101 - the caller has checked it
    http_client = await stack.enter_async_context(fastest_http_client())
    loaded = await stack.enter_async_context(
        load_accounts(
            accounts.file,
            names=accounts.names or None,
            quotas=quotas,
            http_client=http_client,
            skip_missing=accounts.skip_missing,
        )
    )
    account_errors = {**loaded.skipped, **await _resolve(loaded)}
    usable = {name: client for name, client in loaded.items() if name not in account_errors}
    errors: dict[str, ModerationError] = {}
    for vendor in VENDORS.keys() - {client.vendor for client in usable.values()}:
        missing = ConfigurationError(f"the accounts file {accounts.file} has no account of {vendor} that can be used")
        failed = (account_errors[name] for name, client in loaded.items() if client.vendor == vendor)
        errors[vendor] = next(failed, missing)
    return Environment(
        [*usable.values()],
        errors,
        rates,
        name_of(http_client) if usable else "",
        by_account=usable,
        account_errors=account_errors,
    )


async def _resolve(clients: Mapping[str, Client]) -> dict[str, ModerationError]:
    """Learn the accounts of clients whose keys are fetched. Return the errors of those that cannot be used."""
    results = await asyncio.gather(*(client.resolve_account() for client in clients.values()), return_exceptions=True)
    errors = {}
    for name, result in zip(clients, results, strict=True):
        if isinstance(result, ModerationError):
            errors[name] = result
        elif isinstance(result, BaseException):
            raise result
    return errors


@contextlib.asynccontextmanager
async def open_quotas(redis: str | None = None, limits: Mapping[str, int] | None = None) -> AsyncIterator[Quotas]:
    """Open the store of quotas of a command.

    That is the given Redis, else the store that ``VOLC_MODERATION_QUOTAS`` names, else the file that all commands of
    this user share. Only systems without file locks keep the quotas in the process.

    Raises ``SourceError`` if ``redis`` is not an address, and ``ConfigurationError`` if the store cannot be used.
    """
    if redis and not redis.startswith(REDIS_SCHEMES):
        raise SourceError("--redis must be an address such as redis://localhost:6379")
    store: SharedQuotas | None
    if redis:  # an empty variable counts as unset
        store = RedisQuotas(redis, limits)
    elif os.environ.get(QUOTAS_VARIABLE) or not HAS_FILE_LOCKS:
        store = quotas_from_env(limits)
    else:
        store = FileQuotas(limits=limits)
    async with store or WindowQuotas(limits) as opened:
        yield opened


def printable_redis(address: str | None) -> str | None:
    """Return the value of ``--redis`` for a command line that is printed: without its password.

    None if the option is not needed, because the environment has the address.
    """
    if not address or address == os.environ.get(REDIS_VARIABLE):
        return None
    return redact_passwords(address)


def check_redis(redis: str | None, *, wanted_by: str) -> None:
    """Raise ``SourceError`` unless a queue can be used."""
    if not redis:
        raise SourceError(f"{wanted_by} needs --redis, such as --redis redis://localhost, or {REDIS_VARIABLE}")
    try:
        require_extra("redis", used_by=wanted_by)
    except ModuleNotFoundError as error:
        raise SourceError(str(error)) from None
