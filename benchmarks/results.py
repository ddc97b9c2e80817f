"""The result of a benchmark: its goals, a table on the terminal, and JSON and a picture in ``results/``."""

import json
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine

FOLDER = Path(__file__).with_name("results")
#: Numbers below this are shown with decimals.
DECIMALS_BELOW = 10

Cell = str | int | float | None


class Result:
    """The result of one benchmark: goals, and rows. Successive rows with the same columns are one table."""

    def __init__(self, name: str, title: str, *packages: str, **settings: Cell) -> None:
        self._name = name
        self._title = title
        self._settings = settings
        self._machine = machine("volc_moderation", *packages)
        self._rows: list[dict[str, Cell]] = []
        self._goals: list[dict[str, Cell]] = []
        self._console = Console(soft_wrap=True)
        self._console.print(f"{title}: {', '.join(f'{key} {value}' for key, value in settings.items())}")

    def add(self, **row: Cell) -> None:
        """Add a row, and print it at once: a benchmark takes minutes."""
        self._rows.append(row)
        self._console.print("  " + "  ".join(f"{key} {_text(value)}" for key, value in row.items()), highlight=False)

    def goal(self, what: str, measured: float, *, at_least: float | None = None, at_most: float | None = None) -> None:
        """Record whether a measurement meets its goal."""
        met = (at_least is None or measured >= at_least) and (at_most is None or measured <= at_most)
        rule = f"at least {at_least:g}" if at_least is not None else f"at most {at_most:g}"
        self._goals.append({"what": what, "measured": measured, "goal": rule, "met": "yes" if met else "NO"})

    def finish(self, draw: Callable[[list[Axes]], None] | None, *, panels: int = 1, height: float = 2.6) -> None:
        """Print the tables, and save the JSON and the picture, which is ``height`` inches high.

        Without ``draw``, nothing is saved. Raises ``SystemExit`` if a goal is missed.
        """
        for _, rows in groupby((*self._rows, *self._goals), key=tuple):
            self._console.print(_table(list(rows)))
        self._console.print("  ".join(f"{key} {value}" for key, value in self._machine.items()), highlight=False)
        if draw is not None:
            self._save(draw, panels, height)
        if any(goal["met"] != "yes" for goal in self._goals):
            raise SystemExit(1)

    def _save(self, draw: Callable[[list[Axes]], None], panels: int, height: float) -> None:
        FOLDER.mkdir(exist_ok=True)
        result = {
            "benchmark": self._title,
            "command": f"python -m benchmarks.{self._name}",
            "settings": self._settings,
            "machine": self._machine,
            "rows": self._rows,
            "goals": self._goals,
        }
        text = json.dumps(result, indent=1, ensure_ascii=False)
        (FOLDER / f"{self._name}.json").write_text(text + "\n", encoding="utf-8")
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": self._name, "font.size": 9}):
            figure = Figure(figsize=(8, height), layout="constrained")
            axes = figure.subplots(panels, 1, sharex=True, squeeze=False)
            draw(list(axes[:, 0]))
            figure.savefig(FOLDER / f"{self._name}.svg", metadata={"Date": None})


def bars(axes: Axes, names: list[str], values: list[float], label: str, *, mark: float | None = None) -> None:
    """Draw horizontal bars, the first on top, with their values and a line at ``mark``."""
    container = axes.barh(names, values, color="#4878a8")
    axes.bar_label(container, fmt=_text, padding=3)
    axes.invert_yaxis()
    axes.set_xlabel(label)
    axes.margins(x=0.12)
    if mark is not None:
        axes.axvline(mark, color="#c03028", linewidth=1)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _table(rows: list[dict[str, Cell]]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in rows[0]:
        table.add_column(column, justify="left" if isinstance(rows[0][column], str) else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(_text, row.values()))
    return table


def _text(value: Cell) -> str:
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < DECIMALS_BELOW else f"{value:,.0f}"
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else value
