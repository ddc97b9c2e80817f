"""Charts as inline SVG: pure functions from numbers to text. Only titles may contain text that must be escaped.

A chart is as wide as its box, on a phone as on a desktop: shapes are stretched, text is not. The labels of the axes are
outside the SVG's own box, in margins that the page's CSS leaves. The colours are in the CSS, too.
"""

import math
from bisect import bisect
from collections.abc import Iterable, Sequence
from html import escape
from itertools import pairwise
from typing import NamedTuple

from volc_moderation.report.distribution import Distribution
from volc_moderation.report.units import DAY, clock, clock_in_steps, duration, short_number

#: Bars of a histogram.
HISTOGRAM_BARS = 48
#: Labels of an axis of time: a phone has room for these.
MAX_TIME_LABELS = 6
#: With values of more than so many times their median, an axis is logarithmic.
LOGARITHMIC_ABOVE = 5
#: Seconds at which a logarithmic axis begins: differences below do not matter.
LOGARITHMIC_START = 0.001

_TIME_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)  # seconds


class Rates(NamedTuple):
    """Answers per second in one bin of time."""

    done: float = 0.0
    deferred: float = 0.0
    failed: float = 0.0

    @property
    def answered(self) -> float:
        """All of them."""
        return self.done + self.deferred + self.failed


# Charts


def rate_chart(title: str, bins: Sequence[Rates], *, width: int, quota: float | None) -> str:
    """Draw answers per second over time, in bins of ``width`` seconds, with a line at the quota."""
    peak = max((rates.answered for rates in bins), default=0.0)
    y = ticks(max(peak, (quota or 0.0) * 1.15))
    layers = (
        ("failed", [rates.answered for rates in bins]),
        ("deferred", [rates.done + rates.deferred for rates in bins]),
        ("done", [rates.done for rates in bins]),
    )
    hints = [f"{clock(number * width)}  {rates.answered:.4g}/s" for number, rates in enumerate(bins)]
    span = len(bins) * width
    step = next(
        (step for step in _TIME_STEPS if span <= MAX_TIME_LABELS * step), math.ceil(span / MAX_TIME_LABELS / DAY) * DAY
    )
    x = [(second / span, clock_in_steps(second, step)) for second in range(0, span + 1, step)]
    line = "" if quota is None else _quota_line(quota, y[-1])
    return _chart(title, _layers(layers, hints, y[-1]), x=x, y=_y_labels(y), overlay=line)


def histogram(title: str, values: Distribution) -> str:
    """Draw how durations in seconds are distributed. Shades show the percentiles."""
    edges, labels = _duration_axis(values)
    bars = values.histogram(edges)
    y = ticks(max(4.0, *bars))
    visible = [max(bar, y[-1] / 80) if round(bar) else 0.0 for bar in bars]  # rare values are the interesting ones
    bands = ("upto-50", "upto-95", "upto-99", "upto-100")
    limits = [values.percentile(percent) for percent in (50, 95, 99)]
    band_of_bar = [sum((low + high) / 2 > limit for limit in limits) for low, high in pairwise(edges)]
    layers = [
        (css_class, [bar if band == number else 0.0 for bar, band in zip(visible, band_of_bar, strict=True)])
        for number, css_class in enumerate(bands)
    ]
    hints = [
        f"{duration(low)} to {duration(high)}: {bar:,.0f}"
        for (low, high), bar in zip(pairwise(edges), bars, strict=True)
    ]
    x = [(_position(value, edges), duration(value)) for value in labels]
    return _chart(title, _layers(layers, hints, y[-1]), x=x, y=_y_labels(y))


def share_bar(title: str, parts: Sequence[tuple[str, int]]) -> str:
    """Draw the shares of a whole as one bar. A part is its CSS class and its count."""
    total = sum(count for _, count in parts) or 1
    widths = [max(count / total, 0.006) if count else 0.0 for _, count in parts]  # one in a million is visible
    drawn, start = "", 0.0
    for (css_class, count), width in zip(parts, widths, strict=True):
        share = width / (sum(widths) or 1) * 100
        if count:
            drawn += f'<rect class="{css_class}" x="{start:.3f}%" width="{share:.3f}%" height="100%"/>'
        start += share
    return f'<svg class="share" role="img"><title>{escape(title)}</title>{drawn}</svg>'


