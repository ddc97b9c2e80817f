"""Checks that the callbacks of both vendors share: signing secrets, age, and the form of their parts. Pure."""

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, TypeVar
from urllib.parse import unquote_to_bytes

from volc_moderation.errors import CallbackError, ConfigurationError, DecodeError, describe
from volc_moderation.wire import load_json, parse

M = TypeVar("M")

#: The most values in a part of a callback, and the most objects and lists in all of it. Real callbacks have some
#: hundred. Rejecting a list of the wrong type takes 12 µs and 1.4 kB per value; a body of 1 MiB has half a million.
MAX_VALUES = 10_000
#: ZEGO's events have a dozen fields.
MAX_FORM_PARAMETERS = 100
#: The most percent signs in a body that is not plain JSON. Decoding a million takes 190 MB; real callbacks have a
#: thousand.
MAX_PERCENT_SIGNS = 50_000
#: The bytes of the hash in a dedupe key: enough that nobody can construct two events with the same key.
_DEDUPE_HASH_BYTES = 20


class Unverified:
    """The type of ``UNVERIFIED``."""

    def __repr__(self) -> str:
        return "UNVERIFIED"


#: Takes the place of a secret, and accepts callbacks from anybody. Use it only where strangers cannot send requests.
UNVERIFIED: Final = Unverified()

#: A secret that signs callbacks, or several of which any may have signed, or ``UNVERIFIED``.
CallbackSecret = str | Sequence[str] | Unverified


def normalize_secrets(secret: str | Sequence[str]) -> tuple[str, ...]:
    """Return the secrets, any of which may have signed. An empty secret is refused: it would let anybody sign.

    Raises ``ConfigurationError``.
    """
    secrets = (secret,) if isinstance(secret, str) else tuple(secret) if isinstance(secret, (list, tuple)) else ()
    if not secrets or not all(isinstance(one, str) and one.strip() and is_encodable(one) for one in secrets):
        raise ConfigurationError(f"secret must be a str that is not empty, or a list of them; got {describe(secret)}")
    return secrets


def check_signature(received: object, digests: Iterable[str]) -> None:
    """Compare a signature with the valid ones, in a time that reveals nothing about them. Raises ``CallbackError``."""
    signature = received if isinstance(received, str) and received.isascii() else ""
    if not any(hmac.compare_digest(digest, signature) for digest in digests):
        raise CallbackError("the signature is wrong" if signature else "there is no signature", reason="forged")


def check_age(created_at: datetime, now: float | None, within: float | None) -> None:
    """Refuse a callback that was created more than ``within`` seconds before or after ``now``. None accepts any age."""
    if within is None:
        return
    if now is None or isinstance(within, bool) or not isinstance(within, (int, float)) or not within > 0:
        raise ConfigurationError("within must be a number of seconds above 0, and needs now, the Unix time")
    if not abs(created_at.timestamp() - now) <= within:
        raise CallbackError(f"the callback was not created within {within:g} s of now", reason="stale")


def unreadable_field(field: str, rule: str) -> CallbackError:
    """Return the error for a field that breaks a rule."""
    return CallbackError(f"{field} must be {rule}", reason="unreadable")


def required_text(fields: dict[str, object], *names: str, is_valid: Callable[[str], object] = bool) -> str:
    """Return a required text: the field with the first of its names that is present. Raises ``CallbackError``."""
    value = next((fields[name] for name in names if name in fields), None)
    if not isinstance(value, str) or not is_valid(value) or not is_encodable(value):
        raise unreadable_field(names[0], "a text of the documented form")
    return value


def is_encodable(text: str) -> bool:
    """Return whether a text has a UTF-8 form. JSON can spell lone surrogates, which have none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def dedupe_key(vendor: str, *parts: str) -> str:
    """Return a short key for the event that these parts identify.

    Each part is hashed with its length, so that different lists of parts never join to the same text.
    """
    digest = hashlib.blake2b(digest_size=_DEDUPE_HASH_BYTES)
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return f"{vendor}:{digest.hexdigest()}"


def load_object(body: bytes | str) -> dict[str, object] | None:
    """Decode a JSON object. Returns None for anything else, and for more objects and lists than any callback has."""
    return load_json(body) if _has_few_parts(body) else None


def _has_few_parts(body: bytes | str) -> bool:
    if isinstance(body, bytes):
        return body.count(b"{") + body.count(b"[") <= MAX_VALUES
    return body.count("{") + body.count("[") <= MAX_VALUES


def load_json_or_form(body: bytes, types: Mapping[str, Callable[[str], object]]) -> dict[str, object] | None:
    """Decode plain JSON, percent-encoded JSON, or a form. Returns None for anything else.

    Percent-encoding is decoded once, and only if the body is not plain JSON, because the URLs inside JSON have escapes
    of their own. The parameters of a form are the fields of the JSON. ``types`` converts, by name, the parameters that
    are not text. A form may also have one single parameter, the whole JSON.
    """
    fields = load_object(body)
    if fields is not None:
        return fields
    if body.count(b"%") > MAX_PERCENT_SIGNS:
        return None
    fields = load_object(unquote_to_bytes(body))
    if fields is not None:
        return fields
    form = _load_form(body)
    if form is None:
        return None
    whole = load_object(next(iter(form.values()))) if len(form) == 1 else None
    return {name: types.get(name, str)(value) for name, value in form.items()} if whole is None else whole


#: A decimal number as JSON spells it. Others, such as 007, are left as they were signed.
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,15}")


def integer_or_text(text: str) -> object:
    """Return the int that a text spells, or else the text."""
    return int(text) if _INTEGER.fullmatch(text) else text


def json_or_text(text: str) -> object:
    """Return the value that a text spells in JSON, or else the text."""
    if not _has_few_parts(text):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _load_form(body: bytes) -> dict[str, str] | None:
    """Decode ``application/x-www-form-urlencoded``. Returns None for anything else.

    Returns None also for more than ``MAX_FORM_PARAMETERS`` parameters, and for a repeated name, because it is unknown
    which of its values was signed.
    """
    if body.count(b"&") >= MAX_FORM_PARAMETERS:
        return None
    form: dict[str, str] = {}
    for pair in filter(None, body.strip().split(b"&")):
        encoded_name, equals, encoded_value = pair.replace(b"+", b" ").partition(b"=")
        if not equals:
            return None
        try:
            name, value = unquote_to_bytes(encoded_name).decode(), unquote_to_bytes(encoded_value).decode()
        except UnicodeDecodeError:
            return None
        if name in form:
            return None
        form[name] = value
    return form or None


def load_model(content: object, cls: type[M], root: str) -> M:
    """Read a part of a callback, named ``root``, as a ``cls``. Raises ``CallbackError``."""
    if not _has_few_values(content):
        raise unreadable_field(root, f"of at most {MAX_VALUES} values")
    try:
        return parse(content, cls, root=root)
    except DecodeError as error:
        message = error.message
    # Raised outside the except block: the frames of a chained error would hold the content.
    raise CallbackError(message, reason="unreadable")


def _has_few_values(content: object) -> bool:
    remaining, pending = MAX_VALUES, [content]
    while pending:
        value = pending.pop()
        if isinstance(value, (dict, list)):
            remaining -= len(value)
            if remaining < 0:
                return False
            pending.extend(value.values() if isinstance(value, dict) else value)
    return True
