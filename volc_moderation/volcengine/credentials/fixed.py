"""Keys that the program or its environment gives."""

import asyncio
import os
from collections.abc import Mapping

from volc_moderation.credentials import VolcengineCredentials, volcengine_key_variables, volcengine_keys_from_env
from volc_moderation.errors import ConfigurationError
from volc_moderation.log_events import Repeats
from volc_moderation.renewed_keys import FixedKeys, KeySource, NoKeysError
from volc_moderation.volcengine.credentials.provider import NotConfiguredError, Provider


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


class EnvironmentCredentials(Provider):
    """Keys in environment variables, which are read for each request.

    The variables are ``VOLCENGINE_ACCESS_KEY``, ``VOLCENGINE_SECRET_KEY`` and ``VOLCENGINE_SESSION_TOKEN``; else
    ``VOLCSTACK_ACCESS_KEY_ID`` or ``VOLCSTACK_ACCESS_KEY``, ``VOLCSTACK_SECRET_ACCESS_KEY`` or
    ``VOLCSTACK_SECRET_KEY``, and ``VOLCSTACK_SESSION_TOKEN``; else ``VOLC_ACCESSKEY`` and ``VOLC_SECRETKEY``. A
    variable that is empty counts as unset. Half of a pair is an error, never a reason to look elsewhere.

    :param environ: the variables.
    """

    def __init__(self, *, environ: Mapping[str, str] = os.environ) -> None:
        super().__init__("environment")
        self._environ = environ
        self._keys = _EnvironmentKeys(self.name, environ)

    def is_configured(self) -> bool:
        """Return whether one of the variables is set."""
        return volcengine_key_variables(self._environ) is not None

    @property
    def keys(self) -> KeySource[VolcengineCredentials]:
        """What a client needs of its credentials."""
        return self._keys


class _EnvironmentKeys:
    """The keys in the variables of the moment."""

    def __init__(self, name: str, environ: Mapping[str, str]) -> None:
        self._name = name
        self._environ = environ
        self._keys: VolcengineCredentials | None = None
        self._repeats = Repeats()

    def current(self) -> VolcengineCredentials | None:
        """Return the keys, the same object until they change; None if ``get`` says what is wrong."""
        try:
            return self._read()
        except ConfigurationError:
            return None

    async def get(self) -> VolcengineCredentials:
        """Return the keys. Raises ``AuthenticationError`` if there are none."""
        try:
            return self._read()
        except ConfigurationError as error:
            failure = NoKeysError.of(self._name, error)
        is_first = self._repeats.count(None, asyncio.get_running_loop().time()) is not None
        if is_first and not failure.is_unconfigured:
            failure.log()
        raise failure

    def replace(self, refused: VolcengineCredentials) -> bool:
        """Return whether the variables hold other keys by now."""
        return self.current() not in (None, refused)

    def _read(self) -> VolcengineCredentials:
        if volcengine_key_variables(self._environ) is None:
            raise NotConfiguredError("VOLCENGINE_ACCESS_KEY and VOLCENGINE_SECRET_KEY are not set")
        keys = VolcengineCredentials.make(*volcengine_keys_from_env(self._environ))
        if self._keys is None or keys != self._keys:
            self._keys = keys
        return self._keys
