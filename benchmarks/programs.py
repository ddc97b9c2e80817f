"""Programs that stop webcasts as fast as the quota allows, each as its users would write it, in a process of its own.

``Program`` starts one of them, tells it when to begin, and reads its result.
"""

import asyncio
import json
import multiprocessing
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import attrs
import httpx
import httpx2
import pyrate_limiter
import tenacity
import throttled.asyncio
import volcenginesdkcore
from aiolimiter import AsyncLimiter
from redis.asyncio import Redis
from volcenginesdkcore.signv4 import SignerV4

from volc_moderation import (
    FileQuotas,
    ModerationError,
    RedisQuotas,
    VolcengineClient,
    WindowQuotas,
    fastest_http_client,
)
from volc_moderation.quotas import Quota, QuotaKey, Quotas

QUOTA = 150  # calls per second
#: Calls in flight: more than the quota needs at any delay of these benchmarks.
CONCURRENCY = 100
#: The round trip of calls that are not made.
ROUND_TRIP = 0.07  # seconds
#: Threads for the official SDK, which has no asyncio.
SDK_THREADS = 32
#: Calls per second of the program that uses the same quota and knows of no other.
RIVAL_RATE = 60
KEYS: dict[str, Any] = {"access_key": "AK", "secret_key": "SK"}

#: What the forked processes of one program share: one bucket.
_shared_buckets: list[pyrate_limiter.AbstractBucket] = []

#: Makes one call; raises one of ``CALL_ERRORS`` if it is lost.
Call = Callable[[], Awaitable[object]]


@attrs.frozen(kw_only=True)
class ProgramResult:
    """The result of a program.

    :param done: number of calls that succeeded.
    :param lost: number of calls that failed.
    :param cpu: seconds of CPU that the process used.
    """

    done: int
    lost: int
    cpu: float


class Program:
    """One of ``PROGRAMS`` in a process of its own.

    :param room_id: the RoomId of its calls, by which the vendor tells programs apart.
    :param address: of its store: that of Redis, or the path of a file.
    :param processes: of one of ``FORKING_PROGRAMS``, whose RoomIds are then p0, p1 and so on.
    """

    def __init__(self, name: str, room_id: str, base_url: str, address: str = "", processes: int = 1) -> None:
        self._arguments = (name, room_id, base_url, address, str(processes))

    async def start(self) -> None:
        """Start it, and wait until it is ready."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.programs", *self._arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        await self._read()

    def go(self, seconds: float) -> None:
        """Let it make calls for some seconds."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seconds}\n".encode())

    async def result(self) -> ProgramResult:
        """Wait for its end, and return its result."""
        result = ProgramResult(**json.loads(await self._read()))
        await self._process.wait()
        return result

    def kill(self) -> None:
        """Kill it as the kernel does when memory is short."""
        self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    async def aclose(self) -> None:
        """Kill it if it still runs."""
        if self._process.returncode is None:
            self.kill()
        await self._process.wait()

    async def _read(self) -> bytes:
        assert self._process.stdout is not None
        return await self._process.stdout.readline()


@asynccontextmanager
async def running(names: list[str], base_url: str, address: str = "") -> AsyncIterator[list[Program]]:
    """Start a process for each name. The server knows them as p0, p1 and so on.

    The processes of one of ``FORKING_PROGRAMS`` are one program.
    """
    if names[0] in FORKING_PROGRAMS:
        programs = [Program(names[0], "p", base_url, address, len(names))]
    else:
        programs = [Program(name, f"p{number}", base_url, address) for number, name in enumerate(names)]
    async with AsyncExitStack() as stack:
        for program in programs:
            stack.push_async_callback(program.aclose)
        await asyncio.gather(*(program.start() for program in programs))
        yield programs


async def _volc_moderation(stack: AsyncExitStack, quotas: Quotas, room_id: str, base_url: str) -> Call:
    client = await stack.enter_async_context(VolcengineClient(**KEYS, base_url=base_url, quotas=quotas))
    return lambda: client.stop_webcast(app_id="app", room_id=room_id, task_id="task")


