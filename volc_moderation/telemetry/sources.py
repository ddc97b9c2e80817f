"""What has values that a metric shows as they are now: stores of quotas, journals, queues.

Readers of metrics run in threads of their own, and sources belong to event loops. So a source is asked in its loop.
"""

import asyncio
import inspect
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from volc_moderation.telemetry.instruments import Metric

S = TypeVar("S")

#: Seconds that a reader waits for an event loop that is busy. Then it shows what the sources had before.
ASK_TIMEOUT = 0.5
#: Seconds for which values are used again: a reader asks for one metric after the other.
REUSE_TIME = 0.2


class Measurement(NamedTuple):
    """The value of a metric. ``attributes`` are the values of the metric's attributes, in their order."""

    metric: Metric
    value: float
    attributes: tuple[str, ...]


Measurements = Iterable[Measurement] | Awaitable[Iterable[Measurement]]


class _Entry:
    """A source's loop, how it is asked, and what it had when it was asked last."""

    def __init__(self, loop: asyncio.AbstractEventLoop, measure: Callable[[Any], Measurements]) -> None:
        self.loop = loop
        self.measure = measure
        self.last: list[Measurement] = []
        #: Waits for an answer that takes time.
        self.task: asyncio.Task[None] | None = None


_lock = threading.Lock()
_entries: "WeakKeyDictionary[Any, _Entry]" = WeakKeyDictionary()
#: When the sources were asked last, on ``time.monotonic``.
_asked_at = -REUSE_TIME


def register(source: S, measure: Callable[[S], Measurements]) -> None:
    """Show the values of a source, until it is unregistered or nobody uses it. It belongs to the running loop.

    :param measure: returns the values. It is called in the source's loop, with the source, which it must not keep.
    """
    with _lock:
        _entries[source] = _Entry(asyncio.get_running_loop(), measure)


def unregister(source: object) -> None:
    """Show the values of a source no longer."""
    with _lock:
        _entries.pop(source, None)


def measurements(metric: Metric) -> list[Measurement]:
    """Return the values of a metric from all sources."""
    global _asked_at  # noqa: PLW0603 - of this module's entries
    with _lock:
        entries = list(_entries.items())
        is_due = time.monotonic() >= _asked_at + REUSE_TIME
        _asked_at = time.monotonic() if is_due else _asked_at
    if is_due:
        answers = [answer for source, entry in entries if (answer := _ask(source, entry)) is not None]
        deadline = time.monotonic() + ASK_TIMEOUT
        for answer in answers:
            with suppress(TimeoutError):
                answer.result(max(0.0, deadline - time.monotonic()))
    return [measurement for _, entry in entries for measurement in entry.last if measurement.metric is metric]


def _ask(source: object, entry: _Entry) -> "Future[None] | None":
    """Ask a source in its loop. Return what ends with the answer; None if there is nothing to wait for."""
    if _is_running_here(entry.loop):
        _measure(source, entry, Future())  # to wait would be to wait for oneself
        return None
    answer: Future[None] = Future()
    if entry.loop.is_running():
        with suppress(RuntimeError):  # the loop has just been closed
            entry.loop.call_soon_threadsafe(_measure, source, entry, answer)
            return answer
    entry.last = []
    return None


def _measure(source: object, entry: _Entry, answer: "Future[None]") -> None:
    """Ask a source. A value that cannot be had is not shown, and must not break the others."""
    if entry.task is not None and not entry.task.done():
        answer.set_result(None)  # the last question has not been answered yet
        return
    try:
        result = entry.measure(source)
        if inspect.isawaitable(result):
            entry.task = asyncio.get_running_loop().create_task(_await(result, entry, answer))
            return
        entry.last = list(result)
    except Exception:  # noqa: BLE001 - of whatever kind
        entry.last = []
    answer.set_result(None)


async def _await(result: Awaitable[Iterable[Measurement]], entry: _Entry, answer: "Future[None]") -> None:
    try:
        entry.last = list(await result)
    except Exception:  # noqa: BLE001 - as above
        entry.last = []
    answer.set_result(None)


def _is_running_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False
