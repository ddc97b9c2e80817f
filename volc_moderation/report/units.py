"""Numbers and times as text."""

from datetime import datetime

MINUTE = 60  # seconds, like the others
HOUR = 3600
DAY = 86_400


def short_number(number: float) -> str:
    """Return a round number in the few characters that an axis has room for, such as ``20k``."""
    if number >= 1e6:  # noqa: PLR2004 - a million
        return f"{number / 1e6:g}M"
    return f"{number / 1e3:g}k" if number >= 1e4 else f"{number:,g}"  # noqa: PLR2004 - 1,000 to 9,999 have room


def duration(seconds: float) -> str:
    """Return a duration in the unit that suits it, such as ``71.4 ms`` or ``1 h 56 min``."""
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < MINUTE:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    for unit, name, smaller, smaller_name in (
        (DAY, "d", HOUR, "h"),
        (HOUR, "h", MINUTE, "min"),
        (MINUTE, "min", 1, "s"),
    ):
        if whole >= unit:
            rest = whole % unit // smaller
            return f"{whole // unit:,} {name}" + (f" {rest} {smaller_name}" if rest else "")
    return f"{whole} s"


def clock(seconds: float) -> str:
    """Return the time since a start as h:mm:ss or m:ss."""
    minutes, rest = divmod(round(seconds), MINUTE)
    hours, minutes = divmod(minutes, HOUR // MINUTE)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def clock_in_steps(seconds: int, step: int) -> str:
    """Return the time since a start as a label of an axis, in days or hours if the steps are whole ones."""
    if step >= DAY:
        return f"{seconds // DAY} d"
    return f"{seconds // HOUR} h" if step >= HOUR else clock(seconds)


def local_time(seconds: float, today: float | None = None) -> str:
    """Return a Unix time as local time in HTML, without its date if that is the date of ``today``."""
    time = datetime.fromtimestamp(seconds).astimezone()
    is_today = today is not None and time.date() == datetime.fromtimestamp(today).astimezone().date()
    return f"<time>{time:{'%H:%M:%S' if is_today else '%Y-%m-%d %H:%M:%S'}}</time>"
