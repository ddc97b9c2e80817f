"""What a client knows of its vendor and of its account: the actions, and their quotas."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self, TypeVar, Unpack

import attrs

from volc_moderation.account_table import AccountTable
from volc_moderation.action import Action, Quota, actions_derived_from, complete
from volc_moderation.call_options import ClientOptions
from volc_moderation.quotas.permit import QuotaKey
from volc_moderation.quotas.store import validate_limits

R = TypeVar("R")


class VendorAccount(ABC):
    """An account of a vendor: the base class of ``Client``, without the calls."""

    vendor: ClassVar[str]
    #: The base class of the vendor's actions.
    _actions: ClassVar[type[Action[Any]]]

    def __init__(self) -> None:
        #: Values of fields that actions leave to the client.
        self._action_defaults: dict[str, str] = {}
        #: Quotas that the user has set, by the name of the action.
        self._limits: dict[str, int] = {}
        #: What the vendor counts each action by, by the name of the action.
        self._quota_keys: dict[str, QuotaKey] = {}

    def complete(self, action: Action[R]) -> Action[R]:
        """Return an action with the client's values for what it leaves to the client, as it would be sent.

        Raises ``InvalidActionError`` if a required field has a value in neither.
        """
        return complete(action, self._action_defaults)

    @classmethod
    def actions(cls) -> dict[str, type[Action[Any]]]:
        """Return all actions of the vendor by name, including those that you have defined."""
        return actions_derived_from(cls._actions)

    @classmethod
    @abstractmethod
    def from_env(cls, **options: Unpack[ClientOptions]) -> Self:
        """Create a client with the keys of the environment."""

    @classmethod
    @abstractmethod
    def from_account(cls, table: AccountTable, **options: Unpack[ClientOptions]) -> Self:
        """Create a client with the settings of an account in an accounts file, as ``accounts.load`` does."""

    @classmethod
    def accepts(cls, action: Action[Any]) -> bool:
        """Return whether an action is one of the vendor's."""
        return isinstance(action, cls._actions)

    @property
    @abstractmethod
    def account(self) -> str:
        """The account for which the vendor counts calls. It does not change when keys are renewed.

        Raises ``ConfigurationError`` if it is not known yet: ``resolve_account`` learns it.
        """

    async def resolve_account(self) -> str:
        """Return the account for which the vendor counts calls. If it is not known yet, it comes with the keys.

        Raises ``AuthenticationError`` if there are no keys, and ``ConfigurationError`` if they do not tell the account.
        """
        return self.account

    @property
    def former_accounts(self) -> frozenset[str]:
        """Other names that the account had, under which its jobs may be stored."""
        return frozenset()

    def set_limits(self, limits: Mapping[str, int]) -> None:
        """Replace the documented quotas of actions for this account, such as those that the vendor has raised.

        :param limits: calls per window, at least 1, by action: ``{"StopWebcast": 300}`` or ``{"stop_webcast": 300}``.

        Raises ``ConfigurationError`` for a wrong limit, and for an unknown action.
        """
        self._limits = validate_limits(limits, self.actions())

    def quota_of(self, action: type[Action[Any]]) -> Quota:
        """Return the quota of an action: the documented one, unless ``set_limits`` has replaced it."""
        limit = self._limits.get(action.name)
        quota = self._documented_quota(action)
        return quota if limit is None else attrs.evolve(quota, limit=limit, published=True)

    def _documented_quota(self, action: type[Action[Any]]) -> Quota:
        return action.quota

    def _quota_key_of(self, action: Action[Any]) -> QuotaKey:
        """Return what the vendor counts an action by."""
        key, account = self._quota_keys.get(action.name), self.account
        if key is None or key.account != account:  # an account may become known only when keys are renewed
            key = self._quota_keys[action.name] = QuotaKey(self.vendor, account, action.name)
        return key
