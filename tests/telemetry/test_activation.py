"""When telemetry is on: not before the application uses OpenTelemetry, and then for clients that exist already."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
from opentelemetry import trace
from opentelemetry.metrics import _internal as metrics

from tests.telemetry.conftest import Exported
from volc_moderation import telemetry
from volc_moderation.telemetry.spans import read_traceparent

pytestmark = pytest.mark.slow

#: A client of a vendor that answers at once; ``modules()`` are those of OpenTelemetry that are imported.
PROGRAM = """
import asyncio, sys
import httpx
from volc_moderation import NoQuotas, VolcengineClient, telemetry

def answer(request):
    return httpx.Response(200, json={"ResponseMetadata": {"RequestId": "r-1"}, "Result": "ok"})

def modules():
    return sorted({name for name in sys.modules if name.partition(".")[0] == "opentelemetry"})

async def main():
    http_client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    client = VolcengineClient(access_key="AK", secret_key="SK", quotas=NoQuotas(), http_client=http_client)

    async def call():
        await client.stop_webcast(app_id="a", room_id="r", task_id="t")

    await call()
    BODY
    await http_client.aclose()
"""


def run(body: str, before: str = "") -> list[object]:
    """Run a program, and return what it prints as JSON, line by line."""
    indented = body.strip().replace("\n", "\n    ")
    program = f"{before}\nimport json\n{PROGRAM.replace('BODY', indented)}\nasyncio.run(main())"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)  # noqa: S603
    assert not ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


@pytest.mark.slow
def test_nothing_of_opentelemetry_is_imported_by_clients_and_calls() -> None:
    assert run("print(json.dumps([modules(), telemetry.active() is None]))") == [[[], True]]


@pytest.mark.slow
def test_calls_work_where_opentelemetry_is_not_installed() -> None:
    assert run("print(json.dumps(telemetry.active() is None))", "import sys; sys.modules['opentelemetry'] = None") == [
        True
    ]


@pytest.mark.slow
def test_the_api_alone_turns_nothing_on() -> None:
    """Also where the SDK is not installed."""
    before = "import sys; sys.modules['opentelemetry.sdk'] = None\nimport opentelemetry.trace, opentelemetry.metrics"
    body = """
await call()
print(json.dumps([telemetry.active() is None, telemetry.traceparent()]))
"""
    assert run(body, before) == [[True, None]]


@pytest.mark.slow
def test_a_provider_may_be_given_when_calls_have_been_made() -> None:
    body = """
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

await call()
assert telemetry.active() is None
exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
await call()
metrics.set_meter_provider(MeterProvider([reader], shutdown_on_exit=False))
await call()
(scope,) = reader.get_metrics_data().resource_metrics[0].scope_metrics
(calls,) = [one for one in scope.metrics if one.name == "volc_moderation.calls"]
names = [span.name for span in exporter.get_finished_spans()]
print(json.dumps([names, calls.data.data_points[0].value, scope.scope.name, bool(scope.scope.version)]))
"""
    spans = ["POST StopWebcast", "volcengine StopWebcast"]
    assert run(body) == [[2 * spans, 2, "volc_moderation", True]]


@pytest.mark.parametrize(
    ("module", "name"), [(trace, "_TRACER_PROVIDER"), (metrics, "_METER_PROVIDER")], ids=["spans", "metrics"]
)
def test_a_provider_of_either_kind_turns_telemetry_on(
    monkeypatch: pytest.MonkeyPatch, exported: Exported, module: object, name: str
) -> None:
    monkeypatch.setattr(telemetry, "_recorder", None)
    monkeypatch.delitem(sys.modules, "opentelemetry.instrumentation", raising=False)
    assert telemetry.active() is None
    provider = exported.tracer_provider if name == "_TRACER_PROVIDER" else exported.meter_provider
    monkeypatch.setattr(module, name, provider)
    assert telemetry.active() is not None


def test_an_import_of_opentelemetry_that_is_under_way_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "_recorder", None)
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", SimpleNamespace(_TRACER_PROVIDER=object()))
    monkeypatch.setitem(sys.modules, "volc_moderation.telemetry.recorder", None)
    assert telemetry.active() is None


def test_spans_that_are_not_ours_are_read_and_written_as_the_standard_says(exported: Exported) -> None:
    """The example of https://www.w3.org/TR/trace-context/#examples-of-http-traceparent-headers."""
    text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    found = read_traceparent(text)
    assert found is not None
    assert (found.trace_id, found.span_id, found.is_remote) == (
        0x4BF92F3577B34DA6A3CE929D0E0E4736,
        0x00F067AA0BA902B7,
        True,
    )
    with trace.use_span(trace.NonRecordingSpan(found)):
        assert telemetry.traceparent() == text
    assert telemetry.traceparent() is None


@pytest.mark.parametrize(
    "text", ["", "00", "00-0-0-00", "ff-" + "1" * 32 + "-" + "1" * 16 + "-01", f"00-{'0' * 32}-{'1' * 16}-01", "x" * 55]
)
def test_what_names_no_span_is_ignored(text: str) -> None:
    assert read_traceparent(text) is None
