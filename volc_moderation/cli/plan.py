"""What a run will do, and how long that takes at the quota."""

from volc_moderation.printable import counted

MINUTE, HOUR = 60, 3600  # seconds
#: Shorter spans are shown in seconds, and shorter than ``HOURS_FROM`` in minutes.
MINUTES_FROM, HOURS_FROM = 2 * MINUTE, 2 * HOUR


def plan_line(action: str, count: int, rate: float, *, is_learned: bool) -> str:
    """Return a sentence about the calls of one action.

    :param rate: calls per second that the quota and ``--rate`` allow.
    :param is_learned: whether the rate is only the first one, because the vendor publishes no quota.
    """
    line = f"{counted(count, 'call')} of {action}: {duration(count / rate)} at {rate:g} per second."
    if is_learned:
        line += " The vendor publishes no quota, so the rate changes with what it accepts; --rate sets a limit."
    return line


def duration(seconds: float) -> str:
    """Return a span of time in words, such as ``about 67 s`` or ``about 2 h 14 min``."""
    if seconds < 1:
        return "less than 1 s"
    if seconds < MINUTES_FROM:
        return f"about {seconds:.0f} s"
    minutes = round(seconds / MINUTE)
    if seconds < HOURS_FROM:
        return f"about {minutes} min"
    return f"about {minutes // 60:,} h {minutes % 60} min"
