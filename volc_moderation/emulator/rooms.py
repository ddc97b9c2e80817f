"""The rooms, their members and what these publish: the part that is the same at both vendors."""

import itertools
from collections.abc import Callable

import attrs

from volc_moderation.emulator.vendor import Medium

VERDICTS = ("PASS", "REVIEW", "REJECT")


@attrs.define(kw_only=True)
class Member:
    """A user in a room, who publishes one stream unless a rule forbids it."""

    user_id: str
    #: None if the user publishes no stream.
    stream_id: str | None
    #: The result of moderations of the stream.
    verdict: str
    #: Unix time.
    joined: float
    ip: str | None = None


class Rooms:
    """All rooms. A room exists as long as it has a member.

    :param on_change: called with the room whenever a user joins or leaves.
    """

    def __init__(self, on_change: Callable[[tuple[str, ...]], None] = lambda _: None) -> None:
        self._rooms: dict[tuple[str, ...], dict[str, Member]] = {}
        self._on_change = on_change

    def enter(self, room: tuple[str, ...], member: Member) -> None:
        """Add a member. A user who is in the room already joins again, as its newest member."""
        check_verdict(member.verdict)
        self._rooms.setdefault(room, {}).pop(member.user_id, None)
        self._rooms[room][member.user_id] = member
        self._on_change(room)

    def remove(self, room: tuple[str, ...], user: str) -> Member | None:
        """Remove a member, and return it if it was in the room."""
        member = self._rooms.get(room, {}).pop(user, None)
        if not self._rooms.get(room):
            self._rooms.pop(room, None)
        self._on_change(room)
        return member

    def clear(self, room: tuple[str, ...]) -> None:
        """Remove all members of a room."""
        self._rooms.pop(room, None)
        self._on_change(room)

    def members(self, room: tuple[str, ...]) -> list[Member]:
        """Return the members of a room, the oldest first."""
        return list(self._rooms.get(room, {}).values())

    def oldest_users(self, room: tuple[str, ...], limit: int) -> list[str]:
        """Return the users who have been in a room for the longest time, at most ``limit``."""
        return list(itertools.islice(self._rooms.get(room, {}), limit))

    def member(self, room: tuple[str, ...], user: str) -> Member:
        """Return a member. Raises ``ValueError`` if the user is not in the room."""
        try:
            return self._rooms[room][user]
        except KeyError:
            raise ValueError(f"{user} is not in the room") from None

    def all_members(self) -> list[tuple[tuple[str, ...], Member]]:
        """Return the members of all rooms."""
        return [(room, member) for room, members in self._rooms.items() for member in members.values()]

    def __contains__(self, room: tuple[str, ...]) -> bool:
        return room in self._rooms


def check_verdict(verdict: str) -> str:
    """Return a verdict. Raises ``ValueError`` for an unknown one."""
    if verdict not in VERDICTS:
        raise ValueError(f"verdict must be one of {', '.join(VERDICTS)}")
    return verdict


def to_media(medium: str | None) -> tuple[Medium, ...]:
    """Return the media of a report: one, or both for None. Raises ``ValueError`` for an unknown medium."""
    if medium not in (None, "audio", "video"):
        raise ValueError("media must be audio, video or null")
    return ("audio", "video") if medium is None else ("audio",) if medium == "audio" else ("video",)
