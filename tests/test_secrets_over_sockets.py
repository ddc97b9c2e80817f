"""No key, signature or password is shown over sockets, with every HTTP client and every logger at DEBUG."""

import asyncio
import logging
from typing import Any

import httpx
import pytest

from tests.test_secrets import ACCESS_KEY, SECRET_KEY, SERVER_SECRET, assert_clean, calls, clients, everything
from tests.test_sockets import SUCCESS, Handler, answering, ok, serve
from volc_moderation import ModerationError, RetryPolicy
from volc_moderation.emulator import EmulatorProcess, Fault, Settings

pytestmark = pytest.mark.usefixtures("every_library")

ONCE = RetryPolicy(attempts=1)
PASSWORD = "pass-word"
#: The same as aiohttp and httpx send it.
ENCODED_PASSWORD = "dXNlcjpwYXNzLXdvcmQ"


@pytest.mark.slow
async def test_faults_of_the_vendor(caplog: pytest.LogCaptureFixture) -> None:
    """The HTTP libraries and asyncio log all they can; faults and timeouts leave tracebacks with locals."""
    caplog.set_level(logging.DEBUG)
    settings = Settings(access_key=ACCESS_KEY, secret_key=SECRET_KEY, app_id=1, server_secret=SERVER_SECRET)
    printed = ""
    async with EmulatorProcess(settings) as emulator:
        for kind in ("reset", "garbage", "hang", "status"):
            await emulator.play(Fault(kind=kind, first=3))
            volcengine, zego = clients(base_url=emulator.base_url, retry=ONCE, timeout=0.3, deadline=0.2)
            async with volcengine, zego:
                for call in calls(volcengine, zego):
                    with pytest.raises(ModerationError) as caught:
                        await call()
                    printed += everything(caught.value)
        volcengine, zego = clients(base_url=emulator.base_url)
        async with volcengine, zego:
            await volcengine.start_detection(app_id="a", room_id="r")
            await zego.start_censor_audio(
                room_id="r", event_id="audio_room", audio_language="zh", risk_type_list=["BAN"]
            )
    if "aiohttp" not in str(httpx.AsyncClient):
        assert {"httpcore", "httpcore2"} & {record.name.split(".")[0] for record in caplog.records}
    assert "Signature=***" in caplog.text
    assert_clean(printed + caplog.text)


async def abort(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    "handler",
    [
        answering(SUCCESS, []),
        answering(ok(b"").replace(b"200 OK", b"407 Who are you"), []),
        answering(b"no HTTP\r\n\r\n", []),
        abort,
        None,
    ],
    ids=["answers", "refuses", "no HTTP", "aborts", "dead"],
)
async def test_faults_of_a_proxy_with_a_password(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, scheme: str, handler: Handler | None
) -> None:
    caplog.set_level(logging.DEBUG)
    printed = ""
    async with serve(handler or abort) as address:
        proxy = "http://127.0.0.1:9" if handler is None else address
        monkeypatch.setenv(f"{scheme}_proxy", proxy.replace("//", f"//user:{PASSWORD}@"))
        options: dict[str, Any] = {"base_url": f"{scheme}://vendor.example", "retry": ONCE, "timeout": 0.15}
        volcengine, zego = clients(**options)
        async with volcengine, zego:
            for call in calls(volcengine, zego):
                try:
                    await call()
                except ModerationError as error:
                    printed += everything(error)
    printed += caplog.text + "".join(str(vars(record)) for record in caplog.records)
    assert_clean(printed)
    assert PASSWORD not in printed
    assert ENCODED_PASSWORD not in printed
