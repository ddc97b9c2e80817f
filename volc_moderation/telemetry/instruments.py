"""All metrics and spans, by name. ``docs/observability.md`` describes each, and what to do when a metric moves.

Counters and waiters are those of one process: add them up. All processes that share a store of quotas, a journal or a
queue report the same limit, permits, jobs and oldest due job: take the largest. Prometheus spells
``volc_moderation.quota.wait`` as ``volc_moderation_quota_wait_seconds_total``.

``error.type`` is the class of an exception, such as ``ThrottledError`` or ``CancelledError``. No value of an attribute
is a key, a signature, a token, an address with a query, or a text of the vendor.
"""

from enum import Enum

# Attributes of spans and metrics

VENDOR = "volc_moderation.vendor"
ACTION = "volc_moderation.action"
#: A hash of the account or the AppId: the one that journals have, too.
ACCOUNT = "volc_moderation.account"
#: The vendor's code of a refusal.
CODE = "volc_moderation.code"
REQUEST_ID = "volc_moderation.request_id"
#: Requests that a call has sent.
ATTEMPTS = "volc_moderation.attempts"
#: Seconds that a call has waited for quotas and between attempts.
WAITED = "volc_moderation.waited"
JOB_KEY = "volc_moderation.job.key"
JOB_STATE = "volc_moderation.job.state"
#: The name of a journal or a queue.
JOB_STORE = "volc_moderation.job.store"
OUTCOME = "volc_moderation.outcome"
MEDIUM = "volc_moderation.medium"
VERDICT = "volc_moderation.verdict"

# Attributes of the semantic conventions: https://opentelemetry.io/docs/specs/semconv/http/http-spans/

ERROR_TYPE = "error.type"
METHOD = "http.request.method"
RESEND_COUNT = "http.request.resend_count"
STATUS_CODE = "http.response.status_code"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"

#: The value of an attribute once there are ``MAX_SERIES`` others.
OTHER = "_OTHER"
#: Combinations of attributes that a counter keeps apart: a vendor, or whoever answers for it, chooses the codes.
MAX_SERIES = 1000


class Kind(Enum):
    """The kinds of instruments."""

    COUNTER = "counter"
    GAUGE = "gauge"


class Metric(Enum):
    """The metrics: the name, the kind, the unit, the attributes, and what it measures."""

    CALLS = (
        "volc_moderation.calls",
        Kind.COUNTER,
        "{call}",
        (VENDOR, ACTION, ERROR_TYPE),
        "Calls that have ended. error.type is missing after a success.",
    )
    ATTEMPTS = (
        "volc_moderation.attempts",
        Kind.COUNTER,
        "{attempt}",
        (VENDOR, ACTION, ERROR_TYPE),
        "Requests that have been sent. error.type is missing after a success.",
    )
    REFUSALS = (
        "volc_moderation.refusals",
        Kind.COUNTER,
        "{refusal}",
        (VENDOR, ACTION, CODE),
        "Requests that the vendor has refused.",
    )
    ROUND_TRIPS = (
        "volc_moderation.round_trips",
        Kind.COUNTER,
        "s",
        (VENDOR, ACTION),
        "Seconds from requests to their responses, added up.",
    )
    QUOTA_WAIT = (
        "volc_moderation.quota.wait",
        Kind.COUNTER,
        "s",
        (VENDOR, ACTION),
        "Seconds that calls have waited for permits, added up, those that then sent nothing included.",
    )
    QUOTA_PERMITS = (
        "volc_moderation.quota.permits",
        Kind.GAUGE,
        "{permit}",
        (VENDOR, ACCOUNT, ACTION),
        "Permits that are out: the vendor still counts their requests.",
    )
    QUOTA_WAITERS = (
        "volc_moderation.quota.waiters",
        Kind.GAUGE,
        "{call}",
        (VENDOR, ACCOUNT, ACTION),
        "Calls of this process that wait for a permit.",
    )
    QUOTA_LIMIT = (
        "volc_moderation.quota.limit",
        Kind.GAUGE,
        "{call}",
        (VENDOR, ACCOUNT, ACTION),
        "Calls per window that are used at present: fewer than documented after the vendor has throttled calls.",
    )
    JOBS_RUN = (
        "volc_moderation.jobs.run",
        Kind.COUNTER,
        "{attempt}",
        (VENDOR, ACTION, JOB_STATE),
        "Attempts of jobs by the state that they led to; pending means that another attempt follows.",
    )
    JOBS = (
        "volc_moderation.jobs",
        Kind.GAUGE,
        "{job}",
        (JOB_STORE, JOB_STATE),
        "Jobs in a journal or a queue, as the processes report them that make the calls.",
    )
    JOBS_OLDEST_DUE = (
        "volc_moderation.jobs.oldest_due",
        Kind.GAUGE,
        "s",
        (JOB_STORE,),
        "For how long the oldest due job has been due; 0 if none is.",
    )
    CALLBACKS = (
        "volc_moderation.callbacks",
        Kind.COUNTER,
        "{callback}",
        (VENDOR, OUTCOME),
        "Callbacks that were received: handled, repeated, running, rejected, failed, or late.",
    )
    VERDICTS = (
        "volc_moderation.verdicts",
        Kind.COUNTER,
        "{verdict}",
        (VENDOR, MEDIUM, VERDICT),
        "Verdicts of callbacks that were handled.",
    )
    CREDENTIAL_REFRESHES = (
        "volc_moderation.credentials.refreshes",
        Kind.COUNTER,
        "{refresh}",
        (OUTCOME,),
        "Refreshes of credentials that have ended: renewed, or failed.",
    )

    def __init__(self, metric: str, kind: Kind, unit: str, attributes: tuple[str, ...], description: str) -> None:
        #: The name, as an application sees it.
        self.metric = metric
        self.kind = kind
        self.unit = unit
        self.attributes = attributes
        self.description = description

    #: That of Enum hashes the name in Python, which takes as long as to count.
    __hash__ = object.__hash__


#: The spans: the name, and its attributes.
SPANS = {
    "{vendor} {action}": (VENDOR, ACTION, ATTEMPTS, WAITED, REQUEST_ID, CODE, ERROR_TYPE),
    "{method} {action}": (
        *(METHOD, SERVER_ADDRESS, SERVER_PORT, STATUS_CODE, RESEND_COUNT),
        *(VENDOR, ACTION, REQUEST_ID, CODE, ERROR_TYPE),
    ),
    "job {action}": (VENDOR, ACTION, ACCOUNT, JOB_KEY, ATTEMPTS, JOB_STATE, CODE, ERROR_TYPE),
}
