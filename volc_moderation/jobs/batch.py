"""Collects items that many tasks add one by one, and processes them together."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batch(Generic[Item, Result]):
    """Processes the items that were added in the meantime together, one batch after the other.

    :param process: processes a batch, and returns one result per item, in their order. An exception that it raises is
        the result of all of them.
    :param max_size: items in one batch.
    :param linger: seconds that the first item waits for others.
    """

    def __init__(
        self,
        process: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        max_size: int = 500,
        linger: float = 0.0,
    ) -> None:
        self._process = process
        self._max_size = max_size
        self._linger = linger
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._task: asyncio.Task[None] | None = None
        self._full = asyncio.Event()

    def add(self, item: Item) -> "asyncio.Future[Result]":
        """Add an item, and return the future of its result. It is processed even if nobody awaits the result."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if len(self._waiting) >= self._max_size:
            self._full.set()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
        return future

    async def drain(self) -> None:
        """Wait until all items have been processed or have failed. From now on, no item waits for others."""
        self._linger = 0.0
        self._full.set()
        while self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._wait_for_items()
                items, self._waiting = self._waiting[: self._max_size], self._waiting[self._max_size :]
                if len(self._waiting) < self._max_size:
                    self._full.clear()
                await self._process_batch(items)
        finally:
            self._task = None
            for _, future in self._waiting:  # the event loop is closing
                future.cancel()

    async def _wait_for_items(self) -> None:
        """Give other tasks time to add items."""
        if not self._linger:
            await asyncio.sleep(0)
            return
        try:
            async with asyncio.timeout(self._linger):
                await self._full.wait()
        except TimeoutError:
            pass

    async def _process_batch(self, items: list[tuple[Item, "asyncio.Future[Result]"]]) -> None:
        try:
            results = await self._process([item for item, _ in items])
        except Exception as error:  # noqa: BLE001 - raised to the tasks that await the results
            for _, future in items:
                if not future.done():
                    future.set_exception(error)
                    future.exception()  # mark it as retrieved: maybe no task awaits it
        except BaseException:
            for _, future in items:
                future.cancel()
            raise
        else:
            for (_, future), result in zip(items, results, strict=True):
                if not future.done():
                    future.set_result(result)
