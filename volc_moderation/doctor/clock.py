"""How far this machine's clock is from that of a server, by its ``Date`` header or its own word. Pure."""

from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from volc_moderation.doctor.finding import Finding, Subject

#: A machine that synchronizes its clock is never off by this much.
WARN_FROM = 5.0  # seconds
#: Temporary keys are renewed 60 s before they expire. A clock that is further behind signs with expired keys.
#: Volcengine refuses signatures that are off by 15 minutes, and ZEGO those that are off by 10:
#: https://doc-zh.zego.im/article/19458
FAIL_FROM = 60.0  # seconds
_NEXT_STEP = "synchronize the clock of this machine, for example with chrony or systemd-timesyncd"


class ClockReading(NamedTuple):
    """One look at a server's clock. All times are Unix seconds; ``sent`` and ``received`` are of our own clock."""

    sent: float
    received: float
    #: What the server's clock showed.
    server: float
    #: By how much the server's clock may have been ahead of ``server``: 1 for a header, which has whole seconds.
    resolution: float


def read_date(value: str | None) -> float | None:
    """Return the Unix time of a ``Date`` header; None if there is none, or if it cannot be read."""
    try:
        return None if value is None else parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None


def offset_of(readings: Sequence[ClockReading]) -> float:
    """Return by how many seconds our clock is ahead of a server's: the smallest span that the readings allow.

    The server looked at its clock between ``sent`` and ``received``, so each reading gives a range. A value that all
    ranges share explains all of the readings. The one nearest to 0 is returned.
    """
    lows = [reading.sent - reading.server - reading.resolution for reading in readings]
    highs = [reading.received - reading.server for reading in readings]
    low, high = max(lows), min(highs)
    if low > high:  # several servers, whose clocks differ
        low, high = min(lows), max(highs)
    return min(max(0.0, low), high)


def judge_clock(subject: Subject, readings: Sequence[ClockReading], *, whose: str) -> Finding:
    """Compare our clock with that of ``whose``, such as ``the vendor``."""
    if not readings:
        return subject.skipped("clock", f"no response of {whose} tells its time")
    offset = offset_of(readings)
    if abs(offset) < WARN_FROM:
        return subject.ok("clock", f"within {WARN_FROM:g} s of {whose}", offset_seconds=round(offset, 3))
    detail = f"{_span(abs(offset))} {'ahead of' if offset > 0 else 'behind'} {whose}"
    make = subject.failed if abs(offset) >= FAIL_FROM else subject.warning
    return make("clock", detail, _NEXT_STEP, offset_seconds=round(offset, 3))


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 2 * 60 else f"{seconds / 60:.0f} min"
