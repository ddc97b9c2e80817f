"""What random histories of ``Jobs`` are made of: a disk that outlives crashes, a moody vendor, a clock that steps."""

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

from tests.doubles import NOW, volcengine_no, volcengine_yes, zego_answer
from volc_moderation import JournalError
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.schema import TABLES, AttemptRecord
from volc_moderation.jobs.journal.thread import JournalThread

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in which nobody waits: when nothing is to be done, it is the time of the next timer."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._select: Callable[[float | None], Any] = self._selector.select  # type: ignore[attr-defined] # asyncio's own
        self._selector.select = self._skip  # type: ignore[attr-defined]

    def time(self) -> float:
        """Return the virtual time."""
        return self._now

    def _skip(self, timeout: float | None) -> Any:
        assert timeout is not None, "everybody waits for something that does not come"
        self._now += timeout
        return self._select(0)


class Disk(Journal):
    """A journal in memory: what was committed outlives every process that had it open."""

    def __init__(self) -> None:
        self.path = Path("stops.db")
        self._db = sqlite3.connect(":memory:", isolation_level=None)
        self._db.executescript(TABLES)
        self._is_durable = None

    def close(self) -> None:
        """Keep all."""


class SlowJournal(JournalThread):
    """Does what the thread would do, on the loop's own clock: a while after it was asked for, one after the other."""

    def __init__(self, disk: Disk, dice: random.Random) -> None:
        self._disk = disk
        self._dice = dice
        self._slow_loop = asyncio.get_running_loop()
        self._free_at = 0.0
        self._asked: deque[Callable[[], None]] = deque()
        self._futures: set[asyncio.Future[Any]] = set()
        self.is_dead = False
        self._closed = False

    def _later(self, what: Callable[[], None]) -> None:
        now = self._slow_loop.time()
        self._free_at = max(self._free_at, now) + self._dice.choice([0.0, 0.001, 0.05])
        self._asked.append(what)

        def act() -> None:
            oldest = self._asked.popleft()  # timers of the same moment go off in any order
            if not self.is_dead:
                oldest()

        self._slow_loop.call_at(self._free_at, act)

    def ask(
        self, act: Callable[[Journal], T], *, durable: bool = False, then: Callable[[T], None] | None = None
    ) -> asyncio.Future[T]:
        if self._closed:
            raise JournalError("the journal is closed")
        future: asyncio.Future[T] = self._slow_loop.create_future()
        self._futures.add(future)

        def commit() -> None:
            with self._disk.transaction():
                result = act(self._disk)
            if then is not None:
                then(result)
            if not future.done():
                future.set_result(result)

        self._later(commit)
        return future

    def post(self, act: Callable[[Journal], object]) -> None:
        self.ask(act)

    def record(self, record: AttemptRecord) -> None:
        def commit() -> None:
            with self._disk.transaction():
                self._disk.record([record])

        self._later(commit)

    def die(self) -> None:
        """End with the process: what was not committed is lost."""
        self.is_dead = True
        for future in self._futures:
            future.cancel()

    async def aclose(self) -> None:
        self._closed = True
        while self._asked and not self.is_dead:
            await asyncio.sleep(0.001)


#: What a vendor may do to a call: whether it is carried out, and how it is answered.
MOODS = (
    "yes",
    "no",
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
    """Answers calls of both vendors as its dice say, and keeps what arrived."""

    dice: random.Random
    #: How often it is in a mood other than yes.
    moody: float = 0.5
    #: By what the call acts on: when it arrived, and the mood.
    arrived: dict[str, list[tuple[float, str]]] = attrs.field(factory=lambda: defaultdict(list))

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one call."""
        is_zego = "SignatureNonce" in request.url.query.decode()
        given = json.loads(request.content)
        name = f"{request.url.params['Action']} {given.get('RoomId', given.get('TaskId'))}"
        mood = self.dice.choice(MOODS) if self.dice.random() < self.moody else "yes"
        if mood == "lost":  # it never arrives
            raise httpx.ConnectError("no way")
        self.arrived[name].append((asyncio.get_running_loop().time(), mood))
        await asyncio.sleep(self.dice.choice([0.0, 0.02, 0.3, 0.6]))
        return await self._answer(mood, is_zego=is_zego)

    async def _answer(self, mood: str, *, is_zego: bool) -> httpx.Response:
        if mood == "hang":
            await asyncio.sleep(3600)
        if mood == "reset":
            raise httpx.ReadError("torn")
        if mood == "raise":
            raise ValueError("of a transport of the user's")
        if mood == "cancel":
            raise asyncio.CancelledError  # nobody asked for it
        if is_zego:
            answers: dict[str, Any] = {
                "no": zego_answer(2),
                "odd": zego_answer(data={"TaskId": 5}),
                "empty": httpx.Response(200, json={}),
                "later": zego_answer(50009),
                "throttled": zego_answer(206),
                "broken": zego_answer(100000015),
                "text": httpx.Response(200, content=b'{"Code": 0, "Data": {"TaskId": "t\\ud800"}}'),
            }
            return answers.get(mood, zego_answer(data={"TaskId": "t-1"}))  # type: ignore[no-any-return]
        answers = {
            "no": volcengine_no("InvalidParameter"),
            "odd": volcengine_yes({"Message": ""}),
            "empty": httpx.Response(200, json={"ResponseMetadata": {}}),
            "later": volcengine_no("ServiceUnavailableTemp"),
            "throttled": volcengine_no("FlowLimitExceeded"),
            "broken": volcengine_no("InternalError", status=500),
            "text": httpx.Response(
                200, content=b'{"ResponseMetadata": {"RequestId": "\\udfff"}, "Result": "o\\ud800"}'
            ),
        }
        return answers.get(mood, volcengine_yes())  # type: ignore[no-any-return]


class Clock:
    """The clock of the machine, which steps."""

    def __init__(self) -> None:
        self.stepped = 0.0

    def __call__(self) -> float:
        """Return the Unix time, as the machine has it."""
        return NOW + self.stepped + asyncio.get_running_loop().time()
