"""Log records about lanes and their jobs."""

import asyncio
from collections.abc import Callable

from volc_moderation.jobs.job import JobState, Lane
from volc_moderation.jobs.job_event import JobEvent
from volc_moderation.log_events import FieldValue, LogEvent, Repeats


def log_lane(event: LogEvent, lane: Lane, message: str, *args: object, **fields: FieldValue) -> None:
    """Log an event of a lane, with the fields of the lane."""
    event.log(message, *args, exc_info=None, vendor=lane.vendor, action=lane.action, account=lane.account, **fields)


class FailedJobs:
    """Logs jobs that failed or were given up: of each lane and code the first one, and then one in a minute.

    :param on_event: also gets each event.
    """

    def __init__(self, on_event: Callable[[JobEvent], None]) -> None:
        self._on_event = on_event
        self._repeats = Repeats()

    def note(self, event: JobEvent) -> None:
        """Take note of an attempt that has ended."""
        self._on_event(event)
        state = event.state
        if state is not JobState.FAILED and state is not JobState.GIVEN_UP:
            return
        count = self._repeats.count((event.lane, event.code), asyncio.get_running_loop().time())
        if count is None:
            return
        log_lane(
            LogEvent.JOB_FAILED,
            event.lane,
            "a job of %s %s: %s: %s%s",
            event.action,
            "failed" if state is JobState.FAILED else "was given up",
            event.code,
            event.message,
            "" if count == 1 else f"; {count} such jobs since the last record",
            code=str(event.code),
            state=state.value,
            job=event.key,
            count=count,
        )
