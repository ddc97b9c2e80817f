"""The client of Volcengine RTC: its options, keys and quotas. Its methods are in ``methods/``."""

import os
import time
from collections.abc import Callable
from typing import Any, Self, TypeVar, Unpack

from volc_moderation.account_table import AccountTable
from volc_moderation.action import Action, documented_versions
from volc_moderation.call_options import DEFAULT_TIMEOUT, ClientOptions
from volc_moderation.credentials import (
    VolcengineCredentials,
    volcengine_key_variables,
    volcengine_keys_from_env,
)
from volc_moderation.errors import AuthenticationError, ConfigurationError, ModerationError, describe
from volc_moderation.http_clients import AsyncHTTPClient
from volc_moderation.quotas.environment import quotas_from_env
from volc_moderation.quotas.permit import Priority, Quotas
from volc_moderation.renewed_keys import FixedKeys, KeySource
from volc_moderation.retry import RetryPolicy
from volc_moderation.volcengine import credentials as providers
from volc_moderation.volcengine import protocol
from volc_moderation.volcengine.actions import APIVersion, VolcengineAction
from volc_moderation.volcengine.credentials.provider import Credentials, CustomProvider, Provider
from volc_moderation.volcengine.error_codes import REFUSED_KEY_CODES, REFUSED_TOKEN_CODES
from volc_moderation.volcengine.keys import SigningKeys
from volc_moderation.volcengine.methods import VolcengineMethods
from volc_moderation.volcengine.signing import Signer
from volc_moderation.wire import DecodedResponse, Request, Response

R = TypeVar("R")

BASE_URL = "https://rtc.volcengineapi.com"
#: Of the moderation service.
DEFAULT_REGION = "cn-north-1"


class VolcengineClientOptions(ClientOptions, total=False):
    """The options of a ``VolcengineClient`` other than its keys."""

    region: str
    account: str | None
    app_id: str | None
    version: APIVersion | str | None


def _chain_from_env(clock: Callable[[], float]) -> Provider | None:
    """Return what fetches keys, unless there are variables with keys, or there can be no others."""
    if volcengine_key_variables() is not None:
        return None
    chain = providers.default_credentials(clock=clock)
    return chain if chain.is_configured() else None


