"""What the processes that share a journal tell each other over the leader's socket. Pure.

Each message is one line with a JSON object that has one member, whose name is that of the message. Jobs are not sent:
they are in the journal. A message that is lost delays a job at most; a process that connects asks again.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from volc_moderation.wire import dump_json, load_json

#: The longest line that a leader reads. A key has twenty characters, and a journal has a few dozen lanes.
MAX_REQUEST_BYTES = 64 * 1024
#: The longest line that a standby reads. An event holds the parameters and the result of a call.
MAX_NOTICE_BYTES = 4 * 2**20


class MessageError(ValueError):
    """A line that is no message. The connection ends; whoever sent it connects again."""


# From a standby to the leader


class Wake(NamedTuple):
    """Jobs were added to lanes."""

    lane_ids: Sequence[int]


class Watch(NamedTuple):
    """Somebody waits for the end of a job."""

    key: str


class Unwatch(NamedTuple):
    """Nobody waits for the end of a job any more."""

    key: str


class WantEvents(NamedTuple):
    """Somebody reads events."""


Request = Wake | Watch | Unwatch | WantEvents

# From the leader to a standby


class Hello(NamedTuple):
    """The first message of the leader."""

    pid: int
    #: Seconds from the clock of the machine's event loops to the clock by which jobs become due.
    clock_offset: float
    #: The vendor, and the hash of the account, of each of its clients.
    accounts: frozenset[tuple[str, str]]


class Ended(NamedTuple):
    """A job that is watched has ended, and the journal says how."""

    key: str


class EventFields(NamedTuple):
    """A job has ended or was deferred: the fields of a ``JobEvent``."""

    fields: list[Any]


Notice = Hello | Ended | EventFields


def encode(message: Request | Notice) -> bytes:
    """Return the line of a message."""
    match message:
        case Wake(lane_ids):
            content: object = {"wake": list(lane_ids)}
        case Watch(key):
            content = {"watch": key}
        case Unwatch(key):
            content = {"unwatch": key}
        case WantEvents():
            content = {"events": True}
        case Hello(pid, clock_offset, accounts):
            content = {"hello": [pid, float(clock_offset), sorted(accounts)]}
        case Ended(key):
            content = {"ended": key}
        case EventFields(fields):
            content = {"event": fields}
    return dump_json(content) + b"\n"


def decode_request(line: bytes) -> Request:
    """Return the message of a standby. Raises ``MessageError``."""
    match _decode(line):
        case ["wake", list(lane_ids)] if all(type(lane_id) is int for lane_id in lane_ids):
            return Wake(lane_ids)
        case ["watch", str(key)]:
            return Watch(key)
        case ["unwatch", str(key)]:
            return Unwatch(key)
        case ["events", True]:
            return WantEvents()
    raise MessageError("no request")


def decode_notice(line: bytes) -> Notice:
    """Return the message of a leader. Raises ``MessageError``."""
    match _decode(line):
        case ["hello", [int(pid), float(clock_offset), list(accounts)]] if math.isfinite(clock_offset):
            pairs = [(vendor, account) for vendor, account in map(_pair, accounts)]
            return Hello(pid, clock_offset, frozenset(pairs))
        case ["ended", str(key)]:
            return Ended(key)
        case ["event", list(fields)]:
            return EventFields(fields)
    raise MessageError("no notice")


def _decode(line: bytes) -> list[Any]:
    """Return the name and the value of a message."""
    if not line.endswith(b"\n"):
        raise MessageError("a part of a line")
    content = load_json(line)
    if content is None or len(content) != 1:
        raise MessageError("no JSON object with one member")
    ((name, value),) = content.items()
    return [name, value]


def _pair(value: object) -> tuple[str, str]:
    match value:
        case [str(vendor), str(account)]:
            return vendor, account
    raise MessageError("no account")
