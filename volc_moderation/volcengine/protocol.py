"""Volcengine's side of the wire: an action to a signed request, an answer to a result or an error. Pure.

The envelope is ``{"ResponseMetadata": {…}, "Result": …}`` at any HTTP status; ``ResponseMetadata.Error`` is a no. A yes
is proven by the result: by its data, or by a text that is there on success only, such as ``success`` or ``ok``.
https://www.volcengine.com/docs/6348/1178321 and https://www.volcengine.com/docs/6348/1178322
"""

from http import HTTPStatus
from typing import Any, TypeVar

from volc_moderation import validators
from volc_moderation.action import Action
from volc_moderation.error_codes import UNKNOWN, Meaning, log_id_of, meaning_of_status, refusal, request_id_of, unusable
from volc_moderation.errors import (
    AuthenticationError,
    ConflictError,
    DecodeError,
    InvalidRequestError,
    ModerationError,
    NotFoundError,
    PermissionDeniedError,
    ServerError,
    TemporaryError,
    ThrottledError,
)
from volc_moderation.volcengine.actions import VolcengineAction
from volc_moderation.volcengine.signing import Signer, canonical_query
from volc_moderation.wire import Answer, Request, Response, dump_json, load_answer, parameters, parse, text_parameters

R = TypeVar("R")


def encode(action: VolcengineAction[Any], *, url: str, host: str, signer: Signer, now: float) -> Request:
    """Encode and sign an action: a GET carries everything in its query, a POST its parameters as a JSON body."""
    query = {"Action": action.name, "Version": action.version}
    body, content_type = b"", None
    if action.method == "GET":
        query |= dict(text_parameters(action))  # no name is repeated
    else:
        body, content_type = dump_json(parameters(action)), "application/json"
    canonical = canonical_query(query)
    headers = signer.sign(
        method=action.method, host=host, query=canonical, body=body, now=now, content_type=content_type
    )
    # What a user's token is, too, must not show in an error that repeats it.
    token = getattr(action, "token", None)
    secrets = (headers["Authorization"].rpartition("=")[2], *signer.secrets, *([token] if token else []))
    return Request(action.method, f"{url}/?{canonical}", headers, body, secrets)


def decode(action: Action[R], request: Request, response: Response, *, repeated: bool) -> Answer[R]:
    """Return the result in an answer, or raise the error in it.

    ``repeated`` tells that an earlier attempt may have arrived. Then "exists already" after a start, and "no such task"
    after a stop, mean that it did: a yes.
    """
    outcome = _read(action, request, response, repeated=repeated)
    if isinstance(outcome, ModerationError):
        raise outcome  # from here, where no frame holds what the vendor sent
    return outcome


def _read(action: Action[R], request: Request, response: Response, *, repeated: bool) -> Answer[R] | ModerationError:
    envelope = load_answer(response.body)
    metadata = envelope.get("ResponseMetadata") if envelope else None
    if envelope is None or not isinstance(metadata, dict):
        return unusable(request, response)
    request_id = request_id_of(metadata.get("RequestId"), request)
    log_id = log_id_of(request, response)
    error = metadata.get("Error")
    if error is None and response.status < HTTPStatus.BAD_REQUEST:
        result = parse(_result(envelope.get("Result")), action.result, request_id=request_id)
        return result if isinstance(result, DecodeError) else Answer(result, request_id, log_id)
    if not isinstance(error, dict):
        error = {}
    code = _text(error.get("Code")) or f"HTTP {response.status}"
    message = _text(error.get("Message"))
    if repeated and action.is_already_done(code):
        result = parse({"Message": request.redact(message) or code}, action.result)
        return result if isinstance(result, DecodeError) else Answer(result, request_id, log_id)
    meaning = meaning_of(code)
    if meaning is UNKNOWN:
        meaning = meaning_of_status(response.status)
    return refusal(
        meaning,
        code=code,
        message=message,
        request_id=request_id,
        request=request,
        response=response,
        code_n=_gateway_number(error.get("CodeN")),
    )


def meaning_of(code: str) -> Meaning:
    """Return what a code means: by the whole code, else by what stands before its first dot."""
    return CODES.get(code) or CODES.get(code.partition(".")[0], UNKNOWN)


def advice(_: type[Action[Any]], code: str | int) -> str | None:
    """Return what the documents say about a code, if they say anything."""
    return meaning_of(str(code)).advice


def _result(result: object) -> object:
    """Bring the forms of a plain yes to one: ``"ok"``, ``{"message": …}`` and ``{"Message": …}``.

    Each page says that the text is there on success only, and empty otherwise. So an empty one is left out, and a
    result that needs it does not fit.
    """
    if isinstance(result, str):
        result = {"Message": result}
    if not isinstance(result, dict):
        return result
    messages = [result[name] for name in ("Message", "message") if name in result]
    proofs = [one for one in messages if one is not None and (not isinstance(one, str) or one.strip())]
    rest = {name: value for name, value in result.items() if name != "Message"}
    return {**rest, "Message": proofs[0]} if proofs else rest


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _gateway_number(value: object) -> int | None:
    """Read CodeN: a service behind the gateway leaves it out, or sends 0."""
    return value if type(value) is int and 0 < value <= validators.MAX_INT32 else None


_THROTTLED = Meaning(ThrottledError, "too many calls in a second", retry_after=1.0)
_SIGNED_BADLY = Meaning(AuthenticationError, "the signature is malformed")

