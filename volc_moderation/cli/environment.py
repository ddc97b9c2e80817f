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
    Quota,
    RedisQuotas,
    SourceError,
    VolcengineClient,
    WindowQuotas,
    ZegoClient,
)
from volc_moderation.action import Action
from volc_moderation.client import Client
from volc_moderation.credentials import without_password
from volc_moderation.jobs.clients import Clients
from volc_moderation.quotas import QuotaState

#: Where commands find the address that ``--redis`` gives: other users of the machine see what a command was given.
REDIS = "VOLC_MODERATION_REDIS"
Redis = Annotated[str, Parameter(env_var=REDIS)]


@contextlib.asynccontextmanager
async def clients_of_environment(rate: int | None, redis: str | None) -> AsyncIterator["Environment"]:
    """Make a client for each vendor whose keys the environment has. Raises ``SourceError`` for what is no address."""
    if redis and redis.partition("://")[0] not in {"redis", "rediss", "unix"}:
        raise SourceError("--redis must be an address such as redis://localhost:6379")
    async with contextlib.AsyncExitStack() as stack:
        kinds: list[type[VolcengineClient | ZegoClient]] = [VolcengineClient, ZegoClient]
        limits = {name: most for kind in kinds for name, most in _limits(kind, rate).items()}
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
        yield Environment(clients, faults, quotas, rate)


@attrs.frozen
class Environment:
    """The clients that the environment has keys for, and why it has not those of the others."""

    clients: Sequence[Client]
    faults: Mapping[str, ConfigurationError]
    quotas: WindowQuotas | RedisQuotas
    rate: int | None

    def of(self, vendors: set[str]) -> Clients:
        """Return the clients, if they include those of some vendors. Raises ``ConfigurationError``."""
        for vendor in sorted(vendors):
            if vendor in self.faults:
                raise self.faults[vendor]
        return Clients(self.clients)

    def cap(self, client: Client, made: type[Action[object]]) -> float:
        """Return how many calls per second there may be."""
        limits = _limits(type(client), self.rate)
        quota = client.quota_of(made)
        return limits.get(made.name, quota.limit) / quota.window

    def states(self) -> dict[str, QuotaState]:
        """Return how it stands with the quota of each action."""
        return {key.action: state for key, state in self.quotas.snapshot().items() if key.room is None}


def _limits(kind: type[Client], rate: int | None) -> dict[str, int]:
    """Return the limit of each action of a vendor at a rate below its quota."""
    if rate is None:
        return {}
    return {name: _limit(made.quota, rate) for name, made in kind.actions().items()}


def _limit(quota: Quota, rate: int) -> int:
    most = max(1, int(rate * quota.window))
    return min(most, quota.limit) if quota.published else most


def shown_redis(address: str | None) -> str | None:
    """Return the address as a command that is printed gives it: without a password, and not if it is found anyway."""
    if not address or address == os.environ.get(REDIS):
        return None
    return without_password(address)


def check_streaq(redis: str | None) -> None:
    """See that the engine can be used. Raises ``SourceError``."""
    if not redis:
        raise SourceError(f"--engine streaq needs --redis, such as --redis redis://localhost, or {REDIS}")
    if find_spec("streaq") is None:
        raise SourceError("streaq is not installed: pip install 'volc_moderation[streaq]'")
