"""Things that many tasks ask for one by one, and that are done together."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

A = TypeVar("A")
R = TypeVar("R")


class Batch(Generic[A, R]):
    """Does what is asked for meanwhile in one go, one go after the other.

    :param act: does it; it returns the result of each, in their order. If it raises, all of them hear of it.
    :param most: how many at most in one go.
    :param linger: seconds that the first one waits for others.
    """

    def __init__(
        self, act: Callable[[Sequence[A]], Awaitable[Sequence[R]]], *, most: int = 500, linger: float = 0.0
    ) -> None:
        self._act = act
        self._most = most
        self._linger = linger
        self._waiting: list[tuple[A, asyncio.Future[R]]] = []
        self._working: asyncio.Task[None] | None = None
        self._full = asyncio.Event()

    def ask(self, one: A) -> "asyncio.Future[R]":
        """Ask for one, and return what it will come to. It is done even if nobody waits for that any more."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((one, future))
        if len(self._waiting) >= self._most:
            self._full.set()
        if self._working is None:
            self._working = asyncio.get_running_loop().create_task(self._work())
        return future

    async def drain(self) -> None:
        """Wait until all that was asked for is done, or has failed, without any more lingering."""
        self._linger = 0.0
        self._full.set()
        while self._working is not None:
            await asyncio.wait([self._working])

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._gather()
                some, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                if len(self._waiting) < self._most:
                    self._full.clear()
                await self._do(some)
        finally:
            self._working = None
            for _, future in self._waiting:  # the loop is going down
                future.cancel()

    async def _gather(self) -> None:
        """Let more of them come."""
        if not self._linger:
            await asyncio.sleep(0)
            return
        try:
            async with asyncio.timeout(self._linger):
                await self._full.wait()
        except TimeoutError:
            pass

    async def _do(self, some: list[tuple[A, "asyncio.Future[R]"]]) -> None:
        try:
            results = await self._act([one for one, _ in some])
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            for _, future in some:
                if not future.done():
                    future.set_exception(error)
                    future.exception()  # nobody may wait for it
        except BaseException:
            for _, future in some:
                future.cancel()
            raise
        else:
            for (_, future), result in zip(some, results, strict=True):
                if not future.done():
                    future.set_result(result)
