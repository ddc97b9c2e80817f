"""Counts and measures, and begins spans, with the API of OpenTelemetry."""

import threading
from collections.abc import Callable, Iterable

from opentelemetry import metrics, trace
from opentelemetry.metrics import CallbackOptions, Observation

from volc_moderation import __version__
from volc_moderation.telemetry import sources
from volc_moderation.telemetry.instruments import MAX_SERIES, OTHER, Kind, Metric
from volc_moderation.telemetry.spans import CallTrace, JobTrace, Suppression, TracedCall

_NAME = "volc_moderation"


class _Counter:
    """Counts by attributes. To add one takes a tenth of the time that it takes OpenTelemetry's own counters."""

    def __init__(self, metric: Metric) -> None:
        self._attributes = metric.attributes
        self._lock = threading.Lock()
        self._counts: dict[tuple[str | None, ...], float] = {}

    def add(self, values: tuple[str | None, ...], by: float) -> None:
        """Add an amount. ``values`` are those of the attributes, in their order; None for one that is missing."""
        with self._lock:
            if values not in self._counts and len(self._counts) >= MAX_SERIES:
                values = (*values[:-1], OTHER)
            self._counts[values] = self._counts.get(values, 0) + by

    def observe(self, _: CallbackOptions) -> list[Observation]:
        """Return all counts."""
        with self._lock:
            counts = list(self._counts.items())
        return [Observation(count, _present(self._attributes, values)) for values, count in counts]


def _present(names: tuple[str, ...], values: tuple[str | None, ...]) -> dict[str, str]:
    return {name: value for name, value in zip(names, values, strict=True) if value is not None}


class Recorder:
    """Records spans and metrics.

    :param tracer_provider: by default that of the application, which it may configure later.
    :param meter_provider: the same for metrics.
    """

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        self._tracer = trace.get_tracer(_NAME, __version__, tracer_provider)
        meter = metrics.get_meter(_NAME, __version__, meter_provider)
        self._counters: dict[Metric, _Counter] = {}
        for metric in Metric:
            options = {"name": metric.metric, "unit": metric.unit, "description": metric.description}
            if metric.kind is Kind.COUNTER:
                counter = self._counters[metric] = _Counter(metric)
                meter.create_observable_counter(callbacks=[counter.observe], **options)
            else:
                meter.create_observable_gauge(callbacks=[_gauge(metric)], **options)

    def count(self, metric: Metric, *values: str | None, by: float = 1) -> None:
        """Count one, or add an amount.

        :param values: of the metric's attributes, in their order; None for an attribute that is missing.
        """
        self._counters[metric].add(values, by)

    def without_instrumentations(self) -> Suppression:
        """Return a context manager: instrumentations of HTTP clients record nothing in its block."""
        return Suppression()

    def begin_call(self, call: TracedCall, *, vendor: str, action: str, host: str, port: int) -> CallTrace:
        """Begin the span of a call to the vendor at a host and a port."""
        return CallTrace(self._tracer, self, call, vendor=vendor, action=action, host=host, port=port)

    def begin_job(
        self, *, vendor: str, action: str, account: str, key: str, attempts: int, traceparent: str | None
    ) -> JobTrace:
        """Begin the span of an attempt of a job.

        :param account: the hash of the account.
        :param attempts: including this one.
        :param traceparent: the span that has submitted the job.
        """
        return JobTrace(
            self._tracer,
            self,
            vendor=vendor,
            action=action,
            account=account,
            key=key,
            attempts=attempts,
            traceparent=traceparent,
        )


def _gauge(metric: Metric) -> Callable[[CallbackOptions], Iterable[Observation]]:
    """Return what shows the values of all sources: the sum of those with the same attributes, or the largest."""
    is_largest = metric in {Metric.QUOTA_LIMIT, Metric.JOBS_OLDEST_DUE}

    def observe(_: CallbackOptions) -> list[Observation]:
        values: dict[tuple[str, ...], float] = {}
        for measured in sources.measurements(metric):
            value, attributes = measured.value, measured.attributes
            before = values.get(attributes, 0)
            values[attributes] = max(before, value) if is_largest else before + value
        return [
            Observation(value, dict(zip(metric.attributes, attributes, strict=True)))
            for attributes, value in values.items()
        ]

    return observe
