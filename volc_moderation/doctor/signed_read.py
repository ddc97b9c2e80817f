"""What the answer to a signed call with made-up ids proves. Pure."""

from collections.abc import Collection

from volc_moderation.doctor.finding import Finding, Subject
from volc_moderation.errors import (
    APIError,
    AuthenticationError,
    ConfigurationError,
    ConflictError,
    InvalidRequestError,
    ModerationError,
    NotFoundError,
    PermissionDeniedError,
    QuotaUnavailable,
    ThrottledError,
)
from volc_moderation.renewed_keys import NO_CREDENTIALS
from volc_moderation.volcengine.credentials.sts import CallerIdentity

#: What a service answers about ids that do not exist. The signature was accepted before.
_ABOUT_THE_IDS = (ConflictError, InvalidRequestError, NotFoundError)


def judge_signed_read(
    subject: Subject, action: str, error: ModerationError | None, app_codes: Collection[str | int]
) -> Finding:
    """Judge the outcome of a call.

    :param action: the name of the action.
    :param error: that the call raised; None if it succeeded.
    :param app_codes: the vendor's codes that say that the made-up app is not the account's.
    """
    check, code = "signed_read", _code_of(error)
    facts = {"action": action, "code": code, "request_id": error.request_id if isinstance(error, APIError) else None}
    if error is None:
        return subject.ok(check, f"{action} succeeds: the vendor accepts the signature", **facts)
    if is_accepted(error, app_codes):
        detail = f"the vendor accepts the signature, and answers {code} to {action} with made-up ids"
        return subject.ok(check, detail, **facts)
    step = _next_step(error)
    if isinstance(error, (PermissionDeniedError, ThrottledError)):
        return subject.warning(check, str(error), step, **facts)
    return subject.failed(check, str(error), step, **facts)


def is_accepted(error: ModerationError | None, app_codes: Collection[str | int]) -> bool:
    """Return whether the outcome of a call with made-up ids shows that the vendor accepts the signature."""
    return error is None or isinstance(error, _ABOUT_THE_IDS) or _code_of(error) in app_codes


def judge_identity(subject: Subject, answer: CallerIdentity | ModerationError) -> Finding:
    """Judge the answer of STS to the question whose the keys are."""
    if isinstance(answer, CallerIdentity):
        kind = answer.identity_type.lower() or "identity"
        detail = f"{kind} {answer.trn or answer.identity_id} of account {answer.account_id}"
        return subject.ok("identity", detail, account=str(answer.account_id), trn=answer.trn, code=None)
    facts = {"account": None, "trn": None, "code": _code_of(answer)}
    if isinstance(answer, PermissionDeniedError):
        return subject.ok("identity", f"STS accepts the signature, and does not tell whose it is: {answer}", **facts)
    if isinstance(answer, (AuthenticationError, ConfigurationError)):
        return subject.failed("identity", str(answer), _next_step(answer), **facts)
    # Calls do not need STS.
    return subject.warning("identity", str(answer), "check the way to STS, which keys of roles come from", **facts)


def _code_of(error: ModerationError | None) -> str | int | None:
    return error.code if isinstance(error, APIError) else None


#: What to do after an error of a class; the first class that fits counts.
_NEXT_STEPS: tuple[tuple[type[ModerationError], str], ...] = (
    (AuthenticationError, "compare the keys with those in the vendor's console"),
    (
        PermissionDeniedError,
        "enable the service in the vendor's console, and grant the keys the permission for the action",
    ),
    (ThrottledError, "find out which other programs use the account, and let all of them share one store of quotas"),
    (QuotaUnavailable, "repair what the message names"),
    (ConfigurationError, "repair what the message names"),
    (APIError, "try again in a minute; if it stays, send the request id to the vendor's support"),
    (ModerationError, "look at the checks dns, proxy and tls of this account"),
)


def _next_step(error: ModerationError) -> str:
    if isinstance(error, AuthenticationError) and error.code == NO_CREDENTIALS:
        return "set the keys, or repair the provider that the message names"
    return next(step for error_type, step in _NEXT_STEPS if isinstance(error, error_type))
