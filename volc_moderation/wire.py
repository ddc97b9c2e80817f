"""What is sent and received: requests and responses as plain values, and models as the vendors' JSON.

Models carry no wire names: ``room_id`` is ``RoomId`` by rule, and an exception such as ``SourceURL`` is declared beside
its field. Fields that are None, or an empty list by default, are not sent. Types are read strictly, everything else
leniently: unknown fields are ignored, unknown enum values are kept unchanged, and null lists are read as empty.
"""

import enum
import json
import re
import types
from collections.abc import Callable, Mapping
from typing import Any, Generic, Literal, TypeVar, Union, get_args, get_origin

import attrs
import cattrs
from cattrs.cols import list_structure_factory
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from volc_moderation.action import KEEPS_UNREADABLE, WIRE_NAME, Result, is_required
from volc_moderation.errors import DecodeError

M = TypeVar("M")

#: A JSON object.
JSON = dict[str, Any]


@attrs.frozen
class Request:
    """A signed request. Its URL and headers carry the signature, so its repr shows neither."""

    method: Literal["GET", "POST", "PUT"]
    url: str = attrs.field(repr=False)
    #: All that the vendor requires, Host among them.
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    #: What no error may show, even if the vendor's response repeats it: keys, tokens and the signature.
    secrets: tuple[str, ...] = attrs.field(repr=False)

    def redact(self, message: str) -> str:
        """Replace the secrets in a vendor's message by ``***``."""
        for secret in self.secrets:
            message = message.replace(secret, "***")
        return message


@attrs.frozen
class Response:
    """A response as it arrived. It may repeat what was sent, so its repr is short. ``round_trip`` is in seconds."""

    status: int
    #: Names are in lower case.
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    round_trip: float


@attrs.frozen
class DecodedResponse(Generic[M]):
    """The result of a successful call, with the ids under which the vendor logged the request: it gets them, too."""

    result: M
    request_id: str | None
    log_id: str | None = None

    def __attrs_post_init__(self) -> None:
        result = self.result
        if not isinstance(result, Result):
            return
        if result.request_id is None and result.log_id is None:
            # It is frozen for its users, and nobody has seen it yet: a copy would take longer.
            object.__setattr__(result, "request_id", self.request_id)
            object.__setattr__(result, "log_id", self.log_id)
        else:  # it belongs to another response, too
            object.__setattr__(self, "result", attrs.evolve(result, request_id=self.request_id, log_id=self.log_id))


class Lenient:
    """The base of models of callbacks, which a vendor sends unasked.

    A field that has a default and whose value has the wrong type counts as absent: a malformed optional field must not
    discard a REJECT verdict.
    """

    __slots__ = ()


#: Shared, because creating an encoder costs as much as using it.
_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def dump_json(value: object) -> bytes:
    """Encode compact JSON in UTF-8: the very bytes that are signed and sent."""
    return _encoder.encode(value).encode()


def load_json(body: bytes | str) -> JSON | None:
    """Decode a JSON object. Returns None for anything else, however malformed."""
    try:
        # json.loads would guess the encoding from the first bytes, but JSON between systems is UTF-8: RFC 8259, 8.1.
        text = body.decode("utf-8", "surrogatepass").removeprefix("\ufeff") if isinstance(body, bytes) else body
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def load_response(body: bytes) -> JSON | None:
    """Decode the JSON object of a vendor's response, like ``load_json``, with ``?`` in place of lone surrogates.

    JSON can spell lone surrogates, but they have no UTF-8 form, so neither a terminal nor a journal accepts them.
    """
    envelope = load_json(body)
    if envelope is None or not _MAY_HAVE_SURROGATES.search(body):
        return envelope
    try:
        return {_encodable(name): _encodable(value) for name, value in envelope.items()}
    except RecursionError:
        return None


#: A surrogate as an escape, or as the bytes that ``surrogatepass`` accepts.
_MAY_HAVE_SURROGATES = re.compile(rb"\\u[dD]|\xed[\xa0-\xbf]")


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {_encodable(name): _encodable(one) for name, one in value.items()}
    return [_encodable(one) for one in value] if isinstance(value, list) else value


def parameters(action: object) -> JSON:
    """Return the parameters of an action in the vendor's spelling."""
    return _converter.unstructure(action)  # type: ignore[no-any-return]


