"""Window permits in a file: all processes of one machine that use the same account together stay within its quotas.

The permits and their rules are those of ``RedisQuotas``, in ``grant_permits.py``, and so is what a process does with
them, in ``shared_window.py``. An exchange takes the place of a script: the state of a quota is read from the file,
changed and written while the file is locked, on the machine's clock.
"""

import asyncio
import json
import os
import secrets
from collections.abc import Mapping
from functools import partial
from hashlib import blake2b
from pathlib import Path

import attrs

from volc_moderation import telemetry
from volc_moderation.action import Quota
from volc_moderation.errors import ConfigurationError, describe
from volc_moderation.quotas.exchange import ExchangeReply, ExchangeRequest, micros
from volc_moderation.quotas.grant_permits import PROCESS_BITS, SharedState, grant_permits
from volc_moderation.quotas.machine import machine_clock
from volc_moderation.quotas.permit import Permit, Priority, QuotaKey
from volc_moderation.quotas.quota_file import CLOSING_LOCK_TIMEOUT, MAX_REPLACEMENTS, QuotaFile
from volc_moderation.quotas.quota_path import HAS_FILE_LOCKS, default_path
from volc_moderation.quotas.records import DIGEST_SIZE, DamagedFileError, Records
from volc_moderation.quotas.shared_window import SharedWindow
from volc_moderation.quotas.state_codec import dump_state, load_state
from volc_moderation.quotas.store import LEARNED_TTL, QuotaStore
from volc_moderation.quotas.wait_queue import DEFAULT_BULK_SHARE

#: A quota that was not used for this long may be dropped from the file: it is as if it had never been used.
UNUSED_TTL = 120.0  # seconds
#: The clocks of the machine's processors may differ by less than this.
CLOCK_TOLERANCE = 1_000_000  # microseconds


class FileQuotas(QuotaStore[SharedWindow]):
    """Window permits for all processes of this machine that use the same file: all calls wait equally long.

    Nothing has to be set up, and no other process is needed. Use it as ``async with FileQuotas() as quotas``, one per
    event loop, or call ``aclose()`` at the end, so that the permits return at once. The permits of a process that dies
    return by themselves after 10 s.

    :param path: of the file, on a disk of this machine, in a directory that exists. None means a file of this user that
        all of its processes find, whatever their environment: ``/run/lock/volc_moderation-UID/quotas``, or below
        ``/tmp`` if there is no such directory.
    :param limits: as for ``WindowQuotas``; the same in all processes.
    :param bulk_share: as for ``WindowQuotas``. Interactive calls go before the bulk calls of their own process; between
        processes, ``docs/quotas.md`` says who gets how much.

    Raises ``ConfigurationError`` for a wrong setting, and for a file that cannot be shared: it belongs to another user,
    is on a network file system, or cannot be written. On Windows, there are no ``FileQuotas``.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        limits: Mapping[str, int] | None = None,
        *,
        bulk_share: float = DEFAULT_BULK_SHARE,
    ) -> None:
        super().__init__(limits, bulk_share)
        self._file = QuotaFile(_checked_path(path), creates_directory=path is None)
        self._process = 0
        self._is_closed = False

    @property
    def path(self) -> Path:
        """The path of the file."""
        return self._file.path

    async def aclose(self) -> None:
        """Return all permits, and close the file. Closing twice does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        telemetry.unregister(self)
        self._file.closing_deadline = asyncio.get_running_loop().time() + CLOSING_LOCK_TIMEOUT
        try:
            await asyncio.gather(*(window.close() for window in self._windows.values()))
        finally:
            self._file.close()

    async def acquire(self, key: QuotaKey, quota: Quota, priority: Priority = "interactive") -> Permit:
        """Wait for a permit.

        Raises ``QuotaUnavailable`` if the file cannot be read or written, and ``ConfigurationError`` if these quotas
        are closed or belong to another event loop.
        """
        if self._is_closed:
            raise ConfigurationError("these FileQuotas are closed")
        return await super().acquire(key, quota, priority)

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:  # noqa: ARG002 - the contract of QuotaStore
        self._process = secrets.randbits(PROCESS_BITS)  # not earlier: the process may have forked

    def _create_window(self, key: QuotaKey, quota: Quota, loop: asyncio.AbstractEventLoop) -> SharedWindow:
        name = json.dumps([key.vendor, key.account, key.action, key.room]).encode()
        return SharedWindow(
            quota,
            loop,
            exchange=partial(
                self._exchange,
                blake2b(name, digest_size=DIGEST_SIZE).digest(),
                micros(UNUSED_TTL if quota.published else LEARNED_TTL),
            ),
            has_generation=self._file.has_generation,
            process=self._process,
            bulk_share=self._bulk_share,
            refill_at=0.0,
            store_name="FileQuotas",
        )

    async def _exchange(self, digest: bytes, memory: int, request: ExchangeRequest) -> ExchangeReply:
        """Carry out an exchange with the file. Raises ``ConfigurationError`` if it cannot be read or written."""
        try:
            for _ in range(MAX_REPLACEMENTS):
                records = await self._file.lock()
                try:
                    reply = self._change(records, digest, memory, request)
                except DamagedFileError:
                    self._file.replace()
                    continue
                finally:
                    self._file.unlock()
                # Somebody may have removed the file, or others replaced it while this process was stopped: then
                # nothing has happened.
                if self._file.has_name():
                    return reply
                self._file.close()
            failure = self._file.instability()
        except OSError as error:
            failure = self._file.failure(error)
        raise failure

    def _change(self, records: Records, digest: bytes, memory: int, request: ExchangeRequest) -> ExchangeReply:
        now = machine_clock()
        record = records.read(digest)
        if record is None:
            # The file may be new because another one was removed: what was sent by then must be forgotten first.
            state = SharedState(generation=self._file.generation, resume=self._file.created + request.rules.forget)
        else:
            try:
                state = load_state(record.content)
            except ValueError:
                raise DamagedFileError from None
            if state.clock > now + CLOCK_TOLERANCE:  # of the time before a reboot, on a system that does not tell
                raise DamagedFileError
        # A process that knows another generation had it from a file that was replaced, and the new file has waited for
        # what that process had sent.
        if request.generation != self._file.generation:
            request = attrs.evolve(request, generation=None)
        state, reply = grant_permits(state, request, now)
        records.write(record, digest, dump_state(state), now + memory)
        return reply


def _checked_path(path: str | os.PathLike[str] | None) -> Path:
    """Return the path of the file. Raises ``ConfigurationError``."""
    if not HAS_FILE_LOCKS:
        raise ConfigurationError("FileQuotas needs file locks (flock), which this system lacks; use RedisQuotas")
    if path is None:
        return default_path()
    if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str) or not str(path):
        raise ConfigurationError(f"path must be a str or a path; got {describe(path)}")
    # Absolute, because the program may change its directory; without links, so that all names are one file.
    resolved = Path(path).resolve()
    if not resolved.parent.is_dir():
        raise ConfigurationError(f"there is no directory {resolved.parent} for the file of quotas")
    return resolved
