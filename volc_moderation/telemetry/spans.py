"""The spans: of a call, of each of its attempts, and of a job."""

import re
from types import TracebackType
from typing import Any, Protocol, Self

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, StatusCode, TraceFlags, Tracer

from volc_moderation.errors import APIError, ModerationError
from volc_moderation.telemetry.instruments import (
    ACCOUNT,
    ACTION,
    ATTEMPTS,
    CODE,
    ERROR_TYPE,
    JOB_KEY,
    JOB_STATE,
    METHOD,
    PRIORITY,
    REQUEST_ID,
    RESEND_COUNT,
    SERVER_ADDRESS,
    SERVER_PORT,
    STATUS_CODE,
    VENDOR,
    WAITED,
    Metric,
)

#: Tells instrumentations of HTTP clients to record nothing. The span of the attempt shows the request, and theirs would
#: show its address, which has ZEGO's signature in it.
_SUPPRESS_HTTP = getattr(context, "_SUPPRESS_HTTP_INSTRUMENTATION_KEY", "suppress_http_instrumentation")
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


class Metrics(Protocol):
    """Counts and measures what the spans see."""

    def count(self, metric: Metric, *values: str | None) -> None:
        """Count one."""

    def record(self, metric: Metric, value: float, *values: str) -> None:
        """Add a value to a histogram."""


class TracedCall(Protocol):
    """What a span reads of its call."""

    attempts: int
    waited: float


class CallTrace:
    """The span of a call, and of each attempt. It is a context manager: the block is the call."""

    __slots__ = ("_action", "_attempt", "_call", "_metrics", "_request_id", "_span", "_tokens", "_tracer", "_vendor")

    def __init__(
        self, tracer: Tracer, metrics: Metrics, call: TracedCall, *, vendor: str, action: str, priority: str
    ) -> None:
        self._tracer = tracer
        self._metrics = metrics
        self._call = call
        self._vendor = vendor
        self._action = action
        self._span = tracer.start_span(
            f"{vendor} {action}", attributes={VENDOR: vendor, ACTION: action, PRIORITY: priority}
        )
        #: The span of the request in flight.
        self._attempt: Span | None = None
        #: Of the contexts of the call and of the request in flight.
        self._tokens: list[Any] = []
        self._request_id: str | None = None

    def __enter__(self) -> None:
        self._tokens.append(context.attach(trace.set_span_in_context(self._span)))

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end_attempt(exc)
        context.detach(self._tokens.pop())
        self._metrics.count(Metric.CALLS, self._vendor, self._action, _error_type(exc))
        if self._span.is_recording():
            self._span.set_attributes({ATTEMPTS: self._call.attempts, WAITED: self._call.waited})
        _end(self._span, exc, self._request_id)

    def acquired(self, waited: float, priority: str) -> None:
        """Note that an attempt has waited some seconds for its permits."""
        self._metrics.record(Metric.QUOTA_WAIT, waited, self._vendor, self._action, priority)

    def begin_attempt(self, method: str, host: str, port: int) -> None:
        """Begin the span of a request. Instrumentations of HTTP clients record nothing until it ends."""
        attributes: dict[str, str | int] = {VENDOR: self._vendor, ACTION: self._action, METHOD: method}
        attributes |= {SERVER_ADDRESS: host, SERVER_PORT: port}
        if self._call.attempts > 1:
            attributes[RESEND_COUNT] = self._call.attempts - 1
        self._attempt = self._tracer.start_span(f"{method} {self._action}", kind=SpanKind.CLIENT, attributes=attributes)
        within = trace.set_span_in_context(self._attempt, context.set_value(_SUPPRESS_HTTP, "yes"))
        self._tokens.append(context.attach(within))

    def responded(self, status: int, round_trip: float) -> None:
        """Note the response to a request, which took some seconds."""
        self._metrics.record(Metric.ROUND_TRIP, round_trip, self._vendor, self._action)
        if self._attempt is not None:
            self._attempt.set_attribute(STATUS_CODE, status)

    def succeeded(self, request_id: str | None) -> None:
        """Note the vendor's id of the request that has succeeded."""
        self._request_id = request_id

    def end_attempt(self, error: BaseException | None) -> None:
        """End the span of a request, if there is one."""
        if self._attempt is None:
            return
        context.detach(self._tokens.pop())
        self._metrics.count(Metric.ATTEMPTS, self._vendor, self._action, _error_type(error))
        if isinstance(error, APIError):
            self._metrics.count(Metric.REFUSALS, self._vendor, self._action, str(error.code))
        _end(self._attempt, error, self._request_id)
        self._attempt = None


class JobTrace:
    """The span of an attempt of a job. It is a context manager: the block is the attempt.

    It begins a trace of its own, with a link to the span that has submitted the job: that one has long ended.
    """

    __slots__ = ("_span", "_token")

    def __init__(
        self,
        tracer: Tracer,
        *,
        vendor: str,
        action: str,
        account: str,
        key: str,
        attempts: int,
        traceparent: str | None,
    ) -> None:
        submitter = None if traceparent is None else read_traceparent(traceparent)
        self._span = tracer.start_span(
            f"job {action}",
            Context(),
            SpanKind.CONSUMER,
            {VENDOR: vendor, ACTION: action, ACCOUNT: account, JOB_KEY: key, ATTEMPTS: attempts},
            [] if submitter is None else [Link(submitter)],
        )
        self._token: Any = None

    def __enter__(self) -> Self:
        self._token = context.attach(trace.set_span_in_context(self._span, Context()))
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        context.detach(self._token)
        _end(self._span, exc, None)

    def ended(self, state: str, code: str | int | None) -> None:
        """Note what the attempt led to."""
        self._span.set_attribute(JOB_STATE, state)
        if code is not None:
            self._span.set_attribute(CODE, str(code))


def read_traceparent(text: str) -> SpanContext | None:
    """Return the span that a ``traceparent`` names; None if it is none: a file or a queue may have anything."""
    match = _TRACEPARENT.fullmatch(text)
    if match is None:
        return None
    trace_id, span_id, flags = (int(part, 16) for part in match.groups())
    found = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
    return found if found.is_valid else None


def current_traceparent() -> str | None:
    """Return the current span as a ``traceparent`` (https://www.w3.org/TR/trace-context/); None without one."""
    current = trace.get_current_span().get_span_context()
    if not current.is_valid:
        return None
    return f"00-{current.trace_id:032x}-{current.span_id:016x}-{current.trace_flags:02x}"


def _error_type(error: BaseException | None) -> str | None:
    return None if error is None else type(error).__name__


def _end(span: Span, error: BaseException | None, request_id: str | None) -> None:
    """End a span. No traceback is recorded; the text of an error of this package has no secrets."""
    if span.is_recording():
        if isinstance(error, APIError):
            request_id = error.request_id
            span.set_attribute(CODE, str(error.code))
        if request_id is not None:
            span.set_attribute(REQUEST_ID, request_id)
        if error is not None:
            span.set_attribute(ERROR_TYPE, type(error).__name__)
        if isinstance(error, Exception):  # no cancellation
            span.set_status(StatusCode.ERROR, str(error) if isinstance(error, ModerationError) else None)
    span.end()
