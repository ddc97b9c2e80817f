"""Volcengine's error codes: for each code the class of its error, and what to do. Change a code here.

https://www.volcengine.com/docs/6348/70426 (RTC) and https://www.volcengine.com/docs/6369/68677 (gateway)
"""

from typing import Any

from volc_moderation.action import Action
from volc_moderation.error_codes import UNDOCUMENTED, ErrorCode
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


def find_error_code(code: str) -> ErrorCode:
    """Return what the documents say about a code, or else about the part before its first dot."""
    return CODES.get(code) or CODES.get(code.partition(".")[0], UNDOCUMENTED)


def advice(_: type[Action[Any]], code: str | int) -> str | None:
    """Return what the documents say about a code, in words; None if they do not explain it."""
    return find_error_code(str(code)).advice


_THROTTLED = ErrorCode(ThrottledError, "too many calls in a second", retry_after=1.0)
_MALFORMED_SIGNATURE = ErrorCode(AuthenticationError, "the signature is malformed")

#: A code without an entry of its own has the entry of the part before its first dot.
CODES: dict[str, ErrorCode] = {
    # RTC: https://www.volcengine.com/docs/6348/70426
    "InvalidParameter": ErrorCode(InvalidRequestError, "the message names the parameter"),
    "InvalidParameter.BodyIsEmpty": ErrorCode(InvalidRequestError, "the body is empty"),
    "InvalidParameter.Unmarshal": ErrorCode(InvalidRequestError, "the body cannot be read"),
    "InvalidParameter.EmptyAccountId": ErrorCode(InvalidRequestError, "the account id is missing"),
    "InvalidParameter.AccountIdMismatch": ErrorCode(PermissionDeniedError, "the app belongs to another account"),
    "InvalidParameter.NotExistAppId": ErrorCode(NotFoundError, "there is no such app"),
    "InvalidParameter.IllegalAppId": ErrorCode(InvalidRequestError, "the app id is malformed"),
    "InvalidParameter.IllegalRoomID": ErrorCode(InvalidRequestError, "the room id is malformed"),
    "InvalidParameter.IllegalTo": ErrorCode(InvalidRequestError, "the receiver is malformed"),
    "InvalidParameter.IllegalFrom": ErrorCode(InvalidRequestError, "the sender is malformed"),
    "InvalidParameter.SizeOverLimit": ErrorCode(InvalidRequestError, "the message is too large"),
    "InvalidParameter.UserCountOverLimit": ErrorCode(InvalidRequestError, "too many users"),
    "InvalidParameter.StartTimeAfterEndTime": ErrorCode(InvalidRequestError, "the time range is empty"),
    "InvalidParameter.OutofTimeRange": ErrorCode(InvalidRequestError, "the time range is too far back or too long"),
    "InvalidParameter.InvalidRtmpAddress": ErrorCode(InvalidRequestError, "the push address is wrong"),
    "InvalidParameter.TaskAlreadyExists": ErrorCode(ConflictError, "the task is already running"),
    "InvalidParameter.ErrorActiveTaskNotFound": ErrorCode(NotFoundError, "there is no such task, or it has ended"),
    "FlowLimitExceeded": _THROTTLED,
    "FlowLimitExceeded.QPSOverLimit": _THROTTLED,
    # Not throttled: the next second does not help, a task must end first.
    "FlowLimitExceeded.TaskNumberOverLimit": ErrorCode(ConflictError, "too many tasks at once; stop one first"),
    "AccessDenied": ErrorCode(PermissionDeniedError, "the access policy denies the call"),
    "AccessDenied.NoPermissionForApp": ErrorCode(PermissionDeniedError, "the account may not operate this app"),
    "NoPermissionForApp": ErrorCode(PermissionDeniedError, "the account may not operate this app"),
    "AccessDenied.RecordNotEnabled": ErrorCode(PermissionDeniedError, "enable recording in the console"),
    "AccessDenied.ServiceNotEnabled": ErrorCode(PermissionDeniedError, "enable the service in the console"),
    "InternalError": ErrorCode(ServerError, "a fault inside the vendor"),
    "InternalError.GenerateTokenFailed": ErrorCode(ServerError, "a fault inside the vendor"),
    # Gateway: https://www.volcengine.com/docs/6369/68677
    "MissingParameter": ErrorCode(InvalidRequestError, "a required parameter is missing"),
    "MissingAuthenticationToken": ErrorCode(AuthenticationError, "the request is not signed"),
    "MissingRequestInfo": ErrorCode(InvalidRequestError, "a part of the request is missing, such as X-Date"),
    "MissingSignature": ErrorCode(AuthenticationError, "the signature is missing"),
    # retry_after 0: sign again once, with the vendor's time.
    "InvalidTimestamp": ErrorCode(AuthenticationError, "the clock is off by more than 15 minutes", retry_after=0.0),
    "ServiceNotFound": ErrorCode(InvalidRequestError, "there is no such service; check base_url"),
    "InvalidActionOrVersion": ErrorCode(InvalidRequestError, "there is no such action or version"),
    "InvalidAccessKey": ErrorCode(AuthenticationError, "the access key is unknown or disabled"),
    "InvalidClientTokenId": ErrorCode(AuthenticationError, "the access key is unknown or disabled"),
    "SignatureDoesNotMatch": ErrorCode(AuthenticationError, "check the secret key and the region"),
    "LackPolicy": ErrorCode(PermissionDeniedError, "the account lacks an access policy"),
    "LackProjectPolicy": ErrorCode(PermissionDeniedError, "the account lacks an access policy for the project"),
    "FailToConnect": ErrorCode(TemporaryError, "the gateway cannot reach the service"),
    "InternalServiceTimeout": ErrorCode(ServerError, "the service timed out"),
    "ServiceUnavailableTemp": ErrorCode(TemporaryError, "the service is temporarily unavailable"),
    "MethodNotAllowed": ErrorCode(InvalidRequestError, "the action has another HTTP method"),
    "InternalServiceError": ErrorCode(ServerError, "a fault inside the vendor"),
    "InvalidAuthorization": _MALFORMED_SIGNATURE,
    "InvalidCredential": _MALFORMED_SIGNATURE,
    "InvalidSecretToken": ErrorCode(AuthenticationError, "the session token is wrong or expired; get a new one"),
    "AccountFlowLimitExceeded": ErrorCode(ThrottledError, "too many calls by the account as a whole", retry_after=1.0),
    "RequestLimitExceeded": _THROTTLED,
    "InnerApiNeedAccountInfo": ErrorCode(PermissionDeniedError, "the action is reserved for the vendor"),
    "UndefinedError": ErrorCode(ServerError, "a fault inside the vendor"),
}
