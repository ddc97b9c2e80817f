"""Keys that the program or its environment gives."""

import os
from collections.abc import Mapping

from volc_moderation.credentials import VolcengineCredentials, volcengine_key_variables, volcengine_keys_from_env
from volc_moderation.renewed_keys import FixedKeys
from volc_moderation.volcengine.credentials.provider import NotConfiguredError, Provider, RenewingProvider


class StaticCredentials(Provider):
    """Keys that never change.

    :param access_key: the id of the access key.
    :param secret_key: the secret of the access key.
    :param session_token: the token of a temporary pair, which will not be renewed.
    :param account: the id of the account, which names its quotas and jobs; None for the access key.

    Raises ``ConfigurationError`` for malformed keys.
    """

    def __init__(
        self, access_key: str, secret_key: str, session_token: str | None = None, *, account: str | None = None
    ) -> None:
        super().__init__("static keys")
        pair = VolcengineCredentials.make(access_key, secret_key, session_token, account=account)
        self.account = account
        self._keys = FixedKeys(pair)

    @property
    def keys(self) -> FixedKeys[VolcengineCredentials]:
        """What a client needs of its credentials."""
        return self._keys


class EnvironmentCredentials(RenewingProvider):
    """Keys in environment variables. They are read again once a minute, and when the vendor refuses the keys.

    The variables are ``VOLCENGINE_ACCESS_KEY``, ``VOLCENGINE_SECRET_KEY`` and ``VOLCENGINE_SESSION_TOKEN``; else
    ``VOLCSTACK_ACCESS_KEY_ID`` or ``VOLCSTACK_ACCESS_KEY``, ``VOLCSTACK_SECRET_ACCESS_KEY`` or
    ``VOLCSTACK_SECRET_KEY``, and ``VOLCSTACK_SESSION_TOKEN``; else ``VOLC_ACCESSKEY`` and ``VOLC_SECRETKEY``. A
    variable that is empty counts as unset. Half of a pair is an error, never a reason to look elsewhere.

    :param environ: the variables.
    """

    def __init__(self, *, environ: Mapping[str, str] = os.environ) -> None:
        names = volcengine_key_variables(environ)
        super().__init__(f"environment ({names[0]})" if names else "environment")
        self._environ = environ

    def is_configured(self) -> bool:
        """Return whether one of the variables is set."""
        return volcengine_key_variables(self._environ) is not None

    async def fetch(self) -> VolcengineCredentials:
        """Read the variables. Raises ``ConfigurationError``."""
        if not self.is_configured():
            raise NotConfiguredError("VOLCENGINE_ACCESS_KEY and VOLCENGINE_SECRET_KEY are not set")
        return VolcengineCredentials.make(*volcengine_keys_from_env(self._environ))
