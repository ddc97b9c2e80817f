"""The vendors' callbacks as routes: verified, parsed, handed to a handler once."""

from volc_moderation.webhooks.app import UNVERIFIED, Webhooks
from volc_moderation.webhooks.seen import MemorySeen, RedisSeen, Seen

__all__ = ["UNVERIFIED", "MemorySeen", "RedisSeen", "Seen", "Webhooks"]
