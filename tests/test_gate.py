"""Requests in flight: no more than connections, interactive ones first; and the length of responses."""

import asyncio
import random
import zlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import httpx2
import pytest

from tests.doubles import volcengine_client, volcengine_success, zego_client
from volc_moderation import NoQuotas, RetryPolicy, TransportError
from volc_moderation.gate import COLD_ANSWERS, MAX_IN_FLIGHT, MIN_WIDTH, Gate, width_for
from volc_moderation.quotas import Priority
from volc_moderation.volcengine import KickUser, StopWebcast
from volc_moderation.zego import StartCensorAudioV2

STOP: dict[str, Any] = {"app_id": "app", "task_id": "task"}
PRIORITIES: tuple[Priority, ...] = ("interactive", "bulk")


@pytest.mark.looptime
async def test_an_interactive_call_goes_before_bulk_calls_that_wait() -> None:
    """Whatever their actions: with a slow vendor, all places are taken."""
    arrived: list[str] = []

    async def slow(request: httpx.Request) -> httpx.Response:
        arrived.append(request.url.params["Action"])
        await asyncio.sleep(5)
        return volcengine_success()

    async with httpx.AsyncClient(transport=httpx.MockTransport(slow)) as http_client:
        client = volcengine_client(http_client=http_client, quotas=NoQuotas())
        stops = [StopWebcast(room_id=f"room-{number}", **STOP) for number in range(4 * MAX_IN_FLIGHT)]
        bulk = [asyncio.create_task(client.call(stop, priority="bulk")) for stop in stops]
        await asyncio.sleep(1)
        await client.call(KickUser(app_id="app", room_id="r", user_id="u"))
        assert asyncio.get_running_loop().time() == pytest.approx(10, abs=0.1)
        assert arrived.index("KickUser") == MAX_IN_FLIGHT
        await asyncio.gather(*bulk)
    assert asyncio.get_running_loop().time() == pytest.approx(25, abs=0.1)


async def test_bulk_calls_get_their_share_of_the_gate() -> None:
    gate, entered = Gate(1), []

    async def pass_through(priority: Priority) -> None:
        await gate.enter(priority)
        entered.append(priority)
        gate.leave()

    await gate.enter("bulk")
    waiting = [asyncio.create_task(pass_through("interactive")) for _ in range(20)]
    waiting += [asyncio.create_task(pass_through("bulk")) for _ in range(2)]
    await asyncio.sleep(0)
    gate.leave()
    await asyncio.gather(*waiting)
    assert [place for place, priority in enumerate(entered) if priority == "bulk"] == [9, 19]


@pytest.mark.parametrize("leaves_first", [True, False])
async def test_a_cancelled_waiter_loses_no_place(leaves_first: bool) -> None:
    gate = Gate(1)
    await gate.enter("bulk")
    waiting = [asyncio.create_task(gate.enter("bulk")) for _ in range(3)]
    await asyncio.sleep(0)
    if leaves_first:
        gate.leave()  # the first waiter has the place, and its task has not run yet
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    if not leaves_first:
        gate.leave()
    async with asyncio.timeout(1):
        await gate.enter("interactive")
    other = asyncio.create_task(gate.enter("interactive"))
    await asyncio.sleep(0)
    assert not other.done()
    gate.leave()
    await other


@pytest.mark.parametrize("is_cancelled", [True, False])
async def test_a_waiter_that_is_let_in_early_takes_the_next_place(is_cancelled: bool) -> None:
    gate = Gate(1)
    assert not gate.admit_early()
    await gate.enter("bulk")
    first, second = (asyncio.create_task(gate.enter("bulk")) for _ in range(2))
    await asyncio.sleep(0)
    assert gate.admit_early()
    if is_cancelled:
        first.cancel()
    await asyncio.wait([first])
    gate.leave()
    await asyncio.sleep(0)
    assert second.done() is is_cancelled
    if not is_cancelled:
        gate.leave()
    await second


