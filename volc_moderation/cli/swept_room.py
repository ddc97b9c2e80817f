"""What a sweep knows about a room, and which stops it sends next. Pure.

The listing does not say whether a moderation is of one user or of the whole room. What is known: stopping a moderation
of the room for one user is an error (https://www.volcengine.com/docs/6348/1189715), and a moderation of the room takes
over those of its users, medium by medium (https://www.volcengine.com/docs/6348/104531).
"""

import enum
import math
from collections.abc import Iterable, Mapping, Sized

import attrs

from volc_moderation.volcengine import DetectionStatus, MediaType
from volc_moderation.wire import JSON

#: Stands for a stop of the whole room where otherwise the id of a user does.
ROOM = None
#: As ``before``: every moderation is old.
ANY_TIME = math.inf


class StopOutcome(enum.Enum):
    """What became of a stop."""

    STOPPED = "stopped"
    GONE = "gone"
    REFUSED = "refused"
    #: It was not sent, or its outcome is not known.
    UNKNOWN = "unknown"


@attrs.frozen
class RunningTask:
    """A running moderation, as it is listed."""

    user: str
    media: int
    #: In Unix seconds.
    started: float


@attrs.define
class SweptRoom:
    """A room, or one user of it if ``user_id`` is set.

    :param before: a Unix time. Moderations that started by then are old and are stopped; younger ones are left alone.
    """

    app_id: str
    room_id: str
    user_id: str | None
    before: float
    #: The running moderations by the last listing.
    running: list[RunningTask] = attrs.field(factory=list)
    #: How many items of the last listing could not be read.
    unreadable: int = 0
    #: Whether the last attempt to list the room succeeded.
    is_listed: bool = True
    #: The users of all old moderations that were ever listed.
    found: set[str] = attrs.field(factory=set)
    #: The outcome of each stop. No stop is sent twice.
    outcomes: dict[str | None, StopOutcome] = attrs.field(factory=dict)

    def record_listing(self, tasks: Iterable[JSON], unreadable: Sized) -> None:
        """Record a listing: its items in the vendor's spelling, and those that could not be read."""
        self.running = [
            RunningTask(task["UserId"], task["MediaType"], task["CreateTime"])
            for task in tasks
            if task["Status"] != DetectionStatus.FINISHED  # a task with an unknown status may be running
        ]
        self.unreadable, self.is_listed = len(unreadable), True
        self.found |= {task.user for task in self.old}

    @property
    def old(self) -> list[RunningTask]:
        """The running moderations that are to be stopped."""
        return [task for task in self.running if task.started <= self.before]

    @property
    def young(self) -> list[RunningTask]:
        """The running moderations that are to be left alone."""
        return [task for task in self.running if task.started > self.before]

    def next_stops(self) -> list[str | None]:
        """Return what to stop next: users or ``ROOM``. Empty if nothing old runs, or nothing more can be done."""
        old = self.old
        if not self.is_listed or not (old or self.unreadable):
            return []
        if self.user_id is None and ROOM not in self.outcomes and self._may_stop_room():
            return [ROOM]
        return [user for user in dict.fromkeys(task.user for task in old) if user and user not in self.outcomes]

    def _may_stop_room(self) -> bool:
        """Return whether a stop of the room ends only old moderations.

        It does if there are no young ones. Otherwise the moderations of old users are stopped first, one by one. If one
        of these stops is refused, a moderation of the room is running. That one is old if each running medium has an
        old user: the listed time of a user is when the user triggered the moderation, which is later than its start.
        """
        young = self.young
        if not young:
            return not self.unreadable or self.before == ANY_TIME
        if self.unreadable or StopOutcome.REFUSED not in self.outcomes.values():
            return False
        return _media_of(young) <= _media_of(self.old)

    def counts(self) -> Mapping[str, int]:
        """Return how many moderations were found, and how many of them had each outcome."""
        if not self.is_listed:
            return {"found": len(self.found), "unknown": len(self.found)}
        running = {task.user for task in self.old}
        ended = self.found - running
        stopped = {user for user in ended if StopOutcome.STOPPED in {self.outcomes.get(user), self.outcomes.get(ROOM)}}
        return {
            "found": len(self.found),
            "stopped": len(stopped),
            "already gone": len(ended) - len(stopped),
            "still running": len(running),
        }


def _media_of(tasks: Iterable[RunningTask]) -> set[int]:
    """Return the single media of moderations: a moderation of both counts as two."""
    both = {MediaType.VIDEO, MediaType.AUDIO}
    return {int(medium) for task in tasks for medium in (both if task.media == MediaType.BOTH else {task.media})}
