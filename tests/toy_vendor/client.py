"""The vendor's client."""

import os
import time
from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar, Unpack

from tests.toy_vendor import protocol
from tests.toy_vendor.actions import Closed, CloseStage, CountListeners, ListenerCount, ToyAction
from volc_moderation import Action, ConfigurationError, RetryPolicy
from volc_moderation.account_table import AccountTable
from volc_moderation.call_options import DEFAULT_TIMEOUT, ClientOptions
from volc_moderation.client import Client
from volc_moderation.credentials import Secret
from volc_moderation.http_clients import AsyncHTTPClient
from volc_moderation.quotas import Priority, Quotas
from volc_moderation.renewed_keys import FixedKeys
from volc_moderation.wire import DecodedResponse, Request, Response

R = TypeVar("R")

BASE_URL = "https://api.toy.example"


class ToyClient(Client):
    """Calls the vendor's API."""

    vendor = "toy"
    _actions = ToyAction

    def __init__(
        self,
        *,
        key: str,
        secret: str,
        base_url: str = BASE_URL,
        quotas: Quotas | None = None,
        retry: RetryPolicy | None = None,
        deadline: float | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        http_client: AsyncHTTPClient | None = None,
        clock: Callable[[], float] = time.time,
        priority: Priority = "interactive",
    ) -> None:
        self._key = key
        super().__init__(
            keys=FixedKeys(Secret(secret)),
            base_url=base_url,
            quotas=quotas,
            retry=retry,
            deadline=deadline,
            timeout=timeout,
            http_client=http_client,
            clock=clock,
            priority=priority,
        )

    @classmethod
    def from_env(cls, **options: Unpack[ClientOptions]) -> Self:
        """Create a client with ``TOY_KEY``, ``TOY_SECRET`` and ``TOY_BASE_URL``."""
        if not os.environ.get("TOY_KEY") or not os.environ.get("TOY_SECRET"):
            raise ConfigurationError("set TOY_KEY and TOY_SECRET")
        options.setdefault("base_url", os.environ.get("TOY_BASE_URL") or BASE_URL)
        return cls(key=os.environ["TOY_KEY"], secret=os.environ["TOY_SECRET"], **options)

    @classmethod
    def from_account(cls, table: AccountTable, **options: Unpack[ClientOptions]) -> Self:
        """Create a client with ``key`` and ``secret`` of an account in an accounts file."""
        return cls(key=table.required_text("key"), secret=table.fixed_key("secret"), **options)

    @property
    def account(self) -> str:
        """The key, by which the vendor counts calls."""
        return f"{self._key}{self._base_url.account_suffix}"

    def _encode(self, action: Action[Any], keys: Any, now: float) -> Request:
        assert isinstance(action, ToyAction)
        url, host = self._base_url.url, self._base_url.host
        return protocol.encode(action, url=url, host=host, key=self._key, secret=keys.reveal(), now=now)

    def _decode(self, action: Action[R], request: Request, response: Response, *, repeated: bool) -> DecodedResponse[R]:
        assert isinstance(action, ToyAction)
        return protocol.decode(action, request, response, repeated=repeated)

    async def close_stage(self, *, room_id: str, reasons: Sequence[str] = ()) -> Closed:
        """Close the stage of a room. See ``CloseStage``."""
        return (await self.call(CloseStage(room_id=room_id, reasons=reasons))).result

    async def count_listeners(self, *, room_id: str) -> ListenerCount:
        """Count the listeners of a stage. See ``CountListeners``."""
        return (await self.call(CountListeners(room_id=room_id))).result
