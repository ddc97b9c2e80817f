"""Routes for the vendors' callbacks: each is verified, parsed and passed to a handler once."""

from volc_moderation.callback_checks import UNVERIFIED, CallbackSecret
from volc_moderation.extras import require_extra
from volc_moderation.vendors import CallbackSecrets
from volc_moderation.webhooks.dedupe import DedupeState, DedupeStore, MemoryDedupeStore, RedisDedupeStore

require_extra("webhooks", used_by=__name__)

from volc_moderation.webhooks.app import Webhooks  # noqa: E402 - imports the extra

__all__ = [
    "UNVERIFIED",
    "CallbackSecret",
    "CallbackSecrets",
    "DedupeState",
    "DedupeStore",
    "MemoryDedupeStore",
    "RedisDedupeStore",
    "Webhooks",
]
