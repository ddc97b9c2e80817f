"""What a sweep knows of a room, and which stops it sends next. Pure.

The listing does not tell whether a moderation is of one user or of the room. What is known: one of a room is not
stopped for one user, that is an error (https://www.volcengine.com/docs/6348/1189715). And one of a room takes over
those of its users, medium by medium (https://www.volcengine.com/docs/6348/104531).
"""

import enum
import math
from collections.abc import Iterable, Mapping, Sized

import attrs

from volc_moderation.volcengine import DetectionStatus, MediaType
from volc_moderation.wire import JSON

#: A stop of the whole room; else it is of the user with that id.
ROOM = None
#: The time by which whatever runs is old.
ALL = math.inf


class Outcome(enum.Enum):
    """What came of a stop."""

    STOPPED = "stopped"
    GONE = "gone"
    REFUSED = "refused"
    #: It was not sent, or nobody knows what became of it.
    UNKNOWN = "unknown"


@attrs.frozen
class Running:
    """A moderation that runs, as it is listed."""

    user: str
    media: int
    #: In Unix seconds.
    started: float


@attrs.define
class SweptRoom:
    """A room, or if ``user`` is given, one user in it.

    :param before: what was started by then (Unix seconds) is old, and is to be stopped; the rest is left alone.
    """

    app_id: str
    room_id: str
    user_id: str | None
    before: float
    #: What runs, as last listed, and how many items of the list could not be read.
    running: list[Running] = attrs.field(factory=list)
    unreadable: int = 0
    #: Whether the last attempt to list it succeeded.
    is_listed: bool = True
    #: The users of the old moderations that were found.
    found: set[str] = attrs.field(factory=set)
    #: What came of each stop; none is sent twice.
    outcomes: dict[str | None, Outcome] = attrs.field(factory=dict)

    def see(self, tasks: Iterable[JSON], unreadable: Sized) -> None:
        """Take down a listing: its items as the vendor spells them, and those that could not be read."""
        self.running = [
            Running(task["UserId"], task["MediaType"], task["CreateTime"])
            for task in tasks
            if task["Status"] != DetectionStatus.FINISHED  # one that is not known may well mean that it runs
        ]
        self.unreadable, self.is_listed = len(unreadable), True
        self.found |= {one.user for one in self.old}

    @property
    def old(self) -> list[Running]:
        """What is to be stopped and runs."""
        return [one for one in self.running if one.started <= self.before]

    @property
    def young(self) -> list[Running]:
        """What was started later."""
        return [one for one in self.running if one.started > self.before]

    def next_stops(self) -> list[str | None]:
        """Return what to stop next: users, or ``ROOM``; nothing if nothing old runs, or nothing more can be done."""
        old = self.old
        if not self.is_listed or not (old or self.unreadable):
            return []
        if self.user_id is None and ROOM not in self.outcomes and self._may_stop_room():
            return [ROOM]
        return [user for user in dict.fromkeys(one.user for one in old) if user and user not in self.outcomes]

    def _may_stop_room(self) -> bool:
        """Tell whether a stop of the room ends nothing that is to be left alone.

        If nothing is young, it does not. Else the moderations of old users are stopped first, one by one. A refusal
        proves that one of the room runs. It is an old one if for each medium that runs there is an old user: users are
        listed from when they triggered it, which is later than its start.
        """
        young = self.young
        if not young:
            return not self.unreadable or self.before == ALL
        if self.unreadable or Outcome.REFUSED not in self.outcomes.values():
            return False
        return _media(young) <= _media(self.old)

    def counts(self) -> Mapping[str, int]:
        """Return how many moderations were found, and what has become of them."""
        if not self.is_listed:
            return {"found": len(self.found), "not known": len(self.found)}
        running = {one.user for one in self.old}
        ended = self.found - running
        stopped = {user for user in ended if Outcome.STOPPED in {self.outcomes.get(user), self.outcomes.get(ROOM)}}
        return {
            "found": len(self.found),
            "stopped": len(stopped),
            "already gone": len(ended) - len(stopped),
            "still running": len(running),
        }


def _media(running: Iterable[Running]) -> set[int]:
    """Return the media, each for itself."""
    both = {MediaType.VIDEO, MediaType.AUDIO}
    return {int(one) for item in running for one in (both if item.media == MediaType.BOTH else {item.media})}
