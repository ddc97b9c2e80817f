"""What has values that a metric shows as they are now: stores of quotas, journals, queues.

Readers of metrics run in threads of their own, and sources belong to event loops. So a source is asked in its loop.
"""

import asyncio
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future, InvalidStateError
from typing import NamedTuple, Protocol
from weakref import WeakKeyDictionary

from volc_moderation.telemetry.instruments import Metric

#: Seconds that a reader waits for an event loop that is busy. Then it shows what the sources had before.
ASK_TIMEOUT = 0.5
#: Seconds for which values are used again: a reader asks for one metric after the other.
REUSE_TIME = 0.2


class Measurement(NamedTuple):
    """The value of a metric. ``attributes`` are the values of the metric's attributes, in their order."""

    metric: Metric
    value: float
    attributes: tuple[str, ...]


class Source(Protocol):
    """Has values that change."""

    def measure(self) -> Iterable[Measurement]:
        """Return the values. Called in the source's event loop."""


class _Entry:
    """A source's loop, and what it had when it was asked last."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.last: list[Measurement] = []


_lock = threading.Lock()
_entries: "WeakKeyDictionary[Source, _Entry]" = WeakKeyDictionary()
#: When the sources were asked last, on ``time.monotonic``.
_asked_at = -REUSE_TIME


def register(source: Source) -> None:
    """Show the values of a source, until it is unregistered or nobody uses it. It belongs to the running loop."""
    with _lock:
        _entries[source] = _Entry(asyncio.get_running_loop())


def unregister(source: Source) -> None:
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
        asked = [(entry, _ask(source, entry)) for source, entry in entries]
        deadline = time.monotonic() + ASK_TIMEOUT
        for entry, future in asked:
            try:
                entry.last = future.result(max(0.0, deadline - time.monotonic()))
            except Exception:  # noqa: BLE001 - a metric that cannot be had must not break the others
                future.cancel()
    return [measurement for _, entry in entries for measurement in entry.last if measurement.metric is metric]


def _ask(source: Source, entry: _Entry) -> "Future[list[Measurement]]":
    """Ask a source in its loop. A loop that has ended has nothing."""
    future: Future[list[Measurement]] = Future()

    def answer() -> None:
        try:
            future.set_result(list(source.measure()))
        except InvalidStateError:  # nobody waits any longer
            pass
        except Exception as error:  # noqa: BLE001 - raised where the result is awaited
            future.set_exception(error)

    if _is_running_here(entry.loop):
        answer()  # to wait would be to wait for oneself
    elif entry.loop.is_running():
        entry.loop.call_soon_threadsafe(answer)
    else:
        future.set_result([])
    return future


def _is_running_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False
