"""``volc-moderation call ACTION --field value …``: makes one call and prints its result as JSON."""

import asyncio
import contextlib
import inspect
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Annotated, Any

from cyclopts import App, Parameter, Token

from volc_moderation import Action, ConfigurationError, InvalidActionError, ModerationError, SourceError
from volc_moderation.accounts import load as load_accounts
from volc_moderation.action import method_name
from volc_moderation.cli.environment import AccountOptions, AccountsFile, open_quotas
from volc_moderation.cli.exit_codes import ExitCode
from volc_moderation.client import Client
from volc_moderation.coercion import is_list, model_type_in, parse_list, parse_switch, parser_for, types_in
from volc_moderation.printable import printable_json
from volc_moderation.quotas.permit import Quotas
from volc_moderation.vendors import VENDORS
from volc_moderation.wire import to_json

#: The default of ``--deadline``, in seconds. Some retries wait for 300 s, which is too long at a shell.
DEFAULT_DEADLINE = 60.0
#: The type of the option.
Deadline = Annotated[float, Parameter(help="Seconds that the call may take, with all retries and waits.")]
File = Annotated[AccountsFile | None, Parameter(help="A TOML file with many accounts, instead of the environment.")]
Name = Annotated[str | None, Parameter(help="With --accounts: the account that makes the call.")]


def _command_for(action_type: type[Action[Any]], client_type: type[Client]) -> Callable[..., int]:
    """Return a function whose signature is that of the client's method; cyclopts derives the options from it."""
    method = inspect.signature(getattr(client_type, method_name(action_type.name)))
    fields = [parameter for parameter in method.parameters.values() if parameter.name != "self"]
    annotations = {field.name: field.annotation for field in fields}

    def command(
        *, deadline: Deadline = DEFAULT_DEADLINE, accounts: File = None, account: Name = None, **options: Any
    ) -> int:
        values = {name: value for name, value in options.items() if value is not None}
        used = AccountOptions(accounts, [account] if account else [])
        return asyncio.run(_call(action_type, client_type, values, annotations, deadline=deadline, accounts=used))

    parameters = [
        field.replace(
            default=field.default if field.default is inspect.Parameter.empty else None,
            annotation=_option_type(field.annotation, is_required=field.default is inspect.Parameter.empty),
        )
        for field in fields
    ]
    parameters += [inspect.signature(command).parameters[name] for name in ("deadline", "accounts", "account")]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__doc__ = inspect.getdoc(action_type)
    return command


def _option_type(annotation: Any, *, is_required: bool) -> Any:
    """Return the type that cyclopts parses an option as: a list of str, int, bool, or str, which may be JSON."""
    types = types_in(annotation)
    parsed: Any = list[str] if is_list(annotation) else int if int in types else bool if bool in types else str
    # If pydantic is imported in the same process, cyclopts lets it check the values, also those of absent options.
    option = parsed if is_required else parsed | None
    converter = _parse_switch if bool in types else _parse_integer
    return Annotated[option, Parameter(converter=converter)] if parsed is int else option


def _parse_integer(_: Any, tokens: Sequence[Token]) -> int:
    """Parse an integer; cyclopts itself would round 1.5."""
    return int(tokens[0].value)


def _parse_switch(_: Any, tokens: Sequence[Token]) -> bool | int | str:
    """Parse a switch that is sent as a number; its field reports what is none."""
    return parse_switch(tokens[0].value)


def _field_value(action_type: type[Action[Any]], name: str, value: Any, annotation: Any) -> Any:
    """Convert the value of an option to that of a field; cyclopts has parsed flags and numbers."""
    if is_list(annotation):
        return parse_list(value, annotation)
    parse = parser_for(action_type, name, annotation) if model_type_in(annotation) else None
    return parse(value) if parse else value


async def _call(
    action_type: type[Action[Any]],
    client_type: type[Client],
    values: dict[str, Any],
    annotations: dict[str, Any],
    *,
    deadline: float,
    accounts: AccountOptions,
) -> ExitCode:
    """Make the call, and print its result or its error."""
    try:
        fields = {name: _field_value(action_type, name, value, annotations[name]) for name, value in values.items()}
        action = action_type(**fields)
        accounts.check()
        async with open_quotas() as quotas, _open_client(client_type, quotas, accounts) as client:
            reply = await client.call(action, deadline=deadline)
    except (InvalidActionError, ConfigurationError, SourceError) as error:
        _print_json_error(error)
        return ExitCode.USAGE
    except ModerationError as error:
        _print_json_error(error)
        return ExitCode.FAILURE
    outcome = {"result": to_json(reply.result), "request_id": reply.request_id, "attempts": reply.attempts}
    print(printable_json(outcome, indent=2))  # noqa: T201 - the output
    return ExitCode.SUCCESS


@contextlib.asynccontextmanager
async def _open_client(client_type: type[Client], quotas: Quotas, accounts: AccountOptions) -> AsyncIterator[Client]:
    """Open the client of a vendor: of the account that was named, or of the only one. Raises ``ConfigurationError``."""
    if accounts.file is None:
        async with client_type.from_env(quotas=quotas) as client:
            yield client
        return
    async with load_accounts(accounts.file, names=accounts.names or None, quotas=quotas, skip_missing=True) as loaded:
        found = loaded.of(client_type)
        if len(found) == 1:
            yield next(iter(found.values()))
            return
        if found:
            raise ConfigurationError(f"several accounts make this call: say which with --account: {', '.join(found)}")
        skipped = next(iter(loaded.skipped.values()), None)
        raise skipped or ConfigurationError(f"no account of {accounts.file} that was named makes this call")


def _print_json_error(error: ModerationError) -> None:
    """Print an error as JSON on standard error."""
    fields: dict[str, object] = {"error": type(error).__name__, "message": error.message}
    for name in ("code", "advice", "request_id", "field", "rule", "path", "retry_after", "maybe_sent"):
        if getattr(error, name, None) is not None:
            fields[name] = getattr(error, name)
    if error.attempts:
        fields["attempts"] = error.attempts
    print(printable_json(fields, indent=2), file=sys.stderr)  # noqa: T201 - the output


#: Has one command for each action of each vendor.
call = App(
    name="call",
    help="Make one call with the credentials in the environment, and print the result as JSON.",
    default_parameter=Parameter(negative=None, negative_iterable=()),
)
for vendor in VENDORS.values():
    for action_type in vendor.client.actions().values():
        if hasattr(vendor.client, method_name(action_type.name)):  # a user's own action may have none
            call.command(_command_for(action_type, vendor.client), name=action_type.name)
