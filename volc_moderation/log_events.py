"""The log records of the package by name: each is an event that an operator acts on.

All go to the logger ``volc_moderation``. The text of a record is for people. ``record.event`` is its name in lower
case, and each of its fields is an attribute of the record, such as ``record.vendor``: None if it is not known. No field
contains a secret. ``docs/observability.md`` says what to do about each event.
"""

import logging
from enum import Enum

from volc_moderation.errors import APIError, CallbackError

#: The value of a field.
FieldValue = str | int | float | None

#: Seconds between two records of events that come in great numbers.
REPEAT_INTERVAL = 60.0
#: Kinds of events that a ``Repeats`` remembers. More are not expected; a sender chooses none of them.
MAX_KINDS = 1000

_log = logging.getLogger("volc_moderation")


class LogEvent(Enum):
    """The events: the name, the level, and the names of the fields.

    INFO needs no reaction, WARNING a look within hours; ERROR means that calls or jobs fail, CRITICAL that this process
    no longer does its work.
    """

    # Calls
    CALL_RETRIED = "call_retried", logging.INFO, "vendor action code attempt wait"
    CALLS_THROTTLED = "calls_throttled", logging.WARNING, "vendor action code count"
    CLOCK_CORRECTED = "clock_corrected", logging.WARNING, "vendor seconds"

    # Keys
    KEYS_RENEWED = "keys_renewed", logging.INFO, "provider lifetime"
    KEYS_NOT_RENEWED = "keys_not_renewed", logging.WARNING, "provider lifetime"
    KEYS_UNAVAILABLE = "keys_unavailable", logging.ERROR, "provider"
    KEYS_REFUSED = "keys_refused", logging.ERROR, "provider"
    ACCOUNT_UNKNOWN = "account_unknown", logging.WARNING, "provider"
    SEVERAL_ROLES = "several_roles", logging.WARNING, "provider count"

    # Stores of quotas
    QUOTA_STORE_UNAVAILABLE = "quota_store_unavailable", logging.WARNING, "outage count"
    QUOTA_STORE_AVAILABLE = "quota_store_available", logging.INFO, "count"

    # Who runs the jobs of a journal
    LEAD_TAKEN = "lead_taken", logging.INFO, "journal"
    LEAD_FOLLOWED = "lead_followed", logging.INFO, "journal leader"
    LEAD_NOT_TAKEN = "lead_not_taken", logging.ERROR, "journal"
    LEAD_LOST = "lead_lost", logging.CRITICAL, "journal"
    NO_LEADER = "no_leader", logging.ERROR, "journal"
    STANDBY_NOT_SERVED = "standby_not_served", logging.WARNING, "journal count"
    JOBS_RECOVERED = "jobs_recovered", logging.INFO, "journal count"

    # Jobs
    JOB_FAILED = "job_failed", logging.ERROR, "vendor action account code state job count"
    LANE_PAUSED = "lane_paused", logging.WARNING, "vendor action account code"
    LANE_RESUMED = "lane_resumed", logging.INFO, "vendor action account"
    LANE_UNSERVED = "lane_unserved", logging.ERROR, "vendor action account"
    RESULT_UNREADABLE = "result_unreadable", logging.WARNING, "vendor action account job count"

    # The journal
    JOURNAL_NOT_WRITTEN = "journal_not_written", logging.ERROR, "journal count"
    JOURNAL_WRITTEN_AGAIN = "journal_written_again", logging.INFO, "journal"
    JOURNAL_FAULT = "journal_fault", logging.WARNING, "journal operation count"

    # The queue
    QUEUE_UNREACHABLE = "queue_unreachable", logging.WARNING, "queue"
    QUEUE_REACHABLE = "queue_reachable", logging.WARNING, "queue"
    QUEUE_LOST_DATA = "queue_lost_data", logging.ERROR, "queue worker"
    NOTIFICATIONS_INTERRUPTED = "notifications_interrupted", logging.INFO, "queue"
    CLAIMS_LOST = "claims_lost", logging.WARNING, "worker job count"
    WORKER_FAILED = "worker_failed", logging.CRITICAL, "worker"

    # Callbacks
    CALLBACK_REJECTED = "callback_rejected", logging.WARNING, "vendor reason count"
    CALLBACK_NOT_HANDLED = "callback_not_handled", logging.ERROR, "vendor reason count"
    DEDUPE_STORE_UNAVAILABLE = "dedupe_store_unavailable", logging.WARNING, "code count"

    # Faults of the package itself
    INTERNAL_ERROR = "internal_error", logging.ERROR, "part"

    def __init__(self, event: str, level: int, fields: str) -> None:
        #: The value of ``record.event``.
        self.event = event
        self.level = level
        #: The names of the fields, in the order of the documentation.
        self.fields = tuple(fields.split())

    def log(
        self, message: str, *args: object, exc_info: BaseException | bool | None = None, **fields: FieldValue
    ) -> None:
        """Log the event.

        :param message: the text for people, with a ``%s`` for each of ``args``.
        :param exc_info: an exception whose traceback is logged, or True for the one that is being handled.
        :param fields: the values of the event's fields; those that are missing are None.
        """
        if _log.isEnabledFor(self.level):
            extra = {"event": self.event} | dict.fromkeys(self.fields) | fields
            _log.log(self.level, message, *args, exc_info=exc_info, extra=extra, stacklevel=2)


class Repeats:
    """Decides which of many events is logged: of each kind the first one, and then one in a minute."""

    def __init__(self) -> None:
        #: By kind: when it was last logged, and how many have not been logged since.
        self._kinds: dict[object, list[float]] = {}

    def count(self, kind: object, now: float) -> int | None:
        """Count an event. Return how many a record of it now stands for, or None if it is not to be logged.

        :param now: the time in seconds, on any clock that does not go back.
        """
        last = self._kinds.get(kind)
        if last is not None and now < last[0] + REPEAT_INTERVAL:
            last[1] += 1
            return None
        if last is None and len(self._kinds) >= MAX_KINDS:
            self._kinds.clear()
        self._kinds[kind] = [now, 0]
        return 1 if last is None else 1 + int(last[1])


def code_of(error: BaseException) -> str:
    """Return the code of an error as a field: the vendor's, or the name of the class."""
    if isinstance(error, APIError):
        return str(error.code)
    return error.reason if isinstance(error, CallbackError) else type(error).__name__
