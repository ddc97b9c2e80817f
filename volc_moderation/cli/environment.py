"""The clients of a command: credentials from the environment, and the store of quotas."""

import contextlib
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Annotated

import attrs
from cyclopts import Parameter

from volc_moderation import ConfigurationError, RedisQuotas, SourceError, WindowQuotas
from volc_moderation.action import Action
from volc_moderation.cli.rate import Rates
from volc_moderation.client import Client
from volc_moderation.credentials import redact_passwords
from volc_moderation.jobs.clients import Clients
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

    def require_vendors(self, vendors: set[str]) -> Clients:
        """Return the clients of all vendors. Raises ``ConfigurationError`` if one of these vendors has none."""
        for vendor in sorted(vendors):
            if vendor in self.errors:
                raise self.errors[vendor]
        return Clients(self.clients)

    def quota_rate(self, client: Client, action_type: type[Action[object]]) -> float:
        """Return the calls per second that the quota and ``--rate`` allow."""
        limits = self.rates.limits_of(type(client))
        quota = client.quota_of(action_type)
        return limits.get(action_type.name, quota.limit) / quota.window


@contextlib.asynccontextmanager
async def open_environment(rates: Rates, redis: str | None) -> AsyncIterator[Environment]:
    """Open a client for each vendor whose credentials are in the environment.

    :param redis: the address of the Redis that shares the quotas; without one they are those of this process.

    Raises ``SourceError`` if ``redis`` is not an address.
    """
    if redis and redis.partition("://")[0] not in {"redis", "rediss", "unix"}:
        raise SourceError("--redis must be an address such as redis://localhost:6379")
    async with contextlib.AsyncExitStack() as stack:
        client_types = [vendor.client for vendor in VENDORS.values()]
        limits = {
            action: limit for client_type in client_types for action, limit in rates.limits_of(client_type).items()
        }
        quotas: WindowQuotas | RedisQuotas = WindowQuotas(limits)
        if redis:  # an empty variable counts as unset
            quotas = await stack.enter_async_context(RedisQuotas(redis, limits))
        clients: list[Client] = []
        errors: dict[str, ConfigurationError] = {}
        for client_type in client_types:
            try:
                clients.append(await stack.enter_async_context(client_type.from_env(quotas=quotas)))
            except ConfigurationError as error:
                errors[client_type.vendor] = error
        yield Environment(clients, errors, rates)


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
    if find_spec("redis") is None:
        raise SourceError("redis is not installed: pip install 'volc_moderation[redis]'")
