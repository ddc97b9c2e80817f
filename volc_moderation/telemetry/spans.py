"""The spans: of a call, of each of its attempts, and of a job."""

import logging
import re
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Protocol, Self

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, StatusCode, TraceFlags, Tracer

from volc_moderation.errors import APIError
from volc_moderation.telemetry.instruments import (
    ACCOUNT,
    ACTION,
    ATTEMPTS,
    CODE,
    ERROR_TYPE,
    JOB_KEY,
    JOB_STATE,
    METHOD,
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
#: show its address, which has ZEGO's signature in it. Older ones of aiohttp know only the general key.
_SUPPRESSED = {
    getattr(context, name, plain): True
    for name, plain in (
        ("_SUPPRESS_HTTP_INSTRUMENTATION_KEY", "suppress_http_instrumentation"),
        ("_SUPPRESS_INSTRUMENTATION_KEY", "suppress_instrumentation"),
    )
}
Attributes = dict[str, str | int | float]
_log = logging.getLogger("volc_moderation")
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


class Metrics(Protocol):
    """Counts and measures what the spans see."""

    def count(self, metric: Metric, *values: str | None, by: float = 1) -> None:
        """Count one, or add an amount."""


class TracedCall(Protocol):
    """What a span reads of its call."""

    attempts: int
    waited: float
    permit_wait: float


class Suppression:
    """Keeps instrumentations of HTTP clients from recording anything in its block."""

    __slots__ = ("_token",)

    def __enter__(self) -> None:
        self._token = context.attach(Context({**context.get_current(), **_SUPPRESSED}))

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        context.detach(self._token)


class CallTrace:
    """The span of a call, and of each attempt. It is a context manager: the block is the call."""

    __slots__ = (
        "_action",
        "_began",
        "_call",
        "_host",
        "_method",
        "_metrics",
        "_port",
        "_request_id",
        "_span",
        "_status",
        "_token",
        "_tracer",
        "_vendor",
    )

    def __init__(
        self, tracer: Tracer, metrics: Metrics, call: TracedCall, *, vendor: str, action: str, host: str, port: int
    ) -> None:
        self._tracer = tracer
        self._metrics = metrics
        self._call = call
        self._vendor = vendor
        self._action = action
        self._host = host
        self._port = port
        self._span = _start(tracer, f"{vendor} {action}")
        #: Restores the context in which the call began.
        self._token: Any = None
        #: When the request in flight was sent, in nanoseconds of the Unix time; None if there is none.
        self._began: int | None = None
        self._method = ""
        self._status: int | None = None
        self._request_id: str | None = None

    def __enter__(self) -> None:
        self._token = context.attach(trace.set_span_in_context(self._span))

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end_attempt(exc)
        context.detach(self._token)
        if self._call.permit_wait:  # it ended while it waited
            self._count_wait()
        self._metrics.count(Metric.CALLS, self._vendor, self._action, _type_of(exc))
        if self._span.is_recording():
            call = self._call
            attributes = {ATTEMPTS: call.attempts, WAITED: call.waited, **self._common(exc)}
            self._span.set_attributes(attributes)
        _end(self._span, exc)

    def begin_attempt(self, method: str) -> None:
        """Note that a request is sent."""
        self._began = time.time_ns()
        self._method = method
        self._status = self._request_id = None
        self._count_wait()

    def _count_wait(self) -> None:
        self._metrics.count(Metric.QUOTA_WAIT, self._vendor, self._action, by=self._call.permit_wait)
        self._call.permit_wait = 0.0

    def responded(self, status: int, round_trip: float) -> None:
        """Note the response to a request, which took some seconds."""
        self._status = status
        self._metrics.count(Metric.ROUND_TRIPS, self._vendor, self._action, by=round_trip)

    def succeeded(self, request_id: str | None) -> None:
        """Note the vendor's id of the request that has succeeded."""
        self._request_id = request_id

    def end_attempt(self, error: BaseException | None) -> None:
        """Record the span of a request, if one was sent."""
        if self._began is None:
            return
        self._metrics.count(Metric.ATTEMPTS, self._vendor, self._action, _type_of(error))
        if isinstance(error, APIError):
            self._metrics.count(Metric.REFUSALS, self._vendor, self._action, str(error.code))
        if self._span.is_recording():
            attributes: Attributes = {
                METHOD: self._method,
                SERVER_ADDRESS: self._host,
                SERVER_PORT: self._port,
            }
            if self._status is not None:
                attributes[STATUS_CODE] = self._status
            if self._call.attempts > 1:
                attributes[RESEND_COUNT] = self._call.attempts - 1
            attributes |= self._common(error)
            name = f"{self._method} {self._action}"
            _end(_start(self._tracer, name, SpanKind.CLIENT, attributes, start_time=self._began), error)
        self._began = None

    def _common(self, error: BaseException | None) -> Attributes:
        """Return the attributes that the spans of a call and of an attempt have in common."""
        attributes: Attributes = {VENDOR: self._vendor, ACTION: self._action}
        request_id = self._request_id
        if error is not None:
            attributes[ERROR_TYPE] = type(error).__name__
            if isinstance(error, APIError):
                attributes[CODE] = str(error.code)
                request_id = error.request_id
        if request_id is not None:
            attributes[REQUEST_ID] = request_id
        return attributes


class JobTrace:
    """The span of an attempt of a job. It is a context manager: the block is the attempt.

    It begins a trace of its own, with a link to the span that has submitted the job: that one has long ended.
    """

    __slots__ = ("_action", "_metrics", "_span", "_token", "_vendor")

    def __init__(
        self,
        tracer: Tracer,
        metrics: Metrics,
        *,
        vendor: str,
        action: str,
        account: str,
        key: str,
        attempts: int,
        traceparent: str | None,
    ) -> None:
        self._metrics = metrics
        self._vendor = vendor
        self._action = action
        submitter = None if traceparent is None else read_traceparent(traceparent)
        self._span = _start(
            tracer,
            f"job {action}",
            SpanKind.CONSUMER,
            {VENDOR: vendor, ACTION: action, ACCOUNT: account, JOB_KEY: key, ATTEMPTS: attempts},
            within=Context(),
            links=() if submitter is None else (Link(submitter),),
        )
        self._token: Any = None

    def __enter__(self) -> Self:
        self._token = context.attach(trace.set_span_in_context(self._span, Context()))
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        context.detach(self._token)
        if exc is not None:  # the attempt was cancelled, or belongs to another worker
            self._span.set_attribute(ERROR_TYPE, type(exc).__name__)
        _end(self._span, None)

    def ended(self, state: str, code: str | int | None) -> None:
        """Note what the attempt led to."""
        self._metrics.count(Metric.JOBS_RUN, self._vendor, self._action, state)
        self._span.set_attribute(JOB_STATE, state)
        if code is not None:
            self._span.set_attribute(CODE, str(code))
        if state != "done":
            self._span.set_status(StatusCode.ERROR)


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


def _type_of(error: BaseException | None) -> str | None:
    return None if error is None else type(error).__name__


def _start(
    tracer: Tracer,
    name: str,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Attributes | None = None,
    *,
    within: Context | None = None,
    links: Sequence[Link] = (),
    start_time: int | None = None,
) -> Span:
    """Start a span. A processor of the application that raises must not break the call: then nothing is recorded."""
    try:
        return tracer.start_span(name, within, kind, attributes, links, start_time)
    except Exception:  # noqa: BLE001 - of whatever kind
        _log.debug("a span could not be started", exc_info=True)
        return trace.INVALID_SPAN


def _end(span: Span, error: BaseException | None) -> None:
    """End a span. The text of an error is left out: the vendor's may repeat the tokens of users."""
    try:
        if isinstance(error, Exception):  # no cancellation
            span.set_status(StatusCode.ERROR, error.advice if isinstance(error, APIError) else None)
        span.end()
    except Exception:  # noqa: BLE001 - as above
        _log.debug("a span could not be ended", exc_info=True)
