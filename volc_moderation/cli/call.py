"""``volc-moderation call ACTION --field value …``: one call from the shell, JSON out."""

import asyncio
import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from cyclopts import App, Parameter, Token

from volc_moderation import (
    Action,
    ConfigurationError,
    InvalidActionError,
    ModerationError,
)
from volc_moderation.action import method_name
from volc_moderation.client import Client
from volc_moderation.coercion import is_list, model_in, read_list, reader_of, types_in
from volc_moderation.printable import json_text
from volc_moderation.vendors import VENDORS
from volc_moderation.wire import to_json

#: The exit codes of the command.
DONE, REFUSED, BAD_USAGE = 0, 1, 2
#: Nobody waits at a shell for the 300 s that ZEGO recommends.
DEADLINE = 60.0


def _command(action: type[Action[Any]], client: type[Client]) -> Callable[..., int]:
    """Make a function with the parameters of the client's method, for cyclopts to read the options by."""
    method = inspect.signature(getattr(client, method_name(action.name)))
    fields = [one for one in method.parameters.values() if one.name != "self"]
    wanted = {one.name: one.annotation for one in fields}

    def command(*, deadline: float = DEADLINE, **given: Any) -> int:
        texts = {name: text for name, text in given.items() if text is not None}
        return asyncio.run(_call(action, client, texts, wanted, deadline))

    options = [
        one.replace(
            default=one.default if one.default is inspect.Parameter.empty else None,
            annotation=_option(one.annotation, is_required=one.default is inspect.Parameter.empty),
        )
        for one in fields
    ]
    options.append(inspect.signature(command).parameters["deadline"])
    command.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in options}
    command.__doc__ = inspect.getdoc(action)
    return command


def _option(annotation: Any, *, is_required: bool) -> Any:
    """Return what cyclopts is to read: lists of text, flags, whole numbers, and text, which may be JSON."""
    kinds = types_in(annotation)
    read: Any = list[str] if is_list(annotation) else bool if bool in kinds else int if int in kinds else str
    # Where pydantic is in the same process, cyclopts has it check the values, the absent ones too.
    wanted = read if is_required else read | None
    return Annotated[wanted, Parameter(converter=_whole)] if read is int else wanted


def _whole(_: Any, tokens: Sequence[Token]) -> int:
    """Read a whole number; cyclopts itself would round 1.5."""
    return int(tokens[0].value)


def _read(action: type[Action[Any]], name: str, given: Any, annotation: Any) -> Any:
    """Read an option as the action takes it; cyclopts has read flags and numbers."""
    if is_list(annotation):
        return read_list(given, annotation)
    read = reader_of(action, name, annotation) if model_in(annotation) else None
    return read(given) if read else given


async def _call(
    action: type[Action[Any]], client: type[Client], given: dict[str, Any], wanted: dict[str, Any], deadline: float
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
    print(json_text(outcome, indent=2))  # noqa: T201 - the output
    return DONE


def _print_error(error: ModerationError) -> None:
    described: dict[str, object] = {"error": type(error).__name__, "message": error.message}
    for name in ("code", "advice", "request_id", "field", "rule", "path", "retry_after", "maybe_sent"):
        if getattr(error, name, None) is not None:
            described[name] = getattr(error, name)
    if error.attempts:
        described["attempts"] = error.attempts
    print(json_text(described, indent=2), file=sys.stderr)  # noqa: T201 - the output


#: One command for each action of each vendor.
call = App(
    name="call",
    help="Make one call with the keys of the environment, and print its result as JSON.",
    default_parameter=Parameter(negative=None, negative_iterable=()),
)
for vendor in VENDORS.values():
    for action in vendor.client.actions().values():
        call.command(_command(action, vendor.client), name=action.name)
