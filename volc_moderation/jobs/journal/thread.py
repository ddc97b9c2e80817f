"""The journal's thread: what is asked of the journal is done there, many things in one commit.

A commit costs as much as the writing of a hundred rows. So whatever waits is done together; and what nobody waits for,
the records of attempts that ended, stays up to a quarter of a second to be joined by more.
"""

import asyncio
import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import attrs

from volc_moderation.errors import JournalError
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.schema import AttemptRecord, DueJob
from volc_moderation.jobs.outcome import Ended

T = TypeVar("T")

#: At most so many records in one commit, and so many seconds until it.
BATCH = 200
LINGER = 0.25

_log = logging.getLogger("volc_moderation")


async def open_journal(make: Callable[[], Journal]) -> "JournalThread":
    """Open a journal in a thread, since that may take a while, and return what does its work from then on.

    If this is cancelled meanwhile, the journal is closed as soon as it is open. Raises ``JournalError``.
    """
    loop = asyncio.get_running_loop()
    opening = loop.run_in_executor(None, make)
    try:
        return JournalThread(await asyncio.shield(opening))
    except asyncio.CancelledError:
        opening.add_done_callback(lambda done: None if done.exception() else done.result().close())
        raise


@attrs.frozen(eq=False)
class _Wish:
    """Something to be done, and who is told when it is."""

    act: Callable[[Journal], Any]
    durable: bool = False
    #: Who waits for it, if anybody does.
    future: "asyncio.Future[Any] | None" = None
    #: Called with its result, even if nobody waits any more.
    then: Callable[[Any], None] | None = None


