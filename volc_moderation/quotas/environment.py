"""The store of quotas that the environment names, so that a deployment chooses it without a change of code."""

import os
from collections.abc import Mapping
from typing import TypeAlias

from volc_moderation import quotas
from volc_moderation.errors import ConfigurationError

#: The variable that ``from_env()`` and the commands read.
QUOTAS_VARIABLE = "VOLC_MODERATION_QUOTAS"
#: How the address of a Redis begins.
REDIS_SCHEMES = ("redis://", "rediss://", "unix://")

#: The stores that several processes share. They have to be closed.
SharedQuotas: TypeAlias = "quotas.FileQuotas | quotas.RedisQuotas"


def quotas_from_env(limits: Mapping[str, int] | None = None) -> "SharedQuotas | None":
    """Return a new store as ``VOLC_MODERATION_QUOTAS`` says; None for the quotas of the event loop.

    The variable is ``window`` (also if it is empty or not set), ``file``, ``file:/path`` or the address of a Redis.

    :param limits: as for ``WindowQuotas``.

    Raises ``ConfigurationError``, which does not show the value: an address may have a password.
    """
    # No variable of this frame holds the value: a traceback that shows variables must show no password.
    kind, _, path = _store_in(os.environ.get(QUOTAS_VARIABLE) or "window").partition(":")
    if kind == "window":
        return None
    if kind == "file":
        return quotas.FileQuotas(path or None, limits)
    if kind == "redis":
        return quotas.RedisQuotas(os.environ[QUOTAS_VARIABLE], limits)
    raise ConfigurationError(f"{QUOTAS_VARIABLE} must be window, file, file:/path or the address of a Redis")


def _store_in(value: str) -> str:
    """Return the value without the address of a Redis; empty if it names no store."""
    if value.startswith(REDIS_SCHEMES):
        return "redis"
    is_known = value in {"window", "file"} or (value.startswith("file:") and value != "file:")
    return value if is_known else ""
