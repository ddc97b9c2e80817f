"""A state machine: producers, workers and the queue's data meet with accidents in any order.

No start is repeated silently, one worker at a time has a job, and every job ends. The producers, their journals, the
queue and its Valkey are real. The simulated workers do what ``Worker`` does, one step at a time, and the machine counts
the calls as a vendor would.
"""

import asyncio
import os
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from redis import Redis

from tests.doubles import volcengine_client, zego_client
from tests.jobs.journals import InlineJournal
from volc_moderation.action import Action
from volc_moderation.jobs.clients import Clients, dump_action
from volc_moderation.jobs.follower import Follower
from volc_moderation.jobs.job import INTERRUPTED, JobState, Lane, key_of
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.outcome import EndedAttempt, Outcome
from volc_moderation.jobs.queue.records import Claim, ClaimedAttempt, WorkerStatus
from volc_moderation.jobs.queue.redis_queue import WORKER_LEASE, RedisQueue, queue_client
from volc_moderation.volcengine import StopWebcast
from volc_moderation.zego import StartCensorAudioV2

STOP = StopWebcast(app_id="a", room_id="r", task_id="t")
STARTS = [
    StartCensorAudioV2(room_id=f"r{number}", event_id="e", audio_language="en", risk_type_list=["BAN"])
    for number in range(2)
]
ACTIONS: list[Action[Any]] = [STOP, *STARTS]
PREFIX = "volc_moderation:{machine}:"
#: Set this higher for a longer search: about 5 examples run per second.
EXAMPLES = int(os.environ.get("QUEUE_EXAMPLES", "40"))
DONE = Outcome(JobState.DONE)
RETRY = Outcome(JobState.PENDING, wait=0.0)
NO_STATUS = WorkerStatus({})

producers = st.sampled_from([0, 1])
worker_names = st.sampled_from(["w0", "w1"])
indexes = st.integers(0, 2)


class ClaimedJob:
    """A job that a worker has claimed, and whether its request has left."""

    def __init__(self, claim: Claim, lane: Lane, attempts: int) -> None:
        self.claim, self.lane, self.attempts = claim, lane, attempts
        self.has_left = False


