"""Credentials that never print themselves: not in a repr, an error, or a debugger's dump of a frame."""

import math
import os
import re
from collections.abc import Callable, Mapping
from datetime import datetime

import attrs

from volc_moderation.errors import ConfigurationError, describe


class Secret:
    """A str that only ``reveal`` returns."""

    __slots__ = ("_reveal",)

    def __init__(self, value: str) -> None:
        # A closure, so that even a dump of the attributes does not show the text.
        def reveal() -> str:
            return value

        self._reveal: Callable[[], str] = reveal

    def reveal(self) -> str:
        """Return the text."""
        return self._reveal()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other.reveal() == self.reveal()

    def __hash__(self) -> int:
        return hash(self.reveal())

    def __repr__(self) -> str:
        return "Secret('***')"


def redact_passwords(text: str) -> str:
    """Replace the passwords in the URLs of a text by ``***``: those before the host, and those in a query."""
    return _QUERY_PASSWORD.sub(r"\1***", _USER_PASSWORD.sub(r"\1***@", text))


#: Up to the last @, since a password may contain one, and unescaped / and ?.
_USER_PASSWORD = re.compile(r"(://[^:/?#\s@]*:)\S*@")
_QUERY_PASSWORD = re.compile(r"([?&](?:[^=&\s]*password|username)=)[^&\s'\"]*", re.IGNORECASE)


@attrs.frozen
class VolcengineCredentials:
    """An access key pair of Volcengine, with the session token if the pair is temporary (STS). ``make`` creates it."""

    access_key: str = attrs.field(repr=lambda key: repr(key[:4] + "***"))
    secret_key: Secret
    session_token: Secret | None = None
    #: When the pair expires, in Unix seconds; None if it does not.
    expires_at: float | None = attrs.field(default=None, kw_only=True)
    #: The id of the account that the pair belongs to, if it is known.
    account: str | None = attrs.field(default=None, kw_only=True)

    @classmethod
    def make(
        cls,
        access_key: str,
        secret_key: str,
        session_token: str | None = None,
        *,
        expires_at: float | datetime | None = None,
        account: str | None = None,
    ) -> "VolcengineCredentials":
        """Validate and wrap the keys.

        :param access_key: the id of the access key.
        :param secret_key: the secret of the access key.
        :param session_token: the token of a temporary pair.
        :param expires_at: when the pair expires, in Unix seconds or as a datetime with a time zone; None if it does
            not.
        :param account: the id of the account that the pair belongs to; None if it is not known.

        Raises ``ConfigurationError``.
        """
        _check("access_key", access_key)
        _check("secret_key", secret_key)
        if session_token is not None:
            _check("session_token", session_token)
        check_account(account)
        return cls(
            access_key,
            Secret(secret_key),
            None if session_token is None else Secret(session_token),
            expires_at=_unix_time("expires_at", expires_at),
            account=account,
        )

    @property
    def are_temporary(self) -> bool:
        """Whether the pair is temporary, so that its access key does not name an account for long."""
        return self.session_token is not None or self.expires_at is not None

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no error may show. Only the first four characters of the access key may be shown."""
        secrets = [secret.reveal() for secret in (self.secret_key, self.session_token) if secret is not None]
        return (*secrets, self.access_key)


@attrs.frozen
class ZegoCredentials:
    """A ZEGO AppId with its ServerSecret (not the CallbackSecret, which signs callbacks)."""

    app_id: int
    server_secret: Secret

    @classmethod
    def make(cls, app_id: int, server_secret: str) -> "ZegoCredentials":
        """Validate and wrap the keys. Raises ``ConfigurationError``."""
        check_app_id(app_id)
        _check("server_secret", server_secret)
        return cls(app_id, Secret(server_secret))

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no error may show."""
        return (self.server_secret.reveal(),)


