"""The vendor's callback: ``StageReport``, with a verdict on what was said on a stage."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from tests.toy_vendor import signing
from volc_moderation import CallbackError, Event, Verdict
from volc_moderation.callback_checks import (
    check_age,
    check_signature,
    dedupe_key,
    load_object,
    normalize_secrets,
    required_text,
    unreadable_field,
)
from volc_moderation.wire import dump_json

#: Seconds.
WITHIN_SECONDS: Final[float | None] = 60.0


def verify(body: bytes, secret: str | Sequence[str], *, now: float | None = None, within: float | None = None) -> None:
    """Check the signature and the age. Raises ``CallbackError``."""
    fields = _fields(body)
    digests = [_digest(fields, one) for one in normalize_secrets(secret)]
    check_signature(fields.get("Signature"), digests)
    check_age(_occurred_at(fields), now, within)


def parse(body: bytes) -> Event:
    """Read a callback. Raises ``CallbackError``."""
    fields = _fields(body)
    room_id = required_text(fields, "RoomId")
    return Event(
        vendor="toy",
        name="StageReport",
        app_id=required_text(fields, "Key"),
        room_id=room_id,
        verdict=Verdict(required_text(fields, "Verdict")),
        occurred_at=_occurred_at(fields),
        dedupe_key=dedupe_key("toy", room_id, str(fields["Time"])),
        data=fields,
    )


def sign(fields: Mapping[str, object], secret: str) -> bytes:
    """Return the signed body of a callback with these fields."""
    return dump_json({**fields, "Signature": _digest(fields, secret)})


def _fields(body: bytes) -> dict[str, object]:
    fields = load_object(body)
    if fields is None or type(fields.get("Time")) is not int:
        raise CallbackError("the body must be a JSON object with a Time", reason="unreadable")
    return fields


def _digest(fields: Mapping[str, object], secret: str) -> str:
    signed = {name: value for name, value in fields.items() if name != "Signature"}
    return signing.sign(secret, 0, dump_json(signed))


def _occurred_at(fields: Mapping[str, object]) -> datetime:
    time = fields["Time"]
    if not isinstance(time, int):
        raise unreadable_field("Time", "a Unix time")
    return datetime.fromtimestamp(time, UTC)