class Machine(RuleBasedStateMachine):
    """Two workers and two producers."""

    address = ""

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.redis = Redis.from_url(self.address)
        self.redis.flushall()
        self.folder = tempfile.TemporaryDirectory()
        self.clients = Clients([volcengine_client(), zego_client()])
        self.lanes = {action: self.clients.lane_of(action) for action in ACTIONS}
        self.action_types = {self.lanes[action]: type(action) for action in ACTIONS}
        self.queue = self.run(self._queue())
        self.journals = [Journal(Path(self.folder.name) / f"{number}.jobs") for number in range(2)]
        #: The claimed jobs of each worker.
        self.workers: dict[str, list[ClaimedJob]] = {}
        #: How often each worker was killed; the next worker with the same name has another id.
        self.lives: Counter[str] = Counter()
        self.frozen: set[str] = set()
        #: How often each call was carried out, by key.
        self.calls: Counter[str] = Counter()
        #: How often a start was carried out for each listing, by token.
        self.starts: Counter[bytes] = Counter()
        #: The keys of starts that were repeated.
        self.repeated: list[str] = []
        self.list_count = 0
        self.followers = [self.run(self._follower(number)) for number in range(2)]

    async def _queue(self) -> RedisQueue:
        return RedisQueue(queue_client(self.address), "machine", keep=600, reconnect=5)

    async def _follower(self, number: int) -> Follower:
        jobs = SimpleNamespace(clients=self.clients, queue=self.queue)
        follower = Follower(InlineJournal(self.journals[number]), cast("Any", jobs))
        await follower.prepare()
        return follower

    def run(self, awaitable: Any) -> Any:
        return self.loop.run_until_complete(awaitable)

    def teardown(self) -> None:
        if not hasattr(self, "queue"):
            return
        try:
            self._finish()
        finally:
            self.run(self.queue.aclose())
            for journal in self.journals:
                journal.close()
            self.redis.close()
            self.folder.cleanup()
            self.loop.close()

    # Producers

    @rule(number=producers, indexes=st.sets(st.sampled_from(range(len(ACTIONS))), min_size=1))
    def list_calls(self, number: int, indexes: set[int]) -> None:
        journal, self.list_count = self.journals[number], self.list_count + 1
        with journal.transaction():
            rows = []
            for index in sorted(indexes):
                action = ACTIONS[index]
                lane, key = self.lanes[action], key_of(self.lanes[action], action)
                rows.append((key, journal.lane_id(lane), dump_action(action), self.list_count))
            now = time.time() + self.list_count / 1000  # no two lists have the same time
            journal.load(rows + rows[:1] * self.list_count, due=0.0, now=now)  # nor the same rows
        self.resume(number)  # the command loads a list before it runs
        self.hand_over(number)

    @rule(number=producers)
    def hand_over(self, number: int) -> None:
        self.run(self.followers[number]._hand_over())

    @rule(number=producers)
    def record_updates(self, number: int) -> None:
        self.run(self.followers[number]._record_updates(wait=0.0))

    @rule(number=producers)
    def inspect(self, number: int) -> None:
        self.followers[number]._inspect_at = 0.0
        self.run(self.followers[number]._inspect())

    @rule(number=producers)
    def resume(self, number: int) -> None:
        """Kill the producer and start it again."""
        self.followers[number] = self.run(self._follower(number))

    @rule(number=producers, action=st.sampled_from(ACTIONS))
    def die_while_handing_over(self, number: int, action: Any) -> None:
        """Kill the producer after it has written the journal and before it submits to the queue."""
        journal = self.journals[number]
        with journal.transaction():
            lane_ids = {lane: lane_id for lane_id, lane in journal.lanes().items()}
            if self.lanes[action] in lane_ids:
                journal.hand_over(lane_ids[self.lanes[action]], 2, due=time.time() + 9, now=time.time())
        self.resume(number)

    # Workers

    def id(self, name: str) -> str:
        return f"{name}-{self.lives[name]}"

    def claimed(self, name: str) -> list[ClaimedJob] | None:
        """Return the jobs of a worker; None if it is frozen."""
        return None if name in self.frozen else self.workers.setdefault(name, [])

    @rule(name=worker_names, limit=st.integers(1, 2))
    def take(self, name: str, limit: int) -> None:
        claimed = self.claimed(name)
        if claimed is None:
            return
        for lane, action_type in self.action_types.items():
            at_most_once = not action_type.repeatable
            jobs, _ = self.run(self.queue.take(self.id(name), lane, limit, at_most_once=at_most_once))
            claimed += [ClaimedJob(Claim(job.key, job.id), lane, job.attempts) for job in jobs]

    @rule(name=worker_names)
    def work(self, name: str) -> None:
        """Take, send and finish some jobs, as usual."""
        self.take(name, 1)
        self.send_all(name)
        for _ in range(len(self.claimed(name) or ())):
            self.finish(name, 0)

    @rule(name=worker_names)
    def be_refused(self, name: str) -> None:
        """Take some jobs, and send the first that has not left; the vendor wants it later."""
        self.take(name, 1)
        unsent = [index for index, job in enumerate(self.claimed(name) or ()) if not job.has_left]
        if unsent:
            self.send(name, unsent[0], is_accepted=False)

    @rule(name=worker_names)
    def send_all(self, name: str) -> None:
        for index in range(len(self.claimed(name) or ())):
            self.send(name, index, is_accepted=True)

    @rule(name=worker_names, action=st.sampled_from(ACTIONS))
    def take_and_lose_the_reply(self, name: str, action: Any) -> None:
        """Take jobs; the connection breaks before the reply comes."""
        if self.claimed(name) is not None:
            at_most_once = not action.repeatable
            self.run(self.queue.take(self.id(name), self.lanes[action], 2, at_most_once=at_most_once))

    @rule(name=worker_names, index=indexes, is_accepted=st.booleans())
    def send(self, name: str, index: int, is_accepted: bool) -> None:
        claimed = self.claimed(name)
        if not claimed or claimed[index % len(claimed)].has_left:
            return
        job = claimed[index % len(claimed)]
        key = job.claim.key
        is_start = not self.action_types[job.lane].repeatable
        if is_start and not self.run(self.queue.mark_sent(self.id(name), [job.claim]))[0][0]:
            claimed.remove(job)  # another worker has it by now, so it must not leave
            return
        job.has_left = True
        if is_accepted:
            self.calls[key] += 1
            tokens = cast("bytes", self.redis.hget(f"{PREFIX}job:{key}", "runs")) if is_start else b""
            # A start is made for the listings that had no call yet; the other listings share its outcome.
            if is_start and all(self.starts[token] for token in tokens.split()):
                self.repeated.append(key)
            self.starts.update(tokens.split())
        else:
            self.end(name, claimed, job, RETRY)

    @rule(name=worker_names, index=indexes)
    def finish(self, name: str, index: int) -> None:
        claimed = self.claimed(name)
        if claimed and claimed[index % len(claimed)].has_left:
            self.end(name, claimed, claimed[index % len(claimed)], DONE)

    def end(self, name: str, claimed: list[ClaimedJob], job: ClaimedJob, outcome: Outcome) -> None:
        claimed.remove(job)
        attempt = ClaimedAttempt(job.claim, EndedAttempt(outcome, job.attempts, 0.0, 0.1, 0.0, time.time()))
        first = self.run(self.queue.record(self.id(name), [attempt]))
        assert len(first[0]) == 1
        second, _ = self.run(self.queue.record(self.id(name), [attempt]))
        assert second == [False], "the same attempt ended twice"

    @rule(name=worker_names, index=indexes)
    def give_back(self, name: str, index: int) -> None:
        claimed = self.claimed(name)
        if claimed and not claimed[index % len(claimed)].has_left:
            self.run(self.queue.give_back(self.id(name), [claimed.pop(index % len(claimed)).claim]))

    @rule(name=worker_names)
    def heartbeat(self, name: str) -> None:
        claimed = self.claimed(name)
        if claimed is not None:
            worker, held = self.id(name), [job.claim.fence for job in claimed]
            fence, *_ = self.run(self.queue.heartbeat(worker, NO_STATUS, held=held, up_to_fence=0))
            self.run(self.queue.heartbeat(worker, NO_STATUS, held=held, up_to_fence=fence))

    @rule(name=worker_names)
    def kill(self, name: str) -> None:
        self.workers.pop(name, None)
        self.frozen.discard(name)
        self.lives[name] += 1

    @rule(name=worker_names)
    def leave(self, name: str) -> None:
        if self.claimed(name) is not None:
            self.run(self.queue.leave(self.id(name)))
            self.kill(name)

    @rule(name=worker_names)
    def freeze(self, name: str) -> None:
        self.frozen.add(name)

    @rule(name=worker_names)
    def freeze_until_the_lease_expires(self, name: str) -> None:
        self.frozen.add(name)
        self.pass_time()
        self.frozen.discard(name)

    @rule(name=worker_names)
    def thaw(self, name: str) -> None:
        self.frozen.discard(name)

    @rule()
    def pass_time(self) -> None:
        """Let more time pass than a lease lasts: workers without heartbeats count as dead."""
        for _ in range(int(WORKER_LEASE // 5) + 1):
            wall = self.redis.hget(PREFIX + "queue", "wall")
            if wall is not None:
                self.redis.hset(PREFIX + "queue", "wall", int(cast("bytes", wall)) - 5000)
            for name in self.workers:
                self.heartbeat(name)
            self.run(self.queue.inspect())

    # The Redis

    @rule(number=producers)
    def lose_the_data(self, number: int) -> None:
        self.redis.flushall()
        self.redis.script_flush()
        self.inspect(number)  # as every INSPECT_INTERVAL

    @rule(name=worker_names, number=producers)
    def lose_the_data_after_work(self, name: str, number: int) -> None:
        self.work(name)
        self.lose_the_data(number)

    # Invariants

    @invariant()
    def one_worker_has_a_job(self) -> None:
        if not hasattr(self, "workers"):
            return
        holders: Counter[str] = Counter()
        for claimed in self.workers.values():
            for job in claimed:
                fence = self.redis.hget(f"{PREFIX}job:{job.claim.key}", "fence")
                holders[job.claim.key] += fence is not None and int(cast("bytes", fence)) == job.claim.fence
        assert not holders or max(holders.values()) <= 1

    @invariant()
    def no_start_is_repeated(self) -> None:
        assert not getattr(self, "repeated", None), "all listings of this start already had a call"

    def _finish(self) -> None:
        """Let the remaining workers and producers finish all jobs."""
        self.frozen.clear()
        for name in list(self.workers):
            while self.workers[name]:
                self.send(name, 0, is_accepted=True)
                self.finish(name, 0)
        self.pass_time()  # the workers send heartbeats, and hold no jobs
        for _ in range(30):
            for number in range(2):
                self.inspect(number)
                self.hand_over(number)
            self.take("w9", 9)
            while self.workers["w9"]:
                self.send("w9", 0, is_accepted=True)
                self.finish("w9", 0)
            for number in range(2):
                self.record_updates(number)
            if all(not journal.summary().unfinished for journal in self.journals):
                break
        self.no_start_is_repeated()
        for journal in self.journals:
            for job in journal.jobs():
                assert job.state.has_ended, "no worker makes the call"
                assert job.state is JobState.DONE or job.code == INTERRUPTED
                assert job.state is not JobState.DONE or self.calls[job.key], "the job is done without a call"
                assert job.code != INTERRUPTED or not self.action_types[job.lane].repeatable


@pytest.mark.no_coverage
@pytest.mark.usefixtures("redis")
def test_the_queue_keeps_its_promises_in_any_order_of_accidents(valkey: str) -> None:
    class MachineOnValkey(Machine):
        address = valkey

    run_state_machine_as_test(
        MachineOnValkey,
        settings=settings(
            max_examples=EXAMPLES,
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
