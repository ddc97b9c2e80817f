"""Processes that are stopped at a bad moment: what they hold by then is theirs no more, whatever they do next."""

import asyncio
import contextlib
import errno
import os
from pathlib import Path
from typing import Any

import pytest

from tests.quotas.conftest import STORES
from tests.quotas.processes import FileProcesses, SharingProcesses
from tests.quotas.vendor import KEY
from volc_moderation import FileQuotas, QuotaUnavailable
from volc_moderation.quotas import Quota, file_quotas, quota_file, quota_path
from volc_moderation.quotas.machine import boot_time, machine_clock
from volc_moderation.quotas.permit import is_valid
from volc_moderation.quotas.shared_permit import PERMIT_LEASE, ClockReading, SharedPermit
from volc_moderation.quotas.shared_window import SharedWindow

pytestmark = pytest.mark.slow

virtual = pytest.mark.usefixtures("virtual_machine_clock")
LIMIT = 3


def now() -> float:
    return asyncio.get_running_loop().time()


async def take_all(process: SharedWindow) -> list[SharedPermit]:
    permits: list[Any] = [await process.acquire("interactive") for _ in range(LIMIT)]
    return permits


def stop_for_the_lease(permits: list[SharedPermit]) -> None:
    """Let the permits be as after SIGSTOP and SIGCONT."""
    for permit in permits:
        permit.renewed_at = ClockReading(now() - PERMIT_LEASE, boot_time() - PERMIT_LEASE)


@virtual
@pytest.mark.looptime
@pytest.mark.parametrize("processes", STORES, indirect=True)
async def test_a_permit_that_is_renewed_after_its_lease_stays_invalid(processes: SharingProcesses) -> None:
    """Another process may have got it. It still counts until it is returned, because its request may have left."""
    process = processes.start()
    permits = await take_all(process)
    stop_for_the_lease(permits)
    waiting = asyncio.create_task(process.acquire("interactive"))  # which makes an exchange
    await asyncio.sleep(0.5)
    assert all(permit.has_lease() for permit in permits)
    assert not any(permit.is_valid() for permit in permits)
    assert not waiting.done()
    for permit in permits:
        permit.abandoned(None)
    assert (await waiting).is_valid()  # type: ignore[attr-defined]


@virtual
@pytest.mark.looptime
async def test_permits_of_a_file_that_was_removed_stay_invalid(tmp_path: Path) -> None:
    processes = FileProcesses(tmp_path / "quotas", Quota(LIMIT))
    process = processes.start()
    permits = await take_all(process)
    processes.lose_data()
    waiting = asyncio.create_task(process.acquire("interactive"))
    await asyncio.sleep(0.5)
    assert not any(permit.is_valid() for permit in permits)
    waiting.cancel()


@pytest.mark.parametrize("is_compacted", [False, True])
def test_a_file_counts_from_the_moment_at_which_it_has_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_compacted: bool
) -> None:
    """The process was stopped before, and others may have used another file meanwhile."""
    file = quota_file.QuotaFile(tmp_path / "quotas")
    records = file._try_to_lock()
    assert records is not None
    records.write(None, b"d" * 16, b"content", machine_clock() + 3600 * 10**6)
    generation, original, continued = file.generation, Path.replace, [0]

    def replace(source: Path, target: Path) -> Path:
        continued[0] = machine_clock() + 20_000_000
        monkeypatch.setattr(quota_file, "machine_clock", lambda: continued[0])
        monkeypatch.setattr("time.monotonic", lambda: continued[0] / 1e6)
        return original(source, target)

    monkeypatch.setattr(Path, "replace", replace)
    if is_compacted:
        file._compact(records)
    else:
        file.replace()
    file.close()
    records = file._try_to_lock()
    assert records is not None
    assert continued[0] == file.created
    assert file.generation != generation
    assert records.read(b"d" * 16) is None
    file.close()


@pytest.mark.slow
async def test_a_file_that_could_not_be_replaced_is_of_use_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, original = tmp_path / "quotas", os.open

    def open_file(name: Any, flags: int, *mode: int) -> int:
        if flags & os.O_EXCL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(name, flags, *mode)

    async with FileQuotas(path) as quotas:
        (await quotas.acquire(KEY, Quota(50))).answered(0.0)
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", open_file)
            with pytest.raises(OSError, match="No space left"):
                quotas._file.replace()
            with contextlib.suppress(QuotaUnavailable):
                await quotas.acquire(KEY, Quota(50))
        assert is_valid(await quotas.acquire(KEY, Quota(50)))


@virtual
@pytest.mark.looptime
async def test_a_file_of_an_earlier_boot_is_replaced_even_if_the_system_has_no_identity_for_boots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was created soon after that boot, so only the time of its last use is later than the present."""
    async with FileQuotas(tmp_path / "quotas") as quotas:
        await quotas.acquire(KEY, Quota(LIMIT))
        clock = vars(file_quotas)["machine_clock"]
        monkeypatch.setattr(file_quotas, "machine_clock", lambda: clock() + 3600 * 10**6)
        await quotas.acquire(KEY, Quota(LIMIT))
    monkeypatch.setattr(file_quotas, "machine_clock", clock)
    async with FileQuotas(tmp_path / "quotas") as quotas:
        began = now()
        for _ in range(3 * LIMIT):
            (await quotas.acquire(KEY, Quota(LIMIT))).answered(0.0)
        assert now() - began < 5


async def test_the_directory_of_the_default_file_may_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a program that removes old files from the directory for temporary ones."""
    os.chmod(tmp_path, 0o1777)  # noqa: PTH101, S103 - a directory of this test
    monkeypatch.setattr(quota_path, "RUNTIME_DIRECTORIES", (tmp_path,))
    async with FileQuotas() as quotas:
        quotas.path.unlink()
        quotas.path.parent.rmdir()
        waiting = asyncio.create_task(quotas.acquire(KEY, Quota(LIMIT)))
        await asyncio.sleep(0.05)
        assert quotas.path.is_file()
        waiting.cancel()


@pytest.mark.slow
@virtual
@pytest.mark.looptime
@pytest.mark.parametrize("processes", STORES, indirect=True)
async def test_a_process_that_gives_up_waiting_holds_up_no_other(processes: SharingProcesses) -> None:
    holder, impatient, other = (processes.start() for _ in range(3))
    permits = await take_all(holder)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.3):
            await impatient.acquire("interactive")
    await asyncio.sleep(0.3)
    answered = now()
    for permit in permits[:1]:
        permit.answered(0.01)
    await other.acquire("interactive")
    assert now() - answered < 1.3
