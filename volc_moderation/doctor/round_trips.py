"""What the round trips to a vendor mean for its quotas. Pure."""

from collections.abc import Sequence
from statistics import fmean, median

from volc_moderation.doctor.finding import Finding, Subject
from volc_moderation.quotas.round_trips import FIRST_TRIAL, MIN_ANSWERS, RoundTrips

WINDOW = 1.0  # seconds, that of nearly all quotas
#: Below this share of the quota, the route is worth a look.
MIN_SHARE = 0.9
#: Longer spans are shown in whole milliseconds.
WHOLE_FROM = 0.1  # seconds
#: Fewer requests say nothing about jitter.
MIN_MEASURED = 3


def expected_share(round_trips: Sequence[float]) -> float:
    """Return the largest share of a quota that calls with such round trips use, once the route is known well.

    A permit is out for its request's round trip and one window, less the credit: see ``docs/architecture.md``.

    :param round_trips: in seconds, at least one.
    """
    return WINDOW / (WINDOW + fmean(round_trips) - _credit(round_trips))


def _credit(round_trips: Sequence[float]) -> float:
    """Return the credit after a trial in which all round trips were like these."""
    seen = RoundTrips()
    answers = 2 * MIN_ANSWERS
    for number in range(answers + 1):
        seen.add(round_trips[number % len(round_trips)], now=2 * FIRST_TRIAL * number / answers)
    return seen.credit


def judge_round_trips(subject: Subject, round_trips: Sequence[float]) -> Finding:
    """Judge the round trips of calls that were sent one after the other, in seconds."""
    if len(round_trips) < MIN_MEASURED:
        return subject.skipped("round_trip", f"only {len(round_trips)} calls were answered", requests=len(round_trips))
    least, middle = min(round_trips), median(round_trips)
    jitter, share = max(round_trips) - least, expected_share(round_trips)
    detail = (
        f"min {milliseconds(least)}, median {milliseconds(middle)}, jitter {milliseconds(jitter)};"
        f" calls can use {share:.1%} of a quota per second"
    )
    facts = {
        "requests": len(round_trips),
        "min_seconds": round(least, 6),
        "median_seconds": round(middle, 6),
        "jitter_seconds": round(jitter, 6),
        "quota_share": round(share, 4),
    }
    if share >= MIN_SHARE:
        return subject.ok("round_trip", detail, **facts)
    step = "run closer to the vendor, or choose the vendor's host of your region as base_url"
    return subject.warning("round_trip", detail, step, **facts)


def milliseconds(seconds: float) -> str:
    """Return a span in milliseconds, in words."""
    return f"{seconds * 1000:.{1 if seconds < WHOLE_FROM else 0}f} ms"
