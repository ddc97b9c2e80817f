"""The store of quotas that the environment names, so that a deployment chooses it without a change of code."""

import os
from collections.abc import Mapping

from volc_moderation.errors import ConfigurationError
from volc_moderation.quotas.file_quotas import FileQuotas
from volc_moderation.quotas.redis_quotas import RedisQuotas

#: The variable that ``from_env()`` and the commands read.
QUOTAS_VARIABLE = "VOLC_MODERATION_QUOTAS"
#: How the address of a Redis begins.
REDIS_SCHEMES = ("redis://", "rediss://", "unix://")

#: The stores that several processes share. They have to be closed.
SharedQuotas = FileQuotas | RedisQuotas


def quotas_from_env(limits: Mapping[str, int] | None = None) -> SharedQuotas | None:
    """Return a new store as ``VOLC_MODERATION_QUOTAS`` says; None for the quotas of the event loop.

    The variable is ``window`` (also if it is empty or not set), ``file``, ``file:/path`` or the address of a Redis.

    :param limits: as for ``WindowQuotas``.

    Raises ``ConfigurationError``, which does not show the value: an address may have a password.
    """
    value = os.environ.get(QUOTAS_VARIABLE) or "window"
    if value == "window":
        return None
    if value == "file":
        return FileQuotas(limits=limits)
    scheme, _, path = value.partition(":")
    if scheme == "file" and path:
        return FileQuotas(path, limits)
    if value.startswith(REDIS_SCHEMES):
        return RedisQuotas(value, limits)
    raise ConfigurationError(f"{QUOTAS_VARIABLE} must be window, file, file:/path or the address of a Redis")
