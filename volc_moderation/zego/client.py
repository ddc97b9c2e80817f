"""The client of ZEGO's Server API: its options, keys and quotas. Its methods are in ``methods/``."""

import inspect
import os
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any, Self, TypeVar, Unpack

import attrs

from volc_moderation.account_table import AccountTable
from volc_moderation.action import Action, Quota
from volc_moderation.call_options import DEFAULT_TIMEOUT, ClientOptions
from volc_moderation.credentials import ZegoCredentials, check_app_id, zego_keys_from_env
from volc_moderation.errors import AuthenticationError, ConfigurationError, ModerationError, describe
from volc_moderation.http_clients import AsyncHTTPClient
from volc_moderation.quotas.environment import quotas_from_env
from volc_moderation.quotas.permit import Priority, Quotas
from volc_moderation.renewed_keys import FixedKeys, KeySource, RenewedKeys
from volc_moderation.retry import RetryPolicy
from volc_moderation.wire import DecodedResponse, Request, Response
from volc_moderation.zego import protocol
from volc_moderation.zego.actions import ZegoAction
from volc_moderation.zego.error_codes import WRONG_SIGNATURE_CODE
from volc_moderation.zego.media_service import StreamAction
from volc_moderation.zego.methods import ZegoMethods

R = TypeVar("R")

#: The host that is independent of the region.
BASE_URL = "https://rtc-api.zego.im"
#: How often a refresh calls the callable of ``server_secret`` if it raises.
REFRESH_ATTEMPTS = 3


class ZegoClientOptions(ClientOptions, total=False):
    """The options of a ``ZegoClient`` other than its keys."""

    is_test: bool | None


class _Sequence:
    """The numbers of calls about streams. They must increase with each call, also of clients that share this object."""

    def __init__(self) -> None:
        self._last = 0

    def next(self, now: float) -> str:
        """Return the next number: the Unix time in milliseconds, or more if there were several calls in one."""
        self._last = max(self._last + 1, int(now * 1000))
        return str(self._last)


def _keys_of(
    app_id: int, server_secret: str | Callable[[], Awaitable[str]], clock: Callable[[], float]
) -> KeySource[ZegoCredentials]:
    """Return what signs requests. Raises ``ConfigurationError``."""
    if isinstance(server_secret, str) or not callable(server_secret):
        return FixedKeys(ZegoCredentials.make(app_id, server_secret))
    check_app_id(app_id)

    async def fetch() -> ZegoCredentials:
        secret = server_secret()
        return ZegoCredentials.make(app_id, await secret if inspect.isawaitable(secret) else secret)

    return RenewedKeys(
        fetch,
        expires_at=lambda _: None,
        name=f"the ServerSecret of {app_id}",
        clock=clock,
        attempts=REFRESH_ATTEMPTS,
    )


