"""The instrumentations of HTTP clients show nothing of our requests: ZEGO's signature is in the address."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import httpx
import pytest

from tests.doubles import KEYS, volcengine_client, zego_client
from tests.telemetry.conftest import Exported, attributes
from tests.test_secrets import SIGNATURE
from volc_moderation import ModerationError, RetryPolicy, telemetry
from volc_moderation.base_url import BaseURL
from volc_moderation.emulator import EmulatorProcess, Fault
from volc_moderation.telemetry.recorder import Recorder
from volc_moderation.transport import Transport
from volc_moderation.wire import Request

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("every_library")]

ALL_INSTRUMENTORS = 3


def instrumentors() -> list[Any]:
    """Return what instruments httpx, httpx2 and aiohttp; that of httpx2 is missing in older versions."""
    # Not at the top: to import them turns our telemetry on.
    from opentelemetry.instrumentation import httpx as of_httpx  # noqa: PLC0415
    from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor  # noqa: PLC0415

    of_httpx2 = getattr(of_httpx, "HTTPX2ClientInstrumentor", None)
    types = (of_httpx.HTTPXClientInstrumentor, of_httpx2, AioHttpClientInstrumentor)
    return [instrumentor() for instrumentor in types if instrumentor is not None]


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the instrumentations show all they can."""
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "http/dup")
    for direction in ("REQUEST", "RESPONSE"):
        monkeypatch.setenv(f"OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_{direction}", ".*")


@contextmanager
def instrumented_application() -> Iterator[Exported]:
    """Instrument the HTTP clients of an application."""
    exported = Exported()
    with ExitStack() as stack:
        stack.callback(exported.close)
        stack.callback(sys.modules.pop, "opentelemetry.instrumentation")  # for other tests, nothing is instrumented
        for one in instrumentors():
            one.instrument(tracer_provider=exported.tracer_provider, meter_provider=exported.meter_provider)
            stack.callback(one.uninstrument)
        yield exported


async def call_both(base_url: str, *, timeout: float = 5.0) -> None:
    """Call both vendors. Their errors do not matter."""
    options = {"base_url": base_url, "retry": RetryPolicy(attempts=1), "timeout": timeout}
    async with volcengine_client(**options) as volcengine, zego_client(**options) as zego:
        with suppress(ModerationError):
            await zego.stop_censor_audio(task_id="task")
        with suppress(ModerationError):
            await volcengine.list_detection_task(app_id="app", room_id="room")


async def send_own_request(base_url: str) -> None:
    """Send a request of the application."""
    async with httpx.AsyncClient(trust_env=False) as http_client:
        await http_client.get(f"{base_url}/own")


def assert_clean(text: str) -> None:
    assert not SIGNATURE.search(text)
    for secret in (KEYS.secret_key, KEYS.server_secret, "HMAC-SHA256", "SignatureNonce"):
        assert secret not in text


@pytest.mark.parametrize("fault", [None, Fault(kind="hang", first=2), Fault(kind="garbage", first=2)])
async def test_only_our_own_spans_show_our_requests(
    emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch, fault: Fault | None
) -> None:
    if fault is not None:
        await emulator.play(fault)
    with instrumented_application() as application:
        monkeypatch.setattr(telemetry, "_recorder", Recorder(application.tracer_provider, application.meter_provider))
        await call_both(emulator.base_url, timeout=0.1 if fault and fault.kind == "hang" else 5.0)
        assert {span.name for span in application.spans} == {
            *("zego StopCensorAudioV2", "POST StopCensorAudioV2"),
            *("volcengine ListDetectionTask", "GET ListDetectionTask"),
        }
        assert not application.points("http.client.request.duration")
        assert_clean(application.text())


async def test_without_our_telemetry_nothing_shows_our_requests(
    emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The instrumentation has a provider of its own, and the application has configured none."""
    monkeypatch.setattr(telemetry, "_recorder", None)
    with instrumented_application() as application:
        await call_both(emulator.base_url)
        assert not application.spans
        assert not application.points("http.client.request.duration")


async def test_requests_of_the_application_are_shown_as_before(
    emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    with instrumented_application() as application:
        monkeypatch.setattr(telemetry, "_recorder", Recorder(application.tracer_provider, application.meter_provider))
        await send_own_request(emulator.base_url)
        await call_both(emulator.base_url)
        await send_own_request(emulator.base_url)
        own = [attributes(span)["url.full"] for span in application.spans if span.name == "GET"]
        # Old instrumentations do not know httpx2.
        is_known = not httpx.AsyncClient.__module__.startswith("httpx2.") or len(instrumentors()) == ALL_INSTRUMENTORS
        assert own == [f"{emulator.base_url}/own"] * (2 if is_known else 0)


async def test_requests_for_keys_are_not_shown_either(
    emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They belong to no call, and their headers have a signature."""
    monkeypatch.setattr(telemetry, "_recorder", None)
    with instrumented_application() as application:
        async with httpx.AsyncClient(trust_env=False) as http_client:
            url = BaseURL.parse(emulator.base_url)
            request = Request("GET", url.url, {"Host": url.host}, b"", ())
            await Transport(http_client, base_url=url).send(request, timeout=5)
        assert not application.spans
