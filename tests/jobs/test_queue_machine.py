"""Producers, workers and the queue's data meet with accidents, in whatever order.

No start is made twice in silence, a job is with one worker at a time, and every job ends, or has somebody who will make
it. The producers are real, with real journals, and so are the queue and its Valkey; the workers do what ``Worker``
does, one step at a time, and the vendor counts.
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
from volc_moderation.jobs.outcome import Ended, Outcome
from volc_moderation.jobs.queue.records import Taken, Written
from volc_moderation.jobs.queue.redis_queue import LEASE, Queue, connect
from volc_moderation.volcengine import StopWebcast
from volc_moderation.zego import StartCensorAudioV2

STOP = StopWebcast(app_id="a", room_id="r", task_id="t")
STARTS = [
    StartCensorAudioV2(room_id=f"r{number}", event_id="e", audio_language="en", risk_type_list=["BAN"])
    for number in range(2)
]
ACTIONS: list[Action[Any]] = [STOP, *STARTS]
BASE = "volc_moderation:{machine}:"
#: More of them by hand: some 5 a second.
EXAMPLES = int(os.environ.get("QUEUE_EXAMPLES", "40"))
DONE = Outcome(JobState.DONE)
LATER = Outcome(JobState.PENDING, wait=0.0)

producers = st.sampled_from([0, 1])
names = st.sampled_from(["w0", "w1"])
some = st.integers(0, 2)


class Held:
    """A job that a worker has, and whether its request has left."""

    def __init__(self, job: Taken, lane: Lane, attempts: int) -> None:
        self.job, self.lane, self.attempts = job, lane, attempts
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
        self.by_lane = {self.lanes[action]: type(action) for action in ACTIONS}
        self.queue = self.run(self._queue())
        self.journals = [Journal(Path(self.folder.name) / f"{number}.jobs") for number in range(2)]
        self.workers: dict[str, list[Held]] = {}
        #: How often a worker was killed: the next one of its name is another one.
        self.lives: Counter[str] = Counter()
        self.frozen: set[str] = set()
        #: How often a call was carried out: of each key, and of starts for each time that somebody listed it.
        self.action_type: Counter[str] = Counter()
        self.starts: Counter[bytes] = Counter()
        self.doubled: list[str] = []
        self.lists = 0
        self.followers = [self.run(self._follower(number)) for number in range(2)]

    async def _queue(self) -> Queue:
        return Queue(connect(self.address), "machine", keep=600, reconnect=5)

    async def _follower(self, number: int) -> Follower:
        jobs = SimpleNamespace(clients=self.clients, queue=self.queue)
        follower = Follower(InlineJournal(self.journals[number]), cast("Any", jobs))
        await follower.prepare()
        return follower

    def run(self, what: Any) -> Any:
        return self.loop.run_until_complete(what)

    def teardown(self) -> None:
        if not hasattr(self, "queue"):
            return
        try:
            self._end()
        finally:
            self.run(self.queue.aclose())
            for journal in self.journals:
                journal.close()
            self.redis.close()
            self.folder.cleanup()
            self.loop.close()

    # Producers

    @rule(number=producers, which=st.sets(st.sampled_from(range(len(ACTIONS))), min_size=1))
    def list_calls(self, number: int, which: set[int]) -> None:
        journal, self.lists = self.journals[number], self.lists + 1
        with journal.transaction():
            rows = []
            for one in sorted(which):
                action = ACTIONS[one]
                lane, key = self.lanes[action], key_of(self.lanes[action], action)
                rows.append((key, journal.lane(lane), dump_action(action), self.lists))
            now = time.time() + self.lists / 1000  # no two lists are of the same moment
            journal.load(rows + rows[:1] * self.lists, due=0.0, now=now)  # nor the same list twice
        self.resume(number)  # the command reads a list before it runs
        self.hand_over(number)

    @rule(number=producers)
    def hand_over(self, number: int) -> None:
        self.run(self.followers[number]._hand_over())

    @rule(number=producers)
    def follow(self, number: int) -> None:
        self.run(self.followers[number]._follow(wait=0.0))

    @rule(number=producers)
    def look(self, number: int) -> None:
        self.followers[number]._look_at = 0.0
        self.run(self.followers[number]._look())

    @rule(number=producers)
    def resume(self, number: int) -> None:
        """Kill it before."""
        self.followers[number] = self.run(self._follower(number))

    @rule(number=producers, action=st.sampled_from(ACTIONS))
    def die_while_handing_over(self, number: int, action: Any) -> None:
        """After the journal was written, and before the queue was."""
        journal = self.journals[number]
        with journal.transaction():
            numbers = {lane: one for one, lane in journal.lanes().items()}
            if self.lanes[action] in numbers:
                journal.hand_over(numbers[self.lanes[action]], 2, due=time.time() + 9, now=time.time())
        self.resume(number)

    # Workers

    def id(self, name: str) -> str:
        return f"{name}-{self.lives[name]}"

    def alive(self, name: str) -> list[Held] | None:
        return None if name in self.frozen else self.workers.setdefault(name, [])

    @rule(name=names, most=st.integers(1, 2))
    def take(self, name: str, most: int) -> None:
        held = self.alive(name)
        if held is None:
            return
        for lane, made in self.by_lane.items():
            rows, _ = self.run(self.queue.take(self.id(name), lane, most, once=not made.repeatable))
            held += [Held(Taken(key.decode(), fence), lane, attempts) for fence, key, _, attempts, *_ in rows]

    @rule(name=names)
    def work(self, name: str) -> None:
        """Take, send and finish some, as goes well most of the time."""
        self.take(name, 1)
        self.send_all(name)
        for _ in range(len(self.alive(name) or ())):
            self.finish(name, 0)

    @rule(name=names)
    def be_refused(self, name: str) -> None:
        """Take some, and send the first that has not left: the vendor wants it later."""
        self.take(name, 1)
        unsent = [which for which, one in enumerate(self.alive(name) or ()) if not one.has_left]
        if unsent:
            self.send(name, unsent[0], is_accepted=False)

    @rule(name=names)
    def send_all(self, name: str) -> None:
        for which in range(len(self.alive(name) or ())):
            self.send(name, which, is_accepted=True)

    @rule(name=names, action=st.sampled_from(ACTIONS))
    def take_and_never_hear(self, name: str, action: Any) -> None:
        """Lose the answer with the connection."""
        if self.alive(name) is not None:
            self.run(self.queue.take(self.id(name), self.lanes[action], 2, once=not action.repeatable))

    @rule(name=names, which=some, is_accepted=st.booleans())
    def send(self, name: str, which: int, is_accepted: bool) -> None:
        held = self.alive(name)
        if not held or held[which % len(held)].has_left:
            return
        one = held[which % len(held)]
        is_start = not self.by_lane[one.lane].repeatable
        if is_start and not self.run(self.queue.send(self.id(name), [one.job]))[0][0]:
            held.remove(one)  # it is another's by now, and must not leave
            return
        one.has_left = True
        if is_accepted:
            self.action_type[one.job.key] += 1
            listed = cast("bytes", self.redis.hget(f"{BASE}job:{one.job.key}", "runs")) if is_start else b""
            # Who listed it, and had no call yet, is whom it is made for; the others hear of it.
            if is_start and all(self.starts[run] for run in listed.split()):
                self.doubled.append(one.job.key)
            self.starts.update(listed.split())
        else:
            self.end(name, held, one, LATER)

    @rule(name=names, which=some)
    def finish(self, name: str, which: int) -> None:
        held = self.alive(name)
        if held and held[which % len(held)].has_left:
            self.end(name, held, held[which % len(held)], DONE)

    def end(self, name: str, held: list[Held], one: Held, outcome: Outcome) -> None:
        held.remove(one)
        ended = Written(one.job, Ended(outcome, one.attempts, 0.0, 0.1, 0.0, time.time()))
        first = self.run(self.queue.record(self.id(name), [ended]))
        assert len(first[0]) == 1
        again, _ = self.run(self.queue.record(self.id(name), [ended]))
        assert again == [False], "the same attempt ended twice"

    @rule(name=names, which=some)
    def give_back(self, name: str, which: int) -> None:
        held = self.alive(name)
        if held and not held[which % len(held)].has_left:
            self.run(self.queue.give_back(self.id(name), [held.pop(which % len(held)).job]))

    @rule(name=names)
    def beat(self, name: str) -> None:
        held = self.alive(name)
        if held is not None:
            fences = [one.job.fence for one in held]
            fence, _ = self.run(self.queue.beat(self.id(name), "{}", held=fences, since=0))
            self.run(self.queue.beat(self.id(name), "{}", held=fences, since=fence))

    @rule(name=names)
    def kill(self, name: str) -> None:
        self.workers.pop(name, None)
        self.frozen.discard(name)
        self.lives[name] += 1

    @rule(name=names)
    def leave(self, name: str) -> None:
        if self.alive(name) is not None:
            self.run(self.queue.leave(self.id(name)))
            self.kill(name)

    @rule(name=names)
    def freeze(self, name: str) -> None:
        self.frozen.add(name)

    @rule(name=names)
    def freeze_until_it_is_taken_for_dead(self, name: str) -> None:
        self.frozen.add(name)
        self.time_goes_by()
        self.frozen.discard(name)

    @rule(name=names)
    def thaw(self, name: str) -> None:
        self.frozen.discard(name)

    @rule()
    def time_goes_by(self) -> None:
        """Longer than a lease: who is not heard of is taken for dead."""
        for _ in range(int(LEASE // 5) + 1):
            wall = self.redis.hget(BASE + "queue", "wall")
            if wall is not None:
                self.redis.hset(BASE + "queue", "wall", int(cast("bytes", wall)) - 5000)
            for name in self.workers:
                self.beat(name)
            self.run(self.queue.look())

    # The Redis

    @rule(number=producers)
    def lose_the_data(self, number: int) -> None:
        self.redis.flushall()
        self.redis.script_flush()
        self.look(number)  # as it does every two seconds

    @rule(name=names, number=producers)
    def lose_the_data_after_work(self, name: str, number: int) -> None:
        self.work(name)
        self.lose_the_data(number)

    # What must hold

    @invariant()
    def a_job_is_with_one_worker(self) -> None:
        if not hasattr(self, "workers"):
            return
        holders: Counter[str] = Counter()
        for held in self.workers.values():
            for one in held:
                fence = self.redis.hget(f"{BASE}job:{one.job.key}", "fence")
                holders[one.job.key] += fence is not None and int(cast("bytes", fence)) == one.job.fence
        assert not holders or max(holders.values()) <= 1

    @invariant()
    def no_start_is_made_twice(self) -> None:
        assert not getattr(self, "doubled", None), "made again for those for whom it was made before"

    def _end(self) -> None:
        """Let those who are left do what is left."""
        self.frozen.clear()
        for name in list(self.workers):
            while self.workers[name]:
                self.send(name, 0, is_accepted=True)
                self.finish(name, 0)
        self.time_goes_by()  # in which the workers are heard of, and have nothing
        for _ in range(30):
            for number in range(2):
                self.look(number)
                self.hand_over(number)
            self.take("w9", 9)
            while self.workers["w9"]:
                self.send("w9", 0, is_accepted=True)
                self.finish("w9", 0)
            for number in range(2):
                self.follow(number)
            if all(not journal.summary().unfinished for journal in self.journals):
                break
        self.no_start_is_made_twice()
        for journal in self.journals:
            for job in journal.jobs():
                assert job.state.has_ended, "nobody makes it"
                assert job.state is JobState.DONE or job.code == INTERRUPTED
                assert job.state is not JobState.DONE or self.action_type[job.key], (
                    "it is said to be done, and was not made"
                )
                assert job.code != INTERRUPTED or not self.by_lane[job.lane].repeatable


@pytest.mark.usefixtures("redis")
def test_whatever_happens(valkey: str) -> None:
    class Here(Machine):
        address = valkey

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=EXAMPLES,
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
