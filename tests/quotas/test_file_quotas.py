"""``FileQuotas``: processes that share a file, in virtual time; what happens to the file; and settings."""

# ruff: noqa: ASYNC240 - the files are small, and in memory
import asyncio
import contextlib
import errno
import fcntl
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.quotas.processes import FileProcesses
from tests.quotas.vendor import KEY, KeyWindow, SimulatedVendor, call, keep_calling
from volc_moderation import ConfigurationError, FileQuotas, QuotaUnavailable
from volc_moderation.quotas import Priority, Quota, QuotaKey, file_quotas, quota_file, quota_path
from volc_moderation.quotas.permit import is_valid
from volc_moderation.quotas.records import DIGEST_SIZE, DamagedFileError, Records
from volc_moderation.quotas.shared_permit import PERMIT_LEASE, PERMIT_LEASE_MARGIN

virtual = pytest.mark.usefixtures("virtual_machine_clock")
#: A permit of a file that is new may be used after this: what was sent before is unknown.
FIRST_USE = 1.5  # seconds


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "quotas"


@pytest.fixture
def processes(path: Path) -> Callable[..., FileProcesses]:
    def create(limit: int, window: float = 1.0, *, published: bool = True) -> FileProcesses:
        return FileProcesses(path, Quota(limit, window=window, published=published))

    return create


# Speed, and no breach


@virtual
@pytest.mark.looptime
@pytest.mark.no_coverage
@pytest.mark.parametrize("number", [1, 4])
async def test_full_speed_without_a_breach(processes: Callable[..., FileProcesses], number: int) -> None:
    """Measured after the first hundred answers of each process, before which no permit returns early."""
    store, vendor = processes(150), SimulatedVendor(0.02, 0.05)
    calls = await asyncio.gather(*(keep_calling(store.start(), vendor, 10, counted_from=3) for _ in range(number)))
    assert vendor.max_in_a_second <= 150
    assert vendor.quota_share(150, 6, 10) >= 0.94
    assert max(calls) / min(calls) < 1.15


@virtual
@pytest.mark.looptime
@pytest.mark.no_coverage
async def test_cold_starts_do_not_breach(processes: Callable[..., FileProcesses]) -> None:
    """Processes that start one after the other."""
    store, vendor, rng = processes(60), SimulatedVendor(0.02, 0.05), random.Random(1)
    running = []
    for _ in range(5):
        running.append(asyncio.create_task(keep_calling(store.start(), vendor, 6, callers=30)))
        await asyncio.sleep(rng.uniform(0, 0.8))
    await asyncio.gather(*running)
    assert len(vendor.arrivals) > 200
    assert vendor.max_in_a_second <= 60


@virtual
@pytest.mark.looptime
@pytest.mark.no_coverage
@pytest.mark.parametrize("limit", [1, 3])
async def test_few_permits_are_shared_fairly(processes: Callable[..., FileProcesses], limit: int) -> None:
    store, vendor = processes(limit), SimulatedVendor(0.02, 0.05)
    calls = await asyncio.gather(*(keep_calling(store.start(), vendor, 40, 8) for _ in range(3)))
    assert vendor.max_in_a_second <= limit
    assert vendor.quota_share(limit) >= 0.8
    assert max(calls) - min(calls) <= 3 + 0.1 * max(calls)


@virtual
@pytest.mark.looptime
async def test_a_window_may_be_longer_than_a_second(processes: Callable[..., FileProcesses]) -> None:
    """Such as that of a room at ZEGO: once in ten seconds."""
    store, vendor = processes(1, 10.0), SimulatedVendor(0.02, 0.05)
    await asyncio.gather(*(keep_calling(store.start(), vendor, 60, 2) for _ in range(2)))
    gaps = [later - earlier for earlier, later in pairwise(vendor.arrivals)]
    assert len(gaps) >= 4
    assert min(gaps) >= 10


@virtual
@pytest.mark.looptime
async def test_interactive_calls_go_first_and_bulk_calls_get_their_share(path: Path) -> None:
    order: list[Priority] = []
    async with FileQuotas(path, bulk_share=0.25) as quotas:

        async def one(priority: Priority) -> None:
            permit = await quotas.acquire(KEY, Quota(10), priority)
            order.append(priority)
            permit.answered(0.01)

        await asyncio.gather(*(one("bulk") for _ in range(60)), *(one("interactive") for _ in range(60)))
    assert order[:60].count("bulk") == 15


