"""Volcengine's error codes: for each code, the class of its error and what to do.

https://www.volcengine.com/docs/6348/70426 (RTC) and https://www.volcengine.com/docs/6369/68677 (gateway)
"""

from typing import Any

from volc_moderation.action import Action
from volc_moderation.error_codes import UNDOCUMENTED, CodeInfo
from volc_moderation.errors import (
    AuthenticationError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    ServerError,
    TemporaryError,
    ThrottledError,
)


def find_code(code: str) -> CodeInfo:
    """Return what the documents say about a code, or else about the part before its first dot."""
    return CODES.get(code) or CODES.get(code.partition(".")[0], UNDOCUMENTED)


def advice(_: type[Action[Any]] | None, code: str | int) -> str | None:
    """Return what the documents say about a code, in words; None if they do not explain it."""
    return find_code(str(code)).advice


_THROTTLED = CodeInfo(ThrottledError, "too many calls in a second", retry_after=1.0)
_MALFORMED_SIGNATURE = CodeInfo(AuthenticationError, "the signature is malformed")

#: Codes that say that the session token has expired.
REFUSED_TOKEN_CODES = frozenset({"InvalidSecretToken"})
#: Codes that say that the access key does not exist, which is so when a temporary one has expired.
REFUSED_KEY_CODES = frozenset({"InvalidAccessKey", "InvalidClientTokenId"})

#: A code without an entry of its own has the entry of the part before its first dot.
CODES: dict[str, CodeInfo] = {
    # RTC: https://www.volcengine.com/docs/6348/70426
    "InvalidParameter": CodeInfo(InvalidRequestError, "the message names the parameter"),
    "InvalidParameter.BodyIsEmpty": CodeInfo(InvalidRequestError, "the body is empty"),
    "InvalidParameter.Unmarshal": CodeInfo(InvalidRequestError, "the body cannot be read"),
    "InvalidParameter.EmptyAccountId": CodeInfo(InvalidRequestError, "the account id is missing"),
    "InvalidParameter.AccountIdMismatch": CodeInfo(PermissionDeniedError, "the app belongs to another account"),
    "InvalidParameter.NotExistAppId": CodeInfo(NotFoundError, "there is no such app"),
    "InvalidParameter.IllegalAppId": CodeInfo(InvalidRequestError, "the app id is malformed"),
    "InvalidParameter.IllegalRoomID": CodeInfo(InvalidRequestError, "the room id is malformed"),
    "InvalidParameter.IllegalTo": CodeInfo(InvalidRequestError, "the receiver is malformed"),
    "InvalidParameter.IllegalFrom": CodeInfo(InvalidRequestError, "the sender is malformed"),
    "InvalidParameter.SizeOverLimit": CodeInfo(InvalidRequestError, "the message is too large"),
    "InvalidParameter.UserCountOverLimit": CodeInfo(InvalidRequestError, "too many users"),
    "InvalidParameter.StartTimeAfterEndTime": CodeInfo(InvalidRequestError, "the time range is empty"),
    "InvalidParameter.OutofTimeRange": CodeInfo(InvalidRequestError, "the time range is too far back or too long"),
    "InvalidParameter.InvalidRtmpAddress": CodeInfo(InvalidRequestError, "the push address is wrong"),
    "InvalidParameter.TaskAlreadyExists": CodeInfo(ConflictError, "the task is already running"),
    "InvalidParameter.ErrorActiveTaskNotFound": CodeInfo(NotFoundError, "there is no such task, or it has ended"),
    "FlowLimitExceeded": _THROTTLED,
    "FlowLimitExceeded.QPSOverLimit": _THROTTLED,
    # Not throttled: the next second does not help, a task must end first.
    "FlowLimitExceeded.TaskNumberOverLimit": CodeInfo(ConflictError, "too many tasks at once; stop one first"),
    "AccessDenied": CodeInfo(PermissionDeniedError, "the access policy denies the call"),
    "AccessDenied.NoPermissionForApp": CodeInfo(PermissionDeniedError, "the account may not operate this app"),
    "NoPermissionForApp": CodeInfo(PermissionDeniedError, "the account may not operate this app"),
    "AccessDenied.RecordNotEnabled": CodeInfo(PermissionDeniedError, "enable recording in the console"),
    "AccessDenied.ServiceNotEnabled": CodeInfo(PermissionDeniedError, "enable the service in the console"),
    "InternalError": CodeInfo(ServerError, "a fault inside the vendor"),
    "InternalError.GenerateTokenFailed": CodeInfo(ServerError, "a fault inside the vendor"),
    # Gateway: https://www.volcengine.com/docs/6369/68677
    "MissingParameter": CodeInfo(InvalidRequestError, "a required parameter is missing"),
    "MissingAuthenticationToken": CodeInfo(AuthenticationError, "the request is not signed"),
    "MissingRequestInfo": CodeInfo(InvalidRequestError, "a part of the request is missing, such as X-Date"),
    "MissingSignature": CodeInfo(AuthenticationError, "the signature is missing"),
    # retry_after 0: sign again once, with the vendor's time.
    "InvalidTimestamp": CodeInfo(AuthenticationError, "the clock is off by more than 15 minutes", retry_after=0.0),
    "ServiceNotFound": CodeInfo(InvalidRequestError, "there is no such service; check base_url"),
    "InvalidActionOrVersion": CodeInfo(InvalidRequestError, "there is no such action or version"),
    "InvalidAccessKey": CodeInfo(AuthenticationError, "the access key is unknown or disabled"),
    "InvalidClientTokenId": CodeInfo(AuthenticationError, "the access key is unknown or disabled"),
    "SignatureDoesNotMatch": CodeInfo(AuthenticationError, "check the secret key and the region"),
    "LackPolicy": CodeInfo(PermissionDeniedError, "the account lacks an access policy"),
    "LackProjectPolicy": CodeInfo(PermissionDeniedError, "the account lacks an access policy for the project"),
    "FailToConnect": CodeInfo(TemporaryError, "the gateway cannot reach the service"),
    "InternalServiceTimeout": CodeInfo(ServerError, "the service timed out"),
    "ServiceUnavailableTemp": CodeInfo(TemporaryError, "the service is temporarily unavailable"),
    "MethodNotAllowed": CodeInfo(InvalidRequestError, "the action has another HTTP method"),
    "InternalServiceError": CodeInfo(ServerError, "a fault inside the vendor"),
    "InvalidAuthorization": _MALFORMED_SIGNATURE,
    "InvalidCredential": _MALFORMED_SIGNATURE,
    "InvalidSecretToken": CodeInfo(AuthenticationError, "the session token is wrong or expired; get a new one"),
    "AccountFlowLimitExceeded": CodeInfo(ThrottledError, "too many calls by the account as a whole", retry_after=1.0),
    "RequestLimitExceeded": _THROTTLED,
    "InnerApiNeedAccountInfo": CodeInfo(PermissionDeniedError, "the action is reserved for the vendor"),
    "UndefinedError": CodeInfo(ServerError, "a fault inside the vendor"),
}
