"""ZEGO's protocol: encodes an action as a signed request, and decodes a response to a result or an error. Pure.

The common parameters travel in the query, for GET and POST alike. The envelope is ``{"Code": 0, "Message": …, "Data":
…}`` at any HTTP status. ``Code`` alone decides whether the call succeeded. https://doc-zh.zego.im/article/19458
"""

from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import attrs

from volc_moderation.credentials import ZegoCredentials
from volc_moderation.error_codes import (
    UNDOCUMENTED,
    api_error,
    code_info_for_status,
    read_request_id,
    unusable_response,
)
from volc_moderation.errors import ModerationError
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
from volc_moderation.zego.actions import Done, ZegoAction
from volc_moderation.zego.error_codes import ROOM_THROTTLED, find_code
from volc_moderation.zego.signing import sign

R = TypeVar("R")


def encode(
    action: ZegoAction[Any],
    *,
    url: str,
    host: str,
    credentials: ZegoCredentials,
    nonce: str,
    now: float,
    is_test: bool | None = None,
) -> Request:
    """Encode and sign an action. ``nonce`` must be new for every request. ``now`` is in Unix seconds."""
    timestamp = int(now)
    signature = sign(credentials, nonce=nonce, timestamp=timestamp)
    # Nothing here has to be escaped.
    query = (
        f"Action={action.name}&AppId={credentials.app_id}&SignatureNonce={nonce}&Timestamp={timestamp}"
        f"&Signature={signature}&SignatureVersion=2.0"
    )
    if is_test is not None:
        query += f"&IsTest={'true' if is_test else 'false'}"
    headers = {"Host": host}
    body = b""
    if action.method == "GET":
        # %20 instead of + for a space: ZEGO does not say whether it reads + as a space.
        for pair in query_parameters(action):
            query += f"&{urlencode([pair], quote_via=quote)}"
    else:
        body = dump_json(parameters(action))
        headers["Content-Type"] = "application/json"
    return Request(action.method, f"{url}/?{query}", headers, body, (signature, *credentials.secrets))


def decode(action: ZegoAction[R], request: Request, response: Response, *, repeated: bool) -> DecodedResponse[R]:
    """Return the result in a response, or raise the error in it.

    ``repeated`` says that an earlier attempt may have arrived. If so, "there is none" after a deletion means that it
    did arrive, and counts as success.
    """
    try:
        return _read(action, request, response, repeated=repeated)
    except ModerationError as error:
        # Without the frames below, which hold what the vendor sent. The exception being handled is its own context.
        raise error.with_traceback(None)  # noqa: B904


def _read(action: ZegoAction[R], request: Request, response: Response, *, repeated: bool) -> DecodedResponse[R]:
    envelope = load_response(response.body)
    code = _read_code(envelope.get("Code")) if envelope else None
    if envelope is None or code is None:
        raise unusable_response(request, response)
    request_id = read_request_id(envelope.get("RequestId"), request)
    if code == 0 or code in action.result_codes or (repeated and action.is_already_done(code)):
        # ZEGO does not say what replaces absent data: nothing, null or an empty list.
        data = {} if action.result is Done or envelope.get("Data") is None else envelope["Data"]
        if action.result_codes and isinstance(data, dict):
            data = {**data, "Code": code}
        result = parse(data, action.result, request_id=request_id, root="Data")
        return DecodedResponse(result, request_id)
    error_code = find_code(code, action.family)
    if error_code is ROOM_THROTTLED and action.room_quota is not None:
        error_code = attrs.evolve(error_code, retry_after=action.room_quota.window)
    if error_code is UNDOCUMENTED:
        error_code = code_info_for_status(response.status)
    message = envelope.get("Message")
    if not isinstance(message, str):
        message = ""
    raise api_error(error_code, code=code, message=message, request_id=request_id, request=request, response=response)


def _read_code(code: object) -> int | None:
    """Read a code. The schema says that it is a number; it must be integral."""
    if isinstance(code, bool):
        return None
    if isinstance(code, float) and code.is_integer():
        return int(code)
    return code if isinstance(code, int) else None
