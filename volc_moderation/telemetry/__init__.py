"""Traces and metrics for OpenTelemetry (extra ``otel``).

Nothing is recorded until the application imports ``opentelemetry`` and configures a provider, and nothing of it is
imported here before. ``docs/observability.md`` lists all spans and metrics.
"""

import sys
from typing import TYPE_CHECKING

from volc_moderation.telemetry.instruments import Metric
from volc_moderation.telemetry.sources import Measurement, register, unregister

if TYPE_CHECKING:
    from volc_moderation.telemetry.recorder import Recorder

__all__ = ["Measurement", "Metric", "active", "count", "register", "traceparent", "unregister"]

_recorder: "Recorder | None" = None


def active() -> "Recorder | None":
    """Return what records spans and metrics; None while the application does not use OpenTelemetry.

    It does once it has given the API a provider of spans or of metrics, at any time, or has imported instrumentations:
    those of HTTP clients must not show our requests. From then on, the providers of the API are used.
    """
    if _recorder is None and "opentelemetry.trace" in sys.modules and _is_used():
        return _create()
    return _recorder


def _is_used() -> bool:
    """Return whether the application uses the API. To ask the API itself would take two microseconds for each call."""
    modules = sys.modules
    return (
        getattr(modules.get("opentelemetry.trace"), "_TRACER_PROVIDER", None) is not None
        or getattr(modules.get("opentelemetry.metrics._internal"), "_METER_PROVIDER", None) is not None
        or "opentelemetry.instrumentation" in modules
    )


def _create() -> "Recorder | None":
    global _recorder  # noqa: PLW0603 - the providers of OpenTelemetry are global, too
    try:
        from volc_moderation.telemetry.recorder import Recorder  # noqa: PLC0415 - it imports opentelemetry
    except ImportError:  # opentelemetry is being imported, or lacks something
        return None
    _recorder = Recorder()
    return _recorder


def count(metric: Metric, *values: str | None) -> None:
    """Count one, if the application uses OpenTelemetry.

    :param values: of the metric's attributes, in their order; None for an attribute that is missing.
    """
    recorder = active()
    if recorder is not None:
        recorder.count(metric, *values)


def traceparent() -> str | None:
    """Return the id of the current span in the form of https://www.w3.org/TR/trace-context/; None without one."""
    if active() is None:
        return None
    from volc_moderation.telemetry.spans import current_traceparent  # noqa: PLC0415 - it imports opentelemetry

    return current_traceparent()