def query_parameters(action: object) -> list[tuple[str, str]]:
    """Return the parameters of an action as the names and texts of a query. A list repeats its name."""
    pairs = []
    for name, value in parameters(action).items():
        pairs += [(name, _as_text(one)) for one in (value if isinstance(value, (list, tuple)) else [value])]
    return pairs


def _as_text(value: object) -> str:
    # str() of a str Enum may be its name; JSON has its value.
    return str.__str__(value) if isinstance(value, str) else json.dumps(value)


def to_json(model: object) -> object:
    """Return a model of this package as JSON in the vendor's spelling."""
    return _converter.unstructure(model)


def parse(value: object, cls: type[M], *, request_id: str | None = None, root: str = "Result") -> M:
    """Read ``value`` as a ``cls``. ``root`` is the name of ``value`` in the paths of fields.

    Raises ``DecodeError``, which names the first field that does not fit. It is raised outside the except block, so
    that no error of cattrs, which holds the value, is chained to it. Its traceback still has this frame: a caller that
    passes the error on removes the traceback.
    """
    try:
        return _converter.structure(value, cls)
    except Exception as error:  # noqa: BLE001 - cattrs groups whatever the hooks raise
        described = cattrs.transform_error(error, path=root, format_exception=_describe)[0]
    fault, _, path = described.partition(" @ ")
    raise DecodeError(f"{path}: {fault}", path=path, request_id=request_id)


def _describe(error: BaseException, _: object) -> str:
    return "required field missing" if isinstance(error, KeyError) else str(error)


def _wire_name(attribute: "attrs.Attribute[Any]") -> str | None:
    if WIRE_NAME in attribute.metadata:
        return attribute.metadata[WIRE_NAME]  # type: ignore[no-any-return]
    return "".join(word.capitalize() for word in attribute.name.split("_"))


def wire_names(cls: type) -> dict[str, str]:
    """Return the vendor's spelling of each field that is sent."""
    names = ((attribute.name, _wire_name(attribute)) for attribute in attrs.fields(cls))
    return {field: name for field, name in names if name is not None}


def _overrides(cls: type) -> dict[str, Any]:
    # Any, because cattrs passes the overrides and its own options in the same keyword arguments.
    overrides = {}
    for attribute in attrs.fields(attrs.resolve_types(cls)):
        name = _wire_name(attribute)
        if name is None:
            overrides[attribute.name] = override(omit=True)
        else:
            # What the client has if the action leaves it open is always sent; otherwise it would move to the end.
            is_optional = attribute.default in (None, ()) and not is_required(attribute)
            overrides[attribute.name] = override(rename=name, omit_if_default=is_optional)
    return overrides


_converter = cattrs.Converter()


def _strict(primitive: type) -> Callable[[Any, Any], Any]:
    def structure(value: Any, _: Any) -> Any:
        if type(value) is primitive or (primitive is float and type(value) is int):
            return value
        raise _mismatch(primitive.__name__, value)

    return structure


def _mismatch(expected: str, value: object) -> TypeError:
    return TypeError(f"expected {expected}, got {type(value).__name__}")


# The default hooks convert None to 'None' and 7.9 to 7.
for _primitive in (str, int, float, bool):
    _converter.register_structure_hook(_primitive, _strict(_primitive))


# A value whose type the documents leave open is kept unchanged.
_converter.register_structure_hook_func(lambda cls: cls is object, lambda value, _: value)


@_converter.register_unstructure_hook_factory(attrs.has)
def _unstructure_model(cls: type, converter: cattrs.Converter) -> Callable[[Any], Any]:
    return make_dict_unstructure_fn(cls, converter, **_overrides(cls))


