"""The clients of a command: credentials from the environment, and the store of quotas, shared with other commands."""

import contextlib
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Any

import attrs
from cyclopts import Parameter

from volc_moderation import (
    ConfigurationError,
    FileQuotas,
    Quota,
    RedisQuotas,
    SourceError,
    WindowQuotas,
    fastest_http_client,
)
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


@attrs.frozen
class Environment:
    """The clients for which the environment has credentials, and what is missing for the others."""

    clients: Sequence[Client]
    #: By vendor, for the vendors that have no client.
    errors: Mapping[str, ConfigurationError]
    rates: Rates
    #: Which library sends the calls, such as ``httpx2 over aiohttp``; empty if there is no client.
    http_client: str = ""

    def require_vendors(self, vendors: set[str]) -> Clients:
        """Return the clients of all vendors. Raises ``ConfigurationError`` if one of these vendors has none."""
        for vendor in sorted(vendors):
            if vendor in self.errors:
                raise self.errors[vendor]
        return Clients(self.clients)

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
async def open_environment(rates: Rates, redis: str | None) -> AsyncIterator[Environment]:
    """Open a client for each vendor whose credentials are in the environment, with the fastest HTTP client.

    :param redis: the address of the Redis that shares the quotas.

    Raises ``SourceError`` if ``redis`` is not an address, and ``ConfigurationError`` if the store cannot be used.
    """
    async with contextlib.AsyncExitStack() as stack:
        client_types = [vendor.client for vendor in VENDORS.values()]
        limits = {
            action: limit for client_type in client_types for action, limit in rates.limits_of(client_type).items()
        }
        quotas = await stack.enter_async_context(open_quotas(redis, limits))
        clients: list[Client] = []
        errors: dict[str, ConfigurationError] = {}
        http_client_name = ""
        for client_type in client_types:
            try:
                http_client = fastest_http_client()
                client = client_type.from_env(quotas=quotas, http_client=http_client)
            except ConfigurationError as error:
                errors[client_type.vendor] = error
                continue
            await stack.enter_async_context(http_client)
            clients.append(await stack.enter_async_context(client))
            http_client_name = name_of(http_client)
        yield Environment(clients, errors, rates, http_client_name)


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
