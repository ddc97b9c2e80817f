"""What the callbacks of both vendors share: the secrets that sign them, their age, and the form of their parts."""

import hmac
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TypeVar

from volc_moderation.errors import CallbackError, ConfigurationError, DecodeError, describe
from volc_moderation.wire import parse

M = TypeVar("M")


def secrets_of(secret: str | Sequence[str]) -> tuple[str, ...]:
    """Return the secrets, of which any may have signed. An empty one would let anybody sign, so it is refused."""
    secrets = (secret,) if isinstance(secret, str) else tuple(secret) if isinstance(secret, (list, tuple)) else ()
    if not secrets or not all(isinstance(one, str) and one.strip() for one in secrets):
        raise ConfigurationError(f"secret must be a str that is not empty, or a list of them; got {describe(secret)}")
    return secrets


def check_signature(given: object, digests: Iterable[str]) -> None:
    """Compare a signature with those that would be right, in a time that tells nothing about them."""
    signature = given if isinstance(given, str) and given.isascii() else ""
    if not any(hmac.compare_digest(digest, signature) for digest in digests):
        raise CallbackError("the signature is wrong" if signature else "there is no signature", reason="forged")


def check_age(made_at: datetime, now: float | None, within: float | None) -> None:
    """Refuse what is older than ``within`` seconds, or as far ahead. None takes any age."""
    if within is None:
        return
    if now is None or isinstance(within, bool) or not isinstance(within, (int, float)) or not within > 0:
        raise ConfigurationError("within must be a number of seconds above 0, and needs now, the Unix time")
    if abs(made_at.timestamp() - now) > within:
        raise CallbackError(f"the callback was not made within {within:g} s", reason="stale")


def unreadable(field: str, rule: str) -> CallbackError:
    """Make the error of a field."""
    return CallbackError(f"{field} must be {rule}", reason="unreadable")


def text_of(fields: dict[str, object], *names: str, is_right: Callable[[str], object] = bool) -> str:
    """Return a text that must be there, by the first of its names that is."""
    value = next((fields[name] for name in names if name in fields), None)
    if not isinstance(value, str) or not is_right(value) or not is_encodable(value):
        raise unreadable(names[0], "a text of the documented form")
    return value


def is_encodable(text: str) -> bool:
    """Tell whether a text has a UTF-8 form: JSON can spell some that have none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def model_of(content: object, cls: type[M], root: str) -> M:
    """Read a part of a callback as a ``cls``."""
    read = parse(content, cls, root=root)
    if isinstance(read, DecodeError):
        raise CallbackError(read.message, reason="unreadable")
    return read
