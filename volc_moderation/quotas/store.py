"""What the stores of window permits have in common: one window per quota, the user's limits, one event loop."""

import asyncio
import difflib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

import attrs

from volc_moderation import telemetry
from volc_moderation.action import Action, Quota, actions_derived_from, method_name
from volc_moderation.errors import ConfigurationError, describe
from volc_moderation.quotas.permit import Permit, Priority, QuotaKey, QuotaState, hash_account
from volc_moderation.telemetry.instruments import Metric

#: A shared store keeps what was learned of an unpublished quota for this long.
LEARNED_TTL = 86_400.0  # seconds
#: Windows that a store keeps before it looks for idle ones to drop.
PRUNE_THRESHOLD = 1000


def validate_limits(limits: Mapping[str, int], actions: Iterable[str] | None = None) -> dict[str, int]:
    """Return the limits by the vendors' names of the actions. A name that no action has would limit nothing.

    :param actions: the vendors' names of the actions that there are; None for those of all vendors.

    Raises ``ConfigurationError``.
    """
    names = _by_spelling(actions_derived_from(Action) if actions is None else actions)
    if actions is None and not names.keys() >= limits.keys():
        # A vendor is imported when it is first used, and that may be later. By name, because vendors build on quotas.
        import_module("volc_moderation.vendors")
        names = _by_spelling(actions_derived_from(Action))
    limits_by_action: dict[str, int] = {}
    for name, limit in limits.items():
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise ConfigurationError(f"limits[{name!r}] must be an int of at least 1; got {describe(limit)}")
        if name not in names:
            near = difflib.get_close_matches(str(name), names, 1)
            hint = f"; is it {near[0]!r}?" if near else "; actions of your own must be defined first"
            raise ConfigurationError(f"limits: there is no action {name!r}{hint}")
        if names[name] in limits_by_action:
            raise ConfigurationError(f"limits has {names[name]} twice")
        limits_by_action[names[name]] = limit
    return limits_by_action


def _by_spelling(actions: Iterable[str]) -> dict[str, str]:
    """Return the vendors' names of actions, by these names and by those of the methods."""
    names = {name: name for name in actions}
    return names | {method_name(name): name for name in names}


class Window(Protocol):
    """The permits of one key."""

    async def acquire(self, priority: Priority) -> Permit:
        """Wait for a permit."""

    def state(self) -> QuotaState:
        """Return the status of the quota."""

    def is_idle(self) -> bool:
        """Return whether no permit is out and no call waits, so that a new window would be the same."""


W = TypeVar("W", bound=Window)


class QuotaStore(ABC, Generic[W]):
    """A store of permits that belongs to one event loop."""

    def __init__(self, limits: Mapping[str, int] | None, bulk_share: float) -> None:
        self._limits = validate_limits(limits) if limits else {}
        is_number = isinstance(bulk_share, (int, float)) and not isinstance(bulk_share, bool)
        if not is_number or not 0 <= bulk_share < 1:
            raise ConfigurationError(f"bulk_share must be a number of at least 0, below 1; got {describe(bulk_share)}")
        self._bulk_share = bulk_share
        self._loop: asyncio.AbstractEventLoop | None = None
        self._windows: dict[QuotaKey, W] = {}
        self._prune_at = PRUNE_THRESHOLD

    async def acquire(self, key: QuotaKey, quota: Quota, priority: Priority = "interactive") -> Permit:
        """Wait for a permit.

        :param key: what the vendor counts by.
        :param quota: the documented quota; a limit of the user's replaces it.
        :param priority: interactive calls go before bulk calls.

        Raises ``QuotaUnavailable`` if no permit can be granted, and ``ConfigurationError`` in another event loop.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None:
                name = type(self).__name__
                raise ConfigurationError(f"these {name} belong to another event loop; make one per loop")
            self._loop = loop
            self._bind(loop)
            telemetry.register(self, _measure)
        window = self._windows.get(key)
        if window is None:
            if len(self._windows) >= self._prune_at:
                self._prune_idle_windows()
            window = self._windows[key] = self._create_window(key, self._configured_quota(key, quota), loop)
        return await window.acquire(priority)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Return what is shared with other processes. A store that shares nothing does nothing."""

    def snapshot(self) -> dict[QuotaKey, QuotaState]:
        """Return the status of each quota that was used recently."""
        return {key: window.state() for key, window in self._windows.items()}

    def state_of(self, key: QuotaKey) -> QuotaState | None:
        """Return the status of one quota; None if it was not used recently."""
        window = self._windows.get(key)
        return None if window is None else window.state()

    @abstractmethod
    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Prepare for the event loop and the process that first use the store."""

    @abstractmethod
    def _create_window(self, key: QuotaKey, quota: Quota, loop: asyncio.AbstractEventLoop) -> W:
        """Create the window of a key."""

    def _configured_quota(self, key: QuotaKey, quota: Quota) -> Quota:
        """Return the quota that applies: the user's limit for the action, else the documented one."""
        if key.room is not None or key.action not in self._limits:
            return quota
        return attrs.evolve(quota, limit=self._limits[key.action], published=True)

    def _prune_idle_windows(self) -> None:
        """Drop the idle windows: rooms come and go."""
        self._windows = {key: window for key, window in self._windows.items() if not window.is_idle()}
        self._prune_at = max(PRUNE_THRESHOLD, 2 * len(self._windows))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._limits or ''})"


def _measure(store: QuotaStore[Any]) -> Iterator[telemetry.Measurement]:
    """Yield what metrics show of a store. Rooms are many: of their quotas, only the waiting calls are shown."""
    for key, state in store.snapshot().items():
        attributes = key.vendor, hash_account(key.account), key.action
        yield telemetry.Measurement(Metric.QUOTA_WAITERS, state.waiters, attributes)
        if key.room is None:
            yield telemetry.Measurement(Metric.QUOTA_PERMITS, state.permits_out, attributes)
            yield telemetry.Measurement(Metric.QUOTA_LIMIT, state.effective, attributes)
