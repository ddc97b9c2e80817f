"""The client of ZEGO's Server API: its settings, keys and quotas. The methods are in ``methods.py``."""

import os
import secrets
import time
from collections.abc import Callable
from typing import Any, Self, TypeVar, Unpack

import attrs

from volc_moderation.action import Action, Quota
from volc_moderation.client import DEFAULT_TIMEOUT, ClientOptions
from volc_moderation.credentials import ZegoCredentials, zego_keys_from_env
from volc_moderation.errors import ConfigurationError, describe
from volc_moderation.quotas.permit import Priority, Quotas
from volc_moderation.retry import RetryPolicy
from volc_moderation.transport import AsyncHTTPClient
from volc_moderation.wire import Answer, Request, Response
from volc_moderation.zego import protocol
from volc_moderation.zego.actions import ZegoAction
from volc_moderation.zego.media_service import StreamAction
from volc_moderation.zego.methods import ZegoMethods

R = TypeVar("R")

#: Independent of the region.
BASE_URL = "https://rtc-api.zego.im"


class ZegoClientOptions(ClientOptions, total=False):
    """The settings of a ``ZegoClient`` besides its keys."""

    is_test: bool | None


class ZegoClient(ZegoMethods):
    """Calls ZEGO's Server API, signed, retried, and under the AppId's quotas. One per event loop.

    :param app_id: the AppId, a number from 1 to 4294967295.
    :param server_secret: the ServerSecret of the project; not the CallbackSecret.
    :param is_test: only for projects made before 2021-11-17, which have a test environment; None sends nothing.
    :param base_url: where to send: by default ``https://rtc-api.zego.im``, which is right everywhere. ZEGO advises the
        host of the region where your own server runs: ``https://rtc-api-sha.zego.im`` (mainland China), ``…-hkg…``
        (Hong Kong, Macao, Taiwan), ``…-fra…`` (Europe), ``…-lax…`` (US West), ``…-bom…`` (Asia-Pacific), ``…-sgp…``
        (South-East Asia). Or the emulator's ``http://127.0.0.1:8765``. https://doc-zh.zego.im/article/19458
    :param quotas: a store of ``volc_moderation.quotas``; by default one that all clients of the event loop share.
    :param retry: attempts and back-off; by default ``RetryPolicy()``.
    :param deadline: seconds for a whole call, waits for quota and retries included; None for no limit. A retry that
        ZEGO recommends takes 300 s: set a deadline where nobody can wait that long.
    :param timeout: seconds for one request.
    :param http_client: an ``httpx.AsyncClient`` or ``httpx2.AsyncClient``; whoever made it closes it.
    :param clock: returns the Unix time that signatures bear.
    :param priority: ``"interactive"``, or ``"bulk"`` for calls that wait behind interactive ones for the quota.

    Raises ``ConfigurationError`` for a wrong setting.
    """

    vendor = "zego"
    _actions = ZegoAction

    def __init__(
        self,
        *,
        app_id: int,
        server_secret: str,
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
        self._credentials = ZegoCredentials.make(app_id, server_secret)
        if is_test not in (None, True, False):
            raise ConfigurationError(f"is_test must be a bool or None; got {describe(is_test)}")
        super().__init__(
            base_url=base_url,
            quotas=quotas,
            retry=retry,
            deadline=deadline,
            timeout=timeout,
            http_client=http_client,
            clock=clock,
            priority=priority,
        )
        self._is_test = is_test
        self._sequence = 0

    @classmethod
    def from_env(cls, **settings: Unpack[ZegoClientOptions]) -> Self:
        """Make a client with the keys of the environment: ``ZEGO_APP_ID`` and ``ZEGO_SERVER_SECRET``.

        ``ZEGO_BASE_URL`` is read too unless ``base_url`` is given.
        """
        app_id, server_secret = zego_keys_from_env()
        settings.setdefault("base_url", os.environ.get("ZEGO_BASE_URL") or BASE_URL)
        return cls(app_id=app_id, server_secret=server_secret, **settings)

    @property
    def account(self) -> str:
        """What ZEGO counts calls by: the AppId, and its test environment on its own."""
        return f"{self._credentials.app_id}{self._base_url.own_accounts}{' test' if self._is_test else ''}"

    def quota_of(self, action: type[Action[Any]]) -> Quota:
        """Return the documented quota of an action, in the test environment the smaller one."""
        smaller = action.test_quota if self._is_test and issubclass(action, ZegoAction) else None
        return smaller or action.quota

    def _encode(self, action: Action[Any], now: float) -> Request:
        assert isinstance(action, ZegoAction)  # noqa: S101 - checked by call
        if isinstance(action, StreamAction) and action.sequence is None:
            # It must grow with every call, however many there are in a millisecond.
            self._sequence = max(self._sequence + 1, int(now * 1000))
            action = attrs.evolve(action, sequence=str(self._sequence))
        return protocol.encode(
            action,
            url=self._base_url.url,
            host=self._base_url.host,
            credentials=self._credentials,
            nonce=secrets.token_hex(8),
            now=now,
            is_test=self._is_test,
        )

    def _decode(self, action: Action[R], request: Request, response: Response, *, repeated: bool) -> Answer[R]:
        assert isinstance(action, ZegoAction)  # noqa: S101 - checked by call
        return protocol.decode(action, request, response, repeated=repeated)