@_converter.register_structure_hook_factory(attrs.has)
def _structure_model(cls: type, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    read: Callable[[Any, Any], Any]
    if issubclass(cls, Lenient):
        read = _structure_leniently(cls, converter)
    else:
        read = make_dict_structure_fn(cls, converter, **_overrides(cls))
    if any(KEEPS_UNREADABLE in attribute.metadata for attribute in attrs.fields(cls)):
        read = _keep_unreadable_items(cls, read, converter)

    def structure(value: Any, cls: Any) -> Any:
        if not isinstance(value, dict):
            raise _mismatch("an object", value)
        return read(value, cls)

    return structure


def _structure_leniently(cls: type, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    fields = [(_wire_name(attribute), attribute) for attribute in attrs.fields(attrs.resolve_types(cls))]

    def structure(value: Any, _: Any) -> Any:
        arguments = {}
        for name, attribute in fields:
            if name in value:
                try:
                    arguments[attribute.name] = converter.structure(value[name], attribute.type)
                except Exception:
                    if attribute.default is attrs.NOTHING:
                        raise
            elif attribute.default is attrs.NOTHING:
                raise KeyError(name)
        return cls(**arguments)

    return structure


def _keep_unreadable_items(
    cls: type, read: Callable[[Any, Any], Any], converter: cattrs.Converter
) -> Callable[[Any, Any], Any]:
    """Move the items of lists that do not fit, unchanged, to the field that keeps them, unless no item fits."""
    fields = attrs.fields(attrs.resolve_types(cls))
    item_types = {_wire_name(field): get_args(field.type)[0] for field in fields if _is_list(field.type)}
    keeper = next(_wire_name(field) for field in fields if KEEPS_UNREADABLE in field.metadata)

    def fits(item: object, item_type: Any) -> bool:
        try:
            converter.structure(item, item_type)
        except Exception:  # noqa: BLE001 - cattrs groups whatever the hooks raise
            return False
        return True

    def structure(value: Any, cls: Any) -> Any:
        received = {name: part for name, part in value.items() if name != keeper}
        try:
            return read(received, cls)
        except Exception:
            unreadable: list[object] = []
            for name, item_type in item_types.items():
                items = received.get(name)
                if isinstance(items, list):
                    received[name] = [item for item in items if fits(item, item_type)]
                    unreadable += [item for item in items if not fits(item, item_type)]
                    if items and not received[name]:
                        raise
            if not unreadable:
                raise
        return read({**received, keeper: unreadable}, cls)

    return structure


def _is_list(cls: Any) -> bool:
    return get_origin(cls) is list


@_converter.register_structure_hook_factory(_is_list)
def _structure_list(cls: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    read = list_structure_factory(cls, converter)

    def structure(value: Any, cls: Any) -> Any:
        if value is None:
            return []
        if not isinstance(value, list):
            raise _mismatch("a list", value)
        return read(value, cls)

    return structure


def _is_open_enum(cls: Any) -> bool:
    """Return whether ``cls`` is ``SomeEnum | int`` or ``SomeEnum | str``, in this order, with or without None."""
    if get_origin(cls) not in (Union, types.UnionType):
        return False
    return [issubclass(one, enum.Enum) for one in get_args(cls) if isinstance(one, type)][:2] == [True, False]


@_converter.register_structure_hook_factory(_is_open_enum)
def _structure_open_enum(cls: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    known, plain = get_args(cls)[:2]
    nullable = type(None) in get_args(cls)

    def structure(value: Any, _: Any) -> Any:
        if value is None and nullable:
            return None
        plain_value: object = converter.structure(value, plain)
        try:
            return known(plain_value)
        except ValueError:
            return plain_value

    return structure


def _is_switch(cls: Any) -> bool:
    """Return whether ``cls`` is ``bool | int``, with or without None: a switch that is sent as a number."""
    return get_origin(cls) in (Union, types.UnionType) and {*get_args(cls)} - {type(None)} == {bool, int}


@_converter.register_structure_hook_factory(_is_switch)
def _structure_switch(cls: Any) -> Callable[[Any, Any], Any]:
    accepted = {*get_args(cls)}

    def structure(value: Any, _: Any) -> Any:
        if type(value) in accepted:
            return value
        raise _mismatch("bool or int", value)

    return structure


def _is_open_choice(cls: Any) -> bool:
    """Return whether ``cls`` is ``Literal["a", "b"] | str``, with or without None: a str, of which some are known."""
    if get_origin(cls) not in (Union, types.UnionType):
        return False
    return {*map(_kind_of, get_args(cls))} - {type(None)} == {Literal, str}


def _kind_of(one: Any) -> Any:
    return get_origin(one) or one


@_converter.register_structure_hook_factory(_is_open_choice)
def _structure_open_choice(cls: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    nullable = type(None) in get_args(cls)
    return lambda value, _: None if value is None and nullable else converter.structure(value, str)
