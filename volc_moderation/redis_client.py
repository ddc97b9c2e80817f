"""Makes redis-py clients, and interprets redis-py's errors.

No error or traceback shows the address of the Redis, because it may hold a password.
"""

import asyncio
import inspect
from collections.abc import Awaitable
from typing import TypeVar

from volc_moderation.credentials import redact_passwords
from volc_moderation.errors import ConfigurationError, describe
from volc_moderation.extras import require_extra

_Reply = TypeVar("_Reply")


def client_or_error(
    client_or_address: object, *, required_method: str, used_by: str, timeout: float, retries: int = 1
) -> object:
    """Return a client for an address, or the given client.

    If there can be none, return the ``ConfigurationError``: the traceback of one raised here would show the address.

    :param required_method: the method that the client must have.
    :param used_by: the class that needs the client, for messages.
    :param timeout: seconds that the caller waits for a reply.
    :param retries: how often a command that met a dead connection is sent again; sending it twice must be harmless.
    """
    if isinstance(client_or_address, str):
        return _client_for_address(client_or_address, used_by, timeout, retries)
    execute = getattr(client_or_address, "execute_command", None)
    if hasattr(client_or_address, required_method) and (execute is None or inspect.iscoroutinefunction(execute)):
        return client_or_address
    return ConfigurationError(f"client must be an address or a redis.asyncio client; got {describe(client_or_address)}")


def _client_for_address(address: str, used_by: str, timeout: float, retries: int) -> object:
    try:
        require_extra("redis", used_by=used_by)
        from redis.asyncio import Redis  # noqa: PLC0415 - an extra
        from redis.asyncio.retry import Retry  # noqa: PLC0415
        from redis.backoff import NoBackoff  # noqa: PLC0415
        from redis.exceptions import ConnectionError, TimeoutError  # noqa: A004, PLC0415
    except ImportError as error:  # of redis-py, or of something that it needs
        return ConfigurationError(str(error))
    try:
        # A pooled connection may be dead, hence the retries. All attempts together take no longer than the timeout.
        client = Redis.from_url(
            address,
            socket_timeout=timeout / (retries + 1),
            socket_connect_timeout=timeout / (retries + 1),
            retry=Retry(NoBackoff(), retries),
            retry_on_error=[ConnectionError, TimeoutError],  # redis-py before 6 retries nothing without it
        )
        # A connection, which is not opened here, refuses the options in an address that it does not know.
        client.connection_pool.connection_class(**client.connection_pool.connection_kwargs)
    except Exception as error:  # noqa: BLE001 - the text of any exception may hold the password
        reason = type(error).__name__
    else:
        return client
    return ConfigurationError(f"client must be an address like 'redis://host:6379/0' ({reason})")


async def cancellable(request: Awaitable[_Reply]) -> _Reply:
    """Await a reply of redis-py, and raise ``CancelledError`` if the task was cancelled meanwhile.

    redis-py sends with ``asyncio.wait_for``. Before Python 3.12 that loses a cancellation which arrives just as the
    awaited future ends (https://github.com/python/cpython/issues/86296).
    """
    task = asyncio.current_task()
    before = 0 if task is None else task.cancelling()
    try:
        reply = await request
    except Exception:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError from None
        raise
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError
    return reply


# An exception of redis-py holds its frames, and those hold the address. Callers report its text and drop the exception.


def redis_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that a request to a Redis may raise."""
    from redis.exceptions import RedisError  # noqa: PLC0415 - an extra

    return RedisError, OSError, TimeoutError


def describe_redis_error(error: Exception) -> str:
    """Return an exception's type and text, without a password."""
    return f"{type(error).__name__}: {redact_passwords(str(error))}"


#: How error replies begin that a Redis gives while it starts, fails over or is out of memory.
_TRANSIENT_PREFIXES = (
    "LOADING",
    "READONLY",
    "OOM",
    "MISCONF",
    "NOREPLICAS",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "BUSY",
)
#: The exceptions for those replies whose prefix redis-py removes.
_TRANSIENT_TYPES = {"ReadOnlyError", "OutOfMemoryError", "TryAgainError", "MasterDownError", "ClusterDownError"}


def is_server_reply(error: Exception) -> bool:
    """Return whether an exception is an error reply of the server."""
    from redis.exceptions import ResponseError  # noqa: PLC0415 - an extra

    return isinstance(error, ResponseError)


def is_transient(error: Exception) -> bool:
    """Return whether the cause of an exception may pass without anybody's help."""
    from redis.exceptions import AuthenticationError, AuthorizationError  # noqa: PLC0415 - an extra

    if isinstance(error, (AuthenticationError, AuthorizationError)):
        return False
    return (
        not is_server_reply(error)
        or str(error).startswith(_TRANSIENT_PREFIXES)
        or type(error).__name__ in _TRANSIENT_TYPES
    )
