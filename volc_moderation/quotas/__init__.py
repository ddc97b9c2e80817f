"""Which calls may be sent now: stores that grant permits. A store of your own needs the one method of ``Quotas``."""

from volc_moderation.action import Quota
from volc_moderation.quotas.file_quotas import FileQuotas
from volc_moderation.quotas.permit import NoQuotas, Permit, Priority, QuotaKey, Quotas, QuotaState
from volc_moderation.quotas.redis_quotas import RedisQuotas
from volc_moderation.quotas.shared_window import Outage
from volc_moderation.quotas.window import WindowQuotas

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
