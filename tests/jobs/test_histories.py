"""Random histories of ``Jobs``, in virtual time: no accepted job is lost, none is left undone, and who waits returns.

Jobs are submitted, submitted again, and their submitting cancelled; the program is closed, killed and started again;
the clock of the machine steps; the vendor refuses, breaks off, keeps silent, answers nonsense; a user's part raises.
"""

import asyncio
import contextlib
import random
from collections.abc import Coroutine
from typing import Any

import attrs
import httpx
import pytest

from tests.doubles import volcengine_client, zego_client
from tests.jobs.histories import Clock, Disk, SlowJournal, Vendor, VirtualLoop
from volc_moderation import Action, JournalError, RetryPolicy, WindowQuotas
from volc_moderation.client import Client
from volc_moderation.jobs import Job, Jobs, JobState
from volc_moderation.jobs import jobs as module
from volc_moderation.volcengine import StopWebcast
from volc_moderation.zego import StartCensorAudioV2

#: In all, and at once.
HISTORIES, CHUNK = 2000, 125
#: Answers after which a job is made again by the vendors' advice, or because nothing was done.
ADVISED = {"later", "throttled", "lost"}
#: Answers that end a job for good.
FINAL = {"no", "raise", "cancel"}


@attrs.define
class Accepted:
    """A job that was taken on: the call, when that was last, and how often."""

    action: Action[Any]
    at: float
    times: int = 1

    @property
    def name(self) -> str:
        """What the vendor knows the call by."""
        return f"{self.action.name} {getattr(self.action, 'room_id', None)}"


