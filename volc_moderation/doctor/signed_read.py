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
    check, code = "signed_read", error.code if isinstance(error, APIError) else None
    facts = {"action": action, "code": code, "request_id": error.request_id if isinstance(error, APIError) else None}
    if error is None:
        return subject.ok(check, f"{action} succeeds: the vendor accepts the signature", **facts)
    if isinstance(error, _ABOUT_THE_IDS) or code in app_codes:
        detail = f"the vendor accepts the signature, and answers {code} to {action} with made-up ids"
        return subject.ok(check, detail, **facts)
    step = _next_step(error)
    if isinstance(error, (PermissionDeniedError, ThrottledError)):
        return subject.warning(check, str(error), step, **facts)
    return subject.failed(check, str(error), step, **facts)


def _next_step(error: ModerationError) -> str:
    match error:
        case AuthenticationError(code=code) if code == NO_CREDENTIALS:
            return "set the keys, or repair the provider that the message names"
        case AuthenticationError(advice=str(advice)):
            return f"{advice}; compare the keys with those in the vendor's console"
        case AuthenticationError():
            return "compare the keys with those in the vendor's console"
        case PermissionDeniedError():
            return "enable the service in the vendor's console, and grant the keys the permission for the action"
        case ThrottledError():
            return "find out which other programs use the account, and let all of them share one store of quotas"
        case QuotaUnavailable() | ConfigurationError():
            return "repair what the message names"
        case APIError():
            return "try again in a minute; if it stays, send the request id to the vendor's support"
        case _:
            return "look at the checks dns, proxy and tls of this account"
