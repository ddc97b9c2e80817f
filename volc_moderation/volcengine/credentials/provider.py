"""What a provider of credentials is, and the base class of those that fetch them."""

import inspect
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias, runtime_checkable

import attrs

from volc_moderation.credentials import VolcengineCredentials
from volc_moderation.errors import ConfigurationError, describe
from volc_moderation.renewed_keys import RECHECK_INTERVAL, KeySource, NotConfiguredError, RenewedKeys

__all__ = [
    "CredentialProvider",
    "Credentials",
    "CustomProvider",
    "NotConfiguredError",
    "Provider",
    "RenewingProvider",
    "as_provider",
    "fetch_from",
]

#: How often a refresh asks the provider of a user if it raises.
CUSTOM_ATTEMPTS = 3


@runtime_checkable
class CredentialProvider(Protocol):
    """Provides the credentials of a ``VolcengineClient``."""

    async def credentials(self) -> VolcengineCredentials:
        """Return valid credentials. Raises ``AuthenticationError`` if there are none."""


#: What ``VolcengineClient(credentials=…)`` takes: a provider, or an async callable that returns credentials.
Credentials: TypeAlias = CredentialProvider | Callable[[], Awaitable[VolcengineCredentials]]


class Provider(ABC):
    """The base class of the providers of this package. Clients may share one.

    :param name: says in errors and log records what it is, without a secret.
    """

    #: The id of the account of the credentials, if it is known. It may become known when they are first fetched.
    account: str | None = None

    def __init__(self, name: str) -> None:
        self.name = name

    def is_configured(self) -> bool:
        """Return whether there may be credentials, without a request. Otherwise a chain asks the next provider."""
        return True

    @property
    @abstractmethod
    def keys(self) -> KeySource[VolcengineCredentials]:
        """What a client needs of its credentials."""

    async def credentials(self) -> VolcengineCredentials:
        """Return valid credentials. Raises ``AuthenticationError`` if there are none."""
        return await self.keys.get()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.name}>"


class RenewingProvider(Provider):
    """Fetches credentials, and fetches them again before they expire.

    One refresh runs at a time, however many calls wait. It runs in the background from 300 s before the credentials
    expire. The old ones serve until 60 s before; while no new ones can be had, until they expire.

    :param name: says in errors and log records what it is, without a secret.
    :param account: the id of the account of the credentials, if it is known without fetching them.
    :param clock: returns the Unix time.
    :param attempts: how often a refresh calls ``fetch`` if the fault may pass; for one that does not repeat requests
        itself.
    :param recheck_interval: seconds after which credentials without an expiry are fetched again.
    """

    def __init__(
        self,
        name: str,
        *,
        account: str | None = None,
        clock: Callable[[], float] = time.time,
        attempts: int = 1,
        recheck_interval: float = RECHECK_INTERVAL,
    ) -> None:
        super().__init__(name)
        self.account = account
        self._keys: RenewedKeys[VolcengineCredentials] = RenewedKeys(
            self._fetch_with_account,
            expires_at=lambda credentials: credentials.expires_at,
            name=name,
            clock=clock,
            attempts=attempts,
            recheck_interval=recheck_interval,
        )

    @property
    def keys(self) -> KeySource[VolcengineCredentials]:
        """What a client needs of its credentials."""
        return self._keys

    def rename(self, name: str) -> None:
        """Say more precisely in errors and log records what it is, without a secret."""
        self.name = self._keys.name = name

    @abstractmethod
    async def fetch(self) -> VolcengineCredentials:
        """Fetch new credentials.

        Raises ``ModerationError`` with a text that shows no secret: ``NotConfiguredError`` if there is nothing that
        they could be fetched from.
        """

    async def _fetch_with_account(self) -> VolcengineCredentials:
        credentials = await self.fetch()
        if not isinstance(credentials, VolcengineCredentials):
            raise ConfigurationError(f"it must return VolcengineCredentials; got {describe(credentials)}")
        if credentials.account is None and self.account is not None:
            credentials = attrs.evolve(credentials, account=self.account)
        return credentials


class CustomProvider(RenewingProvider):
    """Renews what a provider, or an async callable, of the user returns."""

    def __init__(self, credentials: Credentials, *, clock: Callable[[], float]) -> None:
        self._provide: Callable[[], Awaitable[VolcengineCredentials]]
        is_type = isinstance(credentials, type)
        if isinstance(credentials, CredentialProvider) and callable(credentials.credentials) and not is_type:
            self._provide, name = credentials.credentials, type(credentials).__name__
        elif callable(credentials) and not is_type:
            self._provide, name = credentials, getattr(credentials, "__name__", type(credentials).__name__)
        else:
            raise ConfigurationError(
                "credentials must be a provider, or an async callable that returns VolcengineCredentials; "
                f"got {describe(credentials)}"
            )
        super().__init__(name, clock=clock, attempts=CUSTOM_ATTEMPTS)

    async def fetch(self) -> VolcengineCredentials:
        """Return what the user's provider returns."""
        credentials = self._provide()
        return await credentials if inspect.isawaitable(credentials) else credentials


def as_provider(credentials: Credentials, *, clock: Callable[[], float]) -> Provider:
    """Return a provider of this package. Raises ``ConfigurationError`` for anything else than ``Credentials``."""
    return credentials if isinstance(credentials, Provider) else CustomProvider(credentials, clock=clock)


async def fetch_from(provider: Provider) -> VolcengineCredentials:
    """Return the credentials of a provider, without its cache: for a provider that keeps them itself."""
    return await (provider.fetch() if isinstance(provider, RenewingProvider) else provider.credentials())