#: The variables of the official SDKs for an access key, a secret key and a session token, each with its other names.
#: The first group counts of which any key is set.
_KEY_VARIABLES = (
    (("VOLCENGINE_ACCESS_KEY",), ("VOLCENGINE_SECRET_KEY",), "VOLCENGINE_SESSION_TOKEN"),
    (
        ("VOLCSTACK_ACCESS_KEY_ID", "VOLCSTACK_ACCESS_KEY"),
        ("VOLCSTACK_SECRET_ACCESS_KEY", "VOLCSTACK_SECRET_KEY"),
        "VOLCSTACK_SESSION_TOKEN",
    ),
    (("VOLC_ACCESSKEY",), ("VOLC_SECRETKEY",), ""),
)


def volcengine_key_variables(environ: Mapping[str, str] = os.environ) -> tuple[str, str, str] | None:
    """Return the names of the variables that hold an access key, a secret key and a session token.

    Returns None if there is no key. Otherwise one of the two, and the token, may be missing. Empty means missing.
    """
    for access_keys, secret_keys, token in _KEY_VARIABLES:
        access = next((name for name in access_keys if environ.get(name)), None)
        secret = next((name for name in secret_keys if environ.get(name)), None)
        if access or secret:
            return access or access_keys[0], secret or secret_keys[0], token
    return None


def volcengine_keys_from_env(environ: Mapping[str, str] = os.environ) -> tuple[str, str, str | None]:
    """Read access key, secret key and session token from the variables of the official SDKs.

    Raises ``ConfigurationError`` if no pair is set, or only one half of a pair.
    """
    names = volcengine_key_variables(environ)
    if names is None:
        raise ConfigurationError(
            "set VOLCENGINE_ACCESS_KEY and VOLCENGINE_SECRET_KEY (or VOLC_ACCESSKEY and VOLC_SECRETKEY)"
        )
    access, secret, token = names
    return _required(environ, access), _required(environ, secret), environ.get(token) or None


def zego_keys_from_env(environ: Mapping[str, str] = os.environ) -> tuple[int, str]:
    """Read ``ZEGO_APP_ID`` and ``ZEGO_SERVER_SECRET``. Raises ``ConfigurationError``."""
    if not environ.get("ZEGO_APP_ID") and not environ.get("ZEGO_SERVER_SECRET"):
        raise ConfigurationError("set ZEGO_APP_ID and ZEGO_SERVER_SECRET")
    app_id = _required(environ, "ZEGO_APP_ID")
    if not (app_id.isascii() and app_id.isdigit() and len(app_id) <= len(str(MAX_UINT32))):
        raise ConfigurationError(f"ZEGO_APP_ID must be a decimal number from 1 to {MAX_UINT32}")
    return int(app_id), _required(environ, "ZEGO_SERVER_SECRET")


#: The largest AppId.
MAX_UINT32 = 2**32 - 1


def check_app_id(app_id: object) -> None:
    """Raise ``ConfigurationError`` unless ``app_id`` is one of ZEGO."""
    if isinstance(app_id, bool) or not isinstance(app_id, int) or not 0 < app_id <= MAX_UINT32:
        raise ConfigurationError(f"app_id must be an int from 1 to {MAX_UINT32}; got {describe(app_id)}")


def check_account(account: object) -> None:
    """Raise ``ConfigurationError`` unless ``account`` is a text that is not empty, or None."""
    if account is not None and (not isinstance(account, str) or not account):
        raise ConfigurationError(f"account must be a str that is not empty, or None; got {describe(account)}")


def _required(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name)
    if not value:
        raise ConfigurationError(f"{name} is not set")
    return value


def _unix_time(name: str, value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.timestamp()
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ConfigurationError(
            f"{name} must be a Unix time in seconds or a datetime with a time zone; got {describe(value)}"
        )
    return float(value)


def _check(name: str, value: object) -> None:
    """Check the form that the vendors issue: printable ASCII without blanks. Keys are sent in headers or hashed."""
    if not isinstance(value, str) or not value or not value.isascii() or not value.isprintable() or " " in value:
        raise ConfigurationError(f"{name} must be a str of printable ASCII without blanks; got {type(value).__name__}")
