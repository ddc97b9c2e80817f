"""Runs checks so that nothing that hangs holds up the others, or the end of the program."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from volc_moderation.doctor.finding import Finding, Subject
from volc_moderation.errors import ModerationError

P = ParamSpec("P")
T = TypeVar("T")


async def run_check(
    subject: Subject, check: str, seconds: float, work: Callable[[], Awaitable[Sequence[Finding]]], *, next_step: str
) -> Sequence[Finding]:
    """Return the findings of a check, or one that says that it took too long or broke.

    :param seconds: that it may take.
    :param work: carries it out.
    :param next_step: what to do if it takes longer.
    """
    try:
        async with asyncio.timeout(seconds):
            return await work()
    except TimeoutError:
        return [subject.failed(check, f"no result within {seconds:g} s", next_step)]
    except ModerationError as error:
        return [subject.failed(check, str(error), "correct what the message names")]
    except Exception as error:  # noqa: BLE001 - one check must not hide the results of the others
        # The text is left out: that of an unknown exception may hold a secret.
        step = "report this as a bug, with the versions above"
        return [subject.failed(check, f"the check itself failed: {type(error).__name__}", step)]


class DaemonThreads(ThreadPoolExecutor):
    """An executor with a new thread for each function, which ends with the program.

    As the executor of an event loop it also looks up addresses. A lookup, or a read from a network file system, may
    hang for minutes, and the end of the loop and that of the program would wait for it.
    """

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Call a function in a thread."""
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - raised where the result is awaited
                future.set_exception(error)

        threading.Thread(target=run, daemon=True, name="doctor").start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        """Do nothing: no thread is waited for."""
