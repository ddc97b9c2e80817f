"""Who is in which room and publishes what: the part that is the same at both vendors."""

import itertools
from collections.abc import Callable

import attrs

from volc_moderation.emulator.vendor import Medium

VERDICTS = ("PASS", "REVIEW", "REJECT")


@attrs.define(kw_only=True)
class Member:
    """A user in a room, who publishes one stream unless something forbids it."""

    user_id: str
    #: None if nothing is published.
    stream_id: str | None
    #: What a moderation finds in the stream.
    verdict: str
    #: Unix time.
    joined: float
    ip: str | None = None


class Rooms:
    """All rooms. One exists as long as somebody is in it.

    :param note_change: is told the room whenever somebody comes or goes.
    """

    def __init__(self, note_change: Callable[[tuple[str, ...]], None] = lambda _: None) -> None:
        self._rooms: dict[tuple[str, ...], dict[str, Member]] = {}
        self._note_change = note_change

    def enter(self, room: tuple[str, ...], member: Member) -> None:
        """Let a user in; who is there already is there anew."""
        checked_verdict(member.verdict)
        self._rooms.setdefault(room, {}).pop(member.user_id, None)
        self._rooms[room][member.user_id] = member
        self._note_change(room)

    def remove(self, room: tuple[str, ...], user: str) -> Member | None:
        """Take a user out."""
        member = self._rooms.get(room, {}).pop(user, None)
        if not self._rooms.get(room):
            self._rooms.pop(room, None)
        self._note_change(room)
        return member

    def clear(self, room: tuple[str, ...]) -> None:
        """Take everybody out."""
        self._rooms.pop(room, None)
        self._note_change(room)

    def members(self, room: tuple[str, ...]) -> list[Member]:
        """Return who is in a room, in the order in which they came."""
        return list(self._rooms.get(room, {}).values())

    def first(self, room: tuple[str, ...], most: int) -> list[str]:
        """Return the users who have been in a room for the longest time."""
        return list(itertools.islice(self._rooms.get(room, {}), most))

    def member(self, room: tuple[str, ...], user: str) -> Member:
        """Return one who is there."""
        try:
            return self._rooms[room][user]
        except KeyError:
            raise ValueError(f"{user} is not in the room") from None

    def everybody(self) -> list[tuple[tuple[str, ...], Member]]:
        """Return all users of all rooms."""
        return [(room, member) for room, members in self._rooms.items() for member in members.values()]

    def __contains__(self, room: tuple[str, ...]) -> bool:
        return room in self._rooms


def checked_verdict(verdict: str) -> str:
    """Check a verdict."""
    if verdict not in VERDICTS:
        raise ValueError(f"verdict must be one of {', '.join(VERDICTS)}")
    return verdict


def media_of(medium: str | None) -> tuple[Medium, ...]:
    """Return the media that a report is about; None for both."""
    if medium not in (None, "audio", "video"):
        raise ValueError("media must be audio, video or null")
    return ("audio", "video") if medium is None else ("audio",) if medium == "audio" else ("video",)
