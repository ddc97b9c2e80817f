"""What is asked of streaq and of the Redis that has its queue, besides what streaq's own API does.

https://streaq.readthedocs.io
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from anyio import current_time
from coredis.exceptions import RedisError
from streaq import Worker
from streaq.constants import REDIS_GROUP, REDIS_HEALTH

from volc_moderation.credentials import without_password
from volc_moderation.errors import ConfigurationError, JournalError

#: Gives back what a worker has taken from the stream: each message is replaced by a new one, which wakes who waits.
_HAND_BACK = """
local stream, running, health, count = KEYS[1], KEYS[2], KEYS[3], 0
redis.call('DEL', health)
if redis.call('EXISTS', stream) == 0 then return 0 end
for _, message in ipairs(redis.call('XPENDING', stream, ARGV[1], '-', '+', 10000, ARGV[2])) do
    local found = redis.call('XRANGE', stream, message[1], message[1])
    redis.call('XACK', stream, ARGV[1], message[1])
    if found[1] then
        local fields = found[1][2]
        redis.call('XDEL', stream, message[1])
        for i = 1, #fields, 2 do
            if fields[i] == 'task_id' then redis.call('SREM', running, fields[i + 1]) end
        end
        redis.call('XADD', stream, '*', unpack(fields))
        count = count + 1
    end
end
return count
"""


def make_worker(address: str, **settings: Any) -> Worker[None] | ConfigurationError:
    """Make streaq's worker; for what is no address, return an error: the traceback of one raised would show it."""
    try:
        # coredis takes a text without a scheme for an address of this machine.
        if address.partition("://")[0] not in {"redis", "rediss", "unix"}:
            raise ValueError
        return Worker(redis_url=address, **settings)
    except Exception as error:  # noqa: BLE001 - whatever it is, its text may hold the password
        reason = type(error).__name__
    return ConfigurationError(f"redis must be an address like 'redis://host:6379/0' ({reason})")


def end_within(worker: Worker[Any], seconds: float) -> None:
    """Give the calls in flight some seconds to finish, as streaq does at a signal."""
    deadline = current_time() + seconds
    for scope in worker._cancel_scopes.values():  # noqa: SLF001 - of no other name
        scope.deadline = min(scope.deadline, deadline)


async def hand_back(worker: Worker[Any]) -> int:
    """Give what a worker has taken from the queue and not finished back to it; return how many tasks that are.

    Otherwise they would wait until streaq takes the worker for dead.
    """
    stream = worker.stream_key + worker.priorities[-1]
    keys = [stream, worker._running_set, f"{worker.prefix}{REDIS_HEALTH}:{worker.id}"]  # noqa: SLF001 - of no other name
    return int(str(await worker.redis.eval(_HAND_BACK, keys, [REDIS_GROUP, worker.id])))


async def count_workers(worker: Worker[Any]) -> int:
    """Return how many workers of a worker's queue have been heard of of late."""
    found = worker.redis.scan_iter(match=f"{worker.prefix}{REDIS_HEALTH}:*")
    return len([key async for key in found])


@contextmanager
def queue_faults() -> Iterator[None]:
    """Turn what coredis and the system raise, alone or in groups, into ``JournalError``."""
    fault: JournalError | None = None
    try:
        yield
    except* (RedisError, OSError) as group:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        fault = JournalError(f"the queue cannot be reached: {type(first).__name__}: {without_password(str(first))}")
    if fault is not None:
        raise fault
