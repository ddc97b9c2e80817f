"""Charts as inline SVG: pure functions from numbers to text, with nothing in them that needs to be escaped but titles.

A chart is as wide as its box, on a phone as on a desktop: what is drawn is stretched, what is written is not. The
labels of the axes stand outside the SVG's own box, in margins that the page's CSS leaves; the colours are its, too.
"""

import math
from bisect import bisect
from collections.abc import Iterable, Sequence
from html import escape
from itertools import pairwise
from typing import NamedTuple, Self

import attrs

#: Bars of a histogram, and labels of an axis of time at most: a phone has room for them.
BARS, LABELS = 48, 6
#: With values so many times their median, an axis is logarithmic, and begins at so many seconds: less is all the same.
OUTLYING, QUICK = 5, 0.001

_TIME_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


class Rates(NamedTuple):
    """Answers per second in one bin of time."""

    done: float = 0.0
    deferred: float = 0.0
    failed: float = 0.0

    @property
    def answered(self) -> float:
        """All of them."""
        return self.done + self.deferred + self.failed


class Cell(NamedTuple):
    """So many values, from ``low`` to ``high``, which are close together."""

    low: float
    high: float
    size: int


@attrs.frozen
class Distribution:
    """Many values, in seconds, as a few cells in ascending order."""

    cells: Sequence[Cell]

    @classmethod
    def of(cls, cells: Iterable[Cell]) -> Self:
        """Make it of cells in any order."""
        return cls(sorted(cells))

    @property
    def total(self) -> int:
        """How many values there are."""
        return sum(cell.size for cell in self.cells)

    @property
    def most(self) -> float:
        """The greatest value."""
        return max((cell.high for cell in self.cells), default=0.0)

    def percentile(self, percent: float) -> float:
        """Return the value that ``percent`` of all do not exceed, as exactly as the cells are narrow."""
        rank = self.total * percent / 100
        for cell in self.cells:
            if cell.size >= rank:
                return cell.low + (cell.high - cell.low) * rank / cell.size
            rank -= cell.size
        return self.most

    def bars(self, edges: Sequence[float]) -> list[float]:
        """Return how many values lie between each two edges; those outside count for the first or last."""
        bars = [0.0] * (len(edges) - 1)
        for low, high, size in self.cells:
            first, last = (min(max(bisect(edges, value) - 1, 0), len(bars) - 1) for value in (low, high))
            if first == last:
                bars[first] += size
                continue
            for bar in range(first, last + 1):  # by how much of the cell each one covers
                part = min(high, edges[bar + 1]) - max(low, edges[bar])
                bars[bar] += size * max(0.0, part) / (high - low)
        return bars


# Charts


def rate_chart(title: str, bins: Sequence[Rates], *, width: int, quota: float | None) -> str:
    """Draw answers per second over time, in bins of ``width`` seconds, with a line at the quota."""
    most = max((one.answered for one in bins), default=0.0)
    y = ticks(max(most, (quota or 0.0) * 1.15))
    layers = (
        ("failed", [one.answered for one in bins]),
        ("deferred", [one.done + one.deferred for one in bins]),
        ("done", [one.done for one in bins]),
    )
    hints = [f"{clock(place * width)}  {one.answered:.4g}/s" for place, one in enumerate(bins)]
    span = len(bins) * width
    step = next((step for step in _TIME_STEPS if span <= LABELS * step), math.ceil(span / LABELS / _DAY) * _DAY)
    x = [(at / span, _clock_by(at, step)) for at in range(0, span + 1, step)]
    line = "" if quota is None else _quota_line(quota, y[-1])
    return _frame(title, _layers(layers, hints, y[-1]), x=x, y=[(at / y[-1], _short(at)) for at in y], over=line)


def histogram(title: str, values: Distribution) -> str:
    """Draw how values in seconds are distributed; shades show the percentiles."""
    edges, labels = _scale(values)
    bars = values.bars(edges)
    y = ticks(max(4.0, *bars))
    seen = [max(bar, y[-1] / 80) if round(bar) else 0.0 for bar in bars]  # the rare ones are the ones to see
    bands = ("upto-50", "upto-95", "upto-99", "upto-100")
    limits = [values.percentile(percent) for percent in (50, 95, 99)]
    band_of = [sum((low + high) / 2 > limit for limit in limits) for low, high in pairwise(edges)]
    layers = [
        (name, [bar if band == number else 0.0 for bar, band in zip(seen, band_of, strict=True)])
        for number, name in enumerate(bands)
    ]
    hints = [
        f"{duration(low)} to {duration(high)}: {bar:,.0f}"
        for (low, high), bar in zip(pairwise(edges), bars, strict=True)
    ]
    x = [(_place(at, edges), duration(at)) for at in labels]
    return _frame(title, _layers(layers, hints, y[-1]), x=x, y=[(at / y[-1], _short(at)) for at in y])


def share_bar(title: str, parts: Sequence[tuple[str, int]]) -> str:
    """Draw the shares of a whole as one bar: the CSS class and the count of each."""
    total = sum(count for _, count in parts) or 1
    widths = [max(count / total, 0.006) if count else 0.0 for _, count in parts]  # one in a million shows, too
    drawn, at = "", 0.0
    for (name, count), width in zip(parts, widths, strict=True):
        share = width / (sum(widths) or 1) * 100
        if count:
            drawn += f'<rect class="{name}" x="{at:.3f}%" width="{share:.3f}%" height="100%"/>'
        at += share
    return f'<svg class="share" role="img"><title>{escape(title)}</title>{drawn}</svg>'


