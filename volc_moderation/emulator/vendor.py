"""What the emulator needs of each vendor."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import attrs

from volc_moderation.emulator.counter import Counter

Medium = Literal["audio", "video"]


@attrs.frozen
class Call:
    """A request as it came."""

    method: str
    raw_query: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    #: What the action is given: the JSON body of a POST, the query of a GET, in which a repeated name, or one that ends
    #: in ``[]``, has a list. None if it cannot be read.
    parameters: Mapping[str, Any] | None

    @property
    def action(self) -> str:
        """The name of the action, or an empty text."""
        return self.query.get("Action", "")

    @property
    def room(self) -> str:
        """The room that the call is about, if it is about one."""
        room = (self.parameters or {}).get("RoomId")
        return room if isinstance(room, str) else ""


@attrs.frozen
class Reply:
    """An answer of a vendor."""

    status: int
    envelope: Mapping[str, Any]
    is_success: bool = False


#: Reads the value of the field of a name, or refuses it. A required field that is absent reads as None.
Check = Callable[[str, Any], Any]


@attrs.frozen(kw_only=True)
class Fields:
    """The fields that an action takes, each with its check.

    An action is given what is read here and nothing else, so nothing is used that was not checked. What is not a field
    is passed over.

    :param brackets: whether a list of a query must be spelled ``Name[]``; otherwise ``Name`` will do too.
    """

    required: Mapping[str, Check] = attrs.field(factory=dict)
    optional: Mapping[str, Check] = attrs.field(factory=dict)
    brackets: bool = False

    def read(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields that are there. A name that ends in ``[]`` loses that end."""
        found = {}
        for name, check in self.required.items():
            found[name.removesuffix("[]")] = check(name, given.get(self._spelled(name, given)))
        for name, check in self.optional.items():
            spelled = self._spelled(name, given)
            # OPEN: null. Here it is a value, of the wrong type.
            if spelled in given:
                found[name.removesuffix("[]")] = check(name, given[spelled])
        return found

    def _spelled(self, name: str, given: Mapping[str, Any]) -> str:
        return name if self.brackets or name in given else name.removesuffix("[]")


@attrs.frozen(kw_only=True)
class Rule:
    """What is known of an action: how it is called, how often, what it takes, and what it does."""

    method: Literal["GET", "POST"] = "POST"
    quota: int
    #: The quota in ZEGO's test environment; None: the same.
    test_quota: int | None = None
    #: Calls, and in how many seconds, for one room.
    room_quota: tuple[int, float] | None = None
    #: ZEGO's families have codes of their own.
    family: Literal["room", "media-service"] = "room"
    #: Volcengine's versions.
    versions: frozenset[str] = frozenset()
    takes: Fields
    #: Given the fields as read, the Unix time, and the version.
    perform: Callable[[Mapping[str, Any], float, str], Any]


@attrs.frozen(kw_only=True)
class Callback:
    """A signed callback, ready to go."""

    vendor: str
    event: str
    url: str
    body: Mapping[str, Any]
    #: Seconds before each further delivery, until one is acknowledged.
    pauses: tuple[float, ...]
    #: Statuses that acknowledge it.
    acknowledged_by: range


class Vendor(Protocol):
    """One vendor's rules."""

    counter: Counter

    def counted_as(self, call: Call) -> str:
        """Return the name under which a call is counted."""

    def check(self, call: Call, now: float) -> Reply | None:
        """Refuse a call for its signature, timestamp or action; None if it may go on."""

    def throttle(self, call: Call, *, for_room: bool) -> Reply:
        """Refuse a call for its rate, of the action or of the room."""

    def fail(self, call: Call, code: str | int, message: str, status: int | None) -> Reply:
        """Refuse a call with a code that was asked for."""

    def perform(self, call: Call, now: float) -> Reply:
        """Carry out a call."""

    # What these take is the vendor's own, after the Unix time.

    def join(self, *args: Any, **kwargs: Any) -> bool:
        """Let a user join a room; False if something keeps the user out."""

    def leave(self, *args: Any, **kwargs: Any) -> None:
        """Let a user leave a room."""

    def report(self, *args: Any, **kwargs: Any) -> list[Callback]:
        """Return what the moderations that cover a user call back."""

    def report_all(self, now: float) -> list[Callback]:
        """Return what all moderations find in all rooms."""

    def take_callbacks(self) -> list[Callback]:
        """Return what calls have caused to be called back since."""

    def reset(self) -> None:
        """Forget everything."""
