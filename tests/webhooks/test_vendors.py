"""The routes come from the registry of vendors: a third vendor needs no change in the webhooks."""

from collections.abc import Sequence
from typing import Any

import pytest

from tests.webhooks.test_app import Handler, status
from volc_moderation import CallbackError, ConfigurationError, Event, ZegoClient
from volc_moderation.testing import CALLBACK_SECRET, make_zego_callback
from volc_moderation.vendors import VENDORS, CallbackSecrets, Vendor
from volc_moderation.webhooks import UNVERIFIED, MemoryDedupeStore, Webhooks

TOY_BODY = b"toy-secret"


class ToyCallbacks:
    """A vendor whose callbacks consist of nothing but the secret."""

    WITHIN_SECONDS = 5000.0

    def verify(self, body: bytes, secret: str | Sequence[str], *, now: float | None, within: float | None) -> None:
        """Check the secret and that the clock and the age limit arrive."""
        assert now is not None
        assert within == self.WITHIN_SECONDS
        if body.decode() not in secret:
            raise CallbackError("the signature is wrong", reason="forged")

    def parse(self, body: bytes) -> Event:
        """Return an event without content."""
        return Event(vendor="toy", name="toy", app_id="app", dedupe_key="toy:1", data={"body": body})


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register a third vendor."""
    vendor = Vendor(client=ZegoClient, callbacks=ToyCallbacks(), advice=lambda _, __: None)
    monkeypatch.setitem(VENDORS, "toy", vendor)


def test_the_type_of_the_secrets_has_every_vendor_with_callbacks() -> None:
    names = {name for name, vendor in VENDORS.items() if vendor.callbacks is not None}
    assert set(CallbackSecrets.__annotations__) == names


@pytest.mark.usefixtures("toy")
async def test_a_registered_vendor_has_a_route() -> None:
    handler = Handler()
    app: Any = Webhooks(handler, toy="toy-secret", zego=CALLBACK_SECRET)  # type: ignore[call-arg]
    assert [route.path for route in app.routes] == ["/zego", "/toy"]
    assert await status(app, TOY_BODY, "/toy") == 200
    assert await status(app, b"other", "/toy") == 401
    assert await status(app, make_zego_callback(), "/zego") == 200
    assert [event.vendor for event in handler.events] == ["toy", "zego"]


@pytest.mark.usefixtures("toy")
def test_the_age_limit_of_a_registered_vendor_counts() -> None:
    with pytest.raises(ConfigurationError, match="must remember for 10000 s"):
        Webhooks(Handler(), toy="s", dedupe=MemoryDedupeStore(seconds=9999))  # type: ignore[call-arg]
    Webhooks(Handler(), toy=UNVERIFIED, dedupe=MemoryDedupeStore(seconds=1))  # type: ignore[call-arg]


@pytest.mark.parametrize("options", [{"unheard": "s"}, {"zego": "s", "seen": None}, {"toy": "s"}])
def test_an_unknown_name_raises_and_the_error_names_the_vendors(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"the vendors are volcengine, zego$"):
        Webhooks(Handler(), **options)


def test_a_vendor_without_callbacks_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    vendor = Vendor(client=ZegoClient, callbacks=None, advice=lambda _, __: None)
    monkeypatch.setitem(VENDORS, "silent", vendor)
    with pytest.raises(ConfigurationError, match="silent is neither an option nor a vendor with callbacks"):
        Webhooks(Handler(), silent="s")  # type: ignore[call-arg]


@pytest.mark.parametrize("options", [{}, {"zego": None}])
def test_one_vendor_must_have_a_secret(options: CallbackSecrets) -> None:
    with pytest.raises(ConfigurationError, match="at least one vendor must have a secret; the vendors are volcengine"):
        Webhooks(Handler(), **options)