class ZegoClient(ZegoMethods):
    """Calls ZEGO's Server API: signs, retries, and keeps the AppId's quotas. Use one client per event loop.

    A wrong argument of a method raises ``InvalidActionError`` before anything is sent. The method's docstring names the
    errors that are particular to it, and that of ``call`` those of every call.

    :param app_id: the AppId, a number from 1 to 4294967295.
    :param server_secret: the ServerSecret of the project, not the CallbackSecret; or an async callable that returns it,
        so that it can be replaced while the client is in use. That is called at most once a minute, and when ZEGO
        refuses a signature.
    :param is_test: whether to use the test environment, which only projects created before 2021-11-17 have. None does
        not send the parameter.
    :param base_url: the URL to call: by default ``https://rtc-api.zego.im``, which works everywhere. ZEGO recommends
        the host of the region where your server runs: ``https://rtc-api-sha.zego.im`` (mainland China), ``…-hkg…``
        (Hong Kong, Macao, Taiwan), ``…-fra…`` (Europe), ``…-lax…`` (US West), ``…-bom…`` (Asia-Pacific), ``…-sgp…``
        (South-East Asia). Or the emulator's ``http://127.0.0.1:8765``. https://doc-zh.zego.im/article/19458
    :param quotas: a store of ``volc_moderation.quotas``; by default one that all clients of the event loop share.
    :param retry: attempts and back-off; by default ``RetryPolicy()``.
    :param deadline: seconds for a whole call, including the waits for quota and retries; None for no limit. A retry
        that ZEGO recommends waits 300 s: set a deadline where nobody can wait that long.
    :param timeout: seconds for one request.
    :param http_client: an ``httpx.AsyncClient`` or ``httpx2.AsyncClient``, which you close yourself.
    :param clock: returns the Unix time for signatures.
    :param priority: ``"interactive"``, or ``"bulk"`` for calls that wait behind interactive ones for the quota.

    Raises ``ConfigurationError`` for an invalid option.
    """

    vendor = "zego"
    _actions = ZegoAction

    def __init__(
        self,
        *,
        app_id: int,
        server_secret: str | Callable[[], Awaitable[str]],
        is_test: bool | None = None,
        base_url: str = BASE_URL,
        quotas: Quotas | None = None,
        retry: RetryPolicy | None = None,
        deadline: float | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        http_client: AsyncHTTPClient | None = None,
        clock: Callable[[], float] = time.time,
        priority: Priority = "interactive",
    ) -> None:
        if is_test not in (None, True, False):
            raise ConfigurationError(f"is_test must be a bool or None; got {describe(is_test)}")
        super().__init__(
            keys=_keys_of(app_id, server_secret, clock),
            base_url=base_url,
            quotas=quotas,
            retry=retry,
            deadline=deadline,
            timeout=timeout,
            http_client=http_client,
            clock=clock,
            priority=priority,
        )
        self._app_id = app_id
        self._is_test = is_test
        self._sequence = _Sequence()

    @classmethod
    def from_env(cls, **options: Unpack[ZegoClientOptions]) -> Self:
        """Create a client with keys from the environment: ``ZEGO_APP_ID`` and ``ZEGO_SERVER_SECRET``.

        ``ZEGO_BASE_URL`` is the default of ``base_url``. ``VOLC_MODERATION_QUOTAS`` is the default of ``quotas``:
        ``window``, ``file``, ``file:/path`` or the address of a Redis. The client closes the store that it names.
        """
        app_id, server_secret = zego_keys_from_env()
        options.setdefault("base_url", os.environ.get("ZEGO_BASE_URL") or BASE_URL)
        owned_quotas = None if "quotas" in options else quotas_from_env()
        options.setdefault("quotas", owned_quotas)
        client = cls(app_id=app_id, server_secret=server_secret, **options)
        client._state.owned_quotas = owned_quotas
        return client

    @classmethod
    def from_account(cls, table: AccountTable, **options: Unpack[ClientOptions]) -> Self:
        """Create a client with ``app_id``, ``server_secret`` and ``is_test`` of an account in an accounts file."""
        return cls(
            app_id=table.required_number("app_id"),
            server_secret=table.key("server_secret"),
            is_test=table.switch("is_test"),
            **options,
        )

    @property
    def account(self) -> str:
        """The account for which ZEGO counts calls: the AppId. Its test environment is counted separately."""
        return f"{self._app_id}{self._base_url.account_suffix}{' test' if self._is_test else ''}"

    def _documented_quota(self, action: type[Action[Any]]) -> Quota:
        test_quota = action.test_quota if self._is_test and issubclass(action, ZegoAction) else None
        return test_quota or action.quota

    def _are_refused(self, keys: Any, error: ModerationError) -> bool:  # noqa: ARG002 - the signature names no key
        return isinstance(error, AuthenticationError) and error.code == WRONG_SIGNATURE_CODE

    def _encode(self, action: Action[Any], keys: Any, now: float) -> Request:
        assert isinstance(action, ZegoAction)  # noqa: S101 - checked by call
        assert isinstance(keys, ZegoCredentials)  # noqa: S101 - from _keys_of
        if isinstance(action, StreamAction) and action.sequence is None:
            action = attrs.evolve(action, sequence=self._sequence.next(now))
        return protocol.encode(
            action,
            url=self._base_url.url,
            host=self._base_url.host,
            credentials=keys,
            nonce=secrets.token_hex(8),
            now=now,
            is_test=self._is_test,
        )

    def _decode(self, action: Action[R], request: Request, response: Response, *, repeated: bool) -> DecodedResponse[R]:
        assert isinstance(action, ZegoAction)  # noqa: S101 - checked by call
        return protocol.decode(action, request, response, repeated=repeated)