async def window(stack: AsyncExitStack, room_id: str, base_url: str, _: str) -> Call:
    """Call with this package and its quotas in one process."""
    return await _volc_moderation(stack, WindowQuotas(), room_id, base_url)


async def window_httpx2(stack: AsyncExitStack, room_id: str, base_url: str, _: str) -> Call:
    """Call with this package and its quotas in one process, over httpx2."""
    http_client = await stack.enter_async_context(httpx2.AsyncClient(trust_env=False))
    client = VolcengineClient(**KEYS, base_url=base_url, quotas=WindowQuotas(), http_client=http_client)
    return lambda: client.stop_webcast(app_id="app", room_id=room_id, task_id="task")


async def window_aiohttp(stack: AsyncExitStack, room_id: str, base_url: str, _: str) -> Call:
    """Call with this package and its quotas in one process, over httpx2 and aiohttp."""
    http_client = await stack.enter_async_context(fastest_http_client(base_url))
    client = VolcengineClient(**KEYS, base_url=base_url, quotas=WindowQuotas(), http_client=http_client)
    return lambda: client.stop_webcast(app_id="app", room_id=room_id, task_id="task")


async def shared(stack: AsyncExitStack, room_id: str, base_url: str, redis_url: str) -> Call:
    """Call with this package and its quotas in Redis."""
    return await _volc_moderation(
        stack, await stack.enter_async_context(RedisQuotas(redis_url, outage="wait")), room_id, base_url
    )


async def file(stack: AsyncExitStack, room_id: str, base_url: str, path: str) -> Call:
    """Call with this package and its quotas in a file."""
    quotas = await stack.enter_async_context(FileQuotas(path))
    return await _volc_moderation(stack, quotas, room_id, base_url)


async def _permits(quotas: Quotas) -> Call:
    """Take permits as calls do, without making them: what is left is the cost of the permits."""
    key, quota = QuotaKey("volcengine", "AK", "StopWebcast"), Quota(QUOTA)

    async def call() -> None:
        permit = await quotas.acquire(key, quota)
        await asyncio.sleep(ROUND_TRIP)
        permit.answered(ROUND_TRIP)

    return call


async def permits_on_valkey(stack: AsyncExitStack, _: str, __: str, redis_url: str) -> Call:
    """Take permits from Redis."""
    return await _permits(await stack.enter_async_context(RedisQuotas(redis_url, outage="wait")))


async def permits_in_file(stack: AsyncExitStack, _: str, __: str, path: str) -> Call:
    """Take permits from a file."""
    return await _permits(await stack.enter_async_context(FileQuotas(path)))


async def _httpx_call(
    stack: AsyncExitStack, room_id: str, base_url: str, permit: Callable[[], Awaitable[object]], attempts: int = 5
) -> Call:
    """Call with httpx and tenacity; ``permit`` waits for a limiter."""
    client = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))
    query = {"Action": "StopWebcast", "Version": "2023-11-01"}
    body = json.dumps({"AppId": "app", "RoomId": room_id, "TaskId": "task"})

    @tenacity.retry(
        stop=tenacity.stop_after_attempt(attempts),
        wait=tenacity.wait_random_exponential(0.5, max=5),
        retry=tenacity.retry_if_exception_type(httpx.HTTPError),
        reraise=True,
    )
    async def call() -> None:
        await permit()
        headers = {"Content-Type": "application/json", "Host": base_url.rpartition("/")[2]}
        SignerV4.sign("/", "POST", headers, body, None, query, *KEYS.values(), "cn-north-1", "rtc")
        answer = await client.post(base_url, params=query, headers=headers, content=body)
        answer.raise_for_status()

    return call


async def burst(stack: AsyncExitStack, room_id: str, base_url: str, _: str) -> Call:
    """Call with the limiter that most programs use, which allows bursts."""
    return await _httpx_call(stack, room_id, base_url, AsyncLimiter(QUOTA, 1).acquire)