# Their parts


def _frame(
    title: str, drawn: str, *, x: Iterable[tuple[float, str]], y: Iterable[tuple[float, str]], over: str = ""
) -> str:
    """Put a drawing between axes. A tick is its place, from 0 to 1, and its label."""
    lines, labels = "", ""
    for place, label in y:
        lines += f'<line class="grid" x2="100%" y1="{_from_top(place)}" y2="{_from_top(place)}"/>'
        labels += f'<text class="y" x="-8" y="{_from_top(place)}" dy=".32em">{label}</text>'
    for place, label in x:
        labels += f'<text class="x" x="{place:.2%}" y="100%" dy="1.5em">{label}</text>'
    return f'<svg class="chart" role="img"><title>{escape(title)}</title>{lines}{drawn}{over}{labels}</svg>'


def _layers(layers: Iterable[tuple[str, Sequence[float]]], hints: Sequence[str], top: float) -> str:
    """Draw steps, each layer over the one before, and what shows where the pointer is."""
    drawn = "".join(f'<path class="{name}" d="{_steps(values, top)}"/>' for name, values in layers if any(values))
    hovered = "".join(f'<path d="M{at} 0h1v100h-1z"><title>{hint}</title></path>' for at, hint in enumerate(hints))
    box = f'viewBox="0 0 {max(1, len(hints))} 100" preserveAspectRatio="none" width="100%" height="100%"'
    return f'<svg {box}>{drawn}<g class="hints">{hovered}</g></svg>'


def _steps(values: Sequence[float], top: float) -> str:
    heights = (f"V{100 - value / top * 100:.4g}h1" for value in values)
    return f"M0 100{''.join(heights)}V100z"


def _quota_line(quota: float, top: float) -> str:
    place = _from_top(quota / top)
    return (
        f'<line class="quota" x2="100%" y1="{place}" y2="{place}"/>'
        f'<text class="quota" x="100%" y="{place}" dy="-.45em">quota {quota:g}/s</text>'
    )


def _from_top(place: float) -> str:
    return f"{1 - place:.2%}"


# Their axes


def ticks(most: float, *, count: int = 4) -> list[float]:
    """Return about ``count`` round numbers from 0 to at least ``most``."""
    if most <= 0:
        return [0.0, 1.0]
    raw = most / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * (1 - 1e-9))
    return [step * number for number in range(math.ceil(most / step - 1e-9) + 1)]


def _scale(values: Distribution) -> tuple[list[float], list[float]]:
    """Return the edges of a histogram's bars, and the round numbers to show: logarithmic if there are outliers."""
    low, high = values.percentile(0), max(values.most, QUICK)
    if high <= OUTLYING * values.percentile(50) or high <= QUICK:
        low = min(low, high / 2)
        count = round(4 * high / (high - low))
        edges = [low + (high - low) * number / BARS for number in range(BARS)] + [high]
        return edges, [at for at in ticks(high, count=count) if low <= at <= high]
    low = max(low, QUICK)
    edges = [low * (high / low) ** (number / BARS) for number in range(BARS)] + [high]
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    # Labels that are closer than a fifth of the axis meet on a phone.
    factors = next((some for some, gap in (((1, 2, 5), 2), ((1, 3), 3)) if gap**5 >= high / low), (1,))
    return edges, [at for power in powers for factor in factors if low <= (at := factor * 10.0**power) <= high]


def _place(value: float, edges: Sequence[float]) -> float:
    """Return where a value stands between the first and the last edge, from 0 to 1."""
    bar = min(bisect(edges, value) - 1, len(edges) - 2)
    return (bar + (value - edges[bar]) / (edges[bar + 1] - edges[bar])) / (len(edges) - 1)


# Numbers in words


def _short(number: float) -> str:
    """Write a round number in the few characters that an axis has room for."""
    for unit, letter in ((1e6, "M"), (1e4, "k")):
        if number >= unit:
            return f"{number / min(unit, 1e3 if letter == 'k' else unit):g}{letter}"
    return f"{number:,g}"


def duration(seconds: float) -> str:
    """Write a duration in the unit that suits it."""
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < _MINUTE:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    for unit, name, smaller, smaller_name in (
        (_DAY, "d", _HOUR, "h"),
        (_HOUR, "h", _MINUTE, "min"),
        (_MINUTE, "min", 1, "s"),
    ):
        if whole >= unit:
            rest = whole % unit // smaller
            return f"{whole // unit:,} {name}" + (f" {rest} {smaller_name}" if rest else "")
    return f"{whole} s"


def clock(seconds: float) -> str:
    """Write the time since a start as h:mm:ss."""
    minutes, rest = divmod(round(seconds), _MINUTE)
    hours, minutes = divmod(minutes, _MINUTE)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _clock_by(seconds: int, step: int) -> str:
    if step >= _DAY:
        return f"{seconds // _DAY} d"
    return f"{seconds // _HOUR} h" if step >= _HOUR else clock(seconds)
