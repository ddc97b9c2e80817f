"""Who may send now. A store of quotas hands out permits; one that you write needs the one method of ``Quotas``."""

from volc_moderation.action import Quota
from volc_moderation.quotas.permit import NoQuotas, Permit, Priority, QuotaKey, Quotas, QuotaState
from volc_moderation.quotas.redis_quotas import RedisQuotas
from volc_moderation.quotas.window import WindowQuotas

__all__ = [
    "NoQuotas",
    "Permit",
    "Priority",
    "Quota",
    "QuotaKey",
    "QuotaState",
    "Quotas",
    "RedisQuotas",
    "WindowQuotas",
]
