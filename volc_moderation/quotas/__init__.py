"""Which calls may be sent now: stores that grant permits. A store of your own needs the one method of ``Quotas``."""

from typing import TYPE_CHECKING

from volc_moderation.action import Quota
from volc_moderation.lazy_imports import lazy_names
from volc_moderation.quotas.permit import NoQuotas, Permit, Priority, QuotaKey, Quotas, QuotaState

if TYPE_CHECKING:
    from volc_moderation.quotas.file_quotas import FileQuotas
    from volc_moderation.quotas.redis_quotas import RedisQuotas
    from volc_moderation.quotas.store_outage import Outage
    from volc_moderation.quotas.window import WindowQuotas
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "file_quotas": ["FileQuotas"],
            "redis_quotas": ["RedisQuotas"],
            "store_outage": ["Outage"],
            "window": ["WindowQuotas"],
        },
    )

__all__ = [
    "FileQuotas",
    "NoQuotas",
    "Outage",
    "Permit",
    "Priority",
    "Quota",
    "QuotaKey",
    "QuotaState",
    "Quotas",
    "RedisQuotas",
    "WindowQuotas",
]
