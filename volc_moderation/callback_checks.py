"""What the callbacks of both vendors share: the secrets that sign them, their age, and the form of their parts."""

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar
from urllib.parse import unquote_to_bytes

from volc_moderation.errors import CallbackError, ConfigurationError, DecodeError, describe
from volc_moderation.wire import load_json, parse

M = TypeVar("M")

#: Values in a part of a callback, at most, and objects and lists in all of it: real ones have some hundred. A list that
#: does not fit its type costs 12 µs and 1.4 kB per value to find out, and a body of 1 MiB holds half a million.
MOST_VALUES = 10_000
#: Parameters of a form, at most. ZEGO's events have a dozen fields.
MOST_PARAMETERS = 100
#: Percent signs in what is not JSON as it stands, at most: a million take 190 MB to decode. Real ones have a thousand.
MOST_ESCAPES = 50_000
#: Of the hash in a dedupe key: enough that nobody finds two events with the same one.
_DEDUPE_BYTES = 20


def secrets_of(secret: str | Sequence[str]) -> tuple[str, ...]:
    """Return the secrets, of which any may have signed. An empty one would let anybody sign, so it is refused."""
    secrets = (secret,) if isinstance(secret, str) else tuple(secret) if isinstance(secret, (list, tuple)) else ()
    if not secrets or not all(isinstance(one, str) and one.strip() and is_encodable(one) for one in secrets):
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
    if not abs(made_at.timestamp() - now) <= within:
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


def dedupe_key(vendor: str, *parts: str) -> str:
    """Return the key of an event that these parts tell from all others: short, whatever their length.

    Each part is hashed with its length, so that no two lists of parts run into the same text.
    """
    digest = hashlib.blake2b(digest_size=_DEDUPE_BYTES)
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return f"{vendor}:{digest.hexdigest()}"


def load_object(body: bytes | str) -> dict[str, object] | None:
    """Decode a JSON object; None for anything else, and for more objects and lists than any callback has."""
    return load_json(body) if _has_few_parts(body) else None


def _has_few_parts(body: bytes | str) -> bool:
    if isinstance(body, bytes):
        return body.count(b"{") + body.count(b"[") <= MOST_VALUES
    return body.count("{") + body.count("[") <= MOST_VALUES


def load_encoded(body: bytes, types: Mapping[str, Callable[[str], object]]) -> dict[str, object] | None:
    """Read JSON as it stands; or JSON that is percent-encoded; or a form. None for anything else.

    Percent-encoding is undone once, and only in what is no JSON as it stands, since the addresses in it have escapes of
    their own. The parameters of a form are the fields of the JSON; ``types`` has, by name, what makes a value of a
    parameter that is no text. The only parameter of a form may be the whole JSON.
    """
    fields = load_object(body)
    if fields is not None:
        return fields
    if body.count(b"%") > MOST_ESCAPES:
        return None
    fields = load_object(unquote_to_bytes(body))
    if fields is not None:
        return fields
    form = _load_form(body)
    if form is None:
        return None
    whole = load_object(next(iter(form.values()))) if len(form) == 1 else None
    return {name: types.get(name, str)(value) for name, value in form.items()} if whole is None else whole


#: Decimal, as JSON spells it. Others, such as 007, must stay as they were signed.
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,15}")


def integer_of(text: str) -> object:
    """Return the int that a text spells, or the text."""
    return int(text) if _INTEGER.fullmatch(text) else text


def json_of(text: str) -> object:
    """Return what a text says in JSON, or the text."""
    if not _has_few_parts(text):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _load_form(body: bytes) -> dict[str, str] | None:
    """Read ``application/x-www-form-urlencoded``; None for anything else.

    None also for a name that repeats, since nobody knows which of its values was signed, and for more than
    ``MOST_PARAMETERS`` parameters.
    """
    if body.count(b"&") >= MOST_PARAMETERS:
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


def model_of(content: object, cls: type[M], root: str) -> M:
    """Read a part of a callback as a ``cls``."""
    if not _is_small(content):
        raise unreadable(root, f"of at most {MOST_VALUES} values")
    read = parse(content, cls, root=root)
    if isinstance(read, DecodeError):
        raise CallbackError(read.message, reason="unreadable")
    return read


def _is_small(content: object) -> bool:
    left, waiting = MOST_VALUES, [content]
    while waiting:
        value = waiting.pop()
        if isinstance(value, (dict, list)):
            left -= len(value)
            if left < 0:
                return False
            waiting.extend(value.values() if isinstance(value, dict) else value)
    return True
