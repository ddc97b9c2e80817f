"""The first of several providers that has keys."""

import os
import time
from collections.abc import Callable, Mapping, Sequence

from volc_moderation.credentials import VolcengineCredentials
from volc_moderation.errors import ConfigurationError, ModerationError, describe
from volc_moderation.volcengine.credentials.cli_config import CLIConfigCredentials
from volc_moderation.volcengine.credentials.ecs import ECSCredentials
from volc_moderation.volcengine.credentials.fixed import EnvironmentCredentials
from volc_moderation.volcengine.credentials.provider import (
    Credentials,
    NotConfiguredError,
    Provider,
    RenewingProvider,
    as_provider,
    fetch_from,
)
from volc_moderation.volcengine.credentials.roles import EnvironmentOIDCCredentials


class CredentialChain(RenewingProvider):
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
        super().__init__(name, clock=clock)
        self._providers = [as_provider(provider, clock=clock) for provider in providers]
        self._chosen: Provider | None = None

    @property
    def chosen(self) -> Provider | None:
        """The provider whose keys are used; None before there are any."""
        return self._chosen

    def is_configured(self) -> bool:
        """Return whether one of the providers may have credentials."""
        return any(provider.is_configured() for provider in self._providers)

    async def fetch(self) -> VolcengineCredentials:
        """Get keys of the provider in use, or find one."""
        if self._chosen is not None:
            return await _fetch_from(self._chosen, may_have_none=False)
        reasons = []
        for provider in self._providers:
            try:
                credentials = await _fetch_from(provider, may_have_none=True)
            except NotConfiguredError as error:
                reasons.append(f"{provider.name}: {error.message}")
                continue
            self._chosen = provider
            self.account = provider.account or credentials.account
            return credentials
        raise NotConfiguredError("none of these has keys: " + "; ".join(reasons))


async def _fetch_from(provider: Provider, *, may_have_none: bool) -> VolcengineCredentials:
    """Fetch credentials. Every error but that of a provider that may have none names the provider."""
    try:
        return await fetch_from(provider)
    except ModerationError as error:
        if may_have_none and isinstance(error, NotConfiguredError):
            raise
        reason = error.message if isinstance(error, ConfigurationError) else str(error)
    except Exception as error:  # noqa: BLE001 - whatever a provider of the user raises
        reason = type(error).__name__
    raise ConfigurationError(f"{provider.name}: {reason}")


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
