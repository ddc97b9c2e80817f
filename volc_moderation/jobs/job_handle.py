"""The handle of a job that was submitted: its key, which can be awaited."""

from collections.abc import Awaitable, Generator
from typing import Any, Generic, Protocol, Self, TypeVar

from volc_moderation.jobs.job import Job

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class _Jobs(Protocol):
    """Where a job was submitted: ``Jobs`` or ``DistributedJobs``."""

    def wait(self, key: "JobHandle[R]") -> Awaitable[Job[R]]:
        """Wait until the job has ended."""

    def status(self, key: "JobHandle[R]") -> Awaitable[Job[R] | None]:
        """Return the job."""


class JobHandle(str, Generic[R_co]):
    """The key of a job, which can be awaited: ``job = await handle``.

    It is a ``str``: it can be stored, printed and compared as the key. ``str(handle)`` is the key without the rest, and
    so is a copy or a pickle. Where the handle is lost, in another process or after a restart, ``jobs.wait(key)`` does
    the same.
    """

    __slots__ = ("_jobs",)

    _jobs: _Jobs

    def __new__(cls, key: str, jobs: _Jobs) -> Self:
        """Create the handle of a job of ``jobs``."""
        handle = super().__new__(cls, key)
        handle._jobs = jobs
        return handle

    def __await__(self) -> Generator[Any, None, Job[R_co]]:
        return self.wait().__await__()

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)  # the jobs belong to this process

    async def wait(self) -> Job[R_co]:
        """Wait until the job has ended, whether it succeeded or not, and return it. Any number of tasks may wait.

        If this is cancelled, the job still runs. Raises as ``wait`` of the jobs does: ``JournalError`` if they have
        been closed, and ``KeyError`` if the job no longer exists, because it ended too long ago.
        """
        return await self._jobs.wait(self)

    async def status(self) -> Job[R_co] | None:
        """Return the job as of this moment; None if it no longer exists, because it ended too long ago."""
        return await self._jobs.status(self)
