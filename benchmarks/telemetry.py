"""What telemetry adds to a call, in one run: ``python -m benchmarks.telemetry``.

The vendor answers at once, and calls come one after the other. Rounds of calls without telemetry, with it, and with two
spans that the SDK of OpenTelemetry creates after each call alternate in one process; the best round of each counts.
Spans go to a batch processor whose exporter drops them: what an exporter costs is not measured.

Without a provider, the cost is too small to be seen in calls: what a call does then is measured alone, in processes of
their own.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence

from matplotlib.axes import Axes

from benchmarks.instant import instant
from benchmarks.results import Result, bars

ROUNDS = 100
CALLS_PER_ROUND = 200
#: The most that telemetry may add to a call, in microseconds.
MOST_OFF = 1.0
MOST_ON = 30.0

NOTHING = "none"
UNSAMPLED = "metrics, and spans that the sampler drops"
SDK = "two spans of the SDK, and nothing else"
ALL = "metrics and spans"
#: The attributes of the spans of a call that succeeds.
OF_A_CALL: dict[str, str | int | float] = {
    "volc_moderation.vendor": "volcengine",
    "volc_moderation.action": "StopWebcast",
    "volc_moderation.request_id": "r-1",
    "volc_moderation.attempts": 1,
    "volc_moderation.waited": 0.0,
}
OF_AN_ATTEMPT: dict[str, str | int | float] = {
    "volc_moderation.vendor": "volcengine",
    "volc_moderation.action": "StopWebcast",
    "volc_moderation.request_id": "r-1",
    "http.request.method": "POST",
    "http.response.status_code": 200,
    "server.address": "rtc.volcengineapi.com",
    "server.port": 443,
}

#: What a call does while telemetry is off, in microseconds of CPU: six questions whether it is on.
OFF = """
import json, time, timeit
from types import SimpleNamespace
from volc_moderation import telemetry

call = SimpleNamespace(trace=None)

def hooks():
    call.trace = telemetry.active()
    call.trace is not None
    call.trace is not None
    call.trace is not None
    call.trace is not None
    call.trace is not None

def nothing():
    pass

def cost(function):
    return min(timeit.repeat(function, number=20_000, repeat=50, timer=time.process_time)) / 20_000

assert telemetry.active() is None
print(json.dumps((cost(hooks) - cost(nothing)) * 1e6))
"""


def cost_off(preparation: str) -> float:
    """Return the microseconds of CPU that a call spends on telemetry that is off."""
    program = f"{preparation}\n{OFF}"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603
    return float(json.loads(ended.stdout))


async def costs_of_calls() -> dict[str, float]:
    """Return the microseconds of CPU per call in the best round, for each way."""
    # Not at the top: the other measurements must not import it.
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader  # noqa: PLC0415
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF  # noqa: PLC0415

    from volc_moderation import telemetry  # noqa: PLC0415
    from volc_moderation.telemetry.recorder import Recorder  # noqa: PLC0415

    class Dropping(SpanExporter):
        spans = 0

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            self.spans += len(spans)
            return SpanExportResult.SUCCESS

    exporter, metrics = Dropping(), MeterProvider([InMemoryMetricReader()])
    provider, unsampled = TracerProvider(), TracerProvider(sampler=ALWAYS_OFF)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=100 * CALLS_PER_ROUND))
    tracer = provider.get_tracer("benchmark")
    recorders = {NOTHING: None, UNSAMPLED: Recorder(unsampled, metrics), SDK: None, ALL: Recorder(provider, metrics)}
    costs = dict.fromkeys(recorders, float("inf"))
    async with instant() as client:
        for way, recorder in [*recorders.items()] * ROUNDS:
            telemetry._recorder = recorder  # noqa: SLF001 - as if the application had given these providers
            began = time.process_time()
            for _ in range(CALLS_PER_ROUND):
                await client.stop_webcast(app_id="app", room_id="room", task_id="wall")
                if way == SDK:
                    tracer.start_span("volcengine StopWebcast", attributes=OF_A_CALL).end()
                    tracer.start_span("POST StopWebcast", attributes=OF_AN_ATTEMPT).end()
            costs[way] = min(costs[way], (time.process_time() - began) / CALLS_PER_ROUND * 1e6)
    provider.shutdown()
    metrics.shutdown()
    assert exporter.spans == 2 * 2 * ROUNDS * CALLS_PER_ROUND
    return costs


def main() -> None:
    result = Result(
        "telemetry",
        "what telemetry adds to a call",
        *("opentelemetry-api", "opentelemetry-sdk"),
        rounds=ROUNDS,
        calls_per_round=CALLS_PER_ROUND,
    )
    off = {
        "OpenTelemetry is not installed": cost_off("import sys; sys.modules['opentelemetry'] = None"),
        "no provider": cost_off("import opentelemetry.trace, opentelemetry.metrics"),
    }
    costs = asyncio.run(costs_of_calls())
    call = costs.pop(NOTHING)
    added = off | {way: cost - call for way, cost in costs.items()}
    for way, us in added.items():
        result.add(telemetry=way, added_us=us, call=1 + us / call)
    result.add(telemetry_of_a_call=NOTHING, us=call)
    result.goal("µs that a call spends on telemetry that is off", max(off.values()), at_most=MOST_OFF)
    result.goal("µs that metrics and unsampled spans add", added[UNSAMPLED], at_most=MOST_ON)
    result.goal("µs that metrics and spans add", added[ALL], at_most=MOST_ON)

    def draw(panels: list[Axes]) -> None:
        bars(panels[0], list(added), list(added.values()), "µs of CPU that are added to a call", mark=MOST_ON)

    result.finish(draw, height=2.0)


if __name__ == "__main__":
    main()