@virtual
@pytest.mark.looptime
async def test_cancelled_waiters_take_nothing_with_them(processes: Callable[..., FileProcesses]) -> None:
    store, vendor = processes(60), SimulatedVendor(0.02, 0.05)
    process, other = store.start(), store.start()
    calls = [asyncio.create_task(call(process, vendor)) for _ in range(300)]
    rest = asyncio.create_task(keep_calling(other, vendor, 9))
    await asyncio.sleep(3)
    for one in calls:
        one.cancel()
    await rest
    assert vendor.max_in_a_second <= 60
    assert vendor.quota_share(60, 6, 9) >= 0.9


@virtual
@pytest.mark.looptime
@pytest.mark.no_coverage
async def test_ten_thousand_waiters(processes: Callable[..., FileProcesses]) -> None:
    """They wait in memory: the file stays small."""
    store, vendor = processes(1000), SimulatedVendor(0.02, 0.05)
    process = store.start()
    waiting = [asyncio.create_task(call(process, vendor)) for _ in range(10_000)]
    await asyncio.sleep(2.5)
    assert store.path.stat().st_size < 150_000
    assert process.state().waiters > 8000
    for one in waiting:
        one.cancel()
    assert vendor.max_in_a_second <= 1000


@virtual
@pytest.mark.looptime
async def test_the_file_is_not_used_while_no_call_waits(path: Path) -> None:
    vendor = SimulatedVendor(0.02, 0.05)
    async with FileQuotas(path) as quotas:
        window = KeyWindow(quotas, Quota(60))
        await asyncio.gather(*(call(window, vendor) for _ in range(10)))
        await asyncio.sleep(2)
        before = path.stat().st_mtime_ns, path.read_bytes()
        await asyncio.sleep(600)
        assert (path.stat().st_mtime_ns, path.read_bytes()) == before
        assert len(asyncio.all_tasks()) == 1


@virtual
@pytest.mark.looptime
async def test_closing_returns_all_permits_then_refuses(path: Path) -> None:
    """Permits in flight return too, as soon as the vendor cannot count their requests any more."""
    one, other = FileQuotas(path), FileQuotas(path)
    held = [await one.acquire(KEY, Quota(5)) for _ in range(5)]
    waiting = asyncio.create_task(one.acquire(KEY, Quota(5)))
    await asyncio.sleep(0.1)
    await one.aclose()
    closed = now()
    await other.acquire(KEY, Quota(5))
    assert now() - closed == pytest.approx(1.5, abs=0.1)
    for refused in (waiting, one.acquire(KEY, Quota(5)), one.acquire(attrs.evolve(KEY, action="Another"), Quota(1))):
        with pytest.raises(ConfigurationError, match="these FileQuotas are closed"):
            await refused
    assert not any(map(is_valid, held))
    await one.aclose()  # the second time does nothing
    await other.aclose()


@virtual
@pytest.mark.looptime
@pytest.mark.parametrize("window", [1.0, 10.0])
async def test_the_permits_of_a_dead_process_return_by_themselves(
    processes: Callable[..., FileProcesses], window: float
) -> None:
    """They return a window after the last moment at which the process may have used them."""
    store = processes(1, window)
    dead, alive = store.start(), store.start()
    held = await dead.acquire("interactive")
    assert dead._task is not None
    dead._task.cancel()
    died = now()
    waiting = asyncio.create_task(alive.acquire("interactive"))
    while is_valid(held):
        await asyncio.sleep(0.1)
    assert now() - died == pytest.approx(PERMIT_LEASE - PERMIT_LEASE_MARGIN, abs=0.2)
    await waiting
    assert now() - died == pytest.approx(PERMIT_LEASE + window, abs=0.5)


@pytest.mark.slow
@virtual
@pytest.mark.looptime
async def test_thousands_of_rooms_have_quotas_of_their_own(path: Path) -> None:
    async with FileQuotas(path) as quotas:
        rooms = [QuotaKey("zego", "1", "DescribeUserList", str(number)) for number in range(1500)]
        for permit in await asyncio.gather(*(quotas.acquire(room, Quota(1)) for room in rooms)):
            permit.answered(0.01)
        assert now() < 2
        answered = now()
        await quotas.acquire(rooms[7], Quota(1))
        assert now() - answered == pytest.approx(1, abs=0.1)


