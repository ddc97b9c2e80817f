"""Volcengine's protocol: encodes an action as a signed request, and decodes a response to a result or an error. Pure.

The envelope is ``{"ResponseMetadata": {…}, "Result": …}`` at any HTTP status. ``ResponseMetadata.Error`` is an error.
Success is proven by the result: by its data, or by a text that is present only on success, such as ``success`` or
``ok``. https://www.volcengine.com/docs/6348/1178321 and https://www.volcengine.com/docs/6348/1178322
"""

from functools import lru_cache
from http import HTTPStatus
from typing import Any, TypeVar

from volc_moderation import validators
from volc_moderation.action import Action, version_of
from volc_moderation.error_codes import (
    UNDOCUMENTED,
    api_error,
    code_info_for_status,
    read_log_id,
    read_request_id,
    unusable_response,
)
from volc_moderation.errors import ModerationError
from volc_moderation.volcengine.error_codes import find_code
from volc_moderation.volcengine.signing import Signer, canonical_query
from volc_moderation.wire import (
    DecodedResponse,
    Request,
    Response,
    dump_json,
    load_response,
    parameters,
    parse,
    query_parameters,
)

R = TypeVar("R")

#: More than there are actions, each mostly with one version.
MAX_CACHED_QUERIES = 64


def encode(action: Action[Any], *, url: str, host: str, signer: Signer, now: float) -> Request:
    """Encode and sign an action. ``now`` is in Unix seconds.

    A GET carries everything in its query, a POST its parameters as a JSON body.
    """
    if action.method == "GET":
        body, content_type = b"", None
        common = {"Action": action.name, "Version": version_of(action)}
        query = canonical_query(common | dict(query_parameters(action)))  # no action repeats a name
    else:
        body, content_type = dump_json(parameters(action)), "application/json"
        query = _query_of_post(action.name, version_of(action))
    headers = signer.sign(method=action.method, host=host, query=query, body=body, now=now, content_type=content_type)
    # The vendor may repeat a user's token in a message, and no error may show it.
    token = getattr(action, "token", None)
    secrets = (headers["Authorization"].rpartition("=")[2], *signer.secrets, *([token] if token else []))
    return Request(action.method, f"{url}/?{query}", headers, body, secrets)


@lru_cache(MAX_CACHED_QUERIES)
def _query_of_post(name: str, version: str) -> str:
    return canonical_query({"Action": name, "Version": version})


def decode(action: Action[R], request: Request, response: Response, *, repeated: bool) -> DecodedResponse[R]:
    """Return the result in a response, or raise the error in it.

    ``repeated`` says that an earlier attempt may have arrived. If so, "already exists" after a start and "no such task"
    after a stop mean that it did arrive, and count as success.
    """
    try:
        return _read(action, request, response, repeated=repeated)
    except ModerationError as error:
        # Without the frames below, which hold what the vendor sent. The exception being handled is its own context.
        raise error.with_traceback(None)  # noqa: B904


def _read(action: Action[R], request: Request, response: Response, *, repeated: bool) -> DecodedResponse[R]:
    envelope = load_response(response.body)
    metadata = envelope.get("ResponseMetadata") if envelope else None
    if envelope is None or not isinstance(metadata, dict):
        raise unusable_response(request, response)
    request_id = read_request_id(metadata.get("RequestId"), request)
    log_id = read_log_id(request, response)
    error = metadata.get("Error")
    if error is None and response.status < HTTPStatus.BAD_REQUEST:
        result = parse(_normalize_result(envelope.get("Result")), action.result, request_id=request_id)
        return DecodedResponse(result, request_id, log_id)
    if not isinstance(error, dict):
        error = {}
    code = _text(error.get("Code")) or f"HTTP {response.status}"
    message = _text(error.get("Message"))
    if repeated and action.is_already_done(code):
        result = parse({"Message": request.redact(message) or code}, action.result)
        return DecodedResponse(result, request_id, log_id)
    error_code = find_code(code)
    if error_code is UNDOCUMENTED:
        error_code = code_info_for_status(response.status)
    raise api_error(
        error_code,
        code=code,
        message=message,
        request_id=request_id,
        request=request,
        response=response,
        code_n=_read_code_n(error.get("CodeN")),
    )


def _normalize_result(result: object) -> object:
    """Convert the forms ``"ok"`` and ``{"message": …}`` of a result to ``{"Message": …}``.

    Each page says that the text is present only on success, and empty otherwise. So an empty text is left out, and a
    result that requires it is a ``DecodeError``.
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


def _read_code_n(value: object) -> int | None:
    """Read CodeN, the gateway's number of an error. A service behind the gateway omits it, or sends 0."""
    return value if type(value) is int and 0 < value <= validators.MAX_INT32 else None
