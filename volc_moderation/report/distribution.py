"""The distribution of many values, kept as a few cells."""

from bisect import bisect
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Self

import attrs


class Cell(NamedTuple):
    """``size`` values from ``low`` to ``high``, which are close together."""

    low: float
    high: float
    size: int


@attrs.frozen
class Distribution:
    """The distribution of many durations, in seconds. The cells are in ascending order."""

    cells: Sequence[Cell]

    @classmethod
    def of(cls, cells: Iterable[Cell]) -> Self:
        """Build it from cells in any order."""
        return cls(sorted(cells))

    @property
    def total(self) -> int:
        """The number of values."""
        return sum(cell.size for cell in self.cells)

    @property
    def max(self) -> float:
        """The greatest value."""
        return max((cell.high for cell in self.cells), default=0.0)

    def percentile(self, percent: float) -> float:
        """Return the value that ``percent`` of all values do not exceed. It is as exact as the cells are narrow."""
        rank = self.total * percent / 100
        for cell in self.cells:
            if cell.size >= rank:
                return cell.low + (cell.high - cell.low) * rank / cell.size
            rank -= cell.size
        return self.max

    def histogram(self, edges: Sequence[float]) -> list[float]:
        """Return the number of values between neighbouring edges. Values outside count in the first or last bar."""
        bars = [0.0] * (len(edges) - 1)
        for low, high, size in self.cells:
            first, last = (min(max(bisect(edges, value) - 1, 0), len(bars) - 1) for value in (low, high))
            if first == last:
                bars[first] += size
                continue
            for bar in range(first, last + 1):  # each bar gets the share of the cell that it covers
                covered = min(high, edges[bar + 1]) - max(low, edges[bar])
                bars[bar] += size * max(0.0, covered) / (high - low)
        return bars