# Parts of charts


def _chart(
    title: str, drawn: str, *, x: Iterable[tuple[float, str]], y: Iterable[tuple[float, str]], overlay: str = ""
) -> str:
    """Put a drawing between axes. A label is its position, from 0 to 1, and its text."""
    lines, labels = "", ""
    for position, label in y:
        top = _from_top(position)
        lines += f'<line class="grid" x2="100%" y1="{top}" y2="{top}"/>'
        labels += f'<text class="y" x="-8" y="{top}" dy=".32em">{label}</text>'
    for position, label in x:
        labels += f'<text class="x" x="{position:.2%}" y="100%" dy="1.5em">{label}</text>'
    return f'<svg class="chart" role="img"><title>{escape(title)}</title>{lines}{drawn}{overlay}{labels}</svg>'


def _y_labels(values: Sequence[float]) -> list[tuple[float, str]]:
    return [(value / values[-1], short_number(value)) for value in values]


def _layers(layers: Iterable[tuple[str, Sequence[float]]], hints: Sequence[str], top: float) -> str:
    """Draw steps, each layer over the one before, and a hint for each bin under the pointer."""
    drawn = "".join(f'<path class="{name}" d="{_steps(values, top)}"/>' for name, values in layers if any(values))
    hovered = "".join(f'<path d="M{bin_} 0h1v100h-1z"><title>{hint}</title></path>' for bin_, hint in enumerate(hints))
    box = f'viewBox="0 0 {max(1, len(hints))} 100" preserveAspectRatio="none" width="100%" height="100%"'
    return f'<svg {box}>{drawn}<g class="hints">{hovered}</g></svg>'


def _steps(values: Sequence[float], top: float) -> str:
    heights = (f"V{100 - value / top * 100:.4g}h1" for value in values)
    return f"M0 100{''.join(heights)}V100z"


def _quota_line(quota: float, top: float) -> str:
    height = _from_top(quota / top)
    return (
        f'<line class="quota" x2="100%" y1="{height}" y2="{height}"/>'
        f'<text class="quota" x="100%" y="{height}" dy="-.45em">quota {quota:g}/s</text>'
    )


def _from_top(position: float) -> str:
    return f"{1 - position:.2%}"


# Axes


def ticks(top: float, *, count: int = 4) -> list[float]:
    """Return about ``count`` round numbers from 0 to at least ``top``."""
    if top <= 0:
        return [0.0, 1.0]
    raw = top / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * (1 - 1e-9))
    return [step * number for number in range(math.ceil(top / step - 1e-9) + 1)]


def _duration_axis(values: Distribution) -> tuple[list[float], list[float]]:
    """Return the edges of a histogram's bars, and round numbers as labels: logarithmic if there are outliers."""
    low, high = values.percentile(0), max(values.max, LOGARITHMIC_START)
    if high <= LOGARITHMIC_ABOVE * values.percentile(50) or high <= LOGARITHMIC_START:
        low = min(low, high / 2)
        count = round(4 * high / (high - low))
        edges = [low + (high - low) * number / HISTOGRAM_BARS for number in range(HISTOGRAM_BARS)] + [high]
        return edges, [value for value in ticks(high, count=count) if low <= value <= high]
    low = max(low, LOGARITHMIC_START)
    edges = [low * (high / low) ** (number / HISTOGRAM_BARS) for number in range(HISTOGRAM_BARS)] + [high]
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    # Labels that are closer together than a fifth of the axis overlap on a phone.
    factors = next((some for some, gap in (((1, 2, 5), 2), ((1, 3), 3)) if gap**5 >= high / low), (1,))
    labels = [factor * 10.0**power for power in powers for factor in factors]
    return edges, [value for value in labels if low <= value <= high]


def _position(value: float, edges: Sequence[float]) -> float:
    """Return the position of a value between the first and the last edge, from 0 to 1."""
    bar = min(bisect(edges, value) - 1, len(edges) - 2)
    return (bar + (value - edges[bar]) / (edges[bar + 1] - edges[bar])) / (len(edges) - 1)