@virtual
@pytest.mark.looptime
async def test_the_first_use_of_a_file_waits_and_later_keys_do_not(path: Path) -> None:
    async with FileQuotas(path) as quotas, FileQuotas(path) as other:
        await quotas.acquire(KEY, Quota(1))
        assert now() == pytest.approx(FIRST_USE, abs=0.01)
        await other.acquire(attrs.evolve(KEY, action="Another"), Quota(1))
        await quotas.acquire(attrs.evolve(KEY, account="another"), Quota(1))
        assert now() == pytest.approx(FIRST_USE, abs=0.01)


@virtual
@pytest.mark.looptime
@pytest.mark.no_coverage
async def test_all_processes_learn_an_unpublished_quota_and_remember_it_for_a_day(
    processes: Callable[..., FileProcesses], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quota_file, "MAX_FILE_SIZE", 0)  # what is not kept is dropped at once
    store, vendor = processes(20, published=False), SimulatedVendor(0.02, 0.05, limit=40)
    await asyncio.gather(*(keep_calling(store.start(), vendor, 30, 30) for _ in range(2)))
    assert vendor.refused / len(vendor.arrivals) < 0.02
    for hours, learned in ((23.9, True), (24.1, False)):
        await asyncio.sleep(hours * 3600)
        newcomer = store.start()
        (await newcomer.acquire("interactive")).answered(0.01)
        assert (newcomer.state().effective > 30) is learned
        await asyncio.sleep(5)


@virtual
@pytest.mark.looptime
async def test_the_snapshot_tells_what_all_processes_use(path: Path) -> None:
    async with FileQuotas(path, {"stop_webcast": 7}) as one, FileQuotas(path, {"StopWebcast": 7}) as other:
        assert one.snapshot() == {}
        for _ in range(3):
            await one.acquire(KEY, Quota(60))
        (await other.acquire(KEY, Quota(60))).throttled(0.01)
        await asyncio.sleep(0.2)
        state = other.snapshot()[KEY]
        assert (state.quota, state.effective, state.permits_out, state.waiters, state.refused) == (7, 5, 4, 0, 1)
        assert repr(one) == "FileQuotas({'StopWebcast': 7})"
        assert one.path == path


@virtual
@pytest.mark.looptime
async def test_accounts_are_not_stored(path: Path) -> None:
    async with FileQuotas(path) as quotas:
        await quotas.acquire(QuotaKey("volcengine", "AKLTsecret", "StopWebcast"), Quota(5))
    assert b"AKLT" not in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600


# The file is lost


