"""Addresses of callbacks that are broken in each way. No event reaches the app."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.doctor.findings import SUBJECT, find, statuses
from tests.doubles import free_port
from tests.volcengine.credentials.http_double import HANG, Answer, HTTPDouble
from volc_moderation import Event
from volc_moderation.callback_checks import CallbackSecret
from volc_moderation.doctor import webhook as webhook_check
from volc_moderation.doctor.finding import Finding
from volc_moderation.doctor.webhook import check_webhook
from volc_moderation.webhooks import UNVERIFIED, Webhooks

pytestmark = pytest.mark.slow  # hundreds of one kind

GOOD = {"dns": "ok", "proxy": "ok", "tls": "ok", "response": "ok"}


async def check(url: str) -> list[Finding]:
    return await check_webhook(SUBJECT, url, httpx.create_ssl_context)


@contextlib.asynccontextmanager
async def app(secret: CallbackSecret) -> AsyncIterator[tuple[str, list[Event]]]:
    """Serve ``Webhooks``. Return its address and the events that its handler gets."""

    async def handle(event: Event) -> None:
        events.append(event)

    events: list[Event] = []
    webhooks = Webhooks(handle, volcengine=secret, zego=secret)
    config = uvicorn.Config(Starlette(routes=[Mount("/callbacks", webhooks)]), port=0, lifespan="off", log_level=60)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.005)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/callbacks", events
    server.should_exit = True
    await task


@pytest.mark.slow
@pytest.mark.parametrize("secret", ["secret", UNVERIFIED])
async def test_webhooks_are_recognized_and_get_no_event(secret: CallbackSecret) -> None:
    async with app(secret) as (url, events):
        for vendor in ("volcengine", "zego"):
            found = await check(f"{url}/{vendor}")
            assert statuses(found) == GOOD
            assert "the vendors cannot reach an address of this machine" in find(found, "response").detail
        assert statuses(await check(f"{url}/other")) == GOOD | {"response": "failed"}
        assert statuses(await check(f"{url}/")) == GOOD | {"response": "failed"}
    assert not events


async def test_an_app_that_accepts_anything() -> None:
    async with HTTPDouble(lambda _: Answer("ok")) as double:
        found = await check(f"{double.url}/callbacks?a=b")
    assert statuses(found) == GOOD | {"response": "failed"}
    assert [(request.method, request.target, request.body) for request in double.requests] == [
        ("GET", "/callbacks?a=b", ""),
        ("POST", "/callbacks?a=b", ""),
    ]


async def test_an_app_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_check, "ANSWER_TIMEOUT", 0.1)
    async with HTTPDouble(lambda _: HANG) as double:
        found = await check(double.url)
        assert statuses(found) == {"response": "failed"}
        assert "no answer within 0.1 s" in found[0].detail


async def test_an_app_that_is_down() -> None:
    assert statuses(await check(f"http://127.0.0.1:{free_port()}")) == {"dns": "ok", "proxy": "ok", "tls": "failed"}


@pytest.mark.parametrize(
    "url", ["host/path", "ftp://host", "http://", "http://host:port/", "http://[::1", "http://h/ä"]
)
async def test_addresses_that_are_none(url: str) -> None:
    assert statuses(await check(url)) == {"response": "failed"}
