"""Random histories of ``Jobs`` in virtual time: no accepted job is lost or left undone, and every waiter returns.

Jobs are submitted, submitted again, and their submit is cancelled; the program is closed, killed and started again; the
clock of the machine steps; the vendor refuses, disconnects, hangs, answers nonsense; the user's transport raises.
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

HISTORIES = 2000
HISTORIES_PER_TEST = 125
#: Behaviours after which a call is repeated, as the vendors advise or because nothing was done.
REPEATED = {"later", "throttled", "lost"}
#: Behaviours that make a job fail.
FINAL = {"refusal", "raise", "cancel"}


@attrs.define
class Accepted:
    """A job that was submitted: the call, when it was submitted last, and how often."""

    action: Action[Any]
    at: float
    times: int = 1

    @property
    def name(self) -> str:
        """The name under which the vendor counts the call."""
        return f"{self.action.name} {getattr(self.action, 'room_id', None)}"


class History:
    """A machine on which one program after the other runs ``Jobs``."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.disk = Disk()
        self.clock = Clock()
        self.vendor = Vendor(random.Random(seed + 1), unreliability=self.dice.choice([0.0, 0.3, 0.8]))
        self.accepted: dict[str, Accepted] = {}
        self.waiting: list[asyncio.Task[Job[object]]] = []
        self.kills: list[float] = []
        #: Calls whose submit was cancelled: it is unknown how often they were accepted.
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
        """Run one program until it is closed or killed."""
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
        assert not pending, "every waiter returns"
        assert all(isinstance(task.exception(), JournalError | None) for task in done)
        self.waiting.clear()

    async def kill(self, journal: SlowJournal) -> None:
        """End the program as by kill -9: uncommitted work is lost."""
        journal.die()
        self.kills.append(asyncio.get_running_loop().time())
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        self.waiting.clear()

    async def act(self, jobs: Jobs) -> None:
        step = self.dice.choice(["submit", "submit", "submit", "cancel", "wait", "sleep", "sleep", "step"])
        if step == "step":
            self.clock.offset += self.dice.choice([-3600.0, -60.0, 60.0, 3600.0])
        elif step == "sleep":
            await asyncio.sleep(self.dice.choice([0.0, 0.01, 0.2, 3.0, 400.0]))
        elif step == "wait" and self.accepted:
            self.waiting.append(asyncio.create_task(jobs.wait(self.dice.choice(list(self.accepted)))))
        else:
            await self.submit(jobs, is_cancelled=step == "cancel")

    async def submit(self, jobs: Jobs, *, is_cancelled: bool) -> None:
        action, delay = self.action(), self.dice.choice([0.0, 0.0, 5.0, 300.0])
        began = asyncio.get_running_loop().time()
        submitting = asyncio.create_task(jobs.submit(action, delay=delay))
        if is_cancelled:
            await asyncio.sleep(self.dice.choice([0.0, 0.0005, 0.02, 0.06]))
            submitting.cancel()
        await asyncio.wait([submitting])
        if submitting.cancelled():
            self.cancelled.add(f"{action.name} {getattr(action, 'room_id', None)}")
            return
        key = submitting.result()
        before = self.accepted.get(key)
        self.accepted[key] = Accepted(action, began, 1 if before is None else before.times + 1)

    async def until_all_ended(self) -> None:
        while self.disk._query("SELECT 1 FROM job WHERE state IN ('pending', 'sent') LIMIT 1"):
            await asyncio.sleep(20)

    def check(self) -> None:
        """Check what became of every job."""
        jobs = {job.key: job for job in self.disk.jobs()}
        assert self.accepted.keys() <= jobs.keys(), "no accepted job is lost"
        for key, accepted in self.accepted.items():
            job, arrivals = jobs[key], self.vendor.arrivals[accepted.name]
            behaviours = {behaviour for _, behaviour in arrivals}
            is_made_since = any(at >= accepted.at for at, _ in arrivals)
            if job.state is JobState.DONE:
                assert {"success", "text"} & behaviours
            elif job.state is JobState.GIVEN_UP:
                assert job.attempts >= 3  # attempts that a kill cut off count, too
            elif accepted.action.repeatable:
                assert FINAL & behaviours, "no repeatable job is left undone"
            elif job.code == "Interrupted":
                assert arrivals or self.kills, "a call that never left does not count as one that may have"
            if accepted.action.repeatable and job.state is JobState.DONE:
                assert is_made_since or self.was_in_flight(accepted), "it was made after it was last submitted"
            self.check_starts(accepted, [behaviour for _, behaviour in arrivals])

    def was_in_flight(self, accepted: Accepted) -> bool:
        """Return whether an earlier call may count: it was pending or in flight when the job was submitted again."""
        return accepted.times > 1 or accepted.name in self.cancelled

    def check_starts(self, accepted: Accepted, behaviours: list[str]) -> None:
        """Check that a start is made once, unless it was submitted again or a repetition is advised."""
        if not accepted.action.repeatable and accepted.times == 1 and accepted.name not in self.cancelled:
            assert len([behaviour for behaviour in behaviours if behaviour not in REPEATED]) <= 1


def run(history: Coroutine[Any, Any, None]) -> None:
    """Run a history, and fail on errors that an event loop only logs, such as an exception that was never retrieved."""
    loop = VirtualLoop()
    problems: list[Any] = []
    loop.set_exception_handler(lambda _, problem: problems.append(problem))
    try:
        loop.run_until_complete(history)
    finally:
        loop.close()
    assert not problems


async def live(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random.seed(seed)  # the jitter
    history = History(seed)
    for _ in range(history.dice.randrange(1, 4)):
        await history.life(monkeypatch, is_last=False)
    history.vendor.unreliability *= 0.3
    await history.life(monkeypatch, is_last=True)
    history.check()
    await history.http_client.aclose()


@pytest.mark.no_coverage
@pytest.mark.parametrize("first", range(0, HISTORIES, HISTORIES_PER_TEST))
def test_whatever_happens_no_job_is_lost(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(first, first + HISTORIES_PER_TEST):
        try:
            run(live(seed, monkeypatch))
        except BaseException as error:
            error.add_note(f"history {seed}")
            raise
