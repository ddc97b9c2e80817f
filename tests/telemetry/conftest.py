"""What an application exports: the real SDK of OpenTelemetry, with exporters that keep everything in memory."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from volc_moderation import telemetry
from volc_moderation.telemetry import sources
from volc_moderation.telemetry.instruments import Metric
from volc_moderation.telemetry.recorder import Recorder


class Exported:
    """The providers of an application, and what they have exported."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracer_provider = TracerProvider(shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.meter_provider = MeterProvider([self._reader], shutdown_on_exit=False)

    def close(self) -> None:
        self.tracer_provider.shutdown()
        self.meter_provider.shutdown()

    @property
    def spans(self) -> list[ReadableSpan]:
        """The spans, in the order in which they ended."""
        return [*self._exporter.get_finished_spans()]

    def span(self, name: str) -> ReadableSpan:
        """Return the only span with a name."""
        (span,) = [span for span in self.spans if span.name == name]
        return span

    def metrics(self) -> dict[str, Any]:
        """Return all metrics as they are now, by name."""
        data = self._reader.get_metrics_data()
        if data is None:
            return {}
        scopes = (scope for resource in data.resource_metrics for scope in resource.scope_metrics)
        return {metric.name: metric for scope in scopes for metric in scope.metrics}

    def points(self, metric: Metric | str) -> list[Any]:
        """Return the data points of a metric as they are now."""
        found = self.metrics().get(metric if isinstance(metric, str) else metric.metric)
        return [] if found is None else [*found.data.data_points]

    def values(self, metric: Metric) -> dict[tuple[object, ...], float]:
        """Return the values of a counter or a gauge, by those of its attributes; None for one that is missing."""
        return {
            tuple((point.attributes or {}).get(name) for name in metric.attributes): point.value
            for point in self.points(metric)
        }

    def text(self) -> str:
        """Return everything that was exported, as text."""
        data = self._reader.get_metrics_data()
        return "\n".join([*(span.to_json() for span in self.spans), "" if data is None else data.to_json()])


def attributes(span: ReadableSpan) -> Mapping[str, object]:
    """Return the attributes of a span."""
    return dict(span.attributes or {})


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Iterator[Exported]:
    """Bring providers of the SDK, as if the application had configured them."""
    exported = Exported()
    recorder = Recorder(exported.tracer_provider, exported.meter_provider)
    monkeypatch.setattr(telemetry, "_recorder", recorder)
    monkeypatch.setattr(sources, "REUSE_TIME", 0.0)
    yield exported
    exported.close()
