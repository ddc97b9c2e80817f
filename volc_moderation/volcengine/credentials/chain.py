"""The first of several providers that has keys."""

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence

from volc_moderation.credentials import VolcengineCredentials
from volc_moderation.errors import ConfigurationError, describe
from volc_moderation.log_events import Repeats
from volc_moderation.renewed_keys import KeySource, NoKeysError
from volc_moderation.volcengine.credentials.cli_config import CLIConfigCredentials
from volc_moderation.volcengine.credentials.ecs import ECSCredentials
from volc_moderation.volcengine.credentials.fixed import EnvironmentCredentials
from volc_moderation.volcengine.credentials.provider import Credentials, Provider, as_provider
from volc_moderation.volcengine.credentials.roles import EnvironmentOIDCCredentials


class CredentialChain(Provider):
    """The first of several providers that has keys. It is used from then on, so that the identity never changes.

    A provider that is not configured is passed over: it raises ``NotConfiguredError``. One that is configured but fails
    ends the search, because the next one would be another identity.

    :param providers: providers, or async callables, in the order in which they are asked.
    :param name: says in errors and log records what it is.
    :param clock: returns the Unix time.

    Raises ``ConfigurationError`` if there is no provider, or something that is none.
    """

    def __init__(
        self,
        providers: Sequence[Credentials],
        *,
        name: str = "credential chain",
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not isinstance(providers, (list, tuple)) or not providers:
            raise ConfigurationError(f"providers must be a list of providers; got {describe(providers)}")
        super().__init__(name)
        self._keys = _FirstKeys(name, [as_provider(provider, clock=clock) for provider in providers])

    @property
    def chosen(self) -> Provider | None:
        """The provider whose keys are used; None before there are any."""
        return self._keys.chosen

    @property
    def keys(self) -> KeySource[VolcengineCredentials]:
        """What a client needs of its credentials."""
        return self._keys

    def is_configured(self) -> bool:
        """Return whether one of the providers may have credentials."""
        return any(provider.is_configured() for provider in self._keys.providers)


class _FirstKeys:
    """The keys of the first provider that has some. Each provider renews its own, for all who wait for them."""

    def __init__(self, name: str, providers: Sequence[Provider]) -> None:
        self.providers = providers
        self.chosen: Provider | None = None
        self._name = name
        self._repeats = Repeats()

    def current(self) -> VolcengineCredentials | None:
        return None if self.chosen is None else self.chosen.keys.current()

    async def get(self) -> VolcengineCredentials:
        if self.chosen is None:
            chosen = await self._find()
            if self.chosen is None:  # another call may have found another one
                self.chosen = chosen
        return await self.chosen.keys.get()

    def replace(self, refused: VolcengineCredentials) -> bool:
        return self.chosen is not None and self.chosen.keys.replace(refused)

    async def _find(self) -> Provider:
        """Return the first provider that has keys. Raises ``NoKeysError``, which names each that was asked."""
        reasons = []
        for provider in self.providers:
            try:
                await provider.keys.get()
            except NoKeysError as error:
                reasons.append(f"{error.source}: {error.reason}")
                if error.is_unconfigured:
                    continue
                failure = NoKeysError(self._name, "; ".join(reasons))
                break
            return provider
        else:
            failure = NoKeysError(self._name, "none of these has keys: " + "; ".join(reasons), is_unconfigured=True)
            if self._repeats.count(None, asyncio.get_running_loop().time()) is not None:
                failure.log()
        raise failure


def default_credentials(
    *, environ: Mapping[str, str] = os.environ, clock: Callable[[], float] = time.time
) -> CredentialChain:
    """Return the chain of the official SDKs.

    The providers are the environment, OIDC from the environment, the configuration file of the command line ``ve``, and
    the metadata service of a server at Volcengine.

    :param environ: the variables.
    :param clock: returns the Unix time.
    """
    return CredentialChain(
        [
            EnvironmentCredentials(environ=environ),
            EnvironmentOIDCCredentials(environ=environ, clock=clock),
            CLIConfigCredentials(environ=environ, clock=clock),
            ECSCredentials(environ=environ, clock=clock),
        ],
        name="default credentials",
        clock=clock,
    )
