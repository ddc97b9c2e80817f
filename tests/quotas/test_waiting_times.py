"""How long calls wait that share a quota from several processes, in virtual time: equally long, wherever they wait."""

import asyncio
import statistics

import pytest

from tests.quotas.processes import SharingProcesses
from tests.quotas.vendor import SimulatedVendor, call
from volc_moderation.quotas import Priority
from volc_moderation.quotas.shared_window import SharedWindow

QUOTA = 150

pytestmark = [
    pytest.mark.looptime,
    pytest.mark.no_coverage,
    pytest.mark.usefixtures("virtual_machine_clock"),
    pytest.mark.parametrize("processes", [("Redis", QUOTA), ("file", QUOTA)], indirect=True),
]

#: When the processes know their round trips, and when the calls end, in seconds.
WARM = 4.0
END = 10.0


async def latencies(
    process: SharedWindow, vendor: SimulatedVendor, callers: int, priority: Priority = "interactive"
) -> list[float]:
    """Let callers call again and again, and return how long the calls took."""
    loop = asyncio.get_running_loop()
    began, measured = loop.time(), list[float]()

    async def caller() -> None:
        while loop.time() < began + END:
            start = loop.time()
            await call(process, vendor, priority)
            if start > began + WARM:
                measured.append(loop.time() - start)

    await asyncio.gather(*(caller() for _ in range(callers)))
    return measured


async def test_calls_wait_equally_long_in_a_busy_process_and_in_an_idle_one(processes: SharingProcesses) -> None:
    """With equal shares for the processes, those of the busy process would wait four times as long."""
    vendor = SimulatedVendor(0.02, 0.05)
    busy, idle = await asyncio.gather(
        latencies(processes.start(), vendor, 80), latencies(processes.start(), vendor, 20)
    )
    assert vendor.max_in_a_second <= QUOTA
    assert vendor.quota_share(QUOTA, WARM, END) >= 0.94
    assert statistics.median(busy) / statistics.median(idle) == pytest.approx(1, abs=0.25)


async def test_a_long_list_of_bulk_calls_holds_up_no_other_process(processes: SharingProcesses) -> None:
    """Its calls still get a part of the quota."""
    vendor = SimulatedVendor(0.02, 0.05)
    bulk, interactive = await asyncio.gather(
        latencies(processes.start(), vendor, 400, "bulk"), latencies(processes.start(), vendor, 40)
    )
    assert vendor.max_in_a_second <= QUOTA
    assert vendor.quota_share(QUOTA, WARM, END) >= 0.94
    assert statistics.median(interactive) < 0.4  # alone: 40 / 150 = 0.27 s
    assert len(bulk) >= 0.05 * len(interactive)


async def test_two_lists_of_bulk_calls_get_equal_shares_however_long_they_are(processes: SharingProcesses) -> None:
    vendor = SimulatedVendor(0.02, 0.05)
    long, short = await asyncio.gather(
        latencies(processes.start(), vendor, 200, "bulk"), latencies(processes.start(), vendor, 90, "bulk")
    )
    assert vendor.max_in_a_second <= QUOTA
    assert len(long) / len(short) == pytest.approx(1, abs=0.2)
