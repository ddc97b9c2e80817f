"""What goes over the wire: requests and responses as plain values, and models as the vendors' JSON.

Models carry no wire names: ``room_id`` is ``RoomId`` by rule, and an exception such as ``SourceURL`` is declared beside
its field. What is None, or an empty list by default, is not sent. What comes back is read strictly as to types and
leniently as to the rest: unknown fields are ignored, unknown enum values are kept as they came, null lists are empty.
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

from volc_moderation.action import KEEPS_UNREADABLE, WIRE_NAME
from volc_moderation.errors import DecodeError
from volc_moderation.event import Lenient

M = TypeVar("M")

#: What a vendor's JSON is made of.
JSON = dict[str, Any]


@attrs.frozen
class Request:
    """A signed request. Its address and headers carry the signature, so its repr shows neither."""

    method: Literal["GET", "POST"]
    url: str = attrs.field(repr=False)
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    #: What must not show in an error even if the vendor's answer repeats it: keys, tokens, the signature.
    secrets: tuple[str, ...] = attrs.field(repr=False)

    def redact(self, message: str) -> str:
        """Strike the secrets from a vendor's message."""
        for secret in self.secrets:
            message = message.replace(secret, "***")
        return message


@attrs.frozen
class Response:
    """An answer as it came, which may repeat what was sent, so its repr is short. ``round_trip`` is in seconds."""

    status: int
    #: Names are in lower case.
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    round_trip: float


@attrs.frozen
class Answer(Generic[M]):
    """A vendor's yes, decoded."""

    result: M
    request_id: str | None
    log_id: str | None = None


#: Kept, because to make one costs as much as to use it.
_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def dump_json(value: object) -> bytes:
    """Encode compact JSON in UTF-8: the very bytes that are signed and sent."""
    return _encoder.encode(value).encode()


def load_json(body: bytes | str) -> JSON | None:
    """Decode a JSON object; None for anything else, however broken."""
    try:
        # Not what Python guesses from the first bytes: JSON between systems is UTF-8. RFC 8259, section 8.1
        text = body.decode("utf-8", "surrogatepass").removeprefix("\ufeff") if isinstance(body, bytes) else body
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def load_answer(body: bytes) -> JSON | None:
    """Decode a vendor's answer, as ``load_json`` does.

    JSON can spell texts that have no UTF-8 form, and which neither a terminal nor a journal takes: with ``?`` in the
    place of lone surrogates, they end here.
    """
    envelope = load_json(body)
    if envelope is None or not _MAY_HAVE_SURROGATES.search(body):
        return envelope
    try:
        return {_encodable(name): _encodable(value) for name, value in envelope.items()}
    except RecursionError:
        return None


#: Escaped, or as the bytes that Python's decoder lets through.
_MAY_HAVE_SURROGATES = re.compile(rb"\\u[dD]|\xed[\xa0-\xbf]")


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {_encodable(name): _encodable(one) for name, one in value.items()}
    return [_encodable(one) for one in value] if isinstance(value, list) else value


def parameters(action: object) -> JSON:
    """Return the parameters of an action as the vendor spells them."""
    return _converter.unstructure(action)  # type: ignore[no-any-return]


def text_parameters(action: object) -> list[tuple[str, str]]:
    """Return the parameters of an action as names and texts of a query: a list is a name that is repeated."""
    pairs = []
    for name, value in parameters(action).items():
        pairs += [(name, _as_text(one)) for one in (value if isinstance(value, (list, tuple)) else [value])]
    return pairs


def _as_text(value: object) -> str:
    # An Enum that is a str, too, has another text of its own than what JSON has of it.
    return str.__str__(value) if isinstance(value, str) else json.dumps(value)


def to_json(model: object) -> object:
    """Return any model of this package as JSON in the vendor's spelling."""
    return _converter.unstructure(model)


def parse(value: object, cls: type[M], *, request_id: str | None = None, root: str = "Result") -> M | DecodeError:
    """Read ``value`` as a ``cls``; or return the error that names the first field that is off.

    Returned, not raised, and made outside of the except block: what the vendor sent must not travel in its traceback.
    """
    try:
        return _converter.structure(value, cls)
    except Exception as error:  # noqa: BLE001 - cattrs groups whatever the hooks raise
        described = cattrs.transform_error(error, path=root, format_exception=_describe)[0]
    fault, _, path = described.partition(" @ ")
    return DecodeError(f"{path}: {fault}", path=path, request_id=request_id)