def remove(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    new = path.with_name("new")
    new.touch()
    new.replace(path)


def restore(path: Path) -> None:
    """Bring back an older copy, of before all calls."""
    new = path.with_name("new")
    new.write_bytes(path.with_name("old").read_bytes())
    new.replace(path)


def truncate(path: Path) -> None:
    os.truncate(path, 0)


def truncate_a_record(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 100)


def damage(path: Path) -> None:
    """Overwrite all records."""
    with path.open("r+b") as file:
        file.seek(40)
        file.write(random.Random(1).randbytes(path.stat().st_size - 40))


@virtual
@pytest.mark.looptime
@pytest.mark.no_coverage
@pytest.mark.parametrize("lose", [remove, replace, truncate, truncate_a_record, damage])
@pytest.mark.parametrize("limit", [3, 60])
async def test_a_file_that_is_lost_under_load_causes_no_breach_and_calls_go_on(
    processes: Callable[..., FileProcesses], lose: Callable[[Path], None], limit: int
) -> None:
    store, vendor = processes(limit), SimulatedVendor(0.02, 0.05)
    running = [asyncio.create_task(keep_calling(store.start(), vendor, 9, 20)) for _ in range(3)]
    await asyncio.sleep(4.3)
    lose(store.path)
    running.append(asyncio.create_task(keep_calling(store.start(), vendor, 9, 20)))
    await asyncio.gather(*running)
    assert vendor.max_in_a_second <= limit
    assert 1 < max(later - earlier for earlier, later in pairwise(at for at in vendor.arrivals if at > 4)) < 2.5
    assert vendor.quota_share(limit, 5.5, 8.5) > 0.75


@virtual
@pytest.mark.looptime
async def test_permits_of_a_file_that_was_removed_are_invalid(path: Path) -> None:
    """Also while the new file is locked: its generation is unknown then."""
    async with FileQuotas(path) as quotas:
        permit = await quotas.acquire(KEY, Quota(5))
        assert is_valid(permit)
        path.unlink()
        assert not is_valid(permit)
        with locked(path):
            waiting = asyncio.create_task(quotas.acquire(attrs.evolve(KEY, action="Another"), Quota(5)))
            await asyncio.sleep(0.5)
            assert not is_valid(permit)
            assert not waiting.done()
        assert is_valid(await waiting)
        assert not is_valid(permit)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[int]:
    """Hold the lock of the file as another process does."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield fd
    finally:
        os.close(fd)


@virtual
@pytest.mark.looptime
async def test_closing_does_not_wait_for_a_lock_that_stays_taken(path: Path) -> None:
    quotas = FileQuotas(path)
    await quotas.acquire(KEY, Quota(5))
    with locked(path):
        began = now()
        await quotas.aclose()
        assert now() - began < 1.5


@virtual
@pytest.mark.looptime
async def test_a_large_file_is_compacted_and_keeps_the_permits(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Quotas that nobody has used for two hours are dropped. The permits in flight stay valid and counted."""
    rooms = [QuotaKey("zego", "1", "DescribeUserList", str(number)) for number in range(50)]
    async with FileQuotas(path) as quotas, FileQuotas(path) as other:
        for room in rooms:
            (await quotas.acquire(room, Quota(1))).answered(0.01)
        await asyncio.sleep(7300)
        permit = await quotas.acquire(KEY, Quota(1))
        before = path.stat()
        monkeypatch.setattr(quotas._file, "_compact_above", 20_000)
        await quotas.acquire(attrs.evolve(KEY, action="Another"), Quota(1))
        assert path.stat().st_ino != before.st_ino
        assert path.stat().st_size < before.st_size / 5
        assert is_valid(permit)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(other.acquire(KEY, Quota(1)), 5)
        assert list(path.parent.iterdir()) == [path]


@virtual
@pytest.mark.looptime
async def test_the_file_does_not_grow_beyond_what_is_used(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rooms come and go for days."""
    monkeypatch.setattr(quota_file, "MAX_FILE_SIZE", 20_000)
    async with FileQuotas(path) as quotas:
        for number in range(300):
            room = QuotaKey("zego", "1", "DescribeUserList", str(number))
            (await quotas.acquire(room, Quota(1))).answered(0.01)
            await asyncio.sleep(1200)
            assert path.stat().st_size < 25_000


@virtual
@pytest.mark.looptime
async def test_a_large_file_that_is_damaged_is_replaced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with FileQuotas(path) as quotas:
        for number in range(3):
            (await quotas.acquire(attrs.evolve(KEY, action=str(number)), Quota(5))).answered(0.01)
        await asyncio.sleep(3)
        with path.open("ab") as file:
            file.write(b"a part of a record")
        monkeypatch.setattr(quotas._file, "_compact_above", 1000)
        began = now()
        await asyncio.gather(*(quotas.acquire(attrs.evolve(KEY, action=str(number)), Quota(5)) for number in range(3)))
        assert now() - began == pytest.approx(FIRST_USE, abs=0.1)


# Reboots and other kernels


@virtual
@pytest.mark.looptime
@pytest.mark.parametrize("how", ["another identity", "the clock went back"])
async def test_a_file_of_the_time_before_a_reboot_is_replaced(
    path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    async with FileQuotas(path) as quotas:
        for _ in range(5):
            await quotas.acquire(KEY, Quota(5))
    rebooted = now()
    if how == "another identity":
        monkeypatch.setattr(quota_file, "clock_identity", lambda: bytes(16))
    for module in (file_quotas, quota_file):
        monkeypatch.setattr(module, "machine_clock", lambda: int((30 + now() - rebooted) * 1_000_000))
    async with FileQuotas(path) as quotas:
        await quotas.acquire(KEY, Quota(5))
        assert now() - rebooted == pytest.approx(FIRST_USE, abs=0.1)


@virtual
@pytest.mark.looptime
async def test_a_file_that_another_kernel_uses_is_an_error_until_it_stops(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FileQuotas(path) as quotas:
        await quotas.acquire(KEY, Quota(5))
    monkeypatch.setattr(quota_file, "clock_identity", lambda: bytes(16))
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match=r"is used by another machine.*RedisQuotas") as caught:
        FileQuotas(path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before
    os.utime(path, (time.time() - 61, time.time() - 61))
    async with FileQuotas(path) as quotas:
        await quotas.acquire(KEY, Quota(5))


# Loops


async def test_quotas_belong_to_one_event_loop(path: Path) -> None:
    async with FileQuotas(path) as quotas:
        waiting = asyncio.create_task(quotas.acquire(KEY, Quota(1)))
        await asyncio.sleep(0)

        async def acquire() -> None:
            await quotas.acquire(KEY, Quota(1))

        with pytest.raises(ConfigurationError, match="these FileQuotas belong to another event loop"):
            await asyncio.to_thread(asyncio.run, acquire())
        waiting.cancel()


@pytest.mark.slow
def test_two_event_loops_share_a_quota(path: Path) -> None:
    """Each runs in a thread of its own."""
    arrivals: list[float] = []

    async def main() -> None:
        end = time.monotonic() + 2.6

        async def caller(quotas: FileQuotas) -> None:
            while time.monotonic() < end:
                permit = await quotas.acquire(KEY, Quota(40))
                await asyncio.sleep(0.01)
                arrivals.append(time.monotonic())
                permit.answered(0.01)

        async with FileQuotas(path) as quotas:
            await asyncio.gather(*(caller(quotas) for _ in range(20)))

    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(arrivals) > 40
    assert max(sum(at - 1 < other <= at for other in arrivals) for at in arrivals) <= 40


# Errors


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"path": 1}, "path must be a str or a path; got"),
        ({"path": b"quotas"}, "path must be a str or a path; got"),
        ({"path": ""}, "path must be a str or a path; got"),
        ({"path": "/no/such/directory/quotas"}, "no directory /no/such/directory "),
        ({"limits": {"StopWebcast": 0}}, "StopWebcast"),
        ({"bulk_share": 1}, "bulk_share"),
    ],
)
def test_a_wrong_setting_is_named(path: Path, settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        FileQuotas(**{"path": path, **settings})
    assert not path.exists()


def test_a_file_of_another_user_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.touch()
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(
        ConfigurationError, match=f"{path} belongs to user {owner}, and this is user {owner + 1}: .*RedisQuotas"
    ):
        FileQuotas(path)


def test_the_file_of_another_user_that_cannot_be_opened_is_told_from_others(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.touch()

    def open_file(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", open_file)
    with pytest.raises(ConfigurationError, match="cannot be used: Permission denied"):
        FileQuotas(path)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(ConfigurationError, match=r"belongs to user \d+, and this is user \d+: .* RedisQuotas"):
        FileQuotas(path)


def test_what_is_not_a_regular_file_is_refused(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(ConfigurationError, match=f"{path} is not a regular file"):
        FileQuotas(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigurationError, match=f"{path} cannot be used: Is a directory"):
        FileQuotas(path)


async def test_a_link_is_another_name_of_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is resolved at first. A link that takes the name later is refused."""
    link = path.with_name("link")
    link.symlink_to(path)
    monkeypatch.chdir(path.parent)
    for name in (link, "link", "quotas", f"../{path.parent.name}/link"):
        assert FileQuotas(name).path == path.resolve()
    quotas = FileQuotas(path)
    path.unlink()
    path.symlink_to("elsewhere")
    with pytest.raises(QuotaUnavailable, match=f"{path} cannot be used: Too many levels of symbolic links"):
        await quotas.acquire(KEY, Quota(1))
    assert not path.with_name("elsewhere").exists()


async def test_a_file_of_somebody_else_stays_untouched(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE numbers (number)")
    before = path.read_bytes()
    for content in (before, b"v", b"hello", b"{}" * 50):
        path.write_bytes(content)
        if content == b"v":  # as after a write that was cut short
            FileQuotas(path)
            continue
        with pytest.raises(ConfigurationError, match=f"{path} is not a file of quotas"):
            FileQuotas(path)
        assert path.read_bytes() == content


async def test_a_file_that_somebody_else_has_put_in_its_place_stays_untouched(path: Path) -> None:
    async with FileQuotas(path) as quotas:
        path.write_text("mine")
        with pytest.raises(QuotaUnavailable, match=f"{path} is not a file of quotas"):
            await quotas.acquire(KEY, Quota(1))
        assert path.read_text() == "mine"


@virtual
@pytest.mark.looptime
async def test_a_directory_that_is_removed_is_an_error_until_it_returns(path: Path) -> None:
    path = path.parent / "directory" / "quotas"
    path.parent.mkdir()
    async with FileQuotas(path) as quotas:
        permit = await quotas.acquire(KEY, Quota(5))
        path.unlink()
        path.parent.rmdir()
        assert not is_valid(permit)
        with pytest.raises(QuotaUnavailable, match=f"{path} cannot be used: No such file or directory"):
            await quotas.acquire(KEY, Quota(5))
        path.parent.mkdir()
        await asyncio.sleep(1)
        began = now()
        await quotas.acquire(KEY, Quota(5))
        assert now() - began == pytest.approx(FIRST_USE, abs=0.1)


@virtual
@pytest.mark.looptime
@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EMFILE])
async def test_a_file_that_cannot_be_opened_is_an_error(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    original = os.open

    def failing(name: str | Path, *args: Any, **kwargs: Any) -> int:
        if Path(name).parent == path.parent:
            raise OSError(number, os.strerror(number))
        return original(name, *args, **kwargs)

    quotas = FileQuotas(path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", failing)
        with pytest.raises(ConfigurationError, match=f"{path} cannot be used: {os.strerror(number)}"):
            FileQuotas(path)
        with pytest.raises(QuotaUnavailable, match=f"{path} cannot be used: {os.strerror(number)}"):
            await quotas.acquire(KEY, Quota(1))
    await asyncio.sleep(1)
    await quotas.acquire(KEY, Quota(1))
    await quotas.aclose()


@virtual
@pytest.mark.looptime
@pytest.mark.no_coverage
@pytest.mark.parametrize("is_short", [False, True])
@pytest.mark.parametrize("when", ["creation", "append", "overwrite"])
async def test_a_full_disk_causes_no_breach_and_calls_go_on_when_there_is_space(
    processes: Callable[..., FileProcesses], monkeypatch: pytest.MonkeyPatch, when: str, is_short: bool
) -> None:
    store, vendor, original = processes(30), SimulatedVendor(0.02, 0.05), os.pwrite
    failures = []

    def failing(fd: int, data: bytes, offset: int) -> int:
        is_new = offset == os.fstat(fd).st_size
        if (when == "overwrite" and is_new) or (when == "append" and not (is_new and offset)):
            return original(fd, data, offset)
        failures.append(offset)
        if is_short:
            return original(fd, data[: len(data) // 2], offset)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    process, other = store.start(), store.start()
    running = []
    if when == "overwrite":
        running = [asyncio.create_task(keep_calling(one, vendor, 8, 20)) for one in (process, other)]
        await asyncio.sleep(3)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", failing)
        with pytest.raises(QuotaUnavailable, match=f"{store.path} cannot be used: No space left on device"):
            while True:
                (await process.acquire("interactive")).abandoned(None)
        await asyncio.sleep(1)
    await asyncio.gather(*running, *(keep_calling(one, vendor, 8, 20) for one in (process, other)))
    assert failures
    assert vendor.max_in_a_second <= 30
    assert vendor.quota_share(30, 6.5, 8) > 0.8
    assert list(store.path.parent.iterdir()) == [store.path]


# Where the file is


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "9p", "fuse.sshfs"])
def test_a_network_file_system_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    mount(path, monkeypatch, kind)
    with pytest.raises(ConfigurationError, match=rf"{path} is on a file system .* \({kind}\): .*RedisQuotas"):
        FileQuotas(path)


@pytest.mark.parametrize("kind", ["ext4", "tmpfs", "overlay", "fuseblk", None])
def test_a_local_file_system_is_not_refused(path: Path, monkeypatch: pytest.MonkeyPatch, kind: str | None) -> None:
    mount(path, monkeypatch, kind)
    FileQuotas(path)


def mount(path: Path, monkeypatch: pytest.MonkeyPatch, kind: str | None) -> None:
    """Let the file system of the path be of a type, by the system's list; None if there is no list."""
    mounts = path.with_name("mounts")
    if kind is not None:
        device = path.parent.stat().st_dev
        mounts.write_text(
            "22 1 0:1 / /proc rw - proc proc rw\n"
            f"36 35 {os.major(device)}:{os.minor(device)} / {path.parent} rw,noatime master:1 - {kind} host:/x rw\n"
        )
    monkeypatch.setattr(quota_path, "MOUNTS", mounts)


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two directories in which all users may create files."""
    directories = [tmp_path / name for name in ("lock", "tmp")]
    for directory in directories:
        directory.mkdir()
        directory.chmod(0o1777)
    monkeypatch.setattr(quota_path, "RUNTIME_DIRECTORIES", tuple(directories))
    return directories


def test_the_default_file_is_private_and_the_same_in_any_environment(
    runtime: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    expected = runtime[0] / f"volc_moderation-{os.geteuid()}" / "quotas"
    assert FileQuotas().path == expected
    assert expected.parent.stat().st_mode & 0o777 == 0o700
    for name in ("XDG_RUNTIME_DIR", "TMPDIR", "HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert FileQuotas().path == expected


def test_the_default_file_is_in_a_directory_that_is_open_to_all(runtime: list[Path]) -> None:
    """But only if others cannot remove what we create there."""
    runtime[0].chmod(0o777)
    assert FileQuotas().path.parent.parent == runtime[1]
    runtime[0].rmdir()
    assert FileQuotas().path.parent.parent == runtime[1]
    runtime[1].chmod(0o755)
    with pytest.raises(ConfigurationError, match="no default path on this system; use WindowQuotas or RedisQuotas"):
        FileQuotas()


@pytest.mark.parametrize("fault", ["too open", "a link", "a file", "of another user"])
def test_a_directory_that_is_not_private_is_refused(
    runtime: list[Path], monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    directory = runtime[0] / f"volc_moderation-{os.geteuid() + (fault == 'of another user')}"
    if fault == "a link":
        directory.symlink_to(runtime[1])
    elif fault == "a file":
        directory.touch(0o600)
    else:
        directory.mkdir(mode=0o700)
    if fault == "too open":
        directory.chmod(0o710)
    elif fault == "of another user":
        owner = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(ConfigurationError, match=f"{directory} must be a directory that belongs to this user"):
        FileQuotas()
    assert not list(runtime[1].iterdir())


def test_a_directory_that_cannot_be_created_is_named(runtime: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def mkdir(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(
        ConfigurationError, match=f"{runtime[0]}/.* cannot be used: Read-only file system; name another"
    ):
        FileQuotas()


@pytest.mark.parametrize("has_path", [False, True])
def test_a_system_without_file_locks_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch, has_path: bool) -> None:
    for module in (quota_path, file_quotas):
        monkeypatch.setattr(module, "HAS_FILE_LOCKS", False)
    with pytest.raises(ConfigurationError, match="which this system lacks; use RedisQuotas"):
        FileQuotas(path if has_path else None)
    with pytest.raises(ConfigurationError, match="no default path on this system"):
        quota_path.default_path()


def test_a_record_does_not_go_back(tmp_path: Path) -> None:
    """With one of its two slots damaged, nobody knows which content is the newest: the one before lacks permits."""
    digest = b"d" * DIGEST_SIZE
    file = tmp_path / "records"
    file.touch()
    with file.open("r+b", buffering=0) as opened:
        records = Records(opened.fileno(), 0)
        records.write(None, digest, b"first", 1)
        for content in (b"second", b"third"):
            record = records.read(digest)
            assert record is not None
            records.write(record, digest, content, 1)
        record = records.read(digest)
        assert (record and record.content) == b"third"
        stored = file.read_bytes()
        for content in (b"second", b"third"):
            at = stored.index(content)
            os.pwrite(opened.fileno(), b"X", at)
            with pytest.raises(DamagedFileError):
                Records(opened.fileno(), 0).read(digest)
            os.pwrite(opened.fileno(), content[:1], at)
        assert records.read(digest) == record


@pytest.mark.parametrize("left", [0, 10, 40])
def test_a_record_that_was_cut_off_is_missed_at_once(tmp_path: Path, left: int) -> None:
    """By the process that has written it, and has read nothing since: a new record would forget its permits."""
    digest = b"d" * DIGEST_SIZE
    file = tmp_path / "records"
    file.write_bytes(40 * b"h")
    with file.open("r+b", buffering=0) as opened:
        records = Records(opened.fileno(), 40)
        records.write(None, digest, b"content", 1)
        os.truncate(file, left)
        with pytest.raises(DamagedFileError):
            records.read(digest)
        with pytest.raises(DamagedFileError):
            records.read(b"o" * DIGEST_SIZE)
