"""Who waits for jobs in this process, and who reads events."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator

from volc_moderation.jobs.job_event import JobEvent

#: Events kept for a reader that is slow; beyond, the oldest are dropped.
MAX_UNREAD_EVENTS = 10_000


class Listeners:
    """The tasks of this process that wait for jobs, and those that read events."""

    def __init__(self) -> None:
        #: By key. The result is None if the job may have ended, else the reason why no more will be known of it.
        self._waiters: dict[str, list[asyncio.Future[str | None]]] = {}
        #: For each reader of events: those that it has not read, and what wakes it.
        self._readers: list[tuple[deque[JobEvent], asyncio.Event]] = []

    @property
    def has_readers(self) -> bool:
        """Whether anybody reads events."""
        return bool(self._readers)

    def add_waiter(self, key: str) -> "asyncio.Future[str | None]":
        """Return a future whose result is None when the job may have ended, or the reason why it will not be known."""
        future: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(key, []).append(future)
        return future

    def remove_waiter(self, key: str, future: "asyncio.Future[str | None]") -> bool:
        """Remove a future; return whether nobody waits for the job any more."""
        self._waiters[key].remove(future)
        if not self._waiters[key]:
            del self._waiters[key]
        return key not in self._waiters

    def wake(self, key: str) -> None:
        """Let those who wait for a job read it again."""
        _resolve(self._waiters.get(key, ()), None)

    def wake_all(self) -> None:
        """Let all who wait read their job again."""
        for futures in self._waiters.values():
            _resolve(futures, None)

    def add_event(self, event: JobEvent) -> None:
        """Pass an event to those who read events."""
        for events, has_more in self._readers:
            events.append(event)
            has_more.set()

    async def events(self) -> AsyncGenerator[JobEvent, None]:
        """Yield all events from now on."""
        reader: tuple[deque[JobEvent], asyncio.Event] = (deque(maxlen=MAX_UNREAD_EVENTS), asyncio.Event())
        self._readers.append(reader)
        events, has_more = reader
        try:
            while True:
                while events:
                    yield events.popleft()
                if reader not in self._readers:
                    return
                has_more.clear()
                await has_more.wait()
        finally:
            with contextlib.suppress(ValueError):
                self._readers.remove(reader)

    def release_waiters(self, reason: str) -> None:
        """Release all who wait for a job."""
        for futures in self._waiters.values():
            _resolve(futures, reason)

    def end(self, reason: str) -> None:
        """Release all who wait, and let those who read events end."""
        self.release_waiters(reason)
        for _, has_more in self._readers:
            has_more.set()
        self._readers = []


def _resolve(futures: "list[asyncio.Future[str | None]] | tuple[()]", result: str | None) -> None:
    for future in futures:
        if not future.done():
            future.set_result(result)
