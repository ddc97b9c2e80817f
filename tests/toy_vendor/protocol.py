"""The vendor's protocol. The envelope is ``{"Id": …, "Data": …}`` or ``{"Id": …, "Error": code, "Text": …}``."""

from typing import Any, TypeVar

from tests.toy_vendor.actions import ToyAction
from tests.toy_vendor.error_codes import CODES
from tests.toy_vendor.signing import sign
from volc_moderation.error_codes import UNDOCUMENTED, api_error, read_request_id, unusable_response
from volc_moderation.wire import DecodedResponse, Request, Response, dump_json, load_response, parameters, parse

R = TypeVar("R")


def encode(action: ToyAction[Any], *, url: str, host: str, key: str, secret: str, now: float) -> Request:
    """Encode and sign an action."""
    body, timestamp = dump_json(parameters(action)), int(now)
    signature = sign(secret, timestamp, body)
    headers = {"Host": host, "X-Key": key, "X-Time": str(timestamp), "X-Signature": signature}
    return Request("POST", f"{url}/{action.name}", headers, body, (secret, signature))


def decode(action: ToyAction[R], request: Request, response: Response, *, repeated: bool) -> DecodedResponse[R]:
    """Return the result of a response, or raise its error."""
    envelope = load_response(response.body)
    if envelope is None or not {"Data", "Error"} & envelope.keys():
        raise unusable_response(request, response)
    request_id = read_request_id(envelope.get("Id"), request)
    code = envelope.get("Error")
    if code is None or (repeated and action.is_already_done(code)):
        return DecodedResponse(parse(envelope.get("Data") or {}, action.result, request_id=request_id), request_id)
    raise api_error(
        CODES.get(code, UNDOCUMENTED),
        code=code,
        message=envelope.get("Text", ""),
        request_id=request_id,
        request=request,
        response=response,
    )
