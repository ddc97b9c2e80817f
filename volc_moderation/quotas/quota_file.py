"""The file of ``FileQuotas``, as one process opens, locks and replaces it.

The lock is that of flock(2), which the system releases when its holder ends in any way. The file is replaced by a new
one if it was removed or damaged, if it is of the time before a reboot, or if a process that was stopped (SIGSTOP)
holds the lock. Nothing is known of what was sent before a file was created.
"""

import asyncio
import contextlib
import errno
import glob
import os
import secrets
import struct
import time
from pathlib import Path
from zlib import crc32

from volc_moderation.errors import ConfigurationError, QuotaUnavailable
from volc_moderation.quotas.machine import clock_identity, machine_clock
from volc_moderation.quotas.quota_path import check_shareable, create_private_directory
from volc_moderation.quotas.records import DamagedFileError, Records
from volc_moderation.quotas.shared_permit import PERMIT_LEASE

try:
    import fcntl
except ImportError:  # on Windows, where FileQuotas raises an error before
    fcntl = None  # type: ignore[assignment]

#: A magic number, the generation of the data, when the file was created on the machine's clock (in microseconds), the
#: identity of that clock, and a checksum.
_HEADER = struct.Struct("=8sQq16sI")
_CHECKSUM_OFFSET = _HEADER.size - 4
_MAGIC = b"vmodquo1"
#: What the name of a file begins with that is to replace another one, after that file's name.
_NEW_SUFFIX = ".new-"

# Seconds between two attempts to take the lock.
MIN_LOCK_POLL_INTERVAL = 0.0005
MAX_LOCK_POLL_INTERVAL = 0.02
#: The lock is held for microseconds. If the file does not change for this time, the holder has been stopped. By then
#: none of the permits that it may have is valid.
STUCK_LOCK_TIMEOUT = PERMIT_LEASE  # seconds
#: A longer time between two looks at the lock does not count: this process may have been stopped itself.
MAX_LOOK_GAP = 0.5  # seconds
#: A store that is being closed waits this long for the lock.
CLOSING_LOCK_TIMEOUT = 1.0  # seconds
#: A larger file is rewritten without the quotas that are no longer used.
MAX_FILE_SIZE = 2**20  # bytes: Debian's /run/lock has room for five of them
#: A file that has lost its name this often in a row is on a file system that does not work for this.
MAX_REPLACEMENTS = 20
#: A file that is to replace another one, which takes milliseconds, was left behind when it is older than this.
LEFTOVER_TIMEOUT = 60.0  # seconds
#: If another kernel has changed the file within this time, and this one has been running for longer, the file is not of
#: the time before a reboot: both use it.
REBOOT_TIME = 60.0  # seconds