#: https://www.volcengine.com/docs/6348/70426 (RTC) and https://www.volcengine.com/docs/6369/68677 (gateway)
CODES: dict[str, Meaning] = {
    # RTC
    "InvalidParameter": Meaning(InvalidRequestError, "the message names the parameter"),
    "InvalidParameter.BodyIsEmpty": Meaning(InvalidRequestError, "the body is empty"),
    "InvalidParameter.Unmarshal": Meaning(InvalidRequestError, "the body cannot be read"),
    "InvalidParameter.EmptyAccountId": Meaning(InvalidRequestError, "there is no account id"),
    "InvalidParameter.AccountIdMismatch": Meaning(PermissionDeniedError, "the app belongs to another account"),
    "InvalidParameter.NotExistAppId": Meaning(NotFoundError, "there is no such app"),
    "InvalidParameter.IllegalAppId": Meaning(InvalidRequestError, "the app id is malformed"),
    "InvalidParameter.IllegalRoomID": Meaning(InvalidRequestError, "the room id is malformed"),
    "InvalidParameter.IllegalTo": Meaning(InvalidRequestError, "the receiver is malformed"),
    "InvalidParameter.IllegalFrom": Meaning(InvalidRequestError, "the sender is malformed"),
    "InvalidParameter.SizeOverLimit": Meaning(InvalidRequestError, "the message is too large"),
    "InvalidParameter.UserCountOverLimit": Meaning(InvalidRequestError, "too many users"),
    "InvalidParameter.StartTimeAfterEndTime": Meaning(InvalidRequestError, "the time range is empty"),
    "InvalidParameter.OutofTimeRange": Meaning(InvalidRequestError, "the time range is too far back or too long"),
    "InvalidParameter.InvalidRtmpAddress": Meaning(InvalidRequestError, "the push address is wrong"),
    "InvalidParameter.TaskAlreadyExists": Meaning(ConflictError, "the task runs already"),
    "InvalidParameter.ErrorActiveTaskNotFound": Meaning(NotFoundError, "there is no such task, or it has ended"),
    "FlowLimitExceeded": _THROTTLED,
    "FlowLimitExceeded.QPSOverLimit": _THROTTLED,
    # Not a matter of the next second: a task must end first.
    "FlowLimitExceeded.TaskNumberOverLimit": Meaning(ConflictError, "too many tasks at once; stop one first"),
    "AccessDenied": Meaning(PermissionDeniedError, "the access policy says no"),
    "AccessDenied.NoPermissionForApp": Meaning(PermissionDeniedError, "the account may not operate this app"),
    "NoPermissionForApp": Meaning(PermissionDeniedError, "the account may not operate this app"),
    "AccessDenied.RecordNotEnabled": Meaning(PermissionDeniedError, "switch recording on in the console"),
    "AccessDenied.ServiceNotEnabled": Meaning(PermissionDeniedError, "switch the service on in the console"),
    "InternalError": Meaning(ServerError, "a fault inside the vendor"),
    "InternalError.GenerateTokenFailed": Meaning(ServerError, "a fault inside the vendor"),
    # Gateway
    "MissingParameter": Meaning(InvalidRequestError, "a required parameter is absent"),
    "MissingAuthenticationToken": Meaning(AuthenticationError, "the request is not signed"),
    "MissingRequestInfo": Meaning(InvalidRequestError, "a part of the request is absent, such as X-Date"),
    "MissingSignature": Meaning(AuthenticationError, "the signature is absent"),
    # retry_after 0: sign again, with the vendor's time, once.
    "InvalidTimestamp": Meaning(AuthenticationError, "the clock is off by more than 15 minutes", retry_after=0.0),
    "ServiceNotFound": Meaning(InvalidRequestError, "there is no such service; check base_url"),
    "InvalidActionOrVersion": Meaning(InvalidRequestError, "there is no such action or version"),
    "InvalidAccessKey": Meaning(AuthenticationError, "the access key is unknown or disabled"),
    "InvalidClientTokenId": Meaning(AuthenticationError, "the access key is unknown or disabled"),
    "SignatureDoesNotMatch": Meaning(AuthenticationError, "check the secret key and the region"),
    "LackPolicy": Meaning(PermissionDeniedError, "the account lacks an access policy"),
    "LackProjectPolicy": Meaning(PermissionDeniedError, "the account lacks an access policy for the project"),
    "FailToConnect": Meaning(TemporaryError, "the gateway cannot reach the service"),
    "InternalServiceTimeout": Meaning(ServerError, "the service timed out"),
    "ServiceUnavailableTemp": Meaning(TemporaryError, "the service is unavailable for a while"),
    "MethodNotAllowed": Meaning(InvalidRequestError, "GET and POST are mixed up"),
    "InternalServiceError": Meaning(ServerError, "a fault inside the vendor"),
    "InvalidAuthorization": _SIGNED_BADLY,
    "InvalidCredential": _SIGNED_BADLY,
    "InvalidSecretToken": Meaning(AuthenticationError, "the session token is wrong or expired; get a new one"),
    "AccountFlowLimitExceeded": Meaning(ThrottledError, "too many calls of the whole account", retry_after=1.0),
    "RequestLimitExceeded": _THROTTLED,
    "InnerApiNeedAccountInfo": Meaning(PermissionDeniedError, "the action is the vendor's own"),
    "UndefinedError": Meaning(ServerError, "a fault inside the vendor"),
}
