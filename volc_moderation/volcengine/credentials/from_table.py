"""The provider that an accounts file describes."""

from collections.abc import Awaitable, Callable

from volc_moderation.account_table import AccountTable
from volc_moderation.credentials import VolcengineCredentials
from volc_moderation.errors import ConfigurationError, DecodeError
from volc_moderation.volcengine.credentials.chain import default_credentials
from volc_moderation.volcengine.credentials.cli_config import CLIConfigCredentials
from volc_moderation.volcengine.credentials.ecs import ECSCredentials
from volc_moderation.volcengine.credentials.fixed import EnvironmentCredentials, StaticCredentials
from volc_moderation.volcengine.credentials.provider import Provider, RenewingProvider
from volc_moderation.volcengine.credentials.roles import AssumeRoleCredentials, OIDCCredentials
from volc_moderation.volcengine.credentials.sts import DEFAULT_DURATION, ENDPOINT, TemporaryKeys
from volc_moderation.wire import load_json, parse


def provider_of(table: AccountTable, *, clock: Callable[[], float]) -> Provider:
    """Return the provider of an account, or of a ``source``: of its keys, or else of its table ``credentials``.

    Raises ``ConfigurationError``.
    """
    described = table.table("credentials")
    if described is not None:
        for setting in ("access_key", "secret_key", "session_token"):
            if table.has(setting):
                raise table.error(setting, "and credentials exclude each other")
        return _described(described, clock)
    return _static(table)


def _static(table: AccountTable) -> Provider:
    token = table.fixed_key("session_token") if table.has("session_token") else None
    return StaticCredentials(table.fixed_key("access_key"), table.fixed_key("secret_key"), token)


def _described(table: AccountTable, clock: Callable[[], float]) -> Provider:
    create = _PROVIDERS.get(table.required_text("provider"))
    if create is None:
        raise table.error("provider", f"must be one of {', '.join(_PROVIDERS)}")
    return create(table, clock)


def _assumed_role(table: AccountTable, clock: Callable[[], float]) -> Provider:
    source = table.table("source")
    if source is None:
        raise table.error("source", "is missing: { access_key = …, secret_key = … } or { credentials = … }")
    return AssumeRoleCredentials(
        table.required_text("role_trn"),
        provider_of(source, clock=clock),
        duration_seconds=table.number("duration_seconds") or DEFAULT_DURATION,
        policy=table.text("policy"),
        role_session_name=table.text("role_session_name"),
        endpoint=table.text("endpoint") or ENDPOINT,
        clock=clock,
    )


def _oidc(table: AccountTable, clock: Callable[[], float]) -> Provider:
    return OIDCCredentials(
        table.required_text("role_trn"),
        table.required_text("token_file"),
        duration_seconds=table.number("duration_seconds") or DEFAULT_DURATION,
        policy=table.text("policy"),
        role_session_name=table.text("role_session_name"),
        endpoint=table.text("endpoint") or ENDPOINT,
        clock=clock,
    )


def _profile(table: AccountTable, clock: Callable[[], float]) -> Provider:
    return CLIConfigCredentials(table.text("path"), table.text("profile"), clock=clock)


def _ecs(table: AccountTable, clock: Callable[[], float]) -> Provider:
    return ECSCredentials(table.text("role_name"), clock=clock)


def _command(table: AccountTable, clock: Callable[[], float]) -> Provider:
    return CommandCredentials(table.command(), name=table.place, clock=clock)


def _default(_: AccountTable, clock: Callable[[], float]) -> Provider:
    return default_credentials(clock=clock)


#: By the value of ``provider``.
_PROVIDERS: dict[str, Callable[[AccountTable, Callable[[], float]], Provider]] = {
    "assume_role": _assumed_role,
    "command": _command,
    "default": _default,
    "ecs": _ecs,
    "environment": lambda _table, _clock: EnvironmentCredentials(),
    "oidc": _oidc,
    "profile": _profile,
}


class CommandCredentials(RenewingProvider):
    """Keys that a command prints as a JSON object.

    It has ``AccessKeyId`` and ``SecretAccessKey``, and of keys that expire ``SessionToken`` and ``ExpiredTime``.

    :param run: runs the command, and returns what it prints.
    :param name: says in errors and log records what it is.
    :param clock: returns the Unix time.
    """

    def __init__(self, run: Callable[[], Awaitable[str]], *, name: str, clock: Callable[[], float]) -> None:
        super().__init__(name, clock=clock)
        self._run = run
        self._clock = clock

    async def fetch(self) -> VolcengineCredentials:
        """Run the command."""
        try:
            return _read(await self._run(), self._clock())
        except ConfigurationError as error:
            raise error.with_traceback(None) from None  # its frames hold the keys
        except DecodeError as error:
            reason = f"the command does not print keys: {error.message}"
        raise ConfigurationError(reason)


def _read(text: str, now: float) -> VolcengineCredentials:
    values = load_json(text)
    if values is None:
        raise ConfigurationError("the command does not print a JSON object")
    if "SessionToken" in values:
        return parse(values, TemporaryKeys, root="keys").to_credentials(now=now, account=None, are_new=False)
    access_key, secret_key = values.get("AccessKeyId"), values.get("SecretAccessKey")
    return VolcengineCredentials.make(access_key or "", secret_key or "")