class QuotaFile:
    """The file, which other processes change, too.

    :param path: of the file. It is created if it does not exist, readable by its owner only.
    :param creates_directory: whether to create its directory, too, which only this user can enter.

    Raises ``ConfigurationError`` if the processes of this machine cannot share it.
    """

    def __init__(self, path: Path, *, creates_directory: bool = False) -> None:
        self.path = path
        self._creates_directory = creates_directory
        self._name = str(path)
        #: Identifies the data of the file.
        self.generation = 0
        #: When the file was created, on the machine's clock, in microseconds.
        self.created = 0
        #: When a store that is being closed stops waiting for the lock, on the loop's clock; None if it is in use.
        self.closing_deadline: float | None = None
        self._fd: int | None = None
        self._pid = 0
        self._identity = (0, 0)
        self._records: Records | None = None
        self._compact_above = MAX_FILE_SIZE
        #: Held by the only task that waits for the lock.
        self._waiting = asyncio.Lock()
        #: For how many seconds the lock was taken without a change to the file; when this process looked last, on
        #: ``time.monotonic``; and the file's time of change in ns.
        self._stuck_for = 0.0
        self._looked_at = 0.0
        self._changed_at = 0
        self._locked_at = 0.0
        try:
            if self._try_to_lock() is not None:  # which checks what is in the file
                self.unlock()
        except OSError as error:
            raise self.failure(error) from None
        finally:
            self.close()  # it is opened again after a fork, if there is one

    def _open(self) -> None:
        """Open the file that has the name now."""
        self.close()
        try:
            if self._creates_directory:
                create_private_directory(self.path.parent)
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            if isinstance(error, PermissionError):
                with contextlib.suppress(OSError):
                    check_shareable(self.path, self.path.lstat())  # the file of another user, most likely
            raise self.failure(error) from None
        self._pid = os.getpid()
        status = os.fstat(self._fd)
        self._identity = status.st_dev, status.st_ino
        try:
            check_shareable(self.path, status)
        except ConfigurationError:
            self.close()
            raise

    def close(self) -> None:
        """Close the file; it is opened again when it is locked."""
        if self._fd is not None:
            os.close(self._fd)
        self._fd = self._records = None

    def failure(self, error: OSError) -> ConfigurationError:
        """Return the error for a file that cannot be opened, read or written."""
        hint = "; name another one, as in VOLC_MODERATION_QUOTAS=file:/path" if self._creates_directory else ""
        return ConfigurationError(f"the file of quotas {self.path} cannot be used: {error.strerror}{hint}")

    def instability(self) -> ConfigurationError:
        """Return the error for a file that loses its name again and again."""
        return ConfigurationError(f"the file of quotas {self.path} does not keep its name: give a path on a local disk")

    def has_name(self) -> bool:
        """Return whether the file that was locked last has its name still: otherwise what it says does not count."""
        try:
            status = os.lstat(self._name)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._identity

    def has_generation(self, generation: int | None) -> bool:
        """Return whether the file has its name still, and its data are those of a generation."""
        # Without records, the header has not been read: the generation is that of the file before.
        return self._records is not None and generation == self.generation and self.has_name()

    # The lock

    async def lock(self) -> Records:
        """Take the lock, and return the records. Nothing may be awaited until ``unlock``.

        What was read counts only if the file is still the current one after that.

        Raises ``OSError``, ``ConfigurationError`` if the file cannot be shared any more, and ``QuotaUnavailable`` if it
        is being closed and the lock stays taken.
        """
        if not self._waiting.locked() and (records := self._try_to_lock()) is not None:
            return records
        async with self._waiting:
            interval = MIN_LOCK_POLL_INTERVAL
            while (records := self._try_to_lock()) is None:
                await asyncio.sleep(interval)
                now = asyncio.get_running_loop().time()
                if self.closing_deadline is not None and now > self.closing_deadline:
                    raise QuotaUnavailable(f"the file of quotas {self.path} is locked")
                self._watch_holder()
                interval = min(2 * interval, MAX_LOCK_POLL_INTERVAL)
        return records

    def _try_to_lock(self) -> Records | None:
        """Lock the file, and return its records; None if another process has the lock."""
        if self._pid != os.getpid():
            self.close()  # this is the parent's, and both would have the same lock
        for _ in range(MAX_REPLACEMENTS):
            if self._fd is None:
                self._open()
            assert self._fd is not None  # noqa: S101 - opened
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if self.has_name():
                    return None
                self.close()  # its lock no longer matters
                continue
            self._locked_at = time.monotonic()
            try:
                self._stuck_for = 0.0
                records = self._current_records(self._fd)
                if records is not None and records.size <= self._compact_above:
                    return records
                if records is None:
                    self.replace()
                elif self.has_name():
                    self._compact(records)
            except BaseException:
                self.unlock()
                raise
            self.close()  # it no longer has the name
        raise self.instability()

    def unlock(self) -> None:
        """Release the lock."""
        if self._fd is not None:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _watch_holder(self) -> None:
        """Replace the file if the holder of the lock has been stopped."""
        if self._fd is None:
            return
        changed_at, now = os.fstat(self._fd).st_mtime_ns, time.monotonic()
        if changed_at != self._changed_at:
            self._changed_at, self._stuck_for = changed_at, 0.0
        elif now < self._looked_at + MAX_LOOK_GAP:
            self._stuck_for += now - self._looked_at
        self._looked_at = now
        if self._stuck_for >= STUCK_LOCK_TIMEOUT:
            self._stuck_for = 0.0
            self.replace()

    # The content

    def _current_records(self, fd: int) -> Records | None:
        """Return the records, or None if the file has to be replaced."""
        if self._records is None and self._read_header(fd):
            self._records = Records(fd, _HEADER.size)
        return self._records

    def _read_header(self, fd: int) -> bool:
        """Read the header, and return whether it counts: not if the file is new, or of the time before a reboot.

        A file that was cut short cannot be told from a new one, so that none is filled in place: the permits that other
        processes have from it would stay valid.
        """
        header = os.pread(fd, _HEADER.size, 0)
        identity, now = clock_identity(), machine_clock()
        if header and not header.startswith(_MAGIC[: len(header)]):
            raise ConfigurationError(f"{self.path} is not a file of quotas")
        if len(header) == _HEADER.size:
            _, self.generation, self.created, stored_identity, checksum = _HEADER.unpack(header)
            if checksum != crc32(header[:_CHECKSUM_OFFSET]):
                return False
            if stored_identity == identity and self.created <= now:
                return True
            changed_ago = time.time() - os.fstat(fd).st_mtime
            if stored_identity != identity and now > REBOOT_TIME * 1e6 and abs(changed_ago) < REBOOT_TIME:
                raise ConfigurationError(
                    f"the file of quotas {self.path} is used by another machine, or by a container with a clock of its"
                    " own: share quotas with RedisQuotas"
                )
        return False

    def replace(self) -> None:
        """Replace the file by an empty one: what it says cannot be used any more. Raises ``OSError``."""
        try:
            if self.has_name():
                self._rewrite({}, began=None)
        finally:
            self.close()

    def _compact(self, records: Records) -> None:
        """Replace a large file by one without the quotas that are no longer used."""
        now, size = machine_clock(), records.size
        try:
            kept = {one.digest: (one.content, one.keep_until) for one in records.all() if one.keep_until > now}
        except DamagedFileError:
            self.replace()
            return
        with contextlib.suppress(OSError):  # then it stays as it is
            size = self._rewrite(kept, began=self._locked_at)
        self._compact_above = max(MAX_FILE_SIZE, 2 * size)

    def _rewrite(self, contents: dict[bytes, tuple[bytes, int]], *, began: float | None) -> int:
        """Write a new file, give it the name, and return its size.

        This process may be stopped at any moment, and others may replace the file meanwhile. So the header, without
        which a file does not count, is written last, when the new file has the name and is locked.

        :param contents: its records, by digest: their content, and until when they are kept.
        :param began: when the file that the records are from was locked, on ``time.monotonic``; None for a new
            generation.
        """
        self._remove_leftovers()
        new = self.path.with_name(f"{self.path.name}{_NEW_SUFFIX}{secrets.token_hex(8)}")
        fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _write(fd, _MAGIC.ljust(_HEADER.size, b"\0"))
            records = Records(fd, _HEADER.size)
            for digest, (content, keep_until) in contents.items():
                records.write(None, digest, content, keep_until)
            fcntl.flock(fd, fcntl.LOCK_EX)  # at once: nobody else knows the file
            new.replace(self.path)
            if began is None or time.monotonic() > began + STUCK_LOCK_TIMEOUT / 2:
                os.ftruncate(fd, _HEADER.size)
                _write(fd, _header(secrets.randbits(48), machine_clock()))
            else:
                _write(fd, _header(self.generation, self.created))
            return os.fstat(fd).st_size
        except BaseException:
            new.unlink(missing_ok=True)
            raise
        finally:
            os.close(fd)

    def _remove_leftovers(self) -> None:
        """Remove what processes have left that were killed while they wrote a new file."""
        for leftover in self.path.parent.glob(f"{glob.escape(self.path.name)}{_NEW_SUFFIX}*"):
            with contextlib.suppress(OSError):
                if abs(time.time() - leftover.stat().st_mtime) > LEFTOVER_TIMEOUT:
                    leftover.unlink()


def _header(generation: int, created: int) -> bytes:
    fields = _MAGIC, generation, created, clock_identity()
    return _HEADER.pack(*fields, crc32(_HEADER.pack(*fields, 0)[:_CHECKSUM_OFFSET]))


def _write(fd: int, header: bytes) -> None:
    if os.pwrite(fd, header, 0) < len(header):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
