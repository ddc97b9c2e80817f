"""Keys of a role, which STS gives for other keys or for a token."""

import os
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from volc_moderation.credentials import VolcengineCredentials
from volc_moderation.errors import AuthenticationError, ConfigurationError, describe
from volc_moderation.volcengine.credentials import sts
from volc_moderation.volcengine.credentials.key_file import read_key_file
from volc_moderation.volcengine.credentials.provider import (
    Credentials,
    NotConfiguredError,
    RenewingProvider,
    as_provider,
)
from volc_moderation.volcengine.credentials.sending import STS
from volc_moderation.volcengine.credentials.sts import DEFAULT_DURATION, ENDPOINT, AssumeRole, AssumeRoleWithOIDC

#: What STS says of keys that it no longer accepts, so that newer ones are worth a try.
_STALE_KEYS = {"InvalidSecretToken", "InvalidAccessKey"}


class AssumeRoleCredentials(RenewingProvider):
    """Keys of a role, which STS gives for the keys of another provider.

    The source may be another ``AssumeRoleCredentials`` (role chaining). Keys of a main account may not assume a role.
    https://www.volcengine.com/docs/6257/86374

    :param role_trn: the role, such as ``trn:iam::2100000001:role/moderator``. Its account is that of the quotas.
    :param source: a provider, or an async callable, of keys that may assume the role.
    :param duration_seconds: how long the keys are valid, 900 to 43200. The role has a maximum of its own, mostly 3600.
    :param policy: JSON of a policy that restricts the keys further.
    :param role_session_name: names the keys in the vendor's audit log; 2 to 64 characters of ``A-Za-z0-9+=,.@_-``. None
        for a new name with each renewal.
    :param endpoint: the address of STS.
    :param clock: returns the Unix time.

    Raises ``ConfigurationError`` for a wrong option.
    """

    def __init__(
        self,
        role_trn: str,
        source: Credentials,
        *,
        duration_seconds: int = DEFAULT_DURATION,
        policy: str | None = None,
        role_session_name: str | None = None,
        endpoint: str = ENDPOINT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        sts.check_role(role_trn, duration_seconds=duration_seconds, policy=policy, role_session_name=role_session_name)
        self._source = as_provider(source, clock=clock)
        super().__init__(f"role {role_trn} by {self._source.name}", account=sts.account_of(role_trn), clock=clock)
        self._sts = STS(endpoint, clock=clock)
        self._role_trn = role_trn
        self._duration_seconds = duration_seconds
        self._policy = policy
        self._role_session_name = role_session_name

    async def fetch(self) -> VolcengineCredentials:
        """Assume the role."""
        source = await self._source.credentials()
        try:
            return await self._assume(source)
        except AuthenticationError as error:
            if error.code not in _STALE_KEYS or not self._source.keys.replace(source):
                raise
        return await self._assume(await self._source.credentials())

    async def _assume(self, source: VolcengineCredentials) -> VolcengineCredentials:
        action = AssumeRole(
            role_trn=self._role_trn,
            duration_seconds=self._duration_seconds,
            policy=self._policy,
            role_session_name=self._role_session_name or _new_session_name(),
        )
        return await self._sts.assume_role(action, source)


class OIDCCredentials(RenewingProvider):
    """Keys of a role, which STS gives for a token of an OpenID Connect issuer. Kubernetes keeps such a token in a file.

    The file is read at every renewal. In Volcengine's Kubernetes (VKE), the token needs the audience
    ``sts.volcengine.com``: https://www.volcengine.com/docs/6460/1324604

    :param role_trn: the role, such as ``trn:iam::2100000001:role/moderator``. Its account is that of the quotas.
    :param token_file: the path of the file.
    :param duration_seconds: how long the keys are valid, 900 to 43200. The role has a maximum of its own, mostly 3600.
    :param policy: JSON of a policy that restricts the keys further.
    :param role_session_name: names the keys in the vendor's audit log; 2 to 64 characters of ``A-Za-z0-9+=,.@_-``. None
        for a new name with each renewal.
    :param endpoint: the address of STS, with or without ``https://``.
    :param clock: returns the Unix time.

    Raises ``ConfigurationError`` for a wrong option.
    """

    def __init__(
        self,
        role_trn: str,
        token_file: str | os.PathLike[str],
        *,
        duration_seconds: int = DEFAULT_DURATION,
        policy: str | None = None,
        role_session_name: str | None = None,
        endpoint: str = ENDPOINT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        sts.check_role(role_trn, duration_seconds=duration_seconds, policy=policy, role_session_name=role_session_name)
        if not isinstance(token_file, (str, os.PathLike)) or not str(token_file):
            raise ConfigurationError(f"token_file must be the path of a file; got {describe(token_file)}")
        super().__init__(f"role {role_trn} by OIDC", account=sts.account_of(role_trn), clock=clock)
        self._sts = STS(endpoint, clock=clock)
        self._role_trn = role_trn
        self._token_file = Path(token_file)
        self._duration_seconds = duration_seconds
        self._policy = policy
        self._role_session_name = role_session_name

    @classmethod
    def from_env(cls, *, environ: Mapping[str, str] = os.environ, clock: Callable[[], float] = time.time) -> Self:
        """Create a provider for ``VOLCENGINE_OIDC_ROLE_TRN`` and ``VOLCENGINE_OIDC_TOKEN_FILE``.

        ``VOLCENGINE_OIDC_ROLE_SESSION_NAME``, ``VOLCENGINE_OIDC_ROLE_POLICY`` and ``VOLCENGINE_OIDC_STS_ENDPOINT`` are
        optional. A variable that is empty counts as unset.

        Raises ``NotConfiguredError`` if neither of the two is set, and ``ConfigurationError`` if one is missing or
        wrong.
        """
        role_trn, token_file = (environ.get(name) for name in _OIDC_VARIABLES)
        if not role_trn and not token_file:
            raise NotConfiguredError(f"{' and '.join(_OIDC_VARIABLES)} are not set")
        for name in _OIDC_VARIABLES:
            if not environ.get(name):
                raise ConfigurationError(f"{name} is not set")
        return cls(
            role_trn or "",
            token_file or "",
            policy=environ.get("VOLCENGINE_OIDC_ROLE_POLICY") or None,
            role_session_name=environ.get("VOLCENGINE_OIDC_ROLE_SESSION_NAME") or None,
            endpoint=oidc_endpoint(environ),
            clock=clock,
        )

    async def fetch(self) -> VolcengineCredentials:
        """Read the token, and assume the role."""
        action = AssumeRoleWithOIDC(
            role_trn=self._role_trn,
            duration_seconds=self._duration_seconds,
            policy=self._policy,
            role_session_name=self._role_session_name or _new_session_name(),
            oidc_token=_read_token(self._token_file),
        )
        return await self._sts.assume_role_with_oidc(action)


class EnvironmentOIDCCredentials(RenewingProvider):
    """``OIDCCredentials.from_env()``, whose variables are read again at every renewal.

    :param environ: the variables.
    :param clock: returns the Unix time.
    """

    def __init__(self, *, environ: Mapping[str, str] = os.environ, clock: Callable[[], float] = time.time) -> None:
        super().__init__("OIDC (VOLCENGINE_OIDC_ROLE_TRN)", clock=clock)
        self._environ = environ
        self._clock = clock

    def is_configured(self) -> bool:
        """Return whether one of the variables is set."""
        return any(self._environ.get(name) for name in _OIDC_VARIABLES)

    async def fetch(self) -> VolcengineCredentials:
        """Read the variables and the token, and assume the role."""
        return await OIDCCredentials.from_env(environ=self._environ, clock=self._clock).fetch()


_OIDC_VARIABLES = ("VOLCENGINE_OIDC_ROLE_TRN", "VOLCENGINE_OIDC_TOKEN_FILE")


def oidc_endpoint(environ: Mapping[str, str]) -> str:
    """Return the address of STS for tokens."""
    return environ.get("VOLCENGINE_OIDC_STS_ENDPOINT") or ENDPOINT


def _new_session_name() -> str:
    return f"volc-moderation-{uuid.uuid4().hex}"


def _read_token(path: Path) -> str:
    token = read_key_file(path, "the token file").strip()
    if not token:
        reason = f"the token file {path} is empty"
    elif not token.isascii() or not token.isprintable() or " " in token:
        reason = f"the token file {path} has more than a token in it"
    else:
        return token
    del token  # of this frame, which the traceback shows
    raise ConfigurationError(reason)
