"""The vendors' callbacks as routes: verified, parsed, handed to a handler once."""

from volc_moderation.webhooks.app import UNVERIFIED, Webhooks
from volc_moderation.webhooks.dedupe import DedupeStore, MemoryDedupeStore, RedisDedupeStore

__all__ = ["UNVERIFIED", "DedupeStore", "MemoryDedupeStore", "RedisDedupeStore", "Webhooks"]