class History:
    """A machine, on which one program after the other runs ``Jobs``."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.disk = Disk()
        self.clock = Clock()
        self.vendor = Vendor(random.Random(seed + 1), moody=self.dice.choice([0.0, 0.3, 0.8]))
        self.accepted: dict[str, Accepted] = {}
        self.waiting: list[asyncio.Task[Job]] = []
        self.kills: list[float] = []
        #: Calls whose submitting was cancelled: nobody knows how often they were taken on.
        self.cancelled: set[str] = set()
        self.http_client = httpx.AsyncClient(transport=httpx.MockTransport(self.vendor))

    def clients(self) -> list[Client]:
        quotas = WindowQuotas({"StopWebcast": 3, "StartCensorAudioV2": 2})
        options: dict[str, Any] = {"http_client": self.http_client, "clock": self.clock, "quotas": quotas}
        return [volcengine_client(**options), zego_client(**options)]

    def action(self) -> Action[Any]:
        room = f"r-{self.dice.randrange(6)}"
        if self.dice.random() < 0.6:
            return StopWebcast(app_id="app", room_id=room, task_id="t")
        return StartCensorAudioV2(room_id=room, event_id="e", audio_language="en", risk_type_list=["BAN"])

    async def life(self, monkeypatch: pytest.MonkeyPatch, *, is_last: bool) -> None:
        """Run one program, until it is closed, or killed."""
        journal = SlowJournal(self.disk, self.dice)

        async def opened(_: object) -> SlowJournal:
            return journal

        monkeypatch.setattr(module, "open_journal", opened)
        grace = self.dice.choice([0.0, 1.0, 15.0])
        retry = RetryPolicy(attempts=3)
        jobs = Jobs("stops.db", clients=self.clients(), clock=self.clock, retry=retry, grace=grace)
        await jobs.__aenter__()
        if is_last:
            await asyncio.wait_for(self.until_all_ended(), 20_000)
        else:
            for _ in range(self.dice.randrange(1, 9)):
                await self.act(jobs)
            if self.dice.random() < 0.4:
                await self.kill(journal)
                return
        with contextlib.suppress(JournalError):
            await asyncio.wait_for(jobs.__aexit__(None, None, None), 60)
        done, pending = await asyncio.wait(self.waiting, timeout=1) if self.waiting else (set(), set())
        assert not pending, "who waits returns"
        assert all(isinstance(one.exception(), JournalError | None) for one in done)
        self.waiting.clear()

    async def kill(self, journal: SlowJournal) -> None:
        """Let the program end without a word, as by kill -9: what was not committed is lost."""
        journal.die()
        self.kills.append(asyncio.get_running_loop().time())
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        self.waiting.clear()

    async def act(self, jobs: Jobs) -> None:
        what = self.dice.choice(["submit", "submit", "submit", "cancel", "wait", "sleep", "sleep", "step"])
        if what == "step":
            self.clock.stepped += self.dice.choice([-3600.0, -60.0, 60.0, 3600.0])
        elif what == "sleep":
            await asyncio.sleep(self.dice.choice([0.0, 0.01, 0.2, 3.0, 400.0]))
        elif what == "wait" and self.accepted:
            self.waiting.append(asyncio.create_task(jobs.wait(self.dice.choice(list(self.accepted)))))
        else:
            await self.submit(jobs, is_cancelled=what == "cancel")

    async def submit(self, jobs: Jobs, *, is_cancelled: bool) -> None:
        action, delay = self.action(), self.dice.choice([0.0, 0.0, 5.0, 300.0])
        began = asyncio.get_running_loop().time()
        submitting = asyncio.create_task(jobs.submit(action, delay=delay))
        if is_cancelled:
            await asyncio.sleep(self.dice.choice([0.0, 0.0005, 0.02, 0.06]))
            submitting.cancel()
        (key,) = await asyncio.gather(submitting, return_exceptions=True)
        if isinstance(key, asyncio.CancelledError):
            self.cancelled.add(f"{action.name} {getattr(action, 'room_id', None)}")
            return
        assert isinstance(key, str)
        before = self.accepted.get(key)
        self.accepted[key] = Accepted(action, began, 1 if before is None else before.times + 1)

    async def until_all_ended(self) -> None:
        while self.disk.query("SELECT 1 FROM job WHERE state IN ('pending', 'sent') LIMIT 1"):
            await asyncio.sleep(20)

    def check(self) -> None:
        """Look at what became of all of it."""
        jobs = {job.key: job for job in self.disk.jobs()}
        assert self.accepted.keys() <= jobs.keys(), "no accepted job is lost"
        for key, accepted in self.accepted.items():
            job, arrived = jobs[key], self.vendor.arrived[accepted.name]
            since = [mood for at, mood in arrived if at >= accepted.at]
            if job.state is JobState.DONE:
                assert {"yes", "text"} & {mood for _, mood in arrived}
            elif job.state is JobState.GIVEN_UP:
                assert job.attempts >= 3  # those that a kill cut off count, too
            elif accepted.action.repeatable:
                assert FINAL & {mood for _, mood in arrived}, "no repeatable job is left undone"
            elif job.code == "Interrupted":
                assert arrived or self.kills, "what never left is not taken for what may have"
            if accepted.action.repeatable and job.state is JobState.DONE:
                assert since or self.was_on_its_way(accepted), "it was made after it was last submitted"
            self.check_starts(accepted, [mood for _, mood in arrived])

    def was_on_its_way(self, accepted: Accepted) -> bool:
        """Tell whether a call that arrived shortly before was made by the job that was submitted again meanwhile."""
        return accepted.times > 1 or accepted.name in self.cancelled

    def check_starts(self, accepted: Accepted, moods: list[str]) -> None:
        """See that what must not be made twice is made once, unless it was submitted again or that is advised."""
        if not accepted.action.repeatable and accepted.times == 1 and accepted.name not in self.cancelled:
            assert len([mood for mood in moods if mood not in ADVISED]) <= 1


def run(history: Coroutine[Any, Any, None]) -> None:
    """Run a history; what the event loop would only log, such as an error that nobody hears of, is an error here."""
    loop = VirtualLoop()
    problems: list[Any] = []
    loop.set_exception_handler(lambda _, problem: problems.append(problem))
    try:
        loop.run_until_complete(history)
    finally:
        loop.close()
    assert not problems


async def tell(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random.seed(seed)  # the jitter
    history = History(seed)
    for _ in range(history.dice.randrange(1, 4)):
        await history.life(monkeypatch, is_last=False)
    history.vendor.moody *= 0.3
    await history.life(monkeypatch, is_last=True)
    history.check()
    await history.http_client.aclose()


@pytest.mark.parametrize("first", range(0, HISTORIES, CHUNK))
def test_whatever_happens_no_job_is_lost(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(first, first + CHUNK):
        try:
            run(tell(seed, monkeypatch))
        except BaseException as error:
            error.add_note(f"history {seed}")
            raise
