"""ZEGO's signature 2.0: an MD5 of AppId, nonce, ServerSecret and timestamp. Pure: nonce and time are arguments.

The signature covers no other part of the request, and no header. https://doc-zh.zego.im/article/19458
"""

from hashlib import md5

from volc_moderation.credentials import ZegoCredentials


def sign(credentials: ZegoCredentials, *, nonce: str, timestamp: int) -> str:
    """Return the signature of one request: 32 hex digits. ``timestamp`` is in Unix seconds."""
    text = f"{credentials.app_id}{nonce}{credentials.server_secret.reveal()}{timestamp}"
    # MD5 is the vendor's choice. "Not for security" lets it run where a policy of the machine bans MD5.
    return md5(text.encode(), usedforsecurity=False).hexdigest()
