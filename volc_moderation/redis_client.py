"""A client of redis-py for an address, which neither an error nor a traceback shows: it may hold a password."""

import asyncio
import inspect
from collections.abc import Awaitable
from typing import TypeVar

from volc_moderation.credentials import without_password
from volc_moderation.errors import ConfigurationError, describe

_Answer = TypeVar("_Answer")


def client_of(given: object, *, needs: str, wanted_by: str, patience: float, repeats: int = 1) -> object:
    """Return a client for an address, or the client that was given.

    If that cannot be, it returns the error: the traceback of one raised here would show the address.

    :param needs: the method that a client must have.
    :param patience: seconds that whoever asks waits for an answer.
    :param repeats: how often what met a dead connection is asked again, which must be harmless.
    """
    if isinstance(given, str):
        return _connect(given, wanted_by, patience, repeats)
    execute = getattr(given, "execute_command", None)
    if hasattr(given, needs) and (execute is None or inspect.iscoroutinefunction(execute)):
        return given
    return ConfigurationError(f"client must be an address or a redis.asyncio client; got {describe(given)}")


def _connect(address: str, wanted_by: str, patience: float, repeats: int) -> object:
    try:
        from redis.asyncio import Redis  # noqa: PLC0415 - an extra
        from redis.asyncio.retry import Retry  # noqa: PLC0415
        from redis.backoff import NoBackoff  # noqa: PLC0415
        from redis.exceptions import ConnectionError, TimeoutError  # noqa: A004, PLC0415
    except ImportError:
        return ConfigurationError(f"{wanted_by} needs redis: pip install 'volc_moderation[redis]'")
    try:
        # Once more, because a connection that was kept may be dead; not longer than there is time for an answer.
        return Redis.from_url(
            address,
            socket_timeout=patience / (repeats + 1),
            socket_connect_timeout=patience / (repeats + 1),
            retry=Retry(NoBackoff(), repeats),
            retry_on_error=[ConnectionError, TimeoutError],  # redis-py before 6 repeats nothing without it
        )
    except Exception as error:  # noqa: BLE001 - whatever it is, its text may hold the password
        reason = type(error).__name__
    return ConfigurationError(f"client must be an address like 'redis://host:6379/0' ({reason})")


async def cancellable(asked: Awaitable[_Answer]) -> _Answer:
    """Await an answer of redis-py, and be cancelled if that is asked for meanwhile.

    redis-py sends with ``asyncio.wait_for``, which before Python 3.12 forgets a cancellation that comes with the end of
    what it waits for (https://github.com/python/cpython/issues/86296).
    """
    task = asyncio.current_task()
    before = 0 if task is None else task.cancelling()
    try:
        answer = await asked
    except Exception:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError from None
        raise
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError
    return answer


# What redis-py raises. An error of it holds its frames, and they the address: it is told in words, and left behind.


def redis_faults() -> tuple[type[Exception], ...]:
    """Return what may be raised while a Redis is asked."""
    from redis.exceptions import RedisError  # noqa: PLC0415 - an extra

    return RedisError, OSError, TimeoutError


def in_words(error: Exception) -> str:
    """Say what was raised, without a password."""
    return f"{type(error).__name__}: {without_password(str(error))}"


#: How answers begin of a Redis that starts, fails over, or has no room at present; and how redis-py calls those whose
#: beginning it strikes.
_PASSING = ("LOADING", "READONLY", "OOM", "MISCONF", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY")
_PASSING_KINDS = {"ReadOnlyError", "OutOfMemoryError", "TryAgainError", "MasterDownError", "ClusterDownError"}


def is_answer(error: Exception) -> bool:
    """Tell whether a fault is an answer of the server."""
    from redis.exceptions import ResponseError  # noqa: PLC0415 - an extra

    return isinstance(error, ResponseError)


def may_pass(error: Exception) -> bool:
    """Tell whether a fault may pass by itself."""
    from redis.exceptions import AuthenticationError, AuthorizationError  # noqa: PLC0415 - an extra

    if isinstance(error, (AuthenticationError, AuthorizationError)):
        return False
    return not is_answer(error) or str(error).startswith(_PASSING) or type(error).__name__ in _PASSING_KINDS
