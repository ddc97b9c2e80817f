"""A client of redis-py for an address, which neither an error nor a traceback shows: it may hold a password."""

import inspect

from volc_moderation.errors import ConfigurationError, describe


def client_of(given: object, *, needs: str, wanted_by: str, patience: float) -> object:
    """Return a client for an address, or the client that was given.

    If that cannot be, it returns the error: the traceback of one raised here would show the address.

    :param needs: the method that a client must have.
    :param patience: seconds that whoever asks waits for an answer.
    """
    if isinstance(given, str):
        return _connect(given, wanted_by, patience)
    execute = getattr(given, "execute_command", None)
    if hasattr(given, needs) and (execute is None or inspect.iscoroutinefunction(execute)):
        return given
    return ConfigurationError(f"client must be an address or a redis.asyncio client; got {describe(given)}")


def _connect(address: str, wanted_by: str, patience: float) -> object:
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
            socket_timeout=patience / 2,
            socket_connect_timeout=patience / 2,
            retry=Retry(NoBackoff(), 1),
            retry_on_error=[ConnectionError, TimeoutError],  # redis-py before 6 repeats nothing without it
        )
    except Exception as error:  # noqa: BLE001 - whatever it is, its text may hold the password
        reason = type(error).__name__
    return ConfigurationError(f"client must be an address like 'redis://host:6379/0' ({reason})")