async def spread(stack: AsyncExitStack, room_id: str, base_url: str, _: str) -> Call:
    """Call with a limiter that spreads the calls over the second."""
    return await _httpx_call(stack, room_id, base_url, AsyncLimiter(2, 2 / (QUOTA - 2)).acquire)


async def rival(stack: AsyncExitStack, room_id: str, base_url: str, _: str) -> Call:
    """Use a part of the quota, as a program that knows of no other."""
    return await _httpx_call(stack, room_id, base_url, AsyncLimiter(1, 1 / RIVAL_RATE).acquire, attempts=1)


async def pyrate(stack: AsyncExitStack, room_id: str, base_url: str, _: str) -> Call:
    """Call with pyrate-limiter in memory."""
    limiter = pyrate_limiter.Limiter(pyrate_limiter.Rate(QUOTA, pyrate_limiter.Duration.SECOND))
    return await _httpx_call(stack, room_id, base_url, partial(limiter.try_acquire_async, "stop"))


async def pyrate_redis(stack: AsyncExitStack, room_id: str, base_url: str, redis_url: str) -> Call:
    """Call with pyrate-limiter on Redis."""
    rates = [pyrate_limiter.Rate(QUOTA, pyrate_limiter.Duration.SECOND)]
    redis = await stack.enter_async_context(Redis.from_url(redis_url))
    bucket: Any = await pyrate_limiter.RedisBucket.init(rates, redis, "stop")
    limiter = pyrate_limiter.Limiter(bucket)
    return await _httpx_call(stack, room_id, base_url, partial(limiter.try_acquire_async, "stop"))


async def pyrate_sqlite(stack: AsyncExitStack, room_id: str, base_url: str, path: str) -> Call:
    """Call with pyrate-limiter on an SQLite file, with the file lock that several processes need."""
    rates = [pyrate_limiter.Rate(QUOTA, pyrate_limiter.Duration.SECOND)]
    limiter = pyrate_limiter.Limiter(
        pyrate_limiter.SQLiteBucket.init_from_file(rates, db_path=path, use_file_lock=True)
    )
    return await _httpx_call(stack, room_id, base_url, partial(limiter.try_acquire_async, "stop"))


async def pyrate_forked(stack: AsyncExitStack, room_id: str, base_url: str, _: str) -> Call:
    """Call with pyrate-limiter in a forked process that shares a bucket with the others."""
    limiter = pyrate_limiter.Limiter(_shared_buckets[0])
    return await _httpx_call(stack, room_id, base_url, partial(limiter.try_acquire_async, "stop"))


async def throttled_redis(stack: AsyncExitStack, room_id: str, base_url: str, redis_url: str) -> Call:
    """Call with throttled-py on Redis."""
    store = throttled.asyncio.RedisStore(server=redis_url)
    quota = throttled.asyncio.per_sec(QUOTA)
    limiter = throttled.asyncio.Throttled(key="stop", quota=quota, store=store, timeout=60)
    return await _httpx_call(stack, room_id, base_url, limiter.limit)


async def official(stack: AsyncExitStack, room_id: str, base_url: str, _: str) -> Call:
    """Call with the vendor's SDK, which uses threads and its own retries."""
    configuration = volcenginesdkcore.Configuration()
    configuration.ak, configuration.sk = KEYS.values()
    configuration.region = "cn-north-1"
    configuration.scheme, configuration.host = base_url.split("://")
    configuration.connection_pool_maxsize = SDK_THREADS
    api = volcenginesdkcore.UniversalApi(volcenginesdkcore.ApiClient(configuration))
    info = volcenginesdkcore.UniversalInfo("POST", "rtc", "2023-11-01", "StopWebcast", "application/json")
    body = {"AppId": "app", "RoomId": room_id, "TaskId": "task"}
    threads = stack.enter_context(ThreadPoolExecutor(SDK_THREADS))
    return lambda: asyncio.get_running_loop().run_in_executor(threads, api.do_call, info, body)


