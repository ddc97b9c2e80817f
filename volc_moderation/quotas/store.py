"""What stores have in common: a window per quota, the limits that a user set, one event loop."""

import asyncio
import difflib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Generic, Protocol, TypeVar

import attrs

from volc_moderation.action import Action, Quota, actions_below, method_name
from volc_moderation.errors import ConfigurationError, describe
from volc_moderation.quotas.permit import Permit, Priority, QuotaKey, QuotaState

#: How many windows are kept before the idle ones among them are looked for.
CROWD = 1000


def _checked(limits: Mapping[str, int]) -> dict[str, int]:
    """Return limits by the vendors' names of the actions. One that no call meets limits nothing."""
    names = {name: name for name in actions_below(Action)}
    names |= {method_name(name): name for name in names}
    checked: dict[str, int] = {}
    for name, limit in limits.items():
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise ConfigurationError(f"limits[{name!r}] must be an int of at least 1; got {describe(limit)}")
        if name not in names:
            near = difflib.get_close_matches(str(name), names, 1)
            hint = f"; is it {near[0]!r}?" if near else "; one of your own must be defined before"
            raise ConfigurationError(f"limits: there is no action {name!r}{hint}")
        if names[name] in checked:
            raise ConfigurationError(f"limits has {names[name]} twice")
        checked[names[name]] = limit
    return checked


class OneQuota(Protocol):
    """The permits of one key."""

    async def acquire(self, priority: Priority) -> Permit:
        """Wait for a permit."""

    def state(self) -> QuotaState:
        """Return how it stands."""

    def is_idle(self) -> bool:
        """Tell whether no permit is out and nobody waits, so that a new one would be the same."""


W = TypeVar("W", bound=OneQuota)


class Store(ABC, Generic[W]):
    """A store of permits that belongs to one event loop."""

    def __init__(self, limits: Mapping[str, int] | None, bulk_share: float) -> None:
        self._limits = _checked(limits) if limits else {}
        is_number = isinstance(bulk_share, (int, float)) and not isinstance(bulk_share, bool)
        if not is_number or not 0 <= bulk_share < 1:
            raise ConfigurationError(f"bulk_share must be a number of at least 0, below 1; got {describe(bulk_share)}")
        self._bulk_share = bulk_share
        self._loop: asyncio.AbstractEventLoop | None = None
        self._windows: dict[QuotaKey, W] = {}
        self._crowd = CROWD

    async def acquire(self, key: QuotaKey, quota: Quota, priority: Priority = "interactive") -> Permit:
        """Wait for a permit."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None:
                name = type(self).__name__
                raise ConfigurationError(f"these {name} belong to another event loop; make one per loop")
            self._loop = loop
            self._bind(loop)
        window = self._windows.get(key)
        if window is None:
            if len(self._windows) >= self._crowd:
                self._forget_idle()
            window = self._windows[key] = self._open(key, self._limited(key, quota), loop)
        return await window.acquire(priority)

    def snapshot(self) -> dict[QuotaKey, QuotaState]:
        """Return how it stands with each quota that was used of late."""
        return {key: window.state() for key, window in self._windows.items()}

    @abstractmethod
    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Get ready for the event loop, and the process, that the store turned out to belong to."""

    @abstractmethod
    def _open(self, key: QuotaKey, quota: Quota, loop: asyncio.AbstractEventLoop) -> W:
        """Make the window of a key."""

    def _limited(self, key: QuotaKey, quota: Quota) -> Quota:
        """Return the quota that holds: the user's limit of the action, or the documented one."""
        if key.room is not None or key.action not in self._limits:
            return quota
        return attrs.evolve(quota, limit=self._limits[key.action], published=True)

    def _forget_idle(self) -> None:
        """Forget the windows that hold nothing: rooms come and go."""
        self._windows = {key: window for key, window in self._windows.items() if not window.is_idle()}
        self._crowd = max(CROWD, 2 * len(self._windows))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._limits or ''})"