class JournalThread:
    """Does to a journal what tasks of an event loop ask for."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._loop = asyncio.get_running_loop()
        #: Collected here, because to wake the thread costs more than to write a row.
        self._records: list[AttemptRecord] = []
        self._timer: asyncio.TimerHandle | None = None
        self._inbox: queue.SimpleQueue[_Wish | list[AttemptRecord] | None] = queue.SimpleQueue()
        #: The thread's: records that are not written yet. They stay if that fails, and go before the next ones.
        self._unwritten: list[AttemptRecord] = []
        self._thread = threading.Thread(target=self._run, name=f"journal {journal.path.name}", daemon=True)
        self._closed = False
        self._thread.start()

    async def do(
        self, act: Callable[[Journal], T], *, durable: bool = False, then: Callable[[T], None] | None = None
    ) -> T:
        """Await something that is done to the journal, and committed; ``durable``: safe from a loss of power too.

        ``then`` is called with the result as soon as it is committed, even if who waits here is cancelled meanwhile.

        Raises ``JournalError``. Records that were handed over before are written before.
        """
        return await self.ask(act, durable=durable, then=then)

    def ask(
        self, act: Callable[[Journal], T], *, durable: bool = False, then: Callable[[T], None] | None = None
    ) -> "asyncio.Future[T]":
        """Ask for the same, and return what it will come to: for who must know that even if he is cancelled."""
        if self._closed:
            raise JournalError("the journal is closed")
        future: asyncio.Future[T] = self._loop.create_future()
        self._hand_over()
        self._inbox.put(_Wish(act, durable, future, then))
        return future

    #: One process at a time has a journal.
    is_shared = False

    @property
    def before_send(self) -> None:
        """Nobody else has the jobs of this journal: nothing is to be asked before a request leaves."""
        return None

    def post(self, act: Callable[[Journal], object]) -> None:
        """Have something done to the journal for which nobody waits. If it fails, that is logged."""
        self._hand_over()
        self._inbox.put(_Wish(act))

    def take(
        self, lane: int, most: int, *, due: float, now: float, durable: bool
    ) -> "asyncio.Future[tuple[list[DueJob], float | None]]":
        """Take up to ``most`` jobs of a lane that are due; or else tell when the next one is."""
        return self.ask(lambda journal: journal.take(lane, most, due=due, now=now), durable=durable)

    def give_back(self, rows: Sequence[DueJob]) -> None:
        """Give jobs back of which nothing has left."""
        self.post(lambda journal: journal.give_back([row.id for row in rows]))

    def note(self, row: DueJob, lane: int, ended: Ended) -> None:
        """Note what became of an attempt. It is written soon; if it cannot be, it is kept for the next try."""
        outcome = ended.outcome
        self.record(
            AttemptRecord(
                row.id,
                lane,
                outcome.state,
                ended.due,
                outcome.wait,
                ended.attempts,
                outcome.maybe_sent,
                outcome.was_gone,
                outcome.code,
                outcome.message,
                outcome.request_id,
                outcome.result,
                ended.round_trip,
                ended.waited,
                ended.now,
            )
        )

    def record(self, record: AttemptRecord) -> None:
        """Hand over a record."""
        self._records.append(record)
        if len(self._records) >= BATCH:
            self._hand_over()
        elif self._timer is None:
            self._timer = self._loop.call_later(LINGER, self._hand_over)

    def _hand_over(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._records:
            self._inbox.put(self._records)
            self._records = []

    async def aclose(self) -> None:
        """Write what is left, and close the journal. Raises ``JournalError`` if that is not possible."""
        if self._closed:
            return
        self._closed = True
        self._hand_over()
        self._inbox.put(None)
        await asyncio.shield(self._loop.run_in_executor(None, self._thread.join))
        if self._unwritten:
            raise JournalError(
                f"the journal {self._journal.path} could not be written at the end; {len(self._unwritten)} jobs that"
                " were answered are taken for ones on their way"
            )

    def abandon(self) -> None:
        """Leave the journal as it was found, although the thread may be busy for long; what that does is lost."""
        self._closed = True
        self._journal.abandon()

    # In the thread

    def _run(self) -> None:
        is_open = True
        try:
            while is_open:
                wishes, is_open = self._gather()
                self._commit(wishes)
        finally:
            self._journal.close()

    def _gather(self) -> tuple[list[_Wish], bool]:
        """Wait for something to do; return what is wished, and whether to go on. Records go to ``_unwritten``."""
        wishes: list[_Wish] = []
        with contextlib.suppress(queue.Empty):
            one = self._inbox.get(timeout=LINGER if self._unwritten else None)
            while one is not None:
                if isinstance(one, _Wish):
                    wishes.append(one)
                else:
                    self._unwritten += one
                if len(self._unwritten) + len(wishes) >= BATCH:
                    return wishes, True
                one = self._inbox.get_nowait()
            return wishes, False
        return wishes, True

    def _commit(self, wishes: list[_Wish]) -> None:
        answers: list[tuple[_Wish, object]] = []
        try:
            with self._journal.transaction(durable=any(wish.durable for wish in wishes)):
                if self._unwritten:
                    self._journal.record(self._unwritten)
                answers += [(wish, wish.act(self._journal)) for wish in wishes]
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            if len(wishes) > 1:  # whose fault it is shows when each is done alone
                for wish in wishes:
                    self._commit([wish])
                return
            answers = [(wish, error) for wish in wishes]
        else:
            self._unwritten = []
        if answers:
            with contextlib.suppress(RuntimeError):  # the loop has gone
                self._loop.call_soon_threadsafe(_resolve, answers)


def _resolve(answers: list[tuple[_Wish, object]]) -> None:
    for wish, answer in answers:
        if not isinstance(answer, Exception):
            _call(wish.then, answer)
        elif wish.future is None:
            _log.warning("something could not be written to a journal: %s", answer)
        if wish.future is None or wish.future.done():
            continue  # nobody waits, or not any more
        if isinstance(answer, Exception):
            wish.future.set_exception(answer)
        else:
            wish.future.set_result(answer)


def _call(then: Callable[[Any], None] | None, answer: object) -> None:
    """Tell who wants to be told; a fault there is its own, and not that of the others."""
    if then is None:
        return
    try:
        then(answer)
    except Exception:  # noqa: BLE001 - of whoever is told
        _log.exception("what follows on a write to a journal failed")