class VolcengineClient(VolcengineMethods):
    """Calls Volcengine RTC: signs, retries, and keeps the account's quotas. Use one client per event loop.

    A wrong argument of a method raises ``InvalidActionError`` before anything is sent. The method's docstring names the
    errors that are particular to it, and that of ``call`` those of every call.

    :param access_key: the id of the access key.
    :param secret_key: the secret of the access key.
    :param session_token: the token of a temporary key (STS).
    :param region: the region that is signed; default ``cn-north-1``, the region of the moderation service.
    :param credentials: instead of keys, a provider that renews them, such as ``default_credentials()``, or an async
        callable that returns ``VolcengineCredentials``.
    :param account: an id that all keys of one account share, because quotas are counted per account; by default the
        account of the role, or else the long-term access key.
    :param app_id: the app of calls that do not give one.
    :param version: the API version of calls that do not give one, for the actions that document it: ``2020-12-01``,
        ``2023-11-01`` or another. The other actions, and all without it, have that of the page that they implement.
    :param base_url: the URL to call: by default ``https://rtc.volcengineapi.com``, the only host of the moderation
        calls; or the emulator's ``http://127.0.0.1:8765``.
    :param quotas: a store of ``volc_moderation.quotas``; by default one that all clients of the event loop share.
    :param retry: attempts and back-off; by default ``RetryPolicy()``.
    :param deadline: seconds for a whole call, including the waits for quota and retries; None for no limit.
    :param timeout: seconds for one request.
    :param http_client: an ``httpx.AsyncClient`` or ``httpx2.AsyncClient``, which you close yourself.
    :param clock: returns the Unix time for signatures.
    :param priority: ``"interactive"``, or ``"bulk"`` for calls that wait behind interactive ones for the quota.

    Raises ``ConfigurationError`` for an invalid option.
    """

    vendor = "volcengine"
    _actions = VolcengineAction

    def __init__(
        self,
        *,
        access_key: str | None = None,
        secret_key: str | None = None,
        session_token: str | None = None,
        credentials: Credentials | None = None,
        region: str = DEFAULT_REGION,
        account: str | None = None,
        app_id: str | None = None,
        version: APIVersion | str | None = None,
        base_url: str = BASE_URL,
        quotas: Quotas | None = None,
        retry: RetryPolicy | None = None,
        deadline: float | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        http_client: AsyncHTTPClient | None = None,
        clock: Callable[[], float] = time.time,
        priority: Priority = "interactive",
    ) -> None:
        if not isinstance(region, str) or not region.replace("-", "").isalnum() or not region.isascii():
            raise ConfigurationError(f"region must be a str like 'cn-north-1'; got {describe(region)}")
        for name, text in (("account", account), ("app_id", app_id), ("version", version)):
            if text is not None and (not isinstance(text, str) or not text):
                raise ConfigurationError(f"{name} must be a str that is not empty, or None; got {describe(text)}")
        versions = {one for action in self.actions().values() for one in documented_versions(action)}
        if version is not None and version not in versions:
            known = ", ".join(sorted(versions))
            raise ConfigurationError(f"version must be one that actions document ({known}); got {describe(version)}")
        if credentials is None:
            pair = VolcengineCredentials.make(access_key or "", secret_key or "", session_token)
            source: KeySource[VolcengineCredentials] = FixedKeys(pair)
            account = account or pair.access_key
        else:
            if (access_key, secret_key, session_token) != (None, None, None):
                raise ConfigurationError("give either credentials, or access_key and secret_key")
            provider = credentials if isinstance(credentials, Provider) else CustomProvider(credentials, clock=clock)
            source, account = provider.keys, account or provider.account
        #: The same as ``_keys``.
        self._signing_keys = SigningKeys(source, region=region, account=account)
        super().__init__(
            keys=self._signing_keys,
            base_url=base_url,
            quotas=quotas,
            retry=retry,
            deadline=deadline,
            timeout=timeout,
            http_client=http_client,
            clock=clock,
            priority=priority,
        )
        self._action_defaults = {
            name: text for name, text in (("app_id", app_id), ("version", version)) if text is not None
        }

    @classmethod
    def from_env(cls, **options: Unpack[VolcengineClientOptions]) -> Self:
        """Create a client with keys from the environment.

        The keys are ``VOLCENGINE_ACCESS_KEY``, ``VOLCENGINE_SECRET_KEY`` and ``VOLCENGINE_SESSION_TOKEN``, or else
        ``VOLC_ACCESSKEY`` and ``VOLC_SECRETKEY``. Without these, they are the ``default_credentials()``, which the
        first call fetches: of an OIDC token, of the command line ``ve``, or of the server's role.

        ``VOLCENGINE_ACCOUNT`` is the default of ``account``, and ``VOLCENGINE_RTC_BASE_URL`` that of ``base_url``.
        ``VOLC_MODERATION_QUOTAS`` is the default of ``quotas``: ``window``, ``file``, ``file:/path`` or the address of
        a Redis. The client closes the store that it names.

        Raises ``ConfigurationError`` if half of a pair is set, or if there can be no keys: nothing is set, and
        ``VOLCENGINE_ECS_METADATA_DISABLED`` is ``true``.
        """
        chain = _chain_from_env(options.get("clock", time.time))
        access_key, secret_key, session_token = volcengine_keys_from_env() if chain is None else (None, None, None)
        options.setdefault("account", os.environ.get("VOLCENGINE_ACCOUNT") or None)
        options.setdefault("base_url", os.environ.get("VOLCENGINE_RTC_BASE_URL") or BASE_URL)
        owned_quotas = None if "quotas" in options else quotas_from_env()
        options.setdefault("quotas", owned_quotas)
        client = cls(
            access_key=access_key,
            secret_key=secret_key,
            session_token=session_token,
            credentials=chain,
            **options,
        )
        client._state.owned_quotas = owned_quotas
        return client

    @classmethod
    def from_account(cls, table: AccountTable, **options: Unpack[ClientOptions]) -> Self:
        """Create a client with the settings of an account in an accounts file.

        They are ``access_key``, ``secret_key`` and ``session_token``, or else ``credentials``; and ``account``,
        ``region``, ``app_id`` and ``version``.
        """
        from volc_moderation.volcengine.credentials.from_table import provider_of  # noqa: PLC0415 - few need it

        return cls(
            credentials=provider_of(table, clock=options.get("clock", time.time)),
            account=table.text("account"),
            region=table.text("region") or DEFAULT_REGION,
            app_id=table.text("app_id"),
            version=table.text("version"),
            **options,
        )

    @property
    def account(self) -> str:
        """The account for which the vendor counts calls: the option ``account``, else that of the credentials.

        That is the account of the role, or else the long-term access key. Raises ``ConfigurationError`` if it is not
        known yet: ``resolve_account`` learns it.
        """
        account = self._signing_keys.account
        if account is None:
            raise ConfigurationError("the account is not known before the keys: await client.resolve_account() first")
        return account + self._base_url.account_suffix

    @property
    def former_accounts(self) -> frozenset[str]:
        """Other names that the account had: the long-term access key, before ``account`` was given."""
        access_key = self._signing_keys.long_term_access_key
        names = set() if access_key is None else {access_key + self._base_url.account_suffix}
        return frozenset(names - {self.account})

    async def resolve_account(self) -> str:
        """Return the account for which the vendor counts calls. If it is not known yet, it comes with the keys.

        Raises ``AuthenticationError`` if there are no keys, and ``ConfigurationError`` if they do not tell the account.
        """
        if self._signing_keys.current() is None and self._signing_keys.account is None:
            await self._signing_keys.get()
        if self._signing_keys.is_account_temporary:
            raise ConfigurationError("account is needed: the keys are temporary, and do not tell their account")
        return self.account

    def _are_refused(self, keys: Any, error: ModerationError) -> bool:
        assert isinstance(keys, Signer)  # noqa: S101 - from SigningKeys
        code = error.code if isinstance(error, AuthenticationError) else None
        return code in REFUSED_TOKEN_CODES or (code in REFUSED_KEY_CODES and keys.credentials.are_temporary)

    def _encode(self, action: Action[Any], keys: Any, now: float) -> Request:
        assert isinstance(action, VolcengineAction)  # noqa: S101 - checked by call
        assert isinstance(keys, Signer)  # noqa: S101 - from SigningKeys
        url = self._base_url
        return protocol.encode(action, url=url.url, host=url.host, signer=keys, now=now)

    def _decode(self, action: Action[R], request: Request, response: Response, *, repeated: bool) -> DecodedResponse[R]:
        return protocol.decode(action, request, response, repeated=repeated)