def _describe(error: BaseException, _: object) -> str:
    return "required field missing" if isinstance(error, KeyError) else str(error)


def _wire_name(attribute: "attrs.Attribute[Any]") -> str | None:
    if WIRE_NAME in attribute.metadata:
        return attribute.metadata[WIRE_NAME]  # type: ignore[no-any-return]
    return "".join(word.capitalize() for word in attribute.name.split("_"))


def wire_names(cls: type) -> dict[str, str]:
    """Return how the vendor spells each field that is sent."""
    names = ((attribute.name, _wire_name(attribute)) for attribute in attrs.fields(cls))
    return {field: name for field, name in names if name is not None}


def _overrides(cls: type) -> dict[str, Any]:
    # Any, because cattrs types the overrides like its own options, which share the keyword arguments with them.
    overrides = {}
    for attribute in attrs.fields(attrs.resolve_types(cls)):
        name = _wire_name(attribute)
        if name is None:
            overrides[attribute.name] = override(omit=True)
        else:
            overrides[attribute.name] = override(rename=name, omit_if_default=attribute.default in (None, ()))
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


# The default hooks turn None into 'None' and 7.9 into 7.
for _primitive in (str, int, float, bool):
    _converter.register_structure_hook(_primitive, _strict(_primitive))


# Where the documents leave open what a value is, it is kept as it came.
_converter.register_structure_hook_func(lambda cls: cls is object, lambda value, _: value)


@_converter.register_unstructure_hook_factory(attrs.has)
def _unstructure_model(cls: type, converter: cattrs.Converter) -> Callable[[Any], Any]:
    return make_dict_unstructure_fn(cls, converter, **_overrides(cls))


@_converter.register_structure_hook_factory(attrs.has)
def _structure_model(cls: type, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    read: Callable[[Any, Any], Any]
    if issubclass(cls, Lenient):
        read = _read_leniently(cls, converter)
    else:
        read = make_dict_structure_fn(cls, converter, **_overrides(cls))
    if any(KEEPS_UNREADABLE in attribute.metadata for attribute in attrs.fields(cls)):
        read = _sort_out_unreadable(cls, read, converter)

    def structure(value: Any, cls: Any) -> Any:
        if not isinstance(value, dict):
            raise _mismatch("an object", value)
        return read(value, cls)

    return structure


def _read_leniently(cls: type, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    fields = [(_wire_name(attribute), attribute) for attribute in attrs.fields(attrs.resolve_types(cls))]

    def read(value: Any, _: Any) -> Any:
        given = {}
        for name, attribute in fields:
            if name in value:
                try:
                    given[attribute.name] = converter.structure(value[name], attribute.type)
                except Exception:
                    if attribute.default is attrs.NOTHING:
                        raise
            elif attribute.default is attrs.NOTHING:
                raise KeyError(name)
        return cls(**given)

    return read


def _sort_out_unreadable(
    cls: type, read: Callable[[Any, Any], Any], converter: cattrs.Converter
) -> Callable[[Any, Any], Any]:
    """Keep the items of lists that do not fit apart, as they came, unless there are no others."""
    fields = attrs.fields(attrs.resolve_types(cls))
    lists = {_wire_name(one): get_args(one.type)[0] for one in fields if _is_list(one.type)}
    keeper = next(_wire_name(one) for one in fields if KEEPS_UNREADABLE in one.metadata)

    def fits(item: object, kind: Any) -> bool:
        try:
            converter.structure(item, kind)
        except Exception:  # noqa: BLE001 - cattrs groups whatever the hooks raise
            return False
        return True

    def sort_out(value: Any, cls: Any) -> Any:
        given = {name: one for name, one in value.items() if name != keeper}
        try:
            return read(given, cls)
        except Exception:
            unreadable: list[object] = []
            for name, kind in lists.items():
                items = given.get(name)
                if isinstance(items, list):
                    given[name] = [item for item in items if fits(item, kind)]
                    unreadable += [item for item in items if not fits(item, kind)]
                    if items and not given[name]:
                        raise
            if not unreadable:
                raise
        return read({**given, keeper: unreadable}, cls)

    return sort_out


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
    """Tell whether ``cls`` is ``SomeEnum | int`` or ``SomeEnum | str``, in this order, perhaps with None."""
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
        kept: object = converter.structure(value, plain)
        try:
            return known(kept)
        except ValueError:
            return kept

    return structure
