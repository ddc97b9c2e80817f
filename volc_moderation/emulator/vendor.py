"""The interface of the two emulated vendors, and the values that it exchanges with the app."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import attrs

from volc_moderation.emulator.quota_enforcement import QuotaEnforcer

Medium = Literal["audio", "video"]


@attrs.frozen
class VendorRequest:
    """A request to a vendor."""

    method: str
    raw_query: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    #: The parameters of the action: the JSON body of a POST, or the query of a GET, in which a name that is repeated or
    #: ends in ``[]`` has a list. None if they cannot be read.
    parameters: Mapping[str, Any] | None

    @property
    def action(self) -> str:
        """The name of the action, or an empty text."""
        return self.query.get("Action", "")

    @property
    def room(self) -> str:
        """The room of the call, or an empty text."""
        room = (self.parameters or {}).get("RoomId")
        return room if isinstance(room, str) else ""


@attrs.frozen
class VendorAnswer:
    """A vendor's answer."""

    status: int
    envelope: Mapping[str, Any]
    is_success: bool = False


#: Takes the name and the value of a field. Returns the value to use, or raises the vendor's refusal. The value of a
#: missing required field is None.
Check = Callable[[str, Any], Any]


@attrs.frozen(kw_only=True)
class Fields:
    """The fields that an action accepts, each with its check.

    An action gets only the fields that ``parse`` returns, so it cannot use an unchecked value. Unknown fields are
    ignored.

    :param brackets: whether a list in a query must be spelled ``Name[]``; otherwise it may also be spelled ``Name``.
    """

    required: Mapping[str, Check] = attrs.field(factory=dict)
    optional: Mapping[str, Check] = attrs.field(factory=dict)
    brackets: bool = False

    def parse(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the checked fields that are present. Names lose a trailing ``[]``."""
        values = {}
        for name, check in self.required.items():
            values[name.removesuffix("[]")] = check(name, parameters.get(self._spelling(name, parameters)))
        for name, check in self.optional.items():
            spelling = self._spelling(name, parameters)
            # OPEN: null. Here it is a value of the wrong type.
            if spelling in parameters:
                values[name.removesuffix("[]")] = check(name, parameters[spelling])
        return values

    def _spelling(self, name: str, parameters: Mapping[str, Any]) -> str:
        return name if self.brackets or name in parameters else name.removesuffix("[]")


@attrs.frozen(kw_only=True)
class ActionSpec:
    """An action: its method, its quotas, its fields, and its effect."""

    method: Literal["GET", "POST"] = "POST"
    #: Calls per second.
    quota: int
    #: The quota in ZEGO's test environment; None if it is the same.
    test_quota: int | None = None
    #: Calls for one room, and the number of seconds that they are counted over.
    room_quota: tuple[int, float] | None = None
    #: ZEGO's families of actions have different error codes.
    family: Literal["room", "media-service"] = "room"
    #: Volcengine's API versions.
    versions: frozenset[str] = frozenset()
    fields: Fields
    #: Takes the parsed fields, the Unix time and the version. Returns the result or raises the vendor's refusal.
    perform: Callable[[Mapping[str, Any], float, str], Any]


@attrs.frozen(kw_only=True)
class Callback:
    """A signed callback, ready to be sent."""

    vendor: str
    event: str
    url: str
    body: Mapping[str, Any]
    #: Seconds before each further delivery, until one is acknowledged.
    retry_delays: tuple[float, ...]
    #: The HTTP statuses that acknowledge it.
    success_statuses: range


class EmulatedVendor(Protocol):
    """One vendor."""

    quota_enforcer: QuotaEnforcer

    def quota_name(self, call: VendorRequest) -> str:
        """Return the name under which a call is counted."""

    def check(self, call: VendorRequest, now: float) -> VendorAnswer | None:
        """Check the signature, the timestamp and the action. Return the refusal, or None."""

    def throttle(self, call: VendorRequest, *, for_room: bool) -> VendorAnswer:
        """Return the refusal for an exceeded quota, of the action or of the room."""

    def fail(self, call: VendorRequest, code: str | int, message: str, status: int | None) -> VendorAnswer:
        """Return a refusal with the code of a fault."""

    def perform(self, call: VendorRequest, now: float) -> VendorAnswer:
        """Perform a call."""

    # The following methods take the Unix time first; their other arguments depend on the vendor.

    def join(self, *args: Any, **kwargs: Any) -> bool:
        """Let a user join a room; False if a ban or a rule keeps the user out."""

    def leave(self, *args: Any, **kwargs: Any) -> None:
        """Let a user leave a room."""

    def report(self, *args: Any, **kwargs: Any) -> list[Callback]:
        """Return the callbacks of all moderations that cover a user."""

    def report_all(self, now: float) -> list[Callback]:
        """Return the callbacks of all moderations of all users."""

    def pop_callbacks(self) -> list[Callback]:
        """Return the callbacks that calls have caused since the last time."""

    def reset(self) -> None:
        """Forget everything."""
