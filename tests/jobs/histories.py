"""Parts of random histories of ``Jobs``: a disk that survives crashes, an unreliable vendor, a clock that steps."""

import asyncio
import json
import random
import sqlite3
from collections import defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import attrs
import httpx

from tests.doubles import NOW, volcengine_error, volcengine_success, zego_answer
from volc_moderation import JournalError
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.schema import TABLES, Record
from volc_moderation.jobs.journal.thread import JournalThread

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time: when it is idle, its time jumps to that of the next timer."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._select: Callable[[float | None], Any] = self._selector.select  # type: ignore[attr-defined] # asyncio's own
        self._selector.select = self._skip  # type: ignore[attr-defined]

    def time(self) -> float:
        """Return the virtual time."""
        return self._now

    def _skip(self, timeout: float | None) -> Any:
        assert timeout is not None, "every task waits, and there is no timer"
        self._now += timeout
        return self._select(0)


class Disk(Journal):
    """A journal in memory: commits survive every process that had it open."""

    def __init__(self) -> None:
        self.path = Path("stops.db")
        self.access = "exclusive"
        self._identity = None
        self._db = sqlite3.connect(":memory:", isolation_level=None)
        self._db.executescript(TABLES)
        self._is_durable = None

    def close(self) -> None:
        """Keep the data."""


class SlowJournal(JournalThread):
    """Does the work of the thread on the loop's clock: in order, and with a random delay."""

    def __init__(self, disk: Disk, dice: random.Random) -> None:
        self._disk = disk
        self._dice = dice
        self._slow_loop = asyncio.get_running_loop()
        self._free_at = 0.0
        self._queue: deque[Callable[[], None]] = deque()
        self._futures: set[asyncio.Future[Any]] = set()
        self.is_dead = False
        self._closed = False
        self._journal = disk

    def _call_later(self, callback: Callable[[], None]) -> None:
        now = self._slow_loop.time()
        self._free_at = max(self._free_at, now) + self._dice.choice([0.0, 0.001, 0.05])
        self._queue.append(callback)

        def call_oldest() -> None:
            oldest = self._queue.popleft()  # timers of the same time fire in any order
            if not self.is_dead:
                oldest()

        self._slow_loop.call_at(self._free_at, call_oldest)

    def request(
        self, function: Callable[[Journal], T], *, durable: bool = False, then: Callable[[T], None] | None = None
    ) -> asyncio.Future[T]:
        if self._closed:
            raise JournalError("the journal is closed")
        future: asyncio.Future[T] = self._slow_loop.create_future()
        self._futures.add(future)

        def commit() -> None:
            with self._disk.transaction():
                result = function(self._disk)
            if then is not None:
                then(result)
            if not future.done():
                future.set_result(result)

        self._call_later(commit)
        return future

    def post(self, function: Callable[[Journal], object]) -> None:
        self.request(function)

    def record(self, record: Record) -> None:
        def commit() -> None:
            with self._disk.transaction():
                self._disk.record([record])

        self._call_later(commit)

    def die(self) -> None:
        """End with the process: uncommitted work is lost."""
        self.is_dead = True
        for future in self._futures:
            future.cancel()

    async def aclose(self) -> None:
        self._closed = True
        while self._queue and not self.is_dead:
            await asyncio.sleep(0.001)


#: What a vendor may do with a call: whether it carries it out, and how it answers.
BEHAVIOURS = (
    "success",
    "refusal",
    "odd",
    "empty",
    "later",
    "throttled",
    "broken",
    "reset",
    "hang",
    "lost",
    "raise",
    "cancel",
    "text",
)


@attrs.define
class Vendor:
    """Answers calls of both vendors at random, and keeps what arrived."""

    dice: random.Random
    #: The share of calls that do not simply succeed.
    unreliability: float = 0.5
    #: By the action and target of a call: when it arrived, and the behaviour.
    arrivals: dict[str, list[tuple[float, str]]] = attrs.field(factory=lambda: defaultdict(list))

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one call."""
        is_zego = "SignatureNonce" in request.url.query.decode()
        parameters = json.loads(request.content)
        name = f"{request.url.params['Action']} {parameters.get('RoomId', parameters.get('TaskId'))}"
        behaviour = self.dice.choice(BEHAVIOURS) if self.dice.random() < self.unreliability else "success"
        if behaviour == "lost":  # it never arrives
            raise httpx.ConnectError("no way")
        self.arrivals[name].append((asyncio.get_running_loop().time(), behaviour))
        await asyncio.sleep(self.dice.choice([0.0, 0.02, 0.3, 0.6]))
        return await self._answer(behaviour, is_zego=is_zego)

    async def _answer(self, behaviour: str, *, is_zego: bool) -> httpx.Response:
        if behaviour == "hang":
            await asyncio.sleep(3600)
        if behaviour == "reset":
            raise httpx.ReadError("reset")
        if behaviour == "raise":
            raise ValueError("of a transport of the user's")
        if behaviour == "cancel":
            raise asyncio.CancelledError  # although no task was cancelled
        if is_zego:
            answers: dict[str, Any] = {
                "refusal": zego_answer(2),
                "odd": zego_answer(data={"TaskId": 5}),
                "empty": httpx.Response(200, json={}),
                "later": zego_answer(50009),
                "throttled": zego_answer(206),
                "broken": zego_answer(100000015),
                "text": httpx.Response(200, content=b'{"Code": 0, "Data": {"TaskId": "t\\ud800"}}'),
            }
            return answers.get(behaviour, zego_answer(data={"TaskId": "t-1"}))  # type: ignore[no-any-return]
        answers = {
            "refusal": volcengine_error("InvalidParameter"),
            "odd": volcengine_success({"Message": ""}),
            "empty": httpx.Response(200, json={"ResponseMetadata": {}}),
            "later": volcengine_error("ServiceUnavailableTemp"),
            "throttled": volcengine_error("FlowLimitExceeded"),
            "broken": volcengine_error("InternalError", status=500),
            "text": httpx.Response(
                200, content=b'{"ResponseMetadata": {"RequestId": "\\udfff"}, "Result": "o\\ud800"}'
            ),
        }
        return answers.get(behaviour, volcengine_success())  # type: ignore[no-any-return]


class Clock:
    """The clock of the machine, which steps."""

    def __init__(self) -> None:
        self.offset = 0.0

    def __call__(self) -> float:
        """Return the machine's Unix time."""
        return NOW + self.offset + asyncio.get_running_loop().time()