async def test_the_next_request_is_sent_before_a_connection_is_idle() -> None:
    """Many responses may arrive at once, and httpx checks all idle connections for each request."""
    events: list[str] = []

    class Answer(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            await asyncio.sleep(0)
            yield volcengine_success().content

        async def aclose(self) -> None:
            events.append("free")

    def handler(_: httpx.Request) -> httpx.Response:
        events.append("sent")
        return httpx.Response(200, stream=Answer())

    async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as http_client:
        client = volcengine_client(http_client=http_client, quotas=NoQuotas())
        stops = [StopWebcast(room_id=f"room-{number}", **STOP) for number in range(3 * MAX_IN_FLIGHT)]
        await asyncio.gather(*map(client.call, stops))
    in_flight = [events[: at + 1].count("sent") - events[: at + 1].count("free") for at in range(len(events))]
    assert min(in_flight[MAX_IN_FLIGHT - 1 : -MAX_IN_FLIGHT]) == MAX_IN_FLIGHT


@pytest.mark.parametrize("library", [httpx, httpx2])
@pytest.mark.parametrize(
    ("max_connections", "width"),
    [(100, MAX_IN_FLIGHT), (10, 10), (1000, MAX_IN_FLIGHT), (None, MAX_IN_FLIGHT), (1, 1), (0, 1)],
)
async def test_the_gate_is_no_wider_than_the_pool(library: Any, max_connections: int | None, width: int) -> None:
    url = library.URL("https://host/")
    async with library.AsyncClient(limits=library.Limits(max_connections=max_connections)) as client:
        assert width_for(client, url) == width
        client._transport._pool._http2 = True  # many requests in each connection
        assert width_for(client, url) == MAX_IN_FLIGHT
    async with library.AsyncClient(transport=library.MockTransport(lambda _: None)) as client:
        assert width_for(client, url) == MAX_IN_FLIGHT


async def test_an_adaptive_gate_is_as_wide_as_the_round_trips_require() -> None:
    """More connections would only cost CPU."""
    gate, entered = Gate(MAX_IN_FLIGHT, is_adaptive=True), 0

    async def pass_in() -> None:
        nonlocal entered
        await gate.enter("interactive")
        entered += 1

    def answer(round_trip: float, count: int) -> None:
        for _ in range(count):
            gate.answered(round_trip)

    waiting = [asyncio.create_task(pass_in()) for _ in range(100)]
    await asyncio.sleep(0)
    assert entered == MIN_WIDTH
    answer(0.2, COLD_ANSWERS)  # over new connections
    await asyncio.sleep(0)
    assert entered == MIN_WIDTH
    answer(0.2, 1)
    await asyncio.sleep(0)
    assert entered == 40  # 200 calls/s for 0.2 s
    answer(0.01, 1)
    for _ in range(40 - MIN_WIDTH):
        gate.leave()
    await asyncio.sleep(0)
    assert entered == 40
    gate.leave()
    await asyncio.sleep(0)
    assert entered == 41
    answer(0.3, 1000)
    await asyncio.sleep(0)
    assert entered == 41 + MAX_IN_FLIGHT - MIN_WIDTH
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


@pytest.mark.slow
@pytest.mark.parametrize(("library", "least", "most"), [(httpx, MIN_WIDTH, 2 * MIN_WIDTH), (httpx2, 48, 48)])
async def test_a_burst_over_httpx_opens_few_connections(library: Any, least: int, most: int) -> None:
    """More than the gate lets through, because it admits the next request before a connection is idle."""
    opened = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        body = b'{"Code":0,"Data":{}}'
        while await reader.readline():
            await reader.readuntil(b"}")
            await asyncio.sleep(0.05)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with library.AsyncClient(limits=library.Limits(max_connections=MAX_IN_FLIGHT)) as http_client:
            client = zego_client(base_url=base_url, http_client=http_client, quotas=NoQuotas())
            await asyncio.gather(*(client.stop_censor_audio(task_id="t") for _ in range(MAX_IN_FLIGHT)))
        await asyncio.sleep(0.1)  # the server sees that the connections are closed
    assert least <= opened <= most


@pytest.mark.slow
@pytest.mark.usefixtures("every_library")
async def test_no_request_waits_in_the_pool() -> None:
    """Otherwise a start might be sent with little time left, and its task would run with an unknown id."""
    body = b'{"Code":0,"Data":{"TaskId":"t"}}'
    served = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        while await reader.readline():
            await reader.readuntil(b"}")
            served += 1
            await asyncio.sleep(0.2)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1")
    base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        async with httpx.AsyncClient(limits=httpx.Limits(max_connections=4)) as http_client:
            client = zego_client(http_client=http_client, base_url=base_url, quotas=NoQuotas(), timeout=0.5)
            starts = [
                StartCensorAudioV2(room_id=f"r-{number}", event_id="e", audio_language="zh", risk_type_list=["A"])
                for number in range(16)
            ]
            replies = await asyncio.gather(*map(client.call, starts))
        while len(asyncio.all_tasks()) > 1:  # those of the server, which are about to end
            await asyncio.sleep(0.01)
    assert served == len(replies) == 16


class Endless(httpx.AsyncByteStream):
    """A response without end."""

    def __init__(self, *, compressed: bool) -> None:
        self.compressor = zlib.compressobj(wbits=31) if compressed else None
        self.read = 0
        self.is_closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            self.read += 1
            part = b" " * 2**16
            yield (
                part
                if self.compressor is None
                else self.compressor.compress(part) + self.compressor.flush(zlib.Z_SYNC_FLUSH)
            )

    async def aclose(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize("compressed", [True, False])
async def test_an_endless_response_is_an_error(compressed: bool) -> None:
    """The decompressed length counts: a few hundred KiB could exhaust the memory."""
    stream = Endless(compressed=compressed)
    headers = {"Content-Encoding": "gzip"} if compressed else {}
    async with httpx.AsyncClient(
        transport=httpx.MockTransport(lambda _: httpx.Response(200, headers=headers, stream=stream))
    ) as http_client:
        client = volcengine_client(http_client=http_client, retry=RetryPolicy(attempts=1))
        with pytest.raises(TransportError, match="a response of more than 16,777,216 bytes") as caught:
            await client.list_detection_task(app_id="a", room_id="r")
    assert (caught.value.maybe_sent, caught.value.status, stream.is_closed) == (True, 200, True)
    assert stream.read == 257


@pytest.mark.slow
async def test_a_long_response_is_read() -> None:
    user = {"UserId": "u", "RoomId": "r", "MediaType": 3, "CreateTime": 1, "Status": 1}
    answer = volcengine_success({"EventData": 100_000 * [user], "Message": "ok"})
    assert 2**22 < len(answer.content) < 2**24
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: answer)) as http_client:
        listed = await volcengine_client(http_client=http_client).list_detection_task(app_id="a", room_id="r")
    assert len(listed.event_data) == 100_000


@pytest.mark.parametrize("seed", range(10))
async def test_no_place_is_lost_whatever_callers_do(seed: int) -> None:
    """They are cancelled, answered over routes that change, and let others in early."""
    rng = random.Random(seed)
    gate = Gate(rng.choice([1, 3, MIN_WIDTH, MAX_IN_FLIGHT]), is_adaptive=rng.random() < 0.7)

    async def pass_through() -> None:
        await gate.enter(rng.choice(PRIORITIES))
        try:
            for _ in range(rng.randint(0, 3)):
                await asyncio.sleep(0)
            gate.answered(rng.choice([0.01, 0.1, 0.2, 0.5]))
            if rng.random() < 0.5 and gate.admit_early():
                await asyncio.sleep(0)
        finally:
            gate.leave()

    callers = []
    for _ in range(400):
        callers.append(asyncio.create_task(pass_through()))
        if rng.random() < 0.3:
            rng.choice(callers).cancel()
        if rng.random() < 0.2:
            await asyncio.sleep(0)
    await asyncio.wait_for(asyncio.gather(*callers, return_exceptions=True), 5)
    assert (gate._free, gate._early, len(gate._wait_queue)) == (gate._width, 0, 0)
