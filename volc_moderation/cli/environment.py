"""What the environment gives to a command: keys, and the Redis that shares the quotas."""

import contextlib
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Annotated

import attrs
from cyclopts import Parameter

from volc_moderation import (
    ConfigurationError,
    RedisQuotas,
    SourceError,
    WindowQuotas,
)
from volc_moderation.action import Action
from volc_moderation.cli.rate import Rates
from volc_moderation.client import Client
from volc_moderation.credentials import without_password
from volc_moderation.jobs.clients import Clients
from volc_moderation.vendors import VENDORS

#: Where commands find the address that ``--redis`` gives: other users of the machine see what a command was given.
REDIS = "VOLC_MODERATION_REDIS"
Redis = Annotated[str, Parameter(env_var=REDIS)]


@contextlib.asynccontextmanager
async def clients_of_environment(rates: Rates, redis: str | None) -> AsyncIterator["Environment"]:
    """Make a client for each vendor whose keys the environment has. Raises ``SourceError`` for what is no address."""
    if redis and redis.partition("://")[0] not in {"redis", "rediss", "unix"}:
        raise SourceError("--redis must be an address such as redis://localhost:6379")
    async with contextlib.AsyncExitStack() as stack:
        kinds = [vendor.client for vendor in VENDORS.values()]
        limits = {name: most for kind in kinds for name, most in rates.limits_of(kind).items()}
        quotas: WindowQuotas | RedisQuotas = WindowQuotas(limits)
        if redis:  # a variable that is set to nothing is as if it were not set
            quotas = await stack.enter_async_context(RedisQuotas(redis, limits))
        clients: list[Client] = []
        faults: dict[str, ConfigurationError] = {}
        for kind in kinds:
            try:
                clients.append(await stack.enter_async_context(kind.from_env(quotas=quotas)))
            except ConfigurationError as error:
                faults[kind.vendor] = error
        yield Environment(clients, faults, quotas, rates)


@attrs.frozen
class Environment:
    """The clients that the environment has keys for, and why it has not those of the others."""

    clients: Sequence[Client]
    faults: Mapping[str, ConfigurationError]
    quotas: WindowQuotas | RedisQuotas
    rates: Rates

    def of(self, vendors: set[str]) -> Clients:
        """Return the clients, if they include those of some vendors. Raises ``ConfigurationError``."""
        for vendor in sorted(vendors):
            if vendor in self.faults:
                raise self.faults[vendor]
        return Clients(self.clients)

    def cap(self, client: Client, action_type: type[Action[object]]) -> float:
        """Return how many calls per second there may be."""
        limits = self.rates.limits_of(type(client))
        quota = client.quota_of(action_type)
        return limits.get(action_type.name, quota.limit) / quota.window


def shown_redis(address: str | None) -> str | None:
    """Return the address as a command that is printed gives it: without a password, and not if it is found anyway."""
    if not address or address == os.environ.get(REDIS):
        return None
    return without_password(address)


def check_redis(redis: str | None) -> None:
    """See that a queue can be used. Raises ``SourceError``."""
    if not redis:
        raise SourceError(f"--engine workers needs --redis, such as --redis redis://localhost, or {REDIS}")
    if find_spec("redis") is None:
        raise SourceError("redis is not installed: pip install 'volc_moderation[redis]'")
