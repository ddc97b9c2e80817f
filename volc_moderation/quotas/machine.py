"""The clocks of the machine, which its processes share, and the identity of these clocks."""

import asyncio
import contextlib
import time
from hashlib import blake2b
from pathlib import Path

#: On Linux and macOS, a clock that also runs while the machine sleeps; the event loop's clock does not.
_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
#: Linux has a random identity for each boot (https://man7.org/linux/man-pages/man4/random.4.html).
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
#: Processes in different time namespaces have different clocks
#: (https://man7.org/linux/man-pages/man7/time_namespaces.7.html).
_TIME_NAMESPACE = Path("/proc/self/ns/time")


def boot_time() -> float:
    """Return seconds since an arbitrary moment, including those in which the machine slept."""
    return time.monotonic() if _BOOT_CLOCK is None else time.clock_gettime(_BOOT_CLOCK)


def clock_resolution(loop: asyncio.AbstractEventLoop) -> float:
    """Return by how many seconds the clock of an event loop may be behind."""
    # asyncio has no public API for this. uvloop counts whole milliseconds.
    return float(getattr(loop, "_clock_resolution", 0.001))


def machine_clock() -> int:
    """Return microseconds on a clock that all processes of this machine share.

    It never steps. It stands still while the machine sleeps, so no permit in flight expires meanwhile.
    """
    return time.monotonic_ns() // 1000


def clock_identity() -> bytes:
    """Return 16 bytes that are the same for all processes with the same clock, and change with each boot.

    Where the system does not tell, the bytes never change; then only a clock that has gone back shows a reboot.
    """
    boot, namespace = "", ""
    with contextlib.suppress(OSError):
        boot = _BOOT_ID.read_text(encoding="ascii")
    with contextlib.suppress(OSError):
        namespace = str(_TIME_NAMESPACE.readlink())
    return blake2b(f"{boot} {namespace}".encode(), digest_size=16).digest()