PROGRAMS: dict[str, Callable[[AsyncExitStack, str, str, str], Awaitable[Call]]] = {
    "volc_moderation": window,
    "permits, Valkey": permits_on_valkey,
    "permits, file": permits_in_file,
    "volc_moderation, httpx2": window_httpx2,
    "volc_moderation, aiohttp": window_aiohttp,
    "volc_moderation, Valkey": shared,
    "volc_moderation, file": file,
    f"AsyncLimiter({QUOTA}, 1), tenacity": burst,
    f"AsyncLimiter(2, 2/{QUOTA - 2}), tenacity": spread,
    "pyrate-limiter": pyrate,
    "pyrate-limiter, Valkey": pyrate_redis,
    "pyrate-limiter, SQLite": pyrate_sqlite,
    "pyrate-limiter, multiprocess": pyrate_forked,
    "throttled-py, Valkey": throttled_redis,
    f"official SDK, {SDK_THREADS} threads": official,
    "rival": rival,
}
#: Programs that can be used by several processes only if one program forks them.
FORKING_PROGRAMS = {"pyrate-limiter, multiprocess"}
CALL_ERRORS = (ModerationError, httpx.HTTPError, volcenginesdkcore.rest.ApiException)


async def make_calls(
    name: str, room_id: str, base_url: str, address: str, *, ready: Callable[[], str]
) -> ProgramResult:
    """Make calls for as many seconds as the line says that ``ready`` returns."""
    async with AsyncExitStack() as stack:
        call = await PROGRAMS[name](stack, room_id, base_url, address)
        seconds = float(await asyncio.to_thread(ready))
        end, cpu = time.monotonic() + seconds, time.process_time()
        done = lost = 0

        async def worker() -> None:
            nonlocal done, lost
            while time.monotonic() < end:
                try:
                    await call()
                    done += 1
                except CALL_ERRORS:
                    lost += 1

        # Only the calls that have begun are finished; other limiters may keep many calls waiting.
        workers = [asyncio.ensure_future(worker()) for _ in range(SDK_THREADS if "SDK" in name else CONCURRENCY)]
        await asyncio.wait(workers, timeout=seconds + 5)
        for task in workers:
            task.cancel()
        cpu = time.process_time() - cpu
    return ProgramResult(done=done, lost=lost, cpu=cpu)


def read_seconds() -> str:
    """Say that the program is ready, and read from standard input for how many seconds it makes calls."""
    print("ready", flush=True)
    return sys.stdin.readline()


def run_forked(name: str, room_id: str, base_url: str, address: str, seconds: str) -> ProgramResult:
    """Make calls in a forked process."""
    return asyncio.run(make_calls(name, room_id, base_url, address, ready=lambda: seconds))


def fork(name: str, room_id: str, base_url: str, address: str, processes: int) -> ProgramResult:
    """Make calls in several processes that share a bucket, as pyrate-limiter documents it; return their sum."""
    bucket = pyrate_limiter.MultiprocessBucket.init([pyrate_limiter.Rate(QUOTA, pyrate_limiter.Duration.SECOND)])
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(processes, context, initializer=_shared_buckets.append, initargs=(bucket,)) as pool:
        seconds = read_seconds()
        futures = [
            pool.submit(run_forked, name, f"{room_id}{number}", base_url, address, seconds)
            for number in range(processes)
        ]
        results = [future.result() for future in futures]
    return ProgramResult(
        done=sum(result.done for result in results),
        lost=sum(result.lost for result in results),
        cpu=sum(result.cpu for result in results),
    )


def main(name: str, room_id: str, base_url: str, address: str, processes: str) -> None:
    """Run a program. Standard input says for how many seconds."""
    if name in FORKING_PROGRAMS:
        result = fork(name, room_id, base_url, address, int(processes))
    else:
        result = asyncio.run(make_calls(name, room_id, base_url, address, ready=read_seconds))
    print(json.dumps(attrs.asdict(result)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
