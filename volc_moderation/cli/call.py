"""``volc-moderation call ACTION --field value …``: one call from the shell, JSON out."""

import asyncio
import inspect
import json
import re
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, get_args, get_origin

import attrs
from cyclopts import App, Parameter, Token

import volc_moderation.volcengine.actions
import volc_moderation.zego.actions
from volc_moderation import (
    Action,
    ConfigurationError,
    InvalidActionError,
    ModerationError,
    VolcengineClient,
    ZegoClient,
)
from volc_moderation.volcengine import VolcengineAction
from volc_moderation.wire import parse, to_json
from volc_moderation.zego import ZegoAction

#: The exit codes of the command.
DONE, REFUSED, BAD_USAGE = 0, 1, 2
#: Nobody waits at a shell for the 300 s that ZEGO recommends.
DEADLINE = 60.0

ClientType = type[VolcengineClient] | type[ZegoClient]


def make_call_app() -> App:
    """Make one command for each action of each vendor."""
    app = App(
        name="call",
        help="Make one call with the keys of the environment, and print its result as JSON.",
        default_parameter=Parameter(negative=()),
    )
    for module, base, client in (
        (volc_moderation.volcengine.actions, VolcengineAction, VolcengineClient),
        (volc_moderation.zego.actions, ZegoAction, ZegoClient),
    ):
        for action in vars(module).values():
            if isinstance(action, type) and issubclass(action, base) and action is not base:
                app.command(_command(action, client), name=action.name)
    return app


def method_name(action: type[Action[Any]]) -> str:
    """Return the name of the client's method for an action: in snake_case, without a trailing V2."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", action.name.removesuffix("V2")).lower()


def _command(action: type[Action[Any]], client: ClientType) -> Callable[..., int]:
    """Make a function with the parameters of the client's method, for cyclopts to read the options by."""
    method = inspect.signature(getattr(client, method_name(action)))
    fields = [one for one in method.parameters.values() if one.name != "self"]
    wanted = {one.name: one.annotation for one in fields}

    def command(*, deadline: float = DEADLINE, **given: Any) -> int:
        texts = {name: text for name, text in given.items() if text is not None}
        return asyncio.run(_call(action, client, texts, wanted, deadline))

    options = [
        one.replace(
            default=one.default if one.default is inspect.Parameter.empty else None,
            annotation=_option(one.annotation),
        )
        for one in fields
    ]
    options.append(inspect.signature(command).parameters["deadline"])
    command.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in options}
    command.__doc__ = inspect.getdoc(action)
    return command


def _option(annotation: Any) -> Any:
    """Return what cyclopts is to read: whole numbers, lists of text, and text, which may be JSON."""
    if int in _types_in(annotation):
        return Annotated[int, Parameter(converter=_whole)]
    return list[str] if _is_list_of_text(annotation) else str


def _whole(_: Any, tokens: Sequence[Token]) -> int:
    """Read a whole number; cyclopts itself would round 1.5."""
    return int(tokens[0].value)


def _types_in(annotation: Any) -> set[Any]:
    """Return the plain types in ``int | None``, ``Sequence[str]`` and the like."""
    return set().union(*map(_types_in, get_args(annotation))) if get_origin(annotation) else {annotation}


def _is_list_of_text(annotation: Any) -> bool:
    return "Sequence" in str(annotation) and str in _types_in(annotation)


def _read(action: type[Action[Any]], name: str, given: Any, annotation: Any) -> Any:
    """Read an option as the action takes it: lists may be split by commas, models are the vendor's JSON."""
    if _is_list_of_text(annotation):
        return [word for one in given for word in one.split(",")]
    model = next((one for one in _types_in(annotation) if attrs.has(one)), None)
    if model is None:
        return given
    many = "Sequence" in str(annotation)
    try:
        value = json.loads(given)
    except ValueError:
        value = None
    read = parse(value, list[model] if many else model, root=name)  # type: ignore[valid-type]
    if to_json(read) != value:  # not JSON, not of the type, or with names that the model does not have
        rule = f"JSON of a {'list of ' if many else ''}{model.__name__}, spelled as the vendor does"
        raise InvalidActionError.of(action.name, name, rule, given)
    return read


async def _call(
    action: type[Action[Any]], client: ClientType, given: dict[str, Any], wanted: dict[str, Any], deadline: float
) -> int:
    try:
        made = action(**{name: _read(action, name, text, wanted[name]) for name, text in given.items()})
        async with client.from_env() as caller:
            reply = await caller.call(made, deadline=deadline)
    except (InvalidActionError, ConfigurationError) as error:
        _print_error(error)
        return BAD_USAGE
    except ModerationError as error:
        _print_error(error)
        return REFUSED
    outcome = {"result": to_json(reply.result), "request_id": reply.request_id, "attempts": reply.attempts}
    print(json.dumps(outcome, ensure_ascii=False, indent=2))  # noqa: T201 - the output
    return DONE


def _print_error(error: ModerationError) -> None:
    described: dict[str, object] = {"error": type(error).__name__, "message": error.message}
    for name in ("code", "advice", "request_id", "field", "rule", "path", "retry_after", "maybe_sent"):
        if getattr(error, name, None) is not None:
            described[name] = getattr(error, name)
    if error.attempts:
        described["attempts"] = error.attempts
    print(json.dumps(described, ensure_ascii=False, indent=2), file=sys.stderr)  # noqa: T201 - the output
