"""The vendor's signature: an HMAC of the time and the body."""

import hashlib
import hmac


def sign(secret: str, timestamp: int, body: bytes) -> str:
    """Return the signature as hex digits. ``timestamp`` is in Unix seconds."""
    return hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
