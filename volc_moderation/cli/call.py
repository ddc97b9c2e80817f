"""``volc-moderation call ACTION --field value …``: one call from the shell, JSON out."""

import asyncio
import inspect
import json
import re
import sys
from collections.abc import Callable
from typing import Any

from cyclopts import App

import volc_moderation.volcengine.actions
import volc_moderation.zego.actions
from volc_moderation import (
    Action,
    APIError,
    ConfigurationError,
    InvalidActionError,
    ModerationError,
    VolcengineClient,
    ZegoClient,
)
from volc_moderation.volcengine import VolcengineAction
from volc_moderation.wire import to_json
from volc_moderation.zego import ZegoAction

#: The exit codes of the command.
DONE, REFUSED, BAD_USAGE = 0, 1, 2
#: Nobody waits at a shell for the 300 s that ZEGO recommends.
DEADLINE = 60.0

ClientType = type[VolcengineClient] | type[ZegoClient]


def make_call_app() -> App:
    """Make one command for each action of each vendor."""
    app = App(name="call", help="Make one call with the keys of the environment, and print its result as JSON.")
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
    def command(*, deadline: float = DEADLINE, **fields: Any) -> int:
        return asyncio.run(_call(action, client, fields, deadline))

    method = getattr(client, method_name(action))
    fields = [one for one in inspect.signature(method).parameters.values() if one.name != "self"]
    own = inspect.signature(command).parameters["deadline"]
    command.__signature__ = inspect.Signature([*fields, own])  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in (*fields, own)}
    command.__doc__ = inspect.getdoc(action)
    return command


async def _call(action: type[Action[Any]], client: ClientType, fields: dict[str, Any], deadline: float) -> int:
    try:
        made = action(**fields)
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
    if isinstance(error, APIError):
        described |= {"code": error.code, "advice": error.advice, "request_id": error.request_id}
    for name in ("field", "rule", "attempts", "retry_after", "maybe_sent"):
        if getattr(error, name, None) not in (None, 0):
            described[name] = getattr(error, name)
    print(json.dumps(described, ensure_ascii=False, indent=2), file=sys.stderr)  # noqa: T201 - the output
